//! The RDB reader: any bytes end with an error, a summary or an unknown, never with a panic; how they are cut into pieces changes
//! nothing; memory stays within its bound. The first byte is the size of a piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat::sources::redis::rdb::{Entry, Hashed, Head, Parser, Raw, RdbError, Sum256, Visitor};

/// What the documentation of the reader promises.
const HELD_MAX: usize = 10 << 20;

#[derive(Default)]
struct Summing {
    sum: Sum256,
    records: u64,
    raw: usize,
}

impl Visitor for Summing {
    fn begin(&mut self, _head: &Head<'_>) -> Raw {
        Raw::Take
    }

    fn raw(&mut self, piece: &[u8]) {
        self.raw += piece.len();
    }

    fn entry(&mut self, _entry: &Entry<'_>) {
        self.records += 1;
    }

    fn hashed(&mut self, record: &Hashed<'_>) {
        self.sum.add(record.hash);
    }
}

/// Records, and the sum of their hashes: of a broken RDB some are told and some not, by how it was cut.
type Content = Option<(Sum256, u64)>;

fn read(rdb: &[u8], piece: usize) -> (Content, Result<bool, std::mem::Discriminant<RdbError>>) {
    let (mut parser, mut summing) = (Parser::new(), Summing::default());
    let fed = rdb.chunks(piece).try_for_each(|piece| {
        let fed = parser.feed(piece, &mut summing);
        assert!(parser.held_bytes() <= HELD_MAX, "{} bytes are held", parser.held_bytes());
        fed
    });
    assert!(summing.raw <= 2 * rdb.len() + 1, "no more is handed on than was there");
    let ended = fed.and_then(|()| parser.finish()).map(|summary| summary.unknown.is_some());
    (ended.is_ok().then_some((summing.sum, summing.records)), ended.map_err(|error| std::mem::discriminant(&error)))
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, rdb)) = data.split_first() else { return };
    let whole = read(rdb, rdb.len().max(1));
    assert!(read(rdb, usize::from(size).max(1)) == whole, "the pieces change what is read");
});
