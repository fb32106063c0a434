//! The writing side: parts in, sealed packs out.
//!
//! A [`Pipeline`] is shared by all lanes of a run. A [`LaneWriter`] belongs to one thread: it cuts chunks, finds known ones,
//! gathers new ones into frames that may span parts (so that 20,000 tiny tables compress as one), compresses them, and
//! appends them to the shared pack. Full packs go to a sealing thread and from there to the receiver.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::chunk_cache::{ChunkCache, Location};
use super::frame::{Compressor, FRAME_RAW_BYTES};
use super::index::{ChunkId, PackIndex};
use super::layout::ContentName;
use super::pack::{OpenPack, PACK_RAW_BYTES_MAX, SealKeys, SealedPack};
use super::recipe::{Extent, PartRecord};
use super::{RepositoryError, chunk};
use crate::domain::{Fingerprint, PartName, SealedObject, Shape};

/// Takes packs that may be uploaded; called from the sealing thread, may block.
pub type PackReceiver = Box<dyn FnMut(SealedObject) -> Result<(), RepositoryError> + Send>;

/// What a run wrote, once every lane is closed.
pub struct Written {
    pub parts: Vec<PartRecord>,
    /// Packs of this run, for the index object.
    pub added: Vec<PackIndex>,
    /// Every pack that the parts need, with the size of its file.
    pub needed: Vec<(ContentName, u64)>,
    /// Uncommitted; commit it when the index object is stored.
    pub cache: ChunkCache,
    pub raw_bytes: u64,
}

pub struct Pipeline {
    keys: Arc<SealKeys>,
    chunk_key: [u8; 32],
    level: i32,
    state: Mutex<State>,
    to_sealer: Mutex<Option<SyncSender<(u32, OpenPack)>>>,
    sealer: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    cache: ChunkCache,
    open: Option<(u32, OpenPack)>,
    parts: Vec<FinishedPart>,
    added: Vec<PackIndex>,
    lanes_open: usize,
    raw_bytes: u64,
    /// The first failure; everything after it fails with the same.
    failure: Option<RepositoryError>,
}

struct FinishedPart {
    name: PartName,
    shape: Shape,
    fingerprint: Fingerprint,
    extents: Vec<LocalExtent>,
}

/// An extent whose pack may not have a name yet.
#[derive(Debug, Clone, Copy)]
struct LocalExtent {
    pack: u32,
    offset: u32,
    length: u64,
}

impl Pipeline {
    pub fn start(
        keys: SealKeys,
        chunk_key: [u8; 32],
        level: i32,
        cache: ChunkCache,
        mut receive: PackReceiver,
    ) -> Result<Arc<Self>, RepositoryError> {
        // No capacity: a lane that fills a pack waits until the sealer takes it, so at most one is being sealed.
        let (to_sealer, from_lanes): (_, Receiver<(u32, OpenPack)>) = sync_channel(0);
        let state =
            State { cache, open: None, parts: vec![], added: vec![], lanes_open: 0, raw_bytes: 0, failure: None };
        let pipeline = Arc::new(Self {
            keys: Arc::new(keys),
            chunk_key,
            level,
            state: Mutex::new(state),
            to_sealer: Mutex::new(Some(to_sealer)),
            sealer: Mutex::new(None),
        });
        let weak = Arc::downgrade(&pipeline);
        let keys = Arc::clone(&pipeline.keys);
        let sealer = std::thread::Builder::new()
            .name("seal".to_owned())
            .spawn(move || {
                for (number, pack) in from_lanes {
                    let sealed = pack.seal(&keys).and_then(|SealedPack { object, index }| {
                        receive(object)?;
                        Ok(index)
                    });
                    let Some(pipeline) = weak.upgrade() else { return };
                    let mut state = pipeline.lock();
                    match sealed {
                        Ok(index) => {
                            state.cache.name_pack(number, &index);
                            state.added.push(index);
                        }
                        Err(failure) => {
                            state.failure.get_or_insert(failure);
                        }
                    }
                }
            })
            .map_err(|why| RepositoryError::local("starting a thread", why))?;
        *pipeline.sealer.lock().expect("no thread panics while it holds this lock") = Some(sealer);
        Ok(pipeline)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds this lock")
    }

