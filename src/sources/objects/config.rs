//! The `[source]` table of a job of objects.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::elsewhere::{AzureConfig, FsConfig, GoogleConfig, SftpConfig, WebdavConfig, Where};
use crate::config::{ConfigError, DurationText, SecretRef, Section};
use crate::sources::tree::Patterns;
use crate::system::s3::{Bucket, STALL, bucket_identity};

/// What one job may ask of a store at once.
pub(super) const CONNECTIONS: usize = 16;
const CONNECTIONS_MAX: usize = 256;

/// `type = "objects"`: a bucket of an S3-compatible store, or another store by a table of its own.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the table")]
pub struct ObjectsConfig {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "objects"))]
    pub kind: String,
    /// Of an S3-compatible store. Another store has a table instead: `[source.gcs]`.
    #[serde(default)]
    pub bucket: String,
    /// `https://s3.eu-central-003.backblazeb2.com`; without one, Amazon's for the region.
    pub endpoint: Option<String>,
    /// `us-east-1` where the store has none.
    pub region: Option<String>,
    /// Only keys that begin so are backed up, under their whole names: `uploads/`.
    #[serde(default)]
    pub prefix: String,
    pub access_key_id: Option<TextOrSecret>,
    pub secret_access_key: Option<SecretRef>,
    pub session_token: Option<SecretRef>,
    /// `https://bucket.host/` instead of `https://host/bucket/`.
    #[serde(default)]
    pub virtual_host_style: bool,
    /// Only keys that fit: `*.jpg`, `media/2024/**`. By default all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Keys to leave out, also of those.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Ask for each object's tags, too: one more request for each that is read. A change of tags alone is noticed by a full read.
    #[serde(default)]
    pub tags: bool,
    /// All versions of every object, with what marks a removal, not current objects alone.
    #[serde(default)]
    pub versions: bool,
    /// Ask for each object's access list, too: one more request for each that is read. A change of it alone is noticed by a full read.
    #[serde(default)]
    pub access_lists: bool,
    /// How long the store may think before it answers, and how long a body may stand still: `60s`.
    pub stall: Option<DurationText>,
    /// Requests at once.
    pub connections: Option<usize>,
    /// Read every object in every run, also those whose size, tag and time have not changed.
    #[serde(default)]
    pub full_read: bool,
    pub gcs: Option<GoogleConfig>,
    pub azblob: Option<AzureConfig>,
    pub webdav: Option<WebdavConfig>,
    pub sftp: Option<SftpConfig>,
    pub fs: Option<FsConfig>,
}

/// An access key's id is no secret, but it usually lies beside one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a string, or a reference such as `{ env = \"S3_KEY_ID\" }`")]
pub enum TextOrSecret {
    Text(String),
    Secret(SecretRef),
}

/// The table, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) config: ObjectsConfig,
    pub(super) store: Where,
    pub(super) include: Patterns,
    pub(super) exclude: Patterns,
    pub(super) connections: usize,
    pub(super) idle: Duration,
}

impl ObjectsConfig {
    pub(super) fn settle(self, section: &Section) -> Result<Settings, ConfigError> {
        let patterns = |key: &str, texts: &[String]| {
            Patterns::new(texts).map_err(|why| section.error_at(key, why, "patterns are as in `*.jpg`"))
        };
        let (include, exclude) = (patterns("include", &self.include)?, patterns("exclude", &self.exclude)?);
        let store = Where::of(&self, section)?;
        if matches!(store, Where::S3) {
            self.check_s3(section)?;
        }
        let connections = self.connections.unwrap_or(CONNECTIONS);
        if !(1..=CONNECTIONS_MAX).contains(&connections) {
            let what = format!("`connections = {connections}` is not from 1 to {CONNECTIONS_MAX}");
            return Err(section.error_at("connections", what, "16 is enough for most stores"));
        }
        let idle = self.stall.as_ref().map_or(STALL, |span| span.0);
        if idle.is_zero() {
            return Err(section.error_at("stall", "`stall` is no time at all", "write `60s` or `5m`"));
        }
        Ok(Settings { config: self, store, include, exclude, connections, idle })
    }

    fn check_s3(&self, section: &Section) -> Result<(), ConfigError> {
        if self.bucket.is_empty() || self.bucket.contains('/') {
            let hint = "the bucket's name alone; what its keys begin with is `prefix`; another store is a table, as `[source.gcs]`";
            return Err(section.error_at("bucket", format!("`{}` is not the name of a bucket", self.bucket), hint));
        }
        if let Some(endpoint) = &self.endpoint
            && !(endpoint.starts_with("https://") || endpoint.starts_with("http://"))
        {
            let what = format!("`{endpoint}` is not an address of a store");
            return Err(section.error_at("endpoint", what, "as in `https://s3.example.com`"));
        }
        if self.endpoint.is_none() && self.region.is_none() {
            let what = "neither `endpoint` nor `region` says where the bucket is".to_owned();
            return Err(section.error_at(
                "bucket",
                what,
                "`region = \"eu-central-1\"` for Amazon, `endpoint` for others",
            ));
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            let what = "`access_key_id` and `secret_access_key` go together".to_owned();
            return Err(section.error_at("bucket", what, "name both, or none for a public bucket"));
        }
        Ok(())
    }
}

impl Settings {
    /// Of a bucket that objects were restored into.
    pub(super) fn of_scratch(bucket: Bucket, versions: bool) -> Self {
        let config = ObjectsConfig {
            kind: "objects".to_owned(),
            bucket: bucket.name,
            endpoint: None,
            region: None,
            prefix: bucket.prefix,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            virtual_host_style: false,
            include: vec![],
            exclude: vec![],
            tags: false,
            versions,
            access_lists: false,
            stall: None,
            connections: None,
            full_read: true,
            gcs: None,
            azblob: None,
            webdav: None,
            sftp: None,
            fs: None,
        };
        Self {
            config,
            store: Where::S3,
            include: Patterns::default(),
            exclude: Patterns::default(),
            connections: CONNECTIONS,
            idle: STALL,
        }
    }

    /// Which bucket it is, wherever it is reached.
    pub(super) fn identity(&self) -> String {
        if !matches!(self.store, Where::S3) {
            // No restore goes there.
            return self.place();
        }
        bucket_identity(self.config.endpoint.as_deref(), self.config.region.as_deref(), &self.config.bucket)
    }

    /// `s3://bucket/prefix`, for people.
    pub(super) fn place(&self) -> String {
        self.store.place(&self.config)
    }

    pub(super) fn wants(&self, key: &[u8]) -> bool {
        (self.include.is_empty() || self.include.fits(key)) && !self.exclude.fits(key)
    }
}
