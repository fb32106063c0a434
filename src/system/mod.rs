//! The clock and child processes: the only code that reads time, the environment, or spawns.

pub mod clock;
pub mod leftovers;
pub mod process;
pub mod user;
