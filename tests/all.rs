//! Black-box tests against real servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

#[path = "support/collecting_sink.rs"]
mod collecting_sink;
#[path = "support/dump_server.rs"]
mod dump_server;
mod postgres_dump;
mod postgres_load;
mod postgres_wire;
mod scratch;
mod support;
