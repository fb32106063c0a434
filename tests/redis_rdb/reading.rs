//! What the parser says of an RDB, in a form that tests compare.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lifeboat::sources::redis::rdb::{
    Crc64, Entry, Hashed, Head, Kind, Parser, Raw, RdbError, Sum256, Summary, Version, Visitor, restore_trailer,
};

/// Database and key; libraries and modules' data have no database.
pub(crate) type Id = (Option<u64>, Vec<u8>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    pub(crate) opcode: u8,
    pub(crate) expires_ms: Option<i64>,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) content: Vec<u8>,
    pub(crate) span: (u64, u64),
    /// What `RESTORE` takes.
    pub(crate) payload: Option<Vec<u8>>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) records: BTreeMap<Id, Seen>,
    pub(crate) auxiliary: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sum: [u8; 32],
    pub(crate) summary: Option<Summary>,
}

impl Found {
    pub(crate) fn hashes(&self) -> BTreeMap<Id, [u8; 32]> {
        self.records.iter().map(|(id, seen)| (id.clone(), seen.hash)).collect()
    }

    pub(crate) fn key(&self, key: &str) -> &Seen {
        &self.records[&(Some(0), key.as_bytes().to_vec())]
    }

    /// Which records one of both lacks or holds with another hash.
    pub(crate) fn differences(&self, other: &Found) -> BTreeSet<String> {
        let (one, two) = (self.hashes(), other.hashes());
        let ids = one.keys().chain(two.keys()).filter(|id| one.get(*id) != two.get(*id));
        ids.map(|(_, name)| String::from_utf8_lossy(&name[..name.len().min(40)]).into_owned()).collect()
    }
}

#[derive(Default)]
struct Noting {
    found: Found,
    sum: Sum256,
    takes_raw: bool,
    raw: Vec<u8>,
    version: Option<Version>,
    fed: u64,
    fed_before: u64,
    last_end: u64,
    /// Records whose hashes are still to come.
    waiting: VecDeque<(Id, Seen)>,
}

impl Visitor for Noting {
    fn begin(&mut self, _head: &Head<'_>) -> Raw {
        self.raw.clear();
        if self.takes_raw { Raw::Take } else { Raw::Skip }
    }

    fn raw(&mut self, piece: &[u8]) {
        assert!(self.takes_raw && !piece.is_empty());
        self.raw.extend_from_slice(piece);
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        let head = &entry.head;
        assert!(
            self.fed_before < entry.end && entry.end <= self.fed,
            "a record's end is told when its last byte was fed"
        );
        assert!(self.last_end <= head.start && head.start < entry.end);
        self.last_end = entry.end;
        let payload = (self.takes_raw && !self.raw.is_empty()).then(|| {
            let mut sum = Crc64::new();
            sum.update(&self.raw);
            [&self.raw[..], &restore_trailer(sum, self.version.unwrap())].concat()
        });
        let seen = Seen {
            kind: head.kind,
            opcode: head.opcode,
            expires_ms: head.expires_ms,
            count: entry.count,
            bytes: entry.bytes,
            hash: [0; 32],
            content: vec![],
            span: (head.start, entry.end),
            payload,
        };
        self.raw.clear();
        self.waiting.push_back(((head.kind.is_key().then_some(head.db), head.name.start().to_vec()), seen));
    }

    fn hashed(&mut self, record: &Hashed<'_>) {
        let (mut id, seen) = self.waiting.pop_front().expect("no hash comes before its record");
        self.sum.add(record.hash);
        // A damaged file may hold a name twice.
        while self.found.records.contains_key(&id) {
            id.1.push(b'+');
        }
        self.found.records.insert(id, Seen { hash: *record.hash, content: record.content.to_vec(), ..seen });
    }

    fn auxiliary(&mut self, name: &[u8], value: &[u8]) {
        self.found.auxiliary.push((name.to_vec(), value.to_vec()));
    }
}

/// No data may make the parser hold more.
pub(crate) const HELD_MAX: usize = 10 << 20;

fn read(rdb: &[u8], sizes: impl Iterator<Item = usize>, takes_raw: bool) -> Result<Found, RdbError> {
    let mut parser = Parser::new().keep_names_to(1 << 20);
    let mut noting = Noting { takes_raw, ..Noting::default() };
    let mut rest = rdb;
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        noting.fed_before = noting.fed;
        noting.fed += piece.len() as u64;
        parser.feed(piece, &mut noting)?;
        assert!(noting.waiting.is_empty(), "all hashes of a piece are told with it");
        noting.version = parser.version();
        assert!(parser.held_bytes() <= HELD_MAX, "{} bytes are held", parser.held_bytes());
        if rest.is_empty() {
            break;
        }
    }
    let summary = parser.finish()?;
    let mut found = noting.found;
    found.sum = noting.sum.to_bytes();
    found.summary = Some(summary);
    assert!(summary.unknown.is_some() || summary.records == found.records.len() as u64);
    Ok(found)
}

/// In one piece after the header.
pub(crate) fn try_whole(rdb: &[u8]) -> Result<Found, RdbError> {
    read(rdb, [9, usize::MAX].into_iter(), false)
}

pub(crate) fn whole(rdb: &[u8]) -> Found {
    try_whole(rdb).unwrap()
}

pub(crate) fn with_payloads(rdb: &[u8], piece: usize) -> Found {
    read(rdb, [9].into_iter().chain(std::iter::repeat(piece)), true).unwrap()
}

pub(crate) fn in_pieces(rdb: &[u8], sizes: &[usize]) -> Result<Found, RdbError> {
    read(rdb, sizes.iter().copied().filter(|size| *size > 0).cycle(), false)
}
