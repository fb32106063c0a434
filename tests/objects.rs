//! Buckets: what is fetched and when, what comes back, what a comparison finds, and what a store does to us.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use lifeboat::domain::Verdict;

use crate::support::installation::Installation;
use crate::support::loaded::Loaded;
use crate::support::s3::{ACCESS_KEY, BUCKET, Fault, Faults, S3Server, SECRET_KEY, client_at};

struct Site {
    installation: Installation,
    server: S3Server,
    client: Client,
}

impl Site {
    async fn new() -> Self {
        Self::of(S3Server::start().await, "")
    }

    async fn faulty(faults: Faults) -> Self {
        Self::of(S3Server::start_faulty(faults).await, "")
    }

    fn of(server: S3Server, more: &str) -> Self {
        let installation = Installation::new();
        installation.add_target("shelf");
        let client = client_at(&format!("http://{}", server.address()));
        let site = Self { installation, server, client };
        site.job(more);
        site
    }

    fn job(&self, more: &str) {
        std::fs::write(self.installation.path("secret"), SECRET_KEY).unwrap();
        let endpoint = format!("http://{}", self.server.address());
        self.installation.write_job(
            "job",
            &format!(
                "[source]\ntype = \"objects\"\nbucket = \"{BUCKET}\"\nendpoint = \"{endpoint}\"\n\
                 access_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = {{ file = \"secret\" }}\n{more}\n"
            ),
        );
    }

