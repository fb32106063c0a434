//! A socket in front of a server's, which lets a test act at one exact moment: just before a statement reaches the server.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

type Act = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) struct Relay {
    folder: tempfile::TempDir,
    /// What is done, once it is done no more.
    act: Arc<Mutex<Option<Act>>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Completes `act` before the first statement that begins with `statement` is passed on to the server at `socket`.
    pub(crate) fn before(socket: PathBuf, statement: &str, act: impl Future<Output = ()> + Send + 'static) -> Self {
        let folder = tempfile::Builder::new().prefix("lbr-").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let act: Arc<Mutex<Option<Act>>> = Arc::new(Mutex::new(Some(Box::pin(act))));
        let (pending, statement) = (Arc::clone(&act), statement.as_bytes().to_vec());
        let task = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                connections.spawn(pass_on(client, server, statement.clone(), Arc::clone(&pending)));
            }
        });
        Self { folder, act, task }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}", self.folder.path().display())
    }

    /// Whether the moment came: a test without it shows nothing.
    pub(crate) async fn has_acted(&self) -> bool {
        self.act.lock().await.is_none()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(client: UnixStream, server: UnixStream, statement: Vec<u8>, act: Arc<Mutex<Option<Act>>>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            // `Q`, four bytes of length, the text: one small write of the client, and so one read here.
            if buffer[..read].windows(statement.len()).any(|window| window == statement)
                && let Some(act) = act.lock().await.take()
            {
                act.await;
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        drop(tokio::io::copy(&mut from_server, &mut to_client).await);
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
