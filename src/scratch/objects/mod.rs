//! A prefix of a scratch bucket that the user named, or a private folder where none is.
//!
//! A bucket shows what a folder cannot: that content types, metadata, tags and versions come back through a store. Each lease has a
//! prefix of its own, with the time in it. It is emptied on release; what a killed run left is emptied three days later by the next lease. What
//! this file must never do: remove anything outside its own prefixes, or lease the bucket that is backed up.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use schemars::JsonSchema;
use serde::Deserialize;

use super::files::folder_lease;
use super::{Lease, LeaseRequest, ScratchError, ScratchKind, unless_cancelled};
use crate::config::{ConfigError, SecretRef, Section};
use crate::domain::{Place, ScratchNeeds, Secret};
use crate::system::clock;
use crate::system::s3::{Bucket, Connection, Keys, STALL, bucket_identity};

/// The registered engine.
#[derive(Debug, Clone, Copy)]
pub struct ObjectsScratch;

const ENGINE: &str = "objects";
/// What every prefix of a lease begins with; the second of its making follows.
const PREFIX: &str = "lifeboat-scratch-";
/// Leases that are older were left by a killed run.
const LEFT_AFTER: Duration = Duration::from_hours(72);
const WHAT: &str = "the bucket of `[scratch.objects]`";

/// `[scratch.objects]`: a bucket for restore tests of objects. Without it they are restored into a private folder.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectsTable {
    /// Not the bucket that is backed up.
    bucket: String,
    /// `https://s3.eu-central-003.backblazeb2.com`; without one, Amazon's for the region.
    endpoint: Option<String>,
    region: Option<String>,
    /// Everything is written below it: `tests/`.
    #[serde(default)]
    prefix: String,
    access_key_id: String,
    secret_access_key: SecretRef,
    session_token: Option<SecretRef>,
    /// `https://bucket.host/` instead of `https://host/bucket/`.
    #[serde(default)]
    virtual_host_style: bool,
}

impl ObjectsTable {
    fn of(section: &Section) -> Result<Self, ConfigError> {
        let table: Self = section.parse()?;
        if table.bucket.is_empty() || table.bucket.contains('/') {
            let why = format!("`{}` is not the name of a bucket", table.bucket);
            return Err(section.error_at("bucket", why, "the name alone; what keys begin with is `prefix`"));
        }
        if table.endpoint.is_none() && table.region.is_none() {
            let why = "neither `endpoint` nor `region` says where the bucket is";
            return Err(section.error_at(
                "bucket",
                why,
                "`region = \"eu-central-1\"` for Amazon, `endpoint` for others",
            ));
        }
        Ok(table)
    }

    async fn connection(&self) -> Result<Connection, ScratchError> {
        let secret = |reference: SecretRef| async move {
            reference.resolve().await.map_err(|error| ScratchError::failed("keys of `[scratch.objects]`", error))
        };
        let token: Option<Secret> = match self.session_token.clone() {
            Some(token) => Some(secret(token).await?),
            None => None,
        };
        let keys =
            Keys { id: self.access_key_id.clone(), secret: secret(self.secret_access_key.clone()).await?, token };
        Ok(Connection {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            virtual_host_style: self.virtual_host_style,
            keys: Some(keys),
            stall: STALL,
        })
    }
}

#[async_trait]
impl ScratchKind for ObjectsScratch {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn check(&self, section: &Section) -> Result<(), ConfigError> {
        ObjectsTable::of(section).map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(ObjectsTable)
    }

    async fn lease(
        &self,
        section: Option<&Section>,
        needs: &ScratchNeeds,
        request: &LeaseRequest,
    ) -> Result<Box<dyn Lease>, ScratchError> {
        let Some(section) = section else { return Ok(Box::new(folder_lease(ENGINE, needs, request)?)) };
        let table = ObjectsTable::of(section).map_err(|error| ScratchError::failed("`[scratch.objects]`", error))?;
        let identity = bucket_identity(table.endpoint.as_deref(), table.region.as_deref(), &table.bucket);
        if request.never.contains(&identity) {
            return Err(ScratchError::failed(WHAT, "it is the bucket that is backed up; name another one"));
        }
        unless_cancelled(request, lease(table)).await
    }
}

