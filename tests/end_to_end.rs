//! Stories through the real binary, against real servers: what a person does, and what a person reads.

mod checks;
mod databases;
mod needs;
mod restores;
mod roles;
mod s3;
mod standby;
