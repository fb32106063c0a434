//! Restores of what a command wrote: into a folder, and into the job's `restore`.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::command_backup::{gone, job, mark, peak_bytes, running};
use crate::support::installation::{Installation, contents, finish};
use crate::support::redis::TestRedis;
use crate::support::server::plain;

const INTO: [&str; 6] = ["restore", "job", "--to", "command:", "--overwrite", "job"];

#[test]
fn a_restore_command_gets_the_stream_whole_and_its_status_is_checked() {
    let boat = job("seq 300000", "restore = ['sh', '-c', 'cat > came; echo loaded >&2; echo chatter']");
    boat.back_up();
    let ended = boat.ok(&INTO);
    assert!(!ended.stdout.contains("chatter") && ended.stdout.contains("1 part, 1.9"), "{}", ended.all());
    assert!(!ended.all().contains("rows"), "{}", ended.all());
    let came = std::fs::read_to_string(boat.path("came")).unwrap();
    assert!(came.starts_with("1\n2\n") && came.ends_with("\n300000\n") && came.lines().count() == 300_000);
}

#[test]
fn what_is_there_is_only_replaced_when_the_job_is_named() {
    let boat = job("echo data", "restore = ['sh', '-c', 'cat > came']");
    boat.back_up();
    let before = contents(boat.root());
    for arguments in [
        &INTO[..4],
        &["restore", "job", "--to", "command:", "--overwrite", "jobs"],
        &["restore", "job", "--to", "command:", "-n"],
    ] {
        boat.run(arguments)
            .refuses(2, &["cat > came", "may replace what is there", "--overwrite job", "nothing was run"]);
    }
    boat.ok(&[&INTO[..], &["--dry-run"]].concat()).says(&["runs `sh -c 'cat > came'` (/", "not looked at"]);
    let changed = |path: &String| !path.contains("/state/");
    let keys = |all: std::collections::BTreeMap<String, Vec<u8>>| {
        all.into_iter().filter(|(path, _)| changed(path)).collect::<Vec<_>>()
    };
    assert!(keys(contents(boat.root())) == keys(before), "something was run");
    boat.ok(&INTO);
    assert_eq!(std::fs::read(boat.path("came")).unwrap(), b"data\n");
}

#[test]
fn a_command_that_fails_or_ends_early_is_an_error_with_how_far_it_got() {
    for (restore, code, words) in [
        ("cat >/dev/null; echo no such table >&2; exit 3", 1, &["exited 3", "no such table"][..]),
        // Early with 0, of a stream that fits a pipe and of one that does not.
        ("exit 0", 1, &["exited 0 and had read 0 of", "may hold a part"]),
        ("dd bs=3 count=1 status=none", 1, &["exited 0 and had read 3 of"]),
        ("exec <&-; sleep 0.3; exit 0", 1, &["exited 0 and had read 0 of"]),
        ("exit 5", 1, &["exited 5 after it had read 0 B"]),
        ("kill -9 $$", 1, &["was ended by signal 9"]),
    ] {
        for lines in [5, 300_000] {
            let boat = job(&format!("seq {lines}"), &format!("restore = ['sh', '-c', '''{restore}''']"));
            boat.back_up();
            boat.run(&INTO).refuses(code, words);
        }
    }
}

#[test]
fn a_restore_command_that_hangs_is_killed_at_its_timeout() {
    for lines in [5, 300_000] {
        let mark = mark();
        let boat = job(&format!("seq {lines}"), &format!("timeout = '2s'\nrestore = ['sh', '-c', 'sleep {mark}']"));
        boat.back_up();
        boat.run(&INTO).refuses(1, &["did not end within 2s and was killed after 0 B"]);
        gone(&mark, Duration::ZERO);
    }
}

#[test]
fn what_a_restore_command_leaves_running_is_ended() {
    let mark = mark();
    let boat = job("echo data", &format!("restore = ['sh', '-c', 'cat > came; sleep {mark} &']"));
    boat.back_up();
    boat.ok(&INTO);
    gone(&mark, Duration::from_secs(2));
}

