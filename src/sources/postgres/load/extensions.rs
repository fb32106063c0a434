//! Extensions that a user's server must offer, checked before anything is made there. Scratch is checked when it is leased.

use std::collections::BTreeSet;

use super::place::Target;
use super::trouble;
use crate::sources::SourceError;
use crate::sources::postgres::wire::Connection;

/// What the server itself is shipped with; some distributions put them into a package of their own.
#[rustfmt::skip]
const CONTRIB: &[&str] = &[
    "adminpack", "amcheck", "autoinc", "bloom", "bool_plperl", "bool_plperlu", "btree_gin", "btree_gist", "citext", "cube",
    "dblink", "dict_int", "dict_xsyn", "earthdistance", "file_fdw", "fuzzystrmatch", "hstore", "insert_username", "intagg",
    "intarray", "isn", "lo", "ltree", "moddatetime", "old_snapshot", "pageinspect", "pg_buffercache", "pg_freespacemap",
    "pg_logicalinspect", "pg_prewarm", "pg_stat_statements", "pg_surgery", "pg_trgm", "pg_visibility", "pg_walinspect",
    "pgcrypto", "pgrowlocks", "pgstattuple", "postgres_fdw", "refint", "seg", "sslinfo", "tablefunc", "tcn",
    "tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp", "xml2",
];

/// Refuses where the server lacks an extension of any of the databases. Another version than the snapshot's will do: a restore
/// is no restore test.
pub(super) async fn require(
    connection: &mut Connection,
    targets: &[Target<'_>],
    major: u32,
) -> Result<(), SourceError> {
    let what = format!("the extensions of postgres {}", connection.options().server());
    let rows = connection.query("SELECT name FROM pg_catalog.pg_available_extensions").await;
    let rows = rows.map_err(|error| trouble::wire(what, error))?;
    let available: BTreeSet<&str> = rows.iter().filter_map(|row| row.text(0)).collect();
    let wanted = targets.iter().flat_map(|target| &target.database.extensions);
    let lacking: BTreeSet<(&str, &str)> = wanted
        .filter(|extension| !available.contains(extension.name.as_str()))
        .map(|extension| (extension.name.as_str(), extension.version.as_str()))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = lacking.iter().map(|(name, version)| format!("`{name}` {version}")).collect();
    let packages: BTreeSet<String> = lacking.iter().map(|(name, _)| package(name, major)).collect();
    let packages: Vec<String> = packages.iter().map(|package| format!("`{package}`")).collect();
    Err(SourceError::Refused {
        what: format!("postgres {}", connection.options().server()),
        why: format!("the snapshot needs extension {}, and this server has no such", named.join(", ")),
        hint: format!(
            "nothing was changed; install it on that server, on Debian and Ubuntu usually from {}, or restore single tables \
             with `--only`",
            packages.join(", ")
        ),
    })
}

/// The Debian package that brings it.
fn package(extension: &str, major: u32) -> String {
    match extension {
        "plpython3u" | "hstore_plpython3u" | "jsonb_plpython3u" | "ltree_plpython3u" => {
            format!("postgresql-plpython3-{major}")
        }
        "plperl" | "plperlu" | "hstore_plperl" | "hstore_plperlu" | "jsonb_plperl" | "jsonb_plperlu" => {
            format!("postgresql-plperl-{major}")
        }
        "pltcl" | "pltclu" => format!("postgresql-pltcl-{major}"),
        "timescaledb" => format!("timescaledb-2-postgresql-{major}"),
        "vector" => format!("postgresql-{major}-pgvector"),
        _ if extension.starts_with("postgis") || extension.starts_with("address_standardizer") => {
            format!("postgresql-{major}-postgis-3")
        }
        _ if CONTRIB.contains(&extension) => "postgresql-contrib".to_owned(),
        _ => format!("postgresql-{major}-{}", extension.trim_start_matches("pg_").replace('_', "-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_named_by_the_package_that_brings_it() {
        for (extension, expected) in [
            ("hstore", "postgresql-contrib"),
            ("postgis_topology", "postgresql-15-postgis-3"),
            ("pg_cron", "postgresql-15-cron"),
            ("vector", "postgresql-15-pgvector"),
            ("plpython3u", "postgresql-plpython3-15"),
            ("some_thing", "postgresql-15-some-thing"),
        ] {
            assert_eq!(package(extension, 15), expected);
        }
    }
}
