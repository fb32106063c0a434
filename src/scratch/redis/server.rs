//! A private server: its own folder, user and process group, a unix socket, no port, nothing of the host's configuration.
//!
//! It starts empty, as a replica whose primary can never be reached (port 0 of the loopback): a replica leaves expired keys to its
//! primary, so a load drops none. Whoever loads the snapshot decides when it stops being one.
//!
//! Memory: the data are in memory, so what they need is asked of the machine first; `memory` of the policy bounds the address
//! space of each process, with [`PROCESS_OVERHEAD_BYTES`] for code and buffers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::RedisScratchPolicy;
use super::programs::{self, Found, Wanted};
use crate::domain::{Place, ScratchNeeds, human_bytes};
use crate::scratch::private::{self, Engine, PrivateServer};
use crate::scratch::{LeaseRequest, ScratchError, guard, percent};
use crate::system::user;

/// An answer of `INFO` has a few KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// As many as a server has by itself.
const DATABASES_MIN: u64 = 16;

pub(super) struct Redis {
    bin: Option<PathBuf>,
}

pub(super) async fn lease(
    policy: &RedisScratchPolicy,
    needs: &ScratchNeeds,
    request: &LeaseRequest,
) -> Result<PrivateServer<Redis>, ScratchError> {
    let found = programs::find(Wanted::of(needs), &policy.programs).await.map_err(ScratchError::Lacks)?;
    check_memory(policy, needs.bytes)?;
    let user = user::server_user();
    let folder = private::folder::<Redis>(request, needs.bytes, user.as_ref())?;
    let configuration = folder.path().join("redis.conf");
    std::fs::write(&configuration, settings(policy, needs, &found, folder.path()))
        .and_then(|()| user::give(&configuration, user.as_ref()))
        .map_err(|error| ScratchError::failed("settings of scratch redis", error))?;
    let server = guard::program(folder.path(), Signal::KILL, policy.memory_bytes.map(private::address_space))
        .arg(&found.path)
        .arg(&configuration)
        .user(user);
    let redis = Redis { bin: found.path.parent().filter(|parent| parent.is_absolute()).map(Path::to_owned) };
    let product = format!("{} {}", found.product, found.version);
    let lease = PrivateServer::start(redis, folder, &server, &product, policy.load_timeout).await?;
    let lacking = lacking_modules(&socket(lease.path()), &needs.modules).await?;
    if lacking.is_empty() { Ok(lease) } else { Err(ScratchError::Lacks(lacking)) }
}

/// The data must fit into memory, and a server that takes the last of it takes others down with it.
fn check_memory(policy: &RedisScratchPolicy, bytes: u64) -> Result<(), ScratchError> {
    let lacks = |free: u64, where_from: &str| {
        let (wanted, free) = (human_bytes(bytes), human_bytes(free));
        Err(ScratchError::Lacks(vec![format!("{wanted} of memory for scratch redis ({where_from} {free})")]))
    };
    if let Some(allowed) = policy.memory_bytes.filter(|allowed| *allowed < bytes) {
        return lacks(allowed, "`memory` allows");
    }
    let listed = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available(&listed) {
        Some(free) if free < bytes => lacks(free, "free are"),
        _ => Ok(()),
    }
}

/// `MemAvailable:    8123456 kB`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn settings(policy: &RedisScratchPolicy, needs: &ScratchNeeds, server: &Found, folder: &Path) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name} {value}").expect("a String takes every write");
    };
    line("port", "0");
    line("unixsocket", &quoted(&socket(folder)));
    line("unixsocketperm", "700");
    line("dir", &quoted(folder));
    line("dbfilename", "dump.rdb");
    line("daemonize", "no");
    line("databases", &needs.databases.max(DATABASES_MIN).to_string());
    // The instance is thrown away: nothing is saved, and nothing that it was given may go by itself.
    line("save", "\"\"");
    line("appendonly", "no");
    line("maxmemory", "0");
    line("repl-diskless-sync", "yes");
    line("repl-diskless-sync-delay", "0");
    // Since Redis 5; until then, and in every later one, it is an alias.
    line("slaveof", "127.0.0.1 0");
    line("slave-serve-stale-data", "yes");
    line("slave-read-only", "yes");
    if server.release() >= (7, 0) {
        line("enable-debug-command", "local");
    }
    for module in &policy.modules {
        line("loadmodule", &quoted(module));
    }
    for (name, value) in &policy.settings {
        line(name, &escaped(value));
    }
    text
}

