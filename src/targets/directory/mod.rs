//! A folder as a target: a disk, a NAS mount, a USB drive.
//!
//! An object is written to a `.part-` file beside its place, synced, renamed, and its folder synced, so that a power cut
//! leaves the whole object or none. What this target must never do: create its own root outside `initialise`, since a
//! missing root is an unmounted disk. All file I/O runs on the blocking threads. `docs/decisions/0006-directory-target.md`
//! tells why this is our own code. Memory: one object for each call of `get`; `put` writes from the caller's bytes.

mod part;
mod walk;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::Access;
use schemars::JsonSchema;
use serde::Deserialize;

use self::part::PartFile;
use super::registry::TargetKind;
use super::{Listed, Target, TargetError};
use crate::config::{ConfigError, Section};
use crate::domain::{ObjectKey, SealedObject, TargetName};

/// `type = "directory"`.
pub(super) struct Kind;

/// A `[targets.NAME]` table of type `directory`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DirectorySection {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "directory"))]
    _kind: String,
    /// The folder; relative paths start at the configuration's folder.
    path: PathBuf,
}

#[async_trait]
impl TargetKind for Kind {
    fn name(&self) -> &'static str {
        "directory"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(DirectorySection)
    }

    fn check(&self, section: &Section) -> Result<(), ConfigError> {
        section.parse::<DirectorySection>().map(drop)
    }

    async fn configure(
        &self,
        name: &TargetName,
        section: &Section,
        config_folder: &Path,
    ) -> Result<Box<dyn Target>, ConfigError> {
        let section: DirectorySection = section.parse()?;
        if section.path.as_os_str().is_empty() {
            let rendered = format!("target `{name}`: `path` is empty; name the folder that holds the copy");
            return Err(ConfigError { rendered });
        }
        Ok(Box::new(DirectoryTarget::new(config_folder.join(section.path))))
    }
}

/// A repository's copy in a folder.
pub struct DirectoryTarget {
    folder: Arc<Folder>,
}

impl DirectoryTarget {
    /// Touches nothing yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let place = format!("directory {}", root.display());
        let folder = Folder { root, place, pinned: Mutex::default(), durable: Mutex::default(), swept: false.into() };
        Self { folder: Arc::new(folder) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, TargetError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let folder = Arc::clone(&self.folder);
        tokio::task::spawn_blocking(move || work(&folder)).await.unwrap_or_else(|error| {
            let why = error.to_string();
            Err(TargetError::Other { place: self.place(), what: "file access".to_owned(), why })
        })
    }
}

#[async_trait]
impl Target for DirectoryTarget {
    fn place(&self) -> String {
        self.folder.place.clone()
    }

    async fn initialise(&self) -> Result<(), TargetError> {
        self.blocking(Folder::initialise).await
    }

    async fn awaits_initialise(&self) -> Result<bool, TargetError> {
        self.blocking(Folder::awaits_initialise).await
    }

    async fn put(&self, object: &SealedObject) -> Result<(), TargetError> {
        let object = object.clone();
        self.blocking(move |folder| folder.put(object.key(), object.bytes())).await
    }

