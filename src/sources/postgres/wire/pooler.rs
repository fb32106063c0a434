//! A pooler that hands out another backend for every transaction breaks a dump: settings, locks and the snapshot belong to
//! one backend.

use tokio_util::sync::CancellationToken;

use super::{ConnectOptions, Connection, WireError};

const ADVICE: &str = "a pooler in transaction mode stands before the server (PgBouncer, Odyssey, Supavisor, ...): a dump needs \
                      one backend for a whole session; connect to the server itself, or to a pool in session mode";

/// Fails when two sessions turn out to share backends.
///
/// Without a pooler the process id announced at the start is the backend's own, and nothing more is asked. With one, the
/// second session must never get the first one's backend, and the first must keep its own while the second holds another.
pub async fn refuse_transaction_pooling(
    connection: &mut Connection,
    options: &ConnectOptions,
    cancel: &CancellationToken,
) -> Result<(), WireError> {
    const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";
    let first: i32 = connection.query_one(BACKEND).await?.number(0)?;
    if first == connection.process_id() {
        return Ok(());
    }
    let mut other = Connection::connect(options, cancel).await?;
    other.execute("BEGIN").await?;
    let second: i32 = other.query_one(BACKEND).await?.number(0)?;
    let again: i32 = connection.query_one(BACKEND).await?.number(0)?;
    other.execute("ROLLBACK").await?;
    other.close().await;
    if first == second || first != again {
        return Err(WireError::Pooled(ADVICE.to_owned()));
    }
    Ok(())
}
