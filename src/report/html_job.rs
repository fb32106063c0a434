//! The part of the HTML page that tells one job in full: its backup, its copies, the evidence of its tests, its history.

use maud::{Markup, html};

use super::JobAnswer;
use super::html_marks::{gap_list, mark, standing};
use super::model::{BackupLine, Cell, CopyState, JobReport, Outcome, RunLine, TestLine};
use super::wording::{RUNS_SHOWN_MAX, capital, count, measured, minute, plural, span_up, summary};
use crate::domain::verdict::CheckResult;
use crate::domain::words::{Words, words};
use crate::domain::{Evidence, Verdict, human_bytes};

pub(super) fn job_section(job: &JobReport, answer: &JobAnswer) -> Markup {
    html! {
        section {
            h2 { (job.name) " " small { (job.kind) } }
            dl.facts {
                dt { "Would lose at most" }
                dd { (objective(answer.lose_secs, job.objectives.rpo_secs, answer.rpo_met)) }
                dt { "Would need about" }
                dd { (objective(answer.need_secs, job.objectives.rto_secs, answer.rto_met)) }
                (backup_facts(&job.kind, job.last_backup.as_ref()))
            }
            @if let Some(backup) = &job.last_backup { (copies(backup)) }
            @if !job.targets.is_empty() {
                h4 { "Restore tests, newest of each target" }
                @for cell in job.cells() { (evidence(&cell)) }
            }
            @if let Some(gaps) = job.last_backup.as_ref().map(|backup| &backup.gaps).filter(|gaps| !gaps.is_empty()) {
                h4 { "Not in the backup" }
                (gap_list(gaps))
            }
            @if !job.limits.is_empty() {
                h4 { "Not shown by the restore tests" }
                (gap_list(&job.limits))
            }
            (history(&job.history))
        }
    }
}

fn objective(seen: Option<u64>, limit: Option<u64>, met: Option<bool>) -> Markup {
    html! {
        (seen.map_or_else(|| "unknown, not proven".to_owned(), span_up)) " "
        @match (limit, met) {
            (Some(limit), Some(true)) => (mark("good", "✓", &format!("objective {} met", span_up(limit)))),
            (Some(limit), _) => (mark("bad", "✗", &format!("objective {} missed", span_up(limit)))),
            (None, _) => span.soft { "(no objective set)" },
        }
    }
}

fn backup_facts(kind: &str, backup: Option<&BackupLine>) -> Markup {
    let Some(backup) = backup else {
        return html! { dt { "Last backup" } dd { (mark("bad", "✗", "none")) } };
    };
    html! {
        dt { "Last backup" }
        dd { "begun " (minute(backup.at)) ", took " (measured(backup.duration_ms)) ", snapshot " span.id { (backup.snapshot) } }
        dt { "Read" }
        dd { (human_bytes(backup.bytes_read)) @if words(kind).has_rows() { ", " (plural(backup.rows, words(kind).rows)) } }
        dt { "New bytes stored" }
        dd { (human_bytes(backup.bytes_stored)) }
        @if backup.instants.len() > 1 {
            dt { "Instants" }
            dd { @for instant in &backup.instants { (instant.of) " at " (instant.at) br; } }
        }
    }
}

fn copies(backup: &BackupLine) -> Markup {
    html! {
        h4 { "Copies of the last backup" }
        div.scroll { table {
            thead { tr { th { "Target" } th { "State" } th { "Place" } } }
            tbody {
                @for copy in &backup.copies {
                    tr {
                        th.name scope="row" { (copy.target) }
                        td {
                            @match &copy.state {
                                CopyState::Committed => (mark("good", "✓", "Committed")),
                                CopyState::Lagging => (mark("warn", "…", "Lagging")),
                                CopyState::Failed { error } => {
                                    (mark("bad", "✗", "Failed")) " " (error)
                                }
                            }
                            @if let Some(at) = copy.at { span.when { (minute(at)) } }
                        }
                        td.wide.soft { (copy.place) }
                    }
                }
            }
        } }
    }
}

/// Closed by default: the line says the result, the inside holds what a sceptic asks for.
fn evidence(cell: &Cell<'_>) -> Markup {
    let Some(test) = cell.newest else {
        return html! { p.untested { (standing(cell.standing())) " " (cell.target) span.soft { ", " (summary(cell)) } } };
    };
    html! {
        details {
            summary { (standing(cell.standing())) " " (cell.target) span.soft { ", " (summary(cell)) } }
            div {
                (test_facts(test))
                @if let Verdict::Proven { evidence } | Verdict::Failed { evidence, .. } = &test.verdict {
                    (compared(evidence, words(&cell.job.kind)))
                    @if !evidence.checks.is_empty() { (checks(&evidence.checks)) }
                }
            }
        }
    }
}

