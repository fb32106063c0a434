//! The live system of a Redis job, or a scratch instance that is dumped as a record says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use super::config::{Settings, Wanted};
use super::dump::{self, Shard};
use super::nodes::{self, Node};
use super::reading::{Group, MODULE_VALUES, Plan};
use super::record::{DatabaseRecord, RedisRecord, ShardRecord};
use super::server::{self, Server};
use super::wire::ConnectOptions;
use super::{failure, preflight};
use crate::domain::record::{Instant, PartGroup};
use crate::domain::{Event, Gap, Names, PartSink, Place, SourceRecord};
use crate::sources::{Context, Preflight, Source, SourceError};

/// How long, after one server's dump found the sink poisoned, the others may take to say why.
const CAUSE_LIMIT: Duration = Duration::from_secs(2);

pub struct RedisSource {
    settings: Settings,
    /// Only what is compared: no RDB is kept.
    again: bool,
    /// Groups to repeat; empty means all.
    only: Vec<String>,
    /// Who asks what some keys are called.
    names: Option<Arc<Names>>,
    modules_apart: bool,
}

impl RedisSource {
    pub fn new(settings: Settings) -> Self {
        Self { settings, again: false, only: vec![], names: None, modules_apart: true }
    }

    /// Reads `place` as `record` was read: the same databases and keys, digests only.
    pub fn again(record: &SourceRecord, place: &Place, only: &[String]) -> Result<Self, SourceError> {
        let like = RedisRecord::of(record)?;
        let modules_apart = like.has_modules_apart(record);
        let options = ConnectOptions::parse(&place.url, place.password.clone())
            .map_err(|error| failure::wire("scratch instance", error))?;
        let wanted = Wanted { databases: like.only_databases, exclude_keys: like.excluded_keys };
        Ok(Self {
            settings: Settings { wanted, ..Settings::of(options) },
            again: true,
            only: only.to_vec(),
            names: None,
            modules_apart,
        })
    }

    /// Tells `names` what the keys are called.
    #[must_use]
    pub fn naming(self, names: Arc<Names>) -> Self {
        Self { names: Some(names), ..self }
    }

    /// The settings with the password read, and where the primary is.
    async fn settings(&self, context: &Context) -> Result<Settings, SourceError> {
        let mut settings = self.settings.clone();
        if let Some(reference) = &settings.password {
            let secret = reference.resolve().await.map_err(|error| SourceError::Refused {
                what: format!("password for {}", settings.options.place()),
                why: error.to_string(),
                hint: String::new(),
            })?;
            settings.options.password = Some(secret);
        }
        if let Some(sentinels) = &settings.sentinels {
            let told = |why: &str| {
                let message = format!("a primary of {} is waited for: {why}", sentinels.place());
                context.progress.event(Event::Warning { job: context.job.clone(), message });
            };
            settings.options =
                sentinels.primary(&settings.options, &context.cancel, settings.ready_timeout, told).await?;
        }
        Ok(settings)
    }

