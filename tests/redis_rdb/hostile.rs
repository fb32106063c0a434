//! Damaged and lying files: each ends with the right error, none with a panic, none takes memory for what does not come.

use std::mem::discriminant;

use lifeboat::sources::redis::rdb::{Checksum, Parser, RdbError};
use proptest::prelude::*;

use super::builder::Item::{I, T};
use super::builder::{Rdb, id, intset, len, listpack, ziplist, zipmap};
use super::reading::{Found, HELD_MAX, in_pieces, try_whole, whole};
use super::versions::{MODULE, module, nodes, stream_groups};

/// Every type and encoding that a version has, small.
fn everything(header: &str) -> Rdb {
    let number: u32 = header[header.len() - 3..].parse().unwrap();
    let items = [T(b"a"), I(1), T(b"b"), I(70_000)];
    let pairs: [(&[u8], &[u8]); 2] = [(b"a", b"1"), (b"b", b"")];
    let rdb = Rdb::new(header).raw(&[250]).texts(&[b"redis-ver", b"0"]).raw(&[254, 0]).raw(&[251]).lens(&[20, 1]);
    let rdb =
        rdb.expires_ms(5).key(0, "text").text(b"v").key(0, "int").int(-70_000).key(0, "lzf").compressed(&[b'z'; 400]);
    let rdb = rdb.key(1, "list").len(2).texts(&[b"a", b"b"]).key(2, "set").len(2).text(b"a").int(1);
    let rdb = rdb
        .key(3, "zset")
        .len(2)
        .text(b"a")
        .raw(b"\x031.5")
        .text(b"b")
        .raw(&[254])
        .key(4, "hash")
        .len(1)
        .texts(&[b"f", b"v"]);
    let rdb = rdb.key(5, "zset2").len(1).text(b"a").raw(&1.5_f64.to_le_bytes()).key(9, "zipmap").text(&zipmap(&pairs));
    let rdb = rdb.key(10, "ziplist").compressed(&ziplist(&items)).key(11, "intset").text(&intset(&[1, 70_000]));
    let rdb = rdb.key(12, "zzset").text(&ziplist(&items)).key(13, "zhash").text(&ziplist(&items));
    let rdb = module(rdb.key(7, "module").len(MODULE), 0.5, 300).raw(&[247]).lens(&[MODULE, 2, 1, 1, 9, 0]);
    let rdb = rdb.raw(&[245]).text(b"#!lua name=lib\ncode").raw(&[246]).texts(&[b"old", b"LUA"]).len(0).text(b"code");
    let rdb = rdb
        .key(14, "quick")
        .len(1)
        .text(&ziplist(&items))
        .key(18, "quick2")
        .len(2)
        .len(2)
        .text(&listpack(&items))
        .len(1)
        .text(b"x");
    let rdb = stream_groups(nodes(rdb, 15), None, false).key(16, "lhash").text(&listpack(&items));
    let rdb = rdb.key(17, "lzset").text(&listpack(&items)).key(20, "lset").text(&listpack(&items));
    if header.starts_with("VALKEY") {
        let rdb = rdb.raw(&[243]).text(b"job").len(1).lens(&[0, 1]);
        return rdb.key(22, "timed").len(1).texts(&[b"f", b"v"]).raw(&77_i64.to_le_bytes());
    }
    if number < 14 {
        return rdb;
    }
    let timed = listpack(&[T(b"f"), T(b"v"), I(99_999)]);
    let rdb = rdb.key(22, "timed").len(1).len(9).texts(&[b"f", b"v"]).key(23, "timed lp").text(&timed);
    let rdb = rdb.key(24, "timed 2").raw(&9_u64.to_le_bytes()).len(1).len(1).texts(&[b"f", b"v"]);
    let rdb = rdb.key(25, "timed lp 2").raw(&9_u64.to_le_bytes()).text(&timed);
    let rdb = rdb
        .raw(&[243])
        .len(1)
        .raw(b"abcd")
        .lens(&[2, 7, 0])
        .key(28, "array")
        .lens(&[2, 1, 5, 0, 3])
        .text(b"s")
        .lens(&[4, 1]);
    let rdb = rdb.raw(&5_i64.to_le_bytes());
    let rdb = nodes(rdb, 27).lens(&[5, 1, 0, 0, 2]).len(1).text(b"group").lens(&[9, 0, 2, 1]);
    let rdb = rdb.raw(&id(5, 1)).raw(&[0; 8]).len(1).len(0).len(1).raw(&id(5, 1));
    rdb.lens(&[100, 100, 1]).text(b"p").len(1).text(b"i").lens(&[5, 1]).lens(&[1, 0])
}

