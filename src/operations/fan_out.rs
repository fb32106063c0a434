//! One stream of sealed objects to several targets: encrypted once, shared in memory, each target at its own pace within a
//! bound.
//!
//! Memory: the objects in flight, at most [`QUEUE`] + 1 of the same few packs for all targets together. A target that fails
//! is left behind, the others go on; when none is left the run stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::session::OpenTarget;
use crate::domain::SealedObject;
use crate::repository::RepositoryError;
use crate::targets::TargetError;

/// Objects that wait for one target while it stores another.
const QUEUE: usize = 1;

pub struct FanOut {
    workers: Vec<Worker>,
    stored_bytes: Arc<AtomicU64>,
}

struct Worker {
    target: OpenTarget,
    queue: mpsc::Sender<SealedObject>,
    task: JoinHandle<Result<(), TargetError>>,
}

/// What became of one target.
pub struct Delivered {
    pub target: OpenTarget,
    pub outcome: Result<(), TargetError>,
}

impl FanOut {
    pub fn start(targets: &[OpenTarget], cancel: &CancellationToken) -> Self {
        let workers = targets
            .iter()
            .map(|target| {
                let (queue, objects) = mpsc::channel(QUEUE);
                let task = tokio::spawn(store_all(target.clone(), objects, cancel.clone()));
                Worker { target: target.clone(), queue, task }
            })
            .collect();
        Self { workers, stored_bytes: Arc::default() }
    }

    /// Hands an object to every target that still works. Called from the sealing thread; blocks while queues are full.
    pub fn sender(&self) -> impl FnMut(SealedObject) -> Result<(), RepositoryError> + Send + use<> {
        let queues: Vec<_> = self.workers.iter().map(|worker| worker.queue.clone()).collect();
        let stored_bytes = Arc::clone(&self.stored_bytes);
        move |object| {
            stored_bytes.fetch_add(object.bytes().len() as u64, Ordering::Relaxed);
            let taken = queues.iter().filter(|queue| queue.blocking_send(object.clone()).is_ok()).count();
            if taken > 0 {
                Ok(())
            } else {
                Err(RepositoryError::Local {
                    what: "storing a pack".to_owned(),
                    why: "no target takes objects any more".to_owned(),
                })
            }
        }
    }

    /// Sends one object from async code.
    pub async fn send(&self, object: &SealedObject) {
        self.stored_bytes.fetch_add(object.bytes().len() as u64, Ordering::Relaxed);
        for worker in &self.workers {
            // A closed queue means that the target failed; `finish` says why.
            worker.queue.send(object.clone()).await.ok();
        }
    }

    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes.load(Ordering::Relaxed)
    }

    /// Waits until every target has stored everything or failed.
    pub async fn finish(self) -> Vec<Delivered> {
        let mut delivered = Vec::with_capacity(self.workers.len());
        for worker in self.workers {
            drop(worker.queue);
            let outcome = worker.task.await.unwrap_or_else(|why| {
                Err(TargetError::Other {
                    place: worker.target.target.place(),
                    what: "storing objects".to_owned(),
                    why: why.to_string(),
                })
            });
            delivered.push(Delivered { target: worker.target, outcome });
        }
        delivered
    }
}

async fn store_all(
    target: OpenTarget,
    mut objects: mpsc::Receiver<SealedObject>,
    cancel: CancellationToken,
) -> Result<(), TargetError> {
    let cancelled = || TargetError::Other {
        place: target.target.place(),
        what: "storing objects".to_owned(),
        why: "cancelled".to_owned(),
    };
    loop {
        let object = tokio::select! {
            () = cancel.cancelled() => return Err(cancelled()),
            object = objects.recv() => object,
        };
        let Some(object) = object else { return Ok(()) };
        tokio::select! {
            () = cancel.cancelled() => return Err(cancelled()),
            stored = target.target.put(&object) => stored?,
        }
    }
}
