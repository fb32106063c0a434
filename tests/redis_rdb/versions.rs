//! Files of every version, built byte by byte. Equal content must have equal hashes across all of them, and for the versions that
//! the installed server knows, it must also agree: it loads what was built and saves it in its own way.

use std::collections::BTreeSet;

use lifeboat::sources::redis::rdb::{Checksum, Kind, RdbError, Unreadable};

use super::builder::Item::{I, T};
use super::builder::{Rdb, id, intset, listpack, ziplist, zipmap};
use super::reading::{Found, Seen, try_whole, whole, with_payloads};
use super::server::RedisServer;

const PAIRS: [(&[u8], &[u8]); 3] = [(b"name", b"ann"), (b"age", b"42"), (b"", b"-70000")];

/// One database with the given records.
fn with(header: &str, records: impl FnOnce(Rdb) -> Rdb) -> Vec<u8> {
    records(Rdb::new(header).raw(&[254, 0])).end()
}

/// All keys have one content.
fn one_hash(found: &Found, keys: &[&str]) {
    let strip = |key: &str| {
        let Seen { kind, count, bytes, content, .. } = found.key(key).clone();
        (kind, count, bytes - key.len() as u64, content)
    };
    for key in keys {
        assert_eq!(strip(key), strip(keys[0]), "{key} and {}", keys[0]);
    }
}

/// The server loads it, keeps every key, and saves the same content.
fn server_agrees(rdb: &[u8]) {
    let before = whole(rdb);
    let after = whole(&RedisServer::holding(rdb).saved());
    assert_eq!(after.differences(&before), BTreeSet::new());
    assert_eq!(after.records.len(), before.records.len());
}

#[test]
fn every_encoding_of_a_list_is_the_same_list() {
    let large = vec![b'x'; 20_000];
    let items = [T(b"one"), I(2), I(-40_000), T(b""), T(&large), I(i64::MIN)];
    let texts: [&[u8]; 6] = [b"one", b"2", b"-40000", b"", &large, b"-9223372036854775808"];
    let rdb = with("REDIS0010", |rdb| {
        let rdb =
            rdb.key(1, "linked").len(6).text(b"one").int(2).int(-40_000).text(b"").compressed(&large).text(texts[5]);
        let rdb = rdb.key(10, "ziplist").text(&ziplist(&items)).key(10, "packed ziplist").compressed(&ziplist(&items));
        let rdb = rdb.key(14, "quicklist").len(2).text(&ziplist(&items[..2])).compressed(&ziplist(&items[2..]));
        let rdb = rdb
            .key(18, "quicklist 2")
            .len(4)
            .len(2)
            .text(&listpack(&items[..1]))
            .len(2)
            .compressed(&listpack(&items[1..4]));
        rdb.len(1).text(&large).len(2).text(&listpack(&items[5..]))
    });
    let found = whole(&rdb);
    one_hash(&found, &["linked", "ziplist", "packed ziplist", "quicklist", "quicklist 2"]);
    assert_eq!((found.key("linked").kind, found.key("linked").count), (Kind::List, 6));
    server_agrees(&rdb);
}

#[test]
fn every_encoding_of_a_set_is_the_same_set() {
    let rdb = with("REDIS0011", |rdb| {
        let rdb = rdb.key(2, "hashtable").len(3).text(b"70000").int(-5).int(300);
        let rdb = rdb.key(11, "intset").text(&intset(&[300, -5, 70_000]));
        let rdb = rdb.key(20, "listpack").text(&listpack(&[I(-5), T(b"300"), I(70_000)]));
        rdb.key(11, "wide").text(&intset(&[1, i64::MAX])).key(2, "wide too").len(2).int(1).text(b"9223372036854775807")
    });
    let found = whole(&rdb);
    one_hash(&found, &["hashtable", "intset", "listpack"]);
    one_hash(&found, &["wide", "wide too"]);
    assert_ne!(found.key("wide").content, found.key("intset").content);
}

