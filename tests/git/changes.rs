//! What is changed in a restored repository is found and named.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use lifeboat::domain::Verdict;

use super::{Site, fill, git, large_in, put_large, run};
use crate::support::loaded::Loaded;
use crate::support::server::plain;

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
