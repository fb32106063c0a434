//! A bucket over the wire, through Amazon's own client.
//!
//! It retries and, where the store throttles, slows down by itself and speeds up again (its adaptive mode). Checksums beyond what
//! the protocol demands are not asked for: several providers refuse them. What this file must never do: follow a redirect, or look for
//! credentials that the job does not name.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::types::EncodingType;

use super::config::{Settings, TextOrSecret};
use crate::config::SecretRef;
use crate::domain::{Secret, percent_decoded};
use crate::sources::SourceError;

/// How often one request is tried, the first time included.
const TRIES: u32 = 8;
/// Between tries: it doubles, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a store may think before it answers, and how long a body may stand still.
const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// What a store lists at once.
const PAGE_KEYS: i32 = 1000;

#[derive(Clone)]
pub(super) struct Store {
    client: Client,
    bucket: String,
    prefix: String,
    place: String,
}

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) size: u64,
    /// Tag and time: different once the object is another.
    pub(super) seen: String,
}

pub(super) struct Page {
    pub(super) objects: Vec<Listed>,
    pub(super) is_last: bool,
}

/// What came of asking for an object.
pub(super) enum Fetched {
    Found(Box<GetObjectOutput>),
    Vanished,
    /// It is another object by now.
    Changed,
    Denied(String),
}

