//! What a name after `--only` stands for.

use super::*;
use crate::sources::redis::record::{DatabaseRecord, ShardRecord};

fn record() -> (SourceRecord, RedisRecord) {
    let rdb = |name: &str| Some(PartName::from_components(&[name, "rdb"]));
    let details = RedisRecord {
        shards: ["shard-0", "shard-1"].map(|name| ShardRecord { rdb: rdb(name), ..ShardRecord::default() }).into(),
        databases: [(0, 3), (4, 1), (5, 0)].map(|(number, keys)| DatabaseRecord { number, keys, left_out: 0 }).into(),
        ..RedisRecord::default()
    };
    let json = serde_json::json!({
        "kind": "redis", "summary": "", "version": "7.0.15", "instants": [], "gaps": [], "inventories": [],
        "groups": [{ "name": "functions", "parts": [], "engine_count": null, "compared": true }],
        "details": details,
    });
    (serde_json::from_value(json).unwrap(), details)
}

fn head(db: u64, name: &[u8], kind: Kind) -> Head<'_> {
    Head { db, name: Name::Whole(name), kind, opcode: 0, expires_ms: None, start: 0 }
}

#[test]
fn a_word_names_keys_a_database_a_type_functions_or_a_shard() {
    let (record, details) = record();
    let shard = |name: &str| PartName::from_components(&[name, "rdb"]);
    let takes = |only: &[&str], part: &str, head: &Head<'_>| {
        let only: Vec<String> = only.iter().map(|&word| word.to_owned()).collect();
        let choice = Choice::of(&record, &details, &only).unwrap();
        let mut seen = choice.seen();
        choice.takes(&shard(part), head, &mut seen)
    };
    let (key, function) = (head(4, b"session:1", Kind::Hash), head(0, b"lib", Kind::Function));
    for (only, of_key, of_function) in [
        (&[][..], true, true),
        (&["key/session:*"], true, false),
        (&["db4/key/session:*"], true, false),
        (&["db0/key/session:*"], false, false),
        (&["key/other", "functions"], false, true),
        (&["db4"], true, false),
        (&["db4/hash"], true, false),
        (&["db4/string"], false, false),
        (&["shard-0/rdb"], true, true),
        (&["shard-1/rdb"], false, false),
    ] {
        assert_eq!(
            (takes(only, "shard-0", &key), takes(only, "shard-0", &function)),
            (of_key, of_function),
            "{only:?}"
        );
    }
}

#[test]
fn what_the_snapshot_cannot_hold_is_no_choice() {
    let (record, details) = record();
    for word in ["db5", "db9", "db4/heap", "keys/session:*", "functions/lib", "rdb", ""] {
        assert!(Choice::of(&record, &details, &[word.to_owned()]).is_err(), "{word}");
        assert_eq!(holding(&record, word), None);
    }
    assert_eq!(holding(&record, "key/*").unwrap().len(), 2);
    assert_eq!(holding(&record, "shard-1/rdb").unwrap(), [PartName::from_components(&["shard-1", "rdb"])]);
    let bare = SourceRecord { groups: vec![], ..record };
    assert!(Choice::of(&bare, &details, &["functions".to_owned()]).is_err());
}

#[test]
fn only_what_is_loaded_as_a_whole_takes_the_place_of_a_database() {
    let (record, details) = record();
    let whole = |only: &[&str]| {
        let only: Vec<String> = only.iter().map(|&word| word.to_owned()).collect();
        let choice = Choice::of(&record, &details, &only).unwrap();
        (choice.databases(), [0, 4].map(|database| choice.is_whole(database)), choice.has_functions())
    };
    assert_eq!(whole(&[]), (vec![0, 4], [true, true], true));
    assert_eq!(whole(&["db4"]), (vec![4], [false, true], false));
    assert_eq!(whole(&["key/a"]), (vec![0, 4], [false, false], false));
    assert_eq!(whole(&["functions"]), (vec![], [false, false], true));
    assert_eq!(whole(&["db0/set", "shard-0/rdb"]), (vec![0, 4], [true, true], true));
}
