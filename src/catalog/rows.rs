//! The rows of the catalog as values, and how each is read and written. A field is the column of the same name.

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Error, Row, Sqlite, query};

/// SQL and what is bound to it.
pub(super) type Statement<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// One execution of a verb on a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    pub id: String,
    pub verb: String,
    pub job: String,
    pub started: String,
    /// `None` while it runs, and for ever if it was killed.
    pub finished: Option<String>,
    pub outcome: String,
    pub snapshot: Option<String>,
    pub target: Option<String>,
    pub bytes_read: u64,
    pub bytes_stored: u64,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    pub id: String,
    pub job: String,
    pub writer: String,
    pub sequence: u64,
    pub root_sum: String,
    pub started: String,
    pub finished: String,
    pub raw_bytes: u64,
    pub added_bytes: u64,
    pub rows: u64,
    /// JSON of `Vec<Instant>` and `Vec<Gap>`.
    pub instants: String,
    pub gaps: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRow {
    pub snapshot: String,
    pub target: String,
    pub place: String,
    pub state: String,
    pub at: Option<String>,
    pub error: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofRow {
    pub id: String,
    pub job: String,
    pub snapshot: String,
    pub target: String,
    pub dumped_at: String,
    pub started: String,
    pub finished: String,
    /// JSON of `Verdict`.
    pub verdict: String,
    /// JSON that reports read.
    pub measured: String,
}

/// A value of a table.
pub(super) trait Record: Sized {
    fn read(row: &SqliteRow) -> Result<Self, Error>;
}

/// A value of a column.
pub(super) trait Column: Sized {
    fn read(row: &SqliteRow, column: &str) -> Result<Self, Error>;
}

impl Column for String {
    fn read(row: &SqliteRow, column: &str) -> Result<Self, Error> {
        row.try_get(column)
    }
}

impl Column for Option<String> {
    fn read(row: &SqliteRow, column: &str) -> Result<Self, Error> {
        row.try_get(column)
    }
}

impl Column for bool {
    fn read(row: &SqliteRow, column: &str) -> Result<Self, Error> {
        row.try_get(column)
    }
}

/// SQLite knows signed numbers only; none that is below zero was written here.
impl Column for u64 {
    fn read(row: &SqliteRow, column: &str) -> Result<Self, Error> {
        Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

macro_rules! fields_are_columns {
    ($record:ident { $($field:ident),* $(,)? }) => {
        impl Record for $record {
            fn read(row: &SqliteRow) -> Result<Self, Error> {
                Ok(Self { $($field: Column::read(row, stringify!($field))?),* })
            }
        }
    };
}

fields_are_columns!(RunRow {
    id,
    verb,
    job,
    started,
    finished,
    outcome,
    snapshot,
    target,
    bytes_read,
    bytes_stored,
    message
});
fields_are_columns!(SnapshotRow {
    id,
    job,
    writer,
    sequence,
    root_sum,
    started,
    finished,
    raw_bytes,
    added_bytes,
    rows,
    instants,
    gaps
});
fields_are_columns!(CopyRow { snapshot, target, place, state, at, error });
fields_are_columns!(ProofRow { id, job, snapshot, target, dumped_at, started, finished, verdict, measured });

impl RunRow {
    pub(super) fn replace(&self) -> Statement<'_> {
        query("insert or replace into runs values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(&self.id)
            .bind(&self.verb)
            .bind(&self.job)
            .bind(&self.started)
            .bind(&self.finished)
            .bind(&self.outcome)
            .bind(&self.snapshot)
            .bind(&self.target)
            .bind(signed(self.bytes_read))
            .bind(signed(self.bytes_stored))
            .bind(&self.message)
    }
}

impl SnapshotRow {
    pub(super) fn replace(&self) -> Statement<'_> {
        query("insert or replace into snapshots values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(&self.id)
            .bind(&self.job)
            .bind(&self.writer)
            .bind(signed(self.sequence))
            .bind(&self.root_sum)
            .bind(&self.started)
            .bind(&self.finished)
            .bind(signed(self.raw_bytes))
            .bind(signed(self.added_bytes))
            .bind(signed(self.rows))
            .bind(&self.instants)
            .bind(&self.gaps)
    }
}

impl CopyRow {
    pub(super) fn replace(&self) -> Statement<'_> {
        self.insert("insert or replace into copies values (?, ?, ?, ?, ?, ?)")
    }

    pub(super) fn add(&self) -> Statement<'_> {
        self.insert("insert or ignore into copies values (?, ?, ?, ?, ?, ?)")
    }

    fn insert(&self, sql: &'static str) -> Statement<'_> {
        query(sql)
            .bind(&self.snapshot)
            .bind(&self.target)
            .bind(&self.place)
            .bind(&self.state)
            .bind(&self.at)
            .bind(&self.error)
    }
}

impl ProofRow {
    pub(super) fn replace(&self) -> Statement<'_> {
        query("insert or replace into proofs values (?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(&self.id)
            .bind(&self.job)
            .bind(&self.snapshot)
            .bind(&self.target)
            .bind(&self.dumped_at)
            .bind(&self.started)
            .bind(&self.finished)
            .bind(&self.verdict)
            .bind(&self.measured)
    }
}
