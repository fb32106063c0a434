//! How errors of the wire and of client programs are told to `operations`.

use super::wire::{ServerError, WireError};
use crate::sources::SourceError;
use crate::system::process::ProcessError;

/// The standby had to replay what the backup's locks or snapshot stood against.
const RECOVERY_HINT: &str = "set `hot_standby_feedback = on` or a larger `max_standby_streaming_delay` on the standby";

/// Gives an error of the wire its class and its hint. `what` says what was being done, and where.
pub(super) fn wire(what: impl Into<String>, error: WireError) -> SourceError {
    let what = what.into();
    let why = error.to_string();
    match error {
        WireError::Cancelled => SourceError::Cancelled,
        WireError::Url { .. } => {
            SourceError::Refused { what, why, hint: "write it as `postgres://user@host/database`".to_owned() }
        }
        WireError::Connect { .. } => {
            SourceError::Unreachable { what, why, hint: "is the server running, and does it listen there?".to_owned() }
        }
        WireError::Tls { .. } => SourceError::Unreachable {
            what,
            why,
            hint: "`sslmode` and `sslrootcert` in the URL say what is demanded".to_owned(),
        },
        WireError::Auth { .. } => SourceError::Refused {
            what,
            why,
            hint: "set `password = { file = ... }` in the job's `[source]`".to_owned(),
        },
        WireError::Pooled(_) => {
            SourceError::Refused { what, why, hint: "use the server's own port instead of the pooler's".to_owned() }
        }
        WireError::Stalled { .. } => SourceError::Failed {
            what,
            why,
            hint: "the network or the server hangs; `stall_timeout` sets how long to wait".to_owned(),
        },
        WireError::Broken(_) => {
            SourceError::Failed { what, why, hint: "the server's log says why it closed the connection".to_owned() }
        }
        WireError::Protocol(_) => SourceError::Failed { what, why, hint: String::new() },
        WireError::Server(error) => server(what, why, &error),
    }
}

fn server(what: String, why: String, error: &ServerError) -> SourceError {
    let hint = |text: &str| text.to_owned();
    if error.message.contains("conflict with recovery") {
        let hint = hint(RECOVERY_HINT);
        return SourceError::Changed { what, why, hint };
    }
    match error.sqlstate.as_str() {
        code if code.starts_with("28") => SourceError::Refused {
            what,
            why,
            hint: hint("check the user, the password and the server's `pg_hba.conf`"),
        },
        "3D000" => SourceError::Refused { what, why, hint: hint("the URL's path names the database") },
        "42501" => SourceError::Refused {
            what,
            why,
            hint: hint("grant the role what it lacks: `GRANT pg_read_all_data TO role` reads every table"),
        },
        "55P03" => SourceError::Changed {
            what,
            why,
            hint: hint("another session holds or waits for an exclusive lock; end it, or raise `lock_timeout`"),
        },
        "53200" if error.message.contains("shared memory") => SourceError::Refused {
            what,
            why,
            hint: hint("raise `max_locks_per_transaction` on the server and restart it"),
        },
        "53300" | "57P03" | "57P01" | "57P02" => {
            SourceError::Unreachable { what, why, hint: hint("the server takes no more connections just now") }
        }
        // `XX000` is also what a catalog lookup says that lost a race against DDL; corruption has codes of its own.
        "42P01" | "42703" | "3F000" | "40001" | "XX000" => {
            SourceError::Changed { what, why, hint: hint("the schema was changed while it was read") }
        }
        _ => SourceError::Failed { what, why, hint: error.hint.clone().unwrap_or_default() },
    }
}

/// An error of `pg_dump` or `pg_dumpall`; its last words say more than its status.
pub(super) fn process(what: impl Into<String>, error: &ProcessError) -> SourceError {
    let (what, why) = (what.into(), error.to_string());
    // `--lock-wait-timeout` is a statement timeout to the server.
    if why.contains("conflict with recovery") {
        return SourceError::Changed { what, why, hint: RECOVERY_HINT.to_owned() };
    }
    let waited = ["could not obtain lock", "lock timeout", "statement timeout"];
    if waited.iter().any(|words| why.contains(words)) {
        let hint = "another session took or waits for an exclusive lock".to_owned();
        return SourceError::Changed { what, why, hint };
    }
    if why.contains("permission denied") {
        return SourceError::Refused { what, why, hint: "grant the role what it lacks, or exclude it".to_owned() };
    }
    SourceError::Failed { what, why, hint: String::new() }
}
