//! Could we recover now, from which targets, losing how much, in how long: the first line of every report.
//!
//! Conservative throughout. Only a restore test that ended in `Proven` counts, and only if it is the newest of its target:
//! an older success does not outweigh a newer failure. Loss is counted from the start of the dump, durations are rounded
//! up, and where several targets count, the worst of them is told.

use jiff::Timestamp;
use serde::Serialize;

use super::model::{Cell, JobReport, ReportModel, Standing};
use super::wording::{join_names, span_up};
use crate::domain::{JobName, TargetName};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub word: Word,
    /// The whole answer as one line: `Yes: all 3 jobs restore from 2 of 2 targets; you would lose at most 26 h of data and
    /// need about 4 min.`
    pub sentence: String,
    /// The targets from which every job restores.
    pub from: Vec<TargetName>,
    /// The most that would be lost, over all jobs; absent while a job does not restore.
    pub lose_secs: Option<u64>,
    /// All jobs one after the other, each from its slowest proven target; absent while a job does not restore.
    pub need_secs: Option<u64>,
    pub jobs: Vec<JobAnswer>,
}

/// The answer for one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobAnswer {
    pub job: JobName,
    /// Targets whose newest restore test proved the job.
    pub from: Vec<TargetName>,
    /// From the best of these targets to the worst the loss may differ: this is the worst.
    pub lose_secs: Option<u64>,
    pub need_secs: Option<u64>,
    /// `None` where the job states no objective. An objective that nothing shows to be met is not met.
    pub rpo_met: Option<bool>,
    pub rto_met: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Every job restores from every one of its targets, within its objectives.
    Yes,
    /// Every job restores from at least one target, but not all is well.
    YesBut,
    /// At least one job was not shown to restore from any target.
    No,
    /// Nothing was ever shown, either way.
    Unknown,
}

impl Word {
    pub fn text(self) -> &'static str {
        match self {
            Self::Yes => "Yes",
            Self::YesBut => "Yes, but",
            Self::No => "No",
            Self::Unknown => "Unknown",
        }
    }
}

/// Draws the answer from the facts; pure.
pub fn answer(model: &ReportModel) -> Answer {
    let jobs: Vec<JobAnswer> = model.jobs.iter().map(|job| answer_job(job, model.generated_at)).collect();
    let all_restore = !jobs.is_empty() && jobs.iter().all(|job| !job.from.is_empty());
    let sum_or_none = |values: Vec<Option<u64>>| values.into_iter().sum::<Option<u64>>().filter(|_| all_restore);
    let lose_secs =
        jobs.iter().map(|job| job.lose_secs).collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max());
    let need_secs = sum_or_none(jobs.iter().map(|job| job.need_secs).collect());
    let from: Vec<TargetName> = model
        .targets()
        .into_iter()
        .filter(|target| !jobs.is_empty() && jobs.iter().all(|job| job.from.contains(target)))
        .cloned()
        .collect();
    let mut answer = Answer {
        word: Word::No,
        sentence: String::new(),
        from,
        lose_secs: lose_secs.filter(|_| all_restore),
        need_secs,
        jobs,
    };
    answer.word = word(model, &answer);
    answer.sentence = format!(
        "{}{}",
        answer.word.text(),
        match answer.word {
            Word::Unknown => format!(": {}.", unknown(model)),
            Word::No => format!(": {}.", no(model, &answer)),
            Word::Yes => format!(": {}; {}.", yes(model, &answer), cost(&answer)),
            Word::YesBut => format!(" {}; {}.", but(model, &answer), cost(&answer)),
        }
    );
    answer
}

fn answer_job(job: &JobReport, now: Timestamp) -> JobAnswer {
    let cells = job.cells();
    let proven: Vec<&Cell<'_>> = cells.iter().filter(|cell| cell.standing() == Standing::Proven).collect();
    let tests = || proven.iter().filter_map(|cell| cell.newest);
    // A dump "from the future" means that a clock is wrong: the loss is then unknown, not zero.
    let lose_secs = tests()
        .map(|test| u64::try_from(now.as_second() - test.dumped_at.as_second()).ok())
        .collect::<Option<Vec<u64>>>()
        .and_then(|ages| ages.into_iter().max());
    let need_secs = tests().map(|test| test.measured.recovery_ms.div_ceil(1000)).max();
    let met = |objective: Option<u64>, seen: Option<u64>| objective.map(|limit| seen.is_some_and(|seen| seen <= limit));
    JobAnswer {
        job: job.name.clone(),
        from: proven.iter().map(|cell| cell.target.clone()).collect(),
        lose_secs,
        need_secs,
        rpo_met: met(job.objectives.rpo_secs, lose_secs),
        rto_met: met(job.objectives.rto_secs, need_secs),
    }
}

