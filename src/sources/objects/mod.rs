//! Object stores: every object of a bucket with what belongs to it.
//!
//! S3-compatible stores are read through Amazon's client ([`s3`]). Only what changed since the last list is fetched. What this
//! room must never do: write to the live bucket, or take for gone what a listing merely leaves out. The machinery that objects share with
//! files is [`tree`](super::tree)'s.

mod attributes;
mod config;
mod dal;
mod elsewhere;
mod folders;
mod load;
mod origin;
mod ranges;
mod record;
mod restored;
mod s3;
mod shelf;
mod source;
mod store;
mod version;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use config::ObjectsConfig;

use self::record::ObjectsRecord;
use self::source::{BucketSource, RestoredSource};
use super::tree::stored::StoredTree;
use super::tree::{Patterns, list_part};
use super::{Context, Countable, LoadReport, LoadRequest, Look, Source, SourceError, SourceKind};
use crate::config::{ConfigError, Section};
use crate::domain::record::Statement;
use crate::domain::{Names, PartName, PartStore, Place, ScratchNeeds, SourceRecord};
use crate::system::s3::{Bucket, Connection};

const KIND: &str = "objects";
/// In the folder of a run: what was put into a scratch bucket, and what such a bucket cannot hold of it.
const INDEX_OF_BUCKET: &str = "objects.jsonl";

/// The registered kind.
#[derive(Debug, Clone, Copy)]
pub struct Objects;

#[async_trait]
impl SourceKind for Objects {
    fn name(&self) -> &'static str {
        KIND
    }

    fn configure(&self, section: &Section) -> Result<Box<dyn Source>, ConfigError> {
        Ok(Box::new(BucketSource { settings: section.parse::<ObjectsConfig>()?.settle(section)? }))
    }

    fn program_folders(&self, _section: &Section) -> Vec<PathBuf> {
        vec![]
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(ObjectsConfig)
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

    fn samples(&self) -> bool {
        true
    }

    fn restores_into_folders(&self) -> bool {
        true
    }

    fn holding(&self, _record: &SourceRecord, name: &str) -> Option<Vec<PartName>> {
        Patterns::new(&[name.to_owned()]).ok().map(|_| vec![list_part()])
    }

    fn again(&self, record: &SourceRecord, place: &Place, _only: &[String]) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(RestoredSource::new(record, place, None)))
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
            Look::Restored(place) => Box::new(RestoredSource::new(record, &place, Some(names))),
        }))
    }

    fn statements(&self, _group: &str) -> Option<fn(&str) -> Option<Statement>> {
        None
    }

    fn needs(&self, record: &SourceRecord) -> ScratchNeeds {
        let details = ObjectsRecord::of(record).unwrap_or_default();
        ScratchNeeds {
            engine: "objects".to_owned(),
            bytes: details.bytes,
            source_identity: details.identity,
            ..ScratchNeeds::default()
        }
    }

    fn countable(&self, _record: &SourceRecord) -> Vec<(String, Vec<Countable>)> {
        vec![]
    }

    fn loading_guide(&self, _record: &SourceRecord, _files: &[(PartName, String)]) -> String {
        super::tree::GUIDE.to_owned()
    }
}

/// The bucket that a place is, with a prefix that ends as a folder does; what the place leaves open is as in `own`.
fn bucket_of(place: &Place, own: Option<&Connection>) -> Result<(Connection, Bucket), SourceError> {
    let refused = |why: String| SourceError::Refused {
        what: format!("restore into `{}`", place.url),
        why,
        hint: "`--to DIR` names a new or an empty folder, `--to s3://bucket/prefix` a bucket".to_owned(),
    };
    match Connection::of_place(place, own) {
        None => Err(refused("objects are restored into a folder or a bucket".to_owned())),
        Some(Err(why)) => Err(refused(why)),
        Some(Ok((connection, mut bucket))) => {
            if !bucket.prefix.is_empty() && !bucket.prefix.ends_with('/') {
                bucket.prefix.push('/');
            }
            Ok((connection, bucket))
        }
    }
}
