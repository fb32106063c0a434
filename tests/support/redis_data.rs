//! A dataset with everything that a Redis 7.0 can hold.

use std::fmt::Write;

use super::redis::TestRedis;

/// Sizes on both sides of each threshold between a compact encoding and a table.
const LUA: &str = "
local function fill(command, name, count, make) for n = 1, count do redis.call(command, name, unpack(make(n))) end end
for _, n in ipairs({1, 128, 129, 512, 513}) do
  fill('HSET', 'hash:' .. n, n, function(i) return {'field' .. i, i} end)
  fill('ZADD', 'zset:' .. n, n, function(i) return {i / 8, 'member' .. i} end)
  fill('SADD', 'ints:' .. n, n, function(i) return {i * 70000} end)
  fill('SADD', 'set:' .. n, n, function(i) return {'member' .. i} end)
  fill('RPUSH', 'list:' .. n, n, function(i) return {'element' .. i} end)
end
for _, n in ipairs({44, 45, 64, 65, 300, 70000}) do
  local text = string.rep('ab', n):sub(1, n)
  redis.call('SET', 'string:' .. n, text)
  redis.call('HSET', 'hash:value:' .. n, 'f', text)
  redis.call('ZADD', 'zset:value:' .. n, 1, text)
  redis.call('RPUSH', 'list:value:' .. n, text, 'end')
  redis.call('SADD', 'set:value:' .. n, text)
end
fill('RPUSH', 'list:long', 5000, function(i) return {i % 7 == 0 and i or string.rep('x', i % 90)} end)
for i = 1, 250 do redis.call('XADD', 'stream:long', i .. '-1', 'kind', i % 3, 'other' .. i % 2, 'value') end
for i = 10, 40 do redis.call('XDEL', 'stream:long', i .. '-1') end
redis.call('XTRIM', 'stream:long', 'MAXLEN', 180)
fill('PFADD', 'guess:dense', 5000, function(i) return {i} end)
";

const LINES: &str = "
SET text value
SET number 12345
SET negative -9223372036854775808
SET empty \"\"
SET \"\\x00\\r\\n\\xff key\" \"\\x00\\r\\n\\xff\"
SETEX later 100000 value
HSET later:hash f v
PEXPIREAT later:hash 4102444800123
ZADD scores 1.5 a -inf b 3 c +inf d 0.1 e -0.0 f
PFADD guess a b c
SETBIT bits 100000 1
GEOADD places 13.4 52.5 berlin
XADD stream 1-1 name value
XADD stream 2-1 name other more fields
XADD stream 3-1 name third
XADD stream 4-1 name fourth
XGROUP CREATE stream readers 0
XGROUP CREATE stream idle 2-1
XGROUP CREATE stream late $ ENTRIESREAD 3
XREADGROUP GROUP readers alice COUNT 2 STREAMS stream >
XREADGROUP GROUP readers bob COUNT 1 STREAMS stream >
XGROUP CREATECONSUMER stream readers carol
XACK stream readers 1-1
XDEL stream 2-1
XGROUP CREATE stream:none group $ MKSTREAM
FUNCTION LOAD \"#!lua name=one\\nredis.register_function('f', function() return 1 end)\"
FUNCTION LOAD \"#!lua name=two\\nredis.register_function{function_name='g', callback=function() return 2 end, flags={'no-writes'}}\"
";

/// What releases know beyond the common types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    Functions,
    FieldExpiry,
    VectorSets,
    RepeatedMessages,
}

/// In a compact encoding and in a table, with the expiry of all fields, some and none.
const FIELD_EXPIRY: &str = "
HSET fields later 1 never 2 soon 3
HPEXPIREAT fields 4102444800123 FIELDS 1 later
HPEXPIREAT fields 4102444800456 FIELDS 1 soon
HSET fields:all a 1
HPEXPIREAT fields:all 4102444800789 FIELDS 1 a
HSET fields:and:key a 1 b 2
HPEXPIREAT fields:and:key 4102444800123 FIELDS 1 a
PEXPIREAT fields:and:key 4102444800999
EVAL \"for n = 1, 600 do redis.call('HSET', KEYS[1], 'field' .. n, n) end\" 1 fields:many
EVAL \"for n = 1, 600, 3 do redis.call('HPEXPIREAT', KEYS[1], 4102444800000 + n, 'FIELDS', 1, 'field' .. n) end\" 1 fields:many
";

const VECTOR_SETS: &str = "
VADD vectors VALUES 3 1.0 2.0 3.0 first
VADD vectors VALUES 3 -1.0 0.5 0.25 second SETATTR \"{\\\"year\\\":1984}\"
VADD vectors:plain VALUES 2 0.1 0.2 one NOQUANT
";

const REPEATED_MESSAGES: &str = "
XADD stream:once IDMP producer one * name value
XADD stream:once IDMP producer two * name value
XADD stream:once IDMP producer one * name value
XCFGSET stream:once IDMP-DURATION 5000 IDMP-MAXSIZE 20
";

/// Fills databases of any release since 6.2 with everything that it knows and keeps.
pub(crate) fn fill_as(server: &TestRedis, knows: &[Feature]) {
    server.cli(&["EVAL", LUA, "0"]);
    let of_7 = ["FUNCTION LOAD ", "XGROUP CREATE stream late "];
    let is_kept =
        |line: &&str| knows.contains(&Feature::Functions) || !of_7.iter().any(|begin| line.starts_with(begin));
    let mut lines: String = LINES.trim_start().lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    if knows.contains(&Feature::FieldExpiry) {
        lines.push_str(FIELD_EXPIRY.trim_start());
    }
    if knows.contains(&Feature::VectorSets) {
        lines.push_str(VECTOR_SETS.trim_start());
    }
    if knows.contains(&Feature::RepeatedMessages) {
        lines.push_str(REPEATED_MESSAGES.trim_start());
    }
    for database in [1, 15] {
        writeln!(lines, "SELECT {database}\nSET only:{database} {database}\nHSET shared f {database}").unwrap();
    }
    server.feed(&lines);
}

/// Fills every database; needs `enable-debug-command`, and keeps what expires.
pub(crate) fn fill(server: &TestRedis) {
    server.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    server.cli(&["EVAL", LUA, "0"]);
    let mut lines = LINES.trim_start().to_owned();
    for database in 1..16 {
        writeln!(lines, "SELECT {database}\nSET only:{database} {database}\nHSET shared f {database}").unwrap();
    }
    lines.push_str("SELECT 0\nSET past value PX 1\nSADD past:set a b\nPEXPIRE past:set 1\nSELECT 5\nSET past 5 PX 1\n");
    server.feed(&lines);
    std::thread::sleep(std::time::Duration::from_millis(20));
    for (key, encoding) in [
        ("number", "int"),
        ("string:44", "embstr"),
        ("string:45", "raw"),
        ("hash:1", "listpack"),
        ("hash:513", "hashtable"),
        ("hash:value:65", "hashtable"),
        ("zset:128", "listpack"),
        ("zset:129", "skiplist"),
        ("ints:512", "intset"),
        ("ints:513", "hashtable"),
        ("set:1", "hashtable"),
        ("list:long", "quicklist"),
        ("stream", "stream"),
    ] {
        assert_eq!(server.cli(&["OBJECT", "ENCODING", key]), encoding, "{key}");
    }
    let stated = server.cli(&["INFO", "keyspace"]);
    assert_eq!(stated.lines().filter(|line| line.starts_with("db")).count(), 16, "{stated}");
}
