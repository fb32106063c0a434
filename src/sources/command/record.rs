//! What a command's backup says about itself in the recipe, for people: nothing of it is ever run.

use serde::{Deserialize, Serialize};

use super::config::{Line, Settings};
use crate::domain::{PartName, SourceRecord};

/// The one part of such a backup.
pub(super) const PART: &str = "stdout";

pub(super) fn part() -> PartName {
    PartName::from_components(&[PART])
}

/// The `details` of a [`SourceRecord`] of kind `command`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommandRecord {
    /// As a person types them, without known secrets.
    pub(super) backup: String,
    pub(super) restore: Option<String>,
    pub(super) test: Option<String>,
    /// Names alone.
    pub(super) environment: Vec<String>,
    pub(super) folder: String,
    /// As a POSIX shell reads it, for the guide.
    pub(super) restore_words: Option<Vec<String>>,
    pub(super) bytes: u64,
}

impl CommandRecord {
    /// `redact` takes known secrets out.
    pub(super) fn of(settings: &Settings, bytes: u64, redact: impl Fn(&str) -> String) -> Self {
        let shown = |line: &Line| redact(&line.shown);
        Self {
            backup: shown(&settings.backup),
            restore: settings.restore.as_ref().map(shown),
            test: settings.test.as_ref().map(shown),
            environment: settings.environment.keys().cloned().collect(),
            folder: settings.folder.display().to_string(),
            restore_words: settings.restore.as_ref().map(|line| line.words.iter().map(|word| redact(word)).collect()),
            bytes,
        }
    }

    /// A record of a later version is still shown as far as it is understood.
    pub(super) fn read(record: &SourceRecord) -> Self {
        serde_json::from_value(record.details.clone()).unwrap_or_default()
    }
}
