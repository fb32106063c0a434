//! What a source tells about one finished dump, beside the parts themselves.

use serde::{Deserialize, Serialize};

use super::PartName;

/// Goes into the recipe (encrypted); everything that a later load needs and that the parts do not hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The source kind's registered name: `postgres`.
    pub kind: String,
    /// One line for people, without secrets: `postgres 15.18 at db.internal, database social`.
    pub summary: String,
    /// Version of the live system, `15.18`; what a scratch instance must fit.
    pub version: String,
    /// The instant the content belongs to. Several when a job spans databases, each at its own.
    pub instants: Vec<Instant>,
    /// What was left out and why; shown in every report.
    pub gaps: Vec<Gap>,
    /// Inventory parts, compared entry by entry.
    pub inventories: Vec<PartName>,
    /// Groups of parts that together hold one thing that people name (`social/table/public.statuses` of its ranges).
    pub groups: Vec<PartGroup>,
    /// The source kind's own data, read only by its loader.
    pub details: serde_json::Value,
}

/// A moment at which one consistent view was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    /// `database social`.
    pub of: String,
    /// RFC 3339, UTC, by the source's clock.
    pub at: String,
}

/// Something that is not in the backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// `table public.audit`, `role passwords`.
    pub what: String,
    /// `excluded by the job`, `permission denied`.
    pub why: String,
}

/// One named thing of a source and the parts that hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartGroup {
    /// The name that `--only` takes and a mismatch names.
    pub name: String,
    pub parts: Vec<PartName>,
    /// Rows by the engine's own count in the same snapshot: the independent second path.
    pub engine_count: Option<u64>,
    /// False where a restore recomputes the content and equality is not promised (a materialised view).
    pub compared: bool,
}

/// A record that says by itself what it is about: a statement that sets one sequence, or writes into one large object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// `sequence public.orders_id_seq`, as an inventory names it.
    pub what: String,
    /// What it sets, for people.
    pub value: String,
}
