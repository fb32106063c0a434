//! A stranger restores with stock tools: the commands come out of the repository's own RESTORE.md, the programs out of a
//! folder that holds no Lifeboat.

use std::path::Path;
use std::process::Output;

use crate::support::installation::{Installation, files};
use crate::support::postgres::TestServer;
use crate::support::server::{output, plain};

const SCHEMA: &str = r#"
create role "odd; role" nologin;
create schema "My Schema" authorization "odd; role";
create table public.users (id bigint generated always as identity primary key, name text not null);
insert into users (name) select E'tab\t line\nslash\\ ' || n from generate_series(1, 5000) n;
create table public.posts (id serial primary key, author bigint references users, body bytea, tags text[]);
insert into posts (author, body, tags) select n, sha256(n::text::bytea), array['a', null, n::text] from generate_series(1, 3000) n;
create table "My Schema"."it's an ""odd"" name é" (a int, b text);
insert into "My Schema"."it's an ""odd"" name é" values (1, '\.'), (2, null), (3, '');
create table empty ();
select setval('posts_id_seq', 12345);
select lo_from_bytea(4711, decode(repeat('c0ffee', 3000), 'hex'));
create index posts_tags on posts using gin (tags);
create view recent as select * from posts limit 3;
"#;

/// What both sides must agree on, as text.
const CONTENT: &str = r#"
select md5(string_agg(u::text, '' order by id)) from users u;
select md5(string_agg(p::text, '' order by id)) from posts p;
select string_agg(o::text, '' order by a) from "My Schema"."it's an ""odd"" name é" o;
select nextval('posts_id_seq'), md5(lo_get(4711));
select string_agg(conname, ',' order by conname) from pg_constraint where connamespace = 'public'::regnamespace;
select string_agg(indexname, ',' order by indexname) from pg_indexes where schemaname = 'public';
select nspowner::regrole from pg_namespace where nspname = 'My Schema';
select count(*) from empty;
"#;

/// Programs that a stranger has; what else is on this machine is out of reach.
const STOCK: [&str; 24] = [
    "sh",
    "age",
    "zstd",
    "minisign",
    "awk",
    "sha256sum",
    "dd",
    "sed",
    "grep",
    "sort",
    "head",
    "tail",
    "wc",
    "cat",
    "mkdir",
    "mv",
    "rm",
    "touch",
    "dirname",
    "printf",
    "pwd",
    "tr",
    "psql",
    "pg_restore",
];

/// A folder of links to stock programs, to be the whole `PATH`.
pub(crate) fn stock_path(server_bin: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in STOCK {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program));
        let found = [server_bin.join(program)].into_iter().chain(found).find(|path| path.exists());
        let found = found.unwrap_or_else(|| panic!("the tests need `{program}`: `make deps` installs it"));
        // psql and pg_restore find their libraries by their own place.
        std::os::unix::fs::symlink(found.canonicalize().unwrap(), folder.path().join(program)).unwrap();
    }
    folder
}

/// The blocks of a page that are fenced as `language`, in order.
pub(crate) fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// Follows RESTORE.md in `repository` as far as `steps` says, the placeholders filled in. Like somebody who pastes, it does not
/// stop when a block fails.
pub(crate) fn follow(repository: &Path, identity: &Path, steps: usize, server: &TestServer) -> Output {
    let page = std::fs::read_to_string(repository.join("RESTORE.md")).unwrap();
    let blocks = blocks(&page, "sh");
    assert_eq!(blocks.len(), 8, "RESTORE.md has other steps than this test knows");
    let path = stock_path(server.bin());
    let stranger = || {
        let mut shell = plain(&path.path().join("sh"));
        shell.env("PATH", path.path()).env("PGHOST", server.socket()).current_dir(repository);
        shell
    };
    let listed = output(stranger().arg("-c").arg(blocks[1]));
    let newest = String::from_utf8(listed.stdout).unwrap().lines().last().unwrap().to_owned();
    let root = newest.split('\t').nth(2).unwrap();
    let mut script = String::new();
    for block in &blocks[..steps] {
        let block = block.replace("/path/to/identity.txt", identity.to_str().unwrap());
        script.push_str(&block.replace("snapshots/WRITER/NUMBER-ID.root", root));
        script.push('\n');
    }
    stranger().arg("-c").arg(script).output().unwrap()
}

const ALL: usize = 8;
/// Up to the one that puts the parts together.
const PARTS: usize = 6;

/// A source, an installation with two targets, and a backup of a database with an odd name, taken twice with a change between.
fn backed_up(server: &TestServer) -> Installation {
    let installation = Installation::new();
    installation.add_target("one");
    installation.add_target("two");
    server.create_database("it's shop");
    server.psql("it's shop", SCHEMA);
    installation.job_on("the shop's", &server.url("it's shop"), &["one", "two"], "");
    installation.expect(0, &["backup", "now"]);
    server.psql(
        "it's shop",
        "update users set name = 'changed' where id % 1000 = 7; insert into users (name) values ('late')",
    );
    installation.expect(0, &["backup", "now"]);
    installation
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_stranger_restores_a_whole_database_from_either_target_with_stock_tools() {
    let source = TestServer::start();
    let installation = backed_up(&source);
    let expected = source.psql("it's shop", CONTENT);
    for target in ["one", "two"] {
        // The stranger's copy, away from everything that Lifeboat keeps here.
        let copy = tempfile::tempdir().unwrap();
        output(plain(Path::new("cp")).arg("-a").arg(installation.path(target)).arg(copy.path().join("repository")));
        let fresh = TestServer::start();
        let done = follow(&copy.path().join("repository"), &installation.path("identity.txt"), ALL, &fresh);
        let said = said(&done);
        assert!(
            said.contains("complete and undamaged") && said.contains("Signature and comment signature verified"),
            "{said}"
        );
        assert!(done.stdout.ends_with(b"\nloaded\n"), "{said}");
        let errors: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.iter().all(|line| line.contains("role \"postgres\" already exists")), "{errors:?}");
        assert_eq!(fresh.psql("it's shop", CONTENT), expected);
        source.psql("it's shop", "select setval('posts_id_seq', 12345)");
    }
}

