//! Repositories of a test, a job for them, and a `git` that is watched.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::support::installation::{Installation, Outcome, finish};
use crate::support::server::plain;

/// `git` with nothing of the caller's settings, and fixed persons and times.
pub(crate) fn git(folder: &Path) -> Command {
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
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = git(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub(crate) fn commit(folder: &Path, file: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    run(folder, &["add", "-A"]);
    run(folder, &["commit", "-q", "-m", &format!("change {file}")]);
    run(folder, &["rev-parse", "HEAD"])
}

/// What does not compress, always the same.
pub(crate) fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

/// Refs with what they point to, symbolic ones among them, and `HEAD`.
pub(crate) fn refs(folder: &Path) -> (String, String) {
    let refs = run(folder, &["for-each-ref", "--format=%(refname) %(objectname) %(*objectname) %(symref)"]);
    let head = git(folder).args(["symbolic-ref", "HEAD"]).output().unwrap();
    let head = if head.status.success() { head.stdout } else { run(folder, &["rev-parse", "HEAD"]).into_bytes() };
    (refs, String::from_utf8(head).unwrap().trim().to_owned())
}

pub(crate) struct Site {
    pub(crate) installation: Installation,
}

impl Site {
    /// Folders `live/NAME`, one for each repository that the job names.
    pub(crate) fn new(names: &[&str], more: &str) -> Self {
        let installation = Installation::new();
        installation.add_target("shelf");
        let paths: Vec<String> = names.iter().map(|name| format!("live/{name}")).collect();
        installation.write_job("job", &format!("[source]\ntype = \"git\"\nrepository = {paths:?}\n{more}\n"));
        std::fs::create_dir(installation.root().join("live")).unwrap();
        Self { installation }
    }

    pub(crate) fn of(repository: &str, more: &str) -> Self {
        let site = Self::new(&[], "");
        let text = format!("[source]\ntype = \"git\"\nrepository = {repository}\n{more}\n");
        site.installation.write_job("job", &text);
        site
    }

    pub(crate) fn live(&self, name: &str) -> PathBuf {
        self.installation.root().join("live").join(name)
    }

    pub(crate) fn init(&self, name: &str, more: &[&str]) -> PathBuf {
        let folder = self.live(name);
        std::fs::create_dir_all(&folder).unwrap();
        run(&folder, &[&["init", "-q"], more].concat());
        folder
    }

    pub(crate) fn restore(&self, more: &[&str]) -> PathBuf {
        let out = self.installation.fresh();
        self.installation.ok(&[&["restore", "job", "--to", out.to_str().unwrap()], more].concat());
        out
    }

    #[track_caller]
    pub(crate) fn proven(&self) {
        let test = self.installation.restore_test();
        assert_eq!(test["verdict"], "proven", "{test:#}");
        self.installation.assert_no_scratch();
    }

    /// What the run stored, and how many repositories were fetched.
    pub(crate) fn back_up(&self) -> (u64, u64) {
        let ran = self.installation.ok(&["--json", "backup", "now"]);
        let read = ran.json().into_iter().find(|event| event["phase"] == "read").unwrap();
        let fetched = read["detail"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        (ran.summary()["stored_bytes"].as_u64().unwrap(), fetched)
    }

    /// Everything of a restored repository is what the live one has.
    #[track_caller]
    pub(crate) fn same(&self, out: &Path, name: &str) {
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

pub(crate) fn pointer(content: &[u8]) -> (String, String) {
    let id = hex::encode(Sha256::digest(content));
    let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {}\n", content.len());
    (text, id)
}

pub(crate) fn put_large(git_folder: &Path, content: &[u8]) -> String {
    let (_, id) = pointer(content);
    let path = git_folder.join("lfs/objects").join(&id[..2]).join(&id[2..4]).join(&id);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    id
}

pub(crate) fn large_in(folder: &Path) -> PathBuf {
    let (_, id) = pointer(b"large content");
    folder.join("lfs/objects").join(&id[..2]).join(&id[2..4]).join(id)
}

/// A repository with a bit of everything.
pub(crate) fn fill(folder: &Path) {
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

/// A `git` in front of the real one, which notes what it is called with and can be told to hang.
pub(crate) struct Watched {
    pub(crate) folder: PathBuf,
}

impl Watched {
    pub(crate) fn new(site: &Site) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = site.installation.root().join("watched");
        std::fs::create_dir(&folder).unwrap();
        let real = run(Path::new("/"), &["--exec-path"]);
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{0}/log'\nword=$(cat '{0}/hang' 2>/dev/null)\n\
             case \" $* \" in *\" ${{word:-nothing at all}} \"*) sleep 100;; esac\nexec '{real}/git' \"$@\"\n",
            folder.display()
        );
        std::fs::write(folder.join("git"), script).unwrap();
        std::fs::set_permissions(folder.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    pub(crate) fn start(&self, site: &Site, arguments: &[&str]) -> Child {
        let mut command = site.installation.command(arguments);
        let path = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH")).unwrap();
        let path = format!("{}:{}", self.folder.display(), path.to_str().unwrap());
        command.env("PATH", path).env("TOKEN", TOKEN).spawn().unwrap()
    }

    pub(crate) fn run(&self, site: &Site, arguments: &[&str]) -> Outcome {
        finish(self.start(site, arguments))
    }

    pub(crate) fn hang_on(&self, word: &str) {
        std::fs::write(self.folder.join("hang"), word).unwrap();
    }

    /// What was run since the last call.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        drop(std::fs::remove_file(self.folder.join("log")));
        text
    }

    /// Starts a run, waits until it hangs, and kills it.
    pub(crate) fn kill_at(&self, site: &Site, arguments: &[&str], word: &str) {
        self.log();
        self.hang_on(word);
        let mut child = self.start(site, arguments);
        let begun = Instant::now();
        while !std::fs::read_to_string(self.folder.join("log")).is_ok_and(|log| log.contains(&format!(" {word} "))) {
            assert!(
                begun.elapsed() < Duration::from_mins(1) && child.try_wait().unwrap().is_none(),
                "it never got there"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        self.hang_on("");
    }
}

pub(crate) const TOKEN: &str = "hunter2-very-secret";
