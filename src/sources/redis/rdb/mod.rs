//! Reads an RDB, the format in which Redis and Valkey save and replicate everything that they hold, as it streams by.
//!
//! It knows versions 1 to 14 of Redis and 80 to 81 of Valkey, every type and encoding of them: keys with expiry, field expiry,
//! streams with groups, consumers and pending entries, libraries of functions, vector sets, values and data of other modules (not
//! interpreted). It does no I/O: [`Parser::feed`] takes bytes in pieces of any size and tells a [`Visitor`] what was found.
//!
//! # Fingerprints
//! Each record has a canonical hash ([`Hashed`]), equal for equal content whatever the encoding, the version, the order of a hash's
//! fields or how often a key was used; `collect`, `entries` and `stream` say what is content. Their sum modulo 2^256
//! ([`Sum256`]) and their number are a fingerprint of a dataset:
//!
//! ```text
//! fn entry(&mut self, entry: &Entry<'_>) {
//!     self.bytes += entry.bytes;      // the same for every encoding, unlike offsets
//! }
//!
//! fn hashed(&mut self, record: &Hashed<'_>) {
//!     self.sum.add(record.hash);
//!     self.records += 1;
//! }
//! ```
//!
//! Hashes are computed for many records at once, so they come later than the records, in the same order: at the latest before
//! [`Parser::feed`] returns.
//!
//! # Cutting the stream into chunks
//! [`Entry::end`] is the offset behind a record in everything that was fed, and never lies before the piece that was fed last:
//! a caller that notes how much it fed before this piece gets the record's end in the piece. Statements about the file and
//! the choice of a database between two records belong to the second.
//!
//! # Values for `RESTORE`
//! [`Visitor::begin`] is called with a key before its value and says whether the serialized value is wanted;
//! [`Visitor::raw`] then gets it in pieces (metadata of modules, the type, the value), while it is also read. With
//! [`restore_trailer`] at its end it is what `RESTORE key ttl payload ABSTTL` takes on a server that knows the version. The
//! same goes for libraries: pieces of all libraries one after the other, and one trailer, are what `FUNCTION RESTORE` takes.
//! A caller bounds what it collects itself: a value may have 512 MiB and more. An RDB may be read twice, once for keys by name.
//!
//! # What is not right
//! Errors are kept apart ([`RdbError`]): another shape, a wrong checksum, an end too early, bytes after the end. What this reader
//! does not know is none of them: it stops there, takes everything that follows without looking, and [`Parser::finish`] says so
//! in [`Summary::unknown`]. The stored bytes may be whole, they are only not shown to be.
//!
//! # Bounds
//! Memory is at most about 10 MiB, whatever the data say: 16 KiB for an item that is not complete and as much for one inside a
//! compact encoding, 24 KiB to decompress, 64 KiB for each of the open element, the value and the name, half a MiB of elements and records that wait to
//! be hashed, 4 KiB for
//! each statement about the file, 64 KiB for the metadata of a key, 4 MiB (and as much spare) for the field names of one node of a stream. No length
//! is trusted: it is only ever counted down. Nothing recurses. [`Parser::keep_names_to`] raises the bound for names.
//!
//! Speed is that of reading item by item, of BLAKE3 on 16 small inputs at once and of a CRC-64 of 16 bytes at a time. To measure it, read an RDB into a [`Parser`] with
//! `()` as visitor in a release build.
//!
//! Source: rdb.h and rdb.c of Redis 2.0 to 8.8 and of Valkey 8 to 9.2 say what is written; the tests let a real server read it.

mod batch;
mod collect;
mod crc64;
mod cursor;
mod digest;
mod entries;
mod error;
mod lzf;
mod packed;
mod parser;
mod record;
mod sinks;
mod stream;
mod text;
mod value;
mod vectors;
mod walk;

pub use crc64::Crc64;
pub use digest::Sum256;
pub use error::{RdbError, Unknown, Unreadable};
pub use parser::Parser;
pub use record::{
    Checksum, Entry, Hashed, Head, Kind, ModuleId, Name, Raw, Summary, Version, Visitor, restore_trailer,
};
