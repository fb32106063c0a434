//! Restores files into a folder.
//!
//! Folders first, then the content of files by several threads, then links and what else has a name only, then the attributes
//! of folders, the innermost first. Memory: a batch of entries for each thread, and the names and attributes of all folders.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::attributes::{self, Attributes};
use crate::domain::{PartStore, SourceRecord, StoreError, percent_decoded};
use crate::sources::tree::choice::{self, Choice};
use crate::sources::tree::landing::{self, Landing, plain};
use crate::sources::tree::{Entry, EntryKind};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

/// Files that a thread takes at once.
const BATCH: usize = 64;
/// Warnings of one kind that are told one by one.
const NAMED_MAX: usize = 20;

pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    let folder = request.place.folder().ok_or_else(|| super::no_folder(&request.place))?;
    let only = choice::patterns(request)?;
    let marker = landing::marker(record, store.as_ref(), &request.only);
    let (lanes, cancel, dry_run, scratch) =
        (context.lanes.max(1), context.cancel.clone(), request.dry_run, request.scratch);
    let restored = tokio::task::spawn_blocking(move || {
        let choice = Choice { store: store.as_ref(), only, patterns_are_about: |name| name, cancel };
        let landing = Landing { choice, folder, scratch, marker, keeps_marker: true };
        let restore = Restore { landing, notes: Mutex::default() };
        if dry_run { restore.landing.look() } else { restore.run(lanes) }
    });
    restored.await.unwrap_or_else(|error| {
        Err(SourceError::Failed { what: "restoring files".to_owned(), why: error.to_string(), hint: String::new() })
    })
}

struct Restore<'r> {
    landing: Landing<'r>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    files: u64,
    bytes: u64,
    kept: u64,
    /// Attributes that could not be given: name and why.
    refused: Vec<String>,
    refused_more: u64,
    error: Option<SourceError>,
}

