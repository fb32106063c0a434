//! Takes a server's bytes as fast as it sends them, also while whoever reads them is slower: what does not fit in memory waits in a
//! file.
//!
//! A server drops a replica that takes nothing for `repl-timeout`, or that lets more gather than `client-output-buffer-limit
//! replica` permits. A slow target must not cause that. The file is a ring of slots in the run's own folder, private and without a
//! name from the moment that it is opened: no other process can open it, nothing of it is left when this one ends, also by
//! `kill -9`. It is not encrypted on top of that: who may read this machine's raw disk may read its swap and the job's
//! password, too. When it is full, or the disk is, the server has to wait as it would without, and a warning says so; if the server then
//! drops the connection, the error names the spool, too.
//!
//! Memory: [`BUFFERS`] blocks of [`BLOCK_BYTES`] on their way, as many emptied ones, and three at the ends. Disk: the bound that
//! the job sets, and at most half of what was free.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{Semaphore, TryAcquireError};

use super::reading::Piece;
use super::replica::Filled;
use crate::domain::human_bytes;
use crate::sources::SourceError;
use crate::sources::bridge::BLOCK_BYTES;

/// Buffers between the socket and the thread that reads the RDB.
pub(super) const BUFFERS: usize = 4;
/// What a job gets that sets nothing.
pub(super) const DEFAULT_BYTES: u64 = 2 << 30;
/// A semaphore counts no further, and nobody needs more.
const SLOTS_MAX: u64 = 1 << 26;

/// Where bytes come from.
pub(super) trait Fill {
    /// Fills the empty buffer, or less of it at the end.
    async fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<Filled, SourceError>;
}

/// What [`pump`] needs.
pub(super) struct Ends<'w> {
    pub(super) to_reader: mpsc::Sender<Piece>,
    /// Buffers that the reader is done with.
    pub(super) emptied: mpsc::Receiver<Vec<u8>>,
    /// Where the file goes, and how large it may get; 0 is none.
    pub(super) folder: &'w Path,
    pub(super) bytes_max: u64,
    pub(super) warn: &'w (dyn Fn(String) + Sync),
}

/// The slots of the file that hold something are those of the last blocks sent to the drain.
struct Ring<'w> {
    folder: &'w Path,
    file: Arc<File>,
    slots: u32,
    free: Semaphore,
}

impl<'w> Ring<'w> {
    fn open(folder: &'w Path, bytes_max: u64) -> std::io::Result<Option<Self>> {
        let disk = rustix::fs::statvfs(folder)?;
        let half = disk.f_bavail.saturating_mul(disk.f_frsize) / 2;
        let slots = (bytes_max.min(half) / BLOCK_BYTES as u64).min(SLOTS_MAX);
        let Some(slots) = u32::try_from(slots).ok().filter(|slots| *slots > 0) else { return Ok(None) };
        let file = Arc::new(tempfile::tempfile_in(folder)?);
        Ok(Some(Self { folder, file, slots, free: Semaphore::new(slots as usize) }))
    }

    fn is_empty(&self) -> bool {
        self.free.available_permits() == self.slots as usize
    }

    fn place(&self, number: u64) -> u64 {
        number % u64::from(self.slots) * BLOCK_BYTES as u64
    }

    async fn write(&self, number: u64, buffer: Vec<u8>) -> (Vec<u8>, std::io::Result<()>) {
        let (file, place) = (Arc::clone(&self.file), self.place(number));
        let written = tokio::task::spawn_blocking(move || {
            let done = file.write_all_at(&buffer, place);
            (buffer, done)
        });
        written.await.unwrap_or_else(|error| (vec![], Err(std::io::Error::other(error))))
    }

    async fn read(&self, number: u64, length: usize) -> std::io::Result<Vec<u8>> {
        let (file, place) = (Arc::clone(&self.file), self.place(number));
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, place).map(|()| buffer)
        });
        read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }
}

fn failed(folder: &Path, error: &std::io::Error) -> SourceError {
    SourceError::Failed {
        what: format!("spool of what the server sent, in `{}`", folder.display()),
        why: error.to_string(),
        hint: "`spool = \"0\"` in the job does without".to_owned(),
    }
}

/// Why the server had to wait for the target, from the first time that it had to.
struct Waiting<'w> {
    folder: &'w Path,
    warn: &'w (dyn Fn(String) + Sync),
    why: Option<String>,
}

impl Waiting<'_> {
    fn begins(&mut self, trouble: &str, way_out: &str) {
        if self.why.is_none() {
            let why = format!("the spool in `{}` {trouble}", self.folder.display());
            (self.warn)(format!("{why}: the server waits for the target, and may drop the connection; {way_out}"));
            self.why = Some(format!("{why}; {way_out}"));
        }
    }

    /// A server that had to wait is likely to have broken off for that: whoever reads the error should hear of it.
    fn explain(&self, error: SourceError) -> SourceError {
        match (error, &self.why) {
            (SourceError::Failed { what, why, hint }, Some(waited)) => {
                let hint = if hint.is_empty() { waited.clone() } else { format!("{waited}; {hint}") };
                SourceError::Failed { what, why, hint }
            }
            (error, _) => error,
        }
    }
}

