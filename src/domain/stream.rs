//! The seam between rooms: how a source's bytes reach a repository, and how they come back.
//!
//! These traits are synchronous on purpose: hashing, compression and encryption are CPU work and run on blocking threads.
//! `sources::bridge` carries bytes between async sockets and these threads through bounded channels.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{BlobAddress, Fingerprint, PackNumber, PartName, Shape};

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
    /// The name of a pack that an earlier run filled and that a target still holds: blobs of it need not be written again.
    fn held_pack(&self, _number: PackNumber) -> Option<[u8; 32]> {
        None
    }
    /// Says, once, before the dump ends, which packs the blobs of this snapshot lie in and how many bytes they have in all, those of earlier runs among them.
    fn refer(&self, _packs: &BTreeSet<PackNumber>, _bytes: u64) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Takes parts one after the other. A part that was begun and not finished poisons the whole dump: half a part is never
/// committed. Dropping a lane with an open part, or without `close`, does the same.
pub trait Lane: Send {
    fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError>;
    fn write(&mut self, block: &Block) -> Result<(), SinkError>;
    /// Ends the part and returns the fingerprint of what was written.
    fn finish(&mut self) -> Result<Fingerprint, SinkError>;
    /// Begins content that is no part. Its bytes come by [`Lane::write`], without record ends.
    fn begin_blob(&mut self) -> Result<(), SinkError> {
        Err(no_blobs())
    }
    /// Adds zeros to the open blob that need not be stored.
    fn skip(&mut self, _zeros: u64) -> Result<(), SinkError> {
        Err(no_blobs())
    }
    fn finish_blob(&mut self) -> Result<(), SinkError> {
        Err(no_blobs())
    }
    /// Where the blobs lie that were finished since the last call, in order. Flushes what they share with what follows, so it is
    /// worth a call for many of them.
    fn settle(&mut self) -> Result<Vec<BlobAddress>, SinkError> {
        Ok(vec![])
    }
    /// Flushes what parts of this lane share. Must be called once, last.
    fn close(&mut self) -> Result<(), SinkError>;
}

fn no_blobs() -> SinkError {
    SinkError("this sink takes parts only".to_owned())
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
    /// Reads the blob that an address in one of the parts stands for.
    fn open_blob(&self, address: &BlobAddress) -> Result<Box<dyn PartReader>, StoreError> {
        Err(StoreError::NoSuchPart(address.to_string()))
    }
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
