//! The integration tests: one binary, so that two cores link it once.

mod config;
mod init;
