//! Loading a Postgres dump: into scratch, into a user's server, one table alone, and by hand with stock tools.

use std::sync::Arc;

use lifeboat::config::Section;
use lifeboat::domain::progress::Silent;
use lifeboat::domain::{Fingerprint, PartStore, SourceRecord};
use lifeboat::scratch::LeaseRequest;
use lifeboat::sources::postgres::load::{load, loading_guide, needs};
use lifeboat::sources::{Context, LoadReport, LoadRequest, SourceError};
use tokio_util::sync::CancellationToken;

use crate::support::parts::{dump, part, shared};
use crate::support::postgres::TestServer;
use crate::support::server::{output, plain};

pub(crate) const ODD: &str = "It's \"odd\" é";

/// Most kinds of objects, with names and values that break what quotes carelessly.
pub(crate) const SCHEMA: &str = r#"
create role app login password 'it''s; secret';
create role "the ""reader""; " nologin;
grant "the ""reader""; " to app;
alter role app set work_mem = '5MB';
create schema "My Schema" authorization app;
create type mood as enum ('sad', 'it''s ok');
create domain positive as integer check (value > 0);
create function is_fine(text) returns boolean language sql immutable as $$ select $1 <> ';' $$;
create table users (
    id bigint generated always as identity primary key,
    name text not null check (is_fine(name)),
    mood mood default 'sad',
    shout text generated always as (upper(name)) stored
);
insert into users (name, mood)
    select E'tab\t line\nslash\\ ' || n, case when n % 2 = 0 then 'it''s ok'::mood end from generate_series(1, 1000) n;
create table posts (id serial primary key, author bigint not null references users, body bytea, tags text[], doc jsonb);
insert into posts (author, body, tags, doc)
    select n, decode(md5(n::text), 'hex'), array['a', null, n::text], jsonb_build_object('n', n) from generate_series(1, 300) n;
create index posts_tags on posts using gin (tags);
comment on table posts is 'what''s; posted';
create table "My Schema"."odd ""table""
line" ("col; 1" positive, "Ünï" text);
insert into "My Schema"."odd ""table""
line" values (1, '\.'), (2, null), (3, '');
create table measures (at date, value numeric) partition by range (at);
create table measures_old partition of measures for values from ('2020-01-01') to ('2024-01-01');
create table measures_new partition of measures for values from ('2024-01-01') to ('2030-01-01');
insert into measures select '2023-01-01'::date + n, n / 7.0 from generate_series(1, 700) n;
create table parent (a int); create table child (b int) inherits (parent);
insert into parent values (1); insert into child values (2, 3);
create table no_columns (); insert into no_columns default values; insert into no_columns default values;
create table no_rows (a int);
create materialized view totals as select count(*) from posts;
create view recent as select * from posts limit 3;
create function forbid() returns trigger language plpgsql as $$ begin raise exception 'the trigger fired'; end $$;
create trigger never before insert on posts for each row execute function forbid();
alter table users enable row level security;
create policy own on users for select to app using (name = current_user);
grant select (id) on users to "the ""reader""; ";
alter table posts owner to app;
create rule ignore as on insert to no_rows do instead nothing;
select lo_put(lo_create(4711), 0, convert_to(repeat('large', 1000), 'UTF8'));
alter large object 4711 owner to app;
alter database "It's ""odd"" é" set default_transaction_read_only = on;
comment on database "It's ""odd"" é" is 'a; comment';
grant connect on database "It's ""odd"" é" to app;
"#;

