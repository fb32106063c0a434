//! Where a load goes: what a server must be, and what of it may be loaded over.
//!
//! Nothing has been changed when this refuses.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::choice::{self, Choice};
use super::trouble;
use crate::domain::{SourceRecord, human_bytes};
use crate::sources::redis::record::RedisRecord;
use crate::sources::redis::server::{self, Mode, Server};
use crate::sources::redis::wire::{Code, ConnectOptions, Connection, Value, WireError};
use crate::sources::{Context, SourceError};

/// `RESTORE` takes an absolute expiry since then.
const OLDEST: (u32, u32) = (5, 0);

/// A destination that was looked at.
pub(super) struct Ready {
    pub(super) connection: Connection,
    pub(super) server: Server,
    /// Databases to empty, because the user named them.
    pub(super) empty: Vec<u64>,
    pub(super) flush_functions: bool,
    /// Databases where chosen keys may take the place of others.
    pub(super) replace: Vec<u64>,
    /// Databases that hold other keys, among which none of the chosen may be.
    pub(super) look: Vec<u64>,
    pub(super) string_bytes_max: Option<u64>,
    pub(super) now_ms: i64,
    pub(super) warnings: Vec<String>,
}

/// What is to be loaded, and what the user permits.
pub(super) struct Wanted<'a> {
    pub(super) record: &'a SourceRecord,
    pub(super) details: &'a RedisRecord,
    pub(super) choice: &'a Choice,
    /// The one database that everything goes into, where the URL names one.
    pub(super) into: Option<u64>,
    pub(super) overwrite: &'a [String],
}

impl Wanted<'_> {
    /// `(in the snapshot, at the destination)`
    fn databases(&self) -> impl Iterator<Item = (u64, u64)> {
        self.choice.databases().into_iter().map(|from| (from, self.into.unwrap_or(from)))
    }
}

pub(super) async fn look(
    context: &Context,
    options: &ConnectOptions,
    wanted: &Wanted<'_>,
) -> Result<Ready, SourceError> {
    let what = format!("redis {}", options.place());
    let connected = Connection::connect(options, &context.cancel).await;
    let mut connection = connected.map_err(|error| trouble(&what, error))?;
    let server = server::facts(&mut connection).await.map_err(|error| trouble(&what, error))?;
    must_be_writable(&what, &server)?;
    let named = named(wanted.overwrite)?;
    let libraries = libraries(&what, &mut connection, wanted.choice.has_functions()).await?;
    let held = Held::of(&server, wanted, libraries.any);
    must_be_free(&what, &server, wanted, &held, &named)?;
    must_know_the_format(&what, &server, wanted, libraries.format)?;
    must_have_modules(&what, &server, wanted)?;
    must_have_databases(&what, &mut connection, wanted).await?;
    must_be_permitted(&what, &mut connection, &held, wanted).await?;
    let warnings = must_have_memory(&what, &server, wanted, &held)?;
    let (replace, look) = held.others.iter().partition(|database| named.databases.contains(database));
    Ok(Ready {
        string_bytes_max: string_bytes_max(&mut connection).await,
        now_ms: now_ms(&mut connection).await,
        connection,
        server,
        empty: held.whole.iter().map(|(database, _)| *database).collect(),
        flush_functions: held.libraries,
        replace,
        look,
        warnings,
    })
}

fn must_be_writable(what: &str, server: &Server) -> Result<(), SourceError> {
    let refuse =
        |why: String, hint: &str| Err(SourceError::Refused { what: what.to_owned(), why, hint: hint.to_owned() });
    if server.mode == Mode::Sentinel {
        return refuse("it is a sentinel, which holds no data".to_owned(), "name one of the servers that it watches");
    }
    if !server.is_known() {
        return refuse(
            "its user may not run `INFO`, and without that a replica or the live source is not recognised".to_owned(),
            "`ACL SETUSER user +info` permits it",
        );
    }
    if server.mode == Mode::Cluster {
        return refuse(
            "it is a node of a cluster, where each key has a node of its own".to_owned(),
            "restore into a server without cluster mode, and let `redis-cli --cluster import` move the keys",
        );
    }
    if server.is_replica() {
        let primary = server.text("master_host").zip(server.text("master_port"));
        let primary = primary.map(|(host, port)| format!(" of {host}:{port}")).unwrap_or_default();
        return refuse(
            format!("it is a replica{primary}, whose data are those of its primary"),
            "name the primary, or make it one by `REPLICAOF NO ONE`",
        );
    }
    if server.number("loading") == Some(1) {
        return Err(SourceError::Unreachable {
            what: what.to_owned(),
            why: "it is loading its own data".to_owned(),
            hint: "wait until `INFO persistence` says `loading:0`".to_owned(),
        });
    }
    if server.product == "redis" && server.release().is_some_and(|release| release < OLDEST) {
        return refuse(
            format!("it is redis {}, which takes no moment at which a key ends", server.version),
            "use redis 5.0 or later",
        );
    }
    Ok(())
}

