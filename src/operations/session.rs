//! What every story starts from: configuration, state folder, catalog, targets.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::limits::INFO_BYTES_MAX;
use super::{Class, OperationError};
use crate::catalog::Catalog;
use crate::config::{Config, Job};
use crate::domain::{Event, JobName, Progress, TargetName};
use crate::repository::crypt::Identities;
use crate::repository::info::RepositoryInfo;
use crate::repository::layout::{self, ContentName};
use crate::sources::{self, SourceKind};
use crate::targets::{self, Target, TargetError};

pub struct Session {
    pub config: Config,
    pub catalog: Catalog,
    pub progress: Arc<dyn Progress>,
    pub cancel: CancellationToken,
}

/// A target that is configured; whether it can be reached shows when it is used.
#[derive(Clone)]
pub struct OpenTarget {
    pub name: TargetName,
    pub target: Arc<dyn Target>,
}

impl Session {
    pub async fn open(
        config: Config,
        progress: Arc<dyn Progress>,
        cancel: CancellationToken,
    ) -> Result<Self, OperationError> {
        make_private_folder(&config.state)?;
        let catalog = Catalog::open(&config.state).await?;
        if let Some(aside) = &catalog.set_aside {
            progress.event(Event::Warning {
                job: String::new(),
                message: format!("the catalog was damaged and set aside as `{}`; history starts anew", aside.display()),
            });
        }
        Ok(Self { config, catalog, progress, cancel })
    }

    /// For looking only: nothing is written, not even a state folder, and the catalog is a copy that is forgotten.
    pub async fn look(
        config: Config,
        progress: Arc<dyn Progress>,
        cancel: CancellationToken,
    ) -> Result<Self, OperationError> {
        let catalog = Catalog::copy_of(&config.state).await?;
        Ok(Self { config, catalog, progress, cancel })
    }

    pub fn job(&self, name: &JobName) -> Result<&Job, OperationError> {
        self.config.jobs.iter().find(|job| job.name == *name).ok_or_else(|| {
            let known: Vec<_> = self.config.jobs.iter().map(|job| format!("`{}`", job.name)).collect();
            let hint = if known.is_empty() {
                "there are no jobs yet: `lifeboat init --postgres URL` writes one".to_owned()
            } else {
                format!("jobs: {}", known.join(", "))
            };
            OperationError::new(Class::NotFound, format!("there is no job `{name}`")).hint(hint)
        })
    }

    pub fn kind(&self, job: &Job) -> Result<&'static dyn SourceKind, OperationError> {
        kind(&job.kind)
    }

    pub async fn target(&self, name: &TargetName) -> Result<OpenTarget, OperationError> {
        let section = self.config.targets.get(name).ok_or_else(|| {
            let known: Vec<_> = self.config.targets.keys().map(|name| format!("`{name}`")).collect();
            OperationError::new(Class::NotFound, format!("there is no target `{name}`"))
                .hint(format!("targets: {}", known.join(", ")))
        })?;
        let folder = self.config.file.parent().unwrap_or(Path::new("."));
        let target = targets::registry::configure(name, section, folder).await?;
        Ok(OpenTarget { name: name.clone(), target: Arc::from(target) })
    }

    pub async fn targets(&self, names: &[TargetName]) -> Result<Vec<OpenTarget>, OperationError> {
        let mut open = Vec::with_capacity(names.len());
        for name in names {
            open.push(self.target(name).await?);
        }
        Ok(open)
    }

    /// The identity that restores need.
    pub async fn identities(&self) -> Result<Identities, OperationError> {
        let Some(reference) = &self.config.keys.identity else {
            return Err(OperationError::new(Class::Key, "there is no identity to decrypt with")
                .hint("set `keys.identity` in `lifeboat.toml`, for example { file = \"/run/secrets/identity\" }"));
        };
        let text = reference.resolve_whole().await.map_err(|error| OperationError {
            class: Class::Key,
            ..OperationError::from(error).during("the identity cannot be read")
        })?;
        Ok(Identities::parse(&text)?)
    }

    pub fn warn(&self, job: &str, message: impl Into<String>) {
        self.progress.event(Event::Warning { job: job.to_owned(), message: message.into() });
    }

    pub fn phase(&self, job: &str, phase: &str, detail: impl Into<String>) {
        self.progress.event(Event::Phase { job: job.to_owned(), phase: phase.to_owned(), detail: detail.into() });
    }

    pub fn note(&self, job: &str, message: impl Into<String>) {
        self.progress.event(Event::Note { job: job.to_owned(), message: message.into() });
    }
}

pub fn kind(name: &str) -> Result<&'static dyn SourceKind, OperationError> {
    sources::registry::kind(name).ok_or_else(|| {
        let known: Vec<_> = sources::registry::kinds().iter().map(|kind| format!("`{}`", kind.name())).collect();
        OperationError::new(Class::Config, format!("there is no source type `{name}`"))
            .hint(format!("types: {}", known.join(", ")))
    })
}

/// Reads which repository a target holds; `None` for an empty target.
pub async fn read_info(target: &OpenTarget) -> Result<Option<RepositoryInfo>, OperationError> {
    match target.target.get(&layout::info(), INFO_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(RepositoryInfo::decode(&bytes)?)),
        Err(TargetError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Which packs a target shows, with the sizes of their files.
pub async fn list_packs(target: &OpenTarget) -> Result<HashMap<ContentName, u64>, OperationError> {
    let listed = target.target.list(layout::PACKS).await?;
    Ok(listed.iter().filter_map(|object| Some((layout::content_name(&object.key)?, object.size))).collect())
}

fn make_private_folder(folder: &Path) -> Result<(), OperationError> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|why| {
        OperationError::new(Class::Config, format!("the state folder `{}` cannot be made", folder.display()))
            .cause(why)
            .hint("set `state` in `lifeboat.toml` to a folder that can be written")
    })
}
