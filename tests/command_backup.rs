//! Backups by command: what is a whole stream and what is not, however the command ends or does not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::installation::{Installation, contents, finish};
use crate::support::outcome::Outcome;

/// A job whose backup is this script, and further lines of `[source]`.
pub(crate) fn job(script: &str, more: &str) -> Installation {
    Installation::of_kind("command", &format!("backup = ['sh', '-c', '''{script}''']\n{more}"), "")
}

/// What the newest snapshot holds, restored into a folder.
pub(crate) fn restored(boat: &Installation) -> Vec<u8> {
    let out = boat.fresh();
    boat.ok(&["restore", "job", "--to", out.to_str().unwrap()]);
    std::fs::read(out.join("stdout")).unwrap()
}

/// A backup that is refused, leaves no snapshot and no process, and says so.
#[track_caller]
fn refused(boat: &Installation, words: &[&str]) -> Outcome {
    let ended = boat.run(&["backup", "now"]).refuses(1, words);
    assert_nothing_committed(boat);
    ended
}

#[track_caller]
fn assert_nothing_committed(boat: &Installation) {
    let shelf = boat.path("shelf/snapshots");
    let roots: Vec<_> = contents(&shelf).into_keys().filter(|path| path.ends_with(".root")).collect();
    assert_eq!(roots, Vec::<String>::new(), "a snapshot was committed");
}

/// Processes whose command line holds `mark`; the marks are random, so they are this test's own.
pub(crate) fn running(mark: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let holds = |path: &PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    };
    entries.filter(holds).collect()
}

