//! Hands a stored stream to a command: to its end, and the end only once the whole was found to be what was backed up.
//!
//! A thread reads and hashes; what it reads waits in a short queue. Where the stream turns out damaged, or somebody ends us, the
//! command is killed before its input ends, so that it never keeps half a stream as a whole one.
//! Memory: [`PIECES`] pieces of the store that wait, one that is being written, one that is being read: a few MiB each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::launch::Launch;
use super::record;
use crate::domain::{Fingerprint, PartStore, StoreError};
use crate::sources::{Context, SourceError};
use crate::system::process::{Ended, Guarded};

/// Pieces between the store and the command.
const PIECES: usize = 1;

/// What became of the stream.
pub(super) struct Fed {
    /// As recorded; where the stream was read to its end, that is what left the store.
    pub(super) fingerprint: Fingerprint,
    /// Within that, what the command read.
    pub(super) read_bytes: u64,
    /// `None` where it had to be killed at its time limit.
    pub(super) ended: Option<Ended>,
    pub(super) said: String,
}

/// What happens to the rest of a stream that the command no longer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is read and compared all the same.
    Checked,
    Left,
}

/// Runs the command on the stream.
pub(super) async fn feed(
    context: &Context,
    launch: &Launch,
    limit: Duration,
    store: Arc<dyn PartStore>,
    rest: Rest,
) -> Result<Fed, SourceError> {
    let failed =
        |why: String| SourceError::Failed { what: format!("command {}", launch.shown), why, hint: String::new() };
    let mut command = launch.program.start_fed().map_err(|error| failed(error.to_string()))?;
    let (to_command, pieces) = mpsc::channel(PIECES);
    let mut reader = tokio::task::spawn_blocking(move || read(store.as_ref(), &to_command, rest));
    let deadline = tokio::time::Instant::now() + limit;
    let mut written = 0;
    let timed_out = tokio::select! {
        biased;
        () = context.cancel.cancelled() => {
            command.stop().await;
            return Err(SourceError::Cancelled);
        }
        () = tokio::time::sleep_until(deadline) => true,
        () = write(&mut command, pieces, &mut written) => false,
    };
    let killed = if timed_out { Some(kill(launch, &mut command, written).await) } else { None };
    // Nobody takes pieces any more, so the thread reads on to the end, or has done so.
    let checked = tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(SourceError::Cancelled),
        checked = &mut reader => checked.unwrap_or_else(|error| Err(failed(error.to_string()))),
    };
    let fingerprint = match checked {
        Ok(fingerprint) => fingerprint,
        Err(error) => {
            command.stop().await;
            return Err(error);
        }
    };
    if let Some((read_bytes, said)) = killed {
        return Ok(Fed { fingerprint, read_bytes, ended: None, said });
    }
    // Without its watcher nothing holds the input open, and it ends all the same.
    command.end_input().ok();
    let waited = tokio::select! {
        biased;
        () = context.cancel.cancelled() => {
            command.stop().await;
            return Err(SourceError::Cancelled);
        }
        waited = tokio::time::timeout_at(deadline, command.exited()) => waited,
    };
    if waited.is_err() {
        let (read_bytes, said) = kill(launch, &mut command, written).await;
        return Ok(Fed { fingerprint, read_bytes, ended: None, said });
    }
    let read_bytes = written.saturating_sub(command.unread_bytes());
    let ended = command.end().await.map_err(|error| failed(error.to_string()))?;
    let said = launch.hidden.last_words(&ended.said);
    Ok(Fed { fingerprint, read_bytes, ended: Some(ended), said })
}

/// Kills it; how much it had read, and its last words.
async fn kill(launch: &Launch, command: &mut Guarded, written: u64) -> (u64, String) {
    let read_bytes = written.saturating_sub(command.unread_bytes());
    let said = command.stop().await.map(|ended| ended.said).unwrap_or_default();
    (read_bytes, launch.hidden.last_words(&said))
}

/// Writes until there is no more, or nobody reads any more.
async fn write(command: &mut Guarded, mut pieces: mpsc::Receiver<Bytes>, written: &mut u64) {
    let Some(mut stdin) = command.stdin.take() else { return };
    while let Some(mut piece) = pieces.recv().await {
        while !piece.is_empty() {
            let wrote = tokio::select! {
                biased;
                wrote = stdin.write(&piece) => wrote,
                () = command.exited() => return,
            };
            match wrote {
                Ok(wrote) => {
                    *written += wrote as u64;
                    drop(piece.split_to(wrote));
                }
                Err(_) => return,
            }
        }
    }
    // Stays open until all was checked.
    command.stdin = Some(stdin);
}

/// Reads the whole stream for nobody, and finds it equal to what was backed up.
pub(super) async fn check(store: Arc<dyn PartStore>) -> Result<Fingerprint, SourceError> {
    let (to_nobody, _) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || read(store.as_ref(), &to_nobody, Rest::Checked));
    reading.await.unwrap_or_else(|error| {
        let why = error.to_string();
        Err(SourceError::Failed { what: "reading the stream".to_owned(), why, hint: String::new() })
    })
}

/// Reads the part, and finds it equal to what was backed up before anybody may call it whole.
fn read(store: &dyn PartStore, to_command: &mpsc::Sender<Bytes>, rest: Rest) -> Result<Fingerprint, SourceError> {
    let part = record::part();
    let recorded = store.fingerprint(&part).ok_or_else(|| StoreError::NoSuchPart(part.to_string()))?;
    let mut reader = store.open(&part)?;
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let mut taken = true;
    while let Some(piece) = reader.next_piece()? {
        hasher.update(&piece);
        bytes += piece.len() as u64;
        taken = taken && to_command.blocking_send(piece).is_ok();
        if !taken && rest == Rest::Left {
            return Ok(recorded);
        }
    }
    // As a part of bytes is fingerprinted: one record, hashed as a whole.
    if recorded == (Fingerprint { sum: *hasher.finalize().as_bytes(), records: 1, bytes }) {
        return Ok(recorded);
    }
    Err(SourceError::Store(StoreError::Damaged {
        what: format!("part `{part}`"),
        why: "its content is not what was backed up".to_owned(),
    }))
}
