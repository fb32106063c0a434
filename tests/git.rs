//! Git repositories: what is backed up, what comes back, what a comparison finds, and what a run costs.

mod access;
mod changes;
mod faults;
mod forge;
mod ssh;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::stock_tools::follow;
use crate::support::installation::{Installation, Outcome, finish};
use crate::support::postgres::TestServer;
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

fn large_in(folder: &Path) -> PathBuf {
    let (_, id) = pointer(b"large content");
    folder.join("lfs/objects").join(&id[..2]).join(&id[2..4]).join(id)
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
    if rustix::process::geteuid().is_root() {
        // Of somebody else, which git refuses by itself.
        let given = plain(Path::new("chown")).args(["-R", "65534:65534"]).arg(site.live("all-2")).status().unwrap();
        assert!(given.success());
    }
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

/// A `git` in front of the real one, which notes what it is called with and can be told to hang.
struct Watched {
    folder: PathBuf,
}

impl Watched {
    fn new(site: &Site) -> Self {
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

    fn start(&self, site: &Site, arguments: &[&str]) -> Child {
        let mut command = site.installation.command(arguments);
        let path = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH")).unwrap();
        let path = format!("{}:{}", self.folder.display(), path.to_str().unwrap());
        command.env("PATH", path).env("TOKEN", TOKEN).spawn().unwrap()
    }

    fn run(&self, site: &Site, arguments: &[&str]) -> Outcome {
        finish(self.start(site, arguments))
    }

    fn hang_on(&self, word: &str) {
        std::fs::write(self.folder.join("hang"), word).unwrap();
    }

    /// What was run since the last call.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        drop(std::fs::remove_file(self.folder.join("log")));
        text
    }

    /// Starts a run, waits until it hangs, and kills it.
    fn kill_at(&self, site: &Site, arguments: &[&str], word: &str) {
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

const TOKEN: &str = "hunter2-very-secret";

#[test]
fn an_unchanged_repository_costs_one_question_and_next_to_nothing_is_stored() {
    let site = Site::new(&["app", "other"], "");
    fill(&site.init("app", &[]));
    commit(&site.init("other", &[]), "x", "x");
    let watched = Watched::new(&site);
    watched.run(&site, &["backup", "now"]).expect(0);
    watched.log();
    let ran = watched.run(&site, &["--json", "backup", "now"]).expect(0);
    let log = watched.log();
    let asked = log.lines().filter(|line| line.starts_with("ls-remote ")).count();
    assert_eq!((asked, log.lines().count()), (2, 3), "besides `--version`: {log}");
    let stored = ran.summary()["stored_bytes"].as_u64().unwrap();
    assert!(stored < 10_000, "{stored}");
    commit(&site.live("other"), "y", "y");
    assert_eq!(site.back_up().1, 1, "only one of the two is fetched");
    site.proven();
    site.same(&site.restore(&[]), "other");
}

#[test]
fn each_run_stores_what_is_new_whatever_happens_to_the_history() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    let first = commit(&app, "big", noise(1, 2_000_000));
    let (whole, _) = site.back_up();
    assert!(whole > 1_900_000, "{whole}");
    let changes: [fn(&Path, &str); 8] = [
        |app, _| drop(commit(app, "small", "one commit more")),
        // Refs without a new object, and a new object without a commit.
        |app, first| drop(run(app, &["branch", "conflict", first])),
        |app, _| drop(run(app, &["tag", "-a", "-m", "a tag alone", "v1"])),
        // A branch of the name of a folder of branches.
        |app, _| {
            run(app, &["branch", "-D", "conflict"]);
            run(app, &["branch", "conflict/inner"]);
        },
        // History is rewritten, and nothing that was there before is reachable but the first commit.
        |app, first| {
            run(app, &["reset", "-q", "--hard", first]);
            run(app, &["branch", "-D", "conflict/inner"]);
            run(app, &["tag", "-d", "v1"]);
            drop(commit(app, "instead", "rewritten"));
        },
        // What was gone comes back.
        |app, _| drop(run(app, &["branch", "back", "HEAD@{2}"])),
        |app, _| {
            run(app, &["checkout", "-q", "--detach"]);
            drop(commit(app, "loose", "of no branch"));
        },
        |app, _| drop(run(app, &["checkout", "-q", "main"])),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change(&app, &first);
        let (stored, fetched) = site.back_up();
        assert!(stored < 12_000 && fetched == 1, "change {number} stored {stored}");
        site.same(&site.restore(&[]), "app");
        site.proven();
    }
}

#[test]
fn a_lost_mirror_or_state_or_target_costs_a_fetch_and_nothing_else() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    commit(&app, "big", noise(1, 1_000_000));
    site.back_up();
    commit(&app, "small", "more");
    site.back_up();
    let kept = site.installation.state().join("kept/job/git");
    let mirror = || std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path().join("mirror.git");
    std::fs::remove_dir_all(mirror()).unwrap();
    assert_eq!(site.back_up().1, 0, "unchanged: it is not even missed");
    commit(&app, "small", "still more");
    let (stored, _) = site.back_up();
    assert!(stored < 12_000, "{stored} although only the mirror was lost");
    site.same(&site.restore(&[]), "app");
    // Objects of the mirror are damaged.
    for pack in std::fs::read_dir(mirror().join("objects/pack")).unwrap() {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    commit(&app, "small", "after damage");
    let (stored, _) = site.back_up();
    assert!(stored < 12_000, "{stored}");
    site.same(&site.restore(&[]), "app");
    std::fs::remove_dir_all(site.installation.state().join("kept")).unwrap();
    site.back_up();
    site.same(&site.restore(&[]), "app");
    std::fs::remove_dir_all(site.installation.path("shelf/packs")).unwrap();
    site.back_up();
    site.same(&site.restore(&[]), "app");
    site.proven();
}

#[test]
fn a_long_chain_of_bundles_begins_anew() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    commit(&app, "big", noise(1, 100_000));
    site.back_up();
    let mut stored = vec![];
    for number in 0..21 {
        commit(&app, "small", number.to_string());
        stored.push(site.back_up().0);
    }
    let anew: Vec<usize> = (0..stored.len()).filter(|at| stored[*at] > 50_000).collect();
    assert_eq!(anew, [19], "the twenty-first bundle would have been one too many: {stored:?}");
    site.same(&site.restore(&[]), "app");
    site.proven();
}

#[test]
fn large_objects_that_are_missing_or_damaged_are_said_and_come_once_they_are_there() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    let (text, id) = pointer(b"large content");
    commit(&app, "large", &text);
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(gaps.contains(&id) && gaps.contains("LFS"), "{gaps}");
    site.proven();
    put_large(&app.join(".git"), b"large content");
    let path = large_in(&app.join(".git"));
    std::fs::write(&path, "damaged contn").unwrap();
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(gaps.contains(&id) && gaps.contains("not what its id says"), "{gaps}");
    std::fs::write(&path, "large content").unwrap();
    let ran = site.installation.back_up();
    assert!(!ran["gaps"].to_string().contains(&id), "{ran:#}");
    let out = site.restore(&[]);
    assert_eq!(std::fs::read(large_in(&out.join("app.git"))).unwrap(), b"large content");
    assert_eq!(site.back_up().1, 0);
    // What is kept needs no reading, and what is new is added.
    std::fs::remove_file(&path).unwrap();
    commit(&app, "more", pointer(b"more of it").0);
    put_large(&app.join(".git"), b"more of it");
    site.back_up();
    let out = site.restore(&[]);
    assert_eq!(std::fs::read(large_in(&out.join("app.git"))).unwrap(), b"large content");
    site.proven();
}

