//! Facts about a server, gathered once before anything is dumped. Whatever a user may not ask stays unknown.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::failure;
use super::wire::{ConnectOptions, Connection, Value, WireError};
use crate::sources::SourceError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Cluster,
    Sentinel,
}

/// One database's line in `INFO keyspace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keyspace {
    pub(super) database: u64,
    pub(super) keys: u64,
    pub(super) expiring: u64,
}

/// A replica that the server names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) offset: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    /// `redis` or `valkey`.
    pub(super) product: String,
    /// `7.0.15`; empty where nobody says.
    pub(super) version: String,
    pub(super) mode: Mode,
    /// `master` or `slave`; empty where nobody says.
    pub(super) role: String,
    pub(super) run_id: String,
    pub(super) modules: Vec<String>,
    /// In step with this primary.
    pub(super) replicas: Vec<Replica>,
    pub(super) keyspace: Vec<Keyspace>,
    info: HashMap<String, String>,
}

impl Server {
    pub(super) fn is_replica(&self) -> bool {
        self.role == "slave" || self.role == "replica"
    }

    /// Whether `INFO` was permitted.
    pub(super) fn is_known(&self) -> bool {
        !self.info.is_empty()
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.info.get(name)?.parse().ok()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.info.get(name).map(String::as_str)
    }

    /// `(7, 0)`.
    pub(super) fn release(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }

    /// `server redis 7.0.15, standalone, primary`.
    pub(super) fn describe(&self) -> String {
        let version = if self.version.is_empty() { "of unknown version" } else { &self.version };
        let mode = match self.mode {
            Mode::Standalone => "standalone",
            Mode::Cluster => "cluster",
            Mode::Sentinel => "sentinel",
        };
        let role = match self.role.as_str() {
            "" => "",
            _ if self.is_replica() => ", replica",
            _ => ", primary",
        };
        format!("server {} {version}, {mode}{role}", self.product)
    }
}

/// Connects and asks what the server is.
pub(super) async fn inspect(
    options: &ConnectOptions,
    cancel: &CancellationToken,
) -> Result<(Server, Connection), SourceError> {
    let what = || format!("redis {}", options.place());
    let mut connection = Connection::connect(options, cancel).await.map_err(|error| failure::wire(what(), error))?;
    let server = facts(&mut connection).await.map_err(|error| failure::wire(what(), error))?;
    if server.mode == Mode::Sentinel {
        return Err(SourceError::Refused {
            what: what(),
            why: "it is a sentinel, which holds no data".to_owned(),
            hint: "write `redis+sentinel://host:26379/mymaster` to ask it for the primary".to_owned(),
        });
    }
    Ok((server, connection))
}

pub(super) async fn facts(connection: &mut Connection) -> Result<Server, WireError> {
    // Every user may say hello (since Redis 6), so this much is known even where `INFO` is forbidden.
    let hello = pairs(permitted(connection.call(&[b"HELLO"]).await)?.as_ref());
    let info = permitted(connection.call(&[b"INFO"]).await)?;
    let info = fields(info.as_ref().and_then(Value::text).unwrap_or_default());
    let get = |name: &str| info.get(name).cloned();
    let product = match info.get("server_name").or_else(|| hello.get("server")) {
        Some(name) if name.contains("valkey") => "valkey",
        _ => "redis",
    };
    let version = get("valkey_version").filter(|_| product == "valkey").or_else(|| get("redis_version"));
    let mode = match get("redis_mode").or_else(|| get("server_mode")).or_else(|| hello.get("mode").cloned()).as_deref()
    {
        Some("cluster") => Mode::Cluster,
        Some("sentinel") => Mode::Sentinel,
        _ => Mode::Standalone,
    };
    let mut modules: Vec<String> = info
        .iter()
        .filter(|(name, _)| name.starts_with("module:"))
        .filter_map(|(_, value)| Some(value.strip_prefix("name=")?.split(',').next()?.to_owned()))
        // What runs scripts in a Valkey since 9.1: it is in every server and keeps no data.
        .filter(|name| name != "lua")
        .collect();
    modules.sort();
    Ok(Server {
        product: product.to_owned(),
        version: version.or_else(|| hello.get("version").cloned()).unwrap_or_default(),
        mode,
        role: get("role").or_else(|| hello.get("role").cloned()).unwrap_or_default(),
        run_id: get("run_id").unwrap_or_default(),
        modules,
        replicas: replicas(&info),
        keyspace: keyspace(&info),
        info,
    })
}

