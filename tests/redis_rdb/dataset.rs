//! Every type, with encodings on both sides of every threshold of a server.

use super::server::RedisServer;

/// Far in the future, so that the server keeps it.
pub(crate) const LATER_MS: i64 = 4_102_444_800_123;

pub(crate) const LIBRARY: &str =
    "#!lua name=counting\nredis.register_function('up', function(keys) return redis.call('INCR', keys[1]) end)";

/// No two bytes in a row that compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn many(server: &mut RedisServer, command: &str, key: &str, words: impl Iterator<Item = Vec<u8>>) {
    let words: Vec<Vec<u8>> = words.collect();
    for words in words.chunks(500) {
        let mut all: Vec<&[u8]> = vec![command.as_bytes(), key.as_bytes()];
        all.extend(words.iter().map(Vec::as_slice));
        server.must(&all);
    }
}

fn text(prefix: &str, count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |n| format!("{prefix}{n}").into_bytes())
}

pub(crate) fn fill(server: &mut RedisServer) {
    strings(server);
    lists(server);
    sets(server);
    hashes(server);
    sorted_sets(server);
    streams(server);
    server.run("SELECT 3");
    server.run("SET elsewhere 3");
    server.run("RPUSH s:short of another type");
    server.run("SELECT 15");
    server.run("SADD elsewhere a b");
    server.run("SELECT 0");
    server.run(&format!("PEXPIREAT s:short {LATER_MS}"));
    server.run(&format!("PEXPIREAT h:128 {}", LATER_MS + 1));
    server.must(&[b"FUNCTION", b"LOAD", LIBRARY.as_bytes()]);
}

fn strings(server: &mut RedisServer) {
    for (key, value) in
        [("s:short", "v"), ("s:8", "-128"), ("s:16", "32767"), ("s:32", "-2147483648"), ("s:zeros", "007")]
    {
        server.run(&format!("SET {key} {value}"));
    }
    server.run("SET s:64 9223372036854775807");
    server.must(&[b"SET", b"s:empty", b""]);
    server.must(&[b"SET", b"", b"the empty key"]);
    server.must(&[b"SET", b"s:\x00\xff\r\n", b"\x00\x01\xfe\xff\r\n"]);
    for size in [20, 21, 1024, 1025, 16_384, 16_385, 200_000] {
        server.must(&[b"SET", format!("s:noise:{size}").as_bytes(), &noise(size)]);
        server.must(&[b"SET", format!("s:text:{size}").as_bytes(), &b"lorem ipsum ".repeat(size)[..size]]);
    }
    server.must(&[b"SET", &b"k".repeat(70_000), b"a long name"]);
    server.run("SETBIT s:bits 100000 1");
    many(server, "PFADD", "s:loglog", text("visitor", 3000));
}

fn lists(server: &mut RedisServer) {
    server.run("RPUSH l:small a b 3 -70000 a");
    many(server, "RPUSH", "l:many", text("element ", 5000));
    many(server, "RPUSH", "l:numbers", (-3000..3000).map(|n: i64| (n * n * n).to_string().into_bytes()));
    let sizes = [1, 63, 64, 4095, 4096, 8192, 16_384, 16_385, 70_000, 0];
    many(server, "RPUSH", "l:large", sizes.into_iter().map(noise));
}

fn sets(server: &mut RedisServer) {
    server.run("SADD t:16 1 -32768 32767");
    server.run("SADD t:32 1 -2147483648");
    server.run("SADD t:64 1 9223372036854775807");
    server.run("SADD t:mixed 1 two 3.0");
    many(server, "SADD", "t:512", text("", 512));
    many(server, "SADD", "t:513", text("", 513));
    many(server, "SADD", "t:many", text("member ", 3000));
    many(server, "SADD", "t:large", [20_000, 70_000].into_iter().map(noise));
}

fn hashes(server: &mut RedisServer) {
    for count in [1, 127, 128, 511, 512, 513, 2000] {
        many(server, "HSET", &format!("h:{count}"), text("f", 2 * count));
    }
    many(server, "HSET", "h:value:64", [b"f".to_vec(), noise(64)].into_iter());
    many(server, "HSET", "h:value:65", [b"f".to_vec(), noise(65)].into_iter());
    many(server, "HSET", "h:large", [noise(20_000), noise(70_000), b"1".to_vec(), b"-1".to_vec()].into_iter());
}

fn sorted_sets(server: &mut RedisServer) {
    for count in [1, 127, 128, 129, 2000] {
        let pairs =
            (0..count).flat_map(|n| [format!("{}", f64::from(n) / 8.0).into_bytes(), format!("m{n}").into_bytes()]);
        many(server, "ZADD", &format!("z:{count}"), pairs);
    }
    server.run(
        "ZADD z:scores inf a -inf b 0 c -0 d 1e300 e -1.5e-300 f 3 g 3.0000000000000004 h 123456789012345678 i 0.1 j",
    );
    many(server, "ZADD", "z:value:65", [b"1.5".to_vec(), noise(65)].into_iter());
    server.run("GEOADD z:geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
}

fn streams(server: &mut RedisServer) {
    for count in [1, 99, 100, 101, 250] {
        for n in 1..=count {
            server.run(&format!("XADD x:{count} {n}-{} name value{n} number {n}", n % 3));
        }
    }
    for n in 1..=60 {
        let own = if n % 4 == 0 { format!("field{n} v") } else { format!("a {n} b -{n}") };
        server.run(&format!("XADD x:fields 5000000000{n}-0 {own}"));
    }
    let long_name = "n".repeat(100);
    server.run(&format!("XADD x:long 1-1 {long_name} v"));
    server.run(&format!("XADD x:long 1-2 {long_name} w"));
    server.must(&[b"XADD", b"x:long", b"2-0", &noise(70), &noise(30_000)]);
    server.must(&[b"XADD", b"x:long", b"3-0", &noise(20_000), b"17", b"", b""]);
    server.run("XDEL x:99 1-1 50-2 99-0");
    server.run("XTRIM x:250 MAXLEN 120");
    server.run("XADD x:none 9-9 a b");
    server.run("XDEL x:none 9-9");
}

/// Groups whose consumers carry the time at which they were last seen: no two runs give the same.
pub(crate) fn groups(server: &mut RedisServer) {
    for n in 1..=30 {
        server.run(&format!("XADD g:stream {n}-0 n {n}"));
    }
    server.run("XGROUP CREATE g:stream first 0");
    server.run("XGROUP CREATE g:stream second $");
    server.run("XGROUP CREATE g:stream third 7-0");
    server.run("XGROUP CREATECONSUMER g:stream second idle");
    server.run("XREADGROUP GROUP first ann COUNT 10 STREAMS g:stream >");
    server.run("XREADGROUP GROUP first bob COUNT 5 STREAMS g:stream >");
    server.run("XACK g:stream first 2-0 3-0 11-0");
    server.run("XCLAIM g:stream first bob 0 4-0 TIME 1600000000000 RETRYCOUNT 9");
    server.run("XDEL g:stream 5-0");
    server.run("XGROUP CREATE g:empty only $ MKSTREAM");
}
