//! Releases of Redis and Valkey other than the distribution's: back up, prove in scratch of that release, restore, all through
//! the binary. `scripts/redis-versions.sh` fetches them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lifeboat::domain::verdict::Reason;
use lifeboat::domain::{Fingerprint, Verdict};

use crate::redis_dump::{dump, groups};
use crate::redis_mutations::{cli, reset};
use crate::support::installation::Installation;
use crate::support::loaded::Loaded;
use crate::support::postgres::not_tried;
use crate::support::redis::TestRedis;
use crate::support::redis_data::{self, Feature};

use Feature::{FieldExpiry, Functions, RepeatedMessages, VectorSets};

/// One release: how its variable and its scratch are called, what it knows, and what a machine without it is told to get.
struct Release {
    variable: &'static str,
    product: &'static str,
    /// As scratch calls itself.
    named: &'static str,
    knows: &'static [Feature],
    needs: &'static str,
}

const REDIS_6_2: Release =
    Release { variable: "LIFEBOAT_TEST_REDIS_6_2", product: "redis", named: "redis 6.2.", knows: &[], needs: "" };
const REDIS_8_0: Release = Release {
    variable: "LIFEBOAT_TEST_REDIS_8_0",
    product: "redis",
    named: "redis 8.0.",
    knows: &[Functions, FieldExpiry, VectorSets],
    needs: "redis-server >= 8.0",
};
const REDIS_8_6: Release = Release {
    variable: "LIFEBOAT_TEST_REDIS_8_6",
    product: "redis",
    named: "redis 8.6.",
    knows: &[Functions, FieldExpiry, VectorSets, RepeatedMessages],
    needs: "redis-server >= 8.6",
};
const VALKEY_8_1: Release = Release {
    variable: "LIFEBOAT_TEST_VALKEY_8_1",
    product: "valkey",
    named: "valkey 8.1.",
    knows: &[Functions],
    needs: "redis-server >= 7.2 or valkey-server >= 7.2",
};
const VALKEY_9_1: Release = Release {
    variable: "LIFEBOAT_TEST_VALKEY_9_1",
    product: "valkey",
    named: "valkey 9.1.",
    knows: &[Functions, FieldExpiry],
    needs: "valkey-server >= 9.0",
};
const RELEASES: [&Release; 5] = [&REDIS_6_2, &REDIS_8_0, &REDIS_8_6, &VALKEY_8_1, &VALKEY_9_1];

impl Release {
    #[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
    fn folder(&self) -> Option<PathBuf> {
        std::env::var_os(self.variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// A server of this release; what is not tried must be seen.
    fn start(&self) -> Option<TestRedis> {
        let Some(folder) = self.folder() else {
            not_tried(&format!("no {} here; scripts/redis-versions.sh says why", self.variable));
            return None;
        };
        Some(TestRedis::start_in(&folder.join(format!("{}-server", self.product))))
    }

    /// An installation with one job for this server; its scratch may be of this release, if `has_it`.
    fn installation(&self, server: &TestRedis, has_it: bool) -> Installation {
        let programs =
            self.folder().filter(|_| has_it).map(|folder| format!("[scratch.redis]\nprograms = [{folder:?}]\n"));
        Installation::of_kind("redis", &format!("url = {:?}", server.url()), &programs.unwrap_or_default())
    }
}

async fn prints(server: &TestRedis) -> BTreeMap<String, Fingerprint> {
    let (record, parts) = dump(&server.url(), "").await;
    groups(&record, &parts)
}

fn differing<'g>(found: &'g BTreeMap<String, Fingerprint>, expected: &BTreeMap<String, Fingerprint>) -> Vec<&'g str> {
    found.iter().filter(|(group, print)| expected.get(*group) != Some(print)).map(|(group, _)| group.as_str()).collect()
}

