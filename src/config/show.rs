//! The configuration as Lifeboat understood it, with every default filled in and every secret hidden.

use serde_json::{Map, Value, json};

use super::node::{self, Node, Table};
use super::redact::{REDACTED, is_secret_below, redact_text};
use super::value::duration_text;
use super::{Config, Job, SecretRef};

impl Config {
    /// The resolved configuration as TOML text. References to secrets are shown, secrets never are.
    pub fn show(&self) -> String {
        toml::to_string_pretty(&without_nulls(self.to_json()))
            .expect("a value without nulls whose keys are strings is always TOML")
    }

    /// The resolved configuration as JSON, redacted in the same way: absent settings are `null`.
    pub fn to_json(&self) -> Value {
        let sections = |sections: Vec<(String, Value)>| Value::Object(sections.into_iter().collect());
        json!({
            "file": self.file.display().to_string(),
            "state": self.state.display().to_string(),
            "keys": {
                "recipients": self.keys.recipients,
                "identity": self.keys.identity.as_ref().map(reference),
                "trusted_writers": self.keys.trusted_writers,
            },
            "targets": sections(self.targets.iter().map(|(name, section)| (name.to_string(), section.shown())).collect()),
            "scratch": {
                "directory": self.scratch.directory.as_ref().map(|path| path.display().to_string()),
                "engines": sections(self.scratch.engines.iter().map(|(name, section)| (name.clone(), section.shown())).collect()),
            },
            "notify": sections(self.notify.iter().map(|(name, section)| (name.clone(), section.shown())).collect()),
            "jobs": sections(self.jobs.iter().map(|job| (job.name.to_string(), job_json(job))).collect()),
        })
    }
}

fn job_json(job: &Job) -> Value {
    let retention = &job.retention;
    json!({
        "file": job.file.display().to_string(),
        "source": job.source.shown(),
        "schedule": job.schedule.as_ref().map(|schedule| json!({
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "splay": duration_text(schedule.splay),
            "catch_up": schedule.catch_up,
            "overlap": schedule.overlap,
        })),
        "backup": {
            "targets": job.backup.targets,
            "quorum": job.backup.quorum,
            "lanes": job.backup.lanes,
            "level": job.backup.level,
            "guard": {
                "min_bytes": job.backup.guard.min_bytes.map(|bytes| format!("{bytes}B")),
                "max_shrink": job.backup.guard.max_shrink.map(|fraction| format!("{}%", (fraction * 1e4).round() / 1e2)),
            },
        },
        "retention": {
            "last": retention.last,
            "hourly": retention.hourly,
            "daily": retention.daily,
            "weekly": retention.weekly,
            "monthly": retention.monthly,
            "yearly": retention.yearly,
            "within": retention.within.map(duration_text),
        },
        "restore_test": job.restore_test.as_ref().map(|test| json!({
            "cron": test.cron,
            "from": if test.from.is_empty() { json!("each") } else { json!(test.from) },
            "rto": test.rto.map(duration_text),
            "rpo": test.rpo.map(duration_text),
            "sample": test.sample,
            "check": test.checks.iter().map(super::Section::shown).collect::<Vec<_>>(),
        })),
    })
}

fn reference(secret: &SecretRef) -> Value {
    match secret {
        SecretRef::File(path) => json!({ "file": path.display().to_string() }),
        SecretRef::Env(name) => json!({ "env": name }),
        SecretRef::Command(words) => json!({ "command": words }),
        SecretRef::Credential(name) => json!({ "credential": name }),
    }
}

/// A table as JSON, with secrets redacted.
pub(super) fn table_as_json(table: &Table) -> Value {
    table_json(table, false)
}

fn table_json(table: &Table, secret: bool) -> Value {
    let entries =
        table.iter().map(|entry| (entry.key.clone(), node_json(&entry.node, is_secret_below(&entry.key, secret))));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn node_json(node: &Node, secret: bool) -> Value {
    match &node.value {
        node::Value::Table(table) => table_json(table, secret),
        node::Value::List(items) => items.iter().map(|item| node_json(item, secret)).collect(),
        _ if secret => json!(REDACTED),
        node::Value::Text(text) => json!(redact_text(text)),
        node::Value::Flag(flag) => json!(flag),
        node::Value::Integer(number) => json!(number),
        node::Value::Float(number) => json!(number),
    }
}

/// TOML knows no null: an absent setting is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => items.into_iter().filter(|item| !item.is_null()).map(without_nulls).collect(),
        other => other,
    }
}
