//! A small Redis client of our own: RESP, logins, TLS, unix sockets, and the raw stream under replication.
//!
//! It is here because no crate offers the replication stream
//! ([decision 13](../../../../docs/decisions/0013-own-wire-client-for-redis.md)). What it must never do: trust a length, retry by
//! itself, put a secret into an error, or take the end of a connection for the end of a transfer. Memory: one read buffer of
//! [`READ_BUFFER_BYTES`] a connection, one reply of at most [`REPLY_BYTES_MAX`] unless the caller allows another size, and
//! [`WINDOW`] commands under way.
//!
//! The protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

mod connection;
mod error;
mod options;
mod reply;
mod stream;
mod tls;

pub use connection::Connection;
pub use error::{Code, ServerError, WireError};
pub use options::{ConnectOptions, Host};
pub use reply::Value;
pub(in crate::sources::redis) use reply::encode;

pub use crate::sources::network::tls::TlsFiles;

/// What one read may bring; also what a connection holds.
pub const READ_BUFFER_BYTES: usize = 256 << 10;
/// What a reply may hold that is no key's value.
pub const REPLY_BYTES_MAX: usize = 32 << 20;
/// Commands that are sent before the first of them is answered.
pub const WINDOW: usize = 256;