/// What stands after `--overwrite`.
struct Named {
    databases: BTreeSet<u64>,
    functions: bool,
}

fn named(overwrite: &[String]) -> Result<Named, SourceError> {
    let mut named = Named { databases: BTreeSet::new(), functions: false };
    for word in overwrite {
        match choice::number(word) {
            Some(database) => drop(named.databases.insert(database)),
            None if word == "functions" => named.functions = true,
            None => {
                return Err(SourceError::Refused {
                    what: format!("`--overwrite {word}`"),
                    why: "it names nothing that a server has".to_owned(),
                    hint: "name databases as `db0`, and `functions`".to_owned(),
                });
            }
        }
    }
    Ok(named)
}

/// What the destination holds where something shall go.
struct Held {
    /// Databases that are loaded as a whole, and how many keys are there.
    whole: Vec<(u64, u64)>,
    /// Databases that some keys go into, and that hold keys.
    others: Vec<u64>,
    libraries: bool,
}

impl Held {
    fn of(server: &Server, wanted: &Wanted<'_>, libraries: bool) -> Self {
        let (mut whole, mut others) = (vec![], vec![]);
        let everything = wanted.choice.is_everything();
        for keyspace in server.keyspace.iter().filter(|keyspace| keyspace.keys > 0) {
            let mut from =
                wanted.databases().filter(|(_, to)| *to == keyspace.database).map(|(from, _)| from).peekable();
            let concerned = from.peek().is_some();
            if (everything && wanted.into.is_none()) || from.any(|from| wanted.choice.is_whole(from)) {
                whole.push((keyspace.database, keyspace.keys));
            } else if concerned {
                others.push(keyspace.database);
            }
        }
        Self { whole, others, libraries: libraries && (everything || wanted.choice.has_functions()) }
    }
}

/// Refuses what holds something, and what was backed up, unless all of it is named.
fn must_be_free(
    what: &str,
    server: &Server,
    wanted: &Wanted<'_>,
    held: &Held,
    named: &Named,
) -> Result<(), SourceError> {
    let mut there: Vec<String> = vec![];
    let mut words: BTreeSet<String> = BTreeSet::new();
    for (database, keys) in held.whole.iter().filter(|(database, _)| !named.databases.contains(database)) {
        there.push(format!("{keys} keys in db{database}"));
        words.insert(format!("db{database}"));
    }
    if held.libraries && !named.functions {
        there.push("functions".to_owned());
        words.insert("functions".to_owned());
    }
    if is_source(server, wanted.details) {
        let lacking: Vec<String> = wanted
            .databases()
            .filter(|(_, to)| !named.databases.contains(to))
            .map(|(_, to)| format!("db{to}"))
            .chain((wanted.choice.has_functions() && !named.functions).then(|| "functions".to_owned()))
            .collect();
        words.extend(lacking);
        if words.is_empty() {
            return Ok(());
        }
        return Err(SourceError::NotEmpty {
            what: what.to_owned(),
            why: "it is the live source of this backup, or carries on its history".to_owned(),
            hint: hint(&words),
        });
    }
    if there.is_empty() {
        return Ok(());
    }
    Err(SourceError::NotEmpty {
        what: what.to_owned(),
        why: format!("it holds {}", there.join(", ")),
        hint: hint(&words),
    })
}

fn hint(words: &BTreeSet<String>) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    format!("restore into another server, or say `--overwrite {}` to replace what is there", words.join(" "))
}

/// A server's run id changes with every start, its replication id only when another takes over.
fn is_source(server: &Server, details: &RedisRecord) -> bool {
    let same = |own: Option<&str>, recorded: Option<&str>| {
        own.zip(recorded).is_some_and(|(own, recorded)| own == recorded && own.bytes().any(|digit| digit != b'0'))
    };
    let history =
        |name: &str| details.shards.iter().any(|shard| same(server.text(name), shard.replication_id.as_deref()));
    same(Some(&server.run_id).filter(|id| !id.is_empty()).map(String::as_str), Some(&details.run_id))
        || history("master_replid")
        || history("master_replid2")
}

