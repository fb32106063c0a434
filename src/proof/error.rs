//! What can stop a comparison, as opposed to what a comparison finds.

use std::path::PathBuf;

use crate::domain::{SinkError, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A temporary file of ours could not be written or read.
    #[error("temporary file `{}`: {source}", path.display())]
    Spool { path: PathBuf, source: std::io::Error },
    /// A dump that was only fingerprinted did not come to its end.
    #[error("{0}")]
    Incomplete(#[from] SinkError),
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An inventory is not what an inventory must be.
    #[error("the {side} inventory, line {line}: {why}")]
    Inventory { side: &'static str, line: u64, why: String },
    /// The statements of a group could not be read again.
    #[error("the {side} statements: {why}")]
    Statements { side: &'static str, why: String },
    /// A restored system could not be asked.
    #[error("{what}: {why}")]
    Query { what: String, why: String },
}
