//! What goes bad in the demo: one bit of a pack.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::operations::{Class, OperationError};

/// The packs that a directory target holds.
pub(super) fn packs(target: &Path) -> Result<BTreeSet<PathBuf>, OperationError> {
    let mut found = BTreeSet::new();
    let folders = match std::fs::read_dir(target.join("packs")) {
        // Nothing has been backed up yet.
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        folders => folders.map_err(failed)?,
    };
    for folder in folders {
        for file in std::fs::read_dir(folder.map_err(failed)?.path()).map_err(failed)? {
            found.insert(file.map_err(failed)?.path());
        }
    }
    Ok(found)
}

/// Flips one bit in the middle of the largest of these packs; returns its name and the offset.
pub(super) fn damage(target: &Path, packs: &[PathBuf]) -> Result<(String, u64), OperationError> {
    let sized = packs.iter().filter_map(|path| Some((path.metadata().ok()?.len(), path)));
    let (size, path) = sized.max().ok_or_else(|| OperationError::new(Class::Bug, "the demo's target holds no pack"))?;
    let file = std::fs::File::options().read(true).write(true).open(path).map_err(failed)?;
    let (mut byte, offset) = ([0], size / 2);
    file.read_exact_at(&mut byte, offset).map_err(failed)?;
    file.write_all_at(&[byte[0] ^ 1], offset).map_err(failed)?;
    let shown = path.strip_prefix(target).unwrap_or(path).display().to_string();
    Ok((shown, offset))
}

fn failed(why: std::io::Error) -> OperationError {
    OperationError::new(Class::Bug, "the demo could not damage its own copy").cause(why)
}
