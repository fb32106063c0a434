//! What `lifeboat init` knows about a database when it writes a job for it. Values only.

/// What a look at a Postgres database found. The caller connects; see [`split_password`](super::init::split_password).
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresIntrospection {
    pub database: String,
    /// `15.18`.
    pub server_version: String,
    pub size_bytes: u64,
    /// Ordinary and partitioned tables of the user; any order.
    pub tables: Vec<TableFacts>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TableFacts {
    pub schema: String,
    pub name: String,
    /// From the planner's statistics; 0 where they know nothing.
    pub estimated_rows: u64,
    /// Heap, TOAST and indexes.
    pub bytes: u64,
    /// Timestamp columns that an index makes cheap to ask for their newest value.
    pub moments: Vec<MomentColumn>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MomentColumn {
    pub name: String,
    /// How long ago the newest value was when the database was looked at; `None` for an empty table.
    pub newest_age_secs: Option<i64>,
}
