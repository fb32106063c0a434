//! Roles and their settings, from what `pg_dumpall --globals-only` wrote.
//!
//! In scratch everything is applied. In a user's server a role that exists stays as it is, and what the user may not do is
//! told. Tablespaces are never made: they are folders of another machine.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::feed::Feed;
use super::statements::{leading_name, statements};
use super::trouble;
use crate::domain::{PartName, PartStore};
use crate::sources::SourceError;
use crate::sources::postgres::wire::{Connection, WireError};

/// Roles and settings are small; a part beyond this is none.
const GLOBALS_BYTES_MAX: usize = 256 << 20;

/// Reads a part that is small enough to hold.
pub(super) async fn read_small(
    store: &Arc<dyn PartStore>,
    part: &PartName,
    bytes_max: usize,
) -> Result<Vec<u8>, SourceError> {
    let mut feed = Feed::start(store, part);
    let mut held = Vec::new();
    while let Some(piece) = feed.next().await? {
        if held.len() + piece.len() > bytes_max {
            return Err(SourceError::Failed {
                what: format!("part `{part}`"),
                why: format!("it is longer than {bytes_max} bytes"),
                hint: String::new(),
            });
        }
        held.extend_from_slice(&piece);
    }
    Ok(held)
}

/// Applies the part; returns what a person should know.
pub(super) async fn apply(
    connection: &mut Connection,
    store: &Arc<dyn PartStore>,
    part: &PartName,
    scratch: bool,
) -> Result<Vec<String>, SourceError> {
    let text = read_small(store, part, GLOBALS_BYTES_MAX).await?;
    let sql = String::from_utf8_lossy(&text);
    let failed = |error| trouble::wire("roles of the snapshot", error);
    let rows = connection.query("SELECT rolname FROM pg_catalog.pg_roles").await.map_err(failed)?;
    let existing: BTreeSet<String> = rows.iter().filter_map(|row| row.text(0).map(str::to_owned)).collect();
    let mut warnings = Vec::new();
    for statement in statements(&sql) {
        match fate(statement, &existing, scratch) {
            Fate::Run => {}
            Fate::Skip => continue,
            Fate::Tell(warning) => {
                warnings.push(warning);
                continue;
            }
        }
        match connection.execute(statement).await {
            Ok(_) => {}
            // The first words name the role; the rest may hold a password.
            Err(WireError::Server(error)) if !scratch => {
                let words: Vec<&str> = statement.split_whitespace().take(3).collect();
                warnings.push(format!("`{} ...` was not applied: {error}", words.join(" ")));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(warnings)
}

enum Fate {
    Run,
    Skip,
    Tell(String),
}

fn fate(statement: &str, existing: &BTreeSet<String>, scratch: bool) -> Fate {
    let first = |prefix: &str| {
        let (name, rest) = leading_name(statement.strip_prefix(prefix)?)?;
        Some((name, rest.trim_start().to_owned()))
    };
    if statement.contains("TABLESPACE") && !statement.starts_with("ALTER ROLE") {
        let made = first("CREATE TABLESPACE ").filter(|_| !scratch);
        return made.map_or(Fate::Skip, |(name, _)| {
            Fate::Tell(format!("tablespace `{name}` was not made; everything is in the default one"))
        });
    }
    if let Some((name, _)) = first("CREATE ROLE ") {
        return match existing.contains(&name) {
            false => Fate::Run,
            true if scratch => Fate::Skip,
            true => Fate::Tell(format!("role `{name}` exists and stays as it is")),
        };
    }
    let of_role = first("ALTER ROLE ").or_else(|| first("COMMENT ON ROLE "));
    if of_role.is_some_and(|(name, _)| !scratch && existing.contains(&name)) {
        return Fate::Skip;
    }
    Fate::Run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(statement: &str, scratch: bool) -> bool {
        matches!(fate(statement, &BTreeSet::from(["the \"app\"".to_owned()]), scratch), Fate::Run)
    }

    #[test]
    fn a_role_that_exists_is_left_alone_in_a_users_server_and_made_equal_in_scratch() {
        assert!(!run("CREATE ROLE \"the \"\"app\"\"\"", true));
        assert!(run("ALTER ROLE \"the \"\"app\"\"\" WITH SUPERUSER", true));
        assert!(!run("ALTER ROLE \"the \"\"app\"\"\" WITH SUPERUSER", false));
        assert!(run("CREATE ROLE other", false));
        assert!(run("ALTER ROLE other WITH LOGIN", false));
    }

    #[test]
    fn tablespaces_are_not_made_but_a_roles_setting_may_speak_of_one() {
        assert!(!run("CREATE TABLESPACE fast OWNER x LOCATION '/mnt/fast'", true));
        assert!(run("ALTER ROLE other SET default_tablespace TO 'TABLESPACE'", true));
    }
}
