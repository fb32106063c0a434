//! The folders that scratch instances live in, and how leftovers go.
//!
//! A folder's name says who owns it (`postgres-<pid>-<start>-<random>`), so there is no moment at which a folder exists
//! and its owner is unknown, and a reused process id is not mistaken for the owner.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::ScratchError;
use crate::domain::human_bytes;
use crate::system::leftovers::{ProcessMark, kill_processes_in, processes_in};
use crate::system::user::{self, ServerUser};

/// Marks an instance that the user asked to keep; it goes once nothing runs in it any more.
const KEPT: &str = "kept";
/// A unix socket's path may be this long, its final NUL not counted.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Free disk beyond what the content takes: logs, temporary files, indexes being built.
const DISK_MARGIN_BYTES: u64 = 256 << 20;

/// Where scratch instances live when the configuration names no place; short, because socket paths are limited.
pub fn default_root() -> PathBuf {
    PathBuf::from(format!("/tmp/lifeboat-scratch-{}", rustix::process::geteuid().as_raw()))
}

/// A leftover that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    pub folder: PathBuf,
    /// How many processes still ran in it.
    pub processes: usize,
}

/// Ends and removes the instances whose owner is gone. Instances of running owners and kept ones that still run stay.
///
/// Blocks for some seconds at most; call it from a blocking thread.
pub fn reap(root: &Path) -> Result<Vec<Reaped>, ScratchError> {
    if !root.exists() {
        return Ok(vec![]);
    }
    let failed = |error: std::io::Error| ScratchError::failed(format!("scratch folder `{}`", root.display()), error);
    check_root(root)?;
    let mut reaped = vec![];
    for entry in std::fs::read_dir(root).map_err(failed)? {
        let folder = entry.map_err(failed)?.path();
        let Some(owner) = owner(&folder) else { continue };
        let kept = folder.join(KEPT).exists() && !processes_in(&folder).is_empty();
        if owner.runs() || kept {
            continue;
        }
        let processes = kill_processes_in(&folder);
        remove(&folder).map_err(failed)?;
        reaped.push(Reaped { folder, processes });
    }
    Ok(reaped)
}

fn owner(folder: &Path) -> Option<ProcessMark> {
    let mut fields = folder.file_name()?.to_str()?.split('-').skip(1);
    let id = fields.next()?.parse().ok()?;
    let started = fields.next()?.parse().ok()?;
    fields.next()?;
    Some(ProcessMark { id, started })
}

/// Another of our processes may reap the same leftover at the same time.
fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        // Restored folders may forbid even their owner to look into them.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_up(folder);
            std::fs::remove_dir_all(folder)
        }
        result => result,
    }
}

