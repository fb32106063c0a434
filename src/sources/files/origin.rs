//! Walks folders and reads files.
//!
//! Entries come depth first, the names of a folder in order of their bytes: the order of whole paths in which `/` stands before
//! everything. Nothing is opened through a link: a path that turned into one between walking and reading leads nowhere. Memory:
//! the names of the folders that are open, one on each level; the names of files with several names; a block for each reader.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::attributes::{self, Attributes};
use super::config::{Root, Settings};
use super::record::Owners;
use crate::domain::{Block, Gap, Lane};
use crate::sources::SourceError;
use crate::sources::tree::entry::encoded;
use crate::sources::tree::{EntryKind, Found, Origin, Outcome, Wanted};
use crate::system::clock;

const BLOCK_BYTES: usize = 128 << 10;
/// How often a file is read that changes while it is read.
const READS: u32 = 3;
/// A file that was changed so shortly before it was looked at may change again without its times showing it.
const SETTLED_AFTER_NANOSECONDS: i128 = 1_000_000_000;
/// Gaps that are named one by one.
const NAMED_MAX: usize = 50;

/// Paths as a walk comes to them: `/` before every other byte.
pub(super) fn path_order(one: &[u8], other: &[u8]) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    one.iter().map(rank).cmp(other.iter().map(rank))
}

pub(super) struct FilesOrigin {
    settings: Settings,
    cancel: CancellationToken,
    left_out: Mutex<LeftOut>,
}

#[derive(Default)]
struct LeftOut {
    owners: Owners,
    excluded: u64,
    mounts: Vec<String>,
    denied: Vec<Gap>,
    denied_more: u64,
}

impl FilesOrigin {
    pub(super) fn new(settings: Settings, cancel: CancellationToken) -> Self {
        Self { settings, cancel, left_out: Mutex::default() }
    }

    /// What the walk did not go into.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gaps = left_out.denied.clone();
        let mut add = |what: String, why: &str| gaps.push(Gap { what, why: why.to_owned() });
        if left_out.denied_more > 0 {
            add(format!("{} more folders", left_out.denied_more), "they cannot be read");
        }
        if left_out.excluded > 0 {
            let patterns = self.settings.exclude.texts().join("`, `");
            add(format!("{} files and folders that fit `{patterns}`", left_out.excluded), "excluded by the job");
        }
        for mount in &left_out.mounts {
            add(format!("what is mounted at `{mount}`"), "excluded by the job (`one_file_system`)");
        }
        gaps
    }

    pub(super) fn owners(&self) -> Owners {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).owners.clone()
    }

    fn note(&self, note: impl FnOnce(&mut LeftOut)) {
        note(&mut self.left_out.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A folder that cannot be read is a gap, not the end.
    fn denied(&self, path: &std::path::Path, error: Errno) {
        self.note(|left_out| {
            if left_out.denied.len() < NAMED_MAX {
                left_out.denied.push(Gap { what: format!("folder `{}`", path.display()), why: plain(error) });
            } else {
                left_out.denied_more += 1;
            }
        });
    }

    /// The place on disk that a name in the list stands for.
    fn path_of(&self, name: &[u8]) -> Option<(&Root, PathBuf)> {
        use std::os::unix::ffi::OsStrExt;
        let root = self.settings.roots.iter().find(|root| {
            root.name.is_empty()
                || name.strip_prefix(root.name.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })?;
        let below =
            if root.name.is_empty() { name } else { name[root.name.len()..].strip_prefix(b"/").unwrap_or_default() };
        Some((root, PathBuf::from(std::ffi::OsStr::from_bytes(below))))
    }
}

/// One open folder of a walk.
struct Level {
    folder: OwnedFd,
    /// In the list; empty at the top.
    name: Vec<u8>,
    path: PathBuf,
    /// In reverse order, so that the next is the last.
    names: Vec<Vec<u8>>,
}

struct Walk<'w> {
    origin: &'w FilesOrigin,
    take: &'w mut dyn FnMut(Found) -> Result<(), SourceError>,
    /// Device and inode of files with several names -> the first of them.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    owners: Owners,
}

impl Origin for FilesOrigin {
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        path_order(one, other)
    }

    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError> {
        let mut walk = Walk { origin: self, take, first_names: HashMap::new(), owners: Owners::default() };
        self.settings.roots.iter().try_for_each(|root| walk.root(root))?;
        let owners = walk.owners;
        self.note(|left_out| left_out.owners = owners);
        Ok(())
    }

    fn read(&self, wanted: &mut [Wanted], lane: &mut dyn Lane) -> Result<(), SourceError> {
        let mut block = Block::default();
        let mut folders: HashMap<&[u8], OwnedFd> = HashMap::new();
        for wanted in wanted {
            if self.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            let Some((root, below)) = self.path_of(&wanted.found.name) else {
                wanted.outcome = Outcome::Vanished;
                continue;
            };
            if !folders.contains_key(root.name.as_slice())
                && let Ok(folder) = open_top(root)
            {
                folders.insert(&root.name, folder);
            }
            wanted.outcome = match folders.get(root.name.as_slice()) {
                None => Outcome::Vanished,
                Some(top) => self.read_file(top, root, &below, &mut wanted.spoiled, lane, &mut block)?,
            };
        }
        Ok(())
    }
}

