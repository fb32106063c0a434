//! The chain of this installation's roots: each names the one before by hash, and no number is given twice.
//!
//! `chain.json` in the state folder says which root is the newest, and is durable before any target sees that root. So a run
//! that dies between two targets, a lost catalog or a target that is away never leads to two roots with one number, which
//! elsewhere would look like a forgery. Where the state folder is lost too, a new writer starts a chain of its own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable::{failed, write_durably};
use super::session::{OpenTarget, Session};
use super::{OperationError, snapshots};
use crate::domain::{ObjectKey, WriterId};
use crate::repository::layout::{self, ContentName};
use crate::repository::writer::Writer;

/// The newest root: its number and its SHA-256. Number 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub sequence: u64,
    pub sum: Option<ContentName>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    writer: WriterId,
    sequence: u64,
    sum: String,
    /// Where the root was about to be stored; empty once it is known to be stored somewhere.
    pending: Vec<String>,
}

/// The head by everything that is known: this machine's note, its catalog, and what the targets show.
pub async fn head(session: &Session, writer: &Writer, targets: &[&OpenTarget]) -> Result<Head, OperationError> {
    let mut head = Head { sequence: 0, sum: None };
    let mut take = |sequence: u64, sum: Option<ContentName>| {
        if sequence > head.sequence && sum.is_some() {
            head = Head { sequence, sum };
        }
    };
    if let Some((sequence, sum)) = session.catalog.highest_sequence(writer.id.as_str()).await? {
        take(sequence, ContentName::parse(&sum));
    }
    let mut listed = vec![];
    for target in targets {
        let prefix = format!("{}{}/", layout::SNAPSHOTS, writer.id);
        // A target that fails now gets no root either; the note below still knows what it held.
        let Ok(objects) = target.target.list(&prefix).await else { continue };
        listed.push(target.target.place());
        let mut roots: Vec<(u64, &ObjectKey)> =
            objects.iter().filter_map(|object| Some((layout::parse_root(&object.key)?.1, &object.key))).collect();
        roots.sort_unstable_by(|a, b| b.cmp(a));
        for (sequence, key) in roots {
            // What is not signed by this writer, or is damaged, does not count.
            if let Ok(found) = snapshots::read_root(target, key, std::slice::from_ref(&writer.public)).await {
                take(sequence, Some(found.sum));
                break;
            }
        }
    }
    if let Some(stored) = read(&session.config.state)?.filter(|stored| stored.writer == writer.id) {
        let nobody_has_it = !stored.pending.is_empty() && stored.pending.iter().all(|place| listed.contains(place));
        if !nobody_has_it {
            take(stored.sequence, ContentName::parse(&stored.sum));
        }
    }
    Ok(head)
}

/// Notes that this root is about to be stored at these targets.
pub fn intend(state: &Path, writer: &WriterId, head: Head, targets: &[&OpenTarget]) -> Result<(), OperationError> {
    write(state, writer, head, targets.iter().map(|target| target.target.place()).collect())
}

/// Notes that at least one target holds this root.
pub fn settle(state: &Path, writer: &WriterId, head: Head) -> Result<(), OperationError> {
    write(state, writer, head, vec![])
}

fn write(state: &Path, writer: &WriterId, head: Head, pending: Vec<String>) -> Result<(), OperationError> {
    let sum = head.sum.map(|sum| sum.hex()).unwrap_or_default();
    let stored = Stored { writer: writer.clone(), sequence: head.sequence, sum, pending };
    write_durably(&file(state), &serde_json::to_vec(&stored).expect("plain data serialises"))
}

fn read(state: &Path) -> Result<Option<Stored>, OperationError> {
    match std::fs::read(file(state)) {
        // It is replaced whole, so what does not read was not written by us; the targets and the catalog still know.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(failed(&file(state), why)),
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("chain.json")
}
