//! What a running server must offer, asked of the server itself by an ordinary client.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::domain::ScratchNeeds;
use crate::scratch::ScratchError;

pub(super) async fn connect(options: &PgConnectOptions, what: &str) -> Result<PgConnection, ScratchError> {
    PgConnection::connect_with(options).await.map_err(|error| ScratchError::failed(what, error))
}

pub(super) fn asked(error: sqlx::Error) -> ScratchError {
    ScratchError::failed("scratch postgres", error)
}

/// Everything that is missing, at once, so that a person installs it at once.
pub(super) async fn lacking(connection: &mut PgConnection, needs: &ScratchNeeds) -> Result<Vec<String>, ScratchError> {
    let mut lacking = vec![];
    for (name, version) in &needs.extensions {
        lacking.extend(lacking_extension(connection, name, version).await?);
    }
    for locale in &needs.locales {
        if !has_locale(connection, "libc", locale).await? {
            lacking.push(format!("locale {locale}"));
        }
    }
    for locale in &needs.icu_locales {
        if !has_locale(connection, "icu", locale).await? {
            lacking.push(format!("locale {locale} of ICU"));
        }
    }
    // One whose locale is lacking is lacking for that reason, which says more.
    if lacking.iter().all(|lack| !lack.starts_with("locale ")) {
        lacking.extend(lacking_collations(connection, &needs.collations).await?);
    }
    Ok(lacking)
}

/// A dump creates an extension without naming its version, so the wanted one must be what the machine installs by itself.
async fn lacking_extension(
    connection: &mut PgConnection,
    name: &str,
    version: &str,
) -> Result<Option<String>, ScratchError> {
    let default: Option<Option<String>> =
        sqlx::query_scalar("select default_version::text from pg_catalog.pg_available_extensions where name = $1")
            .bind(name)
            .fetch_optional(connection)
            .await
            .map_err(asked)?;
    Ok(match default.flatten() {
        Some(default) if default == version => None,
        Some(default) => Some(format!("extension {name} {version} (this machine has {default})")),
        None => Some(format!("extension {name} {version}")),
    })
}

async fn lacking_collations(connection: &mut PgConnection, wanted: &[String]) -> Result<Vec<String>, ScratchError> {
    let known: Vec<String> = sqlx::query_scalar(
        "select distinct collname::text from pg_catalog.pg_collation where collnamespace = 'pg_catalog'::regnamespace",
    )
    .fetch_all(connection)
    .await
    .map_err(asked)?;
    let lacking = wanted.iter().filter(|wanted| !known.contains(wanted));
    Ok(lacking.map(|name| format!("collation {name}")).collect())
}

/// The server itself is asked to use the locale: what `locale -a` prints is spelled in other ways.
async fn has_locale(connection: &mut PgConnection, provider: &str, locale: &str) -> Result<bool, ScratchError> {
    let mut attempt = connection.begin().await.map_err(asked)?;
    let literal = locale.replace('\'', "''");
    let sql = format!("create collation lifeboat_probe.wanted (provider = {provider}, locale = '{literal}')");
    sqlx::query("create schema lifeboat_probe").execute(&mut *attempt).await.ok();
    let made = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *attempt).await;
    attempt.rollback().await.map_err(asked)?;
    match made {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(asked(error)),
    }
}
