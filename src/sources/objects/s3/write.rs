//! Writes into a bucket, for a restore.
//!
//! Memory: what it is given; a part of a large object.

use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat};
use aws_sdk_s3::types::{BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, StorageClass};
use bytes::Bytes;

use super::S3Store;
use super::failure::{failed, is_unreadable};
use crate::sources::SourceError;
use crate::sources::objects::attributes::{AccessList, Attributes};
use crate::sources::objects::store::Which;

/// A large object that is being written in parts.
pub(in crate::sources::objects) struct Upload<'s> {
    store: &'s S3Store,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
}

impl S3Store {
    /// Whether it keeps what is overwritten.
    pub(in crate::sources::objects) async fn keeps_versions(&self) -> Result<bool, SourceError> {
        match self.client.get_bucket_versioning().bucket(&self.bucket).send().await {
            Ok(said) => Ok(said.status() == Some(&BucketVersioningStatus::Enabled)),
            // Some stores name the answer otherwise than the protocol does, and it does not read.
            Err(error) if is_unreadable(&error) => {
                let answer = error.raw_response().and_then(|answer| answer.body().bytes()).unwrap_or_default();
                Ok(String::from_utf8_lossy(answer).contains("<Status>Enabled</Status>"))
            }
            Err(error) => Err(failed(format!("asking whether {} keeps versions", self.place), &error)),
        }
    }

    pub(in crate::sources::objects) async fn put(
        &self,
        key: &str,
        content: Bytes,
        attributes: &Attributes,
    ) -> Result<(), SourceError> {
        let asked = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(content));
        let asked = asked
            .set_content_type(attributes.content_type.clone())
            .set_content_encoding(attributes.content_encoding.clone())
            .set_content_language(attributes.content_language.clone())
            .set_content_disposition(attributes.content_disposition.clone())
            .set_cache_control(attributes.cache_control.clone())
            .set_expires(attributes.expires.as_deref().and_then(http_date))
            .set_website_redirect_location(attributes.website_redirect_location.clone())
            .set_storage_class(attributes.storage_class.as_deref().map(StorageClass::from))
            .set_metadata(Some(attributes.metadata.clone().into_iter().collect()))
            .set_tagging(tagging(attributes));
        asked.send().await.map(drop).map_err(|error| self.not_written(key, &error))
    }

    pub(in crate::sources::objects) async fn begin_upload(
        &self,
        key: &str,
        attributes: &Attributes,
    ) -> Result<Upload<'_>, SourceError> {
        let asked = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let asked = asked
            .set_content_type(attributes.content_type.clone())
            .set_content_encoding(attributes.content_encoding.clone())
            .set_content_language(attributes.content_language.clone())
            .set_content_disposition(attributes.content_disposition.clone())
            .set_cache_control(attributes.cache_control.clone())
            .set_expires(attributes.expires.as_deref().and_then(http_date))
            .set_website_redirect_location(attributes.website_redirect_location.clone())
            .set_storage_class(attributes.storage_class.as_deref().map(StorageClass::from))
            .set_metadata(Some(attributes.metadata.clone().into_iter().collect()))
            .set_tagging(tagging(attributes));
        let begun = asked.send().await.map_err(|error| self.not_written(key, &error))?;
        let id = begun.upload_id().unwrap_or_default().to_owned();
        Ok(Upload { store: self, key: key.to_owned(), id, parts: vec![] })
    }

    /// Removes an object, or the version of one.
    pub(in crate::sources::objects) async fn remove(&self, which: &Which) -> Result<(), SourceError> {
        let asked = self.client.delete_object().bucket(&self.bucket).key(&which.key);
        let removed = asked.set_version_id(which.version.clone()).send().await;
        removed.map(drop).map_err(|e| failed(format!("removing `{}` at {}", which.key, self.place), &e))
    }

    /// Removes an object without a trace, also where versions are kept: the version that is there, not older ones.
    pub(in crate::sources::objects) async fn remove_for_good(&self, key: &str) -> Result<(), SourceError> {
        let found = self.client.head_object().bucket(&self.bucket).key(key).send().await;
        let found = found.map_err(|error| failed(format!("asking for `{key}` at {}", self.place), &error))?;
        self.remove(&Which { key: key.to_owned(), version: found.version_id().map(str::to_owned) }).await
    }

    /// Says who may do what with an object.
    pub(in crate::sources::objects) async fn allow(&self, key: &str, list: &AccessList) -> Result<(), SourceError> {
        let to = |permission: &str| {
            let grants = list.grants.iter().filter(|grant| grant.permission == permission).filter_map(|grant| {
                let (kind, name) = grant.to.split_once(':')?;
                let kind = if kind == "email" { "emailAddress" } else { kind };
                Some(format!("{kind}=\"{name}\""))
            });
            Some(grants.collect::<Vec<_>>().join(", ")).filter(|grants| !grants.is_empty())
        };
        // By heads of the request, which more stores understand than a list in its body.
        let asked = self.client.put_object_acl().bucket(&self.bucket).key(key);
        let asked = asked
            .set_grant_full_control(to("FULL_CONTROL"))
            .set_grant_read(to("READ"))
            .set_grant_read_acp(to("READ_ACP"))
            .set_grant_write(to("WRITE"))
            .set_grant_write_acp(to("WRITE_ACP"));
        asked
            .send()
            .await
            .map(drop)
            .map_err(|error| failed(format!("setting the access list of `{key}` at {}", self.place), &error))
    }

    fn not_written<E>(&self, key: &str, error: &aws_sdk_s3::error::SdkError<E>) -> SourceError
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        failed(format!("writing `{key}` at {}", self.place), error)
    }
}

impl Upload<'_> {
    pub(in crate::sources::objects) async fn part(&mut self, content: Bytes) -> Result<(), SourceError> {
        let number = i32::try_from(self.parts.len()).unwrap_or(i32::MAX).saturating_add(1);
        let asked = self.store.client.upload_part().bucket(&self.store.bucket).key(&self.key).upload_id(&self.id);
        let sent = asked.part_number(number).body(ByteStream::from(content)).send().await;
        let sent = sent.map_err(|error| self.store.not_written(&self.key, &error))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag().map(str::to_owned));
        self.parts.push(part.build());
        Ok(())
    }

    /// The object is there from now on.
    pub(in crate::sources::objects) async fn finish(self) -> Result<(), SourceError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts)).build();
        let asked =
            self.store.client.complete_multipart_upload().bucket(&self.store.bucket).key(&self.key).upload_id(&self.id);
        let done = asked.multipart_upload(parts).send().await;
        done.map(drop).map_err(|error| self.store.not_written(&self.key, &error))
    }

    /// Nothing of it stays.
    pub(in crate::sources::objects) async fn abort(self) {
        let asked =
            self.store.client.abort_multipart_upload().bucket(&self.store.bucket).key(&self.key).upload_id(&self.id);
        if let Err(error) = asked.send().await {
            tracing::warn!(key = self.key, %error, "a part of an object stays at the store");
        }
    }
}

fn http_date(text: &str) -> Option<DateTime> {
    DateTime::from_str(text, DateTimeFormat::HttpDate).ok()
}

/// As the head of a request holds tags.
fn tagging(attributes: &Attributes) -> Option<String> {
    let pairs = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&attributes.tags).finish();
    Some(pairs).filter(|pairs| !pairs.is_empty())
}
