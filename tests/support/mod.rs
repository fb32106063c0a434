//! What the tests share: real servers, started and ended by the test that uses them.

pub(crate) mod certificates;
pub(crate) mod collecting_sink;
pub(crate) mod installation;
pub(crate) mod loaded;
pub(crate) mod mutations;
pub(crate) mod outcome;
pub(crate) mod parts;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod redis_data;
pub(crate) mod relay;
pub(crate) mod s3;
pub(crate) mod server;
pub(crate) mod small_disk;
pub(crate) mod soundness;
pub(crate) mod sshd;
pub(crate) mod tree;