async fn round_trip(release: &Release) {
    let Some(server) = release.start() else { return };
    redis_data::fill_as(&server, release.knows);
    let lifeboat = release.installation(&server, true);
    let backup = lifeboat.ok(&["backup", "now"]);
    // What every server of a release has is nothing to be warned of.
    assert!(!backup.all().contains("warning"), "{}", backup.all());
    let tested = lifeboat.restore_test();
    assert_eq!(tested["verdict"], "proven", "{tested:#}");
    let evidence = &tested["evidence"];
    let expected = prints(&server).await;
    assert_eq!(evidence["groups"], expected.len(), "{evidence:#}");
    let functions = usize::from(release.knows.contains(&Functions));
    assert_eq!(evidence["engine_counts"], expected.len() - functions, "{evidence:#}");
    let scratch = tested["measured"]["scratch"].as_str().unwrap();
    assert!(scratch.starts_with(release.named), "{scratch}");
    lifeboat.assert_no_scratch();

    let other = release.start().unwrap();
    lifeboat.ok(&["restore", "job", "--to", &other.url()]);
    assert_eq!(prints(&other).await, expected);
    if release.knows.contains(&FieldExpiry) {
        // Asked of the server itself.
        let when = other.cli(&["HPEXPIRETIME", "fields", "FIELDS", "2", "later", "never"]);
        assert_eq!(when.lines().collect::<Vec<_>>(), ["4102444800123", "-1"]);
        other.cli(&["HPEXPIREAT", "fields", "4102444800124", "FIELDS", "1", "later"]);
        assert_eq!(differing(&prints(&other).await, &expected), ["db0/hash"]);
    }
    if release.knows.contains(&VectorSets) {
        other.cli(&["VSETATTR", "vectors", "second", "{\"year\":1985}"]);
        assert_eq!(differing(&prints(&other).await, &expected), ["db0/hash", "db0/module"]);
    }

    // A machine without this release has an older one, or none at all.
    if release.needs.is_empty() {
        return;
    }
    let lifeboat = release.installation(&server, false);
    lifeboat.ok(&["backup", "now"]);
    let tested = lifeboat.run(&["restore-test"]);
    if tested.code == 0 {
        return not_tried("the distribution has a server that loads what this release writes");
    }
    tested.expect(5).says(&["UNPROVEN: this machine lacks ", release.needs]);
    lifeboat.assert_no_scratch();
}

/// Whether a release that is not here is a failure.
#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn releases_are_required() -> bool {
    std::env::var_os("LIFEBOAT_REQUIRE_REDIS_RELEASES").is_some_and(|value| value == "1")
}

#[test]
fn every_release_that_tests_ask_for_is_here_where_that_is_required() {
    let absent = RELEASES.iter().filter(|release| release.folder().is_none());
    let absent: Vec<&str> = absent.map(|release| release.variable).collect();
    assert!(absent.is_empty() || !releases_are_required(), "not here, so not tested: {absent:?}");
}

#[tokio::test]
async fn a_dataset_of_redis_6_2_is_proven_and_restored() {
    round_trip(&REDIS_6_2).await;
}

#[tokio::test]
async fn a_dataset_of_redis_8_0_is_proven_and_restored_with_the_expiry_of_fields() {
    round_trip(&REDIS_8_0).await;
}

#[tokio::test]
async fn a_dataset_of_redis_8_6_is_proven_and_restored_with_the_settings_of_repeated_messages() {
    round_trip(&REDIS_8_6).await;
}

#[tokio::test]
async fn a_dataset_of_valkey_8_1_is_proven_and_restored() {
    round_trip(&VALKEY_8_1).await;
}

#[tokio::test]
async fn a_dataset_of_valkey_9_1_is_proven_and_restored_with_the_expiry_of_fields() {
    round_trip(&VALKEY_9_1).await;
}

/// Their formats part after 11: neither loads the other's, whichever is newer.
#[tokio::test]
async fn what_a_server_cannot_load_is_refused_before_anything_of_it_is_emptied() {
    let distribution = TestRedis::start();
    let servers = [REDIS_8_0.start(), VALKEY_9_1.start()];
    let [Some(redis), Some(valkey)] = &servers else { return };
    for (from, release, into, says) in [
        (redis, &REDIS_8_0, valkey, "restore into redis 7.4 or later"),
        (valkey, &VALKEY_9_1, redis, "restore into valkey 9.0 or later"),
        (redis, &REDIS_8_0, &distribution, "restore into redis 7.4 or later"),
        (valkey, &VALKEY_9_1, &distribution, "restore into valkey 9.0 or later"),
    ] {
        for server in [from, into] {
            server.feed("FLUSHALL\nSET kept value\nHSET kept:hash f v\n");
        }
        let before = prints(into).await;
        let lifeboat = release.installation(from, true);
        lifeboat.ok(&["backup", "now"]);
        for dry in [&["--dry-run"][..], &[]] {
            let restore = ["restore", "job", "--to", &into.url(), "--overwrite", "db0"];
            lifeboat.run(&[&restore[..], dry].concat()).refuses(1, &["the snapshot's values are of format", says]);
        }
        assert_eq!(prints(into).await, before, "{}", release.named);
    }
}

