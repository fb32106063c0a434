//! Buckets with versions, tags and access lists: what is kept of them, and that they come back into a bucket.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, ObjectCannedAcl, VersioningConfiguration};
use lifeboat::domain::Verdict;

use crate::support::installation::Installation;
use crate::support::loaded::Loaded;
use crate::support::moto::Moto;
use crate::support::s3::{ACCESS_KEY, SECRET_KEY};

struct Site {
    installation: Installation,
    moto: Moto,
    client: Client,
}

const LIVE: &str = "live";

impl Site {
    /// A bucket `live` that keeps versions, and a job of it.
    async fn new(more: &str) -> Option<Self> {
        let moto = Moto::start().await?;
        let client = moto.client();
        let installation = Installation::new();
        installation.add_target("shelf");
        std::fs::write(installation.path("secret"), SECRET_KEY).unwrap();
        let site = Self { installation, moto, client };
        site.bucket(LIVE, true).await;
        site.job(more);
        Some(site)
    }

    async fn bucket(&self, name: &str, versions: bool) {
        self.client.create_bucket().bucket(name).send().await.unwrap();
        if versions {
            let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let asked = self.client.put_bucket_versioning().bucket(name).versioning_configuration(enabled);
            asked.send().await.unwrap();
        }
    }

    fn keys(&self) -> String {
        format!(
            "endpoint = \"{}\"\naccess_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = {{ file = \"secret\" }}\n",
            self.moto.endpoint()
        )
    }

    fn job(&self, more: &str) {
        let job = format!("[source]\ntype = \"objects\"\nbucket = \"{LIVE}\"\n{}{more}\n", self.keys());
        self.installation.write_job("job", &job);
    }

    /// Restore tests go into a bucket.
    fn scratch_bucket(&self, name: &str) {
        self.installation
            .configure(&format!("[scratch.objects]\nbucket = \"{name}\"\nprefix = \"tests\"\n{}", self.keys()));
    }

    async fn put(&self, bucket: &str, key: &str, content: impl Into<Vec<u8>>) {
        let put = self.client.put_object().bucket(bucket).key(key).body(ByteStream::from(content.into()));
        let put = put.content_type("image/jpeg").cache_control("max-age=60").metadata("owner", "sömeone");
        put.tagging("team=media&stage=a%20b").send().await.unwrap();
    }

    async fn remove(&self, bucket: &str, key: &str) {
        self.client.delete_object().bucket(bucket).key(key).send().await.unwrap();
    }

    /// Some keys with a history.
    async fn fill(&self) {
        for round in 1..=3 {
            self.put(LIVE, "photos/a.jpg", format!("photo {round}")).await;
            match round {
                1 => {
                    self.put(LIVE, "photos/gone.jpg", "was here").await;
                    self.put(LIVE, "photos/back.jpg", "first").await;
                }
                2 => {
                    self.remove(LIVE, "photos/gone.jpg").await;
                    self.remove(LIVE, "photos/back.jpg").await;
                }
                _ => self.put(LIVE, "photos/back.jpg", "second").await,
            }
            // A store tells the order of versions and removals by the second.
            tokio::time::sleep(std::time::Duration::from_millis(1_010)).await;
        }
        self.put(LIVE, "empty", "").await;
        self.put(LIVE, "large", vec![7; 9_000_000]).await;
        let open = self.client.put_object_acl().bucket(LIVE).key("empty").acl(ObjectCannedAcl::PublicRead);
        open.send().await.unwrap();
    }

    /// What a bucket holds: for each key the newest version, then the others in some order, as their content or as a removal.
    async fn contents(&self, bucket: &str, prefix: &str) -> BTreeMap<String, Vec<String>> {
        let listed = self.client.list_object_versions().bucket(bucket).prefix(prefix).send().await.unwrap();
        let mut all = vec![];
        for version in listed.versions() {
            let (key, id) = (version.key().unwrap(), version.version_id().unwrap());
            let got = self.client.get_object().bucket(bucket).key(key).version_id(id).send().await.unwrap();
            let kept = format!("{:?} {:?} {:?}", got.content_type(), got.cache_control(), got.metadata());
            let bytes = got.body.collect().await.unwrap().into_bytes();
            let text =
                if bytes.len() < 100 { String::from_utf8(bytes.to_vec()).unwrap() } else { bytes.len().to_string() };
            all.push((key.to_owned(), version.is_latest() != Some(true), format!("{text} {kept}")));
        }
        for marker in listed.delete_markers() {
            all.push((marker.key().unwrap().to_owned(), marker.is_latest() != Some(true), "removed".to_owned()));
        }
        all.sort();
        let mut contents = BTreeMap::<String, Vec<String>>::new();
        for (key, _, text) in all {
            contents.entry(key[prefix.len()..].to_owned()).or_default().push(text);
        }
        contents
    }

