//! The local database of runs, snapshots, copies and proofs. It is a convenience: everything that a restore needs is in the
//! repository, so a lost or damaged catalog costs history and nothing else.
//!
//! SQLite in write-ahead mode, one connection: several processes may share it, a killed one leaves it whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::Mutex;

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i64 = 1;
/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    #[error("the catalog `{file}` cannot be used: {why}")]
    Unusable { file: String, why: String },
    #[error("the catalog `{file}` was written by a newer version of lifeboat (schema {found}, known {SCHEMA_VERSION})")]
    TooNew { file: String, found: i64 },
}

pub struct Catalog {
    file: PathBuf,
    connection: Mutex<SqliteConnection>,
    /// Where a damaged predecessor was set aside, if that happened at this opening.
    pub set_aside: Option<PathBuf>,
    /// Holds the file of a copy.
    _copy: Option<tempfile::TempDir>,
}

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

impl Catalog {
    /// Opens `catalog.sqlite` in the state folder. A damaged one is set aside and a new one started.
    pub async fn open(state: &Path) -> Result<Self, CatalogError> {
        let file = state.join("catalog.sqlite");
        match Self::connect(&file).await {
            Ok(connection) => Ok(Self { file, connection: Mutex::new(connection), set_aside: None, _copy: None }),
            Err(error @ CatalogError::TooNew { .. }) => Err(error),
            Err(error) => {
                // Only a file that is there and does not read as a database is moved; a full disk is reported.
                if !damaged(&error) {
                    return Err(error);
                }
                let aside = file.with_extension("sqlite.damaged");
                std::fs::rename(&file, &aside).map_err(|why| unusable(&file, why))?;
                for suffix in ["-wal", "-shm"] {
                    std::fs::remove_file(with_suffix(&file, suffix)).ok();
                }
                let connection = Self::connect(&file).await?;
                Ok(Self { file, connection: Mutex::new(connection), set_aside: Some(aside), _copy: None })
            }
        }
    }