fn test_facts(test: &TestLine) -> Markup {
    let measured_of = &test.measured;
    html! {
        dl.facts {
            dt { "Tested" } dd { (minute(test.at)) }
            dt { "Snapshot" } dd { span.id { (test.snapshot) } ", dump begun " (minute(test.dumped_at)) }
            dt { "Restored into" } dd { (measured_of.scratch) }
            dt { "Recovery took" }
            dd {
                (measured(measured_of.recovery_ms)) " for " (human_bytes(measured_of.bytes))
                " (fetch " (measured(measured_of.fetch_ms)) ", load " (measured(measured_of.load_ms)) ")"
            }
            dt { "Proof took" }
            dd { "compare " (measured(measured_of.compare_ms)) ", checks " (measured(measured_of.check_ms)) }
        }
    }
}

fn compared(evidence: &Evidence, words: Words) -> Markup {
    let [groups, rows] = [words.groups[1], words.rows[1]];
    html! {
        h4 { "Found equal" }
        div.scroll { table.narrow {
            thead { tr { th { "What" } th.num { "How many" } } }
            tbody {
                tr { td { (capital(groups)) ", by fingerprint" } td.num { (count(evidence.groups)) } }
                @if words.has_rows() { tr { td { (capital(rows)) " in them" } td.num { (count(evidence.rows)) } } }
                tr { td { "Bytes in them" } td.num { (human_bytes(evidence.bytes)) } }
                @if words.has_rows() {
                    tr { td { (capital(groups)) " whose " (rows) " the server counted to the same number" } td.num { (count(evidence.engine_counts)) } }
                }
                @if words.has_catalog { tr { td { "Catalog objects" } td.num { (count(evidence.objects)) } } }
                @if let Some(sampled) = &evidence.sampled {
                    tr { td { "Contents read back (" (sampled.sentence()) ")" } td.num { (count(sampled.taken)) } }
                }
                @for (kind, number) in &evidence.objects_by_kind {
                    tr { td.soft { "of these, " (kind) } td.num.soft { (count(*number)) } }
                }
            }
        } }
    }
}

fn checks(checks: &[CheckResult]) -> Markup {
    html! {
        h4 { "Checks" }
        div.scroll { table {
            thead { tr { th { "Check" } th { "Result" } th { "Expected" } th { "Actual" } } }
            tbody {
                @for check in checks {
                    tr {
                        td.wide { (check.check) }
                        td { @if check.held { (mark("good", "✓", "Held")) } @else { (mark("bad", "✗", "Did not hold")) } }
                        td.name { code { (check.expected) } }
                        td.name { code { (check.actual) } }
                    }
                }
            }
        } }
    }
}

fn history(runs: &[RunLine]) -> Markup {
    if runs.is_empty() {
        return html! {};
    }
    html! {
        h4 { "History" }
        details {
            summary {
                (count(runs.len() as u64)) @if runs.len() == 1 { " run" } @else { " runs" }
                span.soft { ", " (runs.iter().filter(|run| !run.outcome.is_good()).count()) " of them not done" }
            }
            div.scroll { table {
                thead { tr {
                    th { "When" } th { "Verb" } th { "Outcome" } th { "Target" }
                    th.num { "Took" } th.num { "Read" } th.num { "Stored" } th { "Message" }
                } }
                tbody { @for run in runs.iter().take(RUNS_SHOWN_MAX) { (history_row(run)) } }
            } }
        }
    }
}

fn history_row(run: &RunLine) -> Markup {
    let (tone, sign) = match run.outcome {
        Outcome::Done => ("good", "✓"),
        Outcome::Skipped | Outcome::Cancelled | Outcome::Unproven | Outcome::Partial => ("warn", "…"),
        Outcome::Failed => ("bad", "✗"),
    };
    html! {
        tr {
            td.nowrap { (minute(run.at)) }
            td.nowrap { (run.verb) }
            td { (mark(tone, sign, run.outcome.word())) }
            td { @if let Some(target) = &run.target { (target) } }
            td.num { (measured(run.duration_ms)) }
            td.num { (human_bytes(run.bytes_read)) }
            td.num { (human_bytes(run.bytes_stored)) }
            td.wide { (run.message) }
        }
    }
}
