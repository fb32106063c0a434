//! Restores into running Redis servers by the command line: what comes back, what is refused, what is left when it fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat::domain::{Fingerprint, PartStore, Place, SourceRecord};
use lifeboat::sources::redis::wire::{ConnectOptions, Connection};
use lifeboat::sources::{LoadReport, LoadRequest, SourceError, registry};
use tokio_util::sync::CancellationToken;

use crate::redis_dump::{Parts, context, dump, fill, groups, loaded, scripted};
use crate::redis_rdb::builder::Rdb;
use crate::redis_rdb::dataset;
use crate::redis_rdb::server::RedisServer;
use crate::support::installation::{Installation, Outcome, files};
use crate::support::parts::{MemoryStore, shared};
use crate::support::redis::TestRedis;

/// Lifeboat with one job `kv` of the server, backed up once.
fn backed_up(server: &TestRedis) -> Installation {
    let lifeboat = Installation::new();
    lifeboat.add_target("one");
    lifeboat.write_job_of("kv", &format!("type = \"redis\"\nurl = {:?}", server.url()), &["one"]);
    lifeboat.expect(0, &["backup", "now"]);
    lifeboat
}

fn says(said: &Outcome, all: &[&str]) {
    for text in all {
        assert!(
            said.stderr.contains(text) || said.stdout.contains(text),
            "`{text}` is not in\n{}\n{}",
            said.stdout,
            said.stderr
        );
    }
}

async fn prints(server: &TestRedis) -> BTreeMap<String, Fingerprint> {
    let (record, parts) = dump(&server.url(), "").await;
    groups(&record, &parts)
}

async fn connection(server: &TestRedis) -> Connection {
    Connection::connect(&ConnectOptions::parse(&server.url(), None).unwrap(), &CancellationToken::new()).await.unwrap()
}

fn keys(server: &TestRedis, database: u64) -> Vec<String> {
    let listed = server.cli(&["-n", &database.to_string(), "KEYS", "*"]);
    let mut keys: Vec<_> = listed.lines().filter(|key| !key.is_empty()).map(str::to_owned).collect();
    keys.sort();
    keys
}

/// A record and its parts on their way into a server, without a repository.
async fn load(url: &str, record: &SourceRecord, parts: &Parts, only: &[&str]) -> Result<LoadReport, SourceError> {
    let parts = parts.iter().map(|(name, part)| (name.clone(), part.data.clone())).collect();
    let store: Arc<dyn PartStore> = shared(MemoryStore { parts, damaged: None });
    load_from(url, record, store, only, &[]).await
}

async fn load_from(
    url: &str,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    only: &[&str],
    overwrite: &[&str],
) -> Result<LoadReport, SourceError> {
    let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let request = LoadRequest {
        place: Place { url: url.to_owned(), password: None },
        only: own(only),
        overwrite: own(overwrite),
        programs: vec![],
        scratch: false,
        source: None,
        sample: None,
        dry_run: false,
    };
    registry::kind("redis").unwrap().load(&context(), record, store, &request).await
}

