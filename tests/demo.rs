//! `lifeboat demo`: every part of the story, within its folder, with nothing left running.

use std::path::{Path, PathBuf};

use crate::support::outcome::{Outcome, entries, files, finish};
use crate::support::server::{plain, running};

/// Whoever runs the demo's servers passes through.
fn home() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::Builder::new().prefix("lbd-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    home
}

fn demo(home: &Path, more: &[&str]) -> Outcome {
    use std::process::Stdio;
    let mut command = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
    command.args(["demo", "shown"]).args(more).env("HOME", home).current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().unwrap());
    assert_eq!(running(home.to_str().unwrap()), Vec::<String>::new(), "left running:\n{}", ran.all());
    ran
}

/// Cargo builds examples beside tests.
fn s3_server() -> PathBuf {
    let server = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/s3_server");
    assert!(server.exists(), "`cargo build --example s3_server` makes {}", server.display());
    server
}

#[test]
fn the_demo_proves_every_kind_of_source_catches_what_is_damaged_and_leaves_nothing_running() {
    let home = home();
    let ran = demo(home.path(), &["--s3-server", s3_server().to_str().unwrap()]).expect(0);
    for job in ["social", "queue", "media", "etc"] {
        for target in ["laptop", "offsite"] {
            assert!(
                ran.stdout.contains(&format!("  {job:<6} from {target:<7} PROVEN: ")),
                "{job} {target}:\n{}",
                ran.all()
            );
        }
        assert_eq!(ran.stdout.matches(&format!("  {job:<6} snapshot ")).count(), 2, "{}", ran.all());
    }
    for job in ["social", "media"] {
        assert!(ran.stdout.contains(&format!("  {job:<6} from offsite FAILED: ")), "{job}:\n{}", ran.all());
        assert!(!ran.stdout.contains(&format!("  {job:<6} from laptop FAILED: ")), "{job}:\n{}", ran.all());
    }
    assert!(ran.stdout.contains("1 bucket, 2000 objects"), "{}", ran.all());
    assert!(ran.stdout.contains("Nothing is left running"), "{}", ran.all());
    let there: Vec<_> = entries(home.path()).into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(there, ["shown"], "something outside its folder");
    let shown = home.path().join("shown");
    assert!(!shown.join("servers").exists());
    let report = files(&shown.join("reports")).into_iter().find(|file| file.ends_with(".html")).unwrap();
    let report = std::fs::read_to_string(shown.join("reports").join(report)).unwrap();
    for job in ["social", "queue", "media", "etc"] {
        assert!(report.contains(job), "{job} is not in the report");
    }
    assert_eq!(report.matches("materialised views").count(), 1, "said of other kinds than Postgres");
    // What it wrote is an installation like any other.
    let mut again = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
    again.args(["-c", "shown/lifeboat.toml", "restore", "media", "--from", "laptop", "--to", "out"]);
    let restored = Outcome::of(again.args(["--only", "documents/1/"]).current_dir(home.path()).output().unwrap());
    restored.expect(0);
    assert!(home.path().join("out/documents/1/notes 0.md").exists());
}

#[test]
fn without_a_server_for_a_bucket_the_demo_says_so_and_does_the_rest() {
    let home = home();
    let ran = demo(home.path(), &[]).expect(0).says(&["no bucket beside them", "--s3-server"]);
    assert!(!ran.stdout.contains("  media "), "{}", ran.all());
    assert!(ran.stdout.contains("  etc    from offsite PROVEN: "), "{}", ran.all());
    // A second one takes the place of the first; one whose server says nothing ends by saying so.
    demo(home.path(), &["--s3-server", "/bin/true"]).refuses(1, &["bucket", "--s3-server"]);
    std::fs::create_dir(home.path().join("mine")).unwrap();
    let mine =
        plain(Path::new(env!("CARGO_BIN_EXE_lifeboat"))).args(["demo", "mine"]).current_dir(home.path()).output();
    Outcome::of(mine.unwrap()).refuses(2, &["`mine` exists and is not a demo's"]);
}
