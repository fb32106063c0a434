//! What the job leaves out, by database and by pattern.

use super::{dump, dump_again, fill, groups, loaded};
use crate::support::redis::TestRedis;

#[tokio::test]
async fn what_the_job_leaves_out_is_nowhere_in_the_backup() {
    let server = TestRedis::start_with(&["rdbcompression no"]);
    fill(&server).await;
    server.feed(
        "SET cache:1 zebra-secret\nHSET cache:2 f zebra-secret\nSETEX cache:3 1000 zebra-secret\nSET acache:4 kept\n",
    );
    let everything = dump(&server.url(), "").await;
    for (patterns, left_out) in [
        ("'cache:*'", vec!["cache:1", "cache:2", "cache:3"]),
        (
            "'big-*', 'cache:[1-2]', 'la?ge'",
            vec!["big-set", "big-list", "big-scores", "big-hash", "cache:1", "cache:2", "large"],
        ),
        ("'*'", vec![]),
    ] {
        let (record, parts) = dump(&server.url(), &format!("exclude_keys = [{patterns}]")).await;
        groups(&record, &parts);
        let scratch = loaded(&parts["rdb"].data);
        let keys = |server: &TestRedis| {
            server.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let expected: std::collections::BTreeSet<_> = if left_out.is_empty() {
            std::collections::BTreeSet::new()
        } else {
            keys(&server).into_iter().filter(|key| !left_out.contains(&key.as_str())).collect()
        };
        assert_eq!(
            keys(&scratch).into_iter().filter(|key| !key.is_empty()).collect::<Vec<_>>(),
            expected.into_iter().filter(|key| !key.is_empty()).collect::<Vec<_>>()
        );
        if patterns.starts_with("'cache:*") {
            assert!(memchr(&everything.1["rdb"].data, b"zebra-secret") && !memchr(&parts["rdb"].data, b"zebra-secret"));
        }
        let gap = record.gaps.iter().filter(|gap| gap.why == "excluded by the job").count();
        assert_eq!(gap, patterns.split(", ").count());
        let (again, digests) = dump_again(&record, &scratch, &[]).await;
        assert_eq!(groups(&again, &digests), groups(&record, &parts));
    }
}

fn memchr(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn patterns_mean_what_they_mean_to_the_server() {
    let server = TestRedis::start();
    let keys = ["a", "ab", "abc", "a*b", "a[b", "b-1", "b-2", "B-1", "[x]", "x\\y", "^", "a]b"];
    for key in keys {
        server.cli(&["SET", key, "v"]);
    }
    let patterns = [
        "a*", "a?c", "*b", "[ab]*", "[^a]*", "b-[0-1]", "b-[1-0]", "a\\*b", "a[[]b", "\\[x\\]", "x\\\\y", "[^^]",
        "[\\^]", "a[]]b", "[a", "*", "", "[b-]*",
    ];
    for text in patterns {
        let theirs: std::collections::BTreeSet<String> =
            server.cli(&["KEYS", text]).lines().filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let pattern = lifeboat::sources::redis::pattern::Pattern::new(text);
        let ours = keys.iter().filter(|key| pattern.fits(key.as_bytes())).map(|key| (*key).to_owned()).collect();
        assert_eq!(theirs, ours, "{text}");
    }
}
