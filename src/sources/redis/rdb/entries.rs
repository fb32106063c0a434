//! The entries of a stream, which its nodes hold in listpacks.
//!
//! A node begins with a master entry: how many entries it holds, how many of them are deleted, the number of fields, their names,
//! a 0. Each entry is: flags (1 deleted, 2 the fields are the master's), the distance of its id from the node's (milliseconds,
//! sequence), the number of fields unless they are the master's, then names and values or only values, and how many elements of
//! the listpack it took.
//!
//! Content is: id, number of fields, then each name and value in order. A name longer than [`NAME_MAX`] is there by its digest, so
//! that the master's names take little memory; they may take [`NAMES_MAX`] bytes, beyond which the value is not read.

use super::digest::{Gather, varint};
use super::error::{Stop, Unreadable};
use super::packed::Elements;
use super::text::{DECIMAL_BYTES, decimal};

const NAME_MAX: u64 = 64;
const NAMES_MAX: usize = 4 << 20;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Milliseconds and sequence.
pub(super) type EntryId = (u64, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Count,
    Deleted,
    MasterFields,
    MasterName,
    MasterEnd,
    Flags,
    Milliseconds,
    Sequence,
    Fields,
    Name,
    Value,
    Size,
}

/// What is known of the stream that is being read.
#[derive(Debug)]
pub(super) struct Entries {
    next: Next,
    node: EntryId,
    /// Entries of the node as stated, deleted ones included, and read so far.
    stated: i64,
    read: i64,
    /// The master's names in canonical form, one behind the other, and where the next one begins.
    names: Vec<u8>,
    name_at: usize,
    master_fields: u64,
    flags: i64,
    id: EntryId,
    fields: u64,
    left: u64,
    /// The name that is being read.
    name: Gather,
    name_length: u64,
    pub(super) live: u64,
    pub(super) first: EntryId,
    pub(super) bytes: u64,
}