    /// Fails everything from now on: the run was cancelled or another room failed.
    pub fn poison(&self, failure: RepositoryError) {
        self.lock().failure.get_or_insert(failure);
    }

    pub fn open_lane(self: &Arc<Self>) -> Result<LaneWriter, RepositoryError> {
        let compressor = Compressor::new(self.level)?;
        self.lock().lanes_open += 1;
        Ok(LaneWriter {
            pipeline: Arc::clone(self),
            compressor,
            part: None,
            waiting: vec![],
            chunk: Vec::with_capacity(chunk::CHUNK_BYTES_MAX),
            frame: Frame::default(),
            closed: false,
        })
    }

    /// Seals what is left and resolves every extent. All lanes must be closed.
    pub fn finish(self: Arc<Self>) -> Result<Written, RepositoryError> {
        let last = {
            let mut state = self.lock();
            if let Some(failure) = state.failure.clone() {
                return Err(failure);
            }
            if state.lanes_open > 0 {
                return Err(RepositoryError::local("finishing a dump", "a lane was not closed"));
            }
            state.open.take()
        };
        if let Some(last) = last {
            self.send_to_sealer(last)?;
        }
        drop(self.to_sealer.lock().expect("no thread panics while it holds this lock").take());
        let sealer = self.sealer.lock().expect("no thread panics while it holds this lock").take();
        if let Some(sealer) = sealer {
            sealer.join().map_err(|_| RepositoryError::local("sealing packs", "the thread panicked"))?;
        }
        if let Some(failure) = self.lock().failure.clone() {
            return Err(failure);
        }
        let Some(pipeline) = Arc::into_inner(self) else {
            return Err(RepositoryError::local("finishing a dump", "a lane still holds the pipeline"));
        };
        let state = pipeline.state.into_inner().expect("no thread panics while it holds this lock");
        resolve(state)
    }

    fn send_to_sealer(&self, pack: (u32, OpenPack)) -> Result<(), RepositoryError> {
        let sender = self.to_sealer.lock().expect("no thread panics while it holds this lock").clone();
        let gone = || self.lock().failure.clone().unwrap_or(RepositoryError::Cancelled);
        sender.ok_or_else(gone)?.send(pack).map_err(|_| gone())
    }

    /// Appends a compressed frame to the shared pack and makes its chunks known.
    fn place(&self, compressed: &[u8], chunks: &[(ChunkId, u32)]) -> Result<Location, RepositoryError> {
        let (location, full) = {
            let mut guard = self.lock();
            let state = &mut *guard;
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            let (number, mut pack) = match state.open.take() {
                Some(open) => open,
                None => (state.cache.open_pack(), OpenPack::new(&self.keys)?),
            };
            let start =
                u32::try_from(pack.append(compressed, chunks)?).expect("a pack decodes to less than 2^30 bytes");
            let mut offset = start;
            for (id, length) in chunks {
                state.cache.add(*id, Location { pack: number, offset })?;
                offset += length;
            }
            let full = if pack.is_full() {
                Some((number, pack))
            } else {
                state.open = Some((number, pack));
                None
            };
            (Location { pack: number, offset: start }, full)
        };
        if let Some(full) = full {
            self.send_to_sealer(full)?;
        }
        Ok(location)
    }
}

