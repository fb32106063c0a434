//! A folder and an object store together, the store served over HTTP.

use std::sync::mpsc;

use crate::support::installation::Installation;
use crate::support::postgres::TestServer;
use crate::support::s3::{ACCESS_KEY, Cut, Proxy, S3Server, SECRET_KEY};

fn target(address: std::net::SocketAddr) -> String {
    format!(
        "[targets.s3]\ntype = \"s3\"\nendpoint = \"http://{address}\"\nregion = \"us-east-1\"\nbucket = \"copies\"\n\
         prefix = \"a/b\"\naccess_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = {{ file = \"s3.secret\" }}\n"
    )
}

fn installation(address: std::net::SocketAddr, server: &TestServer, backup: &str) -> Installation {
    let lifeboat = Installation::of_two(&target(address), "");
    std::fs::write(lifeboat.path("s3.secret"), SECRET_KEY).unwrap();
    std::fs::set_permissions(lifeboat.path("s3.secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    lifeboat.job("shop", &server.url("shop"), &format!("[backup]\ntargets = ['one', 'two', 's3']\n{backup}"));
    lifeboat
}

fn source() -> TestServer {
    let server = TestServer::start();
    server.create_database("shop");
    // Does not compress away: several packs.
    server.psql(
        "shop",
        "create table orders as select n, (select string_agg(md5(random()::text || n || m), '') from generate_series(1, 60) m) \
         as what from generate_series(1, 4000) n",
    );
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_target_that_cannot_be_made_one_costs_its_copy_only() {
    let store = S3Server::start_refusing("lifeboat.json").await;
    let address = store.address();
    tokio::task::spawn_blocking(move || {
        let server = TestServer::start();
        server.create_database("shop");
        server.psql("shop", "create table orders as select 1 as n");
        let lifeboat = installation(address, &server, "quorum = 2");
        for run in 1..=2 {
            let partial = lifeboat.run(&["backup", "now"]).expect(3);
            partial.says(&["on one, two", "target `s3` failed", "lifeboat.json", "not every target took part"]);
            let snapshots = lifeboat.run(&["snapshots", "--json"]).summaries().pop().unwrap();
            let snapshots = snapshots["snapshots"].as_array().unwrap().clone();
            assert_eq!(snapshots.len(), run);
            assert!(snapshots.iter().all(|snapshot| snapshot["targets"] == serde_json::json!(["one", "two"])));
        }
        lifeboat.ok(&["restore-test", "--from", "one"]).says(&["PROVEN"]);
        assert!(!lifeboat.path("state/targets/s3").exists(), "a target that holds nothing is known");
        // Where its copy is demanded nothing is committed.
        let lifeboat = installation(address, &server, "quorum = 3");
        lifeboat.run(&["backup", "now"]).expect(1).says(&["2 of 3 targets work", "no snapshot was committed"]);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_an_object_store_hold_the_same_and_each_is_proven_and_restores() {
    let store = S3Server::start().await;
    let folder = store.bucket_folder().join("a/b");
    let address = store.address();
    tokio::task::spawn_blocking(move || {
        let server = source();
        let lifeboat = installation(address, &server, "");
        lifeboat.ok(&["target", "test", "s3"]);
        lifeboat.ok(&["backup", "now"]).says(&["on one, s3, two"]);
        server.psql("shop", "update orders set what = 'new' where n = 17");
        lifeboat.ok(&["backup", "now"]);
        lifeboat.ok(&["restore-test", "shop", "--from", "each"]).says(&["from one", "from s3", "PROVEN"]);
        lifeboat.ok(&["snapshots"]).says(&["one, s3, two"]);
        let other = TestServer::start();
        lifeboat.ok(&["restore", "shop", "--from", "s3", "--to", &other.url("shop")]).says(&["s3://copies/a/b"]);
        let sum = "select count(*), sum(hashtextextended(orders::text, 0)) from orders";
        assert_eq!(other.psql("shop", sum), server.psql("shop", sum));
        for kind in ["packs", "recipes", "snapshots", "keys", "index"] {
            assert_eq!(files(&folder.join(kind)), files(&lifeboat.path("one").join(kind)), "{kind}");
        }
    })
    .await
    .unwrap();
}

/// Names of all files below, sorted.
fn files(folder: &std::path::Path) -> Vec<String> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_goes_away_midway_costs_its_copy_only_and_the_next_run_brings_it_up() {
    let store = S3Server::start().await;
    let (ask, asked) = mpsc::channel::<()>();
    let proxy = Proxy::start(store.address(), Cut { request_bytes: usize::MAX, reply_bytes: usize::MAX }, 0).await;
    let address = proxy.address();
    let watched = tokio::spawn(async move {
        // The store goes once it has taken some of the first pack.
        while proxy.request_bytes() < 1 << 20 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        drop(proxy);
        ask.send(()).unwrap();
    });
    let direct = store.address();
    tokio::task::spawn_blocking(move || {
        let server = source();
        let lifeboat = installation(address, &server, "quorum = 1");
        lifeboat.run(&["backup", "now"]).expect(3).says(&["target `s3` ", "on one, two"]);
        asked.recv_timeout(std::time::Duration::from_secs(1)).unwrap();
        lifeboat.ok(&["restore-test", "shop", "--from", "one"]).says(&["PROVEN"]);
        // The same store at its own address.
        let config = std::fs::read_to_string(lifeboat.path("lifeboat.toml")).unwrap();
        let config = config.replace(&address.to_string(), &direct.to_string());
        std::fs::write(lifeboat.path("lifeboat.toml"), config).unwrap();
        lifeboat.run(&["restore-test", "shop", "--from", "s3"]).expect(10).says(&["job `shop` has no snapshot"]);
        lifeboat.ok(&["backup", "now"]).says(&["on one, s3, two"]);
        lifeboat.ok(&["restore-test", "shop", "--from", "s3"]).says(&["PROVEN"]);
    })
    .await
    .unwrap();
    watched.await.unwrap();
}
