//! Types, collations and conversions.

use super::fragment::{Fragments, comment, function, grants, labels, not_member, owner, qualified, qualified_by_oid};
use super::query::Query;

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    vec![
        domain(fragments),
        enum_type(fragments),
        composite_type(fragments),
        range_type(fragments),
        base_type(fragments),
        collation(fragments),
        conversion(fragments),
    ]
}

fn of_type(kind: &'static str, variety: char, fragments: &Fragments) -> Query {
    Query::new(kind, qualified("n", "t.typname"), "pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace")
        .only(format!("t.typtype = '{variety}'"))
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_type", "t.oid"))
        .with("owner", owner("t.typowner"))
        .with("grants", grants("t.typacl", 'T', "t.typowner"))
        .with("comment", comment("pg_type", "t.oid"))
        .with("security labels", labels("pg_type", "t.oid"))
}

fn domain(fragments: &Fragments) -> Query {
    of_type("domain", 'd', fragments)
        .with("base type", "format_type(t.typbasetype, t.typtypmod)")
        .with("not null", "t.typnotnull")
        .with("default", "coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault)")
        .with(
            "collation",
            format!(
                "CASE WHEN t.typcollation <> (SELECT b.typcollation FROM pg_type b WHERE b.oid = t.typbasetype) \
                 THEN {} END",
                qualified_by_oid("pg_collation", "coll", "t.typcollation")
            ),
        )
}

fn enum_type(fragments: &Fragments) -> Query {
    of_type("enum type", 'e', fragments).with(
        "labels",
        "(SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)",
    )
}

/// Its attributes are columns too; here is their order.
fn composite_type(fragments: &Fragments) -> Query {
    of_type("composite type", 'c', fragments)
        .only("(SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) = 'c'")
        .with(
            "attributes",
            "(SELECT jsonb_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) \
             ORDER BY a.attnum) FROM pg_attribute a \
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)",
        )
}

fn range_type(fragments: &Fragments) -> Query {
    let of = |column: &str| format!("(SELECT {column} FROM pg_range r WHERE r.rngtypid = t.oid)");
    let class = qualified_by_oid("pg_opclass", "opc", "r.rngsubopc");
    let collation = qualified_by_oid("pg_collation", "coll", "r.rngcollation");
    of_type("range type", 'r', fragments)
        .with("subtype", of("format_type(r.rngsubtype, NULL)"))
        .with("operator class", of(&class))
        .with("collation", of(&collation))
        .with("canonical function", of(&function("r.rngcanonical::oid")))
        .with("difference function", of(&function("r.rngsubdiff::oid")))
        .with_if(fragments.major >= 14, "multirange type", of("format_type(r.rngmultitypid, NULL)"))
}

/// Array types come with their elements.
fn base_type(fragments: &Fragments) -> Query {
    of_type("base type", 'b', fragments)
        .only("NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)")
        .with_all(&[
            ("length", "t.typlen"),
            ("by value", "t.typbyval"),
            ("alignment", "t.typalign"),
            ("storage", "t.typstorage"),
            ("delimiter", "t.typdelim"),
            ("category", "t.typcategory"),
            ("preferred", "t.typispreferred"),
            ("collatable", "t.typcollation <> 0"),
            ("default", "t.typdefault"),
            ("element", "CASE WHEN t.typelem <> 0 THEN format_type(t.typelem, NULL) END"),
        ])
        .with("input", function("t.typinput::oid"))
        .with("output", function("t.typoutput::oid"))
        .with("receive", function("t.typreceive::oid"))
        .with("send", function("t.typsend::oid"))
        .with("modifier input", function("t.typmodin::oid"))
        .with("modifier output", function("t.typmodout::oid"))
        .with("analyze", function("t.typanalyze::oid"))
        .with_if(fragments.major >= 14, "subscript", function("t.typsubscript::oid"))
}

/// Without its version, which is the machine's.
fn collation(fragments: &Fragments) -> Query {
    let locale = match fragments.major {
        ..=14 => "NULL::text",
        15 | 16 => "c.colliculocale",
        _ => "c.colllocale",
    };
    // One name may stand for several encodings; only those that fit this database can be used in it.
    Query::new(
        "collation",
        qualified("n", "c.collname"),
        "pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace",
    )
    .only("c.collencoding IN (-1, (SELECT d.encoding FROM pg_database d WHERE d.datname = current_database()))")
    .only(fragments.kept_schema("n"))
    .only(not_member("pg_collation", "c.oid"))
    .with("owner", owner("c.collowner"))
    .with(
        "provider",
        "CASE c.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'default' END",
    )
    .with("collate", "c.collcollate")
    .with("ctype", "c.collctype")
    .with("locale", locale)
    .with_if(fragments.major >= 16, "rules", "c.collicurules")
    .with("deterministic", "c.collisdeterministic")
    .with("comment", comment("pg_collation", "c.oid"))
}

fn conversion(fragments: &Fragments) -> Query {
    let from = "pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace";
    Query::new("conversion", qualified("n", "c.conname"), from)
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_conversion", "c.oid"))
        .with("owner", owner("c.conowner"))
        .with("from", "pg_encoding_to_char(c.conforencoding)")
        .with("to", "pg_encoding_to_char(c.contoencoding)")
        .with("function", function("c.conproc::oid"))
        .with("default", "c.condefault")
        .with("comment", comment("pg_conversion", "c.oid"))
}
