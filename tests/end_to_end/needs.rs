//! What a restore test needs and this machine may lack: then nothing is proven, nothing has failed, and the need is named.

use std::path::{Path, PathBuf};

use crate::support::installation::Installation;
use crate::support::postgres::{TestServer, client_directory, major_or_say, not_tried};
use crate::support::server::{output, plain};

/// A server with a locale `xx_YY.UTF-8` that only its own processes can see; none where there is nothing to make it from.
fn server_with_a_far_locale() -> Option<(tempfile::TempDir, TestServer)> {
    let locales = tempfile::Builder::new().prefix("lbl-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(locales.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let made = locales.path().join("xx_YY.UTF-8");
    let found = ["/usr/lib/locale/C.utf8", "/usr/lib64/locale/C.utf8", "/usr/lib/locale/C.UTF-8"];
    let Some(utf8) = found.iter().map(Path::new).find(|path| path.is_dir()) else {
        not_tried("no locale to make another from");
        return None;
    };
    output(plain(Path::new("cp")).arg("-a").arg(utf8).arg(&made));
    for name in ["C.UTF-8", "C.utf8"] {
        output(plain(Path::new("cp")).arg("-a").arg(utf8).arg(locales.path().join(name)));
    }
    let server = TestServer::start_with_env(&[("LOCPATH", locales.path().to_str().unwrap())]);
    Some((locales, server))
}

/// Backs the database up and tests it: nothing is proven, nothing failed, and this is what the machine lacks.
fn lacks(lifeboat: &Installation, server: &TestServer, database: &str, source: &str, need: &str) {
    lifeboat.job(database, &server.url(database), source);
    lifeboat.ok(&["backup", "now", database]);
    let need = format!("this machine lacks {need}\n");
    let tested = lifeboat.run(&["restore-test", database, "--from", "one"]).expect(5);
    tested.says(&["UNPROVEN", &need, "1 restore tests proved nothing"]);
    lifeboat.assert_no_scratch();
}

#[test]
fn a_locale_that_the_machine_lacks_is_named() {
    let Some((_locales, server)) = server_with_a_far_locale() else { return };
    server.psql("postgres", "create database far template template0 lc_collate 'xx_YY.UTF-8' lc_ctype 'xx_YY.UTF-8'");
    server.psql("far", "create table t as select 'a' as a");
    let lifeboat = Installation::of_two("", "");
    lacks(&lifeboat, &server, "far", "", "locale xx_YY.UTF-8");
    lifeboat.ok(&["report", "--format", "md"]).says(&["This machine lacks locale"]);
}

#[test]
fn a_collation_whose_locale_the_machine_lacks_is_no_failed_restore() {
    let Some((_locales, server)) = server_with_a_far_locale() else { return };
    let lifeboat = Installation::of_two("", "");
    server.create_database("made");
    server.psql("made", "create collation \"It's mine\" (lc_collate = 'xx_YY.UTF-8', lc_ctype = 'C')");
    lacks(&lifeboat, &server, "made", "", "locale xx_YY.UTF-8");

    // One that a server finds when it looks for the machine's locales, used by an index alone.
    let found = "set allow_system_table_mods = on; create collation pg_catalog.\"xx_YY\" (locale = 'xx_YY.UTF-8')";
    server.create_database("found");
    server.psql("found", found);
    server.psql("found", "create table t (a text); create index on t (a collate \"xx_YY\")");
    lacks(&lifeboat, &server, "found", "", "locale xx_YY.UTF-8");

    // Of one that nothing uses nothing is needed.
    server.create_database("unused");
    server.psql("unused", &format!("{found}; create table t as select 1 as a"));
    lifeboat.job("unused", &server.url("unused"), "");
    lifeboat.ok(&["backup", "now", "unused"]);
    lifeboat.ok(&["restore-test", "unused", "--from", "one"]).says(&["PROVEN"]);
}

#[test]
fn an_icu_locale_that_the_machine_lacks_is_named() {
    // From 16 on a server can be told to refuse locales that ICU does not know.
    let Some(bin) = major_or_say(17) else { return };
    let server = TestServer::start_in(&bin, &[("icu_validation_level", "disabled")]);
    if !server.has_icu() {
        return not_tried("this build of Postgres 17 has no ICU");
    }
    let scratch = format!("programs = [{bin:?}]\nsettings = {{ icu_validation_level = \"error\" }}");
    let lifeboat = Installation::of_two("", &scratch);
    let client = format!("client_directory = {:?}", client_directory(&bin));
    server.psql("postgres", "create database sorted template template0 locale_provider icu icu_locale 'xx-nowhere'");
    server.psql("sorted", "create table t as select 'a' as a");
    lacks(&lifeboat, &server, "sorted", &client, "locale xx-nowhere of ICU");
    server.create_database("made");
    server.psql("made", "create collation mine (provider = icu, locale = 'yy-nowhere')");
    lacks(&lifeboat, &server, "made", &client, "locale yy-nowhere of ICU");
}

#[test]
fn a_database_that_is_sorted_by_rules_of_its_own_keeps_them() {
    let Some(bin) = major_or_say(17) else { return };
    let server = TestServer::start_in(&bin, &[]);
    if !server.has_icu() {
        return not_tried("this build of Postgres 17 has no ICU");
    }
    server.psql(
        "postgres",
        "create database ruled template template0 locale_provider icu icu_locale 'en' icu_rules '&V << w <<< W'",
    );
    server.psql("ruled", "create table t as select unnest(array['W', 'x', 'v']) as a");
    let lifeboat = Installation::of_two("", &format!("programs = [{bin:?}]"));
    lifeboat.job("ruled", &server.url("ruled"), &format!("client_directory = {:?}", client_directory(&bin)));
    lifeboat.ok(&["backup", "now"]);
    lifeboat.ok(&["restore-test", "--from", "one"]).says(&["PROVEN"]);
}

/// The programs of a major, and a server of it that has an extension `far` 2.5 more than they have, with a database `far` that
/// uses it.
fn server_with_a_far_extension() -> Option<(tempfile::TempDir, PathBuf, TestServer)> {
    let bin = major_or_say(17)?;
    if !bin.join("../share/postgresql/extension").is_dir() {
        not_tried("Postgres 17 is here, but not in a folder of its own");
        return None;
    }
    // The same server in another place, with one extension more.
    let copy = tempfile::Builder::new().prefix("lbx-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(copy.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let place = copy.path().join("pg");
    output(plain(Path::new("cp")).arg("-a").arg(bin.parent().unwrap()).arg(&place));
    let extensions = place.join("share/postgresql/extension");
    std::fs::write(extensions.join("far.control"), "default_version = '2.5'\n").unwrap();
    std::fs::write(extensions.join("far--2.5.sql"), "create function far() returns int language sql as 'select 1';\n")
        .unwrap();
    let server = TestServer::start_in(&place.join("bin"), &[]);
    server.create_database("far");
    server.psql("far", "create role keeper; create extension far; create table t as select far()");
    Some((copy, bin, server))
}

#[test]
fn an_extension_that_the_machine_lacks_is_named() {
    let Some((_copy, bin, server)) = server_with_a_far_extension() else { return };
    let lifeboat = Installation::of_two("", &format!("programs = [{bin:?}]"));
    lacks(&lifeboat, &server, "far", &format!("client_directory = {:?}", client_directory(&bin)), "extension far 2.5");
}

#[test]
fn a_server_that_lacks_an_extension_is_refused_before_anything_is_made_there() {
    let Some((_copy, bin, server)) = server_with_a_far_extension() else { return };
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("far", &server.url("far"), &format!("client_directory = {:?}", client_directory(&bin)));
    lifeboat.ok(&["backup", "now"]);
    let other = TestServer::start_in(&bin, &[]);
    let state = "select string_agg(datname, ',' order by datname) from pg_database; select count(*) from pg_roles";
    let before = other.psql("postgres", state);
    // A restore is no restore test: it failed, and 1 says so.
    let refused = lifeboat.run(&["restore", "far", "--to", &other.url("far")]).expect(1);
    refused.says(&["extension `far` 2.5", "nothing was changed", "`postgresql-17-far`"]);
    assert_eq!(other.psql("postgres", state), before);
}

#[test]
fn the_live_source_is_never_scratch_even_where_it_is_marked_as_such() {
    let server = TestServer::start();
    server.create_database("shop");
    server.psql("shop", "create table orders as select 1 as n");
    server.psql("postgres", "comment on database postgres is 'lifeboat scratch'");
    let lifeboat = Installation::of_two("", &format!("url = {:?}", server.url("postgres")));
    lifeboat.job("shop", &server.url("shop"), "");
    lifeboat.ok(&["backup", "now"]);
    lifeboat.run(&["restore-test", "--from", "one"]).expect(5).says(&["UNPROVEN", "it is the live source itself"]);
    assert_eq!(server.psql("shop", "select count(*) from orders"), "1");
}

#[test]
fn a_database_with_an_icu_locale_is_proven_where_the_server_has_icu() {
    let server = TestServer::start();
    if server.major() < 15 || !server.has_icu() {
        return not_tried("this Postgres makes no databases with ICU locales");
    }
    server.psql("postgres", "create database names template template0 locale_provider icu icu_locale 'de-AT'");
    server.psql(
        "names",
        "create collation phone (provider = icu, locale = 'de-u-co-phonebk', deterministic = false); \
         create table names (name text collate phone primary key); insert into names values ('Müller'), ('Mueller2')",
    );
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("names", &server.url("names"), "");
    lifeboat.ok(&["backup", "now"]);
    lifeboat.ok(&["restore-test", "names", "--from", "two"]).says(&["PROVEN"]);
}
