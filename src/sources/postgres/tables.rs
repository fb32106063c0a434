//! Copies the rows: several sessions on one snapshot take ranges from one queue, largest first.
//!
//! Memory: a connection's read buffer and a lane's blocks for each session, whatever the tables' sizes and number.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::catalog::Table;
use super::ranges::{self, Range};
use super::wire::{ConnectOptions, Connection, Filled, quote_literal};
use super::{failure, session};
use crate::domain::{PartName, PartSink, Shape, SinkError};
use crate::sources::SourceError;
use crate::sources::bridge::{BLOCK_BYTES, LaneThread};

/// How long a copying session waits for a lock that another session's DDL waits for too, before the leader, which has the
/// lock already, takes the range over.
const QUEUED_LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// `invalid_parameter_value`, the answer to a snapshot that is not exported any more.
const NO_SUCH_SNAPSHOT: &str = "22023";
/// A session begins a new transaction on the same snapshot after so many ranges, so that its locks stay few.
const RANGES_PER_TRANSACTION: usize = 100;

/// A table with the columns to read and the names of its parts.
pub(super) struct Planned {
    pub(super) table: Table,
    pub(super) columns: Vec<String>,
    pub(super) parts: Vec<PartName>,
}

/// What all copying sessions share.
pub(super) struct Plan {
    pub(super) tables: Vec<Planned>,
    queue: Mutex<Vec<Range>>,
    /// Ranges that only the leader can read, and the tables they are of.
    blocked: Mutex<(Vec<Range>, HashSet<usize>)>,
    rows: Vec<AtomicU64>,
    pub(super) done_bytes: AtomicU64,
    pub(super) total_bytes: u64,
}

impl Plan {
    /// Cuts the tables into ranges and names their parts below `prefix`, the database's component.
    pub(super) fn make(prefix: &str, tables: Vec<(Table, Vec<String>)>, server_version_num: u32) -> Self {
        let mut queue = Vec::new();
        let mut planned = Vec::with_capacity(tables.len());
        for (index, (table, columns)) in tables.into_iter().enumerate() {
            let component = PartName::component(&table.quoted);
            let ranges = if columns.is_empty() {
                vec![Range { table: index, blocks: None, bytes: table.heap_bytes }]
            } else {
                ranges::of(index, &table, server_version_num)
            };
            let parts = if ranges.len() == 1 {
                vec![PartName::from_components(&[prefix, "table", &component])]
            } else {
                let name = |at| PartName::from_components(&[prefix, "table", &component, &format!("{at:04}")]);
                (0..ranges.len()).map(name).collect()
            };
            queue.extend(ranges);
            planned.push(Planned { table, columns, parts });
        }
        // Taken from the end: the largest ranges go first, so that no long one is left alone at last.
        queue.sort_by_key(|range| (range.bytes, std::cmp::Reverse(range.table), std::cmp::Reverse(range.blocks)));
        let total_bytes = queue.iter().map(|range| range.bytes).sum();
        let rows = planned.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            tables: planned,
            queue: Mutex::new(queue),
            blocked: Mutex::default(),
            rows,
            done_bytes: AtomicU64::new(0),
            total_bytes,
        }
    }

    pub(super) fn rows(&self, table: usize) -> u64 {
        self.rows[table].load(Ordering::Relaxed)
    }

    pub(super) fn ranges_left(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn next(&self) -> Option<Range> {
        loop {
            let range = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            if !blocked.1.contains(&range.table) {
                return Some(range);
            }
            blocked.0.push(range);
        }
    }

    fn block(&self, range: Range) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.1.insert(range.table);
        blocked.0.push(range);
    }

    fn part(&self, range: &Range) -> &PartName {
        let parts = &self.tables[range.table].parts;
        let step = match range.blocks {
            // Every range but the last is as long as the first, and the first begins at 0.
            Some((from, Some(to))) => from / (to - from),
            Some((_, None)) => parts.len() as u64 - 1,
            None => 0,
        };
        &parts[usize::try_from(step).expect("a table has fewer parts than memory has bytes")]
    }
}

/// Where and under which snapshot the copying sessions read.
#[derive(Clone)]
pub(super) struct View {
    pub(super) options: ConnectOptions,
    pub(super) snapshot: String,
    pub(super) lock_timeout: Duration,
    pub(super) cancel: CancellationToken,
}

