//! Lifeboat backs up live systems to several targets and keeps proving that the backups restore.
//!
//! The folders are the rooms, as data flows through them; `docs/ARCHITECTURE.md` draws the house.
//!
//! ```text
//! cli -> operations -> { sources, repository, targets, catalog, scratch, proof, report } -> config -> domain, system
//! ```
//!
//! The rooms in braces are islands: they never import each other, `operations` introduces them to one another.
//! `tests/architecture.rs` reads the `use crate::` lines and keeps it so.

pub mod catalog;
pub mod cli;
pub mod config;
pub mod domain;
pub mod operations;
pub mod proof;
pub mod report;
pub mod repository;
pub mod scratch;
pub mod sources;
pub mod system;
pub mod targets;