async fn lease(table: ObjectsTable) -> Result<BucketLease, ScratchError> {
    let connection = table.connection().await?;
    let client = connection.client();
    let base = match table.prefix.as_str() {
        "" => String::new(),
        prefix => format!("{}/", prefix.trim_end_matches('/')),
    };
    remove_leftovers(&client, &table.bucket, &base).await?;
    let mut random = String::new();
    for byte in rand::random::<[u8; 8]>() {
        write!(random, "{byte:02x}").expect("a String takes every write");
    }
    let prefix = format!("{base}{PREFIX}{}-{random}/", clock::now().as_second());
    let facts = vec![format!("prefix `{prefix}` of bucket `{}`", table.bucket)];
    Ok(BucketLease { connection, client, bucket: Bucket { name: table.bucket, prefix }, facts })
}

/// Empties prefixes of leases that nobody holds any more.
async fn remove_leftovers(client: &Client, bucket: &str, base: &str) -> Result<(), ScratchError> {
    let mut pages = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(format!("{base}{PREFIX}"))
        .delimiter("/")
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| failed(&error))?;
        for prefix in page.common_prefixes().iter().filter_map(|found| found.prefix()) {
            let made =
                prefix[base.len() + PREFIX.len()..].split('-').next().and_then(|second| second.parse::<i64>().ok());
            let old = made.is_some_and(|made| {
                clock::now().as_second().saturating_sub(made).unsigned_abs() > LEFT_AFTER.as_secs()
            });
            if old {
                empty(client, bucket, prefix).await?;
            }
        }
    }
    Ok(())
}

/// Removes every version of everything below a prefix. Memory: a page.
async fn empty(client: &Client, bucket: &str, prefix: &str) -> Result<(), ScratchError> {
    loop {
        let page = client.list_object_versions().bucket(bucket).prefix(prefix).send().await;
        // A store that knows no versions lists what there is otherwise.
        let found: Vec<(String, Option<String>)> = match page {
            Ok(page) => {
                let versions = page.versions().iter().map(|found| (found.key(), found.version_id()));
                let markers = page.delete_markers().iter().map(|found| (found.key(), found.version_id()));
                let all = versions.chain(markers);
                all.filter_map(|(key, id)| Some((key?.to_owned(), id.map(str::to_owned)))).collect()
            }
            Err(error) if error.code() == Some("NotImplemented") => {
                let page = client.list_objects_v2().bucket(bucket).prefix(prefix).send().await;
                let page = page.map_err(|error| failed(&error))?;
                page.contents().iter().filter_map(|found| Some((found.key()?.to_owned(), None))).collect()
            }
            Err(error) => return Err(failed(&error)),
        };
        if found.is_empty() {
            return Ok(());
        }
        // One by one: some stores refuse batches.
        let mut removals = tokio::task::JoinSet::new();
        for (key, version) in found {
            if !key.starts_with(prefix) {
                return Err(ScratchError::failed(
                    WHAT,
                    format!("`{key}` is listed below `{prefix}`; nothing more is removed"),
                ));
            }
            let asked = client.delete_object().bucket(bucket).key(key).set_version_id(version);
            removals.spawn(async move { asked.send().await.map(drop).map_err(|error| failed(&error)) });
            if removals.len() >= 16
                && let Some(done) = removals.join_next().await
            {
                done.map_err(|error| ScratchError::failed(WHAT, error))??;
            }
        }
        while let Some(done) = removals.join_next().await {
            done.map_err(|error| ScratchError::failed(WHAT, error))??;
        }
    }
}

fn failed<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> ScratchError {
    let why = match (error.message(), error.code()) {
        (Some(said), Some(code)) => format!("{said} ({code})"),
        (None, Some(code)) => code.to_owned(),
        _ => DisplayErrorContext(error).to_string(),
    };
    ScratchError::failed(WHAT, why)
}

struct BucketLease {
    connection: Connection,
    client: Client,
    bucket: Bucket,
    facts: Vec<String>,
}

#[async_trait]
impl Lease for BucketLease {
    fn place(&self, _database: &str) -> Place {
        self.connection.place(&self.bucket)
    }

    fn programs(&self) -> Vec<std::path::PathBuf> {
        vec![]
    }

    fn facts(&self) -> &[String] {
        &self.facts
    }

    async fn expired(&self) {
        std::future::pending::<()>().await;
    }

    async fn release(self: Box<Self>) -> Result<(), ScratchError> {
        empty(&self.client, &self.bucket.name, &self.bucket.prefix).await
    }

    async fn keep(self: Box<Self>) -> Result<String, ScratchError> {
        Ok(format!(
            "s3://{}/{} (remove what is below it; a test does so after three days)",
            self.bucket.name, self.bucket.prefix
        ))
    }
}
