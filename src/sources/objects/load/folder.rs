//! Restores objects into a folder: each a file, and an index of what a folder cannot hold of them.
//!
//! One thread makes files in the order of keys, so that it is settled which key gets which path; several fill them. Memory: a batch
//! of open files for each thread.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::bent;
use crate::domain::{PartStore, SourceRecord};
use crate::sources::objects::shelf::{self, INDEX, IndexWriter, Line};
use crate::sources::objects::version;
use crate::sources::tree::choice::{self, Choice, Sample};
use crate::sources::tree::entry::encoded;
use crate::sources::tree::landing::{self, Landing, plain};
use crate::sources::tree::{Entry, EntryKind};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

/// Files that a thread takes at once.
const BATCH: usize = 32;

pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
    folder: PathBuf,
) -> Result<LoadReport, SourceError> {
    let only = choice::patterns(request)?;
    let marker = landing::marker(record, store.as_ref(), &request.only);
    let (lanes, cancel, scratch) = (context.lanes.max(1), context.cancel.clone(), request.scratch);
    let (dry_run, sample) = (request.dry_run, request.sample);
    let restored = tokio::task::spawn_blocking(move || {
        let choice = Choice { store: store.as_ref(), only, patterns_are_about: version::key_of, cancel };
        let landing = Landing { choice, folder, scratch, marker, keeps_marker: false };
        let restore = Restore { landing, notes: Mutex::default() };
        if dry_run { restore.landing.look() } else { restore.run(lanes, sample) }
    });
    restored.await.unwrap_or_else(|error| Err(super::died(&error)))
}

struct Restore<'r> {
    landing: Landing<'r>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    objects: u64,
    bytes: u64,
    kept: u64,
    apart: u64,
    error: Option<SourceError>,
}

/// An object and the file for its content; none where the file was there and equal.
type Waiting = (Entry, Option<File>);

