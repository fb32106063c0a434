//! What the store's and the client's errors mean, in words that hold no secret.

use std::error::Error as _;

use opendal::{Error, ErrorKind};

use super::super::TargetError;
use super::settings::{Credentials, S3Settings};

/// How much of a server's own words an error quotes, characters.
const QUOTE_MAX: usize = 300;

/// S3 error codes that mean "you may not", several of which come with status 400.
const DENIED: [&str; 12] = [
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];
const FULL: [&str; 5] =
    ["InsufficientStorage", "QuotaExceeded", "ServiceQuotaExceeded", "StorageFull", "XMinioStorageFull"];
/// The object arrived damaged or cut short: sending it again can help.
const DAMAGED_ON_THE_WAY: [&str; 5] =
    ["BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"];

/// Whether the same request may succeed when it is sent again.
pub(super) fn is_worth_another_try(error: &Error) -> bool {
    error.is_temporary() || code_of(error).is_some_and(|code| DAMAGED_ON_THE_WAY.contains(&code.as_str()))
}

/// Says what happened, without any part of the credentials.
pub(super) struct Translator {
    place: String,
    bucket: String,
    hidden: Vec<String>,
}

impl Translator {
    pub(super) fn new(place: &str, settings: &S3Settings) -> Self {
        let hidden = match &settings.credentials {
            Credentials::Ambient => vec![],
            Credentials::Keys { access_key_id, secret_access_key, session_token } => [access_key_id, secret_access_key]
                .into_iter()
                .chain(session_token)
                .map(|secret| secret.expose().to_owned())
                .collect(),
        };
        Self { place: place.to_owned(), bucket: settings.bucket.clone(), hidden }
    }

    /// `key` names the object where the request was about one.
    pub(super) fn translate(&self, what: &str, key: Option<&str>, error: &Error) -> TargetError {
        let (place, why) = (self.place.clone(), self.why(error));
        let code = code_of(error).unwrap_or_default();
        let code = code.as_str();
        if FULL.contains(&code) || why.to_ascii_lowercase().contains("storage cap exceeded") {
            return TargetError::Full { place, why };
        }
        if DENIED.contains(&code) || error.kind() == ErrorKind::PermissionDenied {
            return TargetError::Denied { place, what: what.to_owned(), why };
        }
        match (code, error.kind(), key) {
            ("NoSuchBucket", ..) => {
                TargetError::Unreachable { place, why: format!("there is no bucket `{}`", self.bucket) }
            }
            ("PermanentRedirect" | "TemporaryRedirect" | "Redirect", ..) => TargetError::Unreachable {
                place,
                why: format!("the bucket is served elsewhere; set its `region` and `endpoint`: {why}"),
            },
            _ if status_of(error).is_some_and(|status| (300..400).contains(&status)) => TargetError::Unreachable {
                place,
                why: format!("it redirects elsewhere, which is never followed; check its `endpoint`: {why}"),
            },
            (_, ErrorKind::NotFound, Some(key)) => TargetError::NotFound { key: key.to_owned(), place },
            (_, ErrorKind::RateLimited, _) => {
                TargetError::Unreachable { place, why: format!("it asked us to slow down: {why}") }
            }
            // Nothing is left but what was still wrong after the last try.
            _ if error.is_temporary() || error.is_persistent() => TargetError::Unreachable { place, why },
            _ => TargetError::Other { place, what: what.to_owned(), why },
        }
    }

    pub(super) fn timed_out(&self, what: &str, secs: u64) -> TargetError {
        TargetError::Unreachable { place: self.place.clone(), why: format!("{what} took longer than {secs} s") }
    }

    fn why(&self, error: &Error) -> String {
        let message = error.message();
        let mut why = match (code_of(error), quoted(message, "message: \"")) {
            (Some(code), Some(text)) if !text.is_empty() => format!("{code}: {text}"),
            (Some(code), _) => code,
            (None, _) if message.is_empty() => match status_of(error) {
                Some(status) => format!("it answered {status} without a reason"),
                None => error.kind().to_string(),
            },
            (None, _) => message.to_owned(),
        };
        // The outermost sources repeat each other's text.
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !why.contains(&text) {
                why = format!("{why}: {text}");
            }
            source = inner.source();
        }
        for hidden in self.hidden.iter().filter(|hidden| !hidden.is_empty()) {
            why = why.replace(hidden.as_str(), "[redacted]");
        }
        let plain: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_MAX).collect();
        plain.trim().trim_end_matches('.').to_owned()
    }
}

