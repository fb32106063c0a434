//! What `lifeboat init` asks a server before it writes the first job.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::wire::{ConnectOptions, Connection, WireError, quote_ident, quote_qualified};
use super::{failure, session};
use crate::domain::Secret;
use crate::sources::SourceError;

/// How many of the largest tables are asked for their newest rows.
const TABLES_ASKED: usize = 5;
/// How many of the largest tables are listed.
const TABLES_LISTED: usize = 50;
/// A newest value that no index gives within this time is not worth a scan.
const NEWEST_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, serde::Serialize)]
pub struct Introspection {
    pub database: String,
    /// `15.18`.
    pub version: String,
    pub size_bytes: u64,
    pub table_count: u64,
    /// The largest ones, largest first.
    pub tables: Vec<IntrospectedTable>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct IntrospectedTable {
    pub schema: String,
    pub name: String,
    /// The planner's estimate; `None` before the first ANALYZE.
    pub estimated_rows: Option<u64>,
    pub size_bytes: u64,
    /// Of type `timestamp` or `timestamptz`.
    pub timestamps: Vec<TimestampColumn>,
}

#[derive(Debug, Clone, serde::Serialize)]
pub struct TimestampColumn {
    pub name: String,
    /// ISO 8601, UTC; asked for the largest tables only.
    pub newest: Option<String>,
}

/// Connects read-only and looks around.
pub async fn introspect(url: &str, password: Option<Secret>) -> Result<Introspection, SourceError> {
    let options = ConnectOptions::parse(url, password).map_err(|error| failure::wire("URL", error))?;
    let what = format!("postgres {}", options.place());
    let mut connection = session::open(&options, NEWEST_TIMEOUT, &CancellationToken::new()).await?;
    look(&mut connection).await.map_err(|error| failure::wire(what, error))
}

async fn look(connection: &mut Connection) -> Result<Introspection, WireError> {
    connection.execute("SET default_transaction_read_only = on").await?;
    let row = connection
        .query_one(
            "SELECT pg_catalog.current_database(), pg_catalog.current_setting('server_version'), \
             pg_catalog.pg_database_size(pg_catalog.current_database()), (SELECT pg_catalog.count(*) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')",
        )
        .await?;
    let version = row.required(1)?;
    let mut found = Introspection {
        database: row.required(0)?.to_owned(),
        version: version.split_whitespace().next().unwrap_or(version).to_owned(),
        size_bytes: row.number(2)?,
        table_count: row.number(3)?,
        tables: tables(connection).await?,
    };
    let limit = NEWEST_TIMEOUT.as_millis();
    connection.execute(&format!("SET statement_timeout = {limit}")).await?;
    for table in found.tables.iter_mut().take(TABLES_ASKED) {
        for column in &mut table.timestamps {
            let sql = format!(
                "SELECT max({}) FROM {}",
                quote_ident(&column.name),
                quote_qualified(&table.schema, &table.name)
            );
            match connection.query_one(&sql).await {
                Ok(row) => column.newest = row.text(0).map(str::to_owned),
                // Too slow or not allowed: the column is still worth naming.
                Err(WireError::Server(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

async fn tables(connection: &mut Connection) -> Result<Vec<IntrospectedTable>, WireError> {
    let sql = format!(
        "SELECT n.nspname, c.relname, c.reltuples::bigint, pg_catalog.pg_table_size(c.oid), \
         coalesce((SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN (1114, 1184)), '[]') \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
         ORDER BY 4 DESC, 1, 2 LIMIT {TABLES_LISTED}"
    );
    let mut tables = Vec::new();
    for row in connection.query(&sql).await? {
        let names: Vec<String> =
            serde_json::from_str(row.required(4)?).map_err(|error| WireError::Protocol(error.to_string()))?;
        tables.push(IntrospectedTable {
            schema: row.required(0)?.to_owned(),
            name: row.required(1)?.to_owned(),
            estimated_rows: u64::try_from(row.number::<i64>(2)?).ok(),
            size_bytes: row.number(3)?,
            timestamps: names.into_iter().map(|name| TimestampColumn { name, newest: None }).collect(),
        });
    }
    Ok(tables)
}
