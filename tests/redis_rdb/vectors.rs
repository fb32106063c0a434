//! Vector sets, built byte by byte: what is content and what is not, and what is not known.

use std::collections::BTreeSet;

use lifeboat::sources::redis::rdb::{ModuleId, Unreadable};

use super::builder::Rdb;
use super::reading::{Found, try_whole, whole, with_payloads};

/// `vectorset`, with so many as its version.
fn module_id(version: u64) -> u64 {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |wanted: u8| LETTERS.iter().position(|letter| *letter == wanted).unwrap() as u64;
    b"vectorset".iter().fold(0, |id, name| id << 6 | letter(*name)) << 10 | version
}

#[derive(Clone)]
struct Element {
    name: &'static [u8],
    attributes: &'static [u8],
    vector: Vec<u8>,
    /// Id, level and links, of which none is content.
    graph: Vec<u64>,
    length_and_range: u64,
}

#[derive(Clone)]
struct Set {
    dimensions: u64,
    /// How it is quantised, and links for each element.
    graph: u64,
    flags: u64,
    projection: &'static [u8],
    elements: Vec<Element>,
}

fn set() -> Set {
    let element = |name, attributes, at: u8| Element {
        name,
        attributes,
        vector: vec![at; 100],
        graph: vec![u64::from(at), 0, 2, 7, 8],
        length_and_range: 0x3f80_0000 + u64::from(at),
    };
    let elements = vec![element(b"one", b"{}", 1), element(b"two", b"", 2), element(b"", b"{\"a\":1}", 3)];
    Set { dimensions: 100, graph: 16 << 8 | 1, flags: 3, projection: b"projection", elements }
}

fn saved(set: &Set, version: u64) -> Vec<u8> {
    let number = |rdb: Rdb, value: u64| rdb.len(2).len(value);
    let text = |rdb: Rdb, value: &[u8]| rdb.len(5).text(value);
    let mut rdb = Rdb::new("REDIS0012").raw(&[254, 0]).key(7, "set").len(module_id(version));
    for value in [set.dimensions, set.elements.len() as u64, set.graph, set.flags] {
        rdb = number(rdb, value);
    }
    if set.flags & 1 != 0 {
        rdb = text(number(rdb, 300), set.projection);
    }
    for element in &set.elements {
        rdb = text(rdb, element.name);
        if set.flags & 2 != 0 {
            rdb = text(rdb, element.attributes);
        }
        rdb = number(text(rdb, &element.vector), element.graph.len() as u64 + 1);
        rdb = element.graph.iter().fold(rdb, |rdb, value| number(rdb, *value));
        rdb = number(rdb, element.length_and_range);
    }
    rdb.len(0).key(0, "after").text(b"1").end()
}

fn found(change: impl FnOnce(&mut Set)) -> Found {
    let mut set = set();
    change(&mut set);
    whole(&saved(&set, 0))
}

#[test]
fn a_vector_set_is_its_elements_and_neither_their_order_nor_the_graph() {
    assert_eq!(ModuleId(module_id(0)).name(), "vectorset");
    let expected = found(|_| {});
    let seen = expected.key("set");
    assert_eq!((seen.count, seen.bytes), (3, "set".len() as u64 + 10 + 6 + 9 + 3 * (100 + 8)));
    assert_eq!(expected.records.len(), 2, "what follows is read");
    let same: [fn(&mut Set); 3] = [
        |set| set.elements.reverse(),
        |set| set.elements[0].graph = vec![9, 1, 2, 3, 4, 5, 6, 7],
        // As release candidates of Redis 8.0 saved it.
        |set| set.graph = 1,
    ];
    for (at, change) in same.into_iter().enumerate() {
        let found = found(change);
        assert_eq!(found.differences(&expected), BTreeSet::new(), "{at}");
        assert_eq!((found.key("set").count, found.key("set").bytes), (seen.count, seen.bytes), "{at}");
    }
}

#[test]
fn attributes_that_nobody_has_are_none() {
    let bare = |set: &mut Set| set.elements.iter_mut().for_each(|element| element.attributes = b"");
    let without = found(|set| {
        bare(set);
        set.flags = 1;
    });
    assert_eq!(found(bare).differences(&without), BTreeSet::new());
}

#[test]
fn every_change_of_content_is_seen() {
    let changes: [fn(&mut Set); 12] = [
        |set| set.dimensions = 101,
        |set| set.graph = 16 << 8 | 2,
        |set| set.graph = 17 << 8 | 1,
        |set| set.flags = 2,
        |set| set.projection = b"projectioN",
        |set| set.elements[0].name = b"onE",
        |set| set.elements[0].attributes = b"",
        |set| set.elements[1].attributes = b"{}",
        |set| set.elements[2].vector[99] = 0,
        |set| set.elements[2].length_and_range += 1,
        |set| drop(set.elements.pop()),
        |set| {
            let (one, two) = (set.elements[0].vector.clone(), set.elements[1].vector.clone());
            (set.elements[0].vector, set.elements[1].vector) = (two, one);
        },
    ];
    let mut all: Vec<Found> = changes.into_iter().map(found).collect();
    all.push(found(|_| {}));
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            assert_eq!(one.differences(other), BTreeSet::from(["set".to_owned()]), "{at}");
        }
    }
}

#[test]
fn vectors_and_attributes_of_any_size_are_read_in_pieces_and_kept_for_restore() {
    let large = |set: &mut Set| {
        set.elements[1].vector = vec![5; 300_000];
        set.elements[1].graph = (0..5000).collect();
    };
    let mut set = set();
    large(&mut set);
    let rdb = saved(&set, 0);
    let whole = with_payloads(&rdb, rdb.len());
    for step in [1, 4093] {
        assert_eq!(with_payloads(&rdb, step).records, whole.records, "in pieces of {step}");
    }
    let payload = whole.key("set").payload.as_ref().unwrap();
    // After the type, before version and checksum.
    let value = &payload[1..payload.len() - 10];
    assert!(value.len() > 300_000 && rdb.windows(value.len()).any(|part| part == value));
}

#[test]
fn another_layout_is_not_known_and_another_version_is_compared_as_it_was_saved() {
    let mut changed = set();
    changed.flags = 4;
    let nothing_said = Rdb::new("REDIS0012").raw(&[254, 0]).key(7, "set").len(module_id(0)).len(0).end();
    let text_first = Rdb::new("REDIS0012").raw(&[254, 0]).key(7, "set").len(module_id(0)).len(5).text(b"x").end();
    let head = |count: u64| {
        let rdb = Rdb::new("REDIS0012").raw(&[254, 0]).key(7, "set").len(module_id(0));
        [100, count, 1, 0].iter().fold(rdb, |rdb, value| rdb.len(2).len(*value))
    };
    let too_few = head(1).len(0).end();
    let too_many = head(0).len(5).text(b"x").end();
    let no_parameters = head(1).len(5).text(b"x").len(5).text(b"v").len(2).len(0).end();
    for rdb in [saved(&changed, 0), nothing_said, text_first, too_few, too_many, no_parameters] {
        let found = try_whole(&rdb).unwrap();
        assert_eq!(found.summary.unwrap().unknown.unwrap().what, Unreadable::VectorSet);
        assert!(found.records.is_empty());
    }
    let mut reversed = set();
    reversed.elements.reverse();
    let [one, other] = [set(), reversed].map(|set| whole(&saved(&set, 1)));
    assert_eq!(one.differences(&other), BTreeSet::from(["set".to_owned()]));
}
