//! Git repositories: what is backed up, what comes back, what a comparison finds, and what a run costs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeboat::domain::Verdict;
use sha2::{Digest, Sha256};

use crate::stock_tools::follow;
use crate::support::installation::{Installation, Outcome, finish};
use crate::support::loaded::Loaded;
use crate::support::outcome::contents;
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

/// What is done to a restored repository, the name that must be told, and how.
type Change = (fn(&Path), &'static str);

fn loose(folder: &Path, name: &str) -> PathBuf {
    let id = run(folder, &["rev-parse", name]);
    // Out of the pack first.
    for pack in std::fs::read_dir(folder.join("objects/pack")).unwrap().flatten() {
        let path = pack.path();
        if path.extension().is_some_and(|end| end == "pack") {
            let moved = folder.join("moved.pack");
            std::fs::rename(&path, &moved).unwrap();
            let mut unpack = git(folder);
            unpack.args(["unpack-objects", "-q"]).stdin(std::fs::File::open(&moved).unwrap()).stdout(Stdio::null());
            assert!(unpack.status().unwrap().success());
            std::fs::remove_file(moved).unwrap();
        }
    }
    for rest in std::fs::read_dir(folder.join("objects/pack")).unwrap().flatten() {
        std::fs::remove_file(rest.path()).unwrap();
    }
    folder.join("objects").join(&id[..2]).join(&id[2..])
}

fn large_in(folder: &Path) -> PathBuf {
    let (_, id) = pointer(b"large content");
    folder.join("lfs/objects").join(&id[..2]).join(&id[2..4]).join(id)
}

const CHANGES: [Change; 15] = [
    (|app| drop(run(app, &["update-ref", "refs/heads/side", "main"])), "changed: `app/refs/heads/side`"),
    (|app| drop(run(app, &["update-ref", "-d", "refs/pull/1/head"])), "missing: `app/refs/pull/1/head`"),
    (|app| drop(run(app, &["tag", "extra", "main"])), "extra: `app/refs/tags/extra`"),
    (|app| drop(run(app, &["update-ref", "refs/tags/v1.0", "main"])), "changed: `app/refs/tags/v1.0`"),
    (|app| drop(run(app, &["symbolic-ref", "HEAD", "refs/heads/side"])), "changed: `app/HEAD`"),
    (|app| drop(run(app, &["update-ref", "--no-deref", "HEAD", "main"])), "changed: `app/HEAD`"),
    (|app| drop(run(app, &["symbolic-ref", "refs/heads/alias", "refs/heads/side"])), "changed: `app/refs/heads/alias`"),
    (
        |app| drop(run(app, &["update-ref", "--no-deref", "refs/heads/alias", "main"])),
        "changed: `app/refs/heads/alias`",
    ),
    (|app| std::fs::remove_file(loose(app, "main:deep/b")).unwrap(), "changed: `app/objects`"),
    (|app| std::fs::remove_file(loose(app, "main~1")).unwrap(), "changed: `app/objects`"),
    (
        |app| {
            let [path, other] = [loose(app, "main:a"), loose(app, "main:side")];
            std::fs::remove_file(&path).unwrap();
            std::fs::copy(other, path).unwrap();
        },
        "changed: `app/objects`",
    ),
    (
        |app| {
            let path = loose(app, "main:a");
            std::fs::remove_file(&path).unwrap();
            std::fs::write(path, "no object").unwrap();
        },
        "changed: `app/objects`",
    ),
    (|app| std::fs::write(large_in(app), "larGe content").unwrap(), "changed: `app/lfs/"),
    (|app| std::fs::remove_file(large_in(app)).unwrap(), "missing: `app/lfs/"),
    (|app| drop(put_large(app, b"never there")), "extra: `app/lfs/"),
];

#[tokio::test]
async fn every_single_change_to_a_restored_repository_fails_the_test_and_is_named() {
    let site = Site::new(&["app"], "");
    fill(&site.init("app", &[]));
    let loaded = Loaded::new(site.installation).await;
    let top = loaded.lease.place("").folder().unwrap();
    let kept = top.with_extension("kept");
    copy(&top, &kept);
    assert!(matches!(loaded.compare().await, Verdict::Proven { .. }), "{:?}", loaded.compare().await);
    for (change, named) in CHANGES {
        change(&top.join("app.git"));
        let verdict = loaded.compare().await;
        let Verdict::Failed { mismatches, .. } = &verdict else { panic!("{named}: {verdict:?}") };
        let (word, name) = named.split_once(' ').unwrap();
        let told = mismatches.iter().any(|mismatch| {
            mismatch.what == "repositories" && mismatch.difference.contains(word) && mismatch.difference.contains(name)
        });
        assert!(told, "{named}: {mismatches:?}");
        std::fs::remove_dir_all(&top).unwrap();
        copy(&kept, &top);
    }
    std::fs::remove_dir_all(top.join("app.git")).unwrap();
    assert!(matches!(loaded.compare().await, Verdict::Failed { .. }));
    copy(&kept.join("app.git"), &top.join("app.git"));
    assert!(matches!(loaded.compare().await, Verdict::Proven { .. }));
}

fn copy(from: &Path, to: &Path) {
    assert!(plain(Path::new("/bin/cp")).arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_remote_that_says_nothing_or_stands_still_is_given_up_and_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Site::of(&format!("\"git://127.0.0.1:{port}/mute.git\""), "answer_timeout = \"1s\"");
    let begun = Instant::now();
    site.installation.run(&["backup", "now"]).refuses(1, &["`mute`", "within 1 s"]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(listener);
    site.installation.run(&["backup", "now"]).refuses(1, &["`mute`"]);
    let site = Site::new(&["app"], "stall_timeout = \"1s\"");
    commit(&site.init("app", &[]), "x", "x");
    let watched = Watched::new(&site);
    watched.hang_on("fetch");
    watched.run(&site, &["backup", "now"]).refuses(1, &["`app`", "stall_timeout"]);
    watched.hang_on("");
    watched.run(&site, &["backup", "now"]).expect(0);
    site.proven();
}

#[test]
fn a_repository_that_is_gone_fails_the_run_by_name_and_nothing_is_committed() {
    let site = Site::new(&["app", "gone", "no repository"], "");
    for name in ["app", "gone"] {
        commit(&site.init(name, &[]), "x", "x");
    }
    std::fs::create_dir(site.live("no repository")).unwrap();
    site.installation.run(&["backup", "now"]).refuses(1, &["`no repository`"]);
    std::fs::remove_dir(site.live("no repository")).unwrap();
    commit(&site.init("no repository", &[]), "x", "x");
    site.back_up();
    std::fs::remove_dir_all(site.live("gone")).unwrap();
    site.installation.run(&["backup", "now"]).refuses(1, &["gone", "no such folder"]);
    std::fs::create_dir(site.live("gone")).unwrap();
    std::fs::remove_dir_all(site.live("no repository/.git")).unwrap();
    let ran = site.installation.run(&["backup", "now"]);
    ran.refuses(1, &["2 of 3", "`gone`", "`no repository`"]);
    assert_eq!(site.installation.snapshots().len(), 1);
    site.proven();
}

#[test]
fn a_killed_run_is_followed_by_one_that_succeeds() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    fill(&app);
    let watched = Watched::new(&site);
    watched.kill_at(&site, &["backup", "now"], "fetch");
    site.back_up();
    commit(&app, "more", "more");
    watched.kill_at(&site, &["backup", "now"], "fetch");
    // As a git that was killed leaves them.
    let kept = site.installation.state().join("kept/job/git");
    let mirror = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path().join("mirror.git");
    for name in ["packed-refs.lock", "HEAD.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x"] {
        std::fs::write(mirror.join(name), "").unwrap();
    }
    site.back_up();
    commit(&app, "more", "and more");
    watched.kill_at(&site, &["backup", "now"], "bundle");
    site.back_up();
    site.same(&site.restore(&[]), "app");
    site.proven();
    // A restore is killed, and goes on.
    let out = site.installation.fresh();
    let to = ["restore", "job", "--to", out.to_str().unwrap()];
    watched.kill_at(&site, &to, "index-pack");
    assert!(!out.join("app.git").exists() && out.join(".lifeboat-restore").exists());
    site.installation.ok(&to);
    site.same(&out, "app");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    site.installation.run(&to).says(&["not empty"]);
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
fn without_git_a_backup_says_so_and_a_restore_test_is_unproven() {
    let site = Site::new(&["app"], "");
    commit(&site.init("app", &[]), "x", "x");
    site.back_up();
    let without =
        |arguments: &[&str]| finish(site.installation.command(arguments).env("PATH", "/nonexistent").spawn().unwrap());
    without(&["backup", "now"]).refuses(1, &["git", "not installed"]);
    let test = without(&["--json", "restore-test"]).expect(5).summary();
    assert!(test.to_string().contains("`git` 2.32"), "{test:#}");
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
fn a_damaged_bundle_never_becomes_a_repository() {
    let site = Site::new(&["app"], "");
    commit(&site.init("app", &[]), "big", noise(1, 300_000));
    site.back_up();
    let packs = site.installation.path("shelf/packs");
    let path = contents(&packs).into_iter().max_by_key(|(_, content)| content.len()).unwrap().0;
    let whole = std::fs::read(&path).unwrap();
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 1;
    for bad in [&whole[..whole.len() - 100], &bent] {
        std::fs::write(&path, bad).unwrap();
        let out = site.installation.fresh();
        let ran = site.installation.run(&["restore", "job", "--to", out.to_str().unwrap()]);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(!out.join("app.git").exists());
        let test = site.installation.restore_test();
        assert_eq!(test["verdict"], "failed", "{test:#}");
    }
    std::fs::write(&path, &whole).unwrap();
    site.proven();
}

/// A server of `git http-backend` that lets in who has the token.
fn serve(root: PathBuf) -> u16 {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let login = "Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMi12ZXJ5LXNlY3JldA==";
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut lines, mut line) = (vec![], String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                lines.push(line.trim_end().to_owned());
                line.clear();
            }
            let header = |name: &str| {
                let found = lines.iter().filter_map(|line| line.split_once(": "));
                found.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
            };
            if header("authorization").as_deref() != Some(login) {
                let refused = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(refused.as_bytes()).unwrap();
                continue;
            }
            let [method, target] = lines[0].split(' ').take(2).collect::<Vec<_>>()[..] else { panic!("{lines:?}") };
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let mut backend = git(Path::new("/"));
            backend.arg("http-backend").env("GIT_PROJECT_ROOT", &root).env("GIT_HTTP_EXPORT_ALL", "1");
            backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
            backend.env("CONTENT_LENGTH", body.len().to_string());
            for (key, name) in [
                ("CONTENT_TYPE", "content-type"),
                ("HTTP_CONTENT_ENCODING", "content-encoding"),
                ("GIT_PROTOCOL", "git-protocol"),
            ] {
                backend.env(key, header(name).unwrap_or_default());
            }
            let mut backend = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            backend.stdin.take().unwrap().write_all(&body).unwrap();
            let answer = backend.wait_with_output().unwrap().stdout;
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    port
}

#[test]
fn a_token_lets_in_and_shows_nowhere() {
    let site = Site::of("\"live/app\"", "");
    fill(&site.init("app", &[]));
    run(&site.live("app"), &["config", "http.receivepack", "false"]);
    let port = serve(site.installation.root().join("live"));
    let job = |token: &str| {
        let url = format!("http://127.0.0.1:{port}/app/.git");
        let text = format!("[source]\ntype = \"git\"\nrepository = {{ url = {url:?}, name = \"app\" }}\n{token}\n");
        site.installation.write_job("job", &text);
    };
    let watched = Watched::new(&site);
    let shows = |ran: &Outcome, log: &str| {
        for secret in [TOKEN, "eC1hY2Nlc3M"] {
            assert!(!ran.all().contains(secret) && !log.contains(secret), "{secret}: {}\n{log}", ran.all());
            for (path, content) in contents(&site.installation.state()) {
                assert!(memchr::memmem::find(&content, secret.as_bytes()).is_none(), "{path}");
            }
        }
    };
    job("");
    let ran = watched.run(&site, &["backup", "now"]).refuses(1, &["`app`"]);
    shows(&ran, &watched.log());
    job("token = { env = \"TOKEN\" }\ntoken_user = \"another\"");
    let ran = watched.run(&site, &["-v", "backup", "now"]).refuses(1, &["`app`"]);
    shows(&ran, &watched.log());
    job("token = { env = \"TOKEN\" }");
    let ran = watched.run(&site, &["-v", "--json", "backup", "now"]).expect(0);
    shows(&ran, &watched.log());
    // Large objects of a server need git-lfs.
    assert!(ran.summary()["gaps"].to_string().contains("LFS"), "{}", ran.all());
    site.proven();
    let out = site.restore(&[]);
    let restored = run(&out.join("app.git"), &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]);
    assert_eq!(restored, run(&site.live("app"), &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]));
}

#[test]
fn a_shallow_repository_and_a_bad_address_are_refused() {
    let site = Site::new(&["shallow"], "");
    let full = site.init("full", &[]);
    for number in 0..3 {
        commit(&full, "x", number.to_string());
    }
    let url = format!("file://{}", full.display());
    run(&site.live(""), &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let ran = site.installation.run(&["backup", "now"]);
    ran.refuses(1, &["`shallow`"]);
    assert_eq!(site.installation.snapshots().len(), 0);
    for bad in ["ext::sh -c true", "-x", "https://u:password@host/x"] {
        let text = format!("[source]\ntype = \"git\"\nrepository = {bad:?}\n");
        site.installation.write_job("job", &text);
        let ran = site.installation.expect(2, &["config", "check"]);
        assert!(!ran.all().contains("u:password"), "{}", ran.all());
    }
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
