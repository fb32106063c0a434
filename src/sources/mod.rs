//! Reads live systems into streams of parts, and loads parts into a system again.
//!
//! A source kind is one folder and one line in [`registry`]. What a source must never do: buffer a part, write to the live
//! system, or decide where its bytes go. Memory: a few blocks for each lane, bounded in [`bridge`].

pub mod bridge;
pub mod command;
pub mod files;
pub mod git;
mod network;
pub mod objects;
pub mod postgres;
pub mod redis;
pub mod registry;
mod tree;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::domain::record::Statement;
use crate::domain::verdict::CheckResult;
use crate::domain::{
    Fingerprint, Gap, Names, PackNumber, PartName, PartSink, PartStore, Place, Progress, Sampled, ScratchNeeds,
    SourceRecord,
};

/// What every long operation of a source gets.
#[derive(Clone)]
pub struct Context {
    /// The job's name, for progress events.
    pub job: String,
    pub progress: Arc<dyn Progress>,
    pub cancel: CancellationToken,
    /// How many streams may run at once (connections, threads).
    pub lanes: usize,
    /// A private folder for small temporary files; removed by the caller.
    pub work: std::path::PathBuf,
    /// The job's own folder in the state folder, for what helps the next run and may be lost; not made until it is used.
    pub keep: std::path::PathBuf,
}

/// One configured live system.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it is, for people, without secrets: `postgres db.internal/social`.
    fn describe(&self) -> String;
    /// Connects, checks, and says what will and will not be in the backup. Writes nothing.
    async fn preflight(&self, context: &Context) -> Result<Preflight, SourceError>;
    /// Streams every part into `sink`. On an error nothing that was written may be committed.
    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError>;
    /// The snapshot of the last dump is committed, and its blobs lie in these packs: what the dump noted for the next one counts.
    fn committed(&self, _context: &Context, _packs: &[(PackNumber, [u8; 32])]) -> Result<(), SourceError> {
        Ok(())
    }
}

/// What a preflight found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Preflight {
    /// Facts worth a line each: `server 15.18, primary`, `client pg_dump 15.18`.
    pub facts: Vec<String>,
    /// Not errors, but a person should know: `max_slot_wal_keep_size is unset`.
    pub warnings: Vec<String>,
    /// What will not be in the backup.
    pub gaps: Vec<Gap>,
    /// Size on the live system, bytes; what a progress bar may use.
    pub estimated_bytes: u64,
    /// How many parts a dump will write.
    pub estimated_parts: u64,
}

/// What a kind of source can do without a live system.
#[async_trait]
pub trait SourceKind: Send + Sync {
    /// As `type = "..."` in a job.
    fn name(&self) -> &'static str;
    /// Checks the job's `[source]` table and makes a source of it. Touches no network.
    fn configure(&self, section: &crate::config::Section) -> Result<Box<dyn Source>, crate::config::ConfigError>;
    /// Folders of the engine's own programs that the `[source]` table names; a load looks there too.
    fn program_folders(&self, _section: &crate::config::Section) -> Vec<std::path::PathBuf> {
        vec![]
    }
    /// The JSON Schema of the `[source]` table.
    fn schema(&self) -> schemars::Schema;
    /// Loads parts into a running system, as `request` says.
    async fn load(
        &self,
        context: &Context,
        record: &SourceRecord,
        store: Arc<dyn PartStore>,
        request: &LoadRequest,
    ) -> Result<LoadReport, SourceError>;
    /// Whether a load goes into a folder, as files do, so that a restore into one is a load and not a copy of the parts.
    fn restores_into_folders(&self) -> bool {
        false
    }
    /// Whether a load can take a random sample, and the comparison goes by the list for the rest.
    fn samples(&self) -> bool {
        false
    }
    /// The parts that hold what a name after `--only` stands for, where it is none of a group or a part, and the load chooses
    /// within them; `None` where it is nothing of this kind.
    fn holding(&self, _record: &SourceRecord, _name: &str) -> Option<Vec<PartName>> {
        None
    }
    /// What a part is called as a plain file, with its folder, where its own name would not do.
    fn file_name(&self, _part: &PartName) -> Option<String> {
        None
    }
    /// A source that dumps `place` (a scratch instance) exactly as `record` was dumped: the same columns, exclusions, splits
    /// by table, so that fingerprints compare. `only` names the groups to dump; empty means all, inventories included.
    fn again(&self, record: &SourceRecord, place: &Place, only: &[String]) -> Result<Box<dyn Source>, SourceError>;
    /// Why nothing follows from a difference in the content of this group, where nothing does: neither that the restore is sound nor
    /// that it is not.
    fn shows_nothing(&self, _record: &SourceRecord, _group: &str) -> Option<String> {
        None
    }
    /// A second look at one side of groups whose parts are digests, which are not stored: reads that side again, dumps nothing
    /// but the groups in `only`, in the same parts, and tells `names` what their records are called. `None` where every part
    /// can be opened.
    fn look_again(
        &self,
        _record: &SourceRecord,
        _side: Look,
        _only: &[String],
        _names: Arc<Names>,
    ) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(None)
    }
    /// How to read the records of a group that holds statements, each about one named thing; `None` for a group of rows.
    fn statements(&self, _group: &str) -> Option<fn(&str) -> Option<Statement>> {
        None
    }
    /// What a scratch instance must offer for this record.
    fn needs(&self, record: &SourceRecord) -> ScratchNeeds;
    /// The tables that an ordinary client should count in a restored system, by database.
    fn countable(&self, _record: &SourceRecord) -> Vec<(String, Vec<Countable>)> {
        vec![]
    }
    /// For parts written as plain files into a folder: the commands that load them with stock tools. Markdown.
    fn loading_guide(&self, record: &SourceRecord, files: &[(PartName, String)]) -> String;
}

