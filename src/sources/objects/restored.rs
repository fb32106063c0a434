//! A folder that objects were restored into, read as a bucket is.
//!
//! Memory: one line of the index; and where there are more files than lines, the paths of all of them.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::shelf::{INDEX, Line};
use crate::domain::{Block, Lane, percent_decoded};
use crate::sources::SourceError;
use crate::sources::tree::landing::check_name;
use crate::sources::tree::{EntryKind, Found, Origin, Outcome, Wanted};

const BLOCK_BYTES: usize = 128 << 10;
/// What stands before the path of a file that is no object: no key begins so.
const EXTRA: u8 = 0xff;

pub(super) struct RestoredOrigin {
    pub(super) folder: PathBuf,
    pub(super) cancel: CancellationToken,
}

impl RestoredOrigin {
    fn failed(&self, why: &str) -> SourceError {
        SourceError::Failed {
            what: format!("index of the restored objects in `{}`", self.folder.display()),
            why: why.to_owned(),
            hint: String::new(),
        }
    }

    fn lines(&self) -> Result<impl Iterator<Item = Result<Line, SourceError>>, SourceError> {
        let file = File::open(self.folder.join(INDEX)).map_err(|error| self.failed(&error.to_string()))?;
        Ok(BufReader::new(file).lines().map(|line| {
            let line = line.map_err(|error| self.failed(&error.to_string()))?;
            serde_json::from_str(&line).map_err(|error| self.failed(&error.to_string()))
        }))
    }

    /// Every file but the index.
    fn files(&self, below: &Path, take: &mut dyn FnMut(&Path)) -> Result<(), SourceError> {
        let folder = self.folder.join(below);
        let entries = std::fs::read_dir(&folder).map_err(|error| self.failed(&error.to_string()))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(&error.to_string()))?;
            let path = below.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.files(&path, take)?;
            } else if path != Path::new(INDEX) {
                take(&path);
            }
        }
        Ok(())
    }
}

impl Origin for RestoredOrigin {
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        one.cmp(other)
    }

    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError> {
        use std::os::unix::ffi::OsStrExt;
        let (mut lines, mut there, mut files) = (0_u64, 0_u64, 0_u64);
        for line in self.lines()? {
            let line = line?;
            lines += 1;
            check_name(line.path.as_bytes()).map_err(|()| self.failed("a path leads out of the folder"))?;
            let Ok(found) = std::fs::symlink_metadata(self.folder.join(&line.path)) else { continue };
            there += 1;
            take(Found {
                name: percent_decoded(&line.key).ok_or_else(|| self.failed("a key does not read"))?,
                kind: EntryKind::Content,
                size: found.len(),
                attributes: Some(line.attributes.to_string()),
                seen: line.path,
            })?;
        }
        self.files(Path::new(""), &mut |_| files += 1)?;
        if files == there {
            return Ok(());
        }
        // Some files are no objects: which ones?
        let mut known = HashSet::with_capacity(usize::try_from(lines).unwrap_or_default());
        for line in self.lines()? {
            known.insert(PathBuf::from(line?.path));
        }
        let mut extra = vec![];
        self.files(Path::new(""), &mut |path| {
            if !known.contains(path) {
                extra.push(path.to_owned());
            }
        })?;
        extra.sort();
        for path in extra {
            let mut name = vec![EXTRA];
            name.extend_from_slice(path.as_os_str().as_bytes());
            take(Found {
                name,
                kind: EntryKind::Content,
                size: 0,
                attributes: Some("{}".to_owned()),
                seen: path.display().to_string(),
            })?;
        }
        Ok(())
    }

    fn read(&self, wanted: &mut [Wanted], lane: &mut dyn Lane) -> Result<(), SourceError> {
        let mut block = Block::default();
        for wanted in wanted {
            if self.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            let Ok(mut file) = File::open(self.folder.join(&wanted.found.seen)) else {
                wanted.outcome = Outcome::Vanished;
                continue;
            };
            lane.begin_blob()?;
            let (mut hasher, mut size) = (Sha256::new(), 0);
            loop {
                block.clear();
                block.data.resize(BLOCK_BYTES, 0);
                let read = file.read(&mut block.data).map_err(|error| self.failed(&error.to_string()))?;
                if read == 0 {
                    break;
                }
                block.data.truncate(read);
                hasher.update(&block.data);
                lane.write(&block)?;
                size += read as u64;
            }
            lane.finish_blob()?;
            wanted.outcome = Outcome::Read {
                size,
                sum: hasher.finalize().into(),
                attributes: wanted.found.attributes.clone().unwrap_or_default(),
                seen: String::new(),
                changing: false,
            };
        }
        Ok(())
    }
}
