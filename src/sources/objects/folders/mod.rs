//! Stores that list one folder at a time and in no order, read as a bucket is: WebDAV, SFTP, a plain folder.
//!
//! Keys are paths below the top. The walk sorts each folder and goes depth first, which is the order of the keys' bytes. Such a store sends
//! an object as it is at each moment, not as it was when it began: it is looked at before and after. Links, devices and folders that may
//! not be read are listed, so that the report can name them, and denied. Memory: the entries of one folder for each level.

mod local;
mod packet;
mod sftp;
mod walk;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub(super) use self::local::LocalFolder;
pub(super) use self::sftp::SftpFolder;
use self::walk::Walk;
use super::attributes::Attributes;
use super::store::{Body, Fetched, Listing, Store, Which, seen};
use crate::sources::SourceError;

/// What stands where a name was that is no text.
pub(super) const NO_TEXT: char = '\u{fffd}';

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThingKind {
    Folder,
    File,
    /// A link, a device.
    Other,
}

/// A thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thing {
    /// Its own name, without its folder's.
    pub(super) name: String,
    pub(super) kind: ThingKind,
    pub(super) size: u64,
    /// Changes with the content; empty where the store has none.
    pub(super) tag: String,
    pub(super) time: Option<jiff::Timestamp>,
}

/// What came of asking for something.
pub(super) enum Asked<T> {
    Found(T),
    Gone,
    Denied,
    /// It is another by now.
    Changed,
}

impl<T> Asked<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Asked<U> {
        match self {
            Self::Found(found) => Asked::Found(change(found)),
            Self::Gone => Asked::Gone,
            Self::Denied => Asked::Denied,
            Self::Changed => Asked::Changed,
        }
    }

    /// What there is, or what a store says instead.
    pub(super) fn found(self) -> Result<T, Fetched> {
        match self {
            Self::Found(found) => Ok(found),
            Self::Gone => Err(Fetched::Vanished),
            Self::Denied => Err(Fetched::Denied("permission denied".to_owned())),
            Self::Changed => Err(Fetched::Changed),
        }
    }
}

/// A store of folders. A folder's path is empty or ends in `/`.
#[async_trait]
pub(super) trait Folders: Send + Sync {
    /// For people.
    fn place(&self) -> &str;
    /// Why a path that is listed cannot be asked for.
    fn cannot_ask(&self, _path: &str) -> Option<&'static str> {
        None
    }
    /// What is in a folder, in any order.
    async fn children(&self, folder: &str) -> Result<Asked<Vec<Thing>>, SourceError>;
    /// One thing itself, where it is a link not what it leads to.
    async fn look(&self, path: &str) -> Result<Asked<(Thing, Attributes)>, SourceError>;
    /// A file's content from a byte on; where the store can, only if the file is still this thing.
    async fn open(&self, path: &str, thing: &Thing, from: u64) -> Result<Asked<Content>, SourceError>;
}

pub(super) type Content = BoxStream<'static, Result<Bytes, String>>;

pub(super) struct FolderStore<F> {
    folders: F,
    prefix: String,
}

impl<F: Folders> FolderStore<F> {
    pub(super) fn new(folders: F, prefix: &str) -> Self {
        Self { folders, prefix: prefix.to_owned() }
    }
}

/// What a thing is called as long as it is the same.
fn mark(thing: &Thing) -> String {
    format!("{} {}", thing.size, seen(&thing.tag, thing.time, None))
}

