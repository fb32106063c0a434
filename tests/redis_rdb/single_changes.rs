//! One deliberate change after the other, each of which another hash must show, of that key and of no other.

use std::collections::BTreeSet;

use super::dataset::{LIBRARY, fill, groups};
use super::reading::whole;
use super::server::RedisServer;

/// The command, the key or library that it changes.
const CHANGES: &[(&str, &str)] = &[
    ("SET s:short w", "s:short"),
    ("APPEND s:noise:200000 x", "s:noise:200000"),
    ("SETRANGE s:text:200000 150000 !", "s:text:200000"),
    ("SET s:8 -127", "s:8"),
    ("SET s:zeros 7", "s:zeros"),
    ("SETBIT s:bits 100001 1", "s:bits"),
    ("SET added 1", "added"),
    ("DEL added", "added"),
    ("PEXPIREAT s:16 4102444800000", "s:16"),
    ("PEXPIREAT s:16 4102444800001", "s:16"),
    ("PERSIST s:16", "s:16"),
    ("RPUSH l:small b", "l:small"),
    ("LSET l:many 2500 other", "l:many"),
    ("LPOP l:numbers", "l:numbers"),
    ("LMOVE l:small l:small LEFT RIGHT", "l:small"),
    ("LINSERT l:large BEFORE  x", "l:large"),
    ("SADD t:16 2", "t:16"),
    ("SREM t:many member:none member_0 x", ""),
    ("SADD t:many x", "t:many"),
    ("SREM t:513 512", "t:513"),
    ("HSET h:128 f0 other", "h:128"),
    ("HSET h:2000 new field", "h:2000"),
    ("HDEL h:127 f0", "h:127"),
    ("HINCRBY h:large 1 1", "h:large"),
    ("ZINCRBY z:128 0.125 m5", "z:128"),
    ("ZADD z:2000 7 m8", "z:2000"),
    ("ZREM z:scores a", "z:scores"),
    ("ZADD z:scores 4 g", "z:scores"),
    ("XADD x:1 7-0 name value", "x:1"),
    ("XDEL x:101 50-2", "x:101"),
    ("XSETID x:100 200-0", "x:100"),
    ("XSETID x:100 200-0 ENTRIESADDED 150 MAXDELETEDID 0-0", "x:100"),
    ("XSETID x:100 200-0 ENTRIESADDED 150 MAXDELETEDID 0-1", "x:100"),
    ("XTRIM x:fields MAXLEN 59", "x:fields"),
    ("XGROUP CREATE x:99 new 0", "x:99"),
    ("XGROUP SETID g:stream third 8-0", "g:stream"),
    ("XGROUP SETID g:stream third 8-0 ENTRIESREAD 3", "g:stream"),
    ("XGROUP CREATECONSUMER g:stream third cat", "g:stream"),
    ("XGROUP DELCONSUMER g:stream third cat", "g:stream"),
    ("XGROUP DESTROY g:stream third", "g:stream"),
    ("XACK g:stream first 4-0", "g:stream"),
    ("XCLAIM g:stream first ann 0 12-0 JUSTID", "g:stream"),
    ("XCLAIM g:stream first ann 0 13-0 TIME 1500000000000 JUSTID", "g:stream"),
    ("XCLAIM g:stream first ann 0 13-0 TIME 1500000000000 RETRYCOUNT 4 JUSTID", "g:stream"),
    ("RENAME s:32 s:thirty-two", "s:32 s:thirty-two"),
    ("COPY s:64 s:copy", "s:copy"),
    ("MOVE s:64 9", "s:64 s:64"),
    ("FUNCTION DELETE counting", "counting"),
];

#[test]
fn each_of_many_single_changes_shows_in_the_hash_of_its_key_and_in_no_other() {
    assert!(CHANGES.len() >= 30);
    let mut server = RedisServer::start();
    fill(&mut server);
    groups(&mut server);
    let mut before = whole(&server.saved());
    let mut sums = BTreeSet::from([before.sum]);
    for (command, changed) in CHANGES {
        server.run(command);
        let after = whole(&server.saved());
        let expected: BTreeSet<String> = changed.split_whitespace().map(str::to_owned).collect();
        assert_eq!(after.differences(&before), expected, "{command}");
        let is_change = !expected.is_empty();
        assert_eq!(after.sum != before.sum, is_change, "{command}");
        // What undoes the change before gives the sum of before; all others give one that was never there.
        let undoes = ["DEL ", "PERSIST ", "XGROUP DELCONSUMER "].iter().any(|verb| command.starts_with(verb));
        assert_eq!(sums.insert(after.sum), is_change && !undoes, "{command}");
        before = after;
    }
    let other = LIBRARY.replace("INCR", "DECR");
    server.must(&[b"FUNCTION", b"LOAD", LIBRARY.as_bytes()]);
    let with = whole(&server.saved());
    server.must(&[b"FUNCTION", b"LOAD", b"REPLACE", other.as_bytes()]);
    assert_eq!(whole(&server.saved()).differences(&with), BTreeSet::from(["counting".to_owned()]));
}
