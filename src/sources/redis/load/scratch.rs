//! Loads an RDB into a scratch instance the way a stock server loads it.
//!
//! The stored bytes go as `dump.rdb` into the instance's folder, and `DEBUG RELOAD` makes the server read that file with the code
//! that it starts with. So what is shown is that an ordinary server takes this very file; `RESTORE` key by key would go through
//! other code, and a restart would have to be asked of whoever leased the instance. `NOFLUSH` lets the shards of a cluster follow
//! one another: their keys have nothing in common. `MERGE` lets each bring the libraries that all of them hold.
//!
//! The instance starts as a replica without a primary, because only a replica keeps what has expired. A server gives its data to
//! nobody while it looks for its primary, so it stops being one at the end, with expiry switched off before.
//!
//! Memory: one piece of the store. Disk: one RDB at a time, in the instance's folder.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::{PartName, PartStore, SourceRecord};
use crate::sources::redis::record::RedisRecord;
use crate::sources::redis::wire::{ConnectOptions, Connection, Value, WireError};
use crate::sources::redis::{failure, server};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

const WHAT: &str = "restore into scratch redis";
/// As the instance was told to call its data.
const FILE: &str = "dump.rdb";
/// How much of the server's log is looked through.
const LOG_TAIL_BYTES: usize = 16 << 10;
/// How many lines of it an error quotes.
const LOG_LINES: usize = 4;

/// Loads every shard and leaves the instance as a primary that expires nothing.
pub(in crate::sources::redis) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    let details = RedisRecord::of(record)?;
    let parts = readable(&details)?;
    let mut options = ConnectOptions::parse(&request.place.url, request.place.password.clone())
        .map_err(|error| failure::wire(WHAT, error))?;
    // Loading is one command that answers at its end; the lease has a time limit of its own.
    options.stall_timeout = None;
    let folder =
        options.socket().and_then(Path::parent).map(Path::to_owned).ok_or_else(|| {
            failed(format!("{} is not a scratch instance with a folder of its own", request.place.url))
        })?;
    let mut connection =
        Connection::connect(&options, &context.cancel).await.map_err(|error| failure::wire(WHAT, error))?;
    let mut report = LoadReport { loaded: vec![request.place.url.clone()], ..LoadReport::default() };
    for part in parts {
        let file = folder.join(FILE);
        report.bytes += write(Arc::clone(&store), part, file.clone()).await?;
        report.rows += reload(&mut connection, &folder).await?;
        // The next shard may need the room.
        std::fs::remove_file(&file).ok();
    }
    let expected: u64 = details.databases.iter().map(|database| database.keys).sum();
    if report.rows != expected {
        report
            .warnings
            .push(format!("the scratch server loaded {} keys where the backup read {expected}", report.rows));
    }
    for command in [&[&b"DEBUG"[..], b"SET-ACTIVE-EXPIRE", b"0"][..], &[b"SLAVEOF", b"NO", b"ONE"]] {
        connection.call(command).await.map_err(|error| failure::wire(WHAT, error))?;
    }
    Ok(report)
}

/// The RDBs to load, or what it would take to show that they are right.
fn readable(details: &RedisRecord) -> Result<Vec<PartName>, SourceError> {
    let unread = details.shards.iter().filter_map(|shard| shard.unread.as_ref());
    let mut lacks: Vec<String> =
        unread.map(|unread| format!("a Lifeboat that reads {unread}").replace(',', "")).collect();
    if details.functions_differ {
        lacks.push("a server that holds the different functions of several shards".to_owned());
    }
    if !lacks.is_empty() {
        return Err(SourceError::Lacks(lacks));
    }
    let parts = details.shards.iter().map(|shard| shard.rdb.clone());
    parts.collect::<Option<_>>().ok_or_else(|| failed("the record names no RDB".to_owned()))
}

fn failed(why: String) -> SourceError {
    SourceError::Failed { what: WHAT.to_owned(), why, hint: String::new() }
}

/// Scratch is our own: that it cannot be written to says nothing about the backup.
fn lacks_room(file: &Path, error: &std::io::Error) -> SourceError {
    let folder = file.parent().unwrap_or(file).display();
    SourceError::Lacks(vec![match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            format!("free disk in `{folder}` ({error})")
        }
        _ => format!("a scratch folder that can be written to (`{folder}`: {error})"),
    }])
}

async fn write(store: Arc<dyn PartStore>, part: PartName, path: PathBuf) -> Result<u64, SourceError> {
    let written = tokio::task::spawn_blocking(move || {
        let mut reader = store.open(&part)?;
        let full = |error: std::io::Error| lacks_room(&path, &error);
        let mut file =
            std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(full)?;
        let mut bytes = 0;
        while let Some(piece) = reader.next_piece()? {
            file.write_all(&piece).map_err(full)?;
            bytes += piece.len() as u64;
        }
        // The server reads it under the account that owns its folder.
        let owner = path.parent().unwrap_or(&path).metadata().map_err(full)?;
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).map_err(full)?;
        Ok(bytes)
    });
    written.await.unwrap_or_else(|error| Err(failed(error.to_string())))
}

