//! What a backup hands back, and what the catalog keeps of its snapshot.

use crate::catalog::{CopyRow, SnapshotRow};
use crate::domain::{Gap, SnapshotId};
use crate::operations::OperationError;
use crate::operations::copies::CopyOutcome;
use crate::operations::session::Session;
use crate::repository::layout::ContentName;
use crate::repository::recipe::Meta;

/// What a backup did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BackupOutcome {
    pub job: String,
    /// Of the source: `redis`.
    pub kind: String,
    pub snapshot: SnapshotId,
    pub started: String,
    pub finished: String,
    pub read_bytes: u64,
    pub rows: u64,
    pub parts: usize,
    /// New ciphertext, each target counted once.
    pub stored_bytes: u64,
    pub copies: Vec<CopyOutcome>,
    pub gaps: Vec<Gap>,
}

pub(super) async fn record_snapshot(
    session: &Session,
    meta: &Meta,
    outcome: &BackupOutcome,
    sequence: u64,
    root_sum: &ContentName,
) -> Result<(), OperationError> {
    let row = SnapshotRow {
        id: meta.snapshot.to_string(),
        job: meta.job.to_string(),
        writer: meta.writer.to_string(),
        sequence,
        root_sum: root_sum.hex(),
        started: meta.started.clone(),
        finished: meta.finished.clone(),
        raw_bytes: meta.raw_bytes,
        added_bytes: outcome.stored_bytes,
        rows: outcome.rows,
        instants: serde_json::to_string(&meta.source.instants).expect("plain data"),
        gaps: serde_json::to_string(&meta.source.gaps).expect("plain data"),
    };
    let copies: Vec<_> = outcome
        .copies
        .iter()
        .map(|copy| CopyRow {
            snapshot: meta.snapshot.to_string(),
            target: copy.target.clone(),
            place: copy.place.clone(),
            state: copy.state.clone(),
            at: copy.committed().then(|| outcome.finished.clone()),
            error: copy.error.clone(),
        })
        .collect();
    Ok(session.catalog.put_snapshot(&row, &copies).await?)
}
