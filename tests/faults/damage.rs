//! A repository object is bent, cut, deleted or swapped: nothing wrong is ever handed out, and the other target still serves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{SMALL, bulk, server_with};
use crate::support::installation::{Installation, Outcome, contents};

/// Two snapshots on targets `one` and `two`, with a repository that has nothing to do with them, to swap objects with.
struct Repository {
    boat: Installation,
    foreign: Installation,
    newest: String,
    /// The newest as plain files, by path below the folder.
    whole: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    fn make() -> Self {
        let server = server_with(&format!("{SMALL}{}", bulk(1)));
        let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
        boat.run(&["backup", "now"]).expect(0);
        server.psql(
            "app",
            "update account set owner = 'another'; insert into bulk select -i, text from bulk where i < 90",
        );
        boat.run(&["backup", "now"]).expect(0);
        let foreign = Installation::by_init_with(&server, "app", &["one"]);
        foreign.run(&["backup", "now"]).expect(0);
        let out = boat.fresh();
        boat.run(&["restore", "app", "--from", "two", "--to", out.to_str().unwrap()]).expect(0);
        let newest = boat.snapshots().pop().unwrap().0;
        let whole = relative(&out);
        assert!(whole.keys().any(|path| path.contains("/table/")), "{:?}", whole.keys());
        Self { boat, foreign, newest, whole }
    }

    /// The object of each kind that the newest snapshot at target `one` needs, and one of the same kind that it does not.
    fn objects(&self) -> Vec<(&'static str, PathBuf, PathBuf)> {
        let one = self.boat.target("one");
        let roots = self.boat.roots("one");
        let (old, new) = (&roots[0], &roots[1]);
        let of = |root: &PathBuf, prefix: &str| -> Vec<PathBuf> {
            let text = std::fs::read_to_string(root).unwrap();
            let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split("  ").nth(1));
            names.filter(|name| name.starts_with(prefix)).map(|name| one.join(name)).collect()
        };
        // What only the newest needs.
        let last = |prefix: &str| {
            let before = of(old, prefix);
            let new = of(new, prefix).into_iter().find(|path| !before.contains(path)).unwrap();
            (new, before[0].clone())
        };
        let foreign_key = |folder: &str| {
            contents(&self.foreign.target("one").join(folder))
                .into_keys()
                .find(|path| !path.ends_with('/'))
                .unwrap()
                .into()
        };
        let mut objects = vec![];
        for (kind, prefix) in [("pack", "packs/"), ("recipe", "recipes/"), ("index", "index/")] {
            let (new, old) = last(prefix);
            objects.push((kind, new, old));
        }
        objects.push(("root", new.clone(), old.clone()));
        let signature = |root: &PathBuf| root.with_extension("root.minisig");
        objects.push(("signature", signature(new), signature(old)));
        objects.push(("key", of(new, "keys/")[0].clone(), foreign_key("keys")));
        objects.push(("info", one.join("lifeboat.json"), self.foreign.target("one").join("lifeboat.json")));
        objects
    }

    fn restore(&self, arguments: &[&str]) -> (Outcome, BTreeMap<String, Vec<u8>>) {
        let out = self.boat.fresh();
        let mut all = vec!["restore"];
        all.extend(arguments);
        all.extend(["--to", out.to_str().unwrap()]);
        let ended = self.boat.run(&all);
        let found = relative(&out);
        if out.exists() {
            std::fs::remove_dir_all(&out).unwrap();
        }
        (ended, found)
    }

    /// Whatever happened, what was handed out is what was backed up.
    #[track_caller]
    fn assert_nothing_wrong(&self, what: &str, found: &BTreeMap<String, Vec<u8>>) {
        for (path, bytes) in found {
            assert_eq!(self.whole.get(path), Some(bytes), "{what}: `{path}` was handed out wrong");
        }
    }
}

/// Files by their path below `folder`.
fn relative(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let prefix = format!("{}/", folder.display());
    let found = contents(folder).into_iter().filter(|(path, _)| !path.ends_with('/'));
    found.map(|(path, bytes)| (path.strip_prefix(&prefix).unwrap().to_owned(), bytes)).collect()
}

const DAMAGES: [&str; 4] = ["a flipped bit", "a truncation", "a deletion", "a swap"];

fn damage(how: &str, object: &Path, other: &Path) {
    let bytes = std::fs::read(object).unwrap();
    match how {
        "a flipped bit" => {
            let mut bent = bytes.clone();
            bent[bytes.len() / 2] ^= 4;
            std::fs::write(object, bent).unwrap();
        }
        "a truncation" => std::fs::write(object, &bytes[..bytes.len() / 2]).unwrap(),
        "a deletion" => std::fs::remove_file(object).unwrap(),
        _ => std::fs::write(object, std::fs::read(other).unwrap()).unwrap(),
    }
}