/// Lets the server read its file; returns how many keys it took from it.
async fn reload(connection: &mut Connection, folder: &Path) -> Result<u64, SourceError> {
    match connection.call(&[b"DEBUG", b"RELOAD", b"NOSAVE", b"NOFLUSH", b"MERGE"]).await {
        Ok(_) => {}
        Err(WireError::Cancelled) => return Err(SourceError::Cancelled),
        Err(error) => return Err(refused(&error, folder)),
    }
    let info = connection.call(&[b"INFO", b"persistence"]).await.map_err(|error| failure::wire(WHAT, error))?;
    let info = server::fields(info.text().unwrap_or_default());
    let number = |name: &str| info.get(name).and_then(|text| text.parse::<u64>().ok());
    if let Some(expired) = number("rdb_last_load_keys_expired").filter(|expired| *expired > 0) {
        return Err(failed(format!("the scratch server dropped {expired} expired keys as it loaded")));
    }
    match number("rdb_last_load_keys_loaded") {
        Some(loaded) => Ok(loaded),
        // Before Redis 7.0 nobody says; then what is there is counted.
        None => count(connection).await,
    }
}

async fn count(connection: &mut Connection) -> Result<u64, SourceError> {
    let answer = connection.call(&[b"DBSIZE"]).await.map_err(|error| failure::wire(WHAT, error))?;
    Ok(match answer {
        Value::Integer(keys) => keys.unsigned_abs(),
        _ => 0,
    })
}

/// Why a server did not take the file stands in its log and nowhere else.
fn refused(error: &WireError, folder: &Path) -> SourceError {
    let log = std::fs::read(folder.join("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
    let mut text = told(&log);
    if text.is_empty() {
        text = error.to_string();
    }
    if let Some(module) = log.split("no matching module type '").nth(1).and_then(|rest| rest.split('\'').next()) {
        return SourceError::Lacks(vec![format!("a module for data of the type {module}")]);
    }
    if log.contains("Out Of Memory allocating") {
        return SourceError::Lacks(vec!["more memory for scratch redis".to_owned()]);
    }
    SourceError::Failed {
        what: WHAT.to_owned(),
        why: format!("the server does not load the RDB: {text}"),
        hint: "`redis-check-rdb` says more about the file that `lifeboat restore --to DIR` writes".to_owned(),
    }
}

/// The last warnings of a log, without what every scratch instance says.
fn told(log: &str) -> String {
    let usual = [
        "Error condition on socket",
        "overcommit",
        "Transparent Huge Pages",
        "The TCP backlog",
        "Redis version=",
        "Valkey version=",
        "Configuration loaded",
        "Server initialized",
    ];
    let warnings = log.lines().filter_map(|line| Some(line.split_once(" # ")?.1));
    let warnings: Vec<&str> = warnings.filter(|line| !usual.iter().any(|known| line.contains(known))).collect();
    warnings[warnings.len().saturating_sub(LOG_LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::{Fingerprint, PartReader, StoreError};

    #[test]
    fn an_error_quotes_the_warnings_of_the_log_and_not_its_chatter() {
        let log = "1:S 21 Nov 2026 15:11:39.4 * Ready\n1:S 21 Nov 2026 15:11:39.4 # Error condition on socket for SYNC: x\n\
                   1:S 21 Nov 2026 15:11:40.4 # Can't handle RDB format version 11\n";
        assert_eq!(told(log), "Can't handle RDB format version 11");
    }

    struct OnePart;

    impl PartStore for OnePart {
        fn names(&self) -> Vec<PartName> {
            vec![]
        }
        fn fingerprint(&self, _: &PartName) -> Option<Fingerprint> {
            None
        }
        fn open(&self, _: &PartName) -> Result<Box<dyn PartReader>, StoreError> {
            Ok(Box::new(OnePart))
        }
    }

    impl PartReader for OnePart {
        fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
            Ok(Some(Bytes::from_static(&[7; 4096])))
        }
    }

    #[tokio::test]
    async fn a_disk_that_fills_while_the_file_is_written_is_no_failure_of_the_backup() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        let error = write(Arc::new(OnePart), PartName::from_components(&["rdb"]), file).await.unwrap_err();
        assert!(matches!(&error, SourceError::Lacks(needs) if needs[0].contains("free disk in")), "{error}");
    }

    #[test]
    fn what_was_not_understood_cannot_be_proven() {
        let mut details =
            RedisRecord { shards: vec![super::super::super::record::ShardRecord::default()], ..RedisRecord::default() };
        assert!(matches!(readable(&details), Err(SourceError::Failed { .. })));
        details.shards[0].unread =
            Some("record type 99, which this reader does not know, at byte 9 of the RDB".to_owned());
        let error = readable(&details).unwrap_err();
        assert!(matches!(&error, SourceError::Lacks(needs) if !needs[0].contains(',')), "{error}");
    }
}
