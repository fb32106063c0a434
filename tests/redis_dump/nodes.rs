//! Replicas and clusters.

use std::path::Path;
use std::time::Duration;

use super::{dump, free_port, groups, loaded, preflight};
use crate::support::installation::{Installation, contents};
use crate::support::redis::TestRedis;
use crate::support::server::{output, plain};

#[tokio::test]
async fn a_replica_in_step_is_preferred_and_without_one_the_server_itself_is_read() {
    let (port, other) = (free_port(), free_port());
    let primary = TestRedis::start_with(&[&format!("port {port}"), "bind 127.0.0.1"]);
    primary.cli(&["SET", "a", "1"]);
    let alone = preflight(&format!("redis://127.0.0.1:{port}"), "prefer_replica = true").await;
    assert!(alone.facts.iter().any(|fact| fact.contains("no replica")), "{:?}", alone.facts);
    let replica =
        TestRedis::start_with(&[&format!("port {other}"), "bind 127.0.0.1", &format!("replicaof 127.0.0.1 {port}")]);
    for _ in 0..200 {
        if primary.cli(&["INFO", "replication"]).contains("state=online") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (record, parts) = dump(&format!("redis://127.0.0.1:{port}"), "prefer_replica = true").await;
    assert_eq!(record.instants[0].of, format!("127.0.0.1:{other}"));
    assert_eq!(groups(&record, &parts)["db0/string"].records, 1);
    assert!(replica.log().contains("Starting BGSAVE"));
}

/// Three primaries with a third of the slots each.
async fn cluster() -> Vec<(TestRedis, u16)> {
    let nodes: Vec<(TestRedis, u16)> = (0..3)
        .map(|_| {
            // The bus listens ten thousand ports above.
            let port = loop {
                let port = free_port();
                if port < 50_000 && std::net::TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
                    break port;
                }
            };
            let settings = [&format!("port {port}")[..], "bind 127.0.0.1", "cluster-enabled yes", "databases 1"];
            (TestRedis::start_with(&settings), port)
        })
        .collect();
    for (number, slots) in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].iter().enumerate() {
        nodes[number].0.cli(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        if number > 0 {
            nodes[0].0.cli(&["CLUSTER", "MEET", "127.0.0.1", &nodes[number].1.to_string()]);
        }
    }
    for _ in 0..400 {
        let whole = |node: &(TestRedis, u16)| {
            let info = node.0.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        if nodes.iter().all(whole) {
            return nodes;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the cluster did not form");
}

/// Three hundred keys all over a cluster.
async fn filled_cluster() -> Vec<(TestRedis, u16)> {
    let nodes = cluster().await;
    for number in 0..300 {
        let mut command = plain(Path::new("redis-cli"));
        command.args(["-c", "-p", &nodes[0].1.to_string(), "SET", &format!("key:{number}"), "v"]);
        output(&mut command);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_proven_shard_by_shard_marked_as_such_and_restored_into_one_server() {
    let nodes = filled_cluster().await;
    let source = format!("url = \"redis://127.0.0.1:{}\"", nodes[2].1);
    let installation = Installation::of_kind("redis", &source, "");
    installation.ok(&["backup", "now", "--dry-run"]).says(&["cluster of 3 shards", "per-shard"]);
    installation.ok(&["backup", "now"]).says(&["a single point in time", "per-shard"]);
    drop(nodes);
    let tested = installation.restore_test();
    assert_eq!((&tested["verdict"], &tested["evidence"]["groups"]), (&"proven".into(), &1.into()), "{tested:#}");
    let report = installation.path("r");
    installation.ok(&["report", "--format", "md", "--out", report.to_str().unwrap()]);
    let report = contents(&report).into_values().next().unwrap();
    assert!(String::from_utf8(report).unwrap().contains("per-shard"), "the report marks it");
    let one = TestRedis::start();
    installation.ok(&["restore", "job", "--to", &one.url()]);
    assert_eq!((one.cli(&["DBSIZE"]), one.cli(&["GET", "key:299"])), ("300".to_owned(), "v".to_owned()));

    // One shard's file is damaged: that is no proof of the others.
    let stored = contents(&installation.path("shelf/packs"));
    let (file, mut bytes) = stored.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
    installation.run(&["restore-test"]).expect(4);
}

#[tokio::test]
async fn every_primary_of_a_cluster_is_dumped_and_the_groups_are_of_all_of_them() {
    let nodes = filled_cluster().await;
    let url = format!("redis://127.0.0.1:{}", nodes[1].1);
    let found = preflight(&url, "").await;
    assert!(found.facts.iter().any(|fact| fact.contains("cluster of 3 shards")), "{:?}", found.facts);
    let (record, parts) = dump(&url, "").await;
    assert_eq!(record.instants.len(), 3);
    let prints = groups(&record, &parts);
    assert_eq!(prints.keys().collect::<Vec<_>>(), ["db0/string"]);
    assert_eq!(prints["db0/string"].records, 300);
    let sizes: Vec<u64> = (0..3)
        .map(|number| loaded(&parts[&format!("shard-{number}/rdb")].data).cli(&["DBSIZE"]).parse().unwrap())
        .collect();
    assert_eq!(sizes.iter().sum::<u64>(), 300);
    assert!(sizes.iter().all(|size| *size > 50), "{sizes:?}");
}
