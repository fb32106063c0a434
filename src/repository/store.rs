//! The reading side: parts out of packs, every pack checked against its name before a byte of it is used.
//!
//! Memory: [`FRAMES_KEPT`] decoded frames, and for each reader one pack file in flight, or one frame being decoded. Packs that were
//! fetched lie on a shelf of their own, on disk.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::RepositoryError;
use super::crypt::Identities;
use super::frame::FrameSpan;
use super::layout::{self, ContentName};
use super::pack::PACK_FILE_BYTES_MAX;
use super::recipe::{Extent, PartRecord, Recipe};
use super::shelf::{Shelf, ShelvedPack};
use crate::domain::{
    BlobAddress, BlobPiece, Fingerprint, ObjectKey, PackNumber, PartName, PartReader, PartStore, Shape, StoreError,
};

/// Decoded frames that readers share. Where a few rows changed every now and then, chunks of many packs come in turn, those of each
/// pack in the order in which they were written: with a frame of each at hand, none is decoded twice.
const FRAMES_KEPT: usize = 12;
/// Pieces are slices of a frame, so that who queues a few of them holds a frame or two and not one for each.
const PIECE_BYTES_MAX: u64 = 512 << 10;
/// Fetches an object from wherever it is; blocking.
pub type Fetch = Box<dyn Fn(&ObjectKey, u64) -> Result<Bytes, StoreError> + Send + Sync>;

/// One snapshot, open for reading.
pub struct Store {
    parts: HashMap<PartName, PartRecord>,
    blob_packs: HashMap<PackNumber, ContentName>,
    packs: Arc<Packs>,
}

impl Store {
    pub fn new(recipe: &Recipe, epoch: Identities, fetch: Fetch) -> Self {
        Self::with_epochs(recipe, vec![epoch], fetch)
    }

    /// `epochs`: every epoch whose packs the snapshot may reuse.
    pub fn with_epochs(recipe: &Recipe, epochs: Vec<Identities>, fetch: Fetch) -> Self {
        let parts = recipe.parts.iter().map(|part| (part.name.clone(), part.clone())).collect();
        let packs = Packs {
            epochs,
            fetches: vec![fetch],
            folder: None,
            state: Mutex::default(),
            arrived: Condvar::new(),
            frames: Mutex::default(),
        };
        Self { parts, blob_packs: recipe.blob_packs.iter().copied().collect(), packs: Arc::new(packs) }
    }

    /// Fetched packs wait in this folder for when a reader comes back to them; without one only the last, in memory.
    ///
    /// # Panics
    /// If a part has been opened already.
    #[must_use]
    pub fn shelved_in(mut self, folder: PathBuf) -> Self {
        Arc::get_mut(&mut self.packs).expect("no reader has the packs yet").folder = Some(folder);
        self
    }

    /// Packs that are missing or damaged where they are fetched from are fetched from there: names are content, so any copy
    /// with the right sum is the right one.
    ///
    /// # Panics
    /// If a part has been opened already.
    #[must_use]
    pub fn or_from(mut self, fetch: Fetch) -> Self {
        Arc::get_mut(&mut self.packs).expect("no reader has the packs yet").fetches.push(fetch);
        self
    }

    /// How many bytes of pack files have been fetched so far.
    pub fn fetched_bytes(&self) -> u64 {
        self.packs.state.lock().expect("no thread panics while it holds this lock").fetched_bytes
    }
}

impl Store {
    /// How long readers have waited for packs to be fetched, decrypted and checked, all readers together.
    pub fn fetching(&self) -> Duration {
        self.packs.state.lock().expect("no thread panics while it holds this lock").fetching_time
    }
}

impl PartStore for Store {
    fn names(&self) -> Vec<PartName> {
        let stored = self.parts.values().filter(|part| part.shape != Shape::Digest);
        let mut names: Vec<_> = stored.map(|part| part.name.clone()).collect();
        names.sort();
        names
    }

    fn fingerprint(&self, name: &PartName) -> Option<Fingerprint> {
        self.parts.get(name).map(|part| part.fingerprint)
    }

