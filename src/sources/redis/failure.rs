//! How errors of the wire are told to `operations`.

use super::wire::{Code, ServerError, WireError};
use crate::sources::SourceError;

/// Gives an error of the wire its class and its hint. `what` says what was being done, and where.
pub(super) fn wire(what: impl Into<String>, error: WireError) -> SourceError {
    let what = what.into();
    let why = error.to_string();
    let hint = |text: &str| text.to_owned();
    match error {
        WireError::Cancelled => SourceError::Cancelled,
        WireError::Url { .. } => SourceError::Refused { what, why, hint: hint("write it as `redis://host:6379`") },
        WireError::Connect { .. } => {
            SourceError::Unreachable { what, why, hint: hint("is the server running, and does it listen there?") }
        }
        WireError::Tls { .. } => SourceError::Unreachable {
            what,
            why,
            hint: hint("`tls_ca` names who signed the server's certificate; `tls_cert` and `tls_key` show who we are"),
        },
        WireError::Stalled { .. } => SourceError::Failed {
            what,
            why,
            hint: hint("the network or the server hangs; `stall_timeout` sets how long to wait"),
        },
        WireError::NotReady { .. } => {
            SourceError::Unreachable { what, why, hint: hint("`ready_timeout` sets how long to wait for it") }
        }
        WireError::Broken(_) => SourceError::Failed {
            what,
            why,
            hint: hint(
                "the server's log says why; it drops a reader that is slower than `repl-timeout` or \
                 `client-output-buffer-limit replica` allows: a larger `spool` lets a target be slower",
            ),
        },
        WireError::Protocol(_) => SourceError::Failed { what, why, hint: String::new() },
        WireError::Server(error) => server(what, why, &error),
    }
}

fn is_replication(error: &ServerError) -> bool {
    matches!(error.command.as_str(), "PSYNC" | "SYNC")
}

fn server(what: String, why: String, error: &ServerError) -> SourceError {
    let hint = |text: &str| text.to_owned();
    match error.code {
        Code::NoAuth => {
            SourceError::Refused { what, why, hint: hint("set `password = { file = ... }` in the job's `[source]`") }
        }
        Code::WrongPass => SourceError::Refused { what, why, hint: hint("check `username` and `password`") },
        Code::NoPerm if is_replication(error) => SourceError::Refused {
            what,
            why,
            hint: hint(
                "a dump needs `ACL SETUSER user +psync +replconf +ping +info`; where that cannot be had, \
                 `allow_fuzzy = true` reads key by key",
            ),
        },
        Code::NoPerm => {
            let command = error.command.to_ascii_lowercase().replace(' ', "|");
            SourceError::Refused { what, why, hint: format!("`ACL SETUSER user +{command}` permits it") }
        }
        Code::Unknown if is_replication(error) => SourceError::Refused {
            what,
            why,
            hint: hint("the provider took the command away; `allow_fuzzy = true` reads key by key instead"),
        },
        Code::Unknown => SourceError::Refused {
            what,
            why,
            hint: hint("the server is too old, or its provider took the command away"),
        },
        Code::Denied => SourceError::Refused {
            what,
            why,
            hint: hint("the server's protected mode lets in nobody from elsewhere without a password"),
        },
        Code::Loading | Code::NoMasterLink | Code::MasterDown | Code::ClusterDown | Code::Trouble => {
            SourceError::Unreachable { what, why, hint: hint("the server is in trouble of its own; try again later") }
        }
        Code::Moved => SourceError::Changed { what, why, hint: hint("the cluster moved slots while it was read") },
        Code::Other => SourceError::Failed { what, why, hint: String::new() },
    }
}