/// Waits until so many `sleep`s of this mark run: the command is where its script has it.
#[track_caller]
pub(crate) fn asleep(mark: &str, count: usize) {
    let start = Instant::now();
    let sleeps = |path: &PathBuf| std::fs::read(path.join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep"));
    while running(mark).into_iter().filter(sleeps).count() < count {
        assert!(start.elapsed() < Duration::from_secs(20), "the command did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
pub(crate) fn gone(mark: &str, limit: Duration) {
    let start = Instant::now();
    while !running(mark).is_empty() {
        assert!(start.elapsed() < limit, "{:?} still run after {limit:?}", running(mark));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A number of seconds that no other `sleep` of this machine has.
pub(crate) fn mark() -> String {
    format!("{}.{:09}", 3000 + rand::random::<u32>() % 1000, rand::random::<u32>() % 1_000_000_000)
}

#[test]
fn what_a_command_writes_comes_back_byte_for_byte() {
    let boat = Installation::new();
    boat.add_target("shelf");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    std::fs::write(boat.path("data"), &bytes).unwrap();
    // From the configuration's folder, which is where a command runs.
    boat.write_job("job", "[source]\ntype = \"command\"\nbackup = [\"cat\", \"data\"]\n");
    let summary = boat.back_up();
    assert_eq!((summary["parts"].as_u64(), summary["read_bytes"].as_u64()), (Some(1), Some(bytes.len() as u64)));
    assert!(restored(&boat) == bytes, "other bytes came back");
    let said = boat.ok(&["backup", "now"]);
    assert!(!said.all().contains("rows") && !said.all().contains("tables"), "{}", said.all());
}

#[test]
fn a_text_is_a_script_that_fails_with_any_part_of_a_pipeline() {
    let boat = Installation::of_kind("command", "backup = 'seq 1000 | tail -n 2'", "");
    boat.back_up();
    assert_eq!(restored(&boat), b"999\n1000\n");
    for script in ["(echo half; exit 3) | cat", "false; echo whole", "echo half; nonsense-that-is-no-program | cat"] {
        let boat = Installation::of_kind("command", &format!("backup = '{script}'"), "");
        refused(&boat, &["exited ", "nothing was committed"]);
    }
}

#[test]
fn a_second_backup_of_nearly_the_same_output_stores_little() {
    let boat = Installation::of_kind("command", "backup = 'seq 1 1500000 | sed \"s/^$(cat changed)$/changed/\"'", "");
    std::fs::write(boat.path("changed"), "none").unwrap();
    let first = boat.back_up();
    std::fs::write(boat.path("changed"), "700000").unwrap();
    let second = boat.back_up();
    let (read, first, second) = (&second["read_bytes"], &first["stored_bytes"], &second["stored_bytes"]);
    assert!(read.as_u64().unwrap() > 10_000_000, "{read}");
    let (first, second) = (first.as_u64().unwrap(), second.as_u64().unwrap());
    assert!(second * 10 < first && second < 200_000, "{first} then {second} bytes were stored");
    assert!(String::from_utf8(restored(&boat)).unwrap().contains("699999\nchanged\n700001\n"));
}

#[test]
fn a_command_that_prints_half_and_exits_3_is_no_backup_and_its_last_words_are_quoted() {
    let boat = job("seq 200000; echo the disk is gone >&2; exit 3", "");
    refused(&boat, &["exited 3 after 1.23 MiB", "the disk is gone", "nothing was committed", "`exit_status`"]);
    let boat = job("echo half; kill -9 $$", "");
    refused(&boat, &["was ended by signal 9 after 5 B"]);
}

#[test]
fn statuses_that_the_job_allows_are_told_and_recorded() {
    let boat = job("echo whole; echo one row was odd >&2; exit 1", "exit_status = [0, 1]");
    let ended = boat.ok(&["backup", "now"]);
    ended.says(&["exited 1, which the job takes for success: one row was odd", "what the command warned of"]);
    assert_eq!(restored(&boat), b"whole\n");
    let boat = job("echo whole", "exit_status = [1]");
    refused(&boat, &["exited 0"]);
}

#[test]
fn a_command_that_prints_half_and_hangs_is_ended_by_the_watchdog_with_its_group() {
    let mark = mark();
    let boat = job(&format!("echo half; echo waiting for a lock >&2; sleep {mark} & sleep {mark}"), "stall = '1s'");
    let start = Instant::now();
    refused(&boat, &["wrote nothing for 1s after 5 B", "waiting for a lock", "`stall`"]);
    assert!(start.elapsed() < Duration::from_secs(8), "it took {:?}", start.elapsed());
    gone(&mark, Duration::ZERO);
}

#[test]
fn a_command_that_drips_is_no_stall() {
    let boat = job("for i in 1 2 3 4 5 6; do echo $i; sleep 0.4; done", "stall = '1s'");
    boat.back_up();
    assert_eq!(restored(&boat), b"1\n2\n3\n4\n5\n6\n");
}

#[test]
fn a_background_child_that_keeps_the_output_open_is_waited_for_in_bounded_time_and_refused() {
    let mark = mark();
    let boat = job(&format!("echo whole; sleep {mark} & exit 0"), "");
    let start = Instant::now();
    refused(&boat, &["exited 0, and something", "keeps its output open", "6 B", "redirect"]);
    assert!(start.elapsed() < Duration::from_secs(12), "it took {:?}", start.elapsed());
    gone(&mark, Duration::ZERO);
    // One that writes on after the command's own end, and then ends, is a part of it.
    let boat = job("(sleep 1; echo late) & echo early", "");
    boat.back_up();
    assert_eq!(restored(&boat), b"early\nlate\n");
}

#[test]
fn a_command_that_closes_its_output_and_goes_on_is_waited_for_until_the_timeout() {
    let boat = job("echo whole; exec >&-; sleep 1.5; touch done", "stall = '1s'");
    boat.back_up();
    assert!(boat.path("done").exists(), "nobody waited for it");
    let boat = job("echo half; exec >&-; sleep 1; echo it was not >&2; exit 7", "");
    refused(&boat, &["exited 7", "it was not"]);
    let mark = mark();
    let boat = job(&format!("echo whole; exec >&-; sleep {mark}"), "timeout = '2s'");
    refused(&boat, &["did not end within 2s", "`timeout`"]);
    gone(&mark, Duration::ZERO);
}

#[test]
fn a_command_that_never_ends_is_ended_by_the_timeout_though_it_writes_and_ignores_requests() {
    let mark = mark();
    let boat = job(&format!("trap \"\" TERM; while :; do echo {mark}; sleep 0.1; done"), "timeout = '2s'");
    refused(&boat, &["did not end within 2s and was ended after", "`timeout`"]);
    gone(&mark, Duration::ZERO);
}

#[test]
fn a_program_that_is_not_there_or_may_not_be_run_is_named_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let boat = Installation::of_kind("command", "backup = ['nonsense-that-is-no-program', '-x']", "");
    for verb in [&["backup", "now"][..], &["backup", "now", "--dry-run"], &["config", "check", "--online"]] {
        boat.run(verb).expect(1).tells(&["no program `nonsense-that-is-no-program` in `"]);
    }
    refused(&boat, &["install `nonsense-that-is-no-program`"]);
    let boat = Installation::of_kind("command", "backup = ['./dump.sh']", "");
    refused(&boat, &["dump.sh` is not there", "`folder`"]);
    let file = boat.path("dump.sh");
    std::fs::write(&file, "#!/bin/sh\necho data\n").unwrap();
    refused(&boat, &["may not be executed", "chmod +x"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    boat.back_up();
    assert_eq!(restored(&boat), b"data\n");
    // An interpreter that is not there.
    std::fs::write(&file, "#!/nonsense/interpreter\n").unwrap();
    boat.run(&["backup", "now"]).expect(1).tells(&["exited 12"]);
    let boat = job("echo x", "folder = '/nonsense/folder'");
    refused(&boat, &["folder `/nonsense/folder`", "it is not there"]);
}

#[test]
fn enormous_standard_error_is_drained_and_only_its_end_quoted() {
    let boat = job("seq 3000000 >&2; echo whole", "");
    boat.back_up();
    assert_eq!(restored(&boat), b"whole\n");
    let boat = job("seq 3000000 >&2; echo half; exit 1", "");
    let ended = refused(&boat, &["2999999\n", "3000000\n"]);
    assert!(ended.stderr.lines().count() < 30, "{}", ended.stderr);
}

#[test]
fn empty_output_is_no_backup_unless_the_job_says_that_it_may_be() {
    refused(&job("exit 0", ""), &["exited 0 and wrote nothing", "`may_be_empty = true`"]);
    let boat = job("exit 0", "may_be_empty = true");
    boat.back_up();
    assert_eq!(restored(&boat), b"");
}

#[test]
fn the_guard_of_the_job_holds_for_commands_too() {
    let boat = Installation::new();
    boat.add_target("shelf");
    let job =
        "[source]\ntype = \"command\"\nbackup = [\"echo\", \"little\"]\n[backup]\nguard = { min_bytes = \"1KiB\" }\n";
    boat.write_job("job", job);
    refused(&boat, &["`guard.min_bytes`"]);
}

#[test]
fn secrets_go_by_environment_and_are_repeated_nowhere() {
    const SECRET: &str = "correct-horse-battery";
    let mark = mark();
    let script = format!(
        "echo \"got $TOKEN and [$STRAY] $PLAIN\"; echo \"bad token $TOKEN\" >&2; sleep 0.3; exit $EXIT # {mark}"
    );
    let more = |exit: u8| format!("environment = {{ TOKEN = {{ file = 'token' }}, PLAIN = 'plain', EXIT = '{exit}' }}");
    for exit in [0, 4] {
        let boat = job(&script, &more(exit));
        std::fs::write(boat.path("token"), format!("{SECRET}\n")).unwrap();
        let mut command = boat.command(&["backup", "now", "-v"]);
        let child = command.env("STRAY", "stray").spawn().unwrap();
        let mut lines = vec![];
        let start = Instant::now();
        while lines.is_empty() && start.elapsed() < Duration::from_secs(20) {
            lines = running(&mark).iter().map(|path| std::fs::read(path.join("cmdline")).unwrap_or_default()).collect();
        }
        let ended = finish(child).expect(i32::from(exit > 0));
        assert!(!lines.is_empty(), "nothing was watched");
        let holds = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!lines.iter().any(|line| holds(line)), "the secret stood on a command line");
        assert!(!holds(ended.all().as_bytes()), "{}", ended.all());
        for folder in [boat.state(), boat.path("shelf")] {
            assert!(!contents(&folder).values().any(|bytes| holds(bytes)), "a secret lies in {}", folder.display());
        }
        if exit == 0 {
            // No variable of ours but those that are named.
            assert_eq!(restored(&boat), format!("got {SECRET} and [] plain\n").into_bytes());
        } else {
            ended.tells(&["bad token [redacted]"]);
        }
    }
    let boat = job(&format!("echo {SECRET}"), "environment = { TOKEN = { file = 'token' } }");
    std::fs::write(boat.path("token"), SECRET).unwrap();
    let ended = refused(&boat, &["holds a secret", "`environment`"]);
    assert!(!ended.all().contains(SECRET), "{}", ended.all());
}

#[test]
fn a_dry_run_says_what_it_would_run_and_runs_nothing() {
    let boat = Installation::of_kind(
        "command",
        "backup = ['touch', 'ran']\nrestore = ['nonsense-that-is-no-program']\n\
         environment = { TOKEN = { command = ['touch', 'ran'] } }\ntimeout = '6h'",
        "",
    );
    let before = contents(boat.root());
    boat.ok(&["backup", "now", "--dry-run"]).says(&[
        "backup: `touch ran` (/",
        "/touch)",
        "with TOKEN set",
        "ended after 6h",
        "warning: restore: ",
        "no program `nonsense-that-is-no-program`",
        "names no `test`",
        "nothing was written",
    ]);
    assert!(contents(boat.root()) == before, "a dry run did something");
}

#[test]
fn a_check_of_another_engine_is_refused_where_it_is_written() {
    let boat = job("echo x", "");
    let text = std::fs::read_to_string(boat.path("jobs/job.toml")).unwrap();
    for check in ["command = './check.sh'", "sql = 'select 1'"] {
        boat.write_job("job", &format!("{text}[[restore_test.check]]\n{check}\nmin = 1\n"));
        boat.expect(2, &["config", "check"]).tells(&["job.toml:", "its own `test`", "^"]);
    }
    boat.write_job("job", &text.replace("backup", "bakcup"));
    boat.expect(2, &["config", "check"]).tells(&["job.toml:", "did you mean `backup`"]);
}

/// How much memory a run took at most, and how it ended.
pub(crate) fn peak_bytes(boat: &Installation, arguments: &[&str]) -> u64 {
    let child = boat.start(arguments);
    let status = Path::new("/proc").join(child.id().to_string()).join("status");
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(kib) = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()) else {
                break;
            };
            peak = kib << 10;
            std::thread::sleep(Duration::from_millis(10));
        }
        peak
    });
    finish(child).expect(0);
    watcher.join().unwrap()
}

#[test]
fn a_stream_larger_than_memory_allows_passes_in_bounded_memory() {
    let boat = Installation::of_kind("command", "backup = 'seq 1 45000000'", "");
    let peak = peak_bytes(&boat, &["backup", "now"]);
    assert!(peak < 200 << 20, "{} MiB for a stream of 380 MB", peak >> 20);
}

#[test]
fn a_backup_that_is_ended_takes_its_command_and_all_its_children_along() {
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, code) in [(Signal::TERM, 130), (Signal::INT, 130), (Signal::KILL, 137)] {
        let mark = mark();
        let script = format!("trap \"touch cleaned; exit 9\" TERM; echo half; sleep {mark} & sleep {mark} & wait");
        let boat = job(&script, "");
        let child = boat.start(&["backup", "now"]);
        asleep(&mark, 2);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(finish(child).code, code);
        gone(&mark, Duration::from_secs(6));
        assert!(boat.path("cleaned").exists(), "it was not asked first");
        assert_nothing_committed(&boat);
    }
}
