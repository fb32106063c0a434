//! `[scratch.postgres]`, as written and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{ConfigError, SecretRef, Section};
use crate::scratch::policy::{LOAD_TIMEOUT, Rules};

const MEMORY_BYTES: u64 = 1 << 30;

pub(super) const RULES: Rules =
    Rules { engine: "postgres", fixed: &FIXED, instead: None, marks: "_.", memory_mebibytes_min: 128 };

/// What would let the instance out of its folder, or us lose it.
const FIXED: [&str; 9] = [
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "unix_socket_group",
];

/// The table as a user writes it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPolicy {
    /// Server settings: `{ shared_preload_libraries = "timescaledb" }`.
    settings: BTreeMap<String, Value>,
    /// A server to use as scratch instead of a private one. It must hold no database of its own, or the database that the
    /// URL names must carry the comment `lifeboat scratch`: then all its other databases are dropped before each test.
    url: Option<String>,
    /// The password for `url`.
    password: Option<SecretRef>,
    /// How much memory the instance may use: `1GiB`.
    memory: Option<String>,
    /// How long an instance may live: `4h`.
    load_timeout: Option<String>,
    /// Folders that hold server programs (`initdb`, `postgres`) of further major versions.
    programs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Value {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

/// Within what bounds a Postgres scratch instance runs.
#[derive(Debug, Clone)]
pub struct PostgresScratchPolicy {
    /// Names are checked, values are free of control characters.
    pub settings: BTreeMap<String, String>,
    pub url: Option<String>,
    pub password: Option<SecretRef>,
    pub memory_bytes: u64,
    /// Whether the user set `memory`; then the system enforces it for each server process.
    pub memory_enforced: bool,
    pub load_timeout: Duration,
    pub programs: Vec<PathBuf>,
}

impl Default for PostgresScratchPolicy {
    fn default() -> Self {
        Self {
            settings: BTreeMap::new(),
            url: None,
            password: None,
            memory_bytes: MEMORY_BYTES,
            memory_enforced: false,
            load_timeout: LOAD_TIMEOUT,
            programs: vec![],
        }
    }
}

impl PostgresScratchPolicy {
    pub fn parse(section: &Section) -> Result<Self, ConfigError> {
        let raw: RawPolicy = section.parse()?;
        let text = |(name, value)| match value {
            Value::Bool(value) => (name, if value { "on" } else { "off" }.to_owned()),
            Value::Integer(value) => (name, value.to_string()),
            Value::Number(value) => (name, value.to_string()),
            Value::Text(value) => (name, value),
        };
        let policy = Self {
            settings: RULES.settings(raw.settings.into_iter().map(text))?,
            url: raw.url,
            password: raw.password,
            memory_enforced: raw.memory.is_some(),
            memory_bytes: raw.memory.map_or(Ok(MEMORY_BYTES), |text| RULES.memory(&text))?,
            load_timeout: raw.load_timeout.map_or(Ok(LOAD_TIMEOUT), |text| RULES.load_timeout(&text))?,
            programs: raw.programs,
        };
        if policy.password.is_some() && policy.url.is_none() {
            return Err(RULES.bad("`password` belongs to `url`, and there is none"));
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresScratchPolicy, ConfigError> {
        PostgresScratchPolicy::parse(&Section::from_text(text).unwrap())
    }

    #[test]
    fn settings_of_any_type_become_text_and_sizes_and_spans_are_read() {
        let policy = parse(
            "memory = \"2GiB\"\nload_timeout = \"90m\"\n\
             settings = { shared_preload_libraries = \"timescaledb\", jit = true, work_mem = 65536 }",
        )
        .unwrap();
        assert_eq!(policy.settings["jit"], "on");
        assert_eq!(policy.settings["work_mem"], "65536");
        assert_eq!((policy.memory_bytes, policy.load_timeout.as_secs()), (2 << 30, 5400));
    }

    #[test]
    fn what_would_open_the_instance_to_others_is_refused() {
        for (text, says) in [
            ("settings = { listen_addresses = \"*\" }", "stays in its own folder"),
            ("settings = { Port = 1 }", "stays in its own folder"),
            ("settings = { \"a = b\\n\" = 1 }", "not the name"),
            ("settings = { work_mem = \"1\\nlisten_addresses = '*'\" }", "control character"),
            ("memory = \"1 parsec\"", "not a size"),
            ("load_timeout = \"soon\"", "not a time span"),
            ("password = { env = \"P\" }", "belongs to `url`"),
            ("colour = \"red\"", "unknown key"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
