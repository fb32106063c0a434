//! COPY in both directions. The way out is the hot path of every dump: message headers are stripped while rows move from
//! the read buffer into a block, and nothing is allocated per row.

use bytes::{BufMut, Bytes, BytesMut};
use postgres_protocol::message::frontend;

use super::connection::{Connection, header_of};
use super::rows::tag_count;
use super::{MESSAGE_BYTES_MAX, WireError};
use crate::domain::Block;

/// Pieces up to this size are joined with their header into one write.
const JOIN_BYTES_MAX: usize = 64 << 10;

/// What a call to [`CopyOut::fill`] left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The block is full; there is more.
    More,
    /// The server finished the COPY and counted this many rows.
    Done { rows: u64 },
}

/// The rows of one `COPY ... TO STDOUT`, in text format each with its line feed.
pub struct CopyOut<'c> {
    connection: &'c mut Connection,
    /// Bytes of the present row that have not been read yet.
    row_rest: usize,
    complete: bool,
}

impl<'c> CopyOut<'c> {
    pub(super) fn new(connection: &'c mut Connection) -> Self {
        Self { connection, row_rest: 0, complete: false }
    }

    /// Appends rows until the block holds `bytes_max` bytes or the server is done.
    ///
    /// A row that does not fit continues in the next block. Any error means that the part is incomplete: a server error, a
    /// broken connection, an end that the server did not announce.
    pub async fn fill(&mut self, block: &mut Block, bytes_max: usize) -> Result<Filled, WireError> {
        debug_assert!(u32::try_from(bytes_max).is_ok(), "record ends are 32 bits");
        loop {
            self.take_rows(block, bytes_max)?;
            if block.data.len() >= bytes_max {
                return Ok(Filled::More);
            }
            if self.row_rest > 0 || self.connection.unread().len() < 5 {
                self.connection.gather();
                self.connection.fill().await?;
                continue;
            }
            let (tag, _) = self.connection.header().await?;
            if tag != b'd'
                && let Some(done) = self.end().await?
            {
                return Ok(done);
            }
        }
    }

    /// Moves what is in the read buffer, as far as it is rows and the block has room.
    fn take_rows(&mut self, block: &mut Block, bytes_max: usize) -> Result<(), WireError> {
        let unread = self.connection.unread();
        let mut at = 0;
        while block.data.len() < bytes_max {
            if self.row_rest == 0 {
                if unread.len() - at < 5 {
                    break;
                }
                let (tag, bytes) = header_of(&unread[at..])?;
                if tag != b'd' {
                    break;
                }
                at += 5;
                self.row_rest = bytes;
            }
            let bytes = self.row_rest.min(unread.len() - at).min(bytes_max - block.data.len());
            block.data.extend_from_slice(&unread[at..at + bytes]);
            at += bytes;
            self.row_rest -= bytes;
            if self.row_rest > 0 {
                break;
            }
            // The server sends one row a message (protocol, "COPY Operations").
            #[expect(clippy::cast_possible_truncation, reason = "bytes_max fits 32 bits")]
            block.record_ends.push(block.data.len() as u32);
        }
        self.connection.take(at);
        Ok(())
    }

    /// Takes one message that is not a row.
    async fn end(&mut self) -> Result<Option<Filled>, WireError> {
        let frame = self.connection.frame().await?;
        match frame.tag {
            b'c' => {
                self.complete = true;
                Ok(None)
            }
            b'C' if self.complete => {
                let rows = tag_count(self.connection.body(&frame))
                    .ok_or_else(|| WireError::Protocol("COPY ended without a count".to_owned()))?;
                let frame = self.connection.frame().await?;
                if frame.tag != b'Z' {
                    return self.connection.unexpected(&frame, "COPY TO STDOUT").await;
                }
                self.connection.become_ready(&frame);
                Ok(Some(Filled::Done { rows }))
            }
            _ => self.connection.unexpected(&frame, "COPY TO STDOUT").await,
        }
    }
}

/// The sending side of one `COPY ... FROM STDIN`. Dropping it without [`CopyIn::finish`] leaves the connection unusable,
/// and the server rolls back when it closes.
pub struct CopyIn<'c> {
    connection: &'c mut Connection,
    joined: BytesMut,
}

impl<'c> CopyIn<'c> {
    pub(super) fn new(connection: &'c mut Connection) -> Self {
        Self { connection, joined: BytesMut::new() }
    }

    /// Sends a piece; pieces need not end at rows. An error that the server reported meanwhile is returned at once.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), WireError> {
        if piece.is_empty() {
            return Ok(());
        }
        if piece.len() > MESSAGE_BYTES_MAX - 8 {
            return Err(WireError::Protocol("a piece of COPY data is longer than 1 GiB".to_owned()));
        }
        while self.connection.has_news().await? {
            if self.connection.header().await?.0 == b'E' {
                return self.fail().await;
            }
            self.connection.skip_message().await?;
        }
        let length = u32::try_from(piece.len() + 4).expect("checked against 1 GiB above");
        self.joined.clear();
        self.joined.put_u8(b'd');
        self.joined.put_u32(length);
        if piece.len() <= JOIN_BYTES_MAX {
            self.joined.extend_from_slice(&piece);
            return self.connection.write_all(&self.joined).await;
        }
        self.connection.write_all(&self.joined).await?;
        self.connection.write_all(&piece).await
    }

    async fn fail<T>(&mut self) -> Result<T, WireError> {
        let frame = self.connection.frame().await?;
        self.connection.unexpected(&frame, "COPY FROM STDIN").await
    }

    /// Ends the data; returns how many rows the server took.
    pub async fn finish(self) -> Result<u64, WireError> {
        self.connection
            .write(|buffer| {
                frontend::copy_done(buffer);
                Ok(())
            })
            .await?;
        let frame = self.connection.frame().await?;
        if frame.tag != b'C' {
            return self.connection.unexpected(&frame, "COPY FROM STDIN").await;
        }
        let rows = tag_count(self.connection.body(&frame))
            .ok_or_else(|| WireError::Protocol("COPY ended without a count".to_owned()))?;
        let frame = self.connection.frame().await?;
        if frame.tag != b'Z' {
            return self.connection.unexpected(&frame, "COPY FROM STDIN").await;
        }
        self.connection.become_ready(&frame);
        Ok(rows)
    }

    /// Gives up: the server discards what it got. The connection is ready again, its transaction failed.
    pub async fn abort(self, why: &str) -> Result<(), WireError> {
        let why = why.replace('\0', " ");
        self.connection.write(|buffer| frontend::copy_fail(&why, buffer)).await?;
        let frame = self.connection.frame().await?;
        match self.connection.unexpected::<()>(&frame, "COPY FROM STDIN").await {
            // `57014`: the server confirms that the COPY failed because we said so.
            Err(WireError::Server(_)) | Ok(()) => Ok(()),
            Err(other) => Err(other),
        }
    }
}
