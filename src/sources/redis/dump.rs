//! One server's data from the wire into the repository.

use std::path::Path;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::config::Settings;
use super::failure;
use super::fuzzy::{self, Walk};
use super::nodes::Node;
use super::reading::{self, Plan, Read};
use super::replica::{self, Filled, Position, Transfer};
use super::spool::{self, BUFFERS, Ends, Fill};
use super::wire::WireError;
use crate::domain::Event;
use crate::sources::bridge::BLOCK_BYTES;
use crate::sources::{Context, SourceError};

/// One server, read.
pub(super) struct Shard {
    pub(super) read: Read,
    pub(super) position: Option<Position>,
    pub(super) fuzzy: bool,
    /// RFC 3339, of the beginning.
    pub(super) at: String,
}

/// Where the bytes of an RDB come from.
pub(super) enum Feed {
    /// The server sends it.
    Transfer(Box<Transfer>),
    /// It is put together here, key by key.
    Walk(Box<Walk>),
}

impl Fill for Feed {
    async fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<Filled, SourceError> {
        match self {
            Self::Transfer(transfer) => {
                transfer.fill(buffer, BLOCK_BYTES).await.map_err(|error| failure::wire("transfer of the RDB", error))
            }
            Self::Walk(walk) => walk.fill(buffer, BLOCK_BYTES).await,
        }
    }
}

/// Dumps one server. On an error what was written is poisoned.
pub(super) async fn shard(
    context: &Context,
    settings: &Settings,
    node: &Node,
    plan: Plan,
) -> Result<Shard, SourceError> {
    let place = node.options.place();
    let warn = |message: String| context.progress.event(Event::Warning { job: context.job.clone(), message });
    let started = crate::system::clock::rfc3339(crate::system::clock::now());
    let opened = replica::open(&node.options, &context.cancel, settings.ready_timeout, |error| {
        warn(format!("{place} is waited for: {error}"));
    });
    let (feed, position) = match opened.await {
        Ok(transfer) => {
            let position = transfer.position().cloned();
            (Feed::Transfer(Box::new(transfer)), position)
        }
        Err(WireError::Server(error)) if error.is_forbidden() && settings.allow_fuzzy => {
            warn(format!("{place} forbids replication ({error}): its keys are read one by one, while they change"));
            (Feed::Walk(Box::new(fuzzy::start(context, settings, &node.options).await?)), None)
        }
        Err(error) => return Err(failure::wire(format!("replication from {place}"), error)),
    };
    let fuzzy = matches!(feed, Feed::Walk(_));
    // Keys that are read one by one come as slowly as they are taken.
    let spool_bytes = if fuzzy { 0 } else { settings.spool_bytes };
    let read = store(feed, plan, &context.work, spool_bytes, &warn).await?;
    // A server says in its RDB when it began; a clock of ours may be another's.
    let at = read.statements.get("ctime").and_then(|secs| secs.parse().ok());
    let at = at.and_then(|secs| jiff::Timestamp::from_second(secs).ok()).map(crate::system::clock::rfc3339);
    Ok(Shard { read, position, fuzzy, at: at.unwrap_or(started) })
}

/// Reads the feed to its end, as fast as it comes, through a thread of its own.
async fn store(
    mut feed: Feed,
    plan: Plan,
    folder: &Path,
    bytes_max: u64,
    warn: &(dyn Fn(String) + Sync),
) -> Result<Read, SourceError> {
    let (to_reader, pieces) = mpsc::channel(BUFFERS);
    let (returned, emptied) = mpsc::channel(BUFFERS);
    let handle = Handle::current();
    let thread = tokio::task::spawn_blocking(move || reading::run(plan, &handle, pieces, &returned));
    let pumped = spool::pump(&mut feed, Ends { to_reader, emptied, folder, bytes_max, warn }).await;
    let read = thread.await.unwrap_or_else(|error| {
        let why = error.to_string();
        Err(SourceError::Failed { what: "reading the RDB".to_owned(), why, hint: String::new() })
    });
    // A broken connection is why the thread has stopped, and not the other way round.
    pumped.and(read)
}
