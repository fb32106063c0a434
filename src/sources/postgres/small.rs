//! What the leader reads itself, in the snapshot's own transaction: sequences, large objects, the inventory.

use serde::Deserialize;

use super::catalog::Sequence;
use super::failure;
use super::inventory::InventoryQuery;
use super::wire::{Connection, WireError, quote_ident, quote_literal};
use crate::domain::PartName;
use crate::domain::record::Statement;
use crate::sources::SourceError;
use crate::sources::bridge::{LaneThread, RecordWriter};

/// How many sequences one query reads.
const SEQUENCE_BATCH: usize = 200;
/// The most that one line of a large object holds, before it is written in hexadecimal.
const SLICE_BYTES: u64 = 256 << 10;

/// One `SELECT pg_catalog.setval(...);` a line, by name. Stock `psql -f` loads it.
///
/// Sequences are not versioned: the value may be later than the snapshot, never earlier.
pub(super) async fn sequences(
    leader: &mut Connection,
    sequences: &[Sequence],
    lane: &mut LaneThread,
    part: PartName,
) -> Result<(), SourceError> {
    let mut writer = RecordWriter::begin(lane, part).await?;
    for batch in sequences.chunks(SEQUENCE_BATCH) {
        let each =
            |(at, sequence): (usize, &Sequence)| format!("SELECT {at}, last_value, is_called FROM {}", sequence.quoted);
        let sql = batch.iter().enumerate().map(each).collect::<Vec<_>>().join(" UNION ALL ") + " ORDER BY 1";
        let rows = leader.query(&sql).await.map_err(|error| failure::wire("values of sequences", error))?;
        for (sequence, row) in batch.iter().zip(&rows) {
            let called = if row.text(2) == Some("t") { "true" } else { "false" };
            let value = row.text(1).unwrap_or_default();
            let text = format!("SELECT pg_catalog.setval({}, {value}, {called});\n", quote_literal(&sequence.quoted));
            writer.record(text.as_bytes()).await?;
        }
        if rows.len() != batch.len() {
            return Err(SourceError::Failed {
                what: "values of sequences".to_owned(),
                why: format!("{} of {} came back", rows.len(), batch.len()),
                hint: String::new(),
            });
        }
    }
    writer.finish().await?;
    Ok(())
}

/// The lines that make each object with its owner, grants, comment and labels; then one
/// `SELECT pg_catalog.lo_put(...);` a line, by object and offset, in slices of 256 KiB.
///
/// An archive of `pg_dump` 16 or older makes the objects too, among the definitions. Later ones count them as data, of which the
/// archive holds none, so the lines here do not depend on it.
pub(super) async fn large_objects(
    leader: &mut Connection,
    lane: &mut LaneThread,
    part: PartName,
) -> Result<(), SourceError> {
    let fail = |error: WireError| match failure::wire("large objects", error) {
        SourceError::Refused { what, why, .. } => {
            let hint =
                "`GRANT SELECT ON LARGE OBJECT oid TO role` for each of them, or back up as their owner".to_owned();
            SourceError::Refused { what, why, hint }
        }
        other => other,
    };
    let mut writer = RecordWriter::begin(lane, part).await?;
    let mut rows = leader.rows(LARGE_OBJECTS).await.map_err(fail)?;
    while let Some(row) = rows.next().await.map_err(fail)? {
        let about = serde_json::from_str::<LargeObject>(row.required(0).map_err(fail)?)
            .map_err(|error| fail(WireError::Protocol(format!("large object: {error}"))))?;
        for line in about.statements() {
            writer.record(line.as_bytes()).await?;
        }
    }
    // Most objects fit one slice: one query reads the first slice of all, and only long objects are asked again.
    let mut long: Vec<u32> = Vec::new();
    let full = SLICE_BYTES * 2 + 2;
    let sql = format!(
        "SELECT oid, pg_catalog.lo_get(oid, 0, {SLICE_BYTES}) FROM pg_catalog.pg_largeobject_metadata ORDER BY oid"
    );
    let mut rows = leader.rows(&sql).await.map_err(fail)?;
    while let Some(row) = rows.next().await.map_err(fail)? {
        let (oid, slice) = (row.number::<u32>(0).map_err(fail)?, row.required(1).map_err(fail)?);
        write_slice(&mut writer, oid, 0, slice).await?;
        if slice.len() as u64 == full {
            long.push(oid);
        }
    }
    for oid in long {
        let mut offset = SLICE_BYTES;
        loop {
            let sql = format!("SELECT pg_catalog.lo_get({oid}, {offset}, {SLICE_BYTES})");
            let row = leader.query_one(&sql).await.map_err(fail)?;
            let slice = row.required(0).map_err(fail)?;
            write_slice(&mut writer, oid, offset, slice).await?;
            if (slice.len() as u64) < full {
                break;
            }
            offset += SLICE_BYTES;
        }
    }
    writer.finish().await?;
    Ok(())
}

