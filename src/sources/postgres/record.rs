//! What a Postgres dump says about itself in the recipe, for its loader and for dumping a scratch instance the same way.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::inventory::Exclusions;
use crate::domain::{PartName, SourceRecord};
use crate::sources::{Countable, SourceError};

/// The `details` of a [`SourceRecord`] of kind `postgres`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PostgresRecord {
    /// `150018`.
    pub server_version_num: u32,
    /// Of the cluster, from its control file; empty where the provider hides it.
    pub system_identifier: String,
    /// The role that made the cluster (oid 10); a scratch cluster is made by a role of the same name, so owners are equal.
    #[serde(default)]
    pub superuser: String,
    pub standby: bool,
    /// As `shared_preload_libraries` lists them.
    pub preload_libraries: Vec<String>,
    /// The programs that wrote `archive` and `globals`.
    pub tools: Vec<Tool>,
    /// Plain SQL of `pg_dumpall --globals-only`.
    pub globals: Option<PartName>,
    /// False when roles came without passwords.
    pub role_passwords: bool,
    pub databases: Vec<DatabaseRecord>,
}

/// `pg_dump`, `15.18`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    pub program: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    pub name: String,
    /// `UTF8`.
    pub encoding: String,
    /// The `client_encoding` of every part here: `UTF8`, or `SQL_ASCII` where the server converts nothing.
    pub text_encoding: String,
    pub collate: String,
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// The provider's own locale, where it has one.
    pub locale: Option<String>,
    /// ICU's own rules beside the locale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale_rules: Option<String>,
    /// What text is sorted by beside the database's own locale: collations that users made, and those of the server that
    /// something here names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collations: Vec<Collation>,
    /// `pg_database_size`, bytes.
    pub size_bytes: u64,
    pub extensions: Vec<Extension>,
    /// Every new database has the schema `public`; this one had not.
    #[serde(default)]
    pub without_public: bool,
    /// Every new database has the extension `plpgsql`; this one had not.
    #[serde(default)]
    pub without_plpgsql: bool,
    /// Kinds of objects that the role could not list; they are not compared.
    #[serde(default)]
    pub unlisted_kinds: Vec<String>,
    /// Exact names, as `quote_ident` writes them.
    pub excluded_schemas: Vec<String>,
    pub excluded_tables: Vec<String>,
    /// `pg_dump -Fc` without bulk data.
    pub archive: Option<PartName>,
    /// SQL, one `setval` a line.
    pub sequences: PartName,
    /// SQL, a statement a line: what makes each object, then its bytes by `lo_put`.
    pub large_objects: PartName,
    pub inventory: PartName,
    pub tables: Vec<TableRecord>,
    pub sequence_count: u64,
    /// Relations of any kind, for `max_locks_per_transaction`.
    pub relation_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    pub name: String,
    pub version: String,
    pub schema: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collation {
    /// The name, for one that every cluster of its machine has from the start; none for one that the dump makes.
    pub system: Option<String>,
    /// `libc` or `icu`.
    pub provider: String,
    /// The locales that it is made of: one of ICU, one or two of libc.
    pub locales: Vec<String>,
}

/// One table that holds rows, with the columns in the order of its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    pub schema: String,
    pub name: String,
    /// Unquoted; without generated columns. Empty for a table without columns: its rows are empty lines.
    pub columns: Vec<String>,
    /// Text-format `COPY` data; several when the table was read in ranges, in that order.
    pub parts: Vec<PartName>,
    pub rows: u64,
    /// Heap and TOAST on the live server.
    pub size_bytes: u64,
    /// Only the rows that the user added to a table of an extension.
    pub filtered: bool,
}

impl PostgresRecord {
    /// Reads the details of a record that this source wrote.
    pub fn of(record: &SourceRecord) -> Result<Self, SourceError> {
        serde_json::from_value(record.details.clone()).map_err(|error| SourceError::Failed {
            what: "record of the snapshot".to_owned(),
            why: error.to_string(),
            hint: "it was written by another version; use that one to restore".to_owned(),
        })
    }
}

impl DatabaseRecord {
    pub fn exclusions(&self) -> Exclusions {
        Exclusions { schemas: self.excluded_schemas.clone(), tables: self.excluded_tables.clone() }
    }
}

/// Every table whose rows an ordinary client can count: all but those of which only a part was dumped.
pub fn countable(record: &SourceRecord) -> Vec<(String, Vec<Countable>)> {
    let Ok(details) = PostgresRecord::of(record) else { return vec![] };
    let group_of: HashMap<&PartName, &str> = record
        .groups
        .iter()
        .flat_map(|group| group.parts.iter().map(move |part| (part, group.name.as_str())))
        .collect();
    let countable = |table: &TableRecord| {
        let group = group_of.get(table.parts.first()?)?;
        (!table.filtered).then(|| Countable {
            group: (*group).to_owned(),
            schema: table.schema.clone(),
            name: table.name.clone(),
        })
    };
    details
        .databases
        .iter()
        .map(|database| (database.name.clone(), database.tables.iter().filter_map(countable).collect()))
        .collect()
}
