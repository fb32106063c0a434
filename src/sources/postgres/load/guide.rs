//! The commands that load a snapshot's parts, written out as plain files, with stock tools only.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::archive::conninfo_quote;
use super::place::create_sql;
use super::rows::copy_sql;
use crate::domain::{PartName, SourceRecord};
use crate::sources::postgres::record::{DatabaseRecord, PostgresRecord};

/// Markdown: each step in order, for `sh`. `files` says where each part was written, relative to the folder that the reader
/// stands in.
pub fn loading_guide(record: &SourceRecord, files: &[(PartName, String)]) -> String {
    let details = match PostgresRecord::of(record) {
        Ok(details) => details,
        Err(error) => return format!("The record of this snapshot cannot be read: {error}\n"),
    };
    let files: BTreeMap<&PartName, &str> = files.iter().map(|(name, path)| (name, path.as_str())).collect();
    let mut text = String::new();
    let major = details.server_version_num / 10_000;
    let _infallible = write!(
        text,
        "# Loading this snapshot with `psql` and `pg_restore`\n\n\
         It holds {}. You need a running Postgres {major} or later, its client programs of the same version on the `PATH`, and a \
         superuser of it. Say where it is before you run the commands below: `export PGHOST=/var/run/postgresql \
         PGUSER=postgres` (and `PGPORT`, `PGPASSWORD` where they are needed). File names start at the folder of the parts. The \
         blocks belong together, in one `sh`; everything stops at the first error. To begin anew, drop the database first.\n\n\
         ```sh\nset -eu\nexport PGHOST=\"${{PGHOST:-/var/run/postgresql}}\" PGUSER=\"${{PGUSER:-postgres}}\"\n\
         # What the text form of the rows depends on:\n\
         export PGOPTIONS='-c search_path= -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c TimeZone=UTC -c lc_monetary=C \
         -c row_security=off -c default_transaction_read_only=off'\n```\n\n",
        record.summary
    );
    if let Some(path) = details.globals.as_ref().and_then(|part| files.get(part)) {
        let _infallible = write!(
            text,
            "## Roles\n\nRoles that exist already are reported as errors (`role \"postgres\" already exists` is one of them on \
             every server) and stay as they are; nothing else may fail.\n\n\
             ```sh\npsql -X -q -d postgres -f {}\n```\n\n",
            shell(path)
        );
        if !details.role_passwords {
            text.push_str("The provider gave no role passwords: set them anew.\n\n");
        }
    }
    for database in &details.databases {
        database_guide(&mut text, database, &files);
    }
    text
}

fn database_guide(text: &mut String, database: &DatabaseRecord, files: &BTreeMap<&PartName, &str>) {
    let mut step = |title: &str, commands: &[String]| {
        if !commands.is_empty() {
            let _infallible = write!(text, "### {title}\n\n```sh\n{}\n```\n\n", commands.join("\n"));
        }
    };
    let connection = "\"$DATABASE\"";
    let archive = database.archive.as_ref().and_then(|part| files.get(part));
    let restore = |section: &str| {
        let archive = archive?;
        Some(format!(
            "pg_restore --exit-on-error --no-tablespaces --section={section} --dbname={connection} {}",
            shell(archive)
        ))
    };
    step(
        &format!("Database {}", database.name.replace(char::is_control, " ")),
        &[
            format!("DATABASE={}", shell(&format!("dbname={}", conninfo_quote(&database.name)))),
            format!("psql -X -q -v ON_ERROR_STOP=1 -d postgres -c {}", shell(&create_sql(database, &database.name))),
        ],
    );
    step("Definitions", &restore("pre-data").into_iter().collect::<Vec<_>>());
    let mut commands = vec![];
    for table in &database.tables {
        for path in table.parts.iter().filter_map(|part| files.get(part)) {
            commands.push(format!(
                "PGCLIENTENCODING={} psql -X -q -v ON_ERROR_STOP=1 -d {connection} -c {} < {}",
                database.text_encoding,
                shell(&copy_sql(table)),
                shell(path)
            ));
        }
    }
    step("Rows", &commands);
    let scripts = [&database.sequences, &database.large_objects];
    let scripts = scripts.iter().filter_map(|part| files.get(*part)).map(|path| {
        format!("PGCLIENTENCODING=UTF8 psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d {connection} -f {}", shell(path))
    });
    step("Sequences and large objects", &scripts.collect::<Vec<_>>());
    // In one session: several that attach indexes of partitions at once can leave the index above them invalid.
    step("Indexes, constraints, triggers, views", &restore("post-data").into_iter().collect::<Vec<_>>());
    // The database was created above, so of what `--create` brings only the rest is run.
    let settings = archive.map(|archive| {
        let archive = shell(archive);
        format!(
            "pg_restore --create --list {archive} | \\\n  \
             grep -E ' (DATABASE|DATABASE PROPERTIES|(ACL|COMMENT|SECURITY LABEL) - DATABASE) ' > database.list\n\
             pg_restore --create --no-tablespaces --section=pre-data --use-list=database.list -f - {archive} | \\\n  \
             grep -v '^CREATE DATABASE ' | psql -X -q -v ON_ERROR_STOP=1 -o /dev/null -d postgres -f -\n\
             rm database.list"
        )
    });
    step("Owner and settings of the database", &settings.into_iter().collect::<Vec<_>>());
    step("Statistics", &[format!("psql -X -q -v ON_ERROR_STOP=1 -d {connection} -c ANALYZE")]);
    if let Some(archive) = archive {
        one_table(text, database, archive);
    }
}

/// Not fenced as `sh`: a script made of the guide's commands loads everything, and this is for people who want less.
fn one_table(text: &mut String, database: &DatabaseRecord, archive: &str) {
    let _infallible = write!(
        text,
        "### Only one table\n\nInstead of all the above: run the first block, then these commands, which make an empty database \
         `one_table` with the definitions, then the lines of that table under *Rows*. Of the parts it takes {} and the \
         table's own.\n\n\
         ```shell\nDATABASE='dbname=one_table'\npsql -X -q -v ON_ERROR_STOP=1 -d postgres -c {}\n\
         pg_restore --exit-on-error --no-owner --no-privileges --no-tablespaces --section=pre-data --dbname=\"$DATABASE\" \
         {}\n```\n\n",
        shell(archive),
        shell(&create_sql(database, "one_table")),
        shell(archive)
    );
}

/// One word for `sh`, whatever it holds.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
