//! Postgres: dump, load and inventory.

pub mod client;
pub mod failure;
pub mod inventory;
pub mod load;
pub mod record;
pub mod session;
pub mod wire;
