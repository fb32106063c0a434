//! Carries a tree into a sink: one thread plans, some read content, and one writes the list in order.
//!
//! A batch is read by one thread into one lane; when its blobs are placed it goes to the writer, which waits for the batches
//! before it. At most [`BATCHES`] are under way, so that one huge file holds up others only once that many wait behind it.
//! Memory: [`BATCHES`] times [`BATCH_ENTRIES`](super::plan::BATCH_ENTRIES) entries of some 500 bytes, and the lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::listing::{self, LastListing, NewListing};
use super::plan::{Batch, Item, Planner, Work};
use super::{Origin, Outcome, digest_part, list_part};
use crate::domain::{Block, Event, Gap, Lane, Names, PackNumber, PartSink, Shape};
use crate::sources::{Context, SourceError};

/// Batches under way.
pub(super) const BATCHES: usize = 16;
/// How full a block of the list gets before it is handed over.
const BLOCK_BYTES: usize = 128 << 10;
/// How often a thread that waits looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Entries that are named one by one where something was wrong with them; the rest is counted.
const NAMED_MAX: usize = 50;

/// A dump of an origin.
pub(crate) struct TreeDump {
    pub(crate) origin: Arc<dyn Origin>,
    /// Where the copy of the last list is, and the new one goes; `None` reads everything and leaves nothing.
    pub(crate) keep: Option<PathBuf>,
    /// Read everything, whatever has not changed.
    pub(crate) full_read: bool,
    /// Asked for what some entries are called.
    pub(crate) names: Option<Arc<Names>>,
}

/// What a dump found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// As the origin listed them.
    pub(crate) found: u64,
    /// In the list.
    pub(crate) entries: u64,
    /// Content of everything in the list, and of what was read for it.
    pub(crate) bytes: u64,
    pub(crate) read_bytes: u64,
    pub(crate) read_entries: u64,
    pub(crate) vanished: Told,
    pub(crate) denied: Told,
    pub(crate) changing: Told,
}

/// Some entries that a report names, and how many there are in all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) count: u64,
    /// Name and why.
    pub(crate) named: Vec<(String, String)>,
}

impl Summary {
    /// What is not in the snapshot, or not as it was at one moment. `thing` is what an entry is called.
    pub(crate) fn gaps(&self, thing: &str) -> Vec<Gap> {
        let all = [&self.denied, &self.vanished, &self.changing];
        all.into_iter().flat_map(|told| told.gaps(thing)).collect()
    }

    /// Warns of what a person should look at.
    pub(crate) fn tell(&self, context: &Context, thing: &str) {
        let warn = |message: String| {
            context.progress.event(Event::Warning { job: context.job.clone(), message });
        };
        for (told, what) in [
            (&self.denied, "could not be read and is not in the backup"),
            (&self.changing, "changed every time that it was read: its content is of no single moment"),
        ] {
            let Some((name, why)) = told.named.first() else { continue };
            match told.count {
                1 => warn(format!("{thing} `{name}` {what} ({why})")),
                count => warn(format!("{count} {thing}s, `{name}` among them: each {what} ({why})")),
            }
        }
    }
}

impl Told {
    fn gaps(&self, thing: &str) -> Vec<Gap> {
        let named = self.named.iter().map(|(name, why)| Gap { what: format!("{thing} `{name}`"), why: why.clone() });
        let mut gaps: Vec<Gap> = named.collect();
        let more = self.count - gaps.len() as u64;
        if let Some((_, why)) = self.named.first().filter(|_| more > 0) {
            gaps.push(Gap { what: format!("{more} more {thing}s"), why: why.clone() });
        }
        gaps
    }

    fn add(&mut self, name: &[u8], why: &str) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((super::entry::encoded(name), why.to_owned()));
        }
    }
}

impl TreeDump {
    pub(crate) async fn run(self, context: &Context, sink: Arc<dyn PartSink>) -> Result<Summary, SourceError> {
        let (lanes, cancel) = (context.lanes.max(1), context.cancel.clone());
        let ended = tokio::task::spawn_blocking(move || self.carry(lanes, &cancel, sink.as_ref())).await;
        ended.unwrap_or_else(|error| {
            Err(SourceError::Failed { what: "reading".to_owned(), why: error.to_string(), hint: String::new() })
        })
    }

