//! What a dump of files says about itself in the recipe.

use std::collections::BTreeSet;

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

use crate::domain::SourceRecord;
use crate::sources::SourceError;
use crate::sources::tree::EntryKind;

/// Owners that are told one by one; with more, root is needed anyway.
const OWNERS_MAX: usize = 64;

/// The `details` of a [`SourceRecord`] of kind `files`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FilesRecord {
    /// Names in the list below which everything lies, as they are written there; one that is empty where there is but one folder.
    pub(super) roots: Vec<String>,
    /// Where they were read.
    pub(super) paths: Vec<String>,
    pub(super) exclude: Vec<String>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) owners: Owners,
}

/// Whom the files belong to: who is not root can give files to nobody else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Owners {
    pub(super) users: BTreeSet<u32>,
    pub(super) groups: BTreeSet<u32>,
    /// There are devices, which only root makes.
    pub(super) devices: bool,
}

impl Owners {
    pub(super) fn add(&mut self, stat: &Stat, kind: EntryKind) {
        if self.users.len() < OWNERS_MAX {
            self.users.insert(stat.st_uid);
        }
        if self.groups.len() < OWNERS_MAX {
            self.groups.insert(stat.st_gid);
        }
        self.devices |= matches!(kind, EntryKind::Block | EntryKind::Character);
    }
}

impl FilesRecord {
    pub(super) fn of(record: &SourceRecord) -> Result<Self, SourceError> {
        serde_json::from_value(record.details.clone()).map_err(|error| SourceError::Failed {
            what: "record of the snapshot".to_owned(),
            why: error.to_string(),
            hint: "it was written by another version; use that one to restore".to_owned(),
        })
    }
}
