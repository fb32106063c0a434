//! What a real server cannot be made to do: the peer is a script.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::*;

const MARK: &[u8; 40] = b"5d1c0a9be27f4386f0b1d2c3a4958677e8190a2b";

/// Answers `REPLCONF` and `PING`, then says `pieces` one by one, each after the other has been read.
async fn peer(mut server: DuplexStream, pieces: Vec<Vec<u8>>) {
    let mut seen = vec![];
    let mut answered = 0;
    loop {
        let mut buffer = [0; 512];
        let read = server.read(&mut buffer).await.unwrap();
        seen.extend_from_slice(&buffer[..read]);
        if read == 0 || memchr::memmem::find(&seen, b"SYNC").is_some() {
            break;
        }
        let commands = memchr::memmem::find_iter(&seen, b"\r\n*").count() + 1;
        for _ in answered..commands {
            server.write_all(b"+OK\r\n").await.unwrap();
        }
        answered = commands;
    }
    for piece in pieces {
        // The client may have given up already.
        drop(server.write_all(&piece).await);
        tokio::task::yield_now().await;
    }
}

fn options(stall: Option<Duration>) -> ConnectOptions {
    let options = ConnectOptions::parse("redis://scripted", None).unwrap();
    ConnectOptions { stall_timeout: stall, ..options }
}

/// Runs the handshake against a script and reads the RDB through blocks of `block` bytes.
async fn read(pieces: Vec<Vec<u8>>, block: usize) -> Result<(Vec<u8>, Transfer), WireError> {
    // A small pipe: pieces do not melt together.
    let (client, server) = tokio::io::duplex(1 << 16);
    let script = tokio::spawn(peer(server, pieces));
    let connection =
        Connection::over(Box::new(client), &options(Some(Duration::from_millis(300))), &CancellationToken::new());
    let read = async {
        let mut transfer = request(connection).await?;
        let mut whole = vec![];
        loop {
            let mut buffer = vec![];
            let filled = transfer.fill(&mut buffer, block).await?;
            assert!(buffer.len() <= block);
            whole.extend_from_slice(&buffer);
            if filled == Filled::Done {
                return Ok((whole, transfer));
            }
        }
    };
    let read = read.await;
    script.await.unwrap();
    read
}

fn rdb(bytes: usize) -> Vec<u8> {
    // Holds beginnings of the mark, so that a search that forgets what it held back loses bytes.
    MARK[..39].iter().copied().cycle().take(bytes).collect()
}

fn marked(rdb: &[u8]) -> Vec<u8> {
    [b"+FULLRESYNC 8f5a 14\r\n$EOF:", &MARK[..], b"\r\n", rdb, MARK].concat()
}

#[tokio::test]
async fn the_end_mark_is_found_wherever_it_is_split() {
    let content = rdb(200);
    let whole = marked(&content);
    let first = whole.len() - content.len() - MARK_BYTES - 3;
    for at in first..whole.len() {
        for block in [1, 39, 40, 1 << 20] {
            let pieces = vec![whole[..at].to_vec(), whole[at..].to_vec()];
            let (read, transfer) = read(pieces, block).await.unwrap();
            assert!(read == content, "split at {at}, blocks of {block}");
            assert_eq!(transfer.position(), Some(&Position { replication_id: "8f5a".into(), offset: 14 }));
        }
    }
    let bytewise = whole.iter().map(|byte| vec![*byte]).collect();
    assert!(read(bytewise, 7).await.unwrap().0 == content);
}

#[tokio::test]
async fn what_follows_the_mark_is_the_stream_and_not_the_data() {
    let content = rdb(100_000);
    let mut whole = marked(&content);
    whole.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    assert!(read(vec![whole], 4096).await.unwrap().0 == content);
}

