//! What exists in a source besides its bulk data, one line an object: the second half of a proof.

use serde::{Deserialize, Serialize};

/// One object of a source's catalog with everything that a restore must give back.
///
/// An inventory is a part of shape [`crate::domain::Shape::Records`]: one JSON object a line, sorted by
/// (`kind`, `name`) as bytes, so that two inventories compare by one merge in constant memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryEntry {
    /// `table`, `index`, `sequence`, `policy`, ...
    pub kind: String,
    /// Schema-qualified and quoted as SQL would write it.
    pub name: String,
    /// Attributes by name; what differs is named in a mismatch. Values never hold ids that a restore assigns anew.
    pub attributes: serde_json::Map<String, serde_json::Value>,
}
