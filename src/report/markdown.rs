//! Markdown, for tickets, mail and terminals: the same order as the HTML, without its evidence in full.

use std::fmt::Write;

use super::model::{Cell, CopyState, JobReport, Outcome, ReportModel};
use super::wording::{
    MISMATCHES_SHOWN_MAX, RUNS_SHOWN_MAX, backup_command, copy_troubles, count, measured, minute, next_command, plural,
    sentence, span_up, standing_mark, standing_word, summary,
};
use super::{JobAnswer, Rendering};
use crate::domain::words::words;
use crate::domain::{Gap, Verdict, human_bytes};

pub(super) fn render(rendering: &Rendering<'_>) -> String {
    let model = rendering.model;
    let mut page = Page(String::new());
    page.line(&format!("# {}", text(&rendering.answer.sentence)));
    let since = model.since.map_or_else(String::new, |since| format!(", runs since {}", minute(since)));
    page.line(&format!("Lifeboat on {}, {}{since}.", text(&model.host), minute(model.generated_at)));
    attention(&mut page, model);
    matrix(&mut page, model);
    for (job, answer) in model.jobs.iter().zip(&rendering.answer.jobs) {
        job_section(&mut page, job, answer);
    }
    if !model.limits.is_empty() {
        page.line("## What no restore test here shows");
        gaps(&mut page, &model.limits);
    }
    page.line("---");
    page.line(&format!("Record SHA-256 `{}`, Lifeboat {}.", rendering.record_sha256, text(&model.lifeboat)));
    page.0
}

/// Blocks with an empty line between them.
struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn table(&mut self, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = format!("| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
        for row in rows {
            write!(table, "\n| {} |", row.join(" | ")).expect("a String takes every write");
        }
        self.line(&table);
    }
}

fn attention(page: &mut Page, model: &ReportModel) {
    let failures = model.failures();
    let troubles: Vec<_> =
        model.jobs.iter().map(|job| (job, copy_troubles(job))).filter(|(_, t)| !t.is_empty()).collect();
    if failures.is_empty() && troubles.is_empty() {
        return;
    }
    page.line("## Needs attention");
    for cell in failures {
        failure(page, &cell);
    }
    for (job, troubles) in troubles {
        for (target, why) in troubles {
            page.line(&format!("### ✗ Backup of {} to {}", text(job.name.as_str()), text(target.as_str())));
            page.line(&text(&why));
            page.line(&code_block(&backup_command(&job.name)));
        }
    }
}

fn failure(page: &mut Page, cell: &Cell<'_>) {
    let standing = cell.standing();
    page.line(&format!(
        "### {} {}: {} from {}",
        standing_mark(standing),
        standing_word(standing),
        text(cell.job.name.as_str()),
        text(cell.target.as_str())
    ));
    let tested = cell
        .newest
        .map_or_else(String::new, |test| format!(" Snapshot `{}`, tested {}.", test.snapshot, minute(test.at)));
    page.line(&format!("{}{tested}", text(&sentence(&summary(cell)))));
    if let Some(Verdict::Failed { mismatches, .. }) = cell.newest.map(|test| &test.verdict) {
        let shown = mismatches.iter().take(MISMATCHES_SHOWN_MAX);
        page.table(
            &["What", "Difference", "Expected", "Actual"],
            shown.map(|m| vec![text(&m.what), text(&m.difference), text(&m.expected), text(&m.actual)]),
        );
        if mismatches.len() > MISMATCHES_SHOWN_MAX {
            let more = count((mismatches.len() - MISMATCHES_SHOWN_MAX) as u64);
            page.line(&format!("and {more} more in the JSON record."));
        }
    }
    page.line(&code_block(&next_command(cell)));
}

fn matrix(page: &mut Page, model: &ReportModel) {
    let targets = model.targets();
    if targets.is_empty() {
        return;
    }
    page.line("## Restores, job by target");
    let mut head = vec!["Job".to_owned()];
    head.extend(targets.iter().map(|target| text(target.as_str())));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows = model.jobs.iter().map(|job| {
        let cells = job.cells();
        let mut row = vec![text(job.name.as_str())];
        row.extend(targets.iter().map(|target| {
            cells.iter().find(|cell| cell.target == *target).map_or_else(
                || "not a target of this job".to_owned(),
                |cell| {
                    let standing = cell.standing();
                    let at = cell.newest.map_or_else(String::new, |test| format!(", {}", minute(test.at)));
                    format!("{} {}{at}", standing_mark(standing), standing_word(standing))
                },
            )
        }));
        row
    });
    page.table(&head, rows);
}