    async fn get(&self, key: &ObjectKey, size_max: u64) -> Result<Bytes, TargetError> {
        let key = key.clone();
        self.blocking(move |folder| folder.get(&key, size_max)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, TargetError> {
        let prefix = prefix.to_owned();
        self.blocking(move |folder| folder.list(&prefix)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), TargetError> {
        let key = key.clone();
        self.blocking(move |folder| folder.delete(&key)).await
    }

    async fn probe(&self) -> Result<(), TargetError> {
        self.blocking(Folder::probe).await
    }
}

/// The synchronous half, called on blocking threads only.
struct Folder {
    root: PathBuf,
    place: String,
    /// Device and inode of the root as first seen: another one later means that a disk came or went under us.
    pinned: Mutex<Option<(u64, u64)>>,
    /// Folders whose entry in their parent this process has synced.
    durable: Mutex<HashSet<PathBuf>>,
    swept: AtomicBool,
}

impl Folder {
    fn initialise(&self) -> Result<(), TargetError> {
        let failed = |error| self.failed("creating the folder", error);
        // From the top, so that every new level is durable within its parent.
        let levels: Vec<&Path> = self.root.ancestors().filter(|level| !level.as_os_str().is_empty()).collect();
        for level in levels.into_iter().rev() {
            let made = make_folder(level);
            if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
                let why = format!("`{}` is not a folder", level.display());
                return Err(TargetError::Unreachable { place: self.place.clone(), why });
            }
            if made.map_err(failed)? {
                sync_parent(level).map_err(failed)?;
            }
        }
        self.check_root()
    }

    fn awaits_initialise(&self) -> Result<bool, TargetError> {
        let failed = |error| self.failed("looking at the folder", error);
        match std::fs::symlink_metadata(&self.root) {
            Ok(_) => return Ok(false),
            Err(error) if absent(&error) => {}
            Err(error) => return Err(failed(error)),
        }
        let levels = self.root.ancestors().skip(1).filter(|level| !level.as_os_str().is_empty());
        for level in levels {
            match std::fs::metadata(level) {
                Ok(found) if found.is_dir() => {
                    let may = rustix::fs::access(level, Access::WRITE_OK | Access::EXEC_OK);
                    return may.map(|()| true).map_err(|error| self.failed("creating the folder", error.into()));
                }
                Ok(_) => {
                    let why = format!("`{}` is not a folder", level.display());
                    return Err(TargetError::Unreachable { place: self.place.clone(), why });
                }
                Err(error) if absent(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        // A relative path whose folders are all missing starts where we are.
        Ok(true)
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<(), TargetError> {
        let failed = |error| self.failed(&format!("writing `{key}`"), error);
        self.check_root()?;
        let path = self.path_of(key);
        let parent = path.parent().expect("a key names something below the root");
        self.make_durable(parent).map_err(failed)?;
        let part = PartFile::write(parent, bytes).map_err(failed)?;
        part.rename_to(&path).map_err(failed)?;
        sync_folder(parent).map_err(failed)?;
        if !self.swept.swap(true, Ordering::Relaxed)
            && let Err(error) = self.sweep(&path)
        {
            // What a killed run left behind costs space only; the next run tries again.
            tracing::warn!(place = %self.place, %error, "could not remove what an earlier run left half-written");
        }
        Ok(())
    }

    fn get(&self, key: &ObjectKey, size_max: u64) -> Result<Bytes, TargetError> {
        let failed = |error| self.failed(&format!("reading `{key}`"), error);
        self.check_root()?;
        let file = match File::open(self.path_of(key)) {
            Err(error) if absent(&error) => {
                self.check_root()?;
                return Err(TargetError::NotFound { key: key.to_string(), place: self.place.clone() });
            }
            opened => opened.map_err(failed)?,
        };
        let size = file.metadata().map_err(failed)?.len();
        let oversized = || TargetError::Oversized { key: key.to_string(), place: self.place.clone(), size_max };
        if size > size_max {
            return Err(oversized());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(|_| oversized())?);
        // One byte more than allowed, in case the file grows while it is read.
        file.take(size_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > size_max { Err(oversized()) } else { Ok(bytes.into()) }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, TargetError> {
        self.check_root()?;
        let found = walk::objects(&self.root, prefix)
            .map_err(|(path, error)| self.failed(&format!("listing `{}`", path.display()), error))?;
        // A disk that went away meanwhile looks like a folder with less in it.
        self.check_root()?;
        Ok(found)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), TargetError> {
        let failed = |error| self.failed(&format!("deleting `{key}`"), error);
        self.check_root()?;
        let path = self.path_of(key);
        match std::fs::remove_file(&path) {
            Err(error) if absent(&error) => Ok(()),
            removed => {
                removed.map_err(failed)?;
                // A root that came back after a power cut would name packs that are gone.
                sync_parent(&path).map_err(failed)
            }
        }
    }

    fn probe(&self) -> Result<(), TargetError> {
        let failed = |error| self.failed("a trial write", error);
        self.check_root()?;
        let wanted = b"lifeboat probe";
        let part = PartFile::write(&self.root, wanted).map_err(failed)?;
        let found = std::fs::read(part.path()).map_err(failed)?;
        if found != wanted {
            let why = "what was written does not read back".to_owned();
            return Err(TargetError::Other { place: self.place.clone(), what: "a trial write".to_owned(), why });
        }
        part.remove().map_err(failed)
    }

    fn path_of(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// The root must exist and be the one that was there before.
    fn check_root(&self) -> Result<(), TargetError> {
        let unreachable = |why: &str| TargetError::Unreachable { place: self.place.clone(), why: why.to_owned() };
        let found = match std::fs::metadata(&self.root) {
            Ok(found) if found.is_dir() => (found.dev(), found.ino()),
            Ok(_) => return Err(unreachable("it is not a folder")),
            Err(error) if absent(&error) => return Err(unreachable("the folder does not exist; is its disk mounted?")),
            Err(error) => return Err(self.failed("looking at the folder", error)),
        };
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if *pinned.get_or_insert(found) == found {
            Ok(())
        } else {
            Err(unreachable("another disk or folder has taken its place since this run began"))
        }
    }

    /// Creates what is missing between the root and `folder`, each level synced into its parent once in this process.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        let below = folder.strip_prefix(&self.root).expect("objects lie below the root");
        let mut level = self.root.clone();
        for component in below {
            level.push(component);
            let created = make_folder(&level)?;
            let known = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have created it and not have synced it yet, so existence alone is not enough.
            if created || !known().contains(&level) {
                sync_parent(&level)?;
                known().insert(level.clone());
            }
        }
        Ok(())
    }

    /// Removes the parts of writers that are no more. `just_written` tells the time by the target's own clock.
    fn sweep(&self, just_written: &Path) -> io::Result<()> {
        let now = std::fs::metadata(just_written)?.modified()?;
        for leftover in walk::parts(&self.root)? {
            if part::is_stale(&leftover, now) {
                tracing::info!(path = %leftover.display(), "removing what an earlier run left half-written");
                part::remove_if_there(&leftover)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::needless_pass_by_value, reason = "an error is consumed where it is translated")]
    fn failed(&self, what: &str, error: io::Error) -> TargetError {
        use rustix::io::Errno;
        let (place, why) = (self.place.clone(), error.to_string());
        match Errno::from_io_error(&error) {
            // A limit on the size of files stops a backup like a full disk does.
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => TargetError::Full { place, why },
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                TargetError::Denied { place, what: what.to_owned(), why }
            }
            // Where an object may be absent that was handled before: here the folder went away under us.
            Some(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::STALE
                | Errno::NOTCONN
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::TIMEDOUT
                | Errno::NODEV
                | Errno::NXIO,
            ) => TargetError::Unreachable { place, why: format!("{what}: {why}") },
            _ => TargetError::Other { place, what: what.to_owned(), why },
        }
    }
}

/// Whether the path names nothing: a missing file, a missing folder above it, or a file where a folder would be.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether the folder is new.
fn make_folder(path: &Path) -> io::Result<bool> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(_) if path.is_dir() => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network file systems cannot sync a folder, and their servers make names durable by themselves.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}