fn corpus() -> Vec<Vec<u8>> {
    ["REDIS0014", "REDIS0003", "VALKEY080"].map(|header| everything(header).end()).to_vec()
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_truncated_and_nothing_else() {
    for rdb in corpus() {
        whole(&rdb);
        for cut in 0..rdb.len() {
            let error = try_whole(&rdb[..cut]).unwrap_err();
            assert!(
                matches!(error, RdbError::Truncated { offset, .. } if offset == cut as u64),
                "cut at {cut}: {error}"
            );
        }
        let error = try_whole(&[&rdb[..], &[0]].concat()).unwrap_err();
        assert_eq!(error, RdbError::Trailing { offset: rdb.len() as u64 });
    }
}

#[test]
fn no_flipped_bit_passes_unseen() {
    for rdb in [everything("REDIS0014").end(), everything("VALKEY080").end()] {
        let mut seen = [0; 4];
        for at in 0..rdb.len() {
            for bit in [at % 8, (at + 3) % 8] {
                let mut flipped = rdb.clone();
                flipped[at] ^= 1 << bit;
                let kind = match try_whole(&flipped) {
                    Ok(found) => {
                        assert!(found.summary.unwrap().unknown.is_some(), "bit {bit} of byte {at} passed");
                        0
                    }
                    Err(RdbError::Shape { .. }) => 1,
                    // A length that grew or shrank.
                    Err(RdbError::Truncated { .. } | RdbError::Trailing { .. }) => 2,
                    Err(RdbError::Checksum { .. }) => 3,
                };
                seen[kind] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "each kind of end was seen: {seen:?}");
    }
}

#[test]
fn a_checksum_that_is_off_is_not_compared() {
    let mut rdb = everything("REDIS0009").end_unsummed();
    let summary = whole(&rdb).summary.unwrap();
    assert_eq!((summary.checksum, summary.unknown), (Checksum::Off, None));
    *rdb.last_mut().unwrap() = 1;
    assert!(matches!(try_whole(&rdb), Err(RdbError::Checksum { stated, .. }) if stated == 1 << 56));
}

#[test]
fn an_error_is_final() {
    let mut parser = Parser::new();
    let error = parser.feed(b"REDIS0009\xfe\xff", &mut ()).unwrap_err();
    assert_eq!(error, RdbError::Shape { offset: 9, expected: "a plain length" });
    assert_eq!(parser.feed(b"\x00", &mut ()), Err(error.clone()));
    assert_eq!(parser.finish(), Err(error));
}

/// The result without offsets, which may lie anywhere in an item that came in pieces.
fn outcome(result: Result<Found, RdbError>) -> Result<Found, std::mem::Discriminant<RdbError>> {
    let mut found = result.map_err(|error| discriminant(&error))?;
    if let Some(unknown) = found.summary.as_mut().and_then(|summary| summary.unknown.as_mut()) {
        unknown.offset = 0;
    }
    Ok(found)
}

fn change() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let special =
        [len(u64::MAX), len(1 << 40), vec![0xc3, 0x80, 255, 255, 255, 255, 0x81], vec![0], vec![0xff], vec![0x80]];
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..6), prop::sample::select(special.to_vec())];
    (any::<prop::sample::Index>(), 0_usize..6, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_end_the_same_way_in_any_pieces(
        which in 0_usize..3,
        changes in prop::collection::vec(change(), 1..4),
        sizes in prop::collection::vec(1_usize..60, 1..5),
    ) {
        let mut rdb = corpus()[which].clone();
        for (at, removed, added) in changes {
            let at = at.index(rdb.len());
            rdb.splice(at..(at + removed).min(rdb.len()), added);
        }
        let expected = outcome(try_whole(&rdb));
        prop_assert_eq!(outcome(in_pieces(&rdb, &sizes)), expected);
    }

    #[test]
    fn whole_files_read_the_same_in_any_pieces(which in 0_usize..3, sizes in prop::collection::vec(1_usize..2000, 1..10)) {
        let rdb = &corpus()[which];
        prop_assert_eq!(in_pieces(rdb, &sizes).unwrap(), whole(rdb));
    }

    #[test]
    fn any_bytes_after_a_header_end_somehow(bytes in prop::collection::vec(any::<u8>(), 0..400), valkey in any::<bool>()) {
        let header: &[u8] = if valkey { b"VALKEY080" } else { b"REDIS0014" };
        let rdb = [header, &bytes].concat();
        prop_assert_eq!(outcome(in_pieces(&rdb, &[1])), outcome(try_whole(&rdb)));
    }
}

/// Feeds a begin, then a piece again and again, then an end, and holds the parser to its bound.
fn stream(begin: &[u8], piece: &[u8], times: usize, end: &[u8]) -> Result<u64, RdbError> {
    let mut parser = Parser::new();
    let check = |parser: &Parser| assert!(parser.held_bytes() <= HELD_MAX, "{} bytes are held", parser.held_bytes());
    parser.feed(begin, &mut ())?;
    for _ in 0..times {
        parser.feed(piece, &mut ())?;
        check(&parser);
    }
    parser.feed(end, &mut ())?;
    parser.finish().map(|summary| summary.records)
}