/// Everything that a session can see of a database, as text.
pub(crate) fn content(server: &TestServer, database: &str) -> String {
    let tables = server.psql(
        database,
        "select string_agg(format('select %L, count(*), sum(hashtextextended(t::text, 0)) from only %s t', oid::regclass, oid::regclass),
            ' union all ' order by oid::regclass::text) from pg_class
         where relkind in ('r', 'm') and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'",
    );
    let more = "
        select string_agg(pg_get_indexdef(indexrelid) || indisvalid, E'\n' order by indexrelid::regclass::text) from pg_index
            where indrelid > 16383 and indrelid::regclass::text !~ '^pg_toast';
        select string_agg(conname || pg_get_constraintdef(oid) || convalidated, E'\n' order by conname, conrelid::regclass::text)
            from pg_constraint where oid > 16383;
        select string_agg(relname || relowner::regrole || coalesce(relacl::text, '') || relrowsecurity, E'\n' order by relname)
            from pg_class where oid > 16383 and relkind in ('r', 'v', 'm', 'S', 'p');
        select string_agg(sequencename || coalesce(last_value, -1), ' ' order by sequencename) from pg_sequences;
        select lomowner::regrole, md5(lo_get(oid)) from pg_largeobject_metadata;
        select string_agg(tgname || pg_get_triggerdef(oid), ' ' order by tgname) from pg_trigger where not tgisinternal;
        select string_agg(polname, ' ') from pg_policy;
        select string_agg(rolname || rolcanlogin || coalesce(rolpassword, '-'), ' ' order by rolname) from pg_authid
            where rolname !~ '^pg_';
        select setconfig from pg_db_role_setting where setdatabase = (select oid from pg_database where datname = current_database());
        select datcollate, datctype, encoding, datacl, shobj_description(oid, 'pg_database') from pg_database
            where datname = current_database();";
    server.psql(database, &tables) + "\n" + &server.psql(database, more)
}

