//! One installation of Lifeboat in a temporary folder, used through its binary as a person would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use age::secrecy::ExposeSecret;

use super::postgres::plain;

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
             [scratch]\ndirectory = \"scratch\"\n"
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

    /// A Postgres job; `more` may hold further tables.
    pub(crate) fn write_job(&self, name: &str, url: &str, targets: &[&str], more: &str) {
        let text = format!("[source]\ntype = \"postgres\"\nurl = \"{url}\"\n[backup]\ntargets = {targets:?}\n{more}");
        std::fs::write(self.path(&format!("jobs/{name}.toml")), text).unwrap();
    }

    /// A job of any kind; `source` holds the lines of its `[source]` table.
    pub(crate) fn write_job_of(&self, name: &str, source: &str, targets: &[&str]) {
        let text = format!("[source]\n{source}\n[backup]\ntargets = {targets:?}\n");
        std::fs::write(self.path(&format!("jobs/{name}.toml")), text).unwrap();
    }

    /// The binary, with nothing of the caller's environment but the `PATH`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = plain(Path::new(env!("CARGO_BIN_EXE_lifeboat")));
        command.env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.arg("-c").arg(self.path("lifeboat.toml")).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::of(&self.command(arguments).output().unwrap())
    }

    /// Runs a verb that must end with this status.
    pub(crate) fn expect(&self, status: i32, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.status, status, "{arguments:?}\n{}\n{}", said.out, said.err);
        said
    }

    /// The snapshots of a verb's `--json`: `(id, targets)`, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<(String, Vec<String>)> {
        let said = self.run(&["--json", "snapshots"]);
        let summary = said.summary();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let shown = summary["snapshots"].as_array().unwrap().iter();
        shown.map(|s| (text(&s["snapshot"]), s["targets"].as_array().unwrap().iter().map(text).collect())).collect()
    }
}

/// How a run of the binary ended and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The last line of `--json`.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let line = self.out.lines().rfind(|line| line.contains("\"event\":\"summary\""));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no summary: {self:?}"))).unwrap()
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
