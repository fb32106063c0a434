//! JUnit XML, for CI systems: one suite a job, one case a target, a check or an objective.
//!
//! Nothing is ever `skipped`, because CI systems show that as fine: what was not tested is a failure, what could not be
//! carried out an error. The dialect is the common subset that Jenkins, GitLab and GitHub actions read.

use std::fmt::Write;

use super::model::{Cell, JobReport, Standing};
use super::wording::{next_command, span_up, summary};
use super::{JobAnswer, Rendering};
use crate::domain::{Evidence, Verdict};

struct Case {
    name: String,
    secs: f64,
    trouble: Option<Trouble>,
}

/// An element inside a case: why it is not a pass.
struct Trouble {
    /// `failure` or `error`.
    element: &'static str,
    kind: &'static str,
    message: String,
    details: String,
}

pub(super) fn render(rendering: &Rendering<'_>) -> String {
    let suites: Vec<(&JobReport, Vec<Case>)> = rendering
        .model
        .jobs
        .iter()
        .zip(&rendering.answer.jobs)
        .map(|(job, answer)| (job, cases(job, answer)))
        .collect();
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = counts(all());
    line(&mut xml, 0, &format!("<testsuites name=\"lifeboat\" {counts}>"));
    for (job, cases) in &suites {
        let head = format!(
            "<testsuite name=\"{}\" timestamp=\"{}\" hostname=\"{}\" {}>",
            escape(job.name.as_str()),
            rendering.model.generated_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            escape(&rendering.model.host),
            self::counts(cases.iter()),
        );
        line(&mut xml, 1, &head);
        line(&mut xml, 2, "<properties>");
        line(&mut xml, 3, &format!("<property name=\"answer\" value=\"{}\"/>", escape(&rendering.answer.sentence)));
        line(&mut xml, 3, &format!("<property name=\"record-sha256\" value=\"{}\"/>", rendering.record_sha256));
        line(&mut xml, 2, "</properties>");
        for case in cases {
            write_case(&mut xml, job, case);
        }
        line(&mut xml, 1, "</testsuite>");
    }
    line(&mut xml, 0, "</testsuites>");
    xml
}

fn cases(job: &JobReport, answer: &JobAnswer) -> Vec<Case> {
    let mut cases = vec![Case {
        name: "has a backup".to_owned(),
        secs: job.last_backup.as_ref().map_or(0.0, |backup| secs(backup.duration_ms)),
        trouble: job
            .last_backup
            .is_none()
            .then(|| failure("no_backup", "there is no committed snapshot", String::new())),
    }];
    let cells = job.cells();
    if cells.is_empty() {
        let trouble = Some(failure("not_tested", "the job has no target", String::new()));
        cases.push(Case { name: "restores".to_owned(), secs: 0.0, trouble });
    }
    for cell in &cells {
        cases.push(restore_case(cell));
        cases.extend(check_cases(cell));
    }
    for (name, limit, seen, met) in [
        ("RPO", job.objectives.rpo_secs, answer.lose_secs, answer.rpo_met),
        ("RTO", job.objectives.rto_secs, answer.need_secs, answer.rto_met),
    ] {
        let (Some(limit), Some(met)) = (limit, met) else { continue };
        let seen = seen.map_or_else(|| "nothing shows it".to_owned(), |seen| format!("it is {}", span_up(seen)));
        let message = format!("the {name} objective of {} is not met: {seen}", span_up(limit));
        let trouble = (!met).then(|| failure("objective", &message, String::new()));
        cases.push(Case { name: format!("meets its {name} of {}", span_up(limit)), secs: 0.0, trouble });
    }
    cases
}

fn restore_case(cell: &Cell<'_>) -> Case {
    let details = || {
        let mut text = String::new();
        if let Some(Verdict::Failed { mismatches, .. }) = cell.newest.map(|test| &test.verdict) {
            for mismatch in mismatches {
                let difference = &mismatch.difference;
                writeln!(text, "{}: {difference}", mismatch.what).expect("a String takes every write");
                writeln!(text, "  expected: {}\n  actual:   {}", mismatch.expected, mismatch.actual)
                    .expect("a String takes every write");
            }
        }
        text + "next: " + &next_command(cell)
    };
    let trouble = match cell.standing() {
        Standing::Proven => None,
        Standing::Failed => Some(failure("mismatch", &summary(cell), details())),
        Standing::NotTested => Some(failure("not_tested", &summary(cell), details())),
        Standing::Unproven => {
            Some(Trouble { element: "error", kind: "unproven", message: summary(cell), details: details() })
        }
    };
    let measured = cell.newest.map(|test| &test.measured);
    let secs = measured.map_or(0.0, |m| secs(m.recovery_ms + m.compare_ms + m.check_ms));
    Case { name: format!("restores from {}", cell.target), secs, trouble }
}

fn check_cases(cell: &Cell<'_>) -> Vec<Case> {
    let evidence: Option<&Evidence> = cell.newest.and_then(|test| match &test.verdict {
        Verdict::Proven { evidence } | Verdict::Failed { evidence, .. } => Some(evidence),
        Verdict::Unproven { .. } => None,
    });
    evidence
        .into_iter()
        .flat_map(|evidence| &evidence.checks)
        .map(|check| {
            let message = format!("expected {}, got {}", check.expected, check.actual);
            Case {
                name: format!("check {} from {}", check.check, cell.target),
                secs: 0.0,
                trouble: (!check.held).then(|| failure("check", &message, String::new())),
            }
        })
        .collect()
}

fn failure(kind: &'static str, message: &str, details: String) -> Trouble {
    Trouble { element: "failure", kind, message: message.to_owned(), details }
}

#[expect(clippy::cast_precision_loss, reason = "a duration is shown to the millisecond")]
fn secs(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn counts<'a>(cases: impl Iterator<Item = &'a Case>) -> String {
    let (mut tests, mut failures, mut errors, mut time) = (0_u64, 0_u64, 0_u64, 0.0_f64);
    for case in cases {
        tests += 1;
        time += case.secs;
        match case.trouble.as_ref().map(|trouble| trouble.element) {
            Some("error") => errors += 1,
            Some(_) => failures += 1,
            None => {}
        }
    }
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" time=\"{time:.3}\"")
}

fn write_case(xml: &mut String, job: &JobReport, case: &Case) {
    let head = format!(
        "<testcase classname=\"lifeboat.{}\" name=\"{}\" time=\"{:.3}\"",
        escape(job.name.as_str()),
        escape(&case.name),
        case.secs
    );
    let Some(trouble) = &case.trouble else {
        return line(xml, 2, &format!("{head}/>"));
    };
    line(xml, 2, &format!("{head}>"));
    let Trouble { element, kind, message, details } = trouble;
    line(
        xml,
        3,
        &format!("<{element} type=\"{kind}\" message=\"{}\">{}</{element}>", escape(message), escape(details)),
    );
    line(xml, 2, "</testcase>");
}

fn line(xml: &mut String, depth: usize, text: &str) {
    for _ in 0..depth {
        xml.push_str("  ");
    }
    xml.push_str(text);
    xml.push('\n');
}

/// For attributes and text alike. Characters that XML 1.0 cannot hold at all, even escaped, become U+FFFD; line breaks are
/// written as references, because a parser turns a bare one in an attribute into a space.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
