//! One error for everything that a story can end with: what, cause, where, hint, and a class.
//!
//! | class | exit | worth retrying |
//! |---|---|---|
//! | `Usage`, `Config` | 2 | no |
//! | `Source`, `Target`, `Scratch`, `Bug` | 1 | `Source` and `Target`: yes |
//! | `Integrity` | 1 | no: another target may help |
//! | `Partial` | 3 | the failed half |
//! | `TestFailed` | 4 | no |
//! | `Unproven` | 5 | after what it needs is there |
//! | `NotFound` | 10 | no |
//! | `Locked` | 11 | later |
//! | `Key` | 12 | no |
//! | `Skipped` | 75 | the running one does the work |
//! | `Cancelled` | 130 | yes |

use std::fmt;

use crate::catalog::CatalogError;
use crate::config::ConfigError;
use crate::domain::StoreError;
use crate::proof::ProofError;
use crate::repository::RepositoryError;
use crate::scratch::ScratchError;
use crate::sources::SourceError;
use crate::targets::TargetError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Usage,
    Config,
    Source,
    Target,
    Integrity,
    Scratch,
    Bug,
    Partial,
    TestFailed,
    Unproven,
    NotFound,
    Locked,
    Key,
    Skipped,
    Cancelled,
}

impl Class {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Source | Self::Target | Self::Integrity | Self::Scratch | Self::Bug => 1,
            Self::Usage | Self::Config => 2,
            Self::Partial => 3,
            Self::TestFailed => 4,
            Self::Unproven => 5,
            Self::NotFound => 10,
            Self::Locked => 11,
            Self::Key => 12,
            Self::Skipped => 75,
            Self::Cancelled => 130,
        }
    }
}

/// Rendered by `cli` as
/// ```text
/// error: WHAT
///   cause: ...
///   where: ...
///   hint:  ...
/// ```
#[derive(Debug, Clone)]
pub struct OperationError {
    pub class: Class,
    /// One line, lower case, no final stop. A configuration error may bring its own rendering of several lines.
    pub what: String,
    pub cause: Option<String>,
    pub place: Option<String>,
    pub hint: Option<String>,
    /// The same run may well succeed if it is tried again at once: the source changed under the dump.
    pub transient: bool,
}

impl OperationError {
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), cause: None, place: None, hint: None, transient: false }
    }

    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed over where they end")]
    pub fn cause(mut self, cause: impl ToString) -> Self {
        let cause = cause.to_string();
        self.cause = (!cause.is_empty()).then_some(cause);
        self
    }

    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "places are handed over where they are made")]
    pub fn place(mut self, place: impl ToString) -> Self {
        self.place = Some(place.to_string());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.hint = (!hint.is_empty()).then_some(hint);
        self
    }

    /// Says what was being done, keeping the error itself as the cause.
    #[must_use]
    pub fn during(self, what: impl Into<String>) -> Self {
        let cause = match self.cause {
            Some(cause) => format!("{}: {cause}", self.what),
            None => self.what,
        };
        Self { what: what.into(), cause: Some(cause), ..self }
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for OperationError {}

impl From<ConfigError> for OperationError {
    fn from(error: ConfigError) -> Self {
        Self::new(Class::Config, error.rendered)
    }
}

impl From<CatalogError> for OperationError {
    fn from(error: CatalogError) -> Self {
        Self::new(Class::Bug, error.to_string())
            .hint("the catalog holds only history: move it away and lifeboat starts a new one")
    }
}

impl From<SourceError> for OperationError {
    fn from(error: SourceError) -> Self {
        let class = match &error {
            SourceError::Lacks(_) => Class::Unproven,
            SourceError::NotEmpty { .. } => Class::Usage,
            SourceError::Scratch { .. } => Class::Scratch,
            SourceError::Store(store) => store_class(store),
            SourceError::Cancelled => Class::Cancelled,
            _ => Class::Source,
        };
        let hint = error.hint().to_owned();
        let transient = matches!(error, SourceError::Changed { .. });
        let told = match error {
            SourceError::Unreachable { what, why, .. }
            | SourceError::Refused { what, why, .. }
            | SourceError::Changed { what, why, .. }
            | SourceError::Failed { what, why, .. }
            | SourceError::NotEmpty { what, why, .. }
            | SourceError::Scratch { what, why } => Self::new(class, what).cause(why),
            other => Self::new(class, other.to_string()),
        };
        Self { transient, ..told.hint(hint) }
    }
}

impl From<TargetError> for OperationError {
    fn from(error: TargetError) -> Self {
        let hint = match &error {
            TargetError::Full { .. } => "make room there, or name another target",
            TargetError::Denied { .. } => "let this user write there, or check the keys of the target",
            TargetError::Unreachable { .. } => "is its disk mounted, and does the network reach it?",
            TargetError::NotFound { .. } | TargetError::Oversized { .. } | TargetError::Other { .. } => "",
        };
        Self::new(Class::Target, error.to_string()).hint(hint)
    }
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::Damaged { .. } => "another target may hold it whole: `--from` reads from that one alone",
            _ => "",
        };
        Self::new(store_class(&error), error.to_string()).hint(hint)
    }
}

fn store_class(error: &StoreError) -> Class {
    match error {
        StoreError::NoSuchPart(_) => Class::NotFound,
        StoreError::Damaged { .. } => Class::Integrity,
        StoreError::Unreachable(_) => Class::Target,
        StoreError::Cancelled => Class::Cancelled,
    }
}

impl From<RepositoryError> for OperationError {
    fn from(error: RepositoryError) -> Self {
        match &error {
            RepositoryError::WrongKey { .. } => Self::new(Class::Key, error.to_string())
                .hint("`keys.identity` in `lifeboat.toml` must name an identity of one of the recipients"),
            RepositoryError::Damaged { .. } => Self::new(Class::Integrity, error.to_string()),
            RepositoryError::Untrusted { .. } => Self::new(Class::Integrity, error.to_string()).hint(
                "if another installation wrote it, or this one before it lost its state, add that writer's public key to \
                 `keys.trusted_writers`: `lifeboat keys export` prints it there, and `writers/` at the target holds it",
            ),
            RepositoryError::Writer { .. } => Self::new(Class::Bug, error.to_string()).hint(
                "it holds this installation's own keys: bring back a copy of it, or move it away and a new writer starts; older \
                 snapshots are then trusted through `keys.trusted_writers`",
            ),
            RepositoryError::TooNew { .. } => Self::new(Class::Usage, error.to_string()).hint("update lifeboat"),
            RepositoryError::Local { .. } => Self::new(Class::Bug, error.to_string()),
            RepositoryError::Cancelled => Self::new(Class::Cancelled, error.to_string()),
        }
    }
}

impl From<ScratchError> for OperationError {
    fn from(error: ScratchError) -> Self {
        let class = match &error {
            ScratchError::Lacks(_) => Class::Unproven,
            ScratchError::Cancelled => Class::Cancelled,
            _ => Class::Scratch,
        };
        Self::new(class, error.to_string())
    }
}

impl From<ProofError> for OperationError {
    fn from(error: ProofError) -> Self {
        Self::new(Class::Bug, error.to_string())
    }
}

/// Something of this machine that a story needs and cannot use: a folder, a file, memory.
pub fn local<E: ToString>(what: &'static str) -> impl Fn(E) -> OperationError {
    move |why| OperationError::new(Class::Bug, format!("{what} cannot be used")).cause(why)
}

/// A task that panicked or was taken away.
pub fn bug(why: tokio::task::JoinError) -> OperationError {
    OperationError::new(Class::Bug, "a task ended unexpectedly").cause(why)
}
