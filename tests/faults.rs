//! What bad input gets, shown from outside through the real binary: a clear error with its exit code, nothing lost, nothing
//! half-visible, nothing left behind, and a next run that succeeds.

#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "Lifeboat writes these names itself")]
#![allow(clippy::print_stdout, reason = "what a failed test shows: seeds and counts")]

#[path = "faults/configuration.rs"]
mod configuration;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/names.rs"]
mod names;
#[path = "faults/server.rs"]
mod server;
#[path = "faults/state.rs"]
mod state;
#[path = "faults/target.rs"]
mod target;

use crate::support::lifeboat::Lifeboat;
use crate::support::postgres::TestServer;

/// Two related tables: enough rows to be more than one row, and few enough to be fast.
const SMALL: &str = "
    create table account (id int primary key, owner text not null);
    insert into account select i, 'owner ' || i from generate_series(1, 500) i;
    create table entry (id int primary key, account int not null references account, amount numeric);
    insert into entry select i, 1 + i % 500, i / 7.0 from generate_series(1, 2000) i;";

/// A server with a database `app` of these tables.
fn server_with(sql: &str) -> TestServer {
    let server = TestServer::start();
    server.create_database("app");
    server.psql("app", sql);
    server
}

/// A table `bulk` of about this many megabytes that do not compress well: hexadecimal digits.
fn bulk(megabytes: usize) -> String {
    // 16 rows of 1,000 MD5 digits each: fast to make, different in every row.
    format!(
        "create table bulk as select i, (select string_agg(md5(i::text || '-' || j), '') from generate_series(1, 31) j) as text
         from generate_series(1, {}) i",
        megabytes * 1000
    )
}

/// The state that every fault must leave behind: the next backup is whole, and a restore test proves it.
fn recovers(boat: &Lifeboat, targets: &[&str]) {
    let before = boat.roots(targets[0]).len();
    boat.backup().expect(0);
    let after = boat.snapshots();
    assert_eq!(boat.roots(targets[0]).len(), before + 1, "{after:?}");
    assert_eq!(after.last().unwrap().1, targets, "the newest is at every target");
    boat.run(&["restore-test"]).expect(0);
    boat.assert_sound(targets);
}
