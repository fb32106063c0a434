//! Every black-box test, in one binary: two cores link it once.

mod architecture;
mod report;
