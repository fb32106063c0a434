//! Work that shares one sink: a failure poisons it, and then all the others fail too. What a person needs to read is the
//! failure that came first, and it may be the last to be told.

use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::sources::SourceError;

/// How long a poisoned sink waits for the failure that poisoned it. Whoever still waits for a lock is left behind.
const CAUSE_LIMIT: Duration = Duration::from_secs(2);

/// Runs both to their end; the first failure ends them.
pub(super) async fn both<A, B>(
    one: impl Future<Output = Result<A, SourceError>>,
    two: impl Future<Output = Result<B, SourceError>>,
) -> Result<(A, B), SourceError> {
    let (mut one, mut two) = (pin!(one), pin!(two));
    tokio::select! {
        first = &mut one => match first {
            Ok(first) => Ok((first, two.await?)),
            Err(error) => Err(cause(error, two).await),
        },
        second = &mut two => match second {
            Ok(second) => Ok((one.await?, second)),
            Err(error) => Err(cause(error, one).await),
        },
    }
}

/// Waits for all tasks; the first failure ends the waiting.
pub(super) async fn all(tasks: &mut JoinSet<Result<(), SourceError>>) -> Result<(), SourceError> {
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.unwrap_or_else(|error| {
            let why = error.to_string();
            Err(SourceError::Failed { what: "copying session".to_owned(), why, hint: String::new() })
        });
        if let Err(error) = ended {
            // Boxed, because this is the same function again.
            return Err(cause(error, Box::pin(all(tasks))).await);
        }
    }
    Ok(())
}

/// The error itself, or what `other` says that poisoned the sink.
async fn cause<T>(error: SourceError, other: impl Future<Output = Result<T, SourceError>>) -> SourceError {
    if !matches!(error, SourceError::Sink(_)) {
        return error;
    }
    match timeout(CAUSE_LIMIT, other).await {
        Ok(Err(cause)) if !matches!(cause, SourceError::Sink(_)) => cause,
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SinkError;

    async fn late(millis: u64, result: Result<u8, SourceError>) -> Result<u8, SourceError> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        result
    }

    fn echo() -> SourceError {
        SourceError::Sink(SinkError("poisoned".to_owned()))
    }

    fn broken() -> SourceError {
        SourceError::Failed { what: "copy".to_owned(), why: "cut".to_owned(), hint: String::new() }
    }

    #[tokio::test]
    async fn the_failure_that_poisoned_the_sink_is_told_and_not_its_echo() {
        let told = |result: Result<(u8, u8), SourceError>| result.unwrap_err().to_string();
        assert_eq!(told(both(late(1, Err(echo())), late(9, Err(broken()))).await), "copy: cut");
        assert_eq!(told(both(late(9, Err(broken())), late(1, Err(echo()))).await), "copy: cut");
        assert_eq!(told(both(late(1, Err(echo())), late(9, Err(echo()))).await), "poisoned");
        assert_eq!(told(both(late(1, Err(echo())), late(3_600_000, Ok(1))).await), "poisoned");
        assert_eq!(both(late(1, Ok(1)), late(9, Ok(2))).await.unwrap(), (1, 2));
    }

    #[tokio::test]
    async fn of_many_tasks_the_one_that_knows_why_is_heard() {
        let mut tasks = JoinSet::new();
        for (millis, result) in [(1, Err(echo())), (20, Ok(1)), (40, Err(echo())), (60, Err(broken()))] {
            tasks.spawn(async move { late(millis, result).await.map(drop) });
        }
        assert_eq!(all(&mut tasks).await.unwrap_err().to_string(), "copy: cut");
    }
}
