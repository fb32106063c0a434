//! The local database of runs, snapshots, copies and proofs. It is a convenience: everything that a restore needs is in the
//! repository, so a lost or damaged catalog costs history and nothing else.
//!
//! SQLite in write-ahead mode, one connection: several processes may share it, a killed one leaves it whole.

mod file;
mod rows;

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, query};
use tokio::sync::Mutex;

use file::{connect, damaged, unusable, with_suffix};
use rows::{Column, Record, Statement};

pub use rows::{CopyRow, ProofRow, RunRow, SnapshotRow};

const SCHEMA_VERSION: i64 = 1;

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

impl Catalog {
    /// Opens `catalog.sqlite` in the state folder. A damaged one is set aside and a new one started.
    pub async fn open(state: &Path) -> Result<Self, CatalogError> {
        let file = state.join("catalog.sqlite");
        match connect(&file).await {
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
                let connection = connect(&file).await?;
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
        let connection = match connect(&copy).await {
            Err(error) if damaged(&error) => connect(Path::new(":memory:")).await?,
            connected => connected?,
        };
        Ok(Self { file, connection: Mutex::new(connection), set_aside: None, _copy: Some(folder) })
    }

    fn map(&self, why: sqlx::Error) -> CatalogError {
        unusable(&self.file, why)
    }

    async fn execute(&self, statement: Statement<'_>) -> Result<(), CatalogError> {
        let mut connection = self.connection.lock().await;
        statement.execute(&mut *connection).await.map(drop).map_err(|why| self.map(why))
    }

    /// Every row that the statement finds, each read by `read`.
    async fn all<T>(
        &self,
        statement: Statement<'_>,
        read: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, CatalogError> {
        let mut connection = self.connection.lock().await;
        let rows = statement.fetch_all(&mut *connection).await;
        rows.and_then(|rows| rows.iter().map(read).collect()).map_err(|why| self.map(why))
    }

    /// The first row that the statement finds.
    async fn first<T>(
        &self,
        statement: Statement<'_>,
        read: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, CatalogError> {
        let mut connection = self.connection.lock().await;
        let row = statement.fetch_optional(&mut *connection).await;
        row.and_then(|row| row.as_ref().map(read).transpose()).map_err(|why| self.map(why))
    }

    pub async fn put_run(&self, run: &RunRow) -> Result<(), CatalogError> {
        self.execute(run.replace()).await
    }

    pub async fn put_snapshot(&self, snapshot: &SnapshotRow, copies: &[CopyRow]) -> Result<(), CatalogError> {
        let mut connection = self.connection.lock().await;
        let mut transaction = connection.begin().await.map_err(|why| self.map(why))?;
        for statement in std::iter::once(snapshot.replace()).chain(copies.iter().map(CopyRow::replace)) {
            statement.execute(&mut *transaction).await.map_err(|why| self.map(why))?;
        }
        transaction.commit().await.map_err(|why| self.map(why))
    }

    /// As [`Self::put_snapshot`], but what is known already stays as it is: a run knows more than a root says. Copies are added.
    pub async fn put_snapshot_if_new(&self, snapshot: &SnapshotRow, copies: &[CopyRow]) -> Result<bool, CatalogError> {
        if self.snapshot(&snapshot.id).await?.is_none() {
            self.put_snapshot(snapshot, copies).await?;
            return Ok(true);
        }
        for copy in copies {
            self.execute(copy.add()).await?;
        }
        Ok(false)
    }

    pub async fn put_proof(&self, proof: &ProofRow) -> Result<(), CatalogError> {
        self.execute(proof.replace()).await
    }

    /// Runs of a job that started at or after `since`, newest first, at most `limit`.
    pub async fn runs(&self, job: &str, since: &str, limit: u32) -> Result<Vec<RunRow>, CatalogError> {
        let sql = "select * from runs where job = ? and started >= ? order by started desc, rowid desc limit ?";
        self.all(query(sql).bind(job).bind(since).bind(limit), RunRow::read).await
    }

    /// The newest snapshot of a job that this catalog knows, with its copies.
    pub async fn newest_snapshot(&self, job: &str) -> Result<Option<(SnapshotRow, Vec<CopyRow>)>, CatalogError> {
        let sql = "select * from snapshots where job = ? order by started desc, sequence desc limit 1";
        let Some(snapshot) = self.first(query(sql).bind(job), SnapshotRow::read).await? else { return Ok(None) };
        let sql = "select * from copies where snapshot = ? order by target";
        let copies = self.all(query(sql).bind(&snapshot.id), CopyRow::read).await?;
        Ok(Some((snapshot, copies)))
    }

    /// One snapshot, if this catalog knows it.
    pub async fn snapshot(&self, id: &str) -> Result<Option<SnapshotRow>, CatalogError> {
        self.first(query("select * from snapshots where id = ?").bind(id), SnapshotRow::read).await
    }

    /// The writer's highest sequence that this catalog has seen: a target that shows less was rolled back.
    pub async fn highest_sequence(&self, writer: &str) -> Result<Option<(u64, String)>, CatalogError> {
        let sql = "select sequence, root_sum from snapshots where writer = ? order by sequence desc limit 1";
        let read = |row: &SqliteRow| Ok((Column::read(row, "sequence")?, Column::read(row, "root_sum")?));
        self.first(query(sql).bind(writer), read).await
    }

    /// For each snapshot that this catalog knows, its writer, its number, and whether it was committed at this target and place.
    pub async fn committed_at(&self, target: &str, place: &str) -> Result<Vec<(String, u64, bool)>, CatalogError> {
        let sql = "select s.writer, s.sequence, exists (select 1 from copies c where c.snapshot = s.id and c.target = ?1 \
                   and c.place = ?2 and c.state = 'committed') as committed from snapshots s";
        let read = |row: &SqliteRow| {
            Ok((Column::read(row, "writer")?, Column::read(row, "sequence")?, Column::read(row, "committed")?))
        };
        self.all(query(sql).bind(target).bind(place), read).await
    }

    /// Proofs of a job that ended at or after `since`, newest first, and always the newest of each target.
    pub async fn proofs(&self, job: &str, since: &str) -> Result<Vec<ProofRow>, CatalogError> {
        let sql = "select * from proofs p where job = ?1 and (finished >= ?2 or rowid = (select rowid from proofs q \
                   where q.job = p.job and q.target = p.target order by finished desc, rowid desc limit 1)) \
                   order by finished desc, rowid desc";
        self.all(query(sql).bind(job).bind(since), ProofRow::read).await
    }
}

#[cfg(test)]
mod tests;
