//! Loads a Redis snapshot into a running system.

pub(super) mod scratch;
