//! Fingerprints, inventories, checks: what makes a verdict.
//!
//! Proof compares what a backup recorded with what a restore gave back: content by [`fingerprint`], the catalog and the rows
//! by [`compare`] and [`inventories`], and whatever the job asks of the restored system by [`checks`]. What it must never do: read the live source, or
//! decide that something is good enough; a difference is named and counted, the verdict follows from it.
//!
//! Memory: one hasher a lane; two lines an inventory comparison; [`rows::MEMORY_BYTES_MAX`] for counting differing rows.

pub mod checks;
pub mod compare;
pub mod error;
pub mod fingerprint;
pub mod inventories;
pub mod rows;
pub mod sink;
pub mod statements;

pub use checks::client::count_rows;
pub use checks::{Check, Restored, run_checks};
pub use compare::{GroupComparison, NamedRecords, Side, compare_groups, row_difference};
pub use error::ProofError;
pub use fingerprint::{RecordHasher, UnfinishedRecord};
pub use inventories::{InventoryComparison, compare_inventories};
pub use rows::{Examples, RowCounts, RowDifference, RowSide};
pub use sink::{FingerprintSink, SinkResults};
pub use statements::compare_statements;
