//! Dumps of real servers: what is in them, and what becomes of a dump that is disturbed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lifeboat::config::Section;
use lifeboat::domain::progress::Silent;
use lifeboat::domain::{Fingerprint, PartName, PartSink, Place, SourceRecord};
use lifeboat::sources::postgres::PostgresRecord;
use lifeboat::sources::postgres::introspect::introspect;
use lifeboat::sources::{Context, SourceError, registry};
use lifeboat::system::process::Program;
use tokio_util::sync::CancellationToken;

use crate::support::collecting_sink::{CollectingSink, Part};
use crate::support::postgres::{TestServer, bin_directory};
use crate::support::relay::Relay;

type Parts = BTreeMap<String, Part>;

fn context(lanes: usize) -> Context {
    Context {
        job: "test".to_owned(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes,
        work: std::env::temp_dir(),
        keep: std::env::temp_dir().join("no-folder"),
    }
}

/// Dumps with the job's extra lines; the parts only when the dump may be committed.
async fn dump_url(url: &str, extra: &str, lanes: usize) -> (Result<SourceRecord, SourceError>, Option<Parts>) {
    let section = Section::from_text(&format!("type = 'postgres'\nurl = \"{url}\"\n{extra}")).unwrap();
    let source = registry::kind("postgres").unwrap().configure(&section).unwrap();
    let sink = CollectingSink::default();
    let shared: Arc<dyn PartSink> = Arc::new(sink.clone());
    let result = source.dump(&context(lanes), shared).await;
    (result, sink.committed())
}

async fn dump(server: &TestServer, database: &str, extra: &str) -> (SourceRecord, Parts) {
    let (record, parts) = dump_url(&server.url(database), extra, 2).await;
    (record.unwrap(), parts.expect("a finished dump is whole"))
}

async fn dump_again(record: &SourceRecord, url: String) -> (SourceRecord, Parts) {
    let source = registry::kind("postgres").unwrap().again(record, &Place { url, password: None }, &[]).unwrap();
    let sink = CollectingSink::default();
    let shared: Arc<dyn PartSink> = Arc::new(sink.clone());
    let record = source.dump(&context(3), shared).await.unwrap();
    (record, sink.committed().unwrap())
}

fn group(record: &SourceRecord, parts: &Parts, name: &str) -> Fingerprint {
    let group = record.groups.iter().find(|group| group.name == name).unwrap_or_else(|| panic!("no group {name}"));
    let total =
        group.parts.iter().map(|part| parts[part.as_str()].fingerprint).fold(Fingerprint::EMPTY, Fingerprint::combine);
    assert_eq!(group.engine_count.unwrap_or(total.records), total.records, "{name}");
    total
}

fn text(parts: &Parts, name: &str) -> String {
    String::from_utf8(parts[name].data.clone()).unwrap()
}

/// The table of contents that stock `pg_restore` reads from an archive.
async fn contents(parts: &Parts, name: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &parts[name].data).unwrap();
    let output = Program::new(bin_directory().join("pg_restore"))
        .arg("--list")
        .arg(file.path())
        .run(Duration::from_secs(20))
        .await;
    String::from_utf8(output.unwrap()).unwrap()
}

#[tokio::test]
async fn a_dump_holds_rows_sequences_large_objects_globals_and_everything_else_once() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE DATABASE social").await;
    server
        .sql(
            "social",
            r#"CREATE ROLE reader;
            CREATE TABLE t (a int, g int GENERATED ALWAYS AS (a * 2) STORED, b text);
            INSERT INTO t (a, b) SELECT n, CASE WHEN n % 3 = 0 THEN NULL ELSE E'tab\t and \\ ' || n END FROM generate_series(1, 1000) n;
            CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
            CREATE TABLE parted (k int) PARTITION BY RANGE (k);
            CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10);
            CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20);
            INSERT INTO parted SELECT generate_series(0, 14);
            CREATE TABLE parent (p int); CREATE TABLE child (c int) INHERITS (parent);
            INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);
            CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS x;
            CREATE MATERIALIZED VIEW mat AS SELECT count(*) FROM t;
            CREATE SEQUENCE "od'd
seq"; SELECT setval('"od''d
seq"', 41); CREATE SEQUENCE fresh;
            SELECT lo_create(4242); SELECT lo_put(4242, 0, decode(repeat('ab', 600000), 'hex')); SELECT lo_create(4243);
            CREATE SCHEMA "we ird/""s"; CREATE TABLE "we ird/""s"."tä
