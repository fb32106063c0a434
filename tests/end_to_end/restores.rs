//! The ways of restoring: one table, by time, by id, as plain files, or only said.

use std::io::Write;
use std::process::Stdio;

use crate::postgres_load::{ODD, SCHEMA, content};
use crate::support::installation::Installation;
use crate::support::postgres::TestServer;
use crate::support::server::plain;

fn shop() -> (TestServer, Installation) {
    let server = TestServer::start();
    server.create_database("shop");
    server.psql(
        "shop",
        "create table orders (id serial primary key, what text); insert into orders (what) values ('first'); \
         create table other as select 1 as n",
    );
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("shop", &server.url("shop"), "");
    (server, lifeboat)
}

#[test]
fn one_table_goes_into_a_database_that_holds_other_things_and_never_over_itself() {
    let (server, lifeboat) = shop();
    lifeboat.ok(&["backup", "now"]);
    server.psql("shop", "drop table orders");
    for name in ["public.orders", "shop/table/public.orders"] {
        lifeboat.ok(&["restore", "shop", "--only", name, "--to", &server.url("shop")]).says(&[", 1 row, "]);
        assert_eq!(server.psql("shop", "insert into orders (what) values ('second') returning id"), "2");
        lifeboat
            .run(&["restore", "shop", "--only", name, "--to", &server.url("shop")])
            .expect(2)
            .says(&["it exists", "rename or drop it first"]);
        server.psql("shop", "drop table orders");
    }
    lifeboat
        .run(&["restore", "shop", "--only", "public.order", "--to", &server.url("shop")])
        .expect(10)
        .says(&["did you mean `shop/table/public.orders`?"]);
}

#[test]
fn a_snapshot_is_chosen_by_its_time_or_its_id() {
    let (server, lifeboat) = shop();
    let other = TestServer::start();
    let first = lifeboat.json(&["backup", "now"])[0].clone();
    let between = std::time::Duration::from_millis(1100);
    std::thread::sleep(between);
    server.psql("shop", "insert into orders (what) values ('second')");
    let second = lifeboat.json(&["backup", "now"])[0].clone();
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap().to_owned();
    let (id, at) = (text(&first, "snapshot"), text(&first, "started"));
    let count = "select count(*) from orders";
    lifeboat.ok(&["restore", &format!("shop@{id}"), "--to", &other.url("by_id")]).says(&[&id]);
    assert_eq!(other.psql("by_id", count), "1");
    lifeboat.ok(&["restore", &format!("shop@{at}"), "--to", &other.url("by_time")]).says(&[&id]);
    assert_eq!(other.psql("by_time", count), "1");
    lifeboat.ok(&["restore", "shop@latest", "--to", &other.url("latest")]).says(&[&text(&second, "snapshot")]);
    assert_eq!(other.psql("latest", count), "2");
    let to = other.url("none");
    lifeboat.run(&["restore", "shop@2020-01-01", "--to", &to]).expect(10).says(&["has no snapshot from", &at]);
    lifeboat.run(&["restore", "shop@ffffffffffffffff", "--to", &to]).expect(10).says(&["has no snapshot"]);
    lifeboat.run(&["restore", "shopp", "--to", &to]).expect(10);
}

