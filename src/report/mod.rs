//! What a person reads, and what a machine keeps: one record, rendered to one file a format.
//!
//! A format is one file here and one line in [`FORMATS`]. What a report must never do: read a clock, touch a disk, or soften
//! a verdict. Everything is a pure function of [`ReportModel`]; memory is a few times the record.

mod answer;
mod html;
mod html_job;
mod html_marks;
mod json;
mod junit;
mod markdown;
mod model;
mod wording;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

pub use answer::{Answer, JobAnswer, Word, answer};
pub use json::{BadRecord, read_record};
pub use model::{
    BackupLine, Cell, CopyLine, CopyState, JobReport, Measured, Objectives, Outcome, RECORD_VERSION, ReportModel,
    RunLine, Standing, TestLine,
};

/// A kind of file that a report can be rendered to.
#[derive(Clone, Copy)]
pub struct Format {
    /// As `--format` takes it.
    pub name: &'static str,
    /// Of the file, without a dot; JUnit and others may share `xml`, so it is part of a longer end of the name.
    pub extension: &'static str,
    render: fn(&Rendering<'_>) -> String,
}

/// Every format, in the order that help shows.
pub const FORMATS: [Format; 4] = [
    Format { name: "html", extension: "html", render: html::render },
    Format { name: "md", extension: "md", render: markdown::render },
    Format { name: "json", extension: "json", render: json::render },
    Format { name: "junit", extension: "junit.xml", render: junit::render },
];

/// What a format gets: the facts, what follows from them, and what proves which record it shows.
struct Rendering<'a> {
    model: &'a ReportModel,
    answer: Answer,
    /// SHA-256 of the JSON record's bytes, 64 hexadecimal digits.
    record_sha256: &'a str,
}

/// `--format` named something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a report format; there are {known}", known = FORMATS.map(|format| format!("`{}`", format.name)).join(", "))]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        FORMATS.into_iter().find(|format| format.name == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One rendering, UTF-8.
pub fn render(model: &ReportModel, format: Format) -> String {
    let record = json::record(model);
    (format.render)(&Rendering { model, answer: answer(model), record_sha256: &sha256(&record) })
}

/// The files of a report: name and bytes, in the order of `formats`. The names carry the time of the report
/// (`lifeboat-report-20260821T021700Z.html`), so that reports side by side sort and never overwrite each other.
pub fn files(model: &ReportModel, formats: &[Format]) -> Vec<(String, Vec<u8>)> {
    let stem = format!("lifeboat-report-{}", model.generated_at.strftime("%Y%m%dT%H%M%SZ"));
    formats.iter().map(|format| (format!("{stem}.{}", format.extension), render(model, *format).into_bytes())).collect()
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