/// One JSON object a row, by number.
const LARGE_OBJECTS: &str = "
SELECT pg_catalog.json_build_object('oid', l.oid::bigint, 'owner', pg_catalog.pg_get_userbyid(l.lomowner),
  'grants', CASE WHEN l.lomacl IS NOT NULL THEN coalesce((
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object('grantor', pg_catalog.pg_get_userbyid(a.grantor),
      'grantee', CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee) END,
      'privilege', a.privilege_type, 'grantable', a.is_grantable)
      ORDER BY a.grantor <> l.lomowner, pg_catalog.pg_get_userbyid(a.grantor) COLLATE \"C\",
        pg_catalog.pg_get_userbyid(a.grantee) COLLATE \"C\", a.privilege_type)
    FROM pg_catalog.aclexplode(l.lomacl) a), '[]') END,
  'comment', pg_catalog.obj_description(l.oid, 'pg_largeobject'),
  'labels', coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_array(s.provider, s.label)
      ORDER BY s.provider COLLATE \"C\")
    FROM pg_catalog.pg_seclabel s WHERE s.objoid = l.oid
      AND s.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass), '[]'))
FROM pg_catalog.pg_largeobject_metadata l ORDER BY l.oid";

/// What a large object is beside its bytes.
#[derive(Deserialize)]
struct LargeObject {
    oid: u32,
    owner: String,
    /// `None`: nothing was ever granted or revoked.
    grants: Option<Vec<Grant>>,
    comment: Option<String>,
    /// Provider and label.
    labels: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Grant {
    grantor: String,
    /// `None`: everyone.
    grantee: Option<String>,
    privilege: String,
    grantable: bool,
}

impl LargeObject {
    /// Everything about it as SQL, a statement a line, which may be run although the object is there already.
    fn statements(&self) -> Vec<String> {
        let (oid, owner) = (self.oid, role(&self.owner));
        let mut lines = vec![
            format!(
                "SELECT pg_catalog.lo_create({oid}) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata \
                 WHERE oid = {oid});\n"
            ),
            format!("ALTER LARGE OBJECT {oid} OWNER TO {owner};\n"),
        ];
        if let Some(grants) = &self.grants {
            lines.push(format!("REVOKE ALL ON LARGE OBJECT {oid} FROM {owner};\n"));
            for grant in grants {
                let grantee = grant.grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), role);
                let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
                let given = format!("GRANT {} ON LARGE OBJECT {oid} TO {grantee}{option};", grant.privilege);
                lines.push(if grant.grantor == self.owner {
                    format!("{given}\n")
                } else {
                    let grantor = role(&grant.grantor);
                    format!("SET SESSION AUTHORIZATION {grantor}; {given} RESET SESSION AUTHORIZATION;\n")
                });
            }
        }
        if let Some(comment) = &self.comment {
            lines.push(format!("COMMENT ON LARGE OBJECT {oid} IS {};\n", quote_literal(comment)));
        }
        for (provider, label) in &self.labels {
            let (provider, label) = (role(provider), quote_literal(label));
            lines.push(format!("SECURITY LABEL FOR {provider} ON LARGE OBJECT {oid} IS {label};\n"));
        }
        lines
    }
}

