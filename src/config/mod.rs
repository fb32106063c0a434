//! Configuration: `raw` (as written) becomes `resolved` (valid by construction); secrets stay references until used.
//!
//! Tables that belong to a capability room (`[source]`, `[targets.x]`, a check) stay a [`Section`]: the room that owns them
//! parses them, and errors still point into the file. What this room must never do: connect anywhere or rewrite a file.

pub mod error;
pub mod resolved;
pub mod secret_ref;
pub mod section;

pub use error::ConfigError;
pub use resolved::{BackupPolicy, Config, Guard, Job, Keys, RestoreTestPolicy, Retention, Schedule, ScratchConfig};
pub use secret_ref::SecretRef;
pub use section::Section;
