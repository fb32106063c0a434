//! Configuration that is valid by construction: names refer to things that exist, durations are durations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{SecretRef, Section};
use crate::domain::{JobName, TargetName};

#[derive(Debug, Clone)]
pub struct Config {
    /// `lifeboat.toml`.
    pub file: PathBuf,
    /// Catalog, chunk cache, spool, writer keys. Absolute.
    pub state: PathBuf,
    pub keys: Keys,
    pub targets: BTreeMap<TargetName, Section>,
    pub scratch: ScratchConfig,
    /// Of `[notify.NAME]`.
    pub notify: BTreeMap<String, Section>,
    /// Sorted by name.
    pub jobs: Vec<Job>,
    /// Not errors, but a person should know: a secret's file that everybody can read.
    pub warnings: Vec<String>,
}

impl Config {
    pub fn job(&self, name: &JobName) -> Option<&Job> {
        self.jobs.iter().find(|job| job.name == *name)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Who can restore: `age1...`, `ssh-ed25519 ...`.
    pub recipients: Vec<String>,
    /// An age identity file's text ([`SecretRef::resolve_whole`]: such a file has comments); absent on a write-only host.
    pub identity: Option<SecretRef>,
    /// minisign public keys whose snapshots are trusted, beside this installation's own.
    pub trusted_writers: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct ScratchConfig {
    /// Where scratch instances live; default: a folder of its own below the system's temporary directory.
    pub directory: Option<PathBuf>,
    /// Of `[scratch.ENGINE]`, parsed by the scratch room.
    pub engines: BTreeMap<String, Section>,
}

#[derive(Debug, Clone)]
pub struct Job {
    pub name: JobName,
    pub file: PathBuf,
    /// `type` of the `[source]` table.
    pub kind: String,
    pub source: Section,
    pub schedule: Option<Schedule>,
    pub backup: BackupPolicy,
    pub retention: Retention,
    pub restore_test: Option<RestoreTestPolicy>,
}

#[derive(Debug, Clone)]
pub struct Schedule {
    /// Five fields or `@daily`, as written; checked.
    pub cron: String,
    /// IANA name, checked.
    pub timezone: String,
    pub splay: Duration,
    pub catch_up: String,
    pub overlap: String,
}

#[derive(Debug, Clone)]
pub struct BackupPolicy {
    /// At least one, each defined; all targets of the configuration when the job names none.
    pub targets: Vec<TargetName>,
    /// How many targets must hold the snapshot for the run to count; 1 to the number of targets; default all.
    pub quorum: usize,
    /// Parallel streams; default: the machine's cores, at most 4.
    pub lanes: usize,
    /// zstd level, 1 to 19; default 2.
    pub level: i32,
    pub guard: Guard,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Guard {
    pub min_bytes: Option<u64>,
    /// 0.0 to 1.0.
    pub max_shrink: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
    pub within: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
pub struct RestoreTestPolicy {
    pub cron: Option<String>,
    /// Targets to restore from; empty means each.
    pub from: Vec<TargetName>,
    pub rto: Option<Duration>,
    pub rpo: Option<Duration>,
    /// How many things a test restores, drawn at random; `None`: everything.
    pub sample: Option<u64>,
    /// `[[restore_test.check]]` tables, parsed by the proof room.
    pub checks: Vec<Section>,
}
