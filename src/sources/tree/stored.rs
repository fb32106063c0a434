//! Reads a stored list back.
//!
//! Memory: one line, and a piece of the part.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::entry::{Entry, LINE_BYTES_MAX};
use super::{digest_part, list_part};
use crate::domain::{Block, Names, PartReader, PartSink, PartStore, Shape, SourceRecord, StoreError};
use crate::sources::{Context, Preflight, Source, SourceError};

/// The entries of a snapshot in the order of its list.
pub(crate) struct StoredList {
    reader: Box<dyn PartReader>,
    piece: Bytes,
    line: Vec<u8>,
}

impl StoredList {
    pub(crate) fn open(store: &dyn PartStore) -> Result<Self, StoreError> {
        Ok(Self { reader: store.open(&list_part())?, piece: Bytes::new(), line: vec![] })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        self.line.clear();
        loop {
            if self.piece.is_empty() {
                match self.reader.next_piece()? {
                    Some(piece) => self.piece = piece,
                    None if self.line.is_empty() => return Ok(None),
                    None => return Err(damaged("it ends inside a line")),
                }
            }
            let end = self.piece.iter().position(|byte| *byte == b'\n');
            self.line.extend_from_slice(&self.piece[..end.unwrap_or(self.piece.len())]);
            match end {
                Some(end) => {
                    drop(self.piece.split_to(end + 1));
                    return Entry::read_line(&self.line).map(Some).ok_or_else(|| damaged("a line is no entry"));
                }
                None => self.piece.clear(),
            }
            if self.line.len() > LINE_BYTES_MAX {
                return Err(damaged("a line is longer than any entry"));
            }
        }
    }
}

fn damaged(why: &str) -> StoreError {
    StoreError::Damaged { what: "the snapshot's list".to_owned(), why: why.to_owned() }
}

/// A source that reads a stored list again, for a second look at what differs.
pub(crate) struct StoredTree {
    pub(crate) record: SourceRecord,
    pub(crate) store: Arc<dyn PartStore>,
    pub(crate) names: Arc<Names>,
}

#[async_trait]
impl Source for StoredTree {
    fn describe(&self) -> String {
        self.record.summary.clone()
    }

    async fn preflight(&self, _context: &Context) -> Result<Preflight, SourceError> {
        Ok(Preflight::default())
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let (store, names, cancel) = (Arc::clone(&self.store), Arc::clone(&self.names), context.cancel.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut lane = sink.open_lane()?;
            lane.begin(digest_part(), Shape::Digest)?;
            let mut list = StoredList::open(store.as_ref())?;
            let (mut block, mut buffer) = (Block::default(), vec![]);
            while let Some(entry) = list.next()? {
                if !entry.kind.is_compared() {
                    continue;
                }
                let digest = entry.digest(&mut buffer);
                names.note(digest.first_chunk().expect("a digest begins with a hash"), entry.shown().as_bytes());
                block.data.extend_from_slice(&digest);
                if block.data.len() >= 64 << 10 {
                    if cancel.is_cancelled() {
                        return Err(SourceError::Cancelled);
                    }
                    lane.write(&block)?;
                    block.clear();
                }
            }
            lane.write(&block)?;
            lane.finish()?;
            Ok(lane.close()?)
        });
        match read.await {
            Ok(read) => read.map(|()| self.record.clone()),
            Err(error) => {
                let what = "reading the snapshot's list".to_owned();
                Err(SourceError::Failed { what, why: error.to_string(), hint: String::new() })
            }
        }
    }
}
