//! A private server: its own folder, user and process group, a unix socket, no network.
//!
//! Memory: `memory` of the policy bounds `shared_buffers` (a quarter), maintenance (an eighth for each of two workers) and,
//! when the user set it, the address space of each server process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::time::Instant;

use super::programs::Programs;
use super::{PostgresScratchPolicy, checks, programs};
use crate::domain::{Place, ScratchNeeds};
use crate::scratch::folder::Folder;
use crate::scratch::guard;
use crate::scratch::{Lease, LeaseRequest, ScratchError, percent};
use crate::system::process::{Program, Running, StdinKind};
use crate::system::user::{self, ServerUser};

/// `initdb` does not quote what it is given, so a role of another name is made first and renamed.
const BOOTSTRAP: &str = "lifeboat_bootstrap";
const INITDB_LIMIT: Duration = Duration::from_mins(3);
const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(10);
/// Connections: the loader's lanes, the dump's, the checks'.
const CONNECTIONS_MAX: u64 = 40;
/// What a server process maps beside its buffers and its work memory.
const PROCESS_OVERHEAD_BYTES: u64 = 512 << 20;

pub(super) struct ServerLease {
    // Ends before the folder goes: fields are dropped in this order.
    guard: Running,
    folder: Folder,
    superuser: String,
    facts: Vec<String>,
    bin: PathBuf,
    deadline: Instant,
}

pub(super) async fn lease(
    policy: &PostgresScratchPolicy,
    needs: &ScratchNeeds,
    request: &LeaseRequest,
) -> Result<ServerLease, ScratchError> {
    let Some(programs) = programs::find(needs.major, &policy.programs).await else {
        return Err(ScratchError::Lacks(vec![format!("postgres {}", needs.major)]));
    };
    let user = user::server_user();
    let folder = Folder::make(&request.root, "postgres", user.as_ref())?;
    folder.check_free(needs.bytes)?;
    let superuser = if needs.superuser.is_empty() { "postgres" } else { &needs.superuser };
    let bootstrap = if is_plain(superuser) { superuser } else { BOOTSTRAP };
    initdb(&programs, folder.path(), bootstrap, &needs.encoding, user.as_ref()).await?;
    write_settings(policy, needs, folder.path())
        .map_err(|error| ScratchError::failed("settings of scratch postgres", error))?;
    let guard = start(policy, &programs, folder.path(), user)?;
    let mut lease = ServerLease {
        guard,
        folder,
        superuser: bootstrap.to_owned(),
        facts: vec![format!("postgres {} in a private folder, without network", programs.version)],
        bin: programs.bin,
        deadline: Instant::now() + policy.load_timeout,
    };
    lease.wait_until_ready().await?;
    if bootstrap != superuser {
        lease.rename_superuser(superuser).await?;
    }
    let mut connection = checks::connect(&lease.options("postgres"), "scratch postgres").await?;
    let lacking = checks::lacking(&mut connection, needs).await?;
    connection.close().await.map_err(checks::asked)?;
    if lacking.is_empty() { Ok(lease) } else { Err(ScratchError::Lacks(lacking)) }
}

fn is_plain(role: &str) -> bool {
    !role.starts_with("pg_") && role.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

async fn initdb(
    programs: &Programs,
    folder: &Path,
    superuser: &str,
    encoding: &str,
    user: Option<&ServerUser>,
) -> Result<(), ScratchError> {
    let encoding = if encoding.is_empty() { "UTF8" } else { encoding };
    // The cluster's own locale matters little: each database is created from `template0` with the locale it had.
    let initdb = Program::new(programs.bin.join("initdb"))
        .args(["--no-sync", "--auth=trust", "--locale=C"])
        .arg(format!("--encoding={encoding}"))
        .arg(format!("--username={superuser}"))
        .arg("-D")
        .arg(folder.join("data"))
        .clear_env()
        .directory(folder)
        .user(user.cloned());
    initdb.run(INITDB_LIMIT).await.map(drop).map_err(|error| ScratchError::failed("scratch postgres", error))
}

/// Appends to `postgresql.conf`; a later line overrides an earlier one, so the user's settings come last.
fn write_settings(policy: &PostgresScratchPolicy, needs: &ScratchNeeds, folder: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let settings = settings(policy, needs, folder);
    let mut text = String::new();
    for (name, value) in &settings {
        writeln!(text, "{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"))
            .expect("a String takes every write");
    }
    std::fs::OpenOptions::new().append(true).open(folder.join("data/postgresql.conf"))?.write_all(text.as_bytes())
}

