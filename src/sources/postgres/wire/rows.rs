//! The answer to a query: rows of text values.

use std::ops::Range;

use super::WireError;
use super::connection::Connection;

/// The answer to a statement, row by row.
pub struct Rows<'c> {
    connection: &'c mut Connection,
    row: Row,
    /// From the last command tag that carried a count.
    pub affected: u64,
    done: bool,
}

impl<'c> Rows<'c> {
    pub(super) fn new(connection: &'c mut Connection) -> Self {
        Self { connection, row: Row::default(), affected: 0, done: false }
    }

    /// The next row; its memory is reused. After `None` or an error the connection is ready again, if it lives.
    pub async fn next(&mut self) -> Result<Option<&Row>, WireError> {
        if self.done {
            return Ok(None);
        }
        loop {
            let frame = self.connection.frame().await?;
            match frame.tag {
                b'D' => {
                    self.row.read(self.connection.body(&frame))?;
                    return Ok(Some(&self.row));
                }
                b'C' => self.affected = tag_count(self.connection.body(&frame)).unwrap_or(0),
                b'Z' => {
                    self.connection.become_ready(&frame);
                    self.done = true;
                    return Ok(None);
                }
                b'T' | b'I' => {}
                _ => {
                    self.done = true;
                    return self.connection.unexpected(&frame, "a query").await;
                }
            }
        }
    }
}

/// The count in a command tag: `COPY 5`, `SELECT 3`, `INSERT 0 1`.
pub(super) fn tag_count(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body.strip_suffix(b"\0")?).ok()?;
    text.rsplit(' ').next()?.parse().ok()
}

/// One row of text values.
#[derive(Debug, Clone, Default)]
pub struct Row {
    data: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
}

impl Row {
    /// The value of column `index`, counted from 0; `None` is SQL's null.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.bytes(index).map(|bytes| std::str::from_utf8(bytes).expect("checked when the row was read"))
    }

    /// A column that the query never leaves null; an error says which.
    pub fn required(&self, index: usize) -> Result<&str, WireError> {
        self.text(index).ok_or_else(|| WireError::Protocol(format!("column {index} is null")))
    }

    /// A number in a column that is never null.
    pub fn number<T: std::str::FromStr>(&self, index: usize) -> Result<T, WireError> {
        let text = self.required(index)?;
        text.parse().map_err(|_| WireError::Protocol(format!("column {index} holds `{text}`, not a number")))
    }

    /// `t` or `f` in a column that is never null.
    pub fn flag(&self, index: usize) -> Result<bool, WireError> {
        Ok(self.required(index)? == "t")
    }

    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        self.fields.get(index)?.clone().map(|range| &self.data[range])
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn read(&mut self, body: &[u8]) -> Result<(), WireError> {
        let short = || WireError::Protocol("a row is shorter than it says".to_owned());
        self.data.clear();
        self.fields.clear();
        let mut rest = body.get(2..).ok_or_else(short)?;
        let columns = u16::from_be_bytes([body[0], body[1]]);
        for _ in 0..columns {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            rest = after;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                self.fields.push(None);
                continue;
            };
            let value = rest.get(..length).ok_or_else(short)?;
            rest = &rest[length..];
            if std::str::from_utf8(value).is_err() {
                return Err(WireError::Protocol("a catalog value is not UTF-8".to_owned()));
            }
            self.fields.push(Some(self.data.len()..self.data.len() + length));
            self.data.extend_from_slice(value);
        }
        Ok(())
    }
}
