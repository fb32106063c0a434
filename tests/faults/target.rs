//! Faults of a target: full, gone midway, read-only, one of two.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{SMALL, bulk, first_pack, midway, recovers, server_with};
use crate::support::installation::{Installation, Outcome, contents};
use crate::support::postgres::TestServer;
use crate::support::server::plain;
use crate::support::small_disk::on_a_small_disk;

/// More than one pack, so that a run is under way for a while.
const LARGE: usize = 90;

#[test]
fn a_full_target_is_named_and_nothing_half_written_stays() {
    let server = server_with(&bulk(12));
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    let one = boat.target("one");
    std::fs::create_dir(&one).unwrap();
    let ended = on_a_small_disk(&boat.command(&["backup", "now"]), &one, 2000);
    ended.refuses(1, &["`one`", "full"]).tells(&["half-written: 0, roots: 0"]);
    // The disk is gone as well: the place under it is empty, and that is no reason to start anew without a word.
    boat.run(&["backup", "now"]).refuses(1, &["held a repository and shows none now", "is it mounted"]);
    boat.assert_sound(&["one"]);
    std::fs::remove_file(boat.state().join("targets/one")).unwrap();
    boat.run(&["backup", "now"]).expect(0);
    recovers(&boat, &["one"]);
}

#[test]
fn a_full_target_among_two_is_left_behind_and_the_other_gets_the_snapshot() {
    let server = server_with(&bulk(12));
    let boat = Installation::by_init(&["one", "two"]);
    boat.whole_job("app", &server.url("app"), "", "quorum = 1");
    let two = boat.target("two");
    std::fs::create_dir(&two).unwrap();
    let ended = on_a_small_disk(&boat.command(&["backup", "now"]), &two, 2000);
    ended.expect(3).tells(&["`two`", "full", "half-written: 0, roots: 0"]);
    assert_eq!(boat.roots("one").len(), 1);
    boat.run(&["restore-test", "--from", "one"]).expect(0);
    boat.assert_sound(&["one", "two"]);
}

#[test]
fn a_target_that_goes_away_midway_is_reported_and_not_made_anew() {
    let server = server_with(&bulk(LARGE));
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    let (one, away) = (boat.target("one"), boat.root().join("away"));
    let ended = midway(&server, &boat, "", |_| {
        first_pack(&one);
        std::fs::rename(&one, &away).unwrap();
    });
    ended.refuses(1, &["`one`", "mounted"]);
    assert!(!one.exists(), "a target that was gone was made anew");
    boat.run(&["backup", "now"]).refuses(1, &["mounted"]);
    assert!(!one.exists(), "a target that is gone was made anew");
    std::fs::rename(&away, &one).unwrap();
    assert_eq!(boat.roots("one"), Vec::<PathBuf>::new());
    recovers(&boat, &["one"]);
}

#[test]
fn a_pack_that_was_stored_and_is_gone_at_the_end_leaves_no_snapshot_that_names_it() {
    let server = server_with(&bulk(LARGE));
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    let ended = midway(&server, &boat, "", |_| std::fs::remove_file(first_pack(&boat.target("one"))).unwrap());
    ended.refuses(1, &["`one` lagging", "lacks pack", "no snapshot was committed"]);
    assert_eq!(boat.roots("one"), Vec::<PathBuf>::new(), "a root was written before what it names was seen");
    recovers(&boat, &["one"]);
}

#[test]
fn one_of_two_targets_that_goes_away_midway_costs_its_copy_only_and_gets_the_next() {
    let server = server_with(&bulk(LARGE));
    let boat = Installation::by_init(&["one", "two"]);
    let (two, away) = (boat.target("two"), boat.root().join("away"));
    let ended = midway(&server, &boat, "quorum = 1", |_| {
        first_pack(&two);
        std::fs::rename(&two, &away).unwrap();
    });
    ended.expect(3).tells(&["not every target took part"]);
    assert!(!two.exists());
    std::fs::rename(&away, &two).unwrap();
    assert_eq!((boat.roots("one").len(), boat.roots("two").len()), (1, 0));
    boat.assert_roots_are_whole("one");
    recovers(&boat, &["one", "two"]);
    boat.run(&["restore-test", "--from", "two"]).expect(0);
}

