//! What the tests share: real servers, started and ended by the test that uses them.

pub(crate) mod circle;
pub(crate) mod installation;
pub(crate) mod parts;
pub(crate) mod postgres;
