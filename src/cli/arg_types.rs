//! What single arguments can be: a snapshot's choice, a destination, the targets of a test.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::config::value::parse_duration;
use crate::domain::{JobName, SnapshotId, TargetName};

/// `JOB`, `JOB@latest`, `JOB@ID` or `JOB@TIME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotChoice {
    pub job: JobName,
    pub selector: Selector,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Latest,
    Id(SnapshotId),
    /// The newest snapshot that is not younger than this.
    At(Timestamp),
}

impl FromStr for SnapshotChoice {
    type Err = String;

    /// A job's name holds no `@`, so the first one ends it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (job, selector) = text.split_once('@').map_or((text, None), |(job, selector)| (job, Some(selector)));
        let job = job_name(job)?;
        let selector = match selector {
            None | Some("latest") => Selector::Latest,
            Some(selector) => {
                // A year of sixteen digits is none, so an id is never read as a time.
                SnapshotId::new(selector).map(Selector::Id).or_else(|_| moment(selector).map(Selector::At))?
            }
        };
        Ok(Self { job, selector })
    }
}

impl fmt::Display for SnapshotChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Latest => write!(f, "{}@latest", self.job),
            Selector::Id(id) => write!(f, "{}@{id}", self.job),
            Selector::At(at) => write!(f, "{}@{at}", self.job),
        }
    }
}

/// `2026-08-21T02:00:00Z`, `2026-08-21T02:00` (local), `2026-08-21` (the end of that day, local).
fn moment(text: &str) -> Result<Timestamp, String> {
    let refusal = || {
        format!(
            "`{text}` is neither `latest`, nor a snapshot id (16 hexadecimal digits), nor a time (`2026-08-21T02:00:00Z`, `2026-08-21`)"
        )
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let local = if text.contains(['T', 't', ' ']) {
        text.parse::<DateTime>().map_err(|_| refusal())?
    } else {
        text.parse::<Date>().map_err(|_| refusal())?.at(23, 59, 59, 999_999_999)
    };
    local.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp()).map_err(|_| refusal())
}

/// Where a restore goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `postgres://user@host/database`, `redis://host:6379`, or `command:` for the job's own `restore`; without a password, which [`Cli::read`] makes sure of.
    Server(String),
    Directory(PathBuf),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "command:" {
            return Ok(Self::Server(text.to_owned()));
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return if text.is_empty() { Err("an empty path".into()) } else { Ok(Self::Directory(text.into())) };
        };
        if password_variable(scheme).is_none() {
            return Err(format!(
                "scheme `{scheme}` is not known: name a folder, `postgres://...`, `redis://...`, `unix:///...`, `s3://bucket/prefix` or `command:`"
            ));
        }
        Ok(Self::Server(text.to_owned()))
    }
}

/// The environment variable that the engine's own client takes a password from; `None` for a scheme of no engine.
pub fn password_variable(scheme: &str) -> Option<&'static str> {
    match scheme {
        "postgres" | "postgresql" => Some("PGPASSWORD"),
        // The store's own tools take the key's id and a token of keys that expire from beside it.
        "s3" => Some("AWS_SECRET_ACCESS_KEY"),
        "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" | "valkey+unix" => Some("REDISCLI_AUTH"),
        _ => None,
    }
}

/// Which targets a restore test reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromTargets {
    Each,
    One(TargetName),
}

impl FromStr for FromTargets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "each" { Ok(Self::Each) } else { target_name(text).map(Self::One) }
    }
}

pub(super) fn job_name(text: &str) -> Result<JobName, String> {
    JobName::new(text).map_err(|error| error.to_string())
}

pub(super) fn target_name(text: &str) -> Result<TargetName, String> {
    TargetName::new(text).map_err(|error| error.to_string())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|(headline, hint)| format!("{headline}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_chosen_by_latest_id_or_time() {
        let chosen = |text: &str| text.parse::<SnapshotChoice>().map(|choice| choice.selector);
        assert_eq!(chosen("social").unwrap(), Selector::Latest);
        assert_eq!(chosen("social@latest").unwrap(), Selector::Latest);
        let id = SnapshotId::new("0123456789abcdef").unwrap();
        assert_eq!(chosen("social@0123456789abcdef").unwrap(), Selector::Id(id));
        let at: Timestamp = "2026-08-21T02:00:00Z".parse().unwrap();
        assert_eq!(chosen("social@2026-08-21T02:00:00Z").unwrap(), Selector::At(at));
        assert_eq!(chosen("social@2026-08-21T04:00:00+02:00").unwrap(), Selector::At(at));
        assert!(matches!(chosen("social@2026-08-21T02:00").unwrap(), Selector::At(_)));
        assert!(matches!(chosen("social@2026-08-21").unwrap(), Selector::At(_)));
        for bad in ["@latest", "social@", "social@newest", "social@2026-13-01", "a/b@latest"] {
            assert!(bad.parse::<SnapshotChoice>().is_err(), "{bad}");
        }
        let spaced: SnapshotChoice = "it's \"odd\" 名@latest".parse().unwrap();
        assert_eq!(spaced.job.as_str(), "it's \"odd\" 名");
    }
}
