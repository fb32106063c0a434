//! An ordinary Postgres client, unlike the one that dumps: the independent second path to a restored system.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};

use crate::domain::Place;
use crate::proof::ProofError;

/// How long a scratch instance on this machine may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Connects for reading only, in UTC, each statement within `limit`. `database` overrides the one in the URL.
pub async fn connect(place: &Place, database: Option<&str>, limit: Duration) -> Result<PgConnection, ProofError> {
    let failed =
        |error: sqlx::Error| ProofError::Query { what: format!("connecting to {}", place.url), why: told(&error) };
    let mut options = PgConnectOptions::from_str(&place.url).map_err(failed)?.disable_statement_logging();
    if let Some(password) = &place.password {
        options = options.password(password.expose());
    }
    if let Some(database) = database {
        options = options.database(database);
    }
    let connecting = tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(&options));
    let Ok(connected) = connecting.await else {
        let why = format!("no answer within {} s", CONNECT_LIMIT.as_secs());
        return Err(ProofError::Query { what: format!("connecting to {}", place.url), why });
    };
    let mut connection = connected.map_err(failed)?;
    let pinned = format!(
        "SET default_transaction_read_only = on; SET statement_timeout = {}; SET TimeZone = 'UTC'; \
         SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET row_security = off",
        limit.as_millis()
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(pinned))).await.map_err(failed)?;
    Ok(connection)
}

/// Counts the rows of each (schema, table), not of its children, by the engine's own `count(*)`.
pub async fn count_rows(
    place: &Place,
    database: Option<&str>,
    tables: &[(String, String)],
    limit: Duration,
) -> Result<Vec<u64>, ProofError> {
    let mut connection = connect(place, database, limit).await?;
    let mut counts = Vec::with_capacity(tables.len());
    for (schema, table) in tables {
        let name = format!("{}.{}", quoted(schema), quoted(table));
        let counting = sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM ONLY {name}"))).persistent(false);
        let count: i64 =
            counting.fetch_one(&mut connection).await.and_then(|row| row.try_get(0)).map_err(|error| {
                ProofError::Query { what: format!("counting the rows of {name}"), why: told(&error) }
            })?;
        counts.push(count.unsigned_abs());
    }
    Ok(counts)
}

/// The engine's own message where there is one: it names the table or the column.
pub(super) fn told(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
