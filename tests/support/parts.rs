//! A dump made with the engine's own tools, held in memory, as a loader sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lifeboat::domain::{Fingerprint, PartName, PartReader, PartStore, SourceRecord, StoreError};
use serde_json::{Value, json};

use super::postgres::TestServer;
use super::server::output;

/// Parts by name; pieces are small, so that rows and statements are cut anywhere.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub(crate) parts: BTreeMap<String, Vec<u8>>,
    /// A part of this name breaks off in its midst.
    pub(crate) damaged: Option<String>,
}

struct MemoryReader {
    rest: Vec<Bytes>,
    damaged: bool,
}

impl PartStore for MemoryStore {
    fn names(&self) -> Vec<PartName> {
        self.parts.keys().map(|name| part(name)).collect()
    }

    fn fingerprint(&self, name: &PartName) -> Option<Fingerprint> {
        let bytes = self.parts.get(name.as_str())?.len() as u64;
        Some(Fingerprint { bytes, ..Fingerprint::EMPTY })
    }

    fn open(&self, name: &PartName) -> Result<Box<dyn PartReader>, StoreError> {
        let bytes = self.parts.get(name.as_str()).ok_or_else(|| StoreError::NoSuchPart(name.to_string()))?;
        let damaged = self.damaged.as_deref() == Some(name.as_str());
        let bytes = if damaged { &bytes[..bytes.len() / 2] } else { bytes };
        let mut rest: Vec<Bytes> = bytes.chunks(1009).map(Bytes::copy_from_slice).collect();
        rest.reverse();
        Ok(Box::new(MemoryReader { rest, damaged }))
    }
}

impl PartReader for MemoryReader {
    fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self.rest.pop() {
            None if self.damaged => Err(StoreError::Damaged { what: "pack".into(), why: "its digest differs".into() }),
            piece => Ok(piece),
        }
    }
}

pub(crate) fn part(name: &str) -> PartName {
    serde_json::from_value(json!(name)).unwrap()
}

const COLUMNS: &str = "select coalesce(json_agg(attname order by attnum), '[]') from pg_attribute
    where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = ''";

/// Dumps `databases` of the server. Tables with more than 500 rows come in two ranges.
pub(crate) fn dump(server: &TestServer, databases: &[&str]) -> (SourceRecord, MemoryStore) {
    let mut store = MemoryStore::default();
    let globals = output(server.client("pg_dumpall").arg("--globals-only")).stdout;
    store.parts.insert("globals".into(), globals);
    let records: Vec<Value> = databases.iter().map(|name| dump_database(server, name, &mut store)).collect();
    let version = server.psql("postgres", "show server_version");
    let details = json!({
        "server_version_num": server.psql("postgres", "show server_version_num").parse::<u32>().unwrap(),
        "system_identifier": server.psql("postgres", "select system_identifier from pg_control_system()"),
        "standby": false,
        "superuser": "postgres",
        "preload_libraries": [],
        "tools": [{ "program": "pg_dump", "version": version.split(' ').next() }],
        "globals": "globals",
        "role_passwords": true,
        "databases": records,
    });
    let record = json!({
        "kind": "postgres", "summary": format!("postgres {version}"), "version": version, "instants": [], "gaps": [],
        "inventories": [], "groups": [], "details": details,
    });
    (serde_json::from_value(record).unwrap(), store)
}

