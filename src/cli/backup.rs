//! `backup now`.

use super::args::{BackupNowArgs, Global};
use super::output::Output;
use crate::config::Job;
use crate::domain::words::{counted, words};
use crate::domain::{JobName, human_bytes};
use crate::operations::backup::{self, BackupOutcome, BackupPlan};
use crate::operations::copies::CopyOutcome;
use crate::operations::{Class, OperationError, Session};

pub async fn now(
    session: &Session,
    output: &Output,
    global: &Global,
    args: &BackupNowArgs,
) -> Result<(), OperationError> {
    let jobs = chosen(session, &args.jobs)?;
    let mut failures = vec![];
    let mut committed = 0;
    for job in &jobs {
        let result = if global.dry_run {
            backup::plan(session, job).await.map(|plan| {
                output.result(&plan, || plan_text(&plan));
                let unusable = plan.targets.iter().filter(|target| !target.usable);
                left_out(unusable.map(|target| format!("target `{}`: {}", target.target, target.state)))
            })
        } else {
            backup::run(session, job).await.map(|outcome| {
                output.result(&outcome, || outcome_text(&outcome));
                left_out(outcome.copies.iter().filter(|copy| !copy.committed()).map(CopyOutcome::text))
            })
        };
        match result {
            Ok(left_out) => {
                committed += 1;
                if let Some(why) = left_out {
                    let what = format!("job `{}`: not every target took part", job.name);
                    let hint = "the snapshot is safe where it was committed; the next run tries every target again";
                    failures.push(OperationError::new(Class::Partial, what).cause(why).hint(hint));
                }
            }
            Err(error) if error.class == Class::Cancelled => return Err(error),
            Err(error) if jobs.len() == 1 => return Err(error),
            Err(error) => {
                output.error(&error.clone().during(format!("job `{}` failed", job.name)));
                failures.push(error);
            }
        }
    }
    conclude(failures, committed)
}

/// What every target that took no part said, if there are any.
fn left_out(targets: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<_> = targets.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Several jobs: all good, some good (partial), or the class of the first failure.
fn conclude(failures: Vec<OperationError>, committed: usize) -> Result<(), OperationError> {
    let count = failures.len();
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) if count == 1 => {
            Err(if committed > 0 { OperationError { class: Class::Partial, ..first } } else { first })
        }
        Some(first) => {
            let class = if committed > 0 { Class::Partial } else { first.class };
            Err(OperationError::new(class, format!("{count} jobs failed or were partial")).cause(first))
        }
    }
}

/// The jobs named, or all.
pub fn chosen<'a>(session: &'a Session, names: &[JobName]) -> Result<Vec<&'a Job>, OperationError> {
    if !names.is_empty() {
        return names.iter().map(|name| session.job(name)).collect();
    }
    if session.config.jobs.is_empty() {
        return Err(OperationError::new(Class::NotFound, "there are no jobs")
            .place(format!("`jobs/` beside `{}`", session.config.file.display()))
            .hint("`lifeboat init --postgres URL` writes a first one"));
    }
    Ok(session.config.jobs.iter().collect())
}

fn outcome_text(outcome: &BackupOutcome) -> String {
    let copies: Vec<_> =
        outcome.copies.iter().filter(|copy| copy.committed()).map(|copy| copy.target.as_str()).collect();
    let mut text = format!(
        "{}: snapshot {} on {}: {}, {} read, {} new",
        outcome.job,
        outcome.snapshot,
        copies.join(", "),
        counted(outcome.rows, words(&outcome.kind).rows),
        human_bytes(outcome.read_bytes),
        human_bytes(outcome.stored_bytes),
    );
    for copy in outcome.copies.iter().filter(|copy| !copy.committed()) {
        text.push_str(&format!("\n  {}", copy.text()));
    }
    for gap in &outcome.gaps {
        text.push_str(&format!("\n  not in the backup: {} ({})", gap.what, gap.why));
    }
    text
}

fn plan_text(plan: &BackupPlan) -> String {
    let mut text = format!("{}: {}\n", plan.job, plan.source);
    for fact in &plan.preflight.facts {
        text.push_str(&format!("  {fact}\n"));
    }
    text.push_str(&format!(
        "  about {} in {} parts\n",
        human_bytes(plan.preflight.estimated_bytes),
        plan.preflight.estimated_parts
    ));
    for warning in &plan.preflight.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    for gap in &plan.preflight.gaps {
        text.push_str(&format!("  not in the backup: {} ({})\n", gap.what, gap.why));
    }
    for target in &plan.targets {
        text.push_str(&format!("  target {} ({}): {}\n", target.target, target.place, target.state));
    }
    text.push_str("  dry run: nothing was written\n");
    text
}
