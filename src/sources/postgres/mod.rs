//! Postgres: dump, load and inventory.

pub mod inventory;
