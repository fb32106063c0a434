//! Where replication is forbidden, keys are read one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use lifeboat::sources::SourceError;
use lifeboat::sources::redis::RedisRecord;

use super::{context, dump, dump_again, fill, groups, loaded, source, try_dump};
use crate::support::redis::TestRedis;

const NO_REPLICATION: [&str; 2] = [
    "user default on nopass ~* +@all",
    "user bk on >pw ~* +ping +info +scan +dump +pexpiretime +select +function|dump +time",
];

#[tokio::test]
async fn where_replication_is_forbidden_the_command_is_named_and_keys_can_be_read_one_by_one() {
    let server = TestRedis::start_with(&NO_REPLICATION);
    fill(&server).await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let login = format!("username = 'bk'\npassword = {{ file = '{}' }}\n", password.path().display());
    let (refused, parts) = try_dump(&server.url(), &login).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, SourceError::Refused { .. }) && parts.is_none_or(|parts| parts.is_empty()));
    assert!(refused.to_string().contains("'psync' command") && refused.hint().contains("allow_fuzzy"), "{refused:?}");
    assert!(source(&server.url(), &login).preflight(&context()).await.unwrap_err().to_string().contains("'psync'"));

    let (whole, whole_parts) = dump(&server.url(), "").await;
    let (record, parts) = dump(&server.url(), &format!("{login}allow_fuzzy = true")).await;
    assert!(RedisRecord::of(&record).unwrap().fuzzy);
    assert!(record.gaps.iter().any(|gap| gap.what == "a single point in time"));
    let (mut exact, found) = (groups(&whole, &whole_parts), groups(&record, &parts));
    // A key whose time is over is no key to `SCAN`; everything else is equal, byte for byte of content.
    let strings = exact.remove("db0/string").unwrap();
    assert_eq!(found["db0/string"].records, strings.records - 1);
    assert_eq!(
        found
            .iter()
            .filter(|(name, _)| *name != "db0/string")
            .map(|(n, p)| (n.clone(), *p))
            .collect::<BTreeMap<_, _>>(),
        exact
    );
    let scratch = loaded(&parts["rdb"].data);
    let (again, digests) = dump_again(&record, &scratch, &[]).await;
    assert_eq!(groups(&again, &digests), found);
    assert_eq!(scratch.cli(&["PEXPIRETIME", "temporary"]), server.cli(&["PEXPIRETIME", "temporary"]));

    let some = format!("{login}allow_fuzzy = true\nexclude_keys = ['big-*']\ndatabases = [0]");
    let (record, parts) = dump(&server.url(), &some).await;
    assert!(groups(&record, &parts).keys().all(|name| name.starts_with("db0/") || name == "functions"));
    assert_eq!(loaded(&parts["rdb"].data).cli(&["EXISTS", "big-list"]), "0");
}

#[tokio::test]
async fn reading_keys_one_by_one_takes_each_once_while_tables_grow_and_keeps_its_pace() {
    let server = TestRedis::start_with(&NO_REPLICATION);
    server.cli(&["DEBUG", "POPULATE", "3000", "key", "10"]);
    let url = format!("{}?user=bk", server.url());
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let extra = format!(
        "password = {{ file = '{}' }}\nallow_fuzzy = true\nfuzzy_keys_per_second = 2000",
        password.path().display()
    );
    let start = std::time::Instant::now();
    let growing = async {
        for round in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            server.cli(&["DEBUG", "POPULATE", &(3000 + round * 500).to_string(), "key", "10"]);
        }
    };
    let (dumped, ()) = tokio::join!(dump(&url, &extra), growing);
    assert!(start.elapsed() > Duration::from_millis(1_300), "3,000 keys at 2,000 a second");
    let (record, parts) = dumped;
    // A key that came twice would keep the server from loading the file.
    let size: u64 = loaded(&parts["rdb"].data).cli(&["DBSIZE"]).parse().unwrap();
    assert!(size >= 3000);
    assert_eq!(groups(&record, &parts)["db0/string"].records, size);
}

#[tokio::test]
async fn a_missing_permission_to_read_keys_is_named() {
    let server = TestRedis::start_with(&["user default on nopass ~* +@all", "user bk on >pw ~* +ping +info +scan"]);
    server.cli(&["SET", "a", "1"]);
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let extra = format!("username = 'bk'\npassword = {{ file = '{}' }}\nallow_fuzzy = true", password.path().display());
    let error = try_dump(&server.url(), &extra).await.0.unwrap_err();
    assert!(error.to_string().contains("'function|dump'") || error.to_string().contains("'dump'"), "{error}");
    assert!(error.hint().contains("+function|dump") || error.hint().contains("+dump"), "{}", error.hint());
    let error = source(&server.url(), &extra).preflight(&context()).await.unwrap_err();
    assert!(error.to_string().contains("`DUMP`"), "{error}");
}
