//! One installation of Lifeboat in a temporary folder, used through its binary as a person would, or through its operations.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use lifeboat::config::{Config, Environment};
use lifeboat::domain::progress::Silent;
use lifeboat::operations::Session;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::outcome::entries;
pub(crate) use super::outcome::{Outcome, contents, files, finish};
use super::postgres::TestServer;
use super::server::plain;

/// Configuration, state, targets and scratch below one folder that goes with it.
pub(crate) struct Installation {
    root: tempfile::TempDir,
    /// The folder of `lifeboat.toml`.
    config: PathBuf,
}

impl Installation {
    /// No targets and no jobs yet, with a new identity. The folder can be entered by the server's user, for scratch.
    pub(crate) fn new() -> Self {
        let identity = age::x25519::Identity::generate();
        let text = identity.to_string().expose_secret().to_owned();
        Self::with_identity(&text, &identity.to_public().to_string())
    }

    pub(crate) fn with_identity(secret: &str, recipient: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let root = root();
        let config = root.path().to_owned();
        let made = Self { root, config };
        let identity = made.path("identity.txt");
        std::fs::write(&identity, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "state = \"state\"\n[keys]\nrecipients = [\"{recipient}\"]\nidentity = {{ file = \"identity.txt\" }}\n\
             [scratch]\ndirectory = \"s\"\n"
        );
        std::fs::write(made.path("lifeboat.toml"), config).unwrap();
        made
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

    /// As a person begins: `lifeboat init` in a folder of its own, with these targets beside it; no job yet.
    pub(crate) fn by_init(targets: &[&str]) -> Self {
        let root = root();
        let config = root.path().join("config");
        let made = Self { root, config };
        let mut arguments = vec!["init".to_owned(), made.config.display().to_string()];
        for target in targets {
            arguments.extend(["--target".to_owned(), made.target(target).display().to_string()]);
        }
        finish(made.bare(&arguments).spawn().unwrap()).expect(0);
        made.configure(&format!("[scratch]\ndirectory = \"{}\"\n", made.scratch().display()));
        made
    }

    /// The same with one job `app` for a database of `server`.
    pub(crate) fn by_init_with(server: &TestServer, database: &str, targets: &[&str]) -> Self {
        let made = Self::by_init(targets);
        made.whole_job("app", &server.url(database), "", "");
        made
    }

    /// Everything of this installation.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Below the folder of `lifeboat.toml`.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.config.join(relative)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.root().join("s")
    }

    /// The folder of a directory target.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A folder that is not there yet, to restore into.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.root().join(format!("out-{:08x}", rand::random::<u32>()))
    }

    /// Adds lines to `lifeboat.toml`.
    pub(crate) fn configure(&self, more: &str) {
        let file = self.path("lifeboat.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{before}\n{more}")).unwrap();
    }

    /// A directory target `name` in the folder of the same name, beside `lifeboat.toml`.
    pub(crate) fn add_target(&self, name: &str) -> PathBuf {
        self.configure(&format!("[targets.{name}]\ntype = \"directory\"\npath = \"{name}\"\n"));
        self.path(name)
    }

    /// Writes or replaces `jobs/NAME.toml` as it is given.
    pub(crate) fn write_job(&self, name: &str, text: &str) {
        let folder = self.path("jobs");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }

    /// A job of any kind; `source` holds the lines of its `[source]` table.
    pub(crate) fn write_job_of(&self, name: &str, source: &str, targets: &[&str]) {
        self.write_job(name, &format!("[source]\n{source}\n[backup]\ntargets = {targets:?}\n"));
    }

    /// Writes `jobs/NAME.toml`: lines for `[source]` after type and URL, then further tables.
    pub(crate) fn job(&self, name: &str, url: &str, more: &str) {
        self.write_job(name, &format!("[source]\ntype = \"postgres\"\nurl = {url:?}\n{more}\n"));
    }

    /// The same on these targets; `more` goes on with `[backup]`.
    pub(crate) fn job_on(&self, name: &str, url: &str, targets: &[&str], more: &str) {
        self.job(name, url, &format!("[backup]\ntargets = {targets:?}\n{more}"));
    }

    /// The same with all its tables; `source` and `backup` are further lines of theirs.
    pub(crate) fn whole_job(&self, name: &str, url: &str, source: &str, backup: &str) {
        self.job(name, url, &format!("{source}\n[backup]\n{backup}\n[restore_test]"));
    }

    /// Adds a check to the job `app`.
    pub(crate) fn add_check(&self, lines: &str) {
        let text = std::fs::read_to_string(self.path("jobs/app.toml")).unwrap();
        self.write_job("app", &format!("{text}[[restore_test.check]]\n{lines}\n"));
    }

    /// The command line with `-c` and nothing of the caller's environment but the `PATH`.
    pub(crate) fn command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let mut all = vec!["-c".to_owned(), self.path("lifeboat.toml").display().to_string()];
        all.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self.bare(&all)
    }

    fn bare(&self, arguments: &[String]) -> Command {
        let mut command = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
        command.args(arguments).env("HOME", self.root()).current_dir(self.root());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, arguments: &[impl AsRef<str>]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn run(&self, arguments: &[impl AsRef<str>]) -> Outcome {
        finish(self.start(arguments))
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

    /// Backs up every job, which must succeed.
    #[track_caller]
    pub(crate) fn back_up(&self) -> Value {
        self.ok(&["--json", "backup", "now"]).summary()
    }

    /// Restore-tests the newest snapshot: the outcome as `--json` prints it, whatever the verdict.
    #[track_caller]
    pub(crate) fn restore_test(&self) -> Value {
        self.run(&["--json", "restore-test"]).summary()
    }

    /// Snapshot ids and the targets that hold each, oldest first, as `snapshots --json` lists them.
    #[track_caller]
    pub(crate) fn snapshots(&self) -> Vec<(String, Vec<String>)> {
        let summary = self.ok(&["--json", "snapshots"]).summary();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let shown = summary["snapshots"].as_array().unwrap().iter();
        shown.map(|s| (text(&s["snapshot"]), s["targets"].as_array().unwrap().iter().map(text).collect())).collect()
    }

    /// Nothing of a restore test stays.
    #[track_caller]
    pub(crate) fn assert_no_scratch(&self) {
        assert_eq!(entries(&self.scratch()), Vec::<PathBuf>::new(), "scratch instances stay");
    }

    /// For tests that call the operations themselves.
    pub(crate) async fn session(&self) -> Session {
        let environment = Environment::of([("HOME", self.root().to_str().unwrap())]);
        let config = Config::load_in(&self.path("lifeboat.toml"), &environment).unwrap();
        Session::open(config, Arc::new(Silent), CancellationToken::new()).await.unwrap()
    }
}

/// Whoever runs a scratch server passes through.
fn root() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::Builder::new().prefix("lbi-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    root
}
