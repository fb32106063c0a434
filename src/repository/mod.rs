//! The repository: chunk, compress, seal, pack, index, recipe, root - and the inverses. `docs/FORMAT.md` is its contract.
//!
//! ```text
//! part -> chunks -> frames (zstd) -> pack (age) -> SealedObject ... index, recipe, root last
//! ```
//!
//! What this room must never do: talk to a target (it hands out [`crate::domain::SealedObject`]s and takes verified bytes),
//! or write a secret into an object that is not encrypted.
//!
//! Memory while writing, with `L` lanes: one open pack and one being checked (2 x [`pack::PACK_BYTES`]), the sealed packs
//! that the receiver holds, for each lane a raw and a compressed frame (about 2 x [`frame::FRAME_RAW_BYTES`]), the
//! chunk cache ([`chunk_cache::CACHE_BYTES`] and [`chunk_cache::FRESH_ENTRIES_MAX`] entries), and 16 bytes an extent.

pub mod chunk;
pub mod chunk_cache;
pub mod crypt;
pub mod frame;
pub mod index;
pub mod info;
pub mod lane;
pub mod layout;
pub mod pack;
pub mod pipeline;
pub mod recipe;
pub mod root;
mod shelf;
pub mod store;
pub mod writer;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

/// What can go wrong with a repository's own objects.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RepositoryError {
    /// The object is not what its name, its signature or its format says.
    #[error("`{object}` is damaged: {why}")]
    Damaged { object: String, why: String },
    /// No key at hand opens the object.
    #[error("`{object}` cannot be decrypted: {why}")]
    WrongKey { object: String, why: String },
    /// The signature is not by a trusted writer.
    #[error("`{object}` is not signed by a trusted writer: {why}")]
    Untrusted { object: String, why: String },
    /// Written by a newer version.
    #[error("`{object}` has format {found}; this version reads up to {known}")]
    TooNew { object: String, found: u32, known: u32 },
    /// This installation's own keys are there and do not read.
    #[error("`{file}` is damaged: {why}")]
    Writer { file: String, why: String },
    /// Something on this machine: the state folder, memory, a thread.
    #[error("{what}: {why}")]
    Local { what: String, why: String },
    #[error("cancelled")]
    Cancelled,
}

#[expect(clippy::needless_pass_by_value, reason = "both are passed to map_err")]
impl RepositoryError {
    fn damaged(object: impl Into<String>, why: impl ToString) -> Self {
        Self::Damaged { object: object.into(), why: why.to_string() }
    }

    fn local(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Local { what: what.into(), why: why.to_string() }
    }
}
