//! The golden repositories: what an older version wrote is restored by today's code and by stock tools, and today's writer
//! still writes the same format. `tests/golden/README.md` says how they were made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lifeboat::domain::Secret;
use lifeboat::repository::crypt::{self, Identities};
use lifeboat::repository::info::{FORMAT, RepositoryInfo};
use lifeboat::repository::recipe::Recipe;
use lifeboat::repository::root::Root;
use lifeboat::repository::{index, layout, recipe, writer};

use crate::stock_tools::follow;
use crate::support::installation::{Installation, files};
use crate::support::postgres::TestServer;
use crate::support::server::{output, plain};

const KEY: &str = "TEST-KEY-protects-nothing.txt";
const ID_OF_A_WRITER: usize = 16;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(golden(file)).unwrap()
}

fn key_line() -> String {
    text(KEY).lines().last().unwrap().to_owned()
}

fn recipient() -> String {
    key_line().parse::<age::x25519::Identity>().unwrap().to_public().to_string()
}

/// A new machine with nothing but the configuration, the identity, the writer's key and a copy of the golden repository.
fn new_machine() -> Installation {
    let installation = Installation::with_identity(&key_line(), &recipient());
    installation.add_target("golden");
    let trusted = format!("trusted_writers = [\"{}\"]\n", text("writer.pub").lines().last().unwrap());
    let config = installation.path("lifeboat.toml");
    let with = std::fs::read_to_string(&config).unwrap().replace("[keys]\n", &format!("[keys]\n{trusted}"));
    std::fs::write(config, with).unwrap();
    output(plain("cp".as_ref()).arg("-r").arg(golden("repository")).arg(installation.path("golden")));
    installation
}

/// `sha256sum` of every part below a folder, named as the recipe names them.
fn sums(parts: &Path) -> String {
    let names = files(parts).into_iter().filter(|name| name != "README.md");
    let line = |name: String| {
        let sum = layout::ContentName::of(&std::fs::read(parts.join(&name)).unwrap());
        format!("{}  {name}\n", sum.hex())
    };
    names.map(line).collect()
}

#[test]
fn the_golden_snapshot_restores_as_files_byte_for_byte() {
    let machine = new_machine();
    let said = machine.expect(0, &["restore", "golden@latest", "--to", "out"]);
    assert!(!said.stderr.contains("warning"), "{said:?}");
    assert_eq!(sums(&machine.path("out")), text("parts.sha256"));
    let shown = machine.snapshots();
    assert_eq!(shown.len(), 2);
    // The older one too, which shares packs with the newer.
    machine.expect(0, &["restore", &format!("golden@{}", shown[0].0), "--to", "older"]);
    assert_eq!(files(&machine.path("older")), files(&machine.path("out")));
}

#[test]
fn the_golden_snapshot_restores_into_a_server_and_is_proven() {
    let (machine, server) = (new_machine(), TestServer::start());
    machine.expect(0, &["restore", "golden", "--to", &server.url("golden")]);
    assert_eq!(server.psql("golden", &text("content.sql")), text("expected.txt").trim_end());
    // The source is gone for ever; a restore test does not ask it.
    machine.job_on("golden", "postgres://nobody@%2Fnowhere/golden", &["golden"], "");
    let said = machine.run(&["restore-test", "golden"]);
    let fits = server.major() == 15;
    assert!(said.code == 0 || (!fits && said.code == 5), "{said:?}");
    assert!(!fits || said.stdout.to_lowercase().contains("proven"), "{said:?}");
}

#[test]
fn the_golden_snapshot_restores_with_stock_tools() {
    let (machine, server) = (new_machine(), TestServer::start());
    let done = follow(&machine.path("golden"), &machine.path("identity.txt"), 8, &server);
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.stdout.ends_with(b"\nloaded\n"), "{said}");
    assert_eq!(sums(&machine.path("golden/restored/parts")), text("parts.sha256"));
    assert_eq!(server.psql("golden", &text("content.sql")), text("expected.txt").trim_end());
}

#[test]
fn the_golden_snapshot_is_refused_to_who_trusts_another_writer() {
    let machine = new_machine();
    let config = machine.path("lifeboat.toml");
    let other = writer_key(&Installation::new());
    let text = std::fs::read_to_string(&config).unwrap();
    let from = text.find("trusted_writers = [\"").unwrap() + "trusted_writers = [\"".len();
    let to = from + text[from..].find('"').unwrap();
    std::fs::write(&config, format!("{}{other}{}", &text[..from], &text[to..])).unwrap();
    let said = machine.expect(10, &["restore", "golden", "--to", "out"]);
    assert!(said.stderr.contains("not signed by a trusted writer"), "{said:?}");
    assert!(!machine.path("out").exists());
}

