//! What opendal's errors mean, in words that hold no secret.

use std::error::Error as _;

use opendal::{Error, ErrorKind};

use crate::domain::Secret;
use crate::sources::SourceError;

/// How much of a server's own words an error quotes, characters.
const QUOTE_MAX: usize = 300;

pub(super) struct Translator {
    hidden: Vec<Secret>,
}

impl Translator {
    pub(super) fn new(hidden: Vec<Secret>) -> Self {
        Self { hidden }
    }

    /// `what` says where, too.
    pub(super) fn translate(&self, what: String, error: &Error) -> SourceError {
        let mut why = plain(error);
        for hidden in self.hidden.iter().filter(|hidden| !hidden.expose().is_empty()) {
            why = why.replace(hidden.expose(), "[redacted]");
        }
        let refused = |why: String, hint: &str| SourceError::Refused { what: what.clone(), why, hint: hint.to_owned() };
        match (status_of(error), error.kind()) {
            (Some(300..=399), _) => {
                refused(format!("the store redirects: {why}"), "nothing is followed; check `endpoint`")
            }
            (Some(401 | 403 | 407), _) | (_, ErrorKind::PermissionDenied) => {
                refused(why, "check the keys, when they expire, and that they may list and read")
            }
            (Some(404), _) | (_, ErrorKind::NotFound) => {
                refused(why, "check the names of the bucket or container and of the account, and `endpoint`")
            }
            (_, ErrorKind::ConfigInvalid) => refused(why, "check the keys and names of the job"),
            // The key is read and signs before anything is sent.
            _ if error.to_string().contains("signing http request") => {
                refused(why, "check the keys; a service account's is the whole text of its JSON file")
            }
            _ => SourceError::Unreachable { what, why, hint: "run again; what was read is found again".to_owned() },
        }
    }
}

/// The store's own words where it has any, and what lies below.
pub(super) fn plain(error: &Error) -> String {
    let message = error.message();
    let quoted = |field: &str| quoted(message, field).filter(|text| !text.is_empty());
    let mut why = match (quoted("code: \""), quoted("message: \"")) {
        (Some(code), Some(said)) => format!("{said} ({code})"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) if message.trim().is_empty() => {
            status_of(error).map_or_else(|| error.kind().to_string(), |status| format!("it answered {status}"))
        }
        (None, None) => message.to_owned(),
    };
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        source = inner.source();
    }
    let line: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTE_MAX).collect();
    line.trim().trim_end_matches('.').to_owned()
}

/// The HTTP status, which opendal keeps only within its printed context.
fn status_of(error: &Error) -> Option<u16> {
    let printed = error.to_string();
    let (_, rest) = printed.split_once("Parts { status: ")?;
    rest.get(..3)?.parse().ok()
}

/// A field of an answer that opendal keeps only as the text of its fields.
fn quoted(text: &str, before: &str) -> Option<String> {
    let (_, value) = text.split_once(before)?;
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

    #[test]
    fn an_answer_becomes_a_line_without_any_secret() {
        let said = "AzblobError { code: \"AuthenticationFailed\", message: \"hunter2 does not sign.\\nTime:1\" }";
        let error = Error::new(ErrorKind::PermissionDenied, said);
        let told =
            Translator::new(vec![Secret::new("hunter2"), Secret::new("")]).translate("listing".to_owned(), &error);
        assert_eq!(told.to_string(), "listing: [redacted] does not sign. Time:1 (AuthenticationFailed)");
        assert!(matches!(&told, SourceError::Refused { hint, .. } if hint.contains("check the keys")));
        let page = Error::new(ErrorKind::Unexpected, format!("<html>\n{}", "x".repeat(10_000)));
        let told = Translator::new(vec![]).translate("listing".to_owned(), &page).to_string();
        assert!(told.len() < 400 && !told.contains('\n'), "{told}");
    }
}
