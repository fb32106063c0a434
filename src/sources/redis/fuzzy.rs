//! Where a server forbids replication: its keys one by one, put together into the RDB that it would not send.
//!
//! `SCAN` names every key that is there all the time, and some of them twice, so the names go to temporary files first, dealt by
//! their hash; each file is then sorted, freed of doubles and read by `DUMP` and `PEXPIRETIME`. Keys change meanwhile: the result
//! is of no single moment, and its snapshot says so. What `DUMP` gives is the very bytes that an RDB holds, so a stock server
//! loads the result as any other.
//!
//! Memory: the names of one file ([`FILES`] share all), and the largest value once. Disk: the names.

mod names;
mod writer;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::names::{FILES, Names};
use self::writer::Writer;
use super::config::{Settings, Wanted};
use super::failure;
use super::rdb::Crc64;
use super::replica::Filled;
use super::server;
use super::wire::{Code, ConnectOptions, Connection, Value, WireError};
use crate::sources::{Context, SourceError};

/// Keys that one `SCAN` looks at.
const SCAN_COUNT: &[u8] = b"1000";
/// Keys that are asked for at once; the server holds their values until we take them.
const KEYS_AT_ONCE: usize = 32;
/// A string has at most 512 MiB, other values may have more.
const VALUE_BYTES_MAX: usize = 2 << 30;
/// A database of a higher number is not looked for where nobody says how many there are.
const DATABASES_MAX: u64 = 1 << 14;
/// Version and checksum at the end of what `DUMP` gives.
const TRAILER_BYTES: usize = 10;
const PIECES: usize = 2;

/// An RDB that is being put together.
pub(super) struct Walk {
    pieces: mpsc::Receiver<Vec<u8>>,
    /// What did not fit into the caller's buffer.
    rest: Vec<u8>,
    /// One task; dropped, it ends.
    task: JoinSet<Result<(), SourceError>>,
}

impl Walk {
    pub(super) async fn fill(&mut self, buffer: &mut Vec<u8>, bytes_max: usize) -> Result<Filled, SourceError> {
        loop {
            let room = bytes_max.saturating_sub(buffer.len()).min(self.rest.len());
            buffer.extend(self.rest.drain(..room));
            if buffer.len() >= bytes_max {
                return Ok(Filled::More);
            }
            if let Some(piece) = self.pieces.recv().await {
                self.rest = piece;
                continue;
            }
            let ended = self.task.join_next().await;
            let failed =
                |why: String| SourceError::Failed { what: "reading keys".to_owned(), why, hint: String::new() };
            return match ended {
                Some(Ok(result)) => result.map(|()| Filled::Done),
                Some(Err(error)) => Err(failed(error.to_string())),
                None => Err(failed("it was ended before".to_owned())),
            };
        }
    }
}

/// Connects and begins.
pub(super) async fn start(
    context: &Context,
    settings: &Settings,
    options: &ConnectOptions,
) -> Result<Walk, SourceError> {
    let what = format!("reading keys from {}", options.place());
    let connected = Connection::connect(options, &context.cancel).await;
    let mut connection = connected.map_err(|error| failure::wire(&what, error))?;
    connection.set_reply_bytes_max(VALUE_BYTES_MAX);
    let facts = server::facts(&mut connection).await.map_err(|error| failure::wire(&what, error))?;
    let folder = tempfile::tempdir_in(&context.work).map_err(|error| spool(&what, &error))?;
    let (out, pieces) = mpsc::channel(PIECES);
    let walker = Walker {
        pace: settings.fuzzy_keys_per_second.map(Pace::new),
        has_expire_time: facts.release().is_none_or(|release| release >= (7, 0)),
        is_cluster: facts.mode == server::Mode::Cluster,
        known: facts.keyspace.iter().map(|keyspace| keyspace.database).collect(),
        keyspace_known: facts.is_known(),
        product: facts.product,
        server_version: facts.version,
        selected: 0,
        wanted: settings.wanted.clone(),
        what,
        connection,
        folder,
        writer: Writer::new(out),
    };
    let mut task = JoinSet::new();
    task.spawn(walker.run());
    Ok(Walk { pieces, rest: vec![], task })
}