/// A name as an identifier on one line, whatever is in it.
fn role(name: &str) -> String {
    if !name.contains(['\n', '\r']) {
        return quote_ident(name);
    }
    let escaped = name.replace('\\', "\\\\").replace('"', "\"\"").replace('\n', "\\000A").replace('\r', "\\000D");
    format!("U&\"{escaped}\"")
}

/// `slice` is a bytea as text: `\x` and hexadecimal digits. An empty one says nothing.
async fn write_slice(writer: &mut RecordWriter<'_>, oid: u32, offset: u64, slice: &str) -> Result<(), SourceError> {
    if slice.len() > 2 {
        let text = format!("SELECT pg_catalog.lo_put({oid}, {offset}, '{slice}');\n");
        writer.record(text.as_bytes()).await?;
    }
    Ok(())
}

/// One JSON object a line, by kind and name. Returns the kinds that the role may not list: they are no reason to have no
/// backup.
pub(super) async fn inventory(
    leader: &mut Connection,
    queries: impl Iterator<Item = InventoryQuery>,
    lane: &mut LaneThread,
    part: PartName,
) -> Result<Vec<String>, SourceError> {
    let mut writer = RecordWriter::begin(lane, part).await?;
    let mut unlisted = vec![];
    for query in queries {
        let fail = |error| failure::wire(format!("inventory of kind `{}`", query.kind), error);
        // A refused query must not end the snapshot's transaction.
        leader.execute("SAVEPOINT kind").await.map_err(fail)?;
        let refused = match list_kind(leader, &query, &mut writer).await {
            Ok(()) => false,
            Err(Listing::Denied) => true,
            Err(Listing::Failed(error)) => return Err(error),
        };
        let end = if refused { "ROLLBACK TO SAVEPOINT kind; RELEASE SAVEPOINT kind" } else { "RELEASE SAVEPOINT kind" };
        leader.execute(end).await.map_err(fail)?;
        if refused {
            unlisted.push(query.kind.to_owned());
        }
    }
    writer.finish().await?;
    Ok(unlisted)
}

enum Listing {
    /// Before anything was written.
    Denied,
    Failed(SourceError),
}

async fn list_kind(
    leader: &mut Connection,
    query: &InventoryQuery,
    writer: &mut RecordWriter<'_>,
) -> Result<(), Listing> {
    let what = || format!("inventory of kind `{}`", query.kind);
    let mut written = false;
    let fail = |written: bool, error: WireError| match error.sqlstate() {
        Some("42501") if !written => Listing::Denied,
        _ => Listing::Failed(failure::wire(what(), error)),
    };
    let kind = serde_json::Value::from(query.kind);
    let mut rows = leader.rows(&query.sql).await.map_err(|error| fail(false, error))?;
    while let Some(row) = rows.next().await.map_err(|error| fail(written, error))? {
        let name = serde_json::Value::from(row.required(0).map_err(|error| fail(written, error))?);
        let attributes = row.required(1).map_err(|error| fail(written, error))?;
        let attributes: serde_json::Value = serde_json::from_str(attributes).map_err(|error| {
            Listing::Failed(SourceError::Failed { what: what(), why: error.to_string(), hint: String::new() })
        })?;
        let text = format!("{{\"kind\":{kind},\"name\":{name},\"attributes\":{attributes}}}\n");
        writer.record(text.as_bytes()).await.map_err(|error| Listing::Failed(error.into()))?;
        written = true;
    }
    Ok(())
}

/// The reader of what [`sequences`] and [`large_objects`] write, by the name of the group.
pub(super) fn statements(group: &str) -> Option<fn(&str) -> Option<Statement>> {
    match group.split_once('/')? {
        (_, "sequences") => Some(about_sequence),
        (_, "large-objects") => Some(about_large_object),
        _ => None,
    }
}

fn about_sequence(record: &str) -> Option<Statement> {
    let arguments = record.strip_prefix("SELECT pg_catalog.setval(")?.trim_end().strip_suffix(");")?;
    let mut arguments = arguments.rsplitn(3, ", ");
    let (called, value, literal) = (arguments.next()?, arguments.next()?, arguments.next()?);
    let called = if called == "true" { "called" } else { "not called yet" };
    Some(Statement { what: format!("sequence {}", unquote(literal)?), value: format!("{value}, {called}") })
}