/// A side of a comparison that is looked at again.
#[derive(Clone)]
pub enum Look {
    /// What the backup stored.
    Stored(Arc<dyn PartStore>),
    /// The scratch instance that it was loaded into.
    Restored(Place),
}

/// A table that can be counted, and the group that holds its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Countable {
    pub group: String,
    pub schema: String,
    pub name: String,
}

/// What to load, and what is allowed.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    pub place: Place,
    /// Names of groups or parts, or of whole databases where there are several; empty means everything.
    pub only: Vec<String>,
    /// The names of the databases that may be loaded over although they are not empty, as the user typed them.
    pub overwrite: Vec<String>,
    /// Where client programs may be beside the usual places; these come first.
    pub programs: Vec<std::path::PathBuf>,
    /// Scratch instances get roles and settings; a restore into a user's server gets what is missing and is told.
    pub scratch: bool,
    /// The job's `[source]` table, where the job is still configured and of this kind.
    pub source: Option<crate::config::Section>,
    /// Load only so many of the things that a snapshot holds, drawn at random; for a restore test of a huge source.
    pub sample: Option<u64>,
    /// Only look: refuse what a load would refuse before its first change, and warn of what it would warn of.
    pub dry_run: bool,
}

#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct LoadReport {
    pub bytes: u64,
    pub rows: u64,
    pub warnings: Vec<String>,
    /// Of a dry run: what it would take, a line each.
    pub plan: Vec<String>,
    /// Where only some of what a snapshot holds was loaded.
    pub sampled: Option<Sampled>,
    /// Where each database went: `postgres://.../social`.
    pub loaded: Vec<String>,
    /// Of a kind that restores into something that cannot be dumped again.
    pub handed_over: Option<HandedOver>,
}

/// What a restore test shows of a kind whose scratch cannot be dumped: the content as it left the store, and what the job's own test
/// made of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HandedOver {
    pub fingerprints: Vec<(PartName, Fingerprint)>,
    /// `None` where the job has no test: then nothing has tried to use the content.
    pub test: Option<CheckResult>,
}

/// One class each, so that `operations` can choose the exit code and whether to retry.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    #[error("{what}: {why}")]
    Unreachable { what: String, why: String, hint: String },
    #[error("{what}: {why}")]
    Refused { what: String, why: String, hint: String },
    /// The live system changed under the dump (TRUNCATE, DDL, conflict with recovery): worth another try.
    #[error("{what}: {why}")]
    Changed { what: String, why: String, hint: String },
    #[error("{what}: {why}")]
    Failed { what: String, why: String, hint: String },
    /// The scratch instance that a test loads into does not do its part; that says nothing about the backup.
    #[error("{what}: {why}")]
    Scratch { what: String, why: String },
    /// The machine lacks something that the load needs; a restore test is `Unproven`.
    #[error("this machine lacks {}", .0.join(", "))]
    Lacks(Vec<String>),
    /// The destination holds data or is the source itself.
    #[error("{what}: {why}")]
    NotEmpty { what: String, why: String, hint: String },
    #[error("{0}")]
    Sink(#[from] crate::domain::SinkError),
    #[error("{0}")]
    Store(#[from] crate::domain::StoreError),
    #[error("cancelled")]
    Cancelled,
}

impl SourceError {
    /// What to do next; empty where the error says it all.
    pub fn hint(&self) -> &str {
        match self {
            Self::Unreachable { hint, .. }
            | Self::Refused { hint, .. }
            | Self::Changed { hint, .. }
            | Self::Failed { hint, .. }
            | Self::NotEmpty { hint, .. } => hint,
            Self::Scratch { .. } | Self::Lacks(_) | Self::Sink(_) | Self::Store(_) | Self::Cancelled => "",
        }
    }
}