/// A folder, or the folder of a file.
fn open_top(root: &Root) -> Result<OwnedFd, Errno> {
    rustix::fs::open(&root.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

impl Walk<'_> {
    fn root(&mut self, root: &Root) -> Result<(), SourceError> {
        let failed = |error: Errno| SourceError::Unreachable {
            what: format!("`{}`", root.path.display()),
            why: plain(error),
            hint: "check the path; is its disk mounted, and may this user read it?".to_owned(),
        };
        let stat = rustix::fs::stat(&root.path).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if root.name.is_empty() {
                return Err(SourceError::Refused {
                    what: format!("`{}`", root.path.display()),
                    why: "it is not a folder".to_owned(),
                    hint: "a single file goes into a list: `path = [\"/etc/hosts\"]`".to_owned(),
                });
            }
            return self.thing(&root.name, &root.path, &stat);
        }
        if !root.name.is_empty() {
            self.thing(&root.name, &root.path, &stat)?;
        }
        // The top itself may be named by a link.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&root.path, flags, Mode::empty()).map_err(failed)?;
        let names = names_in(&folder).map_err(failed)?;
        let mut levels = vec![Level { folder, name: root.name.clone(), path: root.path.clone(), names }];
        while let Some(level) = levels.last_mut() {
            if self.origin.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            let Some(own) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if let Some(below) = self.visit(level, &own, stat.st_dev)? {
                levels.push(below);
            }
        }
        Ok(())
    }

    /// Hands over one thing of a folder, and opens it if it is a folder itself.
    fn visit(&mut self, level: &Level, own: &[u8], device: u64) -> Result<Option<Level>, SourceError> {
        use std::os::unix::ffi::OsStrExt;
        let mut name = level.name.clone();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(own);
        let path = level.path.join(std::ffi::OsStr::from_bytes(own));
        if self.origin.settings.exclude.fits(&name) {
            self.origin.note(|left_out| left_out.excluded += 1);
            return Ok(None);
        }
        let stat = match rustix::fs::statat(&level.folder, own, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone between listing the folder and looking.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => {
                self.origin.denied(&path, error);
                return Ok(None);
            }
        };
        self.thing(&name, &path, &stat)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(None);
        }
        if self.origin.settings.one_file_system && stat.st_dev != device {
            self.origin.note(|left_out| left_out.mounts.push(path.display().to_string()));
            return Ok(None);
        }
        let opened = open_folder(&level.folder, own).and_then(|folder| Ok((names_in(&folder)?, folder)));
        match opened {
            Ok((names, folder)) => Ok(Some(Level { folder, name, path, names })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => {
                self.origin.denied(&path, error);
                Ok(None)
            }
        }
    }

    fn thing(&mut self, name: &[u8], path: &std::path::Path, stat: &Stat) -> Result<(), SourceError> {
        let kind = kind_of(stat);
        if stat.st_nlink > 1 && kind != EntryKind::Folder {
            let first = self.first_names.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| name.to_vec());
            if first != name {
                let attributes = Attributes { first: Some(encoded(first)), ..Attributes::default() };
                return (self.take)(Found {
                    name: name.to_vec(),
                    kind: EntryKind::HardLink,
                    size: 0,
                    attributes: Some(attributes.json()),
                    seen: String::new(),
                });
            }
        }
        self.owners.add(stat, kind);
        let mut attributes = Attributes::of(stat);
        let xattrs = attributes::xattrs_of(path);
        let target = (kind == EntryKind::Link).then(|| rustix::fs::readlink(path, vec![]));
        if let (Err(Errno::NOENT), _) | (_, Some(Err(Errno::NOENT | Errno::INVAL))) = (&xattrs, &target) {
            return Ok(());
        }
        match xattrs {
            Ok(xattrs) => attributes.xattrs = xattrs,
            Err(error) => {
                let what = format!("extended attributes of `{}`", path.display());
                self.origin.note(|left_out| {
                    if left_out.denied.len() < NAMED_MAX {
                        left_out.denied.push(Gap { what, why: plain(error) });
                    }
                });
            }
        }
        attributes.target = target.and_then(Result::ok).map(|target| encoded(target.as_bytes()));
        (self.take)(Found {
            name: name.to_vec(),
            kind,
            size: if kind == EntryKind::Content { stat.st_size.unsigned_abs() } else { 0 },
            attributes: Some(attributes.json()),
            seen: seen(stat),
        })
    }
}