/// Lets the owner into every folder. What cannot be changed shows when it is to be removed.
fn open_up(folder: &Path) {
    drop(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// One instance's private folder; dropping it kills what runs in it and removes it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// Makes a folder that only the server's user can enter.
    pub fn make(root: &Path, engine: &str, server: Option<&ServerUser>) -> Result<Self, ScratchError> {
        let failed =
            |error: std::io::Error| ScratchError::failed(format!("scratch folder `{}`", root.display()), error);
        if !root.exists() {
            // Others may pass through, because the server's user must, but not look around.
            match DirBuilder::new().recursive(true).mode(0o711).create(root) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
        }
        check_root(root)?;
        let us = ProcessMark::of_this_process();
        let name = format!("{engine}-{}-{}-{:08x}", us.id, us.started, rand::random::<u32>());
        let path = root.canonicalize().map_err(failed)?.join(name);
        let socket_bytes = path.join(".s.PGSQL.5432.lock").as_os_str().len();
        if socket_bytes > SOCKET_PATH_BYTES_MAX {
            return Err(ScratchError::failed(
                format!("scratch folder `{}`", root.display()),
                format!(
                    "a socket below it has a path of {socket_bytes} bytes and the system allows {SOCKET_PATH_BYTES_MAX}; name a shorter `scratch.directory`"
                ),
            ));
        }
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let folder = Self { path, kept: false };
        user::give(&folder.path, server).map_err(failed)?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses when the content would not fit.
    pub fn check_free(&self, bytes: u64) -> Result<(), ScratchError> {
        let disk = rustix::fs::statvfs(&self.path)
            .map_err(|error| ScratchError::failed(format!("free disk of `{}`", self.path.display()), error))?;
        let (free, wanted) = (disk.f_bavail.saturating_mul(disk.f_frsize), bytes.saturating_add(DISK_MARGIN_BYTES));
        if free >= wanted {
            return Ok(());
        }
        let root = self.path.parent().unwrap_or(&self.path).display();
        let (free, wanted) = (human_bytes(free), human_bytes(wanted));
        Err(ScratchError::Lacks(vec![format!("{wanted} of free disk in `{root}` ({free} are free)")]))
    }

    /// Leaves the folder and what runs in it alone.
    pub fn keep(mut self) -> Result<PathBuf, ScratchError> {
        std::fs::write(self.path.join(KEPT), "")
            .map_err(|error| ScratchError::failed(format!("scratch folder `{}`", self.path.display()), error))?;
        self.kept = true;
        Ok(self.path.clone())
    }

    /// Kills what runs in it and removes it.
    pub fn remove(mut self) -> Result<(), ScratchError> {
        self.kept = true;
        kill_processes_in(&self.path);
        remove(&self.path)
            .map_err(|error| ScratchError::failed(format!("scratch folder `{}`", self.path.display()), error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            kill_processes_in(&self.path);
            // What cannot be removed now is removed by the next `reap`.
            drop(remove(&self.path));
        }
    }
}

/// The folder is ours alone: in a world-writable place someone else could have made it first.
fn check_root(root: &Path) -> Result<(), ScratchError> {
    let what = || format!("scratch folder `{}`", root.display());
    let entry = std::fs::symlink_metadata(root).map_err(|error| ScratchError::failed(what(), error))?;
    let us = rustix::process::geteuid().as_raw();
    if !entry.is_dir() || entry.uid() != us {
        return Err(ScratchError::failed(what(), format!("it is not a folder that belongs to user {us}")));
    }
    if entry.permissions().mode() & 0o022 != 0 {
        return Err(ScratchError::failed(what(), "others can write to it; `chmod go-w` it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        tempfile::tempdir_in("/tmp").unwrap()
    }

    #[test]
    fn a_folder_of_a_running_owner_stays_and_one_of_a_dead_owner_goes() {
        let root = root();
        let ours = Folder::make(root.path(), "postgres", None).unwrap();
        let dead = root.path().join("postgres-1-77-abc");
        std::fs::create_dir(&dead).unwrap();
        std::fs::create_dir(root.path().join("not ours")).unwrap();
        let reaped = reap(root.path()).unwrap();
        assert_eq!(reaped, [Reaped { folder: dead, processes: 0 }]);
        assert!(ours.path().exists() && root.path().join("not ours").exists());
    }

    #[test]
    fn a_scratch_folder_that_others_can_write_to_is_refused() {
        let root = root();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Folder::make(root.path(), "postgres", None).unwrap_err().to_string();
        assert!(error.contains("chmod go-w"), "{error}");
    }

    #[test]
    fn a_folder_whose_socket_path_would_be_too_long_is_refused_with_advice() {
        let root = root();
        let error = Folder::make(&root.path().join("x".repeat(90)), "postgres", None).unwrap_err().to_string();
        assert!(error.contains("shorter `scratch.directory`"), "{error}");
    }

    #[test]
    fn content_that_does_not_fit_the_disk_is_named_as_a_need() {
        let root = root();
        let folder = Folder::make(root.path(), "postgres", None).unwrap();
        assert!(folder.check_free(1).is_ok());
        let error = folder.check_free(u64::MAX / 2).unwrap_err();
        assert!(matches!(&error, ScratchError::Lacks(needs) if needs[0].contains("of free disk")), "{error}");
    }
}
