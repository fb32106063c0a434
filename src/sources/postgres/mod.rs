//! Postgres: dump, load and inventory.
//!
//! A dump reads one database at one instant: locks before the snapshot ([`snapshot`]), rows by COPY on several sessions
//! ([`tables`]), everything else by `pg_dump` ([`programs`]) and by the session that holds the locks ([`small`]). What this
//! room must never do: write to the live server, wait for a lock without a limit, or call a dump whole that is not.

pub mod catalog;
pub mod client;
pub mod config;
mod dump;
mod failure;
mod first_cause;
pub mod introspect;
pub mod inventory;
pub mod load;
mod programs;
mod ranges;
pub mod record;
mod server;
pub mod session;
mod small;
mod snapshot;
mod source;
mod tables;
pub mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use config::PostgresConfig;
pub use record::PostgresRecord;
pub use source::PostgresSource;

use super::{Context, Countable, LoadReport, LoadRequest, Source, SourceError, SourceKind};
use crate::config::{ConfigError, Section};
use crate::domain::record::Statement;
use crate::domain::{PartName, PartStore, Place, ScratchNeeds, SourceRecord};

/// The registered kind.
#[derive(Debug, Clone, Copy)]
pub struct Postgres;

#[async_trait]
impl SourceKind for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn configure(&self, section: &Section) -> Result<Box<dyn Source>, ConfigError> {
        Ok(Box::new(PostgresSource::new(section.parse::<PostgresConfig>()?.settle()?)))
    }

    fn program_folders(&self, section: &Section) -> Vec<PathBuf> {
        section.text("client_directory").map(PathBuf::from).into_iter().collect()
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(PostgresConfig)
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

    fn again(&self, record: &SourceRecord, place: &Place, only: &[String]) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(PostgresSource::again(record, place, only)?))
    }

    fn statements(&self, group: &str) -> Option<fn(&str) -> Option<Statement>> {
        small::statements(group)
    }

    fn needs(&self, record: &SourceRecord) -> ScratchNeeds {
        load::needs(record)
    }

    fn countable(&self, record: &SourceRecord) -> Vec<(String, Vec<Countable>)> {
        record::countable(record)
    }

    fn loading_guide(&self, record: &SourceRecord, files: &[(PartName, String)]) -> String {
        load::loading_guide(record, files)
    }
}
