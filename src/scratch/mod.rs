//! Leases a disposable instance and always tears it down.
//!
//! A restored dump is code that someone else wrote, so an instance has no network, no credentials, its own folder and, where
//! root runs us, its own user. What this room must never do: touch a server that it did not start, unless the user named it
//! as scratch; or leave anything behind. A lease ends on `release` or drop; should Lifeboat be killed, the instance ends by
//! itself (it watches a pipe) and its files go when the next one calls [`reap`].

pub mod command;
pub mod files;
pub mod folder;
mod guard;
pub mod objects;
mod policy;
pub mod postgres;
mod private;
pub mod redis;
pub mod registry;

use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use folder::{Reaped, default_root, reap};

use crate::config::{ConfigError, Section};
use crate::domain::{Place, ScratchNeeds};

/// What a kind of scratch instance can do. A new kind is one folder and one line in [`registry`].
#[async_trait]
pub trait ScratchKind: Send + Sync {
    /// As [`ScratchNeeds::engine`] names it, and as in `[scratch.<engine>]`.
    fn engine(&self) -> &'static str;
    /// Checks the `[scratch.<engine>]` table. Touches nothing.
    fn check(&self, section: &Section) -> Result<(), ConfigError>;
    /// The JSON Schema of that table.
    fn schema(&self) -> schemars::Schema;
    /// Starts an instance that offers what is needed, and shows that it does.
    async fn lease(
        &self,
        section: Option<&Section>,
        needs: &ScratchNeeds,
        request: &LeaseRequest,
    ) -> Result<Box<dyn Lease>, ScratchError>;
}

/// Where and within what bounds an instance is leased.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// The folder that holds all scratch instances: [`default_root`] or `scratch.directory`.
    pub root: PathBuf,
    /// System identifiers that scratch must not have: the live sources'.
    pub never: Vec<String>,
    pub cancel: CancellationToken,
}

/// A running instance. Dropping it ends it too, but cannot report.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Where a database of it is.
    fn place(&self, database: &str) -> Place;
    /// Where the programs of its version are; empty for a server that runs elsewhere.
    fn programs(&self) -> Vec<PathBuf>;
    /// What a report may say: `postgres 15.18 in a private folder`.
    fn facts(&self) -> &[String];
    /// Returns once the instance has outlived its time limit; the caller then gives up and releases it.
    async fn expired(&self);
    /// Ends it and removes everything.
    async fn release(self: Box<Self>) -> Result<(), ScratchError>;
    /// Lets it run on, and says how to reach and how to end it.
    async fn keep(self: Box<Self>) -> Result<String, ScratchError>;
}

/// Why there is no scratch instance.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScratchError {
    /// Not a failure of the backup: the verdict is `Unproven`, and this is what it needs.
    #[error("this machine lacks {}", .0.join(", "))]
    Lacks(Vec<String>),
    #[error("{what}: {why}")]
    Failed { what: String, why: String },
    #[error("the scratch instance reached its limit of {0}")]
    Limit(String),
    #[error("cancelled")]
    Cancelled,
}

impl ScratchError {
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed over by `map_err`")]
    pub(crate) fn failed(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Failed { what: what.into(), why: why.to_string() }
    }
}

/// Leases by `start`, unless the request is cancelled first; whatever was started by then ends as that future is dropped.
async fn unless_cancelled<L: Lease + 'static>(
    request: &LeaseRequest,
    start: impl Future<Output = Result<L, ScratchError>> + Send,
) -> Result<Box<dyn Lease>, ScratchError> {
    tokio::select! {
        biased;
        () = request.cancel.cancelled() => Err(ScratchError::Cancelled),
        leased = start => leased.map(|lease| Box::new(lease) as Box<dyn Lease>),
    }
}

/// Everything but letters, digits and `-_.` is escaped, so that a folder can stand where a host does.
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn odd_names_are_escaped_in_a_place() {
        assert_eq!(percent("/tmp/a b"), "%2Ftmp%2Fa%20b");
        assert_eq!(percent("é@:"), "%C3%A9%40%3A");
    }
}
