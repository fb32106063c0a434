//! Loads a dump into a running server: definitions, rows in parallel, values, then indexes and constraints in parallel.
//!
//! What it must never do: load over what is there unless the user named it, change a role that exists in a user's server, or
//! let a half-loaded database look finished. Memory: a few pieces for each lane, and one batch of SQL.

mod archive;
mod extensions;
mod feed;
mod globals;
mod guide;
mod needs;
mod one_line;
mod only;
mod place;
mod rows;
mod script;
mod statements;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;

pub use guide::loading_guide;
pub use needs::needs;

use super::client;
use super::record::{DatabaseRecord, PostgresRecord};
use super::wire::{ConnectOptions, Connection, Host, WireError};
use crate::domain::{Event, PartStore, SourceRecord};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};
use archive::{Archive, Section};
use client::Client;
use place::{Found, Server, Target};

/// Loads the parts of `record` as `request` says.
///
/// A scratch server gets every database under its own name. Elsewhere one database goes into the one that the URL names;
/// several go beside it, each under its own name.
pub async fn load(
    context: &Context,
    record: &SourceRecord,
    store: Arc<dyn PartStore>,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    let mut details = PostgresRecord::of(record)?;
    let options = ConnectOptions::parse(&request.place.url, request.place.password.clone())
        .map_err(|error| trouble::wire("destination", error))?;
    if details.databases.len() > 1
        && request.only.iter().any(|name| details.databases.iter().any(|it| it.name == *name))
    {
        details.databases = whole_databases(details.databases, &request.only)?;
    } else if !request.only.is_empty() {
        return only::load(context, record, &details, &store, &options, request).await;
    }
    let names: Vec<&str> = names(&details, &options, request);
    let mut maintenance = maintenance(&options, &names, context).await?;
    let server = place::inspect(&mut maintenance).await?;
    let mut report = LoadReport::default();
    let targets = targets(&mut maintenance, &server, &details, &names, request).await?;
    if !request.scratch {
        extensions::require(&mut maintenance, &targets, server.version_num / 10_000).await?;
    }
    let client = client_for(&mut maintenance, &server, &details, request).await?;
    if server.version_num / 10_000 < details.server_version_num / 10_000 {
        report.warnings.push(format!(
            "the server is {} and the snapshot is of {}: a newer definition may not load",
            server.version_num / 10_000,
            details.server_version_num / 10_000
        ));
    }
    if !server.superuser {
        let user = &options.user;
        report
            .warnings
            .push(format!("`{user}` is no superuser: all that is restored belongs to `{user}`, whoever owned it"));
    }
    let bytes = targets.iter().map(|target| target.database.size_bytes).sum();
    place::check_disk(&mut maintenance, bytes).await?;
    if request.dry_run {
        maintenance.close().await;
        return Ok(report);
    }
    if let Some(part) = &details.globals {
        phase(context, "roles and settings");
        report.warnings.extend(globals::apply(&mut maintenance, &store, part, request.scratch).await?);
    }
    for target in &targets {
        let job = DatabaseLoad {
            context,
            store: &store,
            client: &client,
            superuser: server.superuser,
            scratch: request.scratch,
            target,
        };
        if let Err(error) = job.run(&mut maintenance, &mut report).await {
            let state =
                if request.scratch { String::new() } else { state_left(context, &options, &names, target).await };
            if !state.is_empty() {
                context.progress.event(Event::Warning { job: context.job.clone(), message: state.clone() });
            }
            return Err(with_state(error, &state));
        }
        report.loaded.push(format!("postgres {}", options.with_database(&target.name).place()));
    }
    maintenance.close().await;
    Ok(report)
}

/// The databases that `only` names, each of them whole.
fn whole_databases(databases: Vec<DatabaseRecord>, only: &[String]) -> Result<Vec<DatabaseRecord>, SourceError> {
    match only.iter().find(|name| !databases.iter().any(|database| database.name == **name)) {
        None => Ok(databases.into_iter().filter(|database| only.contains(&database.name)).collect()),
        Some(other) => Err(SourceError::Refused {
            what: format!("`--only {}`", only.join(" ")),
            why: format!("`{other}` is no database of the snapshot, and the others are"),
            hint: "restore databases and tables one after the other".to_owned(),
        }),
    }
}

