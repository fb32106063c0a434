//! Sends batches of commands and takes their replies, a batch or two ahead of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::feed::{Batch, Command, Large, shown};
use super::trouble;
use crate::sources::SourceError;
use crate::sources::redis::rdb::Kind;
use crate::sources::redis::wire::{Connection, ServerError, Value, WireError};

/// Batches that are sent before the first of them is answered.
const BATCHES: usize = 2;
const FILE_BUFFER_BYTES: usize = 256 << 10;
/// Keys that are there already are named up to so many.
const NAMED: usize = 3;

/// What the server has said so far.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) keys: u64,
    pub(super) libraries: u64,
    pub(super) bytes: u64,
    /// Keys whose time was over when they came, which a server does not keep.
    pub(super) expired: u64,
    /// Keys without an expiry by database: these stay.
    pub(super) lasting: BTreeMap<u64, u64>,
    pub(super) databases: BTreeSet<u64>,
    /// Keys that were there before: how many, and some names.
    pub(super) found: u64,
    pub(super) found_names: Vec<String>,
    /// The server's clock, milliseconds since 1970, and ours when it was read.
    now_ms: i64,
    read: Instant,
}

impl Tally {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            keys: 0,
            libraries: 0,
            bytes: 0,
            expired: 0,
            lasting: BTreeMap::new(),
            databases: BTreeSet::new(),
            found: 0,
            found_names: vec![],
            now_ms,
            read: Instant::now(),
        }
    }

    fn has_passed(&self, expires_ms: i64) -> bool {
        let since = i64::try_from(self.read.elapsed().as_millis()).unwrap_or(i64::MAX);
        expires_ms <= self.now_ms.saturating_add(since)
    }
}

/// Sends everything that comes until the sender is gone, and waits for every reply.
pub(super) async fn run(
    connection: &mut Connection,
    mut batches: mpsc::Receiver<Batch>,
    tally: &mut Tally,
) -> Result<(), SourceError> {
    let mut waiting: VecDeque<Batch> = VecDeque::new();
    while let Some(mut batch) = batches.recv().await {
        let large = batch.large.take();
        let alone = large.is_some();
        let sent = send(connection, &batch, large).await;
        waiting.push_back(batch);
        if let Err(error) = sent {
            return Err(reason(connection, waiting, tally, error).await);
        }
        // A file is gone from the disk before the next one is sent.
        while waiting.len() >= if alone { 1 } else { BATCHES } {
            let Some(batch) = waiting.pop_front() else { break };
            settle(connection, batch, tally).await?;
        }
    }
    for batch in waiting {
        settle(connection, batch, tally).await?;
    }
    Ok(())
}

async fn send(connection: &mut Connection, batch: &Batch, large: Option<Large>) -> Result<(), SourceError> {
    let what = "sending values";
    for command in &batch.commands {
        connection.expect(match command {
            Command::Select(_) => "SELECT",
            Command::Exists { .. } => "EXISTS",
            Command::Restore { .. } => "RESTORE",
            Command::Library { .. } => "FUNCTION RESTORE",
        });
    }
    connection.send(&batch.bytes).await.map_err(|error| trouble(what, error))?;
    let Some(Large { file, tail }) = large else { return Ok(()) };
    let mut file = tokio::fs::File::from_std(file);
    let mut buffer = vec![0; FILE_BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer).await.map_err(|error| SourceError::Failed {
            what: what.to_owned(),
            why: format!("a temporary file: {error}"),
            hint: String::new(),
        })?;
        if read == 0 {
            return connection.send(&tail).await.map_err(|error| trouble(what, error));
        }
        connection.send(&buffer[..read]).await.map_err(|error| trouble(what, error))?;
    }
}

/// A server that takes no more has often said why before.
async fn reason(
    connection: &mut Connection,
    waiting: VecDeque<Batch>,
    tally: &mut Tally,
    broken: SourceError,
) -> SourceError {
    if matches!(broken, SourceError::Cancelled) {
        return broken;
    }
    for batch in waiting {
        match settle(connection, batch, tally).await {
            Ok(()) => {}
            Err(SourceError::Cancelled) => return SourceError::Cancelled,
            Err(error @ SourceError::Refused { .. }) => return error,
            Err(_) => return broken,
        }
    }
    broken
}

async fn settle(connection: &mut Connection, batch: Batch, tally: &mut Tally) -> Result<(), SourceError> {
    for command in &batch.commands {
        let reply = match connection.receive().await {
            Ok(reply) => Ok(reply),
            Err(WireError::Server(error)) => Err(error),
            Err(error) => return Err(trouble("loading keys", error)),
        };
        take(command, &batch.bytes, reply, tally)?;
    }
    Ok(())
}

fn take(
    command: &Command,
    bytes: &[u8],
    reply: Result<Value, ServerError>,
    tally: &mut Tally,
) -> Result<(), SourceError> {
    match (command, reply) {
        (Command::Select(_), Ok(_)) => {}
        (Command::Select(database), Err(error)) => return Err(trouble(format!("database {database}"), error.into())),
        (Command::Exists { name, .. }, Ok(reply)) => {
            if reply.integer() != Some(0) {
                tally.found += 1;
                if tally.found_names.len() < NAMED {
                    tally.found_names.push(shown(&bytes[name.clone()]));
                }
            }
        }
        (Command::Exists { database, name }, Err(error)) => {
            return Err(trouble(format!("{} in db{database}", shown(&bytes[name.clone()])), error.into()));
        }
        (Command::Restore { database, bytes, expires_ms, .. }, Ok(_)) => {
            tally.databases.insert(*database);
            tally.keys += 1;
            tally.bytes += bytes;
            match expires_ms {
                Some(at) => tally.expired += u64::from(tally.has_passed(*at)),
                None => *tally.lasting.entry(*database).or_default() += 1,
            }
        }
        (Command::Restore { database, name, kind, .. }, Err(error)) => {
            return Err(refused(format!("{} in db{database}", shown(&bytes[name.clone()])), *kind, error));
        }
        (Command::Library { bytes, .. }, Ok(_)) => {
            tally.libraries += 1;
            tally.bytes += bytes;
        }
        (Command::Library { name, .. }, Err(error)) => {
            let what = format!("library `{}`", name.escape_ascii());
            return Err(refused(what, Kind::Function, error));
        }
    }
    Ok(())
}

/// Why a value did not come in.
fn refused(what: String, kind: Kind, error: ServerError) -> SourceError {
    let text = error.text.as_str();
    let why = error.to_string();
    let refused = |hint: String| SourceError::Refused { what: what.clone(), why: why.clone(), hint };
    if text.starts_with("BUSYKEY") {
        return refused(
            "somebody else writes to the server, or two shards held the key: keep others away meanwhile".to_owned(),
        );
    }
    if text.starts_with("OOM") {
        return refused("the server has no memory left under its `maxmemory`: raise it".to_owned());
    }
    match kind {
        Kind::Module(id) if text.contains("Bad data format") => {
            return refused(format!("the server lacks the module whose type is `{}`, or has an older one", id.name()));
        }
        _ if text.contains("Protocol error") => {
            return refused(
                "a value is longer than the server's `proto-max-bulk-len` or `client-query-buffer-limit`".to_owned(),
            );
        }
        _ if text.contains("payload version") => {
            return refused(
                "the server is older than the one that was backed up: use one of that version or later".to_owned(),
            );
        }
        _ if text.contains("Bad data format") => {
            return refused(
                "the server does not know how the value is stored: use one of the version that was backed up"
                    .to_owned(),
            );
        }
        _ => {}
    }
    trouble(what, error.into())
}