#[tokio::test]
async fn everything_comes_back_as_it_was_and_a_second_restore_is_refused_until_it_is_named() {
    // Both sides of every threshold, groups with pending entries, names of any bytes.
    let mut all = RedisServer::start();
    dataset::fill(&mut all);
    dataset::groups(&mut all);
    let mut server = TestRedis::prepared(&[]);
    std::fs::write(server.folder().join("dump.rdb"), all.saved()).unwrap();
    server.resume();
    server.wait_until_loaded();
    fill(&server).await;
    server.cli(&["DEL", "expired"]);
    server.feed(&(1..15).map(|number| format!("SELECT {number}\nSET k{number} v\n")).collect::<String>());
    let expected = prints(&server).await;
    assert!(expected.len() > 20 && expected.contains_key("functions") && expected.contains_key("db0/stream"));
    let lifeboat = backed_up(&server);
    let other = TestRedis::start();
    let dry = lifeboat.expect(0, &["restore", "kv", "--to", &other.url(), "--dry-run"]);
    let total: u64 = expected.values().map(|print| print.records).sum();
    says(&dry, &["would restore", &format!("{total} keys"), "nothing was written"]);
    assert_eq!(other.cli(&["INFO", "keyspace"]).trim(), "# Keyspace");
    says(&lifeboat.expect(0, &["restore", "kv", "--to", &other.url()]), &[&format!("{total} keys")]);
    assert_eq!(prints(&other).await, expected);

    other.cli(&["SET", "short", "changed"]);
    other.cli(&["SET", "of-others", "x"]);
    let changed = prints(&other).await;
    lifeboat.expect(2, &["restore", "kv", "--to", &other.url(), "--dry-run"]);
    let refused = lifeboat.expect(2, &["restore", "kv", "--to", &other.url()]);
    says(&refused, &["it holds", "keys in db0", "1 keys in db1", "functions", "--overwrite db0 db1 db10"]);
    let some = lifeboat.expect(2, &["restore", "kv", "--to", &other.url(), "--overwrite", "db0", "functions"]);
    says(&some, &["1 keys in db1,"]);
    says(
        &lifeboat.expect(1, &["restore", "kv", "--to", &other.url(), "--overwrite", "cache"]),
        &["name databases as `db0`"],
    );
    assert_eq!(prints(&other).await, changed, "a refusal changes nothing");
    let names: Vec<String> = (0..16).map(|number| format!("db{number}")).chain(["functions".to_owned()]).collect();
    let url = other.url();
    let mut again = vec!["restore", "kv", "--to", &url, "--overwrite"];
    again.extend(names.iter().map(String::as_str));
    lifeboat.expect(0, &again);
    assert_eq!(prints(&other).await, expected);
}

#[tokio::test]
async fn the_live_source_is_never_restored_into_unless_it_is_named() {
    let server = TestRedis::start();
    server.feed("SET a 1\nSET b 2\n");
    let lifeboat = backed_up(&server);
    // Emptied by accident: nothing stands in the way but that it is the source.
    server.cli(&["FLUSHALL"]);
    says(&lifeboat.expect(2, &["restore", "kv", "--to", &server.url()]), &["live source", "--overwrite db0"]);
    says(&lifeboat.expect(2, &["restore", "kv", "--only", "key/a", "--to", &server.url()]), &["live source"]);
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    lifeboat.expect(0, &["restore", "kv", "--to", &server.url(), "--overwrite", "db0"]);
    assert_eq!(keys(&server, 0), ["a", "b"]);
}

#[tokio::test]
async fn chosen_keys_go_beside_others_and_never_over_one_that_is_not_named() {
    let server = TestRedis::start();
    server.feed("SET session:1 a\nHSET session:2 f v\nSETEX session:3 1000 c\nSET other x\nSELECT 2\nSET session:9 z\nSADD s a\n");
    server.cli(&["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"]);
    let lifeboat = backed_up(&server);
    let other = TestRedis::start();
    other.feed("SET kept 1\nSELECT 5\nSET far 1\n");
    let url = other.url();
    let only = |only: &[&str], status: i32, more: &[&str]| {
        let mut all = vec!["restore", "kv", "--to", &url, "--only"];
        all.extend(only);
        all.extend(more);
        lifeboat.expect(status, &all)
    };
    says(&only(&["key/session:*"], 0, &[]), &[", 4 keys, "]);
    assert_eq!(
        (keys(&other, 0).join(" "), keys(&other, 2).join(" ")),
        ("kept session:1 session:2 session:3".into(), "session:9".into())
    );
    assert_eq!((other.cli(&["GET", "session:1"]), other.cli(&["FUNCTION", "LIST"])), ("a".into(), String::new()));

    other.cli(&["SET", "session:1", "newer"]);
    other.cli(&["DEL", "session:2"]);
    let refused = only(&["key/session:[12]", "key/other"], 2, &[]);
    says(&refused, &["it has key `session:1` already", "--overwrite db0", "nothing was changed"]);
    assert_eq!(
        (other.cli(&["GET", "session:1"]), other.cli(&["EXISTS", "other", "session:2"])),
        ("newer".into(), "0".into())
    );
    only(&["db0/key/session:[12]"], 0, &["--overwrite", "db0"]);
    assert_eq!((other.cli(&["GET", "session:1"]), other.cli(&["GET", "kept"])), ("a".into(), "1".into()));

    // A whole database takes the place of what is there; others are not looked at.
    says(&only(&["db2"], 2, &[]), &["1 keys in db2"]);
    only(&["db2"], 0, &["--overwrite", "db2"]);
    assert_eq!((keys(&other, 2).join(" "), keys(&other, 5).join(" ")), ("s session:9".into(), "far".into()));
    only(&["functions"], 0, &[]);
    assert!(other.cli(&["FUNCTION", "LIST"]).contains("lib"));
    let into = format!("{url}?db=7");
    lifeboat.expect(0, &["restore", "kv", "--to", &into, "--only", "db2/set"]);
    assert_eq!(keys(&other, 7), ["s"]);
    says(&lifeboat.expect(1, &["restore", "kv", "--to", &into]), &["keys of several databases", "--only db0"]);
    says(&only(&["key/sesion:*"], 1, &[]), &["no key of the snapshot fits"]);
    says(&only(&["db9"], 10, &[]), &["no part `db9`"]);
    let folder = lifeboat.path("out");
    let folder = folder.to_str().unwrap();
    says(&lifeboat.expect(2, &["restore", "kv", "--only", "key/a", "--to", folder]), &["not a file of its own"]);
    assert!(!Path::new(folder).exists());
}

