//! Real Postgres servers for tests: a private directory, a unix socket, no port, ended with the test.
//!
//! A data directory is made once for each major version and build folder, and copied after that (a copy costs a tenth).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lifeboat::domain::Place;
use lifeboat::sources::postgres::wire::{ConnectOptions, Connection};
use lifeboat::system::user;
use tokio_util::sync::CancellationToken;

use super::server::{Guarded, as_server, folder, output, plain};

/// The oldest and the newest major that Lifeboat supports.
pub(crate) const MAJORS: std::ops::RangeInclusive<u32> = 13..=MAJOR_MAX;
const MAJOR_MAX: u32 = 18;

/// Loses nothing that a test could miss: the machine does not crash under it.
const FAST: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 32MB
max_wal_size = 2GB
unix_socket_permissions = 0777
log_min_messages = warning
log_line_prefix = '%m [%p] %d '
";

/// One running server. Dropping it ends it and removes its files.
pub(crate) struct TestServer {
    root: tempfile::TempDir,
    bin: PathBuf,
    environment: Vec<(String, String)>,
    running: Option<Guarded>,
}

impl TestServer {
    /// A server of the newest installed major, with a superuser `postgres` that needs no password.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with settings of its own: `("max_locks_per_transaction", "64")`. Values are quoted here.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_in(&bin_directory(), settings)
    }

    /// A server of another major, where the environment names one: `LIFEBOAT_PG16` or `LIFEBOAT_PG18` is a directory that holds
    /// `initdb` or `bin/initdb`.
    pub(crate) fn other_major() -> Option<Self> {
        let bin = other_bin_directory();
        if bin.is_none() {
            not_tried("no second major here; scripts/postgres-majors.sh says why");
        }
        bin.map(|bin| Self::start_in(&bin, &[]))
    }

    /// A server from the programs in `bin`.
    pub(crate) fn start_in(bin: &Path, settings: &[(&str, &str)]) -> Self {
        let root = folder("lbt-");
        let data = root.path().join("data");
        if bin.join("pg_resetwal").exists() {
            copy(&template(bin), &data);
            new_identity(&data.join("global/pg_control"));
            // A new log, with the new identity in its first page.
            run(as_server(&bin.join("pg_resetwal")).arg("-D").arg(&data));
        } else {
            initdb(bin, &data);
        }
        std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap()
            .write_all(FAST.as_bytes())
            .unwrap();
        configure(root.path(), settings);
        Self::run_in(root, bin, &[])
    }

    fn run_in(root: tempfile::TempDir, bin: &Path, environment: &[(&str, &str)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut server = Self { root, bin: bin.to_owned(), environment, running: None };
        server.resume();
        server
    }

    /// A server of the newest installed major whose processes see more of an environment.
    pub(crate) fn start_with_env(environment: &[(&str, &str)]) -> Self {
        let mut server = Self::start();
        server.stop();
        server.environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        server.resume();
        server
    }

    /// A hot standby that streams from this server.
    pub(crate) fn standby(&self, settings: &[(&str, &str)]) -> Self {
        let root = folder("lbt-");
        let mut backup = as_server(&client_program(&self.bin, "pg_basebackup"));
        backup.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-U", "postgres", "-h"]).arg(self.root.path());
        run(backup.arg("-D").arg(root.path().join("data")));
        configure(root.path(), settings);
        Self::run_in(root, &self.bin, &[])
    }

    /// Starts it again after [`TestServer::stop`], on the same data.
    pub(crate) fn resume(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        let data = self.data();
        let server = |command: &mut std::process::Command| {
            command.arg(self.bin.join("postgres")).arg("-D").arg(&data);
            command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        };
        self.running = Some(Guarded::start("QUIT", &self.log_file(), server, || ready(&data)));
    }

    /// Ends it at once, as a crash would; its data stays.
    pub(crate) fn stop(&mut self) {
        if self.running.take().is_none() {
            return;
        }
        let _none_left_after_a_crash = std::fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// The folder of the unix socket.
    pub(crate) fn socket(&self) -> &Path {
        self.root.path()
    }

    /// The data directory: a test may change `pg_hba.conf` there, before it is started again.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The folder of the server's own programs.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// `postgres://postgres@%2Ftmp%2Flbt-x:5432/database`.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    pub(crate) fn url_as(&self, role: &str, database: &str) -> String {
        let socket = self.root.path().to_str().unwrap();
        format!("postgres://{}@{}:5432/{}", percent(role), percent(socket), percent(database))
    }

    pub(crate) fn place(&self, database: &str) -> Place {
        Place { url: self.url(database), password: None }
    }

    /// A session of our own client.
    pub(crate) async fn connect(&self, database: &str) -> Connection {
        let options = ConnectOptions::parse(&self.url(database), None).unwrap();
        Connection::connect(&options, &CancellationToken::new()).await.unwrap()
    }

    /// Runs statements by our own client, and returns the first column of the rows.
    pub(crate) async fn sql(&self, database: &str, sql: &str) -> Vec<String> {
        let mut connection = self.connect(database).await;
        let rows = connection.query(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        connection.close().await;
        rows.iter().map(|row| row.text(0).unwrap_or_default().to_owned()).collect()
    }

    /// Lines of `pg_hba.conf`, in force when this returns.
    pub(crate) async fn set_hba(&self, lines: &str) {
        std::fs::write(self.data().join("pg_hba.conf"), lines).unwrap();
        self.sql("postgres", "SELECT pg_reload_conf()").await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }

    /// Runs SQL and returns what `psql -At` prints; an error fails the test with its text.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        match self.try_psql(database, sql) {
            Ok(output) => output,
            Err(error) => panic!("{error}\nin {database}: {}", sql.chars().take(2000).collect::<String>()),
        }
    }

    /// Runs SQL of any length; the error is what `psql` says.
    pub(crate) fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = self.client("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-f", "-"]);
        command.env("PGDATABASE", database).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sql = sql.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(sql.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let _psql_stops_reading_at_the_first_error = writer.join().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// A client program of this server's version, or of a later one where it came without, told by environment where the server
    /// is: `pg_dump`.
    pub(crate) fn client(&self, program: &str) -> std::process::Command {
        let mut command = plain(&client_program(&self.bin, program));
        command.env("PGHOST", self.root.path()).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    /// Makes a database of any name, however odd.
    pub(crate) fn create_database(&self, name: &str) {
        self.psql("postgres", &format!("create database \"{}\" template template0", name.replace('"', "\"\"")));
    }

    pub(crate) fn reload(&self) {
        self.psql("postgres", "select pg_reload_conf()");
    }

    /// Whether it was built with ICU.
    pub(crate) fn has_icu(&self) -> bool {
        self.psql("postgres", "select exists (select from pg_collation where collprovider = 'i')") == "t"
    }

    pub(crate) fn major(&self) -> u32 {
        self.psql("postgres", "show server_version_num").parse::<u32>().unwrap() / 10_000
    }

    fn log_file(&self) -> PathBuf {
        self.root.path().join("log")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where the newest installed server's programs are: `LIFEBOAT_TEST_POSTGRES`, else Debian's layout.
pub(crate) fn bin_directory() -> PathBuf {
    if let Some(bin) = directory_from("LIFEBOAT_TEST_POSTGRES") {
        return bin;
    }
    let majors = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().filter_map(|entry| {
        let major = entry.file_name().to_str()?.parse::<u32>().ok()?;
        let bin = entry.path().join("bin");
        bin.join("initdb").exists().then_some((major, bin))
    });
    let newest = majors.max_by_key(|(major, _)| *major);
    newest.expect("the tests need a Postgres server: apt-get install postgresql (`make test` does)").1
}

/// Another major's programs, where the environment names them.
pub(crate) fn other_bin_directory() -> Option<PathBuf> {
    ["LIFEBOAT_PG16", "LIFEBOAT_PG18"].into_iter().find_map(directory_from)
}

/// The programs of a major: `LIFEBOAT_PG17`, else Debian's layout, else none.
pub(crate) fn major_directory(major: u32) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    directory_from(&format!("LIFEBOAT_PG{major}")).or_else(|| debian.join("initdb").exists().then_some(debian))
}

/// The same, and says so where it is not here: what is not tried must be seen.
pub(crate) fn major_or_say(major: u32) -> Option<PathBuf> {
    let bin = major_directory(major);
    if bin.is_none() {
        not_tried(&format!("no Postgres {major} here; scripts/postgres-majors.sh says why"));
    }
    bin
}

/// A test, or a part of one, cannot be done on this machine.
#[expect(clippy::print_stderr, reason = "a person should see what was not tried")]
pub(crate) fn not_tried(why: &str) {
    eprintln!("NOT TRIED: {why}");
}

/// Whether a major that is not here is a failure: `LIFEBOAT_REQUIRE_MAJORS=1`.
#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
pub(crate) fn majors_are_required() -> bool {
    std::env::var_os("LIFEBOAT_REQUIRE_MAJORS").is_some_and(|value| value == "1")
}

/// The folder of `pg_dump` and its like that serve a server from `bin`: its own, or of the nearest later major.
pub(crate) fn client_directory(bin: &Path) -> PathBuf {
    if bin.join("pg_dump").exists() {
        return bin.to_owned();
    }
    let version = String::from_utf8(output(plain(&bin.join("postgres")).arg("--version")).stdout).unwrap();
    let major: u32 = version.trim().rsplit(' ').next().unwrap().split('.').next().unwrap().parse().unwrap();
    let later = (major..=MAJOR_MAX).filter_map(major_directory).find(|bin| bin.join("pg_dump").exists());
    later.unwrap_or_else(|| panic!("no client for a server of {major}"))
}

fn client_program(bin: &Path, program: &str) -> PathBuf {
    let own = bin.join(program);
    if own.exists() { own } else { client_directory(bin).join(program) }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn directory_from(variable: &str) -> Option<PathBuf> {
    let named = PathBuf::from(std::env::var_os(variable).filter(|value| !value.is_empty())?);
    let found = [named.join("bin"), named.clone()].into_iter().find(|bin| bin.join("initdb").exists());
    Some(found.unwrap_or_else(|| panic!("{variable}={} holds no `initdb`", named.display())))
}

/// A cluster that was never started, made once and kept in the build folder.
///
/// Test processes may race: each makes its own and moves it into place whole; the first wins.
fn template(bin: &Path) -> PathBuf {
    let version = String::from_utf8(output(plain(&bin.join("postgres")).arg("--version")).stdout).unwrap();
    let version: String = version.trim().chars().filter(|c| c.is_alphanumeric() || *c == '.').collect();
    let who = rustix::process::geteuid().as_raw();
    let cached = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{version}-{who}"));
    if cached.exists() {
        return cached;
    }
    // The server user may not reach the build folder, so the cluster is made elsewhere.
    let made = tempfile::Builder::new().prefix("lbt-").tempdir_in("/tmp").unwrap();
    user::give(made.path(), user::server_user().as_ref()).unwrap();
    let data = made.path().join("data");
    initdb(bin, &data);
    std::fs::create_dir_all(cached.parent().unwrap()).unwrap();
    let staged = tempfile::Builder::new().prefix("cluster-").tempdir_in(cached.parent().unwrap()).unwrap();
    let whole = staged.path().join("data");
    copy(&data, &whole);
    if let Err(error) = std::fs::rename(&whole, &cached) {
        assert!(cached.exists(), "{}: {error}", cached.display());
    }
    cached
}

/// Later lines of the file override earlier ones.
fn configure(root: &Path, settings: &[(&str, &str)]) {
    let mut config = std::fs::OpenOptions::new().append(true).open(root.join("data/postgresql.conf")).unwrap();
    writeln!(config, "listen_addresses = ''\nunix_socket_directories = '{}'", root.display()).unwrap();
    for (name, value) in settings {
        writeln!(config, "{name} = '{}'", value.replace('\'', "''")).unwrap();
    }
}

fn initdb(bin: &Path, data: &Path) {
    run(as_server(&bin.join("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"])
        .args(["--locale=C.UTF-8", "--wal-segsize=4", "-D"])
        .arg(data));
}

fn copy(from: &Path, to: &Path) {
    run(plain(Path::new("cp")).arg("-a").arg(from).arg(to));
}

/// Gives a copied cluster a system identifier of its own; otherwise two test servers would look like one.
///
/// `pg_control` starts with the identifier; the CRC-32C of what precedes it ends the structure, at an offset that differs
/// between majors and is found by looking for the sum that fits.
fn new_identity(file: &Path) {
    let mut control = std::fs::read(file).unwrap();
    let sums = crc32c_of_prefixes(&control);
    let at = (8..control.len() - 4)
        .step_by(4)
        .find(|&at| control[at..at + 4] == sums[at].to_le_bytes())
        .expect("pg_control holds its own checksum");
    control[..8].copy_from_slice(&(rand::random::<u64>() >> 1).to_le_bytes());
    let sum = crc32c_of_prefixes(&control[..at])[at];
    control[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(file, control).unwrap();
}

/// The CRC-32C (Castagnoli) of each prefix, by length.
fn crc32c_of_prefixes(bytes: &[u8]) -> Vec<u32> {
    let mut register = u32::MAX;
    let mut sums = vec![0];
    for byte in bytes {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            register = if register & 1 == 1 { (register >> 1) ^ 0x82F6_3B78 } else { register >> 1 };
        }
        sums.push(!register);
    }
    sums
}

/// The last line of the pid file says how far the server is.
fn ready(data: &Path) -> bool {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    text.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}

/// Everything but letters, digits and `-_.` is escaped, so a directory can stand where a host does.
fn percent(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn run(command: &mut std::process::Command) {
    output(command);
}

#[test]
fn test_servers_run_side_by_side_with_identities_of_their_own_and_end_with_the_test() {
    let identity = |server: &TestServer| server.psql("postgres", "select system_identifier from pg_control_system()");
    let (one, two) = (TestServer::start(), TestServer::start_with(&[("work_mem", "5MB")]));
    assert_ne!(identity(&one), identity(&two));
    assert_eq!(two.psql("postgres", "show work_mem"), "5MB");
    one.create_database("odd \"name\" é");
    assert_eq!(one.psql("odd \"name\" é", "select current_database()"), "odd \"name\" é");
    assert!(one.try_psql("postgres", "select 1/0; select 2").unwrap_err().contains("22012"));
    one.psql("postgres", "alter system set work_mem = '6MB'");
    one.reload();
    assert_eq!(one.psql("postgres", "show work_mem"), "6MB");
    let folder = one.socket().to_owned();
    drop(one);
    assert!(!folder.exists());
}

#[test]
fn a_stopped_test_server_comes_back_with_its_data() {
    let mut server = TestServer::start();
    server.psql("postgres", "create table kept as select 7 as n");
    server.psql("postgres", "checkpoint");
    server.stop();
    assert!(server.try_psql("postgres", "select 1").is_err());
    server.resume();
    assert_eq!(server.psql("postgres", "select n from kept"), "7");
}
