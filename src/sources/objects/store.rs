//! What the source asks of a store, whichever it is.
//!
//! A store is one file or folder beside [`s3`](super::s3) and one line in [`connect`]. What an implementation must never do: write, unless a
//! restore asks for it; or list anything out of the order of its keys' bytes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::attributes::Attributes;
use super::config::Settings;
use super::dal::{self, FlatStore};
use super::elsewhere::Where;
use super::folders::{FolderStore, LocalFolder, SftpFolder};
use super::s3::S3Store;
use crate::sources::SourceError;

/// Connects to the store of a job. `idle` is how long it may think, or a body stand still; by default a minute.
pub(super) async fn connect(settings: &Settings) -> Result<Arc<dyn Store>, SourceError> {
    let (place, prefix, idle) = (settings.place(), settings.config.prefix.as_str(), settings.idle);
    Ok(match &settings.store {
        Where::S3 => Arc::new(S3Store::connect(settings).await?),
        Where::Google(google) => listed(dal::google(google, &place, idle).await?, google.by_folder, prefix),
        Where::Azure(azure) => listed(dal::azure(azure, &place, idle).await?, azure.by_folder, prefix),
        Where::Webdav(webdav) => Arc::new(FolderStore::new(dal::webdav(webdav, &place, idle).await?, prefix)),
        Where::Sftp(sftp) => Arc::new(FolderStore::new(SftpFolder::connect(sftp, &place, idle).await?, prefix)),
        Where::Fs(fs) => Arc::new(FolderStore::new(LocalFolder::open(&fs.path, &place)?, prefix)),
    })
}

fn listed(dal: dal::Dal, by_folder: bool, prefix: &str) -> Arc<dyn Store> {
    if by_folder { Arc::new(FolderStore::new(dal, prefix)) } else { Arc::new(FlatStore::new(dal, prefix)) }
}

#[async_trait]
pub(super) trait Store: Send + Sync {
    /// Everything with the job's prefix behind `after`, up to and with `until`, in the order of keys; the versions of one key, where they
    /// are wanted, newest first.
    fn list(self: Arc<Self>, after: Option<String>, until: Option<String>) -> Box<dyn Listing>;
    /// Whether a listing may begin at any key without reading what comes before.
    fn lists_from_anywhere(&self) -> bool {
        true
    }
    /// One object from a byte on; only if it is still the one with this tag.
    async fn get(&self, which: &Which, tag: Option<&str>, from: u64) -> Result<Fetched, SourceError>;
    async fn exists(&self, which: &Which) -> Result<bool, SourceError>;
    /// Whether what was sent with this tag, all of it by now, is still what is there. A store that sends each object as it was at one
    /// moment need not look.
    async fn is_still(&self, _which: &Which, _tag: Option<&str>) -> Result<bool, SourceError> {
        Ok(true)
    }
    /// Adds what the job asks for and a content does not bring along: tags, access lists.
    async fn add_extras(&self, _which: &Which, _attributes: &mut Attributes) -> Result<(), SourceError> {
        Ok(())
    }
}

/// A listing under way.
#[async_trait]
pub(super) trait Listing: Send {
    /// The next page, never an empty one; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<Listed>>, SourceError>;
}

/// An object, or one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Which {
    pub(super) key: String,
    /// The store's name for the version, where all are wanted.
    pub(super) version: Option<String>,
}

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) which: Which,
    /// Of a version: what stands in its place says that there is no object any more.
    pub(super) removed: bool,
    pub(super) size: u64,
    /// Changes with the content; empty where the store has none.
    pub(super) tag: String,
    pub(super) time: Option<jiff::Timestamp>,
}

impl Listed {
    /// What is different once the object is another: tag, time, version.
    pub(super) fn seen(&self) -> String {
        seen(&self.tag, self.time, self.which.version.as_deref())
    }
}

/// The text that tells whether an object is still the same; [`tag_of`] and [`version_of`] read it.
pub(super) fn seen(tag: &str, time: Option<jiff::Timestamp>, version: Option<&str>) -> String {
    let time = time.map(|time| format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())).unwrap_or_default();
    // Neither may hold a space or what would end the field of a line.
    let plain = |text: &str| text.replace(|c: char| c.is_whitespace() || c.is_control(), "_");
    let version = version.map(|version| format!(" {}", plain(version))).unwrap_or_default();
    format!("{} {time}{version}", plain(tag))
}

/// The tag in what was seen of an object, if the store gave one.
pub(super) fn tag_of(seen: &str) -> Option<&str> {
    seen.split(' ').next().filter(|tag| !tag.is_empty())
}

pub(super) fn version_of(seen: &str) -> Option<&str> {
    seen.split(' ').nth(2)
}

/// The whole second in what was seen.
pub(super) fn second_of(seen: &str) -> Option<i64> {
    seen.split(' ').nth(1)?.split('.').next()?.parse().ok()
}

/// What came of asking for an object.
pub(super) enum Fetched {
    Found(Body),
    Vanished,
    /// It is another object by now.
    Changed,
    Denied(String),
}

/// An object that is being sent.
pub(super) struct Body {
    pub(super) attributes: Box<Attributes>,
    /// Bytes to come.
    pub(super) length: Option<u64>,
    pub(super) tag: Option<String>,
    pub(super) time: Option<jiff::Timestamp>,
    /// It begins where it was asked to.
    pub(super) is_rest: bool,
    /// Or why it broke off.
    pub(super) content: BoxStream<'static, Result<Bytes, String>>,
}

/// What is held in memory at most of an object that was listed as a small one.
const COLLECTED_BYTES_MAX: usize = 16 << 20;

impl Body {
    /// All of it, in memory.
    pub(super) async fn collect(mut self) -> Result<Bytes, String> {
        let mut whole =
            Vec::with_capacity(usize::try_from(self.length.unwrap_or_default().min(1 << 20)).unwrap_or_default());
        while let Some(piece) = self.content.next().await {
            let piece = piece?;
            if self.length == Some(piece.len() as u64) {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
            if whole.len() > COLLECTED_BYTES_MAX {
                return Err("it has grown to many times of its size since it was listed".to_owned());
            }
        }
        Ok(whole.into())
    }
}
