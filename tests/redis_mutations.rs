//! Each of many single changes to a restored Redis is found and named. One backup, one scratch, one load; before each change the
//! instance is brought back to what was loaded.

use lifeboat::domain::Verdict;
use lifeboat::sources::redis::wire::{ConnectOptions, Connection};
use tokio_util::sync::CancellationToken;

use crate::support::installation::Installation;
use crate::support::loaded::Loaded;
use crate::support::redis::TestRedis;
use crate::support::redis_data;
use crate::support::server::{output, plain};

/// A change as `redis-cli` takes it in lines, the group that must be named, and what must stand in the difference.
const MUTATIONS: [(&str, &str, &str); 44] = [
    ("SET text valuf", "db0/string", "changed: `text`"),
    ("APPEND string:70000 x", "db0/string", "changed: `string:70000`"),
    ("INCR number", "db0/string", "changed: `number`"),
    ("SET empty x", "db0/string", "changed: `empty`"),
    ("SETBIT bits 99999 1", "db0/string", "changed: `bits`"),
    ("DEL text", "db0/string", "missing: `text`"),
    ("SET another x", "db0/string", "extra: `another`"),
    ("RENAME text texts", "db0/string", "missing: `text`; extra: `texts`"),
    ("DEL past", "db0/string", "missing: `past`"),
    ("PERSIST later", "db0/string", "changed: `later`"),
    ("PEXPIREAT later 4102444800000", "db0/string", "changed: `later`"),
    ("PEXPIREAT later:hash 4102444800124", "db0/hash", "changed: `later:hash`"),
    ("PEXPIREAT text 4102444800000", "db0/string", "changed: `text`"),
    ("MOVE text 5", "db5/string", "extra: `text`"),
    ("HSET hash:128 field7 8", "db0/hash", "changed: `hash:128`"),
    ("HSET hash:513 one more", "db0/hash", "changed: `hash:513`"),
    ("HDEL hash:512 field512", "db0/hash", "changed: `hash:512`"),
    ("SADD ints:512 1", "db0/set", "changed: `ints:512`"),
    ("SREM set:513 member1", "db0/set", "changed: `set:513`"),
    ("SREM past:set a", "db0/set", "past:set"),
    ("RPUSH list:1 element2", "db0/list", "changed: `list:1`"),
    ("LSET list:513 200 other", "db0/list", "changed: `list:513`"),
    ("LMOVE list:128 list:128 LEFT RIGHT", "db0/list", "changed: `list:128`"),
    ("LTRIM list:long 0 -2", "db0/list", "changed: `list:long`"),
    ("ZADD scores 0.10000000000000002 d", "db0/zset", "changed: `scores`"),
    ("ZADD scores inf b", "db0/zset", "changed: `scores`"),
    ("ZREM zset:129 member5", "db0/zset", "changed: `zset:129`"),
    ("ZADD zset:513 CH 1 member513", "db0/zset", "changed: `zset:513`"),
    ("XADD stream 5-1 name fifth", "db0/stream", "changed: `stream`"),
    ("XDEL stream 3-1", "db0/stream", "changed: `stream`"),
    ("XSETID stream 9-9", "db0/stream", "changed: `stream`"),
    ("XGROUP SETID stream readers 1-1", "db0/stream", "changed: `stream`"),
    ("XGROUP SETID stream idle 2-1 ENTRIESREAD 1", "db0/stream", "changed: `stream`"),
    ("XGROUP CREATE stream one-more 0", "db0/stream", "changed: `stream`"),
    ("XGROUP DESTROY stream idle", "db0/stream", "changed: `stream`"),
    ("XGROUP CREATECONSUMER stream readers dave", "db0/stream", "changed: `stream`"),
    ("XGROUP DELCONSUMER stream readers carol", "db0/stream", "changed: `stream`"),
    ("XACK stream readers 3-1", "db0/stream", "changed: `stream`"),
    ("XCLAIM stream readers bob 0 2-1 JUSTID", "db0/stream", "changed: `stream`"),
    ("XCLAIM stream readers bob 0 3-1 RETRYCOUNT 7", "db0/stream", "changed: `stream`"),
    ("FUNCTION DELETE one", "functions", "missing: `one`"),
    (
        "FUNCTION LOAD REPLACE \"#!lua name=one\\nredis.register_function('f', function() return 3 end)\"",
        "functions",
        "changed: `one`",
    ),
    ("SELECT 9\nDEL shared", "db9/hash", "missing: `shared`"),
    ("SELECT 3\nFLUSHDB", "db3/string", "missing: `only:3`"),
];

