//! One thread's way into the repository: cuts chunks, finds known ones, gathers new ones into frames that may span parts (so
//! that 20,000 tiny tables compress as one), compresses them, and appends them to the pack that all lanes share.

use std::sync::Arc;

use super::chunk_cache::Location;
use super::frame::{Compressor, FRAME_RAW_BYTES, FRAME_RAW_BYTES_MAX};
use super::index::ChunkId;
use super::pipeline::{FinishedPart, LocalExtent, Pipeline};
use super::{RepositoryError, chunk};
use crate::domain::{BlobAddress, BlobPiece, Fingerprint, PartName, Shape};

/// One thread's way into the repository.
pub struct LaneWriter {
    pipeline: Arc<Pipeline>,
    compressor: Compressor,
    part: Option<OpenPart>,
    /// Finished parts and blobs of which some have chunks in the open frame.
    waiting: Vec<Finished>,
    /// Blobs that are wholly placed and that nobody has asked for yet.
    blobs: Vec<BlobAddress>,
    frame: Frame,
    closed: bool,
}

struct OpenPart {
    /// `None` for a blob.
    name: Option<PartName>,
    shape: Shape,
    bytes: u64,
    extents: Vec<LocalExtent>,
}

enum Finished {
    Part(FinishedPart),
    Blob(Vec<LocalExtent>),
}

impl Finished {
    fn extents(&mut self) -> &mut Vec<LocalExtent> {
        match self {
            Self::Part(part) => &mut part.extents,
            Self::Blob(extents) => extents,
        }
    }
}

/// New chunks of this lane that are not yet placed, and the open chunk behind them: it is copied nowhere if it is new, and
/// taken off again if it is known.
#[derive(Default)]
struct Frame {
    raw: Vec<u8>,
    /// Where the open chunk begins in `raw`.
    new_bytes: usize,
    chunks: Vec<(ChunkId, u32)>,
    /// For each extent that waits: which part (index into `waiting`, or `waiting.len()` for the open one), which extent of
    /// it, and its offset in `raw`.
    pending: Vec<Pending>,
}

impl Frame {
    fn open_chunk(&self) -> &[u8] {
        &self.raw[self.new_bytes..]
    }
}

struct Pending {
    part: usize,
    extent: usize,
    offset: u32,
}

/// Stands in `LocalExtent::pack` until the frame is placed.
const UNPLACED: u32 = u32::MAX;
/// Stands there for zeros that are stored nowhere.
const HOLE: u32 = u32::MAX - 1;

impl LaneWriter {
    pub fn open(pipeline: &Arc<Pipeline>) -> Result<Self, RepositoryError> {
        Ok(Self {
            pipeline: Arc::clone(pipeline),
            compressor: pipeline.lane_begins()?,
            part: None,
            waiting: vec![],
            blobs: vec![],
            frame: Frame {
                // Never grows; pages that stay untouched cost nothing.
                raw: Vec::with_capacity(FRAME_RAW_BYTES_MAX + chunk::BYTES_MAX),
                ..Frame::default()
            },
            closed: false,
        })
    }

