//! What a database holds, as far as a dump must decide about it.

use std::collections::HashSet;

use super::config::{Settings, fits};
use super::failure;
use super::inventory::Exclusions;
use super::record::{Collation, Extension};
use super::wire::{Connection, Row, WireError};
use crate::domain::Gap;
use crate::sources::SourceError;

/// A relation with rows, or one that must stay as it is while its parts are read.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a catalog row, not states")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// As `quote_ident` writes it, qualified.
    pub quoted: String,
    /// `r` table, `p` partitioned table (no rows of its own), `f` foreign table.
    pub kind: char,
    pub unlogged: bool,
    pub heap: bool,
    /// The partitioned table that this is a part of.
    pub parent: Option<u32>,
    pub heap_bytes: u64,
    pub toast_bytes: u64,
    /// SELECT on the table and USAGE on its schema.
    pub readable: bool,
    /// Row security would hide rows from us.
    pub hidden_rows: bool,
    /// Member of an extension and its configuration table: `WHERE ...` or empty.
    pub filter: Option<String>,
    /// Without generated ones, in order.
    pub columns: Vec<String>,
}

impl Table {
    /// Whether it has rows that a dump copies.
    pub fn holds_rows(&self, standby: bool) -> bool {
        self.kind == 'r' && !(standby && self.unlogged)
    }
}

/// Everything that one database's dump is about, exclusions applied.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub tables: Vec<Table>,
    pub excluded: Exclusions,
    /// The same as plain names: schemas, and (schema, table).
    pub excluded_schemas: Vec<String>,
    pub excluded_tables: Vec<(String, String)>,
    pub gaps: Vec<Gap>,
}

/// A privilege is null for what is dropped at this very moment; whoever locks or reads it next says so.
const TABLES: &str = "
SELECT c.oid, n.nspname, c.relname, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
  c.relkind, c.relpersistence = 'u', coalesce(a.amname = 'heap', false),
  CASE WHEN c.relispartition THEN (SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1) END,
  CASE WHEN c.relkind = 'r' THEN coalesce(pg_catalog.pg_relation_size(c.oid), 0) ELSE 0 END,
  CASE WHEN c.reltoastrelid <> 0 THEN coalesce(pg_catalog.pg_relation_size(c.reltoastrelid), 0) ELSE 0 END,
  coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'), true),
  CASE WHEN c.relrowsecurity THEN pg_catalog.row_security_active(c.oid) ELSE false END,
  coalesce(e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)], CASE WHEN e.oid IS NOT NULL THEN '' END),
  coalesce((SELECT pg_catalog.json_agg(t.attname ORDER BY t.attnum) FROM pg_catalog.pg_attribute t
    WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped AND t.attgenerated = ''), '[]')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
  AND d.objsubid = 0 AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND c.oid = ANY (e.extconfig)
WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' AND (d.objid IS NULL OR e.oid IS NOT NULL)
ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/// Lists the tables of the database that `connection` is in and applies the exclusions of the job.
pub async fn list(connection: &mut Connection, rules: &Rules) -> Result<Listing, SourceError> {
    let what = format!("list of tables of {}", connection.options().place());
    let mut listing = Listing::default();
    let mut tables: Vec<Table> = Vec::new();
    connection
        .query_each(TABLES, |row| {
            tables.push(table(row)?);
            Ok(())
        })
        .await
        .map_err(|error| failure::wire(&what, error))?;
    let schemas = connection
        .query(
            "SELECT nspname, pg_catalog.quote_ident(nspname) FROM pg_catalog.pg_namespace \
             WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY nspname COLLATE \"C\"",
        )
        .await
        .map_err(|error| failure::wire(&what, error))?;
    for row in &schemas {
        let (name, quoted) = (row.text(0).unwrap_or_default(), row.text(1).unwrap_or_default());
        if rules.excludes_schema(name) {
            listing.excluded.schemas.push(quoted.to_owned());
            listing.excluded_schemas.push(name.to_owned());
            listing.gaps.push(Gap { what: format!("schema {quoted}"), why: "excluded by the job".to_owned() });
        }
    }
    let excluded = excluded_tables(&tables, rules);
    for table in tables {
        if rules.excludes_schema(&table.schema) {
            continue;
        }
        if excluded.contains(&table.oid) {
            listing.gaps.push(Gap { what: format!("table {}", table.quoted), why: "excluded by the job".to_owned() });
            listing.excluded.tables.push(table.quoted);
            listing.excluded_tables.push((table.schema, table.name));
        } else {
            listing.tables.push(table);
        }
    }
    Ok(listing)
}

/// Tables that the rules name, and the partitions of those: without its parent a partition cannot be restored.
fn excluded_tables(tables: &[Table], rules: &Rules) -> HashSet<u32> {
    let mut excluded: HashSet<u32> =
        tables.iter().filter(|table| rules.excludes_table(&table.schema, &table.name)).map(|table| table.oid).collect();
    loop {
        let before = excluded.len();
        for table in tables {
            if table.parent.is_some_and(|parent| excluded.contains(&parent)) {
                excluded.insert(table.oid);
            }
        }
        if excluded.len() == before {
            return excluded;
        }
    }
}

