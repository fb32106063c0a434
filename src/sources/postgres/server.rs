//! Facts about a server, gathered once before anything is dumped.

use tokio_util::sync::CancellationToken;

use super::config::{Selection, Settings, fits};
use super::wire::{ConnectOptions, Connection, WireError, refuse_transaction_pooling};
use super::{failure, session};
use crate::sources::SourceError;

#[derive(Debug, Clone)]
pub(super) struct Server {
    /// `150018`.
    pub(super) version_num: u32,
    /// `15.18`.
    pub(super) version: String,
    pub(super) standby: bool,
    /// Empty where the provider hides it.
    pub(super) system_identifier: String,
    /// The role that made the cluster.
    pub(super) superuser: String,
    /// `None` where the role may not see it.
    pub(super) preload_libraries: Option<Vec<String>>,
    pub(super) reads_passwords: bool,
    /// How many relations all transactions together can lock, by the settings.
    pub(super) lock_slots: u64,
}

impl Server {
    pub(super) fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// `server 15.18, primary`.
    pub(super) fn describe(&self) -> String {
        format!("server {}, {}", self.version, if self.standby { "standby" } else { "primary" })
    }
}

const FACTS: &str = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version'), \
     pg_catalog.pg_is_in_recovery(), \
     (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'shared_preload_libraries'), \
     pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'), \
     pg_catalog.current_setting('max_locks_per_transaction')::bigint * \
       (pg_catalog.current_setting('max_connections')::bigint + \
        pg_catalog.current_setting('max_prepared_transactions')::bigint), \
     (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10)";

/// Connects, refuses what a dump cannot work with, and asks what the server is.
pub(super) async fn inspect(
    options: &ConnectOptions,
    settings: &Settings,
    cancel: &CancellationToken,
) -> Result<(Server, Connection), SourceError> {
    let what = || format!("postgres {}", options.place());
    let mut connection = Connection::connect(options, cancel).await.map_err(|error| failure::wire(what(), error))?;
    refuse_transaction_pooling(&mut connection, options, cancel).await.map_err(|error| failure::wire(what(), error))?;
    connection.close().await;
    let mut connection = session::open(options, settings.lock_timeout, cancel).await?;
    let server = facts(&mut connection).await.map_err(|error| failure::wire(what(), error))?;
    if server.version_num < 130_000 {
        return Err(SourceError::Refused {
            what: what(),
            why: format!("the server is {}; 13 and later are supported", server.version),
            hint: "upgrade the server".to_owned(),
        });
    }
    Ok((server, connection))
}

async fn facts(connection: &mut Connection) -> Result<Server, WireError> {
    let row = connection.query_one(FACTS).await?;
    let version = row.required(1)?;
    let preload = row.text(3).map(|list| {
        list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
    });
    let mut server = Server {
        version_num: row.number(0)?,
        version: version.split_whitespace().next().unwrap_or(version).to_owned(),
        standby: row.flag(2)?,
        system_identifier: String::new(),
        superuser: row.text(6).unwrap_or_default().to_owned(),
        preload_libraries: preload,
        reads_passwords: row.flag(4)?,
        lock_slots: row.number(5)?,
    };
    match connection.query_one("SELECT system_identifier FROM pg_catalog.pg_control_system()").await {
        Ok(row) => row.required(0)?.clone_into(&mut server.system_identifier),
        // Some providers forbid it; nothing but the check against restoring over the source needs it.
        Err(WireError::Server(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(server)
}

/// The databases of a job, by name.
pub(super) async fn databases(connection: &mut Connection, settings: &Settings) -> Result<Vec<String>, SourceError> {
    let what = format!("list of databases of {}", connection.options().server());
    let rows = connection
        .query(
            "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate \
             ORDER BY datname COLLATE \"C\"",
        )
        .await
        .map_err(|error| failure::wire(&what, error))?;
    let present: Vec<String> = rows.iter().filter_map(|row| row.text(0).map(str::to_owned)).collect();
    match &settings.databases {
        Selection::All => {
            let excluded = |name: &String| settings.exclude_databases.iter().any(|pattern| fits(pattern, name));
            Ok(present.into_iter().filter(|name| !excluded(name)).collect())
        }
        Selection::These(names) => match names.iter().find(|name| !present.contains(name)) {
            None => Ok(names.clone()),
            Some(missing) => Err(SourceError::Refused {
                what,
                why: format!("there is no database `{missing}`"),
                hint: format!("the server has {}", present.join(", ")),
            }),
        },
    }
}