impl Entries {
    pub(super) fn new() -> Self {
        Self {
            next: Next::Count,
            node: (0, 0),
            stated: 0,
            read: 0,
            names: Vec::new(),
            name_at: 0,
            master_fields: 0,
            flags: 0,
            id: (0, 0),
            fields: 0,
            left: 0,
            name: Gather::new(),
            name_length: 0,
            live: 0,
            first: (0, 0),
            bytes: 0,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.names.capacity() + self.name.held_bytes()
    }

    pub(super) fn start_stream(&mut self) {
        (self.live, self.first, self.bytes) = (0, (0, 0), 0);
    }

    pub(super) fn start_node(&mut self, id: EntryId) {
        (self.next, self.node, self.read) = (Next::Count, id, 0);
        self.names.clear();
        self.names.shrink_to(64 << 10);
    }

    pub(super) fn end_node(&self) -> Result<(), Stop> {
        if self.next == Next::Flags && self.read == self.stated {
            return Ok(());
        }
        Err(Stop::Shape("as many entries as a node of a stream states"))
    }

    fn is_live(&self) -> bool {
        self.flags & DELETED == 0
    }

    fn has_master_fields(&self) -> bool {
        self.flags & SAME_FIELDS != 0
    }

    fn structure(&mut self, value: i64, out: &mut Gather) -> Result<(), Stop> {
        let count = || u64::try_from(value).map_err(|_| Stop::Shape("a count in a node of a stream"));
        match self.next {
            Next::Count => {
                self.stated = value;
                self.next = Next::Deleted;
            }
            Next::Deleted => {
                self.stated = self.stated.wrapping_add(value);
                self.next = Next::MasterFields;
            }
            Next::MasterFields => {
                self.master_fields = count()?;
                self.left = self.master_fields;
                self.next = if self.left == 0 { Next::MasterEnd } else { Next::MasterName };
            }
            Next::MasterEnd if value == 0 => self.next = Next::Flags,
            Next::Flags => {
                self.flags = value;
                self.next = Next::Milliseconds;
            }
            Next::Milliseconds => {
                self.id.0 = self.node.0.wrapping_add_signed(value);
                self.next = Next::Sequence;
            }
            Next::Sequence => {
                self.id.1 = self.node.1.wrapping_add_signed(value);
                if self.has_master_fields() {
                    self.open_entry(self.master_fields, out);
                } else {
                    self.next = Next::Fields;
                }
            }
            Next::Fields => self.open_entry(count()?, out),
            Next::Size if i128::from(value) == self.size() => {
                self.read = self.read.wrapping_add(1);
                self.next = Next::Flags;
            }
            _ => return Err(Stop::Shape("the structure of a node of a stream")),
        }
        Ok(())
    }

    /// Elements of the listpack that the entry has taken, by its fields.
    fn size(&self) -> i128 {
        let fields = i128::from(self.fields);
        if self.has_master_fields() { fields + 3 } else { 2 * fields + 4 }
    }

    fn open_entry(&mut self, fields: u64, out: &mut Gather) {
        (self.fields, self.left, self.name_at) = (fields, fields, 0);
        if self.is_live() {
            if self.live == 0 {
                self.first = self.id;
            }
            self.live += 1;
            self.bytes += 16;
            out.push_byte(1);
            out.push_u64(self.id.0);
            out.push_u64(self.id.1);
            out.push_varint(fields);
        }
        self.next_field();
    }

    fn next_field(&mut self) {
        self.next = match self.left {
            0 => Next::Size,
            _ if self.has_master_fields() => Next::Value,
            _ => Next::Name,
        };
    }

    /// The master's next name goes before the value that is about to come.
    fn repeat_name(&mut self, out: &mut Gather) {
        let rest = &self.names[self.name_at..];
        let mut length = 0_u64;
        let mut used = 0;
        for byte in rest {
            length |= u64::from(byte & 0x7f) << (7 * used);
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let body = if length > NAME_MAX { 32 } else { usize::try_from(length).expect("a short name") };
        out.push(&rest[..used + body]);
        self.name_at += used + body;
        self.bytes += length;
    }

    fn begin_text(&mut self, length: u64, out: &mut Gather) -> Result<(), Stop> {
        match self.next {
            Next::MasterName | Next::Name => self.name_length = length,
            Next::Value => {
                if self.is_live() {
                    if self.has_master_fields() {
                        self.repeat_name(out);
                    }
                    self.bytes += length;
                    out.push_varint(length);
                }
            }
            _ => return Err(Stop::Shape("an integer in the structure of a node of a stream")),
        }
        Ok(())
    }

    fn text(&mut self, piece: &[u8], out: &mut Gather) {
        match self.next {
            Next::Value if self.is_live() => out.push(piece),
            Next::Value => {}
            _ => self.name.push(piece),
        }
    }

    fn end_text(&mut self, out: &mut Gather) -> Result<(), Stop> {
        match self.next {
            Next::Value => {
                self.left -= 1;
                self.next_field();
            }
            Next::MasterName => {
                let (prefix, count) = varint(self.name_length);
                let names = &mut self.names;
                names.extend_from_slice(&prefix[..count]);
                self.name.take_or_digest(NAME_MAX, self.name_length, |bytes| names.extend_from_slice(bytes));
                if names.len() > NAMES_MAX {
                    return Err(Stop::Unknown(Unreadable::Beyond("4 MiB of field names in one node of a stream")));
                }
                self.left -= 1;
                if self.left == 0 {
                    self.next = Next::MasterEnd;
                }
            }
            _ => {
                if self.is_live() {
                    self.bytes += self.name_length;
                    out.push_varint(self.name_length);
                }
                let live = self.is_live();
                self.name.take_or_digest(NAME_MAX, self.name_length, |bytes| {
                    if live {
                        out.push(bytes);
                    }
                });
                self.next = Next::Value;
            }
        }
        Ok(())
    }
}

/// A node's elements on their way into the stream's digest.
pub(super) struct Node<'a> {
    pub(super) entries: &'a mut Entries,
    pub(super) out: &'a mut Gather,
}

impl Elements for Node<'_> {
    fn bytes(&mut self, whole: &[u8]) -> Result<(), Stop> {
        self.begin(whole.len() as u64)?;
        self.piece(whole);
        self.end()
    }

