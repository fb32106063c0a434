//! The bucket of a job, or a folder into which a snapshot of one was restored.

use std::sync::Arc;

use async_trait::async_trait;

use super::config::Settings;
use super::elsewhere::Where;
use super::origin::ObjectsOrigin;
use super::record::ObjectsRecord;
use super::restored::{RestoredBucket, RestoredFolder};
use super::s3::S3Store;
use super::store;
use crate::domain::record::{Instant, PartGroup};
use crate::domain::{Event, Gap, Names, PackNumber, PartSink, Place, SourceRecord, human_bytes};
use crate::sources::tree::{self, Summary, TreeDump, digest_part};
use crate::sources::{Context, Preflight, Source, SourceError};
use crate::system::clock;

/// A full page; behind one there may be more.
const PAGE: usize = 1000;
/// The group that holds everything that is compared.
const GROUP: &str = "objects";

pub(super) struct BucketSource {
    pub(super) settings: Settings,
}

impl BucketSource {
    fn record(&self, summary: &Summary, left_out: u64, at: String) -> SourceRecord {
        let config = &self.settings.config;
        let details = ObjectsRecord {
            bucket: self.settings.store.bucket(config),
            prefix: config.prefix.clone(),
            include: config.include.clone(),
            exclude: config.exclude.clone(),
            tags: config.tags,
            versions: config.versions,
            access_lists: config.access_lists,
            identity: self.settings.identity(),
            entries: summary.entries,
            bytes: summary.bytes,
        };
        let mut gaps = summary.gaps("object");
        if left_out > 0 {
            gaps.push(Gap { what: format!("{left_out} objects"), why: "left out by the job's patterns".to_owned() });
        }
        gaps.extend(self.never());
        SourceRecord {
            kind: super::KIND.to_owned(),
            summary: format!("objects of {}", self.settings.place()),
            version: String::new(),
            instants: vec![Instant { of: "objects, each at the moment when it was read".to_owned(), at }],
            gaps,
            inventories: vec![],
            groups: vec![group(summary)],
            details: serde_json::to_value(details).expect("plain data"),
        }
    }

    /// What no run of this job backs up.
    fn never(&self) -> Vec<Gap> {
        let config = &self.settings.config;
        let gap = |what: &str, why: &str| Gap { what: what.to_owned(), why: why.to_owned() };
        let mut gaps = vec![gap("locks and the bucket's own settings", "only objects are backed up")];
        if !matches!(self.settings.store, Where::S3) {
            let why = "of this store, only current objects are read";
            gaps.push(gap("older versions, tags and access lists of objects", why));
            if self.settings.store.has_folders() {
                let why = "they are no objects; a source of type `files` keeps them";
                gaps.push(gap("owners, permissions, links and empty folders", why));
            }
            return gaps;
        }
        for (asked, what, why) in [
            (config.versions, "older versions of objects", "the job does not ask for them (`versions = true`)"),
            (config.access_lists, "access lists of objects", "the job does not ask for them (`access_lists = true`)"),
            (config.tags, "tags of objects", "the job does not ask for them (`tags = true`)"),
        ] {
            if !asked {
                gaps.push(gap(what, why));
            }
        }
        gaps
    }
}

fn group(summary: &Summary) -> PartGroup {
    PartGroup {
        name: GROUP.to_owned(),
        parts: vec![digest_part()],
        // What could not be read is among the gaps.
        engine_count: Some(summary.found - summary.vanished.count - summary.denied.count),
        compared: true,
    }
}

#[async_trait]
impl Source for BucketSource {
    fn describe(&self) -> String {
        format!("objects of {}", self.settings.place())
    }

    async fn preflight(&self, context: &Context) -> Result<Preflight, SourceError> {
        let mut listing = store::connect(&self.settings).await?.list(None, None);
        let first = tokio::select! {
            () = context.cancel.cancelled() => return Err(SourceError::Cancelled),
            page = listing.next() => page?,
        };
        let count = first.map_or(0, |page| page.len());
        let things = if self.settings.config.versions { "versions" } else { "objects" };
        let facts = if count < PAGE { format!("{count} {things}") } else { format!("{count} {things} or more") };
        let mut preflight =
            Preflight { facts: vec![facts], gaps: self.never(), estimated_parts: 1, ..Preflight::default() };
        if count == 0 {
            preflight.warnings.push(format!("{} lists no object", self.settings.place()));
        }
        Ok(preflight)
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let at = clock::rfc3339(clock::now());
        let store = store::connect(&self.settings).await?;
        let (lanes, cancel) = (context.lanes, context.cancel.clone());
        let origin = Arc::new(ObjectsOrigin::new(store, self.settings.clone(), context.keep.clone(), lanes, cancel));
        let dump = TreeDump {
            origin: Arc::clone(&origin) as Arc<dyn tree::Origin>,
            keep: Some(context.keep.clone()),
            full_read: self.settings.config.full_read,
            names: None,
        };
        let summary = dump.run(context, sink).await?;
        summary.tell(context, "object");
        let (read, files) = (human_bytes(summary.read_bytes), summary.read_entries);
        let detail = format!("{} objects, {read} in {files} of them read", summary.entries);
        context.progress.event(Event::Phase { job: context.job.clone(), phase: "read".to_owned(), detail });
        Ok(self.record(&summary, origin.left_out(), at))
    }

    fn committed(&self, context: &Context, packs: &[(PackNumber, [u8; 32])]) -> Result<(), SourceError> {
        tree::committed(&context.keep, packs)
    }
}

/// Objects in a folder or in a scratch bucket, for comparison.
pub(super) struct RestoredSource {
    record: SourceRecord,
    place: Place,
    names: Option<Arc<Names>>,
}

impl RestoredSource {
    pub(super) fn new(record: &SourceRecord, place: &Place, names: Option<Arc<Names>>) -> Self {
        Self { record: record.clone(), place: place.clone(), names }
    }

    fn origin(&self, context: &Context) -> Result<Arc<dyn tree::Origin>, SourceError> {
        let cancel = context.cancel.clone();
        if let Some(folder) = self.place.folder() {
            return Ok(Arc::new(RestoredFolder { folder, cancel }));
        }
        let record = ObjectsRecord::of(&self.record)?;
        let (connection, bucket) = super::bucket_of(&self.place, None)?;
        let store = S3Store::at(&connection, &bucket, record.versions).with_tags(record.tags);
        let settings = Settings::of_scratch(bucket, record.versions);
        Ok(Arc::new(RestoredBucket::new(Arc::new(store), settings, &context.keep, context.lanes, cancel)))
    }
}

#[async_trait]
impl Source for RestoredSource {
    fn describe(&self) -> String {
        format!("objects restored into `{}`", self.place.url)
    }

    async fn preflight(&self, _context: &Context) -> Result<Preflight, SourceError> {
        Ok(Preflight::default())
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let dump = TreeDump { origin: self.origin(context)?, keep: None, full_read: true, names: self.names.clone() };
        let summary = dump.run(context, sink).await?;
        Ok(SourceRecord { groups: vec![group(&summary)], gaps: summary.gaps("object"), ..self.record.clone() })
    }
}