#[tokio::test]
async fn a_folder_is_one_that_a_stock_server_starts_on_and_keys_that_had_expired_are_told() {
    let server = TestRedis::start();
    fill(&server).await;
    let lifeboat = backed_up(&server);
    let folder = lifeboat.path("out");
    lifeboat.expect(0, &["restore", "kv", "--to", folder.to_str().unwrap()]);
    assert_eq!(files(&folder), ["README.md", "dump.rdb"]);
    let keeps = loaded(&std::fs::read(folder.join("dump.rdb")).unwrap());
    assert_eq!(keeps.cli(&["DBSIZE"]), server.cli(&["DBSIZE"]));
    assert!(keeps.cli(&["FUNCTION", "LIST"]).contains("lib"));
    let mut stock = TestRedis::prepared(&[]);
    let rdb = std::fs::read(folder.join("dump.rdb")).unwrap();
    std::fs::write(stock.folder().join("dump.rdb"), rdb).unwrap();
    stock.resume();
    stock.wait_until_loaded();
    let other = TestRedis::start();
    let said = lifeboat.expect(0, &["restore", "kv", "--to", &other.url()]);
    says(&said, &["1 of ", "keys had expired by now"]);
    // A primary drops what has expired, whichever way it comes.
    assert_eq!(other.cli(&["EXISTS", "expired"]), "0");
    assert_eq!(prints(&other).await, prints(&stock).await);
    assert!(other.cli(&["PTTL", "temporary"]).parse::<u64>().unwrap() > 1_000_000);
}

