//! Restores files into a folder.
//!
//! Folders first, then the content of files by several threads, then links and what else has a name only, then the attributes
//! of folders, the innermost first. Nothing is created through a link, so that no list, however bent, leads out of the folder.
//! A restore that was interrupted goes on: a file in the folder says which snapshot it was, and what is there and equal is
//! not written again. Memory: a batch of entries for each thread, and the names and attributes of all folders.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::attributes::{self, Attributes};
use crate::domain::{BlobPiece, PartStore, SourceRecord, StoreError, human_bytes, percent_decoded};
use crate::sources::tree::stored::StoredList;
use crate::sources::tree::{Entry, EntryKind, Patterns};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

/// Files that a thread takes at once.
const BATCH: usize = 64;
/// Says, while a restore is under way, of which snapshot it is.
const MARKER: &str = ".lifeboat-restore";
/// Warnings of one kind that are told one by one.
const NAMED_MAX: usize = 20;

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
        hint: "a path from the top, or a pattern: `--only 'media/2024/**'`".to_owned(),
    })?;
    let marker = marker(record, store.as_ref(), &request.only);
    let (lanes, cancel, dry_run, scratch) =
        (context.lanes.max(1), context.cancel.clone(), request.dry_run, request.scratch);
    let restored = tokio::task::spawn_blocking(move || {
        let restore = Restore { store: store.as_ref(), only, folder, scratch, cancel, notes: Mutex::default() };
        if dry_run { restore.look(&marker) } else { restore.run(lanes, &marker) }
    });
    restored.await.unwrap_or_else(|error| {
        Err(SourceError::Failed { what: "restoring files".to_owned(), why: error.to_string(), hint: String::new() })
    })
}

/// One line that is the same for the same restore.
fn marker(record: &SourceRecord, store: &dyn PartStore, only: &[String]) -> String {
    let print = store.fingerprint(&crate::sources::tree::digest_part());
    let print = print.map(|print| hex::encode(print.sum)).unwrap_or_default();
    let choice = serde_json::to_string(only).expect("plain data");
    format!("a restore of {} is under way; remove this file to keep what is here: {print} {choice}\n", record.summary)
}

