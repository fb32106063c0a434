//! One session: login, commands one by one or pipelined within a window, and the raw stream under a transfer.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use super::reply::{Decoder, Value, encode, error_of};
use super::stream::{self, Socket};
use super::{ConnectOptions, READ_BUFFER_BYTES, REPLY_BYTES_MAX, ServerError, WINDOW, WireError};
use crate::sources::network::Watch;

/// Commands are gathered up to this many bytes before they are sent.
const GATHER_BYTES: usize = 64 << 10;
/// No line between replies is longer.
const LINE_BYTES_MAX: usize = 1 << 10;

/// A session with one server. Dropping it ends the session.
pub struct Connection {
    socket: Box<dyn Socket>,
    place: String,
    watch: Watch,
    /// Bytes `start..end` have been read and not used.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    out: Vec<u8>,
    /// The commands that were sent and not answered yet, by name.
    awaited: VecDeque<String>,
    decoder: Decoder,
    reply_bytes_max: usize,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.place)
    }
}

impl Connection {
    /// Connects and logs in. `cancel` ends every later wait on this connection.
    pub async fn connect(options: &ConnectOptions, cancel: &CancellationToken) -> Result<Self, WireError> {
        let work = async {
            let socket = stream::connect(options).await?;
            let mut connection = Self::over(socket, options, cancel);
            connection.log_in(options).await?;
            Ok(connection)
        };
        tokio::select! {
            () = cancel.cancelled() => Err(WireError::Cancelled),
            result = tokio::time::timeout(options.connect_timeout, work) => result.unwrap_or_else(|_| {
                let why = format!("no answer within {} s", options.connect_timeout.as_secs());
                Err(WireError::Connect { place: options.place(), why })
            }),
        }
    }

    /// A session over a stream that is there already.
    pub(in crate::sources::redis) fn over(
        socket: Box<dyn Socket>,
        options: &ConnectOptions,
        cancel: &CancellationToken,
    ) -> Self {
        Self {
            socket,
            place: options.place(),
            watch: Watch::new(options.stall_timeout, cancel),
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            out: Vec::new(),
            awaited: VecDeque::new(),
            decoder: Decoder::default(),
            reply_bytes_max: REPLY_BYTES_MAX,
        }
    }

    async fn log_in(&mut self, options: &ConnectOptions) -> Result<(), WireError> {
        let Some(password) = &options.password else { return Ok(()) };
        let secret = password.expose().as_bytes();
        let answer = match &options.user {
            Some(user) => self.call(&[b"AUTH", user.as_bytes(), secret]).await,
            None => self.call(&[b"AUTH", secret]).await,
        };
        match answer {
            Ok(_) => Ok(()),
            // Whatever a server repeats of a command, this one's arguments are told to nobody.
            Err(WireError::Server(error)) if error.text.contains(password.expose()) => {
                let text = error.text.replace(password.expose(), "[redacted]");
                Err(WireError::Server(ServerError { text, ..error }))
            }
            Err(error) => Err(error),
        }
    }

    /// One command and its reply; an error reply is an error.
    pub async fn call(&mut self, arguments: &[&[u8]]) -> Result<Value, WireError> {
        if !self.awaited.is_empty() {
            return Err(WireError::Broken("an earlier command was not answered".to_owned()));
        }
        self.queue(arguments);
        self.flush().await?;
        self.receive().await
    }

    /// Sends commands as fast as the window allows and hands every reply to `each`, in order, with the command's number.
    ///
    /// An error reply is given to `each` as well: it may mean no more than that a key is gone. At most [`WINDOW`] commands
    /// are under way, so neither side gathers more than it can hold.
    pub async fn pipeline<'a, E: From<WireError>>(
        &mut self,
        commands: impl IntoIterator<Item = Vec<&'a [u8]>>,
        mut each: impl FnMut(usize, Result<Value, ServerError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut commands = commands.into_iter();
        let (mut answered, mut more) = (0, true);
        loop {
            while more && self.awaited.len() < WINDOW {
                match commands.next() {
                    Some(command) => self.queue(&command),
                    None => more = false,
                }
                if self.out.len() >= GATHER_BYTES {
                    self.flush().await?;
                }
            }
            self.flush().await?;
            if self.awaited.is_empty() {
                return Ok(());
            }
            // Half a window at a time: commands travel while replies are worked on.
            while self.awaited.len() > if more { WINDOW / 2 } else { 0 } {
                let reply = match self.receive().await {
                    Ok(reply) => Ok(reply),
                    Err(WireError::Server(error)) => Err(error),
                    Err(error) => return Err(error.into()),
                };
                each(answered, reply)?;
                answered += 1;
            }
        }
    }

