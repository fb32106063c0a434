//! The folders of a job, or a folder into which a snapshot was restored.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::config::{Root, Settings};
use super::origin::FilesOrigin;
use super::record::FilesRecord;
use crate::domain::record::{Instant, PartGroup};
use crate::domain::{Event, Gap, Names, PackNumber, PartSink, Place, SourceRecord, human_bytes, percent_decoded};
use crate::sources::tree::{self, Patterns, Summary, TreeDump, digest_part};
use crate::sources::{Context, Preflight, Source, SourceError};
use crate::system::clock;

/// The group that holds everything that is compared.
const GROUP: &str = "files";

pub(super) struct FilesSource {
    settings: Settings,
    /// Who asks what some files are called.
    names: Option<Arc<Names>>,
    /// A restored folder: everything is read, and nothing remembered.
    again: bool,
}

impl FilesSource {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, names: None, again: false }
    }

    /// Reads the folder that a snapshot was restored into.
    pub(super) fn again(record: &SourceRecord, place: &Place) -> Result<Self, SourceError> {
        use std::os::unix::ffi::OsStringExt;
        let top = place.folder().ok_or_else(|| super::no_folder(place))?;
        let details = FilesRecord::of(record)?;
        let roots = details.roots.iter().map(|root| {
            let name = percent_decoded(root).unwrap_or_default();
            let path = if name.is_empty() {
                top.clone()
            } else {
                top.join(PathBuf::from(std::ffi::OsString::from_vec(name.clone())))
            };
            Root { path, name }
        });
        let exclude = Patterns::new(&[]).expect("no patterns are sound");
        let settings = Settings { roots: roots.collect(), exclude, one_file_system: false, full_read: true };
        Ok(Self { settings, names: None, again: true })
    }

    #[must_use]
    pub(super) fn naming(self, names: Arc<Names>) -> Self {
        Self { names: Some(names), ..self }
    }

    fn paths(&self) -> Vec<String> {
        self.settings.roots.iter().map(|root| root.path.display().to_string()).collect()
    }

    fn record(&self, origin: &FilesOrigin, summary: &Summary, at: String) -> SourceRecord {
        let paths = self.paths();
        let details = FilesRecord {
            roots: self.settings.roots.iter().map(|root| tree::entry::encoded(&root.name)).collect(),
            paths: paths.clone(),
            exclude: self.settings.exclude.texts().to_vec(),
            entries: summary.entries,
            bytes: summary.bytes,
            owners: origin.owners(),
        };
        let mut gaps = summary.gaps("file");
        gaps.extend(origin.gaps());
        SourceRecord {
            kind: super::KIND.to_owned(),
            summary: format!("files in {}", paths.join(", ")),
            version: String::new(),
            instants: vec![Instant { of: "files, each at the moment when it was read".to_owned(), at }],
            gaps,
            inventories: vec![],
            groups: vec![PartGroup {
                name: GROUP.to_owned(),
                parts: vec![digest_part()],
                // What could not be read is among the gaps.
                engine_count: Some(summary.found - summary.vanished.count - summary.denied.count),
                compared: true,
            }],
            details: serde_json::to_value(details).expect("plain data"),
        }
    }
}

#[async_trait]
impl Source for FilesSource {
    fn describe(&self) -> String {
        format!("files in {}", self.paths().join(", "))
    }

    async fn preflight(&self, _context: &Context) -> Result<Preflight, SourceError> {
        let mut preflight = Preflight::default();
        for root in &self.settings.roots {
            let found = std::fs::metadata(&root.path).map_err(|error| SourceError::Unreachable {
                what: format!("`{}`", root.path.display()),
                why: error.to_string(),
                hint: "check the path; is its disk mounted, and may this user read it?".to_owned(),
            })?;
            if root.name.is_empty() && !found.is_dir() {
                return Err(SourceError::Refused {
                    what: format!("`{}`", root.path.display()),
                    why: "it is not a folder".to_owned(),
                    hint: "a single file goes into a list: `path = [\"/etc/hosts\"]`".to_owned(),
                });
            }
            preflight.facts.push(format!("reads `{}`", root.path.display()));
        }
        if !self.settings.exclude.is_empty() {
            let what = format!("what fits `{}`", self.settings.exclude.texts().join("`, `"));
            preflight.gaps.push(Gap { what, why: "excluded by the job".to_owned() });
        }
        if !rustix::process::geteuid().is_root() {
            preflight.warnings.push("without root only files that this user may read are backed up".to_owned());
        }
        preflight.estimated_parts = 1;
        Ok(preflight)
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let at = clock::rfc3339(clock::now());
        let origin = Arc::new(FilesOrigin::new(self.settings.clone(), context.cancel.clone()));
        let dump = TreeDump {
            origin: Arc::clone(&origin) as Arc<dyn tree::Origin>,
            keep: (!self.again).then(|| context.keep.clone()),
            full_read: self.settings.full_read,
            names: self.names.clone(),
        };
        let summary = dump.run(context, sink).await?;
        if !self.again {
            summary.tell(context, "file");
            let detail = format!(
                "{} entries, {} in {} files read",
                summary.entries,
                human_bytes(summary.read_bytes),
                summary.read_entries
            );
            context.progress.event(Event::Phase { job: context.job.clone(), phase: "read".to_owned(), detail });
        }
        Ok(self.record(&origin, &summary, at))
    }

    fn committed(&self, context: &Context, packs: &[(PackNumber, [u8; 32])]) -> Result<(), SourceError> {
        if self.again { Ok(()) } else { tree::committed(&context.keep, packs) }
    }
}