    /// A copy to look at, which is forgotten with the value; the catalog itself is not touched. One that is not there, or that
    /// another process changes at this moment, counts as empty.
    pub async fn copy_of(state: &Path) -> Result<Self, CatalogError> {
        let file = state.join("catalog.sqlite");
        let folder = tempfile::tempdir().map_err(|why| unusable(&file, why))?;
        let copy = folder.path().join("catalog.sqlite");
        for suffix in ["", "-wal"] {
            match std::fs::copy(with_suffix(&file, suffix), with_suffix(&copy, suffix)) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(unusable(&file, why)),
                _ => {}
            }
        }
        let connection = match Self::connect(&copy).await {
            Err(error) if damaged(&error) => Self::connect(Path::new(":memory:")).await?,
            connected => connected?,
        };
        Ok(Self { file, connection: Mutex::new(connection), set_aside: None, _copy: Some(folder) })
    }

    async fn connect(file: &Path) -> Result<SqliteConnection, CatalogError> {
        let map = |why: sqlx::Error| unusable(file, why);
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(map)?;
        let check: String = sqlx::query("pragma quick_check(1)").fetch_one(&mut connection).await.map_err(map)?.get(0);
        if check != "ok" {
            return Err(CatalogError::Unusable {
                file: file.display().to_string(),
                why: format!("malformed: {check}"),
            });
        }
        // Two processes may start at once: the version is read again under the write lock.
        let mut transaction = connection.begin_with("begin immediate").await.map_err(map)?;
        let version: i64 = sqlx::query("pragma user_version").fetch_one(&mut *transaction).await.map_err(map)?.get(0);
        match version {
            0 => {
                sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await.map_err(map)?;
                sqlx::raw_sql("pragma user_version = 1").execute(&mut *transaction).await.map_err(map)?;
            }
            SCHEMA_VERSION => {}
            found => return Err(CatalogError::TooNew { file: file.display().to_string(), found }),
        }
        transaction.commit().await.map_err(map)?;
        Ok(connection)
    }

    fn map(&self, why: sqlx::Error) -> CatalogError {
        unusable(&self.file, why)
    }

    pub async fn put_run(&self, run: &RunRow) -> Result<(), CatalogError> {
        let mut connection = self.connection.lock().await;
        sqlx::query("insert or replace into runs values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(&run.id)
            .bind(&run.verb)
            .bind(&run.job)
            .bind(&run.started)
            .bind(&run.finished)
            .bind(&run.outcome)
            .bind(&run.snapshot)
            .bind(&run.target)
            .bind(signed(run.bytes_read))
            .bind(signed(run.bytes_stored))
            .bind(&run.message)
            .execute(&mut *connection)
            .await
            .map_err(|why| self.map(why))?;
        Ok(())
    }

    pub async fn put_snapshot(&self, snapshot: &SnapshotRow, copies: &[CopyRow]) -> Result<(), CatalogError> {
        let mut connection = self.connection.lock().await;
        let mut transaction = connection.begin().await.map_err(|why| self.map(why))?;
        sqlx::query("insert or replace into snapshots values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(&snapshot.id)
            .bind(&snapshot.job)
            .bind(&snapshot.writer)
            .bind(signed(snapshot.sequence))
            .bind(&snapshot.root_sum)
            .bind(&snapshot.started)
            .bind(&snapshot.finished)
            .bind(signed(snapshot.raw_bytes))
            .bind(signed(snapshot.added_bytes))
            .bind(signed(snapshot.rows))
            .bind(&snapshot.instants)
            .bind(&snapshot.gaps)
            .execute(&mut *transaction)
            .await
            .map_err(|why| self.map(why))?;
        for copy in copies {
            sqlx::query("insert or replace into copies values (?, ?, ?, ?, ?, ?)")
                .bind(&copy.snapshot)
                .bind(&copy.target)
                .bind(&copy.place)
                .bind(&copy.state)
                .bind(&copy.at)
                .bind(&copy.error)
                .execute(&mut *transaction)
                .await
                .map_err(|why| self.map(why))?;
        }
        transaction.commit().await.map_err(|why| self.map(why))
    }

    /// As [`Self::put_snapshot`], but what is known already stays as it is: a run knows more than a root says. Copies are added.
    pub async fn put_snapshot_if_new(&self, snapshot: &SnapshotRow, copies: &[CopyRow]) -> Result<bool, CatalogError> {
        let known: i64 = {
            let mut connection = self.connection.lock().await;
            sqlx::query("select count(*) from snapshots where id = ?")
                .bind(&snapshot.id)
                .fetch_one(&mut *connection)
                .await
                .map_err(|why| self.map(why))?
                .get(0)
        };
        if known == 0 {
            self.put_snapshot(snapshot, copies).await?;
            return Ok(true);
        }
        let mut connection = self.connection.lock().await;
        for copy in copies {
            sqlx::query("insert or ignore into copies values (?, ?, ?, ?, ?, ?)")
                .bind(&copy.snapshot)
                .bind(&copy.target)
                .bind(&copy.place)
                .bind(&copy.state)
                .bind(&copy.at)
                .bind(&copy.error)
                .execute(&mut *connection)
                .await
                .map_err(|why| self.map(why))?;
        }
        Ok(false)
    }

    pub async fn put_proof(&self, proof: &ProofRow) -> Result<(), CatalogError> {
        let mut connection = self.connection.lock().await;
        sqlx::query("insert or replace into proofs values (?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(&proof.id)
            .bind(&proof.job)
            .bind(&proof.snapshot)
            .bind(&proof.target)
            .bind(&proof.dumped_at)
            .bind(&proof.started)
            .bind(&proof.finished)
            .bind(&proof.verdict)
            .bind(&proof.measured)
            .execute(&mut *connection)
            .await
            .map_err(|why| self.map(why))?;
        Ok(())
    }

    /// Runs of a job that started at or after `since`, newest first, at most `limit`.
    pub async fn runs(&self, job: &str, since: &str, limit: u32) -> Result<Vec<RunRow>, CatalogError> {
        let mut connection = self.connection.lock().await;
        sqlx::query("select * from runs where job = ? and started >= ? order by started desc, rowid desc limit ?")
            .bind(job)
            .bind(since)
            .bind(limit)
            .fetch_all(&mut *connection)
            .await
            .and_then(|rows| rows.iter().map(run).collect())
            .map_err(|why| self.map(why))
    }

    /// The newest snapshot of a job that this catalog knows, with its copies.
    pub async fn newest_snapshot(&self, job: &str) -> Result<Option<(SnapshotRow, Vec<CopyRow>)>, CatalogError> {
        let mut connection = self.connection.lock().await;
        let row = sqlx::query("select * from snapshots where job = ? order by started desc, sequence desc limit 1")
            .bind(job)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|why| self.map(why))?;
        let Some(row) = row else { return Ok(None) };
        let snapshot = snapshot(&row).map_err(|why| self.map(why))?;
        let copies = sqlx::query("select * from copies where snapshot = ? order by target")
            .bind(&snapshot.id)
            .fetch_all(&mut *connection)
            .await
            .and_then(|rows| rows.iter().map(copy).collect())
            .map_err(|why| self.map(why))?;
        Ok(Some((snapshot, copies)))
    }

    /// One snapshot, if this catalog knows it.
    pub async fn snapshot(&self, id: &str) -> Result<Option<SnapshotRow>, CatalogError> {
        let mut connection = self.connection.lock().await;
        let row = sqlx::query("select * from snapshots where id = ?").bind(id).fetch_optional(&mut *connection).await;
        row.and_then(|row| row.as_ref().map(snapshot).transpose()).map_err(|why| self.map(why))
    }

    /// The writer's highest sequence that this catalog has seen: a target that shows less was rolled back.
    pub async fn highest_sequence(&self, writer: &str) -> Result<Option<(u64, String)>, CatalogError> {
        let mut connection = self.connection.lock().await;
        let row =
            sqlx::query("select sequence, root_sum from snapshots where writer = ? order by sequence desc limit 1")
                .bind(writer)
                .fetch_optional(&mut *connection)
                .await
                .map_err(|why| self.map(why))?;
        Ok(row.map(|row| (unsigned(row.get(0)), row.get(1))))
    }

    /// For each snapshot that this catalog knows, its writer, its number, and whether it was committed at this target and place.
    pub async fn committed_at(&self, target: &str, place: &str) -> Result<Vec<(String, u64, bool)>, CatalogError> {
        let mut connection = self.connection.lock().await;
        sqlx::query(
            "select s.writer, s.sequence, exists (select 1 from copies c where c.snapshot = s.id and c.target = ?1 \
             and c.place = ?2 and c.state = 'committed') from snapshots s",
        )
        .bind(target)
        .bind(place)
        .fetch_all(&mut *connection)
        .await
        .map(|rows| rows.iter().map(|row| (row.get(0), unsigned(row.get(1)), row.get(2))).collect())
        .map_err(|why| self.map(why))
    }

    /// Proofs of a job that ended at or after `since`, newest first, and always the newest of each target.
    pub async fn proofs(&self, job: &str, since: &str) -> Result<Vec<ProofRow>, CatalogError> {
        let mut connection = self.connection.lock().await;
        sqlx::query(
            "select * from proofs p where job = ?1 and (finished >= ?2 or rowid = (select rowid from proofs q \
             where q.job = p.job and q.target = p.target order by finished desc, rowid desc limit 1)) \
             order by finished desc, rowid desc",
        )
        .bind(job)
        .bind(since)
        .fetch_all(&mut *connection)
        .await
        .and_then(|rows| rows.iter().map(proof).collect())
        .map_err(|why| self.map(why))
    }
}

fn run(row: &SqliteRow) -> Result<RunRow, sqlx::Error> {
    Ok(RunRow {
        id: row.try_get("id")?,
        verb: row.try_get("verb")?,
        job: row.try_get("job")?,
        started: row.try_get("started")?,
        finished: row.try_get("finished")?,
        outcome: row.try_get("outcome")?,
        snapshot: row.try_get("snapshot")?,
        target: row.try_get("target")?,
        bytes_read: unsigned(row.try_get("bytes_read")?),
        bytes_stored: unsigned(row.try_get("bytes_stored")?),
        message: row.try_get("message")?,
    })
}

fn snapshot(row: &SqliteRow) -> Result<SnapshotRow, sqlx::Error> {
    Ok(SnapshotRow {
        id: row.try_get("id")?,
        job: row.try_get("job")?,
        writer: row.try_get("writer")?,
        sequence: unsigned(row.try_get("sequence")?),
        root_sum: row.try_get("root_sum")?,
        started: row.try_get("started")?,
        finished: row.try_get("finished")?,
        raw_bytes: unsigned(row.try_get("raw_bytes")?),
        added_bytes: unsigned(row.try_get("added_bytes")?),
        rows: unsigned(row.try_get("rows")?),
        instants: row.try_get("instants")?,
        gaps: row.try_get("gaps")?,
    })
}

fn copy(row: &SqliteRow) -> Result<CopyRow, sqlx::Error> {
    Ok(CopyRow {
        snapshot: row.try_get("snapshot")?,
        target: row.try_get("target")?,
        place: row.try_get("place")?,
        state: row.try_get("state")?,
        at: row.try_get("at")?,
        error: row.try_get("error")?,
    })
}

fn proof(row: &SqliteRow) -> Result<ProofRow, sqlx::Error> {
    Ok(ProofRow {
        id: row.try_get("id")?,
        job: row.try_get("job")?,
        snapshot: row.try_get("snapshot")?,
        target: row.try_get("target")?,
        dumped_at: row.try_get("dumped_at")?,
        started: row.try_get("started")?,
        finished: row.try_get("finished")?,
        verdict: row.try_get("verdict")?,
        measured: row.try_get("measured")?,
    })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unusable(file: &Path, why: impl ToString) -> CatalogError {
    CatalogError::Unusable { file: file.display().to_string(), why: why.to_string() }
}

fn damaged(error: &CatalogError) -> bool {
    let text = error.to_string();
    ["not a database", "malformed", "file is encrypted", "no such table"].iter().any(|sign| text.contains(sign))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof_row(id: &str, target: &str, finished: &str) -> ProofRow {
        ProofRow {
            id: id.into(),
            job: "j".into(),
            snapshot: "s".into(),
            target: target.into(),
            dumped_at: finished.into(),
            started: finished.into(),
            finished: finished.into(),
            verdict: "{}".into(),
            measured: "{}".into(),
        }
    }

    #[tokio::test]
    async fn the_newest_proof_of_each_target_is_shown_however_old() {
        let state = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(state.path()).await.unwrap();
        for (id, target, at) in [("1", "a", "2020"), ("2", "a", "2021"), ("3", "b", "2019"), ("4", "b", "2025")] {
            catalog.put_proof(&proof_row(id, target, at)).await.unwrap();
        }
        let ids: Vec<_> = catalog.proofs("j", "2024").await.unwrap().into_iter().map(|proof| proof.id).collect();
        assert_eq!(ids, ["4", "2"]);
    }

    #[tokio::test]
    async fn a_damaged_catalog_is_set_aside_and_said() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("catalog.sqlite"), b"not a database at all ".repeat(500)).unwrap();
        let catalog = Catalog::open(state.path()).await.unwrap();
        assert!(catalog.set_aside.as_ref().is_some_and(|aside| aside.exists()));
        assert_eq!(catalog.newest_snapshot("j").await.unwrap(), None);
        drop(catalog);
        assert!(Catalog::open(state.path()).await.unwrap().set_aside.is_none());
    }

    #[tokio::test]
    async fn a_copy_shows_what_is_known_and_changes_nothing() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Catalog::copy_of(state.path()).await.unwrap().proofs("j", "").await.unwrap(), []);
        assert!(std::fs::read_dir(state.path()).unwrap().next().is_none());
        let catalog = Catalog::open(state.path()).await.unwrap();
        catalog.put_proof(&proof_row("1", "a", "2025")).await.unwrap();
        // The catalog is still open, so the row is in the write-ahead log alone.
        let copy = Catalog::copy_of(state.path()).await.unwrap();
        assert_eq!(copy.proofs("j", "").await.unwrap().len(), 1);
        copy.put_proof(&proof_row("2", "a", "2026")).await.unwrap();
        assert_eq!(catalog.proofs("j", "").await.unwrap().len(), 1);
        catalog.connection.into_inner().close().await.unwrap();
        std::fs::write(state.path().join("catalog.sqlite"), b"not a database at all ".repeat(500)).unwrap();
        assert_eq!(Catalog::copy_of(state.path()).await.unwrap().proofs("j", "").await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_catalog_of_a_newer_version_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(state.path()).await.unwrap();
        sqlx::raw_sql("pragma user_version = 99").execute(&mut *catalog.connection.lock().await).await.unwrap();
        drop(catalog);
        assert!(matches!(Catalog::open(state.path()).await, Err(CatalogError::TooNew { found: 99, .. })));
    }

    #[tokio::test]
    async fn many_processes_may_open_and_write_at_once() {
        let state = tempfile::tempdir().unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let state = state.path().to_owned();
                tokio::spawn(async move {
                    let catalog = Catalog::open(&state).await.unwrap();
                    catalog.put_proof(&proof_row(&number.to_string(), &number.to_string(), "2025")).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let catalog = Catalog::open(state.path()).await.unwrap();
        assert_eq!(catalog.proofs("j", "").await.unwrap().len(), 8);
    }
}