fn spool(what: &str, error: &std::io::Error) -> SourceError {
    SourceError::Failed {
        what: what.to_owned(),
        why: format!("a temporary file for the names of keys: {error}"),
        hint: "the state folder needs room for the names of all keys".to_owned(),
    }
}

struct Walker {
    what: String,
    connection: Connection,
    folder: tempfile::TempDir,
    writer: Writer,
    wanted: Wanted,
    pace: Option<Pace>,
    /// Older servers tell how long a key has, not when it ends.
    has_expire_time: bool,
    is_cluster: bool,
    product: String,
    server_version: String,
    /// Databases that hold keys, where `INFO` was permitted.
    known: Vec<u64>,
    keyspace_known: bool,
    selected: u64,
}

impl Walker {
    async fn run(mut self) -> Result<(), SourceError> {
        self.functions().await?;
        for database in self.databases() {
            let Some(names) = self.scan(database).await? else { break };
            let mut begun = false;
            for number in 0..FILES {
                let names = names.sorted(number).map_err(|error| spool(&self.what, &error))?;
                for some in names.chunks(KEYS_AT_ONCE) {
                    self.read(database, &mut begun, some).await?;
                }
            }
        }
        self.writer.end(&self.product, &self.server_version).await
    }

    fn fail(&self) -> impl Fn(WireError) -> SourceError + use<> {
        let what = self.what.clone();
        move |error| failure::wire(&what, error)
    }

    /// Libraries of functions: `FUNCTION DUMP` gives what an RDB begins with.
    async fn functions(&mut self) -> Result<(), SourceError> {
        match self.connection.call(&[b"FUNCTION", b"DUMP"]).await {
            Ok(Value::Bulk(payload)) => {
                let (libraries, version) = divide(&payload).ok_or_else(|| self.odd("FUNCTION DUMP"))?;
                if !libraries.is_empty() {
                    self.writer.need(version, &self.product, &self.server_version).await?;
                    self.writer.bytes(libraries).await?;
                }
                Ok(())
            }
            // Before 7.0 there were none.
            Err(WireError::Server(error)) if error.code == Code::Unknown => Ok(()),
            Ok(_) => Err(self.odd("FUNCTION DUMP")),
            Err(error) => Err(self.fail()(error)),
        }
    }

    /// The databases to look at, as far as anybody says.
    fn databases(&self) -> Vec<u64> {
        let all: Vec<u64> = if self.is_cluster {
            vec![0]
        } else if self.keyspace_known {
            self.known.clone()
        } else {
            (0..DATABASES_MAX).collect()
        };
        all.into_iter().filter(|database| self.wanted.has_database(*database)).collect()
    }

    /// Writes the names of a database's keys to files; `None` where there is no such database.
    async fn scan(&mut self, database: u64) -> Result<Option<Names>, SourceError> {
        let fail = self.fail();
        let number = database.to_string();
        // A cluster has one database and no `SELECT`; a session begins in the first.
        if database != self.selected {
            match self.connection.call(&[b"SELECT", number.as_bytes()]).await {
                Ok(_) => self.selected = database,
                Err(WireError::Server(error)) if error.text.contains("out of range") => return Ok(None),
                Err(error) => return Err(fail(error)),
            }
        }
        let mut names = Names::create(self.folder.path(), database).map_err(|error| spool(&self.what, &error))?;
        let mut cursor = b"0".to_vec();
        loop {
            let command: [&[u8]; 4] = [b"SCAN", &cursor, b"COUNT", SCAN_COUNT];
            let reply = self.connection.call(&command).await.map_err(&fail)?;
            let Value::Array(mut pair) = reply else { return Err(self.odd("SCAN")) };
            let (Some(Value::Array(keys)), Some(Value::Bulk(next))) = (pair.pop(), pair.pop()) else {
                return Err(self.odd("SCAN"));
            };
            for key in keys {
                let Value::Bulk(key) = key else { return Err(self.odd("SCAN")) };
                if self.wanted.has_key(&key) {
                    names.add(&key).map_err(|error| spool(&self.what, &error))?;
                }
            }
            if next == b"0" {
                names.flush().map_err(|error| spool(&self.what, &error))?;
                return Ok(Some(names));
            }
            cursor = next;
        }
    }