#[test]
fn a_stranger_restores_one_table_with_stock_tools() {
    let source = TestServer::start();
    let installation = backed_up(&source);
    let (repository, fresh) = (installation.path("two"), TestServer::start());
    let done = follow(&repository, &installation.path("identity.txt"), ALL - 1, &fresh);
    assert!(repository.join("restored/load.sh").exists(), "{}", said(&done));
    let guide = std::fs::read_to_string(repository.join("restored/GUIDE.md")).unwrap();
    let lines = guide.lines().filter(|line| line.contains("/table/public.posts"));
    let mut script = blocks(&guide, "sh")[0].to_owned() + "\n" + blocks(&guide, "shell")[0] + "\n";
    lines.for_each(|line| script.push_str(&format!("{line}\n")));
    let path = stock_path(fresh.bin());
    let mut shell = plain(&path.path().join("sh"));
    shell.env("PATH", path.path()).env("PGHOST", fresh.socket()).current_dir(repository.join("restored/parts"));
    output(shell.arg("-c").arg(script));
    let table = "select count(*), md5(string_agg(p::text, '' order by id)) from posts p";
    assert_eq!(fresh.psql("one_table", table), source.psql("it's shop", table));
    assert_eq!(fresh.psql("one_table", "select count(*) from users"), "0");
}

#[test]
fn parts_are_chosen_by_name_and_an_unknown_name_is_refused() {
    let source = TestServer::start();
    let installation = backed_up(&source);
    let repository = installation.path("one");
    // Up to the recipe; then the script with names.
    follow(&repository, &installation.path("identity.txt"), PARTS - 1, &source);
    let page = std::fs::read_to_string(repository.join("RESTORE.md")).unwrap();
    let path = stock_path(source.bin());
    let run = |command: &str| {
        let mut shell = plain(&path.path().join("sh"));
        shell.env("PATH", path.path()).current_dir(&repository).arg("-c").arg(command).output().unwrap()
    };
    let take_out = blocks(&page, "sh")[PARTS - 1].lines().next().unwrap().trim_end_matches("&&");
    assert!(run(take_out).status.success());
    let refused = run("cd restored && sh parts.sh globals nothing/like/this");
    assert!(!refused.status.success() && said(&refused).contains("no part nothing/like/this"), "{}", said(&refused));
    assert!(!repository.join("restored/parts").exists());
    let chosen = run("cd restored && sh parts.sh globals");
    assert!(chosen.status.success(), "{}", said(&chosen));
    assert_eq!(files(&repository.join("restored/parts")), ["globals"]);
}

/// Damages every pack of a target's copy, follows RESTORE.md through the errors, and returns what was said.
fn follow_through_damage(damage: impl Fn(&Path)) -> (String, Vec<String>) {
    let source = TestServer::start();
    let installation = backed_up(&source);
    let repository = installation.path("one");
    for pack in files(&repository.join("packs")) {
        damage(&repository.join("packs").join(pack));
    }
    let fresh = TestServer::start();
    let done = follow(&repository, &installation.path("identity.txt"), ALL, &fresh);
    assert_eq!(fresh.psql("postgres", "select count(*) from pg_database where datname like '%shop'"), "0");
    let said = said(&done);
    assert!(!said.contains("complete and undamaged") && !said.contains("loaded"), "{said}");
    (said, files(&repository.join("restored/parts")))
}

#[test]
fn truncated_packs_stop_the_commands_and_leave_nothing_that_looks_finished() {
    let (said, parts) = follow_through_damage(|pack| {
        let bytes = std::fs::read(pack).unwrap();
        std::fs::write(pack, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(said.contains("is damaged"), "{said}");
    assert_eq!(parts, Vec::<String>::new());
}

#[test]
fn missing_packs_stop_the_commands_and_leave_nothing_that_looks_finished() {
    let (said, parts) = follow_through_damage(|pack| std::fs::remove_file(pack).unwrap());
    assert!(said.contains("is missing"), "{said}");
    assert_eq!(parts, Vec::<String>::new());
}

#[test]
fn a_changed_root_does_not_verify_with_minisign() {
    let source = TestServer::start();
    let installation = backed_up(&source);
    let repository = installation.path("one");
    for root in files(&repository.join("snapshots")).iter().filter(|name| name.ends_with(".root")) {
        let file = repository.join("snapshots").join(root);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("# raw-bytes: ", "# raw-bytes: 1")).unwrap();
    }
    let done = follow(&repository, &installation.path("identity.txt"), 4, &source);
    let said = said(&done);
    assert!(said.contains("Signature verification failed") && !said.contains("signature verified"), "{said}");
}