ble 名" ("ü "" x" int); INSERT INTO "we ird/""s"."tä
ble 名" VALUES (7)"#,
        )
        .await;
    let (record, parts) = dump(&server, "social", "").await;

    assert_eq!(group(&record, &parts, "social/table/public.t").records, 1000);
    assert!(text(&parts, "social/table/public.t").contains("tab\\t and \\\\ 1\n"));
    assert_eq!(text(&parts, "social/table/public.nothing"), "\n\n");
    assert_eq!(group(&record, &parts, "social/table/public.low").records, 10);
    assert_eq!(group(&record, &parts, "social/table/public.high").records, 5);
    assert!(
        !record.groups.iter().any(|group| group.name.ends_with("public.parted")),
        "a partitioned table has no rows"
    );
    assert_eq!(
        (text(&parts, "social/table/public.parent"), text(&parts, "social/table/public.child")),
        ("1\n".into(), "2\t3\n".into())
    );
    assert_eq!(text(&parts, "social/table/public.fleeting"), "1\n");
    assert_eq!(text(&parts, "social/table/\"we ird%2F\"\"s\".\"tä%0Able 名\""), "7\n");

    let sequences = text(&parts, "social/sequences");
    assert!(sequences.contains("SELECT pg_catalog.setval('public.fresh', 1, false);\n"), "{sequences}");
    assert!(sequences.contains("SELECT pg_catalog.setval( E'public.\"od''d\\nseq\"', 41, true);\n"), "{sequences}");
    let objects = text(&parts, "social/large-objects");
    assert_eq!(objects.lines().count(), 7);
    assert!(objects.starts_with("SELECT pg_catalog.lo_create(4242) WHERE NOT EXISTS "), "{objects:.200}");
    assert!(objects.contains("\nSELECT pg_catalog.lo_put(4242, 0, '\\xabab"));
    assert!(text(&parts, "globals").contains("CREATE ROLE reader"));

    let contents = contents(&parts, "social/archive").await;
    for entry in ["TABLE public t ", "MATERIALIZED VIEW DATA public mat", "4243", "SEQUENCE public fresh"] {
        assert!(contents.contains(entry), "no {entry} in {contents}");
    }
    assert!(!contents.contains("TABLE DATA public t ") && !contents.contains("SEQUENCE SET"), "{contents}");

    let details = PostgresRecord::of(&record).unwrap();
    let table = details.databases[0].tables.iter().find(|table| table.name == "t").unwrap();
    assert_eq!((table.columns.as_slice(), table.rows), (["a".to_owned(), "b".to_owned()].as_slice(), 1000));
    assert!(
        !details.system_identifier.is_empty() && details.role_passwords && record.gaps.is_empty(),
        "{:?}",
        record.gaps
    );
    assert_eq!(record.instants[0].of, "database social");
}

#[tokio::test]
async fn the_same_content_in_another_order_of_columns_and_rows_has_the_same_fingerprints() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE DATABASE one").await;
    server.sql("postgres", "CREATE DATABASE two").await;
    server
        .sql(
            "one",
            "CREATE TABLE t (a int, b text); INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 5000) n",
        )
        .await;
    server
        .sql(
            "two",
            "CREATE TABLE t (b text, a int); INSERT INTO t SELECT 'row ' || n, n FROM generate_series(5000, 1, -1) n",
        )
        .await;
    let (record, parts) = dump(&server, "one", "").await;
    let (again, same) = dump_again(&record, server.url("two")).await;
    assert_eq!(group(&record, &parts, "one/table/public.t"), group(&again, &same, "one/table/public.t"));
    assert!(!same.contains_key("globals") && !same.contains_key("one/archive"));
    server.sql("two", "UPDATE t SET b = 'ROW 1' WHERE a = 1").await;
    let (again, changed) = dump_again(&record, server.url("two")).await;
    assert_ne!(group(&record, &parts, "one/table/public.t"), group(&again, &changed, "one/table/public.t"));
}

