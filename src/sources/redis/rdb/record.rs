//! What a caller sees of an RDB: records, and how to say what is wanted of them.

use super::error::Unknown;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
    /// Since Redis 8.8.
    Array,
    /// A value of a type that a module brings; its content is what the module saved, not interpreted.
    Module(ModuleId),
    /// A library of functions; not a key.
    Function,
    /// What a module saved beside the keys.
    ModuleAux(ModuleId),
}

impl Kind {
    /// As `TYPE` calls it, where it is the type of a key.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Array => "array",
            Self::Module(_) => "module",
            Self::Function => "function",
            Self::ModuleAux(_) => "module data",
        }
    }

    pub fn is_key(self) -> bool {
        !matches!(self, Self::Function | Self::ModuleAux(_))
    }

    /// What stands for it in a record's hash; a part of the format of fingerprints.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::String => 0,
            Self::List => 1,
            Self::Set => 2,
            Self::SortedSet => 3,
            Self::Hash => 4,
            Self::Stream => 5,
            Self::Array => 6,
            Self::Module(_) => 7,
            Self::Function => 8,
            Self::ModuleAux(_) => 9,
        }
    }
}

/// Nine characters of 6 bits and a version of 10 bits, as a module registers a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModuleId(pub u64);

impl ModuleId {
    /// `ReJSON-RL`.
    pub fn name(self) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..9).map(|at| char::from(LETTERS[(self.0 >> (58 - 6 * at) & 63) as usize])).collect()
    }

    /// Of the type's encoding, as the module counts it.
    pub fn version(self) -> u64 {
        self.0 & 1023
    }
}

/// A key, a library's name, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    Whole(&'a [u8]),
    /// Longer than [`Parser::keep_names_to`](super::Parser::keep_names_to) allows.
    Long {
        start: &'a [u8],
        length: u64,
    },
}

impl<'a> Name<'a> {
    /// The name, or what is kept of it.
    pub fn start(self) -> &'a [u8] {
        match self {
            Self::Whole(name) | Self::Long { start: name, .. } => name,
        }
    }
}

/// What is known of a record before its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// 0 for what is not a key.
    pub db: u64,
    pub name: Name<'a>,
    pub kind: Kind,
    /// The RDB's own type of the value, which also names the encoding.
    pub opcode: u8,
    /// Milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// Offset of the record's first byte in the RDB, its expiry included.
    pub start: u64,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub head: Head<'a>,
    /// Elements, fields, members, entries of a stream; 1 for what has none.
    pub count: u64,
    /// Length of name and content in bytes, the same for every encoding.
    pub bytes: u64,
    /// Offset behind the record's last byte; never before the piece that was fed last.
    pub end: u64,
}

/// What is known of a record some time after [`Visitor::entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed<'a> {
    /// Equal for records of equal content: the hash over database, name, kind, expiry and content. What the proof sums.
    pub hash: &'a [u8; 32],
    /// In canonical form: a byte that says what follows, then what is short as it is, or a digest and the number of elements.
    pub content: &'a [u8],
}

/// Whether a record's serialized value is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw {
    Skip,
    Take,
}

/// Gets what a [`Parser`](super::Parser) finds, in the order of the RDB. Everything is optional.
pub trait Visitor {
    /// A key was read and its value comes, or a library of functions comes (its name is not known yet). Not called for what
    /// modules save beside the keys.
    fn begin(&mut self, _head: &Head<'_>) -> Raw {
        Raw::Skip
    }

    /// A piece of the serialized value that [`begin`](Self::begin) asked for, in order. At most as long as what was fed, or a few
    /// KiB where the parser had held it. The value is complete when [`entry`](Self::entry) is called; without that call it must
    /// be thrown away.
    fn raw(&mut self, _piece: &[u8]) {}

    /// A record is complete.
    fn entry(&mut self, _entry: &Entry<'_>) {}

    /// The next of the records that [`entry`](Self::entry) told, in the same order: called before [`Parser::feed`](super::Parser::feed)
    /// returns, unless with an error.
    fn hashed(&mut self, _record: &Hashed<'_>) {}

    /// How many keys a database has, and how many of them with an expiry, by the server's own count at the moment of the RDB.
    fn sizes(&mut self, _db: u64, _keys: u64, _expiring: u64) {}

    /// A statement about the RDB itself: `redis-ver`, `7.0.15`. Cut after 4 KiB. Not content.
    fn auxiliary(&mut self, _name: &[u8], _value: &[u8]) {}
}

/// A visitor that wants nothing: to check an RDB's shape and checksum.
impl Visitor for () {}

/// The format that an RDB says it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub valkey: bool,
    pub number: u32,
}

/// What the last 8 bytes said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    Matches,
    /// The server was told to compute none.
    Off,
    /// Formats before version 5 have none.
    Absent,
    /// An RDB that was not understood may or may not end in one, and it does not match.
    Unsure,
}

/// How reading ended, when it ended well or with something unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub version: Version,
    pub bytes: u64,
    /// Records that were reported.
    pub records: u64,
    pub checksum: Checksum,
    /// Where reading stopped although the stream went on: what comes after it was not seen.
    pub unknown: Option<Unknown>,
}

/// Ends what [`Visitor::raw`] gave so that `RESTORE` takes it: the version of the RDB that it came from, and the sum of it all.
///
/// `sum` is that of the raw pieces.
pub fn restore_trailer(mut sum: super::Crc64, version: Version) -> [u8; 10] {
    let number = u16::try_from(version.number).unwrap_or(u16::MAX).to_le_bytes();
    sum.update(&number);
    let mut trailer = [0; 10];
    trailer[..2].copy_from_slice(&number);
    trailer[2..].copy_from_slice(&sum.value().to_le_bytes());
    trailer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_id_spells_its_name() {
        // `ReJSON-RL`, version 3, by the places of its letters.
        let places = [17_u64, 30, 9, 18, 14, 13, 62, 17, 11];
        let id = places.iter().fold(0, |id, place| id << 6 | place) << 10 | 3;
        assert_eq!((ModuleId(id).name(), ModuleId(id).version()), ("ReJSON-RL".to_owned(), 3));
    }
}