fn dump_database(server: &TestServer, name: &str, store: &mut MemoryStore) -> Value {
    let prefix = PartName::component(name);
    let mut archive = server.client("pg_dump");
    archive.args(["-Fc", "-Z0", "--section=pre-data", "--section=post-data"]).env("PGDATABASE", name);
    store.parts.insert(format!("{prefix}/archive"), output(&mut archive).stdout);
    let sequences = server.psql(
        name,
        "select format('SELECT pg_catalog.setval(%L, %s, %s);', quote_ident(schemaname) || '.' || quote_ident(sequencename),
            coalesce(last_value, start_value), (last_value is not null)::text) from pg_sequences",
    );
    store.parts.insert(format!("{prefix}/sequences"), sequences.into_bytes());
    let large = server.psql(
        name,
        "select format('SELECT pg_catalog.lo_put(%s, %s, %L);', loid, pageno * 2048, data) from pg_largeobject order by loid, pageno",
    );
    store.parts.insert(format!("{prefix}/large-objects"), large.into_bytes());
    let listed = server.psql(
        name,
        &format!(
            "select json_build_object('schema', nspname, 'name', relname, 'columns', ({COLUMNS}), 'size_bytes', 0,
                'filtered', false, 'oid', c.oid) from pg_class c join pg_namespace n on n.oid = relnamespace
             where relkind = 'r' and nspname !~ '^pg_' and nspname <> 'information_schema' order by c.oid"
        ),
    );
    let tables: Vec<Value> = listed.lines().map(|line| dump_table(server, name, &prefix, line, store)).collect();
    let facts = server.psql(
        name,
        "select json_build_object('name', datname, 'encoding', pg_encoding_to_char(encoding), 'text_encoding', 'UTF8',
            'collate', datcollate, 'ctype', datctype, 'locale_provider', 'libc', 'locale', null,
            'size_bytes', pg_database_size(oid)) from pg_database where datname = current_database()",
    );
    let mut record: Value = serde_json::from_str(&facts).unwrap();
    let extensions =
        "select coalesce(json_agg(json_build_object('name', extname, 'version', extversion, 'schema', 'x')), '[]')
        from pg_extension";
    record["extensions"] = serde_json::from_str(&server.psql(name, extensions)).unwrap();
    record["tables"] = json!(tables);
    for (key, value) in
        [("excluded_schemas", json!([])), ("excluded_tables", json!([])), ("relation_count", json!(1000))]
    {
        record[key] = value;
    }
    record["sequence_count"] = json!(0);
    for (key, file) in [("archive", "archive"), ("sequences", "sequences"), ("large_objects", "large-objects")] {
        record[key] = json!(format!("{prefix}/{file}"));
    }
    record["inventory"] = json!(format!("{prefix}/inventory"));
    record
}

fn dump_table(server: &TestServer, database: &str, prefix: &str, line: &str, store: &mut MemoryStore) -> Value {
    let mut table: Value = serde_json::from_str(line).unwrap();
    let quote = |name: &Value| format!("\"{}\"", name.as_str().unwrap().replace('"', "\"\""));
    let from = format!("{}.{}", quote(&table["schema"]), quote(&table["name"]));
    let columns: Vec<String> = table["columns"].as_array().unwrap().iter().map(quote).collect();
    let rows: u64 = server.psql(database, &format!("select count(*) from only {from}")).parse().unwrap();
    let label = format!("{}.{}", table["schema"].as_str().unwrap(), table["name"].as_str().unwrap());
    let stem = format!("{prefix}/table/{}", PartName::component(&label));
    let ranges = if rows > 500 {
        vec![("/0000", "where ctid < '(2,0)'"), ("/0001", "where ctid >= '(2,0)'")]
    } else {
        vec![("", "")]
    };
    let mut parts = vec![];
    for (suffix, range) in ranges {
        let sql = format!("copy (select {} from only {from} {range}) to stdout", columns.join(", "));
        let bytes = server.client("psql").args(["-X", "-c", &sql]).env("PGDATABASE", database).output().unwrap();
        assert!(bytes.status.success(), "{}", String::from_utf8_lossy(&bytes.stderr));
        store.parts.insert(format!("{stem}{suffix}"), bytes.stdout);
        parts.push(format!("{stem}{suffix}"));
    }
    table.as_object_mut().unwrap().remove("oid");
    table["parts"] = json!(parts);
    table["rows"] = json!(rows);
    table
}

/// A store that loaders may share.
pub(crate) fn shared(store: MemoryStore) -> Arc<dyn PartStore> {
    Arc::new(store)
}