    fn open(&self, name: &PartName) -> Result<Box<dyn PartReader>, StoreError> {
        let part = self.parts.get(name).filter(|part| part.shape != Shape::Digest);
        let part = part.ok_or_else(|| StoreError::NoSuchPart(name.to_string()))?;
        let pieces = part.extents.iter().copied().map(Piece::Stored).collect();
        Ok(Box::new(Reader { packs: Arc::clone(&self.packs), pieces, frame: None }))
    }

    fn open_blob(&self, address: &BlobAddress) -> Result<Box<dyn PartReader>, StoreError> {
        let pieces = address.pieces().iter().map(|piece| match *piece {
            BlobPiece::Hole { length } => Ok(Piece::Hole(length)),
            BlobPiece::Stored { pack, offset, length } => {
                let pack = *self.blob_packs.get(&pack).ok_or_else(|| StoreError::Damaged {
                    what: "the snapshot".to_owned(),
                    why: format!("its recipe names no pack {pack}, in which something lies"),
                })?;
                Ok(Piece::Stored(Extent { pack, offset, length }))
            }
        });
        let pieces = pieces.collect::<Result<_, _>>()?;
        Ok(Box::new(Reader { packs: Arc::clone(&self.packs), pieces, frame: None }))
    }
}

struct Packs {
    epochs: Vec<Identities>,
    /// Tried in this order; at least one.
    fetches: Vec<Fetch>,
    folder: Option<PathBuf>,
    state: Mutex<State>,
    arrived: Condvar,
    /// The one used last at the end.
    frames: Mutex<VecDeque<Frame>>,
}

#[derive(Default)]
struct State {
    shelf: Shelf,
    /// Packs that a reader is fetching; others that need the same one wait.
    fetching: Vec<ContentName>,
    fetched_bytes: u64,
    fetching_time: Duration,
}

/// A decoded frame.
#[derive(Clone)]
struct Frame {
    pack: ContentName,
    span: FrameSpan,
    raw: Bytes,
}

impl Frame {
    fn holds(&self, extent: Extent) -> bool {
        let range = self.span.raw_offset..self.span.raw_offset + self.span.raw_length as u64;
        self.pack == extent.pack && range.contains(&extent.offset)
    }
}

impl Packs {
    /// The frame that holds the extent's first byte.
    fn frame(&self, extent: Extent) -> Result<Frame, StoreError> {
        let frames = || self.frames.lock().expect("no thread panics while it holds this lock");
        {
            let mut frames = frames();
            if let Some(at) = frames.iter().rposition(|frame| frame.holds(extent)) {
                let frame = frames.remove(at).expect("found just now");
                frames.push_back(frame.clone());
                return Ok(frame);
            }
            // Room is made before the next frame is decoded.
            if frames.len() >= FRAMES_KEPT {
                frames.pop_front();
            }
        }
        let pack = self.pack(extent.pack)?;
        let span = pack.frame_at(extent.offset).ok_or_else(|| StoreError::Damaged {
            what: layout::pack(&extent.pack).to_string(),
            why: "an extent lies beyond its end".to_owned(),
        })?;
        let frame = Frame { pack: extent.pack, span, raw: pack.decode(span).map_err(damaged)? };
        let mut frames = frames();
        // Another reader may have been as fast.
        if !frames.iter().any(|other| other.holds(extent)) {
            frames.push_back(frame.clone());
        }
        Ok(frame)
    }

    fn pack(&self, name: ContentName) -> Result<Arc<ShelvedPack>, StoreError> {
        let mut state = self.state.lock().expect("no thread panics while it holds this lock");
        loop {
            if let Some(pack) = state.shelf.find(name) {
                return Ok(pack);
            }
            if !state.fetching.contains(&name) {
                break;
            }
            state = self.arrived.wait(state).expect("no thread panics while it holds this lock");
        }
        state.fetching.push(name);
        drop(state);
        let begun = Instant::now();
        let opened = self.fetch_and_open(name);
        let mut state = self.state.lock().expect("no thread panics while it holds this lock");
        state.fetching.retain(|other| *other != name);
        state.fetching_time += begun.elapsed();
        let result = opened.map(|(pack, file_bytes)| {
            let pack = Arc::new(pack);
            state.fetched_bytes += file_bytes;
            state.shelf.add(Arc::clone(&pack));
            pack
        });
        drop(state);
        self.arrived.notify_all();
        result
    }

