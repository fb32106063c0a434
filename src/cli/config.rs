//! `lifeboat config show` and `config schema`: what they print, as text.

use super::args::SchemaFile;
use crate::config::{Config, RoomSchemas, SchemaOf, schema};

/// The resolved configuration, secrets hidden: TOML, or JSON on one line.
pub fn show(config: &Config, json: bool) -> String {
    if json { config.to_json().to_string() } else { config.show() }
}

/// A JSON Schema, indented.
pub fn schema_text(file: SchemaFile, rooms: &RoomSchemas) -> String {
    let of = match file {
        SchemaFile::Lifeboat => SchemaOf::Lifeboat,
        SchemaFile::Job => SchemaOf::Job,
    };
    format!("{:#}", schema(of, rooms))
}

/// What `config check` says of a configuration that is in order: a line for each warning, then the summary.
pub fn check_summary(config: &Config) -> String {
    let mut lines: Vec<String> = config.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    lines.push(format!(
        "{}: {} and {} are in order",
        config.file.display(),
        counted(config.targets.len(), "target"),
        counted(config.jobs.len(), "job")
    ));
    lines.join("\n")
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