#[test]
fn a_target_that_was_never_used_is_created_when_it_is_first_needed_and_not_before() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "deep/er/two"]);
    let (one, two) = (boat.target("one"), boat.target("deep/er/two"));
    let before = contents(boat.root());
    let looked = boat.run(&["backup", "now", "--dry-run"]).expect(0);
    assert_eq!(looked.stdout.matches("will be created").count(), 2, "{}", looked.stdout);
    let looked = boat.run(&["target", "test", "--dry-run"]).expect(0);
    assert_eq!(looked.stdout.matches("will be created").count(), 2, "{}", looked.stdout);
    assert!(contents(boat.root()) == before, "a dry run wrote something");
    boat.run(&["config", "check", "--online"]).expect(0).tells(&["one will be created", "two will be created"]);
    assert!(!one.exists() && !two.exists(), "a check made a target");

    let tested = boat.run(&["target", "test"]).expect(0);
    assert_eq!(tested.stdout.matches("created; written, read, listed and deleted").count(), 2, "{}", tested.stdout);
    assert_eq!((contents(&one).len(), contents(&two).len()), (0, 0), "the probe stays");
    boat.run(&["target", "test"]).expect(0);
    boat.run(&["backup", "now"]).expect(0);

    // Now they are known: one that is gone is a disk that is not mounted.
    std::fs::rename(&one, boat.root().join("away")).unwrap();
    boat.run(&["backup", "now", "--dry-run"]).refuses(3, &["`one`", "mounted"]);
    boat.run(&["target", "test"]).expect(3).tells(&["1 of 2", "`one`", "mounted"]);
    boat.run(&["config", "check", "--online"]).expect(1).tells(&["`one`", "mounted"]);
    assert!(!one.exists(), "a target that is gone was made anew");
}

#[test]
fn a_target_that_could_not_be_created_is_said_by_a_dry_run_already() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "file/two"]);
    std::fs::write(boat.root().join("file"), "x").unwrap();
    let looked = boat.run(&["backup", "now", "--dry-run"]).refuses(3, &["`two`", "is not a folder"]);
    assert!(looked.stdout.contains("will be created"), "{}", looked.stdout);
    boat.run(&["target", "test", "two"]).expect(1).tells(&["is not a folder"]);
    if rustix::process::geteuid().is_root() {
        return;
    }
    std::fs::remove_file(boat.root().join("file")).unwrap();
    std::fs::create_dir(boat.root().join("file")).unwrap();
    std::fs::set_permissions(boat.root().join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    boat.run(&["backup", "now", "--dry-run"]).refuses(3, &["`two`", "refused"]);
}

#[test]
fn a_read_only_target_is_refused_before_anything_is_read() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now"]).expect(0);
    let repository = contents(&boat.target("one"));
    let (mut shell, one) = read_only(&boat, "one");
    let Some(shell) = &mut shell else { return };
    shell.stdin(Stdio::null());
    let ended = Outcome::of(shell.output().unwrap());
    let ended = ended.refuses(1, &["`one`"]);
    assert!(ended.stderr.contains("Read-only") || ended.stderr.contains("ermission denied"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("dump: database"), "it was dumped for nothing:\n{}", ended.stderr);
    assert_eq!(contents(&one), repository);
    recovers(&boat, &["one"]);
}

/// `backup now` where a target cannot be written to: mounted read-only for root, whom permissions do not stop.
fn read_only(boat: &Installation, target: &str) -> (Option<Command>, PathBuf) {
    let one = boat.target(target);
    let command = boat.command(&["backup", "now"]);
    let mut shell = plain(Path::new("unshare"));
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit 99; exec \"$@\"";
    shell.args(["--mount", "sh", "-c", script]).arg(&one).arg(command.get_program()).args(command.get_args());
    (Some(shell), one)
}

/// Two targets, of which `two` is a file where a folder should be.
fn half_broken(server: &TestServer, quorum: usize) -> Installation {
    let boat = Installation::by_init(&["one", "two"]);
    boat.whole_job("app", &server.url("app"), "", &format!("quorum = {quorum}"));
    std::fs::write(boat.target("two"), "not a folder").unwrap();
    boat
}

#[test]
fn one_of_two_targets_failing_is_partial_where_one_is_enough() {
    let server = server_with(SMALL);
    let boat = half_broken(&server, 1);
    boat.run(&["backup", "now"]).expect(3).tells(&["target `two`", "not a folder", "not every target took part"]);
    assert_eq!(boat.roots("one").len(), 1);
    boat.run(&["snapshots"]).expect(3);
    boat.run(&["restore-test", "--from", "one"]).expect(0);
    std::fs::remove_file(boat.target("two")).unwrap();
    recovers(&boat, &["one", "two"]);
}

#[test]
fn one_of_two_targets_failing_commits_nothing_where_both_are_demanded() {
    let server = server_with(SMALL);
    let boat = half_broken(&server, 2);
    boat.run(&["backup", "now"])
        .refuses(1, &["1 of 2 targets work", "quorum", "no snapshot was committed", "not a folder"]);
    assert_eq!(boat.roots("one"), Vec::<PathBuf>::new());
    std::fs::remove_file(boat.target("two")).unwrap();
    recovers(&boat, &["one", "two"]);
}