#[test]
fn submodules_are_listed_and_those_of_no_job_are_said() {
    let site = Site::new(&["app"], "");
    let library = site.init("library", &[]);
    let at = commit(&library, "x", "x");
    let app = site.init("app", &[]);
    commit(&app, "a", "a");
    run(&app, &["submodule", "--quiet", "add", "--", library.to_str().unwrap(), "third party/lib"]);
    run(&app, &["commit", "-q", "-m", "with a library"]);
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(gaps.contains("third party/lib") && gaps.contains("library"), "{gaps}");
    assert_eq!(site.installation.back_up()["gaps"].to_string(), gaps, "an unchanged repository says the same");
    site.proven();
    let out = site.restore(&[]);
    assert!(run(&out.join("app.git"), &["ls-tree", "-r", "HEAD"]).contains(&format!("160000 commit {at}")));
    let both = "[source]\ntype = \"git\"\nrepository = [\"live/app\", \"live/library\"]\n";
    site.installation.write_job("job", both);
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(!gaps.contains("library"), "{gaps}");
    site.proven();
}

#[test]
fn one_repository_of_several_is_restored_also_with_its_files() {
    let site = Site::new(&["app", "other"], "");
    fill(&site.init("app", &[]));
    commit(&site.init("other", &[]), "x", "x");
    site.back_up();
    let out = site.restore(&["--only", "other"]);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    site.same(&out, "other");
    let out = site.restore(&["--only", "app:worktree", "--only", "app"]);
    site.same(&out, "app");
    assert_eq!(std::fs::read(out.join("app/deep/b")).unwrap(), noise(1, 3000));
    assert_eq!(run(&out.join("app"), &["status", "--porcelain"]), "");
    assert_eq!(refs(&out.join("app")), refs(&site.live("app")));
    let nowhere = site.installation.fresh();
    let to = nowhere.to_str().unwrap();
    site.installation.run(&["restore", "job", "--to", to, "--only", "nothing"]).refuses(1, &["`nothing`", "`app`"]);
    site.installation.ok(&["restore", "job", "--to", to, "--dry-run"]);
    assert!(!nowhere.exists());
}

