//! A scratch instance takes the stored RDB itself, so that what has expired is there to be compared.

use std::sync::Arc;

use crate::domain::{PartStore, SourceRecord};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

#[expect(clippy::unused_async, reason = "it loads once there is a scratch instance to lease")]
pub(super) async fn load(
    _context: &Context,
    _record: &SourceRecord,
    _store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    Err(SourceError::Refused {
        what: format!("restore into the scratch instance {}", request.place.url),
        why: "there are no scratch instances of Redis yet".to_owned(),
        hint: String::new(),
    })
}
