//! One table (or a few) out of a snapshot, into a database that may hold other things.
//!
//! Everything happens in one transaction: the tables are there whole, or nothing has changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::archive::{Archive, Section};
use super::statements::{leading_name, leading_qualified, statements};
use super::trouble;
use super::{client_for, phase, place, rows, script};
use crate::domain::{PartName, PartStore, SourceRecord};
use crate::sources::postgres::record::{DatabaseRecord, PostgresRecord, TableRecord};
use crate::sources::postgres::wire::{
    ConnectOptions, Connection, WireError, quote_ident, quote_literal, quote_qualified,
};
use crate::sources::{Context, LoadReport, LoadRequest, SourceError};

/// How many names an error lists.
const CANDIDATES_MAX: usize = 5;

type Chosen<'r> = (&'r DatabaseRecord, &'r TableRecord);

pub(super) async fn load(
    context: &Context,
    record: &SourceRecord,
    details: &PostgresRecord,
    store: &Arc<dyn PartStore>,
    options: &ConnectOptions,
    request: &LoadRequest,
) -> Result<LoadReport, SourceError> {
    debug_assert_eq!(record.kind, "postgres");
    let chosen = request.only.iter().map(|wanted| choose(details, wanted)).collect::<Result<Vec<_>, _>>()?;
    let database = chosen[0].0;
    if let Some((other, _)) = chosen.iter().find(|(other, _)| other.name != database.name) {
        let why = format!("`{}` and `{}` are different databases", database.name, other.name);
        return Err(refused("the tables asked for", &why, "restore those of one database at a time"));
    }
    let mut connection = rows::open(options, &context.cancel).await?;
    let server = place::inspect(&mut connection).await?;
    for (_, table) in &chosen {
        require_absent(&mut connection, table).await?;
    }
    let client = client_for(&mut connection, &server, details, request).await?;
    let part = database.archive.as_ref().ok_or_else(|| {
        refused("the tables asked for", "the snapshot holds no definitions", "restore them into a folder: `--to DIR`")
    })?;
    if request.dry_run {
        connection.close().await;
        return Ok(LoadReport::default());
    }
    let archive = Archive::fetch(context, store, part, &client).await?;
    let (pre, post) = (archive.sql(Section::Pre).await?, archive.sql(Section::Post).await?);
    let failed = |error| trouble::wire(format!("postgres {}", options.place()), error);
    connection.execute("BEGIN").await.map_err(failed)?;
    let mut report = LoadReport::default();
    for (_, table) in &chosen {
        let name = quote_qualified(&table.schema, &table.name);
        phase(context, &format!("table {name}"));
        let one = OneTable { table, store, sequences: &database.sequences };
        one.run(&mut connection, &pre, &post, &mut report).await.map_err(|error| unchanged(error, options))?;
        report.loaded.push(format!("postgres {} {name}", options.place()));
    }
    connection.execute("COMMIT").await.map_err(failed)?;
    connection.close().await;
    Ok(report)
}

/// The table that `wanted` names: a group (`social/table/public.statuses`), `public.statuses`, or `statuses`.
fn choose<'r>(details: &'r PostgresRecord, wanted: &str) -> Result<Chosen<'r>, SourceError> {
    let all =
        || details.databases.iter().flat_map(|database| database.tables.iter().map(move |table| (database, table)));
    // The whole name wins over a part of one, so that every table can be named.
    for level in 0..3 {
        let fits: Vec<Chosen<'r>> = all()
            .filter(|(database, table)| spellings(database, table)[level].iter().any(|name| name == wanted))
            .collect();
        match fits.as_slice() {
            [] => {}
            [one] => return Ok(*one),
            several => {
                let names: Vec<String> = several.iter().take(CANDIDATES_MAX).map(|(d, t)| group(d, t)).collect();
                let why = format!("it names {} tables: `{}`", several.len(), names.join("`, `"));
                return Err(refused(&format!("`--only {wanted}`"), &why, "give the whole name"));
            }
        }
    }
    let nearness = |name: &str| name.rsplit('/').next().map_or(0.0, |last| strsim::jaro_winkler(last, wanted));
    let mut near: Vec<(f64, String)> = all()
        .map(|(database, table)| {
            let names = spellings(database, table);
            let best = names.iter().flatten().map(|name| nearness(name)).fold(0.0, f64::max);
            (best, group(database, table))
        })
        .collect();
    near.sort_by(|one, two| two.0.total_cmp(&one.0));
    let hint = near.iter().find(|(score, _)| *score > 0.8).map_or_else(
        || "`snapshots` and `restore --dry-run` list what there is".to_owned(),
        |(_, name)| format!("did you mean `{name}`?"),
    );
    Err(refused(&format!("`--only {wanted}`"), "the snapshot holds no table of that name", &hint))
}