/// Into a server that runs, and into scratch where there is no nearer one.
#[tokio::test]
async fn what_an_older_release_wrote_is_restored_into_every_newer_one() {
    let of_the_distribution = TestRedis::start();
    let of_7 = [&REDIS_8_0, &REDIS_8_6, &VALKEY_8_1, &VALKEY_9_1];
    let cases: [(Option<TestRedis>, &[Feature], &[&Release]); 4] = [
        (REDIS_6_2.start(), REDIS_6_2.knows, &of_7),
        (Some(of_the_distribution), &[Functions], &of_7),
        (REDIS_8_0.start(), REDIS_8_0.knows, &[&REDIS_8_6]),
        (VALKEY_8_1.start(), VALKEY_8_1.knows, &[&REDIS_8_0, &VALKEY_9_1]),
    ];
    for (server, knows, newer) in cases {
        let Some(server) = server else { continue };
        redis_data::fill_as(&server, knows);
        let expected = prints(&server).await;
        for release in newer {
            let Some(other) = release.start() else { continue };
            let lifeboat = release.installation(&server, true);
            lifeboat.ok(&["backup", "now"]);
            let tested = lifeboat.restore_test();
            assert_eq!(tested["verdict"], "proven", "{tested:#}");
            lifeboat.ok(&["restore", "job", "--to", &other.url()]);
            assert_eq!(prints(&other).await, expected, "{}", release.named);
        }
    }
}

/// With `FalkorDB`, whose graphs are of the type `graphdata`.
fn with_graphs() -> Option<(TestRedis, Installation)> {
    let Some(folder) = REDIS_8_6.folder() else {
        not_tried("no LIFEBOAT_TEST_REDIS_8_6 here; scripts/redis-versions.sh says why");
        return None;
    };
    let module = folder.join("falkordb.so");
    let server = TestRedis::start_in_with(&folder.join("redis-server"), &[&format!("loadmodule {}", module.display())]);
    server.feed("SET text value\nVADD vectors VALUES 2 1 0 one\n");
    for graph in ["one", "two"] {
        let query = "UNWIND range(1, 50) AS n CREATE (a:P {n: n, text: 'x' + n})-[:K {w: n}]->(b:Q {m: n * 2})";
        server.cli(&["GRAPH.QUERY", graph, query]);
        server.cli(&["GRAPH.QUERY", graph, "MATCH (a:P) WHERE a.n % 7 = 0 DELETE a"]);
        server.cli(&["GRAPH.QUERY", graph, "CREATE INDEX FOR (a:P) ON (a.n)"]);
    }
    server.cli(&["PEXPIREAT", "two", "4102444800000"]);
    let scratch = format!("[scratch.redis]\nprograms = [{folder:?}]\nmodules = [{module:?}]\n");
    let lifeboat = Installation::of_kind("redis", &format!("url = {:?}", server.url()), &scratch);
    Some((server, lifeboat))
}

#[test]
fn what_a_module_saves_otherwise_than_it_was_loaded_is_unproven_and_named() {
    let Some((_server, lifeboat)) = with_graphs() else { return };
    lifeboat.ok(&["backup", "now"]).says(&["modules graph", "a restore test proves nothing"]);
    let ran = lifeboat.expect(5, &["restore-test"]);
    let ran = ran.says(&["UNPROVEN", "db0/module-values", "graphdata", "changed: `", "`one`", "`two`"]);
    assert!(!ran.all().contains("db0/module-keys"), "{}", ran.all());
    lifeboat.assert_no_scratch();
    let report = lifeboat.run(&["report", "--format", "md"]);
    assert!(report.stdout.contains("graphdata"), "{}", report.all());
}

/// That values differ which prove nothing hides no other difference, of the same keys neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_else_differs_beside_values_of_modules_fails_and_is_named() {
    let Some((_server, lifeboat)) = with_graphs() else { return };
    let loaded = Loaded::new(lifeboat).await;
    for (change, group, named) in [
        ("DEL two", "db0/module-keys", "missing: `two`"),
        ("PERSIST two", "db0/module-keys", "changed: `two`"),
        ("PEXPIREAT one 4102444800000", "db0/module-keys", "changed: `one`"),
        ("RENAME one three", "db0/module-keys", "missing: `one`; extra: `three`"),
        ("GRAPH.QUERY more \"CREATE (a:P)\"", "db0/module-keys", "extra: `more`"),
        ("MOVE one 1", "db1/module-keys", "extra: `one`"),
        ("DEL one two", "db0/module-keys", "missing"),
        ("DEL one two", "db0/module-values", "missing"),
        ("VSETATTR vectors one \"{}\"", "db0/module", "changed: `vectors`"),
        ("SET text other", "db0/string", "changed: `text`"),
    ] {
        cli(&loaded, change);
        match loaded.compare().await {
            Verdict::Failed { mismatches, .. } => {
                let told = mismatches.iter().any(|it| it.what == group && it.difference.contains(named));
                assert!(told, "{change}: `{group}` and `{named}` are not in {mismatches:#?}");
            }
            verdict => panic!("{change}: {verdict:#?}"),
        }
        reset(&loaded).await;
    }
    let verdict = loaded.compare().await;
    assert!(matches!(verdict, Verdict::Unproven { reason: Reason::Undecided { .. } }), "{verdict:#?}");
    loaded.lease.release().await.unwrap();
}
