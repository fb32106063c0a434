//! A stream back into a command: the job's `restore` for a restore, its `test` for a restore test.
//!
//! Both come from the configuration of the machine that restores. What a snapshot says about commands is for people to read: a
//! stranger who could write snapshots could otherwise have anything run here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{CommandConfig, Line, Settings};
use super::feed::{Fed, Rest, check, feed};
use super::launch::brief;
use super::{dump, record};
use crate::domain::verdict::CheckResult;
use crate::domain::{PartStore, SourceRecord, human_bytes};
use crate::sources::{Context, HandedOver, LoadReport, LoadRequest, SourceError};

/// The destination that means the job's `restore`.
const DESTINATION: &str = "command:";
/// What every shell exits with where a script names a program that is not there.
const NO_SUCH_PROGRAM: i32 = 127;

pub(super) async fn load(
    context: &Context,
    _record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    if request.scratch { test(context, store, request).await } else { restore(context, store, request).await }
}

fn refused(what: impl Into<String>, why: impl Into<String>, hint: impl Into<String>) -> SourceError {
    SourceError::Refused { what: what.into(), why: why.into(), hint: hint.into() }
}

/// The job as it is configured here and now.
fn configured(request: &LoadRequest) -> Result<Option<Settings>, SourceError> {
    let Some(section) = &request.source else { return Ok(None) };
    let settings = section.parse::<CommandConfig>().and_then(|config| config.settle(section));
    settings.map(Some).map_err(|error| refused("the job's `[source]`", error.to_string(), ""))
}

async fn restore(
    context: &Context,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    const OTHERWISE: &str = "`--to DIR` writes what the command wrote as a file, with a README";
    let job = &context.job;
    if request.place.url != DESTINATION {
        let why =
            format!("what a command wrote goes back into a command or a folder, not into `{}`", request.place.url);
        return Err(refused(format!("restore of job `{job}`"), why, format!("say `--to command:`; {OTHERWISE}")));
    }
    if let Some(other) = request.only.iter().find(|name| *name != record::PART) {
        let why = format!("the backup is one stream, and `{other}` is no part of it");
        return Err(refused(format!("`--only {other}`"), why, "leave `--only` out"));
    }
    let Some(settings) = configured(request)? else {
        let why = "no job of this name and of type `command` is configured here, and nothing else says what to run";
        return Err(refused(format!("restore of job `{job}`"), why, format!("write its file into jobs/; {OTHERWISE}")));
    };
    let Some(line) = &settings.restore else {
        let hint = format!("add `restore = [\"PROGRAM\", \"ARGUMENT\"]`; {OTHERWISE}");
        return Err(refused(format!("restore of job `{job}`"), "its `[source]` names no `restore`", hint));
    };
    let launch = settings.launch(line, None).await?;
    if !request.overwrite.iter().any(|name| name == job) {
        return Err(SourceError::NotEmpty {
            what: format!("command {}", launch.shown),
            why: "nobody knows what it restores into, and it may replace what is there".to_owned(),
            hint: format!("say `--overwrite {job}` if it may; nothing was run"),
        });
    }
    let names: Vec<&str> = settings.environment.keys().map(String::as_str).collect();
    let with = if names.is_empty() { String::new() } else { format!(", with {} set", names.join(", ")) };
    let runs = format!(
        "`{}` ({}) in {}{with}; what it replaces is not looked at",
        launch.hidden.redact(&line.shown),
        launch.found.display(),
        settings.folder.display()
    );
    if request.dry_run {
        return Ok(LoadReport { warnings: vec![format!("runs {runs}")], ..LoadReport::default() });
    }
    let fed = feed(context, &launch, settings.timeout, store, Rest::Left).await?;
    let (read, whole) = (human_bytes(fed.read_bytes), human_bytes(fed.fingerprint.bytes));
    let failed = |why: String| SourceError::Failed {
        what: format!("command {}", launch.shown),
        why,
        hint: "what it restores into may hold a part of the snapshot; look before you try again".to_owned(),
    };
    let Some(ended) = &fed.ended else {
        let limit = dump::span(settings.timeout);
        return Err(failed(format!(
            "it did not end within {limit} and was killed after {read} of {whole}{}",
            fed.said
        )));
    };
    if !ended.status.success() {
        return Err(failed(format!("it {} after it had read {read} of {whole}{}", ended.how(), fed.said)));
    }
    if fed.read_bytes < fed.fingerprint.bytes {
        return Err(failed(format!(
            "it exited 0 and had read {} of {} bytes{}",
            fed.read_bytes, fed.fingerprint.bytes, fed.said
        )));
    }
    Ok(LoadReport {
        bytes: fed.fingerprint.bytes,
        loaded: vec![format!("command {}", launch.shown)],
        ..LoadReport::default()
    })
}

async fn test(context: &Context, store: Arc<dyn PartStore>, request: &LoadRequest) -> Result<LoadReport, SourceError> {
    let scratch = scratch_folder(request)?;
    let settings = configured(request)?;
    let tested = settings.as_ref().and_then(|settings| Some((settings, settings.test.as_ref()?)));
    let (stream, test) = match tested {
        Some((settings, line)) => {
            let launch = match settings.launch(line, Some(&scratch)).await {
                Ok(launch) => launch,
                Err(error) => {
                    check(store).await?;
                    return Err(lacks(&error.to_string()));
                }
            };
            let fed = feed(context, &launch, settings.timeout, store, Rest::Checked).await?;
            if fed.ended.as_ref().is_some_and(|ended| ended.status.code() == Some(NO_SUCH_PROGRAM)) {
                return Err(lacks(&format!("{} exited {NO_SUCH_PROGRAM}{}", launch.shown, fed.said)));
            }
            (fed.fingerprint, Some(result(settings, line, &fed)))
        }
        // The bytes are read and compared all the same.
        None => (check(store).await?, None),
    };
    Ok(LoadReport {
        bytes: stream.bytes,
        handed_over: Some(HandedOver { fingerprints: vec![(record::part(), stream)], test }),
        ..LoadReport::default()
    })
}

/// What a test needs and this machine has not says nothing about the backup.
fn lacks(why: &str) -> SourceError {
    SourceError::Lacks(vec![format!("what the job's test needs: {why}").replace(", ", " ")])
}

fn result(settings: &Settings, line: &Line, fed: &Fed) -> CheckResult {
    let whole = fed.fingerprint.bytes;
    let held = fed.ended.as_ref().is_some_and(|ended| ended.status.success());
    let how = match &fed.ended {
        Some(ended) => format!("it {}", ended.how()),
        None => format!("it did not end within {} and was killed", dump::span(settings.timeout)),
    };
    // A test may see enough in the beginning, but the report should say that it looked no further.
    let read = if fed.read_bytes == whole {
        format!("all {}", human_bytes(whole))
    } else {
        format!("{} of {whole} bytes", fed.read_bytes)
    };
    let said = if held { "" } else { fed.said.as_str() };
    CheckResult {
        check: format!("test `{}`", crate::config::redact_text(&brief(&line.shown))),
        expected: "exit status 0".to_owned(),
        actual: format!("{how}, having read {read}{said}"),
        held,
    }
}

fn scratch_folder(request: &LoadRequest) -> Result<PathBuf, SourceError> {
    let folder = request.place.url.strip_prefix(DESTINATION).map(Path::new).filter(|folder| folder.is_absolute());
    folder.map(Path::to_owned).ok_or_else(|| refused("restore test", "scratch is no folder", ""))
}