/// `None` where the user may not ask, or the server is too old to be asked so.
fn permitted(answer: Result<Value, WireError>) -> Result<Option<Value>, WireError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(WireError::Server(error)) if error.code != super::wire::Code::NoAuth => Ok(None),
        Err(error) => Err(error),
    }
}

/// An array of names and values in turn.
pub(super) fn pairs(value: Option<&Value>) -> HashMap<String, String> {
    let items = value.and_then(Value::array).unwrap_or_default();
    items.chunks_exact(2).filter_map(|pair| Some((pair[0].text()?.to_owned(), pair[1].text()?.to_owned()))).collect()
}

/// `name:value` lines; modules, which all are called `module`, by number.
pub(super) fn fields(info: &str) -> HashMap<String, String> {
    let lines = info.lines().enumerate();
    let pairs = lines.filter_map(|(number, line)| Some((number, line.split_once(':')?)));
    pairs
        .map(|(number, (name, value))| match name {
            "module" => (format!("module:{number}"), value.to_owned()),
            _ => (name.to_owned(), value.to_owned()),
        })
        .collect()
}

/// `db0:keys=12,expires=3,avg_ttl=0`.
fn keyspace(info: &HashMap<String, String>) -> Vec<Keyspace> {
    let mut found: Vec<Keyspace> = info
        .iter()
        .filter_map(|(name, value)| {
            let database = name.strip_prefix("db")?.parse().ok()?;
            let number = |wanted: &str| {
                let of = |field: &str| field.strip_prefix(wanted)?.strip_prefix('=')?.parse().ok();
                value.split(',').find_map(of)
            };
            Some(Keyspace { database, keys: number("keys")?, expiring: number("expires").unwrap_or(0) })
        })
        .collect();
    found.sort_by_key(|keyspace| keyspace.database);
    found
}

/// `slave0:ip=10.0.0.2,port=6379,state=online,offset=1234,lag=0`; the one that is furthest first.
fn replicas(info: &HashMap<String, String>) -> Vec<Replica> {
    let of = |value: &str| {
        let fields: HashMap<&str, &str> = value.split(',').filter_map(|field| field.split_once('=')).collect();
        if fields.get("state") != Some(&"online") {
            return None;
        }
        Some(Replica {
            name: (*fields.get("ip")?).to_owned(),
            port: fields.get("port")?.parse().ok().filter(|port| *port > 0)?,
            offset: fields.get("offset")?.parse().ok()?,
        })
    };
    let named = |name: &str| name.strip_prefix("slave").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let mut found: Vec<_> = info.iter().filter(|(name, _)| named(name)).filter_map(|(_, value)| of(value)).collect();
    found.sort_by(|a, b| b.offset.cmp(&a.offset).then_with(|| (&a.name, a.port).cmp(&(&b.name, b.port))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_info_become_facts() {
        let info = fields(
            "# Replication\r\nrole:master\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=70,lag=0\r\n\
             slave1:ip=::1,port=6380,state=online,offset=90,lag=1\r\nslave2:ip=10.0.0.4,port=6379,state=wait_bgsave,offset=99,lag=9\r\n\
             slave_repl_offset:5\r\nmodule:name=ReJSON,ver=20011,api=1\r\nmodule:name=bf,ver=1\r\n\
             # Keyspace\r\ndb9:keys=5,expires=0,avg_ttl=0\r\ndb0:keys=12,expires=3,avg_ttl=17\r\n",
        );
        let names: Vec<_> = replicas(&info).into_iter().map(|replica| (replica.name, replica.port)).collect();
        assert_eq!(names, [("::1".to_owned(), 6380), ("10.0.0.2".to_owned(), 6379)]);
        let databases: Vec<_> = keyspace(&info).iter().map(|one| (one.database, one.keys, one.expiring)).collect();
        assert_eq!(databases, [(0, 12, 3), (9, 5, 0)]);
        assert_eq!(info.keys().filter(|name| name.starts_with("module:")).count(), 2);
    }
}
