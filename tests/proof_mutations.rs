//! Each of many single changes to a restored database is found and named. One backup, one scratch, one load; each change is
//! made to a copy of the loaded database.

use std::time::Duration;

use lifeboat::domain::Verdict;
use lifeboat::proof::checks::client;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::support::installation::Installation;
use crate::support::loaded::Loaded;
use crate::support::mutations::{MUTATIONS, Mutation, Needs, SeenIn};
use crate::support::postgres::TestServer;

const SCHEMA: &str = include_str!("support/unusual_schema.sql");

/// Changes the loaded database.
async fn run(loaded: &Loaded, database: &str, sql: &str) {
    let options: PgConnectOptions = loaded.lease.place(database).url.parse().unwrap();
    let mut session = PgConnection::connect_with(&options.disable_statement_logging()).await.unwrap();
    let ran = session.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
    ran.unwrap_or_else(|error| panic!("{database}: {sql}: {error}"));
    session.close().await.unwrap();
}

/// Sets the loaded database aside as the template of all copies.
const KEEP: &str = "ALTER DATABASE social RENAME TO social_loaded";

/// `CREATE DATABASE` copies what is inside; what a cluster keeps about a database is copied here.
const COPY: &str = "
UPDATE pg_database n SET datacl = o.datacl, datdba = o.datdba FROM pg_database o
    WHERE n.datname = 'social' AND o.datname = 'social_loaded';
INSERT INTO pg_db_role_setting SELECT n.oid, s.setrole, s.setconfig FROM pg_database n, pg_database o
    JOIN pg_db_role_setting s ON s.setdatabase = o.oid WHERE n.datname = 'social' AND o.datname = 'social_loaded';
INSERT INTO pg_shdescription SELECT n.oid, d.classoid, d.description FROM pg_database n, pg_database o
    JOIN pg_shdescription d ON d.objoid = o.oid AND d.classoid = 'pg_database'::regclass
    WHERE n.datname = 'social' AND o.datname = 'social_loaded';
UPDATE pg_subscription SET subdbid = (SELECT oid FROM pg_database WHERE datname = 'social')";

/// Takes back what a change may have done to the cluster, so that the copy can go.
const RESET: &str = "
UPDATE pg_subscription SET subpublications = '{far_away}',
    subdbid = (SELECT oid FROM pg_database WHERE datname = 'social_loaded');
ALTER ROLE unusual_auditor BYPASSRLS;
ALTER ROLE unusual_reader LOGIN;
ALTER ROLE unusual_reader SET statement_timeout = '5min';
GRANT unusual_owner TO unusual_reader";

fn possible(mutation: &Mutation, major: u32) -> bool {
    match mutation.needs {
        Needs::Any | Needs::Contrib => true,
        Needs::Major(least) => major >= least,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_single_change_to_a_restored_database_fails_the_test_and_is_named() {
    let source = TestServer::start();
    source.create_database("social");
    source.psql("social", SCHEMA);
    // 1,600 columns a hundred times over would only take time; the whole schema is proven elsewhere.
    source.psql("social", "DROP TABLE app.wide");
    let major = source.major();
    let loaded = Loaded::new(Installation::of_one(&format!("url = \"{}\"", source.url("social")), "")).await;
    drop(source);
    let verdict = loaded.compare().await;
    assert_eq!(verdict.word(), "PROVEN", "{verdict:#?}");

    run(&loaded, "postgres", KEEP).await;
    let mut wrong = vec![];
    let mut tried = 0;
    // The first round changes nothing: what a copy lacks would be taken for a change.
    let unchanged = Mutation { name: "nothing", sql: "", what: "", seen_in: SeenIn::Inventory, needs: Needs::Any };
    let changes = MUTATIONS.iter().filter(|m| possible(m, major) && !m.sql.contains("app.wide"));
    for mutation in std::iter::once(&unchanged).chain(changes) {
        run(&loaded, "postgres", "CREATE DATABASE social TEMPLATE social_loaded").await;
        run(&loaded, "postgres", COPY).await;
        run(&loaded, "social", &format!("SET search_path = public; {}", mutation.sql)).await;
        let verdict = loaded.compare().await;
        wrong.extend(objection(mutation, &verdict));
        run(&loaded, "postgres", RESET).await;
        run(&loaded, "postgres", "DROP DATABASE social").await;
        tried += 1;
    }
    assert!(tried > 90, "{tried} changes were tried");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    loaded.lease.release().await.unwrap();
}

/// What is wrong with the verdict on a change, if anything is.
fn objection(mutation: &Mutation, verdict: &Verdict) -> Option<String> {
    let Verdict::Failed { mismatches, .. } = verdict else {
        return (!mutation.sql.is_empty()).then(|| format!("{}: {}", mutation.name, verdict.word()));
    };
    let named = mismatches.iter().any(|mismatch| match mutation.seen_in {
        SeenIn::Inventory => mismatch.what == mutation.what && !mutation.what.is_empty(),
        SeenIn::Content if ["sequence ", "large object "].iter().any(|kind| mutation.what.starts_with(kind)) => {
            mismatch.what == mutation.what && mismatch.difference == "value differs"
        }
        SeenIn::Content => {
            mismatch.what.contains(mutation.what)
                && mismatch
                    .difference
                    .strip_prefix("rows differ: ")
                    .is_some_and(|counts| ["1 missing, 1 extra", "1 missing", "1 extra"].contains(&counts))
        }
    });
    (!named).then(|| format!("{}: expected `{}`, found {mismatches:#?}", mutation.name, mutation.what))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_the_second_of_two_databases_is_named_with_its_database() {
    let source = TestServer::start();
    for database in ["a", "b"] {
        source.create_database(database);
        source.psql(
            database,
            "create table t as select n, n % 7 as m from generate_series(1, 1000) n; create sequence s;
             create function touch() returns trigger language plpgsql as 'begin return new; end';
             create trigger touched before insert on t for each row execute function touch();
             select lo_from_bytea(4711, 'content')",
        );
    }
    let circle = Installation::of_one(&format!("url = \"{}\"\ndatabases = [\"a\", \"b\"]", source.url("a")), "");
    let loaded = Loaded::new(circle).await;
    assert_eq!(loaded.compare().await.word(), "PROVEN");

    run(
        &loaded,
        "b",
        "update t set m = 8 where n <= 3; delete from t where n = 9; select setval('s', 5);
             alter table t disable trigger touched; select lo_put(4711, 1, 'x')",
    )
    .await;
    let Verdict::Failed { mismatches, evidence } = loaded.compare().await else { panic!("it is not proven") };
    let told: Vec<String> = mismatches.iter().map(|m| format!("{}: {}", m.what, m.difference)).collect();
    assert_eq!(
        told,
        [
            "b/table/public.t: rows differ: 4 missing, 3 extra",
            "b/sequence public.s: value differs",
            "b/large object 4711: value differs",
            "b/table/public.t: an ordinary client counts another number of rows",
            "b/trigger public.t.touched: state differs",
        ]
    );
    assert_eq!((mismatches[1].expected.as_str(), mismatches[1].actual.as_str()), ("1, not called yet", "5, called"));
    assert_eq!(mismatches[2].actual, "7 bytes at 0: 63786e74656e74");
    assert_eq!(evidence.groups, 3, "the groups of `a` are equal");
    let place = loaded.lease.place("a");
    let tables = [("public".to_owned(), "t".to_owned())];
    let counted = client::count_rows(&place, Some("a"), &tables, Duration::from_mins(1)).await.unwrap();
    assert_eq!(counted, [1000]);
    loaded.lease.release().await.unwrap();
}
