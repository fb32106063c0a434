//! A folder that a restore writes into, whatever a list says.
//!
//! Nothing is created through a link, so no name leads out of the folder. A restore that was interrupted goes on: a file in
//! the folder says what was being restored, and what is there and equal is not written again. Memory: nothing that grows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::choice::Choice;
use super::{Entry, digest_part};
use crate::domain::words::counted;
use crate::domain::{BlobPiece, PartStore, SourceRecord, StoreError, human_bytes};
use crate::sources::{LoadReport, SourceError};

/// Says, while a restore is under way, of what it is.
pub(crate) const MARKER: &str = ".lifeboat-restore";

/// How often what was written is sent to the disk meanwhile.
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// Where a restore writes, and what it reads.
pub(crate) struct Landing<'l> {
    pub(crate) choice: Choice<'l>,
    pub(crate) folder: PathBuf,
    /// A private folder of a restore test: empty, and nobody goes on where it stopped.
    pub(crate) scratch: bool,
    pub(crate) marker: String,
    /// A thing of the marker's name is left out while a restore is under way.
    pub(crate) keeps_marker: bool,
}

/// One line that is the same for the same restore.
pub(crate) fn marker(record: &SourceRecord, store: &dyn PartStore, only: &[String]) -> String {
    let print = store.fingerprint(&digest_part());
    let print = print.map(|print| hex::encode(print.sum)).unwrap_or_default();
    let choice = serde_json::to_string(only).expect("plain data");
    format!("a restore of {} is under way; remove this file to keep what is here: {print} {choice}\n", record.summary)
}

