//! Errors that point into a file.

/// What is wrong, where, and what to do: rendered with file, line and caret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{rendered}")]
pub struct ConfigError {
    pub rendered: String,
}