    fn integer(&mut self, value: i64) -> Result<(), Stop> {
        if matches!(self.entries.next, Next::MasterName | Next::Name | Next::Value) {
            return self.bytes(decimal(value, &mut [0; DECIMAL_BYTES]));
        }
        self.entries.structure(value, self.out)
    }

    fn begin(&mut self, length: u64) -> Result<(), Stop> {
        self.entries.begin_text(length, self.out)
    }

    fn piece(&mut self, piece: &[u8]) {
        self.entries.text(piece, self.out);
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.entries.end_text(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Item<'a> {
        I(i64),
        T(&'a [u8]),
    }
    use Item::{I, T};

    fn digest(node: EntryId, items: &[Item<'_>]) -> Result<([u8; 32], u64, EntryId), Stop> {
        let (mut entries, mut out) = (Entries::new(), Gather::new());
        entries.start_stream();
        entries.start_node(node);
        for item in items {
            let mut sink = Node { entries: &mut entries, out: &mut out };
            match item {
                I(value) => sink.integer(*value)?,
                T(text) => sink.bytes(text)?,
            }
        }
        entries.end_node()?;
        Ok((out.finish(), entries.live, entries.first))
    }

    #[test]
    fn the_same_entries_have_one_digest_however_the_node_stores_them() {
        let long = [b'n'; 100];
        for name in [&b"f"[..], &long] {
            let own = [I(1), I(0), I(1), T(b"other"), I(0), I(0), I(5), I(0), I(1), T(name), I(7), I(6)];
            let same = [I(1), I(0), I(1), T(name), I(0), I(2), I(0), I(0), T(b"7"), I(4)];
            assert_eq!(digest((10, 1), &own).unwrap(), digest((15, 1), &same).unwrap());
        }
    }

    #[test]
    fn deleted_entries_are_no_content() {
        let with =
            [I(1), I(1), I(1), T(b"f"), I(0), I(3), I(0), I(0), T(b"gone"), I(4), I(2), I(9), I(0), T(b"v"), I(4)];
        let without = [I(1), I(0), I(1), T(b"f"), I(0), I(2), I(9), I(0), T(b"v"), I(4)];
        assert_eq!(digest((1, 0), &with).unwrap(), digest((1, 0), &without).unwrap());
        assert_eq!(digest((1, 0), &with).unwrap().2, (10, 0));
        let own_fields = [I(0), I(1), I(0), I(0), I(1), I(9), I(0), I(1), T(b"f"), T(b"v"), I(6)];
        assert_eq!(digest((1, 0), &own_fields).unwrap().1, 0);
    }

    #[test]
    fn a_node_that_contradicts_itself_is_refused() {
        let refuse = |items: &[Item<'_>]| assert!(matches!(digest((1, 0), items), Err(Stop::Shape(_))));
        refuse(&[]);
        refuse(&[I(1), I(0), I(0), I(0)]);
        refuse(&[I(1), I(0), I(-1)]);
        refuse(&[I(1), T(b"0")]);
        refuse(&[I(0), I(0), I(0), I(1)]);
        refuse(&[I(1), I(0), I(0), I(0), I(2), I(0), I(0), I(4)]);
        refuse(&[I(1), I(0), I(0), I(0), I(0), I(0), I(0), I(-1)]);
        refuse(&[I(2), I(0), I(0), I(0), I(2), I(0), I(0), I(3)]);
    }
}