const MAKE_ROOM: &str = "make room on its disk, or put `state` on a larger one";

/// Carries everything that `feed` gives to the reader, in order, and its end. Returns early, without an error, if the reader
/// has ended: it says why.
pub(super) async fn pump(feed: &mut impl Fill, ends: Ends<'_>) -> Result<(), SourceError> {
    let Ends { to_reader, emptied, folder, bytes_max, warn } = ends;
    let mut waiting = Waiting { folder, warn, why: None };
    let ring = Ring::open(folder, bytes_max).map_err(|error| failed(folder, &error))?;
    let Some(ring) = ring else {
        if bytes_max >= BLOCK_BYTES as u64 {
            waiting.begins("has no room", MAKE_ROOM);
        }
        let filled = direct(feed, &to_reader, emptied).await.map_err(|error| waiting.explain(error))?;
        return finish(filled, &to_reader).await;
    };
    let (spooled, lengths) = mpsc::channel(ring.slots as usize);
    let taking = async {
        let taken = take(feed, &to_reader, emptied, &ring, spooled, &mut waiting).await;
        if taken.is_err() {
            // Nothing that waits matters any more.
            ring.free.close();
        }
        taken
    };
    let draining = async {
        let drained = drain(&ring, lengths, &to_reader).await;
        if !matches!(drained, Ok(true)) {
            ring.free.close();
        }
        drained
    };
    let (taken, drained) = tokio::join!(taking, draining);
    let whole = taken.map_err(|error| waiting.explain(error))? && drained?;
    finish(whole, &to_reader).await
}

async fn finish(whole: bool, to_reader: &mpsc::Sender<Piece>) -> Result<(), SourceError> {
    if whole {
        // If the reader has ended, it says why.
        drop(to_reader.send(Piece::End).await);
    }
    Ok(())
}

/// Without a file: the server waits for the reader. False if the reader has ended.
async fn direct(
    feed: &mut impl Fill,
    to_reader: &mpsc::Sender<Piece>,
    mut emptied: mpsc::Receiver<Vec<u8>>,
) -> Result<bool, SourceError> {
    loop {
        let mut buffer = emptied.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK_BYTES));
        buffer.clear();
        let filled = feed.fill(&mut buffer).await?;
        if !buffer.is_empty() && to_reader.send(Piece::Bytes(buffer)).await.is_err() {
            return Ok(false);
        }
        if filled == Filled::Done {
            return Ok(true);
        }
    }
}

/// From the server to the reader while that keeps up, else into the file. False if the reader has ended.
async fn take(
    feed: &mut impl Fill,
    to_reader: &mpsc::Sender<Piece>,
    mut emptied: mpsc::Receiver<Vec<u8>>,
    ring: &Ring<'_>,
    spooled: mpsc::Sender<usize>,
    waiting: &mut Waiting<'_>,
) -> Result<bool, SourceError> {
    let (mut number, mut kept) = (0_u64, None);
    loop {
        let emptied = || emptied.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK_BYTES));
        let mut buffer: Vec<u8> = kept.take().unwrap_or_else(emptied);
        buffer.clear();
        let filled = feed.fill(&mut buffer).await?;
        if !buffer.is_empty() {
            let mut unsent = Some(buffer);
            if ring.is_empty()
                && let Some(buffer) = unsent.take()
            {
                match to_reader.try_send(Piece::Bytes(buffer)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(Piece::Bytes(buffer))) => unsent = Some(buffer),
                    Err(_) => return Ok(false),
                }
            }
            if let Some(buffer) = unsent {
                let slot = match ring.free.try_acquire() {
                    Err(TryAcquireError::NoPermits) => {
                        let all = u64::from(ring.slots) * BLOCK_BYTES as u64;
                        let way_out = "a larger `spool` in the job, and free disk twice that, let the target be slower";
                        waiting.begins(&format!("is full with {}", human_bytes(all)), way_out);
                        ring.free.acquire().await.ok()
                    }
                    slot => slot.ok(),
                };
                let Some(slot) = slot else { return Ok(false) };
                let length = buffer.len();
                let (buffer, written) = ring.write(number, buffer).await;
                match written {
                    Ok(()) => {
                        // The drain gives it back.
                        slot.forget();
                        number += 1;
                        if spooled.send(length).await.is_err() {
                            return Ok(false);
                        }
                        kept = Some(buffer);
                    }
                    Err(error) if buffer.len() == length => {
                        drop(slot);
                        waiting.begins(&format!("cannot be written: {error}"), MAKE_ROOM);
                        // Everything before it first.
                        let Ok(all) = ring.free.acquire_many(ring.slots).await else { return Ok(false) };
                        drop(all);
                        if to_reader.send(Piece::Bytes(buffer)).await.is_err() {
                            return Ok(false);
                        }
                    }
                    Err(error) => return Err(failed(ring.folder, &error)),
                }
            }
        }
        if filled == Filled::Done {
            return Ok(true);
        }
    }
}

