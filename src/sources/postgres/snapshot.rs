//! One consistent view of a database: locks first, then the snapshot, then a second look.
//!
//! A snapshot taken before the locks shows a table that is truncated in between as empty, without any error, because
//! TRUNCATE is not versioned. `LOCK TABLE` needs no snapshot of its own, so it may come first in a repeatable-read
//! transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::catalog::{self, Listing, Rules, Table};
use super::wire::{ConnectOptions, Connection};
use super::{failure, session};
use crate::sources::SourceError;

/// How many tables one `LOCK TABLE` names.
const LOCK_BATCH: usize = 500;
/// How often to begin again when the tables changed between the two looks.
const ATTEMPTS: usize = 4;

/// The session that holds the locks and exports the snapshot; everything else depends on its life.
pub(super) struct Held {
    pub(super) leader: Connection,
    /// For `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot`.
    pub(super) id: String,
    /// RFC 3339 by the server's clock.
    pub(super) at: String,
    pub(super) listing: Listing,
}

/// What a snapshot is taken of.
pub(super) struct Wanted<'a> {
    pub(super) options: &'a ConnectOptions,
    pub(super) rules: &'a Rules,
    pub(super) standby: bool,
    pub(super) lock_timeout: Duration,
}

/// Locks, exports and checks; begins again a few times when the tables changed meanwhile.
pub(super) async fn take(wanted: &Wanted<'_>, cancel: &CancellationToken) -> Result<Held, SourceError> {
    let mut attempt = 1;
    loop {
        match try_take(wanted, cancel).await {
            Err(SourceError::Changed { why, .. }) if attempt < ATTEMPTS && !why.contains("55P03") => {
                tracing::debug!(attempt, why, "the tables changed while they were locked");
                attempt += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

async fn try_take(wanted: &Wanted<'_>, cancel: &CancellationToken) -> Result<Held, SourceError> {
    let place = wanted.options.place();
    let mut scout = session::open(wanted.options, wanted.lock_timeout, cancel).await?;
    let seen = catalog::list(&mut scout, wanted.rules).await?;
    scout.close().await;
    refuse_unreadable(&seen.tables, wanted.standby, &place)?;

    let mut leader = session::open(wanted.options, wanted.lock_timeout, cancel).await?;
    let fail = |error| failure::wire(format!("snapshot of {place}"), error);
    leader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await.map_err(fail)?;
    let lockable: Vec<&Table> = seen.tables.iter().filter(|table| lockable(table, wanted.standby)).collect();
    for batch in lockable.chunks(LOCK_BATCH) {
        let names: Vec<String> = batch.iter().map(|table| format!("ONLY {}", table.quoted)).collect();
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        leader.execute(&sql).await.map_err(|error| failure::wire(format!("locking the tables of {place}"), error))?;
    }
    let row = leader
        .query_one(
            "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.to_char(pg_catalog.statement_timestamp() \
             AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        )
        .await
        .map_err(fail)?;
    let (id, at) = (row.required(0).map_err(fail)?.to_owned(), row.required(1).map_err(fail)?.to_owned());
    let listing = catalog::list(&mut leader, wanted.rules).await?;
    same_tables(&seen, &listing, &place)?;
    Ok(Held { leader, id, at, listing })
}

/// `LOCK TABLE` takes no foreign tables; an unlogged one is not there on a standby.
fn lockable(table: &Table, standby: bool) -> bool {
    table.kind == 'p' || table.holds_rows(standby)
}

fn same_tables(before: &Listing, after: &Listing, place: &str) -> Result<(), SourceError> {
    let names = |listing: &Listing| -> BTreeMap<u32, String> {
        listing.tables.iter().map(|table| (table.oid, table.quoted.clone())).collect()
    };
    let (before, after) = (names(before), names(after));
    if before == after {
        return Ok(());
    }
    let changed = before.iter().find(|(oid, name)| after.get(oid) != Some(name));
    let changed = changed.or_else(|| after.iter().find(|(oid, name)| before.get(oid) != Some(name)));
    let changed = changed.map(|(_, name)| name.clone()).unwrap_or_default();
    Err(SourceError::Changed {
        what: format!("snapshot of {place}"),
        why: format!("table {changed} came, went or was renamed while the tables were locked"),
        hint: "run the backup when no migration runs".to_owned(),
    })
}

/// A table that cannot be read would be a silent hole: better no backup than one that looks whole.
pub(super) fn refuse_unreadable(tables: &[Table], standby: bool, place: &str) -> Result<(), SourceError> {
    const SHOWN: usize = 10;
    let relevant = || tables.iter().filter(|table| lockable(table, standby));
    let list = |names: Vec<&str>| {
        let more = names.len().saturating_sub(SHOWN);
        let shown = names[..names.len().min(SHOWN)].join(", ");
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    let unreadable: Vec<&str> = relevant().filter(|table| !table.readable).map(|table| table.quoted.as_str()).collect();
    if !unreadable.is_empty() {
        return Err(SourceError::Refused {
            what: format!("backup of {place}"),
            why: format!("permission denied for {} tables: {}", unreadable.len(), list(unreadable)),
            hint:
                "`GRANT pg_read_all_data TO role` reads every table (14 and later; before: GRANT USAGE on schemas and \
                   SELECT on tables), or name them in `exclude_tables`"
                    .to_owned(),
        });
    }
    let hidden: Vec<&str> = relevant().filter(|table| table.hidden_rows).map(|table| table.quoted.as_str()).collect();
    if !hidden.is_empty() {
        return Err(SourceError::Refused {
            what: format!("backup of {place}"),
            why: format!("row security hides rows of {}", list(hidden)),
            hint: "`ALTER ROLE role BYPASSRLS`, or name them in `exclude_tables`".to_owned(),
        });
    }
    Ok(())
}
