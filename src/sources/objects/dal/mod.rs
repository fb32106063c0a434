//! Stores that opendal speaks to: Google Cloud Storage, Azure Blob Storage, WebDAV.
//!
//! opendal's operator changes paths before it uses them (`a//b` becomes `a/b`, spaces at the ends go), so that one object would be read
//! for another. Here its services are asked themselves, by the names that they list. What this room must never do: follow a redirect, look
//! for credentials that the job does not name, or call anything that writes. Memory: a page of a listing; a piece of each body.

mod failure;
mod flat;
mod services;

use async_trait::async_trait;
use futures::StreamExt;
use opendal::options::{ListOptions, ReaderOptions, StatOptions};
use opendal::raw::{OpList, OpRead, OpReader, Service, Servicer, oio};
use opendal::{Error, ErrorKind, Metadata, OperationContext};

pub(super) use self::flat::FlatStore;
pub(super) use self::services::{azure, google, webdav};

use self::failure::Translator;
use super::attributes::Attributes;
use super::folders::{Asked, Content, Folders, Thing, ThingKind};
use crate::sources::SourceError;

/// A service and how it is reached. [`services`] makes one.
pub(super) struct Dal {
    context: OperationContext,
    service: Servicer,
    place: String,
    translator: Translator,
    which: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Google,
    Azure,
    Webdav,
}

impl Dal {
    fn tag_of(&self, metadata: &Metadata) -> String {
        // Listings and answers differ in quotes.
        let etag = metadata.etag().unwrap_or_default().trim_matches('"');
        match (self.which, metadata.version()) {
            // Both are in a listing, and the etag changes with the metadata alone.
            (Kind::Google, Some(generation)) => format!("{generation}-{etag}"),
            _ => etag.to_owned(),
        }
    }

    fn thing(&self, name: String, metadata: &Metadata) -> Thing {
        let kind = match metadata.mode() {
            opendal::EntryMode::FILE => ThingKind::File,
            opendal::EntryMode::DIR => ThingKind::Folder,
            opendal::EntryMode::Unknown => ThingKind::Other,
        };
        let size = if kind == ThingKind::File { metadata.content_length() } else { 0 };
        let time = metadata.last_modified().map(opendal::raw::Timestamp::into_inner);
        Thing { name, kind, size, tag: self.tag_of(metadata), time }
    }

    /// A listing of everything that begins so, or of one folder alone.
    fn lister(&self, path: &str, options: ListOptions) -> Result<oio::Lister, SourceError> {
        // The service's word for the top.
        let path = if path.is_empty() { "/" } else { path };
        self.service.list(&self.context, path, OpList::from(options)).map_err(|error| self.failed("listing", &error))
    }

    async fn stat(&self, path: &str) -> Result<Asked<Metadata>, SourceError> {
        let found = self.service.stat(&self.context, path, StatOptions::default().into()).await;
        self.asked(found.map(opendal::raw::RpStat::into_metadata), path).await
    }

    /// What the service refuses for one object is told apart from what it refuses for all.
    async fn asked<T>(&self, result: Result<T, Error>, path: &str) -> Result<Asked<T>, SourceError> {
        let error = match result {
            Ok(found) => return Ok(Asked::Found(found)),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(Asked::Gone),
            ErrorKind::ConditionNotMatch | ErrorKind::RangeNotSatisfied => Ok(Asked::Changed),
            ErrorKind::PermissionDenied if self.is_open().await => Ok(Asked::Denied),
            _ => Err(self.failed(&format!("reading `{path}`"), &error)),
        }
    }

    /// Whether the store lets itself be listed.
    async fn is_open(&self) -> bool {
        let options = ListOptions { limit: Some(1), ..ListOptions::default() };
        match self.service.list(&self.context, "/", OpList::from(options)) {
            Ok(mut lister) => oio::List::next(&mut lister).await.is_ok(),
            Err(_) => false,
        }
    }

    fn failed(&self, what: &str, error: &Error) -> SourceError {
        self.translator.translate(format!("{what} at {}", self.place), error)
    }
}

