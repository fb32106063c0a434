//! The Redis client and the replication client against a real server.

use std::time::Duration;

use lifeboat::domain::Secret;
use lifeboat::sources::redis::replica::{self, Filled, Framing, Transfer};
use lifeboat::sources::redis::wire::{Code, ConnectOptions, Connection, ServerError, Value, WireError};
use tokio_util::sync::CancellationToken;

use crate::support::certificates::{certificates, tls_lines};
use crate::support::redis::TestRedis;

const LIMIT: Duration = Duration::from_secs(30);

fn options(url: &str, password: Option<&str>) -> ConnectOptions {
    ConnectOptions::parse(url, password.map(Secret::new)).unwrap()
}

async fn connect(url: &str, password: Option<&str>) -> Result<Connection, WireError> {
    Connection::connect(&options(url, password), &CancellationToken::new()).await
}

async fn open(options: &ConnectOptions) -> Result<Transfer, WireError> {
    replica::open(options, &CancellationToken::new(), LIMIT, |_| {}).await
}

/// The whole RDB and how it was framed.
async fn rdb(options: &ConnectOptions, block: usize) -> Result<(Vec<u8>, Framing), WireError> {
    let mut transfer = open(options).await?;
    let (mut whole, mut buffer) = (vec![], vec![]);
    loop {
        buffer.clear();
        let filled = transfer.fill(&mut buffer, block).await?;
        assert!(buffer.len() <= block);
        whole.extend_from_slice(&buffer);
        if filled == Filled::Done {
            return Ok((whole, transfer.framing().clone()));
        }
    }
}

/// A stock server loads these bytes and counts the keys of its first database.
fn keys_loaded(rdb: &[u8]) -> String {
    let mut server = TestRedis::prepared(&["rdbcompression yes"]);
    std::fs::write(server.folder().join("dump.rdb"), rdb).unwrap();
    server.resume();
    server.wait_until_loaded();
    server.cli(&["DBSIZE"])
}

