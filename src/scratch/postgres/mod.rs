//! Scratch Postgres: a private server of the snapshot's own major version, or a server that the user named.

mod checks;
mod named;
mod policy;
mod programs;
mod server;

use async_trait::async_trait;

pub use policy::PostgresScratchPolicy;

use super::{Lease, LeaseRequest, ScratchError, ScratchKind};
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
        let policy = match section {
            Some(section) => PostgresScratchPolicy::parse(section)
                .map_err(|error| ScratchError::failed("`[scratch.postgres]`", error))?,
            None => PostgresScratchPolicy::default(),
        };
        lease(&policy, needs, request).await
    }
}

/// Starts a private server, or takes the one that the policy names, and shows that it offers what is needed.
pub async fn lease(
    policy: &PostgresScratchPolicy,
    needs: &ScratchNeeds,
    request: &LeaseRequest,
) -> Result<Box<dyn Lease>, ScratchError> {
    let start = async {
        match &policy.url {
            Some(url) => named::lease(url, policy, needs, request).await.map(|lease| Box::new(lease) as Box<dyn Lease>),
            None => server::lease(policy, needs, request).await.map(|lease| Box::new(lease) as Box<dyn Lease>),
        }
    };
    // Whatever was started by then ends as the future is dropped.
    tokio::select! {
        biased;
        () = request.cancel.cancelled() => Err(ScratchError::Cancelled),
        leased = start => leased,
    }
}
