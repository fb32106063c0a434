//! Stores that do not speak S3, each a real server: what comes back, what is read again, what is refused and in which words.

mod faults;

use std::path::PathBuf;
use std::time::Duration;

use crate::support::installation::Installation;
use crate::support::outcome::Outcome;
use crate::support::sshd::program;
use crate::support::stores::{AzureShop, FolderShop, GoogleShop, SftpShop, Shop, WebdavShop};

/// A store and an installation with one job for it.
struct Site<S> {
    installation: Installation,
    shop: S,
}

impl<S: Shop> Site<S> {
    fn new(shop: S) -> Self {
        Self::with(shop, "")
    }

    /// `more` are lines of `[source]`.
    fn with(shop: S, more: &str) -> Self {
        let installation = Installation::new();
        installation.add_target("shelf");
        let site = Self { installation, shop };
        site.job(more);
        site
    }

    fn job(&self, more: &str) {
        for (name, secret) in self.shop.secrets() {
            std::fs::write(self.installation.path(name), secret).unwrap();
        }
        let table = self.shop.table();
        self.installation.write_job("job", &format!("[source]\ntype = \"objects\"\n{more}\n{table}"));
    }

    /// How many objects were read.
    fn back_up(&self) -> u64 {
        let ran = self.installation.ok(&["--json", "backup", "now"]);
        let read = ran.json().into_iter().find(|event| event["phase"] == "read").unwrap();
        let detail = read["detail"].as_str().unwrap();
        detail.split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    fn gaps(&self) -> String {
        self.installation.back_up()["gaps"].to_string()
    }

    fn restore(&self) -> PathBuf {
        let out = self.installation.fresh();
        self.installation.ok(&["restore", "job", "--to", out.to_str().unwrap()]);
        out
    }

    #[track_caller]
    fn assert_proven(&self, objects: usize) {
        let test = self.installation.restore_test();
        assert_eq!((&test["verdict"], &test["evidence"]["rows"]), (&"proven".into(), &objects.into()), "{test:#}");
        self.installation.assert_no_scratch();
    }

    fn refused(&self, words: &[&str]) -> Outcome {
        self.installation.run(&["backup", "now"]).refuses(1, words)
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..u32::try_from(bytes).unwrap()).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

/// Until a time of whole seconds tells whether a file changed.
fn settle() {
    std::thread::sleep(Duration::from_millis(3_100));
}

const ODD: [&str; 13] = [
    "a b+c%41.txt",
    "é/composed",
    "e\u{301}/decomposed",
    "quote\"'&<>",
    "100%",
    "-rf",
    "trailing dot.",
    "a.txt",
    "a/below",
    "a0",
    "deep/er/and/deeper/x",
    "?query=1&b=2#frag",
    "tilde~semi;colon:at@",
];

/// Back up, restore, prove; nothing again; then one changed, one removed, one new.
fn round_trip<S: Shop>(shop: S) -> Site<S> {
    let site = Site::new(shop);
    let large = noise(9_000_000);
    let odd: Vec<&str> = ODD.into_iter().filter(|key| site.shop.takes(key)).collect();
    for key in &odd {
        site.shop.put(key, key.as_bytes());
    }
    site.shop.put("empty", b"");
    site.shop.put("large", &large);
    for number in 0..30 {
        site.shop.put(&format!("{:02}/object {number:05}", number % 7), format!("content of {number}").as_bytes());
    }
    settle();
    let all = odd.len() + 32;
    assert_eq!(site.back_up(), all as u64);
    site.assert_proven(all);
    let out = site.restore();
    for key in &odd {
        assert_eq!(std::fs::read(out.join(key)).ok().as_deref(), Some(key.as_bytes()), "{key}");
    }
    assert!(std::fs::read(out.join("large")).unwrap() == large);
    assert!(std::fs::read(out.join("empty")).unwrap().is_empty());
    assert_eq!(site.back_up(), 0, "nothing changed");
    site.shop.put("03/object 00003", b"CONTENT OF 3");
    site.shop.put("new", b"new");
    site.shop.remove("04/object 00004");
    settle();
    assert_eq!(site.back_up(), 2);
    let out = site.restore();
    assert_eq!(std::fs::read_to_string(out.join("03/object 00003")).unwrap(), "CONTENT OF 3");
    assert_eq!(std::fs::read_to_string(out.join("new")).unwrap(), "new");
    assert!(!out.join("04/object 00004").exists() && out.join("04/object 00011").exists());
    site.assert_proven(all);
    site
}

/// The index of what was restored.
fn index<S: Shop>(site: &Site<S>) -> String {
    std::fs::read_to_string(site.restore().join(".lifeboat-objects.jsonl")).unwrap()
}

const SERVERS: [&str; 4] =
    ["LIFEBOAT_TEST_SSHD", "LIFEBOAT_TEST_RCLONE", "LIFEBOAT_TEST_AZURITE", "LIFEBOAT_TEST_GOOGLE"];

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn every_server_of_a_store_is_here_where_that_is_required() {
    let required = std::env::var_os("LIFEBOAT_REQUIRE_STORE_SERVERS").is_some_and(|value| value == "1");
    let absent: Vec<&str> = SERVERS.into_iter().filter(|server| program(server).is_none()).collect();
    assert!(absent.is_empty() || !required, "not here, so not tested: {absent:?}");
}

#[test]
fn a_folder_comes_back_as_it_was_and_only_what_changed_is_read() {
    round_trip(FolderShop::start());
}

#[test]
fn a_folder_behind_sftp_comes_back_as_it_was_and_only_what_changed_is_read() {
    let Some(shop) = SftpShop::start() else { return };
    round_trip(shop);
}

#[test]
fn a_folder_behind_webdav_comes_back_as_it_was_and_only_what_changed_is_read() {
    let Some(shop) = WebdavShop::start() else { return };
    round_trip(shop);
}

#[test]
fn a_container_of_azure_comes_back_as_it_was_and_only_what_changed_is_read() {
    let Some(shop) = AzureShop::start() else { return };
    let site = round_trip(shop);
    let index = index(&site);
    let whole = |line: &str| ["text/plain", "no-store", "\"owner\":\"someone\""].iter().all(|word| line.contains(word));
    assert!(index.lines().all(whole), "{index}");
    // The same, but listed in another way: nothing is another object for it.
    site.job("");
    let site = Site { shop: AzureShop { more: "by_folder = true", ..site.shop }, installation: site.installation };
    site.job("");
    assert_eq!(site.back_up(), 0);
}

#[test]
fn a_bucket_of_google_comes_back_as_it_was_and_only_what_changed_is_read() {
    let Some(shop) = GoogleShop::start() else { return };
    let site = round_trip(shop);
    let index = index(&site);
    let whole = |line: &str| ["text/plain", "no-store", "\"owner\":\"someone\""].iter().all(|word| line.contains(word));
    assert!(index.lines().all(whole), "{index}");
}

#[test]
fn a_shared_access_signature_lets_in_until_it_has_expired() {
    let Some(shop) = AzureShop::start() else { return };
    let site = Site::new(AzureShop { secret: ("sas", AzureShop::signature("2099-01-01T00:00:00Z")), ..shop });
    site.shop.put("object", b"content");
    assert_eq!(site.back_up(), 1);
    site.assert_proven(1);
    let expired = AzureShop::signature("2020-01-01T00:00:00Z");
    std::fs::write(site.installation.path("secret"), &expired).unwrap();
    let ran = site.refused(&["azblob://", "when they expire"]);
    assert!(!ran.all().contains(&expired), "{}", ran.all());
    assert!(!ran.all().contains(expired.split_once("sig=").unwrap().1), "{}", ran.all());
}

/// Names that opendal's operator would change before it asks for them.
#[test]
fn keys_that_no_path_is_like_are_read_under_their_own_names() {
    let Some(shop) = AzureShop::start() else { return };
    let site = Site::new(shop);
    let keys = ["a//b", "a/b", "a/", "a", "c", "end ", "many///slashes"];
    for key in keys {
        site.shop.put(key, format!("content of <{key}>").as_bytes());
    }
    // What an address makes something else of.
    site.shop.put("b/../c", b"never read as `c`");
    site.shop.put("deep/./x", b"nor as another");
    let gaps = site.gaps();
    for name in ["b/../c", "deep/./x", "as a part"] {
        assert!(gaps.contains(name), "{name}: {gaps}");
    }
    let index = index(&site);
    let out = site.restore();
    for line in index.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let content = std::fs::read_to_string(out.join(line["path"].as_str().unwrap())).unwrap();
        let key = percent(line["key"].as_str().unwrap());
        assert_eq!(content, format!("content of <{key}>"));
    }
    assert_eq!(index.lines().count(), keys.len(), "{index}");
    site.assert_proven(keys.len());
}

fn percent(text: &str) -> String {
    String::from_utf8(lifeboat::domain::percent_decoded(text).unwrap()).unwrap()
}

#[test]
fn a_store_that_lists_in_another_order_is_told_and_can_be_gone_through_by_folder() {
    let Some(shop) = AzureShop::start() else { return };
    let site = Site::new(shop);
    // Azurite sorts UTF-16 code units: the second comes first.
    for key in ["\u{ffee}", "\u{10000}", "x/\u{10000}/y", "x/\u{ffee}/z"] {
        site.shop.put(key, key.as_bytes());
    }
    site.refused(&["comes after", "by_folder = true"]);
    let site = Site { shop: AzureShop { more: "by_folder = true", ..site.shop }, installation: site.installation };
    site.job("");
    assert_eq!(site.back_up(), 4);
    site.assert_proven(4);
}

#[test]
fn a_prefix_and_patterns_choose_in_every_store() {
    fn check(shop: Option<impl Shop>) {
        let Some(shop) = shop else { return };
        let site = Site::with(shop, "prefix = \"media/2\"\ninclude = [\"*.jpg\"]\nexclude = [\"media/2024/tmp\"]");
        for key in
            ["media/2024/a.jpg", "media/2.jpg", "media/2024/b.png", "media/2024/tmp/c.jpg", "media/1/d.jpg", "m.jpg"]
        {
            site.shop.put(key, key.as_bytes());
        }
        assert!(site.gaps().contains("2 objects"), "{}", site.gaps());
        let index = index(&site);
        assert_eq!(index.lines().count(), 2, "{index}");
        assert!(index.contains("media/2024/a.jpg") && index.contains("media/2.jpg"), "{index}");
    }
    check(Some(FolderShop::start()));
    check(SftpShop::start());
    check(WebdavShop::start());
    check(AzureShop::start());
    check(GoogleShop::start());
}

#[test]
fn links_pipes_names_that_are_no_text_and_closed_folders_are_said() {
    use std::os::unix::ffi::OsStrExt;
    let shop = FolderShop::start();
    let top = shop.top.path().to_owned();
    let site = Site::new(shop);
    site.shop.put("file", b"file");
    site.shop.put("\u{fffd}", b"a name that is text");
    std::os::unix::fs::symlink("file", top.join("link")).unwrap();
    std::os::unix::fs::symlink("/", top.join("way out")).unwrap();
    std::fs::write(top.join(std::ffi::OsStr::from_bytes(b"no\xfftext")), "x").unwrap();
    std::fs::create_dir(top.join(std::ffi::OsStr::from_bytes(b"folder\xff"))).unwrap();
    let pipe = top.join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let gaps = site.gaps();
    for name in ["link", "way out", "pipe", "no", "folder"] {
        assert!(gaps.contains(name), "{name}: {gaps}");
    }
    site.assert_proven(2);
}

#[test]
fn thousands_of_objects_are_listed_over_several_pages_and_only_what_changed_is_read() {
    fn check(shop: impl Shop, count: usize) {
        let site = Site::new(shop);
        let key = |number: usize| format!("{:02}/object {number:05}", number % 9);
        for number in 0..count {
            site.shop.put(&key(number), format!("content of {number}").as_bytes());
        }
        settle();
        assert_eq!(site.back_up(), count as u64);
        assert_eq!(site.back_up(), 0);
        site.shop.put(&key(7), b"CONTENT OF 7");
        site.shop.remove(&key(count - 1));
        settle();
        assert_eq!(site.back_up(), 1);
        site.assert_proven(count - 1);
    }
    check(FolderShop::start(), 2_300);
    if let Some(shop) = AzureShop::start() {
        check(shop, 1_100);
    }
}

#[test]
fn the_jobs_of_the_guide_are_jobs() {
    let guide = include_str!("../docs/how-to/files-and-objects.md");
    let jobs: Vec<&str> = guide
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .filter(|job| job.contains("\"objects\""))
        .collect();
    assert_eq!(jobs.len(), 6);
    for job in jobs {
        let installation = Installation::new();
        installation.add_target("shelf");
        installation.write_job("job", job);
        installation.ok(&["config", "check"]);
    }
}

#[test]
fn a_job_names_one_store_and_what_that_store_has() {
    let check = |source: &str, words: &[&str]| {
        let installation = Installation::new();
        installation.add_target("shelf");
        installation.write_job("job", &format!("[source]\ntype = \"objects\"\n{source}\n"));
        installation.expect(2, &["config", "check"]).says(&["jobs/job.toml"]).says(words);
    };
    let fs = "[source.fs]\npath = \"/srv\"";
    check(&format!("bucket = \"b\"\n{fs}"), &["`bucket` is of S3, and `fs` is another store"]);
    check(&format!("tags = true\n{fs}"), &["`tags` is of S3"]);
    check(&format!("{fs}\n[source.sftp]\nhost = \"h\""), &["`sftp` and `fs` are two stores"]);
    check(&format!("prefix = \"/a\"\n{fs}"), &["begins with `/`"]);
    check("region = \"r\"", &["`` is not the name of a bucket", "[source.gcs]"]);
    check("[source.gcs]\nbucket = \"a/b\"", &["`bucket = \"a/b\"` is not the name of one"]);
    check("[source.gcs]\nbuckets = \"a\"", &["buckets"]);
    check("[source.webdav]\nendpoint = \"http://me@h\"", &["secrets have keys of their own"]);
    check("[source.webdav]\nendpoint = \"ftp://h\"", &["`ftp://h` is no address"]);
    check("[source.webdav]\nendpoint = \"http://h\"\nuser = \"u\"", &["go together"]);
    check("[source.sftp]\nhost = \"-oProxyCommand=x\"", &["is no name"]);
    check(
        "[source.azblob]\naccount = \"a\"\ncontainer = \"c\"\nkey = { env = \"K\" }\nsas = { env = \"S\" }",
        &["exclude each other"],
    );
}
