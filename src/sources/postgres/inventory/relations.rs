//! Schemas, tables, columns, sequences and views.

use super::fragment::{
    Fragments, comment, comment_of_column, depends_on_extension, grants, labels, labels_of_column, not_member, owner,
    qualified, qualified_by_oid, sorted,
};
use super::query::Query;

const RELATION: &str = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    vec![
        schema(fragments),
        table(fragments),
        foreign_table(fragments),
        column(fragments),
        sequence(fragments),
        view(fragments),
        materialized_view(fragments),
    ]
}

fn schema(fragments: &Fragments) -> Query {
    Query::new("schema", "quote_ident(n.nspname)", "pg_namespace n")
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_namespace", "n.oid"))
        .with("owner", owner("n.nspowner"))
        .with("grants", grants("n.nspacl", 'n', "n.nspowner"))
        .with("comment", comment("pg_namespace", "n.oid"))
        .with("security labels", labels("pg_namespace", "n.oid"))
}

/// What all relations have. `object_type` as `acldefault` names it.
fn relation(kind: &'static str, relkinds: &str, object_type: char, fragments: &Fragments) -> Query {
    Query::new(kind, qualified("n", "c.relname"), RELATION)
        .only(format!("c.relkind IN ({relkinds})"))
        .only(fragments.kept_schema("n"))
        .only(fragments.kept_relation("c.oid"))
        .only(not_member("pg_class", "c.oid"))
        .with("owner", owner("c.relowner"))
        .with("grants", grants("c.relacl", object_type, "c.relowner"))
        .with("comment", comment("pg_class", "c.oid"))
        .with("security labels", labels("pg_class", "c.oid"))
        .with("persistence", "CASE c.relpersistence WHEN 'u' THEN 'unlogged' ELSE 'permanent' END")
        .with("storage parameters", sorted("c.reloptions"))
}

/// What relations with storage have.
fn stored(query: Query) -> Query {
    query
        .with("tablespace", "(SELECT t.spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace)")
        .with("access method", "(SELECT a.amname FROM pg_am a WHERE a.oid = c.relam)")
        .with(
            "toast storage parameters",
            format!(
                "(SELECT {} FROM pg_class t WHERE t.oid = nullif(c.reltoastrelid, 0) AND t.reloptions IS NOT NULL)",
                sorted("t.reloptions")
            ),
        )
}

/// Where a table stands among its parents and partitions.
fn related(query: Query, fragments: &Fragments) -> Query {
    query
        .with(
            "inherits from",
            format!(
                "CASE WHEN NOT c.relispartition THEN (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno) \
                 FROM pg_inherits i WHERE i.inhrelid = c.oid AND {}) END",
                fragments.kept_relation("i.inhparent")
            ),
        )
        .with(
            "partition of",
            "CASE WHEN c.relispartition THEN (SELECT i.inhparent::regclass::text FROM pg_inherits i \
             WHERE i.inhrelid = c.oid) END",
        )
        .with("partition bound", "pg_get_expr(c.relpartbound, c.oid)")
        .with(
            // A restored child lists its parents' columns first, so the order says something only without parents.
            "column order",
            "CASE WHEN NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) THEN \
             (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END",
        )
}

fn table(fragments: &Fragments) -> Query {
    related(stored(relation("table", "'r', 'p'", 'r', fragments)), fragments)
        .with("partition key", "CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END")
        .with("of type", "CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END")
        .with("row security", "CASE WHEN c.relrowsecurity THEN 'enabled' ELSE 'disabled' END")
        .with("row security of the owner", "CASE WHEN c.relforcerowsecurity THEN 'forced' ELSE 'not forced' END")
        .with(
            "replica identity",
            "CASE c.relreplident WHEN 'd' THEN 'default' WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' \
             WHEN 'i' THEN 'index' END",
        )
}

fn foreign_table(fragments: &Fragments) -> Query {
    related(relation("foreign table", "'f'", 'r', fragments), fragments)
        .with(
            "server",
            "(SELECT s.srvname FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver \
             WHERE f.ftrelid = c.oid)",
        )
        .with("options", format!("(SELECT {} FROM pg_foreign_table f WHERE f.ftrelid = c.oid)", sorted("f.ftoptions")))
}

