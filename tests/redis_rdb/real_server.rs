//! What a server of the distribution saves.

use std::collections::BTreeSet;

use lifeboat::sources::redis::rdb::{Checksum, Kind, Version};

use super::dataset::{LATER_MS, LIBRARY, fill, groups};
use super::reading::{in_pieces, whole, with_payloads};
use super::server::{RedisServer, Reply};

#[test]
fn every_key_is_read_with_the_type_count_and_expiry_that_the_server_says() {
    let mut server = RedisServer::start();
    fill(&mut server);
    groups(&mut server);
    let found = whole(&server.saved());
    let summary = found.summary.unwrap();
    assert_eq!((summary.version, summary.checksum), (Version { valkey: false, number: 10 }, Checksum::Matches));
    assert!(found.auxiliary.contains(&(b"redis-ver".to_vec(), b"7.0.15".to_vec())), "{:?}", found.auxiliary);
    let mut keys = 0;
    for db in [0, 3, 15] {
        server.run(&format!("SELECT {db}"));
        for key in server.run("KEYS *").many() {
            let key = key.bytes();
            let seen = &found.records[&(Some(db), key.to_vec())];
            let kind = server.must(&[b"TYPE", key]);
            assert_eq!(seen.kind.name().as_bytes(), kind.bytes(), "{:?}", String::from_utf8_lossy(key));
            let count: &[u8] = match seen.kind {
                Kind::List => b"LLEN",
                Kind::Set => b"SCARD",
                Kind::SortedSet => b"ZCARD",
                Kind::Hash => b"HLEN",
                Kind::Stream => b"XLEN",
                _ => b"EXISTS",
            };
            let count = server.must(&[count, key]).number();
            assert_eq!(i64::try_from(seen.count).unwrap(), count, "{:?}", String::from_utf8_lossy(key));
            let expires = server.must(&[b"PEXPIRETIME", key]).number();
            assert_eq!(seen.expires_ms.unwrap_or(-1), expires);
            keys += 1;
        }
    }
    assert_eq!(found.records.len(), keys + 1, "all keys and one library");
    assert_eq!(found.key("s:short").expires_ms, Some(LATER_MS));
    assert_eq!(found.key("s:32").content, b"\0-2147483648");
    assert_eq!(found.key("s:zeros").content, b"\x00007");
    let library = &found.records[&(None, b"counting".to_vec())];
    assert_eq!((library.kind, &library.content[1..]), (Kind::Function, LIBRARY.as_bytes()));
    let opcodes: BTreeSet<u8> = found.records.values().map(|seen| seen.opcode).collect();
    assert_eq!(
        opcodes,
        BTreeSet::from([0, 2, 4, 5, 11, 16, 17, 18, 19, 245]),
        "both sides of every threshold are there"
    );
}

#[test]
fn strings_are_hashed_by_their_bytes() {
    let mut server = RedisServer::start();
    fill(&mut server);
    let found = whole(&server.saved());
    for (key, seen) in found.records.iter().filter(|(_, seen)| seen.kind == Kind::String && seen.opcode == 0) {
        if key.0 == Some(0) {
            let value = server.must(&[b"GET", &key.1]);
            let value = value.bytes();
            let expected = if value.len() <= 1024 {
                [&[0], value].concat()
            } else {
                [&[1], &blake3::hash(value).as_bytes()[..], &1_u64.to_le_bytes()].concat()
            };
            assert_eq!(seen.content, expected, "{:?}", String::from_utf8_lossy(&key.1));
            assert_eq!(seen.bytes, (key.1.len() + value.len()) as u64);
        }
    }
}

