//! JSON: the record itself, with the answer that follows from it in front.

use serde::Serialize;

use super::model::{RECORD_VERSION, ReportModel};
use super::{Answer, Rendering, answer};

pub(super) fn render(rendering: &Rendering<'_>) -> String {
    record(rendering.model)
}

/// The bytes whose SHA-256 other formats carry: the same model always gives the same text.
pub(super) fn record(model: &ReportModel) -> String {
    #[derive(Serialize)]
    struct Record<'a> {
        answer: Answer,
        #[serde(flatten)]
        model: &'a ReportModel,
    }
    let record = Record { answer: answer(model), model };
    let mut text = serde_json::to_string_pretty(&record).expect("the record holds no map with keys other than text");
    text.push('\n');
    text
}

/// A file that is not a record this version reads.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    #[error("not a report record: {0}")]
    NotARecord(#[from] serde_json::Error),
    #[error("the record has version {found}, this program reads up to {RECORD_VERSION}: use a newer Lifeboat")]
    TooNew { found: u32 },
}

/// Reads a record back. Its answer is not read but drawn again from the facts, so a forged one has no effect.
pub fn read_record(text: &str) -> Result<ReportModel, BadRecord> {
    #[derive(serde::Deserialize)]
    struct Head {
        record: u32,
    }
    let head: Head = serde_json::from_str(text)?;
    if head.record > RECORD_VERSION {
        return Err(BadRecord::TooNew { found: head.record });
    }
    Ok(serde_json::from_str(text)?)
}
