//! `restore-test`.

use super::arg_types::FromTargets;
use super::args::{Global, RestoreTestArgs};
use super::backup::chosen;
use super::output::Output;
use crate::config::Job;
use crate::domain::words::{counted, words};
use crate::domain::{Evidence, Reason, Verdict, human_bytes};
use crate::operations::restore_test::{self, Request, TestOutcome};
use crate::operations::snapshots::Selector;
use crate::operations::test_plan::{self, TestPlan};
use crate::operations::{Class, OperationError, Session};

/// Differences that the terminal shows; the report shows more.
const SHOWN: usize = 12;

pub async fn run(
    session: &Session,
    output: &Output,
    global: &Global,
    args: &RestoreTestArgs,
) -> Result<(), OperationError> {
    let jobs = chosen(session, &args.jobs)?;
    if global.dry_run {
        return plan(session, output, args, &jobs).await;
    }
    let (mut failed, mut unproven, mut errors) = (0, 0, vec![]);
    for job in &jobs {
        match restore_test::run(session, job, &request(args, job)).await {
            Ok(outcomes) => {
                for outcome in outcomes {
                    output.result(&outcome, || text(&outcome));
                    match outcome.verdict {
                        Verdict::Proven { .. } => {}
                        Verdict::Failed { .. } => failed += 1,
                        Verdict::Unproven { .. } => unproven += 1,
                    }
                }
            }
            Err(error) if error.class == Class::Cancelled || jobs.len() == 1 => return Err(error),
            Err(error) => {
                output.error(&error.clone().during(format!("job `{}` was not tested", job.name)));
                errors.push(error);
            }
        }
    }
    match (failed, unproven, errors.into_iter().next()) {
        (0, 0, None) => Ok(()),
        (0, 0, Some(error)) => Err(error),
        (0, unproven, _) => {
            Err(OperationError::new(Class::Unproven, format!("{unproven} restore tests proved nothing"))
                .hint("each says above what it needs"))
        }
        (failed, _, _) => Err(OperationError::new(
            Class::TestFailed,
            format!("{failed} restore {} failed", if failed == 1 { "test" } else { "tests" }),
        )
        .hint("`lifeboat report` shows every difference; rerun with `--keep-scratch` to inspect the instance")),
    }
}

fn request(args: &RestoreTestArgs, job: &Job) -> Request {
    Request {
        selector: Selector::Latest,
        from: match &args.from {
            None => vec![],
            Some(FromTargets::Each) => job.backup.targets.clone(),
            Some(FromTargets::One(target)) => vec![target.clone()],
        },
        keep_scratch: args.keep_scratch,
    }
}

/// What the tests would do.
async fn plan(session: &Session, output: &Output, args: &RestoreTestArgs, jobs: &[&Job]) -> Result<(), OperationError> {
    let (mut planned, mut errors) = (0, vec![]);
    for job in jobs {
        match test_plan::plan(session, job, &request(args, job)).await {
            Ok(mut plan) => {
                output.result(&plan, || plan_text(&plan));
                let (before, tests) = (errors.len(), plan.tests.len());
                errors.extend(plan.tests.iter_mut().filter_map(|test| {
                    let what = format!("job `{}` cannot be tested from target `{}`", plan.job, test.target);
                    Some(test.error.take()?.during(what))
                }));
                planned += tests - (errors.len() - before);
            }
            Err(error) if error.class == Class::Cancelled || jobs.len() == 1 => return Err(error),
            Err(error) => errors.push(error.during(format!("job `{}` cannot be tested", job.name))),
        }
    }
    let count = errors.len();
    let Some(first) = errors.into_iter().next() else { return Ok(()) };
    let first = if count == 1 { first } else { first.during(format!("{count} tests cannot be run")) };
    Err(if planned > 0 { OperationError { class: Class::Partial, ..first } } else { first })
}

fn plan_text(plan: &TestPlan) -> String {
    let mut text = format!("{}: would test from {} targets\n", plan.job, plan.tests.len());
    for test in &plan.tests {
        text.push_str(&format!("  target {} ({}): ", test.target, test.place));
        match &test.restores {
            Some(restore) => text.push_str(&format!(
                "snapshot {} of {}, {}: {} parts, {}\n    needs of scratch: {}\n",
                restore.snapshot,
                restore.dumped_at,
                restore.source,
                restore.parts,
                human_bytes(restore.bytes),
                restore.scratch.describe().join(", ")
            )),
            None => text.push_str(&format!("{}\n", test.problem)),
        }
    }
    for check in &plan.checks {
        text.push_str(&format!("  check {}: {}\n", check.check, check.expected));
    }
    text.push_str("  dry run: nothing was leased, restored or written\n");
    text
}

fn text(outcome: &TestOutcome) -> String {
    let snapshot = outcome.snapshot.as_ref().map_or("no snapshot".to_owned(), |id| format!("snapshot {id}"));
    let mut text = format!("{} from {}: {snapshot}: {}", outcome.job, outcome.target, outcome.verdict.word());
    match &outcome.verdict {
        Verdict::Proven { evidence } => {
            text.push_str(&format!(
                ": {}, {} equal; recovered in {:.1} s\n",
                equal(evidence, &outcome.kind),
                human_bytes(evidence.bytes),
                seconds(outcome.measured.recovery_ms),
            ));
            if let Some(sampled) = &evidence.sampled {
                text.push_str(&format!(
                    "  contents {}; the rest is compared by what the list says\n",
                    sampled.sentence()
                ));
            }
            for check in &evidence.checks {
                text.push_str(&format!("  check {}: {} ({})\n", check.check, check.actual, check.expected));
            }
        }
        Verdict::Failed { mismatches, .. } => {
            text.push('\n');
            for mismatch in mismatches.iter().take(SHOWN) {
                text.push_str(&format!("  {}: {}\n", mismatch.what, mismatch.difference));
                if !mismatch.expected.is_empty() || !mismatch.actual.is_empty() {
                    text.push_str(&format!("    expected {}\n    found    {}\n", mismatch.expected, mismatch.actual));
                }
            }
            if mismatches.len() > SHOWN {
                text.push_str(&format!("  and {} more\n", mismatches.len() - SHOWN));
            }
        }
        Verdict::Unproven { reason } => {
            text.push_str(&match reason {
                Reason::Needs { needs } => format!(": this machine lacks {}\n", needs.join(", ")),
                Reason::NothingCompared => ": there was nothing to compare\n".to_owned(),
                Reason::Scratch { message } => format!(": {message}\n"),
                Reason::BytesOnly { bytes } => format!(
                    ": all {} came back as they were backed up, and nothing has tried to use them: the job has no `test`\n",
                    human_bytes(*bytes)
                ),
                Reason::Undecided { differences } => format!(
                    ": what differs shows nothing either way, and all else is equal\n  {}\n",
                    differences.join("\n  ")
                ),
                Reason::NotTested => ": not tested\n".to_owned(),
            });
        }
    }
    if let Some(kept) = &outcome.kept {
        text.push_str(&format!("  scratch was kept: {kept}\n"));
    }
    text
}

/// `3 tables, 120 rows, 40 catalog objects`.
pub(super) fn equal(evidence: &Evidence, kind: &str) -> String {
    let words = words(kind);
    let mut parts = vec![counted(evidence.groups, words.groups)];
    if words.has_rows() {
        parts.push(counted(evidence.rows, words.rows));
    }
    if words.has_catalog {
        parts.push(counted(evidence.objects, ["catalog object", "catalog objects"]));
    }
    parts.join(", ")
}

fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}