struct Libraries {
    any: bool,
    /// The version of RDB that the server writes; `None` where it does not say.
    format: Option<u32>,
}

/// What `FUNCTION DUMP` gives even where there is no function names the newest format that the server knows.
async fn libraries(what: &str, connection: &mut Connection, needed: bool) -> Result<Libraries, SourceError> {
    const TRAILER_BYTES: usize = 10;
    match connection.call(&[b"FUNCTION", b"DUMP"]).await {
        Ok(Value::Bulk(payload)) => {
            let version = payload.len().checked_sub(TRAILER_BYTES).and_then(|at| payload.get(at..at + 2));
            let format = version.map(|bytes| u32::from(u16::from_le_bytes([bytes[0], bytes[1]])));
            Ok(Libraries { any: payload.len() > TRAILER_BYTES, format })
        }
        Ok(_) => Ok(Libraries { any: false, format: None }),
        // Before 7.0 there were none.
        Err(WireError::Server(error)) if error.is_forbidden() && !needed => Ok(Libraries { any: false, format: None }),
        Err(error) => Err(trouble(what, error)),
    }
}

/// The first release that reads a format, where it is known.
const RELEASES: [(u32, &str, (u32, u32)); 11] = [
    (6, "redis 2.6", (2, 6)),
    (7, "redis 3.2", (3, 2)),
    (8, "redis 4.0", (4, 0)),
    (9, "redis 5.0", (5, 0)),
    (10, "redis 7.0", (7, 0)),
    (11, "redis 7.2", (7, 2)),
    (12, "redis 7.4", (7, 4)),
    (13, "redis 8.6", (8, 6)),
    (14, "redis 8.8", (8, 8)),
    (80, "valkey 9.0", (9, 0)),
    (81, "valkey 9.2", (9, 2)),
];

/// Formats since the two products went apart, until Valkey began to count from 80.
const OF_REDIS_ALONE: RangeInclusive<u32> = 12..=79;

fn must_know_the_format(
    what: &str,
    server: &Server,
    wanted: &Wanted<'_>,
    format: Option<u32>,
) -> Result<(), SourceError> {
    let by_release = || {
        let release = server.release().filter(|_| server.product == "redis")?;
        RELEASES
            .iter()
            .filter(|(_, name, since)| name.starts_with("redis") && *since <= release)
            .map(|(format, ..)| *format)
            .max()
    };
    let needed = wanted
        .details
        .shards
        .iter()
        .filter(|shard| shard.rdb.as_ref().is_some_and(|part| wanted.choice.has_part(part)));
    let Some(needed) = needed.map(|shard| shard.rdb_version).max() else { return Ok(()) };
    let known = format.or_else(by_release);
    // Valkey calls what Redis alone writes foreign, also where its own number is higher.
    let is_foreign = server.product == "valkey" && OF_REDIS_ALONE.contains(&needed);
    if !is_foreign && known.is_none_or(|known| needed <= known) {
        return Ok(());
    }
    let product = if wanted.details.product == "valkey" { "valkey" } else { "redis" };
    let first = RELEASES.iter().find(|(format, ..)| *format == needed).map(|(_, name, _)| (*name).to_owned());
    let first = first.unwrap_or_else(|| format!("{product} {}", wanted.record.version));
    let limit = match known {
        Some(known) if !is_foreign => format!("knows formats up to {known}"),
        _ => format!("loads none that Redis alone writes, from {} on", OF_REDIS_ALONE.start()),
    };
    Err(SourceError::Refused {
        what: what.to_owned(),
        why: format!(
            "the snapshot's values are of format {needed}, and this server ({} {}) {limit}",
            server.product, server.version,
        ),
        hint: format!("restore into {first} or later"),
    })
}

/// Types are not listed by a server; which module lacks is known by the names of modules only where there is none at all.
fn must_have_modules(what: &str, server: &Server, wanted: &Wanted<'_>) -> Result<(), SourceError> {
    let concerned = |name: &str| wanted.databases().any(|(from, _)| name == format!("db{from}/module"));
    let holds = wanted.record.groups.iter().any(|group| concerned(&group.name));
    if !holds || !server.modules.is_empty() || !wanted.choice.is_everything() {
        return Ok(());
    }
    Err(SourceError::Refused {
        what: what.to_owned(),
        why: format!(
            "the snapshot holds values of modules ({}), and the server has none",
            wanted.details.modules.join(", ")
        ),
        hint: "load these modules there, or choose other keys by `--only`".to_owned(),
    })
}

