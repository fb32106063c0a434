//! Lists a bucket and reads its objects.
//!
//! The next page is asked for while one is worked on. Small objects are fetched ahead, several at a time, and carried into the lane
//! in order; large ones stream, and go on where a connection broke. Memory: two pages of keys; for each reader its share of the
//! connections times [`SMALL_BYTES_MAX`].

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::attributes::Attributes;
use super::config::Settings;
use super::store::{Fetched, Page, Store};
use crate::domain::{Block, Lane};
use crate::sources::SourceError;
use crate::sources::tree::entry::encoded;
use crate::sources::tree::{EntryKind, Found, Origin, Outcome, Wanted};
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
    store: Store,
    settings: Settings,
    runtime: Handle,
    cancel: CancellationToken,
    /// Small objects that one reader fetches ahead.
    ahead: usize,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    left_out: u64,
    gone: Vec<String>,
}

impl ObjectsOrigin {
    /// Must be called within a runtime.
    pub(super) fn new(store: Store, settings: Settings, lanes: usize, cancel: CancellationToken) -> Self {
        let ahead = settings.connections.div_ceil(lanes.max(1));
        Self { store, settings, runtime: Handle::current(), cancel, ahead, noted: Mutex::default() }
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

    fn ask_for_page(&self, after: Option<String>) -> JoinHandle<Result<Page, SourceError>> {
        let store = self.store.clone();
        self.runtime.spawn(async move { store.page(after.as_deref()).await })
    }
}

impl Origin for ObjectsOrigin {
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        one.cmp(other)
    }

    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError> {
        let mut next = self.ask_for_page(None);
        loop {
            let page = self.wait(async { (&mut next).await.unwrap_or_else(|error| Err(died(&error))) })?;
            if !page.is_last {
                next = self.ask_for_page(page.objects.last().map(|object| object.key.clone()));
            }
            for object in page.objects {
                if !self.settings.wants(object.key.as_bytes()) {
                    self.noted().left_out += 1;
                    continue;
                }
                let (name, size, seen) = (object.key.into_bytes(), object.size, object.seen);
                take(Found { name, kind: EntryKind::Content, size, attributes: None, seen })?;
            }
            if page.is_last {
                return Ok(());
            }
        }
    }

    fn gone(&self, name: &[u8]) {
        let mut noted = self.noted();
        if noted.gone.len() < ASKED_MAX
            && let Ok(key) = std::str::from_utf8(name)
            && self.settings.wants(name)
        {
            noted.gone.push(key.to_owned());
        }
    }

