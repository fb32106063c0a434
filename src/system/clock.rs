//! The wall clock, in one place so that nothing else reads it by accident.

use jiff::Timestamp;

/// Now, UTC.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// RFC 3339 in UTC, whole seconds: `2026-11-21T10:15:49Z`.
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
