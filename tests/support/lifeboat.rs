//! The real binary with a configuration of its own: keys by `lifeboat init`, jobs as text, directory targets, everything in
//! one temporary folder that a test can look through afterwards.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::postgres::TestServer;
use super::server::plain;

const BINARY: &str = env!("CARGO_BIN_EXE_lifeboat");
/// No run of these tests takes that long; one that hangs fails with what it said.
const RUN_LIMIT: Duration = Duration::from_mins(2);

/// One configuration folder with its state, its targets and its scratch folder beside it.
pub(crate) struct Lifeboat {
    root: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// 128 and the signal's number where a signal ended it, as a shell says it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lifeboat {
    /// `lifeboat init` with these targets, each a folder of that name; no job yet.
    pub(crate) fn new(targets: &[&str]) -> Self {
        let root = tempfile::Builder::new().prefix("lbf-").tempdir_in("/tmp").unwrap();
        // The scratch server's user passes through.
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let boat = Self { root };
        let mut arguments = vec!["init".to_owned(), boat.folder().display().to_string()];
        for target in targets {
            arguments.extend(["--target".to_owned(), boat.target(target).display().to_string()]);
        }
        Ended::of(boat.bare(&arguments).output().unwrap()).expect(0);
        boat.configure(&format!("[scratch]\ndirectory = \"{}\"\n", boat.scratch().display()));
        boat
    }

    /// The same with one job `app` for a database of `server`.
    pub(crate) fn with_job(server: &TestServer, database: &str, targets: &[&str]) -> Self {
        let boat = Self::new(targets);
        boat.job("app", &server.url(database), "", "");
        boat
    }