    /// A store whose listing leaves out what it has would empty the backup.
    fn discovered(&self) -> Result<(), SourceError> {
        let gone = std::mem::take(&mut self.noted().gone);
        for key in gone {
            if self.wait(self.store.exists(&key))? {
                return Err(SourceError::Failed {
                    what: format!("listing {}", self.settings.place()),
                    why: format!("it leaves out `{key}`, which is there"),
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
                    let (store, found, tags) =
                        (self.store.clone(), wanted[asked].found.clone(), self.settings.config.tags);
                    fetching.push_back(self.runtime.spawn(async move { fetch_small(&store, found, tags).await }));
                }
                asked += 1;
            }
            let wanted = &mut wanted[at];
            wanted.outcome = if small(wanted) {
                let next = fetching.pop_front().expect("asked for before");
                match self.wait(async { next.await.unwrap_or_else(|error| Err(died(&error))) })? {
                    Small::Read { content, attributes, seen } => {
                        lane.begin_blob()?;
                        block.clear();
                        block.data.extend_from_slice(&content);
                        lane.write(&block)?;
                        lane.finish_blob()?;
                        let (size, sum) = (content.len() as u64, Sha256::digest(&content).into());
                        Outcome::Read { size, sum, attributes: attributes.json(), seen, changing: false }
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
    Read { content: Bytes, attributes: Box<Attributes>, seen: String },
    Other(Outcome),
}

/// The tag in what was seen of an object, if the store gave one.
fn tag(seen: &str) -> Option<&str> {
    seen.split(' ').next().filter(|tag| !tag.is_empty())
}

/// What would have been seen of the object that was sent.
fn seen_of(object: &GetObjectOutput) -> String {
    let time = object.last_modified().map(|time| format!("{}.{:09}", time.secs(), time.subsec_nanos()));
    format!("{} {}", object.e_tag().unwrap_or_default(), time.unwrap_or_default())
}

/// What is to be seen in the next listing if the object that was sent stays what it is: the listing's own words, which may give
/// times more finely, as long as they are about this object. A store that lists no tags has only the time to tell by, to the second.
fn seen_after(object: &GetObjectOutput, found: &Found) -> String {
    if let Some(listed) = tag(&found.seen) {
        return if object.e_tag() == Some(listed) { found.seen.clone() } else { seen_of(object) };
    }
    let listed = found.seen.trim().split('.').next().and_then(|seconds| seconds.parse::<i64>().ok());
    let sent = object.last_modified().map(aws_sdk_s3::primitives::DateTime::secs);
    let settled = sent.is_some_and(|sent| clock::now().as_second() - sent > SETTLED_AFTER_SECONDS);
    if listed == sent && settled { found.seen.clone() } else { String::new() }
}

async fn fetch_small(store: &Store, found: Found, tags: bool) -> Result<Small, SourceError> {
    let key = String::from_utf8_lossy(&found.name).into_owned();
    let mut last = None;
    for round in 1..=READS {
        // The last time whatever is there is taken.
        let wanted = tag(&found.seen).filter(|_| round == 1);
        let object = match store.get(&key, wanted, 0).await? {
            Fetched::Found(object) => object,
            Fetched::Changed => continue,
            Fetched::Vanished => return Ok(Small::Other(Outcome::Vanished)),
            Fetched::Denied(why) => return Ok(Small::Other(Outcome::Denied(why))),
        };
        let promised = object.content_length().map(i64::unsigned_abs);
        let mut attributes = Attributes::of(&object);
        let seen = seen_after(&object, &found);
        let sent = object.body.collect().await.map(aws_sdk_s3::primitives::AggregatedBytes::into_bytes);
        match sent {
            Ok(content) if promised.is_none_or(|promised| promised == content.len() as u64) => {
                if tags {
                    attributes.tags = store.tags(&key).await?.into_iter().collect();
                }
                return Ok(Small::Read { content, attributes: Box::new(attributes), seen });
            }
            Ok(content) => last = Some(format!("{} bytes came of {}", content.len(), promised.unwrap_or_default())),
            Err(error) => last = Some(error.to_string()),
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
        let key = String::from_utf8_lossy(&wanted.found.name).into_owned();
        for round in 1..=READS {
            let expected = tag(&wanted.found.seen).filter(|_| round == 1);
            let object = match self.wait(self.store.get(&key, expected, 0))? {
                Fetched::Found(object) => object,
                Fetched::Changed => continue,
                Fetched::Vanished => return Ok(Outcome::Vanished),
                Fetched::Denied(why) => return Ok(Outcome::Denied(why)),
            };
            let mut attributes = Attributes::of(&object);
            let seen = seen_after(&object, &wanted.found);
            lane.begin_blob()?;
            let streamed = self.stream(&key, *object, lane, block);
            lane.finish_blob()?;
            if let Some((size, sum)) = streamed? {
                if self.settings.config.tags {
                    attributes.tags = self.wait(self.store.tags(&key))?.into_iter().collect();
                }
                return Ok(Outcome::Read { size, sum, attributes: attributes.json(), seen, changing: false });
            }
            wanted.spoiled += 1;
        }
        Err(broken(&wanted.found.name, "it changed each time that it was read"))
    }

    /// Size and SHA-256; `None` where the object changed in the middle.
    fn stream(
        &self,
        key: &str,
        mut object: GetObjectOutput,
        lane: &mut dyn Lane,
        block: &mut Block,
    ) -> Result<Option<(u64, [u8; 32])>, SourceError> {
        let whole = object.content_length().map(i64::unsigned_abs);
        let tag = object.e_tag().map(str::to_owned);
        let mut hasher = Sha256::new();
        let (mut at, mut failures) = (0_u64, 0);
        loop {
            let piece = self.wait(async { Ok(object.body.next().await) })?;
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
                Some(Err(error)) => error.to_string(),
            };
            failures += 1;
            if failures > READS || whole.is_some_and(|whole| at > whole) {
                return Err(broken(key.as_bytes(), &why));
            }
            tracing::debug!(key, at, %why, "an object's body broke off; the rest is asked for");
            self.wait(async {
                tokio::time::sleep(PAUSE * failures).await;
                Ok(())
            })?;
            match self.wait(self.store.get(key, tag.as_deref(), at))? {
                Fetched::Found(rest) if at == 0 || rest.content_range().is_some() => object = *rest,
                Fetched::Changed | Fetched::Vanished => return Ok(None),
                Fetched::Found(_) => {
                    return Err(broken(key.as_bytes(), "the store does not send the rest of an object"));
                }
                Fetched::Denied(why) => return Err(broken(key.as_bytes(), &why)),
            }
        }
    }
}
