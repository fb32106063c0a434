//! Restores objects into a bucket.
//!
//! The stored list is merged with the destination's listing: what is there and equal is not written again, what is there and was not
//! allowed to be touched never gets this far. Objects up to [`SMALL_BYTES_MAX`] are written whole, larger ones in parts, and none is
//! visible before its SHA-256 is known to be right. Memory: a small object for each connection, a part for each of [`LARGE_AT_ONCE`]
//! large ones; parts are of [`PART_BYTES`], and larger for objects above 72 GB.

mod put;
mod there;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::put::part_bytes;
use self::there::{Index, There};
use super::{bent, key_and_time};
use crate::domain::words::counted;
use crate::domain::{PartStore, SourceRecord};
use crate::sources::objects::attributes::Attributes;
use crate::sources::objects::config::{CONNECTIONS, ObjectsConfig};
use crate::sources::objects::record::ObjectsRecord;
use crate::sources::objects::s3::{self, S3Store};
use crate::sources::objects::shelf::Line;
use crate::sources::objects::store::{Fetched, Listed, Store, Which};
use crate::sources::objects::version;
use crate::sources::tree::Entry;
use crate::sources::tree::choice::{self, Choice, Sample};
use crate::sources::tree::landing::{self, MARKER};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};
use crate::system::s3::Connection;

/// Objects up to this size are written whole.
const SMALL_BYTES_MAX: u64 = 4 << 20;
/// Larger ones in parts of this size, as long as there are not too many.
const PART_BYTES: u64 = 8 << 20;
const PARTS_MAX: u64 = 9_000;
const LARGE_AT_ONCE: usize = 3;

pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    let ObjectsRecord { versions: versioned, tags, .. } = ObjectsRecord::of(record)?;
    let (own, connections) = own_connection(request).await?;
    let (connection, bucket) = crate::sources::objects::bucket_of(&request.place, own.as_ref())?;
    let bucket_name = bucket.name.clone();
    let only = choice::patterns(request)?;
    let destination = S3Store::at(&connection, &bucket, false);
    let keeps = if versioned { destination.keeps_versions().await } else { Ok(false) };
    let keeps = keeps.map_err(|error| if request.scratch { of_scratch(error) } else { error })?;
    if request.scratch && versioned && !keeps {
        return Err(SourceError::Lacks(vec!["a scratch bucket that keeps versions".to_owned()]));
    }
    let marker = landing::marker(record, store.as_ref(), &request.only);
    let (request, cancel, keep) = (request.clone(), context.cancel.clone(), context.keep.clone());
    let runtime = Handle::current();
    let restored = tokio::task::spawn_blocking(move || {
        let choice = Choice { store: store.as_ref(), only, patterns_are_about: version::key_of, cancel };
        let restore = Restore {
            choice,
            destination: Arc::new(S3Store::at(&connection, &bucket, keeps).with_tags(tags)),
            prefix: bucket.prefix,
            keeps,
            marker,
            runtime,
            scratch: request.scratch,
            may_overwrite: request.overwrite.contains(&bucket_name),
            large: Semaphore::new(LARGE_AT_ONCE),
            notes: Mutex::default(),
        };
        if request.dry_run { restore.look() } else { restore.run(connections, request.sample, &keep) }
    });
    restored.await.unwrap_or_else(|error| Err(super::died(&error)))
}

/// How the job reaches its own store: what a destination does not say is as there.
async fn own_connection(request: &LoadRequest) -> Result<(Option<Connection>, usize), SourceError> {
    let Some(section) = &request.source else { return Ok((None, CONNECTIONS)) };
    let settings = section.parse::<ObjectsConfig>().and_then(|config| config.settle(section));
    let settings = settings.map_err(|error| SourceError::Refused {
        what: "the job's `[source]`".to_owned(),
        why: error.to_string(),
        hint: String::new(),
    })?;
    Ok((Some(s3::connection(&settings).await?), settings.connections))
}