/// The public key of a writer that is made for this.
fn writer_key(installation: &Installation) -> String {
    writer::Writer::open_or_create(&installation.path("made"), &[recipient()]).unwrap().public
}

/// The format's own objects of a repository, opened.
struct Opened {
    info: Vec<u8>,
    /// Each with the bytes that it was read from, oldest first.
    roots: Vec<(Root, Vec<u8>)>,
    recipes: Vec<(Recipe, Vec<u8>)>,
    indexes: Vec<(index::Index, Vec<u8>)>,
}

fn open(repository: &Path, trusted: &str) -> Opened {
    let recovery = Identities::parse(&Secret::new(key_line())).unwrap();
    let read = |name: &str| std::fs::read(repository.join(name)).unwrap();
    let (mut roots, mut recipes, mut indexes) = (vec![], vec![], vec![]);
    for name in files(&repository.join("snapshots")).iter().filter(|name| name.ends_with(".root")) {
        let name = format!("snapshots/{name}");
        let signature = String::from_utf8(read(&format!("{name}.minisig"))).unwrap();
        let root = writer::verify_root(&name, &read(&name), &signature, &[trusted.to_owned()]).unwrap();
        let epoch = crypt::open_epoch(&root.epoch, &read(&format!("keys/{}.age", root.epoch)), &recovery).unwrap();
        for needed in &root.objects {
            let key = needed.key.as_str();
            let bytes = read(key);
            assert_eq!((layout::ContentName::of(&bytes), bytes.len() as u64), (needed.sum, needed.size), "{key}");
            if key.starts_with("recipes/") {
                let packed = crypt::open(key, &bytes, &epoch, 1 << 24).unwrap();
                let plain = zstd::bulk::decompress(&packed, 64 << 20).unwrap();
                recipes.push((recipe::decode(key, &plain).unwrap(), plain));
            } else if key.starts_with("index/") {
                let plain = crypt::open(key, &bytes, &epoch, 1 << 24).unwrap();
                indexes.push((index::decode(key, &plain).unwrap(), plain));
            }
        }
        roots.push((root, read(&name)));
    }
    Opened { info: read(layout::INFO), roots, recipes, indexes }
}

#[test]
fn golden_objects_that_are_read_and_written_again_are_the_same_bytes() {
    let Opened { info, roots, recipes, indexes } =
        open(&golden("repository"), text("writer.pub").lines().last().unwrap());
    assert_eq!((roots.len(), recipes.len(), indexes.len()), (2, 2, 2));
    let decoded = RepositoryInfo::decode(&info).unwrap();
    assert_eq!((decoded.format, decoded.encode()), (FORMAT, info));
    for (root, bytes) in &roots {
        assert_eq!(root.encode(), *bytes);
    }
    assert_eq!(roots[1].0.previous, Some(layout::ContentName::of(&roots[0].1)));
    for (recipe, bytes) in &recipes {
        assert_eq!(String::from_utf8(recipe::encode(recipe)).unwrap(), String::from_utf8(bytes.clone()).unwrap());
    }
    for (index, bytes) in &indexes {
        assert_eq!(index::encode(index), *bytes);
    }
}

/// A fresh repository of the same source, by today's binary.
fn written_today() -> (Installation, TestServer) {
    let (installation, server) = (Installation::with_identity(&key_line(), &recipient()), TestServer::start());
    installation.add_target("repository");
    server.create_database("golden");
    server.psql("golden", &text("source.sql"));
    installation.job_on("golden", &server.url("golden"), &["repository"], "lanes = 1\n");
    installation.expect(0, &["backup", "now"]);
    server.psql("golden", &text("change.sql"));
    installation.expect(0, &["backup", "now"]);
    (installation, server)
}

