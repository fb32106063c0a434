//! One run of a job at a time, on this machine: a lock file that the kernel releases when its holder dies.

use std::fs::File;
use std::path::Path;

use super::{Class, OperationError};

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock `name` at once, or returns `None` when another process holds it.
pub fn try_lock(state: &Path, name: &str) -> Result<Option<Lock>, OperationError> {
    let folder = state.join("locks");
    let file = folder.join(format!("{name}.lock"));
    std::fs::create_dir_all(&folder).map_err(|why| failed(&file, why))?;
    try_lock_file(&file)
}

/// The same with a file that the caller chooses, which is made if need be.
pub fn try_lock_file(file: &Path) -> Result<Option<Lock>, OperationError> {
    let handle =
        File::options().create(true).truncate(false).write(true).open(file).map_err(|why| failed(file, why))?;
    match rustix::fs::flock(&handle, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _file: handle })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(why) => Err(failed(file, why.into())),
    }
}

fn failed(file: &Path, why: std::io::Error) -> OperationError {
    OperationError::new(Class::Bug, format!("the lock `{}` cannot be taken", file.display())).cause(why)
}

/// Waits for the lock `name`: for short sections only.
pub async fn lock(state: &Path, name: &str) -> Result<Lock, OperationError> {
    const TRIES: u32 = 600;
    for _ in 0..TRIES {
        if let Some(lock) = try_lock(state, name)? {
            return Ok(lock);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(OperationError::new(Class::Locked, format!("another process has held the lock `{name}` for a minute")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_free_again_after_it() {
        let state = tempfile::tempdir().unwrap();
        let held = try_lock(state.path(), "job with spaces").unwrap();
        assert!(held.is_some());
        assert!(try_lock(state.path(), "job with spaces").unwrap().is_none());
        assert!(try_lock(state.path(), "other").unwrap().is_some());
        drop(held);
        assert!(try_lock(state.path(), "job with spaces").unwrap().is_some());
    }
}
