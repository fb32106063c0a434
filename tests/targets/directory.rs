//! What a folder owes beyond the conformance suite: full disks, rights, disks that go away, and kills.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat::system::process::{Program, StdinKind};
use lifeboat::targets::directory::DirectoryTarget;
use lifeboat::targets::{Target, TargetError};
use sha2::{Digest, Sha256};

use super::{MIB, assert_holds, files_below, pack, packed, run_one_test};

/// Set in a child that this test binary starts of itself: the folder that it works on.
const CHILD_FOLDER: &str = "LIFEBOAT_TEST_CHILD_FOLDER";
const CHILD_LIMIT: Duration = Duration::from_mins(1);

#[expect(clippy::disallowed_methods, reason = "a test tells its child by the environment what to do")]
fn child_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD_FOLDER).map(PathBuf::from)
}

/// This binary, running one test; the test sees `folder` through [`child_folder`].
fn child(script: &str, test: &str, folder: &Path) -> Program {
    let this = std::env::current_exe().unwrap();
    Program::new("sh")
        .args(["-ec", script, "sh"])
        .arg(folder)
        .arg(this)
        .args(["--exact", &format!("targets::directory_only::{test}"), "--nocapture"])
        .env(CHILD_FOLDER, folder.to_string_lossy())
}

/// What a script does to become, in mount and user namespaces of its own, root over a file system of its own.
fn in_private_mounts(mount: &str) -> String {
    let user = if rustix::process::geteuid().is_root() { "" } else { "--user --map-root-user" };
    format!("exec unshare --mount {user} sh -ec '{mount} && folder=$1 && shift && exec \"$@\"' sh \"$@\"")
}

async fn may_mount() -> bool {
    let script = in_private_mounts("mount -t tmpfs -o size=1m tmpfs \"$1\"");
    let folder = tempfile::tempdir().unwrap();
    Program::new("sh").args(["-ec", &script, "sh"]).arg(folder.path()).arg("true").run(CHILD_LIMIT).await.is_ok()
}

async fn assert_full(folder: &Path) {
    let target = DirectoryTarget::new(folder);
    let small = pack(100);
    target.put(&small).await.unwrap();
    let error = target.put(&pack(4 * MIB)).await.unwrap_err();
    assert!(matches!(error, TargetError::Full { .. }), "{error:?}");
    assert_eq!(files_below(folder).len(), 1, "{:?}", files_below(folder));
    let more = pack(200);
    target.put(&more).await.unwrap();
    assert_holds(&target, &small).await;
    assert_holds(&target, &more).await;
}

#[tokio::test]
async fn a_full_disk_is_reported_as_full_and_keeps_what_it_holds() {
    let test = "a_full_disk_is_reported_as_full_and_keeps_what_it_holds";
    if let Some(folder) = child_folder() {
        return assert_full(&folder).await;
    }
    // A limit on the size of files ends a write midway like a full disk does, and needs no right.
    let folder = tempfile::tempdir().unwrap();
    let limited = "shift; trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
    run_one_test(child(limited, test, folder.path())).await;
    if may_mount().await {
        let folder = tempfile::tempdir().unwrap();
        let tiny = in_private_mounts("mount -t tmpfs -o size=1m tmpfs \"$1\"");
        run_one_test(child(&tiny, test, folder.path())).await;
    }
}

async fn assert_denied(folder: &Path) {
    let target = DirectoryTarget::new(folder);
    for error in [target.put(&pack(100)).await.unwrap_err(), target.probe().await.unwrap_err()] {
        assert!(matches!(error, TargetError::Denied { .. }), "{error:?}");
    }
    target.list("").await.unwrap();
}

#[tokio::test]
async fn a_read_only_folder_is_reported_as_denied() {
    let test = "a_read_only_folder_is_reported_as_denied";
    if let Some(folder) = child_folder() {
        return assert_denied(&folder).await;
    }
    // Nobody, not even root, can create a file there.
    assert_denied(Path::new("/sys/kernel")).await;
    if may_mount().await {
        let folder = tempfile::tempdir().unwrap();
        let read_only = in_private_mounts("mount -t tmpfs -o ro,size=1m tmpfs \"$1\"");
        run_one_test(child(&read_only, test, folder.path())).await;
    }
}

