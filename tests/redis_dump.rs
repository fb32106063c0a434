//! Dumps of real Redis servers: what is in them, what they are compared by, and what becomes of one that is disturbed.

mod choice;
mod disturbed;
mod nodes;
mod one_by_one;
mod preflight;
mod whole;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lifeboat::config::Section;
use lifeboat::domain::progress::Silent;
use lifeboat::domain::{Fingerprint, PartSink, Place, SourceRecord};
use lifeboat::sources::redis::wire::{ConnectOptions, Connection};
use lifeboat::sources::{Context, Preflight, SourceError, registry};
use tokio_util::sync::CancellationToken;

use crate::support::collecting_sink::{CollectingSink, Part};
use crate::support::redis::TestRedis;
use crate::support::server::plain;

pub(crate) type Parts = BTreeMap<String, Part>;

pub(crate) fn context() -> Context {
    Context {
        job: "test".to_owned(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes: 4,
        work: std::env::temp_dir(),
        keep: std::env::temp_dir().join("no-folder"),
    }
}

fn source(url: &str, extra: &str) -> Box<dyn lifeboat::sources::Source> {
    let section = Section::from_text(&format!("type = 'redis'\nurl = \"{url}\"\n{extra}")).unwrap();
    registry::kind("redis").unwrap().configure(&section).unwrap()
}

/// Dumps with the job's extra lines; the parts only when the dump may be committed.
pub(crate) async fn try_dump(url: &str, extra: &str) -> (Result<SourceRecord, SourceError>, Option<Parts>) {
    let sink = CollectingSink::default();
    let shared: Arc<dyn PartSink> = Arc::new(sink.clone());
    let result = source(url, extra).dump(&context(), shared).await;
    (result, sink.committed())
}

pub(crate) async fn dump(url: &str, extra: &str) -> (SourceRecord, Parts) {
    let (record, parts) = try_dump(url, extra).await;
    (record.unwrap(), parts.expect("a finished dump is whole"))
}

async fn dump_again(record: &SourceRecord, server: &TestRedis, only: &[String]) -> (SourceRecord, Parts) {
    let place = Place { url: server.url(), password: None };
    let source = registry::kind("redis").unwrap().again(record, &place, only).unwrap();
    let sink = CollectingSink::default();
    let shared: Arc<dyn PartSink> = Arc::new(sink.clone());
    let record = source.dump(&context(), shared).await.unwrap();
    (record, sink.committed().unwrap())
}

/// The fingerprint of every group that is compared; the engine's counts agree with ours.
pub(crate) fn groups(record: &SourceRecord, parts: &Parts) -> BTreeMap<String, Fingerprint> {
    let total = |parts_of: &[lifeboat::domain::PartName]| {
        parts_of.iter().map(|part| parts[part.as_str()].fingerprint).fold(Fingerprint::EMPTY, Fingerprint::combine)
    };
    for group in &record.groups {
        assert!(group.compared, "{} has another count than the engine", group.name);
        assert_eq!(group.engine_count.unwrap_or(total(&group.parts).records), total(&group.parts).records);
    }
    record.groups.iter().map(|group| (group.name.clone(), total(&group.parts))).collect()
}

/// A stock server with these bytes as its data, that keeps what has expired.
pub(crate) fn loaded(rdb: &[u8]) -> TestRedis {
    let mut server = TestRedis::prepared(&["replicaof 127.0.0.1 1"]);
    let file = server.folder().join("dump.rdb");
    std::fs::write(&file, rdb).unwrap();
    let checked = plain(Path::new("redis-check-rdb")).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    server.resume();
    server.wait_until_loaded();
    // A replica without its primary gives its data to nobody; and what has expired shall stay.
    server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    server
}

async fn connect(server: &TestRedis) -> Connection {
    let options = ConnectOptions::parse(&server.url(), None).unwrap();
    Connection::connect(&options, &CancellationToken::new()).await.unwrap()
}

/// Every type, both encodings of each, expiries in the past and the future, functions, several databases, odd names.
pub(crate) async fn fill(server: &TestRedis) {
    let lines = "
SET short value
SET number 12345
SETEX temporary 100000 soon
HSET small f v g w
SADD numbers 1 2 3
SADD words one two three
RPUSH queue a b c
ZADD scores 1.5 a -inf b 3 c
XADD events 1-1 name value
XADD events 2-1 name other more fields
XGROUP CREATE events readers 1-1
XREADGROUP GROUP readers alice STREAMS events >
PFADD guess a b c
SETBIT bits 100000 1
GEOADD places 13.4 52.5 berlin
SELECT 3
SET only-here 1
SELECT 15
SET last x
FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function() return 1 end)\"
";
    server.feed(lines.trim_start());
    let mut connection = connect(server).await;
    let long = vec![b'x'; 3 << 20];
    let binary: &[u8] = b"\0\r\n\xff key \xf0\x9f";
    for command in [
        vec![&b"SET"[..], b"large", &long],
        vec![b"SET", binary, binary],
        vec![b"SET", b"", b"empty name"],
        vec![b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"],
        vec![b"SET", b"expired", b"gone", b"PX", b"1"],
    ] {
        drop(connection.call(&command).await.unwrap());
    }
    for number in 0..2_000_u32 {
        let member = format!("member-{number}-{}", "y".repeat(70));
        for command in ["SADD big-set", "RPUSH big-list", "ZADD big-scores 7", "HSET big-hash"] {
            let mut words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            words.push(member.as_bytes());
            if command.starts_with("HSET") {
                words.push(b"v");
            }
            connection.call(&words).await.unwrap();
        }
    }
}

pub(crate) async fn preflight(url: &str, extra: &str) -> Preflight {
    source(url, extra).preflight(&context()).await.unwrap()
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that permits nothing but replication, and sends these bytes as its data.
pub(crate) fn scripted(rdb: Vec<u8>) -> (String, tempfile::TempDir) {
    use std::io::{Read, Write};
    let folder = tempfile::Builder::new().prefix("lbr-").tempdir_in("/tmp").unwrap();
    let path = folder.path().join("redis.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            // Each command comes in one piece, because none is sent before the other was answered.
            while let Ok(read @ 1..) = client.read(&mut buffer) {
                let command = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let sent = if command.contains("PSYNC") {
                    let head = format!("+FULLRESYNC {} 0\r\n${}\r\n", "8".repeat(40), rdb.len());
                    client.write_all(head.as_bytes()).and_then(|()| client.write_all(&rdb))
                } else if command.contains("REPLCONF") || command.contains("PING") {
                    client.write_all(b"+OK\r\n")
                } else {
                    client.write_all(b"-NOPERM this user has no permissions to run that command\r\n")
                };
                if sent.is_err() {
                    break;
                }
            }
        }
    });
    (format!("unix://{}", path.display()), folder)
}
