//! Stores sealed objects: one file or folder per kind of target, listed in [`registry`].
//!
//! What a target must never do: see plaintext (it takes only [`SealedObject`]), read a key, or interpret what it stores.
//! Memory: an object is at most a pack (about 40 MiB) and is held once, shared by all targets.

pub mod directory;
pub mod registry;
pub mod s3;

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
    /// Makes what must exist before the first object (a folder), for a new repository only: no other call creates the
    /// place, so that an unmounted disk is never filled by mistake. Repeating it is harmless.
    async fn initialise(&self) -> Result<(), TargetError>;
    /// Whether the place itself is still to be made by [`Target::initialise`]; an error where that could not make it.
    async fn awaits_initialise(&self) -> Result<bool, TargetError> {
        Ok(false)
    }
    /// Stores the object; repeating a `put` is harmless.
    async fn put(&self, object: &SealedObject) -> Result<(), TargetError>;
    /// Reads a whole object of at most `size_max` bytes; a larger one is [`TargetError::Oversized`], unread.
    async fn get(&self, key: &ObjectKey, size_max: u64) -> Result<Bytes, TargetError>;
    /// Everything whose key starts with `prefix` (`packs/`), in any order; half-written objects and files that are not
    /// ours are not shown. All of it or an error: a listing that broke off is never a shorter list.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, TargetError>;
    /// Removes the object for good; removing what is not there is harmless.
    async fn delete(&self, key: &ObjectKey) -> Result<(), TargetError>;
    /// Shows that the target can be reached and written, leaving nothing behind.
    async fn probe(&self) -> Result<(), TargetError>;
}

/// One object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: ObjectKey,
    pub size: u64,
    /// By the target's own clock.
    pub modified: Option<Timestamp>,
}

/// What went wrong at a target. The object and the place are named; secrets never are.
///
/// A target has already retried what is worth retrying at once. Of what is left, `Unreachable` and `Full` may heal by
/// themselves or by hand and are worth another run; `Oversized` is damage.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TargetError {
    #[error("object `{key}` is not at {place}")]
    NotFound { key: String, place: String },
    #[error("object `{key}` at {place} is larger than the {size_max} bytes that it may have")]
    Oversized { key: String, place: String, size_max: u64 },
    #[error("{place} refused {what}: {why}")]
    Denied { place: String, what: String, why: String },
    #[error("{place} is full: {why}")]
    Full { place: String, why: String },
    #[error("{place} cannot be reached: {why}")]
    Unreachable { place: String, why: String },
    #[error("{what} at {place}: {why}")]
    Other { place: String, what: String, why: String },
}