/// A session for what concerns whole databases, from outside of those that may be replaced; the URL's need not exist.
async fn maintenance(options: &ConnectOptions, names: &[&str], context: &Context) -> Result<Connection, SourceError> {
    for database in ["postgres", "template1"].into_iter().filter(|database| !names.contains(database)) {
        // Not everyone may enter these; the URL's own database says what is wrong, if anything is.
        if let Ok(connection) = rows::open(&options.with_database(database), &context.cancel).await {
            return Ok(connection);
        }
    }
    rows::open(options, &context.cancel).await
}

fn names<'n>(details: &'n PostgresRecord, options: &'n ConnectOptions, request: &LoadRequest) -> Vec<&'n str> {
    match details.databases.as_slice() {
        [_] if !request.scratch => vec![&options.database],
        several => several.iter().map(|database| database.name.as_str()).collect(),
    }
}

/// Every destination, looked at before anything is changed.
async fn targets<'r>(
    maintenance: &mut Connection,
    server: &Server,
    details: &'r PostgresRecord,
    names: &[&str],
    request: &LoadRequest,
) -> Result<Vec<Target<'r>>, SourceError> {
    let mut targets = Vec::new();
    for (database, name) in details.databases.iter().zip(names) {
        let found = place::look(maintenance, server, details, database, name, &request.overwrite).await?;
        // In scratch a database that `initdb` made is replaced by one with the locale of the source's.
        let found = if request.scratch && found == Found::Empty { Found::Replace } else { found };
        targets.push(Target { database, name: (*name).to_owned(), found });
    }
    Ok(targets)
}

/// `pg_restore` must not be older than the `pg_dump` that wrote the archive; a later one would send settings that this server
/// does not know. A server on this machine brings its own. Where a restore test finds none, the machine lacks something and
/// the backup has not failed.
async fn client_for(
    connection: &mut Connection,
    server: &Server,
    details: &PostgresRecord,
    request: &LoadRequest,
) -> Result<Client, SourceError> {
    let tool = details.tools.iter().find(|tool| tool.program == "pg_dump");
    let wrote = tool.and_then(|tool| tool.version.split('.').next()?.parse().ok());
    let major = wrote.unwrap_or(server.version_num / 10_000);
    let mut folders = request.programs.clone();
    if matches!(connection.options().host, Host::Unix(_)) {
        let sql = "SELECT setting FROM pg_catalog.pg_config() WHERE name = 'BINDIR'";
        // Only superusers may ask; for others the usual places must do.
        let rows = connection.query(sql).await.unwrap_or_default();
        folders.extend(rows.first().and_then(|row| row.text(0)).map(PathBuf::from));
    }
    let found = client::find_also_in(&folders, major).await;
    found.map_err(|error| match error {
        SourceError::Refused { .. } if request.scratch => {
            SourceError::Lacks(vec![format!("`pg_restore` {major} or later")])
        }
        other => other,
    })
}

/// One database on its way into a server.
struct DatabaseLoad<'a> {
    context: &'a Context,
    store: &'a Arc<dyn PartStore>,
    client: &'a Client,
    superuser: bool,
    scratch: bool,
    target: &'a Target<'a>,
}

