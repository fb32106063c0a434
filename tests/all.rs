#[path = "support/postgres.rs"]
mod postgres_server;
mod postgres_wire;
