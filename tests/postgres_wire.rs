//! The wire client against a real server.

use bytes::Bytes;
use lifeboat::domain::{Block, Secret};
use lifeboat::sources::postgres::wire::{
    ConnectOptions, Connection, Filled, Host, WireError, refuse_transaction_pooling,
};
use tokio_util::sync::CancellationToken;

use crate::support::postgres::TestServer;

const BLOCK: usize = 256 << 10;

fn cancel() -> CancellationToken {
    CancellationToken::new()
}

/// Reads a whole COPY through small blocks: the bytes, the row lengths, the server's count.
async fn copy_all(
    connection: &mut Connection,
    sql: &str,
    block_bytes: usize,
) -> Result<(Vec<u8>, Vec<usize>, u64), WireError> {
    let mut copy = connection.copy_out(sql).await?;
    let (mut data, mut ends) = (Vec::new(), vec![0]);
    let mut block = Block::default();
    loop {
        block.clear();
        let filled = copy.fill(&mut block, block_bytes).await?;
        assert!(block.data.len() <= block_bytes);
        ends.extend(block.record_ends.iter().map(|end| data.len() + *end as usize));
        data.extend_from_slice(&block.data);
        if let Filled::Done { rows } = filled {
            let lengths = ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(ends.last(), Some(&data.len()), "the last row is whole");
            return Ok((data, lengths, rows));
        }
    }
}

#[tokio::test]
async fn rows_pass_through_blocks_of_any_size_whole_and_in_order() {
    let server = TestServer::start();
    let mut connection = server.connect("postgres").await;
    let sql = "COPY (SELECT n, repeat(chr(97 + n % 26), n * 37 % 9001) FROM generate_series(1, 3000) n) TO STDOUT";
    let (whole, lengths, rows) = copy_all(&mut connection, sql, BLOCK).await.unwrap();
    assert_eq!((rows, lengths.len()), (3000, 3000));
    for block in [1, 7, 4096, 9000] {
        let again = copy_all(&mut connection, sql, block).await.unwrap();
        assert!(again.0 == whole && again.1 == lengths && again.2 == rows, "blocks of {block}");
    }
    let huge = copy_all(&mut connection, "COPY (SELECT repeat('x', 64 << 20)) TO STDOUT", BLOCK).await.unwrap();
    assert_eq!((huge.1, huge.2), (vec![(64 << 20) + 1], 1));
}

#[tokio::test]
async fn an_error_after_rows_were_sent_is_an_error_and_the_connection_lives() {
    let server = TestServer::start();
    let mut connection = server.connect("postgres").await;
    let sql = "COPY (SELECT 1 / (50000 - n) FROM generate_series(1, 100000) n) TO STDOUT";
    let error = copy_all(&mut connection, sql, BLOCK).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("22012"));
    assert_eq!(connection.query_one("SELECT 'still here'").await.unwrap().text(0), Some("still here"));
}

#[tokio::test]
async fn a_backend_terminated_mid_copy_breaks_the_stream() {
    let server = TestServer::start();
    let mut connection = server.connect("postgres").await;
    let pid = connection.process_id();
    let mut copy = connection
        .copy_out("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000000)) TO STDOUT")
        .await
        .unwrap();
    let mut block = Block::default();
    assert_eq!(copy.fill(&mut block, BLOCK).await.unwrap(), Filled::More);
    server.sql("postgres", &format!("SELECT pg_terminate_backend({pid})")).await;
    let error = loop {
        block.clear();
        match copy.fill(&mut block, BLOCK).await {
            Ok(Filled::More) => {}
            Ok(done) => panic!("{done:?}"),
            Err(error) => break error,
        }
    };
    // A backend that is blocked in the middle of a message cannot say why it goes.
    assert!(error.sqlstate() == Some("57P01") || matches!(error, WireError::Broken(_)), "{error}");
}

#[tokio::test]
async fn what_copy_gives_copy_takes_and_a_bad_row_is_reported_before_the_end() {
    let server = TestServer::start();
    let mut connection = server.connect("postgres").await;
    connection.execute("CREATE TABLE t (n int)").await.unwrap();
    let mut copy = connection.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send(Bytes::from_static(b"1\n2")).await.unwrap();
    copy.send(Bytes::from(vec![b'0'; 3])).await.unwrap();
    copy.send(Bytes::from_static(b"\n3\n")).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 3);
    let mut copy = connection.copy_in("COPY t FROM STDIN").await.unwrap();
    let bad = Bytes::from(b"not a number\n".repeat(100_000));
    let mut failed = copy.send(bad.clone()).await;
    for _ in 0..1000 {
        if failed.is_err() {
            break;
        }
        failed = copy.send(Bytes::from_static(b"7\n")).await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(failed.unwrap_err().sqlstate(), Some("22P02"));
    let mut copy = connection.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send(Bytes::from_static(b"9\n")).await.unwrap();
    copy.abort("changed my mind").await.unwrap();
    assert_eq!(connection.query_one("SELECT sum(n) FROM t").await.unwrap().text(0), Some("2004"));
}

