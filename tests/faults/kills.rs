//! Lifeboat is ended from outside: by SIGKILL at any moment, by SIGTERM, by Ctrl-C; and two runs meet.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};

use super::{SMALL, bulk, midway, recovers, server_with};
use crate::support::installation::{Installation, finish};

/// The moments are drawn from it: `LIFEBOAT_TEST_SEED`, else another one each time, shown when the test fails.
#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn seed() -> StdRng {
    let given = std::env::var("LIFEBOAT_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(rand::random::<u64>);
    println!("LIFEBOAT_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn signal(child: &Child, signal: Signal) {
    let _ended_before_that = kill_process(Pid::from_child(child), signal);
}

#[test]
fn a_backup_killed_at_any_moment_leaves_no_half_snapshot_and_the_next_one_succeeds() {
    const KILLS: u32 = 20;
    let mut random = seed();
    let targets = ["one", "two"];
    let server = server_with(&format!("{SMALL}{}", bulk(2)));
    let boat = Installation::by_init_with(&server, "app", &targets);
    let begun = Instant::now();
    boat.run(&["backup", "now"]).expect(0);
    let whole = begun.elapsed();
    let mut committed: BTreeSet<String> = boat.snapshots().into_iter().map(|(id, _)| id).collect();
    for kill in 0..KILLS {
        // So that there is always something new to store.
        server.psql("app", &format!("update bulk set text = reverse(text) where i % 7 = {}", kill % 7));
        let after = whole.mul_f64(random.random_range(0.0..1.2));
        let mut running = boat.start(&["backup", "now"]);
        std::thread::sleep(after);
        signal(&running, Signal::KILL);
        running.wait().unwrap();
        for target in targets {
            boat.assert_roots_are_whole(target);
        }
        let shown: BTreeSet<String> = boat.snapshots().into_iter().map(|(id, _)| id).collect();
        assert!(shown.is_superset(&committed), "kill {kill} after {after:?} lost a snapshot: {committed:?}, {shown:?}");
        committed = shown;
        if kill % 5 == 4 {
            boat.run(&["backup", "now"]).expect(0);
            boat.assert_sound(&targets);
        }
    }
    recovers(&boat, &targets);
    boat.run(&["restore-test", "--from", "each"]).expect(0);
    boat.assert_sound(&targets);
    // Nothing of a killed run holds the server up.
    assert_eq!(sessions(&server), "0");
}

/// Of clients other than the one that asks; a backend may take a moment to see that its client has gone.
fn sessions(server: &crate::support::postgres::TestServer) -> String {
    let sql = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    for _ in 0..300 {
        // Not asked again: the client that asked may itself still be seen by the next.
        let seen = server.psql("postgres", sql);
        if seen == "0" {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    server.psql("postgres", sql)
}

#[test]
fn a_restore_test_killed_at_any_moment_leaves_no_scratch_server() {
    const KILLS: u32 = 6;
    let mut random = seed();
    let server = server_with(&format!("{SMALL}{}", bulk(1)));
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now"]).expect(0);
    let begun = Instant::now();
    boat.run(&["restore-test"]).expect(0);
    let whole = begun.elapsed();
    for kill in 0..KILLS {
        let after = whole.mul_f64(random.random_range(0.1..1.1));
        let mut running = boat.start(&["restore-test"]);
        std::thread::sleep(after);
        signal(&running, Signal::KILL);
        running.wait().unwrap();
        // The scratch server ends by itself; its files go with the next test.
        let limit = Instant::now() + Duration::from_secs(20);
        while !boat.processes().is_empty() {
            assert!(Instant::now() < limit, "kill {kill} after {after:?} left {:?}", boat.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    boat.run(&["restore-test"]).expect(0);
    boat.assert_sound(&["one"]);
}

/// A backup that is under way for as long as the test wants: it waits for a table's lock.
fn held_up(act: impl FnOnce(&Installation, Child)) {
    let server = server_with(SMALL);
    let boat = Installation::by_init(&["one"]);
    boat.whole_job("app", &server.url("app"), "lock_timeout = \"60s\"", "");
    let mut holder = super::server::Session::start(&server, "begin; lock table entry in access exclusive mode");
    holder.wait_for(&server, "mode = 'AccessExclusiveLock' and granted and relation = 'entry'::regclass");
    let running = boat.start(&["backup", "now"]);
    holder.wait_for(&server, "not granted");
    act(&boat, running);
    drop(holder);
    recovers(&boat, &["one"]);
    assert_eq!(sessions(&server), "0");
}

fn is_cancelled_by(with: Signal) {
    held_up(|boat, running| {
        let begun = Instant::now();
        signal(&running, with);
        finish(running).expect(130).tells(&["cancelled"]);
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?} to stop", begun.elapsed());
        boat.assert_sound(&["one"]);
    });
}

#[test]
fn sigterm_cancels_a_backup_that_waits_in_bounded_time() {
    is_cancelled_by(Signal::TERM);
}

#[test]
fn ctrl_c_cancels_a_backup_that_waits_in_bounded_time() {
    is_cancelled_by(Signal::INT);
}

#[test]
fn a_signal_in_the_middle_of_a_dump_or_a_restore_test_cancels_it_and_leaves_nothing() {
    let server = server_with(&format!("{SMALL}{}", bulk(30)));
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    let ended = midway(&server, &boat, "", |running| signal(running, Signal::TERM));
    ended.expect(130);
    assert_eq!(boat.roots("one").len(), 0);
    boat.assert_sound(&["one"]);
    boat.run(&["backup", "now"]).expect(0);
    let running = boat.start(&["restore-test"]);
    let limit = Instant::now() + Duration::from_secs(30);
    // A scratch server runs when a program works in the scratch folder.
    while boat.processes().len() < 3 {
        assert!(Instant::now() < limit, "no scratch server was seen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let begun = Instant::now();
    signal(&running, Signal::INT);
    finish(running).expect(130);
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?} to stop", begun.elapsed());
    boat.assert_sound(&["one"]);
    recovers(&boat, &["one"]);
}

#[test]
fn a_second_run_of_a_job_is_skipped_while_the_first_one_runs() {
    held_up(|boat, running| {
        boat.run(&["backup", "now"]).refuses(75, &["a run of job `app` is under way"]);
        signal(&running, Signal::TERM);
        finish(running).expect(130);
    });
}

#[test]
fn a_process_group_that_ends_as_a_terminal_ends_it_leaves_nothing_behind() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now"]).expect(0);
    let mut command: Command = boat.command(&["restore-test"]);
    let running = command.process_group(0).spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(30);
    while boat.processes().len() < 3 {
        assert!(Instant::now() < limit, "no scratch server was seen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let _gone = rustix::process::kill_process_group(Pid::from_child(&running), Signal::INT);
    finish(running).expect(130);
    boat.assert_sound(&["one"]);
}
