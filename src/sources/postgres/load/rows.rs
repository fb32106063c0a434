//! Loads rows: several sessions, each taking the largest part that is left.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::trouble;
use crate::domain::{Event, PartName, PartStore};
use crate::sources::postgres::record::TableRecord;
use crate::sources::postgres::session;
use crate::sources::postgres::wire::{ConnectOptions, Connection, quote_ident, quote_qualified};
use crate::sources::{Context, SourceError};

/// Below this a `TRUNCATE`, which makes new files for the table, costs more than the log that it saves.
const TRUNCATE_BYTES_MIN: u64 = 256 << 10;
const ADVANCE_EVERY: Duration = Duration::from_millis(250);

/// One `COPY`: a part of a table.
struct Piece {
    table: usize,
    part: PartName,
    sql: String,
    /// `TRUNCATE` in the same transaction lets the server skip its log and write rows that are already frozen.
    truncate: Option<String>,
    bytes: u64,
}

/// How much was loaded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loaded {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// What the sessions share.
struct Shared {
    queue: Mutex<VecDeque<Piece>>,
    done_bytes: AtomicU64,
    total_bytes: u64,
    shown: Mutex<Instant>,
    context: Context,
    store: Arc<dyn PartStore>,
}

/// `COPY` as a statement that loads `table`.
pub(super) fn copy_sql(table: &TableRecord) -> String {
    let name = quote_qualified(&table.schema, &table.name);
    if table.columns.is_empty() {
        return format!("COPY {name} FROM STDIN");
    }
    let columns: Vec<String> = table.columns.iter().map(|column| quote_ident(column)).collect();
    format!("COPY {name} ({}) FROM STDIN", columns.join(", "))
}

/// Loads all rows of `tables` into the database, and requires as many of each as the snapshot has.
///
/// `fresh` says that the tables were created by this load, so nobody else uses them.
pub(super) async fn load(
    context: &Context,
    options: &ConnectOptions,
    tables: &[TableRecord],
    store: &Arc<dyn PartStore>,
    fresh: bool,
) -> Result<Loaded, SourceError> {
    let pieces = pieces(tables, store.as_ref(), fresh);
    let lanes = context.lanes.max(1).min(pieces.len());
    let cancel = context.cancel.child_token();
    let shared = Arc::new(Shared {
        total_bytes: pieces.iter().map(|piece| piece.bytes).sum(),
        queue: Mutex::new(pieces.into()),
        done_bytes: AtomicU64::new(0),
        shown: Mutex::new(Instant::now()),
        context: context.clone(),
        store: Arc::clone(store),
    });
    let mut sessions = JoinSet::new();
    for _ in 0..lanes {
        sessions.spawn(one_session(options.clone(), Arc::clone(&shared), cancel.clone()));
    }
    let mut rows: BTreeMap<usize, u64> = BTreeMap::new();
    let mut failed = None;
    while let Some(ended) = sessions.join_next().await {
        match ended.unwrap_or_else(|error| Err(broken("loading rows", &error.to_string()))) {
            Ok(counts) => counts.into_iter().for_each(|(table, count)| *rows.entry(table).or_default() += count),
            Err(error) => {
                // The others end because of this one; theirs is not the cause.
                cancel.cancel();
                failed.get_or_insert(error);
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    for (index, table) in tables.iter().enumerate() {
        let loaded = rows.get(&index).copied().unwrap_or_default();
        if loaded != table.rows {
            let name = quote_qualified(&table.schema, &table.name);
            let why = format!("{loaded} rows were loaded and the snapshot has {}", table.rows);
            return Err(broken(&format!("table {name}"), &why));
        }
    }
    Ok(Loaded { rows: rows.values().sum(), bytes: shared.done_bytes.load(Ordering::Relaxed) })
}

/// Largest first, so that no large part is left alone at the end.
fn pieces(tables: &[TableRecord], store: &dyn PartStore, fresh: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let bytes_of = |part: &PartName| store.fingerprint(part).map_or(0, |fingerprint| fingerprint.bytes);
        // Rows of an extension's own table stand beside those that the extension brought.
        let whole =
            fresh && !table.filtered && matches!(&table.parts[..], [part] if bytes_of(part) >= TRUNCATE_BYTES_MIN);
        let mut sql = copy_sql(table);
        if whole {
            sql.push_str(" WITH (FREEZE)");
        }
        for part in &table.parts {
            pieces.push(Piece {
                table: index,
                part: part.clone(),
                sql: sql.clone(),
                truncate: whole.then(|| format!("TRUNCATE ONLY {}", quote_qualified(&table.schema, &table.name))),
                bytes: bytes_of(part),
            });
        }
    }
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.bytes));
    pieces
}

