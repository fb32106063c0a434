//! The top level of an RDB: header, opcodes, names, checksum.
//!
//! A state reads one item at a time, from bytes that hold it whole, or says how many it needs. It may signal the caller; an item
//! signals at most once.

mod modules;
mod record;
mod strings;

use strings::Reading;

use super::batch::Records;
use super::collect::Shape;
use super::cursor::Cursor;
use super::error::{Stop, Unreadable};
use super::lzf::Lzf;
use super::record::{Kind, ModuleId, Version};
use super::sinks::{Sinks, Target};
use super::stream::{Layout, Stream};
use super::value::Value;
use super::vectors::Vectors;

pub(super) mod opcode {
    pub(crate) const KEY_META: u8 = 243;
    pub(crate) const SLOT_IMPORT: u8 = 243;
    pub(crate) const SLOT_INFO: u8 = 244;
    pub(crate) const FUNCTION: u8 = 245;
    pub(crate) const FUNCTION_OLD: u8 = 246;
    pub(crate) const MODULE_AUX: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQUENCY: u8 = 249;
    pub(crate) const AUXILIARY: u8 = 250;
    pub(crate) const RESIZE_DB: u8 = 251;
    pub(crate) const EXPIRES_MS: u8 = 252;
    pub(crate) const EXPIRES_SECONDS: u8 = 253;
    pub(crate) const SELECT_DB: u8 = 254;
    pub(crate) const END: u8 = 255;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Header,
    Opcode,
    AuxiliaryName,
    AuxiliaryValue,
    /// A migration of slots that is under way: its name, how many ranges, the ranges. Not content.
    ImportName,
    ImportCount,
    ImportRanges {
        left: u64,
    },
    /// What modules attached to the key that follows: for each a class, then what the module saved.
    MetaClass {
        left: u64,
    },
    Meta {
        left: u64,
    },
    Key,
    Value(Value),
    Function,
    OldFunction(OldFunction),
    ModuleAux,
    Checksum,
    End,
    Unknown,
}

/// The parts of a library in the format of Redis 7.0's release candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldFunction {
    Name,
    Engine,
    HasDescription,
    Description,
    Code,
}

/// What the caller is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Nothing,
    Auxiliary,
    Sizes,
    Begin,
    Entry,
}

