//! A store that lists everything in the order of its keys: pages of a listing, and objects by their tags.

use std::sync::Arc;

use async_trait::async_trait;
use opendal::options::ListOptions;
use opendal::raw::oio;

use super::Dal;
use crate::sources::SourceError;
use crate::sources::objects::folders::{Asked, Folders};
use crate::sources::objects::store::{Body, Fetched, Listed, Listing, Store, Which};

const PAGE: usize = 1000;

pub(in crate::sources::objects) struct FlatStore {
    dal: Dal,
    prefix: String,
}

impl FlatStore {
    pub(in crate::sources::objects) fn new(dal: Dal, prefix: &str) -> Self {
        Self { dal, prefix: prefix.to_owned() }
    }
}

#[async_trait]
impl Store for FlatStore {
    fn list(self: Arc<Self>, after: Option<String>, until: Option<String>) -> Box<dyn Listing> {
        Box::new(FlatListing { store: self, after, until, last: None, lister: None, ended: false })
    }

    fn lists_from_anywhere(&self) -> bool {
        opendal::raw::Service::capability(&self.dal.service).list_with_start_after
    }

    async fn get(&self, which: &Which, tag: Option<&str>, from: u64) -> Result<Fetched, SourceError> {
        if let Some(why) = self.dal.cannot_ask(&which.key) {
            return Ok(Fetched::Denied(why.to_owned()));
        }
        // What an answer tells of an object is less than what a question about it does.
        let metadata = match self.dal.stat(&which.key).await?.found() {
            Ok(metadata) => metadata,
            Err(instead) => return Ok(instead),
        };
        let thing = self.dal.thing(which.key.clone(), &metadata);
        if tag.is_some_and(|tag| tag != thing.tag) {
            return Ok(Fetched::Changed);
        }
        let content = match self.dal.open(&which.key, &thing, from).await?.found() {
            Ok(content) => content,
            Err(instead) => return Ok(instead),
        };
        Ok(Fetched::Found(Body {
            attributes: Box::new(super::attributes_of(&metadata)),
            // An object whose name ends in `/` passes for a folder there, which has no length.
            length: metadata.is_file().then(|| metadata.content_length().saturating_sub(from)),
            tag: Some(thing.tag).filter(|tag| !tag.is_empty()),
            time: thing.time,
            is_rest: true,
            content,
        }))
    }

    async fn exists(&self, which: &Which) -> Result<bool, SourceError> {
        Ok(!matches!(self.dal.stat(&which.key).await?, Asked::Gone))
    }
}

struct FlatListing {
    store: Arc<FlatStore>,
    after: Option<String>,
    until: Option<String>,
    /// The last key that was listed.
    last: Option<String>,
    lister: Option<oio::Lister>,
    ended: bool,
}

impl FlatListing {
    async fn key(&mut self) -> Result<Option<Listed>, SourceError> {
        let dal = &self.store.dal;
        let lister = match &mut self.lister {
            Some(lister) => lister,
            none => {
                let start_after = self.after.clone().filter(|_| self.store.lists_from_anywhere());
                let options = ListOptions { recursive: true, limit: Some(PAGE), start_after, ..ListOptions::default() };
                none.insert(dal.lister(&self.store.prefix, options)?)
            }
        };
        let entry = oio::List::next(lister).await.map_err(|error| dal.failed("listing", &error))?;
        let Some(entry) = entry else { return Ok(None) };
        let key = entry.path().to_owned();
        if !key.starts_with(&self.store.prefix) {
            return Err(dal.nonsense(&format!("`{key}` is listed where it does not belong")));
        }
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(SourceError::Failed {
                what: format!("listing {}", dal.place),
                why: format!("`{key}` comes after `{}`", self.last.as_deref().unwrap_or_default()),
                hint: "the store does not list in the order of keys; `by_folder = true` beside the bucket's or container's name \
                       sorts each folder here. Keys that begin with `/` cannot be read"
                    .to_owned(),
            });
        }
        self.last = Some(key.clone());
        let thing = dal.thing(key.clone(), entry.metadata());
        let which = Which { key, version: None };
        Ok(Some(Listed { which, removed: false, size: thing.size, tag: thing.tag, time: thing.time }))
    }
}

#[async_trait]
impl Listing for FlatListing {
    async fn next(&mut self) -> Result<Option<Vec<Listed>>, SourceError> {
        let mut page = vec![];
        while page.len() < PAGE && !self.ended {
            match self.key().await? {
                Some(listed) if self.after.as_ref().is_some_and(|after| listed.which.key <= *after) => {}
                Some(listed) if self.until.as_ref().is_none_or(|until| listed.which.key <= *until) => page.push(listed),
                _ => self.ended = true,
            }
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}