    /// Adds to `lifeboat.toml`.
    pub(crate) fn configure(&self, text: &str) {
        let file = self.folder().join("lifeboat.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{before}\n{text}")).unwrap();
    }

    /// Writes or replaces a job; `source` and `backup` are further lines of these tables.
    pub(crate) fn job(&self, name: &str, url: &str, source: &str, backup: &str) {
        let folder = self.folder().join("jobs");
        std::fs::create_dir_all(&folder).unwrap();
        let text =
            format!("[source]\ntype = \"postgres\"\nurl = {url:?}\n{source}\n[backup]\n{backup}\n[restore_test]\n");
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }

    /// Adds a check to the job `app`.
    pub(crate) fn add_check(&self, lines: &str) {
        let file = self.folder().join("jobs/app.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{text}[[restore_test.check]]\n{lines}\n")).unwrap();
    }

    /// Everything of this installation.
    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Of `lifeboat.toml`.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("config")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.path().join("s")
    }

    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A folder that is not there yet, to restore into.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.root.path().join(format!("out-{:08x}", rand::random::<u32>()))
    }

    /// The command line with `-c` and nothing of the caller's environment.
    pub(crate) fn command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let mut all = vec!["-c".to_owned(), self.folder().join("lifeboat.toml").display().to_string()];
        all.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self.bare(&all)
    }

    fn bare(&self, arguments: &[String]) -> Command {
        let mut command = plain(Path::new(BINARY));
        command.args(arguments).env("HOME", self.root.path()).current_dir(self.root.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[impl AsRef<str>]) -> Ended {
        finish(self.command(arguments).spawn().unwrap())
    }

    pub(crate) fn start(&self, arguments: &[impl AsRef<str>]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub(crate) fn backup(&self) -> Ended {
        self.run(&["backup", "now"])
    }

    /// Snapshot ids and the targets that hold each, oldest first, as `snapshots --json` lists them.
    pub(crate) fn snapshots(&self) -> Vec<(String, Vec<String>)> {
        let listed = self.run(&["snapshots", "--json"]).expect(0);
        let summary = listed.json().pop().expect("a summary");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let rows = summary["snapshots"].as_array().unwrap();
        let targets = |row: &serde_json::Value| row["targets"].as_array().unwrap().iter().map(text).collect();
        rows.iter().map(|row| (text(&row["snapshot"]), targets(row))).collect()
    }

    /// What must hold whatever happened before: every visible root's objects have the sums that it names, nothing is left of
    /// scratch instances or of work in progress, and nothing of ours runs. Call it after a run that ended by itself.
    pub(crate) fn assert_sound(&self, targets: &[&str]) {
        for target in targets {
            self.assert_roots_are_whole(target);
            let parts: Vec<_> =
                files(&self.target(target)).into_keys().filter(|path| path.contains("/.part-")).collect();
            assert_eq!(parts, Vec::<String>::new(), "half-written files stay at `{target}`");
        }
        let left: Vec<_> = entries(&self.scratch());
        assert_eq!(left, Vec::<PathBuf>::new(), "scratch instances stay");
        let work: Vec<_> =
            entries(&self.state()).into_iter().filter(|path| path.to_string_lossy().contains("/work-")).collect();
        assert_eq!(work, Vec::<PathBuf>::new(), "work folders stay");
        assert_eq!(self.processes(), Vec::<String>::new(), "processes stay");
    }

    /// `sha256sum -c` of every root that a target shows, as a person would run it.
    pub(crate) fn assert_roots_are_whole(&self, target: &str) {
        for root in self.roots(target) {
            assert!(root.with_extension("root.minisig").exists(), "{} is not signed", root.display());
            let checked = self.sha256sum(target, &root);
            assert_eq!(checked.code, 0, "{}\n{}{}", root.display(), checked.stdout, checked.stderr);
        }
    }

    pub(crate) fn sha256sum(&self, target: &str, root: &Path) -> Ended {
        let mut command = plain(Path::new("sha256sum"));
        command.arg("-c").arg(root).current_dir(self.target(target));
        Ended::of(command.output().unwrap())
    }

    /// By name, so in the order of the chain.
    pub(crate) fn roots(&self, target: &str) -> Vec<PathBuf> {
        let all = files(&self.target(target).join("snapshots")).into_keys();
        all.map(PathBuf::from).filter(|path| path.extension().is_some_and(|kind| kind == "root")).collect()
    }

    /// Command lines of processes that name this folder or work in it.
    pub(crate) fn processes(&self) -> Vec<String> {
        let ours = self.root.path().to_string_lossy().into_owned();
        let mut found = vec![];
        for entry in entries(Path::new("/proc")) {
            let Ok(command) = std::fs::read(entry.join("cmdline")) else { continue };
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let inside = std::fs::read_link(entry.join("cwd")).is_ok_and(|at| at.starts_with(&ours));
            if (inside || command.contains(&ours)) && !command.is_empty() {
                found.push(command);
            }
        }
        found
    }
}

/// Waits for a run's end, with both streams read so that it never waits for us.
pub(crate) fn finish(mut child: Child) -> Ended {
    let reader = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = vec![];
            std::io::Read::read_to_end(&mut stream.unwrap(), &mut text).unwrap();
            text
        })
    };
    let stdout = reader(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = reader(child.stderr.take().map(|stream| Box::new(stream) as _));
    let start = Instant::now();
    let mut hung = false;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > RUN_LIMIT => {
                hung = true;
                child.kill().unwrap();
            }
            None => {}
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let ended = Ended::of(Output { status, stdout, stderr });
    assert!(!hung, "it hung:\n{}{}", ended.stdout, ended.stderr);
    ended
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what we print is UTF-8");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Fails with everything that was said unless the run ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// An error that a person can act on: an exit code, and what, cause, where or hint that hold these words.
    #[track_caller]
    pub(crate) fn refuses(self, code: i32, words: &[&str]) -> Self {
        let ended = self.expect(code);
        let at = ended.stderr.rfind("error: ").unwrap_or_else(|| panic!("no error is said:\n{}", ended.stderr));
        let error = &ended.stderr[at..];
        assert!(error.contains("hint: "), "no hint says what to do:\n{error}");
        for word in words {
            assert!(error.contains(word), "`{word}` is not in:\n{error}");
        }
        ended
    }

    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in:\n{}", self.stderr);
        }
        self
    }

    /// Every line of standard output under `--json`.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Every file and folder below `folder` with its content, by path; a folder's path ends in `/` and has none.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in entries(folder) {
        if path.is_dir() {
            found.extend(files(&path));
            found.insert(format!("{}/", path.display()), vec![]);
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap_or_default());
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
