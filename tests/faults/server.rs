//! Faults of the source: it is down, refuses, is locked, changes under the dump, cuts the connection; or `pg_dump` fails.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lifeboat::system::user;

use super::{SMALL, bulk, recovers, server_with};
use crate::support::installation::{Installation, contents, finish};
use crate::support::postgres::{TestServer, bin_directory};
use crate::support::server::plain;

#[test]
fn a_server_that_is_down_is_named_with_what_to_look_at_and_the_next_run_succeeds() {
    let mut server = server_with(SMALL);
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    boat.run(&["backup", "now"]).expect(0);
    server.psql("app", "checkpoint");
    server.stop();
    let repository = contents(&boat.target("one"));
    boat.run(&["backup", "now"]).refuses(1, &["cause: no connection to", "is the server running"]);
    assert_eq!(contents(&boat.target("one")), repository, "a backup without a source wrote something");
    boat.assert_sound(&["one", "two"]);
    server.resume();
    recovers(&boat, &["one", "two"]);
}

#[test]
fn a_wrong_password_is_refused_and_never_repeated() {
    let server = server_with(SMALL);
    server.psql("app", "create role keeper login superuser password 'right-horse'");
    let rules = "local all postgres trust\nlocal all all scram-sha-256\n";
    std::fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
    server.reload();
    let boat = Installation::by_init(&["one"]);
    let secret = boat.path("password");
    std::fs::write(&secret, "wrong-horse\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = server.url_as("keeper", "app");
    boat.whole_job("app", &url, "", "");
    boat.run(&["backup", "now"]).refuses(1, &["password"]);
    boat.whole_job("app", &url, "password = { file = \"password\" }", "");
    let ended = boat.run(&["backup", "now"]).refuses(1, &["password authentication failed", "pg_hba.conf"]);
    assert!(!ended.all().contains("wrong-horse"));
    boat.assert_sound(&["one"]);
    std::fs::write(&secret, "right-horse\n").unwrap();
    recovers(&boat, &["one"]);
}

#[test]
fn a_client_older_than_the_server_is_refused_with_the_package_to_install() {
    let server = server_with(SMALL);
    let boat = Installation::by_init(&["one"]);
    let old = boat.root().join("old-bin");
    script(&old.join("pg_dump"), "echo 'pg_dump (PostgreSQL) 12.22 (Debian 12.22-1)'");
    script(&old.join("pg_dumpall"), "echo 'pg_dumpall (PostgreSQL) 12.22 (Debian 12.22-1)'");
    boat.whole_job("app", &server.url("app"), &format!("client_directory = {old:?}"), "");
    let needed = format!("postgresql-client-{}", server.major());
    boat.run(&["backup", "now"]).refuses(1, &["12.22", &needed, "client_directory"]);
    assert_eq!(boat.roots("one"), Vec::<PathBuf>::new());
    boat.whole_job("app", &server.url("app"), "", "");
    recovers(&boat, &["one"]);
}

#[test]
fn a_pgbouncer_in_transaction_mode_is_recognised_and_refused() {
    let server = server_with(SMALL);
    let boat = Installation::by_init(&["one"]);
    let pooler = Pooler::start(&server, "transaction");
    boat.whole_job("app", &pooler.url("app"), "", "");
    boat.run(&["backup", "now"]).refuses(1, &["transaction mode", "own port"]);
    boat.assert_sound(&["one"]);
    drop(pooler);
    boat.whole_job("app", &server.url("app"), "", "");
    recovers(&boat, &["one"]);
}

#[test]
fn a_table_that_is_locked_exclusively_ends_the_run_after_its_lock_timeout() {
    let server = server_with(SMALL);
    let boat = Installation::by_init(&["one"]);
    boat.whole_job("app", &server.url("app"), "lock_timeout = \"1s\"", "");
    let mut holder = Session::start(&server, "begin; lock table entry in access exclusive mode; select 'locked'");
    holder.wait_for(&server, "locktype = 'relation' and mode = 'AccessExclusiveLock' and granted");
    boat.run(&["backup", "now"]).refuses(1, &["lock timeout", "exclusive lock", "lock_timeout"]);
    boat.assert_sound(&["one"]);
    drop(holder);
    recovers(&boat, &["one"]);
}

#[test]
fn truncate_and_ddl_during_backups_never_show_in_a_committed_snapshot() {
    // Both tables always have the same content, and 300 rows, in every transaction's eyes.
    let server = server_with(
        "create table one (i int, generation int); insert into one select i, 0 from generate_series(1, 300) i;
         create table two as table one; create table other (i int);",
    );
    let boat = Installation::by_init(&["one"]);
    boat.whole_job("app", &server.url("app"), "lock_timeout = \"5s\"", "");
    let stop = AtomicBool::new(false);
    let ended: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A dropped column counts towards the 1,600 that a table can ever have.
            for generation in 1..1500 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let sql = format!(
                    "begin; truncate one, two;
                     insert into one select i, {generation} from generate_series(1, 300) i; insert into two table one; commit;
                     alter table other add column c{generation} int; alter table other drop column c{generation};
                     create table passing_{generation} (i int); insert into passing_{generation} values (1);
                     drop table passing_{generation}"
                );
                // A deadlock with the dump's locks ends one of the two.
                if let Err(error) = server.try_psql("app", &sql) {
                    assert!(error.contains("40P01"), "{error}");
                }
                // A run begins anew when the tables change under it, and has to get through in the end.
                std::thread::sleep(Duration::from_millis(250));
            }
        });
        let ended = (0..3).map(|_| boat.run(&["backup", "now"])).collect();
        stop.store(true, Ordering::Relaxed);
        ended
    });
    for ended in ended.into_iter().filter(|ended| ended.code != 0) {
        ended.refuses(1, &[]);
    }
    boat.run(&["backup", "now"]).expect(0);
    let snapshots = boat.snapshots();
    println!("{} of 4 backups committed", snapshots.len());
    for (id, _) in &snapshots {
        let out = boat.fresh();
        boat.run(&["restore", &format!("app@{id}"), "--to", out.to_str().unwrap()]).expect(0);
        let content = |table: &str| {
            let found: String = contents(&out)
                .into_iter()
                .filter(|(path, _)| path.contains("/table/") && path.contains(&format!("public.{table}")))
                .map(|(_, bytes)| String::from_utf8(bytes).unwrap())
                .collect();
            let mut rows: Vec<_> = found.lines().map(str::to_owned).collect();
            rows.sort();
            rows
        };
        assert_eq!(content("one").len(), 300, "snapshot {id} lost rows");
        assert_eq!(content("one"), content("two"), "snapshot {id} is of two moments");
    }
    boat.run(&["restore-test"]).expect(0);
    boat.assert_sound(&["one"]);
}

