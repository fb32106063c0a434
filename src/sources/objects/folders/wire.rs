//! As much of SFTP 3 (draft-ietf-secsh-filexfer-02) as reading takes, over the standard streams of an `ssh` of ours.
//!
//! It knows no request that writes. Requests carry numbers and may be under way together; a reader of answers hands each to whoever
//! waits for it. Memory: one [packet](super::packet); for each open file [`WINDOW`] pieces of [`PIECE_BYTES`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::packet::{END_OF_FILE, READ_ONLY, Stat, WireError, attributes, expect, kind, number, packet, put, text};
use crate::system::process::{Program, Running, StdinKind};

/// What every server sends at once.
const PIECE_BYTES: u32 = 32 << 10;
/// Pieces of a file that are asked for ahead.
const WINDOW: usize = 16;

type Waiting = Arc<Mutex<Option<HashMap<u32, oneshot::Sender<(u8, Bytes)>>>>>;

/// A connection. Dropping it ends its `ssh`.
pub(super) struct Session {
    input: tokio::sync::Mutex<ChildStdin>,
    /// `None` once nothing more comes.
    waiting: Waiting,
    next: AtomicU32,
    idle: Duration,
    ssh: tokio::sync::Mutex<Running>,
    reader: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Session {
    pub(super) async fn begin(ssh: &Program, idle: Duration) -> Result<Self, WireError> {
        let mut running = ssh.start(StdinKind::Piped).map_err(|error| WireError::Broken(error.to_string()))?;
        let mut input = running.stdin.take().expect("it was piped just now");
        let mut output = running.stdout.take().expect("it was piped just now");
        let greeted = async {
            input.write_all(&[0, 0, 0, 5, kind::INIT, 0, 0, 0, 3]).await?;
            let mut answer = packet(&mut output).await?;
            let understood = answer.len() >= 5 && answer.get_u8() == kind::VERSION && answer.get_u32() >= 3;
            if understood { Ok(()) } else { Err(std::io::Error::other("the server does not speak SFTP")) }
        };
        match tokio::time::timeout(idle, greeted).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                drop(input);
                return Err(WireError::Broken(last_words(&mut running, &error.to_string()).await));
            }
            Err(_) => return Err(WireError::Broken(format!("nothing was answered within {} s", idle.as_secs()))),
        }
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let reader = tokio::spawn(hand_out(output, Arc::clone(&waiting)));
        Ok(Self {
            input: tokio::sync::Mutex::new(input),
            waiting,
            next: AtomicU32::new(1),
            idle,
            ssh: tokio::sync::Mutex::new(running),
            reader,
        })
    }

    /// Sends a request; its answer is waited for with [`Session::answer`].
    async fn ask(&self, kind: u8, content: impl FnOnce(&mut BytesMut)) -> Result<Pending, WireError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut packet = BytesMut::new();
        packet.put_u32(0);
        packet.put_u8(kind);
        packet.put_u32(id);
        content(&mut packet);
        let length = u32::try_from(packet.len() - 4).unwrap_or(u32::MAX);
        packet[..4].copy_from_slice(&length.to_be_bytes());
        let (send, pending) = oneshot::channel();
        match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => drop(waiting.insert(id, send)),
            None => return Err(WireError::Broken(String::new())),
        }
        let written = async { self.input.lock().await.write_all(&packet).await };
        match tokio::time::timeout(self.idle, written).await {
            Ok(Ok(())) => Ok(pending),
            Ok(Err(error)) => Err(WireError::Broken(error.to_string())),
            Err(_) => Err(self.silent()),
        }
    }

    async fn answer(&self, pending: Pending) -> Result<(u8, Bytes), WireError> {
        match tokio::time::timeout(self.idle, pending).await {
            Ok(Ok((kind::STATUS, mut content))) => {
                let code = number(&mut content)?;
                let said = text(&mut content).unwrap_or_default();
                Err(WireError::Refused(code, String::from_utf8_lossy(&said).into_owned()))
            }
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(WireError::Broken(String::new())),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> WireError {
        WireError::Broken(format!("nothing was answered within {} s", self.idle.as_secs()))
    }

    /// Why nothing more comes, in the words of `ssh` where it has any.
    pub(super) async fn why(&self, error: &str) -> String {
        let mut running = self.ssh.lock().await;
        if error.is_empty() || running.has_ended() {
            last_words(&mut running, "the connection was closed").await
        } else {
            error.to_owned()
        }
    }

    async fn request(&self, kind: u8, expected: u8, path: &[u8]) -> Result<Bytes, WireError> {
        let pending = self.ask(kind, |packet| put(packet, path)).await?;
        expect(expected, self.answer(pending).await?)
    }

    /// The whole path of one that may be relative to where a login begins.
    pub(super) async fn real_path(&self, path: &[u8]) -> Result<Bytes, WireError> {
        let mut answer = self.request(kind::REALPATH, kind::NAME, path).await?;
        number(&mut answer)?;
        text(&mut answer)
    }

    /// Of what a link leads to.
    pub(super) async fn stat(&self, path: &[u8]) -> Result<Stat, WireError> {
        attributes(&mut self.request(kind::STAT, kind::ATTRS, path).await?)
    }

    /// Of a link itself.
    pub(super) async fn look(&self, path: &[u8]) -> Result<Stat, WireError> {
        attributes(&mut self.request(kind::LSTAT, kind::ATTRS, path).await?)
    }

    /// Everything in a folder but itself and the one above.
    pub(super) async fn list(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, Stat)>, WireError> {
        let handle = text(&mut self.request(kind::OPENDIR, kind::HANDLE, path).await?)?;
        let mut found = vec![];
        let ended = loop {
            let mut page = match self.request(kind::READDIR, kind::NAME, &handle).await {
                Ok(page) => page,
                Err(WireError::Refused(END_OF_FILE, _)) => break Ok(()),
                Err(error) => break Err(error),
            };
            for _ in 0..number(&mut page)? {
                let name = text(&mut page)?;
                text(&mut page)?;
                let stat = attributes(&mut page)?;
                if !matches!(&name[..], b"." | b"..") {
                    // A piece of the packet would hold all of it.
                    found.push((name.to_vec(), stat));
                }
            }
        };
        self.close(&handle).await?;
        ended.map(|()| found)
    }

    /// Reads a file from a byte on. Up to `size` pieces are asked for ahead; behind that one by one, until it ends.
    pub(super) async fn open(self: &Arc<Self>, path: &[u8], from: u64, size: u64) -> Result<Reading, WireError> {
        let pending = self.ask(kind::OPEN, |packet| {
            put(packet, path);
            packet.put_u32(READ_ONLY);
            packet.put_u32(0);
        });
        let mut answer = expect(kind::HANDLE, self.answer(pending.await?).await?)?;
        let handle = text(&mut answer)?;
        Ok(Reading {
            session: Arc::clone(self),
            handle,
            at: from,
            asked: from,
            size,
            ahead: VecDeque::new(),
            ended: false,
        })
    }

    async fn close(&self, handle: &[u8]) -> Result<(), WireError> {
        let pending = self.ask(kind::CLOSE, |packet| put(packet, handle)).await?;
        match self.answer(pending).await {
            Ok(_) | Err(WireError::Refused(..)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

type Pending = oneshot::Receiver<(u8, Bytes)>;

/// A file that is being read from somewhere on.
pub(super) struct Reading {
    session: Arc<Session>,
    handle: Bytes,
    at: u64,
    asked: u64,
    size: u64,
    ahead: VecDeque<Pending>,
    ended: bool,
}

impl Reading {
    /// The next bytes; `None` at the end of the file.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        if self.ended {
            return Ok(None);
        }
        while self.ahead.is_empty() || (self.ahead.len() < WINDOW && self.asked < self.size) {
            let (handle, at) = (&self.handle, self.asked);
            let pending = self.session.ask(kind::READ, |packet| {
                put(packet, handle);
                packet.put_u64(at);
                packet.put_u32(PIECE_BYTES);
            });
            self.ahead.push_back(pending.await?);
            self.asked += u64::from(PIECE_BYTES);
        }
        let first = self.ahead.pop_front().expect("asked for just now");
        match self.session.answer(first).await {
            Ok(answer) => {
                let piece = text(&mut expect(kind::DATA, answer)?)?;
                if piece.is_empty() {
                    return Err(WireError::Broken("a piece of nothing was sent".to_owned()));
                }
                self.at += piece.len() as u64;
                if piece.len() < PIECE_BYTES as usize {
                    // What was asked for behind it would leave a hole.
                    self.ahead.clear();
                    self.asked = self.at;
                }
                Ok(Some(piece))
            }
            Err(WireError::Refused(END_OF_FILE, _)) => {
                self.ended = true;
                self.ahead.clear();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn why(&self, error: WireError) -> String {
        match error {
            WireError::Refused(_, said) => said,
            WireError::Broken(why) => self.session.why(&why).await,
        }
    }
}

impl Drop for Reading {
    /// A server holds only so many files open.
    fn drop(&mut self) {
        let (session, handle) = (Arc::clone(&self.session), std::mem::take(&mut self.handle));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(session.close(&handle).await) });
        }
    }
}

/// Hands each answer to whoever waits for it, until there are no more.
async fn hand_out(mut output: ChildStdout, waiting: Waiting) {
    while let Ok(mut answer) = packet(&mut output).await {
        if answer.len() < 5 {
            break;
        }
        let (kind, id) = (answer.get_u8(), answer.get_u32());
        let waits = match waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.remove(&id),
            None => None,
        };
        // Whoever asked may be gone.
        if let Some(waits) = waits {
            drop(waits.send((kind, answer)));
        }
    }
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

async fn last_words(running: &mut Running, otherwise: &str) -> String {
    let Ok(ended) = tokio::time::timeout(Duration::from_secs(5), running.finish()).await else {
        return otherwise.to_owned();
    };
    match ended {
        Err(crate::system::process::ProcessError::Failed { stderr, .. }) if !stderr.is_empty() => stderr,
        _ => otherwise.to_owned(),
    }
}