fn column(fragments: &Fragments) -> Query {
    let from = "pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum";
    let name = format!("{} || '.' || quote_ident(a.attname)", qualified("n", "c.relname"));
    let default = "pg_get_expr(d.adbin, d.adrelid)";
    Query::new("column", name, from)
        .only("c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')")
        .only("a.attnum > 0 AND NOT a.attisdropped")
        .only(fragments.kept_schema("n"))
        .only(fragments.kept_relation("c.oid"))
        .only(not_member("pg_class", "c.oid"))
        .only(not_member("pg_type", "c.reltype"))
        .with("type", "format_type(a.atttypid, a.atttypmod)")
        .with(
            "collation",
            format!(
                "CASE WHEN a.attcollation <> t.typcollation THEN {} END",
                qualified_by_oid("pg_collation", "coll", "a.attcollation")
            ),
        )
        .with("not null", "CASE WHEN a.attnotnull THEN true END")
        .with("default", format!("CASE WHEN a.attgenerated = '' THEN {default} END"))
        .with(
            "generated",
            format!(
                "CASE a.attgenerated WHEN 's' THEN 'stored: ' || {default} WHEN 'v' THEN 'virtual: ' || {default} END"
            ),
        )
        .with("identity", "CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END")
        .with("storage", "CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END")
        .with_if(fragments.major >= 14, "compression", "nullif(a.attcompression::text, '')")
        .with("statistics target", "nullif(a.attstattarget, -1)")
        .with("grants", grants("a.attacl", 'c', "c.relowner"))
        .with("options", user_options("a.attoptions"))
        .with("foreign options", sorted("a.attfdwoptions"))
        .with("local", "CASE WHEN c.relkind IN ('r', 'p', 'f') AND NOT a.attislocal THEN false END")
        .with("inherited", "CASE WHEN a.attinhcount > 0 THEN true END")
        .with("comment", comment_of_column("pg_class", "c.oid", "a.attnum"))
        .with("security labels", labels_of_column("pg_class", "c.oid", "a.attnum"))
}

/// Column options without the counter that patched servers (15.20 and its sisters) keep among them, and no dump carries.
fn user_options(array: &str) -> String {
    format!(
        "(SELECT jsonb_agg(o.value ORDER BY o.value COLLATE \"C\") FROM unnest({array}) AS o(value) \
         WHERE o.value !~ '^pg_attver=')"
    )
}

/// Its definition, not its value: values move outside transactions and are compared with the content.
fn sequence(fragments: &Fragments) -> Query {
    let parameter = |name: &str| format!("(SELECT s.{name} FROM pg_sequence s WHERE s.seqrelid = c.oid)");
    relation("sequence", "'S'", 's', fragments)
        .with("type", "(SELECT format_type(s.seqtypid, NULL) FROM pg_sequence s WHERE s.seqrelid = c.oid)")
        .with("start", parameter("seqstart"))
        .with("increment", parameter("seqincrement"))
        .with("minimum", parameter("seqmin"))
        .with("maximum", parameter("seqmax"))
        .with("cache", parameter("seqcache"))
        .with("cycle", parameter("seqcycle"))
        .with(
            "owned by",
            "(SELECT o.refobjid::regclass::text || '.' || quote_ident(oa.attname) FROM pg_depend o \
             JOIN pg_attribute oa ON oa.attrelid = o.refobjid AND oa.attnum = o.refobjsubid \
             WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.objsubid = 0 \
             AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i'))",
        )
}

fn view(fragments: &Fragments) -> Query {
    relation("view", "'v'", 'r', fragments).with("definition", "pg_get_viewdef(c.oid)")
}

fn materialized_view(fragments: &Fragments) -> Query {
    stored(relation("materialized view", "'m'", 'r', fragments))
        .with("definition", "pg_get_viewdef(c.oid)")
        .with("populated", "c.relispopulated")
        .with("depends on extensions", depends_on_extension("pg_class", "c.oid"))
}
