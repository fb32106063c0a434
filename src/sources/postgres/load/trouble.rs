//! How errors of a destination are told: what a dump takes for a changed source is here an ordinary failure.

use crate::sources::SourceError;
use crate::sources::postgres::failure;
use crate::sources::postgres::wire::{ServerError, WireError};

/// Gives an error of the wire its class and its hint.
pub(super) fn wire(what: impl Into<String>, error: WireError) -> SourceError {
    let denied = error.sqlstate() == Some("42501");
    let own_hint = error.server().and_then(|error: &ServerError| error.hint.clone()).unwrap_or_default();
    match failure::wire(what, error) {
        SourceError::Changed { what, why, .. } => SourceError::Failed { what, why, hint: own_hint },
        SourceError::Refused { what, why, .. } if denied => SourceError::Refused {
            what,
            why,
            hint: "restore as a superuser, or as a role that may create databases and owns what is restored".to_owned(),
        },
        other => other,
    }
}
