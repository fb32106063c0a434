//! `[scratch.redis]`, as written and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{ConfigError, Section};
use crate::scratch::policy::{LOAD_TIMEOUT, Rules};

pub(super) const RULES: Rules = Rules {
    engine: "redis",
    fixed: &FIXED,
    instead: Some(("loadmodule", "name modules in `modules`")),
    marks: "-_.",
    memory_mebibytes_min: 64,
};

/// What would let the instance out of its folder, make it keep or lose data by itself, or us lose it.
const FIXED: [&str; 32] = [
    "aclfile",
    "always-show-logo",
    "appenddirname",
    "appendfilename",
    "appendonly",
    "bind",
    "cluster-enabled",
    "daemonize",
    "databases",
    "dbfilename",
    "dir",
    "enable-debug-command",
    "enable-module-command",
    "include",
    "loadmodule",
    "logfile",
    "maxmemory",
    "maxmemory-policy",
    "pidfile",
    "port",
    "protected-mode",
    "rename-command",
    "replicaof",
    "requirepass",
    "save",
    "slaveof",
    "supervised",
    "tls-port",
    "unixsocket",
    "unixsocketgroup",
    "unixsocketperm",
    "user",
];

/// The table as a user writes it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPolicy {
    /// Server settings: `{ proto-max-bulk-len = "2gb" }`.
    settings: BTreeMap<String, Value>,
    /// Module libraries that the server loads: `["/usr/lib/redis/modules/rejson.so"]`.
    modules: Vec<PathBuf>,
    /// How much memory the instance may use: `4GiB`.
    memory: Option<String>,
    /// How long an instance may live: `4h`.
    load_timeout: Option<String>,
    /// Folders that hold further servers (`redis-server`, `valkey-server`).
    programs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Value {
    Bool(bool),
    Integer(i64),
    Text(String),
}

/// Within what bounds a Redis scratch instance runs.
#[derive(Debug, Clone)]
pub struct RedisScratchPolicy {
    /// Names are checked, values are free of control characters.
    pub settings: BTreeMap<String, String>,
    pub modules: Vec<PathBuf>,
    /// The system enforces it; without it the free memory of the machine is the bound.
    pub memory_bytes: Option<u64>,
    pub load_timeout: Duration,
    pub programs: Vec<PathBuf>,
}

impl Default for RedisScratchPolicy {
    fn default() -> Self {
        Self {
            settings: BTreeMap::new(),
            modules: vec![],
            memory_bytes: None,
            load_timeout: LOAD_TIMEOUT,
            programs: vec![],
        }
    }
}

impl RedisScratchPolicy {
    pub fn parse(section: &Section) -> Result<Self, ConfigError> {
        let raw: RawPolicy = section.parse()?;
        let paths = |paths: Vec<PathBuf>| paths.iter().map(|path| section.resolve_path(path)).collect();
        let text = |(name, value)| match value {
            Value::Bool(value) => (name, if value { "yes" } else { "no" }.to_owned()),
            Value::Integer(value) => (name, value.to_string()),
            Value::Text(value) => (name, value),
        };
        Ok(Self {
            settings: RULES.settings(raw.settings.into_iter().map(text))?,
            modules: paths(raw.modules),
            memory_bytes: raw.memory.map(|text| RULES.memory(&text)).transpose()?,
            load_timeout: raw.load_timeout.map_or(Ok(LOAD_TIMEOUT), |text| RULES.load_timeout(&text))?,
            programs: paths(raw.programs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RedisScratchPolicy, ConfigError> {
        RedisScratchPolicy::parse(&Section::from_text(text).unwrap())
    }

    #[test]
    fn settings_sizes_spans_and_folders_are_read() {
        let policy = parse(
            "memory = \"2GiB\"\nload_timeout = \"90m\"\nprograms = [\"/opt/redis/bin\"]\nmodules = [\"/m/rejson.so\"]\n\
             settings = { lazyfree-lazy-expire = true, hz = 20, loglevel = \"verbose\" }",
        )
        .unwrap();
        assert_eq!((policy.settings["lazyfree-lazy-expire"].as_str(), policy.settings["hz"].as_str()), ("yes", "20"));
        assert_eq!((policy.memory_bytes, policy.load_timeout.as_secs()), (Some(2 << 30), 5400));
        assert_eq!((policy.programs.len(), policy.modules.len()), (1, 1));
    }

    #[test]
    fn what_would_open_the_instance_to_others_or_change_its_data_is_refused() {
        for (text, says) in [
            ("settings = { port = 6379 }", "stays in its own folder"),
            ("settings = { Bind = \"0.0.0.0\" }", "stays in its own folder"),
            ("settings = { replicaof = \"10.0.0.1 6379\" }", "stays in its own folder"),
            ("settings = { maxmemory-policy = \"allkeys-lru\" }", "stays in its own folder"),
            ("settings = { loadmodule = \"/x.so\" }", "name modules in `modules`"),
            ("settings = { \"hz 10\\nport\" = 1 }", "not the name"),
            ("settings = { hz = \"1\\nport 1\" }", "control character"),
            ("memory = \"1MiB\"", "not a size"),
            ("load_timeout = \"soon\"", "not a time span"),
            ("colour = \"red\"", "unknown key"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
