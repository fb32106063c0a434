//! What an object has beside its content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// In a list as JSON: what a restore gives back and a restore test compares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) website_redirect_location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storage_class: Option<String>,
    /// The user's own, by lower-case name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    /// Who may do what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<AccessList>,
}

/// A store's access list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccessList {
    /// The store's name for whom the object belongs to.
    pub(super) owner: String,
    /// In order, each once.
    pub(super) grants: Vec<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Grant {
    /// `id:...`, `uri:...` or `email:...`.
    pub(super) to: String,
    /// `READ`, `FULL_CONTROL`.
    pub(super) permission: String,
}

impl Attributes {
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}