#[tokio::test]
async fn a_large_table_is_read_in_ranges_and_a_huge_row_passes_whole() {
    let server = TestServer::start();
    server
        .sql(
            "postgres",
            "CREATE TABLE big (n int, pad text); ALTER TABLE big ALTER pad SET STORAGE PLAIN;
            INSERT INTO big SELECT n, repeat('x', 7000) FROM generate_series(1, 10000) n;
            CREATE TABLE huge AS SELECT repeat('y', 64 << 20) AS v",
        )
        .await;
    let (record, parts) = dump(&server, "postgres", "").await;
    let details = PostgresRecord::of(&record).unwrap();
    let table = details.databases[0].tables.iter().find(|table| table.name == "big").unwrap();
    let names: Vec<&str> = table.parts.iter().map(PartName::as_str).collect();
    assert_eq!(
        names,
        ["postgres/table/public.big/0000", "postgres/table/public.big/0001", "postgres/table/public.big/0002"]
    );
    assert_eq!(group(&record, &parts, "postgres/table/public.big").records, 10_000);
    assert!(text(&parts, names[0]).starts_with("1\txxx"), "the ranges are in order");
    assert!(text(&parts, names[1]).starts_with("4097\t"), "one row fills one block");
    assert_eq!(parts["postgres/table/public.huge"].data.len(), (64 << 20) + 1);
}

#[tokio::test]
async fn what_the_job_excludes_is_left_out_schema_and_rows_and_named_as_a_gap() {
    let server = TestServer::start();
    server
        .sql(
            "postgres",
            "CREATE TABLE kept (id serial); CREATE TABLE log_1 (id int GENERATED ALWAYS AS IDENTITY);
            CREATE TABLE log_p (k int) PARTITION BY LIST (k); CREATE TABLE leaf PARTITION OF log_p DEFAULT;
            CREATE SCHEMA \"Audit *\"; CREATE TABLE \"Audit *\".t (id serial)",
        )
        .await;
    let (record, parts) =
        dump(&server, "postgres", "exclude_schemas = ['Audit ?']\nexclude_tables = ['public.log_*']").await;
    let gaps: Vec<&str> = record.gaps.iter().map(|gap| gap.what.as_str()).collect();
    assert_eq!(gaps, ["schema \"Audit *\"", "table public.leaf", "table public.log_1", "table public.log_p"]);
    let groups: Vec<&str> = record.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["postgres/table/public.kept", "postgres/sequences", "postgres/large-objects"]);
    assert_eq!(text(&parts, "postgres/sequences"), "SELECT pg_catalog.setval('public.kept_id_seq', 1, false);\n");
    let contents = contents(&parts, "postgres/archive").await;
    assert!(
        contents.contains("public kept") && !contents.contains("log_") && !contents.contains("Audit"),
        "{contents}"
    );
}

/// Dumps while `sql` is committed after the tables were listed and before the first of them is locked.
async fn dump_changed_before_the_locks(server: &TestServer, sql: &'static str) -> (SourceRecord, Parts) {
    let mut other = server.connect("postgres").await;
    let change = async move {
        other.execute(sql).await.unwrap();
    };
    let relay = Relay::before(server.socket().join(".s.PGSQL.5432"), "LOCK TABLE", change);
    let (record, parts) = dump_url(&relay.url("postgres"), "", 2).await;
    assert!(relay.has_acted().await, "nothing was locked");
    (record.unwrap(), parts.expect("a finished dump is whole"))
}

/// Neither TRUNCATE nor a rewrite is versioned: a snapshot from before shows the table empty, without any error.
#[tokio::test]
async fn a_table_truncated_or_rewritten_before_the_locks_is_dumped_as_it_is_after_them() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 100) AS n").await;
    let truncate = "BEGIN; TRUNCATE t; INSERT INTO t SELECT generate_series(1, 7); COMMIT";
    let (record, parts) = dump_changed_before_the_locks(&server, truncate).await;
    assert_eq!(group(&record, &parts, "postgres/table/public.t").records, 7);
    let rewrite = "ALTER TABLE t ALTER COLUMN n TYPE text USING 'now ' || n";
    let (record, parts) = dump_changed_before_the_locks(&server, rewrite).await;
    assert_eq!(group(&record, &parts, "postgres/table/public.t").records, 7);
    assert!(text(&parts, "postgres/table/public.t").contains("now 7\n"));
}

#[tokio::test]
async fn a_dump_waits_for_a_transaction_that_truncates() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 100) AS n").await;
    let mut other = server.connect("postgres").await;
    other.execute("BEGIN; TRUNCATE t; INSERT INTO t SELECT generate_series(1, 7)").await.unwrap();
    let commit = async {
        wait_until(&server, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'", "1").await;
        other.execute("COMMIT").await.unwrap();
    };
    let ((record, parts), ()) = tokio::join!(dump(&server, "postgres", ""), commit);
    assert_eq!(group(&record, &parts, "postgres/table/public.t").records, 7);
}

