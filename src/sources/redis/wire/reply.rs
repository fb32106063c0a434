//! Replies, read as they come: RESP2, and the types that RESP3 added, without ever trusting a length.
//!
//! Memory: what one reply may hold is given by the caller and counted before it is taken; a long value grows as its bytes
//! arrive, so that an announced length alone takes nothing.

use super::WireError;
use super::error::ServerError;

/// No line of the protocol is longer: errors and numbers.
const LINE_BYTES_MAX: usize = 64 << 10;
/// How deep arrays may hold arrays. `COMMAND INFO` needs five.
const NESTING_MAX: usize = 12;
/// What a value counts beside its bytes, so that a million empty ones are not free.
const VALUE_COST_BYTES: usize = 64;
/// What is taken at once for a value of any announced length.
const FIRST_BYTES: usize = 64 << 10;

/// One reply. Maps are arrays of keys and values in turn, as RESP2 gives them; sets and pushes are arrays.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Integer(i64),
    Double(f64),
    /// A status line: `OK`.
    Simple(String),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    /// An error inside an array; as a whole reply it is a [`WireError::Server`].
    Error(String),
}

impl Value {
    /// Text of a status line or of a string that is UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Simple(text) => Some(text),
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub fn array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// What it is, for an error about what it should have been.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Integer(_) => "a number",
            Self::Double(_) => "a fraction",
            Self::Simple(_) => "a status",
            Self::Bulk(_) => "a string",
            Self::Array(_) => "an array",
            Self::Error(_) => "an error",
        }
    }
}

/// Puts one reply together from pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    open: Vec<Open>,
    /// The string that is being read, and how many bytes it lacks, its line end included.
    string: Option<(Vec<u8>, usize)>,
    spent: usize,
}

#[derive(Debug)]
struct Open {
    values: Vec<Value>,
    lacking: usize,
    /// RESP3 attributes stand before a value and are not part of it.
    attribute: bool,
}

enum Step {
    /// The line opened something that goes on.
    More,
    Value(Value),
}

impl Decoder {
    /// Takes from `input` what belongs to the reply: how many bytes, and the reply once it is whole.
    ///
    /// A reply that is an error is a value as well. After it, the decoder begins anew. `bytes_max` bounds the whole reply.
    pub(super) fn decode(&mut self, input: &[u8], bytes_max: usize) -> Result<(usize, Option<Value>), WireError> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let value = if let Some((mut string, lacking)) = self.string.take() {
                let piece = &rest[..lacking.min(rest.len())];
                string.extend_from_slice(piece);
                taken += piece.len();
                if piece.len() < lacking {
                    self.string = Some((string, lacking - piece.len()));
                    return Ok((taken, None));
                }
                if !string.ends_with(b"\r\n") {
                    return Err(wrong("a string without its end"));
                }
                string.truncate(string.len() - 2);
                Value::Bulk(string)
            } else {
                let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
                    return if rest.len() > LINE_BYTES_MAX {
                        Err(wrong("a line without an end"))
                    } else {
                        Ok((taken, None))
                    };
                };
                taken += end + 2;
                match self.line(&rest[..end], bytes_max)? {
                    Step::More => continue,
                    Step::Value(value) => value,
                }
            };
            if let Some(whole) = self.add(value) {
                self.spent = 0;
                return Ok((taken, Some(whole)));
            }
        }
    }

    fn line(&mut self, line: &[u8], bytes_max: usize) -> Result<Step, WireError> {
        self.spend(VALUE_COST_BYTES, bytes_max)?;
        let (kind, rest) = line.split_first().ok_or_else(|| wrong("an empty line"))?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let done = match kind {
            b'+' | b'(' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Integer(number(rest)?),
            b',' => Value::Double(text().parse().map_err(|_| wrong("a fraction that is none"))?),
            b'#' => Value::Integer(i64::from(rest == b"t")),
            b'_' => Value::Null,
            b'$' | b'=' | b'!' => return self.string(rest, bytes_max),
            b'*' | b'~' | b'>' => return self.open(rest, 1, false, bytes_max),
            b'%' => return self.open(rest, 2, false, bytes_max),
            b'|' => return self.open(rest, 2, true, bytes_max),
            other => return Err(wrong(&format!("a reply of kind {:?}; is this a Redis server?", char::from(*other)))),
        };
        self.spend(line.len(), bytes_max)?;
        Ok(Step::Value(done))
    }

    fn string(&mut self, length: &[u8], bytes_max: usize) -> Result<Step, WireError> {
        let length = number(length)?;
        if length == -1 {
            return Ok(Step::Value(Value::Null));
        }
        let length = usize::try_from(length).map_err(|_| wrong("a string of a negative length"))?;
        self.spend(length, bytes_max)?;
        self.string = Some((Vec::with_capacity((length + 2).min(FIRST_BYTES)), length + 2));
        Ok(Step::More)
    }

    fn open(&mut self, count: &[u8], each: i64, attribute: bool, bytes_max: usize) -> Result<Step, WireError> {
        let count = number(count)?;
        if count == -1 {
            return Ok(Step::Value(Value::Null));
        }
        let count = count.checked_mul(each).and_then(|count| usize::try_from(count).ok());
        let lacking = count.ok_or_else(|| wrong("an array of an impossible length"))?;
        if self.open.len() >= NESTING_MAX {
            return Err(wrong("arrays within arrays without an end"));
        }
        // What is announced must fit already; it is taken when it comes.
        if lacking.saturating_mul(VALUE_COST_BYTES) > bytes_max.saturating_sub(self.spent) {
            return Err(too_long(bytes_max));
        }
        if lacking == 0 {
            return Ok(if attribute { Step::More } else { Step::Value(Value::Array(vec![])) });
        }
        self.open.push(Open { values: vec![], lacking, attribute });
        Ok(Step::More)
    }

    /// Puts a value where it belongs; returns it when the whole reply is there.
    fn add(&mut self, mut value: Value) -> Option<Value> {
        loop {
            let Some(top) = self.open.last_mut() else { return Some(value) };
            top.values.push(value);
            top.lacking -= 1;
            if top.lacking > 0 {
                return None;
            }
            let whole = self.open.pop().expect("it is there");
            if whole.attribute {
                return None;
            }
            value = Value::Array(whole.values);
        }
    }

    fn spend(&mut self, bytes: usize, bytes_max: usize) -> Result<(), WireError> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > bytes_max { Err(too_long(bytes_max)) } else { Ok(()) }
    }
}

/// Writes one command: an array of strings.
pub(in crate::sources::redis) fn encode(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn error_of(value: Value, command: &str) -> Result<Value, WireError> {
    match value {
        Value::Error(line) => Err(ServerError::parse(line.as_bytes(), command).into()),
        value => Ok(value),
    }
}

fn number(text: &[u8]) -> Result<i64, WireError> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| wrong("a number that is none"))
}

fn wrong(what: &str) -> WireError {
    WireError::Protocol(what.to_owned())
}

fn too_long(bytes_max: usize) -> WireError {
    WireError::Protocol(format!("a reply is longer than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests;
