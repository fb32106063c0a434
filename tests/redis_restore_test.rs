//! Restore tests of Redis snapshots: what is proven, what is not shown, and what is left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::installation::Installation;
use crate::support::redis::TestRedis;
use crate::support::redis_data;
use crate::support::small_disk::on_a_small_disk;

fn installation(server: &TestRedis, more: &str) -> Installation {
    Installation::of_kind("redis", &format!("url = \"{}\"", server.url()), more)
}

#[test]
fn a_dataset_with_everything_is_proven_and_nothing_is_left() {
    for setting in ["list-compress-depth 0", "list-compress-depth 1"] {
        let server = TestRedis::start_with(&[setting]);
        redis_data::fill(&server);
        let installation = installation(&server, "");
        installation.back_up();
        drop(server);
        let ran = installation.run(&["--json", "restore-test"]);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("keys where"), "{}", ran.stderr);
        let summary: serde_json::Value =
            ran.stdout.lines().rev().map(|line| serde_json::from_str(line).unwrap()).next().unwrap();
        let outcome = &summary;
        let evidence = &outcome["evidence"];
        assert_eq!(outcome["verdict"], "proven", "{summary:#}");
        // Six types in the first database, two in each other, and the libraries.
        assert_eq!(evidence["groups"], 6 + 15 * 2 + 1, "{summary:#}");
        assert_eq!(evidence["engine_counts"], 6 + 15 * 2, "{summary:#}");
        assert!(outcome["measured"]["scratch"].as_str().unwrap().contains("without network"), "{summary:#}");
        installation.assert_no_scratch();
    }
}

#[test]
fn fuzzy_and_filtered_snapshots_are_proven_and_marked() {
    let server = TestRedis::start();
    redis_data::fill(&server);
    // One that forbids replication is read key by key.
    server.cli(&["ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@all", "-psync", "-sync"]);
    let source = format!("url = \"{}\"\nallow_fuzzy = true\nexclude_keys = [\"list:*\"]", server.url_as("reader"));
    let installation = Installation::of_kind("redis", &source, "");
    std::fs::write(installation.path("password"), "x").unwrap();
    let job = std::fs::read_to_string(installation.path("jobs/job.toml")).unwrap();
    installation.write_job("job", &job.replace("allow_fuzzy", "password = { file = \"password\" }\nallow_fuzzy"));
    installation.back_up();
    let ran = installation.run(&["restore-test"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let report = installation.run(&["report", "--format", "md", "--out", installation.path("").to_str().unwrap()]);
    assert_eq!(report.code, 0, "{}\n{}", report.stdout, report.stderr);
    let file = std::fs::read_dir(installation.path("")).unwrap().flatten().map(|entry| entry.path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "md")).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("a single point in time") && text.contains("keys \\`list:\\*\\`"), "{text}");
}

#[test]
fn every_verb_speaks_of_keys_where_the_source_is_a_redis() {
    let server = TestRedis::start();
    server.feed("SET a 1\nSET b 2\nHSET h f v\nSELECT 3\nSADD s x\n");
    let installation = installation(&server, "");
    let backup = installation.ok(&["backup", "now"]).says(&[": 4 keys, "]);
    let tested =
        installation.ok(&["restore-test"]).says(&["PROVEN: 3 groups of keys, 4 keys, ", " equal; recovered in "]);
    let other = TestRedis::start();
    let url = other.url();
    let dry = installation.ok(&["restore", "job", "--to", &url, "--dry-run"]).says(&[", 4 keys, "]);
    let one = installation.ok(&["restore", "job", "--to", &url, "--only", "db3"]).says(&[", 1 key, "]);
    let (status, listed) = (installation.ok(&["status"]), installation.ok(&["snapshots"]));
    for said in [backup, tested, dry, one, status, listed] {
        for word in ["row", "table", "catalog", "PROVEN: 3 groups,"] {
            assert!(!said.all().contains(word), "`{word}` in {}", said.all());
        }
    }
}

/// Every object at the target that may hold data.
fn packs(installation: &Installation) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(installation.path("shelf/packs")).unwrap().flatten();
    folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten()).map(|entry| entry.path()).collect()
}

