//! What will be in a backup, and what will not, before it is made.

use super::config::Settings;
use super::failure;
use super::nodes::{self, Node};
use super::record::VECTOR_SETS;
use super::server::{self, Mode, Server};
use super::wire::{Connection, WireError};
use crate::domain::{Gap, human_bytes};
use crate::sources::{Context, Preflight, SourceError};

/// What no Redis server gives with its data.
const NEVER_IN_AN_RDB: [(&str, &str); 2] = [
    (
        "users and their passwords (ACL)",
        "they are no part of a server's data: keep the ACL file with the configuration",
    ),
    ("the server's configuration", "it is no part of a server's data: `CONFIG REWRITE` writes it into a file"),
];

/// Commands that reading key by key needs.
const FUZZY_TRIES: [&[&[u8]]; 4] =
    [&[b"SCAN", b"0", b"COUNT", b"1"], &[b"DUMP", b""], &[b"PTTL", b""], &[b"FUNCTION", b"DUMP"]];

/// The gaps of every backup of this job.
pub(super) fn gaps(settings: &Settings) -> Vec<Gap> {
    let gap = |what: String, why: &str| Gap { what, why: why.to_owned() };
    let mut gaps: Vec<Gap> = NEVER_IN_AN_RDB.iter().map(|(what, why)| gap((*what).to_owned(), why)).collect();
    if let Some(databases) = &settings.wanted.databases {
        let numbers: Vec<String> = databases.iter().map(u64::to_string).collect();
        gaps.push(gap(format!("databases other than {}", numbers.join(", ")), "excluded by the job"));
    }
    for pattern in &settings.wanted.exclude_keys {
        gaps.push(gap(format!("keys `{}`", pattern.text()), "excluded by the job"));
    }
    gaps
}

/// Looks at the server, and in a cluster at each that will be read.
pub(super) async fn look(
    context: &Context,
    settings: &Settings,
    server: &Server,
    mut connection: Connection,
) -> Result<Preflight, SourceError> {
    let mut preflight = Preflight { facts: vec![server.describe()], gaps: gaps(settings), ..Preflight::default() };
    let found =
        nodes::find(server, &mut connection, &settings.options, settings.prefer_replica, &context.cancel).await?;
    if server.mode == Mode::Cluster {
        preflight.facts.push(format!("cluster of {} shards; each is of a moment of its own", found.len()));
        preflight.gaps.extend(per_shard(found.len()));
    }
    drop(connection);
    for node in &found {
        let (facts, mut connection) = server::inspect(&node.options, &context.cancel).await?;
        look_at(settings, node, &facts, &mut connection, &mut preflight).await?;
    }
    Ok(preflight)
}

async fn look_at(
    settings: &Settings,
    node: &Node,
    server: &Server,
    connection: &mut Connection,
    preflight: &mut Preflight,
) -> Result<(), SourceError> {
    let of = node.shard.as_ref().map(|shard| format!("{shard}: ")).unwrap_or_default();
    preflight.facts.extend(node.note.as_ref().map(|note| format!("{of}{note}")));
    permissions(settings, node, server, connection, &of, preflight).await?;
    if !server.is_known() {
        let text = "the user may not run `INFO`: sizes are not known beforehand; `ACL SETUSER user +info` permits it";
        preflight.warnings.push(format!("{of}{text}"));
        preflight.estimated_parts += 1;
        return Ok(());
    }
    let memory = server.number("used_memory_dataset").or_else(|| server.number("used_memory")).unwrap_or(0);
    let mut wanted = 0;
    for keyspace in &server.keyspace {
        let mut fact = format!("{of}database {}: {} keys", keyspace.database, keyspace.keys);
        if keyspace.expiring > 0 {
            fact.push_str(&format!(", {} with an expiry", keyspace.expiring));
        }
        if settings.wanted.has_database(keyspace.database) {
            wanted += keyspace.keys;
        } else {
            fact.push_str(", left out");
        }
        preflight.facts.push(fact);
    }
    preflight.facts.push(format!("{of}{wanted} keys, data of {} in memory", human_bytes(memory)));
    // An RDB has about the size of the data, with less around each value.
    preflight.estimated_bytes += memory;
    preflight.estimated_parts += 1 + 6 * server.keyspace.len() as u64;
    facts_about_the_dump(server, &of, preflight);
    Ok(())
}

