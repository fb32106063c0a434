//! Configuration: `raw` (as written) becomes `resolved` (valid by construction); secrets stay references until used.
//!
//! Tables that belong to a capability room (`[source]`, `[targets.x]`, a check) stay a [`Section`]: the room that owns them
//! parses them, and errors still point into the file. What this room must never do: connect anywhere or rewrite a file.

mod diagnostic;
mod document;
pub mod environment;
pub mod error;
mod explain;
mod find;
mod load;
mod node;
mod raw;
mod redact;
pub mod resolved;
pub mod schema;
pub mod secret_ref;
pub mod section;
mod show;
pub mod value;

pub use environment::Environment;
pub use error::ConfigError;
pub use redact::{is_secret_key, redact_text};
pub use resolved::{BackupPolicy, Config, Guard, Job, Keys, RestoreTestPolicy, Retention, Schedule, ScratchConfig};
pub use schema::{RoomSchemas, SchemaOf, schema};
pub use secret_ref::SecretRef;
pub use section::Section;
pub use value::{CronText, DurationText, PercentText, SizeText, TimeZoneText};
