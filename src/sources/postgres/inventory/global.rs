//! What belongs to a database but to no schema of it: extensions, event triggers, default privileges, large objects.

use super::fragment::{
    Fragments, comment, function, grant_lines, grants, grants_beyond, labels, member, not_member, owner, sorted,
};
use super::query::Query;

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    vec![extension(), event_trigger(), default_privileges(fragments), large_object(), system_object()]
}

fn extension() -> Query {
    Query::new("extension", "quote_ident(x.extname)", "pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace")
        .with("version", "x.extversion")
        .with("schema", "n.nspname")
        .with(
            "configuration tables",
            "(SELECT jsonb_object_agg(c.oid::regclass::text, coalesce(c.condition, '')) \
             FROM unnest(x.extconfig, x.extcondition) AS c(oid, condition))",
        )
        .with("comment", comment("pg_extension", "x.oid"))
}

fn event_trigger() -> Query {
    Query::new("event trigger", "quote_ident(e.evtname)", "pg_event_trigger e")
        .only(not_member("pg_event_trigger", "e.oid"))
        .with("owner", owner("e.evtowner"))
        .with("event", "e.evtevent")
        .with("function", function("e.evtfoid"))
        .with(
            "state",
            "CASE e.evtenabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas' \
             WHEN 'A' THEN 'always' END",
        )
        .with("tags", sorted("e.evttags"))
        .with("comment", comment("pg_event_trigger", "e.oid"))
}

fn default_privileges(fragments: &Fragments) -> Query {
    let name = "'for ' || quote_ident(pg_get_userbyid(a.defaclrole)) || coalesce(' in ' || quote_ident(n.nspname), '') \
                || ' on ' || CASE a.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' \
                WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' WHEN 'L' THEN 'large objects' END";
    let from = "pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace";
    Query::new("default privileges", name, from)
        .only(format!("(n.oid IS NULL OR {})", fragments.kept_schema("n")))
        .with("grants", grant_lines("a.defaclacl", "a.defaclrole"))
}

/// Who may use it; what is in it is compared with the content. Its number is its name and is kept by a restore.
fn large_object() -> Query {
    Query::new("large object", "l.oid::text", "pg_largeobject_metadata l")
        .with("owner", owner("l.lomowner"))
        .with("grants", grants("l.lomacl", 'L', "l.lomowner"))
        .with("comment", comment("pg_largeobject", "l.oid"))
        .with("security labels", labels("pg_largeobject", "l.oid"))
}

/// System objects and members of extensions whose grants were changed since they were made.
fn system_object() -> Query {
    let initial = |catalog: &str, oid: &str, kind: &str, owner: &str| {
        format!(
            "coalesce((SELECT i.initprivs FROM pg_init_privs i WHERE i.classoid = '{catalog}'::regclass \
             AND i.objoid = {oid} AND i.objsubid = 0), acldefault({kind}, {owner}))"
        )
    };
    let relations = format!(
        "SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || c.oid::regclass::text AS name, {} AS grants \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relacl IS NOT NULL AND n.nspname !~ '^pg_(toast|temp)' AND {}",
        grants_beyond(
            "c.relacl",
            &initial("pg_class", "c.oid", "(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\"", "c.relowner"),
            "c.relowner"
        ),
        brought("pg_class", "c.oid"),
    );
    let routines = format!(
        "SELECT 'function ' || p.oid::regprocedure::text, {} FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.proacl IS NOT NULL AND {}",
        grants_beyond("p.proacl", &initial("pg_proc", "p.oid", "'f'", "p.proowner"), "p.proowner"),
        brought("pg_proc", "p.oid"),
    );
    let types = format!(
        "SELECT 'type ' || format_type(t.oid, NULL), {} FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
         WHERE t.typacl IS NOT NULL AND {}",
        grants_beyond("t.typacl", &initial("pg_type", "t.oid", "'T'", "t.typowner"), "t.typowner"),
        brought("pg_type", "t.oid"),
    );
    Query::new("system object", "s.name", format!("({relations} UNION ALL {routines} UNION ALL {types}) AS s"))
        .only("s.grants IS NOT NULL")
        .with("grants", "s.grants")
}

/// Whether the object came with the server or an extension.
fn brought(catalog: &str, oid: &str) -> String {
    format!("(n.nspname IN ('pg_catalog', 'information_schema') OR {})", member(catalog, oid))
}
