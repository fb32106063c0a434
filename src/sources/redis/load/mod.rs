//! Loads a dump into a running server: every value as it is stored, by `RESTORE` with the moment at which it ends, and libraries
//! by `FUNCTION RESTORE`.
//!
//! What it must never do: load over what is there, or into the live source, unless the user named it; empty a database before
//! the snapshot was read to its end and found whole; leave out a key without a word. A restore that fails leaves what was loaded
//! so far, and says so: a server has no other place to build a database in.
//!
//! Memory: the RDB reader's bound (10 MiB), a frame or two of the store, and five batches of commands: one that is being
//! written, [`BATCHES_WAITING`] that wait, two that are under way. A batch has 1 MiB and one more value of at most
//! [`feed::HELD_BYTES_MAX`] with its name, so all is below 100 MiB whatever the values are. Larger ones go through temporary
//! files in the context's work folder, at most four at a time.

mod choice;
mod feed;
mod place;
mod scratch;
mod send;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;

pub(super) use choice::holding;

use self::choice::Choice;
use self::feed::{Batch, Fed, Plan, Task};
use self::place::{Ready, Wanted};
use self::send::Tally;
use super::failure;
use super::record::RedisRecord;
use super::server;
use super::wire::{Code, ConnectOptions, Connection, WireError};
use crate::domain::{Event, PartName, PartStore, SourceRecord};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

/// Batches between the thread that reads the RDB and the connection.
const BATCHES_WAITING: usize = 1;

/// Loads the parts of `record` as `request` says.
pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    if request.scratch {
        return scratch::load(context, record, store, request).await;
    }
    let details = RedisRecord::of(record)?;
    let options = ConnectOptions::parse(&request.place.url, request.place.password.clone())
        .map_err(|error| trouble("destination", error))?;
    let choice = Arc::new(Choice::of(record, &details, &request.only)?);
    let into = into(&options, &choice)?;
    let parts = parts(&details, &choice)?;
    let wanted = Wanted { record, details: &details, choice: &choice, into, overwrite: &request.overwrite };
    let ready = place::look(context, &options, &wanted).await?;
    if request.dry_run {
        return Ok(LoadReport { warnings: ready.warnings, ..LoadReport::default() });
    }
    let load = Load { context, store, choice, into, parts, place: options.place(), several: details.shards.len() > 1 };
    load.run(ready).await
}

/// The database that a URL names takes the one database that is chosen.
fn into(options: &ConnectOptions, choice: &Choice) -> Result<Option<u64>, SourceError> {
    let Some(into) = options.database.map(u64::from) else { return Ok(None) };
    match choice.databases()[..] {
        [] | [_] => Ok(Some(into)),
        _ => Err(SourceError::Refused {
            what: format!("restore into database {into} of {}", options.place()),
            why: "keys of several databases cannot go into one".to_owned(),
            hint: "choose one: `--only db0`; or name no database in the URL".to_owned(),
        }),
    }
}

fn parts(details: &RedisRecord, choice: &Choice) -> Result<Vec<(PartName, u64)>, SourceError> {
    let mut parts = vec![];
    for shard in &details.shards {
        let Some(part) = shard.rdb.as_ref().filter(|part| choice.has_part(part)) else { continue };
        if let Some(unread) = &shard.unread {
            return Err(feed::not_understood(part, unread));
        }
        parts.push((part.clone(), shard.bytes));
    }
    Ok(parts)
}

struct Load<'a> {
    context: &'a Context,
    store: Arc<dyn PartStore>,
    choice: Arc<Choice>,
    into: Option<u64>,
    parts: Vec<(PartName, u64)>,
    place: String,
    /// Shards, each of its own moment: a key that moved between them is in two.
    several: bool,
}

