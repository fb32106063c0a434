//! Targets that come, go and come back: what a snapshot needs is at every target that shows it, and the chain of roots holds.

use std::path::Path;

use crate::support::installation::{Installation, files};
use crate::support::postgres::TestServer;
use crate::support::server::{output, plain};

const SCHEMA: &str = "create table t (id int primary key, text text); \
    insert into t select n, md5(n::text) from generate_series(1, 20000) n";

fn source() -> TestServer {
    let server = TestServer::start();
    server.create_database("shop");
    server.psql("shop", SCHEMA);
    server
}

fn change(server: &TestServer, run: u32) {
    server.psql(
        "shop",
        &format!("insert into t select {run} * 1000000 + n, md5(random()::text) from generate_series(1, 500) n"),
    );
}

/// A job `shop` on these targets with this quorum.
fn installation(server: &TestServer, targets: &[&str], quorum: usize) -> Installation {
    let installation = Installation::new();
    for target in targets {
        installation.add_target(target);
    }
    installation.job_on("shop", &server.url("shop"), targets, &format!("quorum = {quorum}\n"));
    installation
}

fn move_folder(installation: &Installation, from: &str, to: &str) {
    std::fs::rename(installation.path(from), installation.path(to)).unwrap();
}

fn roots(target: &Path) -> Vec<String> {
    files(&target.join("snapshots")).into_iter().filter(|name| name.ends_with(".root")).collect()
}

/// The numbers of a target's roots.
fn numbers(target: &Path) -> Vec<u64> {
    let number = |name: &String| name.split('/').nth(1).unwrap().split('-').next().unwrap().parse().unwrap();
    roots(target).iter().map(number).collect()
}

fn forget_catalog(installation: &Installation) {
    for name in files(&installation.path("state")).iter().filter(|name| name.contains("catalog")) {
        std::fs::remove_file(installation.path("state").join(name)).unwrap();
    }
}

/// The rows that a restore as files brings, sorted.
fn restored_rows(installation: &Installation, what: &str, from: &str) -> Vec<String> {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("out");
    installation.expect(0, &["restore", what, "--from", from, "--to", folder.to_str().unwrap()]);
    let tables: Vec<_> = files(&folder).into_iter().filter(|name| name.contains("/table/")).collect();
    assert!(!tables.is_empty());
    let texts = tables.iter().map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
    let mut rows: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    rows.sort();
    rows
}

