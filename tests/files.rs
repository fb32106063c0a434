//! Folders: what is backed up, what comes back, what a comparison finds, and what a list can never do.

mod bent;
mod changes;
mod restores;

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::installation::Installation;
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