#[test]
fn todays_writer_writes_the_golden_format() {
    let (installation, server) = written_today();
    let public = files(&installation.path("repository/writers")).pop().unwrap();
    let public = std::fs::read_to_string(installation.path("repository/writers").join(public)).unwrap();
    if let Some(out) = golden_out() {
        save(&installation, &server, &public, &out);
        return;
    }
    let today = open(&installation.path("repository"), public.lines().last().unwrap());
    let golden = open(&golden("repository"), text("writer.pub").lines().last().unwrap());
    assert_eq!(kinds(&installation.path("repository")), kinds(&self::golden("repository")));
    let chunker = |info: &[u8]| RepositoryInfo::decode(info).unwrap().chunker;
    assert_eq!(chunker(&today.info), chunker(&golden.info));
    for (today, golden) in today.roots.iter().zip(&golden.roots) {
        assert_eq!(labels(&today.1), labels(&golden.1));
    }
    for (today, golden) in today.recipes.iter().zip(&golden.recipes) {
        let members = |recipe: &Recipe| paths(&serde_json::to_value(&recipe.meta).unwrap(), "");
        assert_eq!(members(&today.0), members(&golden.0));
        assert_eq!(rows(&today.0), rows(&golden.0), "the same rows have other fingerprints");
        assert_eq!(today.0.meta.guide.is_empty(), golden.0.meta.guide.is_empty());
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn golden_out() -> Option<PathBuf> {
    std::env::var_os("LIFEBOAT_GOLDEN_OUT").map(PathBuf::from)
}

/// Makes a new golden of what was just written: see `tests/golden/README.md`.
fn save(installation: &Installation, server: &TestServer, public: &str, out: &Path) {
    std::fs::create_dir_all(out).unwrap();
    output(plain("cp".as_ref()).arg("-r").arg(installation.path("repository")).arg(out));
    std::fs::write(out.join("writer.pub"), public).unwrap();
    std::fs::write(out.join("expected.txt"), server.psql("golden", &text("content.sql")) + "\n").unwrap();
    installation.expect(0, &["restore", "golden", "--to", "parts"]);
    std::fs::write(out.join("parts.sha256"), sums(&installation.path("parts"))).unwrap();
}

/// The kinds of objects, by their names with ids and sums taken out.
fn kinds(repository: &Path) -> BTreeSet<String> {
    let plain = |component: &str| {
        let is_id = |word: &str| word.len() >= 10 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let words = component.split_inclusive(['-', '.']).map(|word| {
            let bare = word.trim_end_matches(['-', '.']);
            if is_id(bare) { word.replace(bare, &format!("<{}>", bare.len())) } else { word.to_owned() }
        });
        words.collect::<String>()
    };
    let names = files(repository).into_iter();
    names
        .map(|name| {
            let inside = name.strip_prefix("packs/").map_or(name.clone(), |rest| format!("packs/<2>/{}", &rest[3..]));
            inside.split('/').map(plain).collect::<Vec<_>>().join("/")
        })
        .collect()
}

/// The words before the colon of a root's comment lines, and the kinds of what it names.
fn labels(root: &[u8]) -> BTreeSet<String> {
    let text = std::str::from_utf8(root).unwrap();
    text.lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(comment) => comment.split(": ").next().unwrap().to_owned(),
            None => line.split("  ").nth(1).unwrap().split('/').next().unwrap().to_owned(),
        })
        .collect()
}

/// Every member of a JSON value, elements of arrays under one name.
fn paths(value: &serde_json::Value, at: &str) -> BTreeSet<String> {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().flat_map(|(name, value)| paths(value, &format!("{at}.{name}"))).collect()
        }
        serde_json::Value::Array(elements) => {
            elements.iter().flat_map(|value| paths(value, &format!("{at}[]"))).collect()
        }
        _ => BTreeSet::from([at.to_owned()]),
    }
}

/// Name and fingerprint of every part that holds rows.
fn rows(recipe: &Recipe) -> Vec<(String, String, u64)> {
    let tables = recipe.parts.iter().filter(|part| part.name.as_str().contains("/table/"));
    tables.map(|part| (part.name.to_string(), hex::encode(part.fingerprint.sum), part.fingerprint.records)).collect()
}

#[test]
fn golden_repositories_stay_small_and_their_key_is_marked() {
    let bytes: u64 = files(&golden("")).iter().map(|name| std::fs::metadata(golden(name)).unwrap().len()).sum();
    assert!(bytes < 200 << 10, "{bytes} bytes");
    assert!(text(KEY).contains("A TEST KEY") && text(KEY).contains("protects nothing"));
    assert_eq!(text("writer.pub").lines().count(), 2);
    let root = files(&golden("repository/snapshots")).pop().unwrap();
    assert_eq!(root.split('/').next().unwrap().len(), ID_OF_A_WRITER);
}