#[tokio::test]
async fn a_missing_folder_is_unreachable_and_only_initialising_creates_it() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("mnt/copy");
    let target = DirectoryTarget::new(&folder);
    let object = pack(100);
    let errors = [
        target.put(&object).await.unwrap_err(),
        target.get(object.key(), 100).await.unwrap_err(),
        target.list("").await.unwrap_err(),
        target.delete(object.key()).await.unwrap_err(),
        target.probe().await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, TargetError::Unreachable { why, .. } if why.contains("mounted")), "{error:?}");
    }
    assert!(!parent.path().join("mnt").exists());
    target.initialise().await.unwrap();
    target.put(&object).await.unwrap();
    assert_holds(&target, &object).await;
}

#[tokio::test]
async fn a_disk_that_is_swapped_during_a_run_is_unreachable_and_gets_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("copy");
    let target = DirectoryTarget::new(&folder);
    target.initialise().await.unwrap();
    target.put(&pack(100)).await.unwrap();
    std::fs::rename(&folder, parent.path().join("unmounted")).unwrap();
    assert!(matches!(target.list("").await, Err(TargetError::Unreachable { .. })));
    std::fs::create_dir(&folder).unwrap();
    for error in [target.put(&pack(100)).await.unwrap_err(), target.list("packs/").await.unwrap_err()] {
        assert!(matches!(&error, TargetError::Unreachable { why, .. } if why.contains("another disk")), "{error:?}");
    }
    assert_eq!(files_below(&folder).len(), 0);
}

#[tokio::test]
async fn a_file_in_place_of_the_folder_is_unreachable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = DirectoryTarget::new(file.path()).put(&pack(100)).await.unwrap_err();
    assert!(error.to_string().ends_with("cannot be reached: it is not a folder"), "{error}");
}

#[tokio::test]
async fn folders_may_be_links_to_other_disks() {
    let (here, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(other.path(), here.path().join("packs")).unwrap();
    // One that leads back up must not make the listing endless.
    std::os::unix::fs::symlink(here.path(), here.path().join("snapshots")).unwrap();
    let target = DirectoryTarget::new(here.path());
    let object = pack(100);
    target.put(&object).await.unwrap();
    assert_eq!(target.list("packs/").await.unwrap().len(), 1);
    assert!(!target.list("").await.unwrap().is_empty());
    assert_eq!(files_below(other.path()).len(), 1);
}

#[tokio::test]
async fn a_killed_writer_leaves_only_whole_objects_and_the_next_one_cleans_up() {
    let test = "a_killed_writer_leaves_only_whole_objects_and_the_next_one_cleans_up";
    if let Some(folder) = child_folder() {
        let target = DirectoryTarget::new(folder);
        let mut bytes = pack(8 * MIB).bytes().to_vec();
        // Until killed; the limit only bounds a parent that died. Changing little keeps the time in the writes.
        for n in 0..500_u16 {
            bytes[30..32].copy_from_slice(&n.to_le_bytes());
            target.put(&packed(bytes.clone())).await.unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut kills_midway = 0;
    for round in 0..5_u64 {
        let stored = files_below(folder.path()).len();
        let writer = child("shift; exec \"$@\"", test, folder.path()).start(StdinKind::Null).unwrap();
        // Its first object is in place, and the next one is being written.
        let is_writing = async {
            while files_below(folder.path()).len() < stored + 2 || !has_part(folder.path()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(CHILD_LIMIT, is_writing).await.unwrap();
        tokio::time::sleep(Duration::from_millis(round)).await;
        // Kills the whole group.
        drop(writer);
        tokio::time::sleep(Duration::from_millis(20)).await;
        kills_midway += usize::from(has_part(folder.path()));
    }
    let target = DirectoryTarget::new(folder.path());
    let listed = target.list("").await.unwrap();
    assert!(listed.len() >= 5, "{} objects", listed.len());
    for one in listed {
        let bytes = target.get(&one.key, one.size).await.unwrap();
        assert!(one.key.as_str().contains(&hex::encode(Sha256::digest(&bytes))), "{} is not whole", one.key);
    }
    assert!(kills_midway > 0, "no kill hit a write, so that nothing was shown");
    target.put(&pack(100)).await.unwrap();
    assert!(!has_part(folder.path()));
}

fn has_part(folder: &Path) -> bool {
    files_below(folder).keys().any(|path| path.file_name().unwrap().to_string_lossy().starts_with(".part-"))
}
