//! The clock, child processes, and connections to S3: the only code that reads time, the environment, or spawns.

pub mod clock;
pub mod leftovers;
pub mod process;
pub mod s3;
pub mod user;

/// Whether a variable is set and not empty, as `NO_COLOR` is defined.
#[expect(clippy::disallowed_methods, reason = "this room reads the environment")]
pub fn environment_has(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// A variable that a tool of the field defines (`PGPASSWORD`), as a secret.
#[expect(clippy::disallowed_methods, reason = "this room reads the environment")]
pub fn environment_secret(name: &str) -> Option<crate::domain::Secret> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(crate::domain::Secret::new)
}
