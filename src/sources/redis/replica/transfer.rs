//! One RDB as it comes over the wire, in either of the two ways that servers send it.

use memchr::memmem;

use super::{Position, odd};
use crate::sources::redis::wire::{Connection, WireError};

pub const MARK_BYTES: usize = 40;

/// How the receiver learns where the RDB ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// The server saved to its disk first and knows the length.
    Length(u64),
    /// The server sends while it saves; these random bytes follow the RDB.
    Mark([u8; MARK_BYTES]),
}

impl Framing {
    pub(super) fn parse(line: &[u8]) -> Result<Self, WireError> {
        if let Some(mark) = line.strip_prefix(b"$EOF:") {
            return mark.try_into().map(Self::Mark).map_err(|_| odd(line));
        }
        let length = line.strip_prefix(b"$").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        length.map(Self::Length).ok_or_else(|| odd(line))
    }
}

/// What a call to [`Transfer::fill`] left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The buffer is full; there is more.
    More,
    /// The server said where the RDB ends, and that was it.
    Done,
}

/// The bytes of one RDB. Whatever ends before the server's own end is an error.
#[derive(Debug)]
pub struct Transfer {
    connection: Connection,
    framing: Framing,
    position: Option<Position>,
    /// How much has been handed on.
    bytes: u64,
    done: bool,
}

impl Transfer {
    pub(super) fn new(connection: Connection, framing: Framing, position: Option<Position>) -> Self {
        Self { connection, framing, position, bytes: 0, done: false }
    }

    pub fn framing(&self) -> &Framing {
        &self.framing
    }

    /// `None` from a server that knows nothing but `SYNC`.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The length that the server announced.
    pub fn announced(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Mark(_) => None,
        }
    }

    /// Appends bytes until `buffer` holds `bytes_max` or the RDB is over.
    pub async fn fill(&mut self, buffer: &mut Vec<u8>, bytes_max: usize) -> Result<Filled, WireError> {
        while !self.done {
            self.done = self.take(buffer, bytes_max);
            if self.done {
                break;
            }
            if buffer.len() >= bytes_max {
                return Ok(Filled::More);
            }
            self.connection.fill().await.map_err(|error| self.cut_off(error))?;
        }
        Ok(Filled::Done)
    }

    /// Moves what has been read; true when the end was in it.
    fn take(&mut self, buffer: &mut Vec<u8>, bytes_max: usize) -> bool {
        let room = bytes_max.saturating_sub(buffer.len());
        let unread = self.connection.unread();
        // How far the bytes are certainly the RDB's, and what follows them if the end is there.
        let (certain, tail) = match &self.framing {
            Framing::Length(length) => {
                let left = usize::try_from(length - self.bytes).unwrap_or(usize::MAX);
                (left.min(unread.len()), (left <= unread.len()).then_some(0))
            }
            Framing::Mark(mark) => match memmem::find(unread, mark) {
                Some(at) => (at, Some(MARK_BYTES)),
                // The mark may have begun.
                None => (unread.len().saturating_sub(MARK_BYTES - 1), None),
            },
        };
        let bytes = certain.min(room);
        buffer.extend_from_slice(&unread[..bytes]);
        self.bytes += bytes as u64;
        match tail {
            Some(tail) if bytes == certain => {
                self.connection.take(bytes + tail);
                true
            }
            _ => {
                self.connection.take(bytes);
                false
            }
        }
    }

    fn cut_off(&self, error: WireError) -> WireError {
        let WireError::Broken(why) = error else { return error };
        let bytes = self.bytes;
        WireError::Broken(match &self.framing {
            Framing::Length(length) => format!("{why} after {bytes} of {length} bytes of the RDB"),
            Framing::Mark(_) => format!("{why} after {bytes} bytes of the RDB and before its end mark"),
        })
    }
}
