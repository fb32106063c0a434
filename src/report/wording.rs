//! Words that several formats share: spans of time, verdicts in one line, the command to run next.

use jiff::Timestamp;

use super::model::{Cell, CopyState, JobReport, Standing};
use crate::domain::words::{Noun, Words, words};
use crate::domain::{Evidence, JobName, Reason, TargetName, Verdict, human_bytes};

/// How many mismatches a rendering for people lists; the JSON record has them all.
pub(super) const MISMATCHES_SHOWN_MAX: usize = 100;
/// How many runs of the past a rendering for people lists.
pub(super) const RUNS_SHOWN_MAX: usize = 50;

/// Seconds as people say them, rounded up, so that a promise made of it is never too good: `45 s`, `4 min`, `26 h`, `3 days`.
pub(super) fn span_up(secs: u64) -> String {
    match secs {
        0..=1 => "1 s".to_owned(),
        2..=119 => format!("{secs} s"),
        120..=7_140 => format!("{} min", secs.div_ceil(60)),
        7_141..=172_800 => format!("{} h", secs.div_ceil(3600)),
        _ => format!("{} days", secs.div_ceil(86_400)),
    }
}

/// A measured duration: `320 ms`, `4.1 s`, `95 s`, `12 min`.
pub(super) fn measured(ms: u64) -> String {
    match ms {
        // Times are kept in whole seconds in places.
        0 => "under 1 s".to_owned(),
        1..=999 => format!("{ms} ms"),
        1_000..=9_949 => format!("{}.{} s", (ms + 50) / 1000, ((ms + 50) % 1000) / 100),
        _ => span_up(ms.div_ceil(1000)),
    }
}

/// `2026-08-21 02:17 UTC`.
pub(super) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Groups of three digits: `1 234 567`, with narrow no-break spaces, so that no locale misreads it.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `“a”, “b” and “c”`; after three names the rest is counted. Quotation marks, not backticks: these sentences are for people.
pub(super) fn join_names(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("“{name}”")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [a, b] => format!("{a} and {b}"),
        [a, b, c] => format!("{a}, {b} and {c}"),
        [a, b, rest @ ..] => format!("{a}, {b} and {} more", rest.len()),
    }
}

/// The word that stands in a matrix: "not tested" is told apart from "unproven".
pub(super) fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Proven => "Proven",
        Standing::Failed => "Failed",
        Standing::Unproven => "Unproven",
        Standing::NotTested => "Not tested",
    }
}

/// A shape beside the word, so that nothing is told by colour alone.
pub(super) fn standing_mark(standing: Standing) -> &'static str {
    match standing {
        Standing::Proven => "✓",
        Standing::Failed => "✗",
        Standing::Unproven => "?",
        Standing::NotTested => "!",
    }
}

/// One line that says what was seen.
pub(super) fn summary(cell: &Cell<'_>) -> String {
    match cell.newest.map(|test| &test.verdict) {
        None | Some(Verdict::Unproven { reason: Reason::NotTested }) if cell.job.last_backup.is_none() => {
            "there is no backup, so nothing was restored".to_owned()
        }
        None => "never restored from this target".to_owned(),
        Some(Verdict::Unproven { reason }) => reason_text(reason),
        Some(Verdict::Failed { mismatches, .. }) if mismatches.len() == 1 => "1 thing differs".to_owned(),
        Some(Verdict::Failed { mismatches, .. }) => format!("{} things differ", count(mismatches.len() as u64)),
        Some(Verdict::Proven { evidence }) => evidence_text(evidence, words(&cell.job.kind)),
    }
}

/// `1 row`, `12,000 rows`.
pub(super) fn plural(number: u64, [one, many]: Noun) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {many}", count(number)) }
}

/// `12,000 rows, `; nothing where nothing is counted.
pub(super) fn rows_first(rows: u64, kind: &str) -> String {
    let words = words(kind);
    if words.has_rows() { format!("{}, ", plural(rows, words.rows)) } else { String::new() }
}