fn kind_of(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Link,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::BlockDevice => EntryKind::Block,
        FileType::CharacterDevice => EntryKind::Character,
        _ => EntryKind::Content,
    }
}

fn is_sparse(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_blocks.saturating_mul(512) < stat.st_size
}

/// What is different once a file has changed: time of change and inode. Its size and its time of modification are looked at anyway.
/// Empty for a file that changed only just now.
fn seen(stat: &Stat) -> String {
    let changed = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    if clock::now().as_nanosecond() - changed < SETTLED_AFTER_NANOSECONDS {
        return String::new();
    }
    format!("{}.{:09},{}", stat.st_ctime, stat.st_ctime_nsec, stat.st_ino)
}

fn open_folder(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// Sorted the other way round.
fn names_in(folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = vec![];
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn plain(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}

/// Whether a file stayed the same between two looks.
fn is_same(one: &Stat, other: &Stat) -> bool {
    let size = one.st_size == other.st_size;
    let modified = (one.st_mtime, one.st_mtime_nsec) == (other.st_mtime, other.st_mtime_nsec);
    size && modified && (one.st_ctime, one.st_ctime_nsec) == (other.st_ctime, other.st_ctime_nsec)
}

impl FilesOrigin {
    /// Reads one file into a blob; again where it changed meanwhile.
    fn read_file(
        &self,
        top: &OwnedFd,
        root: &Root,
        below: &std::path::Path,
        spoiled: &mut u32,
        lane: &mut dyn Lane,
        block: &mut Block,
    ) -> Result<Outcome, SourceError> {
        let file = match open_file(top, root, below) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ISDIR | Errno::NXIO) => {
                return Ok(Outcome::Vanished);
            }
            Err(error) => return Ok(Outcome::Denied(plain(error))),
        };
        let mut file = File::from(file);
        for round in 1..=READS {
            let before = match rustix::fs::fstat(&file) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
                // Something else has taken its name.
                Ok(_) => return Ok(Outcome::Vanished),
                Err(error) => return Ok(Outcome::Denied(plain(error))),
            };
            lane.begin_blob()?;
            let read = self.content(&mut file, &before, lane, block)?;
            lane.finish_blob()?;
            let (size, sum) = match read {
                Ok(read) => read,
                Err(error) => {
                    *spoiled += 1;
                    return Ok(Outcome::Denied(error.to_string()));
                }
            };
            let after = rustix::fs::fstat(&file).ok();
            let same = after.is_some_and(|after| is_same(&after, &before)) && size == before.st_size.unsigned_abs();
            if same || round == READS {
                let path = root.path.join(below);
                let mut attributes = Attributes::of(&before);
                attributes.xattrs = attributes::xattrs_of(&path).unwrap_or_default();
                return Ok(Outcome::Read {
                    size,
                    sum,
                    attributes: attributes.json(),
                    seen: seen(&before),
                    changing: !same,
                });
            }
            *spoiled += 1;
        }
        unreachable!("the last round returns")
    }

    /// The content's length and SHA-256. Holes are not read.
    fn content(
        &self,
        file: &mut File,
        stat: &Stat,
        lane: &mut dyn Lane,
        block: &mut Block,
    ) -> Result<Result<(u64, [u8; 32]), std::io::Error>, SourceError> {
        let mut hasher = Sha256::new();
        let (mut at, size) = (0_u64, stat.st_size.unsigned_abs());
        let sparse = is_sparse(stat);
        loop {
            let mut end = u64::MAX;
            if sparse && at < size {
                let data = match rustix::fs::seek(&*file, SeekFrom::Data(at)) {
                    Ok(data) => data.min(size),
                    // A hole up to the end.
                    Err(Errno::NXIO) => size,
                    Err(_) => at,
                };
                if data > at {
                    lane.skip(data - at)?;
                    hash_zeros(&mut hasher, data - at);
                    at = data;
                }
                end = rustix::fs::seek(&*file, SeekFrom::Hole(at)).unwrap_or(u64::MAX);
            }
            if let Err(error) = rustix::fs::seek(&*file, SeekFrom::Start(at)) {
                return Ok(Err(error.into()));
            }
            let from = at;
            while at < end {
                if self.cancel.is_cancelled() {
                    return Err(SourceError::Cancelled);
                }
                block.clear();
                let length = BLOCK_BYTES.min(usize::try_from(end - at).unwrap_or(BLOCK_BYTES));
                block.data.resize(length, 0);
                let read = match file.read(&mut block.data) {
                    Ok(read) => read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return Ok(Err(error)),
                };
                if read == 0 {
                    return Ok(Ok((at, hasher.finalize().into())));
                }
                block.data.truncate(read);
                hasher.update(&block.data);
                lane.write(block)?;
                at += read as u64;
            }
            if at == from {
                return Ok(Ok((at, hasher.finalize().into())));
            }
        }
    }
}

fn hash_zeros(hasher: &mut Sha256, mut length: u64) {
    const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    while length > 0 {
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(ZEROS.len());
        hasher.update(&ZEROS[..here]);
        length -= here as u64;
    }
}

/// Opens a file below the top without following any link, and without waiting for a writer where a pipe took its name.
fn open_file(top: &OwnedFd, root: &Root, below: &std::path::Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // The top itself is a file.
    if below.as_os_str().is_empty() {
        return rustix::fs::open(&root.path, flags, Mode::empty());
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(top, below, flags | OFlags::NOATIME, Mode::empty(), resolve) {
        // Only its owner may leave the time of access alone.
        Err(Errno::PERM) => rustix::fs::openat2(top, below, flags, Mode::empty(), resolve),
        // Before Linux 5.6.
        Err(Errno::NOSYS) => rustix::fs::openat(top, below, flags, Mode::empty()),
        opened => opened,
    }
}
