//! The integration tests: one binary, so that two cores link it once.

mod config;
mod targets;
//! Every black-box test, in one binary: two cores link it once.

mod architecture;
mod report;
