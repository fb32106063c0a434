//! One session: startup, queries by the simple protocol with text values, and the read buffer under COPY.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::cancel::CancelHandle;
use super::rows::{Row, Rows};
use super::stream::Socket;
use super::{
    ConnectOptions, CopyIn, CopyOut, Host, MESSAGE_BYTES_MAX, READ_BUFFER_BYTES, ServerError, WireError, auth, copy,
    tls,
};
use crate::sources::network::{Ended, Watch};

/// How long a COPY lets bytes gather: too short for the server to fill the socket's buffer (about 140 KiB of an ordinary unix
/// socket) and to wait for us, long enough for several of its pieces.
const GATHER: Duration = Duration::from_micros(200);
/// Reads from one piece of the server's...
const GATHER_FROM_BYTES: usize = 4 << 10;
/// ... to this much show a stream that comes in small pieces.
const GATHER_TO_BYTES: usize = 96 << 10;
/// What a closed session has said is here already, if it said anything.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(500);

/// A session with one backend. Dropping it ends the session; a statement that still runs ends when it next writes, or at
/// once by [`CancelHandle::cancel`].
pub struct Connection {
    socket: Socket,
    options: ConnectOptions,
    watch: Watch,
    /// Bytes `start..end` have been read and not used.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    out: BytesMut,
    parameters: BTreeMap<String, String>,
    process_id: i32,
    secret_key: i32,
    /// `I` idle, `T` in a transaction, `E` in a failed one.
    transaction: u8,
    /// False while the server owes us the end of an answer.
    ready: bool,
    /// Whether a COPY may put its thread to sleep for a moment; see [`Connection::own_thread`].
    gathers: bool,
    /// How much the last read brought.
    last_read: usize,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}, backend {})", self.options.place(), self.process_id)
    }
}

/// One message's tag and where its body is in the read buffer.
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Range<usize>,
}

