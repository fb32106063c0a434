//! Black-box tests against real servers, in one binary: two cores link it once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod architecture;
mod checks;
mod config;
mod end_to_end;
mod init;
mod inventory;
mod majors;
mod postgres_dump;
mod postgres_load;
mod postgres_wire;
mod report;
mod scratch;
mod support;
mod targets;
