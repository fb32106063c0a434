//! The replication client: asks a server for its whole data set at one instant, as a replica would, and disconnects.
//!
//! Nothing is written to the server and nothing is needed on its host. `rdb-only` tells it not to keep a replica's output buffer
//! for us; a server that does not know it is read to the RDB's end and left. Memory: the connection's read buffer.
//!
//! The protocol is that of `replication.c` in Redis and Valkey; it is not documented elsewhere.

mod transfer;

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use transfer::{Filled, Framing, MARK_BYTES, Transfer};

use super::wire::{Code, ConnectOptions, Connection, ServerError, WireError};

/// How long a server may load its data, or a replica may look for its primary, before we give up.
pub const READY_LIMIT: Duration = Duration::from_mins(10);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a replica says of itself; each may be refused. Valkey chooses the RDB's version by the replica's own, and saves
/// nothing that an unknown one could not read.
const INTRODUCTION: [(&[u8], &[u8]); 4] =
    [(b"version", b"9.2.0"), (b"capa", b"eof"), (b"capa", b"psync2"), (b"rdb-only", b"1")];

/// Where in the primary's history the data set is: its replication id and offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub replication_id: String,
    pub offset: u64,
}

/// Connects and asks until the server begins to send: while it loads, or looks for its primary, asking is repeated.
///
/// `told` hears once why it has to wait.
pub async fn open(
    options: &ConnectOptions,
    cancel: &CancellationToken,
    limit: Duration,
    mut told: impl FnMut(&ServerError),
) -> Result<Transfer, WireError> {
    let start = Instant::now();
    let mut pause = PAUSE_FIRST;
    let mut silent = false;
    loop {
        let attempt = async { request(Connection::connect(options, cancel).await?).await };
        let error = match attempt.await {
            Err(WireError::Server(error)) if error.is_passing() => error,
            other => return other,
        };
        if start.elapsed() + pause > limit {
            return Err(WireError::NotReady { secs: limit.as_secs(), why: error.to_string() });
        }
        if !silent {
            told(&error);
            silent = true;
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(WireError::Cancelled),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// The handshake. When it returns, the next byte of the connection is the RDB's first.
pub async fn request(mut connection: Connection) -> Result<Transfer, WireError> {
    for (option, value) in INTRODUCTION {
        bearable(connection.call(&[b"REPLCONF", option, value]).await)?;
    }
    // While a server loads, this is what says so first.
    bearable(connection.call(&[b"PING"]).await)?;
    let position = match psync(&mut connection).await {
        Ok(position) => Some(position),
        Err(WireError::Server(refused)) if refused.is_forbidden() => {
            let line = ask(&mut connection, &[b"SYNC"]).await?;
            if line.starts_with(b"-") {
                // The newer command is what a person should permit.
                return Err(refused.into());
            }
            let framing = Framing::parse(&line)?;
            return Ok(Transfer::new(connection, framing, None));
        }
        Err(error) => return Err(error),
    };
    let line = connection.line().await?;
    let framing = Framing::parse(&line)?;
    Ok(Transfer::new(connection, framing, position))
}

/// A refusal is no obstacle, but "not now" and a missing password are.
fn bearable<T>(answer: Result<T, WireError>) -> Result<(), WireError> {
    match answer {
        Err(WireError::Server(error)) if error.is_passing() || error.code == Code::NoAuth => Err(error.into()),
        Ok(_) | Err(WireError::Server(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn psync(connection: &mut Connection) -> Result<Position, WireError> {
    let line = ask(connection, &[b"PSYNC", b"?", b"-1"]).await?;
    if let Some(text) = line.strip_prefix(b"-") {
        return Err(ServerError::parse(text, "PSYNC").into());
    }
    let text = String::from_utf8_lossy(&line);
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["+FULLRESYNC", id, offset] => {
            let offset = offset.parse().map_err(|_| odd(&line))?;
            Ok(Position { replication_id: id.to_owned(), offset })
        }
        _ => Err(odd(&line)),
    }
}

async fn ask(connection: &mut Connection, command: &[&[u8]]) -> Result<Vec<u8>, WireError> {
    connection.queue(command);
    connection.flush().await?;
    connection.forget_replies();
    connection.line().await
}

fn odd(line: &[u8]) -> WireError {
    let shown: String = String::from_utf8_lossy(line).chars().take(60).collect();
    WireError::Protocol(format!("`{shown}` where a full synchronisation should begin"))
}

#[cfg(test)]
mod tests;
