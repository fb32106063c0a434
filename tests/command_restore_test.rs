//! Restore tests of what a command wrote: the bytes always, and what the job's own test makes of them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::command_backup::{asleep, gone, job, mark};
use crate::support::installation::{Installation, contents, finish};
use crate::support::server::plain;

fn tested(backup: &str, test: &str) -> Installation {
    let boat = job(backup, &format!("test = ['sh', '-c', '''{test}''']"));
    boat.back_up();
    boat
}

#[test]
fn a_stream_that_its_test_takes_is_proven_and_nothing_is_left() {
    let mark = mark();
    let boat = tested(
        "seq 300000",
        &format!(
            "cat > copy; pwd > where; test \"$HOME\" = \"$PWD\" && test \"$TMPDIR\" = \"$PWD\" && ls -A > all; test $(wc -l < copy) = 300000; sleep {mark} & exit 0"
        ),
    );
    let ran = boat.run(&["restore-test"]).expect(0);
    let said = ran.all();
    assert!(said.contains("PROVEN: 1 stream, 1.9") && said.contains("exited 0, having read all 1.9"), "{said}");
    assert!(!said.contains("rows") && !said.contains("tables"), "{said}");
    gone(&mark, Duration::ZERO);
    boat.assert_no_scratch();
    let outcome = boat.restore_test();
    assert_eq!(outcome["verdict"], "proven", "{outcome:#}");
    assert_eq!(
        (outcome["evidence"]["groups"].as_u64(), outcome["evidence"]["bytes"].as_u64()),
        (Some(1), Some(1_988_895))
    );
    assert_eq!(outcome["measured"]["scratch"], "a private folder");
}

#[test]
fn a_test_works_in_an_empty_folder_of_its_own_and_finds_the_jobs() {
    let boat = tested(
        "echo data",
        "[ -z \"$(ls -A)\" ] && [ $(stat -c %a .) = 700 ] && [ -f \"$LIFEBOAT_FOLDER/lifeboat.toml\" ] && touch left && (cd / && exec sleep 0.01) && cat >/dev/null",
    );
    for _ in 0..2 {
        boat.run(&["restore-test"]).expect(0);
    }
    boat.assert_no_scratch();
    // A script beside the configuration is found, though it runs elsewhere.
    let boat = job("echo data", "test = ['./check.sh', 'data']");
    let file = boat.path("check.sh");
    std::fs::write(&file, "#!/bin/sh\nread -r line && [ \"$line\" = \"$1\" ]\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    boat.back_up();
    boat.run(&["restore-test"]).expect(0);
}

#[test]
fn a_test_that_fails_fails_the_restore_test_and_is_quoted() {
    for (test, says) in [
        ("cat >/dev/null; echo only 3 users >&2; exit 1", "only 3 users"),
        ("cat >/dev/null; echo on standard output; exit 1", "on standard output"),
        ("exit 4", "exited 4"),
        ("kill -9 $$", "was ended by signal 9"),
    ] {
        for lines in [5, 300_000] {
            let boat = tested(&format!("seq {lines}"), test);
            let ran = boat.run(&["restore-test"]).expect(4);
            assert!(ran.all().contains(says) && ran.all().contains("exit status 0"), "{}", ran.all());
            boat.assert_no_scratch();
        }
    }
}

#[test]
fn a_test_that_hangs_is_killed_and_fails() {
    let mark = mark();
    let boat = job("seq 300000", &format!("timeout = '2s'\ntest = ['sh', '-c', 'sleep {mark} & sleep {mark}']"));
    boat.back_up();
    boat.run(&["restore-test"]).expect(4).says(&["did not end within 2s and was killed"]);
    gone(&mark, Duration::ZERO);
    boat.assert_no_scratch();
}

#[test]
fn a_test_that_looks_no_further_than_the_beginning_says_so() {
    let boat = tested("seq 300000", "dd bs=7 count=1 status=none | grep -q 1");
    boat.run(&["restore-test"]).expect(0).says(&["having read 7 of 1988895 bytes"]);
}

#[test]
fn without_a_test_the_bytes_are_compared_and_nothing_more_is_claimed() {
    let boat = job("seq 300000", "");
    boat.back_up();
    let ran = boat.run(&["restore-test"]).expect(5);
    assert!(ran.all().contains("UNPROVEN: all 1.9") && ran.all().contains("the job has no `test`"), "{}", ran.all());
    assert!(!ran.all().contains("PROVEN:") || ran.all().contains("UNPROVEN:"), "{}", ran.all());
    let outcome = boat.restore_test();
    let reason = &outcome["reason"];
    assert_eq!(
        (outcome["verdict"].as_str(), reason["why"].as_str()),
        (Some("unproven"), Some("bytes_only")),
        "{outcome:#}"
    );
    assert_eq!(reason["bytes"], 1_988_895);
    let out = boat.fresh();
    boat.run(&["report", "--format", "md,html,junit,json", "--out", out.to_str().unwrap()]);
    for (path, bytes) in contents(&out) {
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains(" rows") && !text.contains("tables"), "{path}: {text}");
        assert!(path.ends_with(".json") || text.contains("nothing has tried to use them"), "{path}: {text}");
    }
    boat.assert_no_scratch();
}

