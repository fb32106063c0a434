//! A command of the job's own that a restored Redis must answer with one value within bounds.
//!
//! The command is asked of scratch by a client of this file's own, over its socket: like [`super::client`], it shares nothing with
//! the dump. Words are parted as `redis-cli` parts them: by spaces; `"..."` may hold spaces and the escapes `\n \r \t \b \a \" \\`
//! and `\xHH`; `'...'` is taken as it is, but for `\'`. Nothing is expanded. A command that writes or administers is refused:
//! it would change what the next check sees.
//!
//! Memory: one answer of at most [`ANSWER_BYTES_MAX`].

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::Restored;
use super::expectation::{self, Answer, Bound, Expectation, expectations};
use super::question::{self, Asked, Question};
use crate::domain::percent_decoded;

/// A check that needs longer asks too much of a scratch instance.
const COMMAND_LIMIT: Duration = Duration::from_mins(10);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Answers of `COMMAND INFO` nest about five deep.
const DEPTH_MAX: usize = 12;
/// What the server says of commands that no check should run.
const REFUSED: [&str; 4] = ["write", "admin", "pubsub", "blocking"];
/// Seconds since 1970 stay below this until the year 5138; milliseconds are above it since 1973.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A `[[restore_test.check]]` table as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    /// `LLEN queue:default`.
    command: String,
    name: Option<String>,
    /// The number of a database; 0 by default.
    database: Option<u32>,
    min: Option<Bound>,
    max: Option<Bound>,
    equals: Option<Bound>,
    max_age: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Command {
    /// At least one.
    words: Vec<Vec<u8>>,
    database: u32,
}

