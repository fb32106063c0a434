//! A bucket at any S3-compatible provider, through opendal.
//!
//! Uploads: one PUT an object, from memory; after an error the whole object is sent again, and where the answer was lost the
//! store is asked first. Everything else retries inside opendal. What this target must never do: follow a redirect (a
//! hotel's login page answers every PUT with success), look for credentials that the configuration does not name, or
//! rely on `If-None-Match`. Memory: [`REQUESTS_MAX`] objects for `get`; `put` sends the caller's bytes.

mod failure;
mod settings;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use opendal::layers::{RetryEvent, RetryLayer, TimeoutLayer};
use opendal::{ErrorKind, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use tokio::sync::Semaphore;

pub use self::settings::{Checksum, Credentials, Provider, S3Settings};

use self::failure::{Translator, is_worth_another_try};
use super::registry::TargetKind;
use super::{Listed, Target, TargetError};
use crate::config::{ConfigError, Section};
use crate::domain::{ObjectKey, SealedObject, TargetName};

/// How many requests run at once; more wait.
const REQUESTS_MAX: usize = 8;
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection whose sent data nobody acknowledges for so long is dead.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_mins(1);
/// The slowest line that a transfer may have; 40 MiB then take 11 minutes.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// After a lost answer, objects up to this size are read back and compared; larger ones, whose names are their content,
/// by size.
const COMPARED_BYTES_MAX: u64 = 1 << 20;
/// A key cannot start with a dot, so that no listing shows it.
const PROBE: &str = ".lifeboat-probe";

/// `type = "s3"`.
pub(super) struct Kind;

#[async_trait]
impl TargetKind for Kind {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(settings::S3Section)
    }

    fn check(&self, section: &Section) -> Result<(), ConfigError> {
        settings::check(section)
    }

    async fn configure(
        &self,
        name: &TargetName,
        section: &Section,
        config_folder: &Path,
    ) -> Result<Box<dyn Target>, ConfigError> {
        let settings = settings::resolve(name, section, config_folder).await?;
        let target =
            S3Target::new(&settings).map_err(|error| ConfigError { rendered: format!("target `{name}`: {error}") })?;
        Ok(Box::new(target))
    }
}

/// How long one request is pursued.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How often it is tried, the first time included.
    pub tries: usize,
    /// Before the second try; it doubles from then on, up to [`RETRY_DELAY_MAX`].
    pub retry_delay: Duration,
    /// Without a single byte for so long, it has failed.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tries: 6, retry_delay: Duration::from_millis(200), idle: Duration::from_mins(1) }
    }
}

impl Limits {
    /// How long moving so many bytes may take.
    fn transfer(&self, bytes: u64) -> Duration {
        self.idle + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN)
    }
}

/// A repository's copy in a bucket.
pub struct S3Target {
    place: String,
    /// Retries inside.
    requests: Operator,
    /// Never retries inside: `put` does.
    uploads: Operator,
    permits: Semaphore,
    translator: Translator,
    limits: Limits,
}

impl S3Target {
    /// Connects to nothing yet.
    pub fn new(settings: &S3Settings) -> Result<Self, TargetError> {
        Self::with_limits(settings, Limits::default())
    }

