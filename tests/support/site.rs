//! One installation of Lifeboat in a folder of its own, run through the real binary as a person would run it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use age::secrecy::ExposeSecret;
use serde_json::Value;

use super::postgres::plain;

/// Configuration, state, two directory targets `one` and `two`, scratch; all below one folder that goes with it.
pub(crate) struct Installation {
    root: tempfile::TempDir,
}

impl Installation {
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    /// With more tables for `lifeboat.toml`, and lines for `[scratch.postgres]`.
    pub(crate) fn with(more: &str, scratch: &str) -> Self {
        let root = tempfile::Builder::new().prefix("lbi-").tempdir_in("/tmp").unwrap();
        // Scratch servers run as another user below it.
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let identity = age::x25519::Identity::generate();
        std::fs::write(root.path().join("identity"), identity.to_string().expose_secret()).unwrap();
        std::fs::set_permissions(root.path().join("identity"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::create_dir(root.path().join("jobs")).unwrap();
        let text = format!(
            "state = \"state\"\n[keys]\nrecipients = [\"{}\"]\nidentity = {{ file = \"identity\" }}\n\
             [targets.one]\ntype = \"directory\"\npath = \"one\"\n[targets.two]\ntype = \"directory\"\npath = \"two\"\n{more}\n\
             [scratch]\ndirectory = \"s\"\n[scratch.postgres]\n{scratch}\n",
            identity.to_public()
        );
        std::fs::write(root.path().join("lifeboat.toml"), text).unwrap();
        Self { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes `jobs/NAME.toml`: lines for `[source]` after type and URL, then further tables.
    pub(crate) fn job(&self, name: &str, url: &str, more: &str) {
        let text = format!("[source]\ntype = \"postgres\"\nurl = \"{url}\"\n{more}\n");
        std::fs::write(self.root.path().join("jobs").join(format!("{name}.toml")), text).unwrap();
    }

    /// The command with this installation's configuration and nothing of the caller's environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
        command.arg("-c").arg(self.path("lifeboat.toml")).args(arguments).env("HOME", self.root.path());
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&self.command(arguments).output().unwrap(), arguments)
    }

    /// Runs what must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Outcome {
        self.run(arguments).expect(0)
    }

    /// The summaries that a successful run prints under `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        self.run(&[arguments, &["--json"]].concat()).expect(0).summaries()
    }

    /// Nothing of a restore test stays.
    pub(crate) fn assert_no_scratch(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("s")).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    arguments: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(output: &std::process::Output, arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "lifeboat {}\n{}\n{}", self.arguments, self.stdout, self.stderr);
        self
    }

    /// Every text stands somewhere in what it printed.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            let said = self.stdout.contains(text) || self.stderr.contains(text);
            assert!(said, "no `{text}` from lifeboat {}\n{}\n{}", self.arguments, self.stdout, self.stderr);
        }
        self
    }

    pub(crate) fn summaries(&self) -> Vec<Value> {
        let lines = self.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|value| value["event"] == "summary").collect()
    }
}
