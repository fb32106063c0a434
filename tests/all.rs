//! The integration tests: one binary, so that two cores link it once.

mod config;
mod targets;
//! Every black-box test, in one binary: two cores link it once.

mod architecture;
mod report;
//! Black-box tests against real servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

#[path = "support/wire_server.rs"]
mod postgres_server;
mod postgres_wire;
mod scratch;
mod support;