#[test]
fn every_encoding_of_a_hash_is_the_same_hash() {
    let flat: Vec<&[u8]> = PAIRS.iter().flat_map(|(field, value)| [*field, *value]).collect();
    let items = [T(b"age"), I(42), T(b"name"), T(b"ann"), T(b""), I(-70_000)];
    let rdb = with("REDIS0010", |rdb| {
        let rdb = rdb.key(4, "hashtable").len(3).texts(&flat);
        let rdb = rdb.key(9, "zipmap").text(&zipmap(&PAIRS)).key(13, "ziplist").compressed(&ziplist(&items));
        rdb.key(16, "listpack").text(&listpack(&items))
    });
    server_agrees(&rdb);
    let found = whole(&rdb);
    one_hash(&found, &["hashtable", "zipmap", "ziplist", "listpack"]);
    let timeless = [T(b"name"), T(b"ann"), I(0), T(b"age"), I(42), I(0), T(b""), I(-70_000), I(0)];
    let newer = with("REDIS0012", |rdb| {
        let rdb = rdb.key(22, "metadata before release").len(3);
        let rdb = PAIRS.iter().fold(rdb, |rdb, (field, value)| rdb.len(0).text(field).text(value));
        let rdb = rdb.key(24, "metadata").raw(&99_u64.to_le_bytes()).len(3);
        let rdb = PAIRS.iter().fold(rdb, |rdb, (field, value)| rdb.len(0).text(field).text(value));
        let rdb = rdb.key(23, "listpack ex before release").text(&listpack(&timeless));
        let rdb = rdb.key(25, "listpack ex").raw(&99_u64.to_le_bytes()).text(&listpack(&timeless));
        rdb.key(16, "listpack").text(&listpack(&items))
    });
    let newer = whole(&newer);
    one_hash(&newer, &["listpack", "metadata before release", "metadata", "listpack ex before release", "listpack ex"]);
    assert_eq!(newer.key("listpack").hash, found.key("listpack").hash, "the version of the file is no content");
    let valkey = with("VALKEY080", |rdb| {
        let rdb = rdb.key(22, "listpack").len(3);
        PAIRS.iter().fold(rdb, |rdb, (field, value)| rdb.text(field).text(value).raw(&(-1_i64).to_le_bytes()))
    });
    assert_eq!(whole(&valkey).key("listpack").hash, found.key("listpack").hash);
}

#[test]
fn the_expiry_of_a_field_is_the_same_in_every_encoding_and_counts() {
    let at = 1_700_000_000_000_u64;
    let signed = i64::try_from(at).unwrap();
    let items = [T(b"a"), T(b"1"), I(signed), T(b"b"), I(2), I(signed + 5), T(b"c"), I(3), I(0)];
    let rdb = with("REDIS0012", |rdb| {
        let rdb = rdb
            .key(22, "k")
            .len(3)
            .len(at)
            .texts(&[b"a", b"1"])
            .len(at + 5)
            .texts(&[b"b", b"2"])
            .len(0)
            .texts(&[b"c", b"3"]);
        let rdb = rdb.key(23, "k1").text(&listpack(&items));
        let rdb = rdb.key(24, "k2").raw(&at.to_le_bytes()).len(3);
        let rdb = rdb.len(1).texts(&[b"a", b"1"]).len(6).texts(&[b"b", b"2"]).len(0).texts(&[b"c", b"3"]);
        let rdb = rdb.key(25, "k3").raw(&at.to_le_bytes()).text(&listpack(&items));
        let rdb = rdb.key(4, "none").len(3).texts(&[b"a", b"1", b"b", b"2", b"c", b"3"]);
        rdb.key(22, "other")
            .len(3)
            .len(at)
            .texts(&[b"a", b"1"])
            .len(at + 6)
            .texts(&[b"b", b"2"])
            .len(0)
            .texts(&[b"c", b"3"])
    });
    let found = whole(&rdb);
    one_hash(&found, &["k", "k1", "k2", "k3"]);
    assert_eq!(found.key("k").count, 3);
    assert_ne!(found.key("k").content, found.key("none").content);
    assert_ne!(found.key("k").content, found.key("other").content);
    let valkey = with("VALKEY081", |rdb| {
        let rdb = rdb.key(22, "k").len(3).texts(&[b"c", b"3"]).raw(&(-1_i64).to_le_bytes());
        let rdb = rdb.texts(&[b"a", b"1"]).raw(&at.to_le_bytes());
        rdb.texts(&[b"b", b"2"]).raw(&(at + 5).to_le_bytes())
    });
    assert_eq!(whole(&valkey).key("k").hash, found.key("k").hash);
}

