//! A second look at the keys of a backup or of a restored instance: what they are called whose digests differ.
//!
//! Digests are not stored, so for the backup's side the stored RDB is read once more; the same reader gives the same digests.
//! Memory: that of one dump.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::config::Wanted;
use super::reading::{self, Piece, Plan};
use super::record::RedisRecord;
use crate::domain::{Names, PartSink, PartStore, SourceRecord};
use crate::sources::{Context, Preflight, Source, SourceError};

/// Pieces between the store and the thread that reads the RDB.
const PIECES: usize = 2;

pub(super) struct StoredRdb {
    pub(super) record: SourceRecord,
    pub(super) store: Arc<dyn PartStore>,
    pub(super) only: Vec<String>,
    pub(super) names: Arc<Names>,
}

#[async_trait]
impl Source for StoredRdb {
    fn describe(&self) -> String {
        format!("stored RDB of {}", self.record.summary)
    }

    async fn preflight(&self, _context: &Context) -> Result<Preflight, SourceError> {
        Ok(Preflight::default())
    }

    async fn dump(&self, _context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let details = RedisRecord::of(&self.record)?;
        let several = details.shards.len() > 1;
        for (number, shard) in details.shards.iter().enumerate() {
            let Some(part) = shard.rdb.clone() else { continue };
            let plan = Plan {
                sink: Arc::clone(&sink),
                shard: several.then(|| format!("shard-{number}")),
                // What the job leaves out is not in it.
                wanted: Wanted::default(),
                keep_rdb: false,
                only: self.only.clone(),
                names: Some(Arc::clone(&self.names)),
                modules_apart: details.has_modules_apart(&self.record),
            };
            let (to_reader, pieces) = mpsc::channel(PIECES);
            let (emptied, _nobody_takes_them_back) = mpsc::channel(1);
            let handle = Handle::current();
            let reading = tokio::task::spawn_blocking(move || reading::run(plan, &handle, pieces, &emptied));
            let store = Arc::clone(&self.store);
            let feeding = tokio::task::spawn_blocking(move || {
                let mut reader = store.open(&part)?;
                while let Some(piece) = reader.next_piece()? {
                    // If the reader has ended, it says why.
                    if to_reader.blocking_send(Piece::Bytes(piece.to_vec())).is_err() {
                        return Ok(());
                    }
                }
                drop(to_reader.blocking_send(Piece::End));
                Ok::<(), SourceError>(())
            });
            let failed = |error: tokio::task::JoinError| SourceError::Failed {
                what: "second look at the stored RDB".to_owned(),
                why: error.to_string(),
                hint: String::new(),
            };
            let (fed, read) = (feeding.await.map_err(failed)?, reading.await.map_err(failed)?);
            fed?;
            read?;
        }
        Ok(self.record.clone())
    }
}
