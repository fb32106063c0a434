//! The reading side: parts out of packs, every pack checked against its name before a byte of it is used.
//!
//! Memory: [`CACHED_PACKS`] decrypted packs, one that is being decrypted, one pack file in flight for each reader, and for each
//! reader one pack that it is reading and [`FRAMES_KEPT`] decoded frames.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::crypt::{self, Identities};
use super::frame::{self, FrameSpan};
use super::layout::{self, ContentName};
use super::pack::{PACK_BYTES, PACK_FILE_BYTES_MAX};
use super::recipe::{Extent, PartRecord, Recipe};
use super::{RepositoryError, frame::FRAME_RAW_BYTES_MAX};
use crate::domain::{Fingerprint, ObjectKey, PartName, PartReader, PartStore, Shape, StoreError};

/// How many decrypted packs are kept for other readers: lanes that were written together are read together, a pack apart at most.
pub const CACHED_PACKS: usize = 1;
/// Decoded frames that a reader keeps. Where a few rows changed, old and new chunks alternate, each in the order in which they were
/// written: with a frame of each at hand, neither pack is opened again for every chunk of the other.
const FRAMES_KEPT: usize = 4;
/// Pieces are slices of a frame, so that who queues a few of them holds a frame or two and not one for each.
const PIECE_BYTES_MAX: u64 = 512 << 10;
/// Decrypted content of a pack is at most this.
const PACK_CONTENT_BYTES_MAX: usize = PACK_BYTES + 2 * FRAME_RAW_BYTES_MAX + (1 << 20);

/// Fetches an object from wherever it is; blocking.
pub type Fetch = Box<dyn Fn(&ObjectKey, u64) -> Result<Bytes, StoreError> + Send + Sync>;

/// One snapshot, open for reading.
pub struct Store {
    parts: HashMap<PartName, PartRecord>,
    packs: Arc<Packs>,
}

impl Store {
    pub fn new(recipe: &Recipe, epoch: Identities, fetch: Fetch) -> Self {
        Self::with_epochs(recipe, vec![epoch], fetch)
    }

    /// `epochs`: every epoch whose packs the snapshot may reuse.
    pub fn with_epochs(recipe: &Recipe, epochs: Vec<Identities>, fetch: Fetch) -> Self {
        let parts = recipe.parts.iter().map(|part| (part.name.clone(), part.clone())).collect();
        let state = Mutex::new(CacheState::default());
        Self {
            parts,
            packs: Arc::new(Packs {
                epochs,
                fetches: vec![fetch],
                state,
                arrived: Condvar::new(),
                decrypting: Mutex::new(()),
            }),
        }
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
        Ok(Box::new(Reader {
            packs: Arc::clone(&self.packs),
            extents: part.extents.clone().into(),
            pack: None,
            frames: VecDeque::with_capacity(FRAMES_KEPT),
        }))
    }
}

struct Packs {
    epochs: Vec<Identities>,
    /// Tried in this order; at least one.
    fetches: Vec<Fetch>,
    state: Mutex<CacheState>,
    arrived: Condvar,
    /// Held while a pack file and its content are both in memory.
    decrypting: Mutex<()>,
}

#[derive(Default)]
struct CacheState {
    /// Newest last.
    packs: VecDeque<Arc<OpenedPack>>,
    /// Packs that a reader is fetching; others that need the same one wait.
    fetching: Vec<ContentName>,
    fetched_bytes: u64,
    fetching_time: Duration,
}

struct OpenedPack {
    name: ContentName,
    content: Vec<u8>,
    spans: Vec<FrameSpan>,
}

