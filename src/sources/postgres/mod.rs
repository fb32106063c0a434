//! Postgres: dump, load and inventory.