impl Connection {
    /// Connects, authenticates and waits until the server is ready. `cancel` ends every later wait on this connection.
    pub async fn connect(options: &ConnectOptions, cancel: &CancellationToken) -> Result<Self, WireError> {
        let place = options.place();
        let work = async {
            let socket = Socket::connect(options)
                .await
                .map_err(|error| WireError::Connect { place: place.clone(), why: error.to_string() })?;
            let mut connection = Self::over(tls::negotiate(socket, options).await?, options, cancel);
            connection.startup().await?;
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

    fn over(socket: Socket, options: &ConnectOptions, cancel: &CancellationToken) -> Self {
        Self {
            socket,
            options: options.clone(),
            watch: Watch::new(options.stall_timeout, cancel),
            buffer: vec![0; READ_BUFFER_BYTES],
            start: 0,
            end: 0,
            out: BytesMut::new(),
            parameters: BTreeMap::new(),
            process_id: 0,
            secret_key: 0,
            transaction: b'I',
            ready: false,
            gathers: false,
            last_read: 0,
        }
    }

    async fn startup(&mut self) -> Result<(), WireError> {
        let options = self.options.clone();
        // Only what every pooler takes as well; sessions are set up by `SET` afterwards.
        let parameters = [
            ("user", options.user.as_str()),
            ("database", options.database.as_str()),
            ("application_name", options.application_name.as_str()),
            ("client_encoding", "UTF8"),
        ];
        self.write(|buffer| frontend::startup_message(parameters, buffer)).await?;
        auth::authenticate(self, &options).await?;
        loop {
            match self.message().await? {
                Message::BackendKeyData(body) => {
                    self.process_id = body.process_id();
                    self.secret_key = body.secret_key();
                }
                Message::ReadyForQuery(body) => {
                    self.transaction = body.status();
                    self.ready = true;
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Runs a statement and returns its rows, text values. For results that are small enough to hold.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Row>, WireError> {
        let mut rows = Vec::new();
        self.query_each(sql, |row| {
            rows.push(row.clone());
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// The first row of a query that always has one.
    pub async fn query_one(&mut self, sql: &str) -> Result<Row, WireError> {
        self.query(sql).await?.into_iter().next().ok_or_else(|| WireError::Protocol(format!("no row from `{sql}`")))
    }

    /// Hands every row to `each` and keeps none. After an error of `each` the rest of the answer is read and dropped.
    pub async fn query_each(
        &mut self,
        sql: &str,
        mut each: impl FnMut(&Row) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let mut rows = self.rows(sql).await?;
        let mut failed = None;
        while let Some(row) = rows.next().await? {
            if failed.is_none() {
                failed = each(row).err();
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Runs a statement and yields its rows one by one, at the caller's pace.
    pub async fn rows(&mut self, sql: &str) -> Result<Rows<'_>, WireError> {
        self.send_query(sql).await?;
        Ok(Rows::new(self))
    }

    /// Runs statements for their effect; returns the row count of the last one's command tag, 0 where it has none.
    pub async fn execute(&mut self, sql: &str) -> Result<u64, WireError> {
        let mut rows = self.rows(sql).await?;
        while rows.next().await?.is_some() {}
        Ok(rows.affected)
    }

    /// Starts a `COPY ... TO STDOUT`.
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, WireError> {
        self.send_query(sql).await?;
        self.expect(b'H', "COPY TO STDOUT").await?;
        Ok(CopyOut::new(self))
    }

    /// Starts a `COPY ... FROM STDIN`.
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, WireError> {
        self.send_query(sql).await?;
        self.expect(b'G', "COPY FROM STDIN").await?;
        Ok(copy::CopyIn::new(self))
    }

    async fn expect(&mut self, tag: u8, what: &str) -> Result<(), WireError> {
        let frame = self.frame().await?;
        if frame.tag == tag {
            return Ok(());
        }
        self.unexpected(&frame, what).await
    }

    /// Turns a frame that should not be there into its error; after a server error the connection is ready again.
    pub(super) async fn unexpected<T>(&mut self, frame: &Frame, what: &str) -> Result<T, WireError> {
        if frame.tag == b'E' {
            let error = self.server_error(frame)?;
            return Err(self.after_error(error).await);
        }
        let tag = char::from(frame.tag);
        Err(WireError::Protocol(format!("message `{tag}` in answer to {what}")))
    }

    pub(super) fn server_error(&self, frame: &Frame) -> Result<ServerError, WireError> {
        match self.parse(frame)? {
            Message::ErrorResponse(body) => Ok(ServerError::parse(body.fields())),
            _ => Err(WireError::Protocol("an error message that is none".to_owned())),
        }
    }

    /// Reads on to the server's readiness. After `FATAL` there is none, and the error tells more than the broken socket.
    pub(super) async fn after_error(&mut self, error: ServerError) -> WireError {
        loop {
            match self.frame().await {
                Ok(frame) if frame.tag == b'Z' => {
                    self.become_ready(&frame);
                    break;
                }
                Ok(_) => {}
                Err(WireError::Cancelled) => return WireError::Cancelled,
                Err(_) => break,
            }
        }
        WireError::Server(Box::new(error))
    }

    pub(super) async fn send_query(&mut self, sql: &str) -> Result<(), WireError> {
        if !self.ready {
            return Err(WireError::Broken("an earlier statement was not read to its end".to_owned()));
        }
        self.ready = false;
        self.write(|buffer| frontend::query(sql, buffer)).await
    }

    pub(super) fn become_ready(&mut self, frame: &Frame) {
        self.transaction = self.buffer.get(frame.body.start).copied().unwrap_or(b'I');
        self.ready = true;
    }

    /// A value that the server announced: `server_version`, `in_hot_standby`, `server_encoding`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// True while a transaction is open, failed or not.
    pub fn in_transaction(&self) -> bool {
        self.transaction != b'I'
    }

    /// The backend's process id as the server announced it; a pooler announces one of its own.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }

    /// How long a read may wait for the next byte from here on; `None` for statements that are silent for long
    /// (`CREATE INDEX`).
    pub fn set_stall_timeout(&mut self, limit: Option<Duration>) {
        self.watch.set_stall(limit);
    }

    /// Promises that nothing else runs on the thread that reads this connection, so that a COPY may sleep between reads.
    ///
    /// A server sends rows in pieces of 8 KiB. A reader that waits is woken for each, which costs both sides more than
    /// the bytes do; one that sleeps meanwhile finds many pieces at once.
    pub fn own_thread(&mut self) {
        self.gathers = true;
    }

    /// Lets more of a stream arrive that comes in small pieces. Streams that come faster, or only drip, are not delayed.
    pub(super) fn gather(&self) {
        if self.gathers && (GATHER_FROM_BYTES..GATHER_TO_BYTES).contains(&self.last_read) {
            std::thread::sleep(GATHER);
        }
    }

    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle { options: self.options.clone(), process_id: self.process_id, secret_key: self.secret_key }
    }

    /// Says goodbye, so that the server's log shows no broken connection.
    pub async fn close(mut self) {
        let goodbye = self.write(|buffer| {
            frontend::terminate(buffer);
            Ok(())
        });
        // The session is over either way.
        drop(tokio::time::timeout(Duration::from_secs(1), goodbye).await);
    }

    /// Whether nobody on the network can read along.
    pub(super) fn is_private(&self) -> bool {
        matches!(self.socket, Socket::Tls(_)) || matches!(self.options.host, Host::Unix(_))
    }

    /// One whole message while starting up; a server error there ends the connection.
    pub(super) async fn message(&mut self) -> Result<Message, WireError> {
        let frame = self.frame().await?;
        if frame.tag == b'E' {
            return Err(WireError::Server(Box::new(self.server_error(&frame)?)));
        }
        self.parse(&frame)
    }

    fn parse(&self, frame: &Frame) -> Result<Message, WireError> {
        // Rare messages only: the copy does not matter.
        let mut whole = BytesMut::from(&self.buffer[frame.body.start - 5..frame.body.end]);
        match Message::parse(&mut whole) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(WireError::Protocol("a message is shorter than it says".to_owned())),
            Err(error) => Err(WireError::Protocol(error.to_string())),
        }
    }

    /// The next message that is not a notice or a parameter; its body is valid until the next call.
    pub(super) async fn frame(&mut self) -> Result<Frame, WireError> {
        loop {
            let (tag, body_bytes) = self.header().await?;
            while self.end - self.start < 5 + body_bytes {
                self.fill().await?;
            }
            let body = self.start + 5..self.start + 5 + body_bytes;
            self.start = body.end;
            let frame = Frame { tag, body };
            match tag {
                b'N' | b'A' => {}
                b'S' => {
                    if let Message::ParameterStatus(status) = self.parse(&frame)?
                        && let (Ok(name), Ok(value)) = (status.name(), status.value())
                    {
                        self.parameters.insert(name.to_owned(), value.to_owned());
                    }
                }
                _ => return Ok(frame),
            }
        }
    }

    /// Tag and body length of the next message, without taking it.
    pub(super) async fn header(&mut self) -> Result<(u8, usize), WireError> {
        while self.end - self.start < 5 {
            self.fill().await?;
        }
        header_of(&self.buffer[self.start..self.end])
    }

    /// Takes one message without looking at it: a notice while we are the one who sends.
    pub(super) async fn skip_message(&mut self) -> Result<(), WireError> {
        let (_, body_bytes) = self.header().await?;
        while self.end - self.start < 5 + body_bytes {
            self.fill().await?;
        }
        self.start += 5 + body_bytes;
        Ok(())
    }

    /// What has been read and not taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn body(&self, frame: &Frame) -> &[u8] {
        &self.buffer[frame.body.clone()]
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Reads at least one byte more. The buffer grows only when one message fills it.
    pub(super) async fn fill(&mut self) -> Result<(), WireError> {
        self.make_room()?;
        let read = self.watch.read(&mut self.socket, &mut self.buffer[self.end..]).await?;
        self.end += read;
        self.last_read = read;
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), WireError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > READ_BUFFER_BYTES {
                self.buffer = vec![0; READ_BUFFER_BYTES];
            }
        }
        if self.end < self.buffer.len() {
            return Ok(());
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else if self.buffer.len() > MESSAGE_BYTES_MAX {
            return Err(WireError::Protocol("a message is longer than 1 GiB".to_owned()));
        } else {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        Ok(())
    }

    /// Whether the server has said something that nobody asked for yet; never waits.
    pub(super) async fn has_news(&mut self) -> Result<bool, WireError> {
        if self.start < self.end {
            return Ok(true);
        }
        self.make_room()?;
        let read = poll_fn(|context| {
            let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
            match Pin::new(&mut self.socket).poll_read(context, &mut room) {
                Poll::Ready(Ok(())) if room.filled().is_empty() => {
                    Poll::Ready(Err(WireError::Broken("the server closed it".to_owned())))
                }
                Poll::Ready(Ok(())) => Poll::Ready(Ok(room.filled().len())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(WireError::Broken(error.to_string()))),
                Poll::Pending => Poll::Ready(Ok(0)),
            }
        })
        .await?;
        self.end += read;
        Ok(read > 0)
    }

    /// Builds a message in the write buffer and sends it.
    pub(super) async fn write(
        &mut self,
        build: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
    ) -> Result<(), WireError> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let message = build(&mut out).map_err(|error| WireError::Protocol(error.to_string()));
        let sent = match message {
            Ok(()) => self.write_all(&out).await,
            Err(error) => Err(error),
        };
        self.out = out;
        sent
    }

    pub(super) async fn write_all(&mut self, data: &[u8]) -> Result<(), WireError> {
        match self.watch.write_all(&mut self.socket, data).await {
            Err(Ended::Broken(why)) => Err(self.last_words(why).await),
            result => Ok(result?),
        }
    }

    /// A server that ends a session says why before it closes; whoever writes meanwhile finds the pipe broken first.
    async fn last_words(&mut self, why: String) -> WireError {
        self.why_ended().await.unwrap_or(WireError::Broken(why))
    }

    /// What the server said when it ended this session, if it did. Nothing else can be done with the connection afterwards.
    pub async fn why_ended(&mut self) -> Option<WireError> {
        let said = async {
            while let Ok(frame) = self.frame().await {
                if frame.tag == b'E'
                    && let Ok(error) = self.server_error(&frame)
                    && error.severity != "ERROR"
                {
                    return Some(WireError::Server(Box::new(error)));
                }
            }
            None
        };
        tokio::time::timeout(LAST_WORDS_LIMIT, said).await.ok().flatten()
    }
}

/// Reads a message header: one byte of tag, four of length that count themselves.
pub(super) fn header_of(bytes: &[u8]) -> Result<(u8, usize), WireError> {
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    if !(4..=MESSAGE_BYTES_MAX + 4).contains(&length) {
        return Err(WireError::Protocol(format!("a message of {length} bytes; is this a Postgres server?")));
    }
    Ok((bytes[0], length - 4))
}
