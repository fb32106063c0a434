//! Every supported major: back up, prove in scratch of that major, restore, all through the binary.

use std::path::Path;

use crate::postgres_load::{ODD, SCHEMA, content};
use crate::support::installation::Installation;
use crate::support::postgres::{
    MAJORS, TestServer, client_directory, major_directory, major_or_say, majors_are_required, not_tried,
};

/// One of everything that round trips have been known to lose.
const UNUSUAL: &str = include_str!("support/unusual_schema.sql");

fn installation(bin: &Path) -> Installation {
    Installation::of_two("", &format!("programs = [{bin:?}]"))
}

/// The lines of `[source]` that find a client for a server from `bin`.
fn client(bin: &Path) -> String {
    format!("client_directory = {:?}", client_directory(bin))
}

/// Runs on a machine that has this major; the build machine fetches those that its distribution lacks.
fn round_trip(major: u32) {
    let Some(bin) = major_or_say(major) else { return };
    let server = TestServer::start_in(&bin, &[]);
    assert_eq!(server.major(), major);
    server.create_database(ODD);
    server.psql(ODD, SCHEMA);
    server.create_database("unusual");
    server.psql("unusual", UNUSUAL);
    let lifeboat = installation(&bin);
    lifeboat.job("odd", &server.url(ODD), &client(&bin));
    lifeboat.job("unusual", &server.url("unusual"), &client(&bin));
    let backed_up = lifeboat.json(&["backup", "now"]);
    assert_eq!(backed_up.len(), 2, "{backed_up:?}");
    for tested in lifeboat.json(&["restore-test", "--from", "one"]) {
        assert_eq!(tested["verdict"], "proven", "{tested}");
        let scratch = tested["measured"]["scratch"].as_str().unwrap();
        assert!(scratch.starts_with(&format!("postgres {major}")), "{scratch}");
    }
    lifeboat.assert_no_scratch();

    let other = TestServer::start_in(&bin, &[]);
    let url = other.url(ODD);
    lifeboat.ok(&["restore", "odd", "--to", &url]);
    let (source, restored) = (content(&server, ODD), content(&other, ODD));
    assert_eq!(restored.lines().collect::<Vec<_>>(), source.lines().collect::<Vec<_>>());
}

#[test]
fn every_supported_major_is_here_where_that_is_required() {
    let absent: Vec<u32> = MAJORS.filter(|major| major_or_say(*major).is_none()).collect();
    assert!(absent.is_empty() || !majors_are_required(), "not here, so not tested: Postgres {absent:?}");
}

#[test]
fn a_database_of_13_is_proven_and_restored() {
    round_trip(13);
}

#[test]
fn a_database_of_14_is_proven_and_restored() {
    round_trip(14);
}

#[test]
fn a_database_of_15_is_proven_and_restored() {
    round_trip(15);
}

#[test]
fn a_database_of_16_is_proven_and_restored() {
    round_trip(16);
}

#[test]
fn a_database_of_17_is_proven_and_restored() {
    round_trip(17);
}

#[test]
fn a_database_of_18_is_proven_and_restored() {
    round_trip(18);
}

#[test]
fn a_server_newer_than_every_client_here_is_refused_with_the_package_to_install() {
    let Some(bin) = major_or_say(18) else { return };
    let mut older = MAJORS.filter(|major| *major < 18).filter_map(major_directory);
    let Some(old) = older.find(|bin| bin.join("pg_dump").exists()) else {
        return not_tried("no client that is older than 18 here");
    };
    let server = TestServer::start_in(&bin, &[]);
    let lifeboat = installation(&bin);
    lifeboat.job("new", &server.url("postgres"), &format!("client_directory = {old:?}"));
    for arguments in [&["backup", "now"][..], &["backup", "now", "--dry-run"]] {
        lifeboat.run(arguments).expect(1).says(&[
            "no `pg_dump` of version 18 or later",
            "and the server is 18",
            "`apt install postgresql-client-18`",
        ]);
    }
    lifeboat.ok(&["snapshots"]).says(&["no snapshots"]);
}

#[test]
fn a_snapshot_of_a_major_that_is_not_installed_is_unproven_and_says_which_it_needs() {
    let Some(bin) = major_or_say(18) else { return };
    if bin.starts_with("/usr") {
        return not_tried("the distribution itself has Postgres 18");
    }
    let server = TestServer::start_in(&bin, &[]);
    server.psql("postgres", "create table orders as select 1 as n");
    // No `programs`: only what the distribution has.
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("new", &server.url("postgres"), &client(&bin));
    lifeboat.ok(&["backup", "now"]);
    lifeboat.run(&["restore-test", "new"]).expect(5).says(&[
        "UNPROVEN",
        "this machine lacks postgres 18",
        "2 restore tests",
    ]);
    lifeboat.assert_no_scratch();
    lifeboat.ok(&["status"]).says(&["UNPROVEN"]);
}
