//! The live system of a Postgres job, or a scratch instance that is dumped as a record says.

use std::sync::Arc;

use async_trait::async_trait;

use super::catalog::{self, Rules};
use super::client::{self, Client};
use super::config::{LOCK_TIMEOUT, Selection, Settings};
use super::dump::{self, Job};
use super::record::{DatabaseRecord, PostgresRecord, Tool};
use super::server::{self, Server};
use super::wire::{ConnectOptions, Connection};
use super::{failure, first_cause, programs, session, snapshot};
use crate::domain::{Event, Gap, PartName, PartSink, Place, SourceRecord, human_bytes};
use crate::sources::{Context, Preflight, Source, SourceError};

pub struct PostgresSource {
    settings: Settings,
    /// What to repeat; `None` for a live system.
    like: Option<Box<PostgresRecord>>,
    /// Groups to repeat; empty means all.
    only: Vec<String>,
}

impl PostgresSource {
    pub fn new(settings: Settings) -> Self {
        Self { settings, like: None, only: vec![] }
    }

    /// Dumps `place` as `record` was dumped: the same columns in the same order, the same exclusions, and only what is
    /// compared (no `archive`, no `globals`).
    ///
    /// A record of one database is looked for in the database that the place names, unless that is a maintenance database;
    /// one of several in databases of the recorded names on the place's server.
    ///
    /// With `only`, nothing but the groups of these names is dumped, and databases without any of them are left alone.
    pub fn again(record: &SourceRecord, place: &Place, only: &[String]) -> Result<Self, SourceError> {
        let like = Box::new(PostgresRecord::of(record)?);
        let options = ConnectOptions::parse(&place.url, place.password.clone())
            .map_err(|error| failure::wire("scratch instance", error))?;
        let settings = Settings {
            options,
            password: None,
            databases: Selection::These(like.databases.iter().map(|database| database.name.clone()).collect()),
            exclude_databases: vec![],
            exclude_schemas: vec![],
            exclude_tables: vec![],
            lock_timeout: LOCK_TIMEOUT,
            client_directory: None,
        };
        Ok(Self { settings, like: Some(like), only: only.to_vec() })
    }

    /// The options with the password read.
    async fn options(&self) -> Result<ConnectOptions, SourceError> {
        let mut options = self.settings.options.clone();
        if let Some(reference) = &self.settings.password {
            let secret = reference.resolve().await.map_err(|error| SourceError::Refused {
                what: format!("password for {}", options.place()),
                why: error.to_string(),
                hint: String::new(),
            })?;
            options.password = Some(secret);
        }
        Ok(options)
    }

    async fn inspect(&self, context: &Context) -> Result<(Server, Connection, ConnectOptions), SourceError> {
        let mut options = self.options().await?;
        if let Selection::These(names) = &self.settings.databases
            && self.like.is_none()
            && let Some(first) = names.first()
        {
            // A role may be allowed into no other database than those of the job.
            options = options.with_database(first);
        }
        let (mut server, connection) = server::inspect(&options, &self.settings, &context.cancel).await?;
        // Of a standby's unlogged tables no rows were dumped, so the repetition reads none either.
        server.standby |= self.like.as_ref().is_some_and(|like| like.standby);
        Ok((server, connection, options))
    }

    /// Where to dump each database of the job, and what it must be like.
    async fn databases(
        &self,
        connection: &mut Connection,
        options: &ConnectOptions,
    ) -> Result<Vec<(ConnectOptions, Option<&DatabaseRecord>)>, SourceError> {
        let Some(like) = &self.like else {
            let names = server::databases(connection, &self.settings).await?;
            return Ok(names.iter().map(|name| (options.with_database(name), None)).collect());
        };
        let maintenance = ["postgres", "template1"].contains(&options.database.as_str());
        if let ([only], false) = (like.databases.as_slice(), maintenance) {
            return Ok(vec![(options.clone(), Some(only))]);
        }
        Ok(like.databases.iter().map(|database| (options.with_database(&database.name), Some(database))).collect())
    }

