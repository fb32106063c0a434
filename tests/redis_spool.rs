//! A target that is slower than the server bears: the spool takes what the server sends.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeboat::config::Section;
use lifeboat::domain::progress::{Event, Progress};
use lifeboat::domain::{Block, Fingerprint, Lane, PartName, PartSink, Shape, SinkError, SourceRecord};
use lifeboat::sources::{Context, SourceError, registry};

use crate::redis_dump::{context, groups, loaded};
use crate::support::collecting_sink::CollectingSink;
use crate::support::installation::Installation;
use crate::support::postgres::not_tried;
use crate::support::redis::TestRedis;
use crate::support::server::plain;
use crate::support::small_disk::{can_mount, on_a_small_disk};

/// Far more than sockets and buffers hold, and no bytes that compress.
const KEYS: usize = 600;
const KEY_BYTES: usize = 64 << 10;

/// Stands still once, after the first block of the RDB, for so long.
#[derive(Clone)]
struct Slow(CollectingSink, Duration);

struct SlowLane(Box<dyn Lane>, Option<Duration>, bool);

impl PartSink for Slow {
    fn open_lane(&self) -> Result<Box<dyn Lane>, SinkError> {
        Ok(Box::new(SlowLane(self.0.open_lane()?, Some(self.1), false)))
    }
}

impl Lane for SlowLane {
    fn begin(&mut self, name: PartName, shape: Shape) -> Result<(), SinkError> {
        self.2 = shape == Shape::Bytes;
        self.0.begin(name, shape)
    }
    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        if self.2
            && let Some(pause) = self.1.take()
        {
            std::thread::sleep(pause);
        }
        self.0.write(block)
    }
    fn finish(&mut self) -> Result<Fingerprint, SinkError> {
        self.0.finish()
    }
    fn close(&mut self) -> Result<(), SinkError> {
        self.0.close()
    }
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

/// A server that drops whoever takes nothing for three seconds.
fn impatient() -> TestRedis {
    let server = TestRedis::start_with(&["repl-timeout 3", "rdbcompression no"]);
    let fill = "math.randomseed(7) for key = 1, tonumber(ARGV[1]) do local value = {} for at = 1, ARGV[2] / 8 do \
                value[at] = string.format('%08x', math.random(0, 2147483647)) end \
                redis.call('SET', 'key:' .. key, table.concat(value)) end";
    server.cli(&["EVAL", fill, "0", &KEYS.to_string(), &KEY_BYTES.to_string()]);
    server
}

/// Runs `"$@"` on the disk `$0`, and fills the disk while the spool is being written: all of it stands still meanwhile and some seconds
/// longer, and the server at the socket bears that or not. Afterwards there is room again.
const FILL: &str = r#"
used() { df --output=used -k "$0" | tail -n 1; }
on_a_disk_that_fills() {
    redis-cli -s "$socket" CONFIG SET repl-timeout "$1" >&2
    pause=$2 before=$(used)
    shift 2
    "$@" & pid=$!
    until [ $(($(used) - before)) -gt 4096 ]; do kill -0 $pid || exit 90; done
    kill -STOP $pid
    head -c 1G /dev/zero 2>/dev/null >"$0/filler"
    sleep "$pause"
    kill -CONT $pid
    wait $pid; echo "== ended with $?"
    rm "$0/filler"
}
socket=$1
shift
on_a_disk_that_fills 600 0 "$@" 2>&1
on_a_disk_that_fills 3 6 "$@" 2>&1
"$@" 2>&1; echo "== ended with $?"
"#;

#[test]
fn a_disk_that_fills_under_the_spool_is_told_and_whatever_is_committed_is_whole() {
    if !can_mount() {
        return not_tried("no disk may be mounted here");
    }
    let server = TestRedis::start_with(&["rdbcompression no"]);
    server.fill_with_noise(80);
    let boat = Installation::of_kind("redis", &format!("url = \"{}\"", server.url()), "");
    std::fs::create_dir(boat.state()).unwrap();
    let backup = boat.command(&["backup", "now"]);
    let mut command = plain(Path::new("sh"));
    command.args(["-c", FILL]).arg(boat.state()).arg(server.socket()).arg(backup.get_program()).args(backup.get_args());
    let ended = on_a_small_disk(&command, &boat.state(), 256 << 10);
    let runs: Vec<&str> = ended.stdout.split("== ended with ").collect();
    let [waited, broken, again, end] = runs[..] else { panic!("{}", ended.all()) };
    assert_eq!([broken, again, end].map(|run| &run[..1]), ["0", "1", "0"], "{}", ended.all());
    let full = format!("the spool in `{}/work-", boat.state().display());
    for run in [waited, broken] {
        let told = run.lines().find(|line| line.contains("warning: ")).unwrap_or_else(|| panic!("{}", ended.all()));
        for says in [&full, "cannot be written: No space left on device", "the server waits", "make room on its disk"] {
            assert!(told.contains(says), "{says} in {told}");
        }
    }
    // What broke off says so, with the reason, and left nothing; the next run has the whole.
    let (_, error) = broken.split_once("error: ").unwrap_or_else(|| panic!("{broken}"));
    for says in ["transfer of the RDB", "hint: ", &full, "make room on its disk", "repl-timeout"] {
        assert!(error.contains(says), "{says} in {error}");
    }
    assert!(
        waited.contains(" 80 keys, ") && !broken.contains(" keys, ") && again.contains(" 80 keys, "),
        "{}",
        ended.all()
    );
    assert!(!again.contains("warning"), "{again}");
    boat.ok(&["catalog", "rebuild"]);
    assert_eq!(boat.snapshots().len(), 2);
    assert_eq!(boat.restore_test()["verdict"], "proven");
}