impl Landing<'_> {
    /// What a restore would do.
    pub(crate) fn look(&self) -> Result<LoadReport, SourceError> {
        let resumed = self.may_begin()?;
        let total = self.choice.total()?;
        self.room_for(total.bytes)?;
        let mut report = LoadReport {
            rows: total.entries,
            bytes: total.bytes,
            loaded: vec![self.folder.display().to_string()],
            plan: vec![format!("fetches {}", counted(total.packs.len() as u64, ["pack", "packs"]))],
            ..LoadReport::default()
        };
        if resumed {
            report.warnings.push("a restore of this snapshot was interrupted here; it would go on".to_owned());
        }
        Ok(report)
    }

    /// Makes the folder, shows that what is wanted fits and is there, and leaves the mark. Gives whether an interrupted restore goes on.
    ///
    /// `needs` is how many bytes it takes; by default all that are wanted.
    pub(crate) fn begin(&self, needs: Option<u64>) -> Result<(OwnedFd, bool), SourceError> {
        let resumed = self.may_begin()?;
        let bytes = match needs {
            Some(bytes) => bytes,
            None => self.choice.total()?.bytes,
        };
        // What is there already needs no room a second time, but how much that is shows only later.
        if !resumed {
            self.room_for(bytes)?;
        }
        std::fs::create_dir_all(&self.folder).map_err(|error| self.failed(b"", &error.to_string()))?;
        let top = rustix::fs::open(&self.folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| self.failed(b"", &plain(error)))?;
        if !self.scratch {
            self.mark().map_err(|error| self.failed(b"", &error.to_string()))?;
        }
        Ok((top, resumed))
    }

    /// Lets the disk take what is written while `work` still writes: what is left to wait for at the end is short.
    pub(crate) fn syncing_meanwhile<T>(&self, top: &OwnedFd, work: impl FnOnce() -> T) -> T {
        if self.scratch {
            return work();
        }
        let (ended, end) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while matches!(end.recv_timeout(SYNC_EVERY), Err(RecvTimeoutError::Timeout)) {
                    // What fails here fails at the end, too, and is told there.
                    if rustix::fs::syncfs(top).is_err() {
                        return;
                    }
                }
            });
            let done = work();
            drop(ended);
            done
        })
    }

    /// Everything is there: makes it durable and takes the mark away.
    pub(crate) fn finish(&self, top: &OwnedFd) -> Result<(), SourceError> {
        if self.scratch {
            return Ok(());
        }
        std::fs::remove_file(self.folder.join(MARKER)).map_err(|error| self.failed(b"", &error.to_string()))?;
        rustix::fs::syncfs(top).map_err(|error| self.failed(b"", &plain(error)))
    }

    /// Whole or not at all: what a killed run leaves is read by the next.
    fn mark(&self) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(self.marker.as_bytes())?;
        file.persist(self.folder.join(MARKER)).map(drop).map_err(|error| error.error)
    }

    /// Calls `take` for every entry that is wanted.
    pub(crate) fn each(&self, take: &mut dyn FnMut(Entry) -> Result<(), SourceError>) -> Result<(), SourceError> {
        // The file of this name is ours while a restore is under way.
        let reserved = !self.scratch && self.keeps_marker;
        self.choice.each(&mut |entry| if reserved && entry.name == MARKER.as_bytes() { Ok(()) } else { take(entry) })
    }

    /// Whether the folder may be restored into: it is new, or empty, or was left by an interrupted restore of the same, which
    /// gives true.
    pub(crate) fn may_begin(&self) -> Result<bool, SourceError> {
        let mut entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(|error| self.failed(b"", &error.to_string()))?,
        };
        if entries.next().is_none() {
            return Ok(false);
        }
        match std::fs::read_to_string(self.folder.join(MARKER)) {
            Ok(found) if found == self.marker => Ok(true),
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

    pub(crate) fn room_for(&self, bytes: u64) -> Result<(), SourceError> {
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

    pub(crate) fn failed(&self, name: &[u8], why: &str) -> SourceError {
        use std::os::unix::ffi::OsStrExt;
        let path = self.folder.join(std::ffi::OsStr::from_bytes(name));
        SourceError::Failed {
            what: format!("`{}` cannot be restored", path.display()),
            why: why.to_owned(),
            hint: "the same command goes on where it stopped".to_owned(),
        }
    }

    pub(crate) fn make_folders(&self, top: &OwnedFd, name: &[u8]) -> Result<(), SourceError> {
        if self.may_make_folders(top, name)? {
            return Ok(());
        }
        Err(self.failed(name, "something that is no folder has its name, or that of a folder above it"))
    }

    /// False where something that is no folder stands in the way.
    pub(crate) fn may_make_folders(&self, top: &OwnedFd, name: &[u8]) -> Result<bool, SourceError> {
        let inner = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in inner.chain([name.len()]).filter(|end| *end > 0) {
            let path = &name[..end];
            let (parent, own) = self.parent(top, path)?;
            match rustix::fs::mkdirat(&parent, own, Mode::from(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    let found = rustix::fs::statat(&parent, own, AtFlags::SYMLINK_NOFOLLOW);
                    if !found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(self.failed(path, &plain(error))),
            }
        }
        Ok(true)
    }

    /// As [`Self::parent`], with the folder of the name before kept open: names come folder by folder.
    pub(crate) fn parent_after<'p, 'n>(
        &self,
        top: &OwnedFd,
        name: &'n [u8],
        last: &'p mut Option<(Vec<u8>, OwnedFd)>,
    ) -> Result<(&'p OwnedFd, &'n [u8]), SourceError> {
        let (folder, own) =
            name.iter().rposition(|byte| *byte == b'/').map_or((&b""[..], name), |at| (&name[..at], &name[at + 1..]));
        if last.as_ref().is_none_or(|(known, _)| known != folder) {
            *last = Some((folder.to_vec(), self.parent(top, name)?.0));
        }
        last.as_ref().map(|(_, open)| (open, own)).ok_or_else(|| self.failed(name, "it has no folder"))
    }

    /// The open folder that a name lies in, reached through no link, and its last component.
    pub(crate) fn parent<'n>(&self, top: &OwnedFd, name: &'n [u8]) -> Result<(OwnedFd, &'n [u8]), SourceError> {
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

    /// Writes the content and compares its SHA-256.
    pub(crate) fn write(&self, file: &mut File, entry: &Entry) -> Result<(), SourceError> {
        let failed = |error: std::io::Error| self.failed(&entry.name, &error.to_string());
        let mut reader = self.choice.store.open_blob(&entry.address)?;
        let mut hasher = Sha256::new();
        let sparse = entry.address.pieces().iter().any(|piece| matches!(piece, BlobPiece::Hole { .. }));
        let mut length = 0_u64;
        while let Some(piece) = reader.next_piece()? {
            if self.choice.cancel.is_cancelled() {
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
}

/// Whether the file that is there has this entry's content.
pub(crate) fn is_equal(parent: &OwnedFd, own: &[u8], entry: &Entry) -> bool {
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

/// Refuses a name that leads somewhere else.
pub(crate) fn check_name(name: &[u8]) -> Result<(), ()> {
    let sound = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    if name.split(|byte| *byte == b'/').all(sound) { Ok(()) } else { Err(()) }
}

pub(crate) fn plain(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