impl Restore<'_> {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, lanes: usize, sample: Option<u64>) -> Result<LoadReport, SourceError> {
        let mut sample = match sample {
            Some(wanted) => Some(Sample::new(wanted, self.landing.choice.total()?.contents)),
            None => None,
        };
        // How large a sample comes to shows only later.
        let (top, resumed) = self.landing.begin(sample.as_ref().map(|_| 0))?;
        let (send, receive) = sync_channel::<Vec<Waiting>>(lanes);
        let receive = Mutex::new(receive);
        let made = self.landing.syncing_meanwhile(&top, || {
            std::thread::scope(|scope| {
                for _ in 0..lanes {
                    scope.spawn(|| self.fill(&receive));
                }
                let made = self.make(&top, &send, resumed, sample.as_mut());
                drop(send);
                made
            })
        });
        let failed = self.notes().error.take();
        failed.map_or(made, Err)?;
        self.landing.finish(&top)?;
        let notes = self.notes();
        let mut warnings = vec![];
        if !self.landing.scratch {
            warnings.push(format!(
                "content types, metadata, tags, access lists and keys as they were stand in `{INDEX}`; times and version ids cannot come back"
            ));
        }
        if notes.apart > 0 {
            warnings.push(format!("{} keys have no path of their own; `{INDEX}` says where they are", notes.apart));
        }
        if notes.kept > 0 {
            warnings.push(format!("{} objects were there already and equal", notes.kept));
        }
        let loaded = vec![self.landing.folder.display().to_string()];
        let sampled = sample.map(|sample| sample.sampled());
        Ok(LoadReport { bytes: notes.bytes, rows: notes.objects, warnings, loaded, sampled, ..LoadReport::default() })
    }

    /// Makes the files and writes the index.
    fn make(
        &self,
        top: &OwnedFd,
        send: &SyncSender<Vec<Waiting>>,
        resumed: bool,
        mut sample: Option<&mut Sample>,
    ) -> Result<(), SourceError> {
        let failed = |error: std::io::Error| self.landing.failed(INDEX.as_bytes(), &error.to_string());
        let mut index = IndexWriter::create(&self.landing.folder.join(INDEX)).map_err(failed)?;
        let mut batch = Vec::with_capacity(BATCH);
        let mut key_before = None;
        self.landing.each(&mut |entry| {
            let (key, time) = super::key_and_time(&entry)?;
            // The newest version comes first.
            let newest = time.is_none() || key_before.as_ref() != Some(&key);
            let left_out = match &mut sample {
                Some(sample) if entry.kind.has_content() => !sample.takes(&mut rand::rng()),
                _ => false,
            };
            if left_out || entry.kind == EntryKind::Removed {
                let line = if left_out { Line::left_out(&entry) } else { Line::of(&entry, None) };
                index.line(&line.ok_or_else(|| bent(&entry))?).map_err(failed)?;
                key_before = Some(key);
                return Ok(());
            }
            let mut path = match &time {
                Some(time) if !newest => shelf::path_of_version(&key, time),
                _ => shelf::path_of(&key),
            };
            let mut file = self.create(top, &path, &entry, resumed)?;
            if file.is_none() {
                // Another key is a file where this one needs a folder, or the other way round, or the same name to this disk.
                path = shelf::apart(&encoded(&entry.name));
                self.notes().apart += 1;
                file = self.create(top, &path, &entry, resumed)?;
            }
            let taken = || self.landing.failed(path.as_bytes(), "something else has its name");
            let file = file.ok_or_else(taken)?;
            let line = Line::of(&entry, Some(path)).ok_or_else(|| bent(&entry))?;
            index.line(&line).map_err(failed)?;
            key_before = Some(key);
            batch.push((entry, file));
            if batch.len() >= BATCH && send.send(std::mem::take(&mut batch)).is_err() {
                return Err(SourceError::Cancelled);
            }
            if self.notes().error.is_some() { Err(SourceError::Cancelled) } else { Ok(()) }
        })?;
        index.finish().map_err(failed)?;
        if batch.is_empty() { Ok(()) } else { send.send(batch).map_err(|_| SourceError::Cancelled) }
    }

    /// The file for a key, `Some(None)` where it is there and equal already; `None` where something stands in its way.
    #[expect(clippy::option_option, reason = "the words above say which is which")]
    fn create(
        &self,
        top: &OwnedFd,
        path: &str,
        entry: &Entry,
        resumed: bool,
    ) -> Result<Option<Option<File>>, SourceError> {
        landing::check_name(path.as_bytes()).map_err(|()| bent(entry))?;
        if let Some((folder, _)) = path.rsplit_once('/')
            && !self.landing.may_make_folders(top, folder.as_bytes())?
        {
            return Ok(None);
        }
        let (parent, own) = self.landing.parent(top, path.as_bytes())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&parent, own, flags, Mode::from(0o644));
        match create() {
            Ok(file) => Ok(Some(Some(File::from(file)))),
            Err(Errno::EXIST) if resumed && landing::is_equal(&parent, own, entry) => {
                self.notes().kept += 1;
                Ok(Some(None))
            }
            Err(Errno::EXIST) if resumed && rustix::fs::unlinkat(&parent, own, AtFlags::empty()).is_ok() => {
                let file = create().map_err(|error| self.landing.failed(path.as_bytes(), &plain(error)))?;
                Ok(Some(Some(File::from(file))))
            }
            Err(Errno::EXIST | Errno::ISDIR) => Ok(None),
            Err(error) => Err(self.landing.failed(path.as_bytes(), &plain(error))),
        }
    }

    fn fill(&self, receive: &Mutex<Receiver<Vec<Waiting>>>) {
        loop {
            let batch = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = batch else { return };
            for (entry, file) in batch {
                if self.notes().error.is_some() {
                    break;
                }
                let written = file.map_or(Ok(()), |mut file| self.landing.write(&mut file, &entry));
                let mut notes = self.notes();
                match written {
                    Ok(()) => {
                        notes.objects += 1;
                        notes.bytes += entry.size;
                    }
                    Err(error) => drop(notes.error.get_or_insert(error)),
                }
            }
        }
    }
}
