//! Every black-box test, in one binary: two cores link it once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod architecture;
mod report;
