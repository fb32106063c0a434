//! Black-box tests against real servers, in one binary: two cores link it once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod architecture;
mod config;
mod dump_server;
mod init;
mod inventory;
mod mutations;
mod postgres_load;
#[path = "support/wire_server.rs"]
mod postgres_server;
//! Black-box tests against real servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

#[path = "support/collecting_sink.rs"]
mod collecting_sink;
#[path = "support/dump_server.rs"]
mod dump_server;
mod postgres_dump;
mod postgres_wire;
mod report;
mod scratch;
mod support;
mod targets;
