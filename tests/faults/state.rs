//! What this machine keeps is damaged or lost: the catalog, the chunk cache, the writer, the identity. Nothing of it is needed
//! to get a backup back but the identity.

use std::path::PathBuf;

use super::{SMALL, bulk, recovers, server_with};
use crate::support::installation::{Installation, contents};

#[test]
fn a_damaged_catalog_is_set_aside_and_a_lost_one_started_anew() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    boat.run(&["backup", "now"]).expect(0);
    boat.run(&["backup", "now"]).expect(0);
    let file = boat.state().join("catalog.sqlite");
    let snapshots = boat.snapshots();

    let without_its_journal = || {
        for suffix in ["-wal", "-shm"] {
            let _there_is_not_always_one = std::fs::remove_file(format!("{}{suffix}", file.display()));
        }
    };
    without_its_journal();
    std::fs::write(&file, "this is no database, and long enough to be taken for one".repeat(100)).unwrap();
    let ended = boat.run(&["backup", "now"]).expect(0).tells(&["damaged", "set aside", "catalog.sqlite.damaged"]);
    assert!(ended.stderr.contains("history starts anew"));
    assert!(boat.state().join("catalog.sqlite.damaged").exists());
    assert_eq!(boat.snapshots()[..2], snapshots[..]);

    without_its_journal();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(boat.snapshots()[..2], snapshots[..], "`snapshots` needs the catalog");
    recovers(&boat, &["one", "two"]);
    // The chain went on: no number twice, none left out.
    let names: Vec<_> = boat.roots("one").iter().map(|root| root.file_name().unwrap().to_owned()).collect();
    let numbers: Vec<u64> = names.iter().map(|name| name.to_str().unwrap()[..10].parse().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let rebuilt = boat.run(&["catalog", "rebuild", "--json"]).expect(0);
    assert_eq!(rebuilt.json().pop().unwrap()["targets"], 2);
    boat.run(&["status"]).expect(0);
}

/// Bytes below `packs/` of a target.
fn stored(boat: &Installation) -> usize {
    contents(&boat.target("one").join("packs")).values().map(Vec::len).sum()
}

#[test]
fn a_damaged_or_lost_chunk_cache_costs_neither_a_snapshot_nor_deduplication() {
    let server = server_with(&format!("{SMALL}{}", bulk(3)));
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now"]).expect(0);
    let first = stored(&boat);
    let cache = || -> PathBuf {
        let all = contents(&boat.state().join("chunks"));
        all.into_keys().find(|path| path.ends_with(".redb")).expect("a chunk cache").into()
    };
    std::fs::write(cache(), "no database".repeat(1000)).unwrap();
    boat.run(&["backup", "now"]).expect(0);
    std::fs::remove_dir_all(boat.state().join("chunks")).unwrap();
    boat.run(&["backup", "now"]).expect(0);
    let bytes = std::fs::read(cache()).unwrap();
    std::fs::write(cache(), &bytes[..bytes.len() / 2]).unwrap();
    boat.run(&["backup", "now"]).expect(0);
    // A page in the middle is garbage.
    let mut bytes = std::fs::read(cache()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(cache(), bytes).unwrap();
    boat.run(&["backup", "now"]).expect(0);
    let grown = stored(&boat) - first;
    assert!(grown * 10 < first, "{grown} bytes were stored again, of {first}");
    recovers(&boat, &["one"]);
}

#[test]
fn without_its_writer_an_installation_starts_a_new_one_and_the_old_snapshots_come_back_by_trusting_it() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now"]).expect(0);
    let (old, _) = boat.snapshots().pop().unwrap();
    let public = |boat: &Installation| -> Vec<String> {
        let keys = contents(&boat.target("one").join("writers")).into_values();
        keys.filter(|key| !key.is_empty())
            .map(|key| String::from_utf8(key).unwrap().lines().nth(1).unwrap().to_owned())
            .collect()
    };
    let key = public(&boat).pop().unwrap();
    std::fs::remove_file(boat.state().join("writer.json")).unwrap();

    // With no key pinned at all, the repository's own are taken, and that is said.
    let out = boat.fresh();
    let ended = boat.run(&["restore", "app", "--to", out.to_str().unwrap()]).expect(0);
    ended.tells(&["no writer's key is pinned", "keys.trusted_writers"]);

    // A new writer pins itself; what the old one signed is no longer taken, and the warning says what to do.
    boat.run(&["backup", "now"]).expect(0);
    assert_eq!(public(&boat).len(), 2);
    let out = boat.fresh();
    let restore = ["restore", &format!("app@{old}"), "--to", out.to_str().unwrap()];
    let refused =
        boat.run(&restore).refuses(10, &[&old]).tells(&["keys.trusted_writers", "not signed by a trusted writer"]);
    assert!(!out.exists() || contents(&out).is_empty(), "{}", refused.stderr);

    let file = boat.path("lifeboat.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[keys]", &format!("[keys]\ntrusted_writers = [{key:?}]"))).unwrap();
    boat.run(&restore).expect(0);
    assert_eq!(boat.snapshots().len(), 2);
    recovers(&boat, &["one"]);
}

#[test]
fn a_damaged_writer_is_named_with_what_to_do() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now"]).expect(0);
    std::fs::write(boat.state().join("writer.json"), "{").unwrap();
    boat.run(&["backup", "now"]).refuses(1, &["writer.json", "move it away"]);
    std::fs::remove_file(boat.state().join("writer.json")).unwrap();
    boat.run(&["backup", "now"]).expect(0);
}

#[test]
fn a_wrong_or_missing_identity_ends_with_its_own_status_and_restores_nothing() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    boat.run(&["backup", "now"]).expect(0);
    let file = boat.path("keys/recovery.identity.txt");
    let right = std::fs::read_to_string(&file).unwrap();
    let (other, out) = (boat.root().join("other.txt"), boat.fresh());
    boat.run(&["keys", "new", "--out", other.to_str().unwrap()]).expect(0);
    let wrong = std::fs::read_to_string(&other).unwrap();
    let restore = ["restore", "app", "--to", out.to_str().unwrap()];

    std::fs::write(&file, &wrong).unwrap();
    for arguments in [&restore[..], &["restore-test"]] {
        let ended = boat.run(arguments).refuses(12, &["keys.identity"]);
        assert!(!ended.all().contains("AGE-SECRET-KEY"), "a key was shown");
    }
    std::fs::write(&file, "AGE-SECRET-KEY-1MISTYPED\n").unwrap();
    let ended = boat.run(&restore).refuses(12, &["keys.identity"]);
    assert!(!ended.all().contains("MISTYPED"), "a key was shown");
    std::fs::remove_file(&file).unwrap();
    for arguments in [&restore[..], &["restore-test"]] {
        boat.run(arguments).expect(12).tells(&["identity"]);
    }
    // A host that only writes needs none.
    boat.run(&["backup", "now"]).expect(0);
    assert!(!out.exists() || contents(&out).is_empty());
    boat.assert_sound(&["one", "two"]);

    let toml = boat.path("lifeboat.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let without: Vec<_> = text.lines().filter(|line| !line.starts_with("identity")).collect();
    std::fs::write(&toml, without.join("\n")).unwrap();
    boat.run(&restore).refuses(12, &["keys.identity"]);
    std::fs::write(&toml, text).unwrap();
    std::fs::write(&file, right).unwrap();
    recovers(&boat, &["one", "two"]);
}
