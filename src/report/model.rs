//! The report as data: what was backed up, where it lies, what was restored and what came of it.
//!
//! This is the record that every format renders and that JSON writes as it is; only facts stand here. What follows from
//! them ([`super::answer`]) is computed, so a stored conclusion can never contradict the facts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::record::Instant;
use crate::domain::{Gap, JobName, SnapshotId, TargetName, Verdict};

/// Version of the JSON record; grows when a field changes its meaning or goes away, not when one is added.
pub const RECORD_VERSION: u32 = 1;

/// Everything that one report says. Times are UTC; durations milliseconds or seconds as their names say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportModel {
    /// [`RECORD_VERSION`] of the program that wrote it.
    pub record: u32,
    pub generated_at: Timestamp,
    /// Runs before this are left out of the histories; the newest backup and tests are always shown.
    pub since: Option<Timestamp>,
    /// Version of Lifeboat, `0.1.0`.
    pub lifeboat: String,
    /// The machine that wrote the report.
    pub host: String,
    pub jobs: Vec<JobReport>,
    /// What no test of any job shows: `passwords of roles`.
    pub limits: Vec<Gap>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    pub name: JobName,
    /// `postgres`.
    pub kind: String,
    /// The targets that the job's configuration names: each has to show that it restores.
    pub targets: Vec<TargetName>,
    pub objectives: Objectives,
    /// The newest committed snapshot; `None` where there was never one.
    pub last_backup: Option<BackupLine>,
    /// Any order. The newest one of each target decides; older ones tell the history.
    pub tests: Vec<TestLine>,
    /// Newest first.
    pub history: Vec<RunLine>,
    /// What a restore test of this job does not show: `materialised view x: recomputed`.
    pub limits: Vec<Gap>,
}

/// What the job promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objectives {
    /// The longest that a recovery may take.
    pub rto_secs: Option<u64>,
    /// The most data, as time, that may be lost.
    pub rpo_secs: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupLine {
    pub snapshot: SnapshotId,
    /// When the dump began: nothing that was written later is promised to be in it.
    pub at: Timestamp,
    /// One for each consistent view; several when the job spans databases.
    pub instants: Vec<Instant>,
    pub bytes_read: u64,
    pub rows: u64,
    /// New ciphertext that this backup added, each target counted once.
    pub bytes_stored: u64,
    pub duration_ms: u64,
    /// What is not in the backup.
    pub gaps: Vec<Gap>,
    pub copies: Vec<CopyLine>,
}

/// One target's copy of the newest snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopyLine {
    pub target: TargetName,
    /// `directory /mnt/nas/lifeboat`; without secrets.
    pub place: String,
    pub at: Option<Timestamp>,
    #[serde(flatten)]
    pub state: CopyState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CopyState {
    /// The root is there: the snapshot is complete at this target.
    Committed,
    /// Objects are missing; the target has no root for this snapshot yet.
    Lagging,
    Failed {
        error: String,
    },
}

/// One restore test from one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestLine {
    pub target: TargetName,
    pub snapshot: SnapshotId,
    /// When the dump of that snapshot began; what a recovery from it loses is counted from here.
    pub dumped_at: Timestamp,
    /// When the test ended.
    pub at: Timestamp,
    pub verdict: Verdict,
    pub measured: Measured,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// From asking the target for the first byte to a loaded system: the time that a recovery takes.
    pub recovery_ms: u64,
    /// The parts of the test. Fetching and loading overlap, so they may add up to more than the recovery.
    pub fetch_ms: u64,
    pub load_ms: u64,
    pub compare_ms: u64,
    pub check_ms: u64,
    /// Bytes of the source's content that were loaded.
    pub bytes: u64,
    /// What it was restored into: `postgres 15.18, private instance`.
    pub scratch: String,
}

/// One run of the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    pub at: Timestamp,
    /// `backup`, `restore-test`, `restore`.
    pub verb: String,
    pub outcome: Outcome,
    pub snapshot: Option<SnapshotId>,
    pub target: Option<TargetName>,
    pub duration_ms: u64,
    pub bytes_read: u64,
    pub bytes_stored: u64,
    /// The error, or what is worth saying; may be empty.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// A target or a source failed, the rest is committed.
    Partial,
    Failed,
    /// The test ran and could not prove anything.
    Unproven,
    Skipped,
    Cancelled,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Unproven => "unproven",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a person should look at it.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Done)
    }
}

/// What is known about restoring one job from one target. Without a test nothing is known, whatever was stored there.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    pub job: &'a JobReport,
    pub target: &'a TargetName,
    pub newest: Option<&'a TestLine>,
}

/// The four states of a [`Cell`]; only the first is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Proven,
    NotTested,
    Unproven,
    Failed,
}

impl Cell<'_> {
    pub fn standing(&self) -> Standing {
        use crate::domain::Reason;
        match self.newest.map(|test| &test.verdict) {
            None | Some(Verdict::Unproven { reason: Reason::NotTested }) => Standing::NotTested,
            Some(Verdict::Proven { .. }) => Standing::Proven,
            Some(Verdict::Unproven { .. }) => Standing::Unproven,
            Some(Verdict::Failed { .. }) => Standing::Failed,
        }
    }
}

impl JobReport {
    /// One cell for each target of the configuration, in its order. Tests of targets that the job no longer names decide
    /// nothing.
    pub fn cells(&self) -> Vec<Cell<'_>> {
        self.targets
            .iter()
            .map(|target| {
                let newest = self.tests.iter().filter(|test| test.target == *target).max_by_key(|test| test.at);
                Cell { job: self, target, newest }
            })
            .collect()
    }
}

impl ReportModel {
    /// Every target that any job names, in the order of first mention.
    pub fn targets(&self) -> Vec<&TargetName> {
        let mut targets: Vec<&TargetName> = vec![];
        for target in self.jobs.iter().flat_map(|job| &job.targets) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    /// What needs a person, worst first; within one standing in the order of jobs and targets.
    pub fn failures(&self) -> Vec<Cell<'_>> {
        let mut cells: Vec<Cell<'_>> =
            self.jobs.iter().flat_map(JobReport::cells).filter(|cell| cell.standing() != Standing::Proven).collect();
        cells.sort_by_key(|cell| std::cmp::Reverse(cell.standing()));
        cells
    }
}
