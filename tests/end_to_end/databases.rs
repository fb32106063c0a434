//! Several databases in one job, and what a job leaves out.

use serde_json::Value;

use crate::support::installation::Installation;
use crate::support::postgres::TestServer;

fn server() -> TestServer {
    let server = TestServer::start();
    for (name, rows) in [("orders", 10), ("stock", 20), ("It's \"odd\"", 30), ("tmp_1", 1)] {
        server.create_database(name);
        server.psql(
            name,
            &format!(
                "create table items as select n from generate_series(1, {rows}) n; create schema audit; \
                 create table audit.log as select n from generate_series(1, 5) n; create table public.sessions (n int); \
                 insert into sessions values (1)"
            ),
        );
    }
    server
}

fn texts(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn all_databases_but_the_excluded_ones_are_taken_each_at_its_own_instant_and_all_are_proven() {
    let server = server();
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("all", &server.url("postgres"), "databases = 'all'\nexclude_databases = ['tmp_*', 'postgres']");
    lifeboat.ok(&["backup", "now"]).says(&["78 rows"]);
    lifeboat.ok(&["restore-test", "all"]).says(&["PROVEN", "from one", "from two"]);

    let report = lifeboat.ok(&["report", "--format", "json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let instants = &report["jobs"][0]["last_backup"]["instants"];
    assert_eq!(texts(instants, "of"), ["database It's \"odd\"", "database orders", "database stock"]);
    let mut at = texts(instants, "at");
    at.dedup();
    assert_eq!(at.len(), 3, "{instants}");
    let snapshots = lifeboat.json(&["snapshots"]);
    assert_eq!(&snapshots[0]["snapshots"][0]["instants"], instants);
    lifeboat.ok(&["snapshots"]).says(&["database stock"]);
}

#[test]
fn one_database_of_several_is_restored_alone_into_the_database_that_the_url_names() {
    let (server, other) = (server(), TestServer::start());
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("two", &server.url("postgres"), "databases = ['orders', 'stock']");
    lifeboat.ok(&["backup", "now"]);

    lifeboat.ok(&["restore", "two", "--only", "stock", "--to", &other.url("fresh")]);
    assert_eq!(other.psql("fresh", "select count(*) from items"), "20");
    assert_eq!(
        other.psql(
            "postgres",
            "select string_agg(datname, ' ' order by 1) from pg_database where datname in ('orders', 'stock')"
        ),
        ""
    );
    lifeboat.ok(&["restore", "two", "--only", "orders/table/public.items", "--to", &other.url("postgres")]);
    assert_eq!(other.psql("postgres", "select count(*) from items"), "10");
    lifeboat.run(&["restore", "two", "--only", "public.items", "--to", &other.url("postgres")]).expect(2).says(&[
        "ambiguous",
        "orders/table/public.items",
        "stock/table/public.items",
    ]);

    // Several go beside each other, each under its own name.
    lifeboat.ok(&["restore", "two", "--to", &other.url("postgres")]);
    assert_eq!(other.psql("orders", "select count(*) from items"), "10");
    assert_eq!(other.psql("stock", "select count(*) from items"), "20");
}

#[test]
fn what_a_job_excludes_is_said_by_the_backup_the_list_of_snapshots_and_the_report() {
    let server = server();
    let lifeboat = Installation::of_two("", "");
    let job = "exclude_schemas = ['audit']\nexclude_tables = ['public.sess*']";
    lifeboat.job("orders", &server.url("orders"), job);
    let gaps = ["schema audit", "table public.sessions", "excluded by the job"];
    lifeboat.ok(&["backup", "now", "--dry-run"]).says(&gaps).says(&["nothing was written"]);
    lifeboat.ok(&["backup", "now"]).says(&gaps).says(&["10 rows"]);
    lifeboat.ok(&["snapshots"]).says(&gaps);
    lifeboat.ok(&["restore-test"]).says(&["PROVEN"]);
    for format in ["json", "md"] {
        lifeboat.ok(&["report", "--format", format]).says(&gaps);
    }
    lifeboat.ok(&["report", "--format", "html", "--out", lifeboat.path("report").to_str().unwrap()]);
    let html = std::fs::read_dir(lifeboat.path("report")).unwrap().map(|entry| entry.unwrap().path());
    let html = html.into_iter().find(|path| path.extension().is_some_and(|it| it == "html")).unwrap();
    let html = std::fs::read_to_string(html).unwrap();
    assert!(gaps.iter().all(|gap| html.contains(gap)), "{html}");
}

#[test]
fn a_database_that_the_server_has_not_is_refused_with_those_it_has() {
    let server = server();
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("typo", &server.url("postgres"), "databases = ['stok']");
    // The first database of the list is also where the preflight connects.
    lifeboat.run(&["backup", "now"]).expect(1).says(&["\"stok\" does not exist"]);
    lifeboat.job("typo", &server.url("postgres"), "databases = ['orders', 'stok']");
    lifeboat.run(&["backup", "now"]).expect(1).says(&["no database `stok`", "orders, postgres, stock"]);
}