fn resolve(state: State) -> Result<Written, RepositoryError> {
    let mut needed = std::collections::BTreeMap::new();
    let mut parts = Vec::with_capacity(state.parts.len());
    for part in state.parts {
        let mut extents = Vec::with_capacity(part.extents.len());
        for extent in part.extents {
            let (pack, file_bytes) = state
                .cache
                .pack(extent.pack)
                .ok_or_else(|| RepositoryError::local("finishing a dump", "a pack was never sealed"))?;
            needed.insert(pack, file_bytes);
            extents.push(Extent { pack, offset: u64::from(extent.offset), length: extent.length });
        }
        parts.push(PartRecord { name: part.name, shape: part.shape, fingerprint: part.fingerprint, extents });
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(RepositoryError::local("finishing a dump", format!("two parts are named `{}`", pair[0].name)));
    }
    Ok(Written {
        parts,
        added: state.added,
        needed: needed.into_iter().collect(),
        cache: state.cache,
        raw_bytes: state.raw_bytes,
    })
}

/// One thread's way into the repository.
pub struct LaneWriter {
    pipeline: Arc<Pipeline>,
    compressor: Compressor,
    part: Option<OpenPart>,
    /// Finished parts that still have chunks in the open frame.
    waiting: Vec<OpenPart>,
    chunk: Vec<u8>,
    frame: Frame,
    closed: bool,
}

struct OpenPart {
    name: PartName,
    shape: Shape,
    bytes: u64,
    fingerprint: Fingerprint,
    extents: Vec<LocalExtent>,
}

/// New chunks of this lane that are not yet placed.
#[derive(Default)]
struct Frame {
    raw: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
    /// For each extent that waits: which part (index into `waiting`, or `waiting.len()` for the open one), which extent of
    /// it, and its offset in `raw`.
    pending: Vec<Pending>,
}

struct Pending {
    part: usize,
    extent: usize,
    offset: u32,
}

/// Stands in `LocalExtent::pack` until the frame is placed.
const UNPLACED: u32 = u32::MAX;

