//! `pg_dump` and `pg_dumpall`, streamed into parts. Their exit decides: a part is finished only after a clean one.

use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use tokio::io::AsyncReadExt;

use super::catalog::Listing;
use super::client::Client;
use super::failure;
use super::wire::{ConnectOptions, quote_qualified};
use crate::domain::{PartName, PartSink, Shape};
use crate::sources::bridge::{BLOCK_BYTES, LaneThread};
use crate::sources::{Context, SourceError};
use crate::system::process::{Program, StdinKind};

/// What one database's archive is made from.
pub(super) struct Archive<'a> {
    pub(super) client: &'a Client,
    pub(super) options: &'a ConnectOptions,
    pub(super) snapshot: &'a str,
    pub(super) listing: &'a Listing,
    pub(super) lock_timeout: Duration,
    pub(super) part: PartName,
}

/// Everything of a database that is not bulk: `pg_dump -Fc` of the sections before and after the data.
pub(super) async fn archive(
    context: &Context,
    archive: &Archive<'_>,
    sink: &Arc<dyn PartSink>,
) -> Result<(), SourceError> {
    let mut program = archive
        .client
        .program("pg_dump")
        .args(["--format=custom", "--compress=0", "--section=pre-data", "--section=post-data", "--no-password"])
        .arg(format!("--snapshot={}", archive.snapshot))
        .arg(format!("--lock-wait-timeout={}", archive.lock_timeout.as_millis()));
    if archive.client.major >= 18 {
        program = program.arg("--no-statistics");
    }
    for schema in &archive.listing.excluded_schemas {
        program = program.arg(format!("--exclude-schema={}", super::wire::quote_ident(schema)));
    }
    for (schema, table) in &archive.listing.excluded_tables {
        program = program.arg(format!("--exclude-table={}", quote_qualified(schema, table)));
    }
    let program = archive.options.environment(program.arg(connection_string(&archive.options.database)));
    let what = format!("`pg_dump` of {}", archive.options.place());
    stream(context, program, archive.options.stall_timeout, &what, archive.part.clone(), sink).await
}

/// Roles, memberships, tablespaces and settings of the whole server, as SQL.
pub(super) async fn globals(
    context: &Context,
    client: &Client,
    options: &ConnectOptions,
    passwords: bool,
    part: PartName,
    sink: &Arc<dyn PartSink>,
) -> Result<(), SourceError> {
    let mut program = client
        .program("pg_dumpall")
        .args(["--globals-only", "--no-password"])
        .arg(format!("--database={}", connection_string(&options.database)));
    if !passwords {
        program = program.arg("--no-role-passwords");
    }
    let what = format!("`pg_dumpall` of {}", options.server());
    stream(context, options.environment(program), options.stall_timeout, &what, part, sink).await
}

/// A database's name as these programs take any name: they read `=` and `postgres://` in a bare one as something else.
fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

async fn stream(
    context: &Context,
    program: Program,
    stall: Option<Duration>,
    what: &str,
    part: PartName,
    sink: &Arc<dyn PartSink>,
) -> Result<(), SourceError> {
    let mut lane = LaneThread::start(sink);
    lane.begin(part, Shape::Bytes).await?;
    let mut running = program.start(StdinKind::Null).map_err(|error| failure::process(what, &error))?;
    let mut stdout = running.stdout.take().expect("stdout of a started program is piped");
    let failed = |why: String| SourceError::Failed { what: what.to_owned(), why, hint: String::new() };
    loop {
        let mut block = lane.block().await?;
        block.data.reserve(BLOCK_BYTES);
        while block.data.len() < BLOCK_BYTES {
            let mut room = (&mut block.data).limit(BLOCK_BYTES);
            let read = stdout.read_buf(&mut room);
            let read = tokio::select! {
                () = context.cancel.cancelled() => return Err(SourceError::Cancelled),
                () = stalled(stall) => return Err(failed(format!("it wrote nothing for {} s", stall.unwrap_or_default().as_secs()))),
                read = read => read.map_err(|error| failed(error.to_string()))?,
            };
            if read == 0 {
                break;
            }
        }
        let end = block.data.is_empty();
        lane.write(block).await?;
        if end {
            break;
        }
    }
    let finished = tokio::select! {
        () = context.cancel.cancelled() => return Err(SourceError::Cancelled),
        finished = running.finish() => finished,
    };
    finished.map_err(|error| failure::process(what, &error))?;
    lane.finish().await?;
    lane.close().await?;
    Ok(())
}

async fn stalled(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_database_name_survives_a_connection_string() {
        assert_eq!(super::connection_string("it's a\\b=c"), r"dbname='it\'s a\\b=c'");
    }
}
