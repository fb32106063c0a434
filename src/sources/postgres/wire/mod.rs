//! A lean Postgres client of our own: the simple query protocol and COPY, at the speed of the socket.
//!
//! It is here because row messages cost the usual clients an allocation each, and a dump is nothing but row messages.
//! What it must never do: send a password in the clear over an open network, retry by itself, or hide the end of a
//! stream: a COPY that did not see the server's own end is an error. Memory: one read buffer of [`READ_BUFFER_BYTES`] a
//! connection, which grows only for a single message larger than that, up to [`MESSAGE_BYTES_MAX`].
//!
//! The protocol is described in the Postgres manual, chapter "Frontend/Backend Protocol".

mod auth;
mod cancel;
mod connection;
mod copy;
mod error;
mod options;
mod pooler;
mod quote;
mod rows;
mod stream;
mod tls;

pub use cancel::CancelHandle;
pub use connection::Connection;
pub use copy::{CopyIn, CopyOut, Filled};
pub use error::{ServerError, WireError};
pub use options::{ConnectOptions, Host, TlsMode};
pub use pooler::refuse_transaction_pooling;
pub use quote::{quote_ident, quote_literal, quote_qualified};
pub use rows::Row;

pub use crate::sources::network::tls::TlsFiles;

/// What one read may bring; also what a connection holds.
pub const READ_BUFFER_BYTES: usize = 256 << 10;
/// Postgres itself bounds a message to 1 GiB.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;
