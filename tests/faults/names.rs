//! Names as they come: jobs, databases and tables with spaces, quotes, unicode, newlines.

use super::{SMALL, server_with};
use crate::support::installation::{Installation, contents};
use crate::support::postgres::TestServer;

#[test]
fn a_job_of_any_name_is_backed_up_restored_and_tested() {
    let server = server_with(SMALL);
    let boat = Installation::by_init(&["one"]);
    for name in ["with spaces", "it's \"quoted\" $HOME `x` \\ %41", "名前 ünï ✓", "-n"] {
        boat.whole_job(name, &server.url("app"), "", "");
        boat.run(&["backup", "now", "--", name]).expect(0);
        boat.run(&["restore-test", "--", name]).expect(0);
        let out = boat.fresh();
        boat.run(&["restore", "--to", out.to_str().unwrap(), "--", &format!("{name}@latest")]).expect(0);
        assert!(out.join("README.md").exists());
    }
    let listed = boat.run(&["snapshots", "--json"]).expect(0);
    assert_eq!(listed.json().pop().unwrap()["snapshots"].as_array().unwrap().len(), 4);
    boat.run(&["jobs"]).expect(0);
    boat.run(&["report", "--format", "md"]).expect(0);
    boat.assert_sound(&["one"]);
}

#[test]
fn databases_and_tables_of_any_name_come_back_under_that_name() {
    let server = TestServer::start();
    let names = ["with space", "it's \"quoted\"", "名前 ünï", "new\nline", "per%cent/slash\\", "a=b 'c' dbname=x"];
    for name in names {
        server.create_database(name);
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        for table in names {
            let table = quoted(&format!("t {table}"));
            server
                .psql(name, &format!("create table {table} ({} text); insert into {table} values ('x')", quoted(name)));
        }
    }
    let boat = Installation::by_init(&["one"]);
    boat.whole_job("all", &server.url("postgres"), "databases = \"all\"", "");
    boat.run(&["backup", "now"]).expect(0);
    let tested = boat.run(&["restore-test", "--json"]).expect(0);
    assert_eq!(tested.json().pop().unwrap()["verdict"], "proven");
    // And into a server of one's own.
    let other = TestServer::start();
    boat.run(&["restore", "all", "--to", &other.url("postgres")]).expect(0);
    for name in names {
        assert_eq!(other.psql(name, "select count(*) from pg_class where relname like 't %'"), "6");
    }
    let out = boat.fresh();
    boat.run(&["restore", "all", "--to", out.to_str().unwrap()]).expect(0);
    let tables = contents(&out).into_iter().filter(|(path, bytes)| path.contains("/table/") && bytes == b"x\n").count();
    assert_eq!(tables, 36);
    boat.assert_sound(&["one"]);
}

/// What stands on a database itself: owner, limit, settings (also a role's in it), grants, comment.
const ON_DATABASE: &str = "select pg_get_userbyid(datdba), datconnlimit,
      (select string_agg(acl::text, ' ' order by acl::text) from unnest(datacl) acl),
      shobj_description(d.oid, 'pg_database'),
      (select string_agg(coalesce(r.rolname, '-') || ':' || s.setconfig::text, ' ' order by r.rolname)
       from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole where s.setdatabase = d.oid)
    from pg_database d where datname = current_database()";

#[test]
fn a_database_with_a_line_end_in_its_name_keeps_what_stands_on_it() {
    let server = TestServer::start();
    server.psql("postgres", "create role keeper; create role reader");
    let names = ["new\nline", "two\r\n\"lines\""];
    for name in names {
        server.create_database(name);
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        server.psql(
            name,
            &format!(
                "alter database {quoted} owner to keeper; alter database {quoted} set work_mem = '7MB';
                 alter database {quoted} connection limit 7; alter role reader in database {quoted} set lock_timeout = 3;
                 grant create, temporary on database {quoted} to reader with grant option;
                 revoke connect on database {quoted} from public; comment on database {quoted} is 'it''s\nlong';
                 create schema {quoted}; create table {quoted}.{quoted} as select 1 as {quoted}"
            ),
        );
    }
    let boat = Installation::by_init(&["one"]);
    boat.whole_job("all", &server.url("postgres"), "databases = \"all\"", "");
    boat.run(&["backup", "now"]).expect(0);
    boat.run(&["restore-test"]).expect(0);
    let other = TestServer::start();
    boat.run(&["restore", "all", "--to", &other.url("postgres")]).expect(0);
    for name in names {
        let expected = server.psql(name, ON_DATABASE);
        assert!(expected.contains("work_mem=7MB") && expected.contains("reader=C*T*/keeper"), "{expected}");
        assert_eq!(other.psql(name, ON_DATABASE), expected);
    }
    // One of them, under another name.
    boat.whole_job("one", &server.url(names[0]), "", "");
    boat.run(&["backup", "now", "one"]).expect(0);
    boat.run(&["restore", "one", "--to", &other.url("plain")]).expect(0);
    assert_eq!(other.psql("plain", ON_DATABASE), server.psql(names[0], ON_DATABASE));
    boat.assert_sound(&["one"]);
}