/// Shows the first line that differs, not two pages.
fn assert_same_content(restored: (&TestServer, &str), source: &TestServer) {
    let (restored, source) = (content(restored.0, restored.1), content(source, ODD));
    for (one, other) in restored.lines().zip(source.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(restored.len(), source.len());
}

struct Dumped {
    source: TestServer,
    record: SourceRecord,
    store: Arc<dyn PartStore>,
}

fn dumped() -> Dumped {
    let source = TestServer::start();
    source.create_database(ODD);
    source.psql(ODD, SCHEMA);
    let (record, store) = dump(&source, &[ODD]);
    Dumped { source, record, store: shared(store) }
}

fn request(server: &TestServer, database: &str) -> LoadRequest {
    LoadRequest {
        place: server.place(database),
        only: vec![],
        overwrite: vec![],
        programs: vec![],
        scratch: false,
        source: None,
        sample: None,
        dry_run: false,
    }
}

async fn run(dumped: &Dumped, request: &LoadRequest) -> Result<LoadReport, SourceError> {
    run_with(&dumped.record, Arc::clone(&dumped.store), request).await
}

async fn run_with(
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    let work = tempfile::tempdir().unwrap();
    let context = Context {
        job: "social".into(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes: 2,
        work: work.path().to_owned(),
        keep: work.path().join("kept"),
    };
    let result = load(&context, record, store, request).await;
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0, "temporary files were left");
    result
}

fn databases(server: &TestServer) -> String {
    server.psql("postgres", "select string_agg(datname, ',' order by datname) from pg_database")
}

#[tokio::test]
async fn everything_comes_back_in_a_scratch_server() {
    let dumped = dumped();
    let scratch = TestServer::start_with(&[("wal_level", "minimal"), ("max_wal_senders", "0")]);
    let report = run(&dumped, &LoadRequest { scratch: true, ..request(&scratch, "postgres") }).await.unwrap();
    assert_same_content((&scratch, ODD), &dumped.source);
    assert_eq!(report.warnings, Vec::<String>::new());
    assert_eq!(report.rows, 1000 + 300 + 3 + 700 + 1 + 1 + 2);
    assert!(report.loaded[0].ends_with(ODD), "{:?}", report.loaded);
    assert_eq!(databases(&scratch), format!("{ODD},postgres,template0,template1"));
}

#[tokio::test]
async fn the_postgres_database_itself_and_another_come_back_together() {
    let source = TestServer::start();
    source.psql("postgres", "create table t as select 1 as a");
    source.create_database("two");
    source.psql("two", "create table u as select 2 as b");
    let (record, store) = dump(&source, &["postgres", "two"]);
    let scratch = TestServer::start();
    let wanted = LoadRequest { scratch: true, ..request(&scratch, "postgres") };
    run_with(&record, shared(store), &wanted).await.unwrap();
    assert_eq!(scratch.psql("postgres", "select a from t"), "1");
    assert_eq!(scratch.psql("two", "select b from u"), "2");
}

#[tokio::test]
async fn a_users_server_gets_the_database_under_the_name_that_the_url_gives() {
    let dumped = dumped();
    let server = TestServer::start();
    let report = run(&dumped, &request(&server, "restored")).await.unwrap();
    assert_eq!(databases(&server), "postgres,restored,template0,template1");
    assert_same_content((&server, "restored"), &dumped.source);
    assert_eq!(report.warnings, ["role `postgres` exists and stays as it is"]);
}

#[tokio::test]
async fn a_database_that_holds_something_is_refused_and_untouched_unless_named() {
    let dumped = dumped();
    let server = TestServer::start();
    server.create_database("mine");
    server.psql("mine", "create type precious as enum ('a')");
    let error = run(&dumped, &request(&server, "mine")).await.unwrap_err();
    assert!(matches!(error, SourceError::NotEmpty { .. }), "{error}");
    assert!(error.to_string().contains("type precious") && error.hint().contains("--overwrite mine"), "{error}");
    assert_eq!(server.psql("postgres", "select count(*) from pg_roles where rolname = 'app'"), "0");
    let overwrite = LoadRequest { overwrite: vec!["mine".into()], ..request(&server, "mine") };
    run(&dumped, &overwrite).await.unwrap();
    assert_eq!(server.psql("mine", "select count(*) from users"), "1000");
    assert_eq!(databases(&server), "mine,postgres,template0,template1");
}

#[tokio::test]
async fn the_source_itself_is_refused_even_when_it_is_empty() {
    let dumped = dumped();
    dumped.source.psql("postgres", "drop database \"It's \"\"odd\"\" é\" with (force)");
    dumped.source.create_database(ODD);
    let error = run(&dumped, &request(&dumped.source, ODD)).await.unwrap_err();
    assert!(error.to_string().contains("live source"), "{error}");
}

#[tokio::test]
async fn a_damaged_part_leaves_the_replaced_database_as_it_was() {
    let (source, server) = (TestServer::start(), TestServer::start());
    source.psql("postgres", "create table t as select n from generate_series(1, 400) n");
    let (record, mut store) = dump(&source, &["postgres"]);
    store.damaged = Some("postgres/table/public.t".into());
    server.create_database("mine");
    server.psql("mine", "create table precious as select 1");
    let overwrite = LoadRequest { overwrite: vec!["mine".into()], ..request(&server, "mine") };
    let error = run_with(&record, shared(store), &overwrite).await.unwrap_err();
    assert!(matches!(error, SourceError::Store(_)), "{error}");
    assert_eq!(server.psql("mine", "select count(*) from precious"), "1");
    assert_eq!(databases(&server), "mine,postgres,template0,template1");
}

#[tokio::test]
async fn rows_that_are_missing_from_a_part_are_noticed_and_the_new_database_is_not_made() {
    let (source, server) = (TestServer::start(), TestServer::start());
    source.psql("postgres", "create table t as select n from generate_series(1, 400) n");
    let (record, mut store) = dump(&source, &["postgres"]);
    let rows = store.parts.get_mut("postgres/table/public.t").unwrap();
    rows.truncate(rows.len() - "400\n".len());
    let error = run_with(&record, shared(store), &request(&server, "fresh")).await.unwrap_err();
    assert!(error.to_string().contains("399 rows were loaded and the snapshot has 400"), "{error}");
    assert!(error.hint().contains("fresh was not made"), "{}", error.hint());
    assert_eq!(databases(&server), "postgres,template0,template1");
}

#[tokio::test]
async fn a_role_without_privileges_restores_what_it_may_and_is_told_the_rest() {
    let (source, server) = (TestServer::start(), TestServer::start());
    source.psql("postgres", "create role owner; create table t as select 1 as a; alter table t owner to owner");
    let (record, store) = dump(&source, &["postgres"]);
    server.psql("postgres", "create role maker login createdb");
    let place = lifeboat::domain::Place { url: server.url_as("maker", "mine"), password: None };
    let report = run_with(&record, shared(store), &LoadRequest { place, ..request(&server, "mine") }).await.unwrap();
    assert_eq!(
        server.psql("mine", "select tableowner || (select a from t) from pg_tables where tablename = 't'"),
        "maker1"
    );
    let told = report.warnings.join("\n");
    assert!(told.contains("`CREATE ROLE owner ...` was not applied") && told.contains("no superuser"), "{told}");
}

#[tokio::test]
async fn an_index_that_cannot_be_built_fails_the_load_and_leaves_no_database() {
    let (source, server) = (TestServer::start(), TestServer::start());
    // The index cannot be built anew: what its function reads is not there under the pinned search path.
    source.psql(
        "postgres",
        "create table t as select 1 as a; create table helper as select 2 as b;
         create function f(int) returns int language plpgsql immutable as $$ begin return (select b from helper); end $$;
         create index broken on t (f(a))",
    );
    let (record, store) = dump(&source, &["postgres"]);
    let store = shared(store);
    for _ in 0..2 {
        let error = run_with(&record, Arc::clone(&store), &request(&server, "fresh")).await.unwrap_err();
        assert!(error.to_string().contains("helper") && error.hint().contains("fresh was not made"), "{error}");
    }
    assert_eq!(databases(&server), "postgres,template0,template1");
}

#[tokio::test]
async fn what_a_killed_restore_left_is_replaced_by_the_next() {
    let (source, server) = (TestServer::start(), TestServer::start());
    source.psql("postgres", "create table t as select 1 as a");
    let (record, store) = dump(&source, &["postgres"]);
    server.create_database("fresh.lifeboat-restore");
    server.psql("fresh.lifeboat-restore", "create table t as select 2 as half_loaded");
    run_with(&record, shared(store), &request(&server, "fresh")).await.unwrap();
    assert_eq!(server.psql("fresh", "select a from t"), "1");
    assert_eq!(databases(&server), "fresh,postgres,template0,template1");
}

#[tokio::test]
async fn one_table_comes_back_alone_beside_what_is_there() {
    let dumped = dumped();
    let server = TestServer::start();
    server.psql(
        "postgres",
        "create table users (id bigint primary key); insert into users select generate_series(1, 300)",
    );
    let only = |name: &str| LoadRequest { only: vec![name.into()], ..request(&server, "postgres") };
    let report = run(&dumped, &only("posts")).await.unwrap();
    assert_eq!(report.rows, 300);
    let sum = "select count(*), sum(hashtextextended(posts::text, 0)) from posts";
    assert_eq!(server.psql("postgres", sum), dumped.source.psql(ODD, sum));
    assert_eq!(server.psql("postgres", "select last_value from posts_id_seq"), "300");
    let indexes = "select string_agg(indexdef, ';' order by indexname) from pg_indexes where tablename = 'posts'";
    assert_eq!(server.psql("postgres", indexes), dumped.source.psql(ODD, indexes));
    assert_eq!(server.psql("postgres", "select count(*) from pg_constraint where contype = 'f'"), "1");
    // The owner, a grantee and the trigger's function are not here.
    let told = report.warnings.join("\n");
    assert!(told.contains("OWNER TO app") && told.contains("forbid()"), "{told}");

    let error = run(&dumped, &only("posts")).await.unwrap_err();
    assert!(matches!(error, SourceError::NotEmpty { .. }), "{error}");
    let error = run(&dumped, &only("postts")).await.unwrap_err();
    assert!(error.hint().contains("did you mean"), "{}", error.hint());
}

#[tokio::test]
async fn one_table_that_cannot_be_made_changes_nothing() {
    let dumped = dumped();
    let server = TestServer::start();
    // Its column's type is not here.
    let wanted = LoadRequest { only: vec!["\"odd \"\"table\"\"\nline\"".into()], ..request(&server, "postgres") };
    let error = run(&dumped, &wanted).await.unwrap_err();
    assert!(error.to_string().contains("positive"), "{error}");
    assert_eq!(server.psql("postgres", "select count(*) from pg_namespace where nspname = 'My Schema'"), "0");
    server.psql("postgres", "create domain positive as integer");
    run(&dumped, &wanted).await.unwrap();
    let name = "select count(*), sum(\"col; 1\"), min(\"Ünï\") from \"My Schema\".\"odd \"\"table\"\"\nline\"";
    assert_eq!(server.psql("postgres", name), dumped.source.psql(ODD, name));
}

#[tokio::test]
async fn a_table_without_its_foreign_keys_target_says_so() {
    let dumped = dumped();
    let server = TestServer::start();
    let wanted = LoadRequest { only: vec!["public.posts".into()], ..request(&server, "postgres") };
    let report = run(&dumped, &wanted).await.unwrap();
    assert!(report.warnings.iter().any(|told| told.contains("FOREIGN KEY")), "{:?}", report.warnings);
}

/// What a restore test does: dump, lease, load, dump again through the same code, compare.
async fn round_trip(server: &TestServer, databases: &str) -> (SourceRecord, Vec<String>) {
    use lifeboat::domain::PartSink;
    use lifeboat::sources::registry;

    use crate::support::collecting_sink::CollectingSink;
    use crate::support::parts::MemoryStore;

    let work = tempfile::tempdir().unwrap();
    let context = Context {
        job: "social".into(),
        progress: Arc::new(Silent),
        cancel: CancellationToken::new(),
        lanes: 2,
        work: work.path().to_owned(),
        keep: work.path().join("kept"),
    };
    let kind = registry::kind("postgres").unwrap();
    let (url, client) = (server.url("postgres"), server.bin());
    let text = format!("type = \"postgres\"\nurl = \"{url}\"\ndatabases = {databases}\nclient_directory = {client:?}");
    let source = kind.configure(&Section::from_text(&text).unwrap()).unwrap();
    let sink = CollectingSink::default();
    let record = source.dump(&context, Arc::new(sink.clone()) as Arc<dyn PartSink>).await.unwrap();
    let before = sink.committed().unwrap();
    let parts = before.iter().map(|(name, part)| (name.clone(), part.data.clone())).collect();
    let store = shared(MemoryStore { parts, damaged: None });

    let root = tempfile::Builder::new().prefix("lbs-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let lease_request = LeaseRequest { root: root.path().into(), never: vec![], cancel: CancellationToken::new() };
    let programs = Section::from_text(&format!("programs = ['{}']", server.bin().display())).unwrap();
    let engine = lifeboat::scratch::registry::kind("postgres").unwrap();
    let lease = engine.lease(Some(&programs), &kind.needs(&record), &lease_request).await.unwrap();
    let place = lease.place("postgres");
    let load = LoadRequest {
        place: place.clone(),
        only: vec![],
        overwrite: vec![],
        programs: vec![],
        scratch: true,
        source: None,
        sample: None,
        dry_run: false,
    };
    let report = kind.load(&context, &record, store, &load).await.unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());

    let sink = CollectingSink::default();
    let again = kind.again(&record, &place, &[]).unwrap();
    let second = again.dump(&context, Arc::new(sink.clone()) as Arc<dyn PartSink>).await.unwrap();
    let after = sink.committed().unwrap();
    lease.release().await.unwrap();
    let mut differences = vec![];
    for group in &record.groups {
        let sum = |parts: &std::collections::BTreeMap<String, crate::support::collecting_sink::Part>, names: &[_]| {
            names
                .iter()
                .map(|name: &lifeboat::domain::PartName| parts[name.as_str()].fingerprint)
                .fold(Fingerprint::EMPTY, Fingerprint::combine)
        };
        let other = second.groups.iter().find(|other| other.name == group.name).map(|other| sum(&after, &other.parts));
        if group.compared && other != Some(sum(&before, &group.parts)) {
            differences.push(group.name.clone());
        }
    }
    for name in &record.inventories {
        let lines = |parts: &std::collections::BTreeMap<String, crate::support::collecting_sink::Part>| {
            let text = String::from_utf8(parts[name.as_str()].data.clone()).unwrap();
            text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        differences.extend(lines(&before).symmetric_difference(&lines(&after)).cloned());
    }
    (record, differences)
}

#[tokio::test]
async fn a_real_dump_loaded_into_a_leased_scratch_server_dumps_again_to_the_same_content() {
    let server = TestServer::start();
    server.create_database(ODD);
    server.psql(ODD, SCHEMA);
    server.psql("postgres", "create table in_postgres as select 1 as a");
    let (record, differences) = round_trip(&server, "\"all\"").await;
    assert!(record.groups.len() >= 10, "{:?}", record.groups);
    assert_eq!(differences, Vec::<String>::new());
}

#[tokio::test]
async fn another_major_loads_with_its_own_programs() {
    // The environment names a second major where `make test` has fetched one.
    let (Some(source), Some(scratch)) = (TestServer::other_major(), TestServer::other_major()) else { return };
    source.create_database(ODD);
    source.psql(ODD, SCHEMA);
    let (record, store) = dump(&source, &[ODD]);
    let wanted = LoadRequest { scratch: true, ..request(&scratch, "postgres") };
    run_with(&record, shared(store), &wanted).await.unwrap();
    assert_same_content((&scratch, ODD), &source);
}

#[test]
fn what_scratch_must_offer_is_read_from_the_record() {
    let Dumped { record, source, .. } = dumped();
    let needs = needs(&record);
    assert_eq!((needs.engine.as_str(), needs.major), ("postgres", source.major()));
    assert_eq!(needs.extensions, [("plpgsql".to_owned(), "1.0".to_owned())]);
    assert_eq!(needs.locales, ["C.UTF-8"]);
    assert!(needs.bytes > 1 << 20 && needs.superuser == "postgres");
}

#[test]
fn the_written_guide_loads_everything_with_stock_tools() {
    let Dumped { record, store, source } = dumped();
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![];
    for (index, name) in store.names().into_iter().enumerate() {
        let file = format!("it's part {index}");
        let mut reader = store.open(&name).unwrap();
        let mut bytes = vec![];
        while let Some(piece) = reader.next_piece().unwrap() {
            bytes.extend_from_slice(&piece);
        }
        std::fs::write(folder.path().join(&file), bytes).unwrap();
        files.push((part(name.as_str()), file));
    }
    let guide = loading_guide(&record, &files);
    let mut script = String::new();
    for block in guide.split("```sh\n").skip(1) {
        script.push_str(block.split("\n```").next().unwrap());
        script.push('\n');
    }
    let server = TestServer::start();
    let path = format!("export PATH={}:$PATH PGHOST={}\n", server.bin().display(), server.socket().display());
    output(plain("sh".as_ref()).arg("-c").arg(path + &script).current_dir(folder.path()));
    assert_same_content((&server, ODD), &source);
}
