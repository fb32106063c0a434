//! What a restore test would do, without doing it: nothing is leased, nothing is written.
//!
//! The snapshot's recipe is read, because what scratch must offer stands in it.

use super::restore_test::{self, Request};
use super::session::{OpenTarget, Session, kind};
use super::{Class, OperationError};
use crate::config::Job;
use crate::domain::{JobName, PartStore, ScratchNeeds, SnapshotId};
use crate::repository::crypt::Identities;

#[derive(Debug, Clone, serde::Serialize)]
pub struct TestPlan {
    pub job: String,
    /// One for each target.
    pub tests: Vec<PlannedTest>,
    pub checks: Vec<PlannedCheck>,
}

/// The test from one target.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PlannedTest {
    pub target: String,
    pub place: String,
    #[serde(flatten)]
    pub restores: Option<PlannedRestore>,
    /// Why nothing could be tested from here; empty where it could.
    pub problem: String,
    #[serde(skip)]
    pub error: Option<OperationError>,
}

/// What would be restored, and into what.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PlannedRestore {
    pub snapshot: SnapshotId,
    pub dumped_at: String,
    pub source: String,
    pub parts: usize,
    pub bytes: u64,
    pub scratch: ScratchNeeds,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct PlannedCheck {
    pub check: String,
    pub expected: String,
}

/// Looks at each target that a test of the job would restore from.
pub async fn plan(session: &Session, job: &Job, request: &Request) -> Result<TestPlan, OperationError> {
    let (targets, checks) = restore_test::settle(session, job, request).await?;
    let identities = session.identities().await?;
    let mut tests = vec![];
    for target in targets {
        let looked = look(session, &job.name, &target, request, &identities).await;
        let (restores, error) = match looked {
            Ok(restores) => (Some(restores), None),
            // As in a test: a person mends these now.
            Err(error) if matches!(error.class, Class::Cancelled | Class::Config | Class::Key | Class::Usage) => {
                return Err(error);
            }
            Err(error) => (None, Some(error)),
        };
        tests.push(PlannedTest {
            target: target.name.to_string(),
            place: target.target.place(),
            restores,
            problem: error.as_ref().map(ToString::to_string).unwrap_or_default(),
            error,
        });
    }
    let checks = checks
        .iter()
        .map(|check| PlannedCheck { check: check.name().to_owned(), expected: check.expected() })
        .collect();
    Ok(TestPlan { job: job.name.to_string(), tests, checks })
}

async fn look(
    session: &Session,
    job: &JobName,
    target: &OpenTarget,
    request: &Request,
    identities: &Identities,
) -> Result<PlannedRestore, OperationError> {
    let found = restore_test::find(session, job, target, &request.selector).await?;
    let snapshot = restore_test::open(session, target, &found, identities).await?;
    let record = &snapshot.recipe.meta.source;
    let names = snapshot.store.names();
    Ok(PlannedRestore {
        snapshot: snapshot.root.snapshot.clone(),
        dumped_at: snapshot.root.started.clone(),
        source: record.summary.clone(),
        parts: names.len(),
        bytes: names.iter().filter_map(|name| snapshot.store.fingerprint(name)).map(|print| print.bytes).sum(),
        scratch: kind(&record.kind)?.needs(record),
    })
}