struct Restore<'r> {
    store: &'r dyn PartStore,
    only: Patterns,
    folder: PathBuf,
    scratch: bool,
    cancel: CancellationToken,
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
    /// What a restore would do.
    fn look(&self, marker: &str) -> Result<LoadReport, SourceError> {
        let resumed = self.may_begin(marker)?;
        let mut report = LoadReport { loaded: vec![self.folder.display().to_string()], ..LoadReport::default() };
        self.each(&mut |entry| {
            report.rows += 1;
            report.bytes += entry.size;
            Ok(())
        })?;
        self.room_for(report.bytes)?;
        if resumed {
            report.warnings.push("a restore of this snapshot was interrupted here; it would go on".to_owned());
        }
        Ok(report)
    }

    fn run(&self, lanes: usize, marker: &str) -> Result<LoadReport, SourceError> {
        let resumed = self.may_begin(marker)?;
        let mut bytes = 0;
        self.each(&mut |entry| {
            checked(&entry)?;
            bytes += entry.size;
            Ok(())
        })?;
        // What is there already needs no room a second time, but how much that is shows only later.
        if !resumed {
            self.room_for(bytes)?;
        }
        std::fs::create_dir_all(&self.folder).map_err(|error| self.failed(b"", &error.to_string()))?;
        let top = rustix::fs::open(&self.folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| self.failed(b"", &plain(error)))?;
        if !self.scratch {
            self.mark(marker).map_err(|error| self.failed(b"", &error.to_string()))?;
        }
        self.contents(&top, lanes, resumed)?;
        let folders = self.names_only(&top, resumed)?;
        for folder in folders.iter().rev() {
            self.attributes(&top, folder)?;
        }
        if !self.scratch {
            std::fs::remove_file(self.folder.join(MARKER)).map_err(|error| self.failed(b"", &error.to_string()))?;
            // The marker's coming and going changed the time of the top, which is in no list.
            rustix::fs::syncfs(&top).map_err(|error| self.failed(b"", &plain(error)))?;
        }
        let notes = self.notes();
        let mut warnings = notes.refused.clone();
        if notes.refused_more > 0 {
            warnings.push(format!("{} more attributes could not be given", notes.refused_more));
        }
        if notes.kept > 0 {
            warnings.push(format!("{} files were there already and equal", notes.kept));
        }
        let loaded = vec![self.folder.display().to_string()];
        Ok(LoadReport { bytes: notes.bytes, rows: notes.files, warnings, loaded, handed_over: None })
    }

    /// Whole or not at all: what a killed run leaves is read by the next.
    fn mark(&self, marker: &str) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(marker.as_bytes())?;
        file.persist(self.folder.join(MARKER)).map(drop).map_err(|error| error.error)
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `take` for every entry that is wanted.
    fn each(&self, take: &mut dyn FnMut(Entry) -> Result<(), SourceError>) -> Result<(), SourceError> {
        let mut list = StoredList::open(self.store)?;
        let mut any = false;
        while let Some(entry) = list.next()? {
            if self.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            // The file of this name is ours while a restore is under way.
            let ours = !self.scratch && entry.name == MARKER.as_bytes();
            if !ours && (self.only.is_empty() || self.only.fits(&entry.name)) {
                any = true;
                take(entry)?;
            }
        }
        if any || self.only.is_empty() {
            return Ok(());
        }
        Err(SourceError::Refused {
            what: format!("`{}`", self.only.texts().join("`, `")),
            why: "nothing in the snapshot fits it".to_owned(),
            hint: "names start at the top of what was backed up; nothing was written".to_owned(),
        })
    }

    /// Whether the folder may be restored into: it is new, or empty, or was left by an interrupted restore of the same, which
    /// gives true.
    fn may_begin(&self, marker: &str) -> Result<bool, SourceError> {
        let mut entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(|error| self.failed(b"", &error.to_string()))?,
        };
        if entries.next().is_none() {
            return Ok(false);
        }
        match std::fs::read_to_string(self.folder.join(MARKER)) {
            Ok(found) if found == marker => Ok(true),
            Ok(_) => Err(SourceError::NotEmpty {
                what: format!("folder `{}`", self.folder.display()),
                why: "another restore into it was interrupted".to_owned(),
                hint: "finish that one, or name a new folder; nothing was written".to_owned(),
            }),
            Err(_) => Err(SourceError::NotEmpty {
                what: format!("folder `{}`", self.folder.display()),
                why: "it is not empty".to_owned(),
                hint: "name a new or an empty folder; nothing was written".to_owned(),
            }),
        }
    }

    fn room_for(&self, bytes: u64) -> Result<(), SourceError> {
        let there = self.folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        let Ok(disk) = rustix::fs::statvfs(there) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        Err(SourceError::Refused {
            what: format!("restore into `{}`", self.folder.display()),
            why: format!("it needs {}, and {} are free", human_bytes(bytes), human_bytes(free)),
            hint: "name a folder on a larger disk; nothing was written".to_owned(),
        })
    }

    fn failed(&self, name: &[u8], why: &str) -> SourceError {
        use std::os::unix::ffi::OsStrExt;
        let path = self.folder.join(std::ffi::OsStr::from_bytes(name));
        SourceError::Failed {
            what: format!("`{}` cannot be restored", path.display()),
            why: why.to_owned(),
            hint: "the same command goes on where it stopped".to_owned(),
        }
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
        self.each(&mut |entry| {
            match entry.kind {
                EntryKind::Folder => self.make_folders(top, &entry.name),
                EntryKind::Content => {
                    // A choice may leave out the folders that what is chosen lies in, and so does a list of several places.
                    let parent =
                        entry.name.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |at| &entry.name[..at]);
                    if made != parent {
                        self.make_folders(top, parent)?;
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
        loop {
            let batch = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = batch else { return };
            for entry in batch {
                // Others are told by the error; what was handed out already is passed over.
                if self.notes().error.is_some() {
                    break;
                }
                if let Err(error) = self.file(top, &entry, resumed) {
                    self.notes().error.get_or_insert(error);
                }
            }
        }
    }

    fn make_folders(&self, top: &OwnedFd, name: &[u8]) -> Result<(), SourceError> {
        let inner = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in inner.chain([name.len()]).filter(|end| *end > 0) {
            let path = &name[..end];
            let (parent, own) = self.parent(top, path)?;
            match rustix::fs::mkdirat(&parent, own, Mode::from(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    let found = rustix::fs::statat(&parent, own, AtFlags::SYMLINK_NOFOLLOW);
                    if !found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory) {
                        return Err(self.failed(path, "something that is no folder has its name"));
                    }
                }
                Err(error) => return Err(self.failed(path, &plain(error))),
            }
        }
        Ok(())
    }

    /// The open folder that a name lies in, reached through no link, and its last component.
    fn parent<'n>(&self, top: &OwnedFd, name: &'n [u8]) -> Result<(OwnedFd, &'n [u8]), SourceError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder =
            rustix::fs::openat(top, ".", flags, Mode::empty()).map_err(|error| self.failed(name, &plain(error)))?;
        let mut parts = name.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return Ok((folder, part));
            }
            folder = rustix::fs::openat(&folder, part, flags, Mode::empty())
                .map_err(|error| self.failed(name, &plain(error)))?;
        }
        Err(self.failed(name, "it has no name"))
    }

    fn file(&self, top: &OwnedFd, entry: &Entry, resumed: bool) -> Result<(), SourceError> {
        let (parent, own) = self.parent(top, &entry.name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&parent, own, flags, Mode::from(0o600));
        let file = match create() {
            Err(Errno::EXIST) if resumed => {
                if is_equal(&parent, own, entry) {
                    self.notes().kept += 1;
                    None
                } else {
                    rustix::fs::unlinkat(&parent, own, AtFlags::empty())
                        .map_err(|error| self.failed(&entry.name, &plain(error)))?;
                    Some(create())
                }
            }
            Err(Errno::EXIST) => {
                let why = "this file system holds it already: two names are one to it";
                return Err(self.failed(&entry.name, why));
            }
            made => Some(made),
        };
        if let Some(file) = file {
            let mut file = File::from(file.map_err(|error| self.failed(&entry.name, &plain(error)))?);
            self.write(&mut file, entry)?;
        }
        self.give(&parent, own, entry)?;
        let mut notes = self.notes();
        notes.files += 1;
        notes.bytes += entry.size;
        Ok(())
    }

    fn write(&self, file: &mut File, entry: &Entry) -> Result<(), SourceError> {
        let failed = |error: std::io::Error| self.failed(&entry.name, &error.to_string());
        let mut reader = self.store.open_blob(&entry.address)?;
        let mut hasher = Sha256::new();
        let sparse = entry.address.pieces().iter().any(|piece| matches!(piece, BlobPiece::Hole { .. }));
        let mut length = 0_u64;
        while let Some(piece) = reader.next_piece()? {
            if self.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            hasher.update(&piece);
            length += piece.len() as u64;
            if sparse && piece.iter().all(|byte| *byte == 0) {
                file.seek(SeekFrom::Start(length)).map_err(failed)?;
            } else {
                file.write_all(&piece).map_err(failed)?;
            }
        }
        if sparse {
            file.set_len(length).map_err(failed)?;
        }
        let sum: [u8; 32] = hasher.finalize().into();
        if Some(sum) == entry.sum && length == entry.size {
            return Ok(());
        }
        Err(SourceError::Store(StoreError::Damaged {
            what: format!("file `{}`", entry.shown()),
            why: "its content is not what was backed up".to_owned(),
        }))
    }

    /// Links and whatever else has a name and no content. Gives back the folders.
    fn names_only(&self, top: &OwnedFd, resumed: bool) -> Result<Vec<Entry>, SourceError> {
        let mut folders = vec![];
        self.each(&mut |entry| {
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
        let failed = |error: Errno| self.failed(&entry.name, &plain(error));
        if let Some(at) = entry.name.iter().rposition(|byte| *byte == b'/') {
            self.make_folders(top, &entry.name[..at])?;
        }
        let attributes = attributes_of(entry)?;
        let (parent, own) = self.parent(top, &entry.name)?;
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
                check_name(&first).map_err(|()| bent(entry))?;
                if !(self.only.is_empty() || self.only.fits(&first)) {
                    let what = format!(
                        "`{}` is one more name of `{}`, which was not chosen",
                        entry.shown(),
                        String::from_utf8_lossy(&first)
                    );
                    self.refused(what);
                    return Ok(());
                }
                let (from, first) = self.parent(top, &first)?;
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
        let (parent, own) = self.parent(top, &entry.name)?;
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

fn is_equal(parent: &OwnedFd, own: &[u8], entry: &Entry) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(parent, own, flags, Mode::empty()) else { return false };
    let mut file = File::from(file);
    if !file.metadata().is_ok_and(|found| found.is_file() && found.len() == entry.size) {
        return false;
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 128 << 10]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(hasher.finalize().into()) == entry.sum,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(_) => return false,
        }
    }
}

/// Refuses an entry whose name leads somewhere else.
fn checked(entry: &Entry) -> Result<(), SourceError> {
    check_name(&entry.name).map_err(|()| bent(entry))
}

fn check_name(name: &[u8]) -> Result<(), ()> {
    let sound = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    if name.split(|byte| *byte == b'/').all(sound) { Ok(()) } else { Err(()) }
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

fn plain(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
