//! The RDB reader against what a real server writes, against files of every version built byte by byte, and against files that
//! are damaged.

#[path = "redis_rdb/builder.rs"]
pub(crate) mod builder;
#[path = "redis_rdb/dataset.rs"]
pub(crate) mod dataset;
#[path = "redis_rdb/hostile.rs"]
mod hostile;
#[path = "redis_rdb/reading.rs"]
mod reading;
#[path = "redis_rdb/real_server.rs"]
mod real_server;
#[path = "redis_rdb/server.rs"]
pub(crate) mod server;
#[path = "redis_rdb/single_changes.rs"]
mod single_changes;
#[path = "redis_rdb/vectors.rs"]
mod vectors;
#[path = "redis_rdb/versions.rs"]
mod versions;