pub(super) fn evidence_text(evidence: &Evidence, words: Words) -> String {
    let mut parts = vec![plural(evidence.groups, words.groups)];
    if words.has_rows() {
        parts.push(plural(evidence.rows, words.rows));
    }
    if words.has_catalog {
        parts.push(plural(evidence.objects, ["catalog object", "catalog objects"]));
    }
    if !evidence.checks.is_empty() {
        parts.push(plural(evidence.checks.len() as u64, ["check", "checks"]));
    }
    let sampled = evidence.sampled.map(|sampled| format!("; contents {}", sampled.sentence())).unwrap_or_default();
    format!("{} compared{sampled}", parts.join(", "))
}

pub(super) fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::Needs { needs } => format!("this machine lacks {}", needs.join(", ")),
        Reason::NothingCompared => "there was nothing to compare".to_owned(),
        Reason::Scratch { message } => format!("the scratch instance broke: {message}"),
        Reason::BytesOnly { bytes } => bytes_only(*bytes),
        Reason::Undecided { differences } => undecided(differences),
        Reason::NotTested => "never restored from this target".to_owned(),
    }
}

fn undecided(differences: &[String]) -> String {
    format!("what differs shows nothing either way, and all else is equal: {}", differences.join("; "))
}

fn bytes_only(bytes: u64) -> String {
    format!(
        "all {} came back as they were backed up, and nothing has tried to use them: the job has no `test`",
        human_bytes(bytes)
    )
}

/// Begins with a capital and ends with a stop.
pub(super) fn sentence(text: &str) -> String {
    format!("{}.", capital(text))
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{start}{}", chars.as_str())
}

/// What to type next about a cell that is not proven.
pub(super) fn next_command(cell: &Cell<'_>) -> String {
    let job = job_word(&cell.job.name);
    let target = cell.target.as_str();
    let from = if target.starts_with('-') { "--from=" } else { "--from " };
    let test = |flags: &str| format!("lifeboat restore-test {from}{}{flags} {job}", shell_word(target));
    if cell.job.last_backup.is_none() && cell.newest.is_none() {
        return backup_command(&cell.job.name);
    }
    match cell.standing() {
        Standing::Failed => test(" --keep-scratch"),
        Standing::Unproven | Standing::NotTested | Standing::Proven => test(""),
    }
}

pub(super) fn backup_command(job: &JobName) -> String {
    format!("lifeboat backup now {}", job_word(job))
}

/// One word for a POSIX shell, quoted where it has to be.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:+=%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let quoted = text.replace('\'', "'\\''");
    format!("'{quoted}'")
}

/// A job as the last argument: a leading hyphen would be read as an option however it is quoted, so `--` ends them.
fn job_word(job: &JobName) -> String {
    let word = shell_word(job.as_str());
    if job.as_str().starts_with('-') { format!("-- {word}") } else { word }
}

/// Targets whose copy of the newest snapshot is not complete, and why.
pub(super) fn copy_troubles(job: &JobReport) -> Vec<(&TargetName, String)> {
    let copies = job.last_backup.iter().flat_map(|backup| &backup.copies);
    copies
        .filter_map(|copy| match &copy.state {
            CopyState::Committed => None,
            CopyState::Lagging => Some((&copy.target, "the newest snapshot is not complete there yet".to_owned())),
            CopyState::Failed { error } => Some((&copy.target, error.clone())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_up_never_down() {
        let cases = [
            (0, "1 s"),
            (119, "119 s"),
            (121, "3 min"),
            (3_600, "60 min"),
            (7_141, "2 h"),
            (93_600, "26 h"),
            (93_601, "27 h"),
            (172_801, "3 days"),
        ];
        for (secs, text) in cases {
            assert_eq!(span_up(secs), text, "{secs}");
        }
    }

    #[test]
    fn a_measured_time_keeps_tenths_while_they_matter() {
        for (ms, text) in
            [(0, "under 1 s"), (999, "999 ms"), (1_000, "1.0 s"), (1_960, "2.0 s"), (9_960, "10 s"), (61_000, "61 s")]
        {
            assert_eq!(measured(ms), text, "{ms}");
        }
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(123_456), "123\u{202f}456");
    }

    #[test]
    fn a_job_name_is_one_word_of_a_shell() {
        assert_eq!(shell_word("social"), "social");
        assert_eq!(shell_word("it's $(rm -rf x)"), r"'it'\''s $(rm -rf x)'");
        assert_eq!(job_word(&JobName::new("-n").unwrap()), "-- -n");
    }
}
