//! The whole circle in a folder of its own: a configuration, one target, the real binary and the real operations.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lifeboat::cli::init::RecoveryKey;
use lifeboat::config::{Config, Environment};
use lifeboat::domain::progress::Silent;
use lifeboat::operations::Session;
use tokio_util::sync::CancellationToken;

use super::postgres::plain;

/// `lifeboat.toml`, one job called `job`, a target called `shelf`.
pub(crate) struct Circle {
    folder: tempfile::TempDir,
}

/// What one run of the binary ended with.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Circle {
    /// `source` is the job's `[source]` without its type; `more` follows in `lifeboat.toml`.
    pub(crate) fn new(source: &str, more: &str) -> Self {
        Self::of("postgres", source, more)
    }

    /// The same for a source of another kind.
    pub(crate) fn of(kind: &str, source: &str, more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lbt-circle-").tempdir_in("/tmp").unwrap();
        let path = |name: &str| folder.path().join(name);
        let key = RecoveryKey::generate();
        std::fs::write(path("identity"), key.file_text()).unwrap();
        std::fs::set_permissions(path("identity"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let recipient = &key.recipient;
        let main = format!(
            "state = \"state\"\n[keys]\nrecipients = [\"{recipient}\"]\nidentity = {{ file = \"identity\" }}\n\
             [targets.shelf]\ntype = \"directory\"\npath = \"shelf\"\n{more}\n"
        );
        std::fs::write(path("lifeboat.toml"), main).unwrap();
        std::fs::create_dir(path("jobs")).unwrap();
        std::fs::write(path("jobs/job.toml"), format!("[source]\ntype = \"{kind}\"\n{source}\n")).unwrap();
        Self { folder }
    }

    /// Adds or replaces a job of any kind, written as in its file.
    pub(crate) fn job(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(format!("jobs/{name}.toml")), text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path().join("lifeboat.toml")
    }

    /// The binary with nothing of the caller's environment but the `PATH`.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
        command.arg("-c").arg(self.config_file()).args(arguments).env("HOME", self.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { status: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    pub(crate) fn back_up(&self) -> serde_json::Value {
        let ran = self.run(&["--json", "backup", "now"]);
        assert_eq!(ran.status, 0, "{}\n{}", ran.stdout, ran.stderr);
        summary(&ran.stdout)
    }

    /// Restore-tests the newest snapshot: the outcome as `--json` prints it.
    pub(crate) fn restore_test(&self) -> serde_json::Value {
        let ran = self.run(&["--json", "restore-test"]);
        assert!(ran.stdout.contains("\"event\":\"summary\""), "{}\n{}", ran.stdout, ran.stderr);
        summary(&ran.stdout)
    }

    /// For tests that call the operations themselves.
    pub(crate) async fn session(&self) -> Session {
        let environment = Environment::of([("HOME", self.path().to_str().unwrap())]);
        let config = Config::load_in(&self.config_file(), &environment).unwrap();
        Session::open(config, std::sync::Arc::new(Silent), CancellationToken::new()).await.unwrap()
    }
}

fn summary(stdout: &str) -> serde_json::Value {
    let lines = stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.rev().find(|line| line["event"] == "summary").unwrap()
}
