//! The unusual schema through the whole circle: the real binary backs it up, restores it and proves it.

use std::path::{Path, PathBuf};

use crate::support::installation::Installation;
use crate::support::postgres::{TestServer, bin_directory};
use crate::support::server::{output, plain};

const SCHEMA: &str = include_str!("support/unusual_schema.sql");

fn proven(outcome: &serde_json::Value) {
    assert_eq!(outcome["verdict"], "proven", "{outcome:#}");
}

/// How many objects of a kind were equal.
fn equal(outcome: &serde_json::Value, kind: &str) -> u64 {
    let kinds = outcome["evidence"]["objects_by_kind"].as_array().unwrap();
    kinds.iter().find(|pair| pair[0] == kind).map_or(0, |pair| pair[1].as_u64().unwrap())
}

#[test]
fn the_unusual_schema_is_backed_up_restored_and_proven() {
    let source = TestServer::start();
    source.create_database("social");
    source.psql("social", SCHEMA);
    let circle = Installation::of_one(&format!("url = \"{}\"", source.url("social")), "");
    circle.back_up();
    let outcome = circle.restore_test();
    proven(&outcome);

    let count = |sql: &str| source.psql("social", sql).parse::<u64>().unwrap();
    let tables = "pg_class c join pg_namespace n on n.oid = relnamespace where nspname !~ '^pg_' \
                  and nspname <> 'information_schema' and c.relpersistence <> 't'";
    let with_rows = count(&format!("select count(*) from {tables} and relkind = 'r'"));
    let rows = count(&format!(
        "select sum((xpath('/row/n/text()', query_to_xml(format('select count(*) as n from only %s', c.oid::regclass), \
         false, true, '')))[1]::text::bigint) from {tables} and relkind = 'r'"
    ));
    let evidence = &outcome["evidence"];
    assert_eq!(evidence["engine_counts"], with_rows);
    // Every table, the sequences and the large objects.
    assert_eq!(evidence["groups"], with_rows + 2);
    assert_eq!(evidence["rows"], rows);
    for (kind, sql) in [
        ("table", format!("select count(*) from {tables} and relkind in ('r', 'p')")),
        ("sequence", format!("select count(*) from {tables} and relkind = 'S'")),
        ("view", format!("select count(*) from {tables} and relkind = 'v'")),
        ("materialized view", format!("select count(*) from {tables} and relkind = 'm'")),
        ("foreign table", format!("select count(*) from {tables} and relkind = 'f'")),
        (
            "constraint",
            "select count(*) from pg_constraint where conrelid >= 16384 and contype <> 't' \
             and (contype <> 'f' or conparentid = 0)"
                .to_owned(),
        ),
        ("policy", "select count(*) from pg_policy".to_owned()),
        ("trigger", "select count(*) from pg_trigger where not tgisinternal".to_owned()),
        ("large object", "select count(*) from pg_largeobject_metadata".to_owned()),
        ("extension", "select count(*) from pg_extension".to_owned()),
        ("event trigger", "select count(*) from pg_event_trigger".to_owned()),
        ("publication", "select count(*) from pg_publication".to_owned()),
        ("subscription", "select count(*) from pg_subscription".to_owned()),
        ("role", "select count(*) from pg_roles where rolname !~ '^pg_' and oid <> 10".to_owned()),
    ] {
        assert_eq!(equal(&outcome, kind), count(&sql), "{kind}");
    }
    assert!(equal(&outcome, "column") > 1_700 && equal(&outcome, "index") > 20, "{outcome:#}");
    assert!(evidence["objects"].as_u64().unwrap() > 1_900);
}

