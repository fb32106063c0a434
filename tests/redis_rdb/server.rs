//! A real `redis-server` for tests: a private directory, a unix socket, no port, ended with the test however that ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::postgres::plain;

const START_LIMIT: Duration = Duration::from_secs(30);
const REPLY_LIMIT: Duration = Duration::from_mins(1);

/// Runs the server; ends it at once when the pipe to the test closes, and itself when the server ends.
const GUARD: &str = "exec >>\"$LOG\" 2>&1 3<&0; \"$@\" </dev/null 3<&- & server=$!; \
    { read -r _ <&3; kill -KILL $server; } & reader=$!; \
    wait $server; status=$?; kill $reader; exit $status";

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Text(String),
    Error(String),
    Number(i64),
    Bulk(Option<Vec<u8>>),
    Many(Vec<Reply>),
}

impl Reply {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bulk(Some(bytes)) => bytes,
            other => panic!("no bytes: {other:?}"),
        }
    }

    pub(crate) fn number(&self) -> i64 {
        let Self::Number(number) = self else { panic!("no number: {self:?}") };
        *number
    }

    pub(crate) fn many(&self) -> &[Reply] {
        let Self::Many(many) = self else { panic!("not many: {self:?}") };
        many
    }
}

pub(crate) struct RedisServer {
    root: tempfile::TempDir,
    guard: Child,
    connection: BufReader<UnixStream>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(None, &[])
    }

    /// A server that has loaded a dump as a replica of nobody: so it keeps keys that have expired.
    pub(crate) fn holding(dump: &[u8]) -> Self {
        Self::start_with(Some(dump), &["--replicaof", "127.0.0.1", "1", "--replica-read-only", "no"])
    }

    pub(crate) fn start_with(dump: Option<&[u8]>, settings: &[&str]) -> Self {
        let root = tempfile::Builder::new().prefix("lbt-").tempdir_in("/tmp").unwrap();
        if let Some(dump) = dump {
            std::fs::write(root.path().join("dump.rdb"), dump).unwrap();
        }
        let socket = root.path().join("socket");
        let mut command = plain(Path::new("sh"));
        command.args(["-c", GUARD, "guard", "redis-server", "--port", "0", "--save", "", "--appendonly", "no"]);
        command.args(["--enable-debug-command", "yes", "--dir"]).arg(root.path());
        command.arg("--unixsocket").arg(&socket).args(settings);
        command.env("LOG", root.path().join("log")).stdin(Stdio::piped()).process_group(0);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = command.spawn().unwrap();
        let start = Instant::now();
        loop {
            let connected = UnixStream::connect(&socket).ok();
            if let Some(stream) = connected {
                stream.set_read_timeout(Some(REPLY_LIMIT)).unwrap();
                let mut server = Self { root, guard, connection: BufReader::new(stream) };
                while server.call(&[b"PING"]) != Reply::Text("PONG".into()) {
                    assert!(start.elapsed() < START_LIMIT, "{}", server.log());
                    std::thread::sleep(Duration::from_millis(5));
                }
                return server;
            }
            let ended = guard.try_wait().unwrap();
            let log = || std::fs::read_to_string(root.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && start.elapsed() < START_LIMIT, "no server: {ended:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One command, as its words.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> Reply {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.connection.get_mut().write_all(&request).unwrap();
        self.reply()
    }

    /// One command, whose words are apart by blanks; an error fails the test.
    pub(crate) fn run(&mut self, command: &str) -> Reply {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.must(&words)
    }

    pub(crate) fn must(&mut self, words: &[&[u8]]) -> Reply {
        let reply = self.call(words);
        let shown = || words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
        assert!(!matches!(reply, Reply::Error(_)), "{}: {reply:?}", shown());
        reply
    }

    /// Saves everything and returns the file.
    pub(crate) fn saved(&mut self) -> Vec<u8> {
        self.run("SAVE");
        std::fs::read(self.dump()).unwrap()
    }

    fn dump(&self) -> PathBuf {
        self.root.path().join("dump.rdb")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        let line = line.trim_end_matches("\r\n");
        let (kind, rest) = line.split_at_checked(1).unwrap_or_else(|| panic!("the server is gone: {}", self.log()));
        let count = || rest.parse::<i64>().unwrap();
        match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(count()),
            "$" if count() < 0 => Reply::Bulk(None),
            "$" => {
                let mut bytes = vec![0; usize::try_from(count()).unwrap() + 2];
                self.connection.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(Some(bytes))
            }
            "*" => Reply::Many((0..count()).map(|_| self.reply()).collect()),
            other => panic!("no reply: {other}{rest}"),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let start = Instant::now();
        while self.guard.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < START_LIMIT, "the server does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
