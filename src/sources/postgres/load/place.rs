//! Where a load goes: what may be loaded over, and how a database comes to be.
//!
//! A database is built under a name that shows that it is unfinished and gets its own name last, so nothing half-done looks
//! finished, and a database that is replaced stays until its successor is whole.

use std::fmt::Write;
use std::path::Path;

use super::trouble;
use crate::domain::human_bytes;
use crate::sources::SourceError;
use crate::sources::postgres::record::{DatabaseRecord, PostgresRecord};
use crate::sources::postgres::wire::{ConnectOptions, Connection, Host, WireError, quote_ident, quote_literal};

/// Appended to the name of a database that is being loaded.
const UNFINISHED: &str = ".lifeboat-restore";
/// `NAMEDATALEN - 1`.
const NAME_BYTES_MAX: usize = 63;

/// What is at a destination's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    Empty,
    /// Holds something, and the user named it as one that may be replaced.
    Replace,
}

/// One database of the snapshot on its way to its destination.
#[derive(Debug, Clone)]
pub(super) struct Target<'r> {
    pub(super) database: &'r DatabaseRecord,
    /// The name it will have.
    pub(super) name: String,
    pub(super) found: Found,
}

impl Target<'_> {
    /// The name while it is loaded.
    pub(super) fn working_name(&self) -> String {
        if self.found == Found::Empty {
            return self.name.clone();
        }
        let mut end = self.name.len().min(NAME_BYTES_MAX - UNFINISHED.len());
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{UNFINISHED}", &self.name[..end])
    }
}

pub(super) struct Server {
    pub(super) version_num: u32,
    pub(super) superuser: bool,
    /// Empty where the provider hides it.
    identifier: String,
}

pub(super) async fn inspect(connection: &mut Connection) -> Result<Server, SourceError> {
    let place = connection.options().place();
    let failed = |error| trouble::wire(format!("postgres {place}"), error);
    let row = connection
        .query_one("SELECT current_setting('server_version_num'), current_setting('is_superuser') = 'on'")
        .await
        .map_err(failed)?;
    let (version_num, superuser) = (row.number(0).map_err(failed)?, row.flag(1).map_err(failed)?);
    // Managed servers may refuse it; then the databases' content still protects them.
    let identifier = connection.query("SELECT system_identifier FROM pg_catalog.pg_control_system()").await;
    let identifier = identifier.ok().and_then(|rows| Some(rows.first()?.text(0)?.to_owned())).unwrap_or_default();
    Ok(Server { version_num, superuser, identifier })
}

/// Decides what becomes of what is there. Nothing has been changed when this refuses.
pub(super) async fn look(
    maintenance: &mut Connection,
    server: &Server,
    details: &PostgresRecord,
    database: &DatabaseRecord,
    name: &str,
    overwrite: &[String],
) -> Result<Found, SourceError> {
    let place = maintenance.options().with_database(name).place();
    let allowed = overwrite.iter().any(|named| named == name);
    let hint =
        || format!("restore to another name, or say `--overwrite {name}` to replace it once the restore is whole");
    let is_source =
        !server.identifier.is_empty() && server.identifier == details.system_identifier && name == database.name;
    let sql = format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {}", quote_literal(name));
    let rows = maintenance.query(&sql).await.map_err(|error| trouble::wire(format!("postgres {place}"), error))?;
    if rows.is_empty() {
        return Ok(Found::Absent);
    }
    if is_source && !allowed {
        let why = "it is the live source of this backup".to_owned();
        return Err(SourceError::NotEmpty { what: format!("database {place}"), why, hint: hint() });
    }
    let options = maintenance.options().with_database(name);
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut connection = Connection::connect(&options, &cancel)
        .await
        .map_err(|error| trouble::wire(format!("postgres {place}"), error))?;
    let held = content(&mut connection).await?;
    connection.close().await;
    match held {
        None => Ok(Found::Empty),
        Some(_) if allowed => Ok(Found::Replace),
        Some(held) => Err(SourceError::NotEmpty {
            what: format!("database {place}"),
            why: format!("it holds {held}"),
            hint: hint(),
        }),
    }
}