#[test]
fn every_encoding_of_a_sorted_set_is_the_same_sorted_set() {
    let items = [T(b"a"), T(b"1.5"), T(b"b"), I(-3), T(b"c"), T(b"inf"), T(b"d"), T(b"-inf"), T(b"7"), I(0)];
    let rdb = with("REDIS0010", |rdb| {
        let rdb =
            rdb.key(3, "ascii").len(5).text(b"a").raw(b"\x031.5").text(b"b").raw(b"\x02-3").text(b"c").raw(&[254]);
        let rdb = rdb.text(b"d").raw(&[255]).int(7).raw(b"\x02-0");
        let rdb =
            rdb.key(5, "binary").len(5).int(7).raw(&(-0.0_f64).to_le_bytes()).text(b"b").raw(&(-3.0_f64).to_le_bytes());
        let rdb = rdb.text(b"a").raw(&1.5_f64.to_le_bytes()).text(b"d").raw(&f64::NEG_INFINITY.to_le_bytes());
        let rdb = rdb.text(b"c").raw(&f64::INFINITY.to_le_bytes());
        rdb.key(12, "ziplist").text(&ziplist(&items)).key(17, "listpack").compressed(&listpack(&items))
    });
    let found = whole(&rdb);
    one_hash(&found, &["ascii", "binary", "ziplist", "listpack"]);
    assert_eq!((found.key("ascii").kind, found.key("ascii").count), (Kind::SortedSet, 5));
    server_agrees(&rdb);
    let not_a_number = with("REDIS0006", |rdb| rdb.key(3, "k").len(1).text(b"a").raw(&[253]));
    let binary = with("REDIS0008", |rdb| rdb.key(5, "k").len(1).text(b"a").raw(&(-f64::NAN).to_le_bytes()));
    assert_eq!(whole(&not_a_number).hashes(), whole(&binary).hashes());
}

#[test]
fn every_encoding_of_a_string_is_the_same_string() {
    let text = [&b"abc"[..], &[b'z'; 3000]].concat();
    let rdb = with("REDIS0003", |rdb| {
        let rdb = rdb
            .key(0, "plain")
            .text(&text)
            .key(0, "compressed")
            .compressed(&text)
            .key(0, "5")
            .text(b"-129")
            .key(0, "6")
            .int(-129);
        rdb.raw(&[0])
            .int(7)
            .text(b"the key is an integer")
            .raw(&[0])
            .compressed(&[b'k'; 300])
            .text(b"the key is compressed")
    });
    let found = whole(&rdb);
    one_hash(&found, &["plain", "compressed"]);
    one_hash(&found, &["5", "6"]);
    assert_eq!(found.key("7").content, b"\0the key is an integer");
    assert_eq!(found.key(&"k".repeat(300)).content, b"\0the key is compressed");
    assert_eq!(found.summary.unwrap().checksum, Checksum::Absent, "version 3 has none");
    server_agrees(&rdb);
}

/// Entries 5-1, 5-2 and 9-0, of which the middle one is deleted.
pub(crate) fn node() -> Vec<u8> {
    let master = [I(2), I(1), I(1), T(b"f"), I(0)];
    let entries = [
        I(2),
        I(0),
        I(0),
        T(b"v"),
        I(4),
        I(3),
        I(0),
        I(1),
        T(b"gone"),
        I(4),
        I(0),
        I(4),
        I(-1),
        I(1),
        T(b"g"),
        I(7),
        I(6),
    ];
    listpack(&[&master[..], &entries].concat())
}

pub(crate) fn nodes(rdb: Rdb, opcode: u8) -> Rdb {
    rdb.key(opcode, "stream").len(1).text(&id(5, 1)).text(&node()).lens(&[2, 9, 0])
}

/// Two groups; `read` says how many entries each has read, where the layout has that.
pub(crate) fn stream_groups(rdb: Rdb, reads: Option<[u64; 2]>, has_active: bool) -> Rdb {
    let time = 1_600_000_000_000_u64.to_le_bytes();
    let (rdb, read) = (rdb.len(2), |rdb: Rdb, at: usize| reads.map_or(rdb.clone(), |reads| rdb.len(reads[at])));
    let rdb = read(rdb.text(b"group").lens(&[9, 0]), 0).len(2);
    let rdb = rdb.raw(&id(5, 1)).raw(&time).len(1).raw(&id(9, 0)).raw(&time).len(3);
    let active = |rdb: Rdb| if has_active { rdb.raw(&time) } else { rdb };
    let rdb = active(rdb.len(2).text(b"ann").raw(&time)).len(1).raw(&id(9, 0));
    let rdb = active(rdb.text(b"bob").raw(&time)).len(1).raw(&id(5, 1));
    read(rdb.text(b"idle").lens(&[0, 0]), 1).lens(&[0, 0])
}

