//! How reading an RDB ends when it does not end well.

/// The bytes are not the RDB that they claim to be. Each kind is distinct, because each has another cause: a file from elsewhere,
/// a broken transfer, a flipped bit, two streams glued together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RdbError {
    /// Something else stands where `expected` must stand.
    #[error("the RDB has another shape at byte {offset}: expected {expected}")]
    Shape { offset: u64, expected: &'static str },
    /// The stream ended before the RDB did.
    #[error("the RDB is cut off after {offset} bytes, inside {inside}")]
    Truncated { offset: u64, inside: &'static str },
    /// The CRC-64 at the end is not that of the bytes before it.
    #[error("the checksum of the RDB is {stated:016x}, but its bytes have {computed:016x}")]
    Checksum { stated: u64, computed: u64 },
    /// The RDB is whole, and something follows it.
    #[error("the RDB ends at byte {offset}, and more bytes follow")]
    Trailing { offset: u64 },
}

/// Something that this reader does not know. It is no error: the bytes may be stored as they are, they just cannot be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown {
    pub what: Unreadable,
    /// Of the first byte that was not understood.
    pub offset: u64,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {} of the RDB", self.what, self.offset)
    }
}

/// What was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("format version {0}, which is newer than this reader,")]
    Version(u32),
    #[error("format version {0} of Valkey, which this reader does not know,")]
    ValkeyVersion(u32),
    /// An opcode or a type of a value: both are the first byte of a record.
    #[error("record type {opcode}, which this reader does not know,")]
    Opcode { opcode: u8 },
    /// Every server has this type; its layout may change in any release.
    #[error("a vector set in a layout which this reader does not know,")]
    VectorSet,
    /// Legal, but larger than what the reader is willing to hold.
    #[error("more than {0}, which is beyond this reader's bound,")]
    Beyond(&'static str),
}

/// Why a step did not go on. `Need` is no failure: the item begins here and is complete with that many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Need(usize),
    Shape(&'static str),
    Unknown(Unreadable),
}
