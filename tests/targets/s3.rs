//! What a bucket owes beyond the conformance suite: networks and providers fail in ways that folders do not.

use std::time::{Duration, Instant};

use lifeboat::domain::Secret;
use lifeboat::system::process::Program;
use lifeboat::targets::s3::{Checksum, Credentials, Limits, S3Settings, S3Target};
use lifeboat::targets::{Target, TargetError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{MIB, assert_holds, files_below, object, pack, run_one_test};
use crate::support::s3::{ACCESS_KEY, Cut, Proxy, S3Server, SECRET_KEY, settings_at};

const NEVER: usize = usize::MAX;

/// As little patience as the tests of lasting failure need.
const IMPATIENT: Limits = Limits { tries: 3, retry_delay: Duration::from_millis(20), idle: Duration::from_millis(500) };

fn impatient(settings: &S3Settings) -> S3Target {
    S3Target::with_limits(settings, IMPATIENT).unwrap()
}

fn target(settings: &S3Settings) -> S3Target {
    S3Target::new(settings).unwrap()
}

#[tokio::test]
async fn two_prefixes_of_one_bucket_do_not_see_each_other() {
    let server = S3Server::start().await;
    let [one, other, whole] = ["prod", "production", ""].map(|prefix| target(&server.settings(prefix)));
    let object = pack(100);
    one.put(&object).await.unwrap();
    assert_eq!(other.list("").await.unwrap(), []);
    assert!(matches!(other.get(object.key(), 100).await, Err(TargetError::NotFound { .. })));
    assert_eq!(whole.list("").await.unwrap()[0].key.as_str(), format!("prod/{}", object.key()));
    assert_eq!((one.place().as_str(), whole.place().as_str()), ("s3://copies/prod", "s3://copies"));
}

#[tokio::test]
async fn the_server_verifies_the_checksums_that_are_configured() {
    let server = S3Server::start().await;
    for checksum in [Checksum::Crc32c, Checksum::Md5] {
        let target = target(&S3Settings { checksum, ..server.settings("") });
        for object in [object("lists/empty.sums", ""), pack(MIB)] {
            target.put(&object).await.unwrap();
            assert_holds(&target, &object).await;
        }
    }
}

#[tokio::test]
async fn wrong_credentials_are_denied_at_once_and_never_shown() {
    let server = S3Server::start().await;
    let wrong = [("test-access-key", "hunter2-wrong"), ("hunter2-unknown", "hunter2-wrong")];
    for (id, secret) in wrong {
        let keys = Credentials::Keys {
            access_key_id: Secret::new(id),
            secret_access_key: Secret::new(secret),
            session_token: Some(Secret::new("hunter2-token")),
        };
        let target = target(&S3Settings { credentials: keys, ..server.settings("") });
        let object = pack(100);
        let errors = [
            target.put(&object).await.unwrap_err(),
            target.get(object.key(), 100).await.unwrap_err(),
            target.list("").await.unwrap_err(),
            target.delete(object.key()).await.unwrap_err(),
            target.probe().await.unwrap_err(),
            target.initialise().await.unwrap_err(),
        ];
        for error in errors {
            let text = format!("{error} {error:?}");
            assert!(matches!(error, TargetError::Denied { .. }), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    assert_eq!(files_below(&server.bucket_folder()).len(), 0);
}

/// This binary, running one test of the suite where the environment holds the server's keys and a proxy that is down.
fn in_tempting_environment(test: &str) -> Program {
    Program::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("targets::{test}"), "--nocapture"])
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("http_proxy", "http://127.0.0.1:1")
        .env("no_proxy", "")
}

#[tokio::test]
async fn the_environment_changes_nothing_that_is_configured() {
    for test in
        ["s3::an_object_reads_back_as_it_was_written", "s3_only::wrong_credentials_are_denied_at_once_and_never_shown"]
    {
        run_one_test(in_tempting_environment(test)).await;
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test tells its child by the environment what to do")]
async fn keys_from_the_environment_are_used_when_they_are_asked_for() {
    if std::env::var("AWS_ACCESS_KEY_ID").is_ok_and(|id| id == ACCESS_KEY) {
        let server = S3Server::start().await;
        let target = target(&S3Settings { credentials: Credentials::Ambient, ..server.settings("") });
        let object = pack(100);
        target.put(&object).await.unwrap();
        return assert_holds(&target, &object).await;
    }
    let this = "s3_only::keys_from_the_environment_are_used_when_they_are_asked_for";
    run_one_test(in_tempting_environment(this)).await;
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_named() {
    let server = S3Server::start().await;
    let target = target(&S3Settings { bucket: "elsewhere".to_owned(), ..server.settings("") });
    for error in [target.list("").await.unwrap_err(), target.initialise().await.unwrap_err()] {
        assert_eq!(error.to_string(), "s3://elsewhere cannot be reached: there is no bucket `elsewhere`");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable_within_bounded_time() {
    let server = S3Server::start().await;
    let (address, begin) = (server.address(), Instant::now());
    drop(server);
    let target = target(&settings_at(address, ""));
    let object = pack(100);
    let (put, list, get) = tokio::join!(target.put(&object), target.list("packs/"), target.get(object.key(), 100));
    for error in [put.unwrap_err(), list.unwrap_err(), get.unwrap_err()] {
        assert!(matches!(&error, TargetError::Unreachable { why, .. } if why.contains("refused")), "{error}");
    }
    assert!(begin.elapsed() < Duration::from_mins(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_upload_that_is_cut_midway_is_sent_again_from_the_start() {
    let server = S3Server::start().await;
    let cut = Cut { request_bytes: 3 * MIB, reply_bytes: NEVER };
    let proxy = Proxy::start(server.address(), cut, 2).await;
    let target = target(&settings_at(proxy.address(), ""));
    let object = pack(8 * MIB);
    target.put(&object).await.unwrap();
    assert!(proxy.connections() >= 3, "{} connections", proxy.connections());
    assert_holds(&target, &object).await;
    assert_eq!(files_below(&server.bucket_folder()).len(), 1);
}

#[tokio::test]
async fn an_upload_that_is_always_cut_is_an_error_and_no_half_object_is_shown() {
    let server = S3Server::start().await;
    let cut = Cut { request_bytes: 3 * MIB, reply_bytes: NEVER };
    let proxy = Proxy::start(server.address(), cut, NEVER).await;
    let error = impatient(&settings_at(proxy.address(), "")).put(&pack(8 * MIB)).await.unwrap_err();
    assert!(matches!(error, TargetError::Unreachable { .. }), "{error}");
    assert_eq!(target(&server.settings("")).list("").await.unwrap(), []);
}

/// A close that is retried after a lost reply used to end in `NotFound` (opendal#5101).
#[tokio::test]
async fn an_upload_whose_answer_is_lost_is_found_whole_and_not_sent_again() {
    let server = S3Server::start().await;
    let cut = Cut { request_bytes: NEVER, reply_bytes: 0 };
    let proxy = Proxy::start(server.address(), cut, 1).await;
    let target = target(&settings_at(proxy.address(), ""));
    let object = pack(3 * MIB);
    target.put(&object).await.unwrap();
    assert_eq!(proxy.connections(), 2, "one that was cut, and one that asked");
    assert!(proxy.request_bytes() < 4 * MIB, "{} bytes were sent", proxy.request_bytes());
    assert_holds(&target, &object).await;
}

#[tokio::test]
async fn a_lost_answer_never_passes_an_older_object_of_the_same_size_for_the_new_one() {
    let server = S3Server::start().await;
    target(&server.settings("")).put(&object("RESTORE.md", "old")).await.unwrap();
    let cut = Cut { request_bytes: 0, reply_bytes: NEVER };
    let proxy = Proxy::start(server.address(), cut, 1).await;
    let target = target(&settings_at(proxy.address(), ""));
    let new = object("RESTORE.md", "new");
    target.put(&new).await.unwrap();
    assert_holds(&target, &new).await;
}

#[tokio::test]
async fn a_download_that_is_cut_midway_comes_back_whole() {
    let server = S3Server::start().await;
    let object = pack(8 * MIB);
    target(&server.settings("")).put(&object).await.unwrap();
    let cut = Cut { request_bytes: NEVER, reply_bytes: 3 * MIB };
    let proxy = Proxy::start(server.address(), cut, 1).await;
    let target = target(&settings_at(proxy.address(), ""));
    assert_holds(&target, &object).await;
    assert!(proxy.connections() >= 2, "{} connections", proxy.connections());
}

#[tokio::test]
async fn a_listing_that_is_cut_is_an_error_and_never_a_shorter_list() {
    let server = S3Server::start().await;
    let direct = target(&server.settings(""));
    for n in 0..50 {
        direct.put(&object(&format!("lists/{n:03}.sums"), "x")).await.unwrap();
    }
    let cut = Cut { request_bytes: NEVER, reply_bytes: 4000 };
    let once = Proxy::start(server.address(), cut, 1).await;
    assert_eq!(target(&settings_at(once.address(), "")).list("lists/").await.unwrap().len(), 50);
    let always = Proxy::start(server.address(), cut, NEVER).await;
    let error = impatient(&settings_at(always.address(), "")).list("lists/").await.unwrap_err();
    assert!(matches!(error, TargetError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_unreachable_within_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = impatient(&settings_at(listener.local_addr().unwrap(), ""));
    let begin = Instant::now();
    let object = pack(100);
    let (put, list, get) = tokio::join!(target.put(&object), target.list("packs/"), target.get(object.key(), 100));
    for error in [put.unwrap_err(), list.unwrap_err(), get.unwrap_err()] {
        assert!(matches!(error, TargetError::Unreachable { .. }), "{error:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

/// A login page that answers everything with success must not swallow a backup.
#[tokio::test]
async fn a_redirect_is_never_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let page = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = vec![0; 16 << 10];
            let read = client.read(&mut request).await.unwrap_or(0);
            let line = String::from_utf8_lossy(&request[..read]);
            let answer = if line.contains(" /login ") {
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
            } else {
                let to = format!("http://{address}/login");
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            };
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let target = target(&settings_at(address, ""));
    for error in [target.put(&pack(100)).await.unwrap_err(), target.list("").await.unwrap_err()] {
        assert!(matches!(&error, TargetError::Unreachable { why, .. } if why.contains("redirects")), "{error}");
    }
    page.abort();
}