#[test]
fn a_database_of_another_encoding_with_any_name_keeps_what_stands_on_it() {
    let server = TestServer::start();
    server.psql("postgres", "create role keeper");
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<(String, &str)> = ["LATIN1", "SQL_ASCII", "EUC_JP"]
        .into_iter()
        .flat_map(|encoding| ["naïve 名", "naï\nve 名"].map(|name| (format!("{encoding} {name}"), encoding)))
        .collect();
    for (name, encoding) in &names {
        let quoted = quoted(name);
        server
            .psql("postgres", &format!("create database {quoted} encoding '{encoding}' locale 'C' template template0"));
        server.psql(
            "postgres",
            &format!(
                "alter database {quoted} owner to keeper; alter database {quoted} set work_mem = '7MB';
                 comment on database {quoted} is 'called so'; alter role keeper in database {quoted} set lock_timeout = 3"
            ),
        );
    }
    let boat = Installation::by_init(&["one"]);
    boat.whole_job("all", &server.url("postgres"), "databases = \"all\"", "");
    boat.run(&["backup", "now"]).expect(0);
    boat.run(&["restore-test"]).expect(0);
    // A text that was written from within, in the database's own encoding, cannot be written from without: that is said.
    let latin = quoted("LATIN1 naïve 名");
    server.psql("LATIN1 naïve 名", &format!("comment on database {latin} is E'na\\xEFve'"));
    boat.run(&["backup", "now"]).expect(0);
    let tested = boat.run(&["restore-test"]).expect(4);
    assert!(tested.stdout.contains("LATIN1 naïve 名/database itself: comment differs"), "{}", tested.stdout);
    let other = TestServer::start();
    let restored = boat.run(&["restore", "all", "--to", &other.url("postgres")]).expect(0);
    assert_eq!(restored.all().matches("was left out: it is no UTF-8").count(), 1, "{}", restored.all());
    // Asked for in a database of UTF-8, where the names were given; without the one comment.
    let on = "select coalesce(shobj_description(d.oid, 'pg_database'), '') || ' ' || pg_get_userbyid(datdba) || ' ' ||
          (select string_agg(coalesce(r.rolname, '-') || ':' || s.setconfig::text, ' ' order by r.rolname)
           from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole where s.setdatabase = d.oid)
        from pg_database d where datname = ";
    for (name, _) in &names {
        let said = other.psql("postgres", &format!("{on} '{name}'"));
        let comment = if name == "LATIN1 naïve 名" { "" } else { "called so" };
        assert_eq!(said, format!("{comment} keeper keeper:{{lock_timeout=3}} -:{{work_mem=7MB}}"), "{name}");
    }
    boat.assert_sound(&["one"]);
}

#[test]
fn a_database_that_holds_something_and_the_source_itself_are_never_restored_over() {
    let server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one"]);
    boat.run(&["backup", "now"]).expect(0);
    let dump = |database: &str| {
        let mut command = server.client("pg_dump");
        command.arg(database);
        let text = String::from_utf8(crate::support::server::output(&mut command).stdout).unwrap();
        // Newer versions put a key of the moment around the dump.
        text.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
    };
    server.create_database("other");
    server.psql("other", "create table precious as select 1 as i");
    for database in ["app", "other"] {
        let before = dump(database);
        let words = if database == "app" { "live source" } else { "precious" };
        for dry in [&["--dry-run"][..], &[]] {
            let url = server.url(database);
            let mut arguments = vec!["restore", "app", "--to", &url];
            arguments.extend(dry);
            let ended = boat.run(&arguments);
            if dry.is_empty() {
                ended.refuses(2, &[words, &format!("--overwrite {database}")]);
            }
            assert!(dump(database) == before, "{database} was touched");
        }
    }
    assert_eq!(server.psql("postgres", "select count(*) from pg_database where datname like '%lifeboat%'"), "0");
    // A folder that holds something is as precious.
    let out = boat.fresh();
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("precious"), "x").unwrap();
    boat.run(&["restore", "app", "--to", out.to_str().unwrap()]).refuses(2, &["not empty"]);
    assert_eq!(contents(&out).len(), 1);
    boat.run(&["restore", "app", "--to", &server.url("fresh")]).expect(0);
    assert_eq!(server.psql("fresh", "select count(*) from entry"), "2000");
    boat.assert_sound(&["one"]);
}