    /// How many versions the last run read.
    fn back_up(&self) -> u64 {
        let ran = self.installation.run(&["--json", "backup", "now"]).expect(0);
        let read = ran.json().into_iter().find(|event| event["phase"] == "read").unwrap();
        let detail = read["detail"].as_str().unwrap();
        detail.split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    fn verdict(&self) -> serde_json::Value {
        self.installation.run(&["--json", "restore-test"]).summary()
    }
}

const EVERYTHING: &str = "versions = true\ntags = true\naccess_lists = true";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_versions_with_removals_tags_and_access_lists_come_back_into_a_bucket_and_are_proven_there() {
    let Some(site) = Site::new(EVERYTHING).await else { return };
    site.fill().await;
    assert_eq!(site.back_up(), 8);
    assert_eq!(site.back_up(), 0, "nothing has changed");
    site.put(LIVE, "photos/a.jpg", "photo 4").await;
    site.remove(LIVE, "empty").await;
    assert_eq!(site.back_up(), 1, "a removal is not read");

    site.bucket("scratch", true).await;
    site.scratch_bucket("scratch");
    let test = site.verdict();
    assert_eq!(test["verdict"], "proven", "{test:#}");
    assert_eq!(test["evidence"]["rows"], 12, "{test:#}");
    assert!(test["measured"]["scratch"].as_str().unwrap().contains("tests/lifeboat-scratch-"), "{test:#}");
    assert!(site.contents("scratch", "").await.is_empty(), "scratch is left as it was");

    site.bucket("new", true).await;
    site.installation.ok(&["restore", "job", "--to", "s3://new/below"]).says(&["version ids cannot come back"]);
    assert_eq!(site.contents("new", "below/").await, site.contents(LIVE, "").await);
    let tags = site.client.get_object_tagging().bucket("new").key("below/large").send().await.unwrap();
    let tags: Vec<_> = tags.tag_set().iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(tags, [("stage", "a b"), ("team", "media")]);
    let versions = site.client.list_object_versions().bucket("new").prefix("below/empty").send().await.unwrap();
    let id = versions.versions()[0].version_id().unwrap();
    let list = site.client.get_object_acl().bucket("new").key("below/empty").version_id(id).send().await.unwrap();
    let open =
        list.grants().iter().any(|g| g.grantee().and_then(|g| g.uri()).is_some_and(|uri| uri.ends_with("AllUsers")));
    assert!(open, "{list:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_come_back_into_a_folder_beside_the_current_objects() {
    let Some(site) = Site::new(EVERYTHING).await else { return };
    site.fill().await;
    site.back_up();
    let test = site.verdict();
    assert_eq!((&test["verdict"], &test["evidence"]["rows"]), (&"proven".into(), &10.into()), "{test:#}");
    let out = site.installation.fresh();
    site.installation.ok(&["restore", "job", "--to", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(out.join("photos/a.jpg")).unwrap(), "photo 3");
    assert_eq!(std::fs::read_to_string(out.join("photos/back.jpg")).unwrap(), "second");
    assert!(!out.join("photos/gone.jpg").exists(), "it was removed");
    let older: BTreeMap<_, _> = crate::support::outcome::contents(&out.join(".lifeboat-versions/photos"));
    let mut older: Vec<_> = older.into_values().map(|content| String::from_utf8(content).unwrap()).collect();
    older.sort();
    assert_eq!(older, ["first", "photo 1", "photo 2", "was here"]);
    let index = std::fs::read_to_string(out.join(".lifeboat-objects.jsonl")).unwrap();
    assert_eq!(index.lines().count(), 10);
    assert_eq!(index.lines().filter(|line| line.contains("\"removed\":true")).count(), 2, "{index}");
    // One key, with its history.
    let out = site.installation.fresh();
    site.installation
        .ok(&["restore", "job", "--to", out.to_str().unwrap(), "--only", "photos/a.jpg"])
        .says(&["3 objects"]);
    assert!(!out.join("empty").exists() && out.join("photos/a.jpg").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_versions_only_what_is_current_is_kept_and_that_is_said() {
    let Some(site) = Site::new("tags = true").await else { return };
    site.fill().await;
    let ran = site.installation.ok(&["backup", "now"]);
    ran.says(&["older versions of objects", "versions = true", "access lists of objects"]);
    site.bucket("new", false).await;
    site.installation.ok(&["restore", "job", "--to", "s3://new"]);
    let current = |all: BTreeMap<String, Vec<String>>| -> BTreeMap<String, String> {
        let newest = all.into_iter().map(|(key, versions)| (key, versions[0].clone()));
        newest.filter(|(_, newest)| newest != "removed").collect()
    };
    assert_eq!(current(site.contents("new", "").await), current(site.contents(LIVE, "").await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_without_versions_gets_the_newest_and_is_no_scratch_for_all_of_them() {
    let Some(site) = Site::new(EVERYTHING).await else { return };
    site.fill().await;
    site.back_up();
    site.bucket("plain", false).await;
    site.installation.ok(&["restore", "job", "--to", "s3://plain"]).says(&["keeps no versions", "5 older versions"]);
    let found = site.contents("plain", "").await;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["empty", "large", "photos/a.jpg", "photos/back.jpg"]);
    assert!(found["photos/a.jpg"][0].starts_with("photo 3"), "{found:?}");
    site.scratch_bucket("plain");
    let test = site.verdict();
    assert_eq!(test["verdict"], "unproven", "{test:#}");
    assert!(test.to_string().contains("a scratch bucket that keeps versions"), "{test:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_bucket_is_no_scratch_and_a_bucket_that_holds_something_is_written_to_only_where_it_is_named() {
    let Some(site) = Site::new("tags = true").await else { return };
    site.fill().await;
    site.back_up();
    site.scratch_bucket(LIVE);
    let before = site.contents(LIVE, "").await;
    let test = site.verdict();
    assert_eq!(test["verdict"], "unproven", "{test:#}");
    assert!(test.to_string().contains("the bucket that is backed up"), "{test:#}");
    let live = format!("s3://{LIVE}");
    site.installation
        .run(&["restore", "job", "--to", &live])
        .refuses(2, &["holds", "--overwrite", "nothing was written"]);
    site.installation.run(&["restore", "job", "--to", &live, "--dry-run"]).refuses(2, &["holds"]);
    assert_eq!(site.contents(LIVE, "").await, before);

    // Someone lost one object, changed another and added a third.
    site.remove(LIVE, "photos/a.jpg").await;
    site.put(LIVE, "photos/back.jpg", "spoiled").await;
    site.put(LIVE, "new", "new").await;
    let to_live = ["restore", "job", "--to", &live, "--overwrite", LIVE];
    site.installation.ok(&[&to_live[..], &["--dry-run"]].concat()).says(&["others are left alone", "7 requests"]);
    site.installation.ok(&to_live).says(&["2 objects were there already and equal"]);
    let after = site.contents(LIVE, "").await;
    assert!(after["photos/a.jpg"][0].starts_with("photo 3"), "{after:?}");
    assert!(after["photos/back.jpg"][0].starts_with("second"), "{after:?}");
    assert_eq!(after["photos/back.jpg"].len(), before["photos/back.jpg"].len() + 2, "one spoiled, one put back");
    assert_eq!((after["large"].len(), after["new"].len()), (1, 1), "what is equal or not ours is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_restore_into_a_bucket_goes_on() {
    let Some(site) = Site::new(EVERYTHING).await else { return };
    site.fill().await;
    for number in 0..400 {
        site.put(LIVE, &format!("many/{number:04}"), format!("content {number}")).await;
    }
    site.back_up();
    site.bucket("new", true).await;
    let mut child = site.installation.start(&["restore", "job", "--to", "s3://new"]);
    let some = |count| {
        let asked = site.client.list_objects_v2().bucket("new").prefix("many/");
        async move { asked.send().await.unwrap().contents().len() >= count }
    };
    while !some(50).await && child.try_wait().unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!some(400).await, "it was not interrupted");
    site.installation
        .run(&["restore", "job@latest", "--to", "s3://new", "--only", "large"])
        .refuses(2, &["another restore"]);
    site.installation.ok(&["restore", "job", "--to", "s3://new"]).says(&["were there already and equal"]);
    assert!(site.contents("new", "").await == site.contents(LIVE, "").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_no_file_system_takes_come_back_into_a_folder_and_into_a_bucket() {
    let Some(site) = Site::new("").await else { return };
    let long = format!("long/{}", "k".repeat(1_000));
    let deep = (0..250).map(|n| format!("{}", n % 10)).collect::<Vec<_>>().join("/");
    let keys = [
        "../outside",
        "a/../b",
        "./c",
        "/leading",
        "a//b",
        "trailing/",
        "line\nfeed",
        "tab\there",
        "object",
        "object/below",
        "object/",
        "Case",
        "case",
        "é",
        "e\u{301}",
        ".lifeboat-objects.jsonl",
        "%2E%2E/x",
        "-rf",
        " ",
        "a b",
        "\u{7f}",
        "control\u{1}",
        &long,
        &deep,
    ];
    // Not every server takes every key.
    let mut taken = vec![];
    for key in keys {
        let put =
            site.client.put_object().bucket(LIVE).key(key).body(ByteStream::from(key.as_bytes().to_vec())).send().await;
        let back = site.client.get_object().bucket(LIVE).key(key).send().await;
        if put.is_ok() && back.is_ok() {
            taken.push(key.to_owned());
        }
    }
    let listed = site.client.list_objects_v2().bucket(LIVE).encoding_type(aws_sdk_s3::types::EncodingType::Url);
    let listed = listed.send().await.unwrap().contents().len();
    assert!(taken.len() >= 18 && listed >= 18, "{taken:?} of {keys:?}, {listed}");
    site.back_up();
    let test = site.verdict();
    assert_eq!((&test["verdict"], &test["evidence"]["rows"]), (&"proven".into(), &listed.into()), "{test:#}");
    let out = site.installation.fresh();
    site.installation.ok(&["restore", "job", "--to", out.to_str().unwrap()]);
    assert!(!out.parent().unwrap().join("outside").exists());
    let index = std::fs::read_to_string(out.join(".lifeboat-objects.jsonl")).unwrap();
    for line in index.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let content = std::fs::read(out.join(line["path"].as_str().unwrap())).unwrap();
        let key = lifeboat::domain::percent_decoded(line["key"].as_str().unwrap()).unwrap();
        assert_eq!(content, key, "{line}");
    }
    assert_eq!(index.lines().count(), listed);
    site.bucket("new", false).await;
    site.installation.ok(&["restore", "job", "--to", "s3://new"]);
    for key in &taken {
        let back = site.client.get_object().bucket("new").key(key).send().await.unwrap();
        assert_eq!(back.body.collect().await.unwrap().into_bytes(), key.as_bytes(), "{key:?}");
    }
}

/// What is done to a scratch bucket, below a prefix, and what must be told.
type Change = (&'static str, &'static str, &'static str);

const CHANGES: [Change; 7] = [
    ("content", "changed", "photos/a.jpg"),
    ("metadata", "changed", "photos/a.jpg"),
    ("tags", "changed", "photos/a.jpg"),
    ("older content", "changed", "photos/back.jpg"),
    ("removed", "missing", "large"),
    ("no removal", "missing", "photos/gone.jpg"),
    ("extra", "extra", "photos/zzz"),
];

async fn change(client: &Client, what: &str, key: &str, prefix: &str) {
    let full = format!("{prefix}{key}");
    let listed = client.list_object_versions().bucket("scratch").prefix(&full).send().await.unwrap();
    let put = |content: &str| {
        let put = client.put_object().bucket("scratch").key(&full).body(ByteStream::from(content.as_bytes().to_vec()));
        put.content_type("image/jpeg").cache_control("max-age=60").tagging("team=media&stage=a%20b")
    };
    let drop_version = |id: &str| client.delete_object().bucket("scratch").key(&full).version_id(id);
    let latest = listed.versions().iter().find(|version| version.is_latest() == Some(true));
    let latest = latest.and_then(|version| version.version_id());
    match what {
        "content" => {
            drop_version(latest.unwrap()).send().await.unwrap();
            put("photo 9").metadata("owner", "sömeone").send().await.unwrap();
        }
        "metadata" => {
            drop_version(latest.unwrap()).send().await.unwrap();
            put("photo 3").metadata("owner", "someone else").send().await.unwrap();
        }
        "tags" => {
            drop_version(latest.unwrap()).send().await.unwrap();
            put("photo 3").metadata("owner", "sömeone").tagging("team=media").send().await.unwrap();
        }
        "older content" => {
            for version in listed.versions().iter().filter_map(|version| version.version_id()) {
                drop_version(version).send().await.unwrap();
            }
            for marker in listed.delete_markers().iter().filter_map(|marker| marker.version_id()) {
                drop_version(marker).send().await.unwrap();
            }
            put("FIRST").metadata("owner", "sömeone").send().await.unwrap();
            client.delete_object().bucket("scratch").key(&full).send().await.unwrap();
            put("second").metadata("owner", "sömeone").send().await.unwrap();
        }
        "removed" => drop(drop_version(latest.unwrap()).send().await.unwrap()),
        "no removal" => {
            let marker = listed.delete_markers()[0].version_id().unwrap();
            drop(drop_version(marker).send().await.unwrap());
        }
        _ => drop(put("x").send().await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_single_change_in_a_scratch_bucket_fails_the_test_and_is_named() {
    let Some(site) = Site::new(EVERYTHING).await else { return };
    site.fill().await;
    site.bucket("scratch", true).await;
    site.scratch_bucket("scratch");
    let Site { installation, moto, client } = site;
    let loaded = Loaded::new(installation).await;
    let url = loaded.lease.place("").url;
    let prefix = url.split("/scratch/").nth(1).or_else(|| url.split("@scratch/").nth(1)).unwrap();
    let prefix = prefix.split('?').next().unwrap().to_owned();
    assert!(matches!(loaded.compare().await, Verdict::Proven { .. }), "{:?}", loaded.compare().await);
    for (what, word, name) in CHANGES {
        change(&client, what, name, &prefix).await;
        let verdict = loaded.compare().await;
        let Verdict::Failed { mismatches, .. } = &verdict else { panic!("{what}: {verdict:?}") };
        let told = mismatches.iter().any(|m| m.difference.contains(word) && m.difference.contains(name));
        assert!(told, "{what}: {mismatches:?}");
        let listed = client.list_object_versions().bucket("scratch").prefix(&prefix).send().await.unwrap();
        let versions = listed.versions().iter().map(|found| (found.key(), found.version_id()));
        let markers = listed.delete_markers().iter().map(|found| (found.key(), found.version_id()));
        for (key, id) in versions.chain(markers) {
            let remove = client.delete_object().bucket("scratch").key(key.unwrap());
            remove.version_id(id.unwrap()).send().await.unwrap();
        }
        loaded.load().await;
    }
    assert!(!moto.log().contains("Traceback"), "{}", moto.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_is_drawn_stated_and_the_rest_compared_by_the_list() {
    let Some(site) = Site::new("tags = true").await else { return };
    for number in 0..60 {
        site.put(LIVE, &format!("many/{number:04}"), format!("content {number}")).await;
    }
    site.job("tags = true\n[restore_test]\nsample = 20");
    site.back_up();
    site.bucket("scratch", true).await;
    for into_bucket in [false, true] {
        if into_bucket {
            site.scratch_bucket("scratch");
        }
        let test = site.verdict();
        assert_eq!(test["verdict"], "proven", "{test:#}");
        assert_eq!(test["evidence"]["rows"], 60, "{test:#}");
        assert_eq!(test["evidence"]["sampled"], serde_json::json!({ "taken": 20, "of": 60 }), "{test:#}");
        assert!(test["measured"]["bytes"].as_u64().unwrap() < 400, "only the sample is restored: {test:#}");
    }
    let said = site.installation.ok(&["restore-test"]);
    said.says(&["sampled 20 of 60: with 99 % confidence fewer than 21 % damaged"]);
    let report = site.installation.ok(&["report", "--format", "md"]);
    report.says(&["sampled 20 of 60"]);
    site.job("[restore_test]\nsample = 0");
    site.installation.run(&["config", "check"]).expect(2).says(&["sample of nothing", "job.toml"]);
}
