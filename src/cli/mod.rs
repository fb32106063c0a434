//! The command line: what was typed becomes types in [`args`]; each verb has a file. The only room that prints.

pub mod arg_types;
pub mod args;
pub mod config;
pub mod init;
mod init_text;