#[tokio::test]
async fn a_destination_that_is_no_place_to_write_is_refused_with_what_to_do() {
    let server = TestRedis::start();
    server.feed(&format!("SET a 1\nSET big {}\nSELECT 12\nSET b 2\n", "x".repeat(3 << 20)));
    server.cli(&["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"]);
    let lifeboat = backed_up(&server);
    let user = "user r on nopass ~* +info +select +hello +function";
    for (settings, status, expected) in [
        (&["replicaof 127.0.0.1 1"][..], 1, &["it is a replica of 127.0.0.1:1", "REPLICAOF NO ONE"][..]),
        (&["cluster-enabled yes"], 1, &["a node of a cluster", "redis-cli --cluster import"]),
        (&["databases 4"], 1, &["no database 12", "`databases`"]),
        (&["requirepass hunter2"], 1, &["NOAUTH", "set REDISCLI_AUTH"]),
        (&["maxmemory 3mb"], 1, &["`maxmemory` leaves", "raise `maxmemory`"]),
        (&[user, "user default off"], 1, &["`RESTORE` was answered with `NOPERM", "ACL SETUSER user +restore"]),
        (&["user r on nopass ~* +@all -info", "user default off"], 1, &["may not run `INFO`", "+info"]),
        (
            &["user r on nopass ~* +@all -function|restore", "user default off"],
            1,
            &["`FUNCTION RESTORE` was", "+function|restore"],
        ),
    ] {
        let other = TestRedis::start_with(settings);
        let mut url = other.url();
        let mut command = lifeboat.command(&["restore", "kv", "--to"]);
        if settings.iter().any(|line| line.starts_with("user r")) {
            url = other.url_as("r");
            command.env("REDISCLI_AUTH", "any");
        }
        let output = command.arg(&url).output().unwrap();
        let (code, said) = (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(code, Some(status), "{settings:?}\n{said}");
        for text in expected {
            assert!(said.contains(text), "`{text}` is not in {said}");
        }
    }
    let locked = TestRedis::start_with(&["requirepass hunter2"]);
    let mut command = lifeboat.command(&["restore", "kv", "--to", &locked.url()]);
    let output = command.env("REDISCLI_AUTH", "hunter3").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("WRONGPASS") && !said.contains("hunter3"), "{said}");
    let mut command = lifeboat.command(&["restore", "kv", "--to", &locked.url()]);
    assert!(command.env("REDISCLI_AUTH", "hunter2").output().unwrap().status.success());
    let said = lifeboat.expect(2, &["restore", "kv", "--to", "redis://:hunter2@localhost"]);
    assert!(said.stderr.contains("REDISCLI_AUTH") && !said.stderr.contains("hunter2"), "{}", said.stderr);
    says(&lifeboat.expect(1, &["restore", "kv", "--to", "postgres://localhost/x"]), &["is not a Redis URL"]);
}