#[test]
fn a_stream_has_one_hash_from_redis_5_to_8_8() {
    let five = with("REDIS0009", |rdb| stream_groups(nodes(rdb, 15), None, false));
    // What a server assumes of a stream that comes without these numbers: nothing deleted, as many added as there are.
    let counters = |rdb: Rdb| rdb.lens(&[5, 1, 0, 0, 2]);
    let seven = with("REDIS0010", |rdb| stream_groups(counters(nodes(rdb, 19)), Some([2, 0]), false));
    let seven_two = with("REDIS0011", |rdb| stream_groups(counters(nodes(rdb, 21)), Some([2, 0]), true));
    let eight_six = with("REDIS0013", |rdb| {
        let rdb = stream_groups(counters(nodes(rdb, 26)), Some([2, 0]), true);
        // The ids of repeated messages: two producers, one with two.
        let rdb = rdb.lens(&[100, 100, 2]).text(b"p").len(2).text(b"i").lens(&[5, 1]).text(b"j").lens(&[9, 0]);
        rdb.text(b"q").len(0).lens(&[2, 1])
    });
    let expected = whole(&five);
    assert_eq!((expected.key("stream").kind, expected.key("stream").count), (Kind::Stream, 2));
    for rdb in [&seven, &seven_two, &eight_six] {
        assert_eq!(whole(rdb).hashes(), expected.hashes());
    }
    server_agrees(&five);
    server_agrees(&seven);
    let kept_longer = with("REDIS0013", |rdb| {
        stream_groups(counters(nodes(rdb, 26)), Some([2, 0]), true).lens(&[200, 100, 0]).lens(&[0, 0])
    });
    assert_ne!(whole(&kept_longer).hashes(), expected.hashes());
}

#[test]
fn entries_that_a_consumer_gave_back_count() {
    let time = 1_600_000_000_000_u64.to_le_bytes();
    let stream = |opcode: u8, given_back: &[Vec<u8>]| {
        with("REDIS0014", |rdb| {
            let rdb = nodes(rdb, opcode).lens(&[5, 1, 0, 0, 2]).len(1).text(b"group").lens(&[9, 0, 2, 2]);
            let rdb = rdb.raw(&id(5, 1)).raw(&time).len(1).raw(&id(9, 0)).raw(&time).len(3).len(0);
            let rdb = if opcode == 27 { rdb.len(given_back.len() as u64).raw(&given_back.concat()) } else { rdb };
            rdb.lens(&[100, 100, 0]).lens(&[0, 0])
        })
    };
    let plain = whole(&stream(26, &[]));
    assert_eq!(whole(&stream(27, &[])).hashes(), plain.hashes(), "the layout is no content");
    let one = whole(&stream(27, &[id(5, 1)]));
    assert_ne!(one.hashes(), plain.hashes());
    assert_ne!(one.hashes(), whole(&stream(27, &[id(9, 0)])).hashes());
    assert_ne!(one.hashes(), whole(&stream(27, &[id(5, 1), id(9, 0)])).hashes());
}

#[test]
fn an_array_is_its_indexes_and_values_and_its_cursor() {
    let array = |cursor: &[u64], second: &[u8]| {
        with("REDIS0014", |rdb| {
            let rdb = rdb.key(28, "array").len(4).lens(cursor).lens(&[0, 1]).raw(&(-5_i64).to_le_bytes());
            let rdb = rdb.lens(&[7, 3]).text(second).lens(&[1 << 40, 0]).text(&vec![b'l'; 30_000]);
            rdb.lens(&[u64::MAX - 1, 2]).raw(&2.5_f64.to_le_bytes())
        })
    };
    let found = whole(&array(&[0], b"small"));
    assert_eq!((found.key("array").kind, found.key("array").count), (Kind::Array, 4));
    assert_ne!(found.hashes(), whole(&array(&[1, 0], b"small")).hashes());
    assert_ne!(found.hashes(), whole(&array(&[0], b"smalL")).hashes());
    assert_ne!(whole(&array(&[1, 9], b"x")).hashes(), whole(&array(&[1, 8], b"x")).hashes());
    let old = Rdb::new("REDIS0013").key(28, "array").end();
    assert_eq!(try_whole(&old).unwrap().summary.unwrap().unknown.unwrap().what, Unreadable::Opcode { opcode: 28 });
}

