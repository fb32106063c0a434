//! Runs parts that hold SQL, one statement a line: sequences and large objects.
//!
//! Memory: one batch of [`BATCH_BYTES`], or one line where that is longer.

use std::sync::Arc;

use super::feed::Feed;
use super::trouble;
use crate::domain::{PartName, PartStore};
use crate::sources::SourceError;
use crate::sources::postgres::wire::Connection;

/// How much SQL is sent at once; each batch is one transaction.
const BATCH_BYTES: usize = 256 << 10;

/// Runs the lines for which `wanted` holds; returns how many.
pub(super) async fn run(
    connection: &mut Connection,
    store: &Arc<dyn PartStore>,
    part: &PartName,
    wanted: impl Fn(&str) -> bool,
) -> Result<u64, SourceError> {
    let mut feed = Feed::start(store, part);
    let (mut pending, mut batch, mut count) = (Vec::new(), String::new(), 0);
    let mut more = true;
    while more {
        match feed.next().await? {
            Some(piece) => pending.extend_from_slice(&piece),
            None => more = false,
        }
        // At the end of the part a line need not be closed.
        let whole =
            if more { pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { pending.len() };
        let lines = std::str::from_utf8(&pending[..whole]).map_err(|error| SourceError::Failed {
            what: format!("part `{part}`"),
            why: error.to_string(),
            hint: String::new(),
        })?;
        for line in lines.split('\n').filter(|line| !line.trim().is_empty() && wanted(line)) {
            batch.push_str(line.trim_end().trim_end_matches(';'));
            batch.push_str(";\n");
            count += 1;
            if batch.len() >= BATCH_BYTES {
                send(connection, part, &mut batch).await?;
            }
        }
        pending.drain(..whole);
    }
    send(connection, part, &mut batch).await?;
    Ok(count)
}

async fn send(connection: &mut Connection, part: &PartName, batch: &mut String) -> Result<(), SourceError> {
    if !batch.is_empty() {
        connection.execute(batch).await.map_err(|error| trouble::wire(format!("running part `{part}`"), error))?;
        batch.clear();
    }
    Ok(())
}
