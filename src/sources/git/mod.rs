//! Git repositories: mirrored, carried in bundles, and restored with the refs, the objects and the large objects that they had.
//!
//! What this room must never do: ask a person, run a hook or a program that a repository names, write to a live repository, or put a
//! secret on a command line. The machinery that it shares with other sources of many things is [`tree`](super::tree)'s.
//!
//! | file | does |
//! |---|---|
//! | `program` | runs `git`, away from this machine's own settings |
//! | `refs` | what a server says it has |
//! | `repository` | reads a bare repository on this disk |
//! | `mirror` | brings a mirror up to date, and says what is new |
//! | `chain` | the bundles that hold it |
//! | `hints` | what to do about what git says |
//! | `pointers`, `large` | what git-lfs keeps beside it, and how it is had |
//! | `origin` | hands over entries and streams bundles |
//! | `source` | live repositories, and restored ones |
//! | `load` | makes repositories out of bundles and refs |

mod chain;
mod config;
mod hints;
mod large;
mod load;
mod mirror;
mod origin;
mod pointers;
mod program;
mod record;
mod refs;
mod repository;
mod source;

use std::sync::Arc;

use async_trait::async_trait;

pub use config::GitConfig;

use self::record::GitRecord;
use self::source::{GitSource, RestoredGit};
use super::tree::list_part;
use super::tree::stored::StoredTree;
use super::{Context, LoadReport, LoadRequest, Look, Source, SourceError, SourceKind};
use crate::config::{ConfigError, Section};
use crate::domain::{Names, PartName, PartStore, Place, ScratchNeeds, SourceRecord};

const KIND: &str = "git";
/// A private folder is all that a restore test needs beside the program.
const ENGINE: &str = "files";

/// The registered kind.
#[derive(Debug, Clone, Copy)]
pub struct Git;

#[async_trait]
impl SourceKind for Git {
    fn name(&self) -> &'static str {
        KIND
    }

    fn configure(&self, section: &Section) -> Result<Box<dyn Source>, ConfigError> {
        Ok(Box::new(GitSource::new(section.parse::<GitConfig>()?.settle(section)?)))
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(GitConfig)
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

    fn holding(&self, _record: &SourceRecord, _name: &str) -> Option<Vec<PartName>> {
        // The load says what there is.
        Some(vec![list_part()])
    }

    fn again(&self, record: &SourceRecord, place: &Place, _only: &[String]) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(RestoredGit::of(record, place)?))
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
            Look::Restored(place) => Box::new(RestoredGit::of(record, &place)?.naming(names)),
        }))
    }

    fn needs(&self, record: &SourceRecord) -> ScratchNeeds {
        let details = GitRecord::of(record).unwrap_or_default();
        // Each pack gets an index, and a bundle is unpacked beside the ones before.
        ScratchNeeds { engine: ENGINE.to_owned(), bytes: details.bytes / 4 * 5, ..ScratchNeeds::default() }
    }

    fn loading_guide(&self, _record: &SourceRecord, _files: &[(PartName, String)]) -> String {
        GUIDE.to_owned()
    }
}

fn no_folder(place: &Place) -> SourceError {
    SourceError::Refused {
        what: format!("restore into `{}`", place.url),
        why: "repositories are restored into a folder".to_owned(),
        hint: "`--to DIR` names a new or an empty one".to_owned(),
    }
}

/// How to get repositories back with stock tools. The block of commands is what `RESTORE.md` runs.
const GUIDE: &str = include_str!("guide.md");