async fn wait_until(server: &TestServer, sql: &str, value: &str) {
    for _ in 0..600 {
        if server.sql("postgres", sql).await == [value] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("`{sql}` never became {value}");
}

#[tokio::test]
async fn a_table_that_comes_goes_or_is_renamed_before_the_locks_makes_the_dump_begin_again() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE TABLE a (n int); CREATE TABLE b (n int)").await;
    for (change, expected) in [
        ("DROP TABLE b", &["a"][..]),
        ("CREATE TABLE c (n int)", &["a", "c"]),
        ("ALTER TABLE c RENAME TO d", &["a", "d"]),
        ("ALTER TABLE d RENAME TO e; CREATE TABLE d (n int)", &["a", "d", "e"]),
    ] {
        let (record, _) = dump_changed_before_the_locks(&server, change).await;
        let groups = record.groups.iter().filter_map(|group| group.name.strip_prefix("postgres/table/public."));
        assert_eq!(groups.collect::<Vec<_>>(), expected, "{change}");
    }
}

#[tokio::test]
async fn an_exclusively_locked_table_is_waited_for_no_longer_than_the_job_says() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE TABLE t (n int)").await;
    let mut other = server.connect("postgres").await;
    other.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (result, _) = dump_url(&server.url("postgres"), "lock_timeout = '1s'", 2).await;
    let error = result.unwrap_err();
    assert!(matches!(&error, SourceError::Changed { .. }), "{error:?}");
    assert!(error.to_string().contains("55P03") && error.hint().contains("lock_timeout"), "{error}: {}", error.hint());
}

/// About 400 MB of text from 40,000 rows: long enough to disturb.
const SLOW: &str = "CREATE TABLE slow AS SELECT n, repeat(md5(n::text), 300) AS pad FROM generate_series(1, 40000) n";

