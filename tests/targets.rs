//! The conformance suite that every kind of target passes, and what each kind owes beyond it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "targets/directory.rs"]
mod directory_only;
#[path = "targets/s3.rs"]
mod s3_only;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use lifeboat::domain::{ObjectKey, SealedObject};
use lifeboat::system::process::Program;
use lifeboat::targets::directory::DirectoryTarget;
use lifeboat::targets::s3::S3Target;
use lifeboat::targets::{Target, TargetError};
use sha2::{Digest, Sha256};

use crate::support::s3::S3Server;

const MIB: usize = 1 << 20;

/// A target, ready for its first object, with a look behind it.
struct Fixture {
    target: Arc<dyn Target>,
    /// The folder in which its objects lie as plain files.
    files: PathBuf,
    _alive: Box<dyn Any>,
}

async fn directory() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("copy");
    let target = DirectoryTarget::new(&files);
    target.initialise().await.unwrap();
    Fixture { target: Arc::new(target), files, _alive: Box::new(folder) }
}

async fn s3() -> Fixture {
    let server = S3Server::start().await;
    let target = S3Target::new(&server.settings("team/prod")).unwrap();
    target.initialise().await.unwrap();
    Fixture { target: Arc::new(target), files: server.bucket_folder().join("team/prod"), _alive: Box::new(server) }
}

/// Runs each test once for each kind of target.
macro_rules! conformance {
    ($($test:ident,)*) => {
        mod directory {
            $(#[tokio::test] async fn $test() { super::$test(super::directory().await).await; })*
        }
        mod s3 {
            $(#[tokio::test] async fn $test() { super::$test(super::s3().await).await; })*
        }
    };
}

conformance! {
    an_object_reads_back_as_it_was_written,
    objects_of_no_bytes_and_of_forty_mebibytes_read_back,
    writing_again_replaces_the_whole_object,
    writing_the_same_key_from_many_sides_leaves_one_whole_object,
    an_object_larger_than_expected_is_refused_unread,
    an_object_that_is_not_there_is_named,
    a_listing_shows_every_object_below_its_prefix_beyond_one_page,
    a_listing_of_nothing_is_empty,
    a_deleted_object_is_gone_and_deleting_again_is_harmless,
    foreign_and_half_written_files_are_not_shown,
    a_probe_leaves_nothing_behind,
    initialising_again_loses_nothing,
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn object(name: &str, bytes: impl Into<Bytes>) -> SealedObject {
    SealedObject::new(key(name), bytes.into()).unwrap()
}

/// A pack of `size` random bytes.
fn pack(size: usize) -> SealedObject {
    let mut bytes = b"age-encryption.org/v1\n".to_vec();
    bytes.resize(size.max(bytes.len()), 0);
    // Twenty times as fast as the random generator is without optimisation.
    blake3::Hasher::new().update(&rand::random::<[u8; 32]>()).finalize_xof().fill(&mut bytes[22..]);
    packed(bytes)
}

/// The pack under the name that its content gives it.
fn packed(bytes: Vec<u8>) -> SealedObject {
    let name = hex::encode(Sha256::digest(&bytes));
    object(&format!("packs/{}/{name}.age", &name[..2]), bytes)
}

/// Runs this binary as a child that shall run one test: a name that matches none would pass in silence.
async fn run_one_test(child: Program) {
    let output = child.run(Duration::from_mins(1)).await.unwrap();
    let output = String::from_utf8_lossy(&output);
    assert!(output.contains("test result: ok. 1 passed"), "{output}");
}

async fn assert_holds(target: &dyn Target, object: &SealedObject) {
    let found = target.get(object.key(), object.bytes().len() as u64).await.unwrap();
    assert!(found == *object.bytes(), "{} reads back otherwise ({} bytes)", object.key(), found.len());
}

/// Every plain file below `folder` with its size; 0 for one that vanishes while it is looked at.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.insert(entry.path(), entry.metadata().map_or(0, |found| found.len()));
        }
    }
    found
}

async fn an_object_reads_back_as_it_was_written(at: Fixture) {
    for object in [object("lifeboat.json", "{}"), object("snapshots/00ff/1-a.b_c.root", "x"), pack(70_000)] {
        at.target.put(&object).await.unwrap();
        assert_holds(&*at.target, &object).await;
    }
}

async fn objects_of_no_bytes_and_of_forty_mebibytes_read_back(at: Fixture) {
    for object in [object("lists/empty.sums", ""), pack(40 * MIB)] {
        at.target.put(&object).await.unwrap();
        assert_holds(&*at.target, &object).await;
        let listed = at.target.list(object.key().as_str()).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.size).collect::<Vec<_>>(), [object.bytes().len() as u64]);
    }
}

async fn writing_again_replaces_the_whole_object(at: Fixture) {
    let texts = ["a long first version", "a long first version", "short"];
    for text in texts {
        let object = object("RESTORE.md", text);
        at.target.put(&object).await.unwrap();
        assert_holds(&*at.target, &object).await;
    }
    assert_eq!(at.target.list("").await.unwrap().len(), 1);
}