/// What a person should know beforehand about how the server will send its data.
fn facts_about_the_dump(server: &Server, of: &str, preflight: &mut Preflight) {
    let mut warn = |text: String| preflight.warnings.push(format!("{of}{text}"));
    let opaque: Vec<&str> = server.modules.iter().map(String::as_str).filter(|name| *name != VECTOR_SETS).collect();
    if !opaque.is_empty() {
        let modules = opaque.join(", ");
        warn(format!(
            "modules {modules}: their values are kept and compared as they are saved, not by what they mean; where a module saves what \
             it has loaded in another way, a restore test proves nothing"
        ));
    }
    if let Some(policy) = server.text("maxmemory_policy") {
        if policy.ends_with("-lru") || policy.ends_with("-lfu") {
            warn(format!(
                "`maxmemory-policy` is `{policy}`: how lately each key was used is sent with it, so unchanged keys differ between \
                 backups and are stored again; keys may be evicted before they are backed up"
            ));
        } else if policy != "noeviction" {
            warn(format!("`maxmemory-policy` is `{policy}`: keys may be evicted before they are backed up"));
        }
    }
    if server.is_replica() && server.text("master_link_status") == Some("down") {
        warn("it is a replica whose link to its primary is down: its data may be old".to_owned());
    }
    if server.text("rdb_last_bgsave_status") == Some("err") {
        warn("the server's last save to its own disk failed: its log says why; a dump needs a fork as well".to_owned());
    }
    if let (Some(backlog), Some(active)) = (server.number("repl_backlog_size"), server.number("repl_backlog_active")) {
        let state = if active == 1 { "in use" } else { "made when the first replica asks" };
        preflight.facts.push(format!("{of}replication backlog of {}, {state}", human_bytes(backlog)));
    }
}

/// Says which way the data will come, and names the command that stands against it.
async fn permissions(
    settings: &Settings,
    node: &Node,
    server: &Server,
    connection: &mut Connection,
    of: &str,
    preflight: &mut Preflight,
) -> Result<(), SourceError> {
    let what = || format!("replication from {}", node.options.place());
    let Some(forbidden) = replication(server, connection).await.map_err(|error| failure::wire(what(), error))? else {
        preflight.facts.push(format!("{of}read by replication, at one moment"));
        return Ok(());
    };
    if !settings.allow_fuzzy {
        return Err(failure::wire(what(), forbidden));
    }
    preflight.warnings.push(format!("{of}{forbidden}: keys are read one by one, while they change"));
    preflight.gaps.push(one_moment(&forbidden.to_string()));
    for command in FUZZY_TRIES {
        match connection.call(command).await {
            Err(error) if error.is_forbidden() && !(command[0] == b"FUNCTION" && server.release() < Some((7, 0))) => {
                return Err(failure::wire(format!("reading keys from {}", node.options.place()), error));
            }
            Ok(_) | Err(WireError::Server(_)) => {}
            Err(error) => return Err(failure::wire(what(), error)),
        }
    }
    Ok(())
}

const ONE_MOMENT: &str = "a single point in time";

pub(super) fn one_moment(why: &str) -> Gap {
    Gap { what: ONE_MOMENT.to_owned(), why: format!("keys were read one by one, while they changed: {why}") }
}

/// A cluster has no moment that is the same at all its primaries.
pub(super) fn per_shard(shards: usize) -> Option<Gap> {
    (shards > 1).then(|| Gap {
        what: ONE_MOMENT.to_owned(),
        why: format!(
            "per-shard: each of {shards} shards is of a moment of its own, and a key that moved between them meanwhile may be \
             in both or in none"
        ),
    })
}

/// The refusal that a request for replication would meet, as far as it can be known without asking for it in earnest.
async fn replication(server: &Server, connection: &mut Connection) -> Result<Option<WireError>, WireError> {
    // Since 7.0, an offset that is no number is refused after the permission was checked and before anything is begun.
    if server.release() < Some((7, 0)) {
        return Ok(None);
    }
    let refused = async |connection: &mut Connection, command: &[&[u8]]| match connection.call(command).await {
        Err(error) if error.is_forbidden() => Ok(Some(error)),
        Ok(_) | Err(WireError::Server(_)) => Ok(None),
        Err(error) => Err(error),
    };
    let Some(forbidden) = refused(connection, &[b"PSYNC", b"?", b"not-asked-for"]).await? else { return Ok(None) };
    // `SYNC` cannot be tried without being done; whether it is there at all can be asked.
    match connection.call(&[b"COMMAND", b"INFO", b"sync"]).await {
        Ok(answer) if forbidden.code() == Some(super::wire::Code::Unknown) => {
            let there = answer.array().and_then(<[_]>::first).is_some_and(|entry| entry.array().is_some());
            Ok((!there).then_some(forbidden))
        }
        Ok(_) | Err(WireError::Server(_)) => Ok(Some(forbidden)),
        Err(error) => Err(error),
    }
}
