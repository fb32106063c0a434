//! The words of the design as types: ids, parts, fingerprints, verdicts, secrets.
//!
//! No I/O, no clock, no async runtime: everything here can be tested by value.

pub mod blob;
pub mod bytes_text;
pub mod fingerprint;
pub mod ids;
pub mod inventory;
pub mod names;
pub mod object;
pub mod part;
pub mod place;
pub mod progress;
pub mod record;
pub mod record_hash;
pub mod secret;
pub mod stream;
pub mod verdict;
pub mod words;

pub use blob::{BlobAddress, BlobPiece, PackNumber};
pub use bytes_text::{human_bytes, parse_bytes};
pub use fingerprint::Fingerprint;
pub use ids::{JobName, RunId, SnapshotId, TargetName, WriterId};
pub use names::Names;
pub use object::{ObjectKey, SealedObject};
pub use part::{DIGEST_BYTES, PartName, Shape};
pub use place::{Place, ScratchNeeds, percent_decoded, with_host};
pub use progress::{Event, Progress};
pub use record::{Gap, SourceRecord};
pub use secret::Secret;
pub use stream::{Block, Lane, PartReader, PartSink, PartStore, SinkError, StoreError};
pub use verdict::{Evidence, Mismatch, Reason, Sampled, Verdict};