    pub fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), RepositoryError> {
        self.open_part(Some(name), shape)
    }

    /// Begins content that no part holds; its bytes come by `push_bytes`.
    pub fn begin_blob(&mut self) -> Result<(), RepositoryError> {
        self.open_part(None, Shape::Bytes)
    }

    fn open_part(&mut self, name: Option<PartName>, shape: Shape) -> Result<(), RepositoryError> {
        if self.part.is_some() {
            return Err(RepositoryError::local("writing a part", "another part is still open in this lane"));
        }
        self.part = Some(OpenPart { name, shape, bytes: 0, extents: vec![] });
        Ok(())
    }

    /// Takes bytes up to and with the end of a record whose hash is given, or bytes of which the record goes on.
    ///
    /// `record_length` is what of the record lies in `data`: enough for the cut decision, since a longer one cuts anyway.
    pub fn push_record(&mut self, data: &[u8], end: Option<u64>) -> Result<(), RepositoryError> {
        let mut rest = data;
        // Only a record longer than a whole chunk fills it.
        while self.frame.open_chunk().len() + rest.len() > chunk::CHUNK_BYTES_MAX {
            let (head, tail) = rest.split_at(chunk::CHUNK_BYTES_MAX - self.frame.open_chunk().len());
            self.frame.raw.extend_from_slice(head);
            self.end_chunk(chunk::CHUNK_BYTES_MAX)?;
            rest = tail;
        }
        self.frame.raw.extend_from_slice(rest);
        let length = self.frame.open_chunk().len();
        match end {
            Some(hash) if chunk::cuts_after_record(length, data.len(), hash) => self.end_chunk(length),
            _ => Ok(()),
        }
    }

    /// Takes bytes of a part of shape [`Shape::Bytes`].
    pub fn push_bytes(&mut self, mut data: &[u8]) -> Result<(), RepositoryError> {
        while !data.is_empty() {
            let (head, tail) = data.split_at(data.len().min(chunk::BYTES_MAX));
            self.frame.raw.extend_from_slice(head);
            data = tail;
            self.cut_bytes(false)?;
        }
        Ok(())
    }

    fn cut_bytes(&mut self, at_end: bool) -> Result<(), RepositoryError> {
        while let Some(cut) = chunk::cut_bytes(self.frame.open_chunk(), at_end) {
            self.end_chunk(cut)?;
        }
        Ok(())
    }

    /// Adds zeros to the open blob that take no room.
    pub fn skip(&mut self, zeros: u64) -> Result<(), RepositoryError> {
        self.end_open_chunk()?;
        match self.part.as_mut() {
            Some(OpenPart { name: None, bytes, extents, .. }) => {
                *bytes += zeros;
                extents.push(LocalExtent { pack: HOLE, offset: 0, length: zeros });
                Ok(())
            }
            _ => Err(RepositoryError::local("writing a hole", "no blob is open in this lane")),
        }
    }

    pub fn finish_blob(&mut self) -> Result<(), RepositoryError> {
        self.end_open_chunk()?;
        match self.part.take() {
            Some(OpenPart { name: None, extents, .. }) => {
                self.waiting.push(Finished::Blob(extents));
                Ok(())
            }
            _ => Err(RepositoryError::local("finishing a blob", "none is open in this lane")),
        }
    }

    /// Where the blobs lie that were finished since the last call, in order.
    pub fn settle(&mut self) -> Result<Vec<BlobAddress>, RepositoryError> {
        if self.part.is_some() {
            return Err(RepositoryError::local("placing blobs", "one is still open in this lane"));
        }
        self.end_frame()?;
        self.hand_over();
        Ok(std::mem::take(&mut self.blobs))
    }

    fn end_open_chunk(&mut self) -> Result<(), RepositoryError> {
        let shape = self.part.as_ref().map(|part| part.shape);
        if shape == Some(Shape::Bytes) {
            self.cut_bytes(true)?;
        }
        let rest = self.frame.open_chunk().len();
        if rest > 0 { self.end_chunk(rest) } else { Ok(()) }
    }

    /// Ends the part. Its fingerprint goes into the recipe.
    pub fn finish(&mut self, fingerprint: Fingerprint) -> Result<(), RepositoryError> {
        self.end_open_chunk()?;
        let Some(OpenPart { name: Some(name), shape, bytes, extents }) = self.part.take() else {
            return Err(RepositoryError::local("finishing a part", "no part is open in this lane"));
        };
        if shape != Shape::Digest && bytes != fingerprint.bytes {
            let why = format!("`{name}` has {bytes} bytes, its fingerprint {}", fingerprint.bytes);
            return Err(RepositoryError::local("finishing a part", why));
        }
        self.waiting.push(Finished::Part(FinishedPart { name, shape, fingerprint, extents }));
        if self.frame.pending.is_empty() {
            self.hand_over();
        }
        Ok(())
    }

    /// Flushes what is left. A lane that is dropped without this fails the run.
    pub fn close(&mut self) -> Result<(), RepositoryError> {
        if self.part.is_some() {
            return Err(RepositoryError::local("closing a lane", "a part was begun and not finished"));
        }
        self.end_frame()?;
        self.hand_over();
        self.closed = true;
        self.pipeline.lane_ends();
        Ok(())
    }

    /// Gives finished parts, all of whose extents are placed, to the pipeline.
    fn hand_over(&mut self) {
        let mut parts = vec![];
        for finished in self.waiting.drain(..) {
            match finished {
                Finished::Part(part) => parts.push(part),
                Finished::Blob(extents) => self.blobs.push(address(&extents)),
            }
        }
        if !parts.is_empty() {
            self.pipeline.take_parts(parts.into_iter());
        }
    }

    /// Ends a chunk of the first `length` bytes of the open one; what is behind them begins the next.
    fn end_chunk(&mut self, length: usize) -> Result<(), RepositoryError> {
        let Some(part) = self.part.as_mut() else {
            return Err(RepositoryError::local("writing a part", "no part is open in this lane"));
        };
        let from = self.frame.new_bytes;
        let (id, known) = self.pipeline.find(&self.frame.raw[from..from + length])?;
        let bytes = u32::try_from(length).expect("a chunk is at most a few 100 KiB");
        part.bytes += u64::from(bytes);
        if let Some(location) = known {
            push_extent(&mut part.extents, location, bytes);
            self.frame.raw.drain(from..from + length);
            return Ok(());
        }
        let offset = u32::try_from(from).expect("a frame is at most a few MiB");
        self.frame.chunks.push((id, bytes));
        self.frame.new_bytes += length;
        let part_index = self.waiting.len();
        // The last pending extent of this very part ends where this chunk starts: one extent covers both.
        match (self.frame.pending.last(), part.extents.last_mut()) {
            (Some(pending), Some(extent))
                if pending.part == part_index
                    && extent.pack == UNPLACED
                    && u64::from(pending.offset) + extent.length == u64::from(offset) =>
            {
                extent.length += u64::from(bytes);
            }
            _ => {
                self.frame.pending.push(Pending { part: part_index, extent: part.extents.len(), offset });
                part.extents.push(LocalExtent { pack: UNPLACED, offset: 0, length: u64::from(bytes) });
            }
        }
        if self.frame.new_bytes >= FRAME_RAW_BYTES { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> Result<(), RepositoryError> {
        if self.frame.new_bytes == 0 {
            return Ok(());
        }
        let compressed = self.compressor.compress(&self.frame.raw[..self.frame.new_bytes])?;
        let start = self.pipeline.place(compressed, &self.frame.chunks)?;
        for pending in self.frame.pending.drain(..) {
            let extents = if let Some(finished) = self.waiting.get_mut(pending.part) {
                finished.extents()
            } else {
                let open = self.part.as_mut();
                &mut open.expect("a pending extent belongs to a waiting part or the open one").extents
            };
            let extent = &mut extents[pending.extent];
            extent.pack = start.pack;
            extent.offset = start.offset + pending.offset;
        }
        self.frame.raw.drain(..self.frame.new_bytes);
        self.frame.new_bytes = 0;
        self.frame.chunks.clear();
        self.hand_over();
        // Extents on both sides of a frame's edge often continue each other.
        if let Some(part) = self.part.as_mut() {
            coalesce_tail(&mut part.extents);
        }
        Ok(())
    }
}

impl Drop for LaneWriter {
    fn drop(&mut self) {
        if !self.closed {
            self.pipeline.poison(RepositoryError::local("writing a part", "the source stopped in the middle of it"));
            self.pipeline.lane_ends();
        }
    }
}

fn address(extents: &[LocalExtent]) -> BlobAddress {
    let mut address = BlobAddress::default();
    for LocalExtent { pack, offset, length } in extents.iter().copied() {
        address.push(match pack {
            HOLE => BlobPiece::Hole { length },
            pack => BlobPiece::Stored { pack, offset: u64::from(offset), length },
        });
    }
    address
}

fn push_extent(extents: &mut Vec<LocalExtent>, location: Location, length: u32) {
    let length = u64::from(length);
    match extents.last_mut() {
        Some(last)
            if last.pack == location.pack && u64::from(last.offset) + last.length == u64::from(location.offset) =>
        {
            last.length += length;
        }
        _ => extents.push(LocalExtent { pack: location.pack, offset: location.offset, length }),
    }
}

/// Joins the last two extents where the second continues the first.
fn coalesce_tail(extents: &mut Vec<LocalExtent>) {
    if let [.., before, last] = extents[..]
        && before.pack == last.pack
        && ![UNPLACED, HOLE].contains(&before.pack)
        && u64::from(before.offset) + before.length == u64::from(last.offset)
    {
        extents.pop();
        extents.last_mut().expect("two extents were there").length += last.length;
    }
}
