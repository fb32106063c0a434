//! The kinds of targets. A new kind is one file or folder and one line here.

use std::path::Path;

use async_trait::async_trait;

use super::{Target, directory, s3};
use crate::config::{ConfigError, Section};
use crate::domain::TargetName;

/// What a kind of target can do without a target.
#[async_trait]
pub trait TargetKind: Send + Sync {
    /// As `type = "..."` in a `[targets.NAME]` table.
    fn name(&self) -> &'static str;
    /// The JSON Schema of the table.
    fn schema(&self) -> schemars::Schema;
    /// Checks the table as it is written. Reads no secret and touches nothing.
    fn check(&self, section: &Section) -> Result<(), ConfigError>;
    /// Checks the table, reads the secrets that it refers to, and makes a target of it. Touches no network.
    async fn configure(
        &self,
        name: &TargetName,
        section: &Section,
        config_folder: &Path,
    ) -> Result<Box<dyn Target>, ConfigError>;
}

/// Every kind, in the order that help shows them.
pub fn kinds() -> &'static [&'static dyn TargetKind] {
    &[&directory::Kind, &s3::Kind]
}

pub fn kind(name: &str) -> Option<&'static dyn TargetKind> {
    kinds().iter().copied().find(|kind| kind.name() == name)
}

/// Makes the target that a `[targets.NAME]` table describes. Relative paths in it start at `config_folder`.
pub async fn configure(
    name: &TargetName,
    section: &Section,
    config_folder: &Path,
) -> Result<Box<dyn Target>, ConfigError> {
    find(section)?.configure(name, section, config_folder).await
}

/// Checks a `[targets.NAME]` table as it is written.
pub fn check(section: &Section) -> Result<(), ConfigError> {
    find(section)?.check(section)
}

fn find(section: &Section) -> Result<&'static dyn TargetKind, ConfigError> {
    let known = || kinds().iter().map(|kind| format!("`{}`", kind.name())).collect::<Vec<_>>().join(", ");
    let Some(wanted) = section.text("type") else {
        return Err(ConfigError::new(format!("a target has no `type`; it is one of {}", known())));
    };
    kind(wanted).ok_or_else(|| {
        section.error_at("type", format!("there is no target type `{wanted}`"), format!("it is one of {}", known()))
    })
}

/// The JSON Schema of each kind's table, for editors.
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    kinds().iter().map(|kind| (kind.name(), kind.schema())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(text: &str) -> String {
        let section = Section::from_text(text).unwrap();
        let name = TargetName::new("nas").unwrap();
        configure(&name, &section, Path::new("/etc/lifeboat")).await.err().expect("it is refused").rendered
    }

    #[tokio::test]
    async fn a_relative_path_starts_at_the_configurations_folder() {
        let section = Section::from_text("type = \"directory\"\npath = \"copies/a\"").unwrap();
        let name = TargetName::new("nas").unwrap();
        let target = configure(&name, &section, Path::new("/etc/lifeboat")).await.unwrap();
        assert_eq!(target.place(), "directory /etc/lifeboat/copies/a");
    }

    #[tokio::test]
    async fn an_unknown_type_is_refused_with_the_known_ones() {
        let refused = refusal("type = \"ftp\"").await;
        assert!(refused.contains("there is no target type `ftp`"), "{refused}");
        assert!(refused.contains("it is one of `directory`, `s3`"), "{refused}");
        assert!(refusal("path = \"x\"").await.contains("has no `type`"));
    }

    #[tokio::test]
    async fn an_unknown_key_is_refused() {
        assert!(refusal("type = \"directory\"\npath = \"x\"\nsync = false").await.contains("sync"));
        assert!(refusal("type = \"s3\"\nbucket = \"b\"\nregoin = \"x\"").await.contains("regoin"));
    }

    #[test]
    fn every_kind_has_a_schema_that_names_its_type_and_allows_nothing_unknown() {
        for (name, schema) in schemas() {
            let schema = serde_json::to_value(&schema).unwrap();
            assert_eq!(schema["properties"]["type"]["const"], name);
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }
}
