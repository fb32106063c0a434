//! A private folder that files are restored into: no server, only room, and the right to give files to whom they belong to.

use std::path::PathBuf;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::folder::Folder;
use super::{Lease, LeaseRequest, ScratchError, ScratchKind};
use crate::config::{ConfigError, Section};
use crate::domain::{Place, ScratchNeeds, human_bytes};

/// The registered engine.
#[derive(Debug, Clone, Copy)]
pub struct FilesScratch;

const ENGINE: &str = "files";

/// `[scratch.files]` has nothing to set yet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FilesTable {}

#[async_trait]
impl ScratchKind for FilesScratch {
    fn engine(&self) -> &'static str {
        ENGINE
    }

    fn check(&self, section: &Section) -> Result<(), ConfigError> {
        section.parse::<FilesTable>().map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(FilesTable)
    }

    async fn lease(
        &self,
        _section: Option<&Section>,
        needs: &ScratchNeeds,
        request: &LeaseRequest,
    ) -> Result<Box<dyn Lease>, ScratchError> {
        Ok(Box::new(folder_lease(ENGINE, needs, request)?))
    }
}

/// A private folder of an engine.
pub(super) fn folder_lease(
    engine: &str,
    needs: &ScratchNeeds,
    request: &LeaseRequest,
) -> Result<FilesLease, ScratchError> {
    let lacking = lacking(needs);
    if !lacking.is_empty() {
        return Err(ScratchError::Lacks(lacking));
    }
    let folder = Folder::make(&request.root, engine, None)?;
    folder.check_free(needs.bytes)?;
    let disk = rustix::fs::statvfs(folder.path()).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let free = human_bytes(disk.unwrap_or_default());
    let content = folder.path().join("restored");
    Ok(FilesLease { facts: vec![format!("a private folder with {free} free")], content, folder })
}

/// What this user may not do and a restore of these files needs.
fn lacking(needs: &ScratchNeeds) -> Vec<String> {
    if rustix::process::geteuid().is_root() {
        return vec![];
    }
    let us = rustix::process::geteuid().as_raw();
    let mut groups = vec![rustix::process::getegid().as_raw()];
    groups.extend(rustix::process::getgroups().unwrap_or_default().iter().map(|group| group.as_raw()));
    let mut lacking = vec![];
    if needs.users.iter().any(|user| *user != us) || needs.groups.iter().any(|group| !groups.contains(group)) {
        lacking.push("root, to give files to whom they belong to".to_owned());
    }
    if needs.devices {
        lacking.push("root, to make devices".to_owned());
    }
    lacking
}

pub(super) struct FilesLease {
    folder: Folder,
    content: PathBuf,
    facts: Vec<String>,
}

#[async_trait]
impl Lease for FilesLease {
    fn place(&self, _database: &str) -> Place {
        Place::of_folder(&self.content)
    }

    fn programs(&self) -> Vec<PathBuf> {
        vec![]
    }

    fn facts(&self) -> &[String] {
        &self.facts
    }

    async fn expired(&self) {
        std::future::pending::<()>().await;
    }

    async fn release(self: Box<Self>) -> Result<(), ScratchError> {
        let removed = tokio::task::spawn_blocking(move || self.folder.remove()).await;
        removed.unwrap_or_else(|error| Err(ScratchError::failed("scratch folder", error)))
    }

    async fn keep(self: Box<Self>) -> Result<String, ScratchError> {
        let content = self.content.display().to_string();
        let folder = self.folder.keep()?;
        Ok(format!("{content} (remove it with `rm -rf {}`)", folder.display()))
    }
}
