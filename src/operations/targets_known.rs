//! Which targets this installation has written to: one that held a repository and shows none is unmounted or was emptied, and
//! must not quietly get a new one.

use std::path::{Path, PathBuf};

use super::durable::{failed, write_durably};
use super::session::OpenTarget;
use super::{Class, OperationError};

fn marker(state: &Path, target: &OpenTarget) -> PathBuf {
    state.join("targets").join(target.name.as_str())
}

/// Whether a repository was made or found at this very place before.
pub fn is_known(state: &Path, target: &OpenTarget) -> Result<bool, OperationError> {
    let marker = marker(state, target);
    match std::fs::read_to_string(&marker) {
        Ok(place) => Ok(place.trim_end() == target.target.place()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(failed(&marker, why)),
    }
}

/// Whether the target's place is still to be made: never used before, not there, and it can be made. A place that was used and
/// is gone is an unmounted disk, which no run makes anew.
pub async fn will_be_created(state: &Path, target: &OpenTarget) -> Result<bool, OperationError> {
    Ok(!is_known(state, target)? && target.target.awaits_initialise().await?)
}

/// Makes what a target needs before its first object, unless it was used before.
pub async fn prepare(state: &Path, target: &OpenTarget) -> Result<(), OperationError> {
    if !is_known(state, target)? {
        target.target.initialise().await?;
    }
    Ok(())
}

pub fn remember(state: &Path, target: &OpenTarget) -> Result<(), OperationError> {
    let marker = marker(state, target);
    let folder = state.join("targets");
    std::fs::create_dir_all(&folder).map_err(|why| failed(&marker, why))?;
    if is_known(state, target)? {
        return Ok(());
    }
    write_durably(&marker, format!("{}\n", target.target.place()).as_bytes())
}

/// The target was known and shows no repository.
pub fn emptied(state: &Path, target: &OpenTarget) -> OperationError {
    OperationError::new(Class::Target, format!("{} held a repository and shows none now", target.target.place())).hint(
        format!(
            "is it mounted? if it was emptied on purpose, remove `{}` and the next run starts a new copy there",
            marker(state, target).display()
        ),
    )
}
