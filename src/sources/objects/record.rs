//! What a dump of objects says about itself in the recipe.

use serde::{Deserialize, Serialize};

use crate::domain::SourceRecord;
use crate::sources::SourceError;

/// The `details` of a [`SourceRecord`] of kind `objects`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ObjectsRecord {
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
    /// Whether tags were asked for.
    pub(super) tags: bool,
    /// Whether all versions were, and access lists.
    #[serde(default)]
    pub(super) versions: bool,
    #[serde(default)]
    pub(super) access_lists: bool,
    /// The store and the bucket, which a scratch bucket must not be.
    #[serde(default)]
    pub(super) identity: String,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl ObjectsRecord {
    pub(super) fn of(record: &SourceRecord) -> Result<Self, SourceError> {
        serde_json::from_value(record.details.clone()).map_err(|error| SourceError::Failed {
            what: "record of the snapshot".to_owned(),
            why: error.to_string(),
            hint: "it was written by another version; use that one to restore".to_owned(),
        })
    }
}
