//! The demo's first source: a Postgres with a small social network.

use std::path::Path;

use super::Demo;
use crate::domain::{Place, ScratchNeeds};
use crate::operations::{Class, OperationError};
use crate::scratch::{self, Lease, LeaseRequest, ScratchError};
use crate::sources::postgres::wire::{ConnectOptions, Connection, WireError};

pub(super) const DATABASE: &str = "social";
/// Newest first: the demo takes the first that is installed.
const MAJORS: [u32; 6] = [18, 17, 16, 15, 14, 13];

impl Demo<'_> {
    pub(super) async fn postgres(&self, root: &Path) -> Result<Box<dyn Lease>, OperationError> {
        let engine = scratch::registry::kind("postgres").expect("postgres is registered");
        let request = LeaseRequest { root: root.to_owned(), never: vec![], cancel: self.cancel.child_token() };
        let mut lacks = vec![];
        for major in MAJORS {
            let needs = ScratchNeeds {
                engine: "postgres".to_owned(),
                major,
                superuser: "postgres".to_owned(),
                encoding: "UTF8".to_owned(),
                ..ScratchNeeds::default()
            };
            match engine.lease(None, &needs, &request).await {
                Ok(lease) => return self.fill(lease, major).await,
                Err(ScratchError::Lacks(what)) => lacks.extend(what),
                Err(error) => return Err(error.into()),
            }
        }
        Err(OperationError::new(Class::Scratch, "there is no Postgres server to run the demo on")
            .cause(lacks.join(", "))
            .hint("apt install postgresql postgresql-contrib"))
    }

    async fn fill(&self, lease: Box<dyn Lease>, major: u32) -> Result<Box<dyn Lease>, OperationError> {
        let filled = async {
            self.sql(&lease.place("postgres"), &format!("create database {DATABASE}")).await?;
            self.sql(&lease.place(DATABASE), include_str!("data.sql")).await
        };
        match filled.await {
            Ok(()) => {
                self.say(&format!(
                    "  postgres {major}, database `{DATABASE}`: accounts, statuses, follows, a partitioned table of events;\n  \
                     jsonb, bytea, arrays, an extension, roles, policies, a large object"
                ));
                Ok(lease)
            }
            Err(error) => {
                lease.release().await?;
                Err(error)
            }
        }
    }

    pub(super) async fn sql(&self, place: &Place, script: &str) -> Result<(), OperationError> {
        let failed =
            |why: WireError| OperationError::new(Class::Source, "the demo's source could not be prepared").cause(why);
        let options = ConnectOptions::parse(&place.url, place.password.clone()).map_err(failed)?;
        let mut connection = Connection::connect(&options, &self.cancel).await.map_err(failed)?;
        connection.execute(script).await.map_err(failed)?;
        connection.close().await;
        Ok(())
    }
}