    async fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        let put = self.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(content.into()));
        put.content_type("text/plain").metadata("owner", "someone").send().await.unwrap();
    }

    async fn fill(&self, count: usize) {
        for number in 0..count {
            self.put(&format!("{:02}/object {number:05}", number % 7), format!("content of {number}")).await;
        }
    }

    /// How many objects the last run read, and how much it stored.
    async fn back_up(&self) -> (u64, u64) {
        let ran = self.run(&["--json", "backup", "now"]).await.expect(0);
        let read = ran.json().into_iter().find(|event| event["phase"] == "read").unwrap();
        let detail = read["detail"].as_str().unwrap();
        let objects = detail.split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        (objects, ran.summary()["stored_bytes"].as_u64().unwrap())
    }

    /// The server runs on this test's runtime, so that nothing may block it.
    async fn run(&self, arguments: &[&str]) -> crate::support::outcome::Outcome {
        let child = self.installation.start(arguments);
        tokio::task::spawn_blocking(move || crate::support::outcome::finish(child)).await.unwrap()
    }

    async fn restore(&self) -> PathBuf {
        let out = self.installation.fresh();
        self.run(&["restore", "job", "--to", out.to_str().unwrap()]).await.expect(0);
        out
    }

    async fn verdict(&self) -> serde_json::Value {
        self.run(&["--json", "restore-test"]).await.summary()
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..u32::try_from(bytes).unwrap()).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_comes_back_as_it_was_and_is_proven() {
    let site = Site::new().await;
    let large = noise(9_000_000);
    let odd = ["a b+c%41.txt", "é/composed", "e\u{301}/decomposed", "quote\"'&<>", "100%", "-rf", "trailing dot."];
    for key in odd {
        site.put(key, key).await;
    }
    site.put("empty", "").await;
    site.put("large", large.clone()).await;
    site.fill(50).await;
    site.back_up().await;
    let test = site.verdict().await;
    assert_eq!(test["verdict"], "proven", "{test:#}");
    assert_eq!(test["evidence"]["rows"], 59, "{test:#}");
    site.installation.assert_no_scratch();
    let out = site.restore().await;
    for key in odd {
        assert_eq!(std::fs::read(out.join(key)).unwrap(), key.as_bytes(), "{key}");
    }
    assert!(std::fs::read(out.join("large")).unwrap() == large);
    assert!(std::fs::read(out.join("empty")).unwrap().is_empty());
    let index = std::fs::read_to_string(out.join(".lifeboat-objects.jsonl")).unwrap();
    assert_eq!(index.lines().count(), 59);
    assert!(index.lines().all(|line| line.contains("text/plain") && line.contains("\"owner\":\"someone\"")), "{index}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_objects_that_changed_are_fetched_over_several_pages() {
    let site = Site::new().await;
    // More than two pages.
    let folder = site.server.bucket_folder();
    for number in 0..2_300 {
        let path = folder.join(format!("{:02}", number % 9)).join(format!("object {number:05}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("content of {number}")).unwrap();
    }
    // This server lists no tags: only the time tells, and not at once.
    tokio::time::sleep(std::time::Duration::from_millis(3_100)).await;
    let (read, first) = site.back_up().await;
    assert_eq!(read, 2_300);
    let (read, stored) = site.back_up().await;
    assert_eq!(read, 0);
    assert!(stored < 6_000, "{stored} bytes stored for nothing, {first} at first");
    std::fs::write(folder.join("07/object 00007"), "CONTENT OF 7").unwrap();
    std::fs::write(folder.join("new"), "new").unwrap();
    std::fs::remove_file(folder.join("08/object 00008")).unwrap();
    let (read, _) = site.back_up().await;
    assert_eq!(read, 2);
    let out = site.restore().await;
    assert_eq!(std::fs::read_to_string(out.join("07/object 00007")).unwrap(), "CONTENT OF 7");
    assert!(!out.join("08/object 00008").exists());
    assert!(out.join("08/object 00017").exists());
    let test = site.verdict().await;
    assert_eq!((&test["verdict"], &test["evidence"]["rows"]), (&"proven".into(), &2_300.into()), "{test:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_and_patterns_choose_and_what_is_left_out_is_said() {
    let site =
        Site::of(S3Server::start().await, "prefix = \"media/\"\ninclude = [\"*.jpg\"]\nexclude = [\"media/tmp\"]");
    for key in ["media/a.jpg", "media/b.png", "media/tmp/c.jpg", "other/d.jpg"] {
        site.put(key, key).await;
    }
    let ran = site.run(&["--json", "backup", "now"]).await.expect(0);
    assert!(ran.summary()["gaps"].to_string().contains("2 objects"), "{}", ran.stdout);
    let out = site.restore().await;
    assert!(out.join("media/a.jpg").exists() && !out.join("media/b.png").exists() && !out.join("other").exists());
    assert!(!out.join("media/tmp").exists());
}

/// `times` of each matching request fail with this.
fn failing(times: usize, of: &'static str, fault: Fault) -> Faults {
    let seen = AtomicUsize::new(0);
    Arc::new(move |method, path, _| {
        if method == "GET" && path.contains(of) && seen.fetch_add(1, Ordering::SeqCst) < times {
            fault.clone()
        } else {
            Fault::None
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_does_wrong_for_a_while_is_overcome() {
    for (name, fault, of) in [
        ("500", Fault::Status(500, "InternalError"), "object"),
        ("503", Fault::Status(503, "SlowDown"), "object"),
        ("503 of a listing", Fault::Status(503, "SlowDown"), "list-type"),
        ("a body cut short", Fault::Truncate(5), "object"),
        ("a listing cut short", Fault::Truncate(400), "list-type"),
    ] {
        let site = Site::faulty(failing(2, of, fault)).await;
        site.fill(10).await;
        let (read, _) = site.back_up().await;
        assert_eq!(read, 10, "{name}");
        let test = site.verdict().await;
        assert_eq!(test["verdict"], "proven", "{name}: {test:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_goes_on_where_its_connection_broke() {
    let site = Site::faulty(failing(2, "large", Fault::Truncate(3_000_000))).await;
    let large = noise(9_000_000);
    site.put("large", large.clone()).await;
    site.back_up().await;
    assert!(std::fs::read(site.restore().await.join("large")).unwrap() == large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_is_given_up_and_asked_for_again() {
    for (name, fault, of) in [
        ("an object", Fault::Hang, "object"),
        ("a listing", Fault::Hang, "list-type"),
        ("a small body", Fault::Stall(3), "00/object"),
        ("a large body", Fault::Stall(2_000_000), "large"),
    ] {
        let site = Site::faulty(failing(1, of, fault)).await;
        site.job("stall = \"1s\"");
        site.fill(10).await;
        site.put("large", noise(4_000_000)).await;
        let started = std::time::Instant::now();
        let (read, _) = site.back_up().await;
        assert_eq!(read, 11, "{name}");
        assert!(started.elapsed() < std::time::Duration::from_mins(1), "{name}: {:?}", started.elapsed());
        assert_eq!(site.verdict().await["verdict"], "proven", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_for_good_fails_the_run_in_bounded_time() {
    let site = Site::faulty(failing(usize::MAX, "list-type", Fault::Hang)).await;
    site.job("stall = \"300ms\"");
    let started = std::time::Instant::now();
    site.run(&["backup", "now"]).await.refuses(1, &["timed out", "run again"]);
    assert!(started.elapsed() < std::time::Duration::from_mins(2), "{:?}", started.elapsed());
    site.job("stall = \"0s\"");
    site.run(&["config", "check"]).await.expect(2).says(&["no time at all", "60s"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_in_ranges_finds_what_a_listing_in_one_go_does() {
    let site = Site::new().await;
    let folder = site.server.bucket_folder();
    let path = |number: usize| folder.join(format!("{:03}", number / 100)).join(format!("object {number:05}"));
    for number in 0..9_300 {
        std::fs::create_dir_all(path(number).parent().unwrap()).unwrap();
        std::fs::write(path(number), format!("content of {number}")).unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(3_100)).await;
    assert_eq!(site.back_up().await.0, 9_300);
    let marks = std::fs::read_to_string(site.installation.state().join("kept/job/marks")).unwrap();
    assert_eq!(marks.lines().collect::<Vec<_>>(), ["039/object 03999", "079/object 07999"]);
    // The marks themselves go, others come beside them.
    std::fs::remove_file(path(3_999)).unwrap();
    std::fs::write(folder.join("039/object 03999a"), "new").unwrap();
    std::fs::write(folder.join("079/object 07999 changed"), "new").unwrap();
    std::fs::write(path(8_000), "changed, and longer").unwrap();
    std::fs::write(folder.join("000/a"), "the first").unwrap();
    std::fs::write(folder.join("999"), "the last").unwrap();
    assert_eq!(site.back_up().await.0, 5);
    let test = site.verdict().await;
    assert_eq!((&test["verdict"], &test["evidence"]["rows"]), (&"proven".into(), &9_303.into()), "{test:#}");
    let out = site.restore().await;
    assert!(!out.join("039/object 03999").exists() && out.join("999").exists());
    assert_eq!(std::fs::read_to_string(out.join("080/object 08000")).unwrap(), "changed, and longer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_does_wrong_for_good_fails_the_run_with_a_reason() {
    for (fault, of, words) in [
        (Fault::Status(403, "ExpiredToken"), "object", &["ExpiredToken", "when they expire"][..]),
        (Fault::Status(403, "AccessDenied"), "list-type", &["AccessDenied", "check the keys"]),
        (Fault::Status(301, "PermanentRedirect"), "list-type", &["redirects", "another region"]),
        (Fault::Status(404, "NoSuchBucket"), "list-type", &["NoSuchBucket", "check `bucket`"]),
        (Fault::Truncate(5), "object", &["00/object", "run again"]),
        (Fault::Replace("03/object 00003".to_owned(), "02/object 00002".to_owned()), "list-type", &["object"]),
        (Fault::Replace("<IsTruncated>false".to_owned(), "<IsTruncated>true".to_owned()), "list-type", &["list"]),
    ] {
        let site = Site::faulty(failing(usize::MAX, of, fault.clone())).await;
        site.fill(10).await;
        let ran = site.run(&["backup", "now"]).await;
        assert_eq!(ran.code, 1, "{fault:?}\n{}", ran.all());
        ran.says(words);
        let listed = site.run(&["--json", "snapshots"]).await;
        assert_eq!(listed.summary()["snapshots"].as_array().unwrap().len(), 0, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_object_that_may_not_be_read_is_left_out_and_said() {
    let site = Site::faulty(failing(usize::MAX, "00003", Fault::Status(403, "AccessDenied"))).await;
    site.fill(10).await;
    let ran = site.run(&["--json", "backup", "now"]).await.expect(0);
    let gaps = ran.summary()["gaps"].to_string();
    assert!(gaps.contains("object 00003") && gaps.contains("permission denied"), "{gaps}");
    assert_eq!(site.verdict().await["verdict"], "proven");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_leaves_out_what_is_there_fails_the_run_and_what_is_gone_does_not() {
    let lies = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&lies);
    let site = Site::faulty(Arc::new(move |_, path, _| {
        if told.load(Ordering::SeqCst) > 0 && path.contains("list-type") {
            // A page that ends early, as if there were no more.
            return Fault::Replace("Contents>".to_owned(), "Other>".to_owned());
        }
        Fault::None
    }))
    .await;
    site.fill(10).await;
    site.back_up().await;
    std::fs::remove_file(site.server.bucket_folder().join("03/object 00003")).unwrap();
    site.back_up().await;
    lies.store(1, Ordering::SeqCst);
    let listing = site.client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    assert!(listing.contents().is_empty(), "the listing does not lie");
    site.run(&["backup", "now"]).await.refuses(1, &["leaves out", "run again"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_vanishes_or_changes_between_listing_and_reading_is_noted() {
    let folder: Arc<std::sync::OnceLock<PathBuf>> = Arc::default();
    let known = Arc::clone(&folder);
    let site = Site::faulty(Arc::new(move |method, path, _| {
        if method == "GET"
            && path.contains("00003")
            && let Some(folder) = known.get()
        {
            std::fs::remove_file(folder.join("03/object 00003")).unwrap_or_default();
            std::fs::write(folder.join("04/object 00004"), "changed meanwhile").unwrap();
        }
        Fault::None
    }))
    .await;
    site.fill(10).await;
    folder.set(site.server.bucket_folder()).unwrap();
    site.job("connections = 1");
    let ran = site.run(&["--json", "backup", "now"]).await.expect(0);
    let gaps = ran.summary()["gaps"].to_string();
    assert!(gaps.contains("object 00003") && gaps.contains("is no more"), "{gaps}");
    assert_eq!(site.verdict().await["verdict"], "proven");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_a_wrong_key_and_a_missing_bucket_are_named_without_a_secret() {
    let site = Site::new().await;
    std::fs::write(site.installation.path("secret"), "wrong-secret-key").unwrap();
    let ran = site.run(&["backup", "now"]).await.expect(1);
    assert!(!ran.all().contains("wrong-secret-key"), "{}", ran.all());
    ran.says(&["SignatureDoesNotMatch", "check the keys"]);
    let site = Site::new().await;
    let job = std::fs::read_to_string(site.installation.path("jobs/job.toml")).unwrap();
    site.installation.write_job("job", &job.replace(BUCKET, "absent"));
    site.run(&["backup", "now"]).await.refuses(1, &["NoSuchBucket"]);
    site.installation.write_job("job", &job.replace("endpoint = \"http://127.0.0.1", "endpoint = \"ftp://x"));
    site.run(&["config", "check"]).await.expect(2).says(&["ftp://x", "jobs/job.toml"]);
}

/// What is done to a restored folder, and what must be told.
type Change = (fn(&std::path::Path), &'static str, &'static str);

const CHANGES: [Change; 6] = [
    (|top| std::fs::write(top.join("03/object 00003"), "cOntent of 3").unwrap(), "changed", "03/object 00003"),
    (|top| std::fs::remove_file(top.join("03/object 00003")).unwrap(), "missing", "03/object 00003"),
    (|top| std::fs::write(top.join("extra"), "x").unwrap(), "extra", "extra"),
    (|top| index(top, "\"text/plain\"", "\"text/html\""), "changed", "00/object 00000"),
    (|top| index(top, "\"someone\"", "\"someone else\""), "changed", "00/object 00000"),
    (|top| index(top, "00/object 00000", "00/object 00001"), "missing", "00/object 00000"),
];

/// Changes the first place only.
fn index(top: &std::path::Path, from: &str, to: &str) {
    let path = top.join(".lifeboat-objects.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_single_change_to_restored_objects_fails_the_test_and_is_named() {
    let site = Site::new().await;
    site.fill(10).await;
    let Site { installation, server, .. } = site;
    let loaded = Loaded::new(installation).await;
    let top = loaded.lease.place("").folder().unwrap();
    assert!(matches!(loaded.compare().await, Verdict::Proven { .. }), "{:?}", loaded.compare().await);
    for (change, word, name) in CHANGES {
        change(&top);
        let verdict = loaded.compare().await;
        let Verdict::Failed { mismatches, .. } = &verdict else { panic!("{name}: {verdict:?}") };
        let told = mismatches
            .iter()
            .any(|m| m.what == "objects" && m.difference.contains(word) && m.difference.contains(name));
        assert!(told, "{word} {name}: {mismatches:?}");
        std::fs::remove_dir_all(&top).unwrap();
        loaded.load().await;
    }
    drop(server);
}