async fn one_session(
    options: ConnectOptions,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) -> Result<Vec<(usize, u64)>, SourceError> {
    let mut connection = open(&options, &cancel).await?;
    let mut counts = Vec::new();
    loop {
        let piece = shared.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(piece) = piece else { break };
        let rows = copy_piece(&mut connection, &piece, &shared).await?;
        counts.push((piece.table, rows));
    }
    connection.close().await;
    Ok(counts)
}

/// A session with pinned settings that loses nothing worth keeping when the server crashes: the load then starts over.
pub(super) async fn open(options: &ConnectOptions, cancel: &CancellationToken) -> Result<Connection, SourceError> {
    let mut connection = session::open(options, Duration::ZERO, cancel).await?;
    let more = "SET synchronous_commit = off; SET default_transaction_read_only = off; SET check_function_bodies = off";
    connection.execute(more).await.map_err(|error| trouble::wire(format!("postgres {}", options.place()), error))?;
    // Checks, index builds and `TRUNCATE` may be silent for long.
    connection.set_stall_timeout(None);
    Ok(connection)
}

async fn copy_piece(connection: &mut Connection, piece: &Piece, shared: &Shared) -> Result<u64, SourceError> {
    let what = || format!("loading part `{}`", piece.part);
    if let Some(truncate) = &piece.truncate {
        connection.execute(&format!("BEGIN; {truncate}")).await.map_err(|error| trouble::wire(what(), error))?;
    }
    let advance = |bytes: usize| shared.advance(bytes as u64);
    let rows = copy_part(connection, &piece.sql, &shared.store, &piece.part, advance).await?;
    if piece.truncate.is_some() {
        connection.execute("COMMIT").await.map_err(|error| trouble::wire(what(), error))?;
    }
    Ok(rows)
}

/// Streams one part into the `COPY` of `sql`; returns how many rows the server took.
pub(super) async fn copy_part(
    connection: &mut Connection,
    sql: &str,
    store: &Arc<dyn PartStore>,
    part: &PartName,
    advance: impl Fn(usize),
) -> Result<u64, SourceError> {
    let what = || format!("loading part `{part}`");
    let mut feed = Feed::start(store, part);
    let mut copy = connection.copy_in(sql).await.map_err(|error| trouble::wire(what(), error))?;
    loop {
        match feed.next().await {
            Ok(Some(piece)) => {
                advance(piece.len());
                copy.send(piece).await.map_err(|error| trouble::wire(what(), error))?;
            }
            Ok(None) => return copy.finish().await.map_err(|error| trouble::wire(what(), error)),
            Err(error) => {
                // What was sent must not stay; the part's own error is the one to tell.
                drop(copy.abort("the backup could not be read").await);
                return Err(error);
            }
        }
    }
}

impl Shared {
    fn advance(&self, bytes: u64) {
        let done_bytes = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.elapsed() >= ADVANCE_EVERY {
            *shown = Instant::now();
            self.context.progress.event(Event::Advance {
                job: self.context.job.clone(),
                phase: "load".to_owned(),
                done_bytes,
                total_bytes: Some(self.total_bytes),
            });
        }
    }
}

fn broken(what: &str, why: &str) -> SourceError {
    SourceError::Failed { what: what.to_owned(), why: why.to_owned(), hint: String::new() }
}