fn quoted(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// As `redis.conf` reads it.
fn escaped(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Asked of the server itself: a library that it was told to load may be another's.
async fn lacking_modules(socket: &Path, wanted: &[String]) -> Result<Vec<String>, ScratchError> {
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let answer =
        ask(socket, "INFO modules").await.map_err(|error| ScratchError::failed("modules of scratch redis", error))?;
    let loaded: Vec<&str> =
        answer.lines().filter_map(|line| line.strip_prefix("module:name=")?.split(',').next()).collect();
    let lacking = wanted.iter().filter(|name| !loaded.contains(&name.as_str()));
    Ok(lacking.map(|name| format!("module {name} (`modules` of `[scratch.redis]` loads it)")).collect())
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("redis.sock")
}

/// One command and the text of its answer, from an empty server that answers at once.
async fn ask(socket: &Path, command: &str) -> std::io::Result<String> {
    let work = async {
        let mut stream = UnixStream::connect(socket).await?;
        // After `QUIT` the server closes the connection, so the end of the answer needs no parsing.
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
        let mut answer = vec![];
        stream.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(ANSWER_LIMIT, work).await.map_err(|_| std::io::ErrorKind::TimedOut)?
}

impl Engine for Redis {
    const NAME: &'static str = "redis";

    async fn is_ready(&self, folder: &Path) -> bool {
        ask(&socket(folder), "PING").await.is_ok_and(|answer| answer.starts_with("+PONG"))
    }

    fn lacks(_log: &str) -> Option<String> {
        None
    }

    fn place(&self, folder: &Path, database: &str) -> Place {
        // An absolute path stays readable: only what a URL could misread is escaped.
        let path: Vec<String> = socket(folder).display().to_string().split('/').map(percent).collect();
        let parameter = if database.is_empty() { String::new() } else { format!("?db={}", percent(database)) };
        Place { url: format!("unix://{}{parameter}", path.join("/")), password: None }
    }

    fn programs(&self) -> Option<&Path> {
        self.bin.as_deref()
    }

    fn commands(&self, folder: &Path) -> [String; 2] {
        let client = format!("redis-cli -s {}", socket(folder).display());
        [client.clone(), format!("{client} SHUTDOWN NOSAVE")]
    }
}

#[cfg(test)]
mod tests {
    use super::programs::Product;
    use super::*;

    #[test]
    fn the_settings_of_the_user_come_last_and_names_are_quoted() {
        let mut policy = RedisScratchPolicy::default();
        policy.settings.insert("loglevel".to_owned(), "a \"b\"".to_owned());
        let needs = ScratchNeeds { databases: 40, ..ScratchNeeds::default() };
        let server = Found { path: "x".into(), product: Product::Redis, version: "6.2.1".to_owned() };
        let text = settings(&policy, &needs, &server, Path::new("/tmp/a b"));
        for line in ["port 0", "dir \"/tmp/a b\"", "databases 40", "loglevel \"a \\\"b\\\"\""] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("enable-debug-command"), "6.2 knows no such setting");
    }

    #[test]
    fn data_that_memory_cannot_hold_are_named_as_a_need() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        let policy = RedisScratchPolicy { memory_bytes: Some(64 << 20), ..RedisScratchPolicy::default() };
        assert!(check_memory(&policy, 1 << 20).is_ok());
        for (policy, bytes) in [(policy, 65 << 20), (RedisScratchPolicy::default(), u64::MAX / 2)] {
            let error = check_memory(&policy, bytes).unwrap_err();
            assert!(matches!(&error, ScratchError::Lacks(needs) if needs[0].contains("of memory")), "{error}");
        }
    }
}