/// Starts `lanes` sessions, each on a thread of its own, that work until the queue is empty or the view is cancelled.
///
/// A thread each, because reading rows is work without end: on shared threads every 8 KiB from one server process would
/// wake and displace whoever works for another.
pub(super) fn start(
    view: &View,
    plan: &Arc<Plan>,
    sink: &Arc<dyn PartSink>,
    lanes: usize,
) -> JoinSet<Result<(), SourceError>> {
    let mut set = JoinSet::new();
    for _ in 0..lanes.min(plan.ranges_left()) {
        let (view, plan, lane) = (view.clone(), Arc::clone(plan), LaneThread::start(sink));
        set.spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
            runtime.block_on(async {
                tokio::select! {
                    result = work(&view, &plan, lane) => result,
                    () = view.cancel.cancelled() => Err(SourceError::Cancelled),
                }
            })
        });
    }
    set
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn no_thread(error: std::io::Error) -> SourceError {
    let hint = "the system gives this process no more file descriptors or memory".to_owned();
    SourceError::Failed { what: "copying session".to_owned(), why: error.to_string(), hint }
}

async fn work(view: &View, plan: &Plan, mut lane: LaneThread) -> Result<(), SourceError> {
    let wait = view.lock_timeout.min(QUEUED_LOCK_TIMEOUT);
    let mut connection = session::open(&view.options, wait, &view.cancel).await?;
    connection.own_thread();
    let fail = |error| failure::wire(format!("session on the snapshot of {}", view.options.place()), error);
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
        quote_literal(&view.snapshot)
    );
    let mut ranges = 0;
    while let Some(range) = plan.next() {
        if ranges % RANGES_PER_TRANSACTION == 0 {
            if ranges > 0 {
                connection.execute("COMMIT").await.map_err(fail)?;
            }
            connection.execute(&begin).await.map_err(|error| match error.sqlstate() {
                // An echo: the session that holds the snapshot was ended or cancelled, and knows why.
                Some(NO_SUCH_SNAPSHOT) => SourceError::Sink(SinkError(format!(
                    "the session that held the snapshot of {} ended before all was read",
                    view.options.place()
                ))),
                _ => fail(error),
            })?;
        }
        ranges += 1;
        match copy(&mut connection, plan, &range, &mut lane).await? {
            Copied::Whole => {}
            Copied::Blocked => {
                plan.block(range);
                connection.execute("ROLLBACK").await.map_err(fail)?;
                ranges = 0;
            }
        }
    }
    connection.close().await;
    lane.close().await?;
    Ok(())
}

/// Reads, in the leader's own transaction, what the other sessions could not lock.
pub(super) async fn copy_blocked(
    leader: &mut Connection,
    plan: &Plan,
    lane: &mut LaneThread,
) -> Result<(), SourceError> {
    let blocked = std::mem::take(&mut plan.blocked.lock().unwrap_or_else(PoisonError::into_inner).0);
    for range in blocked {
        if let Copied::Blocked = copy(leader, plan, &range, lane).await? {
            let name = &plan.tables[range.table].table.quoted;
            return Err(SourceError::Changed {
                what: format!("table {name}"),
                why: "its lock was lost".to_owned(),
                hint: "run the backup when no migration runs".to_owned(),
            });
        }
    }
    Ok(())
}

enum Copied {
    Whole,
    /// Another session waits for an exclusive lock; nothing was read and the transaction has failed.
    Blocked,
}

async fn copy(
    connection: &mut Connection,
    plan: &Plan,
    range: &Range,
    lane: &mut LaneThread,
) -> Result<Copied, SourceError> {
    let planned = &plan.tables[range.table];
    let what = || format!("rows of table {}", planned.table.quoted);
    let sql = ranges::copy_sql(&planned.table, &planned.columns, range.blocks);
    let mut stream = match connection.copy_out(&sql).await {
        Ok(stream) => stream,
        Err(error) if error.sqlstate() == Some("55P03") => return Ok(Copied::Blocked),
        Err(error) => return Err(failure::wire(what(), error)),
    };
    lane.begin(plan.part(range).clone(), Shape::Records).await?;
    let rows = loop {
        let mut block = lane.block().await?;
        let filled = stream.fill(&mut block, BLOCK_BYTES).await.map_err(|error| failure::wire(what(), error))?;
        plan.done_bytes.fetch_add(block.data.len() as u64, Ordering::Relaxed);
        lane.write(block).await?;
        if let Filled::Done { rows } = filled {
            break rows;
        }
    };
    let fingerprint = lane.finish().await?;
    if fingerprint.records != rows {
        return Err(SourceError::Failed {
            what: what(),
            why: format!("the server counted {rows} rows and {} arrived", fingerprint.records),
            hint: "this should not happen; please report it".to_owned(),
        });
    }
    plan.rows[range.table].fetch_add(rows, Ordering::Relaxed);
    Ok(Copied::Whole)
}