#[test]
fn a_dry_run_says_what_would_be_restored_and_changes_nothing() {
    let (server, lifeboat) = shop();
    lifeboat.ok(&["backup", "now"]);
    lifeboat.ok(&["restore", "shop", "--to", &server.url("fresh"), "--dry-run"]).says(&[
        "would restore",
        "2 rows",
        "dry run: nothing was written",
    ]);
    assert_eq!(server.psql("postgres", "select count(*) from pg_database where datname = 'fresh'"), "0");
    let folder = lifeboat.path("files");
    lifeboat.ok(&["restore", "shop", "--to", folder.to_str().unwrap(), "--dry-run"]).says(&["would restore"]);
    assert!(!folder.exists());
    // What a restore would refuse, a dry run refuses.
    let full = lifeboat.path("jobs");
    lifeboat.run(&["restore", "shop", "--to", full.to_str().unwrap(), "--dry-run"]).expect(2).says(&["is not empty"]);
    lifeboat.run(&["restore", "shop", "--to", &server.url("shop"), "--dry-run"]).expect(2).says(&["live source"]);
    let nowhere = "postgres://postgres@%2Fnowhere/fresh";
    lifeboat.run(&["restore", "shop", "--to", nowhere, "--dry-run"]).expect(1).says(&["/nowhere"]);
    let table = ["restore", "shop", "--only", "orders", "--dry-run", "--to"];
    lifeboat.run(&[&table[..], &[&server.url("shop")]].concat()).expect(2).says(&["orders", "it exists"]);
    server.psql("postgres", "create database empty");
    lifeboat.ok(&[&table[..], &[&server.url("empty")]].concat()).says(&["would restore"]);
    assert_eq!(server.psql("empty", "select to_regclass('orders') is null"), "t");
    // Over what is there only when it is named.
    lifeboat
        .run(&["restore", "shop", "--to", &server.url("shop")])
        .expect(2)
        .says(&["live source", "--overwrite shop"]);
    server.psql("shop", "insert into orders (what) values ('lost')");
    lifeboat.ok(&["restore", "shop", "--to", &server.url("shop"), "--overwrite", "shop"]);
    assert_eq!(server.psql("shop", "select count(*) from orders"), "1");
}

#[test]
fn files_load_with_stock_programs_by_the_commands_beside_them() {
    let server = TestServer::start();
    server.create_database(ODD);
    server.psql(ODD, SCHEMA);
    let lifeboat = Installation::of_two("", "");
    lifeboat.job("odd", &server.url(ODD), "");
    lifeboat.ok(&["backup", "now"]);
    let folder = lifeboat.path("files");
    lifeboat.ok(&["restore", "odd", "--to", folder.to_str().unwrap()]).says(&["README.md"]);
    lifeboat.run(&["restore", "odd", "--to", folder.to_str().unwrap()]).expect(2).says(&["is not empty"]);

    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let other = TestServer::start();
    let script: String = readme.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    // The guide takes the server from the environment, as every Postgres client does.
    let path = format!("{}:/usr/bin:/bin", other.bin().display());
    let mut shell = plain("sh".as_ref());
    shell
        .env("PATH", path)
        .env("PGHOST", other.socket())
        .env("PGUSER", "postgres")
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
    let (source, restored) = (content(&server, ODD), content(&other, ODD));
    assert_eq!(restored.lines().collect::<Vec<_>>(), source.lines().collect::<Vec<_>>());
}

#[test]
fn a_socket_is_named_in_a_url_in_every_way_that_libpq_knows() {
    let (server, lifeboat) = shop();
    let other = TestServer::start();
    let spellings = |server: &TestServer, database: &str| {
        let socket = server.socket().to_str().unwrap().to_owned();
        let encoded = socket.replace('/', "%2F");
        [
            format!("postgres://postgres@/{database}?host={socket}"),
            format!("postgres://postgres@:5432/{database}?host={encoded}"),
            format!("postgres://{encoded}/{database}"),
            format!("postgresql:///{database}?host={socket}&user=postgres"),
        ]
    };
    for (number, url) in spellings(&server, "shop").iter().enumerate() {
        lifeboat.job("shop", url, "");
        lifeboat.ok(&["backup", "now"]);
        let name = format!("from_{number}");
        lifeboat.ok(&["restore", "shop", "--to", &spellings(&other, &name)[number]]);
        assert_eq!(other.psql(&name, "select what from orders"), "first");
    }
    lifeboat.ok(&["restore-test", "--from", "one"]).says(&["PROVEN"]);
    // A server of one's own as scratch, and what `init` writes.
    let scratch = TestServer::start();
    let lifeboat = Installation::of_two("", &format!("url = {:?}", spellings(&scratch, "postgres")[0]));
    lifeboat.job("shop", &server.url("shop"), "");
    lifeboat.ok(&["backup", "now"]);
    lifeboat.ok(&["restore-test", "--from", "one"]).says(&["PROVEN"]);
    let folder = lifeboat.path("fresh");
    let url = &spellings(&server, "shop")[0];
    lifeboat.ok(&["init", folder.to_str().unwrap(), "--postgres", url]);
    assert!(std::fs::read_to_string(folder.join("jobs/shop.toml")).unwrap().contains(url));
}
