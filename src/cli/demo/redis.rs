//! The demo's second source: a Redis with sessions, a queue, a timeline and a stream, on a machine that has one.

use std::path::Path;

use super::Demo;
use crate::domain::{Place, ScratchNeeds};
use crate::operations::{Class, OperationError};
use crate::scratch::{self, Lease, LeaseRequest, ScratchError};
use crate::sources::redis::wire::{ConnectOptions, Connection, WireError};

const SESSIONS: u32 = 5_000;
const JOBS: u32 = 2_000;

impl Demo<'_> {
    /// A filled server; `None` where none is installed.
    pub(super) async fn redis(&self, root: &Path) -> Result<Option<Box<dyn Lease>>, OperationError> {
        let engine = scratch::registry::kind("redis").expect("redis is registered");
        let request = LeaseRequest { root: root.to_owned(), never: vec![], cancel: self.cancel.child_token() };
        let needs = ScratchNeeds { engine: "redis".to_owned(), ..ScratchNeeds::default() };
        let lease = match engine.lease(None, &needs, &request).await {
            Ok(lease) => lease,
            Err(ScratchError::Lacks(what)) => {
                self.say(&format!("  no Redis beside it: this machine lacks {}", what.join(", ")));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        match self.commands(&lease.place(""), filling()).await {
            Ok(()) => {
                self.say(&format!(
                    "  {}: {SESSIONS} sessions that expire, a queue of {JOBS} jobs, a timeline, a stream",
                    lease.facts().first().map_or("redis", String::as_str)
                ));
                Ok(Some(lease))
            }
            Err(error) => {
                lease.release().await?;
                Err(error)
            }
        }
    }

    /// Some jobs are done, some sessions begin.
    pub(super) async fn change_redis(&self, place: &Place) -> Result<(), OperationError> {
        let done = (0..50).map(|_| command(&["LPOP", "queue:default"]));
        let begun = (SESSIONS..SESSIONS + 100).map(session);
        self.commands(place, done.chain(begun)).await
    }

    async fn commands(&self, place: &Place, all: impl Iterator<Item = Vec<Vec<u8>>>) -> Result<(), OperationError> {
        let failed =
            |why: WireError| OperationError::new(Class::Source, "the demo's Redis could not be prepared").cause(why);
        let options = ConnectOptions::parse(&place.url, place.password.clone()).map_err(failed)?;
        let mut connection = Connection::connect(&options, &self.cancel).await.map_err(failed)?;
        for arguments in all {
            let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
            connection.call(&arguments).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn filling() -> impl Iterator<Item = Vec<Vec<u8>>> {
    // Scratch servers look for a primary; a source is one. Nobody else will ask for its data, so it need not wait for them.
    let role = [&["SLAVEOF", "NO", "ONE"][..], &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]].map(command);
    let jobs =
        (0..JOBS).map(|number| command(&["RPUSH", "queue:default", &format!("{{\"job\":\"mail\",\"to\":{number}}}")]));
    let timeline =
        (0..500).map(|number| command(&["ZADD", "timeline:home", &number.to_string(), &format!("status:{number}")]));
    let events = (0..500).map(|number| {
        command(&["XADD", "events", &format!("{}-0", number + 1), "kind", "login", "account", &number.to_string()])
    });
    let readers = [
        &["XGROUP", "CREATE", "events", "mailer", "0"][..],
        &["XREADGROUP", "GROUP", "mailer", "worker-1", "COUNT", "20", "STREAMS", "events", ">"],
        &["HSET", "settings", "theme", "dark", "language", "en"],
    ]
    .map(command);
    role.into_iter().chain((0..SESSIONS).map(session)).chain(jobs).chain(timeline).chain(events).chain(readers)
}

fn session(number: u32) -> Vec<Vec<u8>> {
    command(&["SET", &format!("session:{number:06}"), &format!("account={}", number * 7 % 3_000), "EX", "86400"])
}

fn command(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