    /// A pack file whose sum is its name, from the first place that has it; the error is the first place's.
    fn fetch(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        let mut first = None;
        for fetch in &self.fetches {
            let fetched = fetch(key, PACK_FILE_BYTES_MAX).and_then(|file| {
                layout::check_content(key, &file).map_err(damaged)?;
                Ok(file)
            });
            match fetched {
                Ok(file) => return Ok(file),
                Err(StoreError::Cancelled) => return Err(StoreError::Cancelled),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.expect("there is a place to fetch from"))
    }

    fn fetch_and_open(&self, name: ContentName) -> Result<(ShelvedPack, u64), StoreError> {
        let file = self.fetch(&layout::pack(&name))?;
        let file_bytes = file.len() as u64;
        let pack = ShelvedPack::open(name, file, self.folder.as_deref(), &self.epochs).map_err(damaged)?;
        Ok((pack, file_bytes))
    }
}

fn damaged(error: RepositoryError) -> StoreError {
    match error {
        RepositoryError::Damaged { object, why } => StoreError::Damaged { what: object, why },
        other => StoreError::Damaged { what: "the snapshot".to_owned(), why: other.to_string() },
    }
}

struct Reader {
    packs: Arc<Packs>,
    pieces: VecDeque<Piece>,
    /// The one read last: neighbouring extents often lie in one.
    frame: Option<Frame>,
}

#[derive(Clone, Copy)]
enum Piece {
    Stored(Extent),
    /// So many zeros.
    Hole(u64),
}

/// What holes are read as.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl PartReader for Reader {
    fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let Some(piece) = self.pieces.front().copied() else { return Ok(None) };
            let (bytes, rest) = match piece {
                Piece::Stored(Extent { length: 0, .. }) | Piece::Hole(0) => {
                    self.pieces.pop_front();
                    continue;
                }
                Piece::Hole(length) => {
                    let here = length.min(ZEROS.len() as u64);
                    (
                        Bytes::from_static(&ZEROS[..usize::try_from(here).expect("a few KiB")]),
                        Piece::Hole(length - here),
                    )
                }
                Piece::Stored(Extent { pack, offset, length }) => {
                    let bytes = self.stored(Extent { pack, offset, length })?;
                    let read = bytes.len() as u64;
                    (bytes, Piece::Stored(Extent { pack, offset: offset + read, length: length - read }))
                }
            };
            *self.pieces.front_mut().expect("looked at just now") = rest;
            return Ok(Some(bytes));
        }
    }
}

impl Reader {
    /// The first bytes of an extent, at least one.
    fn stored(&mut self, extent: Extent) -> Result<Bytes, StoreError> {
        let Frame { span, raw, .. } = self.frame_at(extent)?;
        let from = usize::try_from(extent.offset - span.raw_offset).expect("within a frame");
        let length = ((span.raw_length - from) as u64).min(extent.length).min(PIECE_BYTES_MAX);
        let range = from..from + usize::try_from(length).expect("within a frame");
        // Who queues small pieces of many frames would hold each of these frames.
        if range.len() < span.raw_length / 8 { Ok(Bytes::copy_from_slice(&raw[range])) } else { Ok(raw.slice(range)) }
    }

    fn frame_at(&mut self, extent: Extent) -> Result<Frame, StoreError> {
        if let Some(frame) = self.frame.as_ref().filter(|frame| frame.holds(extent)) {
            return Ok(frame.clone());
        }
        // The old one is let go before the next is decoded.
        self.frame = None;
        let frame = self.packs.frame(extent)?;
        self.frame = Some(frame.clone());
        Ok(frame)
    }
}
