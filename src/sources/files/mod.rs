//! Files and folders with everything that makes them up: type, permissions, owner, times, links, extended attributes, holes.
//!
//! What this room must never do: follow a link, wait for a pipe, or change anything where it reads. A restore creates nothing
//! outside its folder, whatever a list says. The machinery that files share with other sources of many things is
//! [`tree`](super::tree)'s.

mod attributes;
mod config;
mod load;
mod origin;
mod record;
mod source;

use std::sync::Arc;

use async_trait::async_trait;

pub use config::FilesConfig;

use self::record::FilesRecord;
use self::source::FilesSource;
use super::tree::stored::StoredTree;
use super::tree::{Patterns, list_part};
use super::{Context, LoadReport, LoadRequest, Look, Source, SourceError, SourceKind};
use crate::config::{ConfigError, Section};
use crate::domain::{Names, PartName, PartStore, Place, ScratchNeeds, SourceRecord};

const KIND: &str = "files";

/// The registered kind.
#[derive(Debug, Clone, Copy)]
pub struct Files;

#[async_trait]
impl SourceKind for Files {
    fn name(&self) -> &'static str {
        KIND
    }

    fn configure(&self, section: &Section) -> Result<Box<dyn Source>, ConfigError> {
        Ok(Box::new(FilesSource::new(section.parse::<FilesConfig>()?.settle(section)?)))
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(FilesConfig)
    }

    async fn load(
        &self,
        context: &Context,
        record: &SourceRecord,
        store: Arc<dyn PartStore>,
        request: &LoadRequest,
    ) -> Result<LoadReport, SourceError> {
        load::load(context, record, store, request).await
    }

    fn restores_into_folders(&self) -> bool {
        true
    }

    fn holding(&self, _record: &SourceRecord, name: &str) -> Option<Vec<PartName>> {
        Patterns::new(&[name.to_owned()]).ok().map(|_| vec![list_part()])
    }

    fn again(&self, record: &SourceRecord, place: &Place, _only: &[String]) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(FilesSource::again(record, place)?))
    }

    fn look_again(
        &self,
        record: &SourceRecord,
        side: Look,
        _only: &[String],
        names: Arc<Names>,
    ) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(Some(match side {
            Look::Stored(store) => Box::new(StoredTree { record: record.clone(), store, names }),
            Look::Restored(place) => Box::new(FilesSource::again(record, &place)?.naming(names)),
        }))
    }

    fn needs(&self, record: &SourceRecord) -> ScratchNeeds {
        let details = FilesRecord::of(record).unwrap_or_default();
        ScratchNeeds {
            engine: KIND.to_owned(),
            bytes: details.bytes,
            users: details.owners.users.into_iter().collect(),
            groups: details.owners.groups.into_iter().collect(),
            devices: details.owners.devices,
            ..ScratchNeeds::default()
        }
    }

    fn loading_guide(&self, _record: &SourceRecord, _files: &[(PartName, String)]) -> String {
        super::tree::GUIDE.to_owned()
    }
}

fn no_folder(place: &Place) -> SourceError {
    SourceError::Refused {
        what: format!("restore into `{}`", place.url),
        why: "files are restored into a folder".to_owned(),
        hint: "`--to DIR` names a new or an empty one".to_owned(),
    }
}
