//! Redis and Valkey: one point in time, over the wire.
//!
//! A dump is what a replica would be sent ([`replica`]).

pub mod replica;
pub mod wire;
