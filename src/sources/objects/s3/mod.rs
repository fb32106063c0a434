//! A bucket over the wire, through Amazon's own client.

mod attributes;
mod failure;
mod listing;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use futures::StreamExt;

use self::failure::{failed, is_about_credentials, status};
use self::listing::{S3Listing, timestamp};
pub(super) use self::write::Upload;
use super::attributes::Attributes;
use super::config::{Settings, TextOrSecret};
use super::store::{Body, Fetched, Listing, Store, Which};
use crate::config::SecretRef;
use crate::domain::Secret;
use crate::sources::SourceError;
use crate::system::s3::{Bucket, Connection, Keys};

/// A bucket, or what is below a prefix of one.
#[derive(Clone)]
pub(super) struct S3Store {
    client: Client,
    bucket: String,
    prefix: String,
    place: String,
    /// All versions are wanted, not current objects alone.
    versions: bool,
    tags: bool,
    access_lists: bool,
}

impl S3Store {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, SourceError> {
        let (config, connection) = (&settings.config, connection(settings).await?);
        Ok(Self {
            client: connection.client(),
            bucket: config.bucket.clone(),
            prefix: config.prefix.clone(),
            place: settings.place(),
            versions: config.versions,
            tags: config.tags,
            access_lists: config.access_lists,
        })
    }

    /// A bucket that a restore writes to. It is listed with its versions where these are wanted.
    pub(super) fn at(connection: &Connection, bucket: &Bucket, versions: bool) -> Self {
        Self {
            client: connection.client(),
            bucket: bucket.name.clone(),
            prefix: bucket.prefix.clone(),
            place: format!("s3://{}/{}", bucket.name, bucket.prefix),
            versions,
            tags: false,
            access_lists: false,
        }
    }

    /// The same, asked for tags, too.
    pub(super) fn with_tags(self, tags: bool) -> Self {
        Self { tags, ..self }
    }

    /// For people.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether the bucket lets itself be listed: then what is refused is refused for one object.
    async fn is_open(&self) -> bool {
        let asked = self.client.list_objects_v2().bucket(&self.bucket).max_keys(1);
        asked.set_prefix(Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty())).send().await.is_ok()
    }
}

#[async_trait]
impl Store for S3Store {
    fn list(self: Arc<Self>, after: Option<String>, until: Option<String>) -> Box<dyn Listing> {
        Box::new(S3Listing::new(self, after, until))
    }

    async fn get(&self, which: &Which, tag: Option<&str>, from: u64) -> Result<Fetched, SourceError> {
        let asked = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(&which.key)
            .set_version_id(which.version.clone())
            .set_if_match(tag.map(str::to_owned))
            .set_range((from > 0).then(|| format!("bytes={from}-")));
        match asked.send().await {
            Ok(mut found) => {
                let attributes = Box::new(attributes::attributes_of(&found));
                let sent = std::mem::take(&mut found.body);
                let content = futures::stream::unfold(sent, |mut body| async move {
                    let piece = body.next().await?;
                    Some((piece.map_err(|error| error.to_string()), body))
                });
                Ok(Fetched::Found(Body {
                    length: found.content_length.map(i64::unsigned_abs),
                    tag: found.e_tag.clone(),
                    time: found.last_modified.as_ref().and_then(timestamp),
                    is_rest: from == 0 || found.content_range.is_some(),
                    content: content.boxed(),
                    attributes,
                }))
            }
            Err(error) => match (status(&error), error.code().unwrap_or_default()) {
                (_, "NoSuchKey" | "NoSuchVersion") | (Some(404), "" | "NotFound") => Ok(Fetched::Vanished),
                (Some(412 | 416), _) => Ok(Fetched::Changed),
                (_, "InvalidObjectState") => {
                    Ok(Fetched::Denied("it is in an archive and must be restored there first".to_owned()))
                }
                // One object may be closed to us, or the credentials have expired for all.
                (Some(403), code) if !is_about_credentials(code) && self.is_open().await => {
                    Ok(Fetched::Denied("permission denied".to_owned()))
                }
                _ => Err(failed(format!("reading `{}` at {}", which.key, self.place), &error)),
            },
        }
    }

    async fn exists(&self, which: &Which) -> Result<bool, SourceError> {
        let asked = self.client.head_object().bucket(&self.bucket).key(&which.key);
        match asked.set_version_id(which.version.clone()).send().await {
            Ok(_) => Ok(true),
            Err(error) => match status(&error) {
                Some(404) => Ok(false),
                // Of what marks a removal there is nothing to tell but that it is there.
                Some(405) if which.version.is_some() => Ok(true),
                _ => Err(failed(format!("asking for `{}` at {}", which.key, self.place), &error)),
            },
        }
    }

    async fn add_extras(&self, which: &Which, attributes: &mut Attributes) -> Result<(), SourceError> {
        if self.tags {
            let asked = self.client.get_object_tagging().bucket(&self.bucket).key(&which.key);
            let tagging = asked.set_version_id(which.version.clone()).send().await;
            let tagging =
                tagging.map_err(|e| failed(format!("reading the tags of `{}` at {}", which.key, self.place), &e))?;
            attributes.tags =
                tagging.tag_set.into_iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
        }
        if self.access_lists {
            let asked = self.client.get_object_acl().bucket(&self.bucket).key(&which.key);
            let list = asked.set_version_id(which.version.clone()).send().await;
            let list =
                list.map_err(|e| failed(format!("reading the access list of `{}` at {}", which.key, self.place), &e))?;
            attributes.access = Some(attributes::access_of(&list));
        }
        Ok(())
    }
}

/// How the job's store is reached.
pub(super) async fn connection(settings: &Settings) -> Result<Connection, SourceError> {
    let config = &settings.config;
    let keys = match (&config.access_key_id, &config.secret_access_key) {
        (Some(id), Some(secret)) => {
            let id = match id {
                TextOrSecret::Text(text) => text.clone(),
                TextOrSecret::Secret(reference) => resolve(reference, settings).await?.expose().to_owned(),
            };
            let token = match &config.session_token {
                Some(token) => Some(resolve(token, settings).await?),
                None => None,
            };
            Some(Keys { id, secret: resolve(secret, settings).await?, token })
        }
        _ => None,
    };
    Ok(Connection {
        endpoint: config.endpoint.clone(),
        region: config.region.clone(),
        virtual_host_style: config.virtual_host_style,
        keys,
        stall: settings.idle,
    })
}

async fn resolve(reference: &SecretRef, settings: &Settings) -> Result<Secret, SourceError> {
    reference.resolve().await.map_err(|error| SourceError::Refused {
        what: format!("keys for {}", settings.place()),
        why: error.to_string(),
        hint: String::new(),
    })
}
