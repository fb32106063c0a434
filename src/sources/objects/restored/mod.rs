//! Where objects were restored to, read as a bucket is.

mod bucket;
mod folder;

pub(super) use bucket::RestoredBucket;
pub(super) use folder::RestoredFolder;

use crate::domain::Lane;
use crate::sources::SourceError;
use crate::sources::tree::{Outcome, Wanted};

/// What a sample left out is compared by what the list says of it: nothing is read.
fn as_listed(wanted: &Wanted, lane: &mut dyn Lane) -> Result<Outcome, SourceError> {
    let sum = hex::decode(&wanted.found.seen).ok().and_then(|sum| sum.try_into().ok());
    let Some(sum) = sum else { return Ok(Outcome::Vanished) };
    lane.begin_blob()?;
    lane.finish_blob()?;
    let attributes = wanted.found.attributes.clone().unwrap_or_default();
    Ok(Outcome::Read { size: wanted.found.size, sum, attributes, seen: String::new(), changing: false })
}
