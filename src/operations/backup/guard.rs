//! Refuses a dump that is smaller than a person said it may be: an emptied source must not pass for a good backup.

use crate::config::Job;
use crate::domain::{SourceRecord, human_bytes};
use crate::operations::session::Session;
use crate::operations::{Class, OperationError};
use crate::repository::pipeline::Written;

/// What a person said a backup of this job must look like at least.
pub(super) async fn guard(
    session: &Session,
    job: &Job,
    record: &SourceRecord,
    written: &Written,
) -> Result<(), OperationError> {
    if let Some(max_shrink) = job.backup.guard.max_shrink
        && let Some((before, _)) = session.catalog.newest_snapshot(job.name.as_str()).await?
    {
        #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
        let shrink = 1.0 - written.raw_bytes as f64 / before.raw_bytes.max(1) as f64;
        if shrink > max_shrink {
            return Err(OperationError::new(
                Class::Source,
                format!(
                    "the dump shrank by {:.0} % to {}, `guard.max_shrink` allows {:.0} %",
                    shrink * 100.0,
                    human_bytes(written.raw_bytes),
                    max_shrink * 100.0
                ),
            )
            .place(record.summary.clone())
            .hint(format!(
                "nothing was committed; snapshot {} of {} is the newest; if the source has really shrunk, raise the guard \
                 for one run",
                before.id, before.started
            )));
        }
    }
    if let Some(min) = job.backup.guard.min_bytes
        && written.raw_bytes < min
    {
        return Err(OperationError::new(
            Class::Source,
            format!("the dump has {}, `guard.min_bytes` asks for {}", human_bytes(written.raw_bytes), human_bytes(min)),
        )
        .place(record.summary.clone())
        .hint("nothing was committed; if the source has really shrunk, lower the guard"));
    }
    Ok(())
}