#[test]
fn a_database_without_the_schema_public_and_without_plpgsql_is_restored_without_them() {
    let source = TestServer::start();
    source.create_database("bare");
    source
        .psql("bare", "drop schema public; drop extension plpgsql; create schema s; create table s.t as select 1 as a");
    let circle = Installation::of_one(&format!("url = \"{}\"", source.url("bare")), "");
    circle.back_up();
    let outcome = circle.restore_test();
    proven(&outcome);
    assert_eq!((equal(&outcome, "schema"), equal(&outcome, "extension")), (1, 0));

    let ran = circle.run(&["restore", "job", "--to", &source.url("elsewhere")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(source.psql("elsewhere", "select count(*) from pg_namespace where nspname = 'public'"), "0");
}

#[test]
fn kinds_that_the_role_may_not_list_are_a_gap_and_the_rest_is_proven() {
    let source = TestServer::start();
    source.create_database("social");
    source.psql(
        "social",
        "create role saver login; grant pg_read_all_data to saver; create table public.t as select 1 as a;
         revoke execute on function pg_catalog.pg_get_viewdef(oid) from public",
    );
    let circle = Installation::of_one(&format!("url = \"{}\"", source.url_as("saver", "social")), "");
    let backup = circle.back_up();
    let gaps: Vec<&str> = backup["gaps"].as_array().unwrap().iter().map(|gap| gap["what"].as_str().unwrap()).collect();
    let kind = |name: &str| format!("comparison of objects of kind `{name}`");
    assert_eq!(gaps, [kind("materialized view"), kind("view")]);
    let outcome = circle.restore_test();
    proven(&outcome);
    assert_eq!((equal(&outcome, "table"), equal(&outcome, "role")), (1, 1));
}

/// An installation that is the machine's but for one more extension: programs are copied, because a server looks for its
/// files beside the file that its own path resolves to; the rest is linked.
struct OwnPostgres {
    root: tempfile::TempDir,
    bin: PathBuf,
}

impl OwnPostgres {
    fn with_extension(name: &str, control: &str, script: &str) -> Self {
        let installed = bin_directory();
        let told = |what: &str| {
            let told = output(plain(&installed.join("pg_config")).arg(what)).stdout;
            PathBuf::from(String::from_utf8(told).unwrap().trim())
        };
        let (bin, share, library) = (told("--bindir"), told("--sharedir"), told("--pkglibdir"));
        let root = tempfile::Builder::new().prefix("lbt-pg-").tempdir_in("/tmp").unwrap();
        open_to_all(root.path());
        // Servers find `share` and `lib` by their paths relative to the programs.
        let base = common(&common(&bin, &share), &library);
        let moved = |path: &Path| root.path().join(path.strip_prefix(&base).unwrap());
        for folder in [moved(&bin), moved(&share).join("extension"), moved(&library).parent().unwrap().to_owned()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for entry in std::fs::read_dir(&bin).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, moved(&bin).join(path.file_name().unwrap())).unwrap();
        }
        link_all(&share, &moved(&share));
        link_all(&share.join("extension"), &moved(&share).join("extension"));
        std::os::unix::fs::symlink(&library, moved(&library)).unwrap();
        let extension = moved(&share).join("extension");
        std::fs::write(extension.join(format!("{name}.control")), control).unwrap();
        std::fs::write(extension.join(format!("{name}--1.0.sql")), script).unwrap();
        let bin = moved(&bin);
        Self { root, bin }
    }
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn common(one: &Path, other: &Path) -> PathBuf {
    one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// Links what is not there yet.
fn link_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let link = to.join(path.file_name().unwrap());
        if !link.exists() {
            std::os::unix::fs::symlink(&path, &link).unwrap();
        }
    }
}

const CONTROL: &str = "default_version = '1.0'\nrelocatable = false\nschema = settled\n";

/// All rows of one table are the user's, of another those that the extension did not bring, of a third none.
const SCRIPT: &str = "
create table settled.rules (id int primary key, text text, ours bool default true);
insert into settled.rules values (1, 'brought', false), (2, 'brought too', false);
create table settled.whole (id serial primary key, text text);
create table settled.internal (id int);
insert into settled.internal values (1), (2), (3);
select pg_extension_config_dump('settled.rules', 'where ours');
select pg_extension_config_dump('settled.whole', '');
select pg_extension_config_dump('settled.whole_id_seq', '');
";

#[test]
fn the_configuration_tables_of_an_extension_keep_what_the_user_put_there() {
    let installation = OwnPostgres::with_extension("settled", CONTROL, SCRIPT);
    let source = TestServer::start_in(&installation.bin, &[]);
    source.create_database("social");
    source.psql(
        "social",
        "create extension settled; insert into settled.rules values (10, 'added'), (11, 'added too');
         insert into settled.whole (text) values ('a'), ('b'); insert into settled.internal values (4);
         create table public.own (rule int references settled.rules); insert into own values (1), (10)",
    );
    let scratch = format!("[scratch.postgres]\nprograms = [\"{}\"]", installation.bin.display());
    let circle = Installation::of_one(&format!("url = \"{}\"", source.url("social")), &scratch);
    circle.back_up();
    let outcome = circle.restore_test();
    proven(&outcome);
    // The two rules that the user added, the two rows of `whole`, those of `own`.
    assert_eq!(outcome["evidence"]["rows"], 2 + 2 + 2);

    let ran = circle.run(&["restore", "job", "--to", &source.url("elsewhere")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        source.psql("elsewhere", "select string_agg(id::text, ' ' order by id) from settled.rules"),
        "1 2 10 11"
    );
    assert_eq!(source.psql("elsewhere", "select count(*), max(id) from settled.whole"), "2|2");
    assert_eq!(source.psql("elsewhere", "insert into settled.whole (text) values ('c') returning id"), "3");
    assert_eq!(source.psql("elsewhere", "select count(*) from settled.internal"), "3");

    // Without the extension on the test machine nothing is shown either way.
    let elsewhere = Installation::of_one(&format!("url = \"{}\"", source.url("social")), "");
    elsewhere.back_up();
    let outcome = elsewhere.restore_test();
    assert_eq!(
        (&outcome["verdict"], &outcome["reason"]["needs"][0]),
        (&"unproven".into(), &"extension settled 1.0".into())
    );
    drop(installation.root);
}
