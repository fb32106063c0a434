//! Any command whose standard output is the backup, and any that takes it back on its standard input.
//!
//! What this room must never do: run what a snapshot names (only the configuration is run), put a secret on a command line, take a
//! stream for whole whose end and whose exit status were not both seen, or let a command that is fed see the end of a stream that
//! is not whole. The stream is one part, `stdout`, as it came. Memory: a lane's blocks for a backup; a few MiB for each of the
//! [`feed::PIECES`] pieces for a restore; the last 8 KiB of what the command says.

mod config;
mod dump;
mod feed;
mod guide;
mod launch;
mod load;
mod record;
mod source;

use std::sync::Arc;

use async_trait::async_trait;

pub use config::CommandConfig;

use self::source::CommandSource;
use super::{Context, LoadReport, LoadRequest, Source, SourceError, SourceKind};
use crate::config::{ConfigError, Section};
use crate::domain::{PartName, PartStore, Place, ScratchNeeds, SourceRecord};

/// The registered kind.
#[derive(Debug, Clone, Copy)]
pub struct Command;

#[async_trait]
impl SourceKind for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn configure(&self, section: &Section) -> Result<Box<dyn Source>, ConfigError> {
        let settings = section.parse::<CommandConfig>()?.settle(section)?;
        Ok(Box::new(CommandSource { settings }))
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(CommandConfig)
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

    /// What a command restores into cannot be asked for it again: [`LoadReport::handed_over`] is compared instead.
    fn again(&self, _record: &SourceRecord, _place: &Place, _only: &[String]) -> Result<Box<dyn Source>, SourceError> {
        Err(SourceError::Failed {
            what: "dump of what a command restored".to_owned(),
            why: "a command's own system is not known".to_owned(),
            hint: String::new(),
        })
    }

    fn needs(&self, record: &SourceRecord) -> ScratchNeeds {
        // What a test makes of the stream is not known; that it keeps it once is a fair guess.
        ScratchNeeds {
            engine: "command".to_owned(),
            bytes: record::CommandRecord::read(record).bytes,
            ..ScratchNeeds::default()
        }
    }

    fn loading_guide(&self, record: &SourceRecord, files: &[(PartName, String)]) -> String {
        guide::loading_guide(record, files)
    }
}