/// From the whole name to the shortest.
fn spellings(database: &DatabaseRecord, table: &TableRecord) -> [Vec<String>; 3] {
    let (schema, name) = (&table.schema, &table.name);
    [
        vec![group(database, table)],
        vec![format!("{schema}.{name}"), quote_qualified(schema, name)],
        vec![name.clone(), quote_ident(name)],
    ]
}

/// As groups of the record are named: the part's name without its range.
fn group(database: &DatabaseRecord, table: &TableRecord) -> String {
    let of = PartName::component(&database.name);
    let table = PartName::component(&format!("{}.{}", table.schema, table.name));
    format!("{of}/table/{table}")
}

async fn require_absent(connection: &mut Connection, table: &TableRecord) -> Result<(), SourceError> {
    let name = quote_qualified(&table.schema, &table.name);
    let place = connection.options().place();
    let sql = format!("SELECT pg_catalog.to_regclass({}) IS NULL", quote_literal(&name));
    let absent = connection.query_one(&sql).await.and_then(|row| row.flag(0));
    if absent.map_err(|error| trouble::wire(format!("postgres {place}"), error))? {
        return Ok(());
    }
    Err(SourceError::NotEmpty {
        what: format!("table {name} of {place}"),
        why: "it exists".to_owned(),
        hint: "rename or drop it first, or restore into another database".to_owned(),
    })
}

struct OneTable<'a> {
    table: &'a TableRecord,
    store: &'a Arc<dyn PartStore>,
    sequences: &'a PartName,
}

