//! Restores objects into a folder or into a bucket.

mod bucket;
mod folder;

use std::sync::Arc;

use super::version;
use crate::domain::{PartStore, SourceRecord, StoreError};
use crate::sources::tree::{Entry, EntryKind};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    match request.place.folder() {
        Some(folder) => folder::load(context, record, store, request, folder).await,
        None => bucket::load(context, record, store, request).await,
    }
}

/// The key of an entry, and when its version was made.
fn key_and_time(entry: &Entry) -> Result<(String, Option<String>), SourceError> {
    let name = std::str::from_utf8(&entry.name).map_err(|_| bent(entry))?;
    if !matches!(entry.kind, EntryKind::Content | EntryKind::Removed) {
        return Err(bent(entry));
    }
    let (key, time) = version::split(name);
    Ok((key.to_owned(), time.map(str::to_owned)))
}

fn bent(entry: &Entry) -> SourceError {
    SourceError::Store(StoreError::Damaged {
        what: format!("entry `{}`", entry.shown()),
        why: "no list of objects holds such a thing".to_owned(),
    })
}

fn died(error: &tokio::task::JoinError) -> SourceError {
    SourceError::Failed { what: "restoring objects".to_owned(), why: error.to_string(), hint: String::new() }
}
