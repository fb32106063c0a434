//! A job's own questions to a restored server.

use std::time::Duration;

use lifeboat::config::Section;
use lifeboat::domain::Place;
use lifeboat::domain::verdict::CheckResult;
use lifeboat::proof::{Restored, checks, count_rows, run_checks};

use crate::inventory::{Server, installed};

const LIMIT: Duration = Duration::from_secs(20);

async fn server() -> (Server, Place) {
    let server = Server::start(installed().pop().expect("a Postgres server is installed")).await;
    let script = "CREATE TABLE posts AS SELECT n, timestamptz '2026-11-20 00:00:00+00' + n * interval '1 hour' AS at \
                  FROM generate_series(1, 30) n; CREATE TABLE \"odd \"\"table\" () INHERITS (posts); \
                  INSERT INTO \"odd \"\"table\" VALUES (1, now())";
    server.run("psql", &["-X", "-q", "-d", "postgres", "-c", script]).await;
    let socket = server.path("").replace('/', "%2F");
    (server, Place { url: format!("postgres://postgres@{socket}/postgres"), password: None })
}

async fn ask(place: &Place, text: &str) -> CheckResult {
    let check = checks::configure(&Section::from_text(text).unwrap(), "postgres").unwrap();
    let instant = "2026-11-21T12:00:00Z".parse().unwrap();
    let restored = Restored { place, database: Some("postgres"), instant };
    run_checks(&[check], &restored).await.pop().unwrap()
}

#[tokio::test]
async fn checks_compare_what_the_server_answers_and_say_why_they_did_not_hold() {
    let (_server, place) = server().await;
    let cases = [
        ("sql = 'select count(*) from only posts'\nmin = 30\nmax = 30", true, "30"),
        ("sql = 'select sum(n)::numeric(9,2) from only posts;'\nequals = 465", true, "465.00"),
        ("sql = 'select avg(n)::float8 from only posts'\nmin = 15.6", false, "15.5"),
        ("sql = 'select max(at) from only posts'\nmax_age = '26h'", true, "2026-11-21 06:00:00+00"),
        ("sql = 'select min(at) from only posts'\nmax_age = '26h'", false, "2026-11-20 01:00:00+00"),
        ("sql = 'select max(at)::date from only posts'\nmax_age = '1d'", true, "2026-11-21"),
        ("sql = 'select true'\nequals = true", true, "true"),
        ("sql = \"select 'a'::text\"\nequals = 'b'", false, "a"),
        ("sql = 'select null::int'\nmin = 0", false, "NULL"),
        ("sql = 'select 1 where false'\nmin = 0", false, "no rows"),
        ("sql = 'select n from only posts'\nmin = 0", false, "more than one row where one value was expected"),
        ("sql = 'select 1, 2'\nmin = 0", false, "2 columns where one value was expected"),
        ("sql = 'select * from nowhere'\nmin = 0", false, "relation \"nowhere\" does not exist"),
        ("sql = 'delete from posts returning 1'\nmin = 0", false, "cannot execute DELETE in a read-only transaction"),
    ];
    for (text, held, actual) in cases {
        let result = ask(&place, text).await;
        assert_eq!((result.held, result.actual.as_str()), (held, actual), "{text}");
    }
    let elsewhere = ask(&place, "sql = 'select 1'\nmin = 0\ndatabase = 'absent'").await;
    assert!(!elsewhere.held && elsewhere.actual.contains("\"absent\" does not exist"), "{}", elsewhere.actual);
}

#[tokio::test]
async fn rows_are_counted_without_those_of_children_and_a_missing_table_is_an_error() {
    let (_server, place) = server().await;
    let table = |name: &str| ("public".to_owned(), name.to_owned());
    let counts = count_rows(&place, None, &[table("posts"), table("odd \"table")], LIMIT).await.unwrap();
    assert_eq!(counts, [30, 1]);
    let error = count_rows(&place, None, &[table("gone")], LIMIT).await.unwrap_err().to_string();
    assert_eq!(error, "counting the rows of \"public\".\"gone\": relation \"public.gone\" does not exist");
}
