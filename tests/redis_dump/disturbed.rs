//! What becomes of a dump that is disturbed.

use std::time::Duration;

use lifeboat::sources::SourceError;
use lifeboat::sources::redis::RedisRecord;

use super::{dump, fill, scripted, try_dump};
use crate::support::redis::TestRedis;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_leaves_nothing_to_commit() {
    let mut server = TestRedis::start_with(&["repl-diskless-sync yes", "rdb-key-save-delay 300", "rdbcompression no"]);
    server.cli(&["DEBUG", "POPULATE", "20000", "key", "1000"]);
    let url = server.url();
    let dying = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        tokio::task::block_in_place(|| server.kill());
    };
    let (dumped, ()) = tokio::join!(try_dump(&url, ""), dying);
    let error = dumped.0.unwrap_err();
    assert!(matches!(error, SourceError::Failed { .. }) && error.to_string().contains("bytes of the RDB"), "{error}");
    assert!(dumped.1.is_none(), "half a dump could be committed");
    let (refused, _) = try_dump(&url, "").await;
    assert!(matches!(refused, Err(SourceError::Unreachable { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_rdb_that_is_cut_bent_or_too_long_is_never_committed() {
    let server = TestRedis::start_with(&["rdbcompression no"]);
    fill(&server).await;
    let whole = dump(&server.url(), "").await.1["rdb"].data.clone();
    let (url, _folder) = scripted(whole.clone());
    assert_eq!(dump(&url, "").await.1["rdb"].data, whole);
    let bent = |at: usize| {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        bent
    };
    let long = [whole.clone(), vec![0]].concat();
    let cases = [
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        vec![],
        long,
        bent(whole.len() - 3),
        bent(whole.len() / 2),
    ];
    for (number, rdb) in cases.into_iter().enumerate() {
        for extra in ["", "exclude_keys = ['cache:*']"] {
            let (url, _folder) = scripted(rdb.clone());
            let (result, parts) = try_dump(&url, extra).await;
            assert!(matches!(&result, Err(SourceError::Failed { .. })), "case {number}: {result:?}");
            assert!(parts.is_none(), "case {number} could be committed");
        }
    }
}

#[tokio::test]
async fn what_is_not_understood_is_stored_and_not_proven() {
    let server = TestRedis::start();
    server.cli(&["SET", "a", "1"]);
    let mut rdb = dump(&server.url(), "").await.1["rdb"].data.clone();
    rdb[5..9].copy_from_slice(b"0999");
    let (url, _folder) = scripted(rdb.clone());
    let (record, parts) = dump(&url, "").await;
    assert_eq!((parts["rdb"].data == rdb, record.groups.len()), (true, 0));
    let details = RedisRecord::of(&record).unwrap();
    assert!(details.shards[0].unread.as_ref().is_some_and(|why| why.contains("999")), "{details:?}");
    assert!(record.gaps.iter().any(|gap| gap.what == "proof of the data"), "{:?}", record.gaps);
    let (refused, _) = try_dump(&url, "exclude_keys = ['x']").await;
    assert!(matches!(refused, Err(SourceError::Refused { .. })), "{refused:?}");
}