fn word(model: &ReportModel, answer: &Answer) -> Word {
    let standings: Vec<Standing> = model.jobs.iter().flat_map(JobReport::cells).map(|cell| cell.standing()).collect();
    let nothing_shown = standings.iter().all(|standing| matches!(standing, Standing::NotTested | Standing::Unproven));
    let never_backed_up = model.jobs.iter().any(|job| job.last_backup.is_none() && job.tests.is_empty());
    if model.jobs.is_empty() || (nothing_shown && !never_backed_up) {
        Word::Unknown
    } else if answer.jobs.iter().any(|job| job.from.is_empty()) {
        Word::No
    } else if standings.iter().any(|standing| *standing != Standing::Proven)
        || answer.jobs.iter().any(|job| job.rpo_met == Some(false) || job.rto_met == Some(false))
        || answer.lose_secs.is_none()
    {
        Word::YesBut
    } else {
        Word::Yes
    }
}

fn unknown(model: &ReportModel) -> String {
    if model.jobs.is_empty() {
        return "no job is configured".to_owned();
    }
    let tried = model.failures().iter().filter(|cell| cell.standing() == Standing::Unproven).count();
    match tried {
        0 => "never restored".to_owned(),
        1 => "never restored; 1 restore test ran and could not prove anything".to_owned(),
        tried => format!("never restored; {tried} restore tests ran and could not prove anything"),
    }
}

/// Names what every job that does not restore lacks; the worst standing of its targets says why.
fn no(model: &ReportModel, answer: &Answer) -> String {
    let mut failed = vec![];
    let mut unproven = vec![];
    let mut not_tested = vec![];
    let mut no_backup = vec![];
    for (job, _) in model.jobs.iter().zip(&answer.jobs).filter(|(_, answer)| answer.from.is_empty()) {
        let worst = job.cells().iter().map(Cell::standing).max();
        match worst {
            _ if job.last_backup.is_none() && job.tests.is_empty() => no_backup.push(job.name.as_str()),
            Some(Standing::Failed) => failed.push(job.name.as_str()),
            Some(Standing::Unproven) => unproven.push(job.name.as_str()),
            Some(Standing::NotTested | Standing::Proven) | None => not_tested.push(job.name.as_str()),
        }
    }
    let all = model.jobs.len();
    let lacking = failed.len() + unproven.len() + not_tested.len() + no_backup.len();
    let mut reasons = vec![];
    for (names, one, many) in [
        (no_backup, "has no backup", "have no backup"),
        (failed, "failed to restore", "failed to restore"),
        (unproven, "could not be proven", "could not be proven"),
        (not_tested, "was never restored", "were never restored"),
    ] {
        match names.len() {
            0 => {}
            1 => reasons.push(format!("{} {one}", join_names(&names))),
            _ => reasons.push(format!("{} {many}", join_names(&names))),
        }
    }
    let head = match (lacking, all) {
        (1, 1) => "the only job is not shown to restore".to_owned(),
        (1, all) => format!("1 of {all} jobs is not shown to restore"),
        (lacking, all) => format!("{lacking} of {all} jobs are not shown to restore"),
    };
    format!("{head}; {}", reasons.join(", "))
}

fn yes(model: &ReportModel, answer: &Answer) -> String {
    let all = model.targets().len();
    if answer.from.len() == all {
        let targets = match all {
            1 => "the only target".to_owned(),
            all => format!("{all} of {all} targets"),
        };
        return format!("{} from {targets}", all_jobs(model));
    }
    format!("{} from every target that each of them has", all_jobs(model))
}

fn all_jobs(model: &ReportModel) -> String {
    match model.jobs.len() {
        1 => "the only job restores".to_owned(),
        2 => "both jobs restore".to_owned(),
        jobs => format!("all {jobs} jobs restore"),
    }
}

/// Says what keeps a yes from being a plain one, targets first.
fn but(model: &ReportModel, answer: &Answer) -> String {
    let mut troubles = vec![];
    let failures = model.failures();
    if !failures.is_empty() {
        let all = model.targets().len();
        let names: Vec<&str> = answer.from.iter().map(TargetName::as_str).collect();
        troubles.push(if names.is_empty() {
            "no single target restores every job".to_owned()
        } else if names.len() < all {
            format!("only from {} of {all} targets ({})", names.len(), join_names(&names))
        } else {
            "not from every target".to_owned()
        });
    }
    let missing = |pick: fn(&JobAnswer) -> Option<bool>| -> Vec<&str> {
        answer.jobs.iter().filter(|job| pick(job) == Some(false)).map(|job| job.job.as_str()).collect()
    };
    for (names, objective) in [(missing(|job| job.rpo_met), "RPO"), (missing(|job| job.rto_met), "RTO")] {
        match names.len() {
            0 => {}
            1 => troubles.push(format!("{} misses its {objective}", join_names(&names))),
            _ => troubles.push(format!("{} miss their {objective}", join_names(&names))),
        }
    }
    if troubles.is_empty() {
        troubles.push("a clock is wrong, a proven dump began in the future".to_owned());
    }
    troubles.join(", and ")
}

fn cost(answer: &Answer) -> String {
    let lose = answer.lose_secs.map_or_else(
        || "lose an unknown amount of data".to_owned(),
        |secs| format!("lose at most {} of data", span_up(secs)),
    );
    let need = answer
        .need_secs
        .map_or_else(|| "need an unknown time".to_owned(), |secs| format!("need about {}", span_up(secs)));
    format!("you would {lose} and {need}")
}
