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

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::RedisScratchPolicy;
use super::programs::{self, Found};
use crate::domain::{Place, ScratchNeeds, human_bytes};
use crate::scratch::folder::Folder;
use crate::scratch::guard;
use crate::scratch::{Lease, LeaseRequest, ScratchError, percent};
use crate::system::process::{Running, StdinKind};
use crate::system::user;

const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(10);
/// An answer of `INFO` has a few KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// What a server process maps beside its data.
const PROCESS_OVERHEAD_BYTES: u64 = 512 << 20;
/// As many as a server has by itself.
const DATABASES_MIN: u64 = 16;

pub(super) struct ServerLease {
    // Ends before the folder goes: fields are dropped in this order.
    guard: Running,
    folder: Folder,
    facts: Vec<String>,
    bin: Option<PathBuf>,
    deadline: Instant,
}

pub(super) async fn lease(
    policy: &RedisScratchPolicy,
    needs: &ScratchNeeds,
    request: &LeaseRequest,
) -> Result<ServerLease, ScratchError> {
    let server = programs::find(needs.data_version, &policy.programs).await.map_err(ScratchError::Lacks)?;
    check_memory(policy, needs.bytes)?;
    let user = user::server_user();
    let folder = Folder::make(&request.root, "redis", user.as_ref())?;
    folder.check_free(needs.bytes)?;
    let configuration = folder.path().join("redis.conf");
    std::fs::write(&configuration, settings(policy, needs, &server, folder.path()))
        .and_then(|()| user::give(&configuration, user.as_ref()))
        .map_err(|error| ScratchError::failed("settings of scratch redis", error))?;
    let limit = policy.memory_bytes.map(|bytes| bytes + bytes / 4 + PROCESS_OVERHEAD_BYTES);
    let guard = guard::program(folder.path(), Signal::KILL, limit)
        .arg(&server.path)
        .arg(&configuration)
        .user(user)
        .start(StdinKind::Piped)
        .map_err(|error| ScratchError::failed("scratch redis", error))?;
    let mut lease = ServerLease {
        guard,
        folder,
        facts: vec![format!("{} {} in a private folder, without network", server.product, server.version)],
        bin: server.path.parent().filter(|parent| parent.is_absolute()).map(Path::to_owned),
        deadline: Instant::now() + policy.load_timeout,
    };
    lease.wait_until_ready().await?;
    let lacking = lease.lacking_modules(&needs.modules).await?;
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
    line("unixsocket", &quoted(&folder.join("redis.sock")));
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

impl ServerLease {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    async fn wait_until_ready(&mut self) -> Result<(), ScratchError> {
        let start = Instant::now();
        loop {
            if ask(&self.socket(), "PING").await.is_ok_and(|answer| answer.starts_with("+PONG")) {
                return Ok(());
            }
            if self.guard.has_ended() {
                let log = guard::last_words(self.folder.path()).await;
                return Err(ScratchError::failed("scratch redis did not start", log));
            }
            if start.elapsed() > START_LIMIT {
                return Err(ScratchError::Limit(format!("{} s for its start", START_LIMIT.as_secs())));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Asked of the server itself: a library that it was told to load may be another's.
    async fn lacking_modules(&self, wanted: &[String]) -> Result<Vec<String>, ScratchError> {
        if wanted.is_empty() {
            return Ok(vec![]);
        }
        let answer = ask(&self.socket(), "INFO modules")
            .await
            .map_err(|error| ScratchError::failed("modules of scratch redis", error))?;
        let loaded: Vec<&str> =
            answer.lines().filter_map(|line| line.strip_prefix("module:name=")?.split(',').next()).collect();
        let lacking = wanted.iter().filter(|name| !loaded.contains(&name.as_str()));
        Ok(lacking.map(|name| format!("module {name} (`modules` of `[scratch.redis]` loads it)")).collect())
    }

    async fn stop(&mut self) {
        // The guard sees its pipe close and kills the server; its status says only that.
        self.guard.stdin = None;
        if tokio::time::timeout(STOP_LIMIT, self.guard.finish()).await.is_err() {
            self.guard.stop(Signal::KILL).await;
        }
    }
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

#[async_trait]
impl Lease for ServerLease {
    fn place(&self, database: &str) -> Place {
        // An absolute path stays readable: only what a URL could misread is escaped.
        let path: Vec<String> = self.socket().display().to_string().split('/').map(percent).collect();
        let parameter = if database.is_empty() { String::new() } else { format!("?db={}", percent(database)) };
        Place { url: format!("unix://{}{parameter}", path.join("/")), password: None }
    }

    fn programs(&self) -> Vec<PathBuf> {
        self.bin.clone().into_iter().collect()
    }

    fn facts(&self) -> &[String] {
        &self.facts
    }

    async fn expired(&self) {
        tokio::time::sleep_until(self.deadline).await;
    }

    async fn release(mut self: Box<Self>) -> Result<(), ScratchError> {
        self.stop().await;
        let Self { folder, .. } = *self;
        tokio::task::spawn_blocking(move || folder.remove())
            .await
            .unwrap_or_else(|error| Err(ScratchError::failed("scratch redis", error)))
    }

    async fn keep(mut self: Box<Self>) -> Result<String, ScratchError> {
        let Some(mut pipe) = self.guard.stdin.take() else {
            return Err(ScratchError::failed("scratch redis", "its guard is gone"));
        };
        let failed = |error| ScratchError::failed("scratch redis", error);
        pipe.write_all(b"keep\n").await.map_err(failed)?;
        pipe.flush().await.map_err(failed)?;
        let Self { guard, folder, .. } = *self;
        let path = folder.keep()?;
        guard.detach();
        let path = path.display();
        Ok(format!(
            "scratch redis is kept; reach it with\n  redis-cli -s {path}/redis.sock\nand end it with\n  \
             redis-cli -s {path}/redis.sock SHUTDOWN NOSAVE; rm -r {path}"
        ))
    }
}

impl std::fmt::Debug for ServerLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "scratch redis in {}", self.folder.path().display())
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
