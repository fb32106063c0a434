//! Private folders below the state folder for a run's small temporary files. A killed run leaves its own behind; the next
//! run, of whatever job, takes it away.

use std::path::Path;

use super::OperationError;
use super::error::local;
use super::lock::{self, Lock};

const PREFIX: &str = "work-";
/// Held by the folder's run for as long as it lives; the kernel lets go of it however that ends.
const RUNNING: &str = ".running";

/// Removed when dropped.
pub struct WorkFolder {
    folder: tempfile::TempDir,
    _running: Option<Lock>,
}

impl WorkFolder {
    /// Removes what dead runs left, and makes a folder for this one.
    pub async fn make(state: &Path) -> Result<Self, OperationError> {
        // Else a folder could be taken for a dead run's between being made and being locked.
        let _turn = lock::lock(state, "work").await?;
        sweep(state);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(state).map_err(local("a work folder"))?;
        let running = lock::try_lock_file(&folder.path().join(RUNNING))?;
        Ok(Self { folder, _running: running })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What cannot be looked at or removed costs space only, and the next run tries again.
fn sweep(state: &Path) {
    for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
        let folder = entry.path();
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if named && matches!(lock::try_lock_file(&folder.join(RUNNING)), Ok(Some(_))) {
            std::fs::remove_dir_all(&folder).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_runs_folder_goes_and_a_running_ones_stays() {
        let state = tempfile::tempdir().unwrap();
        let dead = state.path().join("work-dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("content"), "x").unwrap();
        std::fs::create_dir(state.path().join("targets")).unwrap();
        let one = WorkFolder::make(state.path()).await.unwrap();
        let two = WorkFolder::make(state.path()).await.unwrap();
        assert!(one.path().exists() && two.path().exists() && state.path().join("targets").exists());
        assert!(!dead.exists());
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
    }
}