#[derive(Debug)]
pub(super) struct Walk {
    pub(super) state: State,
    reading: Reading,
    target: Target,
    lzf: Lzf,
    pub(super) sinks: Sinks,
    pub(super) signal: Signal,
    /// Keys of the database, and how many of them have an expiry, as the server counted them.
    pub(super) sizes: [u64; 2],
    pub(super) version: Version,
    /// Of all bytes before the item that is being read.
    pub(super) offset: u64,
    /// A module's string comes next.
    module_text: bool,
    /// Where in a stream the reading is; apart, because every step copies the state.
    pub(super) stream: Stream,
    /// Where in a vector set, if the value that is being read is one.
    pub(super) vectors: Option<Vectors>,
    // Of the record that is being read.
    pub(super) start: Option<u64>,
    pub(super) db: u64,
    pub(super) kind: Kind,
    pub(super) opcode: u8,
    pub(super) expires_ms: Option<i64>,
    meta: Option<[u8; 32]>,
    /// The serialized metadata, which belong to the serialized value.
    pub(super) meta_raw: Vec<u8>,
    pub(super) records: Records,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            reading: Reading::Nothing,
            target: Target::Skipped,
            lzf: Lzf::new(),
            sinks: Sinks::new(),
            signal: Signal::Nothing,
            sizes: [0; 2],
            version: Version { valkey: false, number: 0 },
            offset: 0,
            module_text: false,
            stream: Stream::new(Layout::One),
            vectors: None,
            start: None,
            db: 0,
            kind: Kind::String,
            opcode: 0,
            expires_ms: None,
            meta: None,
            meta_raw: Vec::new(),
            records: Records::new(),
        }
    }

    /// Reads one item, or a piece of one that is read in pieces. `bytes` is not empty.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        if self.reading != Reading::Nothing {
            return self.string_piece(bytes);
        }
        match self.state {
            State::Value(value) => self.value_step(value, bytes),
            State::Opcode => self.opcode_step(bytes),
            State::Key => self.string(bytes, Target::Key),
            State::Header => self.header_step(bytes),
            State::AuxiliaryName => self.string(bytes, Target::AuxiliaryName),
            State::AuxiliaryValue => self.string(bytes, Target::AuxiliaryValue),
            State::ImportName => self.string(bytes, Target::Skipped),
            State::ImportCount => {
                let mut cursor = Cursor::new(bytes);
                let left = cursor.length()?;
                self.state = if left == 0 { State::Opcode } else { State::ImportRanges { left } };
                Ok(cursor.at)
            }
            State::ImportRanges { left } => {
                let mut cursor = Cursor::new(bytes);
                cursor.lengths::<2>()?;
                self.state = if left == 1 { State::Opcode } else { State::ImportRanges { left: left - 1 } };
                Ok(cursor.at)
            }
            State::MetaClass { left } => {
                let class = Cursor::new(bytes).take(4)?;
                self.sinks.meta.push(class);
                self.state = State::Meta { left: left - 1 };
                self.keep_meta(class)?;
                Ok(4)
            }
            State::Meta { .. } | State::ModuleAux => self.module_step(bytes),
            State::Function => self.string(bytes, Target::Code),
            State::OldFunction(part) => self.old_function_step(part, bytes),
            State::Checksum => {
                Cursor::new(bytes).take(8)?;
                self.state = State::End;
                Ok(8)
            }
            State::End | State::Unknown => Ok(bytes.len()),
        }
    }

    /// `REDIS` and four digits, or `VALKEY` and three.
    fn header_step(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let header = Cursor::new(bytes).take(9)?;
        let valkey = header.starts_with(b"VALKEY");
        let digits = &header[if valkey { 6 } else { 5 }..];
        if !(valkey || header.starts_with(b"REDIS")) || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Stop::Shape("`REDIS` or `VALKEY` and a version"));
        }
        let number = digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        self.version = Version { valkey, number };
        match (valkey, number) {
            (false, 1..=14) | (true, 80..=81) => self.state = State::Opcode,
            (false, 0) => return Err(Stop::Shape("a version from 1")),
            (false, _) => return Err(Stop::Unknown(Unreadable::Version(number))),
            (true, _) => return Err(Stop::Unknown(Unreadable::ValkeyVersion(number))),
        }
        Ok(9)
    }

    fn opcode_step(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let mut cursor = Cursor::new(bytes);
        let code = cursor.byte()?;
        match code {
            opcode::EXPIRES_MS => {
                self.expires_ms = Some(cursor.i64_le()?);
                self.start_record();
            }
            opcode::EXPIRES_SECONDS => {
                self.expires_ms = Some(1000 * i64::from(i32::from_le_bytes(cursor.array()?)));
                self.start_record();
            }
            // How lately or often a key was used is no content.
            opcode::IDLE => {
                cursor.length()?;
                self.start_record();
            }
            opcode::FREQUENCY => {
                cursor.byte()?;
                self.start_record();
            }
            opcode::SELECT_DB => self.db = cursor.length()?,
            opcode::RESIZE_DB => {
                self.sizes = cursor.lengths()?;
                self.signal = Signal::Sizes;
            }
            opcode::SLOT_INFO => {
                cursor.lengths::<3>()?;
            }
            opcode::AUXILIARY => self.state = State::AuxiliaryName,
            opcode::SLOT_IMPORT if self.version.valkey => self.state = State::ImportName,
            opcode::KEY_META if self.version.number >= 13 => {
                let left = cursor.length()?;
                self.start_record();
                if left > 0 {
                    self.sinks.meta.push_varint(left);
                    self.state = State::MetaClass { left };
                    self.keep_meta(&bytes[..cursor.at])?;
                }
            }
            opcode::FUNCTION | opcode::FUNCTION_OLD => {
                self.start_record();
                (self.kind, self.opcode) = (Kind::Function, code);
                let old = code == opcode::FUNCTION_OLD;
                self.sinks.collector.start(if old { Shape::List } else { Shape::Text });
                self.sinks.name.clear();
                self.state = if old { State::OldFunction(OldFunction::Name) } else { State::Function };
                self.signal = Signal::Begin;
            }
            opcode::MODULE_AUX => {
                let [id, when_type, when] = cursor.lengths()?;
                if when_type != 2 {
                    return Err(Stop::Shape("when a module saved its data"));
                }
                self.start_record();
                (self.kind, self.opcode) = (Kind::ModuleAux(ModuleId(id)), code);
                self.sinks.name.clear();
                self.sinks.collector.start(Shape::List);
                self.sinks.collector.gather.push_u64(id);
                self.sinks.collector.gather.push_u64(when);
                self.state = State::ModuleAux;
            }
            opcode::END => self.state = if self.version.number >= 5 { State::Checksum } else { State::End },
            code => {
                let (kind, value, shape) = Value::of(code, self.version)?;
                self.start_record();
                (self.kind, self.opcode, self.state) = (kind, code, State::Key);
                // Most names are short and there whole: another step would cost more than they do.
                if let Some(name) = cursor.short_text() {
                    self.sinks.name.take_whole(name);
                    self.begin_value(value, shape);
                }
            }
        }
        Ok(cursor.at)
    }

    /// The name was read, the value comes.
    fn begin_value(&mut self, value: Value, shape: Shape) {
        if let Value::Stream(layout) = value {
            self.stream = Stream::new(layout);
        }
        self.sinks.collector.start(shape);
        self.state = State::Value(value);
        self.signal = Signal::Begin;
    }

    fn start_record(&mut self) {
        self.start.get_or_insert(self.offset);
    }

    /// Takes everything that still comes without looking.
    pub(super) fn give_up(&mut self) {
        (self.state, self.reading, self.signal) = (State::Unknown, Reading::Nothing, Signal::Nothing);
    }

    fn old_function_step(&mut self, part: OldFunction, bytes: &[u8]) -> Result<usize, Stop> {
        if part != OldFunction::HasDescription {
            let is_name = part == OldFunction::Name;
            return self.string(bytes, if is_name { Target::LibraryName } else { Target::Ordered });
        }
        let mut cursor = Cursor::new(bytes);
        let described = cursor.length()? != 0;
        self.sinks.collector.gather.push_byte(u8::from(described));
        self.state = State::OldFunction(if described { OldFunction::Description } else { OldFunction::Code });
        Ok(cursor.at)
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.lzf.held_bytes() + self.sinks.held_bytes() + self.records.held_bytes() + self.meta_raw.capacity()
    }

    /// What the stream was inside of, for people.
    pub(super) fn place(&self) -> &'static str {
        match self.state {
            State::Header => "the header",
            State::Opcode => "the list of keys",
            State::AuxiliaryName | State::AuxiliaryValue => "a statement about the file",
            State::ImportName | State::ImportCount | State::ImportRanges { .. } => "a migration of slots",
            State::MetaClass { .. } | State::Meta { .. } => "the metadata of a key",
            State::Key => "a key",
            State::Value(_) => "a value",
            State::Function | State::OldFunction(_) => "a library of functions",
            State::ModuleAux => "a module's data",
            State::Checksum => "the checksum",
            State::End | State::Unknown => "nothing",
        }
    }
}
