//! One thing of a tree, and its line in the list:
//! ```text
//! NAME  KIND  SIZE  SHA256  ADDRESS  ATTRIBUTES  SEEN
//! ```
//! Fields are separated by tabs. In a name, control characters, `%` and what is not UTF-8 stand as `%XX`; attributes are one JSON
//! object without line feeds; `-` stands for no sum, no address and nothing seen. What is compared after a restore is the line
//! without its address and without what was seen.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::domain::{BlobAddress, DIGEST_BYTES, percent_decoded};

/// Lines are no longer: names, extended attributes and user metadata have limits of their own far below, and addresses of
/// very large blobs grow with them.
pub(crate) const LINE_BYTES_MAX: usize = 256 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) size: u64,
    /// SHA-256 of the content.
    pub(crate) sum: Option<[u8; 32]>,
    pub(crate) address: BlobAddress,
    /// A JSON object: what a restore gives back beside the content.
    pub(crate) attributes: String,
    /// Tells whether it has changed since; of the live system alone.
    pub(crate) seen: String,
}

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum EntryKind {
    /// A file's or an object's content.
    Content,
    Folder,
    /// A symbolic link; where to is among its attributes.
    Link,
    /// One more name of a file that stands before it; which is among its attributes.
    HardLink,
    Fifo,
    Socket,
    Block,
    Character,
    /// What a versioned store keeps in the place of a removed object.
    Removed,
    /// Content that carries what other entries stand for (a bundle of a repository's objects). It is checked against its sum when it is read, and not
    /// compared: the same may be carried by other bytes.
    Carrier,
}

const KINDS: [(EntryKind, &str); 10] = [
    (EntryKind::Content, "content"),
    (EntryKind::Folder, "folder"),
    (EntryKind::Link, "link"),
    (EntryKind::HardLink, "hardlink"),
    (EntryKind::Fifo, "fifo"),
    (EntryKind::Socket, "socket"),
    (EntryKind::Block, "block"),
    (EntryKind::Character, "character"),
    (EntryKind::Removed, "removed"),
    (EntryKind::Carrier, "carrier"),
];

impl EntryKind {
    /// Whether there are bytes to read.
    pub(crate) fn has_content(self) -> bool {
        matches!(self, Self::Content | Self::Carrier)
    }

    /// Whether a restore test compares it.
    pub(crate) fn is_compared(self) -> bool {
        self != Self::Carrier
    }

    pub(crate) fn word(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        KINDS.iter().find(|(_, other)| *other == word).map(|(kind, _)| *kind)
    }
}

impl Entry {
    /// Appends the line, its line feed included.
    pub(crate) fn write_line(&self, line: &mut Vec<u8>) {
        self.write_meaning(line);
        // Address and what was seen go behind the rest, so that what is compared is a prefix.
        let seen = if self.seen.is_empty() { "-" } else { &self.seen };
        writeln!(line, "\t{}\t{seen}", self.address).expect("a Vec takes every write");
    }

    fn write_meaning(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(encoded(&self.name).as_bytes());
        let sum = self.sum.map_or_else(|| "-".to_owned(), hex::encode);
        write!(line, "\t{}\t{}\t{sum}\t{}", self.kind.word(), self.size, self.attributes)
            .expect("a Vec takes every write");
    }

    /// The digest of what is compared, and the hash in it.
    pub(crate) fn digest(&self, buffer: &mut Vec<u8>) -> [u8; DIGEST_BYTES] {
        buffer.clear();
        self.write_meaning(buffer);
        let mut digest = [0; DIGEST_BYTES];
        let (hash, length) = digest.split_at_mut(32);
        hash.copy_from_slice(blake3::hash(buffer).as_bytes());
        length.copy_from_slice(&(buffer.len() as u64 + self.size).to_le_bytes());
        digest
    }

    /// Reads a line without its line feed; `None` for what is none.
    pub(crate) fn read_line(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, kind, size, sum, attributes, address, seen] = fields[..] else { return None };
        let entry = Self {
            name: percent_decoded(name).filter(|name| !name.is_empty())?,
            kind: EntryKind::of(kind)?,
            size: size.parse().ok()?,
            sum: if sum == "-" { None } else { Some(hex::decode(sum).ok()?.try_into().ok()?) },
            address: address.parse().ok()?,
            attributes: attributes.to_owned(),
            seen: if seen == "-" { String::new() } else { seen.to_owned() },
        };
        let has_content = entry.kind.has_content();
        let sound = entry.sum.is_some() == has_content
            && (entry.address.pieces().is_empty() || entry.address.bytes() == Some(entry.size));
        sound.then_some(entry)
    }

    /// The name for people, on one line. A NUL stands before what tells versions of one thing apart: when they were made.
    pub(crate) fn shown(&self) -> String {
        match self.name.iter().rposition(|byte| *byte == 0) {
            Some(at) => format!("{} as of {}", encoded(&self.name[..at]), encoded(&self.name[at + 1..])),
            None => encoded(&self.name),
        }
    }
}

/// A name as it stands in a list.
pub(crate) fn encoded(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_control() {
                let mut bytes = [0; 4];
                escape(&mut text, c.encode_utf8(&mut bytes).as_bytes());
            } else {
                text.push(c);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "%{byte:02X}").expect("a String takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            name: b"a b/\xff\n\t100%/\xc3\xa9".to_vec(),
            kind: EntryKind::Content,
            size: 15,
            sum: Some([7; 32]),
            address: "3:0:15".parse().unwrap(),
            attributes: r#"{"mode":"644"}"#.to_owned(),
            seen: "17,2".to_owned(),
        }
    }

    #[test]
    fn a_line_holds_any_name_and_reads_back() {
        let mut line = vec![];
        entry().write_line(&mut line);
        let text = String::from_utf8(line.clone()).unwrap();
        assert!(text.starts_with("a b/%FF%0A%09100%25/é\tcontent\t15\t0707"), "{text}");
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(Entry::read_line(line.strip_suffix(b"\n").unwrap()), Some(entry()));
        for length in 0..line.len() - 1 {
            let cut = Entry::read_line(&line[..length]);
            assert!(cut.is_none_or(|cut| cut.seen != entry().seen), "{length}");
        }
    }

    #[test]
    fn the_digest_is_of_everything_but_the_place_and_what_was_seen() {
        let mut buffer = vec![];
        let mut digest = |change: fn(&mut Entry)| {
            let mut changed = entry();
            change(&mut changed);
            changed.digest(&mut buffer)
        };
        let same = digest(|_| {});
        assert_eq!(digest(|entry| entry.address = BlobAddress::default()), same);
        assert_eq!(digest(|entry| entry.seen = String::new()), same);
        for change in [
            (|entry| entry.name.push(b'x')) as fn(&mut Entry),
            |entry| entry.kind = EntryKind::Fifo,
            |entry| entry.size += 1,
            |entry| entry.sum = Some([8; 32]),
            |entry| entry.attributes = "{}".to_owned(),
        ] {
            assert_ne!(digest(change), same);
        }
    }
}