    /// Every server at once, as far as there are lanes; each is at a moment of its own anyway.
    async fn dump_all(
        &self,
        context: &Context,
        settings: &Settings,
        found: &[Node],
        sink: &Arc<dyn PartSink>,
    ) -> Result<Vec<Shard>, SourceError> {
        let mut dumps: Vec<BoxFuture<'_, Result<Shard, SourceError>>> = vec![];
        for node in found {
            context.progress.event(Event::Phase {
                job: context.job.clone(),
                phase: "dump".to_owned(),
                detail: node.note.clone().unwrap_or_else(|| node.options.place()),
            });
            let plan = Plan {
                sink: Arc::clone(sink),
                shard: node.shard.clone(),
                wanted: settings.wanted.clone(),
                keep_rdb: !self.again,
                only: self.only.clone(),
                names: self.names.clone(),
                modules_apart: self.modules_apart,
            };
            dumps.push(Box::pin(dump::shard(context, settings, node, plan)));
        }
        // In order, so that shards keep their numbers.
        let mut running = stream::iter(dumps).buffered(context.lanes.max(1));
        let mut shards = vec![];
        while let Some(shard) = running.next().await {
            match shard {
                Ok(shard) => shards.push(shard),
                // Another dump has poisoned the sink, and knows why.
                Err(error @ SourceError::Sink(_)) => {
                    let cause = async {
                        while let Some(other) = running.next().await {
                            match other {
                                Err(SourceError::Sink(_)) | Ok(_) => {}
                                Err(cause) => return cause,
                            }
                        }
                        error.clone()
                    };
                    return Err(tokio::time::timeout(CAUSE_LIMIT, cause).await.unwrap_or(error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(shards)
    }
}

#[async_trait]
impl Source for RedisSource {
    fn describe(&self) -> String {
        match &self.settings.sentinels {
            Some(sentinels) => format!("redis {}", sentinels.place()),
            None => format!("redis {}", self.settings.options.place()),
        }
    }

    async fn preflight(&self, context: &Context) -> Result<Preflight, SourceError> {
        let settings = self.settings(context).await?;
        let (server, connection) = server::inspect(&settings.options, &context.cancel).await?;
        preflight::look(context, &settings, &server, connection).await
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let settings = self.settings(context).await?;
        let (server, mut connection) = server::inspect(&settings.options, &context.cancel).await?;
        let prefer_replica = settings.prefer_replica && !self.again;
        let found = nodes::find(&server, &mut connection, &settings.options, prefer_replica, &context.cancel).await?;
        drop(connection);
        let shards = self.dump_all(context, &settings, &found, &sink).await?;
        if let Some(unknown) = shards.iter().find_map(|shard| shard.read.unknown.as_ref()).filter(|_| self.again) {
            // What the scratch server says of itself is beyond us, which says nothing about the backup.
            let reads = format!("a Lifeboat that reads what scratch sends: {unknown}").replace(',', "");
            return Err(SourceError::Lacks(vec![reads]));
        }
        record(&settings, &server, &found, &shards)
    }
}

/// A database over all shards.
#[derive(Default)]
struct Total {
    keys: u64,
    left_out: u64,
    /// Absent as soon as one shard does not state it.
    stated: Option<u64>,
}

fn record(settings: &Settings, server: &Server, found: &[Node], shards: &[Shard]) -> Result<SourceRecord, SourceError> {
    let (mut instants, mut gaps) = (vec![], preflight::gaps(settings));
    gaps.extend(preflight::per_shard(shards.len()));
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    let mut totals: BTreeMap<u64, Total> = BTreeMap::new();
    let mut modules: BTreeSet<String> = server.modules.iter().cloned().collect();
    let mut module_types = BTreeSet::new();
    let mut functions_differ = false;
    let mut shard_records = vec![];
    for (node, shard) in found.iter().zip(shards) {
        let read = &shard.read;
        let of = match &node.shard {
            Some(name) => format!("{name} at {}", node.options.place()),
            None => node.options.place(),
        };
        if shard.fuzzy {
            gaps.push(preflight::one_moment(&format!("{of} forbids replication")));
        }
        if let Some(unknown) = &read.unknown {
            let why = format!("{of} sent {unknown} so the data are stored as they came and cannot be compared");
            gaps.push(Gap { what: "proof of the data".to_owned(), why });
        }
        instants
            .push(Instant { of: if shard.fuzzy { format!("{of}, from then on") } else { of }, at: shard.at.clone() });
        for (name, group) in &read.groups {
            if name == "functions"
                && let Some(known) = groups.get(name.as_str())
            {
                // Each primary of a cluster holds the same libraries, and a restored server holds them once.
                functions_differ |= known.fingerprint != group.fingerprint;
                continue;
            }
            let total = groups.entry(name).or_default();
            total.fingerprint = total.fingerprint.combine(group.fingerprint);
            total.parts.extend(group.parts.iter().cloned());
            total.records += group.records;
        }
        for (number, database) in &read.databases {
            let total = totals.entry(*number).or_insert(Total { stated: Some(0), ..Total::default() });
            total.keys += database.keys;
            total.left_out += database.left_out;
            total.stated = total.stated.zip(database.stated).map(|(one, other)| one + other);
        }
        module_types.extend(read.modules.iter().cloned());
        modules.extend(read.modules.iter().cloned());
        shard_records.push(ShardRecord {
            rdb: read.rdb.clone(),
            bytes: read.bytes,
            rdb_version: read.version.number,
            valkey_format: read.version.valkey,
            checksum: format!("{:?}", read.checksum).to_lowercase(),
            replication_id: shard.position.as_ref().map(|position| position.replication_id.clone()),
            replication_offset: shard.position.as_ref().map(|position| position.offset),
            unread: read.unknown.clone(),
        });
    }
    let statement = |name: &str| shards.iter().find_map(|shard| shard.read.statements.get(name)).cloned();
    let from_rdb = || statement("valkey-ver").or_else(|| statement("redis-ver")).unwrap_or_default();
    let version = if server.version.is_empty() { from_rdb() } else { server.version.clone() };
    let keys: u64 = totals.values().map(|total| total.keys).sum();
    let summary = format!("{} {version} at {}, {keys} keys", server.product, settings.options.place());
    let databases = totals
        .iter()
        .map(|(number, total)| DatabaseRecord { number: *number, keys: total.keys, left_out: total.left_out })
        .collect();
    let details = RedisRecord {
        product: server.product.clone(),
        run_id: server.run_id.clone(),
        fuzzy: shards.iter().any(|shard| shard.fuzzy),
        shards: shard_records,
        databases,
        modules: modules.into_iter().collect(),
        module_types: module_types.into_iter().collect(),
        functions_differ,
        only_databases: settings.wanted.databases.clone(),
        excluded_keys: settings.wanted.exclude_keys.clone(),
        memory_bytes: server.number("used_memory_dataset").unwrap_or(0),
    };
    let details = serde_json::to_value(&details).map_err(|error| SourceError::Failed {
        what: "record of the dump".to_owned(),
        why: error.to_string(),
        hint: String::new(),
    })?;
    Ok(SourceRecord {
        kind: "redis".to_owned(),
        summary,
        version,
        instants,
        gaps,
        inventories: vec![],
        groups: part_groups(&groups, &totals),
        details,
    })
}

/// The groups with the engine's counts.
///
/// The engine counts the keys of a database at the moment of the RDB, not those of a type. Where its number is the sum of
/// ours, it stands for all of them; where it is not, the whole database becomes a group whose count is not ours, which every
/// comparison names.
fn part_groups(groups: &BTreeMap<&str, Group>, totals: &BTreeMap<u64, Total>) -> Vec<PartGroup> {
    let total_of = |name: &str| totals.get(&name.strip_prefix("db")?.split_once('/')?.0.parse().ok()?);
    let agrees = |total: &Total| total.stated == Some(total.keys + total.left_out);
    let mut all: Vec<PartGroup> = groups
        .iter()
        .map(|(name, group)| PartGroup {
            name: (*name).to_owned(),
            parts: group.parts.clone(),
            // Keys of modules are counted once.
            engine_count: total_of(name)
                .filter(|total| agrees(total) && !name.ends_with(MODULE_VALUES))
                .map(|_| group.records),
            compared: true,
        })
        .collect();
    if groups.is_empty() {
        return all;
    }
    for (number, total) in totals {
        let Some(stated) = total.stated.filter(|_| !agrees(total)) else { continue };
        let prefix = format!("db{number}/");
        let of_database = groups.iter().filter(|(name, _)| name.starts_with(&prefix) && !name.ends_with(MODULE_VALUES));
        all.push(PartGroup {
            name: format!("db{number}"),
            parts: of_database.flat_map(|(_, group)| group.parts.clone()).collect(),
            engine_count: Some(stated.saturating_sub(total.left_out)),
            compared: false,
        });
    }
    all
}
