//! What a private server has, whatever its engine: a folder of its own, a guard that ends it, a time limit.
//!
//! An engine says by [`Engine`] what only it knows; everything that a lease promises is kept here.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::folder::Folder;
use super::{Lease, LeaseRequest, ScratchError, guard};
use crate::domain::Place;
use crate::system::process::{Program, Running, StdinKind};
use crate::system::user::ServerUser;

const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(10);
/// What a server process maps beside its data and buffers.
const PROCESS_OVERHEAD_BYTES: u64 = 512 << 20;

/// What a private server of one engine needs to be told apart by. `folder` is the server's.
pub(super) trait Engine: Send + Sync + 'static {
    /// As in `[scratch.<engine>]`.
    const NAME: &'static str;
    /// Whether the server takes clients by now.
    fn is_ready(&self, folder: &Path) -> impl Future<Output = bool> + Send;
    /// What the machine lacks, where that is why the server did not start.
    fn lacks(log: &str) -> Option<String>;
    fn place(&self, folder: &Path, database: &str) -> Place;
    /// The folder of the server's own programs.
    fn programs(&self) -> Option<&Path>;
    /// The commands that reach a server that is kept, and that end it.
    fn commands(&self, folder: &Path) -> [String; 2];
}

/// `scratch postgres`.
pub(super) fn what<E: Engine>() -> String {
    format!("scratch {}", E::NAME)
}

/// A folder of this engine's that `bytes` of content fit into.
pub(super) fn folder<E: Engine>(
    request: &LeaseRequest,
    bytes: u64,
    user: Option<&ServerUser>,
) -> Result<Folder, ScratchError> {
    let folder = Folder::make(&request.root, E::NAME, user)?;
    folder.check_free(bytes)?;
    Ok(folder)
}

/// How much address space a process may take whose policy allows these bytes.
pub(super) fn address_space(memory_bytes: u64) -> u64 {
    memory_bytes + memory_bytes / 4 + PROCESS_OVERHEAD_BYTES
}

/// A private server under its guard.
pub(super) struct PrivateServer<E: Engine> {
    // Ends before the folder goes: fields are dropped in this order.
    guard: Running,
    folder: Folder,
    pub(super) engine: E,
    facts: Vec<String>,
    deadline: Instant,
}

impl<E: Engine> PrivateServer<E> {
    /// Starts `server`, which is a command line under [`guard::program`], and waits until it takes clients.
    pub(super) async fn start(
        engine: E,
        folder: Folder,
        server: &Program,
        product: &str,
        limit: Duration,
    ) -> Result<Self, ScratchError> {
        let guard = server.start(StdinKind::Piped).map_err(|error| ScratchError::failed(what::<E>(), error))?;
        let facts = vec![format!("{product} in a private folder, without network")];
        let mut started = Self { guard, folder, engine, facts, deadline: Instant::now() + limit };
        started.wait_until_ready().await?;
        Ok(started)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn wait_until_ready(&mut self) -> Result<(), ScratchError> {
        let start = Instant::now();
        loop {
            if self.engine.is_ready(self.folder.path()).await {
                return Ok(());
            }
            if self.guard.has_ended() {
                return Err(self.start_error().await);
            }
            if start.elapsed() > START_LIMIT {
                return Err(ScratchError::Limit(format!("{} s for its start", START_LIMIT.as_secs())));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    async fn start_error(&self) -> ScratchError {
        let log = guard::last_words(self.folder.path()).await;
        match E::lacks(&log) {
            Some(lack) => ScratchError::Lacks(vec![lack]),
            None => ScratchError::failed(format!("{} did not start", what::<E>()), log),
        }
    }

    async fn stop(&mut self) {
        // The guard sees its pipe close and ends the server; its status says only that.
        self.guard.stdin = None;
        if tokio::time::timeout(STOP_LIMIT, self.guard.finish()).await.is_err() {
            self.guard.stop(Signal::KILL).await;
        }
    }
}

#[async_trait]
impl<E: Engine> Lease for PrivateServer<E> {
    fn place(&self, database: &str) -> Place {
        self.engine.place(self.folder.path(), database)
    }

    fn programs(&self) -> Vec<PathBuf> {
        self.engine.programs().map(Path::to_owned).into_iter().collect()
    }

    fn facts(&self) -> &[String] {
        &self.facts
    }

    async fn expired(&self) {
        tokio::time::sleep_until(self.deadline).await;
    }

    async fn release(mut self: Box<Self>) -> Result<(), ScratchError> {
        self.stop().await;
        let Self { folder, .. } = *self;
        tokio::task::spawn_blocking(move || folder.remove())
            .await
            .unwrap_or_else(|error| Err(ScratchError::failed(what::<E>(), error)))
    }

    async fn keep(mut self: Box<Self>) -> Result<String, ScratchError> {
        let Some(mut pipe) = self.guard.stdin.take() else {
            return Err(ScratchError::failed(what::<E>(), "its guard is gone"));
        };
        let failed = |error| ScratchError::failed(what::<E>(), error);
        pipe.write_all(b"keep\n").await.map_err(failed)?;
        pipe.flush().await.map_err(failed)?;
        let Self { guard, folder, engine, .. } = *self;
        let path = folder.keep()?;
        guard.detach();
        let ([reach, end], path) = (engine.commands(&path), path.display());
        Ok(format!("{} is kept; reach it with\n  {reach}\nand end it with\n  {end}; rm -r {path}", what::<E>()))
    }
}

impl<E: Engine> std::fmt::Debug for PrivateServer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", what::<E>(), self.folder.path().display())
    }
}
