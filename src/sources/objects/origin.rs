//! Lists a bucket and reads its objects.
//!
//! Pages are listed ahead ([`ranges`](super::ranges)). Small objects are fetched ahead, several at a time, and carried into the lane
//! in order; large ones stream, and go on where a connection broke. Memory: the pages; the versions of one key; for each reader its
//! share of the connections times [`SMALL_BYTES_MAX`].

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::attributes::Attributes;
use super::config::Settings;
use super::ranges::{Marks, Ranges};
use super::store::{Body, Fetched, Listed, Store, Which, second_of, seen, tag_of, version_of};
use super::version;
use crate::domain::{Block, Lane};
use crate::sources::SourceError;
use crate::sources::tree::entry::encoded;
use crate::sources::tree::{Entry, EntryKind, Found, Origin, Outcome, Wanted};
use crate::system::clock;

/// Objects up to this size are fetched whole and ahead.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// How often an object is read that changes, or whose body breaks off without a byte more than the time before.
const READS: u32 = 3;
/// Before an object is asked for again.
const PAUSE: Duration = Duration::from_millis(200);
/// Where only the time tells whether an object has changed, one that was written so shortly before may change within the same second.
const SETTLED_AFTER_SECONDS: i64 = 2;
/// Objects of the last list that are not listed any more, and of which the store is asked whether they are really gone.
const ASKED_MAX: usize = 64;

pub(super) struct ObjectsOrigin {
    store: Arc<dyn Store>,
    settings: Settings,
    /// Where marks for the next listing are kept.
    keep: PathBuf,
    runtime: Handle,
    cancel: CancellationToken,
    /// Small objects that one reader fetches ahead.
    ahead: usize,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    left_out: u64,
    gone: Vec<Which>,
}

impl ObjectsOrigin {
    /// Must be called within a runtime.
    pub(super) fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        keep: PathBuf,
        lanes: usize,
        cancel: CancellationToken,
    ) -> Self {
        let ahead = settings.connections.div_ceil(lanes.max(1));
        Self { store, settings, keep, runtime: Handle::current(), cancel, ahead, noted: Mutex::default() }
    }

    pub(super) fn left_out(&self) -> u64 {
        self.noted().left_out
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits on this thread, which is no thread of the runtime, unless the run is cancelled first.
    fn wait<T>(&self, work: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(SourceError::Cancelled),
                done = work => done,
            }
        })
    }

    fn hand_over(&self, name: String, listed: &Listed, take: &mut Take<'_>) -> Result<(), SourceError> {
        if !self.settings.wants(listed.which.key.as_bytes()) {
            self.noted().left_out += 1;
            return Ok(());
        }
        let (kind, attributes) =
            if listed.removed { (EntryKind::Removed, Some("{}".to_owned())) } else { (EntryKind::Content, None) };
        take(Found { name: name.into_bytes(), kind, size: listed.size, attributes, seen: listed.seen() })
    }
}

type Take<'t> = dyn FnMut(Found) -> Result<(), SourceError> + 't;

