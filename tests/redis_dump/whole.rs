//! What is dumped is what the server holds, and loads into a stock server.

use super::{connect, dump, dump_again, fill, groups, loaded};
use crate::support::installation::{Installation, contents};
use crate::support::redis::TestRedis;

#[tokio::test]
async fn what_is_dumped_loads_into_a_stock_server_and_is_the_same_there_and_a_change_is_not() {
    for setting in ["repl-diskless-sync yes", "repl-diskless-sync no"] {
        let server = TestRedis::start_with(&[setting]);
        fill(&server).await;
        let (record, parts) = dump(&server.url(), "").await;
        assert_eq!((record.kind.as_str(), record.version.split('.').next()), ("redis", Some("7")));
        let expected = groups(&record, &parts);
        let names: Vec<_> = expected.keys().map(String::as_str).collect();
        let of_first = ["db0/hash", "db0/list", "db0/set", "db0/stream", "db0/string", "db0/zset"];
        assert_eq!(
            names,
            [&["db0/hash", "db0/list", "db0/set"][..], &of_first[3..], &["db15/string", "db3/string", "functions"]]
                .concat()
        );
        let counted = record.groups.iter().filter(|group| group.engine_count.is_some()).count();
        assert_eq!(counted, names.len() - 1, "all but the functions");
        let scratch = loaded(&parts["rdb"].data);
        let (again, digests) = dump_again(&record, &scratch, &[]).await;
        assert!(!digests.contains_key("rdb"));
        assert_eq!(groups(&again, &digests), expected);

        for (change, group) in [
            (vec!["HSET", "big-hash", "one-more", "v"], "db0/hash"),
            (vec!["ZADD", "scores", "1.25", "a"], "db0/zset"),
            (vec!["PEXPIREAT", "temporary", "4000000000000"], "db0/string"),
            (vec!["XGROUP", "SETID", "events", "readers", "0"], "db0/stream"),
            (vec!["FUNCTION", "DELETE", "lib"], "functions"),
        ] {
            let before = dump_again(&record, &scratch, &[]).await;
            let before = groups(&before.0, &before.1);
            scratch.cli(&change);
            let after = dump_again(&record, &scratch, &[]).await;
            let after = groups(&after.0, &after.1);
            let differing: Vec<_> = before.iter().filter(|(name, print)| after.get(*name) != Some(print)).collect();
            assert_eq!(differing.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [group], "{change:?}");
        }
        let (few, only) = dump_again(&record, &scratch, &["db0/set".to_owned()]).await;
        assert_eq!((few.groups.len(), only.len()), (1, 1));
        assert_eq!(groups(&few, &only)["db0/set"], expected["db0/set"]);
    }
}

#[tokio::test]
async fn more_keys_than_a_block_of_digests_holds_are_one_group_of_several_parts() {
    let server = TestRedis::start();
    server.cli(&["DEBUG", "POPULATE", "40000", "key", "5"]);
    let (record, parts) = dump(&server.url(), "").await;
    let group = &record.groups[0];
    assert_eq!((group.name.as_str(), group.parts.len(), group.engine_count), ("db0/string", 4, Some(40_000)));
    assert_eq!(groups(&record, &parts)["db0/string"].records, 40_000);
}

#[tokio::test]
async fn an_empty_server_gives_an_rdb_without_keys() {
    let server = TestRedis::start();
    let (record, parts) = dump(&server.url(), "").await;
    assert_eq!((record.groups.len(), parts.len()), (0, 1));
    assert_eq!(loaded(&parts["rdb"].data).cli(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn sixteen_databases_are_dumped_each_as_its_own() {
    let server = TestRedis::start();
    let lines: String = (0..16).map(|number| format!("SELECT {number}\nSET k{number} v\nSADD s a b\n")).collect();
    server.feed(&lines);
    let (record, parts) = dump(&server.url(), "").await;
    assert_eq!(groups(&record, &parts).len(), 32);
    let scratch = loaded(&parts["rdb"].data);
    for number in 0..16 {
        assert_eq!(scratch.cli(&["-n", &number.to_string(), "DBSIZE"]), "2");
    }
    let (few, parts) = dump(&server.url(), "databases = [2, 15]").await;
    assert_eq!(groups(&few, &parts).keys().collect::<Vec<_>>(), ["db15/set", "db15/string", "db2/set", "db2/string"]);
    let scratch = loaded(&parts["rdb"].data);
    let sizes: Vec<_> = (0..16).map(|number| scratch.cli(&["-n", &number.to_string(), "DBSIZE"])).collect();
    assert_eq!(sizes.iter().filter(|size| *size == "2").count(), 2);
    assert_eq!((sizes[2].as_str(), sizes[15].as_str()), ("2", "2"));
    let (again, digests) = dump_again(&few, &scratch, &[]).await;
    assert_eq!(groups(&again, &digests), groups(&few, &parts));
}

#[tokio::test]
async fn a_backup_by_the_command_line_restores_into_a_folder_that_stock_redis_serves() {
    let server = TestRedis::start();
    fill(&server).await;
    let mut connection = connect(&server).await;
    for number in 0..300_u32 {
        let noise: Vec<u8> = std::iter::repeat_with(rand::random).take(8_000).collect();
        connection.call(&[b"SET", format!("noise:{number}").as_bytes(), &noise]).await.unwrap();
    }
    let boat = Installation::by_init(&["a"]);
    boat.write_job("queue", &format!("[source]\ntype = \"redis\"\nurl = \"{}\"\n", server.url()));
    boat.back_up();
    boat.assert_sound(&["a"]);
    let out = boat.fresh();
    boat.run(&["restore", "queue", "--to", &out.display().to_string()]).expect(0);
    let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["README.md", "dump.rdb"]);
    let scratch = loaded(&std::fs::read(out.join("dump.rdb")).unwrap());
    assert_eq!(scratch.cli(&["DBSIZE"]), server.cli(&["DBSIZE"]));
    assert_eq!(scratch.cli(&["DEBUG", "DIGEST"]), server.cli(&["DEBUG", "DIGEST"]));
    let readme = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(readme.contains("redis-check-rdb dump.rdb"), "{readme}");
    // A second backup of the same data stores next to nothing.
    let size = |target: &str| contents(&boat.target(target)).values().map(Vec::len).sum::<usize>();
    let before = size("a");
    boat.back_up();
    let added = size("a") - before;
    assert!(added < before / 10, "{added} of {before}");
}