impl Packs {
    fn get(&self, name: ContentName) -> Result<Arc<OpenedPack>, StoreError> {
        let mut state = self.state.lock().expect("no thread panics while it holds this lock");
        loop {
            if let Some(at) = state.packs.iter().position(|pack| pack.name == name) {
                let pack = state.packs.remove(at).expect("found just now");
                state.packs.push_back(Arc::clone(&pack));
                return Ok(pack);
            }
            if !state.fetching.contains(&name) {
                break;
            }
            state = self.arrived.wait(state).expect("no thread panics while it holds this lock");
        }
        state.fetching.push(name);
        // Room is made before the next pack arrives.
        while state.packs.len() >= CACHED_PACKS {
            state.packs.pop_front();
        }
        drop(state);
        let begun = Instant::now();
        let opened = self.fetch_and_open(name);
        let mut state = self.state.lock().expect("no thread panics while it holds this lock");
        state.fetching.retain(|other| *other != name);
        state.fetching_time += begun.elapsed();
        let result = opened.map(|(pack, file_bytes)| {
            let pack = Arc::new(pack);
            state.fetched_bytes += file_bytes;
            state.packs.push_back(Arc::clone(&pack));
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

    fn fetch_and_open(&self, name: ContentName) -> Result<(OpenedPack, u64), StoreError> {
        let key = layout::pack(&name);
        let file = self.fetch(&key)?;
        let mut last = None;
        let _one_at_a_time = self.decrypting.lock().expect("no thread panics while it holds this lock");
        for epoch in &self.epochs {
            match crypt::open(key.as_str(), &file, epoch, PACK_CONTENT_BYTES_MAX) {
                Ok(content) => {
                    let spans = frame::spans(key.as_str(), &content).map_err(damaged)?;
                    return Ok((OpenedPack { name, content, spans }, file.len() as u64));
                }
                Err(error @ RepositoryError::WrongKey { .. }) => last = Some(error),
                Err(error) => return Err(damaged(error)),
            }
        }
        Err(StoreError::Damaged {
            what: key.to_string(),
            why: last.map_or_else(|| "no key was given".to_owned(), |error| error.to_string()),
        })
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
    extents: VecDeque<Extent>,
    pack: Option<Arc<OpenedPack>>,
    /// Decoded frames, the one used last at the end: neighbouring extents often lie in one.
    frames: VecDeque<(ContentName, FrameSpan, Bytes)>,
}

impl PartReader for Reader {
    fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(extent) = self.extents.front().copied() else { return Ok(None) };
        if extent.length == 0 {
            self.extents.pop_front();
            return self.next_piece();
        }
        let (span, raw) = self.frame_at(extent)?;
        let from = usize::try_from(extent.offset - span.raw_offset).expect("within a frame");
        let rest = (span.raw_length - from) as u64;
        let length = rest.min(extent.length).min(PIECE_BYTES_MAX);
        let piece = raw.slice(from..from + usize::try_from(length).expect("within a frame"));
        if length == extent.length {
            self.extents.pop_front();
        } else if let Some(front) = self.extents.front_mut() {
            front.offset += length;
            front.length -= length;
        }
        Ok(Some(piece))
    }
}

impl Reader {
    /// The decoded frame that holds the extent's first byte.
    fn frame_at(&mut self, extent: Extent) -> Result<(FrameSpan, Bytes), StoreError> {
        let holds = |(pack, span, _): &(ContentName, FrameSpan, Bytes)| {
            *pack == extent.pack && (span.raw_offset..span.raw_offset + span.raw_length as u64).contains(&extent.offset)
        };
        if let Some(at) = self.frames.iter().rposition(holds) {
            let (pack, span, raw) = self.frames.remove(at).expect("found just now");
            self.frames.push_back((pack, span, raw.clone()));
            return Ok((span, raw));
        }
        let pack = match &self.pack {
            Some(pack) if pack.name == extent.pack => Arc::clone(pack),
            _ => {
                // The old pack is let go before the new one arrives.
                self.pack = None;
                self.packs.get(extent.pack)?
            }
        };
        let key = layout::pack(&extent.pack);
        let at = pack.spans.partition_point(|span| span.raw_offset + span.raw_length as u64 <= extent.offset);
        let span = *pack.spans.get(at).ok_or_else(|| StoreError::Damaged {
            what: key.to_string(),
            why: "an extent lies beyond its end".to_owned(),
        })?;
        let compressed = &pack.content[span.offset..span.offset + span.length];
        // Room is made before the next frame is decoded.
        if self.frames.len() == FRAMES_KEPT {
            self.frames.pop_front();
        }
        let raw = Bytes::from(frame::decode(key.as_str(), compressed, span.raw_length).map_err(damaged)?);
        self.frames.push_back((extent.pack, span, raw.clone()));
        self.pack = Some(pack);
        Ok((span, raw))
    }
}
