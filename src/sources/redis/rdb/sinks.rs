//! Where the strings of an RDB go.

use super::collect::Collector;
use super::digest::{Gather, varint};
use super::entries::{Entries, EntryId, Node};
use super::error::Stop;
use super::packed::{Elements as _, Packed, Packing};

/// A name of at most so many bytes is in the hash of its record as it is, a longer one by its digest.
const NAME_HASHED_WHOLE_MAX: usize = 64 << 10;
/// So much is kept of a statement about the RDB.
const AUXILIARY_MAX: usize = 4 << 10;
/// A library's name stands in the first line of its code.
const FIRST_LINE_MAX: usize = 1 << 10;

/// What a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    AuxiliaryName,
    AuxiliaryValue,
    Key,
    /// An element of the value.
    Element,
    /// Many elements of the value.
    Packed(Packing),
    /// Where a node of a stream begins.
    NodeId,
    /// A node of a stream.
    Node,
    /// Text of the value whose place is fixed: the name of a group, a module's string.
    Ordered,
    /// The same of the metadata that precede a key.
    Meta,
    /// A text of a vector set, which is a part of an element.
    Vectors,
    /// The code of a library, which also names it.
    Code,
    /// The name of a library, which the format of Redis 7.0's release candidates has apart.
    LibraryName,
    Skipped,
}

/// The name of a record.
#[derive(Debug)]
pub(super) struct NameText {
    pub(super) kept: Vec<u8>,
    pub(super) keep_max: usize,
    pub(super) length: u64,
    long: Gather,
}

impl NameText {
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        // One large name must not cost its memory for the rest of the RDB.
        if self.kept.capacity() > NAME_HASHED_WHOLE_MAX {
            self.kept.shrink_to(NAME_HASHED_WHOLE_MAX);
        }
        self.length = 0;
    }

    fn begin(&mut self, length: u64) {
        self.clear();
        self.length = length;
    }

    /// One that is shorter than any bound.
    pub(super) fn take_whole(&mut self, name: &[u8]) {
        debug_assert!(name.len() <= NAME_HASHED_WHOLE_MAX, "a short name");
        self.begin(name.len() as u64);
        self.kept.extend_from_slice(name);
    }

    fn piece(&mut self, piece: &[u8]) {
        let room = self.keep_max.saturating_sub(self.kept.len()).min(piece.len());
        self.kept.extend_from_slice(&piece[..room]);
        if self.length > NAME_HASHED_WHOLE_MAX as u64 {
            self.long.push(piece);
        }
    }

    /// Adds it to a record. What is kept never matters to that.
    pub(super) fn push_to(&mut self, record: &mut Vec<u8>) {
        let (bytes, count) = varint(self.length);
        record.extend_from_slice(&bytes[..count]);
        if self.length > NAME_HASHED_WHOLE_MAX as u64 {
            record.extend_from_slice(&self.long.finish());
        } else {
            record.extend_from_slice(&self.kept);
        }
    }
}

#[derive(Debug)]
pub(super) struct Sinks {
    pub(super) collector: Collector,
    pub(super) entries: Entries,
    packed: Packed,
    pub(super) name: NameText,
    pub(super) auxiliary_name: Vec<u8>,
    pub(super) auxiliary_value: Vec<u8>,
    node_id: Vec<u8>,
    pub(super) meta: Gather,
    first_line: Vec<u8>,
}

