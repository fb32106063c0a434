//! Every supported major: back up, prove in scratch of that major, restore, all through the binary.

use std::path::Path;

use crate::postgres_load::{ODD, SCHEMA, content};
use crate::support::postgres::{TestServer, client_directory, major_directory};
use crate::support::site::Installation;

/// One of everything that round trips have been known to lose.
const UNUSUAL: &str = include_str!("support/unusual_schema.sql");

fn installation(bin: &Path) -> Installation {
    Installation::with("", &format!("programs = [{bin:?}]"))
}

/// The lines of `[source]` that find a client for a server from `bin`.
fn client(bin: &Path) -> String {
    format!("client_directory = {:?}", client_directory(bin))
}

/// Runs on a machine that has this major; the build machine fetches those that its distribution lacks.
fn round_trip(major: u32) {
    let Some(bin) = major_directory(major) else { return missing(major) };
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

#[expect(clippy::print_stderr, reason = "a person should see what was not tried")]
fn missing(major: u32) {
    eprintln!("no Postgres {major} here: scripts/postgres-majors.sh says why");
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
