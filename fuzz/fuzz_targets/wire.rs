//! The Postgres client against a server that says anything: it ends with an error or a result, never with a panic, and takes
//! no memory for a length that does not come. The input is everything that the server sends.
#![no_main]

use std::path::Path;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use lifeboat::domain::Block;
use lifeboat::sources::postgres::wire::{ConnectOptions, Connection, Filled};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let limit = Duration::from_secs(5);
    let ended = runtime.block_on(tokio::time::timeout(limit, converse(folder.path(), data.to_vec())));
    assert!(ended.is_ok(), "the client waits although the server has closed the connection");
});

async fn converse(folder: &Path, says: Vec<u8>) {
    let listener = tokio::net::UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("a socket");
    let server = async {
        let Ok((mut socket, _)) = listener.accept().await else { return };
        // Both sides may hang up at any time.
        let _gone = socket.write_all(&says).await;
        let _gone = socket.shutdown().await;
        let mut ignored = vec![];
        let _gone = socket.read_to_end(&mut ignored).await;
    };
    let host = folder.to_str().expect("temporary folders have plain names").replace('/', "%2F");
    let options = ConnectOptions::parse(&format!("postgres://u:p@{host}:5432/d"), None).expect("a plain URL");
    let client = async {
        let Ok(mut connection) = Connection::connect(&options, &CancellationToken::new()).await else { return };
        let _result = connection.query("select 1").await;
        if let Ok(mut rows) = connection.copy_out("copy t to stdout").await {
            let mut block = Block::default();
            while let Ok(Filled::More) = rows.fill(&mut block, 64 << 10).await {
                block.clear();
            }
        }
    };
    tokio::join!(server, client);
}
