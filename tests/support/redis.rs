//! Real Redis servers for tests: a private directory, a unix socket, no port unless asked for, ended with the test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use lifeboat::system::user;

use super::server::{Guarded, folder, output, plain};

const LOAD_LIMIT: Duration = Duration::from_secs(30);

/// One running server. Dropping it ends it and removes its files.
pub(crate) struct TestRedis {
    // Ends before its folder goes: fields are dropped in this order.
    running: Option<Guarded>,
    root: tempfile::TempDir,
    settings: Vec<String>,
    /// Of another release than the distribution's, which may not know all the settings.
    other: Option<PathBuf>,
}

impl TestRedis {
    /// A server of the distribution's package, that saves nothing by itself and sends its data at once.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with lines of `redis.conf` of its own, which override.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let mut server = Self::prepared(settings);
        server.resume();
        server
    }

    /// A server of another release, as its program.
    pub(crate) fn start_in(program: &Path) -> Self {
        Self::start_in_with(program, &[])
    }

    /// The same with lines of `redis.conf` of its own.
    pub(crate) fn start_in_with(program: &Path, settings: &[&str]) -> Self {
        let mut server = Self { other: Some(program.to_owned()), ..Self::prepared(settings) };
        server.resume();
        server
    }

    /// A server that was not started yet: a test may put a `dump.rdb` into its folder.
    pub(crate) fn prepared(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|line| (*line).to_owned()).collect();
        Self { root: folder("lbr-"), settings, running: None, other: None }
    }

    /// Starts it, again after [`TestRedis::kill`], and waits until it answers; whether it has loaded its data is left open.
    pub(crate) fn resume(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        let mut file = std::fs::File::create(self.root.path().join("redis.conf")).unwrap();
        let folder = self.root.path().display();
        writeln!(file, "port 0\nunixsocket {folder}/redis.sock\nunixsocketperm 777\ndir {folder}\nsave \"\"").unwrap();
        writeln!(file, "repl-diskless-sync-delay 0\nappendonly no\ndatabases 16").unwrap();
        if self.other.is_none() {
            writeln!(file, "enable-debug-command yes").unwrap();
        }
        for line in &self.settings {
            writeln!(file, "{}", line.replace("{folder}", &folder.to_string())).unwrap();
        }
        let _none_left_after_a_kill = std::fs::remove_file(self.socket());
        let config = self.root.path().join("redis.conf");
        let is_sentinel = self.settings.iter().any(|line| line.starts_with("sentinel "));
        if is_sentinel {
            // It writes what it finds out into its configuration.
            user::give(&config, user::server_user().as_ref()).unwrap();
        }
        let server = |command: &mut std::process::Command| {
            command
                .arg(self.other.clone().unwrap_or_else(program))
                .arg(&config)
                .args(is_sentinel.then_some("--sentinel"));
        };
        let socket = self.socket();
        let ready = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        self.running = Some(Guarded::start("KILL", &self.log_file(), server, ready));
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    pub(crate) fn folder(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.path().join("redis.sock")
    }

    /// `unix:///tmp/lbr-x/redis.sock`.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(crate) fn url_as(&self, user: &str) -> String {
        format!("{}?user={user}", self.url())
    }

    /// Runs one command by `redis-cli` and returns what it prints; an error reply fails the test.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let mut command = plain(Path::new("redis-cli"));
        command.arg("-e").arg("-s").arg(self.socket()).args(arguments);
        String::from_utf8_lossy(&output(&mut command).stdout).trim_end_matches('\n').to_owned()
    }

    /// Waits until all its data are in memory.
    pub(crate) fn wait_until_loaded(&self) {
        let start = Instant::now();
        while !self.cli(&["INFO", "persistence"]).lines().any(|line| line.trim() == "loading:0") {
            assert!(start.elapsed() < LOAD_LIMIT, "the data do not load\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs many commands, one a line as `redis-cli` reads them.
    pub(crate) fn feed(&self, lines: &str) {
        let mut command = plain(Path::new("redis-cli"));
        command.arg("-e").arg("-s").arg(self.socket()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && !said.contains("ERR "), "{said}");
    }

    /// Stores so many keys of a mebibyte that nothing compresses.
    pub(crate) fn fill_with_noise(&self, keys: usize) {
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        let mut value = vec![0; 1 << 20];
        for key in 0..keys {
            rand::fill(value.as_mut_slice());
            let name = format!("noise:{key}");
            let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{name}\r\n${}\r\n", name.len(), value.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&value).unwrap();
            stream.write_all(b"\r\n").unwrap();
            let mut answer = [0; 5];
            std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
            assert_eq!(&answer, b"+OK\r\n");
        }
    }

    /// What the server logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.root.path().join("log")
    }
}

/// `LIFEBOAT_TEST_REDIS`, else the distribution's.
fn program() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
    let named = std::env::var_os("LIFEBOAT_TEST_REDIS").filter(|value| !value.is_empty());
    named.map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}
