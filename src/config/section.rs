//! A table of a configuration file that another room parses.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::ConfigError;
use super::diagnostic::{Diagnostic, SourceFile, into_error};
use super::document::{Document, read};
use super::node::{Node, Table, Value};

/// One table with its place in its file, so that an error in it is shown with line and caret.
///
/// `${VAR}` has been replaced and the files of secret references are absolute already; other relative paths start at
/// [`base`](Self::base).
#[derive(Debug, Clone)]
pub struct Section {
    file: Arc<SourceFile>,
    /// Of its header; `None` for a section made in memory.
    place: Option<Range<usize>>,
    table: Table,
}

impl Section {
    /// A table of `file`; `None` when the node is something else.
    pub(super) fn of(file: &Arc<SourceFile>, node: &Node) -> Option<Self> {
        match &node.value {
            Value::Table(table) => {
                Some(Self { file: file.clone(), place: Some(node.span.clone()), table: table.clone() })
            }
            _ => None,
        }
    }

    /// For tests and for configuration made in memory (the demo).
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let (document, findings) = Document::parse("configuration".to_owned(), Path::new(""), text.to_owned());
        if findings.is_empty() {
            Ok(Self { file: document.file, place: None, table: document.table })
        } else {
            Err(into_error(&findings))
        }
    }

    /// Reads the table into a type that denies unknown fields. The error shows every mistake in it.
    ///
    /// A value type of a room may put a hint beside the caret: the text of its `serde::de::Error::custom` is the headline up
    /// to a newline, and the hint after it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        match read(&self.file, &self.table, self.place.as_ref()) {
            (Some(value), findings) if findings.is_empty() => Ok(value),
            (_, findings) => Err(into_error(&findings)),
        }
    }

    /// A string under `key`, if there is one: `type`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.table.get(key)?.as_text()
    }

    /// Whether there is anything under `key`.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Where relative paths start: the folder of `lifeboat.toml`; empty for a section made in memory.
    pub fn base(&self) -> &Path {
        &self.file.base
    }

    /// `path` as the configuration means it.
    pub fn resolve_path(&self, path: &Path) -> PathBuf {
        self.file.base.join(path)
    }

    /// An error with its caret at the value of `key`, or at the table's header where there is no such key.
    ///
    /// For what a type cannot say: two keys that exclude each other, a URL without a host.
    pub fn error_at(&self, key: &str, headline: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        into_error(&[self.finding_at(&[key], headline, hint)])
    }

    pub(super) fn finding_at(&self, path: &[&str], headline: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
        let span = self.table.locate(path).map(|node| node.span.clone()).or_else(|| self.place.clone());
        Diagnostic::new(&self.file, span, headline, hint)
    }

    /// As JSON, with secrets redacted.
    pub(super) fn shown(&self) -> serde_json::Value {
        super::show::table_as_json(&self.table)
    }
}

#[cfg(test)]
mod tests;
