//! The questions that a job asks of its restored system.

use crate::support::installation::Installation;
use crate::support::postgres::TestServer;

fn tested(check: &str) -> crate::support::installation::Outcome {
    let server = TestServer::start();
    server.create_database("shop");
    server.psql(
        "shop",
        "create table orders as select n, now() - n * interval '1 hour' as at from generate_series(0, 99) n",
    );
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("shop", &server.url("shop"), check);
    lifeboat.ok(&["backup", "now"]);
    let outcome = lifeboat.run(&["restore-test", "shop", "--from", "one"]);
    lifeboat.assert_no_scratch();
    outcome
}

#[test]
fn checks_that_hold_are_listed_with_what_they_saw() {
    tested(
        "[[restore_test.check]]\nname = 'enough orders'\nsql = 'select count(*) from orders'\nmin = 100\nmax = 100\n\
         [[restore_test.check]]\nsql = 'select max(n) from orders'\nequals = 99\n\
         [[restore_test.check]]\nsql = 'select max(at) from orders'\nmax_age = '10m'\n",
    )
    .expect(0)
    .says(&[
        "PROVEN",
        "check \"enough orders\": 100 (>= 100, <= 100)",
        "`select max(n) from orders`: 99 (= 99)",
        "at most 10m before",
    ]);
}

#[test]
fn a_check_that_does_not_hold_fails_the_test_and_is_named_with_both_values() {
    tested("[[restore_test.check]]\nname = 'enough orders'\nsql = 'select count(*) from orders'\nmin = 101\n")
        .expect(4)
        .says(&["FAILED", "enough orders", ">= 101", "100", "1 restore test failed"]);
}

#[test]
fn content_that_is_too_old_fails_the_test() {
    tested("[[restore_test.check]]\nsql = 'select min(at) from orders'\nmax_age = '26h'\n").expect(4).says(&[
        "FAILED",
        "select min(at) from orders",
        "at most 26h before the snapshot",
    ]);
}

#[test]
fn a_check_that_the_server_refuses_fails_with_the_servers_words() {
    tested("[[restore_test.check]]\nsql = 'select count(*) from ordres'\nmin = 1\n")
        .expect(4)
        .says(&["FAILED", "relation \"ordres\" does not exist"]);
}