impl Load<'_> {
    async fn run(&self, mut ready: Ready) -> Result<LoadReport, SourceError> {
        let mut warnings = std::mem::take(&mut ready.warnings);
        if !ready.empty.is_empty() || ready.flush_functions || !ready.look.is_empty() {
            self.check(&mut ready).await?;
        }
        self.phase("load", format!("keys into {}", self.place));
        let mut tally = Tally::new(ready.now_ms);
        let loaded = self.fill(&mut ready, &mut tally).await;
        let fed = loaded.map_err(|error| self.with_state(error, &ready, &tally))?;
        self.must_hold(&mut ready, &tally).await?;
        warnings.extend(self.told(&fed, &tally));
        warnings.extend(self.evicted(&mut ready).await);
        Ok(LoadReport {
            bytes: tally.bytes,
            rows: tally.keys + tally.libraries,
            warnings,
            loaded: vec![format!("redis {}", self.place)],
            ..LoadReport::default()
        })
    }

    /// Reads everything once before anything is changed: a damaged copy must not cost what is there, nor half the keys come in
    /// where one of them is there already.
    async fn check(&self, ready: &mut Ready) -> Result<(), SourceError> {
        self.phase("check", format!("the snapshot, before {} is changed", self.place));
        let mut tally = Tally::new(ready.now_ms);
        self.pass(&mut ready.connection, &Task::Look(ready.look.clone()), &mut tally).await?;
        if tally.found == 0 {
            return Ok(());
        }
        let more = tally.found - tally.found_names.len() as u64;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let words: Vec<String> = ready.look.iter().map(|database| format!("db{database}")).collect();
        Err(SourceError::NotEmpty {
            what: format!("redis {}", self.place),
            why: format!("it has {}{more} already", tally.found_names.join(", ")),
            hint: format!(
                "say `--overwrite {}` to replace these keys, and no others; nothing was changed",
                words.join(" ")
            ),
        })
    }

    async fn fill(&self, ready: &mut Ready, tally: &mut Tally) -> Result<Fed, SourceError> {
        let what = || format!("redis {}", self.place);
        for database in &ready.empty {
            let number = database.to_string();
            for command in [&[&b"SELECT"[..], number.as_bytes()][..], &[b"FLUSHDB"]] {
                ready.connection.call(command).await.map_err(|error| trouble(what(), error))?;
            }
        }
        if ready.flush_functions {
            let flushed = ready.connection.call(&[b"FUNCTION", b"FLUSH"]).await;
            flushed.map_err(|error| trouble(what(), error))?;
        }
        let mut replace = ready.replace.clone();
        if self.several {
            replace.extend(self.choice.databases().into_iter().map(|database| self.into.unwrap_or(database)));
        }
        let task = Task::Load { replace, replace_libraries: self.several, string_bytes_max: ready.string_bytes_max };
        self.pass(&mut ready.connection, &task, tally).await
    }

    /// Every part through a thread of its own into the connection.
    async fn pass(&self, connection: &mut Connection, task: &Task, tally: &mut Tally) -> Result<Fed, SourceError> {
        let total_bytes = self.parts.iter().map(|(_, bytes)| bytes).sum();
        let mut before_bytes = 0;
        let mut all = Fed { seen: self.choice.seen(), aside: vec![] };
        for (part, bytes) in &self.parts {
            let plan = Plan {
                store: Arc::clone(&self.store),
                part: part.clone(),
                choice: Arc::clone(&self.choice),
                task: task.clone(),
                into: self.into,
                before_bytes,
                total_bytes,
            };
            before_bytes += bytes;
            let (out, batches) = mpsc::channel::<Batch>(BATCHES_WAITING);
            let context = self.context.clone();
            let thread = tokio::task::spawn_blocking(move || feed::run(&context, plan, out));
            let sent = send::run(connection, batches, tally).await;
            let fed = thread.await.unwrap_or_else(|error| {
                let why = error.to_string();
                Err(SourceError::Failed { what: "reading the RDB".to_owned(), why, hint: String::new() })
            });
            // The thread ends without an error when the connection has one.
            sent?;
            let fed = fed?;
            all.seen.iter_mut().zip(fed.seen).for_each(|(all, seen)| *all |= seen);
            all.aside.extend(fed.aside);
        }
        if !all.seen.is_empty() && all.seen.iter().all(|seen| !seen) {
            return Err(SourceError::Refused {
                what: format!("`--only {}`", self.choice.unseen(&all.seen).join(" ")),
                why: "no key of the snapshot fits".to_owned(),
                hint: "patterns are those of `KEYS`: `session:*`, `user:[0-9]`".to_owned(),
            });
        }
        Ok(all)
    }

    /// Keys that were taken and do not expire must be there, where nothing else was.
    async fn must_hold(&self, ready: &mut Ready, tally: &Tally) -> Result<(), SourceError> {
        for (database, lasting) in &tally.lasting {
            let number = database.to_string();
            let selected = ready.connection.call(&[b"SELECT", number.as_bytes()]).await;
            selected.map_err(|error| trouble("counting keys", error))?;
            let counted = match ready.connection.call(&[b"DBSIZE"]).await {
                Ok(counted) => counted.integer().and_then(|counted| u64::try_from(counted).ok()),
                Err(WireError::Server(error)) if error.is_forbidden() => None,
                Err(error) => return Err(trouble("counting keys", error)),
            };
            // A key that is in two shards was taken twice.
            let Some(counted) = counted.filter(|counted| counted < lasting && !self.several) else { continue };
            return Err(SourceError::Failed {
                what: format!("db{database} of {}", self.place),
                why: format!("{lasting} keys without an expiry were loaded, and it has {counted} keys"),
                hint: "the server evicts keys under its `maxmemory`, or somebody else deletes them".to_owned(),
            });
        }
        Ok(())
    }

    fn told(&self, fed: &Fed, tally: &Tally) -> Vec<String> {
        let mut told = vec![];
        if tally.expired > 0 {
            told.push(format!(
                "{} of {} keys had expired by now, and a server does not keep such; a restore into a folder has them",
                tally.expired, tally.keys
            ));
        }
        let aside: BTreeSet<&str> = fed.aside.iter().map(String::as_str).collect();
        if !aside.is_empty() {
            let aside: Vec<&str> = aside.into_iter().collect();
            told.push(format!(
                "what modules saved beside their keys ({}) is loaded only by a server that starts on the `dump.rdb`",
                aside.join(", ")
            ));
        }
        told.extend(
            self.choice.unseen(&fed.seen).iter().map(|word| format!("nothing in the snapshot fits `--only {word}`")),
        );
        told
    }

    async fn evicted(&self, ready: &mut Ready) -> Option<String> {
        let after = server::facts(&mut ready.connection).await.ok()?.number("evicted_keys")?;
        let evicted = after.saturating_sub(ready.server.number("evicted_keys")?);
        (evicted > 0)
            .then(|| format!("the server evicted {evicted} keys meanwhile: raise its `maxmemory` and restore again"))
    }

    /// Adds to an error what is left at the destination.
    fn with_state(&self, error: SourceError, ready: &Ready, tally: &Tally) -> SourceError {
        let emptied: Vec<String> = ready.empty.iter().map(|database| format!("db{database}")).collect();
        let mut names: BTreeSet<String> = tally.databases.iter().map(|database| format!("db{database}")).collect();
        if tally.libraries > 0 {
            names.insert("functions".to_owned());
        }
        if tally.keys + tally.libraries == 0 && emptied.is_empty() {
            return error;
        }
        let was =
            if emptied.is_empty() { String::new() } else { format!("{} had been emptied, and ", emptied.join(", ")) };
        names.extend(emptied);
        let again: Vec<String> = names.into_iter().collect();
        let state = format!(
            "{}: {was}{} keys of the snapshot are there; `--overwrite {}` starts again",
            self.place,
            tally.keys,
            again.join(" ")
        );
        let progress = &self.context.progress;
        progress.event(Event::Warning { job: self.context.job.clone(), message: state.clone() });
        let join = |hint: String| if hint.is_empty() { state.clone() } else { format!("{hint}; {state}") };
        match error {
            SourceError::Failed { what, why, hint } => SourceError::Failed { what, why, hint: join(hint) },
            SourceError::Refused { what, why, hint } => SourceError::Refused { what, why, hint: join(hint) },
            SourceError::Unreachable { what, why, hint } => SourceError::Unreachable { what, why, hint: join(hint) },
            other => other,
        }
    }

    fn phase(&self, phase: &str, detail: String) {
        self.context.progress.event(Event::Phase { job: self.context.job.clone(), phase: phase.to_owned(), detail });
    }
}

/// An error of the wire at a destination, whose login does not come from a job.
fn trouble(what: impl Into<String>, error: WireError) -> SourceError {
    let login = matches!(error.code(), Some(Code::NoAuth | Code::WrongPass));
    match failure::wire(what, error) {
        SourceError::Refused { what, why, .. } if login => SourceError::Refused {
            what,
            why,
            hint: "set REDISCLI_AUTH to the password; the user stands in the URL: `redis://user@host`".to_owned(),
        },
        other => other,
    }
}
