//! What a backup would do: connects, preflights and looks at the targets. Writes nothing anywhere but in a temporary folder.

use super::prepare::context;
use crate::config::Job;
use crate::operations::error::local;
use crate::operations::session::{OpenTarget, Session, read_info};
use crate::operations::{OperationError, targets_known};
use crate::sources::Preflight;

/// What a dry run found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BackupPlan {
    pub job: String,
    pub source: String,
    pub preflight: Preflight,
    pub targets: Vec<PlannedTarget>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct PlannedTarget {
    pub target: String,
    pub place: String,
    /// `holds repository ...`, `will be created, with a new repository`, or what is wrong.
    pub state: String,
    pub usable: bool,
}

/// Connects, preflights and looks at the targets; writes nothing anywhere.
pub async fn plan(session: &Session, job: &Job) -> Result<BackupPlan, OperationError> {
    let source = session.kind(job)?.configure(&job.source)?;
    let work = tempfile::tempdir().map_err(local("a temporary folder"))?;
    let preflight = source.preflight(&context(session, job, work.path().to_owned())).await?;
    let mut targets = vec![];
    for target in session.targets(&job.backup.targets).await? {
        let (state, usable) = match look(session, &target).await {
            Ok(state) => (state, true),
            Err(error) => (error.to_string(), false),
        };
        targets.push(PlannedTarget { target: target.name.to_string(), place: target.target.place(), state, usable });
    }
    Ok(BackupPlan { job: job.name.to_string(), source: source.describe(), preflight, targets })
}

/// What a target holds now, in words; an error where a backup could not use it.
async fn look(session: &Session, target: &OpenTarget) -> Result<String, OperationError> {
    let state = &session.config.state;
    if targets_known::will_be_created(state, target).await? {
        return Ok("will be created, with a new repository".to_owned());
    }
    match read_info(target).await? {
        Some(info) => Ok(format!("holds repository {}", info.repository)),
        None if targets_known::is_known(state, target)? => Err(targets_known::emptied(state, target)),
        None => Ok("empty: a repository would be made".to_owned()),
    }
}
