//! Lists a bucket, or all versions in it.
//!
//! Objects are asked for by the last key that was seen, not by the store's own mark: a page that is asked for again after an error is the
//! same page, and none can be left out. Versions have no such mark; there the store's is used. Memory: one page.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::EncodingType;

use super::S3Store;
use super::failure::{failed, is_unreadable};
use crate::domain::percent_decoded;
use crate::sources::SourceError;
use crate::sources::objects::store::{Listed, Listing, Which};

/// What a store lists at once.
const PAGE_KEYS: i32 = 1000;

pub(super) struct S3Listing {
    store: Arc<S3Store>,
    /// The last key that was listed, and the version to go on behind.
    after: Option<String>,
    version_mark: Option<String>,
    until: Option<String>,
    ended: bool,
}

/// What a store answered, and whether keys in it are encoded.
struct Page {
    listed: Vec<Listed>,
    more: bool,
    version_mark: Option<(String, Option<String>)>,
}

impl S3Listing {
    pub(super) fn new(store: Arc<S3Store>, after: Option<String>, until: Option<String>) -> Self {
        Self { store, after, version_mark: None, until, ended: false }
    }

    fn nonsense(&self, why: &str) -> SourceError {
        SourceError::Failed {
            what: format!("listing {}", self.store.place),
            why: why.to_owned(),
            hint: "something between here and the store answers for it, or the store is broken; nothing was committed"
                .to_owned(),
        }
    }

    async fn objects(&self) -> Result<Page, SourceError> {
        let ask = |encoding: Option<EncodingType>| {
            self.store
                .client
                .list_objects_v2()
                .bucket(&self.store.bucket)
                .set_prefix(Some(self.store.prefix.clone()).filter(|prefix| !prefix.is_empty()))
                .set_start_after(self.after.clone())
                .set_encoding_type(encoding)
                .max_keys(PAGE_KEYS)
                .send()
        };
        // Keys that XML cannot hold make a page that does not read. Only then is it asked for with encoded keys: some stores
        // announce these and do not encode.
        let page = match ask(None).await {
            Err(error) if is_unreadable(&error) => ask(Some(EncodingType::Url)).await,
            page => page,
        };
        let page = page.map_err(|error| failed(format!("listing {}", self.store.place), &error))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let mut listed = Vec::with_capacity(page.contents().len());
        for object in page.contents() {
            let size = object.size().ok_or_else(|| self.nonsense("an object without a size is listed"))?;
            listed.push(Listed {
                which: Which { key: self.key(object.key(), encoded)?, version: None },
                removed: false,
                size: size.unsigned_abs(),
                tag: object.e_tag().unwrap_or_default().to_owned(),
                time: object.last_modified().and_then(timestamp),
            });
        }
        Ok(Page { listed, more: page.is_truncated().unwrap_or(false), version_mark: None })
    }

