//! Builds a report's record from the catalog and the configuration. Computes nothing that `report` concludes itself.

use jiff::Timestamp;

use super::{Class, OperationError, Session};
use crate::catalog::{CopyRow, ProofRow, RunRow, SnapshotRow};
use crate::config::Job;
use crate::domain::{Gap, SnapshotId, TargetName};
use crate::report::{
    BackupLine, CopyLine, CopyState, JobReport, Objectives, Outcome, RECORD_VERSION, ReportModel, RunLine, TestLine,
};
use crate::system::clock;

/// Runs of one job that a report lists.
const RUNS_MAX: u32 = 500;

/// The record of the jobs named (all of the configuration when none is), with runs since `since`.
pub async fn build(session: &Session, jobs: &[&Job], since: Option<Timestamp>) -> Result<ReportModel, OperationError> {
    let mut reports = Vec::with_capacity(jobs.len());
    for job in jobs {
        reports.push(job_report(session, job, since).await?);
    }
    Ok(ReportModel {
        record: RECORD_VERSION,
        generated_at: clock::now(),
        since,
        lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        jobs: reports,
        limits: vec![],
    })
}

async fn job_report(session: &Session, job: &Job, since: Option<Timestamp>) -> Result<JobReport, OperationError> {
    let name = job.name.as_str();
    let since = since.map(clock::rfc3339).unwrap_or_default();
    let last_backup = match session.catalog.newest_snapshot(name).await? {
        Some((snapshot, copies)) => Some(backup_line(&snapshot, &copies)?),
        None => None,
    };
    let mut tests = vec![];
    for proof in session.catalog.proofs(name, &since).await? {
        tests.push(test_line(&proof)?);
    }
    let history = session.catalog.runs(name, &since, RUNS_MAX).await?;
    let policy = job.restore_test.as_ref();
    let secs = |objective: Option<std::time::Duration>| objective.map(|objective| objective.as_secs());
    Ok(JobReport {
        name: job.name.clone(),
        kind: job.kind.clone(),
        targets: job.backup.targets.clone(),
        objectives: Objectives {
            rto_secs: secs(policy.and_then(|policy| policy.rto)),
            rpo_secs: secs(policy.and_then(|policy| policy.rpo)),
        },
        limits: limits(&job.kind),
        last_backup,
        tests,
        history: history.iter().map(run_line).collect::<Result<_, _>>()?,
    })
}

/// What no restore test of a job of this kind shows today.
fn limits(kind: &str) -> Vec<Gap> {
    let limit = |what: &str, why: &str| Gap { what: what.to_owned(), why: why.to_owned() };
    let speed = limit("speed of the restored system", "scratch is tuned for loading, not for your load");
    match kind {
        "command" => {
            let why = "the bytes are compared whole; what they mean, only the test knows";
            vec![limit("what the job's own test does not look at", why)]
        }
        "redis" => {
            vec![limit("how lately or often keys were used", "it is in the backup, and it is no content"), speed]
        }
        "files" => {
            vec![limit("what programs make of the files", "content and attributes are compared, nothing is run")]
        }
        "objects" => {
            vec![limit(
                "how a store would serve the objects",
                "content and metadata are compared, not addresses and rights",
            )]
        }
        "git" => vec![limit("hooks and settings of a server", "refs, objects and large objects are compared")],
        _ => {
            let why = "a restore computes them anew; definition and population are compared";
            vec![limit("rows of materialised views", why), speed]
        }
    }
}

fn backup_line(row: &SnapshotRow, copies: &[CopyRow]) -> Result<BackupLine, OperationError> {
    let (started, finished) = (time(&row.started)?, time(&row.finished)?);
    Ok(BackupLine {
        snapshot: SnapshotId::new(row.id.clone()).map_err(unreadable)?,
        at: started,
        instants: serde_json::from_str(&row.instants).map_err(unreadable)?,
        bytes_read: row.raw_bytes,
        rows: row.rows,
        bytes_stored: row.added_bytes,
        duration_ms: millis(started, finished),
        gaps: serde_json::from_str(&row.gaps).map_err(unreadable)?,
        copies: copies.iter().map(copy_line).collect::<Result<_, _>>()?,
    })
}

fn copy_line(row: &CopyRow) -> Result<CopyLine, OperationError> {
    Ok(CopyLine {
        target: TargetName::new(row.target.clone()).map_err(unreadable)?,
        place: row.place.clone(),
        at: row.at.as_deref().map(time).transpose()?,
        state: match row.state.as_str() {
            "committed" => CopyState::Committed,
            "lagging" => CopyState::Lagging,
            _ => CopyState::Failed { error: row.error.clone() },
        },
    })
}

fn test_line(row: &ProofRow) -> Result<TestLine, OperationError> {
    let at = time(&row.finished)?;
    Ok(TestLine {
        target: TargetName::new(row.target.clone()).map_err(unreadable)?,
        snapshot: SnapshotId::new(row.snapshot.clone()).map_err(unreadable)?,
        dumped_at: time(&row.dumped_at).unwrap_or(at),
        at,
        verdict: serde_json::from_str(&row.verdict).map_err(unreadable)?,
        measured: serde_json::from_str(&row.measured).map_err(unreadable)?,
    })
}

fn run_line(row: &RunRow) -> Result<RunLine, OperationError> {
    let at = time(&row.started)?;
    let outcome = match row.outcome.as_str() {
        "done" => Outcome::Done,
        "partial" => Outcome::Partial,
        "unproven" => Outcome::Unproven,
        "skipped" => Outcome::Skipped,
        "cancelled" => Outcome::Cancelled,
        _ => Outcome::Failed,
    };
    let message = match (row.outcome.as_str(), row.message.as_str()) {
        ("running", _) => "still running, or killed before it could say how it ended".to_owned(),
        (_, message) => message.to_owned(),
    };
    Ok(RunLine {
        at,
        verb: row.verb.clone(),
        outcome,
        snapshot: row.snapshot.clone().and_then(|id| SnapshotId::new(id).ok()),
        target: row.target.clone().and_then(|name| TargetName::new(name).ok()),
        duration_ms: row.finished.as_deref().map(time).transpose()?.map_or(0, |finished| millis(at, finished)),
        bytes_read: row.bytes_read,
        bytes_stored: row.bytes_stored,
        message,
    })
}

fn time(text: &str) -> Result<Timestamp, OperationError> {
    text.parse().map_err(unreadable)
}

fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unreadable(why: impl ToString) -> OperationError {
    OperationError::new(Class::Bug, "the catalog holds a row that does not read").cause(why.to_string())
}