impl Origin for ObjectsOrigin {
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        version::order(one, other)
    }

    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError> {
        let config = &self.settings.config;
        let mut ranges = Ranges::new(Arc::clone(&self.store), self.runtime.clone(), &config.prefix, &self.keep);
        let mut marks = Marks::default();
        // Versions are named once all of their key are known.
        let mut of_one_key: Vec<Listed> = vec![];
        while let Some(page) = self.wait(ranges.next())? {
            for listed in page {
                marks.note(&listed.which.key);
                if !config.versions {
                    self.hand_over(listed.which.key.clone(), &listed, take)?;
                    continue;
                }
                if of_one_key.first().is_some_and(|first| first.which.key != listed.which.key) {
                    for (name, listed) in version::named(std::mem::take(&mut of_one_key)) {
                        self.hand_over(name, &listed, take)?;
                    }
                }
                of_one_key.push(listed);
            }
        }
        for (name, listed) in version::named(of_one_key) {
            self.hand_over(name, &listed, take)?;
        }
        marks.write(&self.keep);
        Ok(())
    }

    fn gone(&self, entry: &Entry) {
        let mut noted = self.noted();
        if noted.gone.len() < ASKED_MAX
            && let Ok(name) = std::str::from_utf8(&entry.name)
            && self.settings.wants(version::split(name).0.as_bytes())
        {
            noted.gone.push(which(name, &entry.seen));
        }
    }

    /// A store whose listing leaves out what it has would empty the backup.
    fn discovered(&self) -> Result<(), SourceError> {
        let gone = std::mem::take(&mut self.noted().gone);
        for which in gone {
            if self.wait(self.store.exists(&which))? {
                return Err(SourceError::Failed {
                    what: format!("listing {}", self.settings.place()),
                    why: format!("it leaves out `{}`, which is there", which.key),
                    hint: "it was written just now, or the listing is not whole; nothing was committed, run again"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    fn read(&self, wanted: &mut [Wanted], lane: &mut dyn Lane) -> Result<(), SourceError> {
        let mut block = Block::default();
        let mut fetching: VecDeque<JoinHandle<Result<Small, SourceError>>> = VecDeque::new();
        let small = |wanted: &Wanted| wanted.found.size <= SMALL_BYTES_MAX;
        let mut asked = 0;
        for at in 0..wanted.len() {
            asked = asked.max(at);
            while fetching.len() < self.ahead && asked < wanted.len() {
                if small(&wanted[asked]) {
                    let (store, found) = (Arc::clone(&self.store), wanted[asked].found.clone());
                    fetching.push_back(self.runtime.spawn(async move { fetch_small(store.as_ref(), found).await }));
                }
                asked += 1;
            }
            let wanted = &mut wanted[at];
            wanted.outcome = if small(wanted) {
                let next = fetching.pop_front().expect("asked for before");
                match self.wait(async { next.await.unwrap_or_else(|error| Err(died(&error))) })? {
                    Small::Read { content, attributes, seen, changing } => {
                        lane.begin_blob()?;
                        block.clear();
                        block.data.extend_from_slice(&content);
                        lane.write(&block)?;
                        lane.finish_blob()?;
                        let (size, sum) = (content.len() as u64, Sha256::digest(&content).into());
                        Outcome::Read { size, sum, attributes: attributes.json(), seen, changing }
                    }
                    Small::Other(outcome) => outcome,
                }
            } else {
                self.read_large(wanted, lane, &mut block)?
            };
        }
        Ok(())
    }
}

fn died(error: &tokio::task::JoinError) -> SourceError {
    SourceError::Failed { what: "reading objects".to_owned(), why: error.to_string(), hint: String::new() }
}

enum Small {
    Read { content: Bytes, attributes: Box<Attributes>, seen: String, changing: bool },
    Other(Outcome),
}

/// What to ask the store for; the last list's names of versions are the store's own only in what was seen.
fn which(name: &str, seen: &str) -> Which {
    let (key, time) = version::split(name);
    Which { key: key.to_owned(), version: time.and_then(|_| version_of(seen)).map(str::to_owned) }
}

/// What is to be seen in the next listing if the object that was sent stays what it is: the listing's own words, which may give
/// times more finely, as long as they are about this object. A store that lists no tags has only the time to tell by, to the second.
fn seen_after(object: &Body, found: &Found) -> String {
    if let Some(listed) = tag_of(&found.seen) {
        let sent = object.tag.as_deref().unwrap_or_default();
        return if sent == listed { found.seen.clone() } else { seen(sent, object.time, version_of(&found.seen)) };
    }
    let sent = object.time.map(jiff::Timestamp::as_second);
    let settled = sent.is_some_and(|sent| clock::now().as_second() - sent > SETTLED_AFTER_SECONDS);
    if second_of(&found.seen) == sent && settled { found.seen.clone() } else { String::new() }
}

async fn fetch_small(store: &dyn Store, found: Found) -> Result<Small, SourceError> {
    let which = which(&String::from_utf8_lossy(&found.name), &found.seen);
    let mut last = None;
    for round in 1..=READS {
        // The last time whatever is there is taken.
        let wanted = tag_of(&found.seen).filter(|_| round == 1);
        let object = match store.get(&which, wanted, 0).await? {
            Fetched::Found(object) => object,
            Fetched::Changed => continue,
            Fetched::Vanished => return Ok(Small::Other(Outcome::Vanished)),
            Fetched::Denied(why) => return Ok(Small::Other(Outcome::Denied(why))),
        };
        let promised = object.length;
        let mut attributes = object.attributes.clone();
        let (mut seen, tag) = (seen_after(&object, &found), object.tag.clone());
        match object.collect().await {
            Ok(content) if promised.is_none_or(|promised| promised == content.len() as u64) => {
                let changing = !store.is_still(&which, tag.as_deref()).await?;
                if changing && round < READS {
                    continue;
                }
                if changing {
                    seen.clear();
                }
                store.add_extras(&which, &mut attributes).await?;
                return Ok(Small::Read { content, attributes, seen, changing });
            }
            Ok(content) => last = Some(format!("{} bytes came of {}", content.len(), promised.unwrap_or_default())),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(PAUSE * round).await;
    }
    Err(broken(&found.name, &last.unwrap_or_else(|| "it changed each time that it was read".to_owned())))
}

fn broken(name: &[u8], why: &str) -> SourceError {
    SourceError::Unreachable {
        what: format!("object `{}`", encoded(name)),
        why: why.to_owned(),
        hint: "run again; what was read is found again".to_owned(),
    }
}

impl ObjectsOrigin {
    /// Streams an object into a blob; where the connection breaks, the rest is asked for, of the same object only.
    fn read_large(&self, wanted: &mut Wanted, lane: &mut dyn Lane, block: &mut Block) -> Result<Outcome, SourceError> {
        let which = which(&String::from_utf8_lossy(&wanted.found.name), &wanted.found.seen);
        for round in 1..=READS {
            let expected = tag_of(&wanted.found.seen).filter(|_| round == 1);
            let object = match self.wait(self.store.get(&which, expected, 0))? {
                Fetched::Found(object) => object,
                Fetched::Changed => continue,
                Fetched::Vanished => return Ok(Outcome::Vanished),
                Fetched::Denied(why) => return Ok(Outcome::Denied(why)),
            };
            let mut attributes = object.attributes.clone();
            let (mut seen, tag) = (seen_after(&object, &wanted.found), object.tag.clone());
            lane.begin_blob()?;
            let streamed = self.stream(&which, object, lane, block);
            lane.finish_blob()?;
            if let Some((size, sum)) = streamed? {
                let changing = !self.wait(self.store.is_still(&which, tag.as_deref()))?;
                if changing && round < READS {
                    wanted.spoiled += 1;
                    continue;
                }
                if changing {
                    seen.clear();
                }
                self.wait(self.store.add_extras(&which, &mut attributes))?;
                return Ok(Outcome::Read { size, sum, attributes: attributes.json(), seen, changing });
            }
            wanted.spoiled += 1;
        }
        Err(broken(&wanted.found.name, "it changed each time that it was read"))
    }

    /// Size and SHA-256; `None` where the object changed in the middle.
    fn stream(
        &self,
        which: &Which,
        mut object: Body,
        lane: &mut dyn Lane,
        block: &mut Block,
    ) -> Result<Option<(u64, [u8; 32])>, SourceError> {
        let whole = object.length;
        let tag = object.tag.clone();
        let mut hasher = Sha256::new();
        let (mut at, mut failures) = (0_u64, 0);
        loop {
            let piece = self.wait(async { Ok(object.content.next().await) })?;
            let why = match piece {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    block.clear();
                    block.data.extend_from_slice(&piece);
                    lane.write(block)?;
                    at += piece.len() as u64;
                    failures = 0;
                    continue;
                }
                None if whole.is_none_or(|whole| whole == at) => return Ok(Some((at, hasher.finalize().into()))),
                None => format!("{at} bytes came of {}", whole.unwrap_or_default()),
                Some(Err(error)) => error,
            };
            failures += 1;
            if failures > READS || whole.is_some_and(|whole| at > whole) {
                return Err(broken(which.key.as_bytes(), &why));
            }
            tracing::debug!(key = which.key, at, %why, "an object's body broke off; the rest is asked for");
            self.wait(async {
                tokio::time::sleep(PAUSE * failures).await;
                Ok(())
            })?;
            match self.wait(self.store.get(which, tag.as_deref(), at))? {
                Fetched::Found(rest) if rest.is_rest => object = rest,
                Fetched::Changed | Fetched::Vanished => return Ok(None),
                Fetched::Found(_) => {
                    return Err(broken(which.key.as_bytes(), "the store does not send the rest of an object"));
                }
                Fetched::Denied(why) => return Err(broken(which.key.as_bytes(), &why)),
            }
        }
    }
}