fn attributes_of(metadata: &Metadata) -> Attributes {
    let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    Attributes {
        content_type: owned(metadata.content_type()),
        content_encoding: owned(metadata.content_encoding()),
        content_disposition: owned(metadata.content_disposition()),
        cache_control: owned(metadata.cache_control()),
        metadata: metadata
            .user_metadata()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        ..Attributes::default()
    }
}

#[async_trait]
impl Folders for Dal {
    fn place(&self) -> &str {
        &self.place
    }

    /// An address with such a part is another address. Google's has the whole key in one part.
    fn cannot_ask(&self, path: &str) -> Option<&'static str> {
        let climbs = self.which == Kind::Azure && path.split('/').any(|part| matches!(part, "." | ".."));
        climbs.then_some("no request can carry a name with `.` or `..` as a part")
    }

    async fn children(&self, folder: &str) -> Result<Asked<Vec<Thing>>, SourceError> {
        let mut lister = self.lister(folder, ListOptions::default())?;
        let (mut things, mut is_there) = (vec![], false);
        loop {
            let entry = match oio::List::next(&mut lister).await {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::PermissionDenied && !folder.is_empty() => {
                    return self.asked(Err(error), folder).await;
                }
                Err(error) if folder.is_empty() => return Err(self.failed("listing", &error)),
                Err(error) => return Err(self.failed(&format!("listing `{folder}`"), &error)),
            };
            is_there = true;
            let path = entry.path().trim_start_matches('/');
            let Some(name) = path.strip_prefix(folder) else {
                return Err(self.nonsense(&format!("`{path}` is listed where it does not belong")));
            };
            let own = name.strip_suffix('/').unwrap_or(name);
            if own.contains('/') {
                return Err(self.nonsense(&format!("`{path}` is listed where it does not belong")));
            }
            if !own.is_empty() {
                things.push(self.thing(own.to_owned(), entry.metadata()));
            }
        }
        // A folder of WebDAV lists itself; those of the others are nothing but what is in them.
        Ok(if is_there || self.which != Kind::Webdav { Asked::Found(things) } else { Asked::Gone })
    }

    async fn look(&self, path: &str) -> Result<Asked<(Thing, Attributes)>, SourceError> {
        let found = self.stat(path).await?;
        Ok(found.map(|metadata| (self.thing(path.to_owned(), &metadata), attributes_of(&metadata))))
    }

    async fn open(&self, path: &str, thing: &Thing, from: u64) -> Result<Asked<Content>, SourceError> {
        let mut options = ReaderOptions::default();
        if self.which == Kind::Google {
            options.if_version_match = thing.tag.split_once('-').map(|(version, _)| version.to_owned());
        } else if !thing.tag.is_empty() && !thing.tag.starts_with("W/") {
            // One that is weak never matches.
            options.if_match = Some(format!("\"{}\"", thing.tag));
        }
        let (arguments, _): (OpRead, OpReader) = options.into();
        let opened = match self.service.read(&self.context, path, arguments) {
            Ok(reader) => oio::Read::open(&reader, (from..).into()).await,
            Err(error) => Err(error),
        };
        Ok(self.asked(opened, path).await?.map(|(_, stream)| {
            let pieces = futures::stream::unfold(Some(stream), |stream| async move {
                let mut stream = stream?;
                match oio::ReadStream::read(&mut stream).await {
                    Ok(piece) if piece.is_empty() => None,
                    Ok(piece) => Some((Ok(piece.to_bytes()), Some(stream))),
                    Err(error) => Some((Err(failure::plain(&error)), None)),
                }
            });
            pieces.boxed()
        }))
    }
}

impl Dal {
    fn nonsense(&self, why: &str) -> SourceError {
        SourceError::Failed {
            what: format!("listing {}", self.place),
            why: why.to_owned(),
            hint: "something between here and the store answers for it, or the store is broken; nothing was committed"
                .to_owned(),
        }
    }
}
