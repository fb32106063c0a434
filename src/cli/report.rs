//! `report` and `status`.

use std::path::PathBuf;

use serde::Serialize;

use super::args::{ReportArgs, ReportFormat};
use super::output::{Output, Table};
use crate::domain::human_bytes;
use crate::operations::{Class, OperationError, Session, reporting};
use crate::report::{self, Format, ReportModel};
use crate::system::clock;

#[derive(Serialize)]
struct Written {
    files: Vec<PathBuf>,
    answer: String,
}

pub async fn write(session: &Session, output: &Output, args: &ReportArgs) -> Result<(), OperationError> {
    let jobs: Vec<_> = session.config.jobs.iter().collect();
    let model = reporting::build(session, &jobs, clock::now().checked_sub(args.since).ok()).await?;
    let mut formats: Vec<Format> = args.format.iter().map(|format| format_of(*format)).collect();
    formats.dedup();
    if let ([format], None) = (&formats[..], &args.out)
        && format.name != "html"
    {
        output.raw(report::render(&model, *format).as_bytes());
        return Ok(());
    }
    // The HTML carries the record's hash, so the record is always beside it.
    let record = format_of(ReportFormat::Json);
    if !formats.contains(&record) {
        formats.push(record);
    }
    let folder = args.out.clone().unwrap_or_else(|| session.config.state.join("reports"));
    let files = write_files(&model, &formats, &folder)?;
    let written = Written { files, answer: report::answer(&model).sentence };
    output.result(&written, || {
        let mut text = format!("{}\n", written.answer);
        for file in &written.files {
            text.push_str(&format!("  {}\n", file.display()));
        }
        text
    });
    Ok(())
}

/// Writes each file whole or not at all.
pub fn write_files(
    model: &ReportModel,
    formats: &[Format],
    folder: &std::path::Path,
) -> Result<Vec<PathBuf>, OperationError> {
    let failed = |path: &std::path::Path, why: std::io::Error| {
        OperationError::new(Class::Usage, format!("`{}` cannot be written", path.display())).cause(why)
    };
    std::fs::create_dir_all(folder).map_err(|why| failed(folder, why))?;
    let mut paths = vec![];
    for (name, bytes) in report::files(model, formats) {
        let path = folder.join(name);
        let part = tempfile::NamedTempFile::new_in(folder).map_err(|why| failed(&path, why))?;
        std::fs::write(part.path(), bytes).map_err(|why| failed(&path, why))?;
        part.persist(&path).map_err(|why| failed(&path, why.error))?;
        paths.push(path);
    }
    Ok(paths)
}

fn format_of(format: ReportFormat) -> Format {
    let name = match format {
        ReportFormat::Html => "html",
        ReportFormat::Md => "md",
        ReportFormat::Json => "json",
        ReportFormat::Junit => "junit",
    };
    name.parse().expect("every format of the command line is registered")
}

/// One line a job and target: last backup, last proof.
pub async fn status(session: &Session, output: &Output) -> Result<(), OperationError> {
    let jobs: Vec<_> = session.config.jobs.iter().collect();
    let model =
        reporting::build(session, &jobs, clock::now().checked_sub(jiff::SignedDuration::from_hours(24)).ok()).await?;
    output.result(&model, || {
        let mut table = Table::new(&["job", "target", "last backup", "content", "copy", "last proof"], &[3]);
        for job in &model.jobs {
            for target in &job.targets {
                let copy = job
                    .last_backup
                    .as_ref()
                    .and_then(|backup| backup.copies.iter().find(|copy| copy.target == *target));
                let test = job.tests.iter().filter(|test| test.target == *target).max_by_key(|test| test.at);
                table.row(vec![
                    job.name.to_string(),
                    target.to_string(),
                    job.last_backup.as_ref().map_or("never".to_owned(), |backup| clock::rfc3339(backup.at)),
                    job.last_backup.as_ref().map_or(String::new(), |backup| human_bytes(backup.bytes_read)),
                    copy.map_or("none".to_owned(), |copy| copy_word(&copy.state)),
                    test.map_or("never tested".to_owned(), |test| {
                        format!("{} {}", test.verdict.word(), clock::rfc3339(test.at))
                    }),
                ]);
            }
        }
        format!("{}\n\n{}", report::answer(&model).sentence, table.render())
    });
    Ok(())
}

fn copy_word(state: &report::CopyState) -> String {
    match state {
        report::CopyState::Committed => "committed".to_owned(),
        report::CopyState::Lagging => "lagging".to_owned(),
        report::CopyState::Failed { .. } => "failed".to_owned(),
    }
}
