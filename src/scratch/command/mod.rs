//! A scratch folder for a job's own test: private, empty, and removed with everything that still works in it.
//!
//! The test is a command of the user's own and runs under the user's account; what it may take of time is the job's `timeout`.

use std::future::pending;
use std::path::PathBuf;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::folder::Folder;
use super::{Lease, LeaseRequest, ScratchError, ScratchKind};
use crate::config::{ConfigError, Section};
use crate::domain::{Place, ScratchNeeds};

/// There is nothing to set: `[scratch.command]` is no table.
#[derive(Debug, Clone, Copy)]
pub struct CommandScratch;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

#[async_trait]
impl ScratchKind for CommandScratch {
    fn engine(&self) -> &'static str {
        "command"
    }

    fn check(&self, section: &Section) -> Result<(), ConfigError> {
        section.parse::<NoSettings>().map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(NoSettings)
    }

    async fn lease(
        &self,
        _section: Option<&Section>,
        needs: &ScratchNeeds,
        request: &LeaseRequest,
    ) -> Result<Box<dyn Lease>, ScratchError> {
        let folder = Folder::make(&request.root, self.engine(), None)?;
        folder.check_free(needs.bytes)?;
        Ok(Box::new(ScratchFolder { folder, facts: ["a private folder".to_owned()] }))
    }
}

struct ScratchFolder {
    folder: Folder,
    facts: [String; 1],
}

#[async_trait]
impl Lease for ScratchFolder {
    fn place(&self, _database: &str) -> Place {
        Place { url: format!("command:{}", self.folder.path().display()), password: None }
    }

    fn programs(&self) -> Vec<PathBuf> {
        vec![]
    }

    fn facts(&self) -> &[String] {
        &self.facts
    }

    async fn expired(&self) {
        // The command has a limit of its own.
        pending::<()>().await;
    }

    async fn release(self: Box<Self>) -> Result<(), ScratchError> {
        let removed = tokio::task::spawn_blocking(move || self.folder.remove()).await;
        removed.unwrap_or_else(|error| Err(ScratchError::failed("scratch folder", error)))
    }

    async fn keep(self: Box<Self>) -> Result<String, ScratchError> {
        let path = self.folder.keep()?;
        let path = path.display();
        Ok(format!("the test's folder is kept until the next restore test: {path}\nend it with\n  rm -r {path}"))
    }
}