/// `Abcdefghi`, version 2.
pub(crate) const MODULE: u64 = 0x0000_0000_0000_0402 | 0x1234_5678_9abc_0000;

pub(crate) fn module(rdb: Rdb, float: f32, text: usize) -> Rdb {
    let rdb =
        rdb.len(1).len(u64::MAX).len(2).len(17).len(3).raw(&float.to_le_bytes()).len(4).raw(&0.1_f64.to_le_bytes());
    rdb.len(5).text(b"text").len(5).compressed(&vec![b'm'; text]).len(0)
}

#[test]
fn values_and_data_of_modules_are_walked_without_the_module() {
    let rdb = |float: f32, when: u64| {
        with("REDIS0009", |rdb| {
            let rdb = rdb.raw(&[247]).lens(&[MODULE, 2, when]).len(5).int(5).len(0);
            module(rdb.expires_ms(77).key(7, "value").len(MODULE), float, 50_000).key(0, "after").text(b"1")
        })
    };
    let found = whole(&rdb(1.5, 2));
    let value = found.key("value");
    let Kind::Module(module_id) = value.kind else { panic!("{:?}", value.kind) };
    assert_eq!((module_id.0, module_id.name().len(), value.expires_ms), (MODULE, 9, Some(77)));
    assert!(matches!(found.records[&(None, vec![])].kind, Kind::ModuleAux(id) if id.0 == MODULE));
    assert_eq!(whole(&rdb(2.5, 2)).differences(&found), BTreeSet::from(["value".into()]));
    assert_eq!(whole(&rdb(1.5, 1)).differences(&found), BTreeSet::from([String::new()]));
    let before_release = with("REDIS0008", |rdb| rdb.key(0, "a").text(b"1").key(6, "value").len(MODULE));
    let found = whole(&before_release);
    assert_eq!(found.records.len(), 1);
    assert_eq!(found.summary.unwrap().unknown.unwrap().what, Unreadable::Opcode { opcode: 6 });
}

#[test]
fn metadata_before_a_key_belong_to_it_and_to_its_serialized_value() {
    let meta = |rdb: Rdb, value: u64| {
        rdb.raw(&[243]).len(2).raw(b"abcd").len(2).len(value).len(0).raw(b"efgh").len(5).text(b"t").len(0)
    };
    let rdb = |value: u64| {
        with("REDIS0013", |rdb| meta(rdb.expires_ms(9), value).key(0, "k").text(b"v").key(0, "l").text(b"v"))
    };
    let found = with_payloads(&rdb(1), 1);
    assert_eq!(whole(&rdb(2)).differences(&found), BTreeSet::from(["k".into()]));
    let payload = found.key("k").payload.clone().unwrap();
    let expected = meta(Rdb(vec![]), 1).raw(&[0]).text(b"v").raw(&[13, 0]).0;
    assert_eq!(payload[..payload.len() - 8], expected);
    assert_eq!(found.key("l").payload.as_ref().unwrap()[..3], [0, 1, b'v']);
    let many = Rdb::new("REDIS0013").raw(&[243]).len(1).raw(b"abcd").len(5).text(&vec![0; 70_000]).end();
    assert!(matches!(whole(&many).summary.unwrap().unknown.unwrap().what, Unreadable::Beyond(_)));
}

#[test]
fn what_only_helps_a_server_to_load_is_no_content() {
    let plain = with("REDIS0012", |rdb| rdb.key(0, "k").text(b"v"));
    let hints = Rdb::new("REDIS0012")
        .raw(&[250])
        .texts(&[b"redis-ver", b"8.0.0"])
        .raw(&[250])
        .text(b"ctime")
        .int(1_700_000_000);
    let hints = hints.raw(&[254]).len(0).raw(&[251]).lens(&[70_000, 5]).raw(&[244]).lens(&[16_383, 1, 0]);
    let hints = hints.raw(&[249, 255, 248]).len(70_000).key(0, "k").text(b"v").end();
    let found = whole(&hints);
    assert_eq!(found.hashes(), whole(&plain).hashes());
    assert_eq!(found.auxiliary[1], (b"ctime".to_vec(), b"1700000000".to_vec()));
    let import =
        with("VALKEY080", |rdb| rdb.raw(&[243]).text(b"job").len(2).lens(&[0, 5, 7, 16_383]).key(0, "k").text(b"v"));
    assert_eq!(whole(&import).hashes(), whole(&plain).hashes());
}

