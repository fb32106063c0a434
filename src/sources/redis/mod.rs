//! Redis and Valkey: one point in time, over the wire.
//!
//! A dump is what a replica would be sent ([`replica`]), read as it streams by ([`rdb`]).

pub mod rdb;
pub mod replica;
pub mod wire;