impl Sinks {
    pub(super) fn new() -> Self {
        Self {
            collector: Collector::new(),
            entries: Entries::new(),
            packed: Packed::new(),
            name: NameText { kept: Vec::new(), keep_max: NAME_HASHED_WHOLE_MAX, length: 0, long: Gather::new() },
            auxiliary_name: Vec::new(),
            auxiliary_value: Vec::new(),
            node_id: Vec::new(),
            meta: Gather::new(),
            first_line: Vec::new(),
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let texts = [&self.auxiliary_name, &self.auxiliary_value, &self.node_id, &self.first_line, &self.name.kept];
        let gathered = self.collector.held_bytes() + self.entries.held_bytes() + self.packed.held_bytes();
        texts.map(Vec::capacity).iter().sum::<usize>() + gathered + self.meta.held_bytes() + self.name.long.held_bytes()
    }

    /// The caller may keep more of a name, never less than what its hash needs.
    pub(super) fn keep_names_to(&mut self, bytes: usize) {
        self.name.keep_max = bytes.max(NAME_HASHED_WHOLE_MAX);
    }

    pub(super) fn whole(&mut self, target: Target, whole: &[u8]) -> Result<(), Stop> {
        if target == Target::Element {
            return self.collector.bytes(whole);
        }
        self.begin(target, whole.len() as u64)?;
        self.piece(target, whole)?;
        self.end(target)
    }

    pub(super) fn begin(&mut self, target: Target, length: u64) -> Result<(), Stop> {
        match target {
            Target::AuxiliaryName => self.auxiliary_name.clear(),
            Target::AuxiliaryValue => self.auxiliary_value.clear(),
            Target::Key => self.name.begin(length),
            Target::Element => self.collector.begin(length)?,
            Target::Packed(packing) => self.packed.begin(packing, length),
            Target::NodeId => {
                if length != 16 {
                    return Err(Stop::Shape("an id of 16 bytes before a node of a stream"));
                }
                self.node_id.clear();
            }
            Target::Node => {
                self.entries.start_node(entry_id(&self.node_id));
                self.packed.begin(Packing::Listpack, length);
            }
            Target::Ordered => {
                self.collector.gather.push_varint(length);
                self.collector.bytes = self.collector.bytes.saturating_add(length);
            }
            Target::Meta => self.meta.push_varint(length),
            Target::Vectors => {
                self.collector.push_length(length);
                self.collector.bytes = self.collector.bytes.saturating_add(length);
            }
            Target::Code => {
                self.first_line.clear();
                self.name.clear();
                self.collector.begin(length)?;
            }
            Target::LibraryName => {
                self.collector.gather.push_varint(length);
                self.name.begin(length);
            }
            Target::Skipped => {}
        }
        Ok(())
    }

    pub(super) fn piece(&mut self, target: Target, piece: &[u8]) -> Result<(), Stop> {
        match target {
            Target::AuxiliaryName => push_up_to(&mut self.auxiliary_name, piece, AUXILIARY_MAX),
            Target::AuxiliaryValue => push_up_to(&mut self.auxiliary_value, piece, AUXILIARY_MAX),
            Target::Key => self.name.piece(piece),
            Target::Element => self.collector.piece(piece),
            Target::Packed(_) => self.packed.piece(piece, &mut self.collector)?,
            Target::NodeId => self.node_id.extend_from_slice(piece),
            Target::Node => {
                let mut node = Node { entries: &mut self.entries, out: &mut self.collector.gather };
                self.packed.piece(piece, &mut node)?;
            }
            Target::Ordered => self.collector.gather.push(piece),
            Target::Meta => self.meta.push(piece),
            Target::Vectors => self.collector.elements.push(piece),
            Target::Code => {
                push_up_to(&mut self.first_line, piece, FIRST_LINE_MAX);
                self.collector.piece(piece);
            }
            Target::LibraryName => {
                self.collector.gather.push(piece);
                self.name.piece(piece);
            }
            Target::Skipped => {}
        }
        Ok(())
    }

    pub(super) fn end(&mut self, target: Target) -> Result<(), Stop> {
        match target {
            Target::Element => self.collector.end()?,
            Target::Packed(_) => self.packed.end()?,
            Target::Node => {
                self.packed.end()?;
                self.entries.end_node()?;
            }
            Target::Code => {
                self.collector.end()?;
                let name = library_name(&self.first_line);
                self.name.begin(name.len() as u64);
                self.name.piece(name);
            }
            _ => {}
        }
        Ok(())
    }
}

fn push_up_to(kept: &mut Vec<u8>, piece: &[u8], max: usize) {
    kept.extend_from_slice(&piece[..(max - kept.len()).min(piece.len())]);
}

/// Milliseconds and sequence, 8 bytes each, in network order.
pub(super) fn entry_id(bytes: &[u8]) -> EntryId {
    let half = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    (half(0), half(8))
}

/// `mylib` of `#!lua name=mylib`; empty where there is none.
fn library_name(code: &[u8]) -> &[u8] {
    let line = code.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.strip_prefix(b"#!").unwrap_or_default().split(u8::is_ascii_whitespace);
    words.find_map(|word| word.strip_prefix(b"name=")).unwrap_or_default()
}
