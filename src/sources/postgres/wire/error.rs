//! What can go wrong on the wire.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

use crate::sources::network::Ended;

/// An error that the server reported, with the fields that a person or a decision needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, never translated.
    pub severity: String,
    /// Five characters: `55P03`.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub context: Option<String>,
}

impl ServerError {
    pub(super) fn parse(mut fields: ErrorFields<'_>) -> Self {
        let mut error = Self::default();
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' if error.severity.is_empty() => error.severity = value,
                b'V' => error.severity = value,
                b'C' => error.sqlstate = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                b'W' => error.context = Some(value),
                _ => {}
            }
        }
        error
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        write!(f, " [{}]", self.sqlstate)
    }
}

impl std::error::Error for ServerError {}

#[derive(Debug, Clone, thiserror::Error)]
pub enum WireError {
    #[error("`{url}` is not a Postgres URL: {why}")]
    Url { url: String, why: String },
    #[error("no connection to {place}: {why}")]
    Connect { place: String, why: String },
    #[error("TLS with {place}: {why}")]
    Tls { place: String, why: String },
    #[error("authentication at {place}: {why}")]
    Auth { place: String, why: String },
    #[error("{0}")]
    Server(#[from] Box<ServerError>),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the server sent no byte for {secs} s")]
    Stalled { secs: u64 },
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    #[error("{0}")]
    Pooled(String),
    #[error("cancelled")]
    Cancelled,
}

impl From<Ended> for WireError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Cancelled => Self::Cancelled,
            Ended::Stalled { secs } => Self::Stalled { secs },
            Ended::Broken(why) => Self::Broken(why),
        }
    }
}

impl WireError {
    /// The server's five-character code, when the server reported the error.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.sqlstate),
            _ => None,
        }
    }

    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }
}
