//! What is said before a dump, and with how few permissions one can be.

use lifeboat::sources::SourceError;

use super::{dump, fill, groups, preflight, try_dump};
use crate::support::redis::TestRedis;

#[tokio::test]
async fn a_preflight_says_what_will_be_seen_and_writes_nothing() {
    let server = TestRedis::start_with(&["maxmemory 100mb", "maxmemory-policy allkeys-lru"]);
    fill(&server).await;
    let before = server.cli(&["INFO", "replication"]);
    let found = preflight(&server.url(), "databases = [0, 3]\nexclude_keys = ['cache:*']").await;
    let facts = found.facts.join("\n");
    for text in [
        "server redis 7.0",
        "standalone, primary",
        "database 0: ",
        "with an expiry",
        "database 15: 1 keys, left out",
        "at one moment",
    ] {
        assert!(facts.contains(text), "{text}: {facts}");
    }
    assert!(found.warnings.iter().any(|text| text.contains("allkeys-lru")), "{:?}", found.warnings);
    let gaps: Vec<_> = found.gaps.iter().map(|gap| gap.what.as_str()).collect();
    assert!(gaps.contains(&"keys `cache:*`") && gaps.contains(&"databases other than 0, 3"), "{gaps:?}");
    assert!(found.estimated_bytes > 1 << 20);
    let offset = |info: &str| info.lines().find(|line| line.starts_with("master_repl_offset")).map(str::to_owned);
    let after = server.cli(&["INFO", "replication"]);
    assert_eq!(offset(&before), offset(&after));
    assert!(!server.log().contains("Starting BGSAVE"), "a preflight must not make the server fork");
}

#[tokio::test]
async fn a_user_with_three_permissions_is_enough_and_told_what_is_not_known() {
    let server = TestRedis::start_with(&["user default on nopass ~* +@all", "user bk on >pw +psync +replconf +ping"]);
    fill(&server).await;
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "pw\n").unwrap();
    let login = format!("username = 'bk'\npassword = {{ file = '{}' }}", password.path().display());
    let found = preflight(&server.url(), &login).await;
    assert!(found.warnings.iter().any(|text| text.contains("`INFO`")), "{:?}", found.warnings);
    let (record, parts) = dump(&server.url(), &login).await;
    assert_eq!(record.version.split('.').next(), Some("7"));
    let (whole, whole_parts) = dump(&server.url(), "").await;
    assert_eq!(groups(&record, &parts), groups(&whole, &whole_parts));
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "hunter2\n").unwrap();
    let login = format!("username = 'bk'\npassword = {{ file = '{}' }}", wrong.path().display());
    let error = try_dump(&server.url(), &login).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }) && !error.to_string().contains("hunter2"), "{error}");
}