fn table(row: &Row) -> Result<Table, WireError> {
    let columns: Vec<String> = serde_json::from_str(row.required(13)?)
        .map_err(|error| WireError::Protocol(format!("column names: {error}")))?;
    let parent = row.text(7).and_then(|text| text.parse().ok());
    Ok(Table {
        oid: row.number(0)?,
        schema: row.required(1)?.to_owned(),
        name: row.required(2)?.to_owned(),
        quoted: row.required(3)?.to_owned(),
        kind: row.required(4)?.chars().next().unwrap_or('?'),
        unlogged: row.flag(5)?,
        heap: row.flag(6)?,
        parent,
        heap_bytes: row.number(8)?,
        toast_bytes: row.number(9)?,
        readable: row.flag(10)?,
        hidden_rows: row.flag(11)?,
        filter: row.text(12).map(str::to_owned),
        columns,
    })
}

/// What a dump leaves out: by pattern when a job says so, by exact name when a recorded dump is repeated.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub schema_patterns: Vec<String>,
    pub table_patterns: Vec<String>,
}

impl Rules {
    pub fn of(settings: &Settings) -> Self {
        Self { schema_patterns: settings.exclude_schemas.clone(), table_patterns: settings.exclude_tables.clone() }
    }

    fn excludes_schema(&self, schema: &str) -> bool {
        self.schema_patterns.iter().any(|pattern| fits(pattern, schema))
    }

    fn excludes_table(&self, schema: &str, table: &str) -> bool {
        let name = format!("{schema}.{table}");
        self.table_patterns.iter().any(|pattern| fits(pattern, &name))
    }
}

/// A sequence, as SQL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    pub quoted: String,
    pub readable: bool,
}

/// Sequences whose values a restore must set: not those of extensions (but for their configuration), nor those of excluded
/// schemas, nor identity sequences of excluded tables. Sorted by name.
pub async fn sequences(
    connection: &mut Connection,
    listing: &Listing,
    rules: &Rules,
) -> Result<Vec<Sequence>, SourceError> {
    let what = format!("list of sequences of {}", connection.options().place());
    let sql = "
SELECT n.nspname, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
  coalesce(pg_catalog.has_sequence_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'), true),
  (SELECT pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.relname)
    FROM pg_catalog.pg_depend i JOIN pg_catalog.pg_class t ON t.oid = i.refobjid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    WHERE i.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.objid = c.oid AND i.deptype = 'i'
      AND i.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass LIMIT 1)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
  AND d.objsubid = 0 AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND c.oid = ANY (e.extconfig)
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (d.objid IS NULL OR e.oid IS NOT NULL)
ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";
    let mut sequences = Vec::new();
    let excluded: HashSet<&str> = listing.excluded.tables.iter().map(String::as_str).collect();
    connection
        .query_each(sql, |row| {
            let schema = row.required(0)?;
            let owned_by_excluded = row.text(3).is_some_and(|owner| excluded.contains(owner));
            if !rules.excludes_schema(schema) && !owned_by_excluded {
                sequences.push(Sequence { quoted: row.required(1)?.to_owned(), readable: row.flag(2)? });
            }
            Ok(())
        })
        .await
        .map_err(|error| failure::wire(what, error))?;
    Ok(sequences)
}

/// Installed extensions, by name.
pub async fn extensions(connection: &mut Connection) -> Result<Vec<Extension>, SourceError> {
    let what = format!("list of extensions of {}", connection.options().place());
    let rows = connection
        .query(
            "SELECT e.extname, e.extversion, n.nspname FROM pg_catalog.pg_extension e \
             JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname COLLATE \"C\"",
        )
        .await
        .map_err(|error| failure::wire(what, error))?;
    let text = |row: &Row, column| row.text(column).unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| Extension { name: text(row, 0), version: text(row, 1), schema: text(row, 2) }).collect())
}

/// Collations whose locales a restored database needs, by name; those that every server has (`C`) are left out.
pub async fn collations(connection: &mut Connection, version_num: u32) -> Result<Vec<Collation>, SourceError> {
    let what = format!("list of collations of {}", connection.options().place());
    let icu = match version_num {
        170_000.. => "c.colllocale",
        150_000.. => "c.colliculocale",
        _ => "c.collcollate",
    };
    // A collation of the server's own is needed where something depends on it; nothing depends on a pinned one.
    let sql = format!(
        "SELECT CASE WHEN n.nspname = 'pg_catalog' THEN c.collname END, c.collprovider = 'i', \
           CASE c.collprovider WHEN 'i' THEN {icu} ELSE c.collcollate END, \
           CASE c.collprovider WHEN 'c' THEN c.collctype END \
         FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace \
         WHERE c.collprovider IN ('c', 'i') AND (n.nspname <> 'pg_catalog' OR EXISTS (SELECT FROM pg_catalog.pg_depend d \
           WHERE d.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass AND d.refobjid = c.oid AND d.deptype = 'n')) \
         ORDER BY n.nspname COLLATE \"C\", c.collname COLLATE \"C\""
    );
    let fail = |error| failure::wire(&what, error);
    let mut collations = Vec::new();
    for row in connection.query(&sql).await.map_err(fail)? {
        let mut locales: Vec<String> = [row.text(2), row.text(3)].into_iter().flatten().map(str::to_owned).collect();
        locales.retain(|locale| !matches!(locale.as_str(), "C" | "POSIX"));
        locales.dedup();
        let provider = if row.flag(1).map_err(fail)? { "icu" } else { "libc" };
        if !locales.is_empty() {
            let system = row.text(0).map(str::to_owned);
            collations.push(Collation { system, provider: provider.to_owned(), locales });
        }
    }
    Ok(collations)
}