impl Store {
    pub(super) async fn connect(settings: &Settings, idle: Option<Duration>) -> Result<Self, SourceError> {
        let config = &settings.config;
        let idle = idle.unwrap_or(IDLE_LIMIT);
        let mut builder = aws_sdk_s3::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone().unwrap_or_else(|| "us-east-1".to_owned())))
            .force_path_style(!config.virtual_host_style)
            .retry_config(
                RetryConfig::adaptive()
                    .with_max_attempts(TRIES)
                    .with_initial_backoff(FIRST_PAUSE)
                    .with_max_backoff(LONGEST_PAUSE),
            )
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(idle).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(idle).build())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        builder = match (&config.access_key_id, &config.secret_access_key) {
            (Some(id), Some(secret)) => {
                let id = match id {
                    TextOrSecret::Text(text) => Secret::new(text.clone()),
                    TextOrSecret::Secret(reference) => resolve(reference, settings).await?,
                };
                let secret = resolve(secret, settings).await?;
                let token = match &config.session_token {
                    Some(token) => Some(resolve(token, settings).await?.expose().to_owned()),
                    None => None,
                };
                builder.credentials_provider(Credentials::new(id.expose(), secret.expose(), token, None, "lifeboat"))
            }
            _ => builder.allow_no_auth(),
        };
        Ok(Self {
            client: Client::from_conf(builder.build()),
            bucket: config.bucket.clone(),
            prefix: config.prefix.clone(),
            place: settings.place(),
        })
    }

    /// Up to a thousand objects behind a key, in order.
    ///
    /// Each page is asked for by the last key that was seen, not by the store's own mark: a page that is asked for again
    /// after an error is the same page, and none can be left out.
    pub(super) async fn page(&self, after: Option<&str>) -> Result<Page, SourceError> {
        let ask = |encoding: Option<EncodingType>| {
            self.client
                .list_objects_v2()
                .bucket(&self.bucket)
                .set_prefix(Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty()))
                .set_start_after(after.map(str::to_owned))
                .set_encoding_type(encoding)
                .max_keys(PAGE_KEYS)
                .send()
        };
        // Keys that XML cannot hold make a page that does not read. Only then is it asked for with encoded keys: some stores
        // announce these and do not encode.
        let listed = match ask(None).await {
            Err(SdkError::ResponseError(_)) => ask(Some(EncodingType::Url)).await,
            listed => listed,
        };
        let listed = listed.map_err(|error| self.failed("listing", &error))?;
        let encoded = listed.encoding_type() == Some(&EncodingType::Url);
        let mut objects = Vec::with_capacity(listed.contents().len());
        for object in listed.contents() {
            let (Some(key), Some(size)) = (object.key(), object.size()) else {
                return Err(self.nonsense("an object without a key or a size is listed"));
            };
            let key = if encoded {
                decoded(key).ok_or_else(|| self.nonsense("a key is not encoded as announced"))?
            } else {
                key.to_owned()
            };
            if !key.starts_with(&self.prefix) || after.is_some_and(|after| key.as_str() <= after) {
                return Err(self.nonsense(&format!("`{key}` is listed where it does not belong")));
            }
            let time = object.last_modified().map(|time| format!("{}.{:09}", time.secs(), time.subsec_nanos()));
            let seen = format!("{} {}", object.e_tag().unwrap_or_default(), time.unwrap_or_default());
            objects.push(Listed { key, size: size.unsigned_abs(), seen });
        }
        let is_last = !listed.is_truncated().unwrap_or(false);
        if objects.is_empty() && !is_last {
            return Err(self.nonsense("an empty page is listed, and more are announced"));
        }
        Ok(Page { objects, is_last })
    }

    /// One object from a byte on; only if it is still the one with this tag.
    pub(super) async fn get(&self, key: &str, tag: Option<&str>, from: u64) -> Result<Fetched, SourceError> {
        let asked = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .set_if_match(tag.map(str::to_owned))
            .set_range((from > 0).then(|| format!("bytes={from}-")));
        match asked.send().await {
            Ok(found) => Ok(Fetched::Found(Box::new(found))),
            Err(error) => match (status(&error), error.code().unwrap_or_default()) {
                (_, "NoSuchKey") | (Some(404), "" | "NotFound") => Ok(Fetched::Vanished),
                (Some(412 | 416), _) => Ok(Fetched::Changed),
                (_, "InvalidObjectState") => {
                    Ok(Fetched::Denied("it is in an archive and must be restored there first".to_owned()))
                }
                // One object may be closed to us, or the credentials have expired for all.
                (Some(403), code) if !is_about_credentials(code) && self.page(None).await.is_ok() => {
                    Ok(Fetched::Denied("permission denied".to_owned()))
                }
                _ => Err(self.failed(&format!("reading `{key}`"), &error)),
            },
        }
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, SourceError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) => Err(self.failed(&format!("asking for `{key}`"), &error)),
        }
    }

    pub(super) async fn tags(&self, key: &str) -> Result<Vec<(String, String)>, SourceError> {
        let tagging = self.client.get_object_tagging().bucket(&self.bucket).key(key).send().await;
        let tagging = tagging.map_err(|error| self.failed(&format!("reading the tags of `{key}`"), &error))?;
        Ok(tagging.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    fn nonsense(&self, why: &str) -> SourceError {
        SourceError::Failed {
            what: format!("listing {}", self.place),
            why: why.to_owned(),
            hint: "something between here and the store answers for it, or the store is broken; nothing was committed"
                .to_owned(),
        }
    }

    fn failed<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        what: &str,
        error: &SdkError<E>,
    ) -> SourceError {
        let what = format!("{what} at {}", self.place);
        let code = error.code().unwrap_or_default();
        let said = error.message().filter(|message| !message.is_empty());
        let why = match (code, said) {
            ("", None) => root_cause(error),
            ("", Some(said)) => said.to_owned(),
            (code, None) => code.to_owned(),
            (code, Some(said)) => format!("{said} ({code})"),
        };
        let hint = |text: &str| text.to_owned();
        match (status(error), code) {
            (_, "NoSuchBucket") => {
                SourceError::Refused { what, why, hint: hint("check `bucket`, `endpoint` and `region`") }
            }
            (Some(301 | 302 | 307 | 308), _) => {
                let hint = hint("the bucket is in another region or at another endpoint; nothing is followed");
                SourceError::Refused { what, why: format!("the store redirects: {why}"), hint }
            }
            (Some(401 | 403), _) => {
                let hint = hint("check the keys, when they expire, and that they may list and read the bucket");
                SourceError::Refused { what, why, hint }
            }
            (Some(404), _) => SourceError::Refused { what, why, hint: hint("check `bucket`, `endpoint` and `region`") },
            _ => SourceError::Unreachable { what, why, hint: hint("run again; what was read is found again") },
        }
    }
}

/// The error that lies at the bottom: the ones above it say little more than that there was one.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(below) = at.source() {
        at = below;
    }
    at.to_string()
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "RequestTimeTooSkewed"
            | "InvalidToken"
            | "TokenRefreshRequired"
    )
}

/// `+` stands for a space there.
fn decoded(key: &str) -> Option<String> {
    String::from_utf8(percent_decoded(&key.replace('+', " "))?).ok()
}

async fn resolve(reference: &SecretRef, settings: &Settings) -> Result<Secret, SourceError> {
    reference.resolve().await.map_err(|error| SourceError::Refused {
        what: format!("keys for {}", settings.place()),
        why: error.to_string(),
        hint: String::new(),
    })
}
