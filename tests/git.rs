//! Git repositories: what is backed up, what comes back, what a comparison finds, and what a run costs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat::domain::Verdict;
use sha2::{Digest, Sha256};

use crate::support::installation::{Installation, Outcome, finish};
use crate::support::loaded::Loaded;
use crate::support::outcome::contents;
use crate::support::server::plain;

/// `git` with nothing of the caller's settings, and fixed persons and times.
fn git(folder: &Path) -> Command {
    let mut command = plain(Path::new("git"));
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.org");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", "/nonexistent");
    command.args(["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", "-c", "safe.directory=*"]);
    command.current_dir(folder);
    command
}

/// What it says; it must succeed.
#[track_caller]
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = git(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn commit(folder: &Path, file: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    run(folder, &["add", "-A"]);
    run(folder, &["commit", "-q", "-m", &format!("change {file}")]);
    run(folder, &["rev-parse", "HEAD"])
}

/// What does not compress, always the same.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

/// Refs with what they point to, symbolic ones among them, and `HEAD`.
fn refs(folder: &Path) -> (String, String) {
    let refs = run(folder, &["for-each-ref", "--format=%(refname) %(objectname) %(*objectname) %(symref)"]);
    let head = git(folder).args(["symbolic-ref", "HEAD"]).output().unwrap();
    let head = if head.status.success() { head.stdout } else { run(folder, &["rev-parse", "HEAD"]).into_bytes() };
    (refs, String::from_utf8(head).unwrap().trim().to_owned())
}

struct Site {
    installation: Installation,
}

impl Site {
    /// Folders `live/NAME`, one for each repository that the job names.
    fn new(names: &[&str], more: &str) -> Self {
        let installation = Installation::new();
        installation.add_target("shelf");
        let paths: Vec<String> = names.iter().map(|name| format!("live/{name}")).collect();
        installation.write_job("job", &format!("[source]\ntype = \"git\"\nrepository = {paths:?}\n{more}\n"));
        std::fs::create_dir(installation.root().join("live")).unwrap();
        Self { installation }
    }

    fn of(repository: &str, more: &str) -> Self {
        let site = Self::new(&[], "");
        let text = format!("[source]\ntype = \"git\"\nrepository = {repository}\n{more}\n");
        site.installation.write_job("job", &text);
        site
    }

    fn live(&self, name: &str) -> PathBuf {
        self.installation.root().join("live").join(name)
    }

    fn init(&self, name: &str, more: &[&str]) -> PathBuf {
        let folder = self.live(name);
        std::fs::create_dir_all(&folder).unwrap();
        run(&folder, &[&["init", "-q"], more].concat());
        folder
    }

    fn restore(&self, more: &[&str]) -> PathBuf {
        let out = self.installation.fresh();
        self.installation.ok(&[&["restore", "job", "--to", out.to_str().unwrap()], more].concat());
        out
    }

    #[track_caller]
    fn proven(&self) {
        let test = self.installation.restore_test();
        assert_eq!(test["verdict"], "proven", "{test:#}");
        self.installation.assert_no_scratch();
    }

    /// What the run stored, and how many repositories were fetched.
    fn back_up(&self) -> (u64, u64) {
        let ran = self.installation.ok(&["--json", "backup", "now"]);
        let read = ran.json().into_iter().find(|event| event["phase"] == "read").unwrap();
        let fetched = read["detail"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        (ran.summary()["stored_bytes"].as_u64().unwrap(), fetched)
    }

    /// Everything of a restored repository is what the live one has.
    #[track_caller]
    fn same(&self, out: &Path, name: &str) {
        let restored = out.join(format!("{name}.git"));
        assert_eq!(refs(&restored), refs(&self.live(name)), "{name}");
        run(&restored, &["fsck", "--full", "--strict"]);
        let objects = |folder: &Path| {
            let listed = run(folder, &["rev-list", "--objects", "--no-object-names", "--all"]);
            let mut ids: Vec<String> = listed.lines().map(str::to_owned).collect();
            ids.sort();
            ids
        };
        assert_eq!(objects(&restored), objects(&self.live(name)), "{name}");
    }
}

fn pointer(content: &[u8]) -> (String, String) {
    let id = hex::encode(Sha256::digest(content));
    let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {}\n", content.len());
    (text, id)
}

fn put_large(git_folder: &Path, content: &[u8]) -> String {
    let (_, id) = pointer(content);
    let path = git_folder.join("lfs/objects").join(&id[..2]).join(&id[2..4]).join(&id);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    id
}

/// A repository with a bit of everything.
fn fill(folder: &Path) {
    commit(folder, "a", "a\n");
    commit(folder, "deep/b", noise(1, 3000));
    run(folder, &["checkout", "-q", "-b", "side"]);
    commit(folder, "side", "side\n");
    run(folder, &["checkout", "-q", "main"]);
    commit(folder, "main only", "main\n");
    run(folder, &["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    run(folder, &["tag", "light"]);
    run(folder, &["tag", "-a", "-m", "annotated", "v1.0"]);
    run(folder, &["tag", "-a", "-m", "of a tag", "nested", "v1.0"]);
    run(folder, &["notes", "add", "-m", "a note", "HEAD"]);
    let blob = run(folder, &["hash-object", "-w", "deep/b"]);
    run(folder, &["update-ref", "refs/blobs/one", &blob]);
    run(folder, &["tag", "a-tree", "HEAD^{tree}"]);
    for name in
        ["refs/pull/1/head", "refs/heads/odd/ü-%41'\"$x;&", "refs/weird/{a}", "refs/heads/objects", "refs/heads/tmp_x"]
    {
        run(folder, &["update-ref", name, "side"]);
    }
    run(folder, &["symbolic-ref", "refs/remotes/origin/HEAD", "refs/heads/side"]);
    run(folder, &["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    let (text, _) = pointer(b"large content");
    commit(folder, "large.bin", text);
    put_large(&folder.join(".git"), b"large content");
}

#[test]
fn repositories_with_everything_come_back_as_they_were_and_are_proven() {
    let names = ["all", "all-2", "empty", "detached", "with space's \"quotes\"", "sha256"];
    let site = Site::new(&names, "");
    fill(&site.init("all", &[]));
    // Its name sorts differently with and without what follows.
    commit(&site.init("all-2", &[]), "x", "x");
    site.init("empty", &["-b", "unborn"]);
    let detached = site.init("detached", &[]);
    commit(&detached, "x", "x");
    run(&detached, &["checkout", "-q", "--detach"]);
    commit(&detached, "y", "of no branch");
    commit(&site.init(names[4], &[]), "x", "quoted");
    fill(&site.init("sha256", &["--object-format=sha256"]));
    site.back_up();
    site.proven();
    let out = site.restore(&[]);
    for name in names.iter().filter(|name| **name != "empty") {
        site.same(&out, name);
    }
    assert_eq!(run(&out.join("empty.git"), &["symbolic-ref", "HEAD"]), "refs/heads/unborn");
    for name in ["all", "sha256"] {
        let (_, id) = pointer(b"large content");
        let large = out.join(format!("{name}.git/lfs/objects")).join(&id[..2]).join(&id[2..4]).join(&id);
        assert_eq!(std::fs::read(large).unwrap(), b"large content");
    }
    assert!(run(&out.join("all.git"), &["for-each-ref"]).contains("refs/notes/commits"));
    assert!(!out.join(".lifeboat-restore").exists());
}
