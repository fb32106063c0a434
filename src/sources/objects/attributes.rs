//! What an object has beside its content.

use std::collections::BTreeMap;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
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
}

impl Attributes {
    pub(super) fn of(object: &GetObjectOutput) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            content_type: owned(object.content_type()),
            content_encoding: owned(object.content_encoding()).filter(|encoding| !encoding.is_empty()),
            content_language: owned(object.content_language()),
            content_disposition: owned(object.content_disposition()),
            cache_control: owned(object.cache_control()),
            expires: owned(object.expires_string()),
            website_redirect_location: owned(object.website_redirect_location()),
            storage_class: object.storage_class().map(|class| class.as_str().to_owned()),
            metadata: object.metadata().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
            tags: BTreeMap::new(),
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}
