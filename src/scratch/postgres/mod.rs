//! Scratch Postgres: a private server of the snapshot's own major version, or a server that the user named.

mod checks;
mod named;
mod policy;
mod programs;
mod server;

use async_trait::async_trait;

pub use policy::PostgresScratchPolicy;

use super::{Lease, LeaseRequest, ScratchError, ScratchKind, unless_cancelled};
use crate::config::{ConfigError, Section};
use crate::domain::ScratchNeeds;

/// `[scratch.postgres]`.
#[derive(Debug, Clone, Copy)]
pub struct PostgresScratch;

#[async_trait]
impl ScratchKind for PostgresScratch {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    fn check(&self, section: &Section) -> Result<(), ConfigError> {
        PostgresScratchPolicy::parse(section).map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(policy::RawPolicy)
    }

    async fn lease(
        &self,
        section: Option<&Section>,
        needs: &ScratchNeeds,
        request: &LeaseRequest,
    ) -> Result<Box<dyn Lease>, ScratchError> {
        let policy = policy::RULES.policy_of(section, PostgresScratchPolicy::parse)?;
        match &policy.url {
            Some(url) => unless_cancelled(request, named::lease(url, &policy, needs, request)).await,
            None => unless_cancelled(request, server::lease(&policy, needs, request)).await,
        }
    }
}
