//! The catalog's file: how it is opened, made, and told from a damaged one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};

use super::{CatalogError, SCHEMA_VERSION};

const SCHEMA: &str = include_str!("schema.sql");
/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens the file; makes it where there is none.
pub(super) async fn connect(file: &Path) -> Result<SqliteConnection, CatalogError> {
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
        return Err(CatalogError::Unusable { file: file.display().to_string(), why: format!("malformed: {check}") });
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

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
pub(super) fn unusable(file: &Path, why: impl ToString) -> CatalogError {
    CatalogError::Unusable { file: file.display().to_string(), why: why.to_string() }
}

/// Whether the file is there and is no database that can be read.
pub(super) fn damaged(error: &CatalogError) -> bool {
    let text = error.to_string();
    ["not a database", "malformed", "file is encrypted", "no such table"].iter().any(|sign| text.contains(sign))
}

/// SQLite keeps more files beside its own.
pub(super) fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