fn job_section(page: &mut Page, job: &JobReport, answer: &JobAnswer) {
    page.line(&format!("## {} ({})", text(job.name.as_str()), text(&job.kind)));
    let mut facts = String::new();
    for (name, limit, seen, met) in [
        ("Would lose at most", job.objectives.rpo_secs, answer.lose_secs, answer.rpo_met),
        ("Would need about", job.objectives.rto_secs, answer.need_secs, answer.rto_met),
    ] {
        let seen = seen.map_or_else(|| "unknown, not proven".to_owned(), span_up);
        let objective = match (limit, met) {
            (Some(limit), Some(true)) => format!(" (✓ objective {})", span_up(limit)),
            (Some(limit), _) => format!(" (✗ misses the objective of {})", span_up(limit)),
            (None, _) => " (no objective set)".to_owned(),
        };
        writeln!(facts, "- {name}: {seen}{objective}").expect("a String takes every write");
    }
    match &job.last_backup {
        None => facts.push_str("- Last backup: ✗ none\n"),
        Some(backup) => {
            writeln!(
                facts,
                "- Last backup: `{}`, begun {}, {} read, {}, {} new stored, {}",
                backup.snapshot,
                minute(backup.at),
                human_bytes(backup.bytes_read),
                plural(backup.rows, words(&job.kind).rows),
                human_bytes(backup.bytes_stored),
                measured(backup.duration_ms)
            )
            .expect("a String takes every write");
            if backup.instants.len() > 1 {
                for instant in &backup.instants {
                    writeln!(facts, "- Instant of {}: {}", text(&instant.of), text(&instant.at))
                        .expect("a String takes every write");
                }
            }
        }
    }
    page.line(facts.trim_end());
    if let Some(backup) = &job.last_backup {
        let rows = backup.copies.iter().map(|copy| {
            let state = match &copy.state {
                CopyState::Committed => "✓ committed".to_owned(),
                CopyState::Lagging => "✗ lagging".to_owned(),
                CopyState::Failed { error } => format!("✗ failed: {}", text(error)),
            };
            let at = copy.at.map_or_else(|| "never".to_owned(), minute);
            vec![text(copy.target.as_str()), text(&copy.place), state, at]
        });
        page.table(&["Copy at", "Place", "State", "Since"], rows);
        if !backup.gaps.is_empty() {
            page.line("Not in the backup:");
            gaps(page, &backup.gaps);
        }
    }
    tests_table(page, job);
    if !job.limits.is_empty() {
        page.line("Not shown by the restore tests:");
        gaps(page, &job.limits);
    }
    history(page, job);
}

fn tests_table(page: &mut Page, job: &JobReport) {
    let rows: Vec<Vec<String>> = job
        .cells()
        .iter()
        .filter_map(|cell| cell.newest.map(|test| (cell, test)))
        .map(|(cell, test)| {
            vec![
                text(cell.target.as_str()),
                format!("`{}`", test.snapshot),
                minute(test.at),
                standing_word(cell.standing()).to_owned(),
                text(&summary(cell)),
                measured(test.measured.recovery_ms),
            ]
        })
        .collect();
    if !rows.is_empty() {
        page.table(&["Restored from", "Snapshot", "Tested", "Verdict", "Seen", "Recovery"], rows);
    }
}

fn history(page: &mut Page, job: &JobReport) {
    if job.history.is_empty() {
        return;
    }
    let shown = job.history.iter().take(RUNS_SHOWN_MAX);
    let rows = shown.map(|run| {
        let mark = if run.outcome.is_good() {
            "✓"
        } else if run.outcome == Outcome::Skipped {
            "–"
        } else {
            "✗"
        };
        let target = run.target.as_ref().map_or_else(String::new, |target| text(target.as_str()));
        vec![
            minute(run.at),
            text(&run.verb),
            format!("{mark} {}", run.outcome.word()),
            target,
            measured(run.duration_ms),
            text(&run.message),
        ]
    });
    page.table(&["Run", "Verb", "Outcome", "Target", "Took", "Message"], rows);
}

fn gaps(page: &mut Page, gaps: &[Gap]) {
    let lines: Vec<String> = gaps.iter().map(|gap| format!("- {}: {}", text(&gap.what), text(&gap.why))).collect();
    page.line(&lines.join("\n"));
}

fn code_block(command: &str) -> String {
    format!("    {command}")
}

/// Text from outside, so that it stays text: on one line, no markup, no HTML. Names in backticks stay readable, because
/// the escape is invisible once rendered.
fn text(raw: &str) -> String {
    let mut safe = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