impl LaneWriter {
    pub fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), RepositoryError> {
        if self.part.is_some() {
            return Err(RepositoryError::local("writing a part", "another part is still open in this lane"));
        }
        self.part = Some(OpenPart { name, shape, bytes: 0, fingerprint: Fingerprint::EMPTY, extents: vec![] });
        Ok(())
    }

    /// Takes bytes up to and with the end of a record whose hash is given, or bytes of which the record goes on.
    ///
    /// `record_length` is what of the record lies in `data`: enough for the cut decision, since a longer one cuts anyway.
    pub fn push_record(&mut self, data: &[u8], end: Option<u64>) -> Result<(), RepositoryError> {
        let mut rest = data;
        // Only a record longer than a whole chunk fills the buffer.
        while self.chunk.len() + rest.len() > chunk::CHUNK_BYTES_MAX {
            let (head, tail) = rest.split_at(chunk::CHUNK_BYTES_MAX - self.chunk.len());
            self.chunk.extend_from_slice(head);
            self.end_chunk()?;
            rest = tail;
        }
        self.chunk.extend_from_slice(rest);
        match end {
            Some(hash) if chunk::cuts_after_record(self.chunk.len(), data.len(), hash) => self.end_chunk(),
            _ => Ok(()),
        }
    }

    /// Takes bytes of a part of shape [`Shape::Bytes`].
    pub fn push_bytes(&mut self, mut data: &[u8]) -> Result<(), RepositoryError> {
        while !data.is_empty() {
            let (head, tail) = data.split_at(data.len().min(chunk::BYTES_MAX));
            self.chunk.extend_from_slice(head);
            data = tail;
            self.cut_bytes(false)?;
        }
        Ok(())
    }

    fn cut_bytes(&mut self, at_end: bool) -> Result<(), RepositoryError> {
        while let Some(cut) = chunk::cut_bytes(&self.chunk, at_end) {
            let rest = self.chunk.split_off(cut);
            self.end_chunk()?;
            self.chunk = rest;
        }
        Ok(())
    }

    /// Ends the part. Its fingerprint goes into the recipe.
    pub fn finish(&mut self, fingerprint: Fingerprint) -> Result<(), RepositoryError> {
        let shape = self.part.as_ref().map(|part| part.shape);
        if shape == Some(Shape::Bytes) {
            self.cut_bytes(true)?;
        }
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        let Some(mut part) = self.part.take() else {
            return Err(RepositoryError::local("finishing a part", "no part is open in this lane"));
        };
        if part.shape != Shape::Digest && part.bytes != fingerprint.bytes {
            let why = format!("`{}` has {} bytes, its fingerprint {}", part.name, part.bytes, fingerprint.bytes);
            return Err(RepositoryError::local("finishing a part", why));
        }
        part.fingerprint = fingerprint;
        self.waiting.push(part);
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
        self.pipeline.lock().lanes_open -= 1;
        Ok(())
    }

    /// Gives finished parts, all of whose extents are placed, to the pipeline.
    fn hand_over(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut state = self.pipeline.lock();
        for part in self.waiting.drain(..) {
            state.raw_bytes += part.bytes;
            state.parts.push(FinishedPart {
                name: part.name,
                shape: part.shape,
                fingerprint: part.fingerprint,
                extents: part.extents,
            });
        }
    }

    fn end_chunk(&mut self) -> Result<(), RepositoryError> {
        let Some(part) = self.part.as_mut() else {
            return Err(RepositoryError::local("writing a part", "no part is open in this lane"));
        };
        let length = u32::try_from(self.chunk.len()).expect("a chunk is at most a few 100 KiB");
        part.bytes += u64::from(length);
        let id = chunk_id(&self.pipeline.chunk_key, &self.chunk);
        let known = {
            let state = self.pipeline.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            state.cache.find(&id)?
        };
        if let Some(location) = known {
            push_extent(&mut part.extents, location, length);
            self.chunk.clear();
            return Ok(());
        }
        let offset = u32::try_from(self.frame.raw.len()).expect("a frame is at most a few MiB");
        self.frame.raw.extend_from_slice(&self.chunk);
        self.frame.chunks.push((id, length));
        self.chunk.clear();
        let part_index = self.waiting.len();
        // The last pending extent of this very part ends where this chunk starts: one extent covers both.
        match (self.frame.pending.last(), part.extents.last_mut()) {
            (Some(pending), Some(extent))
                if pending.part == part_index
                    && extent.pack == UNPLACED
                    && u64::from(pending.offset) + extent.length == u64::from(offset) =>
            {
                extent.length += u64::from(length);
            }
            _ => {
                self.frame.pending.push(Pending { part: part_index, extent: part.extents.len(), offset });
                part.extents.push(LocalExtent { pack: UNPLACED, offset: 0, length: u64::from(length) });
            }
        }
        if self.frame.raw.len() >= FRAME_RAW_BYTES { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> Result<(), RepositoryError> {
        if self.frame.raw.is_empty() {
            return Ok(());
        }
        let compressed = self.compressor.compress(&self.frame.raw)?;
        let start = self.pipeline.place(&compressed, &self.frame.chunks)?;
        for pending in self.frame.pending.drain(..) {
            let part = match self.waiting.get_mut(pending.part) {
                Some(part) => part,
                None => self.part.as_mut().expect("a pending extent belongs to a waiting part or the open one"),
            };
            let extent = &mut part.extents[pending.extent];
            extent.pack = start.pack;
            extent.offset = start.offset + pending.offset;
        }
        self.frame.raw.clear();
        self.frame.chunks.clear();
        let finished = self.waiting.len();
        if finished > 0 {
            self.hand_over();
        }
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
            self.pipeline.lock().lanes_open -= 1;
        }
    }
}

fn chunk_id(key: &[u8; 32], data: &[u8]) -> ChunkId {
    let hash = blake3::keyed_hash(key, data);
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
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
        && before.pack != UNPLACED
        && u64::from(before.offset) + before.length == u64::from(last.offset)
    {
        extents.pop();
        extents.last_mut().expect("two extents were there").length += last.length;
    }
}

const _: () = assert!(PACK_RAW_BYTES_MAX <= u32::MAX as u64);