async fn writing_the_same_key_from_many_sides_leaves_one_whole_object(at: Fixture) {
    let versions: Vec<_> = (0..8_u8).map(|n| object("RESTORE.md", vec![n; MIB + usize::from(n)])).collect();
    let results = join_all(versions.iter().map(|version| at.target.put(version))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let found = at.target.get(&key("RESTORE.md"), 2 << 20).await.unwrap();
    assert!(versions.iter().any(|version| *version.bytes() == found), "a mixture of {} bytes", found.len());
    assert_eq!(at.target.list("").await.unwrap().len(), 1);
}

async fn an_object_larger_than_expected_is_refused_unread(at: Fixture) {
    let object = pack(5000);
    at.target.put(&object).await.unwrap();
    let error = at.target.get(object.key(), 4999).await.unwrap_err();
    assert!(matches!(error, TargetError::Oversized { size_max: 4999, .. }), "{error}");
    assert_holds(&*at.target, &object).await;
}

async fn an_object_that_is_not_there_is_named(at: Fixture) {
    for absent in ["packs/ab/abcd.age", "lifeboat.json"] {
        let error = at.target.get(&key(absent), 100).await.unwrap_err();
        assert!(matches!(error, TargetError::NotFound { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("object `{absent}` is not at {}", at.target.place()));
    }
}

async fn a_listing_shows_every_object_below_its_prefix_beyond_one_page(at: Fixture) {
    let mut expected = BTreeMap::new();
    let objects: Vec<_> = (0..1100)
        .map(|n| object(&format!("lists/{:02x}/{n:04}.sums", n % 7), vec![b'x'; n]))
        .chain([object("lifeboat.json", "{}"), object("snapshots/aa/1-b.root", "r")])
        .collect();
    for batch in objects.chunks(50) {
        for stored in join_all(batch.iter().map(|object| at.target.put(object))).await {
            stored.unwrap();
        }
    }
    for object in &objects {
        expected.insert(object.key().to_string(), object.bytes().len() as u64);
    }
    for prefix in ["", "lists/", "lists/03/", "lists/03/01", "life", "snapshots/", "lists/03", "none/"] {
        let listed = at.target.list(prefix).await.unwrap();
        let shown: BTreeMap<_, _> = listed.iter().map(|one| (one.key.to_string(), one.size)).collect();
        assert_eq!(shown.len(), listed.len(), "an object is shown twice under {prefix:?}");
        let wanted: BTreeMap<_, _> = expected
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, size)| (key.clone(), *size))
            .collect();
        assert_eq!(shown, wanted, "under {prefix:?}");
        assert!(listed.iter().all(|one| one.modified.is_some()), "under {prefix:?}");
    }
}

async fn a_listing_of_nothing_is_empty(at: Fixture) {
    for prefix in ["", "packs/", "packs/ab/", "../", "/etc/", "packs/../../"] {
        assert_eq!(at.target.list(prefix).await.unwrap(), [], "{prefix:?}");
    }
}

async fn a_deleted_object_is_gone_and_deleting_again_is_harmless(at: Fixture) {
    let (stays, goes) = (pack(100), pack(200));
    at.target.put(&stays).await.unwrap();
    at.target.put(&goes).await.unwrap();
    for _ in 0..2 {
        at.target.delete(goes.key()).await.unwrap();
        let listed = at.target.list("packs/").await.unwrap();
        assert_eq!(listed.iter().map(|one| &one.key).collect::<Vec<_>>(), [stays.key()]);
    }
    assert!(matches!(at.target.get(goes.key(), 200).await, Err(TargetError::NotFound { .. })));
}

async fn foreign_and_half_written_files_are_not_shown(at: Fixture) {
    let object = pack(100);
    at.target.put(&object).await.unwrap();
    let beside = at.files.join(object.key().as_str()).parent().unwrap().to_owned();
    std::fs::write(beside.join(".part-0badc0de-1-00"), b"half").unwrap();
    std::fs::write(at.files.join("holiday photo.jpg"), b"foreign").unwrap();
    std::fs::create_dir(at.files.join(".snapshot")).unwrap();
    std::fs::write(at.files.join(".snapshot/lifeboat.json"), b"foreign").unwrap();
    let listed = at.target.list("").await.unwrap();
    assert_eq!(listed.iter().map(|one| &one.key).collect::<Vec<_>>(), [object.key()]);
}

async fn a_probe_leaves_nothing_behind(at: Fixture) {
    at.target.put(&pack(100)).await.unwrap();
    let before = files_below(&at.files);
    assert_eq!(before.len(), 1);
    at.target.probe().await.unwrap();
    assert_eq!(files_below(&at.files), before);
}

async fn initialising_again_loses_nothing(at: Fixture) {
    let object = pack(100);
    at.target.put(&object).await.unwrap();
    at.target.initialise().await.unwrap();
    assert_holds(&*at.target, &object).await;
}
