//! `snapshots`: what each target holds, by its own roots.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use serde::Serialize;

use super::args::SnapshotsArgs;
use super::output::{Output, Table};
use crate::domain::record::Instant;
use crate::domain::{Gap, TargetName, human_bytes};
use crate::operations::snapshots;
use crate::operations::{Class, OperationError, Session};

#[derive(Serialize)]
struct Shown {
    job: String,
    snapshot: String,
    started: String,
    raw_bytes: u64,
    added_bytes: u64,
    targets: Vec<String>,
    /// What it holds as of when, and what it leaves out, where the catalog knows: the roots do not tell.
    instants: Vec<Instant>,
    gaps: Vec<Gap>,
}

#[derive(Serialize)]
struct Summary {
    snapshots: Vec<Shown>,
}

pub async fn list(session: &Session, output: &Output, args: &SnapshotsArgs) -> Result<(), OperationError> {
    if let Some(job) = &args.job {
        let known = session.config.jobs.iter().any(|known| known.name == *job);
        if !known {
            session.warn("", format!("job `{job}` is not configured; showing what the targets hold of it"));
        }
    }
    let names: Vec<TargetName> = session.config.targets.keys().cloned().collect();
    let mut shown: BTreeMap<(String, u64, String), Shown> = BTreeMap::new();
    let (mut reached, mut failure) = (0, None);
    for target in session.targets(&names).await? {
        let listing = match snapshots::list(session, &target).await {
            Ok(listing) => listing,
            Err(error) => {
                session.warn("", format!("target `{}`: {error}", target.name));
                failure = Some(error);
                continue;
            }
        };
        reached += 1;
        for problem in &listing.problems {
            session.warn("", format!("target `{}`: {problem}", target.name));
        }
        for found in listing.snapshots {
            let root = found.root;
            if args.job.as_ref().is_some_and(|job| *job != root.job) {
                continue;
            }
            let entry =
                shown.entry((root.started.clone(), root.sequence, root.snapshot.to_string())).or_insert_with(|| {
                    Shown {
                        job: root.job.to_string(),
                        snapshot: root.snapshot.to_string(),
                        started: root.started,
                        raw_bytes: root.raw_bytes,
                        added_bytes: root.added_bytes,
                        targets: vec![],
                        instants: vec![],
                        gaps: vec![],
                    }
                });
            entry.targets.push(target.name.to_string());
        }
    }
    let mut summary = Summary { snapshots: shown.into_values().collect() };
    for shown in &mut summary.snapshots {
        if let Some(row) = session.catalog.snapshot(&shown.snapshot).await? {
            shown.instants = serde_json::from_str(&row.instants).unwrap_or_default();
            shown.gaps = serde_json::from_str(&row.gaps).unwrap_or_default();
        }
    }
    output.result(&summary, || text(&summary));
    match failure {
        None => Ok(()),
        Some(error) if reached == 0 => Err(error),
        Some(error) => Err(OperationError::new(Class::Partial, "not every target could be read").cause(error)),
    }
}

fn text(summary: &Summary) -> String {
    const HOLDS: &str = "a String takes every write";
    if summary.snapshots.is_empty() {
        return "no snapshots".to_owned();
    }
    let mut table = Table::new(&["job", "snapshot", "started", "content", "new", "targets"], &[3, 4]);
    for shown in &summary.snapshots {
        table.row(vec![
            shown.job.clone(),
            shown.snapshot.clone(),
            shown.started.clone(),
            human_bytes(shown.raw_bytes),
            human_bytes(shown.added_bytes),
            shown.targets.join(", "),
        ]);
    }
    let mut text = table.render();
    // The same would stand under most snapshots of a job; `--json` gives it for each.
    let mut told = HashSet::new();
    for newest in summary.snapshots.iter().rev().filter(|shown| told.insert(&shown.job)) {
        let instants = if newest.instants.len() > 1 { newest.instants.as_slice() } else { &[] };
        if !instants.is_empty() || !newest.gaps.is_empty() {
            writeln!(text, "\n{} in snapshot {}:", newest.job, newest.snapshot).expect(HOLDS);
        }
        for instant in instants {
            writeln!(text, "  {} as of {}", instant.of, instant.at).expect(HOLDS);
        }
        for gap in &newest.gaps {
            writeln!(text, "  not in the backup: {} ({})", gap.what, gap.why).expect(HOLDS);
        }
    }
    text
}