    pub fn with_limits(settings: &S3Settings, limits: Limits) -> Result<Self, TargetError> {
        let place = match settings.prefix.as_str() {
            "" => format!("s3://{}", settings.bucket),
            prefix => format!("s3://{}/{prefix}", settings.bucket),
        };
        let broken = |why: String| TargetError::Other { place: place.clone(), what: "settings".to_owned(), why };
        let translator = Translator::new(&place, settings);
        let client = http_client(&settings.endpoint).map_err(|error| broken(error.to_string()))?;
        let transport = opendal::HttpTransporter::new(ReqwestTransport::new(client));
        let uploads = Operator::new(service(settings))
            .map_err(|error| broken(error.message().to_owned()))?
            .with_context(OperationContext::new().with_http_transport(transport));
        let requests =
            uploads.clone().layer(TimeoutLayer::new().with_timeout(limits.idle).with_io_timeout(limits.idle)).layer(
                RetryLayer::new()
                    .with_min_delay(limits.retry_delay)
                    .with_max_delay(RETRY_DELAY_MAX)
                    .with_max_times(limits.tries.saturating_sub(1))
                    .with_jitter()
                    .with_notify(|event: RetryEvent<'_>| {
                        tracing::debug!(operation = ?event.op, attempt = event.attempt, "an S3 request is tried again");
                    }),
            );
        Ok(Self { place, requests, uploads, permits: Semaphore::new(REQUESTS_MAX), translator, limits })
    }

    async fn permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.permits.acquire().await.expect("the semaphore is never closed")
    }

    /// Sends the object until the store has it whole, at most [`Limits::tries`] times.
    async fn upload(&self, path: &str, bytes: &Bytes) -> Result<(), TargetError> {
        let what = format!("writing `{path}`");
        let limit = self.limits.transfer(bytes.len() as u64);
        let mut delay = self.limits.retry_delay;
        let mut tries = 1;
        loop {
            let failure = match tokio::time::timeout(limit, self.uploads.write(path, bytes.clone())).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) if !is_worth_another_try(&error) => {
                    return Err(self.translator.translate(&what, None, &error));
                }
                Ok(Err(error)) => self.translator.translate(&what, None, &error),
                Err(_) => self.translator.timed_out(&what, limit.as_secs()),
            };
            tracing::debug!(place = %self.place, path, tries, %failure, "an upload failed");
            if tries >= self.limits.tries {
                return Err(failure);
            }
            // The answer may have been lost after the store had everything.
            if self.holds(path, bytes).await {
                return Ok(());
            }
            tokio::time::sleep(delay.mul_f64(1.0 + rand::random::<f64>() / 2.0)).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
            tries += 1;
        }
    }

    /// Whether the store shows exactly this object. Any doubt is a no: sending it again is harmless.
    async fn holds(&self, path: &str, bytes: &Bytes) -> bool {
        // One try: the loop around it is the retry.
        let look = async {
            let found = self.uploads.stat(path).await?;
            let size = bytes.len() as u64;
            if found.content_length() != size {
                return Ok(false);
            }
            Ok::<_, opendal::Error>(size > COMPARED_BYTES_MAX || self.uploads.read(path).await?.to_bytes() == *bytes)
        };
        matches!(tokio::time::timeout(self.limits.idle, look).await, Ok(Ok(true)))
    }

    async fn download(&self, key: &ObjectKey, size_max: u64) -> Result<Bytes, TargetError> {
        let failed =
            |error: opendal::Error| self.translator.translate(&format!("reading `{key}`"), Some(key.as_str()), &error);
        let oversized = || TargetError::Oversized { key: key.to_string(), place: self.place(), size_max };
        let reader = self.requests.reader(key.as_str()).await.map_err(failed)?;
        let mut stream = reader.into_stream(..).await.map_err(failed)?;
        let size = stream.metadata().await.map_err(failed)?.content_length();
        if size > size_max {
            return Err(oversized());
        }
        let mut bytes = BytesMut::with_capacity(usize::try_from(size).map_err(|_| oversized())?);
        while let Some(block) = stream.try_next().await.map_err(failed)? {
            if (bytes.len() + block.len()) as u64 > size_max {
                return Err(oversized());
            }
            block.into_iter().for_each(|piece| bytes.extend_from_slice(&piece));
        }
        Ok(bytes.freeze())
    }
}

#[async_trait]
impl Target for S3Target {
    fn place(&self) -> String {
        self.place.clone()
    }

    /// The bucket exists already: making one is its owner's decision (region, versions, lock).
    async fn initialise(&self) -> Result<(), TargetError> {
        self.list("lifeboat.json").await.map(drop)
    }

    async fn put(&self, object: &SealedObject) -> Result<(), TargetError> {
        let _permit = self.permit().await;
        self.upload(object.key().as_str(), object.bytes()).await
    }