#[test]
fn equal_content_has_equal_hashes_whatever_the_encoding() {
    let mut server = RedisServer::start();
    fill(&mut server);
    let compact = whole(&server.saved());
    let settings = [
        "hash-max-listpack-entries 0",
        "zset-max-listpack-entries 0",
        "set-max-intset-entries 0",
        "list-max-listpack-size 1",
        "list-compress-depth 1",
        "stream-node-max-entries 1",
        "rdbcompression no",
    ];
    let other = [
        "hash-max-listpack-entries 100000",
        "hash-max-listpack-value 100000",
        "zset-max-listpack-entries 100000",
        "zset-max-listpack-value 100000",
        "set-max-intset-entries 100000",
        "list-max-listpack-size -5",
        "stream-node-max-entries 0",
        "stream-node-max-bytes 0",
    ];
    for settings in [&settings[..], &other] {
        server.run("FLUSHALL");
        server.run("FUNCTION FLUSH");
        for setting in settings {
            server.run(&format!("CONFIG SET {setting}"));
        }
        if settings.contains(&"rdbcompression no") {
            server.run("DEBUG QUICKLIST-PACKED-THRESHOLD 100b");
        }
        fill(&mut server);
        let again = whole(&server.saved());
        assert_eq!(again.differences(&compact), BTreeSet::new());
        assert_eq!(again.sum, compact.sum);
        for (id, seen) in &again.records {
            assert_eq!((seen.bytes, seen.count), (compact.records[id].bytes, compact.records[id].count));
        }
        server.run("CONFIG SET rdbcompression yes");
    }
    let loose = whole(&server.saved());
    let opcode = |key: &str| (compact.key(key).opcode, loose.key(key).opcode);
    assert_eq!((opcode("h:2000"), opcode("z:2000"), opcode("t:513")), ((4, 16), (5, 17), (2, 11)));
    assert_eq!((opcode("h:512").0, opcode("h:513").0, opcode("z:128").0, opcode("z:129").0), (16, 4, 17, 5));
}

#[test]
fn serialized_values_restore_keys_and_libraries_into_a_running_server() {
    let mut server = RedisServer::start();
    fill(&mut server);
    groups(&mut server);
    let rdb = server.saved();
    let before = with_payloads(&rdb, 4096);
    assert_eq!(whole(&rdb).hashes(), before.hashes());
    assert_eq!(with_payloads(&rdb, 1), before, "the serialized values do not depend on the pieces");
    let mut other = RedisServer::start();
    for ((db, name), seen) in &before.records {
        let payload = seen.payload.as_deref().unwrap();
        if let Some(db) = db {
            other.run(&format!("SELECT {db}"));
            let ttl = seen.expires_ms.unwrap_or_default().to_string();
            other.must(&[b"RESTORE", name, ttl.as_bytes(), payload, b"ABSTTL"]);
        } else {
            other.must(&[b"FUNCTION", b"RESTORE", payload]);
        }
    }
    let after = whole(&other.saved());
    assert_eq!(after.differences(&before), BTreeSet::new());
    assert_eq!(after.sum, before.sum);
}

#[test]
fn the_servers_own_dump_of_a_key_is_the_serialized_value() {
    let mut server = RedisServer::start();
    fill(&mut server);
    let found = with_payloads(&server.saved(), 100_000);
    for ((db, key), seen) in &found.records {
        if *db == Some(0) {
            let Reply::Bulk(Some(dump)) = server.must(&[b"DUMP", key]) else { panic!("no dump") };
            assert!(seen.payload.as_deref() == Some(&dump[..]), "{:?}", String::from_utf8_lossy(key));
        }
    }
}

#[test]
fn a_dump_of_what_was_loaded_from_a_dump_has_the_same_hashes() {
    let mut server = RedisServer::start();
    fill(&mut server);
    groups(&mut server);
    let rdb = server.saved();
    let before = whole(&rdb);
    let after = whole(&RedisServer::holding(&rdb).saved());
    assert_eq!(after.differences(&before), BTreeSet::new());
    assert_eq!((after.sum, after.records.len()), (before.sum, before.records.len()));
}

#[test]
fn how_often_a_key_was_used_is_no_content() {
    let mut server = RedisServer::start();
    fill(&mut server);
    let plain = whole(&server.saved());
    for policy in ["allkeys-lru", "allkeys-lfu"] {
        server.run(&format!("CONFIG SET maxmemory-policy {policy}"));
        let noted = server.saved();
        assert_eq!(whole(&noted).hashes(), plain.hashes());
        assert!(noted.len() as u64 > plain.summary.unwrap().bytes, "the server writes what is not content");
    }
}

#[test]
fn pieces_of_any_size_give_the_same() {
    let mut server = RedisServer::start();
    fill(&mut server);
    groups(&mut server);
    let rdb = server.saved();
    let expected = whole(&rdb);
    for size in [1, 2, 3, 7, 13, 1000, 16_384, 65_536] {
        assert_eq!(in_pieces(&rdb, &[size]).unwrap(), expected, "in pieces of {size}");
    }
}

#[test]
fn a_server_without_keys_and_one_without_a_checksum_are_read() {
    let mut server = RedisServer::start();
    let empty = whole(&server.saved());
    assert_eq!((empty.records.len(), empty.sum), (0, [0; 32]));
    let mut unsummed = RedisServer::start_with(None, &["rdbchecksum no"]);
    unsummed.run("SET a 1");
    let found = whole(&unsummed.saved());
    assert_eq!((found.records.len(), found.summary.unwrap().checksum), (1, Checksum::Off));
}