#[test]
fn a_connection_that_is_cut_in_the_middle_of_a_copy_commits_nothing() {
    let server = server_with(&format!("{SMALL}{}", bulk(40)));
    let boat = Installation::by_init_with(&server, "app", &["one", "two"]);
    let running = boat.start(&["backup", "now"]);
    server.psql(
        "postgres",
        "do $$ declare cut int; begin
             for i in 1..20000 loop
                 perform pg_stat_clear_snapshot();
                 select count(pg_terminate_backend(pid)) into cut from pg_stat_activity
                     where query like 'COPY%bulk%' and state = 'active' and pid <> pg_backend_pid();
                 if cut > 0 then return; end if;
                 perform pg_sleep(0.001);
             end loop;
             raise 'the copy was never seen';
         end $$",
    );
    finish(running).refuses(1, &["bulk"]);
    boat.assert_sound(&["one", "two"]);
    assert_eq!(boat.roots("one").len() + boat.roots("two").len(), 0);
    recovers(&boat, &["one", "two"]);
}

#[test]
fn a_pg_dump_that_is_killed_half_way_or_fails_at_its_end_commits_nothing() {
    let server = server_with(SMALL);
    let boat = Installation::by_init(&["one"]);
    let (bin, real) = (boat.root().join("bin"), bin_directory());
    let (dump, dumpall) = (real.join("pg_dump"), real.join("pg_dumpall"));
    script(&bin.join("pg_dumpall"), &format!("exec {} \"$@\"", dumpall.display()));
    let version = format!("[ \"$1\" = --version ] && exec {} --version\n", dump.display());
    boat.whole_job("app", &server.url("app"), &format!("client_directory = {bin:?}"), "");

    let half = format!("{version}{} \"$@\" | head -c 2000; kill -9 $$", dump.display());
    script(&bin.join("pg_dump"), &half);
    boat.run(&["backup", "now"]).expect(1).tells(&["pg_dump", "signal 9"]);
    let late = format!("{version}{} \"$@\"; echo 'pg_dump: error: the last moment' >&2; exit 1", dump.display());
    script(&bin.join("pg_dump"), &late);
    boat.run(&["backup", "now"]).expect(1).tells(&["`pg_dump` exited 1", "the last moment"]);
    let silent = format!("{version}exit 3");
    script(&bin.join("pg_dump"), &silent);
    boat.run(&["backup", "now"]).expect(1).tells(&["`pg_dump` exited 3"]);
    assert_eq!(boat.roots("one"), Vec::<PathBuf>::new());
    boat.assert_sound(&["one"]);

    script(&bin.join("pg_dump"), &format!("exec {} \"$@\"", dump.display()));
    recovers(&boat, &["one"]);
}