impl Restore<'_> {
    fn run(&self, lanes: usize) -> Result<LoadReport, SourceError> {
        let (top, resumed) = self.landing.begin(None)?;
        self.landing.syncing_meanwhile(&top, || self.contents(&top, lanes, resumed))?;
        let folders = self.names_only(&top, resumed)?;
        for folder in folders.iter().rev() {
            self.attributes(&top, folder)?;
        }
        self.landing.finish(&top)?;
        let notes = self.notes();
        let mut warnings = notes.refused.clone();
        if notes.refused_more > 0 {
            warnings.push(format!("{} more attributes could not be given", notes.refused_more));
        }
        if notes.kept > 0 {
            warnings.push(format!("{} files were there already and equal", notes.kept));
        }
        let loaded = vec![self.landing.folder.display().to_string()];
        Ok(LoadReport { bytes: notes.bytes, rows: notes.files, warnings, loaded, ..LoadReport::default() })
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates folders and writes files.
    fn contents(&self, top: &OwnedFd, lanes: usize, resumed: bool) -> Result<(), SourceError> {
        let (send, receive) = sync_channel::<Vec<Entry>>(lanes);
        let receive = Mutex::new(receive);
        let walked = std::thread::scope(|scope| {
            for _ in 0..lanes {
                scope.spawn(|| self.work(top, &receive, resumed));
            }
            let walked = self.hand_out(top, &send);
            drop(send);
            walked
        });
        match self.notes().error.take() {
            Some(error) => Err(error),
            None => walked,
        }
    }

    fn hand_out(&self, top: &OwnedFd, send: &SyncSender<Vec<Entry>>) -> Result<(), SourceError> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut made: Vec<u8> = vec![];
        self.landing.each(&mut |entry| {
            checked(&entry)?;
            match entry.kind {
                EntryKind::Folder => self.landing.make_folders(top, &entry.name),
                EntryKind::Content => {
                    // A choice may leave out the folders that what is chosen lies in, and so does a list of several places.
                    let parent =
                        entry.name.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |at| &entry.name[..at]);
                    if made != parent {
                        self.landing.make_folders(top, parent)?;
                        made = parent.to_vec();
                    }
                    batch.push(entry);
                    if batch.len() >= BATCH && send.send(std::mem::take(&mut batch)).is_err() {
                        return Err(SourceError::Cancelled);
                    }
                    if self.notes().error.is_some() { Err(SourceError::Cancelled) } else { Ok(()) }
                }
                _ => Ok(()),
            }
        })?;
        if batch.is_empty() { Ok(()) } else { send.send(batch).map_err(|_| SourceError::Cancelled) }
    }

    fn work(&self, top: &OwnedFd, receive: &Mutex<Receiver<Vec<Entry>>>, resumed: bool) {
        let mut last = None;
        loop {
            let batch = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = batch else { return };
            for entry in batch {
                // Others are told by the error; what was handed out already is passed over.
                if self.notes().error.is_some() {
                    break;
                }
                if let Err(error) = self.file(top, &entry, resumed, &mut last) {
                    self.notes().error.get_or_insert(error);
                }
            }
        }
    }

    fn file(
        &self,
        top: &OwnedFd,
        entry: &Entry,
        resumed: bool,
        last: &mut Option<(Vec<u8>, OwnedFd)>,
    ) -> Result<(), SourceError> {
        let (parent, own) = self.landing.parent_after(top, &entry.name, last)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(parent, own, flags, Mode::from(0o600));
        let file = match create() {
            Err(Errno::EXIST) if resumed => {
                if landing::is_equal(parent, own, entry) {
                    self.notes().kept += 1;
                    None
                } else {
                    rustix::fs::unlinkat(parent, own, AtFlags::empty())
                        .map_err(|error| self.landing.failed(&entry.name, &plain(error)))?;
                    Some(create())
                }
            }
            Err(Errno::EXIST) => {
                let why = "this file system holds it already: two names are one to it";
                return Err(self.landing.failed(&entry.name, why));
            }
            made => Some(made),
        };
        if let Some(file) = file {
            let mut file = File::from(file.map_err(|error| self.landing.failed(&entry.name, &plain(error)))?);
            self.landing.write(&mut file, entry)?;
        }
        self.give(parent, own, entry)?;
        let mut notes = self.notes();
        notes.files += 1;
        notes.bytes += entry.size;
        Ok(())
    }

    /// Links and whatever else has a name and no content. Gives back the folders.
    fn names_only(&self, top: &OwnedFd, resumed: bool) -> Result<Vec<Entry>, SourceError> {
        let mut folders = vec![];
        self.landing.each(&mut |entry| {
            match entry.kind {
                EntryKind::Folder => folders.push(entry),
                EntryKind::Content | EntryKind::Removed => {}
                _ => self.name_only(top, &entry, resumed)?,
            }
            Ok(())
        })?;
        Ok(folders)
    }

    fn name_only(&self, top: &OwnedFd, entry: &Entry, resumed: bool) -> Result<(), SourceError> {
        let failed = |error: Errno| self.landing.failed(&entry.name, &plain(error));
        if let Some(at) = entry.name.iter().rposition(|byte| *byte == b'/') {
            self.landing.make_folders(top, &entry.name[..at])?;
        }
        let attributes = attributes_of(entry)?;
        let (parent, own) = self.landing.parent(top, &entry.name)?;
        if resumed {
            match rustix::fs::unlinkat(&parent, own, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let name = |text: &Option<String>| text.as_deref().and_then(percent_decoded).ok_or_else(|| bent(entry));
        let special = |kind, device| rustix::fs::mknodat(&parent, own, kind, Mode::from(0o600), device);
        let device = |kind| {
            let (major, minor) = attributes.device_numbers().ok_or_else(|| bent(entry))?;
            Ok::<_, SourceError>(special(kind, rustix::fs::makedev(major, minor)))
        };
        let made = match entry.kind {
            EntryKind::Link => rustix::fs::symlinkat(name(&attributes.target)?, &parent, own),
            EntryKind::HardLink => {
                let first = name(&attributes.first)?;
                landing::check_name(&first).map_err(|()| bent(entry))?;
                if !self.landing.choice.wants(&first) {
                    let what = format!(
                        "`{}` is one more name of `{}`, which was not chosen",
                        entry.shown(),
                        String::from_utf8_lossy(&first)
                    );
                    self.refused(what);
                    return Ok(());
                }
                let (from, first) = self.landing.parent(top, &first)?;
                let linked = rustix::fs::linkat(&from, first, &parent, own, AtFlags::empty());
                linked.map_err(failed)?;
                self.notes().files += 1;
                return Ok(());
            }
            EntryKind::Fifo => special(FileType::Fifo, 0),
            EntryKind::Socket => special(FileType::Socket, 0),
            EntryKind::Block => device(FileType::BlockDevice)?,
            _ => device(FileType::CharacterDevice)?,
        };
        match made {
            Ok(()) => {}
            Err(Errno::PERM) if matches!(entry.kind, EntryKind::Block | EntryKind::Character) => {
                self.refused(format!("device `{}` was not made: only root may", entry.shown()));
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        }
        self.give(&parent, own, entry)?;
        self.notes().files += 1;
        Ok(())
    }

    fn attributes(&self, top: &OwnedFd, entry: &Entry) -> Result<(), SourceError> {
        let (parent, own) = self.landing.parent(top, &entry.name)?;
        self.give(&parent, own, entry)?;
        self.notes().files += 1;
        Ok(())
    }

    /// Owner, extended attributes, permissions and times, in the order in which none undoes another.
    fn give(&self, parent: &OwnedFd, own: &[u8], entry: &Entry) -> Result<(), SourceError> {
        let attributes = attributes_of(entry)?;
        let refused =
            |what: &str, error: Errno| self.refused(format!("{what} of `{}`: {}", entry.shown(), plain(error)));
        if let (Some(uid), Some(gid)) = (attributes.uid, attributes.gid) {
            let owned = rustix::fs::statat(parent, own, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| (found.st_uid, found.st_gid) == (uid, gid));
            if !owned {
                let given = rustix::fs::chownat(
                    parent,
                    own,
                    Some(Uid::from_raw(uid)),
                    Some(Gid::from_raw(gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                );
                if let Err(error) = given {
                    refused("owner", error);
                }
            }
        }
        if !attributes.xattrs.is_empty() {
            use std::os::unix::ffi::OsStrExt;
            // By way of the open folder: the path as a whole may be longer than a path can be.
            let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(parent)))
                .join(std::ffi::OsStr::from_bytes(own));
            for (name, value) in &attributes.xattrs {
                if let Err(error) = attributes::set_xattr(&path, name, value) {
                    refused(&format!("extended attribute `{name}`"), error);
                }
            }
        }
        if let Some(mode) = attributes.mode_bits() {
            let given = rustix::fs::chmodat(parent, own, Mode::from(mode), AtFlags::empty());
            if let Err(error) = given {
                refused("permissions", error);
            }
        }
        if let Some((seconds, nanoseconds)) = attributes.times() {
            let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
            let times = Timestamps { last_access: time, last_modification: time };
            if let Err(error) = rustix::fs::utimensat(parent.as_fd(), own, &times, AtFlags::SYMLINK_NOFOLLOW) {
                refused("time", error);
            }
        }
        Ok(())
    }

    fn refused(&self, what: String) {
        let mut notes = self.notes();
        if notes.refused.len() < NAMED_MAX {
            notes.refused.push(what);
        } else {
            notes.refused_more += 1;
        }
    }
}

/// Refuses an entry whose name leads somewhere else.
fn checked(entry: &Entry) -> Result<(), SourceError> {
    landing::check_name(&entry.name).map_err(|()| bent(entry))
}

fn bent(entry: &Entry) -> SourceError {
    SourceError::Store(StoreError::Damaged {
        what: format!("entry `{}`", entry.shown()),
        why: "no list of files holds such a thing".to_owned(),
    })
}

fn attributes_of(entry: &Entry) -> Result<Attributes, SourceError> {
    Attributes::read(&entry.attributes).ok_or_else(|| bent(entry))
}