struct Restore<'r> {
    choice: Choice<'r>,
    destination: Arc<S3Store>,
    /// What every key gets before it.
    prefix: String,
    /// All versions are restored, and the bucket keeps them.
    keeps: bool,
    marker: String,
    runtime: Handle,
    scratch: bool,
    may_overwrite: bool,
    large: Semaphore,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    objects: u64,
    bytes: u64,
    kept: u64,
    older: u64,
    /// Access lists that could not be set, and the first reason.
    unset: u64,
    unset_why: String,
    /// An object has the name of our mark.
    reserved: bool,
    error: Option<SourceError>,
}

/// What is there before a restore begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Empty,
    /// What this same restore left when it was interrupted.
    Resumed,
    /// Objects that may be written over.
    Over,
}

/// All versions of a key, newest first, and what the destination has of it.
struct Key {
    name: String,
    entries: Vec<Entry>,
    there: Vec<Listed>,
}

impl Restore<'_> {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits on this thread, which is no thread of the runtime, unless the run is cancelled first.
    fn wait<T>(&self, work: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        let done = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.choice.cancel.cancelled() => Err(SourceError::Cancelled),
                done = work => done,
            }
        });
        if self.scratch { done.map_err(of_scratch) } else { done }
    }

    fn marker_key(&self) -> String {
        format!("{}{MARKER}", self.prefix)
    }

    /// Whether the bucket may be restored into.
    fn may_begin(&self) -> Result<Start, SourceError> {
        let mut listing = Arc::clone(&self.destination).list(None, None);
        let Some(first) = self.wait(listing.next())? else { return Ok(Start::Empty) };
        let which = Which { key: self.marker_key(), version: None };
        let found = match self.wait(self.destination.get(&which, None, 0))? {
            Fetched::Found(body) => self.wait(async { Ok(body.collect().await.ok()) })?,
            _ => None,
        };
        let refused = |why: String, hint: &str| {
            Err(SourceError::NotEmpty { what: self.destination.place().to_owned(), why, hint: hint.to_owned() })
        };
        match found {
            Some(found) if found == self.marker.as_bytes() => Ok(Start::Resumed),
            Some(_) => refused(
                "another restore into it was interrupted".to_owned(),
                "finish that one, or name another prefix; nothing was written",
            ),
            None if self.may_overwrite => Ok(Start::Over),
            None => {
                let example = first.first().map_or("", |listed| listed.which.key.as_str());
                refused(
                    format!("it holds `{example}` and perhaps more"),
                    "name an empty prefix, or `--overwrite BUCKET` to write over objects of the same keys and leave others \
                     alone; nothing was written",
                )
            }
        }
    }

    fn look(&self) -> Result<LoadReport, SourceError> {
        let start = self.may_begin()?;
        let (mut requests, mut total) = (0, choice::Total::default());
        self.choice.each(&mut |entry| {
            total.entries += 1;
            total.bytes += entry.size;
            entry.address.add_packs_to(&mut total.packs);
            requests += if entry.size <= SMALL_BYTES_MAX { 1 } else { 2 + entry.size.div_ceil(part_bytes(entry.size)) };
            Ok(())
        })?;
        let warning = match start {
            Start::Empty => None,
            Start::Resumed => Some("a restore of this snapshot was interrupted here; it would go on"),
            Start::Over => Some("objects of the same keys are written over, others are left alone"),
        };
        Ok(LoadReport {
            rows: total.entries,
            bytes: total.bytes,
            plan: vec![
                format!("fetches {}", counted(total.packs.len() as u64, ["pack", "packs"])),
                format!("writes with at most {}", counted(requests, ["request", "requests"])),
            ],
            warnings: warning.map(str::to_owned).into_iter().collect(),
            loaded: vec![self.destination.place().to_owned()],
            ..LoadReport::default()
        })
    }

    fn run(&self, connections: usize, sample: Option<u64>, keep: &std::path::Path) -> Result<LoadReport, SourceError> {
        let start = self.may_begin()?;
        if self.scratch && start != Start::Empty {
            let what = self.destination.place().to_owned();
            return Err(SourceError::NotEmpty { what, why: "it is not empty".to_owned(), hint: String::new() });
        }
        // Shows that what is wanted is there, before anything is written.
        let total = self.choice.total()?;
        let mut sample = sample.map(|wanted| Sample::new(wanted, total.contents));
        let marks = start == Start::Empty && !self.scratch;
        if marks {
            let marker = Bytes::from(self.marker.clone());
            self.wait(self.destination.put(&self.marker_key(), marker, &Attributes::default()))?;
        }
        let index = if self.scratch { Some(Index::create(keep)?) } else { None };
        let (send, receive) = sync_channel::<Key>(connections);
        let receive = Mutex::new(receive);
        let walked = std::thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| self.write_keys(&receive, start));
            }
            let walked = self.hand_out(&send, start, sample.as_mut(), index);
            drop(send);
            walked
        });
        let failed = self.notes().error.take();
        failed.map_or(walked, Err)?;
        if marks || start == Start::Resumed {
            self.wait(self.destination.remove_for_good(&self.marker_key()))?;
        }
        let notes = self.notes();
        let mut warnings = vec![];
        if !self.scratch {
            warnings.push("times and version ids cannot come back".to_owned());
        }
        if notes.older > 0 {
            warnings.push(format!(
                "the bucket keeps no versions: {} and removals are not restored",
                counted(notes.older, ["older version", "older versions"])
            ));
        }
        if notes.unset > 0 {
            warnings.push(format!("{} access lists could not be set: {}", notes.unset, notes.unset_why));
        }
        if notes.reserved {
            warnings.push(format!("`{MARKER}` is not restored: a restore under way uses that name"));
        }
        if notes.kept > 0 {
            warnings.push(format!("{} objects were there already and equal", notes.kept));
        }
        Ok(LoadReport {
            bytes: notes.bytes,
            rows: notes.objects,
            warnings,
            loaded: vec![self.destination.place().to_owned()],
            sampled: sample.map(|sample| sample.sampled()),
            ..LoadReport::default()
        })
    }

    /// Hands over key by key, with what the destination has of it.
    fn hand_out(
        &self,
        send: &SyncSender<Key>,
        start: Start,
        mut sample: Option<&mut Sample>,
        mut index: Option<Index>,
    ) -> Result<(), SourceError> {
        let mut there = (start != Start::Empty).then(|| There::new(Arc::clone(&self.destination).list(None, None)));
        let mut waiting: Option<Key> = None;
        let mut send_on = |key: Option<Key>| -> Result<(), SourceError> {
            let Some(mut key) = key else { return Ok(()) };
            if let Some(there) = &mut there {
                key.there = there.of(self, &format!("{}{}", self.prefix, key.name))?;
            }
            if self.notes().error.is_some() || send.send(key).is_err() {
                return Err(SourceError::Cancelled);
            }
            Ok(())
        };
        self.choice.each(&mut |entry| {
            let (key, _) = key_and_time(&entry)?;
            if key == MARKER && !self.scratch && start != Start::Over {
                self.notes().reserved = true;
                return Ok(());
            }
            let left_out = match &mut sample {
                Some(sample) if entry.kind.has_content() => !sample.takes(&mut rand::rng()),
                _ => false,
            };
            if let Some(index) = &mut index {
                let line = if left_out { Line::left_out(&entry) } else { Line::of(&entry, None) };
                index.line(&line.ok_or_else(|| bent(&entry))?)?;
            }
            if left_out {
                return Ok(());
            }
            match &mut waiting {
                Some(waiting) if waiting.name == key => waiting.entries.push(entry),
                _ => send_on(waiting.replace(Key { name: key, entries: vec![entry], there: vec![] }))?,
            }
            Ok(())
        })?;
        send_on(waiting)?;
        index.map_or(Ok(()), Index::finish)
    }

    fn write_keys(&self, receive: &Mutex<Receiver<Key>>, start: Start) {
        loop {
            let key = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(key) = key else { return };
            if self.notes().error.is_some() {
                continue;
            }
            if let Err(error) = self.write_key(key, start) {
                self.notes().error.get_or_insert(error);
            }
        }
    }
}

/// A scratch bucket's own trouble is none of the backup's.
fn of_scratch(error: SourceError) -> SourceError {
    match error {
        SourceError::Unreachable { what, why, .. }
        | SourceError::Refused { what, why, .. }
        | SourceError::Failed { what, why, .. } => SourceError::Scratch { what, why },
        other => other,
    }
}