/// An executable shell script, its folder made if need be.
fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // A new file each time: one that still runs cannot be written to.
    let new = path.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// A `psql` session that runs something and then stays until it is dropped.
pub(super) struct Session(Child);

impl Session {
    pub(super) fn start(server: &TestServer, sql: &str) -> Self {
        let mut command = server.client("psql");
        command.args(["-X", "-q", "-f", "-"]).env("PGDATABASE", "app").env("PGAPPNAME", "holder");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{sql};").unwrap();
        Self(child)
    }

    /// Until `pg_locks` shows such a row.
    pub(super) fn wait_for(&mut self, server: &TestServer, lock: &str) {
        assert!(self.0.try_wait().unwrap().is_none(), "the session ended before it had its lock");
        for _ in 0..500 {
            if server.psql("app", &format!("select count(*) from pg_locks where {lock}")) != "0" {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no lock with {lock}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _at_its_end_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// `PgBouncer` on a unix socket of its own, before a test server. It ends when the pipe to the test closes.
struct Pooler {
    folder: tempfile::TempDir,
    guard: Child,
}

impl Pooler {
    fn start(server: &TestServer, mode: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lbp-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        user::give(folder.path(), user::server_user().as_ref()).unwrap();
        let (at, socket) = (folder.path().display(), server.socket().display());
        let users = folder.path().join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={socket} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = {at}\n\
             unix_socket_mode = 0777\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\ndefault_pool_size = 10\n\
             ignore_startup_parameters = extra_float_digits,options\n",
            users.display()
        );
        std::fs::write(&file, text).unwrap();
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].iter().map(Path::new).find(|path| path.exists());
        let program = program.expect("the tests need PgBouncer: apt-get install pgbouncer (`make test` does)");
        let mut command = plain(Path::new("sh"));
        command.args(["-c", "\"$@\" 3<&- & pooler=$!; read -r _; kill -9 $pooler", "guard"]).arg(program).arg(&file);
        if let Some(user) = user::server_user() {
            command.uid(user.uid).gid(user.gid);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let pooler = Self { guard: command.spawn().unwrap(), folder };
        for _ in 0..500 {
            if pooler.folder.path().join(".s.PGSQL.6432").exists() {
                return pooler;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("PgBouncer did not start");
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://postgres@{folder}:6432/{database}")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _reaped = self.guard.wait();
    }
}
