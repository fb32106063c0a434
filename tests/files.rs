//! Folders: what is backed up, what comes back, what a comparison finds, and what a list can never do.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat::domain::progress::Silent;
use lifeboat::domain::{PartStore, Place, SourceRecord, Verdict};
use lifeboat::sources::{Context, LoadReport, LoadRequest, SourceError, registry};
use rustix::fs::XattrFlags;
use tokio_util::sync::CancellationToken;

use crate::support::installation::Installation;
use crate::support::loaded::Loaded;
use crate::support::parts::MemoryStore;
use crate::support::server::plain;
use crate::support::tree;

struct Site {
    installation: Installation,
    top: PathBuf,
}

impl Site {
    fn new(more: &str) -> Self {
        let installation = Installation::new();
        installation.add_target("shelf");
        let top = installation.root().join("live");
        std::fs::create_dir(&top).unwrap();
        installation.write_job("job", &format!("[source]\ntype = \"files\"\npath = \"live\"\n{more}\n"));
        Self { installation, top }
    }

    fn full() -> Self {
        let site = Self::new("");
        tree::fill(&site.top);
        site
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.top.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn restore(&self, more: &[&str]) -> PathBuf {
        let out = self.installation.fresh();
        self.installation.ok(&[&["restore", "job", "--to", out.to_str().unwrap()], more].concat());
        out
    }

    /// How many files the last run read, and how much it stored.
    fn back_up(&self) -> (u64, u64) {
        let ran = self.installation.ok(&["--json", "backup", "now"]);
        let read = ran.json().into_iter().find(|event| event["phase"] == "read").unwrap();
        let detail = read["detail"].as_str().unwrap();
        let files = detail.split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        (files, ran.summary()["stored_bytes"].as_u64().unwrap())
    }
}

#[test]
fn a_folder_with_everything_comes_back_as_it_was_and_is_proven() {
    let site = Site::full();
    let before = tree::look(&site.top);
    site.back_up();
    let test = site.installation.restore_test();
    assert_eq!(test["verdict"], "proven", "{test:#}");
    assert!(test["evidence"]["rows"].as_u64().unwrap() > 30, "{test:#}");
    site.installation.assert_no_scratch();
    let out = site.restore(&[]);
    assert_eq!(tree::look(&out), before);
    let sparse = out.join("sparse").metadata().unwrap();
    assert_eq!(sparse.len(), tree::SPARSE_BYTES);
    assert!(sparse.blocks() * 512 < 1 << 20, "holes were filled: {} blocks", sparse.blocks());
    assert_eq!(tree::look(&site.top), before, "the source was touched");
}

#[test]
fn only_what_changed_is_read_and_a_list_of_many_files_stores_little_for_a_few() {
    let site = Site::new("");
    for number in 0..6_000 {
        site.write(&format!("{:02}/file {number:05}", number % 40), format!("content of {number}"));
    }
    tree::settle();
    let (read, first) = site.back_up();
    assert_eq!(read, 6_000);
    let (read, unchanged) = site.back_up();
    assert_eq!(read, 0);
    assert!(unchanged < 6_000, "{unchanged} bytes stored for nothing, {first} at first");
    site.write("07/file 00007", "other");
    site.write("new", "new");
    std::fs::remove_file(site.top.join("08/file 00008")).unwrap();
    std::fs::rename(site.top.join("09/file 00009"), site.top.join("09/moved")).unwrap();
    // Its size and its time of modification stay what they were.
    let path = site.top.join("10/file 00010");
    let modified = path.metadata().unwrap().mtime();
    site.write("10/file 00010", "content of 1O");
    tree::set_time(&path, modified);
    let before = tree::look(&site.top);
    let (read, changed) = site.back_up();
    assert_eq!(read, 4, "the changed, the new, the moved, and the one that looks the same");
    assert!(changed < first / 3, "{changed} bytes stored for four files, {first} at first");
    assert_eq!(tree::look(&site.restore(&[])), before);
    let test = site.installation.restore_test();
    assert_eq!(test["verdict"], "proven", "{test:#}");
}

#[test]
fn a_lost_state_or_a_target_that_lost_a_pack_costs_reading_and_nothing_else() {
    let site = Site::new("");
    for number in 0..300 {
        site.write(&format!("file {number}"), format!("content of {number}"));
    }
    tree::settle();
    let before = tree::look(&site.top);
    site.back_up();
    assert_eq!(site.back_up().0, 0);
    std::fs::remove_dir_all(site.installation.state().join("kept")).unwrap();
    let (read, stored) = site.back_up();
    assert_eq!(read, 300);
    assert!(stored < 6_000, "{stored} bytes stored again");
    assert_eq!(site.back_up().0, 0);
    std::fs::remove_dir_all(site.installation.path("shelf/packs")).unwrap();
    assert_eq!(site.back_up().0, 300, "what no target holds is read again");
    assert_eq!(tree::look(&site.restore(&[])), before);
    std::fs::remove_dir_all(site.installation.state().join("chunks")).unwrap();
    site.back_up();
    assert_eq!(tree::look(&site.restore(&[])), before);
}

#[test]
fn what_the_job_leaves_out_is_not_there_and_said() {
    let site = Site::new("exclude = [\"*.tmp\", \"/cache\", \"logs/**/old\"]");
    for name in ["a.tmp", "x/b.tmp", "cache/c", "x/cache/kept", "logs/1/2/old/d", "logs/kept", "kept"] {
        site.write(name, name);
    }
    let ran = site.installation.back_up();
    assert!(ran["gaps"].to_string().contains("`*.tmp`"), "{ran:#}");
    let out = tree::look(&site.restore(&[]));
    let files: Vec<_> = out.iter().filter(|(name, _)| !out.contains_key(&[name, &b"/"[..]].concat())).collect();
    let names: Vec<_> = files.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    for kept in ["kept", "logs/kept", "x/cache/kept"] {
        assert!(names.iter().any(|name| name == kept), "{kept}: {names:?}");
    }
    for gone in ["a.tmp", "x/b.tmp", "cache", "logs/1/2/old"] {
        assert!(!names.iter().any(|name| name.starts_with(gone)), "{gone}: {names:?}");
    }
    assert_eq!(site.installation.restore_test()["verdict"], "proven");
}

#[test]
fn a_restore_takes_a_path_or_a_pattern_and_refuses_one_that_fits_nothing() {
    let site = Site::full();
    site.back_up();
    let out = site.restore(&["--only", "deep/a"]);
    assert_eq!(std::fs::read(out.join("deep/a/b/c/d/e/f/g")).unwrap(), b"deep");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    let out = site.restore(&["--only", "*.txt", "--only", "odd/-rf"]);
    assert_eq!(tree::look(&out).len(), 3, "{:?}", tree::look(&out).keys());
    let installation = &site.installation;
    installation.expect(1, &["restore", "job", "--to", "nothing", "--only", "nowhere/*"]).says(&["fits"]);
    assert!(!installation.root().join("nothing").join("odd").exists());
    let dry = installation.ok(&["restore", "job", "--to", "nothing", "--only", "again*", "--dry-run"]);
    assert!(!installation.root().join("nothing").exists(), "{}", dry.all());
}

#[test]
fn a_folder_that_holds_something_is_never_restored_over() {
    let site = Site::new("");
    site.write("a", "a");
    site.back_up();
    let out = site.installation.fresh();
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine"), "mine").unwrap();
    let to = out.to_str().unwrap();
    for more in [&[][..], &["--dry-run"]] {
        let ran = site.installation.run(&[&["restore", "job", "--to", to], more].concat());
        assert_ne!(ran.code, 0);
        ran.says(&["not empty"]);
    }
    assert_eq!(tree::look(&out).len(), 1);
}

#[test]
fn an_interrupted_restore_goes_on_and_repairs_what_was_half_written() {
    let site = Site::full();
    let before = tree::look(&site.top);
    site.back_up();
    let out = site.restore(&[]);
    // As if it had been killed in the middle: the mark is still there, files are half, missing, or somebody's.
    let marker = {
        let other = site.installation.fresh();
        let mut child = site.installation.start(&["restore", "job", "--to", other.to_str().unwrap()]);
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(other.join(".lifeboat-restore")) {
                break text;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended without a mark");
        };
        child.kill().unwrap();
        child.wait().unwrap();
        text
    };
    assert!(marker.contains("under way"), "{marker}");
    std::fs::write(out.join(".lifeboat-restore"), &marker).unwrap();
    std::fs::write(out.join("again/small"), "half").unwrap();
    std::fs::remove_file(out.join("link")).unwrap();
    std::fs::remove_file(out.join("large")).unwrap();
    let ran = site.installation.ok(&["restore", "job", "--to", out.to_str().unwrap()]);
    ran.says(&["were there already"]);
    assert_eq!(tree::look(&out), before);
    std::fs::write(out.join(".lifeboat-restore"), "of another").unwrap();
    let ran = site.installation.run(&["restore", "job", "--to", out.to_str().unwrap()]);
    assert_ne!(ran.code, 0);
    ran.says(&["another restore"]);
}

#[test]
fn several_places_are_named_by_their_paths_and_come_back_below_one_folder() {
    let site = Site::new("");
    site.write("etc/hosts", "hosts");
    site.write("srv/media/a", "a");
    site.write("srv/other", "not this");
    let [one, two, three] = ["etc", "srv/media", "single"].map(|name| site.top.join(name));
    site.write("single", "single");
    let paths = format!("[{one:?}, {two:?}, {three:?}]");
    site.installation.write_job("job", &format!("[source]\ntype = \"files\"\npath = {paths}\n"));
    site.back_up();
    assert_eq!(site.installation.restore_test()["verdict"], "proven");
    let out = site.restore(&[]);
    let below = out.join(site.top.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_to_string(below.join("etc/hosts")).unwrap(), "hosts");
    assert_eq!(std::fs::read_to_string(below.join("srv/media/a")).unwrap(), "a");
    assert_eq!(std::fs::read_to_string(below.join("single")).unwrap(), "single");
    assert!(!below.join("srv/other").exists());
    let nested = format!("[source]\ntype = \"files\"\npath = [{:?}, {:?}]\n", site.top, site.top.join("etc"));
    site.installation.write_job("job", &nested);
    site.installation.expect(2, &["config", "check"]).says(&["lies within", "jobs/job.toml"]);
}

#[test]
fn a_missing_folder_and_a_bad_pattern_are_named() {
    let site = Site::new("exclude = [\"[a\"]");
    site.installation.expect(2, &["config", "check"]).says(&["[a", "jobs/job.toml"]);
    let site = Site::new("");
    site.write("a", "a");
    site.back_up();
    std::fs::rename(&site.top, site.installation.root().join("away")).unwrap();
    let ran = site.installation.run(&["backup", "now"]);
    ran.refuses(1, &["live", "mounted"]);
    assert_eq!(site.installation.snapshots().len(), 1);
}

#[test]
fn what_may_not_be_read_is_left_out_and_said_and_the_rest_is_backed_up() {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new("");
    for name in ["open", "closed", "folder/inside"] {
        site.write(name, name);
    }
    for name in ["closed", "folder"] {
        std::fs::set_permissions(site.top.join(name), std::fs::Permissions::from_mode(0o0)).unwrap();
    }
    // Whoever reads is nobody in particular, to whom this installation belongs.
    let nobody = 65_534;
    give(site.installation.root(), nobody);
    std::fs::set_permissions(site.installation.root().join("live/closed"), std::fs::Permissions::from_mode(0o0))
        .unwrap();
    let run = |arguments: &[&str]| {
        let child = site.installation.command(arguments).uid(nobody).gid(nobody).spawn().unwrap();
        crate::support::outcome::finish(child)
    };
    let summary = run(&["--json", "backup", "now"]).expect(0).summary();
    let gaps = summary["gaps"].to_string();
    assert!(gaps.contains("closed") && gaps.contains("folder") && gaps.contains("ermission"), "{gaps}");
    let test = run(&["--json", "restore-test"]).summary();
    assert_eq!(test["verdict"], "proven", "{test:#}");
    // With files of others among them, who is not root cannot show that they come back.
    std::os::unix::fs::lchown(site.top.join("open"), Some(1234), Some(1234)).unwrap();
    run(&["backup", "now"]).expect(0);
    let test = run(&["--json", "restore-test"]).expect(5).summary();
    assert!(test.to_string().contains("root, to give files to whom they belong"), "{test:#}");
}

fn give(folder: &Path, user: u32) {
    std::os::unix::fs::lchown(folder, Some(user), Some(user)).unwrap();
    let owned = folder.symlink_metadata().unwrap();
    if owned.is_dir() {
        for entry in std::fs::read_dir(folder).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// What is done to a restored folder, the name that must be told, and how.
type Change = (fn(&Path), &'static str);

const CHANGES: [Change; 23] = [
    (|top| std::fs::write(top.join("again/small"), "cOntent\n").unwrap(), "changed: `again/small`"),
    (|top| std::fs::write(top.join("empty"), "x").unwrap(), "changed: `empty`"),
    (|top| std::fs::remove_file(top.join("empty")).unwrap(), "missing: `empty`"),
    (|top| std::fs::write(top.join("more"), "").unwrap(), "extra: `more`"),
    (|top| std::fs::rename(top.join("again.txt"), top.join("again.txu")).unwrap(), "extra: `again.txu`"),
    (
        |top| File::options().write(true).open(top.join("sparse")).unwrap().set_len(tree::SPARSE_BYTES - 1).unwrap(),
        "changed: `sparse`",
    ),
    (|top| std::fs::remove_dir(top.join("empty folder")).unwrap(), "missing: `empty folder`"),
    (|top| std::fs::create_dir(top.join("empty folder/more")).unwrap(), "extra: `empty folder/more`"),
    (|top| mode(&top.join("large"), 0o600), "changed: `large`"),
    (|top| mode(&top.join("again"), 0o700), "changed: `again`"),
    (|top| mode(&top.join("small"), 0o755), "changed: `a hard link`"),
    (|top| tree::set_time(&top.join("large"), -6), "changed: `large`"),
    (|top| tree::set_time(&top.join("again"), 1), "changed: `again`"),
    (|top| tree::set_time(&top.join("dangling"), 8), "changed: `dangling`"),
    (|top| replace(&top.join("link"), |link| std::os::unix::fs::symlink("large", link).unwrap()), "changed: `link`"),
    (|top| replace(&top.join("link"), |link| std::fs::write(link, "small").unwrap()), "changed: `link`"),
    (
        |top| replace(&top.join("deep/another"), |path| std::fs::write(path, "content\n").unwrap()),
        "changed: `deep/another`",
    ),
    (
        |top| rustix::fs::setxattr(top.join("small"), "user.colour", b"red", XattrFlags::empty()).unwrap(),
        "changed: `a hard link`",
    ),
    (|top| rustix::fs::removexattr(top.join("empty folder"), "user.colour").unwrap(), "changed: `empty folder`"),
    (|top| rustix::fs::setxattr(top.join("large"), "user.new", b"", XattrFlags::empty()).unwrap(), "changed: `large`"),
    (|top| std::fs::remove_file(top.join("pipe")).unwrap(), "missing: `pipe`"),
    (|top| replace(&top.join("socket"), |path| std::fs::write(path, "").unwrap()), "changed: `socket`"),
    (|top| std::os::unix::fs::lchown(top.join("again-"), Some(5), None).unwrap(), "changed: `again-`"),
];

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn replace(path: &Path, with: impl FnOnce(&Path)) {
    std::fs::remove_file(path).unwrap();
    with(path);
}

#[tokio::test]
async fn every_single_change_to_a_restored_folder_fails_the_test_and_is_named() {
    let site = Site::full();
    // The hole is not what this is about.
    let root = rustix::process::geteuid().is_root();
    let loaded = Loaded::new(site.installation).await;
    let top = loaded.lease.place("").folder().unwrap();
    let kept = top.with_extension("kept");
    copy(&top, &kept);
    assert!(matches!(loaded.compare().await, Verdict::Proven { .. }), "{:?}", loaded.compare().await);
    for (change, named) in CHANGES.into_iter().filter(|(_, named)| root || !named.contains("again-")) {
        change(&top);
        let verdict = loaded.compare().await;
        let Verdict::Failed { mismatches, .. } = &verdict else { panic!("{named}: {verdict:?}") };
        // Others may stand between: the folder that a name was taken from has changed, too.
        let (word, name) = named.split_once(' ').unwrap();
        let told = mismatches.iter().any(|mismatch| {
            mismatch.what == "files" && mismatch.difference.contains(word) && mismatch.difference.contains(name)
        });
        assert!(told, "{named}: {mismatches:?}");
        std::fs::remove_dir_all(&top).unwrap();
        copy(&kept, &top);
    }
    assert!(matches!(loaded.compare().await, Verdict::Proven { .. }));
}

/// With everything, by an ordinary tool.
fn copy(from: &Path, to: &Path) {
    let done = plain(Path::new("/bin/cp")).args(["-a", "--sparse=always"]).arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_file_that_changes_each_time_that_it_is_read_is_backed_up_and_marked() {
    let site = Site::new("");
    site.write("quiet", "quiet");
    site.write("busy", vec![b'x'; 30 << 20]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut busy = File::options().append(true).open(site.top.join("busy")).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::io::Write::write_all(&mut busy, b"more").unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let ran = site.installation.run(&["--json", "backup", "now"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ran.expect(0).summary()
    });
    let gaps = summary["gaps"].to_string();
    assert!(gaps.contains("`busy`") && gaps.contains("changed while it was read") && !gaps.contains("quiet"), "{gaps}");
    // It is consistent in itself all the same: what was read is what is proven.
    assert_eq!(site.installation.restore_test()["verdict"], "proven");
    tree::settle();
    assert_eq!(site.back_up().0, 2, "what was marked, and what was written just before, is read again");
    assert_eq!(site.back_up().0, 0);
}

#[tokio::test]
async fn a_list_however_bent_puts_nothing_outside_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    let climb = format!("{}evil", "../".repeat(20));
    let absolute = outside.path().join("evil").display().to_string();
    let folder = |name: &str| format!("{name}\tfolder\t0\t-\t{{\"mode\":\"755\"}}\t-\t-\n");
    let link = |name: &str, to: &str| format!("{name}\tlink\t0\t-\t{{\"target\":\"{to}\"}}\t-\t-\n");
    let to_outside = outside.path().display().to_string();
    let pipe = |name: &str| format!("{name}\tfifo\t0\t-\t{{\"mode\":\"644\"}}\t-\t-\n");
    for (name, list) in [
        ("up", folder("../evil")),
        ("far up", folder(&climb)),
        ("up within", folder("a/../../evil")),
        ("absolute", folder(&absolute)),
        ("absolute pipe", pipe(&absolute)),
        ("an empty part", folder("a//b")),
        ("itself", folder(".")),
        ("a NUL", folder("a%00b")),
        ("below a link", link("a", &to_outside) + &folder("a/evil")),
        ("below a link, the other way round", folder("a/evil") + &link("a", &to_outside)),
        ("a pipe below a link", link("a", &to_outside) + &pipe("a/evil")),
        (
            "a hard link to the outside",
            format!("a\thardlink\t0\t-\t{{\"first\":\"../../{name}\"}}\t-\t-\n", name = "etc/passwd"),
        ),
        ("a device without a number", "a\tblock\t0\t-\t{}\t-\t-\n".to_owned()),
        ("no entry", "what\tis this\n".to_owned()),
        ("no end", folder("a").trim_end().to_owned()),
    ] {
        let inner = tempfile::tempdir_in(outside.path()).unwrap();
        let to = inner.path().join("to");
        let loaded = load_list(&list, &to).await;
        assert!(loaded.is_err(), "{name}: {loaded:?}");
        let around: Vec<_> = std::fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(around, [inner.path()], "{name}");
        assert!(std::fs::read_dir(inner.path()).unwrap().count() <= 1, "{name}");
    }
}

async fn load_list(list: &str, to: &Path) -> Result<LoadReport, SourceError> {
    let parts = [("list".to_owned(), list.as_bytes().to_vec()), ("entries".to_owned(), vec![])];
    let store: Arc<dyn PartStore> = Arc::new(MemoryStore { parts: parts.into(), damaged: None });
    let record: SourceRecord = serde_json::from_value(serde_json::json!({
        "kind": "files", "summary": "files", "version": "", "instants": [], "gaps": [], "inventories": [], "groups": [],
        "details": { "roots": [""], "paths": [], "exclude": [], "entries": 1, "bytes": 0,
                     "owners": { "users": [], "groups": [], "devices": false } },
    }))
    .unwrap();
    let request = LoadRequest {
        place: Place::of_folder(to),
        only: vec![],
        overwrite: vec![],
        programs: vec![],
        scratch: false,
        source: None,
        sample: None,
        dry_run: false,
    };
    let context = Context {
        job: "job".to_owned(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes: 2,
        work: std::env::temp_dir(),
        keep: std::env::temp_dir().join("no-folder"),
    };
    registry::kind("files").unwrap().load(&context, &record, store, &request).await
}
