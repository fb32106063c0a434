//! `init`: looks at a database, then writes what [`super::init`] planned.

use super::args::{Global, InitArgs};
use super::init::{
    InitRequest, MomentColumn, PostgresIntrospection, PostgresRequest, RecoveryKey, TableFacts, plan_init,
    split_password,
};
use super::output::Output;
use crate::operations::{Class, OperationError};
use crate::sources::postgres::introspect::{self, Introspection};
use crate::system::{self, clock};

pub async fn run(output: &Output, global: &Global, args: &InitArgs) -> Result<(), OperationError> {
    let usage = |error: super::init::InitError| OperationError::new(Class::Usage, error.to_string());
    let postgres = match &args.postgres {
        None => None,
        Some(url) => {
            let (plain, in_url) = split_password(url).map_err(usage)?;
            let password = in_url.or_else(|| system::environment_secret("PGPASSWORD"));
            let found = introspect::introspect(&plain, password.clone()).await.map_err(|error| {
                OperationError::from(error).during("the database could not be looked at; nothing was written")
            })?;
            Some(PostgresRequest { url: url.clone(), password, facts: facts(&found) })
        }
    };
    let current_directory = std::env::current_dir()
        .map_err(|why| OperationError::new(Class::Usage, "the current folder cannot be read").cause(why))?;
    let request = InitRequest {
        directory: args.directory.clone(),
        current_directory,
        targets: args.targets.clone(),
        postgres,
        key: RecoveryKey::generate(),
    };
    let plan = plan_init(&request).map_err(usage)?;
    if global.dry_run {
        output.line(plan.describe().trim_end());
        return Ok(());
    }
    plan.apply().map_err(usage)?;
    for file in &plan.files {
        output.say(format!("wrote {}", file.path.display()));
    }
    for message in &plan.messages {
        output.say(message);
    }
    Ok(())
}

fn facts(found: &Introspection) -> PostgresIntrospection {
    let now = clock::now();
    let age = |newest: &str| Some(now.duration_since(newest.parse().ok()?).as_secs());
    PostgresIntrospection {
        database: found.database.clone(),
        server_version: found.version.clone(),
        size_bytes: found.size_bytes,
        tables: found
            .tables
            .iter()
            .map(|table| TableFacts {
                schema: table.schema.clone(),
                name: table.name.clone(),
                estimated_rows: table.estimated_rows.unwrap_or(0),
                bytes: table.size_bytes,
                moments: table
                    .timestamps
                    .iter()
                    .map(|column| MomentColumn {
                        name: column.name.clone(),
                        newest_age_secs: column.newest.as_deref().and_then(age),
                    })
                    .collect(),
            })
            .collect(),
    }
}
