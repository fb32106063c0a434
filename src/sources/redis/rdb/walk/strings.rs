//! Strings, which may be longer than memory: whole where they are small, else in pieces, plain, as integers or compressed.

use super::super::cursor::{Cursor, Length};
use super::super::error::Stop;
use super::super::lzf::PIECE;
use super::super::packed::SMALL;
use super::super::sinks::Target;
use super::super::text::{DECIMAL_BYTES, decimal};
use super::super::value::Value;
use super::{OldFunction, Signal, State, Walk};

/// The string that is being read in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Nothing,
    Plain { left: u64 },
    Compressed { left: u64 },
}

impl Walk {
    /// Begins a string, or takes it whole where it is small.
    pub(in super::super) fn string(&mut self, bytes: &[u8], target: Target) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let whole = |length: u64| (length <= SMALL).then(|| usize::try_from(length).expect("a small length"));
        match cursor.length_or_encoding()? {
            Length::Plain(length) => {
                if let Some(count) = whole(length) {
                    self.sinks.whole(target, cursor.take(count)?)?;
                } else {
                    return self.begin_string(target, length, Reading::Plain { left: length }, cursor.at);
                }
            }
            Length::Encoded(3) => {
                let [compressed, length] = cursor.lengths()?;
                if let Some(count) = whole(compressed).filter(|_| length <= PIECE as u64) {
                    let text = self.lzf.whole(cursor.take(count)?, length)?;
                    self.sinks.whole(target, text)?;
                } else {
                    self.lzf.begin(length);
                    return self.begin_string(target, length, Reading::Compressed { left: compressed }, cursor.at);
                }
            }
            Length::Encoded(encoding) => {
                let value = match encoding {
                    0 => i64::from(i8::from_le_bytes(cursor.array()?)),
                    1 => i64::from(i16::from_le_bytes(cursor.array()?)),
                    2 => i64::from(i32::from_le_bytes(cursor.array()?)),
                    _ => return Err(Stop::Shape("an encoding of a string")),
                };
                self.sinks.whole(target, decimal(value, &mut [0; DECIMAL_BYTES]))?;
            }
        }
        self.string_done()?;
        Ok(cursor.at)
    }

    fn begin_string(&mut self, target: Target, length: u64, reading: Reading, used: usize) -> Result<usize, Stop> {
        self.sinks.begin(target, length)?;
        (self.reading, self.target) = (reading, target);
        Ok(used)
    }

    pub(super) fn string_piece(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let target = self.target;
        let room = |left: u64| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (count, left) = match self.reading {
            Reading::Plain { left } => {
                let count = room(left);
                self.sinks.piece(target, &bytes[..count])?;
                let left = left - count as u64;
                self.reading = Reading::Plain { left };
                (count, left)
            }
            Reading::Compressed { left } => {
                let count = room(left);
                let left = left - count as u64;
                let sinks = &mut self.sinks;
                self.lzf.feed(&bytes[..count], &mut |piece| sinks.piece(target, piece))?;
                if left == 0 {
                    self.lzf.end(&mut |piece| sinks.piece(target, piece))?;
                }
                self.reading = Reading::Compressed { left };
                (count, left)
            }
            Reading::Nothing => (0, 0),
        };
        if target == Target::Meta {
            self.keep_meta(&bytes[..count])?;
        }
        if left == 0 {
            self.reading = Reading::Nothing;
            self.sinks.end(target)?;
            self.string_done()?;
        }
        Ok(count)
    }

    /// What comes after a string depends on what it was.
    fn string_done(&mut self) -> Result<(), Stop> {
        match self.state {
            State::Value(value) => self.value_string_done(value)?,
            State::Key => {
                let (_, value, shape) = Value::of(self.opcode, self.version)?;
                self.begin_value(value, shape);
            }
            State::AuxiliaryName => self.state = State::AuxiliaryValue,
            State::AuxiliaryValue => {
                self.state = State::Opcode;
                self.signal = Signal::Auxiliary;
            }
            State::ImportName => self.state = State::ImportCount,
            State::Function => self.finish_record()?,
            State::OldFunction(OldFunction::Name) => self.state = State::OldFunction(OldFunction::Engine),
            State::OldFunction(OldFunction::Engine) => self.state = State::OldFunction(OldFunction::HasDescription),
            State::OldFunction(OldFunction::Description) => self.state = State::OldFunction(OldFunction::Code),
            State::OldFunction(_) => {
                self.sinks.collector.count = 1;
                self.finish_record()?;
            }
            _ => self.module_text_done(),
        }
        Ok(())
    }
}
