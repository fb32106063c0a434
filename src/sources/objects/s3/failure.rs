//! What an S3 store's errors mean to a person.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::sources::SourceError;

/// An error of a request about `what`, which says where.
pub(super) fn failed<E: ProvideErrorMetadata + std::error::Error + 'static>(
    what: String,
    error: &SdkError<E>,
) -> SourceError {
    let code = error.code().unwrap_or_default();
    let said = error.message().filter(|message| !message.is_empty());
    let why = match (code, said) {
        ("", None) => root_cause(error),
        ("", Some(said)) => said.to_owned(),
        (code, None) => code.to_owned(),
        (code, Some(said)) => format!("{said} ({code})"),
    };
    let hint = |text: &str| text.to_owned();
    match (status(error), code) {
        (_, "NoSuchBucket") => {
            SourceError::Refused { what, why, hint: hint("check `bucket`, `endpoint` and `region`") }
        }
        (Some(301 | 302 | 307 | 308), _) => {
            let hint = hint("the bucket is in another region or at another endpoint; nothing is followed");
            SourceError::Refused { what, why: format!("the store redirects: {why}"), hint }
        }
        (Some(401 | 403), _) => {
            let hint = hint("check the keys, when they expire, and what they may do in the bucket");
            SourceError::Refused { what, why, hint }
        }
        (Some(404), _) => SourceError::Refused { what, why, hint: hint("check `bucket`, `endpoint` and `region`") },
        _ => SourceError::Unreachable { what, why, hint: hint("run again; what was read is found again") },
    }
}

/// The error that lies at the bottom: the ones above it say little more than that there was one.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(below) = at.source() {
        at = below;
    }
    at.to_string()
}

pub(super) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whether the store answered well, and the answer cannot be read.
pub(super) fn is_unreadable<E>(error: &SdkError<E>) -> bool {
    matches!(error, SdkError::ResponseError(_)) || status(error).is_some_and(|status| (200..300).contains(&status))
}

pub(super) fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed"
            | "InvalidToken"
            | "TokenRefreshRequired"
    )
}