impl OneTable<'_> {
    async fn run(
        &self,
        connection: &mut Connection,
        pre: &str,
        post: &str,
        report: &mut LoadReport,
    ) -> Result<(), SourceError> {
        let name = quote_qualified(&self.table.schema, &self.table.name);
        let selection = Selection::of(self.table, pre);
        self.ensure_schema(connection).await?;
        let made = selection.statements(pre);
        if !made.iter().any(|statement| statement.starts_with("CREATE ")) {
            return Err(refused(&format!("table {name}"), "the snapshot's definitions do not show it", ""));
        }
        for statement in made {
            self.execute(connection, statement, report).await?;
        }
        let mut rows = 0;
        for part in &self.table.parts {
            rows += rows::copy_part(connection, &rows::copy_sql(self.table), self.store, part, |_| {}).await?;
            report.bytes += self.store.fingerprint(part).map_or(0, |fingerprint| fingerprint.bytes);
        }
        if rows != self.table.rows {
            let why = format!("{rows} rows were loaded and the snapshot has {}", self.table.rows);
            return Err(SourceError::Failed { what: format!("table {name}"), why, hint: String::new() });
        }
        report.rows += rows;
        let owned = self.owned_sequences(connection).await?;
        let ours = |line: &str| sequence_of(line).is_some_and(|sequence| owned.contains(&sequence));
        script::run(connection, self.store, self.sequences, ours).await?;
        for statement in selection.statements(post) {
            self.execute(connection, statement, report).await?;
        }
        Ok(())
    }

    async fn ensure_schema(&self, connection: &mut Connection) -> Result<(), SourceError> {
        let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quote_ident(&self.table.schema));
        connection.execute(&sql).await.map(drop).map_err(|error| trouble::wire("schema of the table", error))
    }

    /// What needs something that is not here (a foreign key's other table, a role, a publication) is left out and told.
    async fn execute(
        &self,
        connection: &mut Connection,
        statement: &str,
        report: &mut LoadReport,
    ) -> Result<(), SourceError> {
        let what = || format!("table {}", quote_qualified(&self.table.schema, &self.table.name));
        connection.execute("SAVEPOINT lifeboat").await.map_err(|error| trouble::wire(what(), error))?;
        match connection.execute(statement).await {
            Ok(_) => {}
            Err(WireError::Server(error)) if !statement.starts_with("CREATE TABLE") && is_absence(&error.sqlstate) => {
                let first = statement.lines().map(str::trim).collect::<Vec<_>>().join(" ");
                report.warnings.push(format!("left out: `{first}`: {}", error.message));
                connection
                    .execute("ROLLBACK TO SAVEPOINT lifeboat")
                    .await
                    .map_err(|error| trouble::wire(what(), error))?;
            }
            Err(error) => return Err(trouble::wire(what(), error)),
        }
        Ok(())
    }

    async fn owned_sequences(&self, connection: &mut Connection) -> Result<BTreeSet<(String, String)>, SourceError> {
        let name = quote_literal(&quote_qualified(&self.table.schema, &self.table.name));
        let sql = format!(
            "SELECT n.nspname, s.relname FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
               JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
              WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
                AND d.refclassid = d.classid AND d.refobjid = {name}::pg_catalog.regclass"
        );
        let rows = connection.query(&sql).await.map_err(|error| trouble::wire("sequences of the table", error))?;
        Ok(rows.iter().filter_map(|row| Some((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect())
    }
}

/// undefined object, table, function, schema, column, role: what a partial restore may rightly miss.
fn is_absence(sqlstate: &str) -> bool {
    ["42704", "42P01", "42883", "3F000", "42703", "42P17"].contains(&sqlstate)
}

/// Picks the statements that define one table out of a section's SQL.
struct Selection {
    /// The table's name as SQL may spell it.
    names: Vec<String>,
    /// Its own sequences, as SQL spells them.
    sequences: Vec<String>,
}

impl Selection {
    fn of(table: &TableRecord, pre: &str) -> Self {
        let spell = |name: &str| [name.to_owned(), quote_ident(name)];
        let names: Vec<String> = spell(&table.schema)
            .iter()
            .flat_map(|schema| spell(&table.name).map(|name| format!("{schema}.{name}")))
            .collect();
        let mut sequences = Vec::new();
        for statement in statements(pre) {
            let Some((sequence, column)) =
                statement.strip_prefix("ALTER SEQUENCE ").and_then(|rest| rest.split_once(" OWNED BY "))
            else {
                continue;
            };
            if names.iter().any(|name| column.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))) {
                sequences.push(sequence.to_owned());
            }
        }
        Self { names, sequences }
    }

    fn statements<'s>(&self, section: &'s str) -> Vec<&'s str> {
        statements(section).into_iter().filter(|statement| self.takes(statement)).collect()
    }

    /// `pg_dump` names the object that a statement is about right after one of these words.
    fn takes(&self, statement: &str) -> bool {
        let about = |before: &str, names: &[String]| {
            names.iter().any(|name| {
                statement.find(&format!("{before}{name}")).is_some_and(|at| {
                    let after = statement[at + before.len() + name.len()..].chars().next();
                    after.is_none_or(|c| c.is_whitespace() || c == '.' || c == '(')
                })
            })
        };
        let starts = |words: &[&str]| words.iter().any(|word| statement.starts_with(word));
        let table = |befores: &[&str]| befores.iter().any(|before| about(before, &self.names));
        let sequence = |befores: &[&str]| befores.iter().any(|before| about(before, &self.sequences));
        if starts(&["CREATE TABLE ", "CREATE UNLOGGED TABLE ", "CREATE FOREIGN TABLE "]) {
            let head = &statement[statement.find("TABLE ").unwrap_or_default()..];
            let named = leading_qualified(&head["TABLE ".len()..]);
            return named.is_some_and(|(schema, name)| self.names.contains(&format!("{schema}.{name}")));
        }
        if starts(&["ALTER TABLE "]) {
            // `ATTACH PARTITION` names a child second; the child's own statement is about the parent and not about it.
            return table(&["ALTER TABLE ONLY ", "ALTER TABLE "]) && !statement.contains(" ATTACH PARTITION ");
        }
        if starts(&["CREATE SEQUENCE ", "ALTER SEQUENCE "]) {
            return sequence(&["CREATE SEQUENCE ", "ALTER SEQUENCE "]);
        }
        if starts(&["CREATE INDEX ", "CREATE UNIQUE INDEX "]) {
            return table(&[" ON ONLY ", " ON "]);
        }
        if starts(&["CREATE TRIGGER ", "CREATE CONSTRAINT TRIGGER ", "CREATE POLICY "]) {
            return table(&[" ON "]);
        }
        if starts(&["CREATE RULE "]) {
            return table(&[" TO "]);
        }
        if starts(&["CREATE STATISTICS "]) {
            return table(&[" FROM "]);
        }
        if starts(&["COMMENT ON "]) {
            return table(&["COMMENT ON TABLE ", "COMMENT ON COLUMN ", " ON "]) || sequence(&["COMMENT ON SEQUENCE "]);
        }
        if starts(&["GRANT ", "REVOKE "]) {
            return table(&[" ON TABLE "]) || sequence(&[" ON SEQUENCE "]);
        }
        false
    }
}