fn settings(policy: &PostgresScratchPolicy, needs: &ScratchNeeds, folder: &Path) -> BTreeMap<String, String> {
    let megabytes = |bytes: u64| format!("{}MB", (bytes >> 20).max(1));
    let memory = policy.memory_bytes;
    let mut settings: BTreeMap<String, String> = [
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        // The instance is thrown away: nothing needs to survive a crash.
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("max_wal_size", "8GB"),
        ("min_wal_size", "256MB"),
        ("checkpoint_timeout", "1h"),
        ("autovacuum", "off"),
        ("bgwriter_lru_maxpages", "0"),
        ("jit", "off"),
        ("track_activities", "off"),
        ("track_counts", "off"),
        ("log_min_messages", "log"),
        ("log_checkpoints", "off"),
        ("max_parallel_maintenance_workers", "2"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    settings.insert("unix_socket_directories".to_owned(), folder.display().to_string());
    settings.insert("shared_buffers".to_owned(), megabytes(memory / 4));
    settings.insert("maintenance_work_mem".to_owned(), megabytes(memory / 8));
    settings.insert("wal_buffers".to_owned(), "16MB".to_owned());
    settings.insert("max_connections".to_owned(), CONNECTIONS_MAX.to_string());
    // The lock table holds this many for each connection; one transaction may use all of it.
    let locks = (needs.relations / CONNECTIONS_MAX + 1).max(256);
    settings.insert("max_locks_per_transaction".to_owned(), locks.to_string());
    let mut preload = needs.preload.clone();
    if let Some(own) = policy.settings.get("shared_preload_libraries") {
        preload.extend(own.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
    }
    preload.dedup();
    settings.extend(policy.settings.clone());
    if !preload.is_empty() {
        settings.insert("shared_preload_libraries".to_owned(), preload.join(","));
    }
    settings
}

fn start(
    policy: &PostgresScratchPolicy,
    programs: &Programs,
    folder: &Path,
    user: Option<ServerUser>,
) -> Result<Running, ScratchError> {
    let limit = policy.memory_bytes + policy.memory_bytes / 4 + PROCESS_OVERHEAD_BYTES;
    guard::program(folder, Signal::QUIT, policy.memory_enforced.then_some(limit))
        .arg(programs.bin.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .user(user)
        .start(StdinKind::Piped)
        .map_err(|error| ScratchError::failed("scratch postgres", error))
}

impl ServerLease {
    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path())
            .port(5432)
            .username(&self.superuser)
            .password("")
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// A session cannot rename its own role, so a helper does it.
    async fn rename_superuser(&mut self, name: &str) -> Result<(), ScratchError> {
        const HELPER: &str = "lifeboat_bootstrap_helper";
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        self.run(&format!("create role {HELPER} superuser login")).await?;
        HELPER.clone_into(&mut self.superuser);
        self.run(&format!("alter role {BOOTSTRAP} rename to {quoted}")).await?;
        name.clone_into(&mut self.superuser);
        self.run(&format!("drop role {HELPER}")).await
    }

    async fn run(&self, sql: &str) -> Result<(), ScratchError> {
        let mut connection = checks::connect(&self.options("postgres"), "scratch postgres").await?;
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.map_err(checks::asked)?;
        connection.close().await.map_err(checks::asked)
    }

    async fn wait_until_ready(&mut self) -> Result<(), ScratchError> {
        let file = self.folder.path().join("data/postmaster.pid");
        let start = Instant::now();
        loop {
            let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
            // The eighth line says how far the server is.
            if text.lines().nth(7).is_some_and(|status| status.trim() == "ready") {
                return Ok(());
            }
            if self.guard.has_ended() {
                return Err(self.start_error().await);
            }
            if start.elapsed() > START_LIMIT {
                return Err(ScratchError::Limit(format!("{} s for its start", START_LIMIT.as_secs())));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// A library that is not installed is something that the machine lacks; all else is a failure.
    async fn start_error(&self) -> ScratchError {
        let log = guard::last_words(self.folder.path()).await;
        let missing = log.split("could not access file \"").nth(1).and_then(|rest| rest.split('"').next());
        match missing {
            Some(library) => ScratchError::Lacks(vec![format!("server library {library}")]),
            None => ScratchError::failed("scratch postgres did not start", log),
        }
    }

    async fn stop(&mut self) {
        // The guard sees its pipe close and quits the server; its status says only that.
        self.guard.stdin = None;
        if tokio::time::timeout(STOP_LIMIT, self.guard.finish()).await.is_err() {
            self.guard.stop(rustix::process::Signal::KILL).await;
        }
    }
}

#[async_trait]
impl Lease for ServerLease {
    fn place(&self, database: &str) -> Place {
        let socket = percent(&self.folder.path().display().to_string());
        let url = format!("postgres://{}@{socket}:5432/{}", percent(&self.superuser), percent(database));
        Place { url, password: None }
    }

    fn programs(&self) -> Vec<PathBuf> {
        vec![self.bin.clone()]
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
            .unwrap_or_else(|error| Err(ScratchError::failed("scratch postgres", error)))
    }

    async fn keep(mut self: Box<Self>) -> Result<String, ScratchError> {
        use tokio::io::AsyncWriteExt;
        let Some(mut pipe) = self.guard.stdin.take() else {
            return Err(ScratchError::failed("scratch postgres", "its guard is gone"));
        };
        let failed = |error| ScratchError::failed("scratch postgres", error);
        pipe.write_all(b"keep\n").await.map_err(failed)?;
        pipe.flush().await.map_err(failed)?;
        let Self { guard, folder, superuser, bin, .. } = *self;
        let path = folder.keep()?;
        guard.detach();
        let (path, bin) = (path.display(), bin.display());
        Ok(format!(
            "scratch postgres is kept; reach it with\n  {bin}/psql -h {path} -U {superuser} -l\nand end it with\n  \
             kill -QUIT $(head -1 {path}/data/postmaster.pid); sleep 1; rm -r {path}"
        ))
    }
}

impl std::fmt::Debug for ServerLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "scratch postgres in {}", self.folder.path().display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_bounds_the_buffers_and_relations_the_lock_table() {
        let policy = PostgresScratchPolicy { memory_bytes: 256 << 20, ..PostgresScratchPolicy::default() };
        let needs = ScratchNeeds { relations: 100_000, preload: vec!["a".into()], ..ScratchNeeds::default() };
        let settings = settings(&policy, &needs, Path::new("/tmp/x"));
        assert_eq!(settings["shared_buffers"], "64MB");
        assert_eq!(settings["max_locks_per_transaction"], "2501");
        assert_eq!(settings["shared_preload_libraries"], "a");
        assert_eq!(settings["listen_addresses"], "");
    }
}