/// Something that a user made in the database, if there is anything.
async fn content(connection: &mut Connection) -> Result<Option<String>, SourceError> {
    const SQL: &str = "
        SELECT what FROM (
            SELECT 'relation ' || c.oid::pg_catalog.regclass::text AS what, c.oid, 'pg_class'::pg_catalog.regclass AS class
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            UNION ALL
            SELECT 'function ' || p.oid::pg_catalog.regprocedure::text, p.oid, 'pg_proc'::pg_catalog.regclass
              FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            UNION ALL
            SELECT 'type ' || t.oid::pg_catalog.regtype::text, t.oid, 'pg_type'::pg_catalog.regclass
              FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND t.typrelid = 0 AND t.typelem = 0
            UNION ALL
            SELECT 'schema ' || pg_catalog.quote_ident(nspname), oid, 'pg_namespace'::pg_catalog.regclass
              FROM pg_catalog.pg_namespace
             WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
            UNION ALL
            SELECT 'large object ' || oid, oid, 'pg_largeobject'::pg_catalog.regclass
              FROM pg_catalog.pg_largeobject_metadata
        ) AS held
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d
             WHERE d.classid = held.class AND d.objid = held.oid AND d.deptype = 'e')
        ORDER BY 1 LIMIT 1";
    let place = connection.options().place();
    let rows = connection.query(SQL).await.map_err(|error| trouble::wire(format!("postgres {place}"), error))?;
    Ok(rows.first().and_then(|row| row.text(0)).map(str::to_owned))
}

/// Refuses a load that would fill the server's disk. Only a server on this machine can be asked.
pub(super) async fn check_disk(connection: &mut Connection, bytes: u64) -> Result<(), SourceError> {
    if !matches!(connection.options().host, Host::Unix(_)) {
        return Ok(());
    }
    let Ok(rows) = connection.query("SHOW data_directory").await else { return Ok(()) };
    let Some(folder) = rows.first().and_then(|row| row.text(0)) else { return Ok(()) };
    let Ok(disk) = rustix::fs::statvfs(Path::new(folder)) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes {
        return Ok(());
    }
    Err(SourceError::Refused {
        what: format!("the disk of postgres {}", connection.options().server()),
        why: format!("{} are free and the snapshot takes about {}", human_bytes(free), human_bytes(bytes)),
        hint: "nothing was changed; make room, or restore to another server".to_owned(),
    })
}

/// `CREATE DATABASE` with what `initdb` would otherwise decide.
pub(super) fn create_sql(database: &DatabaseRecord, name: &str) -> String {
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quote_ident(name),
        quote_literal(&database.encoding),
        quote_literal(&database.collate),
        quote_literal(&database.ctype)
    );
    if let (provider @ ("icu" | "builtin"), Some(locale)) = (database.locale_provider.as_str(), &database.locale) {
        let key = if provider == "icu" { "ICU_LOCALE" } else { "BUILTIN_LOCALE" };
        let locale = quote_literal(locale);
        write!(sql, " LOCALE_PROVIDER {provider} {key} {locale}").expect("a String takes every write");
        if let Some(rules) = &database.locale_rules {
            write!(sql, " ICU_RULES {}", quote_literal(rules)).expect("a String takes every write");
        }
    }
    sql
}

