//! A folder of this machine.
//!
//! When a file changed is told by the time at which its inode did, which nobody can set back.

use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::BytesMut;
use futures::StreamExt;
use tokio::io::AsyncReadExt;

use super::{Asked, Content, Folders, Thing, ThingKind};
use crate::sources::SourceError;
use crate::sources::objects::attributes::Attributes;

const BLOCK_BYTES: usize = 256 << 10;

pub(in crate::sources::objects) struct LocalFolder {
    top: PathBuf,
    place: String,
}

impl LocalFolder {
    /// A folder that is not there is one whose disk is not there, more likely than an empty one.
    pub(in crate::sources::objects) fn open(top: &Path, place: &str) -> Result<Self, SourceError> {
        let refused = |why: String| SourceError::Refused {
            what: format!("folder `{}`", top.display()),
            why,
            hint: "check `path`, and that its disk is mounted".to_owned(),
        };
        match std::fs::metadata(top) {
            Ok(found) if found.is_dir() => Ok(Self { top: top.to_owned(), place: place.to_owned() }),
            Ok(_) => Err(refused("it is no folder".to_owned())),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    fn failed(&self, path: &str, error: &std::io::Error) -> SourceError {
        SourceError::Failed {
            what: format!("reading `{}`", self.top.join(path).display()),
            why: error.to_string(),
            hint: "nothing was committed".to_owned(),
        }
    }

    fn asked<T>(&self, path: &str, result: std::io::Result<T>) -> Result<Asked<T>, SourceError> {
        match result {
            Ok(found) => Ok(Asked::Found(found)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Asked::Gone),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Asked::Denied),
            Err(error) => Err(self.failed(path, &error)),
        }
    }
}

fn thing(name: String, found: &std::fs::Metadata) -> Thing {
    let kind = match found.file_type() {
        kind if kind.is_dir() => ThingKind::Folder,
        kind if kind.is_file() => ThingKind::File,
        _ => ThingKind::Other,
    };
    let size = if kind == ThingKind::File { found.len() } else { 0 };
    let nanos = i32::try_from(found.ctime_nsec()).unwrap_or_default();
    Thing { name, kind, size, tag: String::new(), time: jiff::Timestamp::new(found.ctime(), nanos).ok() }
}

/// Blocking.
fn children(folder: &Path) -> std::io::Result<Vec<Thing>> {
    let mut things = vec![];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // What is gone by now was removed meanwhile.
        let Ok(found) = entry.metadata() else { continue };
        things.push(thing(entry.file_name().to_string_lossy().into_owned(), &found));
    }
    Ok(things)
}

#[async_trait]
impl Folders for LocalFolder {
    fn place(&self) -> &str {
        &self.place
    }

    async fn children(&self, folder: &str) -> Result<Asked<Vec<Thing>>, SourceError> {
        let path = self.top.join(folder);
        let listed = tokio::task::spawn_blocking(move || children(&path)).await;
        self.asked(folder, listed.unwrap_or_else(|error| Err(std::io::Error::other(error))))
    }

    async fn look(&self, path: &str) -> Result<Asked<(Thing, Attributes)>, SourceError> {
        let found = tokio::fs::symlink_metadata(self.top.join(path)).await;
        self.asked(path, found.map(|found| (thing(path.to_owned(), &found), Attributes::default())))
    }

    async fn open(&self, path: &str, _thing: &Thing, from: u64) -> Result<Asked<Content>, SourceError> {
        let whole = self.top.join(path);
        let opened = tokio::task::spawn_blocking(move || {
            // It may be something else by now: a link is not followed, and a pipe does not make us wait.
            let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
            let flags = i32::try_from(flags.bits()).unwrap_or_default();
            let mut file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(whole)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(tokio::fs::File::from_std(file))
        });
        let opened = opened.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        Ok(self.asked(path, opened)?.map(|file| {
            let content = futures::stream::unfold(Some(file), |file| async move {
                let mut file = file?;
                let mut block = BytesMut::with_capacity(BLOCK_BYTES);
                match file.read_buf(&mut block).await {
                    Ok(0) => None,
                    Ok(_) => Some((Ok(block.freeze()), Some(file))),
                    Err(error) => Some((Err(error.to_string()), None)),
                }
            });
            content.boxed()
        }))
    }
}
