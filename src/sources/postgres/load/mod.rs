//! Loads a dump into a running server.

use std::sync::Arc;

use crate::domain::{PartName, PartStore, ScratchNeeds, SourceRecord};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

pub async fn load(
    _context: &Context,
    _record: &SourceRecord,
    _store: Arc<dyn PartStore>,
    _request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    Err(SourceError::Lacks(vec!["the loader".to_owned()]))
}

pub fn needs(_record: &SourceRecord) -> ScratchNeeds {
    ScratchNeeds::default()
}

pub fn loading_guide(_record: &SourceRecord, _files: &[(PartName, String)]) -> String {
    String::new()
}