fn about_large_object(record: &str) -> Option<Statement> {
    let record = record.trim_end();
    let Some(arguments) = record.strip_prefix("SELECT pg_catalog.lo_put(") else {
        // One that makes it, gives it away, grants, comments or labels.
        let made = record.strip_prefix("SELECT pg_catalog.lo_create(");
        let (_, about) = made.map(|rest| ("", rest)).or_else(|| record.split_once("LARGE OBJECT "))?;
        let oid: String = about.chars().take_while(char::is_ascii_digit).collect();
        return Some(Statement { what: format!("large object {oid}"), value: record.to_owned() });
    };
    let mut arguments = arguments.strip_suffix(");")?.splitn(3, ", ");
    let (oid, offset, bytes) = (arguments.next()?, arguments.next()?, arguments.next()?);
    let digits = unquote(bytes)?.strip_prefix("\\x")?.to_owned();
    let value = format!("{} bytes at {offset}: {digits}", digits.len() / 2);
    Some(Statement { what: format!("large object {oid}"), value })
}

/// The inverse of [`quote_literal`].
fn unquote(literal: &str) -> Option<String> {
    let literal = literal.trim_start();
    if let Some(escaped) = literal.strip_prefix("E'") {
        let mut text = String::new();
        let mut rest = escaped.strip_suffix('\'')?.chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' => text.push(match rest.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                }),
                // The second of two quotes.
                '\'' => text.push(rest.next()?),
                other => text.push(other),
            }
        }
        return Some(text);
    }
    Some(literal.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_about_a_sequence_or_a_large_object_is_read_back() {
        for name in ["public.s", "\"it's, a\".\"b\\ \n\"", "\"(\".\", 1, true);\""] {
            let record = format!("SELECT pg_catalog.setval({}, -7, false);\n", quote_literal(name));
            let expected = Statement { what: format!("sequence {name}"), value: "-7, not called yet".to_owned() };
            assert_eq!(statements("db/sequences").unwrap()(&record), Some(expected));
        }
        let record = "SELECT pg_catalog.lo_put(70001, 262144, '\\x00ff');\n";
        let expected = Statement { what: "large object 70001".to_owned(), value: "2 bytes at 262144: 00ff".to_owned() };
        assert_eq!(statements("db/large-objects").unwrap()(record), Some(expected));
        let record = "SET SESSION AUTHORIZATION a; GRANT SELECT ON LARGE OBJECT 7 TO b; RESET SESSION AUTHORIZATION;\n";
        assert_eq!(statements("db/large-objects").unwrap()(record).unwrap().what, "large object 7");
        assert!(statements("db/table/public.sequences").is_none());
    }

    #[test]
    fn a_large_object_is_made_by_lines_that_stay_lines_whatever_its_owner_is_called() {
        let grant = |grantor: &str, grantee: Option<&str>, grantable| Grant {
            grantor: grantor.to_owned(),
            grantee: grantee.map(str::to_owned),
            privilege: "SELECT".to_owned(),
            grantable,
        };
        let object = LargeObject {
            oid: 7,
            owner: "the\n\"app\"\\".to_owned(),
            grants: Some(vec![grant("the\n\"app\"\\", Some("reader"), true), grant("reader", None, false)]),
            comment: Some("it's\nlong".to_owned()),
            labels: vec![],
        };
        let lines = object.statements();
        assert!(lines.iter().all(|line| line.ends_with(";\n") && line.matches('\n').count() == 1), "{lines:?}");
        let line = lines.concat();
        for part in [
            r#"ALTER LARGE OBJECT 7 OWNER TO U&"the\000A""app""\\";"#,
            r#"REVOKE ALL ON LARGE OBJECT 7 FROM U&"the\000A""app""\\";"#,
            r#"GRANT SELECT ON LARGE OBJECT 7 TO "reader" WITH GRANT OPTION;"#,
            r#"SET SESSION AUTHORIZATION "reader"; GRANT SELECT ON LARGE OBJECT 7 TO PUBLIC; RESET"#,
        ] {
            assert!(line.contains(part), "{part}\n{line}");
        }
    }
}
