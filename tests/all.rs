#[path = "support/dump_server.rs"]
mod dump_server;
mod postgres_wire;