impl DatabaseLoad<'_> {
    async fn run(&self, maintenance: &mut Connection, report: &mut LoadReport) -> Result<(), SourceError> {
        let target = self.target;
        let options = place::prepare(maintenance, target, &mut report.warnings).await?;
        let archive = match &target.database.archive {
            Some(part) => Some(Archive::fetch(self.context, self.store, part, self.client).await?),
            None => None,
        };
        self.fill(&options, archive.as_ref(), report).await?;
        place::finish(maintenance, target).await?;
        match archive {
            _ if target.found == Found::Empty => {
                let name = &target.name;
                report.warnings.push(format!("database `{name}` was there, empty; it keeps its owner and settings"));
            }
            Some(archive) => self.set_properties(maintenance, &archive, report).await?,
            None => {}
        }
        Ok(())
    }

    /// Owner, grants and settings of the database itself, last: a setting may make it read-only.
    async fn set_properties(
        &self,
        maintenance: &mut Connection,
        archive: &Archive,
        report: &mut LoadReport,
    ) -> Result<(), SourceError> {
        let name = &self.target.name;
        let properties = archive.properties(&self.target.database.name, name).await?;
        for statement in &properties.unreadable {
            report.warnings.push(format!(
                "database `{name}` is whole, but `{statement}` was left out: it is no UTF-8, as its database is in {}",
                self.target.database.encoding
            ));
        }
        for statement in properties.statements {
            match maintenance.execute(&statement).await {
                Ok(_) => {}
                Err(WireError::Server(error)) if !self.scratch => {
                    report.warnings.push(format!("database `{name}` is whole, but `{statement}` was refused: {error}"));
                }
                Err(error) => return Err(trouble::wire(format!("settings of database `{name}`"), error)),
            }
        }
        Ok(())
    }

    async fn fill(
        &self,
        options: &ConnectOptions,
        archive: Option<&Archive>,
        report: &mut LoadReport,
    ) -> Result<(), SourceError> {
        let DatabaseRecord { tables, sequences, large_objects, name, .. } = self.target.database;
        if let Some(archive) = archive {
            phase(self.context, &format!("definitions of {name}"));
            archive.restore(self.context, options, Section::Pre, self.superuser).await?;
        }
        phase(self.context, &format!("rows of {name}"));
        let loaded = rows::load(self.context, options, tables, self.store, true).await?;
        report.rows += loaded.rows;
        report.bytes += loaded.bytes;
        let mut connection = rows::open(options, &self.context.cancel).await?;
        // Like `pg_restore --no-owner`: only a superuser gives things away.
        let ours = |line: &str| self.superuser || !line.starts_with("ALTER LARGE OBJECT ");
        for part in [sequences, large_objects] {
            script::run(&mut connection, self.store, part, ours).await?;
        }
        connection.close().await;
        if let Some(archive) = archive {
            phase(self.context, &format!("indexes and constraints of {name}"));
            archive.restore(self.context, options, Section::Post, self.superuser).await?;
        }
        Ok(())
    }
}

/// Cleans up after a failure, in a session of its own: the load's may be broken or cancelled.
async fn state_left(context: &Context, options: &ConnectOptions, names: &[&str], target: &Target<'_>) -> String {
    let fresh = Context { cancel: tokio_util::sync::CancellationToken::new(), ..context.clone() };
    match maintenance(options, names, &fresh).await {
        Ok(mut connection) => place::abandon(&mut connection, target).await,
        Err(error) => {
            format!("`{}` at {} may be left unfinished ({error})", target.working_name(), options.server())
        }
    }
}

/// Adds what is left behind to an error that has room for it.
fn with_state(error: SourceError, state: &str) -> SourceError {
    let join = |hint: String| match (hint.is_empty(), state.is_empty()) {
        (_, true) => hint,
        (true, false) => state.to_owned(),
        (false, false) => format!("{state}; {hint}"),
    };
    match error {
        SourceError::Failed { what, why, hint } => SourceError::Failed { what, why, hint: join(hint) },
        SourceError::Refused { what, why, hint } => SourceError::Refused { what, why, hint: join(hint) },
        SourceError::Unreachable { what, why, hint } => SourceError::Unreachable { what, why, hint: join(hint) },
        other => other,
    }
}

fn phase(context: &Context, detail: &str) {
    context.progress.event(Event::Phase {
        job: context.job.clone(),
        phase: "load".to_owned(),
        detail: detail.to_owned(),
    });
}

#[cfg(test)]
fn bare_database(name: &str) -> DatabaseRecord {
    let json = serde_json::json!({
        "name": name, "encoding": "UTF8", "text_encoding": "UTF8", "collate": "C", "ctype": "C", "locale_provider": "libc",
        "locale": null, "size_bytes": 0, "extensions": [], "excluded_schemas": [], "excluded_tables": [], "archive": null,
        "sequences": "s", "large_objects": "l", "inventory": "i", "tables": [], "sequence_count": 0, "relation_count": 0
    });
    serde_json::from_value(json).unwrap()
}
