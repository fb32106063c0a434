//! Black-box tests against real servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod scratch;
mod support;