#[async_trait]
impl<F: Folders + 'static> Store for FolderStore<F> {
    fn list(self: Arc<Self>, after: Option<String>, until: Option<String>) -> Box<dyn Listing> {
        Box::new(Walk::new(self, after, until))
    }

    fn lists_from_anywhere(&self) -> bool {
        false
    }

    async fn get(&self, which: &Which, tag: Option<&str>, from: u64) -> Result<Fetched, SourceError> {
        let key = which.key.as_str();
        if key.ends_with('/') {
            return Ok(Fetched::Denied("a folder that may not be read, or whose name is no text".to_owned()));
        }
        if let Some(why) = self.folders.cannot_ask(key) {
            return Ok(Fetched::Denied(why.to_owned()));
        }
        let (thing, attributes) = match self.folders.look(key).await?.found() {
            Ok(found) => found,
            Err(Fetched::Vanished) if key.contains(NO_TEXT) => {
                return Ok(Fetched::Denied("its name is no text".to_owned()));
            }
            Err(instead) => return Ok(instead),
        };
        if thing.kind != ThingKind::File {
            return Ok(Fetched::Denied("it is a link or a device, not a file".to_owned()));
        }
        // From the listing comes the store's own tag, from the rest of a transfer the mark.
        if tag.is_some_and(|tag| tag != mark(&thing) && tag != thing.tag) {
            return Ok(Fetched::Changed);
        }
        let content = match self.folders.open(key, &thing, from).await?.found() {
            Ok(content) => content,
            Err(instead) => return Ok(instead),
        };
        Ok(Fetched::Found(Body {
            attributes: Box::new(attributes),
            // A file that grows meanwhile is longer than it said.
            length: None,
            tag: Some(if thing.tag.is_empty() { mark(&thing) } else { thing.tag }),
            time: thing.time,
            is_rest: true,
            content,
        }))
    }

    async fn is_still(&self, which: &Which, tag: Option<&str>) -> Result<bool, SourceError> {
        let found = self.folders.look(&which.key).await?;
        Ok(matches!(found, Asked::Found((thing, _)) if tag == Some(&mark(&thing)) || tag == Some(&thing.tag)))
    }

    async fn exists(&self, which: &Which) -> Result<bool, SourceError> {
        // What was denied before is among the gaps already.
        Ok(!which.key.ends_with('/')
            && matches!(self.folders.look(&which.key).await?, Asked::Found((thing, _)) if thing.kind == ThingKind::File))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    /// A store of one file, which is each time what comes next.
    struct Next(std::sync::Mutex<Vec<Asked<Thing>>>);

    impl Next {
        fn take(&self) -> Asked<Thing> {
            self.0.lock().unwrap().pop().unwrap_or(Asked::Gone)
        }
    }

    #[async_trait]
    impl Folders for Next {
        fn place(&self) -> &'static str {
            "next"
        }

        async fn children(&self, _folder: &str) -> Result<Asked<Vec<Thing>>, SourceError> {
            Ok(self.take().map(|thing| vec![thing]))
        }

        async fn look(&self, _path: &str) -> Result<Asked<(Thing, Attributes)>, SourceError> {
            Ok(self.take().map(|thing| (thing, Attributes::default())))
        }

        async fn open(&self, _path: &str, _thing: &Thing, _from: u64) -> Result<Asked<Content>, SourceError> {
            Ok(self.take().map(|_| futures::stream::empty().boxed()))
        }
    }

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    fn file(size: u64, tag: &str) -> Thing {
        Thing { name: "file".to_owned(), kind: ThingKind::File, size, tag: tag.to_owned(), time: None }
    }

    /// What `get` makes of a key, whose store looks so, and then opens so.
    fn got(key: &str, tag: Option<&str>, look: Asked<Thing>, open: Asked<Thing>) -> String {
        let store = FolderStore::new(Next(std::sync::Mutex::new(vec![open, look])), "");
        let which = Which { key: key.to_owned(), version: None };
        match wait(store.get(&which, tag, 0)).unwrap() {
            Fetched::Found(body) => format!("found {}", body.tag.unwrap_or_default()),
            Fetched::Vanished => "vanished".to_owned(),
            Fetched::Changed => "changed".to_owned(),
            Fetched::Denied(why) => why,
        }
    }

    #[test]
    fn a_file_that_goes_or_changes_between_listing_and_reading_is_told_apart() {
        let found = |size, tag| Asked::Found(file(size, tag));
        let folder = Asked::Found(Thing { kind: ThingKind::Folder, ..file(0, "") });
        assert_eq!(got("file", None, found(1, ""), found(1, "")), "found 1  ");
        assert_eq!(got("file", Some("a"), found(1, "a"), found(1, "a")), "found a");
        assert_eq!(got("file", Some("a"), found(1, "b"), found(1, "b")), "changed");
        assert_eq!(got("file", Some("1  "), found(1, ""), found(1, "")), "found 1  ");
        assert_eq!(got("file", Some("1  "), found(2, ""), found(2, "")), "changed");
        assert_eq!(got("file", None, Asked::Gone, Asked::Gone), "vanished");
        assert_eq!(got("file", None, found(1, ""), Asked::Gone), "vanished");
        assert_eq!(got("file", None, found(1, ""), Asked::Changed), "changed");
        assert_eq!(got("file", None, found(1, ""), Asked::Denied), "permission denied");
        assert_eq!(got("file", None, folder, Asked::Gone), "it is a link or a device, not a file");
        assert_eq!(got("no \u{fffd}", None, Asked::Gone, Asked::Gone), "its name is no text");
    }

    #[test]
    fn what_was_sent_is_still_there_only_if_nothing_about_it_changed() {
        let still = |tag: &str, found: Asked<Thing>| {
            let store = FolderStore::new(Next(std::sync::Mutex::new(vec![found])), "");
            let which = Which { key: "file".to_owned(), version: None };
            wait(store.is_still(&which, Some(tag))).unwrap()
        };
        assert!(still("1  ", Asked::Found(file(1, ""))));
        assert!(!still("1  ", Asked::Found(file(2, ""))));
        assert!(still("a", Asked::Found(file(1, "a"))));
        assert!(!still("a", Asked::Found(file(1, "b"))));
        assert!(!still("1  ", Asked::Gone));
    }
}