    fn carry(&self, lanes: usize, cancel: &CancellationToken, sink: &dyn PartSink) -> Result<Summary, SourceError> {
        let last = self.keep.as_deref().filter(|_| !self.full_read).and_then(LastListing::open);
        let new = self.keep.as_deref().map(NewListing::begin).transpose().map_err(|error| keep_failed(&error))?;
        let mut writer = ListWriter::begin(sink, new, self.names.clone())?;
        let stop = Stop { cancel, failed: AtomicBool::new(false), error: Mutex::default() };
        // Tokens bound it.
        let (works, to_read) = channel::<Work>();
        let to_read = Mutex::new(to_read);
        let (read, to_write) = channel::<(Batch, Vec<Entry>, Vec<super::Wanted>)>();
        let (returned, tokens) = channel::<()>();
        (0..BATCHES).for_each(|_| returned.send(()).unwrap_or_default());
        let mut found = 0;
        std::thread::scope(|scope| {
            let stop = &stop;
            let to_read = &to_read;
            for _ in 0..lanes {
                let read = read.clone();
                scope.spawn(move || stop.watch(self.read_batches(sink, to_read, &read, stop)));
            }
            drop(read);
            let found = &mut found;
            scope.spawn(move || {
                let planned = self.plan(sink, last, &works, &tokens, stop);
                stop.watch(planned.map(|count| *found = count));
            });
            stop.watch(write_batches(&mut writer, &to_write, &returned, stop));
        });
        stop.into_result()?;
        let mut summary = writer.finish(sink)?;
        summary.found = found;
        Ok(summary)
    }

    /// Gives how many entries there were.
    fn plan(
        &self,
        sink: &dyn PartSink,
        last: Option<LastListing>,
        works: &Sender<Work>,
        tokens: &Receiver<()>,
        stop: &Stop<'_>,
    ) -> Result<u64, SourceError> {
        let mut planner = Planner::new(self.origin.as_ref(), sink, last);
        let send = |work: Work| {
            while matches!(tokens.recv_timeout(LOOK_UP), Err(RecvTimeoutError::Timeout)) {
                if stop.is_set() {
                    return Err(SourceError::Cancelled);
                }
            }
            works.send(work).map_err(|_| SourceError::Cancelled)
        };
        self.origin.discover(&mut |entry| {
            if stop.is_set() {
                return Err(SourceError::Cancelled);
            }
            planner.take(entry)?.map_or(Ok(()), send)
        })?;
        let (rest, found) = planner.finish();
        self.origin.discovered()?;
        rest.map_or(Ok(()), send)?;
        Ok(found)
    }

    fn read_batches(
        &self,
        sink: &dyn PartSink,
        to_read: &Mutex<Receiver<Work>>,
        read: &Sender<(Batch, Vec<Entry>, Vec<super::Wanted>)>,
        stop: &Stop<'_>,
    ) -> Result<(), SourceError> {
        let mut lane = sink.open_lane()?;
        loop {
            let work = to_read.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Work { batch, mut wanted }) = work else { break };
            if stop.is_set() {
                return Err(SourceError::Cancelled);
            }
            let entries = if wanted.is_empty() { vec![] } else { self.read_batch(&mut wanted, lane.as_mut())? };
            if read.send((batch, entries, wanted)).is_err() {
                return Err(SourceError::Cancelled);
            }
        }
        Ok(lane.close()?)
    }

    /// An entry for each that was read, in order.
    fn read_batch(&self, wanted: &mut [super::Wanted], lane: &mut dyn Lane) -> Result<Vec<Entry>, SourceError> {
        self.origin.read(wanted, lane)?;
        let mut addresses = lane.settle()?.into_iter();
        let mut entries = vec![];
        for wanted in wanted {
            for _ in 0..wanted.spoiled {
                addresses.next().ok_or_else(|| uneven(&wanted.found.name))?;
            }
            if let Outcome::Read { size, sum, attributes, seen, changing } = &wanted.outcome {
                let address = addresses.next().ok_or_else(|| uneven(&wanted.found.name))?;
                entries.push(Entry {
                    name: wanted.found.name.clone(),
                    kind: wanted.found.kind,
                    size: *size,
                    sum: Some(*sum),
                    address,
                    attributes: attributes.clone(),
                    // What changed while it was read has to be read again.
                    seen: if *changing { String::new() } else { seen.clone() },
                });
            }
        }
        if addresses.next().is_some() { Err(uneven(b"")) } else { Ok(entries) }
    }
}

/// The snapshot is committed: what was kept of its list counts from now on.
pub(crate) fn committed(keep: &std::path::Path, packs: &[(PackNumber, [u8; 32])]) -> Result<(), SourceError> {
    listing::commit(keep, packs).map_err(|error| keep_failed(&error))
}

fn uneven(name: &[u8]) -> SourceError {
    SourceError::Failed {
        what: format!("content of `{}`", super::entry::encoded(name)),
        why: "another number of blobs was stored than was read".to_owned(),
        hint: "this is a fault of Lifeboat itself; nothing was committed".to_owned(),
    }
}

fn keep_failed(error: &std::io::Error) -> SourceError {
    SourceError::Failed {
        what: "copy of the list in the state folder".to_owned(),
        why: error.to_string(),
        hint: "make room in the folder that `state` names".to_owned(),
    }
}

/// Ends all threads when one fails, and keeps the first reason.
struct Stop<'s> {
    cancel: &'s CancellationToken,
    failed: AtomicBool,
    error: Mutex<Option<SourceError>>,
}

