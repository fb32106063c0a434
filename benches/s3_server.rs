//! An S3 server for the bench and the demo: serves the folders in a folder as buckets on a loopback port, which it prints, until its
//! input ends.
//!
//! `s3_server FOLDER KEY SECRET`; without the last, the secret is what the environment says as `S3_SECRET`.

use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("s3_server FOLDER KEY [SECRET]");
    let (folder, key) = (PathBuf::from(next()?), next()?);
    let secret = next().map_or_else(|_| environment("S3_SECRET"), Ok)?;
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).map_err(|error| format!("{error:?}"))?);
    service.set_auth(SimpleAuth::from_single(key, secret));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    print(&listener.local_addr()?.to_string());
    let mut ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    loop {
        tokio::select! {
            _ = &mut ended => return Ok(()),
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                // Else an answer in two pieces waits for an acknowledgement in between.
                socket.set_nodelay(true)?;
                let service = service.clone();
                tokio::spawn(async move {
                    // A client that goes away is nobody's concern.
                    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await);
                });
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "whoever started it waits for the address")]
fn print(address: &str) {
    println!("{address}");
}

#[expect(clippy::disallowed_methods, reason = "a program of its own")]
fn environment(name: &str) -> Result<String, std::env::VarError> {
    std::env::var(name)
}