/// Everything goes, and is loaded again as it was the first time.
pub(crate) async fn reset(loaded: &Loaded) {
    cli(loaded, "REPLICAOF NO ONE\nFLUSHALL\nFUNCTION FLUSH\nREPLICAOF 127.0.0.1 0");
    assert_eq!(loaded.load().await.warnings, Vec::<String>::new());
}

pub(crate) fn cli(loaded: &Loaded, lines: &str) {
    let url = loaded.lease.place("").url;
    let mut command = plain(std::path::Path::new("sh"));
    command.args(["-c", "printf '%s\\n' \"$1\" | redis-cli -e -s \"$2\"", "sh", lines]);
    command.arg(url.strip_prefix("unix://").unwrap());
    let said = String::from_utf8_lossy(&output(&mut command).stdout).into_owned();
    assert!(!said.contains("ERR ") && !said.contains("NOGROUP"), "{lines}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_single_change_to_a_restored_redis_fails_the_test_and_is_named() {
    let source = TestRedis::start();
    redis_data::fill(&source);
    let loaded = Loaded::new(Installation::of_kind("redis", &format!("url = \"{}\"", source.url()), "")).await;
    drop(source);
    let verdict = loaded.compare().await;
    assert_eq!(verdict.word(), "PROVEN", "{verdict:#?}");
    let mut wrong = vec![];
    for (change, group, named) in MUTATIONS {
        cli(&loaded, change);
        match loaded.compare().await {
            Verdict::Failed { mismatches, .. }
                if mismatches.iter().any(|m| m.what == group && m.difference.contains(named)) => {}
            verdict => wrong.push(format!("{change}: expected `{group}` and `{named}`, found {verdict:#?}")),
        }
        reset(&loaded).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What the loop takes for the beginning of each round is the beginning.
    let verdict = loaded.compare().await;
    assert_eq!(verdict.word(), "PROVEN", "{verdict:#?}");
    loaded.lease.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_changed_keys_all_are_counted_and_twenty_named() {
    let source = TestRedis::start();
    source.cli(&["DEBUG", "POPULATE", "3000", "key", "8"]);
    let loaded = Loaded::new(Installation::of_kind("redis", &format!("url = \"{}\"", source.url()), "")).await;
    drop(source);
    let options = ConnectOptions::parse(&loaded.lease.place("").url, None).unwrap();
    let mut connection = Connection::connect(&options, &CancellationToken::new()).await.unwrap();
    for number in 0..1000 {
        connection.call(&[b"DEL", format!("key:{number}").as_bytes()]).await.unwrap();
    }
    let Verdict::Failed { mismatches, .. } = loaded.compare().await else { panic!("it is not proven") };
    let [mismatch] = mismatches.as_slice() else { panic!("{mismatches:#?}") };
    assert_eq!(mismatch.what, "db0/string");
    assert!(mismatch.difference.starts_with("keys differ: 1000 missing (missing: `key:"), "{}", mismatch.difference);
    assert!(mismatch.expected.starts_with("3000 keys, ") && mismatch.actual.starts_with("2000 keys, "), "{mismatch:?}");
    assert_eq!(mismatch.difference.matches("`key:").count(), 20, "{}", mismatch.difference);
    loaded.lease.release().await.unwrap();
}