    /// Adds a command to what the next [`Connection::flush`] sends.
    pub(in crate::sources::redis) fn queue(&mut self, arguments: &[&[u8]]) {
        encode(&mut self.out, arguments);
        self.awaited.push_back(name_of(arguments));
    }

    /// Sends commands that are encoded already, or a piece of one; [`Connection::expect`] says what will be answered.
    pub(in crate::sources::redis) async fn send(&mut self, encoded: &[u8]) -> Result<(), WireError> {
        Ok(self.watch.write_all(&mut self.socket, encoded).await?)
    }

    /// One more reply is to come, to the command of this name.
    pub(in crate::sources::redis) fn expect(&mut self, command: &str) {
        self.awaited.push_back(command.to_owned());
    }

    /// How long a reply may be from here on, in bytes.
    pub fn set_reply_bytes_max(&mut self, bytes: usize) {
        self.reply_bytes_max = bytes;
    }

    /// The next reply to what was sent.
    pub(in crate::sources::redis) async fn receive(&mut self) -> Result<Value, WireError> {
        let command = self.awaited.front().cloned().unwrap_or_default();
        loop {
            let unread = &self.buffer[self.start..self.end];
            let (taken, reply) = self.decoder.decode(unread, self.reply_bytes_max)?;
            self.start += taken;
            if let Some(reply) = reply {
                self.awaited.pop_front();
                return error_of(reply, &command);
            }
            self.fill().await?;
        }
    }

    /// The next line that is not empty, without its end: replication sends line feeds to say that it lives.
    ///
    /// The waiting for it is over with every such byte, so a server that saves for an hour does not stall.
    pub(in crate::sources::redis) async fn line(&mut self) -> Result<Vec<u8>, WireError> {
        loop {
            let unread = &self.buffer[self.start..self.end];
            let Some(end) = unread.iter().position(|byte| *byte == b'\n') else {
                if unread.len() > LINE_BYTES_MAX {
                    return Err(WireError::Protocol("a line without an end where a transfer should begin".to_owned()));
                }
                self.fill().await?;
                continue;
            };
            let line = unread[..end].strip_suffix(b"\r").unwrap_or(&unread[..end]).to_vec();
            self.start += end + 1;
            if !line.is_empty() {
                return Ok(line);
            }
        }
    }

    /// From here on the connection carries something else than replies.
    pub(in crate::sources::redis) fn forget_replies(&mut self) {
        self.awaited.clear();
    }

    /// What has been read and not taken.
    pub(in crate::sources::redis) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(in crate::sources::redis) fn take(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
    }

    /// Reads at least one byte more.
    pub(in crate::sources::redis) async fn fill(&mut self) -> Result<(), WireError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            return Err(WireError::Protocol("a line longer than the read buffer".to_owned()));
        }
        let read = self.watch.read(&mut self.socket, &mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(())
    }

    /// Sends what was queued.
    pub(in crate::sources::redis) async fn flush(&mut self) -> Result<(), WireError> {
        let out = std::mem::take(&mut self.out);
        let sent = self.watch.write_all(&mut self.socket, &out).await;
        self.out = out;
        self.out.clear();
        Ok(sent?)
    }
}

/// `CONFIG GET` of `CONFIG GET save`: never an argument that could be a secret or a key.
fn name_of(arguments: &[&[u8]]) -> String {
    const CONTAINERS: [&str; 10] =
        ["ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "FUNCTION", "MEMORY", "MODULE", "OBJECT", "REPLCONF"];
    let word = |at: usize| arguments.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    let first = word(0).to_ascii_uppercase();
    if CONTAINERS.contains(&first.as_str()) && arguments.len() > 1 {
        let second = word(1);
        let second = if first == "REPLCONF" { second } else { second.to_ascii_uppercase() };
        return format!("{first} {second}");
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_without_its_arguments() {
        for (arguments, name) in [
            (vec!["auth", "user", "secret"], "AUTH"),
            (vec!["config", "get", "requirepass"], "CONFIG GET"),
            (vec!["REPLCONF", "rdb-only", "1"], "REPLCONF rdb-only"),
            (vec!["DUMP", "a key"], "DUMP"),
        ] {
            let arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(name_of(&arguments), name);
        }
    }
}
