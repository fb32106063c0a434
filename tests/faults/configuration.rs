//! What is typed: mistakes in the configuration and on the command line, dry runs, `--json`, and secrets, which show nowhere.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{SMALL, bulk, server_with};
use crate::support::installation::{Installation, contents};

#[test]
fn a_typo_in_a_file_is_shown_with_line_caret_and_what_was_meant() {
    let server = server_with("");
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    let file = boat.path("jobs/app.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[backup]", "[backup]\nquorom = 1")).unwrap();
    let ended = boat.run(&["backup", "now"]).expect(2).tells(&[
        "unknown key `quorom`",
        "app.toml:",
        "^^^^^^",
        "did you mean `quorum`?",
    ]);
    assert!(ended.stdout.is_empty());
    assert!(!boat.state().exists(), "a run that could not begin left a state folder");
}

#[test]
fn an_unknown_job_snapshot_or_target_is_answered_with_those_that_there_are() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now", "ap"]).refuses(10, &["no job `ap`", "`app`"]);
    boat.run(&["restore-test", "ap"]).refuses(10, &["no job `ap`", "`app`"]);
    let out = boat.fresh();
    let to = out.to_str().unwrap();
    boat.run(&["restore", "app", "--to", to]).refuses(1, &["does not exist", "mounted"]);
    std::fs::create_dir(boat.target("one")).unwrap();
    boat.run(&["restore", "app", "--to", to]).refuses(10, &["no repository", "backup now"]);
    boat.run(&["backup", "now"]).expect(0);
    let (id, _) = boat.snapshots().pop().unwrap();
    boat.run(&["restore", "ap", "--to", to]).refuses(10, &["`ap` has no snapshot"]);
    boat.run(&["restore", "app@0123456789abcdef", "--to", to]).refuses(10, &["0123456789abcdef", &id]);
    boat.run(&["restore", "app", "--from", "tow", "--to", to]).refuses(10, &["`tow`", "`one`"]);
    boat.run(&["restore", "app", "--only", "entri", "--to", to]).refuses(10, &["entri", "did you mean"]);
    assert!(!out.exists(), "a refused restore made a folder");
    boat.run(&["restore", "app", "--to", "postgres://u:hunter2@h/d"]).expect(2);
}

#[test]
fn a_dry_run_writes_nothing_anywhere() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    let before = contents(boat.root());
    let looked = boat.run(&["backup", "now", "--dry-run"]);
    assert!(looked.stdout.contains("nothing was written"), "{}", looked.all());
    assert!(contents(boat.root()) == before, "a dry run before the first backup wrote something");
    boat.run(&["backup", "now"]).expect(0);
    let before = contents(boat.root());
    let out = boat.fresh();
    boat.run(&["backup", "now", "--dry-run"]).expect(0);
    boat.run(&["backup", "now", "--dry-run", "--json"]).expect(0);
    boat.run(&["restore", "app", "--to", out.to_str().unwrap(), "--dry-run"]).expect(0);
    boat.run(&["restore", "app", "--to", &server.url("fresh"), "--dry-run"]).expect(0);
    assert!(contents(boat.root()) == before, "a dry run wrote something");
    assert_eq!(server.psql("postgres", "select count(*) from pg_database where datname = 'fresh'"), "0");
}

/// The folders of scratch instances that a test's own folder ever held, watched while `act` runs.
fn leased(boat: &Installation, act: impl FnOnce()) -> BTreeSet<String> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                seen.extend(contents(&boat.scratch()).into_keys());
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        // A test that fails must end the watcher too, or it would hang.
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.store(true, Ordering::Relaxed);
        let seen = watcher.join().unwrap();
        acted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        seen
    })
}

#[test]
fn a_dry_restore_test_says_what_it_would_do_and_leases_nothing() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    boat.add_check("sql = 'select count(*) from account'\nmin = 400");
    boat.run(&["backup", "now"]).expect(0);
    let (id, _) = boat.snapshots().pop().unwrap();
    let before = contents(boat.root());
    let leases = leased(&boat, || {
        let said = boat.run(&["restore-test", "--dry-run"]).expect(0).stdout;
        let major = format!("postgres {}", server.major());
        let one = format!("target one (directory {}): snapshot {id}", boat.target("one").display());
        for words in [&one, "target two (", &major, "extension plpgsql 1.0", "locale C.UTF-8", "of free disk", ">= 400"]
        {
            assert!(said.contains(words), "no `{words}` in:\n{said}");
        }
        assert!(said.contains("nothing was leased") && !said.contains("PROVEN"), "{said}");
        let plan = boat.run(&["restore-test", "--dry-run", "--json", "--from", "two"]).expect(0).json().pop().unwrap();
        let tests = plan["tests"].as_array().unwrap();
        assert_eq!((tests.len(), &tests[0]["target"], &tests[0]["snapshot"]), (1, &"two".into(), &id.as_str().into()));
        assert_eq!(tests[0]["scratch"]["major"], server.major());
    });
    assert_eq!(leases, BTreeSet::new());
    assert!(contents(boat.root()) == before, "a dry run wrote something");
}

