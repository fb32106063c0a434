//! A private server: its own folder, user and process group, a unix socket, no network.
//!
//! Memory: `memory` of the policy bounds `shared_buffers` (a quarter), maintenance (an eighth for each of two workers) and,
//! when the user set it, the address space of each server process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::programs::Programs;
use super::{PostgresScratchPolicy, checks, programs};
use crate::domain::{Place, ScratchNeeds};
use crate::scratch::private::{self, Engine, PrivateServer};
use crate::scratch::{LeaseRequest, ScratchError, guard, percent};
use crate::system::process::Program;
use crate::system::user::{self, ServerUser};

/// `initdb` does not quote what it is given, so a role of another name is made first and renamed.
const BOOTSTRAP: &str = "lifeboat_bootstrap";
const INITDB_LIMIT: Duration = Duration::from_mins(3);
/// Connections: the loader's lanes, the dump's, the checks'.
const CONNECTIONS_MAX: u64 = 40;

pub(super) struct Postgres {
    superuser: String,
    bin: PathBuf,
}

pub(super) async fn lease(
    policy: &PostgresScratchPolicy,
    needs: &ScratchNeeds,
    request: &LeaseRequest,
) -> Result<PrivateServer<Postgres>, ScratchError> {
    let Some(programs) = programs::find(needs.major, &policy.programs).await else {
        return Err(ScratchError::Lacks(vec![format!("postgres {}", needs.major)]));
    };
    let user = user::server_user();
    let folder = private::folder::<Postgres>(request, needs.bytes, user.as_ref())?;
    let superuser = if needs.superuser.is_empty() { "postgres" } else { &needs.superuser };
    let bootstrap = if is_plain(superuser) { superuser } else { BOOTSTRAP };
    initdb(&programs, folder.path(), bootstrap, &needs.encoding, user.as_ref()).await?;
    write_settings(policy, needs, folder.path())
        .map_err(|error| ScratchError::failed("settings of scratch postgres", error))?;
    let limit = policy.memory_enforced.then(|| private::address_space(policy.memory_bytes));
    let server = guard::program(folder.path(), Signal::QUIT, limit)
        .arg(programs.bin.join("postgres"))
        .arg("-D")
        .arg(folder.path().join("data"))
        .user(user);
    let product = format!("postgres {}", programs.version);
    let postgres = Postgres { superuser: bootstrap.to_owned(), bin: programs.bin };
    let mut lease = PrivateServer::start(postgres, folder, &server, &product, policy.load_timeout).await?;
    if bootstrap != superuser {
        rename_superuser(&mut lease, superuser).await?;
    }
    let mut connection = checks::connect(&options(&lease), "scratch postgres").await?;
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

/// A session in the database `postgres`.
fn options(lease: &PrivateServer<Postgres>) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(lease.path())
        .port(5432)
        .username(&lease.engine.superuser)
        .password("")
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
}

/// A session cannot rename its own role, so a helper does it.
async fn rename_superuser(lease: &mut PrivateServer<Postgres>, name: &str) -> Result<(), ScratchError> {
    const HELPER: &str = "lifeboat_bootstrap_helper";
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    run(lease, &format!("create role {HELPER} superuser login")).await?;
    HELPER.clone_into(&mut lease.engine.superuser);
    run(lease, &format!("alter role {BOOTSTRAP} rename to {quoted}")).await?;
    name.clone_into(&mut lease.engine.superuser);
    run(lease, &format!("drop role {HELPER}")).await
}

async fn run(lease: &PrivateServer<Postgres>, sql: &str) -> Result<(), ScratchError> {
    let mut connection = checks::connect(&options(lease), "scratch postgres").await?;
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.map_err(checks::asked)?;
    connection.close().await.map_err(checks::asked)
}

impl Engine for Postgres {
    const NAME: &'static str = "postgres";

    async fn is_ready(&self, folder: &Path) -> bool {
        let text = tokio::fs::read_to_string(folder.join("data/postmaster.pid")).await.unwrap_or_default();
        // The eighth line says how far the server is.
        text.lines().nth(7).is_some_and(|status| status.trim() == "ready")
    }

    /// A library that is not installed is something that the machine lacks; all else is a failure.
    fn lacks(log: &str) -> Option<String> {
        let library = log.split("could not access file \"").nth(1)?.split('"').next()?;
        Some(format!("server library {library}"))
    }

    fn place(&self, folder: &Path, database: &str) -> Place {
        let socket = percent(&folder.display().to_string());
        let url = format!("postgres://{}@{socket}:5432/{}", percent(&self.superuser), percent(database));
        Place { url, password: None }
    }

    fn programs(&self) -> Option<&Path> {
        Some(&self.bin)
    }

    fn commands(&self, folder: &Path) -> [String; 2] {
        let (path, bin, superuser) = (folder.display(), self.bin.display(), &self.superuser);
        [
            format!("{bin}/psql -h {path} -U {superuser} -l"),
            format!("kill -QUIT $(head -1 {path}/data/postmaster.pid); sleep 1"),
        ]
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
