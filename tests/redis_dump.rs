//! Dumps of real Redis servers: what is in them, what they are compared by, and what becomes of one that is disturbed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifeboat::config::Section;
use lifeboat::domain::progress::Silent;
use lifeboat::domain::{Fingerprint, PartSink, Place, SourceRecord};
use lifeboat::sources::redis::RedisRecord;
use lifeboat::sources::redis::wire::{ConnectOptions, Connection};
use lifeboat::sources::{Context, Preflight, SourceError, registry};
use tokio_util::sync::CancellationToken;

use crate::support::collecting_sink::{CollectingSink, Part};
use crate::support::lifeboat::Lifeboat;
use crate::support::postgres::{output, plain};
use crate::support::redis::TestRedis;

pub(crate) type Parts = BTreeMap<String, Part>;

pub(crate) fn context() -> Context {
    Context {
        job: "test".to_owned(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes: 4,
        work: std::env::temp_dir(),
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

#[tokio::test]
async fn what_is_dumped_loads_into_a_stock_server_and_is_the_same_there_and_a_change_is_not() {
    for setting in ["repl-diskless-sync yes", "repl-diskless-sync no"] {
        let server = TestRedis::start_with(&[setting]);
        fill(&server).await;
        let (record, parts) = dump(&server.url(), "").await;
        assert_eq!((record.kind.as_str(), record.version.split('.').next()), ("redis", Some("7")));
        let expected = groups(&record, &parts);
        let names: Vec<_> = expected.keys().map(String::as_str).collect();
        let of_first = ["db0/hash", "db0/list", "db0/set", "db0/stream", "db0/string", "db0/zset"];
        assert_eq!(
            names,
            [&["db0/hash", "db0/list", "db0/set"][..], &of_first[3..], &["db15/string", "db3/string", "functions"]]
                .concat()
        );
        let counted = record.groups.iter().filter(|group| group.engine_count.is_some()).count();
        assert_eq!(counted, names.len() - 1, "all but the functions");
        let scratch = loaded(&parts["rdb"].data);
        let (again, digests) = dump_again(&record, &scratch, &[]).await;
        assert!(!digests.contains_key("rdb"));
        assert_eq!(groups(&again, &digests), expected);

        for (change, group) in [
            (vec!["HSET", "big-hash", "one-more", "v"], "db0/hash"),
            (vec!["ZADD", "scores", "1.25", "a"], "db0/zset"),
            (vec!["PEXPIREAT", "temporary", "4000000000000"], "db0/string"),
            (vec!["XGROUP", "SETID", "events", "readers", "0"], "db0/stream"),
            (vec!["FUNCTION", "DELETE", "lib"], "functions"),
        ] {
            let before = dump_again(&record, &scratch, &[]).await;
            let before = groups(&before.0, &before.1);
            scratch.cli(&change);
            let after = dump_again(&record, &scratch, &[]).await;
            let after = groups(&after.0, &after.1);
            let differing: Vec<_> = before.iter().filter(|(name, print)| after.get(*name) != Some(print)).collect();
            assert_eq!(differing.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [group], "{change:?}");
        }
        let (few, only) = dump_again(&record, &scratch, &["db0/set".to_owned()]).await;
        assert_eq!((few.groups.len(), only.len()), (1, 1));
        assert_eq!(groups(&few, &only)["db0/set"], expected["db0/set"]);
    }
}

#[tokio::test]
async fn more_keys_than_a_block_of_digests_holds_are_one_group_of_several_parts() {
    let server = TestRedis::start();
    server.cli(&["DEBUG", "POPULATE", "40000", "key", "5"]);
    let (record, parts) = dump(&server.url(), "").await;
    let group = &record.groups[0];
    assert_eq!((group.name.as_str(), group.parts.len(), group.engine_count), ("db0/string", 4, Some(40_000)));
    assert_eq!(groups(&record, &parts)["db0/string"].records, 40_000);
}

#[tokio::test]
async fn an_empty_server_gives_an_rdb_without_keys() {
    let server = TestRedis::start();
    let (record, parts) = dump(&server.url(), "").await;
    assert_eq!((record.groups.len(), parts.len()), (0, 1));
    assert_eq!(loaded(&parts["rdb"].data).cli(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn sixteen_databases_are_dumped_each_as_its_own() {
    let server = TestRedis::start();
    let lines: String = (0..16).map(|number| format!("SELECT {number}\nSET k{number} v\nSADD s a b\n")).collect();
    server.feed(&lines);
    let (record, parts) = dump(&server.url(), "").await;
    assert_eq!(groups(&record, &parts).len(), 32);
    let scratch = loaded(&parts["rdb"].data);
    for number in 0..16 {
        assert_eq!(scratch.cli(&["-n", &number.to_string(), "DBSIZE"]), "2");
    }
    let (few, parts) = dump(&server.url(), "databases = [2, 15]").await;
    assert_eq!(groups(&few, &parts).keys().collect::<Vec<_>>(), ["db15/set", "db15/string", "db2/set", "db2/string"]);
    let scratch = loaded(&parts["rdb"].data);
    let sizes: Vec<_> = (0..16).map(|number| scratch.cli(&["-n", &number.to_string(), "DBSIZE"])).collect();
    assert_eq!(sizes.iter().filter(|size| *size == "2").count(), 2);
    assert_eq!((sizes[2].as_str(), sizes[15].as_str()), ("2", "2"));
    let (again, digests) = dump_again(&few, &scratch, &[]).await;
    assert_eq!(groups(&again, &digests), groups(&few, &parts));
}

#[tokio::test]
async fn what_the_job_leaves_out_is_nowhere_in_the_backup() {
    let server = TestRedis::start_with(&["rdbcompression no"]);
    fill(&server).await;
    server.feed(
        "SET cache:1 zebra-secret\nHSET cache:2 f zebra-secret\nSETEX cache:3 1000 zebra-secret\nSET acache:4 kept\n",
    );
    let everything = dump(&server.url(), "").await;
    for (patterns, left_out) in [
        ("'cache:*'", vec!["cache:1", "cache:2", "cache:3"]),
        (
            "'big-*', 'cache:[1-2]', 'la?ge'",
            vec!["big-set", "big-list", "big-scores", "big-hash", "cache:1", "cache:2", "large"],
        ),
        ("'*'", vec![]),
    ] {
        let (record, parts) = dump(&server.url(), &format!("exclude_keys = [{patterns}]")).await;
        groups(&record, &parts);
        let scratch = loaded(&parts["rdb"].data);
        let keys = |server: &TestRedis| {
            server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let expected: std::collections::BTreeSet<_> = if left_out.is_empty() {
            std::collections::BTreeSet::new()
        } else {
            keys(&server).into_iter().filter(|key| !left_out.contains(&key.as_str())).collect()
        };
        assert_eq!(
            keys(&scratch).into_iter().filter(|key| !key.is_empty()).collect::<Vec<_>>(),
            expected.into_iter().filter(|key| !key.is_empty()).collect::<Vec<_>>()
        );
        if patterns.starts_with("'cache:*") {
            assert!(memchr(&everything.1["rdb"].data, b"zebra-secret") && !memchr(&parts["rdb"].data, b"zebra-secret"));
        }
        let gap = record.gaps.iter().filter(|gap| gap.why == "excluded by the job").count();
        assert_eq!(gap, patterns.split(", ").count());
        let (again, digests) = dump_again(&record, &scratch, &[]).await;
        assert_eq!(groups(&again, &digests), groups(&record, &parts));
    }
}

fn memchr(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn patterns_mean_what_they_mean_to_the_server() {
    let server = TestRedis::start();
    let keys = ["a", "ab", "abc", "a*b", "a[b", "b-1", "b-2", "B-1", "[x]", "x\\y", "^", "a]b"];
    for key in keys {
        server.cli(&["SET", key, "v"]);
    }
    let patterns = [
        "a*", "a?c", "*b", "[ab]*", "[^a]*", "b-[0-1]", "b-[1-0]", "a\\*b", "a[[]b", "\\[x\\]", "x\\\\y", "[^^]",
        "[\\^]", "a[]]b", "[a", "*", "", "[b-]*",
    ];
    for text in patterns {
        let theirs: std::collections::BTreeSet<String> =
            server.cli(&["KEYS", text]).lines().filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let pattern = lifeboat::sources::redis::pattern::Pattern::new(text);
        let ours = keys.iter().filter(|key| pattern.fits(key.as_bytes())).map(|key| (*key).to_owned()).collect();
        assert_eq!(theirs, ours, "{text}");
    }
}

const NO_REPLICATION: [&str; 2] = [
    "user default on nopass ~* +@all",
    "user bk on >pw ~* +ping +info +scan +dump +pexpiretime +select +function|dump +time",
];

#[tokio::test]
async fn where_replication_is_forbidden_the_command_is_named_and_keys_can_be_read_one_by_one() {
    let server = TestRedis::start_with(&NO_REPLICATION);
    fill(&server).await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let login = format!("username = 'bk'\npassword = {{ file = '{}' }}\n", password.path().display());
    let (refused, parts) = try_dump(&server.url(), &login).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, SourceError::Refused { .. }) && parts.is_none_or(|parts| parts.is_empty()));
    assert!(refused.to_string().contains("'psync' command") && refused.hint().contains("allow_fuzzy"), "{refused:?}");
    assert!(source(&server.url(), &login).preflight(&context()).await.unwrap_err().to_string().contains("'psync'"));

    let (whole, whole_parts) = dump(&server.url(), "").await;
    let (record, parts) = dump(&server.url(), &format!("{login}allow_fuzzy = true")).await;
    assert!(RedisRecord::of(&record).unwrap().fuzzy);
    assert!(record.gaps.iter().any(|gap| gap.what == "a single point in time"));
    let (mut exact, found) = (groups(&whole, &whole_parts), groups(&record, &parts));
    // A key whose time is over is no key to `SCAN`; everything else is equal, byte for byte of content.
    let strings = exact.remove("db0/string").unwrap();
    assert_eq!(found["db0/string"].records, strings.records - 1);
    assert_eq!(
        found
            .iter()
            .filter(|(name, _)| *name != "db0/string")
            .map(|(n, p)| (n.clone(), *p))
            .collect::<BTreeMap<_, _>>(),
        exact
    );
    let scratch = loaded(&parts["rdb"].data);
    let (again, digests) = dump_again(&record, &scratch, &[]).await;
    assert_eq!(groups(&again, &digests), found);
    assert_eq!(scratch.cli(&["PEXPIRETIME", "temporary"]), server.cli(&["PEXPIRETIME", "temporary"]));

    let some = format!("{login}allow_fuzzy = true\nexclude_keys = ['big-*']\ndatabases = [0]");
    let (record, parts) = dump(&server.url(), &some).await;
    assert!(groups(&record, &parts).keys().all(|name| name.starts_with("db0/") || name == "functions"));
    assert_eq!(loaded(&parts["rdb"].data).cli(&["EXISTS", "big-list"]), "0");
}

#[tokio::test]
async fn reading_keys_one_by_one_takes_each_once_while_tables_grow_and_keeps_its_pace() {
    let server = TestRedis::start_with(&NO_REPLICATION);
    server.cli(&["DEBUG", "POPULATE", "3000", "key", "10"]);
    let url = format!("{}?user=bk", server.url());
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let extra = format!(
        "password = {{ file = '{}' }}\nallow_fuzzy = true\nfuzzy_keys_per_second = 2000",
        password.path().display()
    );
    let start = std::time::Instant::now();
    let growing = async {
        for round in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            server.cli(&["DEBUG", "POPULATE", &(3000 + round * 500).to_string(), "key", "10"]);
        }
    };
    let (dumped, ()) = tokio::join!(dump(&url, &extra), growing);
    assert!(start.elapsed() > Duration::from_millis(1_300), "3,000 keys at 2,000 a second");
    let (record, parts) = dumped;
    // A key that came twice would keep the server from loading the file.
    let size: u64 = loaded(&parts["rdb"].data).cli(&["DBSIZE"]).parse().unwrap();
    assert!(size >= 3000);
    assert_eq!(groups(&record, &parts)["db0/string"].records, size);
}

#[tokio::test]
async fn a_missing_permission_to_read_keys_is_named() {
    let server = TestRedis::start_with(&["user default on nopass ~* +@all", "user bk on >pw ~* +ping +info +scan"]);
    server.cli(&["SET", "a", "1"]);
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let extra = format!("username = 'bk'\npassword = {{ file = '{}' }}\nallow_fuzzy = true", password.path().display());
    let error = try_dump(&server.url(), &extra).await.0.unwrap_err();
    assert!(error.to_string().contains("'function|dump'") || error.to_string().contains("'dump'"), "{error}");
    assert!(error.hint().contains("+function|dump") || error.hint().contains("+dump"), "{}", error.hint());
    let error = source(&server.url(), &extra).preflight(&context()).await.unwrap_err();
    assert!(error.to_string().contains("`DUMP`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_leaves_nothing_to_commit() {
    let mut server = TestRedis::start_with(&["repl-diskless-sync yes", "rdb-key-save-delay 300", "rdbcompression no"]);
    server.cli(&["DEBUG", "POPULATE", "20000", "key", "1000"]);
    let url = server.url();
    let dying = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        tokio::task::block_in_place(|| server.kill());
    };
    let (dumped, ()) = tokio::join!(try_dump(&url, ""), dying);
    let error = dumped.0.unwrap_err();
    assert!(matches!(error, SourceError::Failed { .. }) && error.to_string().contains("bytes of the RDB"), "{error}");
    assert!(dumped.1.is_none(), "half a dump could be committed");
    let (refused, _) = try_dump(&url, "").await;
    assert!(matches!(refused, Err(SourceError::Unreachable { .. })), "{refused:?}");
}

pub(crate) async fn preflight(url: &str, extra: &str) -> Preflight {
    source(url, extra).preflight(&context()).await.unwrap()
}

#[tokio::test]
async fn a_preflight_says_what_will_be_seen_and_writes_nothing() {
    let server = TestRedis::start_with(&["maxmemory 100mb", "maxmemory-policy allkeys-lru"]);
    fill(&server).await;
    let before = server.cli(&["INFO", "replication"]);
    let found = preflight(&server.url(), "databases = [0, 3]\nexclude_keys = ['cache:*']").await;
    let facts = found.facts.join("\n");
    for text in [
        "server redis 7.0",
        "standalone, primary",
        "database 0: ",
        "with an expiry",
        "database 15: 1 keys, left out",
        "at one moment",
    ] {
        assert!(facts.contains(text), "{text}: {facts}");
    }
    assert!(found.warnings.iter().any(|text| text.contains("allkeys-lru")), "{:?}", found.warnings);
    let gaps: Vec<_> = found.gaps.iter().map(|gap| gap.what.as_str()).collect();
    assert!(gaps.contains(&"keys `cache:*`") && gaps.contains(&"databases other than 0, 3"), "{gaps:?}");
    assert!(found.estimated_bytes > 1 << 20);
    let offset = |info: &str| info.lines().find(|line| line.starts_with("master_repl_offset")).map(str::to_owned);
    let after = server.cli(&["INFO", "replication"]);
    assert_eq!(offset(&before), offset(&after));
    assert!(!server.log().contains("Starting BGSAVE"), "a preflight must not make the server fork");
}

#[tokio::test]
async fn a_user_with_three_permissions_is_enough_and_told_what_is_not_known() {
    let server = TestRedis::start_with(&["user default on nopass ~* +@all", "user bk on >pw +psync +replconf +ping"]);
    fill(&server).await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let login = format!("username = 'bk'\npassword = {{ file = '{}' }}", password.path().display());
    let found = preflight(&server.url(), &login).await;
    assert!(found.warnings.iter().any(|text| text.contains("`INFO`")), "{:?}", found.warnings);
    let (record, parts) = dump(&server.url(), &login).await;
    assert_eq!(record.version.split('.').next(), Some("7"));
    let (whole, whole_parts) = dump(&server.url(), "").await;
    assert_eq!(groups(&record, &parts), groups(&whole, &whole_parts));
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "hunter2\n").unwrap();
    let login = format!("username = 'bk'\npassword = {{ file = '{}' }}", wrong.path().display());
    let error = try_dump(&server.url(), &login).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }) && !error.to_string().contains("hunter2"), "{error}");
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_replica_in_step_is_preferred_and_without_one_the_server_itself_is_read() {
    let (port, other) = (free_port(), free_port());
    let primary = TestRedis::start_with(&[&format!("port {port}"), "bind 127.0.0.1"]);
    primary.cli(&["SET", "a", "1"]);
    let alone = preflight(&format!("redis://127.0.0.1:{port}"), "prefer_replica = true").await;
    assert!(alone.facts.iter().any(|fact| fact.contains("no replica")), "{:?}", alone.facts);
    let replica =
        TestRedis::start_with(&[&format!("port {other}"), "bind 127.0.0.1", &format!("replicaof 127.0.0.1 {port}")]);
    for _ in 0..200 {
        if primary.cli(&["INFO", "replication"]).contains("state=online") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (record, parts) = dump(&format!("redis://127.0.0.1:{port}"), "prefer_replica = true").await;
    assert_eq!(record.instants[0].of, format!("127.0.0.1:{other}"));
    assert_eq!(groups(&record, &parts)["db0/string"].records, 1);
    assert!(replica.log().contains("Starting BGSAVE"));
}

/// Three primaries with a third of the slots each.
async fn cluster() -> Vec<(TestRedis, u16)> {
    let nodes: Vec<(TestRedis, u16)> = (0..3)
        .map(|_| {
            // The bus listens ten thousand ports above.
            let port = loop {
                let port = free_port();
                if port < 50_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
                    break port;
                }
            };
            let settings = [&format!("port {port}")[..], "bind 127.0.0.1", "cluster-enabled yes", "databases 1"];
            (TestRedis::start_with(&settings), port)
        })
        .collect();
    for (number, slots) in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].iter().enumerate() {
        nodes[number].0.cli(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        if number > 0 {
            nodes[0].0.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[number].1.to_string()]);
        }
    }
    for _ in 0..400 {
        let whole = |node: &(TestRedis, u16)| {
            let info = node.0.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        if nodes.iter().all(whole) {
            return nodes;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the cluster did not form");
}

#[tokio::test]
async fn every_primary_of_a_cluster_is_dumped_and_the_groups_are_of_all_of_them() {
    let nodes = cluster().await;
    for number in 0..300 {
        let mut command = plain(Path::new("redis-cli"));
        command.args(["-c", "-p", &nodes[0].1.to_string(), "SET", &format!("key:{number}"), "v"]);
        output(&mut command);
    }
    let url = format!("redis://127.0.0.1:{}", nodes[1].1);
    let found = preflight(&url, "").await;
    assert!(found.facts.iter().any(|fact| fact.contains("cluster of 3 shards")), "{:?}", found.facts);
    let (record, parts) = dump(&url, "").await;
    assert_eq!(record.instants.len(), 3);
    let prints = groups(&record, &parts);
    assert_eq!(prints.keys().collect::<Vec<_>>(), ["db0/string"]);
    assert_eq!(prints["db0/string"].records, 300);
    let sizes: Vec<u64> = (0..3)
        .map(|number| loaded(&parts[&format!("shard-{number}/rdb")].data).cli(&["DBSIZE"]).parse().unwrap())
        .collect();
    assert_eq!(sizes.iter().sum::<u64>(), 300);
    assert!(sizes.iter().all(|size| *size > 50), "{sizes:?}");
}

#[tokio::test]
async fn a_backup_by_the_command_line_restores_into_a_folder_that_stock_redis_serves() {
    let server = TestRedis::start();
    fill(&server).await;
    let mut connection = connect(&server).await;
    for number in 0..300_u32 {
        let noise: Vec<u8> = std::iter::repeat_with(rand::random).take(8_000).collect();
        connection.call(&[b"SET", format!("noise:{number}").as_bytes(), &noise]).await.unwrap();
    }
    let boat = Lifeboat::new(&["a"]);
    let folder = boat.folder().join("jobs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("queue.toml"), format!("[source]\ntype = \"redis\"\nurl = \"{}\"\n", server.url()))
        .unwrap();
    boat.backup().expect(0);
    boat.assert_sound(&["a"]);
    let out = boat.fresh();
    boat.run(&["restore", "queue", "--to", &out.display().to_string()]).expect(0);
    let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["README.md", "dump.rdb"]);
    let scratch = loaded(&std::fs::read(out.join("dump.rdb")).unwrap());
    assert_eq!(scratch.cli(&["DBSIZE"]), server.cli(&["DBSIZE"]));
    assert_eq!(scratch.cli(&["DEBUG", "DIGEST"]), server.cli(&["DEBUG", "DIGEST"]));
    let readme = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(readme.contains("redis-check-rdb dump.rdb"), "{readme}");
    // A second backup of the same data stores next to nothing.
    let size =
        |target: &str| crate::support::lifeboat::files(&boat.target(target)).values().map(Vec::len).sum::<usize>();
    let before = size("a");
    boat.backup().expect(0);
    let added = size("a") - before;
    assert!(added < before / 10, "{added} of {before}");
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

#[tokio::test]
async fn an_rdb_that_is_cut_bent_or_too_long_is_never_committed() {
    let server = TestRedis::start_with(&["rdbcompression no"]);
    fill(&server).await;
    let whole = dump(&server.url(), "").await.1["rdb"].data.clone();
    let (url, _folder) = scripted(whole.clone());
    assert_eq!(dump(&url, "").await.1["rdb"].data, whole);
    let bent = |at: usize| {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        bent
    };
    let long = [whole.clone(), vec![0]].concat();
    let cases = [
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        vec![],
        long,
        bent(whole.len() - 3),
        bent(whole.len() / 2),
    ];
    for (number, rdb) in cases.into_iter().enumerate() {
        for extra in ["", "exclude_keys = ['cache:*']"] {
            let (url, _folder) = scripted(rdb.clone());
            let (result, parts) = try_dump(&url, extra).await;
            assert!(matches!(&result, Err(SourceError::Failed { .. })), "case {number}: {result:?}");
            assert!(parts.is_none(), "case {number} could be committed");
        }
    }
}

#[tokio::test]
async fn what_is_not_understood_is_stored_and_not_proven() {
    let server = TestRedis::start();
    server.cli(&["SET", "a", "1"]);
    let mut rdb = dump(&server.url(), "").await.1["rdb"].data.clone();
    rdb[5..9].copy_from_slice(b"0999");
    let (url, _folder) = scripted(rdb.clone());
    let (record, parts) = dump(&url, "").await;
    assert_eq!((parts["rdb"].data == rdb, record.groups.len()), (true, 0));
    let details = RedisRecord::of(&record).unwrap();
    assert!(details.shards[0].unread.as_ref().is_some_and(|why| why.contains("999")), "{details:?}");
    assert!(record.gaps.iter().any(|gap| gap.what == "proof of the data"), "{:?}", record.gaps);
    let (refused, _) = try_dump(&url, "exclude_keys = ['x']").await;
    assert!(matches!(refused, Err(SourceError::Refused { .. })), "{refused:?}");
}