/// However the restore ends midway, the command must not take that for the end of its input.
#[test]
fn a_restore_that_is_ended_midway_never_looks_whole_to_its_command() {
    use rustix::process::{Pid, Signal, kill_process};
    let boat = job("seq 2000000", "");
    boat.back_up();
    for signal in [Signal::KILL, Signal::TERM, Signal::KILL, Signal::KILL, Signal::KILL, Signal::KILL] {
        let mark = mark();
        // It keeps what it has as soon as its input ends, without a program that would take time to start.
        let script = format!("while read -r line; do : > begun; done; : > whole # {mark}");
        let restore = format!("restore = ['sh', '-c', '{script}']");
        boat.write_job("job", &format!("[source]\ntype = \"command\"\nbackup = ['x']\n{restore}\n"));
        let child = boat.start(&INTO);
        let start = Instant::now();
        while !boat.path("begun").exists() {
            assert!(start.elapsed() < Duration::from_secs(20), "it did not begin");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(!running(&mark).is_empty());
        let pid = Pid::from_child(&child);
        if signal == Signal::KILL {
            // Until it has read all that waits in the pipe and would see an end at once.
            kill_process(pid, Signal::STOP).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        }
        kill_process(pid, signal).unwrap();
        finish(child);
        gone(&mark, Duration::from_secs(5));
        assert!(!boat.path("whole").exists(), "half a stream looked whole");
        std::fs::remove_file(boat.path("begun")).unwrap();
    }
}

#[test]
fn a_damaged_copy_is_never_handed_over_as_whole() {
    let boat = Installation::of_kind(
        "command",
        "backup = 'head -c 100000000 noise'\nrestore = 'dd of=came bs=64k status=none; touch whole'",
        "",
    );
    let mut noise = vec![0; 100_000_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    std::fs::write(boat.path("noise"), &noise).unwrap();
    boat.back_up();
    let mut came_bytes = 0;
    let packs: Vec<_> =
        contents(&boat.path("shelf/packs")).into_iter().filter(|(path, _)| path.ends_with(".age")).collect();
    assert!(packs.len() > 2, "{} packs", packs.len());
    for (path, bytes) in packs {
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        boat.run(&INTO).expect(1).tells(&["damaged"]);
        assert!(!boat.path("whole").exists(), "its command saw an end");
        came_bytes += std::fs::metadata(boat.path("came")).map_or(0, |file| file.len());
        std::fs::remove_file(boat.path("came")).ok();
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(came_bytes > 0, "no damage was met in the middle");
    boat.ok(&INTO);
    assert!(std::fs::read(boat.path("came")).unwrap() == noise && boat.path("whole").exists());
}

#[test]
fn a_stream_as_a_file_comes_with_a_readme_whose_commands_load_it() {
    let boat =
        job("seq 100", "restore = ['sh', '-c', 'cat > \"it came\"']\ntest = ['./check.sh']\nenvironment = { A = 'b' }");
    boat.back_up();
    let out = boat.fresh();
    boat.ok(&["restore", "job", "--to", out.to_str().unwrap()]);
    let readme = std::fs::read_to_string(out.join("README.md")).unwrap();
    for words in ["seq 100", "./check.sh", "set again: A", "ran in the folder `"] {
        assert!(readme.contains(words), "{words}: {readme}");
    }
    let block = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(plain(Path::new("sh")).args(["-c", block]).current_dir(&out).status().unwrap().success());
    assert_eq!(std::fs::read(out.join("it came")).unwrap(), std::fs::read(out.join("stdout")).unwrap());
    // Without one, nothing may look as if it had been loaded.
    let boat = job("seq 100", "");
    boat.back_up();
    boat.ok(&["restore", "job", "--to", out.join("other").to_str().unwrap()]);
    let readme = std::fs::read_to_string(out.join("other/README.md")).unwrap();
    let block = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(!plain(Path::new("sh")).args(["-c", block]).status().unwrap().success());
}

#[test]
fn other_destinations_and_jobs_without_a_restore_are_refused_with_what_to_say() {
    let boat = job("echo data", "");
    boat.back_up();
    boat.run(&INTO).refuses(1, &["names no `restore`", "restore = ["]);
    boat.run(&["restore", "job", "--to", "redis://localhost:1"])
        .refuses(1, &["not into `redis://localhost:1`", "--to command:"]);
    boat.run(&[&INTO[..], &["--only", "nothing"]].concat()).refuses(10, &["nothing"]);
    // Nothing that a snapshot names is run: only what is configured here.
    let boat = job("echo data", "restore = ['sh', '-c', 'touch ran']");
    boat.back_up();
    std::fs::remove_file(boat.path("jobs/job.toml")).unwrap();
    boat.run(&INTO).refuses(1, &["no job of this name", "--to DIR"]);
    assert!(!boat.path("ran").exists());
    boat.ok(&["restore", "job", "--to", boat.fresh().to_str().unwrap()]);
    boat.write_job("job", "[source]\ntype = \"command\"\nbackup = ['x']\nrestore = ['nonsense-that-is-no-program']\n");
    boat.run(&INTO).refuses(1, &["no program `nonsense-that-is-no-program`", "install"]);
}

#[test]
fn a_snapshot_of_another_kind_goes_into_no_command() {
    let server = TestRedis::start();
    let boat = Installation::of_kind("redis", &format!("url = \"{}\"", server.url()), "");
    boat.back_up();
    boat.run(&INTO).refuses(2, &["`--to command:` is for jobs of commands", "`redis`"]);
}

#[test]
fn a_restore_of_a_large_stream_stays_in_bounded_memory() {
    let boat = Installation::of_kind("command", "backup = 'seq 1 25000000'\nrestore = 'sleep 1; cat >/dev/null'", "");
    boat.back_up();
    let peak = peak_bytes(&boat, &INTO);
    assert!(peak < 200 << 20, "{} MiB for a stream of 200 MB", peak >> 20);
}
