//! What a dump of repositories says about itself in the recipe.

use serde::{Deserialize, Serialize};

use crate::domain::SourceRecord;
use crate::sources::SourceError;

/// The `details` of a [`SourceRecord`] of kind `git`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GitRecord {
    pub(super) repositories: Vec<RepositoryRecord>,
    /// Of bundles and large objects.
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RepositoryRecord {
    pub(super) name: String,
    /// Where it was fetched from.
    pub(super) url: String,
    /// Nobody said where `HEAD` points to, so that it is not compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) headless: bool,
}

impl GitRecord {
    pub(super) fn of(record: &SourceRecord) -> Result<Self, SourceError> {
        serde_json::from_value(record.details.clone()).map_err(|error| SourceError::Failed {
            what: "record of the snapshot".to_owned(),
            why: error.to_string(),
            hint: "it was written by another version; use that one to restore".to_owned(),
        })
    }
}

/// Whether it can be a folder's name with `.git` behind, and a name in a list: parts between `/`, none of which leads elsewhere.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.rsplit('.').next().is_none_or(|end| !end.eq_ignore_ascii_case("git"))
                && !part.contains([':', '\\'])
                && !part.chars().any(char::is_control)
        })
}