#[test]
fn a_dry_restore_test_names_the_targets_that_could_not_be_tested() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    boat.run(&["restore-test", "--dry-run"]).refuses(1, &["does not exist"]);
    boat.run(&["backup", "now"]).expect(0);
    boat.run(&["backup", "now"]).expect(0);
    // Rolled back: an older snapshot is there and verifies, but the newest is not to be had.
    let newest = boat.roots("two").pop().unwrap();
    std::fs::remove_file(&newest).unwrap();
    let said = boat.run(&["restore-test", "--dry-run"]).refuses(3, &["target `two`", "was committed here"]);
    assert!(said.stdout.contains("target one (") && said.stdout.contains(": snapshot "), "{}", said.stdout);
    std::fs::rename(boat.target("one"), boat.root().join("away")).unwrap();
    boat.run(&["restore-test", "--dry-run"]).refuses(1, &["2 tests cannot be run", "mounted"]);
    boat.run(&["restore-test", "--dry-run", "ap"]).refuses(10, &["no job `ap`", "`app`"]);
}

#[test]
fn every_line_under_json_is_an_object_that_says_what_it_is() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    let out = boat.fresh();
    let last = |arguments: &[&str], code| {
        let mut all = arguments.to_vec();
        all.push("--json");
        let lines = boat.run(&all).expect(code).json();
        assert!(lines.iter().all(|line| line["event"].is_string()), "{lines:?}");
        lines.last().cloned().unwrap_or_default()
    };
    assert_eq!(last(&["backup", "now"], 0)["event"], "summary");
    assert_eq!(last(&["snapshots"], 0)["event"], "summary");
    assert_eq!(last(&["restore-test"], 0)["verdict"], "proven");
    assert_eq!(last(&["restore", "app", "--to", out.to_str().unwrap()], 0)["event"], "summary");
    let error = last(&["backup", "now", "none"], 10);
    assert_eq!((error["event"].as_str(), error["exit"].as_u64()), (Some("error"), Some(10)));
    assert!(error["what"].is_string() && error["hint"].is_string(), "{error}");
    last(&["status"], 0);
}

#[test]
fn secrets_show_in_no_command_line_no_output_no_catalog_and_no_report() {
    const PASSWORD: &str = "correct-horse-battery";
    let server = server_with(&format!("{SMALL}{}", bulk(20)));
    server.psql("app", &format!("create role keeper login superuser password '{PASSWORD}'"));
    std::fs::write(server.data().join("pg_hba.conf"), "local all postgres trust\nlocal all all scram-sha-256\n")
        .unwrap();
    server.reload();
    let boat = Installation::by_init(&["one"]);
    let file = boat.path("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    boat.whole_job("app", &server.url_as("keeper", "app"), "password = { file = \"password\" }", "");
    let identity = std::fs::read_to_string(boat.path("keys/recovery.identity.txt")).unwrap();
    let identity = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap().to_owned();

    let (stop, mut said) = (AtomicBool::new(false), String::new());
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                seen.extend(command_lines());
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        for arguments in [
            &["backup", "now", "-v"][..],
            &["backup", "now", "--json", "-v"],
            &["restore-test", "-v"],
            &["report", "--format", "json"],
            &["report", "--format", "html"],
            &["status"],
            &["config", "show"],
        ] {
            said.push_str(&boat.run(arguments).all());
        }
        server.psql("postgres", "alter role keeper password 'another'");
        said.push_str(&boat.run(&["backup", "now", "-v"]).all());
        stop.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert!(seen.iter().any(|line| line.contains("pg_dump") && line.contains("--snapshot")), "nothing was watched");
    assert!(said.contains("password authentication failed"), "{said}");
    let hidden = [PASSWORD, &identity];
    for secret in hidden {
        let shown: Vec<_> = seen.iter().filter(|line| line.contains(secret)).collect();
        assert!(shown.is_empty(), "{shown:?}");
        assert!(!said.contains(secret), "a secret was said");
        let holds = |folder: &Path| -> Vec<String> {
            let found = contents(folder).into_iter().filter(|(_, bytes)| contains(bytes, secret.as_bytes()));
            found.map(|(path, _)| path).collect()
        };
        assert_eq!(holds(&boat.state()), Vec::<String>::new());
        assert_eq!(holds(&boat.target("one")), Vec::<String>::new());
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn command_lines() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| !line.is_empty()).collect()
}
