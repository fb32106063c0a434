//! Redis and Valkey: one point in time, over the wire.
//!
//! A dump is what a replica would be sent ([`replica`]), read as it streams by ([`rdb`]) and stored as it is, so that a stock server
//! loads it. What this room must never do: write to the live server, take a transfer for whole whose end was not seen, or hold a
//! value. Memory of one server's dump: [`spool`]'s buffers, [`reading`]'s bound and the blocks of two lanes.

pub mod config;
mod dump;
mod failure;
mod filter;
mod fuzzy;
mod guide;
mod load;
mod nodes;
pub mod pattern;
mod preflight;
pub mod rdb;
mod reading;
pub mod record;
pub mod replica;
mod sentinel;
mod server;
mod source;
mod spool;
mod stored;
pub mod wire;

use std::sync::Arc;

use async_trait::async_trait;

pub use config::RedisConfig;
pub use record::RedisRecord;
pub use source::RedisSource;

use super::{Context, LoadReport, LoadRequest, Look, Source, SourceError, SourceKind};
use crate::config::{ConfigError, Section};
use crate::domain::{Names, PartName, PartStore, Place, ScratchNeeds, SourceRecord};

/// The registered kind.
#[derive(Debug, Clone, Copy)]
pub struct Redis;

#[async_trait]
impl SourceKind for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn configure(&self, section: &Section) -> Result<Box<dyn Source>, ConfigError> {
        Ok(Box::new(RedisSource::new(section.parse::<RedisConfig>()?.settle(section)?)))
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(RedisConfig)
    }

    async fn load(
        &self,
        context: &Context,
        record: &SourceRecord,
        store: Arc<dyn PartStore>,
        request: &LoadRequest,
    ) -> Result<LoadReport, SourceError> {
        load::load(context, record, store, request).await
    }

    fn holding(&self, record: &SourceRecord, name: &str) -> Option<Vec<PartName>> {
        load::holding(record, name)
    }

    fn file_name(&self, part: &PartName) -> Option<String> {
        // What a server looks for in its folder.
        Some(format!("{}dump.rdb", part.as_str().strip_suffix("rdb")?))
    }

    fn again(&self, record: &SourceRecord, place: &Place, only: &[String]) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(RedisSource::again(record, place, only)?))
    }

    fn look_again(
        &self,
        record: &SourceRecord,
        side: Look,
        only: &[String],
        names: Arc<Names>,
    ) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(Some(match side {
            Look::Stored(store) => {
                Box::new(stored::StoredRdb { record: record.clone(), store, only: only.to_vec(), names })
            }
            Look::Restored(place) => Box::new(RedisSource::again(record, &place, only)?.naming(names)),
        }))
    }

    /// What a module saves after it has loaded a value need not be the bytes that it loaded: some write another order, or a graph in
    /// other pieces. Whether the key is there, with its type and its expiry, is compared apart.
    fn shows_nothing(&self, record: &SourceRecord, group: &str) -> Option<String> {
        if !(group.ends_with(reading::MODULE_VALUES) || group == reading::MODULE_DATA) {
            return None;
        }
        let types = RedisRecord::of(record).ok()?;
        let types = types.opaque_types().collect::<Vec<_>>().join("`, `");
        Some(format!(
            "values of `{types}` are compared as their module saved them, and it may save what it has loaded in another way"
        ))
    }

    fn needs(&self, record: &SourceRecord) -> ScratchNeeds {
        let details = RedisRecord::of(record).unwrap_or_default();
        let major = record.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        ScratchNeeds {
            engine: "redis".to_owned(),
            major,
            data_version: details.shards.iter().map(|shard| shard.rdb_version).max().unwrap_or(0),
            databases: details.databases.iter().map(|database| database.number + 1).max().unwrap_or(0),
            modules: details.needed_modules(),
            source_identity: details.run_id,
            bytes: details.memory_bytes.max(details.shards.iter().map(|shard| shard.bytes).sum()),
            ..ScratchNeeds::default()
        }
    }

    fn loading_guide(&self, record: &SourceRecord, files: &[(PartName, String)]) -> String {
        guide::loading_guide(record, files)
    }
}
