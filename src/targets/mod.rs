//! Stores sealed objects: one file or folder per kind of target, composed with layers in [`registry`].
//!
//! What a target must never do: see plaintext (it takes only [`SealedObject`]), read a key, or interpret what it stores.
//! Memory: an object is at most a pack (about 40 MiB) and is held once, shared by all targets.

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::domain::{ObjectKey, SealedObject};

/// One place that holds a full, independent copy of a repository.
///
/// Every implementation passes `tests/targets.rs`. After `put` returns, the object is durable and whole: a reader or a
/// listing sees all of it or nothing, also after a crash.
#[async_trait]
pub trait Target: Send + Sync {
    /// Where it is, for people, without secrets: `directory /mnt/nas/lifeboat`, `s3://bucket/prefix`.
    fn place(&self) -> String;
    /// Stores the object; repeating a `put` is harmless.
    async fn put(&self, object: &SealedObject) -> Result<(), TargetError>;
    /// Reads a whole object of at most `size_max` bytes.
    async fn get(&self, key: &ObjectKey, size_max: u64) -> Result<Bytes, TargetError>;
    /// Everything whose key starts with `prefix` (`packs/`), in any order; half-written objects are not shown.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, TargetError>;
    async fn delete(&self, key: &ObjectKey) -> Result<(), TargetError>;
    /// Shows that the target can be reached and written, leaving nothing behind.
    async fn probe(&self) -> Result<(), TargetError>;
}

/// One object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: ObjectKey,
    pub size: u64,
    pub modified: Option<Timestamp>,
}

/// What went wrong at a target. The object and the place are named; secrets never are.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TargetError {
    #[error("object `{key}` is not at {place}")]
    NotFound { key: String, place: String },
    #[error("{place} refused {what}: {why}")]
    Denied { place: String, what: String, why: String },
    #[error("{place} is full: {why}")]
    Full { place: String, why: String },
    #[error("{place} cannot be reached: {why}")]
    Unreachable { place: String, why: String },
    #[error("{what} at {place}: {why}")]
    Other { place: String, what: String, why: String },
}