/// Makes room for the working name and creates it, unless an empty database is there to be filled. A database that is created
/// loses what every new one has and the snapshot's had not; what could not be taken away is told.
pub(super) async fn prepare(
    maintenance: &mut Connection,
    target: &Target<'_>,
    warnings: &mut Vec<String>,
) -> Result<ConnectOptions, SourceError> {
    let working = target.working_name();
    let options = maintenance.options().with_database(&working);
    if target.found != Found::Empty {
        let what = format!("database {}", options.place());
        // Left by a restore that was killed. Without FORCE: one that still runs keeps it.
        let clean = format!("DROP DATABASE IF EXISTS {}", quote_ident(&working));
        for sql in [clean, create_sql(target.database, &working)] {
            maintenance.execute(&sql).await.map_err(|error| trouble::wire(what.clone(), error))?;
        }
        let DatabaseRecord { without_public, without_plpgsql, .. } = target.database;
        let surplus = [(*without_public, "SCHEMA public"), (*without_plpgsql, "EXTENSION plpgsql")];
        let surplus: Vec<&str> = surplus.into_iter().filter_map(|(gone, what)| gone.then_some(what)).collect();
        if !surplus.is_empty() {
            warnings.extend(take_away(&options, &surplus).await.map_err(|error| trouble::wire(what, error))?);
        }
    }
    Ok(options)
}

async fn take_away(options: &ConnectOptions, surplus: &[&str]) -> Result<Vec<String>, WireError> {
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut connection = Connection::connect(options, &cancel).await?;
    let mut warnings = vec![];
    for what in surplus {
        match connection.execute(&format!("SET default_transaction_read_only = off; DROP {what}")).await {
            Ok(_) => {}
            // Only a superuser may, and what is there does no harm.
            Err(WireError::Server(error)) if error.sqlstate == "42501" => {
                warnings.push(format!(
                    "the snapshot had no {}, the restored database has it: {error}",
                    what.to_lowercase()
                ));
            }
            Err(error) => return Err(error),
        }
    }
    connection.close().await;
    Ok(warnings)
}

/// Removes what was created; an empty database that was there before keeps what it got, and the message says so.
pub(super) async fn abandon(maintenance: &mut Connection, target: &Target<'_>) -> String {
    let working = target.working_name();
    let place = maintenance.options().with_database(&target.name).place();
    if target.found == Found::Empty {
        return format!("database {place} is half loaded: drop it and create it again before the next try");
    }
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_ident(&working));
    let untouched = if target.found == Found::Replace { "was left as it was" } else { "was not made" };
    match maintenance.execute(&sql).await {
        Ok(_) => format!("database {place} {untouched}"),
        Err(error) => {
            format!(
                "database {place} {untouched}; drop the unfinished `{working}` beside it (it could not be dropped: {error})"
            )
        }
    }
}

/// Gives the whole database its own name.
pub(super) async fn finish(maintenance: &mut Connection, target: &Target<'_>) -> Result<(), SourceError> {
    if target.found == Found::Empty {
        return Ok(());
    }
    let place = maintenance.options().with_database(&target.name).place();
    let (name, working) = (quote_ident(&target.name), quote_ident(&target.working_name()));
    let mut steps = Vec::new();
    if target.found == Found::Replace {
        // A database that is a template can not be dropped.
        steps.push(format!("ALTER DATABASE {name} WITH IS_TEMPLATE false"));
        steps.push(format!("DROP DATABASE {name} WITH (FORCE)"));
    }
    steps.push(format!("ALTER DATABASE {working} RENAME TO {name}"));
    for sql in steps {
        maintenance.execute(&sql).await.map_err(|error| trouble::wire(format!("database {place}"), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_database_shows_it_in_its_name_however_long_that_is() {
        let database = super::super::bare_database("social");
        let target = |name: &str, found| Target { database: &database, name: name.to_owned(), found };
        assert_eq!(target("social", Found::Absent).working_name(), "social.lifeboat-restore");
        assert_eq!(target("social", Found::Empty).working_name(), "social");
        let long = target(&"é".repeat(31), Found::Replace).working_name();
        assert!(long.len() <= NAME_BYTES_MAX && long.ends_with(UNFINISHED), "{long}");
    }
}