const TIMES: usize = 500;
const PIECE: usize = 64 << 10;

#[test]
fn a_large_string_key_or_element_is_never_held() {
    let length = (TIMES * PIECE) as u64;
    let begins = [
        Rdb::new("REDIS0010").key(0, "text").len(length),
        Rdb::new("REDIS0010").raw(&[0]).len(length),
        Rdb::new("REDIS0010").key(2, "set").len(1).len(length),
        Rdb::new("REDIS0010").key(4, "hash").len(1).len(length),
        Rdb::new("REDIS0010").key(3, "zset").len(1).len(length),
        Rdb::new("REDIS0010").key(18, "list").len(1).len(1).len(length),
        Rdb::new("REDIS0010").raw(&[245]).len(length),
        Rdb::new("REDIS0010").raw(&[250]).len(length),
        Rdb::new("REDIS0010").key(7, "module").len(9).len(5).len(length),
    ];
    let ends: [&[u8]; 9] = [&[], &[1, b'v'], &[], &[1, b'v'], &[1, b'7'], &[], &[], &[1, b'v'], &[0]];
    for (begin, end) in begins.iter().zip(ends) {
        let end = [end, &[255, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let records = u64::from(begin.0[9] != 250);
        assert_eq!(stream(&begin.0, &vec![b'x'; PIECE], TIMES, &end), Ok(records));
    }
}

#[test]
fn a_large_compressed_string_and_a_large_blob_are_never_held() {
    let off = [255, 0, 0, 0, 0, 0, 0, 0, 0];
    // One literal, then copies of 264 bytes.
    let copies = 20_000;
    let begin = Rdb::new("REDIS0010")
        .key(0, "k")
        .raw(&[0xc3])
        .len(2 + 3 * 10 * copies)
        .len(1 + 264 * 10 * copies)
        .raw(&[0, b'x']);
    let piece = [0xe0, 255, 0].repeat(10);
    assert_eq!(stream(&begin.0, &piece, 20_000, &off), Ok(1));
    // A listpack of very many small elements, and one of one large element.
    let small = [0x82, b'a', b'b', 3].repeat(PIECE / 4);
    let size = u32::try_from(7 + TIMES * PIECE).unwrap();
    let begin =
        Rdb::new("REDIS0010").key(18, "k").len(1).len(2).len(u64::from(size)).raw(&size.to_le_bytes()).raw(&[255, 255]);
    assert_eq!(stream(&begin.0, &small, TIMES, &[&[0xff][..], &off].concat()), Ok(1));
    let large = u32::try_from(TIMES * PIECE).unwrap();
    let begin =
        Rdb::new("REDIS0010").key(20, "k").len(u64::from(size) + 9).raw(&(size + 9).to_le_bytes()).raw(&[1, 0, 0xf0]);
    let begin = begin.raw(&large.to_le_bytes());
    let back = u64::from(large) + 5;
    let back: Vec<u8> =
        (0..4).rev().map(|place| (back >> (7 * place) & 127) as u8 | if place == 3 { 0 } else { 128 }).collect();
    assert_eq!(stream(&begin.0, &vec![b'y'; PIECE], TIMES, &[&back[..], &[0xff], &off].concat()), Ok(1));
}

#[test]
fn a_list_of_very_many_elements_is_never_held() {
    let piece = b"\x0elist element 1".repeat(4000);
    let begin = Rdb::new("REDIS0010").key(1, "list").len(4000 * 250);
    assert_eq!(stream(&begin.0, &piece, 250, &[255, 0, 0, 0, 0, 0, 0, 0, 0]), Ok(1));
}

#[test]
fn field_names_of_a_stream_beyond_the_bound_are_said_to_be_unknown() {
    let name = [&[0xbc][..], &[b'n'; 60], &[61]].concat();
    let size = 1_u32 << 30;
    let begin = Rdb::new("REDIS0010").key(19, "k").len(1).text(&id(1, 0)).len(u64::from(size)).raw(&size.to_le_bytes());
    let begin = begin.raw(&[255, 255, 1, 1, 0, 1]).raw(&[0xf3, 0, 0, 0, 0x10, 5]);
    assert_eq!(stream(&begin.0, &name.repeat(1000), 100, &[]), Ok(0), "it is no error, and nothing was read");
}

#[test]
fn lengths_that_lie_take_no_memory() {
    for opcode in (0..=28).filter(|opcode| ![6, 8].contains(opcode)) {
        for length in [1 << 31, u64::MAX >> 1, u64::MAX] {
            let rdb = Rdb::new("REDIS0014").key(opcode, "k").len(length).len(length).len(length);
            let result = stream(&rdb.0, &[1; 100], 10, &[]);
            assert!(matches!(result, Err(RdbError::Truncated { .. } | RdbError::Shape { .. })), "{opcode}: {result:?}");
        }
    }
}
