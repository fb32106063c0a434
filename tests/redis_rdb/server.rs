//! A real `redis-server` with one session that takes and gives bytes as they are.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::redis::TestRedis;

const REPLY_LIMIT: Duration = Duration::from_mins(1);

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
    server: TestRedis,
    connection: BufReader<UnixStream>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(None, &[])
    }

    /// A server that has loaded a dump as a replica of nobody: so it keeps keys that have expired.
    pub(crate) fn holding(dump: &[u8]) -> Self {
        Self::start_with(Some(dump), &["replicaof 127.0.0.1 1", "replica-read-only no"])
    }

    pub(crate) fn start_with(dump: Option<&[u8]>, settings: &[&str]) -> Self {
        let mut server = TestRedis::prepared(settings);
        if let Some(dump) = dump {
            std::fs::write(server.folder().join("dump.rdb"), dump).unwrap();
        }
        server.resume();
        server.wait_until_loaded();
        let stream = UnixStream::connect(server.socket()).unwrap();
        stream.set_read_timeout(Some(REPLY_LIMIT)).unwrap();
        Self { server, connection: BufReader::new(stream) }
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
        std::fs::read(self.server.folder().join("dump.rdb")).unwrap()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        let line = line.trim_end_matches("\r\n");
        let (kind, rest) =
            line.split_at_checked(1).unwrap_or_else(|| panic!("the server is gone: {}", self.server.log()));
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