    async fn versions(&self) -> Result<Page, SourceError> {
        let ask = |encoding: Option<EncodingType>| {
            self.store
                .client
                .list_object_versions()
                .bucket(&self.store.bucket)
                .set_prefix(Some(self.store.prefix.clone()).filter(|prefix| !prefix.is_empty()))
                .set_key_marker(self.after.clone())
                .set_version_id_marker(self.version_mark.clone())
                .set_encoding_type(encoding)
                .max_keys(PAGE_KEYS)
                .send()
        };
        let page = match ask(None).await {
            Err(error) if is_unreadable(&error) => ask(Some(EncodingType::Url)).await,
            page => page,
        };
        let page = page.map_err(|error| failed(format!("listing the versions of {}", self.store.place), &error))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let mut listed = Vec::with_capacity(page.versions().len() + page.delete_markers().len());
        let named = |version: Option<&str>| Some(version.unwrap_or("null").to_owned());
        for object in page.versions() {
            let size = object.size().ok_or_else(|| self.nonsense("a version without a size is listed"))?;
            let which = Which { key: self.key(object.key(), encoded)?, version: named(object.version_id()) };
            let tag = object.e_tag().unwrap_or_default().to_owned();
            let time = object.last_modified().and_then(timestamp);
            let latest = object.is_latest() == Some(true);
            listed.push((latest, Listed { which, removed: false, size: size.unsigned_abs(), tag, time }));
        }
        for marker in page.delete_markers() {
            let which = Which { key: self.key(marker.key(), encoded)?, version: named(marker.version_id()) };
            let time = marker.last_modified().and_then(timestamp);
            let latest = marker.is_latest() == Some(true);
            listed.push((latest, Listed { which, removed: true, size: 0, tag: String::new(), time }));
        }
        // Versions and what marks a removal come apart. Of those of the same time only the latest is known.
        listed.sort_by(|(one_is_latest, one), (other_is_latest, other)| {
            one.which
                .key
                .cmp(&other.which.key)
                .then_with(|| other.time.cmp(&one.time))
                .then_with(|| other_is_latest.cmp(one_is_latest))
        });
        let more = page.is_truncated().unwrap_or(false);
        let version_mark = match page.next_key_marker().filter(|_| more) {
            Some(key) => Some((self.key(Some(key), encoded)?, page.next_version_id_marker().map(str::to_owned))),
            None if more => return Err(self.nonsense("more versions are announced, and not where they begin")),
            None => None,
        };
        Ok(Page { listed: listed.into_iter().map(|(_, listed)| listed).collect(), more, version_mark })
    }

    fn key(&self, key: Option<&str>, encoded: bool) -> Result<String, SourceError> {
        let key = key.ok_or_else(|| self.nonsense("an object without a key is listed"))?;
        if encoded {
            decoded(key).ok_or_else(|| self.nonsense("a key is not encoded as announced"))
        } else {
            Ok(key.to_owned())
        }
    }
}

#[async_trait]
impl Listing for S3Listing {
    async fn next(&mut self) -> Result<Option<Vec<Listed>>, SourceError> {
        if self.ended {
            return Ok(None);
        }
        let wants_versions = self.store.versions;
        let mut page = if wants_versions { self.versions().await? } else { self.objects().await? };
        // A page of versions goes on within a key. Without a version to go on behind, stores differ in whether they list the key itself.
        if wants_versions && self.version_mark.is_none() {
            page.listed.retain(|listed| self.after.as_ref().is_none_or(|after| listed.which.key != *after));
        }
        let begins_right = |key: &str| match &self.after {
            Some(after) if wants_versions && self.version_mark.is_some() => key >= after.as_str(),
            Some(after) => key > after.as_str(),
            None => true,
        };
        if let Some(stray) =
            page.listed.iter().find(|l| !l.which.key.starts_with(&self.store.prefix) || !begins_right(&l.which.key))
        {
            return Err(self.nonsense(&format!("`{}` is listed where it does not belong", stray.which.key)));
        }
        let Some(last) = page.listed.last().map(|last| last.which.key.clone()) else {
            self.ended = true;
            return if page.more {
                Err(self.nonsense("an empty page is listed, and more are announced"))
            } else {
                Ok(None)
            };
        };
        if let Some(until) = &self.until
            && last >= *until
        {
            // Of the last key there may be more versions on the next page.
            self.ended = last > *until || !wants_versions;
            page.listed.retain(|listed| listed.which.key <= *until);
        }
        self.ended |= !page.more;
        match page.version_mark {
            Some((key, _)) if key < last => return Err(self.nonsense("the next versions begin before the last ones")),
            Some((key, version)) => (self.after, self.version_mark) = (Some(key), version),
            None => self.after = Some(last),
        }
        Ok(Some(page.listed).filter(|listed| !listed.is_empty()))
    }
}

pub(super) fn timestamp(time: &DateTime) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// `+` stands for a space there.
fn decoded(key: &str) -> Option<String> {
    String::from_utf8(percent_decoded(&key.replace('+', " "))?).ok()
}