#[test]
fn an_object_that_git_would_not_write_today_is_told_and_proven_all_the_same() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    commit(&app, "a", "a");
    // As some tools wrote them once: a mode with a zero in front.
    let blob = run(&app, &["rev-parse", "HEAD:a"]);
    let tree = [&b"0100644 a\0"[..], &hex::decode(blob).unwrap()].concat();
    std::fs::write(site.live("tree"), tree).unwrap();
    let tree = run(&app, &["hash-object", "-w", "-t", "tree", "--literally", "../tree"]);
    let commit = run(&app, &["commit-tree", "-m", "odd", &tree]);
    run(&app, &["update-ref", "refs/heads/odd", &commit]);
    site.back_up();
    let ran = site.installation.ok(&["restore-test"]);
    ran.says(&["zeroPaddedFilemode"]);
}

#[test]
fn a_stranger_restores_repositories_with_stock_tools() {
    let names = ["all", "with space's \"quotes\"", "sha256", "detached", "empty"];
    let site = Site::new(&names, "");
    fill(&site.init("all", &[]));
    commit(&site.init(names[1], &[]), "x", "x");
    fill(&site.init("sha256", &["--object-format=sha256"]));
    let detached = site.init("detached", &[]);
    commit(&detached, "x", "x");
    run(&detached, &["checkout", "-q", "--detach"]);
    site.init("empty", &["-b", "unborn"]);
    site.back_up();
    // A second bundle, which builds upon the first, and one whose ref was removed since.
    commit(&detached, "y", "of no branch");
    run(&site.live("all"), &["branch", "-D", "alias"]);
    commit(&site.live("all"), "z", noise(3, 20_000));
    site.back_up();
    let (repository, server) = (site.installation.path("shelf"), TestServer::start());
    let done = follow(&repository, &site.installation.path("identity.txt"), 7, &server);
    let parts = repository.join("restored/parts");
    assert!(parts.join("list").exists(), "{done:?}");
    let loaded = plain(Path::new("sh")).arg("../load.sh").current_dir(&parts).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    for name in &names[..4] {
        site.same(&parts, name);
    }
    assert_eq!(run(&parts.join("empty.git"), &["symbolic-ref", "HEAD"]), "refs/heads/unborn");
    assert_eq!(std::fs::read(large_in(&parts.join("all.git"))).unwrap(), b"large content");
}

#[test]
fn large_objects_of_a_server_are_fetched_by_git_lfs() {
    let site = Site::new(&[], "");
    let app = site.init("app", &[]);
    let (text, id) = pointer(b"large content");
    commit(&app, "large", text);
    put_large(&app.join(".git"), b"large content");
    // No folder to look into, but a server, as far as git-lfs is concerned.
    let url = format!("file://{}/.git", app.display());
    let job = format!("[source]\ntype = \"git\"\nrepository = {{ url = {url:?}, name = \"app\" }}\n");
    site.installation.write_job("job", &job);
    let ran = site.installation.back_up();
    assert!(!ran["gaps"].to_string().contains(&id), "{ran:#}");
    site.proven();
    let out = site.restore(&[]);
    assert_eq!(std::fs::read(large_in(&out.join("app.git"))).unwrap(), b"large content");
}

#[test]
fn a_server_that_does_not_say_where_head_points_to_leaves_a_gap_and_a_proof() {
    let site = Site::new(&[], "");
    let empty = site.init("empty", &["-b", "unborn"]);
    let lost = site.init("lost", &[]);
    commit(&lost, "x", "x");
    run(&lost, &["branch", "there"]);
    run(&lost, &["symbolic-ref", "HEAD", "refs/heads/elsewhere"]);
    let urls = [&empty, &lost].map(|folder| format!("file://{}", folder.display()));
    let job = format!("[source]\ntype = \"git\"\nrepository = {urls:?}\n");
    site.installation.write_job("job", &job);
    for _ in 0..2 {
        let gaps = site.installation.back_up()["gaps"].to_string();
        assert!(gaps.contains("`HEAD` of `empty`") && gaps.contains("`HEAD` of `lost`"), "{gaps}");
        site.proven();
    }
    let out = site.restore(&[]);
    let refs = |folder: &Path| run(folder, &["for-each-ref"]);
    assert_eq!(refs(&out.join("lost.git")), refs(&lost));
    assert_eq!(refs(&out.join("empty.git")), "");
}
