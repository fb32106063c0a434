//! What a Redis dump says about itself in the recipe, for its loader and for dumping a scratch instance the same way.

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::reading::MODULE_VALUES;
use crate::domain::record::PartGroup;
use crate::domain::{PartName, SourceRecord};
use crate::sources::SourceError;

/// What every Redis since 8.0 has, as a module and as the type that it brings.
pub const VECTOR_SETS: &str = "vectorset";

/// The `details` of a [`SourceRecord`] of kind `redis`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RedisRecord {
    /// `redis` or `valkey`.
    pub product: String,
    /// Names the live server itself; empty where it was not told.
    pub run_id: String,
    /// True where keys were read one by one: the snapshot is of no single moment.
    pub fuzzy: bool,
    /// One for each server that was read; in a cluster each is of its own moment.
    pub shards: Vec<ShardRecord>,
    pub databases: Vec<DatabaseRecord>,
    pub modules: Vec<String>,
    /// Types of modules whose data are in it, as modules register them.
    #[serde(default)]
    pub module_types: Vec<String>,
    /// Shards hold different libraries of functions, which no single server can.
    #[serde(default)]
    pub functions_differ: bool,
    /// `None`: all.
    pub only_databases: Option<Vec<u64>>,
    pub excluded_keys: Vec<Pattern>,
    /// `used_memory_dataset`, bytes.
    pub memory_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The RDB; absent where a recorded dump was only repeated for comparison.
    pub rdb: Option<PartName>,
    pub bytes: u64,
    /// `10`; of Valkey from 80 on.
    pub rdb_version: u32,
    /// The header says `VALKEY` and not `REDIS`.
    pub valkey_format: bool,
    /// What the sum at its end says: `matches`, `off`, `absent`, or `unsure` where it was not read to its end.
    pub checksum: String,
    /// Where in the primary's history it is; absent from a server that did not say.
    pub replication_id: Option<String>,
    pub replication_offset: Option<u64>,
    /// Why there are no fingerprints: what in the RDB was not understood.
    pub unread: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    pub number: u64,
    pub keys: u64,
    /// Keys that the job leaves out.
    pub left_out: u64,
}

impl RedisRecord {
    /// The modules without which a server refuses the data: all that the live server had, where there are data of any of them,
    /// because types do not tell which module brings them. A module without data is not needed.
    pub fn needed_modules(&self) -> Vec<String> {
        if self.module_types.is_empty() {
            return vec![];
        }
        let brings = |name: &&String| !self.module_types.contains(name) || *name == VECTOR_SETS;
        let named = self.modules.iter().filter(brings);
        named.cloned().collect()
    }

    /// Types whose values nobody but their module understands.
    pub fn opaque_types(&self) -> impl Iterator<Item = &str> {
        self.module_types.iter().map(String::as_str).filter(|name| *name != VECTOR_SETS)
    }

    /// Whether keys of such types are in groups of their own. Older dumps have them among all of modules.
    pub(super) fn has_modules_apart(&self, record: &SourceRecord) -> bool {
        let is_apart = |group: &PartGroup| group.name.ends_with(MODULE_VALUES);
        self.opaque_types().next().is_none() || record.groups.iter().any(is_apart)
    }

    /// Reads the details of a record that this source wrote.
    pub fn of(record: &SourceRecord) -> Result<Self, SourceError> {
        serde_json::from_value(record.details.clone()).map_err(|error| SourceError::Failed {
            what: "record of the snapshot".to_owned(),
            why: error.to_string(),
            hint: "it was written by another version; use that one to restore".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_of_before_keeps_its_groups_of_modules() {
        let record = |types: &[&str], groups: &[&str]| -> bool {
            let group =
                |name: &&str| serde_json::json!({ "name": name, "parts": [], "engine_count": null, "compared": true });
            let details =
                RedisRecord { module_types: types.iter().map(ToString::to_string).collect(), ..RedisRecord::default() };
            let record: SourceRecord = serde_json::from_value(serde_json::json!({
                "kind": "redis", "summary": "", "version": "8.6.2", "instants": [], "gaps": [], "inventories": [],
                "groups": groups.iter().map(group).collect::<Vec<_>>(), "details": details,
            }))
            .unwrap();
            RedisRecord::of(&record).unwrap().has_modules_apart(&record)
        };
        assert!(record(&[], &["db0/string"]));
        assert!(record(&["vectorset"], &["db0/module"]));
        assert!(!record(&["graphdata", "vectorset"], &["db0/module"]));
        assert!(record(&["graphdata"], &["db0/module-keys", "db0/module-values"]));
    }
}