#[test]
fn a_test_that_lacks_something_here_leaves_the_snapshot_unproven_and_names_it() {
    for (test, more, says) in [
        ("['nonsense-that-is-no-program']", "", "no program `nonsense-that-is-no-program`"),
        ("'cat | nonsense-that-is-no-program'", "", "nonsense-that-is-no-program: command not found"),
        ("['./check.sh']", "", "check.sh` is not there"),
        ("['cat']", "environment = { TOKEN = { file = 'nowhere' } }", "variable `TOKEN`"),
    ] {
        let boat = job("echo data", "");
        boat.back_up();
        let text = std::fs::read_to_string(boat.path("jobs/job.toml")).unwrap();
        boat.write_job("job", &format!("{text}\ntest = {test}\n{more}\n"));
        let ran = boat.run(&["restore-test"]).expect(5);
        let said = ran.all();
        assert!(said.contains("this machine lacks what the job's test needs: ") && said.contains(says), "{said}");
        boat.assert_no_scratch();
    }
}

#[test]
fn a_changed_byte_in_the_stored_packs_fails_the_test_with_or_without_a_command() {
    for more in ["", "test = ['sh', '-c', 'cat > /dev/null']", "test = ['nonsense-that-is-no-program']"] {
        let boat = job("seq 2000000", more);
        boat.back_up();
        let packs: Vec<String> =
            contents(&boat.path("shelf/packs")).into_keys().filter(|path| path.ends_with(".age")).collect();
        let mut bytes = std::fs::read(&packs[0]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&packs[0], bytes).unwrap();
        boat.run(&["restore-test"]).expect(4).says(&["damaged"]);
        boat.assert_no_scratch();
    }
}

#[test]
fn a_dry_restore_test_runs_nothing_and_says_what_it_needs() {
    let boat = tested("echo data", "touch $LIFEBOAT_FOLDER/ran");
    boat.ok(&["restore-test", "--dry-run"]).says(&["needs of scratch: ", "of free disk", "nothing was leased"]);
    assert!(!boat.path("ran").exists());
}

#[test]
fn a_killed_restore_test_takes_its_test_along_and_the_next_one_removes_its_folder() {
    let mark = mark();
    let boat = tested("seq 1000", &format!("cat > copy; [ -e $LIFEBOAT_FOLDER/quick ] || sleep {mark}"));
    let mut child = boat.start(&["restore-test"]);
    asleep(&mark, 1);
    child.kill().unwrap();
    child.wait().unwrap();
    gone(&mark, Duration::from_secs(6));
    std::fs::write(boat.path("quick"), "").unwrap();
    boat.run(&["restore-test"]).expect(0).tells(&["left by a killed run"]);
    boat.assert_no_scratch();
}

#[test]
fn a_kept_folder_is_there_to_look_at_and_a_signal_leaves_none() {
    use rustix::process::{Pid, Signal, kill_process};
    let mark = mark();
    let boat = tested("seq 1000", &format!("cat > copy; [ -e $LIFEBOAT_FOLDER/quick ] || sleep {mark}"));
    let child = boat.start(&["restore-test"]);
    asleep(&mark, 1);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(finish(child).code, 130);
    gone(&mark, Duration::from_secs(6));
    boat.assert_no_scratch();
    std::fs::write(boat.path("quick"), "").unwrap();
    boat.run(&["restore-test", "--keep-scratch"]).expect(0).says(&["kept until the next restore test"]);
    let copies: Vec<String> = contents(&boat.scratch()).into_keys().filter(|path| path.ends_with("/copy")).collect();
    assert_eq!(copies.len(), 1);
}

/// A real tool, both ways: what `sqlite3` dumps is loaded again and asked.
#[test]
fn a_database_of_sqlite_is_dumped_proven_and_restored_by_its_own_client() {
    let boat = Installation::of_kind(
        "command",
        "backup = ['sqlite3', '-bail', 'app.db', '.dump']\nrestore = ['sqlite3', '-bail', 'new.db']\n\
         test = 'sqlite3 -bail t.db && [ \"$(sqlite3 t.db \"select count(*) from post\")\" -ge 500 ]'",
        "",
    );
    let sqlite = |database: &str, sql: &str| {
        let file = boat.path(database);
        let ran = plain(Path::new("sqlite3")).arg(file).arg(sql).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    };
    sqlite(
        "app.db",
        "create table post(id integer primary key, text); with recursive n(i) as (select 1 union all select i + 1 from n where i < 600) insert into post select i, 'it''s ' || i from n",
    );
    boat.back_up();
    assert_eq!(boat.restore_test()["verdict"], "proven");
    boat.ok(&["restore", "job", "--to", "command:", "--overwrite", "job"]);
    let sum = "select count(*) || ' ' || sum(id) || ' ' || max(text) from post";
    assert_eq!(sqlite("new.db", sum), sqlite("app.db", sum));
    // Another dump, of a database that lost most of its rows, is a good backup and a bad one to have.
    sqlite("app.db", "delete from post where id > 100");
    boat.back_up();
    assert_eq!(boat.restore_test()["verdict"], "failed");
}
