//! One HTML file: no script, nothing fetched, light and dark, phone and paper.
//!
//! Failures come first. Colour never stands alone: every state is a word with a mark. `maud` escapes every value.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::html_job::job_section;
use super::html_marks::{gap_list, mark, standing};
use super::model::{Cell, JobReport, ReportModel, Standing};
use super::wording::{
    MISMATCHES_SHOWN_MAX, backup_command, copy_troubles, count, minute, next_command, sentence, span_up, summary,
};
use super::{Answer, Rendering, Word};
use crate::domain::{Mismatch, Verdict};

const STYLE: &str = include_str!("style.css");

pub(super) fn render(rendering: &Rendering<'_>) -> String {
    let model = rendering.model;
    let answer = &rendering.answer;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (answer.word.text()) " · Lifeboat on " (model.host) ", " (minute(model.generated_at)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (top(model, answer))
                    (attention(model))
                    (matrix(model))
                    @for (job, answer) in model.jobs.iter().zip(&answer.jobs) { (job_section(job, answer)) }
                    @if !model.limits.is_empty() {
                        section { h2 { "What no restore test here shows" } (gap_list(&model.limits)) }
                    }
                }
                footer {
                    p { "SHA-256 of the JSON record that this page shows: " span.id { (rendering.record_sha256) } }
                    p { "Lifeboat " (model.lifeboat) ", record version " (model.record) }
                }
            }
        }
    };
    page.into_string()
}

fn top(model: &ReportModel, answer: &Answer) -> Markup {
    let tone = match answer.word {
        Word::Yes => "tone-good",
        Word::YesBut => "tone-warn",
        Word::No | Word::Unknown => "tone-bad",
    };
    // The sentence begins with the word; it is set apart here.
    let rest = answer.sentence.strip_prefix(answer.word.text()).unwrap_or(&answer.sentence);
    let restoring = answer.jobs.iter().filter(|job| !job.from.is_empty()).count();
    let unknown = || "unknown".to_owned();
    html! {
        header class=(tone) {
            p.question { "Could we recover now?" }
            h1 { b { (answer.word.text()) } (unbroken(rest)) }
            p.meta {
                "Host " (model.host) ", " (minute(model.generated_at))
                @if let Some(since) = model.since { ", runs since " (minute(since)) }
            }
            dl.figures {
                div { dt { "Jobs that restore" } dd { (restoring) " of " (model.jobs.len()) } }
                div { dt { "Targets that restore every job" } dd { (answer.from.len()) " of " (model.targets().len()) } }
                div { dt { "Data lost, at most" } dd { (answer.lose_secs.map_or_else(unknown, span_up)) } }
                div { dt { "Time needed, about" } dd { (answer.need_secs.map_or_else(unknown, span_up)) } }
            }
        }
    }
}

/// Keeps a number and its unit on one line.
fn unbroken(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for c in text.chars() {
        let after_digit = kept.chars().next_back().is_some_and(|before| before.is_ascii_digit());
        kept.push(if c == ' ' && after_digit { '\u{a0}' } else { c });
    }
    kept
}

fn attention(model: &ReportModel) -> Markup {
    let failures = model.failures();
    let copies: Vec<_> =
        model.jobs.iter().flat_map(|job| copy_troubles(job).into_iter().map(move |trouble| (job, trouble))).collect();
    if failures.is_empty() && copies.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Needs attention " small { (failures.len() + copies.len()) } }
            @for cell in &failures { (failure(cell)) }
            @for (job, (target, why)) in &copies {
                article.trouble.tone-warn {
                    h3 { (mark("warn", "✗", "Copy missing")) " " (job.name) " to " (target) }
                    p { (why) "." }
                    (next(&backup_command(&job.name)))
                }
            }
        }
    }
}

fn failure(cell: &Cell<'_>) -> Markup {
    let tone = if cell.standing() == Standing::Unproven { "tone-warn" } else { "tone-bad" };
    html! {
        article class={ "trouble " (tone) } {
            h3 { (standing(cell.standing())) " " (cell.job.name) " from " (cell.target) }
            p {
                (sentence(&summary(cell)))
                @if let Some(test) = cell.newest {
                    span.soft { " Snapshot " span.id { (test.snapshot) } ", tested " (minute(test.at)) "." }
                }
            }
            @if let Some(Verdict::Failed { mismatches, .. }) = cell.newest.map(|test| &test.verdict) {
                (mismatch_table(mismatches))
            }
            (next(&next_command(cell)))
        }
    }
}

fn mismatch_table(mismatches: &[Mismatch]) -> Markup {
    html! {
        div.scroll { table.stack {
            thead { tr { th { "What" } th { "Difference" } th { "Expected" } th { "Actual" } } }
            tbody {
                @for mismatch in mismatches.iter().take(MISMATCHES_SHOWN_MAX) {
                    tr {
                        th.name scope="row" { (mismatch.what) }
                        td.name data-label="Difference" { (mismatch.difference) }
                        td.name data-label="Expected" { code { (mismatch.expected) } }
                        td.name data-label="Actual" { code { (mismatch.actual) } }
                    }
                }
            }
        } }
        @if mismatches.len() > MISMATCHES_SHOWN_MAX {
            p.soft { "and " (count((mismatches.len() - MISMATCHES_SHOWN_MAX) as u64)) " more in the JSON record" }
        }
    }
}

fn next(command: &str) -> Markup {
    html! { div.next { span { "Run next" } pre { code { (command) } } } }
}

fn matrix(model: &ReportModel) -> Markup {
    let targets = model.targets();
    if targets.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Where each job restores from" }
            div.scroll { table {
                thead { tr { th { "Job" } @for target in &targets { th { (target) } } } }
                tbody {
                    @for job in &model.jobs {
                        tr {
                            th.name scope="row" { (job.name) }
                            @for target in &targets { (matrix_cell(job, target.as_str())) }
                        }
                    }
                }
            } }
        }
    }
}

fn matrix_cell(job: &JobReport, target: &str) -> Markup {
    let cells = job.cells();
    let Some(cell) = cells.iter().find(|cell| cell.target.as_str() == target) else {
        return html! { td.soft { "no copy intended" } };
    };
    html! {
        td {
            (standing(cell.standing()))
            @if let Some(test) = cell.newest { span.when { (minute(test.at)) } }
        }
    }
}
