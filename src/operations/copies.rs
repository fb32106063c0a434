//! What became of a snapshot at each target, and whether so many copies are enough.

use super::session::OpenTarget;
use super::{Class, OperationError};
use crate::config::Job;

/// What became of the snapshot at one target.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CopyOutcome {
    pub target: String,
    pub place: String,
    /// `committed`, `lagging` or `failed`.
    pub state: String,
    pub error: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl CopyOutcome {
    pub fn failed(target: &OpenTarget, error: &OperationError) -> Self {
        Self {
            target: target.name.to_string(),
            place: target.target.place(),
            state: "failed".to_owned(),
            error: error.to_string(),
            hint: error.hint.clone().unwrap_or_default(),
        }
    }

    pub fn done(target: &OpenTarget) -> Self {
        Self {
            target: target.name.to_string(),
            place: target.target.place(),
            state: "committed".to_owned(),
            error: String::new(),
            hint: String::new(),
        }
    }

    pub fn committed(&self) -> bool {
        self.state == "committed"
    }

    /// One line for messages: ``target `b2` failed: ...``.
    pub fn text(&self) -> String {
        format!("target `{}` {}: {}", self.target, self.state, self.error)
    }
}

/// Whether the quorum can still be reached.
pub fn enough(job: &Job, working: usize, failed: &[CopyOutcome]) -> Result<(), OperationError> {
    if working >= job.backup.quorum && working > 0 {
        return Ok(());
    }
    let causes: Vec<_> = failed.iter().map(CopyOutcome::text).collect();
    let mut hints: Vec<_> = failed.iter().map(|copy| copy.hint.as_str()).filter(|hint| !hint.is_empty()).collect();
    hints.dedup();
    let mut hint = if hints.is_empty() { "mend the target".to_owned() } else { hints.join("; ") };
    if job.backup.quorum > 1 {
        hint.push_str("; or lower `backup.quorum` in the job");
    }
    Err(OperationError::new(
        Class::Target,
        format!(
            "{working} of {} targets work, `quorum` asks for {}; no snapshot was committed",
            job.backup.targets.len(),
            job.backup.quorum
        ),
    )
    .cause(causes.join("; "))
    .hint(hint))
}
