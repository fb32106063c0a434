//! The `[source]` table of a Postgres job.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::wire::{ConnectOptions, WireError};
use crate::config::{ConfigError, SecretRef};

/// `type = "postgres"`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `postgres://user@host:port/database?sslmode=verify-full`; a socket folder as `?host=/run/postgresql`. No password.
    pub url: String,
    pub password: Option<SecretRef>,
    /// `"all"` of the server, or a list; by default the one that the URL names.
    pub databases: Option<Databases>,
    /// Left out of `"all"`: names, with `*` and `?`.
    #[serde(default)]
    pub exclude_databases: Vec<String>,
    /// Left out with everything in them: names, with `*` and `?`.
    #[serde(default)]
    pub exclude_schemas: Vec<String>,
    /// Left out, schema and rows: `schema.table`, with `*` and `?`.
    #[serde(default)]
    pub exclude_tables: Vec<String>,
    /// How long to wait for a table that is locked exclusively: `30s`.
    pub lock_timeout: Option<String>,
    /// How long the server may send nothing: `10m`.
    pub stall_timeout: Option<String>,
    /// Where `pg_dump` and `pg_dumpall` are, if not in the usual places.
    pub client_directory: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Databases {
    /// `"all"`, or one name.
    Word(String),
    List(Vec<String>),
}

/// The table, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub options: ConnectOptions,
    pub password: Option<SecretRef>,
    pub databases: Selection,
    pub exclude_databases: Vec<String>,
    pub exclude_schemas: Vec<String>,
    pub exclude_tables: Vec<String>,
    pub lock_timeout: Duration,
    pub client_directory: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    All,
    These(Vec<String>),
}

pub const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

impl PostgresConfig {
    /// Checks what can be checked without a network.
    pub fn settle(self) -> Result<Settings, ConfigError> {
        let wrong = |text: String| ConfigError { rendered: text };
        let mut options =
            ConnectOptions::parse(&self.url, None).map_err(|error: WireError| wrong(error.to_string()))?;
        if options.password.is_some() {
            return Err(wrong(
                "`url` holds a password; write it elsewhere and point to it: `password = { file = \"/run/secrets/pg\" }`"
                    .to_owned(),
            ));
        }
        if let Some(text) = &self.stall_timeout {
            options.stall_timeout = Some(duration("stall_timeout", text)?);
        }
        let databases = match self.databases {
            None => Selection::These(vec![options.database.clone()]),
            Some(Databases::Word(word)) if word == "all" => Selection::All,
            Some(Databases::Word(name)) => Selection::These(vec![name]),
            Some(Databases::List(names)) if names.is_empty() => {
                return Err(wrong("`databases` is empty: name at least one, or write `\"all\"`".to_owned()));
            }
            Some(Databases::List(mut names)) => {
                names.sort();
                names.dedup();
                Selection::These(names)
            }
        };
        if !self.exclude_databases.is_empty() && databases != Selection::All {
            return Err(wrong("`exclude_databases` needs `databases = \"all\"`".to_owned()));
        }
        if let Some(pattern) = self.exclude_tables.iter().find(|pattern| !pattern.contains('.')) {
            return Err(wrong(format!("`exclude_tables` has `{pattern}`: write `schema.table`, or `*.{pattern}`")));
        }
        let lock_timeout = match &self.lock_timeout {
            Some(text) => duration("lock_timeout", text)?,
            None => LOCK_TIMEOUT,
        };
        Ok(Settings {
            options,
            password: self.password,
            databases,
            exclude_databases: self.exclude_databases,
            exclude_schemas: self.exclude_schemas,
            exclude_tables: self.exclude_tables,
            lock_timeout,
            client_directory: self.client_directory,
        })
    }
}

fn duration(key: &str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = |why: String| ConfigError { rendered: format!("`{key}` is `{text}`: {why}; write `30s` or `10m`") };
    let span: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
    match Duration::try_from(span) {
        Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        _ => Err(wrong("it must be at least a second".to_owned())),
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text and `?` for one character.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on when the last `*` has to stand for one character more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Section;

    fn settle(text: &str) -> Result<Settings, String> {
        let config: PostgresConfig = Section::from_text(text).unwrap().parse().map_err(|error| error.to_string())?;
        config.settle().map_err(|error| error.to_string())
    }

    #[test]
    fn a_job_takes_the_database_of_its_url_unless_told_otherwise() {
        let one = settle("type = 'postgres'\nurl = 'postgres://b@h/social'").unwrap();
        assert_eq!(one.databases, Selection::These(vec!["social".into()]));
        assert_eq!(one.lock_timeout, LOCK_TIMEOUT);
        let all =
            "type = 'postgres'\nurl = 'postgres://b@h/x'\ndatabases = 'all'\nlock_timeout = '5s'\nstall_timeout = '2m'";
        let all = settle(all).unwrap();
        assert_eq!((all.databases, all.lock_timeout.as_secs()), (Selection::All, 5));
        assert_eq!(all.options.stall_timeout, Some(Duration::from_mins(2)));
    }

    #[test]
    fn mistakes_are_refused_with_what_to_write() {
        for (extra, says) in [
            ("urll = 'x'", "urll"),
            ("lock_timeout = 'soon'", "write `30s`"),
            ("exclude_tables = ['audit']", "`*.audit`"),
            ("databases = []", "name at least one"),
            ("exclude_databases = ['x']", "needs `databases"),
        ] {
            let error = settle(&format!("type = 'postgres'\nurl = 'postgres://b@h/social'\n{extra}")).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let error = settle("type = 'postgres'\nurl = 'postgres://b:hunter2@h/social'").unwrap_err();
        assert!(error.contains("password = {") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("public.log_*", "public.log_2024", true),
            ("public.log_*", "public.logs", false),
            ("*.a?c", "s.abc", true),
            ("*", "", true),
            ("a*b*c", "a--b--b-c", true),
            ("a", "ab", false),
            ("p.ünï?", "p.ünïx", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