/// From the file to the reader. False if the reader, or the taking, has ended early.
async fn drain(
    ring: &Ring<'_>,
    mut lengths: mpsc::Receiver<usize>,
    to_reader: &mpsc::Sender<Piece>,
) -> Result<bool, SourceError> {
    let mut number = 0;
    while let Some(length) = lengths.recv().await {
        if ring.free.is_closed() {
            return Ok(false);
        }
        let buffer = ring.read(number, length).await.map_err(|error| failed(ring.folder, &error))?;
        if to_reader.send(Piece::Bytes(buffer)).await.is_err() {
            return Ok(false);
        }
        number += 1;
        // Only now is nothing before the next block any more.
        ring.free.add_permits(1);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// Gives numbered bytes, block by block, and fails after them if told.
    struct Numbers {
        left: usize,
        next: u8,
        fails: bool,
    }

    impl Fill for Numbers {
        async fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<Filled, SourceError> {
            tokio::task::yield_now().await;
            if self.left == 0 && self.fails {
                return Err(SourceError::Cancelled);
            }
            let length = self.left.min(BLOCK_BYTES - usize::from(self.next));
            buffer.resize(length, self.next);
            self.left -= length;
            self.next = self.next.wrapping_add(1);
            Ok(if self.left == 0 && !self.fails { Filled::Done } else { Filled::More })
        }
    }

    /// Pumps `bytes` to a reader that takes a piece each `pause` and ends after `pieces_max`; says what it got, whether it saw the
    /// end, and what was warned of.
    async fn pumped(
        bytes: usize,
        bytes_max: u64,
        pause: Duration,
        pieces_max: usize,
        fails: bool,
    ) -> (Result<(), SourceError>, Vec<u8>, bool, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let (to_reader, mut pieces) = mpsc::channel(BUFFERS);
        let (returned, emptied) = mpsc::channel(BUFFERS);
        let reader = tokio::spawn(async move {
            let (mut got, mut ended) = (vec![], false);
            for _ in 0..pieces_max {
                tokio::time::sleep(pause).await;
                match pieces.recv().await {
                    Some(Piece::Bytes(buffer)) => {
                        got.extend_from_slice(&buffer);
                        drop(returned.try_send(buffer));
                    }
                    Some(Piece::End) => ended = true,
                    None => break,
                }
            }
            (got, ended)
        });
        let warned = Mutex::new(vec![]);
        let warn = |message: String| {
            // The file is full and in use; a kill at this moment would leave nothing.
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
            warned.lock().unwrap().push(message);
        };
        let ends = Ends { to_reader, emptied, folder: folder.path(), bytes_max, warn: &warn };
        let mut feed = Numbers { left: bytes, next: 0, fails };
        let result = tokio::time::timeout(Duration::from_mins(1), pump(&mut feed, ends)).await.expect("never hangs");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        let (got, ended) = reader.await.unwrap();
        (result, got, ended, warned.into_inner().unwrap())
    }

    fn expected(bytes: usize) -> Vec<u8> {
        let (mut all, mut next) = (vec![], 0_u8);
        while all.len() < bytes {
            let length = (bytes - all.len()).min(BLOCK_BYTES - usize::from(next));
            all.resize(all.len() + length, next);
            next = next.wrapping_add(1);
        }
        all
    }

    #[tokio::test]
    async fn everything_arrives_in_order_whatever_is_slower_and_however_small_the_file_is() {
        let bytes = 40 * BLOCK_BYTES + 17;
        for bytes_max in [0, 1, BLOCK_BYTES as u64, 3 * BLOCK_BYTES as u64, 1 << 30] {
            for pause in [Duration::ZERO, Duration::from_millis(3)] {
                let (result, got, ended, warned) = pumped(bytes, bytes_max, pause, usize::MAX, false).await;
                result.unwrap();
                assert!(ended && got == expected(bytes), "{bytes_max} bytes, {pause:?}");
                let is_small = (2..1 << 20).contains(&bytes_max);
                assert_eq!(warned.len(), usize::from(is_small && !pause.is_zero() || !warned.is_empty()), "{warned:?}");
                assert!(warned.iter().all(|message| message.contains("is full with")), "{warned:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_ends_early_and_a_server_that_breaks_off_end_it_without_an_end() {
        for bytes_max in [0, 2 * BLOCK_BYTES as u64, 1 << 30] {
            let (result, _, ended, _) = pumped(40 * BLOCK_BYTES, bytes_max, Duration::from_millis(1), 3, false).await;
            assert!(result.is_ok() && !ended, "the reader says why it has ended");
            let (result, _, ended, _) = pumped(20 * BLOCK_BYTES, bytes_max, Duration::from_millis(1), 500, true).await;
            assert!(matches!(result, Err(SourceError::Cancelled)) && !ended);
        }
    }
}