fn rows(server: &TestServer) -> Vec<String> {
    let mut rows: Vec<String> = server.psql("shop", "copy t to stdout").lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

#[test]
fn a_target_that_was_away_gets_with_the_next_run_what_it_missed() {
    let server = source();
    let installation = installation(&server, &["one", "two"], 1);
    installation.expect(0, &["backup", "now"]);
    move_folder(&installation, "two", "away");
    change(&server, 2);
    let said = installation.expect(3, &["backup", "now"]);
    assert!(said.stdout.contains("target `two` failed") && said.stdout.contains("is its disk mounted?"), "{said:?}");
    move_folder(&installation, "away", "two");
    change(&server, 3);
    installation.expect(0, &["backup", "now"]);

    let shown = installation.snapshots();
    let held: Vec<&[String]> = shown.iter().map(|(_, targets)| targets.as_slice()).collect();
    assert_eq!(
        held,
        [&["one".to_owned(), "two".to_owned()][..], &["one".to_owned()], &["one".to_owned(), "two".to_owned()]]
    );
    assert_eq!(restored_rows(&installation, "shop", "two"), rows(&server));
    // What it missed as a snapshot stays missing there. This machine knows why; another one says it.
    let second = format!("shop@{}", shown[1].0);
    let said = installation.expect(10, &["restore", &second, "--from", "two", "--to", "nowhere"]);
    assert!(!said.stderr.contains("of writer"), "{said:?}");
    forget_catalog(&installation);
    let said = installation.expect(0, &["snapshots"]);
    assert!(said.stderr.contains("1 of writer") && said.stderr.contains("nothing here says why"), "{said:?}");
    assert_eq!(restored_rows(&installation, &second, "one").len(), 20_500);
    // Nothing that the third snapshot needs is missing or damaged at the second target, by the root itself.
    let newest = roots(&installation.path("two")).pop().unwrap();
    let root = format!("snapshots/{newest}");
    output(plain("sha256sum".as_ref()).args(["--check", "--quiet", &root]).current_dir(installation.path("two")));
}

#[test]
fn a_target_that_cannot_be_written_is_left_out_and_catches_up() {
    let server = source();
    let installation = installation(&server, &["one", "two"], 1);
    installation.expect(0, &["backup", "now"]);
    // A file where the folder of packs was: nothing can be stored, whoever asks.
    move_folder(&installation, "two/packs", "two/saved");
    std::fs::write(installation.path("two/packs"), "").unwrap();
    change(&server, 2);
    installation.expect(3, &["backup", "now"]);
    assert_eq!((numbers(&installation.path("one")), numbers(&installation.path("two"))), (vec![1, 2], vec![1]));
    std::fs::remove_file(installation.path("two/packs")).unwrap();
    move_folder(&installation, "two/saved", "two/packs");
    installation.expect(0, &["backup", "now"]);
    assert_eq!(numbers(&installation.path("two")), [1, 3]);
    assert_eq!(restored_rows(&installation, "shop", "two"), rows(&server));
}

#[test]
fn a_new_target_gets_everything_that_the_next_snapshot_needs() {
    let server = source();
    let installation = installation(&server, &["one"], 1);
    installation.expect(0, &["backup", "now"]);
    change(&server, 2);
    installation.expect(0, &["backup", "now"]);
    installation.add_target("new");
    installation.job_on("shop", &server.url("shop"), &["one", "new"], "");
    installation.expect(0, &["backup", "now"]);
    assert_eq!(numbers(&installation.path("new")), [3]);
    // On its own, with the first target gone.
    move_folder(&installation, "one", "lost");
    assert_eq!(restored_rows(&installation, "shop", "new"), rows(&server));
}

#[test]
fn an_emptied_target_is_refused_with_the_hint_until_a_person_agrees() {
    let server = source();
    let installation = installation(&server, &["one", "two"], 2);
    installation.expect(0, &["backup", "now"]);
    std::fs::remove_dir_all(installation.path("two")).unwrap();
    std::fs::create_dir(installation.path("two")).unwrap();
    let said = installation.expect(1, &["backup", "now"]);
    assert!(
        said.stderr.contains("held a repository and shows none now") && said.stderr.contains("is it mounted?"),
        "{said:?}"
    );
    assert_eq!(files(&installation.path("two")), Vec::<String>::new());
    assert_eq!(numbers(&installation.path("one")), [1], "the quorum was not reached");
    let planned = installation.run(&["backup", "now", "--dry-run"]);
    assert!(planned.stdout.contains("shows none now"), "{planned:?}");
    // The hint names the file that stands in the way.
    let marker = said.stderr.split("remove `").nth(1).unwrap().split('`').next().unwrap();
    std::fs::remove_file(marker).unwrap();
    installation.expect(0, &["backup", "now"]);
    assert_eq!(restored_rows(&installation, "shop", "two"), rows(&server));
}

#[test]
fn without_a_quorum_no_target_shows_a_new_snapshot() {
    let server = source();
    let installation = installation(&server, &["one", "two", "three"], 2);
    installation.expect(0, &["backup", "now"]);
    move_folder(&installation, "three", "away-3");
    installation.expect(3, &["backup", "now"]);
    move_folder(&installation, "two", "away-2");
    let said = installation.expect(1, &["backup", "now"]);
    assert!(said.stderr.contains("1 of 3 targets work, `quorum` asks for 2"), "{said:?}");
    assert_eq!(numbers(&installation.path("one")), [1, 2]);
    move_folder(&installation, "away-2", "two");
    move_folder(&installation, "away-3", "three");
    installation.expect(0, &["backup", "now"]);
    assert_eq!(numbers(&installation.path("three")), [1, 3]);
}

fn cut_packs(target: &Path) {
    for pack in files(&target.join("packs")) {
        let file = std::fs::OpenOptions::new().write(true).open(target.join("packs").join(pack)).unwrap();
        file.set_len(100).unwrap();
    }
}

#[test]
fn packs_that_were_cut_at_one_target_are_copied_anew_from_another() {
    let server = source();
    let installation = installation(&server, &["one", "two"], 2);
    installation.expect(0, &["backup", "now"]);
    cut_packs(&installation.path("two"));
    let said = installation.expect(0, &["backup", "now"]);
    assert!(said.stderr.contains("with a wrong size; they are copied anew"), "{said:?}");
    assert_eq!(restored_rows(&installation, "shop", "two"), rows(&server));
}

#[test]
fn content_whose_only_packs_were_cut_is_stored_again() {
    let server = source();
    let installation = installation(&server, &["one"], 1);
    installation.expect(0, &["backup", "now"]);
    cut_packs(&installation.path("one"));
    installation.expect(0, &["backup", "now"]);
    assert_eq!(restored_rows(&installation, "shop", "one"), rows(&server));
}

/// Two jobs of one installation, each on a target of its own.
fn two_jobs(server: &TestServer) -> Installation {
    let installation = Installation::new();
    installation.add_target("one");
    installation.add_target("two");
    installation.job_on("a", &server.url("shop"), &["one"], "");
    installation.job_on("b", &server.url("shop"), &["two"], "");
    installation
}

#[test]
fn a_lost_catalog_and_a_target_that_is_away_never_make_two_roots_with_one_number() {
    let server = source();
    let installation = two_jobs(&server);
    for job in ["b", "a", "a"] {
        installation.expect(0, &["backup", "now", job]);
    }
    forget_catalog(&installation);
    move_folder(&installation, "one", "away");
    installation.expect(0, &["backup", "now", "b"]);
    assert_eq!(numbers(&installation.path("two")), [1, 4]);
    assert_eq!(numbers(&installation.path("away")), [2, 3]);
}

#[test]
fn a_run_that_died_before_its_root_leaves_no_gap_and_one_that_may_have_stored_it_does() {
    let server = source();
    let installation = two_jobs(&server);
    installation.expect(0, &["backup", "now", "a"]);
    let chain = installation.path("state/chain.json");
    let note: serde_json::Value = serde_json::from_slice(&std::fs::read(&chain).unwrap()).unwrap();
    let place = |target: &str| format!("directory {}", installation.path(target).display());
    let dies = |sequence: u64, pending: &str| {
        let note = serde_json::json!({
            "writer": note["writer"], "sequence": sequence, "sum": note["sum"], "pending": [place(pending)],
        });
        std::fs::write(&chain, note.to_string()).unwrap();
    };
    // It was about to store root 2 at the first target, which answers and does not show it.
    dies(2, "one");
    installation.expect(0, &["backup", "now", "a"]);
    assert_eq!(numbers(&installation.path("one")), [1, 2]);
    // It was about to store root 3 at the second target, which this job does not ask.
    dies(3, "two");
    installation.expect(0, &["backup", "now", "a"]);
    assert_eq!(numbers(&installation.path("one")), [1, 2, 4]);
}

#[test]
fn snapshots_that_were_stored_and_are_gone_are_said_also_the_newest() {
    let server = source();
    let installation = two_jobs(&server);
    for job in ["a", "b", "a"] {
        installation.expect(0, &["backup", "now", job]);
    }
    // Gaps that jobs with other targets leave are no news.
    let said = installation.expect(0, &["snapshots"]);
    assert!(!said.stderr.contains("of writer"), "{said:?}");
    let (one, newest) = (installation.path("one/snapshots"), roots(&installation.path("one")).pop().unwrap());
    std::fs::remove_file(one.join(newest)).unwrap();
    let said = installation.expect(0, &["snapshots"]);
    assert!(
        said.stderr.contains("1 of writer") && said.stderr.contains("number 3 the newest, were stored here"),
        "{said:?}"
    );
}

#[test]
fn jobs_that_run_at_once_share_one_chain() {
    let server = source();
    let installation = Installation::new();
    installation.add_target("one");
    for job in ["a", "b", "c"] {
        installation.job_on(job, &server.url("shop"), &["one"], "");
    }
    // The first makes the writer, the repository and the folder.
    installation.expect(0, &["backup", "now", "a"]);
    let running: Vec<_> =
        ["a", "b", "c"].map(|job| installation.command(&["-q", "backup", "now", job]).spawn().unwrap()).into();
    for mut run in running {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(numbers(&installation.path("one")), [1, 2, 3, 4]);
    let said = installation.expect(0, &["snapshots"]);
    assert!(!said.stderr.contains("writer"), "{said:?}");
}

#[test]
fn a_root_that_another_history_of_the_same_keys_wrote_is_noticed() {
    let server = source();
    let installation = installation(&server, &["one"], 1);
    installation.expect(0, &["backup", "now"]);
    // The whole installation comes back from an image and writes a history of its own.
    let twin = tempfile::tempdir_in("/tmp").unwrap();
    let image = twin.path().join("image");
    output(plain("cp".as_ref()).arg("-a").arg(installation.path("")).arg(&image));
    installation.expect(0, &["backup", "now"]);
    installation.expect(0, &["backup", "now"]);
    let config = image.join("lifeboat.toml");
    let mut other = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
    output(other.env("HOME", &image).arg("-c").arg(config).args(["backup", "now"]));
    let (target, one) = (image.join("one"), installation.path("one"));
    for name in roots(&one).iter().filter(|name| name.contains("0000000002-")) {
        std::fs::remove_file(one.join("snapshots").join(name)).unwrap();
    }
    for name in files(&target.join("snapshots")).iter().filter(|name| name.contains("0000000002-")) {
        std::fs::copy(target.join("snapshots").join(name), one.join("snapshots").join(name)).unwrap();
    }
    let said = installation.expect(0, &["snapshots"]);
    assert!(said.stderr.contains("root 3 of writer") && said.stderr.contains("does not continue root 2"), "{said:?}");
}