    async fn get(&self, key: &ObjectKey, size_max: u64) -> Result<Bytes, TargetError> {
        let _permit = self.permit().await;
        // A line that trickles never idles: the whole transfer has a limit too.
        let limit = self.limits.transfer(size_max).saturating_mul(2);
        match tokio::time::timeout(limit, self.download(key, size_max)).await {
            Ok(result) => result,
            Err(_) => Err(self.translator.timed_out(&format!("reading `{key}`"), limit.as_secs())),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, TargetError> {
        let _permit = self.permit().await;
        let failed = |error: opendal::Error| self.translator.translate(&format!("listing `{prefix}`"), None, &error);
        let mut entries = self.requests.lister_with(prefix).recursive(true).await.map_err(failed)?;
        let mut found = vec![];
        while let Some(entry) = entries.try_next().await.map_err(failed)? {
            let metadata = entry.metadata();
            if metadata.is_file()
                && let Ok(key) = ObjectKey::new(entry.path())
            {
                let modified = metadata.last_modified().map(opendal::raw::Timestamp::into_inner);
                found.push(Listed { key, size: metadata.content_length(), modified });
            }
        }
        Ok(found)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), TargetError> {
        let _permit = self.permit().await;
        // One object a request: many stores refuse batches without a checksum that others do not know.
        let deleted = self.requests.delete(key.as_str()).await;
        deleted.map_err(|error| self.translator.translate(&format!("deleting `{key}`"), None, &error))
    }

    /// Where the credentials may not delete, one small object named `.lifeboat-probe` stays; every probe uses the same.
    async fn probe(&self) -> Result<(), TargetError> {
        self.list("lifeboat.json").await?;
        let _permit = self.permit().await;
        self.upload(PROBE, &Bytes::from_static(b"lifeboat probe")).await?;
        match self.requests.delete(PROBE).await {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => {
                Err(self.translator.translate("deleting a trial object", None, &error))
            }
            _ => Ok(()),
        }
    }
}

fn service(settings: &S3Settings) -> opendal::services::S3 {
    let mut service = opendal::services::S3::default()
        .endpoint(&settings.endpoint)
        .region(&settings.region)
        .bucket(&settings.bucket)
        .root(&settings.prefix);
    if settings.virtual_host_style {
        service = service.enable_virtual_host_style();
    }
    match settings.checksum {
        Checksum::None => {}
        Checksum::Crc32c => service = service.checksum_algorithm("crc32c"),
        Checksum::Md5 => service = service.checksum_algorithm("md5"),
    }
    let Credentials::Keys { access_key_id, secret_access_key, session_token } = &settings.credentials else {
        return service;
    };
    service = service
        .disable_config_load()
        .disable_ec2_metadata()
        .access_key_id(access_key_id.expose())
        .secret_access_key(secret_access_key.expose());
    match session_token {
        Some(token) => service.session_token(token.expose()),
        None => service,
    }
}

fn http_client(endpoint: &str) -> Result<reqwest::Client, reqwest::Error> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(UNACKNOWLEDGED_MAX)
        .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")));
    // The environment's proxy cannot reach a server on this machine.
    let client = if is_on_this_machine(endpoint) { client.no_proxy() } else { client };
    #[cfg(target_os = "linux")]
    let client = client.tcp_user_timeout(UNACKNOWLEDGED_MAX);
    client.build()
}

fn is_on_this_machine(endpoint: &str) -> bool {
    match url::Url::parse(endpoint).ok().as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_pack_passes_over_the_slowest_line() {
        let limits = Limits::default();
        assert!(limits.transfer(40 << 20) >= Duration::from_secs(640));
        assert!(limits.transfer(0) >= Duration::from_mins(1));
    }

    #[test]
    fn only_loopback_endpoints_pass_by_the_proxy() {
        for here in ["http://127.0.0.1:9000", "http://[::1]:3900", "https://localhost"] {
            assert!(is_on_this_machine(here), "{here}");
        }
        for elsewhere in ["https://s3.eu-west-1.amazonaws.com", "http://10.0.0.1", "https://localhost.example"] {
            assert!(!is_on_this_machine(elsewhere), "{elsewhere}");
        }
    }
}