/// The S3 error code. opendal keeps a parsed error answer only as the text of its fields.
fn code_of(error: &Error) -> Option<String> {
    quoted(error.message(), "code: \"").filter(|code| !code.is_empty())
}

/// The HTTP status, which opendal keeps only within its printed context.
fn status_of(error: &Error) -> Option<u16> {
    let printed = error.to_string();
    let (_, rest) = printed.split_once("Parts { status: ")?;
    rest.get(..3)?.parse().ok()
}

fn quoted(text: &str, before: &str) -> Option<String> {
    let rest = text.strip_prefix("S3Error { ")?;
    let (_, value) = rest.split_once(before)?;
    let end = value.char_indices().scan(false, |escaped, (at, c)| {
        let closes = c == '"' && !*escaped;
        *escaped = c == '\\' && !*escaped;
        Some((at, closes))
    });
    let at = end.into_iter().find_map(|(at, closes)| closes.then_some(at))?;
    Some(value[..at].replace("\\\"", "\"").replace("\\n", " ").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use crate::targets::s3::Checksum;

    fn answer(kind: ErrorKind, code: &str, message: &str) -> Error {
        let text = format!("S3Error {{ code: {code:?}, message: {message:?}, resource: \"/b/k\", request_id: \"1\" }}");
        Error::new(kind, text)
    }

    fn translate(error: &Error) -> String {
        let settings = S3Settings {
            endpoint: "http://h".to_owned(),
            region: "r".to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            credentials: Credentials::Keys {
                access_key_id: Secret::new("AKID"),
                secret_access_key: Secret::new("hunter2"),
                session_token: Some(Secret::new("tok")),
            },
            virtual_host_style: false,
            checksum: Checksum::None,
        };
        Translator::new("s3://b", &settings).translate("writing `k`", Some("k"), error).to_string()
    }

    fn check(kind: ErrorKind, code: &str, message: &str, expected: &str) {
        assert_eq!(translate(&answer(kind, code, message)), expected);
    }

    #[test]
    fn an_answer_becomes_its_class_and_keeps_the_servers_words() {
        let denied = "s3://b refused writing `k`: SignatureDoesNotMatch: it \"differs\"";
        check(ErrorKind::PermissionDenied, "SignatureDoesNotMatch", "it \"differs\".", denied);
        check(ErrorKind::Unexpected, "ExpiredToken", "old", "s3://b refused writing `k`: ExpiredToken: old");
        check(ErrorKind::PermissionDenied, "AccessDenied", "storage cap exceeded", {
            "s3://b is full: AccessDenied: storage cap exceeded"
        });
        check(ErrorKind::Unexpected, "QuotaExceeded", "", "s3://b is full: QuotaExceeded");
        check(ErrorKind::ConfigInvalid, "NoSuchBucket", "x", "s3://b cannot be reached: there is no bucket `b`");
        check(ErrorKind::NotFound, "NoSuchKey", "x", "object `k` is not at s3://b");
        check(ErrorKind::Unexpected, "NotImplemented", "no", "writing `k` at s3://b: NotImplemented: no");
    }

    #[test]
    fn no_key_or_token_that_a_server_quotes_back_is_shown() {
        let text = translate(&answer(ErrorKind::PermissionDenied, "AccessDenied", "AKID hunter2 tok"));
        assert_eq!(text, "s3://b refused writing `k`: AccessDenied: [redacted] [redacted] [redacted]");
    }

    #[test]
    fn a_page_of_html_is_cut_short_and_holds_no_line_breaks() {
        let page = format!("<html>\n{}", "x".repeat(100_000));
        let text = translate(&Error::new(ErrorKind::Unexpected, page));
        assert!(text.len() < 400 && !text.contains('\n'), "{text}");
    }

    #[test]
    fn an_object_that_was_damaged_on_the_way_is_sent_again() {
        assert!(is_worth_another_try(&answer(ErrorKind::Unexpected, "BadDigest", "")));
        assert!(!is_worth_another_try(&answer(ErrorKind::PermissionDenied, "AccessDenied", "")));
    }
}