#[test]
fn libraries_of_the_release_candidates_are_read_too() {
    let rdb = |engine: &[u8]| {
        let rdb = Rdb::new("REDIS0010").raw(&[246]).text(b"lib").text(engine).len(0).text(b"code");
        rdb.raw(&[246]).text(b"described").text(b"LUA").len(1).text(b"what it is").compressed(&[b' '; 5000]).end()
    };
    let found = whole(&rdb(b"LUA"));
    assert_eq!(found.records.len(), 2);
    assert_eq!(found.records[&(None, b"lib".to_vec())].kind, Kind::Function);
    assert_eq!(whole(&rdb(b"JS")).differences(&found), BTreeSet::from(["lib".into()]));
}

#[test]
fn expiries_in_seconds_in_milliseconds_and_of_the_past_are_kept() {
    let rdb = Rdb::new("REDIS0005")
        .raw(&[254])
        .len(7)
        .raw(&[253])
        .raw(&1_600_000_000_i32.to_le_bytes())
        .key(0, "seconds")
        .text(b"v");
    let rdb = rdb.expires_ms(1).key(0, "past").text(b"v").key(0, "never").text(b"v").end();
    let found = whole(&rdb);
    let expires = |key: &str| found.records[&(Some(7), key.as_bytes().to_vec())].expires_ms;
    assert_eq!((expires("seconds"), expires("past"), expires("never")), (Some(1_600_000_000_000), Some(1), None));
    server_agrees(&rdb);
}

#[test]
fn every_known_version_is_read_and_any_other_is_said_to_be_unknown() {
    for number in 1..=14 {
        let found = whole(&with(&format!("REDIS{number:04}"), |rdb| rdb.key(0, "k").text(b"v")));
        assert_eq!(found.summary.unwrap().version.number, number);
        assert_eq!(found.summary.unwrap().checksum, if number < 5 { Checksum::Absent } else { Checksum::Matches });
    }
    for number in [80, 81] {
        assert!(whole(&with(&format!("VALKEY{number:03}"), |rdb| rdb)).summary.unwrap().version.valkey);
    }
    for (header, what) in [
        ("REDIS0015", Unreadable::Version(15)),
        ("REDIS0080", Unreadable::Version(80)),
        ("VALKEY082", Unreadable::ValkeyVersion(82)),
        ("VALKEY011", Unreadable::ValkeyVersion(11)),
    ] {
        let summary = whole(&with(header, |rdb| rdb.key(99, "k"))).summary.unwrap();
        assert_eq!((summary.unknown.unwrap().what, summary.unknown.unwrap().offset), (what, 0));
        assert_eq!(summary.checksum, Checksum::Matches, "the bytes are whole although nobody read them");
    }
    for header in ["REDIS0000", "REDIS00x1", "RADIS0009", "VALKEY0x0"] {
        let error = try_whole(format!("{header} and more").as_bytes()).unwrap_err();
        assert!(matches!(error, RdbError::Shape { offset: 0, .. }), "{header}: {error}");
    }
}

#[test]
fn an_unknown_type_ends_the_reading_but_is_no_error() {
    for (header, opcode) in [
        ("REDIS0010", 22),
        ("REDIS0014", 29),
        ("REDIS0009", 200),
        ("VALKEY081", 23),
        ("VALKEY080", 26),
        ("REDIS0012", 243),
    ] {
        let rdb = with(header, |rdb| rdb.key(0, "known").text(b"v").raw(&[opcode]).raw(&vec![7; 100_000]));
        let found = whole(&rdb);
        assert_eq!(found.records.keys().collect::<Vec<_>>(), [&(Some(0), b"known".to_vec())]);
        let summary = found.summary.unwrap();
        let unknown = summary.unknown.unwrap();
        assert_eq!(unknown.what, Unreadable::Opcode { opcode });
        assert_eq!(rdb[usize::try_from(unknown.offset).unwrap()], opcode);
        assert_eq!((summary.bytes, summary.checksum), (rdb.len() as u64, Checksum::Matches));
        assert_eq!(whole(&rdb[..rdb.len() - 1]).summary.unwrap().checksum, Checksum::Unsure);
    }
}