/// The sequence that a line of `setval` sets.
fn sequence_of(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("setval(")?;
    let rest = rest.trim_start();
    let (escaped, rest) = match rest.strip_prefix("E'") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix('\'')?),
    };
    let mut literal = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.peek() == Some(&'\'') => literal.push(chars.next()?),
            '\'' => break,
            '\\' if escaped => literal.push(match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                other => other,
            }),
            other => literal.push(other),
        }
    }
    debug_assert!(leading_name(&literal).is_some());
    leading_qualified(&literal)
}

fn refused(what: &str, why: &str, hint: &str) -> SourceError {
    SourceError::Refused { what: what.to_owned(), why: why.to_owned(), hint: hint.to_owned() }
}

fn unchanged(error: SourceError, options: &ConnectOptions) -> SourceError {
    super::with_state(error, &format!("nothing was changed in {}", options.place()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PostgresRecord {
        let table = |schema: &str, name: &str| TableRecord {
            schema: schema.to_owned(),
            name: name.to_owned(),
            ..TableRecord::default()
        };
        let database = |name: &str, tables| DatabaseRecord { tables, ..super::super::bare_database(name) };
        PostgresRecord {
            databases: vec![
                database(
                    "social",
                    vec![table("public", "statuses"), table("audit", "statuses"), table("public", "a/b \"c\"")],
                ),
                database("other", vec![table("public", "users")]),
            ],
            ..PostgresRecord::default()
        }
    }

    #[test]
    fn a_table_is_named_by_its_group_or_by_any_unique_shorter_name() {
        let record = record();
        let chosen = |wanted: &str| choose(&record, wanted).map(|(d, t)| format!("{}:{}.{}", d.name, t.schema, t.name));
        assert_eq!(chosen("social/table/public.statuses").unwrap(), "social:public.statuses");
        assert_eq!(chosen("audit.statuses").unwrap(), "social:audit.statuses");
        assert_eq!(chosen("users").unwrap(), "other:public.users");
        assert_eq!(chosen("a/b \"c\"").unwrap(), "social:public.a/b \"c\"");
        assert_eq!(chosen("social/table/public.a%2Fb \"c\"").unwrap(), "social:public.a/b \"c\"");
        let error = chosen("statuses").unwrap_err();
        assert!(error.to_string().contains("social/table/audit.statuses"), "{error}");
        assert_eq!(chosen("statusses").unwrap_err().hint(), "did you mean `social/table/public.statuses`?");
    }

    #[test]
    fn only_what_is_about_the_table_is_taken() {
        let table = TableRecord { schema: "public".into(), name: "t".into(), ..TableRecord::default() };
        let pre = "ALTER SEQUENCE public.t_id_seq OWNED BY public.t.id;";
        let selection = Selection::of(&table, pre);
        for taken in [
            "CREATE TABLE public.t (\n    id integer\n)",
            "ALTER TABLE public.t OWNER TO x",
            "CREATE SEQUENCE public.t_id_seq\n    START WITH 1",
            "ALTER TABLE ONLY public.t ALTER COLUMN id SET DEFAULT nextval('public.t_id_seq'::regclass)",
            "CREATE UNIQUE INDEX i ON public.t USING btree (id)",
            "CREATE INDEX i ON ONLY public.\"t\" USING btree (id)",
            "GRANT SELECT(id) ON TABLE public.t TO reader",
            "COMMENT ON COLUMN public.t.id IS 'x'",
        ] {
            assert!(selection.takes(taken), "{taken}");
        }
        for left in [
            "CREATE TABLE public.tt (\n    id integer\n)",
            "ALTER TABLE ONLY public.child ADD CONSTRAINT f FOREIGN KEY (t) REFERENCES public.t(id)",
            "ALTER TABLE ONLY public.p ATTACH PARTITION public.t FOR VALUES IN (1)",
            "CREATE INDEX i ON public.t2 USING btree (id)",
            "CREATE VIEW public.v AS SELECT id FROM public.t",
        ] {
            assert!(!selection.takes(left), "{left}");
        }
    }

    #[test]
    fn the_sequence_of_a_setval_is_read_however_it_is_quoted() {
        let named = |schema: &str, name: &str| Some((schema.to_owned(), name.to_owned()));
        let line = "SELECT pg_catalog.setval('\"public\".\"it''s\"'::regclass, 5, true);";
        assert_eq!(sequence_of(line), named("public", "it's"));
        let line = "SELECT pg_catalog.setval( E'\"public\".\"a\\nb\\\\\"', 5, true);";
        assert_eq!(sequence_of(line), named("public", "a\nb\\"));
        assert_eq!(sequence_of("SELECT pg_catalog.setval('public.s', 1, false);"), named("public", "s"));
    }
}
