//! A server that the user named as scratch. It must be empty, or marked as Lifeboat's; it must not be a live source.
//!
//! What a test creates there (databases, roles) is dropped on release. After a kill the leftovers stay: a marked server is
//! cleaned when it is leased again, an unmarked one is then refused, because it is not empty.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::{PostgresScratchPolicy, checks};
use crate::domain::{Place, ScratchNeeds, Secret, with_host};
use crate::scratch::{Lease, LeaseRequest, ScratchError};

/// The comment on the database of the URL that makes a server Lifeboat's.
const MARK: &str = "lifeboat scratch";

const WHAT: &str = "the scratch server of `[scratch.postgres]`";

#[derive(Debug)]
pub(super) struct NamedLease {
    url: url::Url,
    password: Option<Secret>,
    options: PgConnectOptions,
    own_database: String,
    /// What was there before the lease.
    roles: BTreeSet<String>,
    facts: Vec<String>,
    deadline: Instant,
}

pub(super) async fn lease(
    url: &str,
    policy: &PostgresScratchPolicy,
    needs: &ScratchNeeds,
    request: &LeaseRequest,
) -> Result<NamedLease, ScratchError> {
    let url = &*with_host(url);
    let mut options = PgConnectOptions::from_str(url).map_err(|error| ScratchError::failed(WHAT, error))?;
    let password = match &policy.password {
        Some(reference) => Some(reference.resolve().await.map_err(|error| ScratchError::failed(WHAT, error))?),
        None => None,
    };
    if let Some(password) = &password {
        options = options.password(password.expose());
    }
    let mut connection = checks::connect(&options, WHAT).await?;
    let identifier: String = sqlx::query_scalar("select system_identifier::text from pg_catalog.pg_control_system()")
        .fetch_one(&mut connection)
        .await
        .map_err(checks::asked)?;
    if request.never.contains(&identifier) {
        return Err(ScratchError::failed(WHAT, "it is the live source itself; name another server"));
    }
    let version: String =
        sqlx::query_scalar("show server_version").fetch_one(&mut connection).await.map_err(checks::asked)?;
    if version.split(['.', ' ']).next().and_then(|major| major.parse().ok()) != Some(needs.major) {
        return Err(ScratchError::Lacks(vec![format!("postgres {} (the scratch server is {version})", needs.major)]));
    }
    let own_database: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&mut connection)
        .await
        .map_err(checks::asked)?;
    let marked: Option<String> = sqlx::query_scalar(
        "select pg_catalog.shobj_description(oid, 'pg_database') from pg_catalog.pg_database where datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(checks::asked)?;
    if marked.as_deref().map(str::trim) == Some(MARK) {
        drop_databases(&mut connection, &own_database).await?;
    } else {
        check_empty(&mut connection, &own_database).await?;
    }
    let lacking = checks::lacking(&mut connection, needs).await?;
    if !lacking.is_empty() {
        return Err(ScratchError::Lacks(lacking));
    }
    let roles = roles(&mut connection).await?;
    connection.close().await.map_err(checks::asked)?;
    let mut url = url::Url::parse(url).map_err(|error| ScratchError::failed(WHAT, error))?;
    let in_url = url.password().map(Secret::new);
    // A URL without a host takes no password either, so there is none to remove.
    let _no_host = url.set_password(None);
    Ok(NamedLease {
        url,
        password: password.or(in_url),
        options,
        own_database,
        roles,
        facts: vec![format!("postgres {version} as named by `scratch.postgres.url`")],
        deadline: Instant::now() + policy.load_timeout,
    })
}

async fn databases(connection: &mut PgConnection, own: &str) -> Result<Vec<String>, ScratchError> {
    sqlx::query_scalar(
        "select datname::text from pg_catalog.pg_database
         where datname not in ('postgres', 'template0', 'template1') and datname <> $1 order by 1",
    )
    .bind(own)
    .fetch_all(connection)
    .await
    .map_err(checks::asked)
}

async fn roles(connection: &mut PgConnection) -> Result<BTreeSet<String>, ScratchError> {
    let roles: Vec<String> = sqlx::query_scalar("select rolname::text from pg_catalog.pg_roles")
        .fetch_all(connection)
        .await
        .map_err(checks::asked)?;
    Ok(roles.into_iter().collect())
}

async fn check_empty(connection: &mut PgConnection, own: &str) -> Result<(), ScratchError> {
    let advice =
        format!("use an empty server, or say that it is disposable: `COMMENT ON DATABASE {} IS '{MARK}'`", ident(own));
    if let Some(other) = databases(connection, own).await?.first() {
        return Err(ScratchError::failed(WHAT, format!("it holds database `{other}`; {advice}")));
    }
    let relation: Option<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' limit 1",
    )
    .fetch_optional(connection)
    .await
    .map_err(checks::asked)?;
    match relation {
        Some(relation) => Err(ScratchError::failed(WHAT, format!("database `{own}` holds `{relation}`; {advice}"))),
        None => Ok(()),
    }
}

async fn drop_databases(connection: &mut PgConnection, own: &str) -> Result<(), ScratchError> {
    for name in databases(connection, own).await? {
        let sql = format!("drop database if exists {} with (force)", ident(&name));
        // A database that is a template or takes no connections is dropped only after it is an ordinary one.
        let ordinary = format!("alter database {} with is_template false allow_connections true", ident(&name));
        sqlx::query(sqlx::AssertSqlSafe(ordinary)).execute(&mut *connection).await.map_err(checks::asked)?;
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(checks::asked)?;
    }
    Ok(())
}

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[async_trait]
impl Lease for NamedLease {
    fn place(&self, database: &str) -> Place {
        let mut url = self.url.clone();
        let name: String = database
            .bytes()
            .map(
                |byte| {
                    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
                },
            )
            .collect();
        url.set_path(&name);
        Place { url: url.to_string(), password: self.password.clone() }
    }

    fn programs(&self) -> Vec<PathBuf> {
        vec![]
    }

    fn facts(&self) -> &[String] {
        &self.facts
    }

    async fn expired(&self) {
        tokio::time::sleep_until(self.deadline).await;
    }

    async fn release(self: Box<Self>) -> Result<(), ScratchError> {
        let mut connection = checks::connect(&self.options, WHAT).await?;
        drop_databases(&mut connection, &self.own_database).await?;
        for role in roles(&mut connection).await?.difference(&self.roles) {
            let owned = format!("drop owned by {0} cascade", ident(role));
            sqlx::query(sqlx::AssertSqlSafe(owned)).execute(&mut connection).await.map_err(checks::asked)?;
            let sql = format!("drop role {}", ident(role));
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.map_err(checks::asked)?;
        }
        connection.close().await.map_err(checks::asked)
    }

    async fn keep(self: Box<Self>) -> Result<String, ScratchError> {
        let place = self.place(&self.own_database);
        Ok(format!(
            "what was restored is kept in {}; a later test refuses that server until its databases are dropped, \
             or it is marked: `COMMENT ON DATABASE {} IS '{MARK}'`",
            place.url,
            ident(&self.own_database)
        ))
    }
}