    async fn dump_all(
        &self,
        context: &Context,
        sink: &Arc<dyn PartSink>,
        server: &Server,
        client: Option<&Client>,
        databases: &[(ConnectOptions, Option<&DatabaseRecord>)],
    ) -> Result<Vec<dump::Dumped>, SourceError> {
        let rules = Rules::of(&self.settings);
        let job = Job {
            context,
            sink,
            server,
            rules: &rules,
            lock_timeout: self.settings.lock_timeout,
            client,
            only: &self.only,
        };
        let mut dumped = Vec::with_capacity(databases.len());
        for (options, like) in databases {
            let name = like.map_or(options.database.as_str(), |like| like.name.as_str());
            if !job.concerns(name) {
                continue;
            }
            context.progress.event(Event::Phase {
                job: context.job.clone(),
                phase: "dump".to_owned(),
                detail: format!("database {}", options.database),
            });
            dumped.push(Box::pin(dump::database(&job, options, *like)).await?);
        }
        Ok(dumped)
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn describe(&self) -> String {
        let options = &self.settings.options;
        match &self.settings.databases {
            Selection::All => format!("postgres {}, all databases", options.server()),
            Selection::These(names) if names.len() == 1 => format!("postgres {}/{}", options.server(), names[0]),
            Selection::These(names) => format!("postgres {}, databases {}", options.server(), names.join(", ")),
        }
    }

    async fn preflight(&self, context: &Context) -> Result<Preflight, SourceError> {
        let (server, mut connection, options) = self.inspect(context).await?;
        let mut preflight = Preflight { facts: vec![server.describe()], ..Preflight::default() };
        if self.like.is_none() {
            let client = client::find(server.major(), self.settings.client_directory.as_deref()).await?;
            preflight.facts.push(format!("client pg_dump {}", client.version));
            preflight.gaps.extend(server_gaps(&server));
            preflight.estimated_parts += 1;
        }
        if server.preload_libraries.is_none() {
            let text = "the role may not see `shared_preload_libraries`: `GRANT pg_read_all_settings TO role`";
            preflight.warnings.push(text.to_owned());
        }
        let rules = Rules::of(&self.settings);
        let databases = self.databases(&mut connection, &options).await?;
        connection.close().await;
        for (options, _) in &databases {
            look_at(options, self, &server, &rules, context, &mut preflight).await?;
        }
        Ok(preflight)
    }

    async fn dump(&self, context: &Context, sink: Arc<dyn PartSink>) -> Result<SourceRecord, SourceError> {
        let (server, mut connection, options) = self.inspect(context).await?;
        let client = match self.like {
            None => Some(client::find(server.major(), self.settings.client_directory.as_deref()).await?),
            Some(_) => None,
        };
        let databases = self.databases(&mut connection, &options).await?;
        connection.close().await;
        let globals = client.as_ref().map(|_| PartName::from_components(&["globals"]));
        let write_globals = async {
            match (&client, &globals) {
                (Some(client), Some(part)) => {
                    programs::globals(context, client, &options, server.reads_passwords, part.clone(), &sink).await
                }
                _ => Ok(()),
            }
        };
        let dump_all = self.dump_all(context, &sink, &server, client.as_ref(), &databases);
        let ((), dumped) = Box::pin(first_cause::both(write_globals, dump_all)).await?;
        self.record(&server, client.as_ref(), globals, dumped)
    }
}

impl PostgresSource {
    fn record(
        &self,
        server: &Server,
        client: Option<&Client>,
        globals: Option<PartName>,
        dumped: Vec<dump::Dumped>,
    ) -> Result<SourceRecord, SourceError> {
        let mut gaps = if self.like.is_none() { server_gaps(server) } else { vec![] };
        let (mut instants, mut inventories, mut groups, mut databases) = (vec![], vec![], vec![], vec![]);
        let several = dumped.len() > 1;
        for one in dumped {
            let prefix = if several { format!("database {}, ", one.record.name) } else { String::new() };
            gaps.extend(one.gaps.into_iter().map(|gap| Gap { what: format!("{prefix}{}", gap.what), why: gap.why }));
            instants.push(one.instant);
            inventories.push(one.record.inventory.clone());
            groups.extend(one.groups);
            databases.push(one.record);
        }
        let names: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
        let summary =
            format!("postgres {} at {}, database {}", server.version, self.settings.options.server(), names.join(", "));
        let tool =
            |client: &Client, program: &str| Tool { program: program.to_owned(), version: client.version.clone() };
        let details = PostgresRecord {
            server_version_num: server.version_num,
            system_identifier: server.system_identifier.clone(),
            superuser: server.superuser.clone(),
            standby: server.standby,
            preload_libraries: server.preload_libraries.clone().unwrap_or_default(),
            tools: client.map(|client| vec![tool(client, "pg_dump"), tool(client, "pg_dumpall")]).unwrap_or_default(),
            globals,
            role_passwords: server.reads_passwords,
            databases,
        };
        let details = serde_json::to_value(&details).map_err(|error| SourceError::Failed {
            what: "record of the dump".to_owned(),
            why: error.to_string(),
            hint: String::new(),
        })?;
        Ok(SourceRecord {
            kind: "postgres".to_owned(),
            summary,
            version: server.version.clone(),
            instants,
            gaps,
            inventories,
            groups,
            details,
        })
    }
}

fn server_gaps(server: &Server) -> Vec<Gap> {
    if server.reads_passwords {
        return vec![];
    }
    let why = "permission denied for `pg_authid`: roles are saved without their passwords".to_owned();
    vec![Gap { what: "role passwords".to_owned(), why }]
}

/// One database's share of a preflight.
async fn look_at(
    options: &ConnectOptions,
    source: &PostgresSource,
    server: &Server,
    rules: &Rules,
    context: &Context,
    preflight: &mut Preflight,
) -> Result<(), SourceError> {
    let mut connection = session::open(options, source.settings.lock_timeout, &context.cancel).await?;
    let listing = catalog::list(&mut connection, rules).await?;
    snapshot::refuse_unreadable(&listing.tables, server.standby, &options.place())?;
    let sequences = catalog::sequences(&mut connection, &listing, rules).await?;
    dump::refuse_unreadable(&sequences, &options.place())?;
    connection.close().await;
    let with_rows = listing.tables.iter().filter(|table| table.holds_rows(server.standby));
    let (mut tables, mut bytes) = (0_u64, 0_u64);
    for table in with_rows {
        tables += 1;
        bytes += table.heap_bytes + table.toast_bytes;
    }
    preflight.facts.push(format!(
        "database {}: {tables} tables, {}, {} sequences",
        options.database,
        human_bytes(bytes),
        sequences.len()
    ));
    // The leader and `pg_dump` each lock every table.
    if 2 * listing.tables.len() as u64 > server.lock_slots {
        preflight.warnings.push(format!(
            "database {} has {} tables and the server's lock table holds {}: raise `max_locks_per_transaction`",
            options.database,
            listing.tables.len(),
            server.lock_slots
        ));
    }
    preflight.gaps.extend(dump::gaps(&listing, server.standby));
    preflight.estimated_bytes += bytes;
    preflight.estimated_parts += tables + 4;
    Ok(())
}
