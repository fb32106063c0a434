//! What a job asks of its restored system: `[[restore_test.check]]` tables.
//!
//! A new kind of check is one file and one line in [`kinds`]. A check never fails to give a result: what cannot be asked did
//! not hold, and says why.

pub mod client;
mod command;
mod expectation;
mod question;
mod sql;

use async_trait::async_trait;
use command::Command;
use jiff::Timestamp;
use sql::Query;

use crate::config::{ConfigError, Section};
use crate::domain::Place;
use crate::domain::verdict::CheckResult;

/// One configured check.
#[async_trait]
pub trait Check: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &str;
    /// What must hold, for people: `>= 5, at most 26h before the snapshot`.
    fn expected(&self) -> String;
    async fn run(&self, restored: &Restored<'_>) -> CheckResult;
}

/// The restored system that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Restored<'a> {
    pub place: &'a Place,
    /// Where a check looks that names no database itself; `None` takes the one in the place's URL.
    pub database: Option<&'a str>,
    /// The instant of the snapshot: ages count back from here, not from today.
    pub instant: Timestamp,
}

type Configure = fn(&Section) -> Result<Box<dyn Check>, ConfigError>;
type Schema = fn() -> schemars::Schema;

/// The kinds of checks, each by the key that marks its table, and the kind of source that can be asked so.
const KINDS: [(&str, &str, Configure, Schema); 2] = [
    ("sql", "postgres", question::configure::<Query>, question::schema::<Query>),
    ("command", "redis", question::configure::<Command>, question::schema::<Command>),
];

/// The JSON Schema of each kind's table, for editors.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    KINDS.iter().map(|(key, _, _, schema)| (*key, schema())).collect()
}

/// Reads one `[[restore_test.check]]` table of a job whose source is of `kind`.
pub fn configure(section: &Section, kind: &str) -> Result<Box<dyn Check>, ConfigError> {
    if let Some((key, asks, configure, _)) = KINDS.iter().find(|(key, ..)| section.text(key).is_some()) {
        if *asks != kind {
            let hint = match KINDS.iter().find(|(_, asks, ..)| *asks == kind) {
                Some((key, ..)) => format!("a job of `{kind}` is asked by `{key} = \"...\"`"),
                None if kind == "command" => "such a job is checked by its own `test`, in `[source]`".to_owned(),
                None => format!("a job of `{kind}` cannot be asked anything yet"),
            };
            return Err(section.error_at(key, format!("`{key}` asks a `{asks}`, and the job is of `{kind}`"), hint));
        }
        return configure(section);
    }
    let keys: Vec<String> = KINDS.iter().map(|(key, ..)| format!("`{key}`")).collect();
    Err(ConfigError { rendered: format!("a check needs one of {} as text", keys.join(", ")) })
}

/// Runs the checks one after the other; as many results as checks, in their order.
pub async fn run_checks(checks: &[Box<dyn Check>], restored: &Restored<'_>) -> Vec<CheckResult> {
    let mut results = Vec::with_capacity(checks.len());
    for check in checks {
        results.push(check.run(restored).await);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let section = Section::from_text(text).unwrap();
        let kind = if text.contains("command") { "redis" } else { "postgres" };
        configure(&section, kind).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_check_that_expects_nothing_or_asks_nothing_is_a_configuration_error() {
        let cases = [
            ("sql = 'select 1'", "expects nothing"),
            ("name = 'x'\nmin = 1", "needs one of `sql`"),
            ("sql = 'select 1'\nminimum = 1", "unknown key"),
            ("sql = 'select 1'\nmax_age = 'soon'", "soon"),
            ("sql = 'select 1'\nmax_age = '-5h'", "-5h"),
            ("sql = ' '\nmin = 1", "empty"),
            ("command = 'LLEN q'", "expects nothing"),
            ("command = ' '\nmin = 1", "empty"),
            ("command = 'GET \"x'\nmin = 1", "quote"),
        ];
        for (text, expected) in cases {
            assert!(error(text).contains(expected), "{text}: {}", error(text));
        }
        assert_eq!(error("sql = 'select 1'\nmin = 1\nmax = 2.5\nequals = 'a'\nmax_age = '1d 2h'\ndatabase = 'x'"), "");
    }

    #[test]
    fn a_check_of_another_engine_is_refused_where_it_is_written() {
        for (text, kind, says) in [
            ("sql = 'select 1'\nmin = 1", "redis", "`command = "),
            ("command = 'DBSIZE'\nmin = 1", "postgres", "`sql = "),
            ("command = 'DBSIZE'\nmin = 1", "files", "cannot be asked"),
            ("command = './check'\nmin = 1", "command", "its own `test`"),
            ("sql = 'select 1'\nmin = 1", "command", "its own `test`"),
        ] {
            let error = configure(&Section::from_text(text).unwrap(), kind).err().unwrap().to_string();
            assert!(error.contains(says) && error.contains('^'), "{error}");
        }
    }

    #[test]
    fn a_check_without_a_name_is_named_by_its_query() {
        let named = |text: &str| configure(&Section::from_text(text).unwrap(), "postgres").unwrap().name().to_owned();
        assert_eq!(named("sql = 'select 1'\nmin = 1"), "`select 1`");
        assert_eq!(named("sql = 'select 1'\nname = 'recent posts'\nmin = 1"), "\"recent posts\"");
    }
}
