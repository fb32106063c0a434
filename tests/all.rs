//! Black-box tests against real servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod postgres_load;
#[path = "support/wire_server.rs"]
mod postgres_server;
mod postgres_wire;
mod scratch;
mod support;
