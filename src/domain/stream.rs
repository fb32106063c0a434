//! The seam between rooms: how a source's bytes reach a repository, and how they come back.
//!
//! These traits are synchronous on purpose: hashing, compression and encryption are CPU work and run on blocking threads.
//! `sources::bridge` carries bytes between async sockets and these threads through bounded channels.

use bytes::Bytes;

use super::{Fingerprint, PartName, Shape};

/// A batch of one part's bytes with the ends of the records that finish in it.
///
/// `record_ends` are ascending offsets into `data`. Bytes after the last end begin a record that a later block
/// continues, so a record may be larger than any block. For [`Shape::Bytes`] it stays empty. Those of a
/// [`Shape::Digest`] all have one length, and a block holds whole ones.
#[derive(Debug, Default)]
pub struct Block {
    pub data: Vec<u8>,
    pub record_ends: Vec<u32>,
}

impl Block {
    /// A piece of a stored part of shape [`Shape::Records`]: every record ends in a newline and holds no other.
    pub fn of_lines(piece: &[u8]) -> Self {
        let ends = piece.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let record_ends = ends.map(|(at, _)| u32::try_from(at + 1).expect("a piece is a few MiB")).collect();
        Self { data: piece.to_vec(), record_ends }
    }

    pub fn clear(&mut self) {
        self.data.clear();
        self.record_ends.clear();
    }
}

/// Where a dump goes. Lanes are independent and used in parallel, one by each thread.
pub trait PartSink: Send + Sync {
    fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError>;
}

/// Takes parts one after the other. A part that was begun and not finished poisons the whole dump: half a part is never
/// committed. Dropping a lane with an open part, or without `close`, does the same.
pub trait Lane: Send {
    fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError>;
    fn write(&mut self, block: &Block) -> Result<(), SinkError>;
    /// Ends the part and returns the fingerprint of what was written.
    fn finish(&mut self) -> Result<Fingerprint, SinkError>;
    /// Flushes what parts of this lane share. Must be called once, last.
    fn close(&mut self) -> Result<(), SinkError>;
}

/// The receiving side failed or was cancelled; the dump cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// The parts of one snapshot, verified as they are read.
pub trait PartStore: Send + Sync {
    /// Of the parts that can be opened: a [`Shape::Digest`] cannot.
    fn names(&self) -> Vec<PartName>;
    fn fingerprint(&self, name: &PartName) -> Option<Fingerprint>;
    /// Readers are independent; each holds at most one decoded frame beside the store's own bounded pack cache.
    fn open(&self, name: &PartName) -> Result<Box<dyn PartReader>, StoreError>;
}

/// Reads one part from start to end.
pub trait PartReader: Send {
    /// The next piece, never empty, at most a few MiB; `None` at the end, after the whole length has been checked.
    fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError>;
}

/// A part that could not be read back as it was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the snapshot holds no part `{0}`")]
    NoSuchPart(String),
    #[error("{what} is damaged: {why}")]
    Damaged { what: String, why: String },
    #[error("{0}")]
    Unreachable(String),
    #[error("cancelled")]
    Cancelled,
}
