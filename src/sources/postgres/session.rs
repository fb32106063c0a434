//! How a session is set up so that the same content always gives the same bytes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::failure;
use super::wire::{ConnectOptions, Connection};
use crate::sources::SourceError;

/// The statements that pin every setting on which text output, or the patience of the server, depends.
///
/// `text_encoding` is [`super::record::DatabaseRecord::text_encoding`]. A loader sends the same statements before its
/// COPY: `money` is written and read under one `lc_monetary`, whatever the servers' own is.
pub fn settings(server_version_num: u32, text_encoding: &str, lock_timeout: Duration) -> String {
    let mut sql = format!(
        "SET client_encoding = '{text_encoding}'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
         SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; SET xmloption = 'content'; \
         SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET search_path = ''; SET row_security = off; \
         SET standard_conforming_strings = on; SET quote_all_identifiers = off; SET synchronize_seqscans = off; \
         SET max_parallel_workers_per_gather = 0; SET jit = off; SET statement_timeout = 0; SET lock_timeout = {}; \
         SET idle_in_transaction_session_timeout = 0",
        lock_timeout.as_millis()
    );
    if server_version_num >= 140_000 {
        sql.push_str("; SET idle_session_timeout = 0");
    }
    if server_version_num >= 170_000 {
        sql.push_str("; SET transaction_timeout = 0");
    }
    sql
}

/// `client_encoding` for a database: servers convert to UTF-8, but `SQL_ASCII` means that nobody knows what the bytes are.
pub fn text_encoding(server_encoding: &str) -> &'static str {
    if server_encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" }
}

/// Connects and pins the settings.
pub async fn open(
    options: &ConnectOptions,
    lock_timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Connection, SourceError> {
    let what = || format!("postgres {}", options.place());
    let mut connection = Connection::connect(options, cancel).await.map_err(|error| failure::wire(what(), error))?;
    let version = version_num(&mut connection).await?;
    let encoding = text_encoding(connection.parameter("server_encoding").unwrap_or("UTF8"));
    let sql = settings(version, encoding, lock_timeout);
    connection.execute(&sql).await.map_err(|error| failure::wire(what(), error))?;
    Ok(connection)
}

/// `150018`.
pub async fn version_num(connection: &mut Connection) -> Result<u32, SourceError> {
    let place = connection.options().place();
    let row = connection.query_one("SHOW server_version_num").await;
    row.and_then(|row| row.number(0)).map_err(|error| failure::wire(format!("postgres {place}"), error))
}