#[tokio::test]
async fn a_snapshot_of_a_newer_server_names_the_version_that_it_needs() {
    let rdb = Rdb::new("REDIS0011").raw(&[254, 0]).key(0, "a").text(b"1").end();
    let (url, _folder) = scripted(rdb);
    let (record, parts) = dump(&url, "").await;
    let other = TestRedis::start();
    let error = load(&other.url(), &record, &parts, &[]).await.unwrap_err();
    assert!(matches!(&error, SourceError::Refused { .. }), "{error:?}");
    let told = format!("{error} {}", error.hint());
    assert!(told.contains("format 11") && told.contains("up to 10") && told.contains("redis 7.2 or later"), "{told}");
    assert_eq!(other.cli(&["DBSIZE"]), "0");
    // The same of a version that this server knows comes in, however old.
    for header in ["REDIS0003", "REDIS0006", "REDIS0010"] {
        let rdb = Rdb::new(header).raw(&[254, 0]).expires_ms(4_102_444_800_123).key(0, header).text(b"1").end();
        let (url, _folder) = scripted(rdb);
        let (record, parts) = dump(&url, "").await;
        let report = load(&other.url(), &record, &parts, &["key/*"]).await.unwrap();
        assert_eq!((report.rows, report.warnings.len()), (1, 0));
        assert_eq!(other.cli(&["PEXPIRETIME", header]), "4102444800123");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_not_loaded_in_part() {
    let rdb = Rdb::new("REDIS0010").raw(&[254, 0]).key(0, "a").text(b"1").raw(&[200, 1, 2, 3]).end();
    let (url, _folder) = scripted(rdb);
    let (record, parts) = dump(&url, "").await;
    let other = TestRedis::start();
    let error = load(&other.url(), &record, &parts, &[]).await.unwrap_err();
    assert!(matches!(&error, SourceError::Refused { .. }) && error.hint().contains("dump.rdb"), "{error:?}");
    assert_eq!(other.cli(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn a_value_of_a_module_that_the_server_lacks_is_refused_by_the_module_s_name() {
    // `ReJSON-RL` by its letters, version 3; then nothing but the mark of its end.
    let places = [17_u64, 30, 9, 18, 14, 13, 62, 17, 11];
    let id = places.iter().fold(0, |id, place| id << 6 | place) << 10 | 3;
    let rdb = Rdb::new("REDIS0010").raw(&[254, 0]).key(7, "doc").len(id).len(0).end();
    let (url, _folder) = scripted(rdb);
    let (record, parts) = dump(&url, "").await;
    let other = TestRedis::start();
    for only in [&[][..], &["key/doc"]] {
        let error = load(&other.url(), &record, &parts, only).await.unwrap_err();
        let told = format!("{error} {}", error.hint());
        assert!(matches!(&error, SourceError::Refused { .. }) && told.contains("ReJSON-RL"), "{told}");
    }
}

#[tokio::test]
async fn a_damaged_copy_never_costs_what_is_there() {
    let server = TestRedis::start();
    server.feed(&(0..500).map(|number| format!("SET k{number} {}\n", "v".repeat(200))).collect::<String>());
    let (record, parts) = dump(&server.url(), "").await;
    let other = TestRedis::start();
    other.cli(&["SET", "precious", "1"]);
    let rdb = parts["rdb"].data.clone();
    let mut bent = rdb.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    for (rdb, damaged) in [(rdb.clone(), Some("rdb".to_owned())), (bent, None), (rdb[..rdb.len() - 9].to_vec(), None)] {
        let store = shared(MemoryStore { parts: [("rdb".to_owned(), rdb)].into(), damaged });
        let error = load_from(&other.url(), &record, store, &[], &["db0"]).await.unwrap_err();
        assert!(
            matches!(&error, SourceError::Failed { .. } | SourceError::Refused { .. } | SourceError::Store(_)),
            "{error:?}"
        );
        assert_eq!(keys(&other, 0), ["precious"]);
    }
}

#[tokio::test]
async fn a_server_that_dies_midway_is_told_with_what_is_left_and_the_next_attempt_works() {
    let server = TestRedis::start_with(&["rdbcompression no"]);
    server.cli(&["DEBUG", "POPULATE", "200000", "key", "200"]);
    let lifeboat = backed_up(&server);
    let mut other = TestRedis::start();
    let spawn = || {
        let mut command = lifeboat.command(&["restore", "kv", "--to", &other.url()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let begun = |server: &TestRedis| {
        let start = Instant::now();
        while server.cli(&["DBSIZE"]).parse::<u64>().unwrap() < 1_000 {
            assert!(start.elapsed() < Duration::from_mins(1), "nothing comes");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    // Ours dies.
    let mut child = spawn();
    begun(&other);
    child.kill().unwrap();
    child.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(other.cli(&["DBSIZE"]).parse::<u64>().unwrap() < 200_000, "the restore was too fast to be killed");
    says(&lifeboat.expect(2, &["restore", "kv", "--to", &other.url()]), &["--overwrite db0"]);
    lifeboat.expect(0, &["restore", "kv", "--to", &other.url(), "--overwrite", "db0"]);
    assert_eq!(other.cli(&["DEBUG", "DIGEST"]), server.cli(&["DEBUG", "DIGEST"]));
    // The server dies.
    other.cli(&["FLUSHALL"]);
    let child = spawn();
    begun(&other);
    other.kill();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("keys of the snapshot are there; `--overwrite db0` starts again"), "{said}");
}

#[tokio::test]
async fn a_large_value_passes_in_little_memory_and_one_beyond_the_server_s_bound_is_named() {
    const LARGE: usize = 300 << 20;
    let server = TestRedis::start_with(&["rdbcompression no"]);
    let mut filler = connection(&server).await;
    filler.call(&[b"SETRANGE", b"large", (LARGE - 1).to_string().as_bytes(), b"x"]).await.unwrap();
    filler.call(&[b"SETRANGE", b"large", b"150000000", b"in the middle"]).await.unwrap();
    server.cli(&["SET", "after", "1"]);
    let lifeboat = backed_up(&server);
    let other = TestRedis::start();
    let mut command = lifeboat.command(&["restore", "kv", "--to", &other.url()]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim().to_owned();
        peak = peak.max(line.trim_end_matches(" kB").parse::<u64>().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().unwrap().success());
    assert!(peak > 0 && peak < 256 << 10, "{} MiB", peak >> 10);
    assert_eq!(other.cli(&["DEBUG", "DIGEST"]), server.cli(&["DEBUG", "DIGEST"]));

    let small = TestRedis::start_with(&["proto-max-bulk-len 200mb"]);
    let said = lifeboat.expect(1, &["restore", "kv", "--to", &small.url()]);
    says(&said, &["key `large`", "its value has 300", "proto-max-bulk-len"]);
}