/// The words of a command, as `redis-cli` parts them.
fn words(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = vec![];
    let mut rest = text.trim_start().as_bytes();
    while !rest.is_empty() {
        let mut word = vec![];
        while let Some((&byte, after)) = rest.split_first() {
            if byte.is_ascii_whitespace() {
                break;
            }
            rest = match byte {
                b'"' | b'\'' => quoted(byte, after, &mut word)?,
                _ => {
                    word.push(byte);
                    after
                }
            };
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Ok(words)
}

/// Takes what stands between quotes; returns what follows them.
fn quoted<'t>(quote: u8, mut rest: &'t [u8], word: &mut Vec<u8>) -> Result<&'t [u8], String> {
    loop {
        rest = match (quote, rest) {
            (_, [end, after @ ..]) if *end == quote => {
                return match after.first() {
                    Some(next) if !next.is_ascii_whitespace() => {
                        Err("a closing quote in `command` is not followed by a space".to_owned())
                    }
                    _ => Ok(after),
                };
            }
            (b'"', [b'\\', b'x', high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.extend(hex::decode([*high, *low]).expect("two hexadecimal digits"));
                after
            }
            (b'"', [b'\\', escaped, after @ ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            (b'\'', [b'\\', b'\'', after @ ..]) => {
                word.push(b'\'');
                after
            }
            (_, [byte, after @ ..]) => {
                word.push(*byte);
                after
            }
            (_, []) => return Err("a quote in `command` is not closed".to_owned()),
        };
    }
}

impl Question for Command {
    type Raw = Raw;
    type Value = String;

    fn read(raw: Raw) -> Result<Asked<Self>, String> {
        let words = words(&raw.command)?;
        if words.is_empty() {
            return Err("the check's `command` is empty".to_owned());
        }
        let expectations = expectations(raw.min, raw.max, raw.equals, raw.max_age)?;
        let name = question::name(raw.name.as_deref(), raw.command.trim());
        Ok(Asked { name, question: Self { words, database: raw.database.unwrap_or(0) }, expectations })
    }

    async fn ask(&self, restored: &Restored<'_>) -> Result<String, String> {
        let asked = tokio::time::timeout(COMMAND_LIMIT, self.reply(restored)).await;
        asked.map_err(|_| format!("no answer within {} s", COMMAND_LIMIT.as_secs()))??.one_value()
    }

    /// Numbers come as text from most commands, and are compared as numbers where the bound is one.
    fn judge(value: &String, expectations: &[Expectation], instant: Timestamp) -> (String, bool) {
        let mut held = true;
        let mut seen = value.to_owned();
        for expectation in expectations {
            let (shown, holds) =
                expectation::judge(std::slice::from_ref(expectation), &typed(value, expectation), instant);
            if !holds {
                held = false;
                seen = shown;
            }
        }
        (seen, held)
    }
}

impl Command {
    async fn reply(&self, restored: &Restored<'_>) -> Result<Reply, String> {
        let socket = socket(&restored.place.url)
            .ok_or_else(|| format!("`command` asks a restored Redis, and this is {}", restored.place.url))?;
        let stream = UnixStream::connect(&socket).await.map_err(|error| format!("{}: {error}", socket.display()))?;
        let mut client = Client { stream: BufReader::new(stream), left: ANSWER_BYTES_MAX };
        let name = &self.words[0];
        let described = client.call(&[b"COMMAND", b"INFO", name]).await?;
        if let Some(flag) = REFUSED.iter().find(|flag| described.says(flag)) {
            let name = String::from_utf8_lossy(name);
            return Err(format!("`{name}` is a command of the kind `{flag}`, and a check only reads"));
        }
        client.call(&[b"SELECT", self.database.to_string().as_bytes()]).await?.one_value()?;
        client.left = ANSWER_BYTES_MAX;
        client.call(&self.words.iter().map(Vec::as_slice).collect::<Vec<_>>()).await
    }
}

/// The value as a type that the expectation can be compared with.
fn typed(value: &str, expectation: &Expectation) -> Answer {
    let (type_name, text) = match expectation {
        Expectation::MaxAge { .. } => match moment(value) {
            Some(at) => ("TIMESTAMPTZ", at.to_string()),
            None => ("TEXT", value.to_owned()),
        },
        Expectation::Min(bound) | Expectation::Max(bound) | Expectation::Equals(bound) => {
            let numeric = matches!(bound, Bound::Integer(_) | Bound::Float(_)) && value.parse::<f64>().is_ok();
            (if numeric { "NUMERIC" } else { "TEXT" }, value.to_owned())
        }
    };
    Answer { type_name: type_name.to_owned(), text }
}

/// Seconds or milliseconds since 1970, the id of a stream's entry, or a time as RFC 3339 writes it.
fn moment(value: &str) -> Option<Timestamp> {
    if let Ok(at) = value.parse() {
        return Some(at);
    }
    let number = value.split_once('-').map_or(value, |(millis, _)| millis);
    match number.parse::<i64>().ok()? {
        secs @ 0..SECONDS_MAX if number_is_all(value) => Timestamp::from_second(secs).ok(),
        millis => Timestamp::from_millisecond(millis).ok(),
    }
}

fn number_is_all(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_digit())
}

/// `unix:///tmp/a%20b/redis.sock` and its parameters.
fn socket(url: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let path = url.strip_prefix("unix://")?.split('?').next()?;
    Some(std::ffi::OsString::from_vec(percent_decoded(path)?).into())
}

/// What a server answers, as far as a check needs to know.
#[derive(Debug, Clone, PartialEq)]
enum Reply {
    Text(String),
    Nothing,
    Array(Vec<Reply>),
    Error(String),
}

impl Reply {
    fn one_value(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Nothing => Err("nothing (nil)".to_owned()),
            // One element is one value: `HMGET key field`, `XREVRANGE` does not come to it.
            Self::Array(mut items) if items.len() == 1 => items.remove(0).one_value(),
            Self::Array(items) => Err(format!("{} values where one was expected", items.len())),
            Self::Error(why) => Err(why),
        }
    }

    /// Whether the word is anywhere in it.
    fn says(&self, word: &str) -> bool {
        match self {
            Self::Text(text) => text == word,
            Self::Array(items) => items.iter().any(|item| item.says(word)),
            Self::Nothing | Self::Error(_) => false,
        }
    }
}

struct Client {
    stream: BufReader<UnixStream>,
    /// How many bytes of answers may still come.
    left: usize,
}

impl Client {
    async fn call(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        let mut out = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&out).await.map_err(|error| error.to_string())?;
        self.reply(0).await
    }

    async fn reply(&mut self, depth: usize) -> Result<Reply, String> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).ok_or("an empty line where an answer should be")?;
        let length = || rest.parse::<i64>().map_err(|_| format!("`{line}` where an answer should be"));
        match kind {
            "+" | ":" => Ok(Reply::Text(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            "$" => match usize::try_from(length()?) {
                Ok(bytes) => self.text(bytes).await,
                Err(_) => Ok(Reply::Nothing),
            },
            "*" => {
                let Ok(count) = usize::try_from(length()?) else { return Ok(Reply::Nothing) };
                if depth == DEPTH_MAX {
                    return Err("an answer that nests too deeply".to_owned());
                }
                let mut items = vec![];
                for _ in 0..count {
                    items.push(Box::pin(self.reply(depth + 1)).await?);
                }
                Ok(Reply::Array(items))
            }
            _ => Err(format!("`{line}` where an answer should be")),
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = vec![];
        let room = self.left as u64;
        (&mut self.stream).take(room).read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
        self.spend(line.len())?;
        if line.pop() != Some(b'\n') {
            return Err("the server closed the connection".to_owned());
        }
        Ok(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned())
    }

    async fn text(&mut self, bytes: usize) -> Result<Reply, String> {
        self.spend(bytes.saturating_add(2))?;
        let mut text = vec![0; bytes + 2];
        self.stream.read_exact(&mut text).await.map_err(|error| error.to_string())?;
        text.truncate(bytes);
        Ok(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| format!("an answer of more than {ANSWER_BYTES_MAX} bytes"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Section;

    fn judge(expectation: &str, value: &str) -> (String, bool) {
        let section = Section::from_text(&format!("command = 'GET x'\n{expectation}")).unwrap();
        let check: Asked<Command> = section.parse().unwrap();
        Command::judge(&value.to_owned(), &check.expectations, "2026-11-21T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn words_are_parted_as_the_usual_client_parts_them() {
        let cases: [(&str, &[&[u8]]); 5] = [
            ("LLEN queue:default", &[b"LLEN", b"queue:default"]),
            ("  GET   \"a b\" ", &[b"GET", b"a b"]),
            (r#"GET "\x00\n\"\\""#, &[b"GET", b"\0\n\"\\"]),
            (r"GET 'a\n \' b'", &[b"GET", b"a\\n ' b"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        assert!(words("GET \"a").unwrap_err().contains("not closed"));
        assert!(words("GET 'a'b").unwrap_err().contains("not followed by a space"));
    }

    #[test]
    fn bounds_hold_by_what_they_are_compared_with() {
        let cases = [
            ("min = 5", "5", true),
            ("max = 5", "40", false),
            ("equals = 1.5", "1.50", true),
            ("equals = 'ok'", "ok", true),
            ("equals = '05'", "5", false),
            ("min = 5", "many", false),
            ("min = 1\nmax = 3", "4", false),
            ("max_age = '26h'", "1795245600", true),
            ("max_age = '26h'", "1795100000", false),
            ("max_age = '26h'", "1795245600123", true),
            ("max_age = '26h'", "1795245600123-4", true),
            ("max_age = '26h'", "2026-11-21T06:00:00Z", true),
            ("max_age = '26h'", "2026-11-19T06:00:00Z", false),
            ("max_age = '26h'", "lately", false),
        ];
        for (expectation, value, held) in cases {
            assert_eq!(judge(expectation, value).1, held, "{expectation}: {value}: {:?}", judge(expectation, value));
        }
    }

    #[test]
    fn a_socket_is_found_in_a_place_and_nothing_else_is_taken_for_one() {
        assert_eq!(socket("unix:///tmp/a%20b/redis.sock?db=2"), Some("/tmp/a b/redis.sock".into()));
        assert_eq!(socket("postgres://u@%2Ftmp:5432/db"), None);
    }
}