#[tokio::test]
async fn a_scram_password_is_proven_and_a_wrong_one_refused_by_name() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE ROLE \"o'dd\" LOGIN PASSWORD 'pässword'").await;
    server.sql("postgres", "SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'md5word'").await;
    server.set_hba("local all postgres trust\nlocal all old md5\nlocal all all scram-sha-256\n").await;
    for (user, word) in [("o'dd", "pässword"), ("old", "md5word")] {
        let options = ConnectOptions::parse(&server.url_as(user, "postgres"), Some(Secret::new(word))).unwrap();
        let mut connection = Connection::connect(&options, &cancel()).await.unwrap();
        assert!(connection.query_one("SELECT current_user").await.is_ok());
        let wrong = ConnectOptions { password: Some(Secret::new("hunter2")), ..options.clone() };
        let error = Connection::connect(&wrong, &cancel()).await.unwrap_err();
        assert_eq!(error.sqlstate(), Some("28P01"));
        assert!(!error.to_string().contains("hunter2"));
        let none = ConnectOptions { password: None, ..options };
        assert!(matches!(Connection::connect(&none, &cancel()).await, Err(WireError::Auth { .. })));
    }
}

#[tokio::test]
async fn a_silent_server_is_a_stall_and_a_cancelled_wait_ends_at_once() {
    let server = TestServer::start();
    let token = cancel();
    let mut options = ConnectOptions::parse(&server.url("postgres"), None).unwrap();
    options.stall_timeout = Some(std::time::Duration::from_millis(200));
    let mut connection = Connection::connect(&options, &token).await.unwrap();
    assert!(matches!(connection.query("SELECT pg_sleep(30)").await, Err(WireError::Stalled { .. })));
    assert!(matches!(connection.query("SELECT 1").await, Err(WireError::Broken(_))), "half an answer is not skipped");
    options.stall_timeout = None;
    let mut connection = Connection::connect(&options, &token).await.unwrap();
    let handle = connection.cancel_handle();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        handle.cancel().await.unwrap();
    });
    assert_eq!(connection.query("SELECT pg_sleep(30)").await.unwrap_err().sqlstate(), Some("57014"));
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        token.cancel();
    });
    assert!(matches!(connection.query("SELECT pg_sleep(30)").await, Err(WireError::Cancelled)));
}

#[tokio::test]
async fn nulls_many_rows_and_several_statements_come_back_as_sent() {
    let server = TestServer::start();
    let mut connection = server.connect("postgres").await;
    let rows = connection.query("SELECT null, '', 'ü'; SELECT 2").await.unwrap();
    assert_eq!(
        (rows[0].text(0), rows[0].text(1), rows[0].text(2), rows[1].text(0)),
        (None, Some(""), Some("ü"), Some("2"))
    );
    let mut sum = 0_u64;
    connection
        .query_each("SELECT n FROM generate_series(1, 100000) n", |row| {
            sum += row.number::<u64>(0)?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(sum, 5_000_050_000);
    assert_eq!(connection.execute("CREATE TABLE t AS SELECT generate_series(1, 7)").await.unwrap(), 7);
}

/// What a pooler in statement mode does: greets every client itself and runs all their queries on one backend.
async fn pooler(socket: std::path::PathBuf, server: std::path::PathBuf) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    async fn message(stream: &mut tokio::net::UnixStream) -> Option<Vec<u8>> {
        let mut message = vec![0; 5];
        stream.read_exact(&mut message).await.ok()?;
        let length = u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize;
        message.resize(1 + length, 0);
        stream.read_exact(&mut message[5..]).await.ok()?;
        Some(message)
    }
    let mut backend = tokio::net::UnixStream::connect(server).await.unwrap();
    backend.write_all(b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0").await.unwrap();
    while message(&mut backend).await.unwrap()[0] != b'Z' {}
    let backend = std::sync::Arc::new(tokio::sync::Mutex::new(backend));
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    for client_id in 1_u32.. {
        let (mut client, _) = listener.accept().await.unwrap();
        let backend = std::sync::Arc::clone(&backend);
        tokio::spawn(async move {
            let length = client.read_u32().await.unwrap() as usize;
            client.read_exact(&mut vec![0; length - 4]).await.unwrap();
            client.write_all(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c").await.unwrap();
            client.write_all(&[client_id.to_be_bytes(), [0; 4]].concat()).await.unwrap();
            client.write_all(b"Z\0\0\0\x05I").await.unwrap();
            while let Some(query) = message(&mut client).await {
                if query[0] != b'Q' {
                    break;
                }
                let mut backend = backend.lock().await;
                backend.write_all(&query).await.unwrap();
                loop {
                    let answer = message(&mut backend).await.unwrap();
                    client.write_all(&answer).await.unwrap();
                    if answer[0] == b'Z' {
                        break;
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn a_pooler_that_shares_backends_is_refused_and_a_direct_connection_is_not() {
    let server = TestServer::start();
    let direct = ConnectOptions::parse(&server.url("postgres"), None).unwrap();
    let mut connection = Connection::connect(&direct, &cancel()).await.unwrap();
    refuse_transaction_pooling(&mut connection, &direct, &cancel()).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let Host::Unix(server_folder) = &direct.host else { panic!("the test server listens on a socket") };
    tokio::spawn(pooler(folder.path().join(".s.PGSQL.5432"), server_folder.join(".s.PGSQL.5432")));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let pooled = ConnectOptions { host: Host::Unix(folder.path().to_owned()), ..direct };
    let mut connection = Connection::connect(&pooled, &cancel()).await.unwrap();
    let error = refuse_transaction_pooling(&mut connection, &pooled, &cancel()).await.unwrap_err();
    assert!(matches!(error, WireError::Pooled(_)) && error.to_string().contains("PgBouncer"), "{error}");
}
