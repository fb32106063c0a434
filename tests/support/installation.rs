//! One installation of Lifeboat in a temporary folder, used through its binary as a person would, or through its operations.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use lifeboat::config::{Config, Environment};
use lifeboat::domain::progress::Silent;
use lifeboat::operations::Session;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::server::plain;

/// Configuration, state, targets and scratch below one folder that goes with it.
pub(crate) struct Installation {
    folder: tempfile::TempDir,
}

impl Installation {
    /// No targets and no jobs yet, with a new identity. The folder can be entered by the server's user, for scratch.
    pub(crate) fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        let text = identity.to_string().expose_secret().to_owned();
        Self::with_identity(&text, &identity.to_public().to_string())
    }

    /// With directory targets `one` and `two`, more tables for `lifeboat.toml`, and lines for `[scratch.postgres]`.
    pub(crate) fn of_two(more: &str, scratch: &str) -> Self {
        let made = Self::new();
        made.add_target("one");
        made.add_target("two");
        made.configure(&format!("{more}\n[scratch.postgres]\n{scratch}\n"));
        made
    }

    /// With a directory target `shelf` and one job `job` of these lines for `[source]`; `more` follows in `lifeboat.toml`.
    pub(crate) fn of_one(source: &str, more: &str) -> Self {
        Self::of_kind("postgres", source, more)
    }

    /// The same for a source of another kind.
    pub(crate) fn of_kind(kind: &str, source: &str, more: &str) -> Self {
        let made = Self::new();
        made.add_target("shelf");
        made.configure(more);
        made.write_job("job", &format!("[source]\ntype = \"{kind}\"\n{source}\n"));
        made
    }

    /// Writes or replaces `jobs/NAME.toml` as it is given.
    pub(crate) fn write_job(&self, name: &str, text: &str) {
        std::fs::write(self.path(&format!("jobs/{name}.toml")), text).unwrap();
    }

    pub(crate) fn with_identity(secret: &str, recipient: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix("lbi-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let made = Self { folder };
        let identity = made.path("identity.txt");
        std::fs::write(&identity, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::create_dir(made.path("jobs")).unwrap();
        let config = format!(
            "state = \"state\"\n[keys]\nrecipients = [\"{recipient}\"]\nidentity = {{ file = \"identity.txt\" }}\n\
             [scratch]\ndirectory = \"s\"\n"
        );
        std::fs::write(made.path("lifeboat.toml"), config).unwrap();
        made
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Adds lines to `lifeboat.toml`.
    pub(crate) fn configure(&self, more: &str) {
        let file = self.path("lifeboat.toml");
        let text = std::fs::read_to_string(&file).unwrap() + more;
        std::fs::write(file, text).unwrap();
    }

    /// A directory target `name` in the folder of the same name.
    pub(crate) fn add_target(&self, name: &str) -> PathBuf {
        self.configure(&format!("[targets.{name}]\ntype = \"directory\"\npath = \"{name}\"\n"));
        self.path(name)
    }

    /// Writes `jobs/NAME.toml`: lines for `[source]` after type and URL, then further tables.
    pub(crate) fn job(&self, name: &str, url: &str, more: &str) {
        self.write_job(name, &format!("[source]\ntype = \"postgres\"\nurl = \"{url}\"\n{more}\n"));
    }

    /// The same on these targets; `more` goes on with `[backup]`.
    pub(crate) fn job_on(&self, name: &str, url: &str, targets: &[&str], more: &str) {
        self.job(name, url, &format!("[backup]\ntargets = {targets:?}\n{more}"));
    }

    /// A job of any kind; `source` holds the lines of its `[source]` table.
    pub(crate) fn write_job_of(&self, name: &str, source: &str, targets: &[&str]) {
        self.write_job(name, &format!("[source]\n{source}\n[backup]\ntargets = {targets:?}\n"));
    }

    /// The binary, with nothing of the caller's environment but the `PATH`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
        command.env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.arg("-c").arg(self.path("lifeboat.toml")).args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&self.command(arguments).output().unwrap(), arguments)
    }

    /// Runs a verb that must end with this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: i32, arguments: &[&str]) -> Outcome {
        self.run(arguments).expect(status)
    }

    /// Runs what must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Outcome {
        self.expect(0, arguments)
    }

    /// The summaries that a successful run prints under `--json`.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        self.ok(&[arguments, &["--json"]].concat()).summaries()
    }

    #[track_caller]
    pub(crate) fn back_up(&self) -> Value {
        self.ok(&["--json", "backup", "now"]).summary()
    }

    /// Restore-tests the newest snapshot: the outcome as `--json` prints it, whatever the verdict.
    #[track_caller]
    pub(crate) fn restore_test(&self) -> Value {
        self.run(&["--json", "restore-test"]).summary()
    }

    /// The snapshots of a verb's `--json`: `(id, targets)`, oldest first.
    #[track_caller]
    pub(crate) fn snapshots(&self) -> Vec<(String, Vec<String>)> {
        let summary = self.run(&["--json", "snapshots"]).summary();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let shown = summary["snapshots"].as_array().unwrap().iter();
        shown.map(|s| (text(&s["snapshot"]), s["targets"].as_array().unwrap().iter().map(text).collect())).collect()
    }

    /// Nothing of a restore test stays.
    #[track_caller]
    pub(crate) fn assert_no_scratch(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("s")).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// For tests that call the operations themselves.
    pub(crate) async fn session(&self) -> Session {
        let environment = Environment::of([("HOME", self.folder.path().to_str().unwrap())]);
        let config = Config::load_in(&self.path("lifeboat.toml"), &environment).unwrap();
        Session::open(config, Arc::new(Silent), CancellationToken::new()).await.unwrap()
    }
}

/// How a run of the binary ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    arguments: String,
    /// -1 where a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(output: &Output, arguments: &[&str]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            arguments: arguments.join(" "),
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "lifeboat {}\n{}\n{}", self.arguments, self.stdout, self.stderr);
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

    /// The summaries of `--json`, in order.
    pub(crate) fn summaries(&self) -> Vec<Value> {
        let lines = self.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|value| value["event"] == "summary").collect()
    }

    /// The last of them; there must be one.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        self.summaries().pop().unwrap_or_else(|| panic!("no summary: {self:?}"))
    }
}

/// Every file below a folder, by path relative to it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
