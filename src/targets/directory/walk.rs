//! Walks the tree of a directory target.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::super::Listed;
use super::part::PART_PREFIX;
use crate::domain::ObjectKey;

/// Objects lie at most four levels deep; a link that leads back up must not make the walk endless.
const DEPTH_MAX: usize = 8;

/// Every object below `root` whose key starts with `prefix`; the path where it failed comes with an error.
pub(super) fn objects(root: &Path, prefix: &str) -> Result<Vec<Listed>, (PathBuf, io::Error)> {
    let folder = match prefix.rsplit_once('/') {
        None => "",
        // What can be no key (`../`, `/etc/`) can be no prefix of one.
        Some((folder, _)) if ObjectKey::new(folder).is_err() => return Ok(vec![]),
        Some((folder, _)) => folder,
    };
    let mut found = vec![];
    visit(root, folder, &mut |key, metadata| {
        if key.starts_with(prefix)
            && let Ok(key) = ObjectKey::new(key)
        {
            let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            found.push(Listed { key, size: metadata.len(), modified });
        }
    })?;
    Ok(found)
}

/// Every half-written file below `root`.
pub(super) fn parts(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    let collect = &mut |key: &str, _: &Metadata| {
        if key.rsplit('/').next().is_some_and(|name| name.starts_with(PART_PREFIX)) {
            found.push(root.join(key));
        }
    };
    visit(root, "", collect).map_err(|(_, error)| error)?;
    Ok(found)
}

/// Calls `see` with the path below `root` of every plain file in or under `folder` (also below `root`).
fn visit(root: &Path, folder: &str, see: &mut dyn FnMut(&str, &Metadata)) -> Result<(), (PathBuf, io::Error)> {
    let mut pending = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = pending.pop() {
        let path = root.join(&folder);
        let entries = match std::fs::read_dir(&path) {
            // It was never made, or went away since its parent was read: nothing is in it.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            read => read.map_err(|error| (path.clone(), error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| (path.clone(), error))?;
            // Our names are ASCII; whatever is not text is foreign.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let below = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            // Follows links, so that `packs` may lie on another disk.
            let metadata = match std::fs::metadata(entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(_) if ObjectKey::new(below.as_str()).is_err() => continue,
                read => read.map_err(|error| (entry.path(), error))?,
            };
            if metadata.is_dir() {
                // `.snapshot`, `lost+found`: no object lies in a folder that a key cannot name.
                if depth < DEPTH_MAX && ObjectKey::new(below.as_str()).is_ok() {
                    pending.push((below, depth + 1));
                }
            } else if metadata.is_file() {
                see(&below, &metadata);
            }
        }
    }
    Ok(())
}
