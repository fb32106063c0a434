//! A table of a configuration file that another room parses.

use serde::de::DeserializeOwned;

use super::ConfigError;

/// One table with its place in its file, so that an error in it is shown with line and caret.
#[derive(Debug, Clone)]
pub struct Section {
    table: toml_edit::Table,
}

impl Section {
    /// For tests and for configuration made in memory (the demo).
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        let document: toml_edit::DocumentMut =
            text.parse().map_err(|error| ConfigError { rendered: format!("{error}") })?;
        Ok(Self { table: document.as_table().clone() })
    }

    /// Reads the table into a type that denies unknown fields.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml_edit::de::from_document(toml_edit::DocumentMut::from(self.table.clone()))
            .map_err(|error| ConfigError { rendered: error.to_string() })
    }

    /// A string under `key`, if there is one: `type`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.table.get(key)?.as_str()
    }
}
