//! What all lanes of a run share: the open pack, the chunk cache, the sealing thread, and the parts as they finish.
//!
//! Full packs go to the sealing thread and from there to the receiver.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::RepositoryError;
use super::chunk_cache::{ChunkCache, Location};
use super::frame::Compressor;
use super::index::{ChunkId, PackIndex};
use super::layout::ContentName;
use super::pack::{OpenPack, PACK_RAW_BYTES_MAX, SealKeys, SealedPack};
use super::recipe::{Extent, PartRecord};
use crate::domain::{Fingerprint, PackNumber, PartName, SealedObject, Shape};

/// Takes packs that may be uploaded; called from the sealing thread, may block.
pub type PackReceiver = Box<dyn FnMut(SealedObject) -> Result<(), RepositoryError> + Send>;

/// What a run wrote, once every lane is closed.
pub struct Written {
    pub parts: Vec<PartRecord>,
    /// Packs of this run, for the index object.
    pub added: Vec<PackIndex>,
    /// What the numbers in blobs' addresses stand for.
    pub blob_packs: Vec<(PackNumber, ContentName)>,
    /// Every pack that the parts need, with the size of its file.
    pub needed: Vec<(ContentName, u64)>,
    /// Uncommitted; commit it when the index object is stored.
    pub cache: ChunkCache,
    pub raw_bytes: u64,
}

/// The writing side of one run, shared by its lanes.
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
    blob_packs: BTreeSet<PackNumber>,
    lanes_open: usize,
    raw_bytes: u64,
    /// The first failure; everything after it fails with the same.
    failure: Option<RepositoryError>,
}

/// A part that was written to its end.
pub(super) struct FinishedPart {
    pub(super) name: PartName,
    pub(super) shape: Shape,
    pub(super) fingerprint: Fingerprint,
    pub(super) extents: Vec<LocalExtent>,
}

/// An extent whose pack may not have a name yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalExtent {
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) length: u64,
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
        let state = State {
            cache,
            open: None,
            parts: vec![],
            added: vec![],
            blob_packs: BTreeSet::new(),
            lanes_open: 0,
            raw_bytes: 0,
            failure: None,
        };
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

    /// A lane begins; the compressor for it.
    pub(super) fn lane_begins(&self) -> Result<Compressor, RepositoryError> {
        let compressor = Compressor::new(self.level)?;
        self.lock().lanes_open += 1;
        Ok(compressor)
    }

    pub(super) fn lane_ends(&self) {
        self.lock().lanes_open -= 1;
    }

    /// The id of a chunk, and where it is if it is known.
    pub(super) fn find(&self, chunk: &[u8]) -> Result<(ChunkId, Option<Location>), RepositoryError> {
        let hash = blake3::keyed_hash(&self.chunk_key, chunk);
        let id = *hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        let state = self.lock();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok((id, state.cache.find(&id)?)),
        }
    }

    /// The name of a pack of an earlier run that a target still holds.
    pub fn held_pack(&self, number: PackNumber) -> Option<ContentName> {
        self.lock().cache.held_pack(number)
    }

    /// The snapshot's blobs lie in these packs, and have so many bytes in all.
    pub fn refer(&self, packs: &BTreeSet<PackNumber>, bytes: u64) {
        let mut state = self.lock();
        state.blob_packs.extend(packs);
        state.raw_bytes += bytes;
    }

    /// Takes parts all of whose extents are placed.
    pub(super) fn take_parts(&self, parts: impl Iterator<Item = FinishedPart>) {
        let mut state = self.lock();
        for part in parts {
            // A digest says what other parts mean: nothing more was read for it.
            if part.shape != Shape::Digest {
                state.raw_bytes += part.fingerprint.bytes;
            }
            state.parts.push(part);
        }
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
    pub(super) fn place(&self, compressed: &[u8], chunks: &[(ChunkId, u32)]) -> Result<Location, RepositoryError> {
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
    let mut blob_packs = Vec::with_capacity(state.blob_packs.len());
    for number in state.blob_packs {
        let (pack, file_bytes) = state
            .cache
            .pack(number)
            .ok_or_else(|| RepositoryError::local("finishing a dump", "a blob lies in a pack that was never sealed"))?;
        needed.insert(pack, file_bytes);
        blob_packs.push((number, pack));
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(RepositoryError::local("finishing a dump", format!("two parts are named `{}`", pair[0].name)));
    }
    Ok(Written {
        parts,
        added: state.added,
        blob_packs,
        needed: needed.into_iter().collect(),
        cache: state.cache,
        raw_bytes: state.raw_bytes,
    })
}

const _: () = assert!(PACK_RAW_BYTES_MAX <= u32::MAX as u64);