    /// Reads some keys and writes them; those that are gone meanwhile are left out.
    async fn read(&mut self, database: u64, begun: &mut bool, keys: &[Vec<u8>]) -> Result<(), SourceError> {
        if let Some(pace) = &mut self.pace {
            pace.wait(keys.len()).await;
        }
        let fail = self.fail();
        let expiry: &[u8] = if self.has_expire_time { b"PEXPIRETIME" } else { b"PTTL" };
        let now = if self.has_expire_time { 0 } else { self.server_time().await? };
        for command in keys.iter().flat_map(|key| [[&b"DUMP"[..], key], [expiry, key]]) {
            self.connection.queue(&command);
        }
        self.connection.flush().await.map_err(&fail)?;
        for key in keys {
            let value = self.connection.receive().await.map_err(&fail)?;
            let expires = self.connection.receive().await.map_err(&fail)?;
            let expires = expires.integer().ok_or_else(|| self.odd("PEXPIRETIME"))?;
            let Value::Bulk(payload) = value else { continue };
            let (body, version) =
                divide(&payload).filter(|(body, _)| !body.is_empty()).ok_or_else(|| self.odd("DUMP"))?;
            // -2: gone between the two commands; -1: stays for ever.
            if expires == -2 {
                continue;
            }
            self.writer.need(version, &self.product, &self.server_version).await?;
            if !*begun {
                *begun = true;
                self.writer.select(database).await?;
            }
            self.writer.key(key, body, (expires >= 0).then_some(now + expires)).await?;
        }
        Ok(())
    }

    /// Milliseconds since 1970 by the server's clock.
    async fn server_time(&mut self) -> Result<i64, SourceError> {
        let time = self.connection.call(&[b"TIME"]).await.map_err(self.fail())?;
        let number = |at: usize| time.array()?.get(at)?.text()?.parse::<i64>().ok();
        match (number(0), number(1)) {
            (Some(secs), Some(micros)) => Ok(secs * 1000 + micros / 1000),
            _ => Err(self.odd("TIME")),
        }
    }

    fn odd(&self, command: &str) -> SourceError {
        SourceError::Failed {
            what: self.what.clone(),
            why: format!("the answer to `{command}` is not one that a server gives"),
            hint: String::new(),
        }
    }
}

/// What `DUMP` gave, without its trailer, and the version of RDB that it is of.
fn divide(payload: &[u8]) -> Option<(&[u8], u16)> {
    let (body, trailer) = payload.split_at_checked(payload.len().checked_sub(TRAILER_BYTES)?)?;
    let mut sum = Crc64::default();
    sum.update(&payload[..payload.len() - 8]);
    let stated = u64::from_le_bytes(*trailer.last_chunk()?);
    // 0: the server was told to compute none.
    (stated == 0 || stated == sum.value()).then_some((body, u16::from_le_bytes([trailer[0], trailer[1]])))
}

/// Keys a second, on average since the beginning.
struct Pace {
    start: Instant,
    per_second: u32,
    keys: f64,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { start: Instant::now(), per_second, keys: 0.0 }
    }

    async fn wait(&mut self, keys: usize) {
        let due = self.start + Duration::from_secs_f64(self.keys / f64::from(self.per_second));
        tokio::time::sleep_until(due).await;
        self.keys += f64::from(u32::try_from(keys).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_not_what_the_server_dumped_is_refused() {
        let mut payload = b"\0\x05hello\x0a\0".to_vec();
        let mut sum = Crc64::default();
        sum.update(&payload);
        payload.extend(sum.value().to_le_bytes());
        assert_eq!(divide(&payload), Some((&b"\0\x05hello"[..], 10)));
        for at in 0..payload.len() {
            let mut bent = payload.clone();
            bent[at] ^= 1;
            assert_eq!(divide(&bent), None, "byte {at}");
        }
        assert_eq!(divide(&payload[..9]), None);
    }
}
