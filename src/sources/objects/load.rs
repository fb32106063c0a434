//! Restores objects into a folder: each a file, and an index of what a folder cannot hold of them.
//!
//! One thread makes files in the order of keys, so that it is settled which key gets which path; several fill them. Memory: a batch
//! of open files for each thread.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::shelf::{self, INDEX, Line};
use crate::domain::{PartStore, SourceRecord, StoreError};
use crate::sources::tree::landing::{self, Landing, plain};
use crate::sources::tree::{Entry, EntryKind, Patterns};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

/// Files that a thread takes at once.
const BATCH: usize = 32;

pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    let folder = request.place.folder().ok_or_else(|| super::no_folder(&request.place))?;
    let only = Patterns::new(&request.only).map_err(|why| SourceError::Refused {
        what: "`--only`".to_owned(),
        why,
        hint: "a key, or a pattern: `--only 'media/2024/**'`".to_owned(),
    })?;
    let marker = landing::marker(record, store.as_ref(), &request.only);
    let (lanes, cancel, dry_run, scratch) =
        (context.lanes.max(1), context.cancel.clone(), request.dry_run, request.scratch);
    let restored = tokio::task::spawn_blocking(move || {
        let landing = Landing { store: store.as_ref(), only, folder, scratch, cancel, marker };
        let restore = Restore { landing, notes: Mutex::default() };
        if dry_run { restore.landing.look() } else { restore.run(lanes) }
    });
    restored.await.unwrap_or_else(|error| {
        Err(SourceError::Failed { what: "restoring objects".to_owned(), why: error.to_string(), hint: String::new() })
    })
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

    fn run(&self, lanes: usize) -> Result<LoadReport, SourceError> {
        let (top, resumed) = self.landing.begin()?;
        let (send, receive) = sync_channel::<Vec<Waiting>>(lanes);
        let receive = Mutex::new(receive);
        let made = self.landing.syncing_meanwhile(&top, || {
            std::thread::scope(|scope| {
                for _ in 0..lanes {
                    scope.spawn(|| self.fill(&receive));
                }
                let made = self.make(&top, &send, resumed);
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
                "content types, metadata, tags and keys as they were stand in `{INDEX}`; times and version ids cannot come back"
            ));
        }
        if notes.apart > 0 {
            warnings.push(format!("{} keys have no path of their own; `{INDEX}` says where they are", notes.apart));
        }
        if notes.kept > 0 {
            warnings.push(format!("{} objects were there already and equal", notes.kept));
        }
        let loaded = vec![self.landing.folder.display().to_string()];
        Ok(LoadReport { bytes: notes.bytes, rows: notes.objects, warnings, loaded, handed_over: None })
    }

    /// Makes the files and writes the index.
    fn make(&self, top: &OwnedFd, send: &SyncSender<Vec<Waiting>>, resumed: bool) -> Result<(), SourceError> {
        let failed = |error: std::io::Error| self.landing.failed(INDEX.as_bytes(), &error.to_string());
        let mut index = BufWriter::new(File::create(self.landing.folder.join(INDEX)).map_err(failed)?);
        let mut batch = Vec::with_capacity(BATCH);
        self.landing.each(&mut |entry| {
            let key = std::str::from_utf8(&entry.name).map_err(|_| bent(&entry))?.to_owned();
            if entry.kind != EntryKind::Content {
                return Err(bent(&entry));
            }
            let mut path = shelf::path_of(&key);
            let mut file = self.create(top, &path, &entry, resumed)?;
            if file.is_none() {
                // Another key is a file where this one needs a folder, or the other way round, or the same name to this disk.
                path = shelf::apart(&key);
                self.notes().apart += 1;
                file = self.create(top, &path, &entry, resumed)?;
            }
            let taken = || self.landing.failed(path.as_bytes(), "something else has its name");
            let file = file.ok_or_else(taken)?;
            let attributes = serde_json::from_str(&entry.attributes).map_err(|_| bent(&entry))?;
            let line = Line { key: entry.shown(), path, attributes };
            serde_json::to_writer(&mut index, &line).map_err(|error| failed(error.into()))?;
            index.write_all(b"\n").map_err(failed)?;
            batch.push((entry, file));
            if batch.len() >= BATCH && send.send(std::mem::take(&mut batch)).is_err() {
                return Err(SourceError::Cancelled);
            }
            if self.notes().error.is_some() { Err(SourceError::Cancelled) } else { Ok(()) }
        })?;
        index.into_inner().map_err(|error| failed(error.into_error()))?;
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

fn bent(entry: &Entry) -> SourceError {
    SourceError::Store(StoreError::Damaged {
        what: format!("entry `{}`", entry.shown()),
        why: "no list of objects holds such a thing".to_owned(),
    })
}
