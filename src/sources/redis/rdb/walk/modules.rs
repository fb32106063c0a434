//! What modules save: in values, beside the keys, and about a key. It is not interpreted, but for vector sets.

use super::super::cursor::Cursor;
use super::super::error::{Stop, Unreadable};
use super::super::sinks::Target;
use super::{State, Walk};

/// So much may be said about a key before it.
const META_MAX: usize = 64 << 10;

impl Walk {
    pub(super) fn keep_meta(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.meta_raw.extend_from_slice(bytes);
        if self.meta_raw.len() > META_MAX {
            return Err(Stop::Unknown(Unreadable::Beyond("64 KiB of metadata before a key")));
        }
        Ok(())
    }

    /// What a module saved: each value after its type, a type 0 at the end.
    pub(in super::super) fn module_step(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let in_meta = matches!(self.state, State::Meta { .. });
        let count = if self.module_text {
            let target = match &self.vectors {
                _ if in_meta => Target::Meta,
                Some(_) => Target::Vectors,
                None => Target::Ordered,
            };
            self.string(bytes, target)?
        } else {
            self.module_value(bytes, in_meta)?
        };
        if in_meta {
            self.keep_meta(&bytes[..count])?;
        }
        Ok(count)
    }

    fn module_value(&mut self, bytes: &[u8], in_meta: bool) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let code = cursor.length()?;
        let (value, length) = match code {
            0 | 5 => (0, 0),
            1 | 2 => (cursor.length()?, 8),
            3 => (u64::from(u32::from_le_bytes(cursor.array()?)), 4),
            4 => (cursor.u64_le()?, 8),
            _ => return Err(Stop::Shape("a type of a module's value")),
        };
        if let Some(vectors) = self.vectors.as_mut().filter(|_| !in_meta) {
            vectors.value(code, value, &mut self.sinks.collector)?;
            self.module_text = code == 5;
            if code == 0 {
                self.vectors = None;
                self.finish_record()?;
            }
            return Ok(cursor.at);
        }
        let out = if in_meta { &mut self.sinks.meta } else { &mut self.sinks.collector.gather };
        out.push_byte(code.to_le_bytes()[0]);
        out.push(&value.to_le_bytes()[..length]);
        self.module_text = code == 5;
        if code == 0 {
            match self.state {
                State::Meta { left: 0 } => {
                    self.meta = Some(self.sinks.meta.finish());
                    self.state = State::Opcode;
                }
                State::Meta { left } => self.state = State::MetaClass { left },
                _ => {
                    self.sinks.collector.count = 1;
                    self.finish_record()?;
                }
            }
        }
        Ok(cursor.at)
    }

    pub(in super::super) fn module_text_done(&mut self) {
        self.module_text = false;
        if let Some(vectors) = self.vectors.as_mut().filter(|_| matches!(self.state, State::Value(_))) {
            vectors.text_done(&mut self.sinks.collector);
        }
    }
}
