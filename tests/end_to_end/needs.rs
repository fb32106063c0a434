//! What a restore test needs and this machine may lack: then nothing is proven, nothing has failed, and the need is named.

use std::path::Path;

use crate::support::postgres::{TestServer, client_directory, major_directory, output, plain};
use crate::support::site::Installation;

#[test]
fn a_locale_that_the_machine_lacks_is_named() {
    // A locale of its own that only the source's processes can see.
    let locales = tempfile::Builder::new().prefix("lbl-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(locales.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let made = locales.path().join("xx_YY.UTF-8");
    let found = ["/usr/lib/locale/C.utf8", "/usr/lib64/locale/C.utf8", "/usr/lib/locale/C.UTF-8"];
    let Some(utf8) = found.iter().map(Path::new).find(|path| path.is_dir()) else { return };
    output(plain(Path::new("cp")).arg("-a").arg(utf8).arg(&made));
    for name in ["C.UTF-8", "C.utf8"] {
        output(plain(Path::new("cp")).arg("-a").arg(utf8).arg(locales.path().join(name)));
    }
    let server = TestServer::start_with_env(&[("LOCPATH", locales.path().to_str().unwrap())]);
    server.psql("postgres", "create database far template template0 lc_collate 'xx_YY.UTF-8' lc_ctype 'xx_YY.UTF-8'");
    server.psql("far", "create table t as select 'a' as a");
    let lifeboat = Installation::new();
    lifeboat.job("far", &server.url("far"), "");
    lifeboat.ok(&["backup", "now"]);
    lifeboat.run(&["restore-test", "far", "--from", "one"]).expect(5).says(&[
        "UNPROVEN",
        "this machine lacks locale xx_YY.UTF-8",
        "1 restore tests proved nothing",
    ]);
    lifeboat.assert_no_scratch();
    lifeboat.ok(&["report", "--format", "md"]).says(&["This machine lacks locale"]);
}

#[test]
fn an_extension_that_the_machine_lacks_is_named() {
    let Some(bin) = major_directory(17).filter(|bin| bin.join("../share/postgresql/extension").is_dir()) else {
        return;
    };
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
    server.psql("far", "create extension far; create table t as select far()");
    let lifeboat = Installation::with("", &format!("programs = [{bin:?}]"));
    lifeboat.job("far", &server.url("far"), &format!("client_directory = {:?}", client_directory(&bin)));
    lifeboat.ok(&["backup", "now"]);
    lifeboat
        .run(&["restore-test", "far", "--from", "one"])
        .expect(5)
        .says(&["UNPROVEN", "this machine lacks extension far 2.5"]);
    lifeboat.assert_no_scratch();
}

#[test]
fn the_live_source_is_never_scratch_even_where_it_is_marked_as_such() {
    let server = TestServer::start();
    server.create_database("shop");
    server.psql("shop", "create table orders as select 1 as n");
    server.psql("postgres", "comment on database postgres is 'lifeboat scratch'");
    let lifeboat = Installation::with("", &format!("url = {:?}", server.url("postgres")));
    lifeboat.job("shop", &server.url("shop"), "");
    lifeboat.ok(&["backup", "now"]);
    lifeboat.run(&["restore-test", "--from", "one"]).expect(5).says(&["UNPROVEN", "it is the live source itself"]);
    assert_eq!(server.psql("shop", "select count(*) from orders"), "1");
}

#[test]
fn a_database_with_an_icu_locale_is_proven_where_the_server_has_icu() {
    let server = TestServer::start();
    if server.major() < 15
        || server.psql("postgres", "select count(*) from pg_collation where collprovider = 'i'") == "0"
    {
        return;
    }
    server.psql("postgres", "create database names template template0 locale_provider icu icu_locale 'de-AT'");
    server.psql(
        "names",
        "create collation phone (provider = icu, locale = 'de-u-co-phonebk', deterministic = false); \
         create table names (name text collate phone primary key); insert into names values ('Müller'), ('Mueller2')",
    );
    let lifeboat = Installation::new();
    lifeboat.job("names", &server.url("names"), "");
    lifeboat.ok(&["backup", "now"]);
    lifeboat.ok(&["restore-test", "names", "--from", "two"]).says(&["PROVEN"]);
}
