//! Black-box tests against real servers, in one binary: two cores link it once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]
#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    clippy::unnecessary_debug_formatting,
    clippy::format_collect,
    reason = "repository names are bytes, paths are quoted as TOML, and a test's strings are short"
)]

mod architecture;
mod buckets;
mod checks;
mod command_backup;
mod command_restore;
mod command_restore_test;
mod command_seams;
mod commit;
mod config;
mod demo;
mod end_to_end;
mod faults;
mod files;
mod git;
mod golden;
mod init;
mod inventory;
mod majors;
mod object_stores;
mod objects;
mod postgres_dump;
mod postgres_load;
mod postgres_wire;
mod proof_many_tables;
mod proof_mutations;
mod proof_unusual;
mod redis_dump;
mod redis_mutations;
mod redis_rdb;
mod redis_restore;
mod redis_restore_test;
mod redis_sentinel;
mod redis_spool;
mod redis_versions;
mod redis_wire;
mod report;
mod scratch;
mod stock_tools;
mod support;
mod targets;
mod targets_catch_up;