#[tokio::test]
async fn ddl_that_waits_for_the_dump_does_not_stop_it() {
    let server = TestServer::start();
    server.sql("postgres", SLOW).await;
    server.sql("postgres", "CREATE TABLE later AS SELECT generate_series(1, 10) AS n").await;
    let mut other = server.connect("postgres").await;
    // One lane reads `slow` first; `later`, which the leader and `pg_dump` have locked, is then behind the queued TRUNCATE,
    // and only the leader can read it.
    let truncate = async {
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'later'::regclass AND granted AND EXISTS \
                      (SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY%slow%' AND state = 'active')";
        wait_until(&server, locked, "2").await;
        other.execute("TRUNCATE later").await.unwrap();
    };
    let url = server.url("postgres");
    let ((result, parts), ()) = tokio::join!(dump_url(&url, "", 1), truncate);
    let record = result.unwrap();
    assert_eq!(group(&record, &parts.unwrap(), "postgres/table/public.later").records, 10);
    assert_eq!(server.sql("postgres", "SELECT count(*) FROM later").await, ["0"]);
}

#[tokio::test]
async fn a_backend_terminated_mid_copy_leaves_nothing_to_commit() {
    let server = TestServer::start();
    server.sql("postgres", SLOW).await;
    let kill = async {
        let victim = "pg_stat_activity WHERE query LIKE 'COPY%slow%' AND state = 'active'";
        wait_until(&server, &format!("SELECT least(count(*), 1) FROM {victim}"), "1").await;
        server.sql("postgres", &format!("SELECT pg_terminate_backend(pid) FROM {victim}")).await;
    };
    let url = server.url("postgres");
    let ((result, parts), ()) = tokio::join!(dump_url(&url, "", 2), kill);
    let error = result.unwrap_err();
    assert!(error.to_string().contains("slow"), "{error}");
    assert!(parts.is_none(), "half a table must poison the dump");
}

#[tokio::test]
async fn the_end_of_the_session_that_holds_the_locks_ends_the_dump() {
    let server = TestServer::start();
    server.sql("postgres", SLOW).await;
    let kill = async {
        wait_until(
            &server,
            "SELECT least(count(*), 1) FROM pg_stat_activity WHERE query LIKE 'COPY%slow%' AND state = 'active'",
            "1",
        )
        .await;
        let leader = "application_name = 'lifeboat' AND state = 'idle in transaction' AND xact_start = \
                      (SELECT min(xact_start) FROM pg_stat_activity WHERE application_name = 'lifeboat')";
        // It may be busy just now.
        let end = format!("SELECT least(count(pg_terminate_backend(pid)), 1) FROM pg_stat_activity WHERE {leader}");
        wait_until(&server, &end, "1").await;
    };
    let url = server.url("postgres");
    let ((result, _), ()) = tokio::join!(dump_url(&url, "", 1), kill);
    assert!(result.is_err());
}

#[tokio::test]
async fn a_failing_pg_dump_fails_the_dump_in_its_own_words() {
    let server = TestServer::start();
    server.sql("postgres", SLOW).await;
    let folder = tempfile::tempdir().unwrap();
    let script =
        "#!/bin/sh\ncase \"$1\" in --version) echo 'pg_dump (PostgreSQL) 99.1';; *) echo half; kill -9 $$;; esac\n";
    for program in ["pg_dump", "pg_dumpall"] {
        let path = folder.path().join(program);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let extra = format!("client_directory = '{}'", folder.path().display());
    let (result, parts) = dump_url(&server.url("postgres"), &extra, 2).await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains("`pg_dump") && error.contains("was ended by signal 9"), "{error}");
    assert!(parts.is_none(), "half an archive must poison the dump");
}

#[tokio::test]
async fn a_role_without_rights_is_refused_with_the_tables_and_the_grant() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE ROLE weak LOGIN; CREATE TABLE secret (n int); CREATE TABLE open (n int); GRANT SELECT ON open TO weak").await;
    let url = server.url_as("weak", "postgres");
    let error = dump_url(&url, "", 2).await.0.unwrap_err();
    assert!(matches!(&error, SourceError::Refused { .. }));
    assert!(error.to_string().contains("public.secret") && error.hint().contains("GRANT pg_read_all_data"), "{error}");

    let (record, parts) = dump_url(&url, "exclude_tables = ['public.secret']", 2).await;
    let gaps: Vec<String> = record.unwrap().gaps.into_iter().map(|gap| gap.what).collect();
    assert_eq!(gaps, ["role passwords", "table public.secret"]);
    assert!(!text(&parts.unwrap(), "globals").contains("PASSWORD 'SCRAM"));

    server.sql("postgres", "GRANT SELECT ON secret TO weak; ALTER TABLE secret ENABLE ROW LEVEL SECURITY").await;
    let error = dump_url(&url, "", 2).await.0.unwrap_err();
    assert!(error.to_string().contains("row security hides rows of public.secret"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_down_or_has_no_such_database_is_named() {
    let server = TestServer::start();
    let error = dump_url(&server.url("nowhere"), "", 2).await.0.unwrap_err();
    assert!(matches!(&error, SourceError::Refused { .. }) && error.to_string().contains("nowhere"), "{error}");
    let url = server.url("postgres");
    drop(server);
    let error = dump_url(&url, "", 2).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn all_databases_are_dumped_each_at_its_own_instant() {
    let server = TestServer::start();
    for database in ["alpha", "be ta", "tmp_x"] {
        server.sql("postgres", &format!("CREATE DATABASE \"{database}\"")).await;
    }
    server.sql("be ta", "CREATE TABLE t AS SELECT 1 AS n").await;
    let (record, parts) = dump(&server, "postgres", "databases = 'all'\nexclude_databases = ['tmp_*']").await;
    let instants: Vec<&str> = record.instants.iter().map(|instant| instant.of.as_str()).collect();
    assert_eq!(instants, ["database alpha", "database be ta", "database postgres"]);
    assert_eq!(text(&parts, "be ta/table/public.t"), "1\n");
}

#[tokio::test]
async fn sixteen_hundred_columns_and_a_thousand_tables_are_ordinary() {
    let server = TestServer::start_with(&[("max_locks_per_transaction", "256")]);
    let columns: Vec<String> = (1..=1600).map(|n| format!("c{n} bool")).collect();
    server
        .sql("postgres", &format!("CREATE TABLE wide ({}); INSERT INTO wide (c1600) VALUES (true)", columns.join(", ")))
        .await;
    server.sql("postgres", "DO $$ BEGIN FOR n IN 1..1000 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT %s AS n', n, n); END LOOP; END $$").await;
    let (record, parts) = dump(&server, "postgres", "").await;
    assert_eq!(record.groups.len(), 1003);
    assert!(text(&parts, "postgres/table/public.wide").ends_with("\\N\tt\n"));
    assert_eq!(text(&parts, "postgres/table/public.t777"), "777\n");
}

#[tokio::test]
async fn a_standby_is_dumped_without_its_unlogged_tables() {
    let server = TestServer::start();
    server.sql("postgres", "CREATE TABLE t AS SELECT generate_series(1, 50) AS n; CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS n; SELECT lo_from_bytea(77, 'x')").await;
    let standby = server.standby(&[]);
    let (record, parts) = dump(&standby, "postgres", "").await;
    assert_eq!(group(&record, &parts, "postgres/table/public.t").records, 50);
    assert_eq!(record.gaps.len(), 1);
    assert_eq!(record.gaps[0].what, "rows of table public.fleeting");
    assert!(PostgresRecord::of(&record).unwrap().standby);
}

#[tokio::test]
async fn a_preflight_says_what_there_is_and_what_will_be_missing() {
    let server = TestServer::start_with(&[("max_locks_per_transaction", "10"), ("max_connections", "10")]);
    server
        .sql(
            "postgres",
            "DO $$ BEGIN FOR n IN 1..60 LOOP EXECUTE format('CREATE TABLE t%s (n serial)', n); END LOOP; END $$",
        )
        .await;
    let section = Section::from_text(&format!(
        "type = 'postgres'\nurl = '{}'\nexclude_tables = ['public.t1']",
        server.url("postgres")
    ));
    let source = registry::kind("postgres").unwrap().configure(&section.unwrap()).unwrap();
    assert!(source.describe().starts_with("postgres /tmp/") && source.describe().ends_with("/postgres"));
    let preflight = source.preflight(&context(2)).await.unwrap();
    assert!(preflight.facts[0].starts_with("server ") && preflight.facts[0].ends_with(", primary"));
    assert!(preflight.facts[1].starts_with("client pg_dump "));
    assert_eq!(preflight.facts[2], "database postgres: 59 tables, 0 B, 60 sequences");
    assert_eq!(preflight.gaps.len(), 1);
    assert!(preflight.warnings[0].contains("raise `max_locks_per_transaction`"), "{:?}", preflight.warnings);
}

#[tokio::test]
async fn introspection_finds_the_largest_tables_and_their_newest_rows() {
    let server = TestServer::start();
    server
        .sql(
            "postgres",
            "CREATE TABLE \"My Posts\" AS SELECT n, timestamptz '2026-01-02 03:04:05+00' - n * interval '1 day' AS \"created At\"
            FROM generate_series(0, 9999) n; ANALYZE; CREATE TABLE small (n int)",
        )
        .await;
    let found = introspect(&server.url("postgres"), None).await.unwrap();
    assert_eq!((found.database.as_str(), found.table_count), ("postgres", 2));
    let posts = &found.tables[0];
    assert_eq!((posts.name.as_str(), posts.estimated_rows), ("My Posts", Some(10_000)));
    assert_eq!(posts.timestamps[0].name, "created At");
    assert_eq!(posts.timestamps[0].newest.as_deref(), Some("2026-01-02 03:04:05+00"));
    assert!(found.size_bytes > posts.size_bytes && posts.size_bytes > 0);
}

#[tokio::test]
async fn a_cancelled_dump_ends_soon_and_commits_nothing() {
    let server = TestServer::start();
    server.sql("postgres", SLOW).await;
    let section = Section::from_text(&format!("type = 'postgres'\nurl = '{}'", server.url("postgres"))).unwrap();
    let source = registry::kind("postgres").unwrap().configure(&section).unwrap();
    let sink = CollectingSink::default();
    let shared: Arc<dyn PartSink> = Arc::new(sink.clone());
    let context = context(1);
    let cancel = async {
        wait_until(
            &server,
            "SELECT least(count(*), 1) FROM pg_stat_activity WHERE query LIKE 'COPY%slow%' AND state = 'active'",
            "1",
        )
        .await;
        context.cancel.cancel();
    };
    let (result, ()) = tokio::join!(source.dump(&context, shared), cancel);
    assert!(matches!(result, Err(SourceError::Cancelled)), "{result:?}");
    assert!(sink.committed().is_none());
    wait_until(
        &server,
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lifeboat' AND pid <> pg_backend_pid()",
        "0",
    )
    .await;
}
