//! What a destination lists, and the index of what was put into a scratch bucket.

use std::path::{Path, PathBuf};

use super::Restore;
use crate::sources::SourceError;
use crate::sources::objects::INDEX_OF_BUCKET;
use crate::sources::objects::shelf::{IndexWriter, Line};
use crate::sources::objects::store::{Listed, Listing};

/// What a destination lists, key by key.
pub(super) struct There {
    listing: Box<dyn Listing>,
    page: std::vec::IntoIter<Listed>,
    next: Option<Listed>,
}

impl There {
    pub(super) fn new(listing: Box<dyn Listing>) -> Self {
        Self { listing, page: vec![].into_iter(), next: None }
    }

    /// What is listed of a key; keys are asked for in order.
    pub(super) fn of(&mut self, restore: &Restore<'_>, key: &str) -> Result<Vec<Listed>, SourceError> {
        let mut found = vec![];
        loop {
            if self.next.is_none() {
                self.next = self.page.next();
            }
            let Some(next) = self.next.take() else {
                match restore.wait(self.listing.next())? {
                    Some(page) => self.page = page.into_iter(),
                    None => return Ok(found),
                }
                continue;
            };
            match next.which.key.as_str().cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => found.push(next),
                std::cmp::Ordering::Greater => {
                    self.next = Some(next);
                    return Ok(found);
                }
            }
        }
    }
}

/// The index of a scratch bucket, in the folder of the run.
pub(super) struct Index {
    path: PathBuf,
    writer: IndexWriter,
}

impl Index {
    pub(super) fn create(keep: &Path) -> Result<Self, SourceError> {
        let path = keep.join(INDEX_OF_BUCKET);
        let created = std::fs::create_dir_all(keep).and_then(|()| IndexWriter::create(&path));
        created.map(|writer| Self { writer, path: path.clone() }).map_err(|error| Self::failed(&path, &error))
    }

    pub(super) fn line(&mut self, line: &Line) -> Result<(), SourceError> {
        self.writer.line(line).map_err(|error| Self::failed(&self.path, &error))
    }

    pub(super) fn finish(self) -> Result<(), SourceError> {
        let path = self.path;
        self.writer.finish().map_err(|error| Self::failed(&path, &error))
    }

    fn failed(path: &Path, error: &std::io::Error) -> SourceError {
        let what = format!("index `{}`", path.display());
        SourceError::Failed { what, why: error.to_string(), hint: String::new() }
    }
}
