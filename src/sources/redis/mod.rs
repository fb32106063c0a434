//! Redis and Valkey: one point in time over the wire.

pub mod rdb;
