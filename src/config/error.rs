//! Errors that point into a file.

/// What is wrong, where, and what to do: rendered with file, line and caret, without colour.
///
/// One value may hold several findings, one block each, separated by an empty line: a person fixes all of them at once.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{rendered}")]
pub struct ConfigError {
    pub rendered: String,
}

impl ConfigError {
    /// An error without a place in a file.
    pub fn new(rendered: impl Into<String>) -> Self {
        Self { rendered: rendered.into() }
    }

    /// The text as it stands on a terminal: every block starts with `error: `.
    pub fn report(&self) -> String {
        if self.rendered.starts_with("error: ") { self.rendered.clone() } else { format!("error: {}", self.rendered) }
    }
}
