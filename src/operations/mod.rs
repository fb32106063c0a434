//! The stories: backup, restore, restore test, report. The only bridge between the rooms; prints nothing.

pub mod backup;
pub mod chain;
pub mod commit;
pub mod compare;
pub mod copies;
pub mod durable;
pub mod error;
pub mod fan_out;
pub mod guide;
pub mod limits;
pub mod lock;
pub mod pipeline;
pub mod reporting;
pub mod restore;
pub mod restore_test;
pub mod session;
pub mod snapshots;
pub mod targets_known;
pub mod test_plan;
pub mod work;

pub use error::{Class, OperationError};
pub use session::Session;
