//! Streams the source into the repository and the packs to the targets; tells progress meanwhile.
//!
//! A dump that fails poisons the pipeline, so nothing of it can be committed, and the error says what stopped it first.
//! Memory: the pipeline's queue and one queue for each target, bounded where they are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::prepare::Ready;
use crate::config::Job;
use crate::domain::{Event, PartSink, SourceRecord};
use crate::operations::OperationError;
use crate::operations::copies::{CopyOutcome, enough};
use crate::operations::error::bug;
use crate::operations::fan_out::FanOut;
use crate::operations::pipeline::BackupSink;
use crate::operations::session::Session;
use crate::repository::RepositoryError;
use crate::repository::info::RepositoryInfo;
use crate::repository::pack::SealKeys;
use crate::repository::pipeline::{Pipeline, Written};
use crate::repository::writer::Writer;
use crate::sources::{Context, Source};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// [`Ready`] without the cache, which went into the pipeline, and the targets, which the fan-out has.
pub(super) struct Preserved {
    pub(super) writer: Writer,
    pub(super) info: RepositoryInfo,
    pub(super) failed: Vec<CopyOutcome>,
}

/// Streams the source into the repository and the packs to the targets.
pub(super) async fn dump(
    session: &Session,
    job: &Job,
    source: &dyn Source,
    context: &Context,
    ready: Ready,
    total: u64,
) -> Result<(SourceRecord, Written, Preserved, FanOut), OperationError> {
    let Ready { writer, info, targets, failed, cache } = ready;
    let fan_out = FanOut::start(&targets, &context.cancel);
    let keys = SealKeys::new(&writer.epoch.public)?;
    let pipeline = Pipeline::start(keys, *writer.chunk_key(), job.backup.level, cache, Box::new(fan_out.sender()))?;
    let done = Arc::new(AtomicU64::new(0));
    let sink: Arc<dyn PartSink> = Arc::new(BackupSink::new(Arc::clone(&pipeline), Arc::clone(&done)));
    session.phase(job.name.as_str(), "dump", source.describe());
    let progress = tell_progress(session, job, &done, total);
    let dumped = source.dump(context, sink).await;
    progress.abort();
    let record = match dumped {
        Ok(record) => record,
        Err(error) => {
            context.cancel.cancel();
            pipeline.poison(RepositoryError::Cancelled);
            // The targets know best why the repository stopped taking bytes.
            let finished = tokio::task::spawn_blocking(move || pipeline.finish()).await;
            drop(finished);
            let error = OperationError::from(error).place(source.describe());
            return Err(blame(job, error, fan_out).await);
        }
    };
    let written = match tokio::task::spawn_blocking(move || pipeline.finish()).await.map_err(bug)? {
        Ok(written) => written,
        Err(error) => return Err(blame(job, error.into(), fan_out).await),
    };
    Ok((record, written, Preserved { writer, info, failed }, fan_out))
}

/// The targets' own account of why a dump could not go on, if they have one; else the error itself.
async fn blame(job: &Job, error: OperationError, fan_out: FanOut) -> OperationError {
    let delivered = fan_out.finish().await.into_iter();
    let refused: Vec<_> = delivered
        .filter_map(|delivered| Some(CopyOutcome::failed(&delivered.target, &delivered.outcome.err()?.into())))
        .filter(|copy| !copy.text().contains("cancelled"))
        .collect();
    if refused.is_empty() { error } else { enough(job, 0, &refused).err().unwrap_or(error) }
}

fn tell_progress(session: &Session, job: &Job, done: &Arc<AtomicU64>, total: u64) -> tokio::task::JoinHandle<()> {
    let (progress, job, done) = (Arc::clone(&session.progress), job.name.to_string(), Arc::clone(done));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(PROGRESS_EVERY).await;
            progress.event(Event::Advance {
                job: job.clone(),
                phase: "dump".to_owned(),
                done_bytes: done.load(Ordering::Relaxed),
                total_bytes: (total > 0).then_some(total),
            });
        }
    })
}
