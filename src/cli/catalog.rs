//! `catalog rebuild`.

use serde::Serialize;

use super::args::CatalogRebuildArgs;
use super::output::Output;
use crate::catalog::{CopyRow, SnapshotRow};
use crate::operations::{OperationError, Session, snapshots};
use crate::repository::layout::ContentName;

#[derive(Serialize)]
struct Rebuilt {
    snapshots: usize,
    targets: usize,
}

/// Takes every verified root of the targets into the catalog. Runs and proofs of the past are not in a repository.
pub async fn rebuild(session: &Session, output: &Output, args: &CatalogRebuildArgs) -> Result<(), OperationError> {
    let names = match &args.from {
        Some(name) => vec![name.clone()],
        None => session.config.targets.keys().cloned().collect(),
    };
    let mut rebuilt = Rebuilt { snapshots: 0, targets: 0 };
    for target in session.targets(&names).await? {
        let listing = snapshots::list(session, &target).await?;
        for problem in &listing.problems {
            session.warn("", format!("target `{}`: {problem}", target.name));
        }
        rebuilt.targets += 1;
        for found in &listing.snapshots {
            let root = &found.root;
            let row = SnapshotRow {
                id: root.snapshot.to_string(),
                job: root.job.to_string(),
                writer: root.writer.to_string(),
                sequence: root.sequence,
                root_sum: ContentName::of(&root.encode()).hex(),
                started: root.started.clone(),
                finished: root.finished.clone(),
                raw_bytes: root.raw_bytes,
                added_bytes: root.added_bytes,
                rows: 0,
                instants: "[]".to_owned(),
                gaps: "[]".to_owned(),
            };
            let copy = CopyRow {
                snapshot: row.id.clone(),
                target: target.name.to_string(),
                place: target.target.place(),
                state: "committed".to_owned(),
                at: Some(root.finished.clone()),
                error: String::new(),
            };
            if session.catalog.put_snapshot_if_new(&row, &[copy]).await? {
                rebuilt.snapshots += 1;
            }
        }
    }
    output.result(&rebuilt, || {
        format!("{} snapshots of {} targets were taken into the catalog", rebuilt.snapshots, rebuilt.targets)
    });
    Ok(())
}
