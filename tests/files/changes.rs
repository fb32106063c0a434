//! What is changed in a restored folder is found and named.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lifeboat::domain::Verdict;
use rustix::fs::XattrFlags;

use super::Site;
use crate::support::loaded::Loaded;
use crate::support::server::plain;
use crate::support::tree;

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
