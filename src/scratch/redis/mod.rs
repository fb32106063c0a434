//! Scratch Redis or Valkey: a private server that loads the snapshot's own format.

mod policy;
mod programs;
mod server;

use async_trait::async_trait;

pub use policy::RedisScratchPolicy;

use super::{Lease, LeaseRequest, ScratchError, ScratchKind, unless_cancelled};
use crate::config::{ConfigError, Section};
use crate::domain::ScratchNeeds;

/// `[scratch.redis]`.
#[derive(Debug, Clone, Copy)]
pub struct RedisScratch;

#[async_trait]
impl ScratchKind for RedisScratch {
    fn engine(&self) -> &'static str {
        "redis"
    }

    fn check(&self, section: &Section) -> Result<(), ConfigError> {
        RedisScratchPolicy::parse(section).map(drop)
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
        let policy = policy::RULES.policy_of(section, RedisScratchPolicy::parse)?;
        unless_cancelled(request, server::lease(&policy, needs, request)).await
    }
}
