//! A folder that objects were restored into, read as a bucket is.
//!
//! Memory: one line of the index; and where there are more files than lines, the paths of all of them.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::as_listed;
use crate::domain::{Block, Lane};
use crate::sources::SourceError;
use crate::sources::objects::shelf::{self, INDEX, Line};
use crate::sources::objects::version;
use crate::sources::tree::landing::check_name;
use crate::sources::tree::{EntryKind, Found, Origin, Outcome, Wanted};

const BLOCK_BYTES: usize = 128 << 10;
/// What was seen of a file; of a content that a sample left out it is the SHA-256 in the list.
const FILE: &str = "file ";
/// What stands before the path of a file that is no object: no key begins so.
const EXTRA: u8 = 0xff;

pub(in crate::sources::objects) struct RestoredFolder {
    pub(in crate::sources::objects) folder: PathBuf,
    pub(in crate::sources::objects) cancel: CancellationToken,
}

impl RestoredFolder {
    fn failed(&self, why: &str) -> SourceError {
        SourceError::Failed {
            what: format!("index of the restored objects in `{}`", self.folder.display()),
            why: why.to_owned(),
            hint: String::new(),
        }
    }

    fn lines(&self) -> Result<impl Iterator<Item = Result<Line, SourceError>>, SourceError> {
        let lines = shelf::lines(&self.folder.join(INDEX)).map_err(|error| self.failed(&error.to_string()))?;
        Ok(lines.map(|line| line.map_err(|error| self.failed(&error.to_string()))))
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

impl Origin for RestoredFolder {
    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        version::order(one, other)
    }

    fn discover(&self, take: &mut dyn FnMut(Found) -> Result<(), SourceError>) -> Result<(), SourceError> {
        use std::os::unix::ffi::OsStrExt;
        let (mut lines, mut there, mut files) = (0_u64, 0_u64, 0_u64);
        for line in self.lines()? {
            let line = line?;
            let name = line.name().ok_or_else(|| self.failed("a key does not read"))?;
            let kind = if line.removed { EntryKind::Removed } else { EntryKind::Content };
            let mut size = line.listed.as_ref().map_or(0, |listed| listed.size);
            if let Some(path) = &line.path {
                lines += 1;
                check_name(path.as_bytes()).map_err(|()| self.failed("a path leads out of the folder"))?;
                let Ok(found) = std::fs::symlink_metadata(self.folder.join(path)) else { continue };
                there += 1;
                size = found.len();
            } else if !line.removed && line.listed.is_none() {
                return Err(self.failed("an object is nowhere"));
            }
            let seen = match (line.path, line.listed) {
                (Some(path), _) => format!("{FILE}{path}"),
                (None, Some(listed)) => hex::encode(listed.sha256),
                (None, None) => String::new(),
            };
            take(Found { name, kind, size, attributes: Some(line.attributes.to_string()), seen })?;
        }
        self.files(Path::new(""), &mut |_| files += 1)?;
        if files == there {
            return Ok(());
        }
        // Some files are no objects: which ones?
        let mut known = HashSet::with_capacity(usize::try_from(lines).unwrap_or_default());
        for line in self.lines()? {
            known.extend(line?.path.map(PathBuf::from));
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
                seen: format!("{FILE}{}", path.display()),
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
            let Some(path) = wanted.found.seen.strip_prefix(FILE) else {
                wanted.outcome = as_listed(wanted, lane)?;
                continue;
            };
            let Ok(mut file) = File::open(self.folder.join(path)) else {
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
