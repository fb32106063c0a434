//! What bad input gets, shown from outside through the real binary: a clear error with its exit code, nothing lost, nothing
//! half-visible, nothing left behind, and a next run that succeeds.

#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "Lifeboat writes these names itself")]
#![allow(clippy::print_stdout, reason = "what a failed test shows: seeds and counts")]

#[path = "faults/configuration.rs"]
mod configuration;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/names.rs"]
mod names;
#[path = "faults/server.rs"]
mod server;
#[path = "faults/state.rs"]
mod state;
#[path = "faults/target.rs"]
mod target;

use std::path::Path;
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::installation::{Installation, Outcome, contents, finish};
use crate::support::postgres::TestServer;
use crate::support::relay::Relay;

/// Two related tables: enough rows to be more than one row, and few enough to be fast.
const SMALL: &str = "
    create table account (id int primary key, owner text not null);
    insert into account select i, 'owner ' || i from generate_series(1, 500) i;
    create table entry (id int primary key, account int not null references account, amount numeric);
    insert into entry select i, 1 + i % 500, i / 7.0 from generate_series(1, 2000) i;";

/// A server with a database `app` of these tables.
fn server_with(sql: &str) -> TestServer {
    let server = TestServer::start();
    server.create_database("app");
    server.psql("app", sql);
    server
}

/// A table `bulk` of about this many megabytes that do not compress well: hexadecimal digits.
fn bulk(megabytes: usize) -> String {
    // 16 rows of 1,000 MD5 digits each: fast to make, different in every row.
    format!(
        "create table bulk as select i, (select string_agg(md5(i::text || '-' || j), '') from generate_series(1, 31) j) as text
         from generate_series(1, {}) i",
        megabytes * 1000
    )
}

/// The state that every fault must leave behind: the next backup is whole, and a restore test proves it.
fn recovers(boat: &Installation, targets: &[&str]) {
    let before = boat.roots(targets[0]).len();
    boat.run(&["backup", "now"]).expect(0);
    let after = boat.snapshots();
    assert_eq!(boat.roots(targets[0]).len(), before + 1, "{after:?}");
    assert_eq!(after.last().unwrap().1, targets, "the newest is at every target");
    boat.run(&["restore-test"]).expect(0);
    boat.assert_sound(targets);
}

/// Runs a backup of `app` that is held up in the middle, whatever the machine's pace: the rows of the table `last` are asked
/// for only when `act` has returned. `backup` holds further lines of the job's `[backup]`.
fn midway(server: &TestServer, boat: &Installation, backup: &str, act: impl FnOnce(&Child)) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (held, is_held) = mpsc::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    server.psql("app", "create table if not exists last as select 1 as n");
    let relay = {
        let _entered = runtime.enter();
        Relay::before(server.socket().join(".s.PGSQL.5432"), "COPY public.last", async move {
            held.send(()).unwrap();
            released.await.unwrap();
        })
    };
    boat.whole_job("app", &relay.url("app"), "", backup);
    let running = boat.start(&["backup", "now"]);
    let is_held = is_held.recv_timeout(Duration::from_mins(1));
    assert!(is_held.is_ok(), "the rows of `last` were never asked for: {:?}", finish(running));
    act(&running);
    release.send(()).unwrap();
    let ended = finish(running);
    boat.whole_job("app", &server.url("app"), "", backup);
    ended
}

/// Waits for the first pack at a target, and names it.
fn first_pack(target: &Path) -> String {
    let begun = Instant::now();
    loop {
        let is_pack = |path: &String| path.ends_with(".age");
        if let Some(pack) = contents(&target.join("packs")).into_keys().find(is_pack) {
            return pack;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no pack came to {}", target.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}
