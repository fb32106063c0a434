//! The configuration as it is written: one struct a table, unknown keys denied. The JSON Schema comes from here too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::SecretRef;
use super::value::{CronText, DurationText, PercentText, SizeText, TimeZoneText};
use crate::domain::TargetName;

/// A table that another room reads; here it only has to be a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign;

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor;
        impl<'de> Visitor<'de> for TableVisitor {
            type Value = Foreign;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Foreign, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Foreign)
            }
        }
        deserializer.deserialize_any(TableVisitor)
    }
}

impl JsonSchema for Foreign {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Foreign".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// `lifeboat.toml`: where backups go, who can read them, and what all jobs share. Jobs are `jobs/*.toml` beside it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLifeboat {
    /// Folder of the catalog, the chunk cache and this installation's keys; default by the platform's rules.
    pub(super) state: Option<PathBuf>,
    #[serde(default)]
    pub(super) keys: RawKeys,
    /// `[targets.NAME]`: places that each hold a full, independent copy.
    #[serde(default)]
    #[expect(clippy::zero_sized_map_values, reason = "only names are wanted: the tables are taken with their places")]
    pub(super) targets: BTreeMap<TargetKey, Foreign>,
    #[serde(default)]
    pub(super) scratch: RawScratch,
    /// `[notify.NAME]`: who hears of a result.
    #[serde(default)]
    #[expect(clippy::zero_sized_map_values, reason = "only names are wanted: the tables are taken with their places")]
    pub(super) notify: BTreeMap<String, Foreign>,
}

/// A target's name as the key of its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetKey(pub(super) TargetName);

impl<'de> Deserialize<'de> for TargetKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "each" {
            return Err(de::Error::custom("`each` is not a target name\nit means every target; choose another name"));
        }
        TargetName::new(text).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for TargetKey {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "TargetName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 100 })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeys {
    /// Who can restore: `age1...` and age's other kinds of recipients.
    #[serde(default)]
    pub(super) recipients: Vec<String>,
    /// To restore and to test; absent on a host that only writes.
    pub(super) identity: Option<SecretRef>,
    /// minisign public keys whose snapshots are trusted beside this installation's own.
    #[serde(default)]
    pub(super) trusted_writers: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScratch {
    /// Where scratch instances live; default: below the system's temporary folder.
    pub(super) directory: Option<PathBuf>,
    /// How scratch Postgres servers are started.
    #[expect(dead_code, reason = "the section is taken from the parsed file, with its place")]
    pub(super) postgres: Option<Foreign>,
    /// How scratch Redis and Valkey servers are started.
    #[expect(dead_code, reason = "the section is taken from the parsed file, with its place")]
    pub(super) redis: Option<Foreign>,
    /// As the objects' source describes it: a bucket for restore tests.
    #[expect(dead_code, reason = "the section is taken from the parsed file, with its place")]
    pub(super) objects: Option<Foreign>,
}

/// A job: one source, its schedule, targets, retention and restore tests. The file's name is the job's name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    /// The live system that is backed up.
    #[schemars(required)]
    pub(super) source: Option<Foreign>,
    pub(super) schedule: Option<RawSchedule>,
    #[serde(default)]
    pub(super) backup: RawBackup,
    #[serde(default)]
    pub(super) retention: RawRetention,
    pub(super) restore_test: Option<RawRestoreTest>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchedule {
    pub(super) cron: CronText,
    /// Default `UTC`.
    pub(super) timezone: Option<TimeZoneText>,
    /// Delays each start by a time up to this; stable per job, not random.
    pub(super) splay: Option<DurationText>,
    #[serde(default)]
    pub(super) catch_up: CatchUp,
    #[serde(default)]
    pub(super) overlap: Overlap,
}

/// What happens to starts that were missed.
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CatchUp {
    /// One run for all of them.
    #[default]
    Once,
    /// They are left out.
    Never,
}

/// What happens when a run is due while the one before is still under way.
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Overlap {
    /// The new run is left out, and that is recorded.
    #[default]
    Skip,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackup {
    /// Names of targets; default: all.
    pub(super) targets: Option<Vec<String>>,
    /// How many targets must hold the snapshot for the run to count; default: all of the job's.
    pub(super) quorum: Option<usize>,
    /// Parallel streams; default: the machine's cores, at most 4.
    pub(super) lanes: Option<usize>,
    /// zstd level, 1 to 19; default 2.
    pub(super) level: Option<i32>,
    #[serde(default)]
    pub(super) guard: RawGuard,
}

/// A backup that looks wrong is not committed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGuard {
    /// The least that a backup must read.
    pub(super) min_bytes: Option<SizeText>,
    /// How much smaller than the one before a backup may be.
    pub(super) max_shrink: Option<PercentText>,
}

/// How many snapshots are kept; the newest proven one always is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRetention {
    pub(super) last: u32,
    pub(super) hourly: u32,
    pub(super) daily: u32,
    pub(super) weekly: u32,
    pub(super) monthly: u32,
    pub(super) yearly: u32,
    /// Everything younger than this.
    pub(super) within: Option<DurationText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRestoreTest {
    pub(super) cron: Option<CronText>,
    #[serde(default)]
    pub(super) from: RawFrom,
    /// The longest that a restore may take.
    pub(super) rto: Option<DurationText>,
    /// The oldest that the newest snapshot may be.
    pub(super) rpo: Option<DurationText>,
    /// Of a huge source: how many things a test restores, drawn at random; 4603 show with 99 % confidence that fewer than 0.1 % are
    /// damaged. By default everything is restored.
    #[schemars(range(min = 1))]
    pub(super) sample: Option<u64>,
    /// Questions to the restored system.
    #[serde(default)]
    #[expect(dead_code, reason = "the sections are taken from the parsed file, with their places")]
    pub(super) check: Vec<Foreign>,
}

/// `"each"`, a target's name, or a list of names.
#[derive(Debug, Default)]
pub(super) struct RawFrom(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for RawFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromVisitor;
        impl<'de> Visitor<'de> for FromVisitor {
            type Value = RawFrom;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`\"each\"`, the name of a target, or a list of names")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawFrom, E> {
                Ok(RawFrom(if text == "each" { vec![] } else { vec![text.to_owned()] }))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<RawFrom, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = names.next_element::<String>()? {
                    all.push(name);
                }
                if all.is_empty() {
                    return Err(de::Error::custom("no target to restore from\nname one, or write `\"each\"`"));
                }
                Ok(RawFrom(all))
            }
        }
        deserializer.deserialize_any(FromVisitor)
    }
}

impl JsonSchema for RawFrom {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "From".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Targets to restore from: `\"each\"`, a name, or a list of names.",
            "anyOf": [{ "type": "string" }, { "type": "array", "minItems": 1, "items": { "type": "string" } }]
        })
    }
}