#[test]
fn no_damage_to_any_object_ever_hands_out_wrong_bytes_and_the_other_target_serves() {
    let repository = Repository::make();
    let newest = format!("app@{}", repository.newest);
    for (kind, object, other) in repository.objects() {
        for how in DAMAGES {
            let what = format!("{how} of the {kind}");
            let before = std::fs::read(&object).unwrap();
            damage(how, &object, &other);

            let (ended, found) = repository.restore(&[&newest, "--from", "one"]);
            repository.assert_nothing_wrong(&what, &found);
            let needed = !matches!(kind, "index" | "info");
            if needed {
                assert_ne!(ended.code, 0, "{what} was not noticed");
                let says = ["damaged", "missing", "not signed", "root"];
                assert!(says.iter().any(|word| ended.stderr.contains(word)), "{what}: {}", ended.stderr);
                assert!(!found.contains_key("README.md"), "{what}: the folder looks finished");
            } else if ended.code == 0 {
                assert_eq!(found, repository.whole, "{what}");
            }
            let (ended, found) = repository.restore(&[&newest, "--from", "two"]);
            assert_eq!((ended.code, &found), (0, &repository.whole), "{what}: {}", ended.stderr);
            // Without `--from`: the newest, whole, whichever target it comes from.
            let (ended, found) = repository.restore(&["app"]);
            assert_eq!(ended.code, 0, "{what}: {}", ended.stderr);
            assert_eq!(found, repository.whole, "{what}");

            let root = &repository.boat.roots("one");
            if !matches!(kind, "root" | "signature" | "info") {
                let checked = repository.boat.sha256sum("one", root.last().unwrap());
                assert_ne!(checked.code, 0, "{what}: `sha256sum -c` finds it too");
            }
            std::fs::write(&object, before).unwrap();
        }
    }
    repository.boat.assert_sound(&["one", "two"]);
}

#[test]
fn a_restore_test_of_a_damaged_target_fails_and_names_the_damage() {
    let repository = Repository::make();
    for (kind, object, other) in repository.objects() {
        let how = match kind {
            "pack" => "a flipped bit",
            "recipe" => "a truncation",
            "root" => "a deletion",
            "key" | "signature" => "a swap",
            _ => continue,
        };
        let before = std::fs::read(&object).unwrap();
        damage(how, &object, &other);
        let ended = repository.boat.run(&["restore-test", "--from", "one"]).refuses(4, &["restore test failed"]);
        let object_name = object.file_name().unwrap().to_str().unwrap();
        let named = ended.all().contains(object_name) || ended.all().contains(&repository.newest);
        assert!(named, "{how} of the {kind}: {}", ended.all());
        std::fs::write(&object, before).unwrap();
    }
    repository.boat.run(&["restore-test", "--from", "each"]).expect(0);
    repository.boat.assert_sound(&["one", "two"]);
}

#[test]
fn a_backup_onto_a_damaged_copy_never_commits_what_cannot_be_restored() {
    let server = server_with(&format!("{SMALL}{}", bulk(1)));
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    boat.run(&["backup", "now"]).expect(0);
    // A pack is gone at one target: the next snapshot still needs it, and gets it there again.
    let gone = contents(&boat.target("one").join("packs")).into_keys().find(|path| path.ends_with(".age")).unwrap();
    std::fs::remove_file(&gone).unwrap();
    boat.run(&["backup", "now"]).expect(0);
    let last = boat.roots("one").pop().unwrap();
    assert_eq!(boat.sha256sum("one", &last).code, 0, "the new snapshot lacks a pack");
    // The pack is cut: its size shows it.
    let bytes = std::fs::read(&gone).unwrap();
    std::fs::write(&gone, &bytes[..bytes.len() - 1]).unwrap();
    boat.run(&["backup", "now"]).expect(0);
    let last = boat.roots("one").pop().unwrap();
    assert_eq!(boat.sha256sum("one", &last).code, 0, "the new snapshot has a cut pack");
    // `lifeboat.json` is garbage at one of two: the other goes on.
    std::fs::write(boat.target("one").join("lifeboat.json"), "{").unwrap();
    boat.whole_job("app", &server.url("app"), "", "quorum = 1");
    boat.run(&["backup", "now"]).expect(3).tells(&["`one`", "lifeboat.json"]);
    boat.run(&["restore-test", "--from", "two"]).expect(0);
    boat.assert_sound(&["two"]);
}

#[test]
fn the_newest_snapshot_is_restored_although_the_first_target_lags() {
    let server = server_with(SMALL);
    let boat = Installation::by_init(&["one", "two"]);
    boat.whole_job("app", &server.url("app"), "", "quorum = 1");
    boat.run(&["backup", "now"]).expect(0);
    let (one, away) = (boat.target("one"), boat.root().join("away"));
    std::fs::rename(&one, &away).unwrap();
    server.psql("app", "insert into account values (1000, 'late')");
    boat.run(&["backup", "now"]).expect(3);
    std::fs::rename(&away, &one).unwrap();
    let out = boat.fresh();
    boat.run(&["restore", "app", "--to", out.to_str().unwrap()]).expect(0);
    let late = contents(&out).into_values().any(|bytes| String::from_utf8_lossy(&bytes).contains("1000\tlate"));
    assert!(late, "an older snapshot was restored as the latest");
}