async fn must_have_databases(what: &str, connection: &mut Connection, wanted: &Wanted<'_>) -> Result<(), SourceError> {
    let needed: BTreeSet<u64> = wanted.databases().map(|(_, to)| to).collect();
    for database in needed {
        match connection.call(&[b"SELECT", database.to_string().as_bytes()]).await {
            Ok(_) => {}
            Err(WireError::Server(error)) if error.text.contains("out of range") => {
                return Err(SourceError::Refused {
                    what: what.to_owned(),
                    why: format!("it has no database {database}"),
                    hint: "start it with more `databases`, or choose some by `--only db0`; a URL that ends in `/0` takes one".to_owned(),
                });
            }
            Err(error) => return Err(trouble(what, error)),
        }
    }
    Ok(())
}

/// Asks for every command that will be needed in a way that changes nothing: permissions are looked at before arguments.
async fn must_be_permitted(
    what: &str,
    connection: &mut Connection,
    held: &Held,
    wanted: &Wanted<'_>,
) -> Result<(), SourceError> {
    let mut tries: Vec<&[&[u8]]> = vec![&[b"RESTORE", b"", b"0", b"", b"not-an-option"]];
    if !held.whole.is_empty() {
        tries.push(&[b"FLUSHDB", b"not-an-option"]);
        tries.push(&[b"DBSIZE"]);
    }
    if !held.others.is_empty() {
        tries.push(&[b"EXISTS", b""]);
    }
    if wanted.choice.has_functions() {
        tries.push(&[b"FUNCTION", b"RESTORE", b"", b"not-a-policy"]);
    }
    if held.libraries {
        tries.push(&[b"FUNCTION", b"FLUSH", b"not-an-option"]);
    }
    for command in tries {
        match connection.call(command).await {
            // A user may be kept to some keys, of which the empty name is none: then the load itself will show it.
            Err(WireError::Server(error)) if error.code == Code::NoPerm && error.text.contains("key") => {}
            Err(error) if error.is_forbidden() => return Err(trouble(what, error)),
            Ok(_) | Err(WireError::Server(_)) => {}
            Err(error) => return Err(trouble(what, error)),
        }
    }
    Ok(())
}

/// Refuses a load that does not fit under `maxmemory`; some keys of many may fit.
fn must_have_memory(what: &str, server: &Server, wanted: &Wanted<'_>, held: &Held) -> Result<Vec<String>, SourceError> {
    let Some(most) = server.number("maxmemory").filter(|most| *most > 0) else { return Ok(vec![]) };
    let used = server.number("used_memory").unwrap_or(0);
    // What is emptied makes room; how much of it is that of one database is not known.
    let used = if held.whole.is_empty() {
        used
    } else {
        used.saturating_sub(server.number("used_memory_dataset").unwrap_or(0))
    };
    let (free, needed) = (most.saturating_sub(used), wanted.details.memory_bytes);
    if needed > free && wanted.choice.is_everything() {
        return Err(SourceError::Refused {
            what: what.to_owned(),
            why: format!(
                "its `maxmemory` leaves {} and the data took {} in memory where they come from",
                human_bytes(free),
                human_bytes(needed)
            ),
            hint: "raise `maxmemory`, or choose keys by `--only`".to_owned(),
        });
    }
    let policy = server.text("maxmemory_policy").unwrap_or_default();
    if policy == "noeviction" || policy.is_empty() {
        return Ok(vec![]);
    }
    Ok(vec![format!(
        "`maxmemory` is {} and `maxmemory-policy` is `{policy}`: the server may evict what was restored",
        human_bytes(most)
    )])
}

async fn string_bytes_max(connection: &mut Connection) -> Option<u64> {
    let pairs = connection.call(&[b"CONFIG", b"GET", b"proto-max-bulk-len"]).await.ok()?;
    server::pairs(Some(&pairs)).get("proto-max-bulk-len")?.parse().ok()
}

/// By the server's clock, which decides what has expired.
async fn now_ms(connection: &mut Connection) -> i64 {
    let time = connection.call(&[b"TIME"]).await.ok();
    let number = |at: usize| time.as_ref()?.array()?.get(at)?.text()?.parse::<i64>().ok();
    match (number(0), number(1)) {
        (Some(secs), Some(micros)) => secs * 1000 + micros / 1000,
        _ => crate::system::clock::now().as_millisecond(),
    }
}
