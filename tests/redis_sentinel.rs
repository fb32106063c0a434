//! Sentinels are asked for the primary, by real sentinels that watch real servers.

use std::path::Path;
use std::time::{Duration, Instant};

use lifeboat::sources::SourceError;

use crate::redis_dump::{dump, free_port, groups, preflight, try_dump};
use crate::support::certificates::{certificates, tls_lines};
use crate::support::redis::TestRedis;
use crate::support::server::plain;

/// A server that listens on loopback, and follows another.
fn server(port: u16, follows: Option<u16>) -> TestRedis {
    let mut settings = vec![format!("port {port}"), "bind 127.0.0.1".to_owned()];
    settings.extend(follows.map(|primary| format!("replicaof 127.0.0.1 {primary}")));
    TestRedis::start_with(&settings.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A sentinel that decides alone, and only if told to.
fn sentinel(port: u16, watches: u16) -> TestRedis {
    let lines = [
        format!("port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("sentinel monitor mymaster 127.0.0.1 {watches} 1"),
        "sentinel down-after-milliseconds mymaster 600000".to_owned(),
        "sentinel failover-timeout mymaster 5000".to_owned(),
    ];
    TestRedis::start_with(&lines.each_ref().map(String::as_str))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(40), "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn the_primary_is_found_past_a_sentinel_that_is_down_and_again_after_a_failover() {
    let [first_port, second_port, port, down] = [(); 4].map(|()| free_port());
    let first = server(first_port, None);
    first.cli(&["SET", "written", "to the first"]);
    let second = server(second_port, Some(first_port));
    until("the replica is in step", || first.cli(&["INFO", "replication"]).contains("state=online"));
    let watching = sentinel(port, first_port);
    until("the sentinel knows the replica", || watching.cli(&["SENTINEL", "REPLICAS", "mymaster"]).contains("name"));
    let url = format!("redis+sentinel://127.0.0.1:{down},127.0.0.1:{port}/mymaster");

    let (record, parts) = dump(&url, "").await;
    assert_eq!(record.instants[0].of, format!("127.0.0.1:{first_port}"));
    assert_eq!(groups(&record, &parts)["db0/string"].records, 1);
    let found = preflight(&url, "prefer_replica = true").await;
    let read = format!("replica 127.0.0.1:{second_port}");
    assert!(found.facts.iter().any(|fact| fact.contains(&read)), "{:?}", found.facts);

    // It takes no replica that it has not heard of lately.
    until("the failover begins", || {
        let mut command = plain(Path::new("redis-cli"));
        command.arg("-e").arg("-s").arg(watching.socket()).args(["SENTINEL", "FAILOVER", "mymaster"]);
        command.output().unwrap().status.success()
    });
    // A server is promoted a little before its sentinel names it.
    until("the second is the primary", || {
        let named = watching.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
        named.contains(&second_port.to_string()) && second.cli(&["ROLE"]).starts_with("master")
    });
    second.cli(&["SET", "written later", "to the second"]);
    let (record, parts) = dump(&url, "ready_timeout = '30s'").await;
    assert_eq!(record.instants[0].of, format!("127.0.0.1:{second_port}"));
    assert_eq!(groups(&record, &parts)["db0/string"].records, 2);
}

#[tokio::test]
async fn a_sentinel_that_names_a_server_which_is_no_primary_is_passed_over() {
    let [primary_port, replica_port, port, stale_port] = [(); 4].map(|()| free_port());
    let primary = server(primary_port, None);
    let _replica = server(replica_port, Some(primary_port));
    until("the replica is in step", || primary.cli(&["INFO", "replication"]).contains("state=online"));
    let (_stale, _watching) = (sentinel(stale_port, replica_port), sentinel(port, primary_port));
    let url = format!("redis+sentinel://127.0.0.1:{stale_port},127.0.0.1:{port}/mymaster");
    let (record, _) = dump(&url, "").await;
    assert_eq!(record.instants[0].of, format!("127.0.0.1:{primary_port}"));
    // Alone it is asked again until the time is over.
    let url = format!("redis+sentinel://127.0.0.1:{stale_port}/mymaster");
    let (result, parts) = try_dump(&url, "ready_timeout = '2s'").await;
    let error = result.unwrap_err();
    assert!(matches!(&error, SourceError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("which is no primary") && parts.is_none_or(|parts| parts.is_empty()), "{error}");
}

#[tokio::test]
async fn where_no_sentinel_helps_each_is_named_with_its_reason() {
    let [port, sentinel_port, down] = [(); 3].map(|()| free_port());
    let _server = server(port, None);
    let _watching = sentinel(sentinel_port, port);
    // The last one is no sentinel at all.
    let url = format!("redis+sentinel://127.0.0.1:{down},127.0.0.1:{sentinel_port},127.0.0.1:{port}/other");
    let (result, _) = try_dump(&url, "").await;
    let error = format!("{:?}", result.unwrap_err());
    for says in [
        format!("127.0.0.1:{down}: no connection"),
        format!("127.0.0.1:{sentinel_port}: it watches no service `other`"),
        format!("127.0.0.1:{port}: "),
    ] {
        assert!(error.contains(&says), "{says} in {error}");
    }
}

/// A primary and a sentinel that speak nothing but TLS, know us by certificate, and let in nobody without a user and a password of
/// that server: the default users are off at the end.
struct Guarded {
    certificates: tempfile::TempDir,
    port: u16,
    sentinel_port: u16,
    _servers: [TestRedis; 2],
}

impl Guarded {
    fn start() -> Self {
        let certificates = certificates();
        let [port, sentinel_port] = [(); 2].map(|()| free_port());
        let lines = tls_lines(certificates.path(), port);
        let node = TestRedis::start_with(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        node.cli(&["SET", "kept", "behind a lock"]);
        node.cli(&["ACL", "SETUSER", "watcher", "on", ">watched", "allchannels", "+@all"]);
        node.cli(&["ACL", "SETUSER", "keeper", "on", ">node-secret-1", "+psync", "+replconf", "+ping", "+info"]);
        node.cli(&["ACL", "SETUSER", "default", "off"]);
        let mut lines = tls_lines(certificates.path(), sentinel_port);
        lines.extend(
            [
                // The certificates are for a name, so the sentinel must give one.
                "sentinel resolve-hostnames yes",
                "sentinel announce-hostnames yes",
                &format!("sentinel monitor mymaster localhost {port} 1"),
                "sentinel auth-user mymaster watcher",
                "sentinel auth-pass mymaster watched",
            ]
            .map(str::to_owned),
        );
        let sentinel = TestRedis::start_with(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        until("the sentinel has logged in", || sentinel.cli(&["SENTINEL", "CKQUORUM", "mymaster"]).starts_with("OK"));
        let asker = ["ACL", "SETUSER", "asker", "on", ">sentinel-secret-2", "+sentinel|get-master-addr-by-name"];
        sentinel.cli(&asker);
        sentinel.cli(&["ACL", "SETUSER", "default", "off"]);
        Self { certificates, port, sentinel_port, _servers: [node, sentinel] }
    }

    fn url(&self, authority: &str) -> String {
        let file = |name: &str| self.certificates.path().join(name).display().to_string();
        let (ca, cert, key) = (file(authority), file("client.pem"), file("client.key"));
        let hosts = format!("keeper@localhost:{}", self.sentinel_port);
        format!("rediss+sentinel://{hosts}/mymaster?tls_ca={ca}&tls_cert={cert}&tls_key={key}")
    }

    /// Further lines of the job, with these passwords in files.
    fn passwords(&self, node: &str, sentinel: &str) -> String {
        let kept = |name: &str, password: &str| {
            let file = self.certificates.path().join(name);
            std::fs::write(&file, password).unwrap();
            format!("{{ file = {file:?} }}")
        };
        let (node, sentinel) = (kept("of-node", node), kept("of-sentinel", sentinel));
        format!("password = {node}\nsentinel_username = \"asker\"\nsentinel_password = {sentinel}")
    }
}

#[tokio::test]
async fn sentinels_and_servers_that_speak_tls_have_users_and_passwords_of_their_own() {
    let guarded = Guarded::start();
    let right = guarded.passwords("node-secret-1", "sentinel-secret-2");
    let url = guarded.url("ca.pem");
    let (record, parts) = dump(&url, &right).await;
    assert_eq!(record.instants[0].of, format!("localhost:{}", guarded.port));
    assert_eq!(groups(&record, &parts)["db0/string"].records, 1);
    assert!(preflight(&url, &right).await.warnings.is_empty());

    let (node, sentinel) = ("node-secret-1", "sentinel-secret-2");
    let without_tls = format!("redis+sentinel://keeper@localhost:{}/mymaster", guarded.sentinel_port);
    let foreign = guarded.url("other.pem");
    for (url, [of_node, of_sentinel], says) in [
        (&url, [node, ""], vec!["NOAUTH", "`sentinel_password`"]),
        (&url, [node, node], vec!["WRONGPASS", "`sentinel_password`"]),
        (&url, [sentinel, sentinel], vec!["it names localhost:", "WRONGPASS", "`password`"]),
        (&foreign, [node, sentinel], vec!["UnknownIssuer"]),
        (&without_tls, [node, sentinel], vec!["connection"]),
    ] {
        let lines = guarded.passwords(of_node, of_sentinel);
        let lines = if of_sentinel.is_empty() { lines.lines().next().unwrap().to_owned() } else { lines };
        let begun = Instant::now();
        let (result, parts) = try_dump(url, &lines).await;
        let error = result.unwrap_err();
        assert!(matches!(error, SourceError::Unreachable { .. }), "{error:?}");
        let text = format!("{error} {}", error.hint());
        for word in says {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(text.contains(&format!("localhost:{}", guarded.sentinel_port)), "{text}");
        for secret in [node, sentinel] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(parts.is_none_or(|parts| parts.is_empty()));
        // What no waiting mends is not waited for.
        assert!(begun.elapsed() < Duration::from_secs(20), "{text}");
    }
}