async fn dumped(
    url: &str,
    spool: &str,
    pause: Duration,
) -> (Result<SourceRecord, SourceError>, CollectingSink, Vec<String>) {
    let text = format!("type = 'redis'\nurl = \"{url}\"\nspool = '{spool}'");
    let source = registry::kind("redis").unwrap().configure(&Section::from_text(&text).unwrap()).unwrap();
    let (sink, warnings) = (CollectingSink::default(), Arc::new(Warnings::default()));
    let work = tempfile::tempdir().unwrap();
    let context =
        Context { progress: Arc::clone(&warnings) as Arc<dyn Progress>, work: work.path().to_owned(), ..context() };
    let result = source.dump(&context, Arc::new(Slow(sink.clone(), pause))).await;
    let warned = std::mem::take(&mut *warnings.0.lock().unwrap());
    (result, sink, warned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_stands_still_longer_than_the_server_bears_needs_the_spool() {
    let server = impatient();
    let pause = Duration::from_secs(9);
    let (result, sink, _) = dumped(&server.url(), "0", pause).await;
    let error = format!("{:?}", result.unwrap_err());
    assert!(error.contains("of the RDB") && error.contains("client-output-buffer-limit"), "{error}");
    assert!(sink.committed().is_none(), "half an RDB is no backup");

    let begun = Instant::now();
    let (result, sink, warned) = dumped(&server.url(), "1GiB", pause).await;
    result.unwrap();
    assert!(begun.elapsed() >= pause, "the target was slow");
    assert_eq!(warned, Vec::<String>::new());
    let parts = sink.committed().expect("a whole dump");
    assert!(parts["rdb"].data.len() > KEYS * KEY_BYTES);
    assert_eq!(loaded(&parts["rdb"].data).cli(&["DBSIZE"]), KEYS.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_makes_the_server_wait_and_says_so() {
    let server = impatient();
    let (result, sink, warned) = dumped(&server.url(), "2MiB", Duration::from_secs(1)).await;
    result.unwrap();
    assert!(sink.committed().is_some());
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("is full with 2.00 MiB: the server waits"), "{warned:?}");
    assert!(warned[0].contains("a larger `spool` in the job"), "{warned:?}");
    // Too small for a pause that the server does not bear.
    let (result, sink, warned) = dumped(&server.url(), "2MiB", Duration::from_secs(9)).await;
    assert!(sink.committed().is_none() && warned.len() == 1, "{warned:?}");
    let error = result.unwrap_err();
    for says in ["the spool in `/", "is full with 2.00 MiB; a larger `spool` in the job", "repl-timeout"] {
        assert!(error.hint().contains(says), "{says} in {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_expire_while_they_are_dumped_are_in_the_backup_as_they_were_at_its_moment() {
    let server = impatient();
    let soon = "for key = 1, 100 do redis.call('SET', 'soon:' .. key, key, 'PX', 6000) end";
    server.cli(&["EVAL", soon, "0"]);
    let (result, sink, _) = dumped(&server.url(), "1GiB", Duration::from_secs(9)).await;
    let (record, parts) = (result.unwrap(), sink.committed().expect("a whole dump"));
    assert_eq!(server.cli(&["DBSIZE"]), KEYS.to_string(), "they have expired meanwhile");
    let all = (KEYS + 100).to_string();
    assert_eq!(groups(&record, &parts)["db0/string"].records.to_string(), all);
    assert_eq!(loaded(&parts["rdb"].data).cli(&["DBSIZE"]), all);
}

/// A dump that stands still while `act` happens to its server.
async fn dumped_while(
    server: &mut TestRedis,
    act: impl FnOnce(&mut TestRedis),
) -> (Result<SourceRecord, SourceError>, CollectingSink) {
    let url = server.url();
    let dump = tokio::spawn(async move { dumped(&url, "0", Duration::from_secs(3)).await });
    let begun = Instant::now();
    while !server.cli(&["INFO", "replication"]).contains("slave0:") {
        assert!(begun.elapsed() < Duration::from_mins(1), "the dump never began");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    act(server);
    let (result, sink, _) = dump.await.unwrap();
    (result, sink)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_while_it_is_dumped_leaves_no_backup_and_the_next_one_succeeds() {
    let mut server = impatient();
    let restart = |server: &mut TestRedis| {
        server.kill();
        server.resume();
    };
    let (result, sink) = dumped_while(&mut server, restart).await;
    let error = format!("{:?}", result.unwrap_err());
    assert!(error.contains("of the RDB") || error.contains("replication"), "{error}");
    assert!(sink.committed().is_none(), "half an RDB is no backup");
    server.cli(&["SET", "after", "1"]);
    let (result, sink, _) = dumped(&server.url(), "0", Duration::ZERO).await;
    assert_eq!(groups(&result.unwrap(), &sink.committed().unwrap())["db0/string"].records, 1);
}

/// The old primary of a failover goes on with what it has begun: its data as they were at one moment, before it lost its role.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_in_the_middle_of_a_dump_leaves_a_whole_backup_or_none() {
    let mut server = impatient();
    let (result, sink) = dumped_while(&mut server, |old| drop(old.cli(&["REPLICAOF", "127.0.0.1", "1"]))).await;
    match result {
        Ok(record) => {
            let parts = sink.committed().expect("a whole dump");
            assert_eq!(groups(&record, &parts)["db0/string"].records, KEYS as u64);
            assert_eq!(loaded(&parts["rdb"].data).cli(&["DBSIZE"]), KEYS.to_string());
        }
        Err(error) => assert!(sink.committed().is_none(), "half an RDB is no backup: {error}"),
    }
}
