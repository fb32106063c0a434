//! Backups from a hot standby.

use crate::support::installation::Installation;
use crate::support::postgres::TestServer;

#[test]
fn a_standby_is_backed_up_and_proven_and_its_unlogged_tables_are_a_gap() {
    let primary = TestServer::start();
    primary.create_database("shop");
    primary.psql(
        "shop",
        "create table orders as select n, md5(n::text) as what from generate_series(1, 5000) n; \
         create unlogged table carts as select 1 as n; select lo_from_bytea(0, 'large')",
    );
    let standby = primary.standby(&[]);
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("shop", &standby.url("shop"), "");
    let gap = ["rows of table public.carts", "unlogged: its rows are not on a standby"];
    lifeboat.ok(&["backup", "now", "--dry-run"]).says(&["standby"]).says(&gap);
    lifeboat.ok(&["backup", "now"]).says(&["5000 rows"]).says(&gap);
    lifeboat.ok(&["restore-test"]).says(&["PROVEN", "from one", "from two"]);
    lifeboat.ok(&["snapshots"]).says(&gap);
}

#[test]
fn a_conflict_with_recovery_says_which_settings_of_the_standby_prevent_it() {
    let primary = TestServer::start();
    primary.create_database("shop");
    // Many tables, so that a backup takes longer than the pauses between the locks below.
    primary.psql(
        "shop",
        "create table orders as select n from generate_series(1, 3000) n; \
         do $$ begin for i in 1..300 loop execute 'create table t' || i || ' as select 1 as n'; end loop; end $$",
    );
    let standby = primary.standby(&[("max_standby_streaming_delay", "0"), ("hot_standby_feedback", "off")]);
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("shop", &standby.url("shop"), "");
    let ended = conflict(&primary, &lifeboat);
    ended.says(&["hot_standby_feedback", "max_standby_streaming_delay"]);
}

/// An exclusive lock that the primary takes is replayed on the standby, against the locks that the backup holds there.
fn conflict(primary: &TestServer, lifeboat: &Installation) -> crate::support::installation::Outcome {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                primary.psql(
                    "shop",
                    "set synchronous_commit = on; do $$ begin for i in 1..100 loop \
                     lock table orders in access exclusive mode; commit; perform pg_sleep(0.02); end loop; end $$",
                );
            }
        });
        let ended = lifeboat.run(&["backup", "now"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ended.expect(1)
    })
}
