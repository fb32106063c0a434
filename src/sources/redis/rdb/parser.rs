//! Takes bytes in pieces of any size and tells a visitor what is in them.

use super::crc64::Trailing;
use super::error::{RdbError, Stop, Unknown};
use super::record::{Checksum, Entry, Hashed, Head, Name, Raw, Summary, Version, Visitor};
use super::walk::{Signal, State, Walk};

/// Reads one RDB.
#[derive(Debug)]
pub struct Parser {
    walk: Walk,
    /// The begin of an item that is not complete, and how many bytes it needs at least.
    held: Vec<u8>,
    need: usize,
    /// The caller wants the serialized value that is being read.
    takes_raw: bool,
    sum: Trailing,
    records: u64,
    fed: u64,
    unknown: Option<Unknown>,
    failed: Option<RdbError>,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    pub fn new() -> Self {
        Self {
            walk: Walk::new(),
            held: Vec::new(),
            need: 0,
            takes_raw: false,
            sum: Trailing::default(),
            records: 0,
            fed: 0,
            unknown: None,
            failed: None,
        }
    }

    /// Keeps names of up to so many bytes whole, for a caller that needs them whole; at least 64 KiB. Hashes stay the same.
    #[must_use]
    pub fn keep_names_to(mut self, bytes: usize) -> Self {
        self.walk.sinks.keep_names_to(bytes);
        self
    }

    /// Takes the next piece. An error is final: the same one comes again, and hashes that were not told are told no more.
    pub fn feed(&mut self, piece: &[u8], visitor: &mut dyn Visitor) -> Result<(), RdbError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let taken = self.take(piece, visitor);
        match &taken {
            Ok(()) => self.tell_hashes(visitor),
            Err(error) => self.failed = Some(error.clone()),
        }
        taken
    }

    /// `None` until the header was read.
    pub fn version(&self) -> Option<Version> {
        (self.walk.state != State::Header).then_some(self.walk.version)
    }

    /// Where reading has stopped, if it has.
    pub fn unknown(&self) -> Option<Unknown> {
        self.unknown
    }

    /// Whether the RDB has come whole: its end was seen, or nobody can say.
    pub fn is_complete(&self) -> bool {
        matches!(self.walk.state, State::End | State::Unknown)
    }

    /// How much memory it holds on the heap, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held.capacity() + self.walk.held_bytes()
    }

    /// The stream has ended.
    pub fn finish(self) -> Result<Summary, RdbError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !self.is_complete() {
            return Err(RdbError::Truncated { offset: self.fed, inside: self.walk.place() });
        }
        let (computed, stated) = self.sum.sums();
        let checksum = if self.unknown.is_some() {
            if self.fed >= 8 && stated == computed { Checksum::Matches } else { Checksum::Unsure }
        } else if self.walk.version.number < 5 {
            Checksum::Absent
        } else if stated == 0 {
            Checksum::Off
        } else if stated == computed {
            Checksum::Matches
        } else {
            return Err(RdbError::Checksum { stated, computed });
        };
        Ok(Summary {
            version: self.walk.version,
            bytes: self.fed,
            records: self.records,
            checksum,
            unknown: self.unknown,
        })
    }

    fn take(&mut self, mut piece: &[u8], visitor: &mut dyn Visitor) -> Result<(), RdbError> {
        self.sum.update(piece);
        self.fed += piece.len() as u64;
        while !self.held.is_empty() {
            let count = self.need.saturating_sub(self.held.len()).min(piece.len());
            self.held.extend_from_slice(&piece[..count]);
            piece = &piece[count..];
            if self.held.len() < self.need {
                return Ok(());
            }
            let mut held = std::mem::take(&mut self.held);
            let used = self.run(&held, visitor)?;
            held.drain(..used);
            self.held = held;
        }
        let used = self.run(piece, visitor)?;
        self.held.extend_from_slice(&piece[used..]);
        Ok(())
    }

    /// Reads as many items as there are whole ones; says how many bytes that took.
    fn run(&mut self, bytes: &[u8], visitor: &mut dyn Visitor) -> Result<usize, RdbError> {
        let base = self.walk.offset;
        let mut at = 0;
        // From where on the caller wants the bytes.
        let mut raw_from = 0;
        while at < bytes.len() {
            if self.walk.state == State::End {
                return Err(RdbError::Trailing { offset: self.walk.offset });
            }
            match self.walk.step(&bytes[at..]) {
                Ok(count) => at += count,
                Err(Stop::Need(need)) => {
                    self.need = need;
                    break;
                }
                Err(Stop::Shape(expected)) => return Err(RdbError::Shape { offset: self.walk.offset, expected }),
                Err(Stop::Unknown(what)) => {
                    self.unknown = Some(Unknown { what, offset: self.walk.offset });
                    self.walk.give_up();
                    self.takes_raw = false;
                    at = bytes.len();
                }
            }
            self.walk.offset = base + at as u64;
            match std::mem::replace(&mut self.walk.signal, Signal::Nothing) {
                Signal::Nothing => {}
                Signal::Auxiliary => {
                    visitor.auxiliary(&self.walk.sinks.auxiliary_name, &self.walk.sinks.auxiliary_value);
                }
                Signal::Sizes => {
                    let [keys, expiring] = self.walk.sizes;
                    visitor.sizes(self.walk.db, keys, expiring);
                }
                Signal::Begin => {
                    self.takes_raw = visitor.begin(&self.head()) == Raw::Take;
                    if self.takes_raw {
                        raw_from = at;
                        if !self.walk.meta_raw.is_empty() {
                            visitor.raw(&self.walk.meta_raw);
                        }
                        visitor.raw(&[self.walk.opcode]);
                    }
                }
                Signal::Entry => {
                    if std::mem::take(&mut self.takes_raw) && raw_from < at {
                        visitor.raw(&bytes[raw_from..at]);
                    }
                    self.records += 1;
                    visitor.entry(&self.entry());
                    self.walk.forget_record();
                    if self.walk.records.is_full() {
                        self.tell_hashes(visitor);
                    }
                }
            }
        }
        if self.takes_raw && raw_from < at {
            visitor.raw(&bytes[raw_from..at]);
        }
        Ok(at)
    }

    fn tell_hashes(&mut self, visitor: &mut dyn Visitor) {
        self.walk.hash_records(|hash, content| visitor.hashed(&Hashed { hash, content }));
    }

    fn head(&self) -> Head<'_> {
        let name = &self.walk.sinks.name;
        Head {
            db: if self.walk.kind.is_key() { self.walk.db } else { 0 },
            name: if name.kept.len() as u64 == name.length {
                Name::Whole(&name.kept)
            } else {
                Name::Long { start: &name.kept, length: name.length }
            },
            kind: self.walk.kind,
            opcode: self.walk.opcode,
            expires_ms: self.walk.expires_ms,
            start: self.walk.start.unwrap_or(self.walk.offset),
        }
    }

    fn entry(&self) -> Entry<'_> {
        let collector = &self.walk.sinks.collector;
        Entry {
            head: self.head(),
            count: collector.count,
            bytes: self.walk.sinks.name.length + collector.bytes,
            end: self.walk.offset,
        }
    }
}