#[tokio::test]
async fn an_empty_rdb_and_one_of_a_known_length_end_where_they_say() {
    let cases = [(0, 1), (1, 1), (200, 7), (300_000, 4096)];
    for (bytes, block) in cases {
        let content = rdb(bytes);
        assert!(read(vec![marked(&content)], block).await.unwrap().0 == content);
        let length = format!("+FULLRESYNC 8f5a 14\r\n${bytes}\r\n").into_bytes();
        let (whole, transfer) = read(vec![length, content.clone(), b"\n".to_vec()], block).await.unwrap();
        assert!(whole == content);
        assert_eq!(transfer.announced(), Some(bytes as u64));
    }
}

#[tokio::test]
async fn keep_alives_are_skipped_before_and_after_the_answer() {
    let pieces = ["\n", "\n\n", "+FULLRESYNC 8f5a 14\r\n", "\n", "\n", "$3\r\n", "abc"];
    let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    assert_eq!(read(pieces, 64).await.unwrap().0, b"abc");
}

#[tokio::test]
async fn keep_alives_hold_off_the_stall_and_silence_does_not() {
    let talk = |pauses: usize| async move {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        let connection =
            Connection::over(Box::new(client), &options(Some(Duration::from_millis(250))), &CancellationToken::new());
        let talking = tokio::spawn(async move {
            server.write_all(&b"+OK\r\n".repeat(5)).await.unwrap();
            for _ in 0..pauses {
                tokio::time::sleep(Duration::from_millis(100)).await;
                server.write_all(b"\n").await.unwrap();
            }
            if pauses > 0 {
                server.write_all(b"+FULLRESYNC 8f5a 14\r\n$0\r\n").await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        });
        let result = request(connection).await.map(drop);
        talking.await.unwrap();
        result
    };
    talk(6).await.unwrap();
    assert!(matches!(talk(0).await, Err(WireError::Stalled { .. })));
}

#[tokio::test]
async fn an_end_before_the_servers_own_end_is_an_error() {
    let content = rdb(500);
    let whole = marked(&content);
    for cut in [whole.len() - 1, whole.len() - MARK_BYTES, whole.len() - MARK_BYTES - 1, whole.len() - 300] {
        let error = read(vec![whole[..cut].to_vec()], 64).await.unwrap_err();
        assert!(error.to_string().ends_with("and before its end mark"), "{error}");
    }
    let error = read(vec![b"+FULLRESYNC 8f5a 14\r\n$501\r\n".to_vec(), content], 64).await.unwrap_err();
    assert!(error.to_string().ends_with("after 500 of 501 bytes of the RDB"), "{error}");
}

#[tokio::test]
async fn an_answer_that_begins_no_transfer_is_an_error_that_says_so() {
    for (answer, says) in [
        ("+CONTINUE\r\n", "`+CONTINUE` where a full synchronisation should begin"),
        ("+FULLRESYNC 8f5a\r\n", "`+FULLRESYNC 8f5a` where"),
        ("+FULLRESYNC 8f5a 14\r\n$EOF:tooshort\r\n", "`$EOF:tooshort` where"),
        ("+FULLRESYNC 8f5a 14\r\n$-1\r\n", "`$-1` where"),
        ("+FULLRESYNC 8f5a 14\r\n-ERR cannot fork\r\n", "`-ERR cannot fork` where"),
        ("-NOMASTERLINK Can't SYNC while not connected with my master\r\n", "NOMASTERLINK"),
        ("-NOPERM this user has no permissions to run the 'psync' command\r\n-NOPERM again\r\n", "'psync' command"),
    ] {
        let error = read(vec![answer.as_bytes().to_vec()], 64).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_psync_is_asked_for_sync() {
    let answer = b"-ERR unknown command 'PSYNC', with args beginning with: '?' '-1' \r\n\n$5\r\nhello".to_vec();
    let (whole, transfer) = read(vec![answer], 64).await.unwrap();
    assert_eq!((whole.as_slice(), transfer.position()), (&b"hello"[..], None));
}