#[test]
fn a_flipped_bit_in_a_stored_pack_fails_the_test_and_nothing_is_loaded() {
    let server = TestRedis::start();
    redis_data::fill(&server);
    let installation = installation(&server, "");
    installation.back_up();
    let pack = packs(&installation).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let ran = installation.run(&["restore-test"]);
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    installation.assert_no_scratch();
}

/// An RDB of one string, of this version, with its checksum switched off.
fn rdb(version: u32) -> Vec<u8> {
    [format!("REDIS{version:04}").as_bytes(), b"\xfe\x00\xfb\x01\x00\x00\x01k\x01v\xff", &[0; 8]].concat()
}

/// A server that sends these bytes to whoever asks for a dump.
fn scripted(folder: &Path, data: Vec<u8>) -> String {
    use std::io::{BufRead, Write};
    let socket = folder.join("scripted.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, data) = (stream.unwrap(), data.clone());
            std::thread::spawn(move || {
                let lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
                for line in lines.map_while(Result::ok) {
                    let answered = match line.to_ascii_uppercase().as_str() {
                        "PING" => stream.write_all(b"+PONG\r\n"),
                        "REPLCONF" => stream.write_all(b"+OK\r\n"),
                        "HELLO" | "INFO" | "COMMAND" => stream.write_all(b"-ERR unknown command\r\n"),
                        "PSYNC" => {
                            let head = format!("+FULLRESYNC {} 1\r\n${}\r\n", "a".repeat(40), data.len());
                            stream.write_all(&[head.as_bytes(), &data].concat())
                        }
                        _ => Ok(()),
                    };
                    if answered.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("unix://{}", socket.display())
}

#[test]
fn an_rdb_newer_than_the_server_or_than_lifeboat_is_unproven_and_says_what_it_needs() {
    for (data, needs) in [
        (rdb(11), "redis-server >= 7.2 or valkey-server >= 7.2 (this machine has redis-server 7.0"),
        (rdb(12), "redis-server >= 7.4"),
        (rdb(14), "redis-server >= 8.8"),
        (rdb(99), "RDB version 99"),
        // A type that nobody knows, in a version that everybody does.
        ([&rdb(10)[..14], &[222], &rdb(10)[15..]].concat(), "a Lifeboat that reads record type 222"),
    ] {
        let folder = tempfile::Builder::new().prefix("lbr-").tempdir_in("/tmp").unwrap();
        let installation = Installation::of_kind("redis", &format!("url = \"{}\"", scripted(folder.path(), data)), "");
        installation.back_up();
        let ran = installation.run(&["restore-test"]);
        assert_eq!(ran.code, 5, "{needs}: {}\n{}", ran.stdout, ran.stderr);
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(needs), "{needs}: {}\n{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_stock_server_that_does_not_load_the_rdb_fails_the_test_and_is_quoted() {
    // A set whose one member comes twice: its shape is right, and no server takes it.
    let twice = b"\xfe\x00\xfb\x01\x00\x02\x01k\x02\x01a\x01a\xff";
    let data = [&b"REDIS0010"[..], twice, &[0; 8]].concat();
    let folder = tempfile::Builder::new().prefix("lbr-").tempdir_in("/tmp").unwrap();
    let installation = Installation::of_kind("redis", &format!("url = \"{}\"", scripted(folder.path(), data)), "");
    installation.back_up();
    let ran = installation.run(&["restore-test"]);
    assert_eq!(ran.code, 4, "{}\n{}", ran.stdout, ran.stderr);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("does not load the RDB: ") && said.contains("loading DB"), "{said}");
}

#[test]
fn a_killed_restore_test_leaves_no_server_and_the_next_one_removes_its_folder() {
    let server = TestRedis::start();
    server.cli(&["DEBUG", "POPULATE", "300000", "key", "40"]);
    let installation = installation(&server, "");
    installation.back_up();
    let mut child = installation.command(&["restore-test"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let ours = installation.path("s");
    let servers = || lifeboat::system::leftovers::processes_in(&ours).len();
    let start = Instant::now();
    while servers() == 0 {
        assert!(start.elapsed() < Duration::from_secs(30) && child.try_wait().unwrap().is_none(), "no server came");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = Instant::now();
    while servers() > 0 {
        assert!(killed.elapsed() < Duration::from_secs(10), "{} processes outlive the test", servers());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(std::fs::read_dir(&ours).unwrap().count(), 1, "its folder waits for the next");
    let ran = installation.run(&["restore-test"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("left by a killed run"), "{}", ran.stderr);
    installation.assert_no_scratch();
}

#[test]
fn checks_by_command_hold_or_fail_the_test_and_never_write() {
    let server = TestRedis::start();
    redis_data::fill(&server);
    let installation = installation(&server, "");
    installation.back_up();
    let source = format!("[source]\ntype = \"redis\"\nurl = \"{}\"\n", server.url());
    let check = |lines: &str| format!("[[restore_test.check]]\n{lines}\n");
    let held = [
        "command = 'LLEN list:513'\nmin = 513\nmax = 513",
        "command = 'GET \"\\x00\\r\\n\\xff key\"'\nmin = ''",
        "command = 'get text'\nequals = 'value'",
        "command = 'GET only:7'\ndatabase = 7\nequals = 7",
        "command = 'ZSCORE scores a'\nequals = 1.5",
        "command = 'FCALL_RO g 0'\nequals = 2",
        "command = 'LINDEX list:1 0'\nequals = 'element1'",
    ];
    installation.write_job("job", &[source.clone(), held.map(check).concat()].concat());
    let ran = installation.run(&["restore-test"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    for (lines, says) in [
        ("command = 'LLEN list:513'\nmax = 512", "513"),
        ("command = 'GET nowhere'\nmin = 0", "nothing (nil)"),
        ("command = 'LRANGE list:513 0 2'\nmin = 0", "3 values where one was expected"),
        ("command = 'DEL text'\nmin = 0", "a check only reads"),
        ("command = 'SHUTDOWN NOSAVE'\nmin = 0", "a check only reads"),
        ("command = 'LLEN text'\nmin = 0", "WRONGTYPE"),
        ("command = 'NONSENSE'\nmin = 0", "unknown command"),
        ("command = 'GET text'\nmax_age = '1h'", "value"),
    ] {
        installation.write_job("job", &[source.clone(), check(lines)].concat());
        let ran = installation.run(&["restore-test", "--json"]);
        assert_eq!(ran.code, 4, "{lines}: {}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(says), "{lines}: {}", ran.stdout);
    }
    // What a Redis cannot be asked is refused where it is written, before anything runs.
    installation.write_job("job", &[source, check("sql = 'select 1'\nmin = 0")].concat());
    for verb in [&["config", "check"][..], &["restore-test"]] {
        let ran = installation.run(verb);
        assert_eq!(ran.code, 2, "{verb:?}: {}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("job.toml:") && ran.stderr.contains("`command = "), "{}", ran.stderr);
    }
}

#[test]
fn a_scratch_server_stays_within_its_memory_and_says_so() {
    let server = TestRedis::start();
    server.cli(&["DEBUG", "POPULATE", "20000", "key", "8000"]);
    let installation = installation(&server, "[scratch.redis]\nmemory = \"64MiB\"\n");
    installation.back_up();
    let ran = installation.run(&["restore-test"]);
    assert_eq!(ran.code, 5, "{}\n{}", ran.stdout, ran.stderr);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("of memory for scratch redis"), "{}", ran.stderr);
    installation.assert_no_scratch();
}

/// That scratch has no room says nothing about the backup.
#[test]
fn a_full_scratch_disk_leaves_a_snapshot_unproven_and_says_how_much_room_it_needs() {
    let server = TestRedis::start();
    redis_data::fill(&server);
    let installation = installation(&server, "");
    installation.back_up();
    drop(server);
    let scratch = installation.path("s");
    std::fs::create_dir_all(&scratch).unwrap();
    let ended = on_a_small_disk(&installation.command(&["restore-test"]), &scratch, 500);
    assert_eq!(ended.code, 5, "{}", ended.all());
    assert!(ended.all().contains("free disk in"), "{}", ended.all());
    installation.assert_no_scratch();
    assert_eq!(installation.restore_test()["verdict"], "proven");
}