#[tokio::test]
async fn replies_of_every_kind_come_back_and_errors_carry_their_code() {
    let server = TestRedis::start();
    let mut connection = connect(&server.url(), None).await.unwrap();
    let binary = b"\0\r\n$5\r\n\xff";
    assert_eq!(connection.call(&[b"SET", binary, binary]).await.unwrap(), Value::Simple("OK".into()));
    assert_eq!(connection.call(&[b"GET", binary]).await.unwrap(), Value::Bulk(binary.to_vec()));
    assert_eq!(connection.call(&[b"GET", b"none"]).await.unwrap(), Value::Null);
    assert_eq!(connection.call(&[b"STRLEN", binary]).await.unwrap(), Value::Integer(8));
    let big = vec![b'x'; 5 << 20];
    connection.call(&[b"SET", b"big", &big]).await.unwrap();
    assert_eq!(connection.call(&[b"GET", b"big"]).await.unwrap(), Value::Bulk(big));
    let error = connection.call(&[b"LLEN", b"big"]).await.unwrap_err();
    assert!(error.to_string().starts_with("`LLEN` was answered with `WRONGTYPE"), "{error}");
    let error = connection.call(&[b"NONSENSE", b"secret"]).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("secret")), (Some(Code::Unknown), false));
    connection.set_reply_bytes_max(1 << 20);
    let error = connection.call(&[b"GET", b"big"]).await.unwrap_err();
    assert!(matches!(error, WireError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_pipeline_keeps_order_over_many_windows_and_errors_do_not_end_it() {
    let server = TestRedis::start();
    let mut connection = connect(&server.url(), None).await.unwrap();
    let keys: Vec<Vec<u8>> = (0..5_000).map(|number| format!("key:{number}").into_bytes()).collect();
    let value = vec![b'v'; 900];
    let set = keys.iter().map(|key| vec![&b"SET"[..], key, &value]);
    connection.pipeline(set, |_, reply| reply.map(drop).map_err(WireError::from)).await.unwrap();
    let get = (0..5_000).map(|number| {
        let command: &[u8] = if number % 1000 == 7 { b"LLEN" } else { b"GETRANGE" };
        let mut command = vec![command, &keys[number]];
        if number % 1000 != 7 {
            command.extend([&b"0"[..], b"2"]);
        }
        command
    });
    let mut seen = vec![];
    let each = |number: usize, reply: Result<Value, ServerError>| {
        seen.push((number, reply.is_err()));
        Ok::<(), WireError>(())
    };
    connection.pipeline(get, each).await.unwrap();
    let expected: Vec<_> = (0..5_000).map(|number| (number, number % 1000 == 7)).collect();
    assert!(seen == expected);
    assert_eq!(connection.call(&[b"DBSIZE"]).await.unwrap(), Value::Integer(5_000));
}

#[tokio::test]
async fn logins_are_refused_with_a_reason_and_never_with_the_password() {
    let server = TestRedis::start_with(&["user default on >pw ~* +@all", "user bk on >pw2 +psync +replconf +ping"]);
    for (url, password, code) in [
        (server.url(), Some("wrong-hunter2"), Code::WrongPass),
        (server.url_as("bk"), Some("pw"), Code::WrongPass),
        (server.url_as("nobody"), Some("pw2"), Code::WrongPass),
    ] {
        let error = connect(&url, password).await.unwrap_err();
        assert_eq!(error.code(), Some(code));
        assert!(!error.to_string().contains(password.unwrap()), "{error}");
    }
    let mut connection = connect(&server.url(), None).await.unwrap();
    assert_eq!(connection.call(&[b"PING"]).await.unwrap_err().code(), Some(Code::NoAuth));
    assert_eq!(open(&options(&server.url(), None)).await.unwrap_err().code(), Some(Code::NoAuth));
    connect(&server.url(), Some("pw")).await.unwrap();
    // A server without AUTH repeats the arguments of what it does not know.
    let server = TestRedis::start_with(&["rename-command AUTH \"\""]);
    let error = connect(&server.url_as("bk"), Some("hunter2")).await.unwrap_err();
    assert_eq!((error.code(), format!("{error:?}").contains("hunter2")), (Some(Code::Unknown), false));
}

#[tokio::test]
async fn three_permissions_are_enough_for_a_dump_and_a_missing_one_is_named() {
    let server = TestRedis::start_with(&[
        "user default on nopass ~* +@all",
        "user bk on >pw +psync +replconf +ping",
        "user less on >pw +replconf +ping",
        "user bare on >pw +psync",
    ]);
    server.cli(&["SET", "a", "1"]);
    let (whole, _) = rdb(&options(&server.url_as("bk"), Some("pw")), 1 << 20).await.unwrap();
    assert_eq!(keys_loaded(&whole), "1");
    let error = open(&options(&server.url_as("less"), Some("pw"))).await.unwrap_err();
    assert!(error.is_forbidden() && error.to_string().contains("run the 'psync' command"), "{error}");
    // Without the others the server knows less about us and sends all the same.
    let (whole, framing) = rdb(&options(&server.url_as("bare"), Some("pw")), 1 << 20).await.unwrap();
    assert_eq!((keys_loaded(&whole).as_str(), matches!(framing, Framing::Length(_))), ("1", true));
}

#[tokio::test]
async fn both_ways_of_transfer_bring_an_rdb_that_a_stock_server_loads() {
    for (setting, marked) in [("repl-diskless-sync yes", true), ("repl-diskless-sync no", false)] {
        let server = TestRedis::start_with(&[setting, "rdbcompression no"]);
        server.cli(&["DEBUG", "POPULATE", "30000", "key", "200"]);
        for block in [1 << 20, 4099] {
            let (whole, framing) = rdb(&options(&server.url(), None), block).await.unwrap();
            assert_eq!(matches!(framing, Framing::Mark(_)), marked);
            assert!(whole.starts_with(b"REDIS0010") && whole.len() > 1 << 20);
            assert_eq!(keys_loaded(&whole), "30000");
        }
        let log = server.log();
        assert!(!log.contains("Connection with replica client id"), "the server lost us: {log}");
    }
}

#[tokio::test]
async fn an_empty_server_and_a_delay_are_no_obstacle() {
    let server = TestRedis::start_with(&["repl-diskless-sync yes", "repl-diskless-sync-delay 2"]);
    let start = std::time::Instant::now();
    let (whole, _) = rdb(&options(&server.url(), None), 1 << 20).await.unwrap();
    assert!(start.elapsed() > Duration::from_secs(1), "the delay was meant to be waited for");
    assert_eq!(keys_loaded(&whole), "0");
}

#[tokio::test]
async fn a_server_that_is_down_or_dies_in_the_middle_is_an_error() {
    for setting in ["repl-diskless-sync yes", "repl-diskless-sync no"] {
        // The saving child sleeps after every key, so that there is a middle.
        let mut server = TestRedis::start_with(&[setting, "rdb-key-save-delay 200", "rdbcompression no"]);
        server.cli(&["DEBUG", "POPULATE", "20000", "key", "2000"]);
        if setting.ends_with("no") {
            server.cli(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
        }
        let mut transfer = open(&options(&server.url(), None)).await.unwrap();
        let mut buffer = vec![];
        assert_eq!(transfer.fill(&mut buffer, 100_000).await.unwrap(), Filled::More);
        server.kill();
        let error = loop {
            buffer.clear();
            match transfer.fill(&mut buffer, 1 << 20).await {
                Ok(filled) => assert_eq!(filled, Filled::More, "{setting}: a half RDB passed for a whole one"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("of the RDB"), "{error}");
        let error = connect(&server.url(), None).await.unwrap_err();
        assert!(matches!(error, WireError::Connect { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_loads_is_waited_for_within_the_limit() {
    let mut server = TestRedis::start();
    server.cli(&["DEBUG", "POPULATE", "20000", "key", "10"]);
    server.cli(&["SAVE"]);
    server.kill();
    // The server loads for two seconds.
    let mut server = {
        let rdb = std::fs::read(server.folder().join("dump.rdb")).unwrap();
        let server = TestRedis::prepared(&["key-load-delay 100", "loading-process-events-interval-bytes 1024"]);
        std::fs::write(server.folder().join("dump.rdb"), rdb).unwrap();
        server
    };
    server.resume();
    let mut told = vec![];
    let brief =
        replica::open(&options(&server.url(), None), &CancellationToken::new(), Duration::from_millis(300), |_| {})
            .await
            .unwrap_err();
    assert!(matches!(&brief, WireError::NotReady { why, .. } if why.contains("LOADING")), "{brief}");
    let mut transfer =
        replica::open(&options(&server.url(), None), &CancellationToken::new(), LIMIT, |error| told.push(error.code))
            .await
            .unwrap();
    let mut whole = vec![];
    assert_eq!(transfer.fill(&mut whole, usize::MAX).await.unwrap(), Filled::Done);
    assert_eq!((told, keys_loaded(&whole).as_str()), (vec![Code::Loading], "20000"));
}

#[tokio::test]
async fn a_replica_without_its_primary_is_waited_for_within_the_limit() {
    let orphan = TestRedis::start_with(&["replicaof 127.0.0.1 1"]);
    let error =
        replica::open(&options(&orphan.url(), None), &CancellationToken::new(), Duration::from_millis(500), |_| {})
            .await
            .unwrap_err();
    assert!(matches!(&error, WireError::NotReady { why, .. } if why.contains("NOMASTERLINK")), "{error}");
}

#[tokio::test]
async fn cancelling_ends_every_wait_at_once() {
    let server = TestRedis::start_with(&["repl-diskless-sync-delay 20"]);
    let (options, cancel) = (options(&server.url(), None), CancellationToken::new());
    let waiting = replica::open(&options, &cancel, LIMIT, |_| {});
    let cancelled = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    };
    let start = std::time::Instant::now();
    let (result, ()) = tokio::join!(waiting, cancelled);
    assert!(matches!(result, Err(WireError::Cancelled)));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn tls_checks_the_server_and_shows_a_client_certificate() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tls = tls_lines(certificates.path(), port);
    let server = TestRedis::start_with(&tls.iter().map(String::as_str).collect::<Vec<_>>());
    server.cli(&["SET", "a", "1"]);
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let url = format!("rediss://localhost:{port}?tls_ca={ca}&tls_cert={cert}&tls_key={key}");
    let (whole, _) = rdb(&options(&url, None), 1 << 20).await.unwrap();
    assert_eq!(keys_loaded(&whole), "1");

    let ask = |url: String| async move {
        let mut connection = connect(&url, None).await?;
        connection.call(&[b"PING"]).await
    };
    let other =
        ask(format!("rediss://localhost:{port}?tls_ca={}&tls_cert={cert}&tls_key={key}", file("other.pem"))).await;
    assert!(other.unwrap_err().to_string().contains("UnknownIssuer"));
    let name = ask(format!("rediss://127.0.0.1:{port}?tls_ca={ca}&tls_cert={cert}&tls_key={key}")).await;
    assert!(name.unwrap_err().to_string().contains("not valid for name"));
    let unknown = ask(format!("rediss://localhost:{port}?tls_ca={ca}")).await;
    assert!(matches!(unknown, Err(WireError::Broken(_) | WireError::Tls { .. })), "{unknown:?}");
    let plain = ask(format!("redis://localhost:{port}")).await;
    assert!(plain.is_err());
    let half = ask(format!("rediss://localhost:{port}?tls_ca={ca}&tls_cert={cert}")).await;
    assert!(half.unwrap_err().to_string().contains("go together"));
}