impl Stop<'_> {
    fn is_set(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    fn watch(&self, result: Result<(), SourceError>) {
        let Err(error) = result else { return };
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        // Who was told to stop says nothing new.
        if first.as_ref().is_none_or(|first| matches!(first, SourceError::Cancelled)) {
            *first = Some(error);
        }
        self.failed.store(true, Ordering::Relaxed);
    }

    fn into_result(self) -> Result<(), SourceError> {
        self.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

fn write_batches(
    writer: &mut ListWriter<'_>,
    to_write: &Receiver<(Batch, Vec<Entry>, Vec<super::Wanted>)>,
    returned: &Sender<()>,
    stop: &Stop<'_>,
) -> Result<(), SourceError> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    while let Ok((batch, entries, wanted)) = to_write.recv() {
        early.insert(batch.number, (batch, entries, wanted));
        while let Some((batch, entries, wanted)) = early.remove(&next) {
            writer.batch(batch, entries, &wanted)?;
            next += 1;
            // A planner that is done takes none.
            returned.send(()).unwrap_or_default();
        }
        if stop.is_set() {
            return Err(SourceError::Cancelled);
        }
    }
    if early.is_empty() { Ok(()) } else { Err(SourceError::Cancelled) }
}

/// Writes the list, what is compared of it, and the copy for the next run.
struct ListWriter<'w> {
    list: Box<dyn Lane + 'w>,
    digests: Box<dyn Lane + 'w>,
    new: Option<NewListing>,
    names: Option<Arc<Names>>,
    list_block: Block,
    digest_block: Block,
    line: Vec<u8>,
    packs: BTreeSet<PackNumber>,
    summary: Summary,
}

impl<'w> ListWriter<'w> {
    fn begin(sink: &'w dyn PartSink, new: Option<NewListing>, names: Option<Arc<Names>>) -> Result<Self, SourceError> {
        let (mut list, mut digests) = (sink.open_lane()?, sink.open_lane()?);
        list.begin(list_part(), Shape::Records)?;
        digests.begin(digest_part(), Shape::Digest)?;
        Ok(Self {
            list,
            digests,
            new,
            names,
            list_block: Block::default(),
            digest_block: Block::default(),
            line: vec![],
            packs: BTreeSet::new(),
            summary: Summary::default(),
        })
    }

    fn batch(&mut self, batch: Batch, entries: Vec<Entry>, wanted: &[super::Wanted]) -> Result<(), SourceError> {
        let mut entries = entries.into_iter();
        for item in batch.items {
            match item {
                Item::Known(entry) => self.entry(&entry)?,
                Item::Read(at) => self.outcome(&wanted[at], &mut entries)?,
            }
        }
        Ok(())
    }

    fn outcome(&mut self, wanted: &super::Wanted, entries: &mut dyn Iterator<Item = Entry>) -> Result<(), SourceError> {
        let name = &wanted.found.name;
        match &wanted.outcome {
            Outcome::Read { changing, .. } => {
                let entry = entries.next().ok_or_else(|| uneven(name))?;
                self.summary.read_entries += 1;
                self.summary.read_bytes += entry.size;
                if *changing {
                    self.summary.changing.add(name, "it changed while it was read");
                }
                self.entry(&entry)?;
            }
            Outcome::Vanished => self.summary.vanished.add(name, "it was listed and is no more"),
            Outcome::Denied(why) => self.summary.denied.add(name, why),
            Outcome::Waiting => return Err(uneven(name)),
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), SourceError> {
        if entry.kind.is_compared() {
            let digest = entry.digest(&mut self.line);
            if let Some(names) = &self.names {
                names.note(digest.first_chunk().expect("a digest begins with a hash"), entry.shown().as_bytes());
            }
            add(&mut self.digest_block, &digest, self.digests.as_mut())?;
        }
        self.line.clear();
        entry.write_line(&mut self.line);
        entry.address.add_packs_to(&mut self.packs);
        self.summary.entries += 1;
        self.summary.bytes += entry.size;
        if let Some(new) = &mut self.new {
            new.line(&self.line).map_err(|error| keep_failed(&error))?;
        }
        add(&mut self.list_block, &self.line, self.list.as_mut())
    }

    fn finish(mut self, sink: &dyn PartSink) -> Result<Summary, SourceError> {
        for (lane, block) in [(&mut self.list, &self.list_block), (&mut self.digests, &self.digest_block)] {
            lane.write(block)?;
            lane.finish()?;
            lane.close()?;
        }
        if let Some(new) = self.new {
            new.finish().map_err(|error| keep_failed(&error))?;
        }
        sink.refer(&self.packs, self.summary.bytes)?;
        Ok(self.summary)
    }
}

/// Adds a record; a full block goes on its way.
fn add(block: &mut Block, record: &[u8], lane: &mut dyn Lane) -> Result<(), SourceError> {
    block.data.extend_from_slice(record);
    let end = u32::try_from(block.data.len()).map_err(|_| uneven(b""))?;
    block.record_ends.push(end);
    if block.data.len() >= BLOCK_BYTES {
        lane.write(block)?;
        block.clear();
    }
    Ok(())
}
