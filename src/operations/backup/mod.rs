//! The story of a backup: preflight, dump through the pipeline to every target, check, commit.
//!
//! Nothing is visible until the root is written, and the root is written last. Killing this at any moment leaves objects that
//! no root names, which cost space and no harm.
//!
//! | file | does |
//! |---|---|
//! | `plan` | what a dry run shows; writes nothing |
//! | `prepare` | everything that is settled before the first byte is read: targets, repository, chunk cache |
//! | `dump` | streams the source into the repository and the packs to the targets |
//! | `guard` | refuses a dump that is smaller than a person said it may be |
//! | `metadata` | the guide, the index and the recipe |
//! | `record` | what it hands back and what the catalog keeps of the snapshot |
//!
//! Memory: what the pipeline's and the fan-out's queues hold, written in their headers, and the recipe, whose text is at most
//! [`RECIPE_RAW_BYTES_MAX`](super::limits::RECIPE_RAW_BYTES_MAX). A run is tried at most [`ATTEMPTS`] times.

mod dump;
mod guard;
mod metadata;
mod plan;
mod prepare;
mod record;

use std::time::Duration;

use super::commit::Commit;
use super::session::Session;
use super::work::WorkFolder;
use super::{Class, OperationError, lock};
use crate::catalog::RunRow;
use crate::config::Job;
use crate::domain::{RunId, SnapshotId, human_bytes};
use crate::repository::recipe::Meta;
use crate::system::clock;

pub use plan::{BackupPlan, PlannedTarget, plan};
pub use record::BackupOutcome;

/// Runs of one dump whose source changes under it.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// Runs a backup and records in the catalog how it ended, whatever happened.
pub async fn run(session: &Session, job: &Job) -> Result<BackupOutcome, OperationError> {
    let name = job.name.to_string();
    let Some(_lock) = lock::try_lock(&session.config.state, &format!("job-{name}"))? else {
        return Err(OperationError::new(Class::Skipped, format!("a run of job `{name}` is under way"))
            .hint("this run was skipped; the one that runs goes on"));
    };
    let mut row = RunRow {
        id: RunId::random().to_string(),
        verb: "backup".to_owned(),
        job: name,
        started: clock::rfc3339(clock::now()),
        finished: None,
        outcome: "running".to_owned(),
        snapshot: None,
        target: None,
        bytes_read: 0,
        bytes_stored: 0,
        message: String::new(),
    };
    session.catalog.put_run(&row).await?;
    let outcome = tokio::select! {
        () = session.cancel.cancelled() => Err(OperationError::new(Class::Cancelled, "cancelled")),
        outcome = persevere(session, job) => outcome,
    };
    row.finished = Some(clock::rfc3339(clock::now()));
    match &outcome {
        Ok(done) => {
            let failed: Vec<_> = done.copies.iter().filter(|copy| !copy.committed()).collect();
            row.outcome = String::from(if failed.is_empty() { "done" } else { "partial" });
            row.snapshot = Some(done.snapshot.to_string());
            row.bytes_read = done.read_bytes;
            row.bytes_stored = done.stored_bytes;
            row.message = failed.iter().map(|copy| copy.text()).collect::<Vec<_>>().join("; ");
        }
        Err(error) => {
            row.outcome = String::from(if error.class == Class::Cancelled { "cancelled" } else { "failed" });
            row.message = error.to_string();
        }
    }
    session.catalog.put_run(&row).await?;
    outcome
}

/// A source that changes under the dump (DDL, a standby's conflict with recovery) is worth another try.
async fn persevere(session: &Session, job: &Job) -> Result<BackupOutcome, OperationError> {
    for attempt in 1..ATTEMPTS {
        match backup(session, job).await {
            Err(error) if error.transient => {
                session.warn(job.name.as_str(), format!("attempt {attempt} of {ATTEMPTS}: {error}; trying again"));
                tokio::time::sleep(PAUSE * attempt).await;
            }
            outcome => return outcome,
        }
    }
    backup(session, job).await
}

async fn backup(session: &Session, job: &Job) -> Result<BackupOutcome, OperationError> {
    let name = job.name.as_str();
    let started = clock::rfc3339(clock::now());
    let kind = session.kind(job)?;
    let source = kind.configure(&job.source)?;
    let work = WorkFolder::make(&session.config.state).await?;
    let context = prepare::context(session, job, work.path().to_owned());
    session.phase(name, "preflight", source.describe());
    let (preflight, ready) = tokio::join!(source.preflight(&context), prepare::prepare(session, job));
    let preflight = preflight?;
    for warning in &preflight.warnings {
        session.warn(name, warning);
    }
    let ready = ready?;
    let total = preflight.estimated_bytes;
    let dumped = dump::dump(session, job, source.as_ref(), &context, ready, total).await?;
    let (record, written, ready, fan_out) = dumped;
    guard::guard(session, job, &record, &written).await?;
    session.phase(name, "commit", format!("{} new", human_bytes(fan_out.stored_bytes())));

    let meta = Meta {
        snapshot: SnapshotId::random(),
        job: job.name.clone(),
        writer: ready.writer.id.clone(),
        started,
        finished: clock::rfc3339(clock::now()),
        lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
        guide: metadata::guide(kind, &record, &written),
        source: record,
        raw_bytes: written.raw_bytes,
        added_bytes: fan_out.stored_bytes(),
    };
    let rows = metadata::rows(&meta.source, &written);
    let metadata = metadata::seal_metadata(&ready.writer, meta.clone(), &written)?;
    for object in &metadata.objects {
        fan_out.send(object).await;
    }
    let stored_bytes = fan_out.stored_bytes();
    let delivered = fan_out.finish().await;
    let commit = Commit {
        session,
        job,
        writer: &ready.writer,
        info: &ready.info,
        meta: &meta,
        recipe: metadata.recipe,
        metadata: &metadata.objects,
        packs: &written.needed,
    };
    let (root, mut copies) = commit.run(delivered).await?;
    // The snapshot is there: what this machine fails to remember about it costs deduplication only.
    if let Err(error) = written.cache.commit() {
        session.warn(name, format!("{error}; the next run stores again what this one added"));
    }
    let blob_packs: Vec<_> = written.blob_packs.iter().map(|(number, name)| (*number, name.0)).collect();
    if let Err(error) = source.committed(&context, &blob_packs) {
        session.warn(name, format!("{error}; the next run reads everything again"));
    }
    copies.extend(ready.failed);
    copies.sort_by(|a, b| a.target.cmp(&b.target));
    let outcome = BackupOutcome {
        job: name.to_owned(),
        kind: job.kind.clone(),
        snapshot: meta.snapshot.clone(),
        started: meta.started.clone(),
        finished: clock::rfc3339(clock::now()),
        read_bytes: meta.raw_bytes,
        rows,
        parts: written.parts.len(),
        stored_bytes,
        copies,
        gaps: meta.source.gaps.clone(),
    };
    record::record_snapshot(session, &meta, &outcome, root.0, &root.1).await?;
    Ok(outcome)
}
