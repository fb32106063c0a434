//! Code: functions, procedures, aggregates, operators and what binds them to types and indexes.

use super::fragment::{
    Fragments, comment, depends_on_extension, function, grants, labels, not_member, owner, qualified, qualified_by_oid,
};
use super::query::Query;

/// Objects below this are made by `initdb` and come with every server.
const FIRST_USER_OID: u32 = 16_384;

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    vec![
        routine("function", 'f', fragments),
        routine("procedure", 'p', fragments),
        routine("window function", 'w', fragments),
        aggregate(fragments),
        language(),
        transform(fragments),
        cast(fragments),
        operator(fragments),
        operator_class(fragments),
        operator_family(fragments),
        access_method(),
    ]
}

fn of_routine(kind: &'static str, prokind: char, fragments: &Fragments) -> Query {
    Query::new(kind, "p.oid::regprocedure::text", "pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace")
        .only(format!("p.prokind = '{prokind}'"))
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_proc", "p.oid"))
        .with("owner", owner("p.proowner"))
        .with("grants", grants("p.proacl", 'f', "p.proowner"))
        .with("comment", comment("pg_proc", "p.oid"))
        .with("security labels", labels("pg_proc", "p.oid"))
}

/// Its definition holds language, body, volatility, cost and settings.
fn routine(kind: &'static str, prokind: char, fragments: &Fragments) -> Query {
    of_routine(kind, prokind, fragments)
        .with("definition", "pg_get_functiondef(p.oid)")
        .with("depends on extensions", depends_on_extension("pg_proc", "p.oid"))
}

fn aggregate(fragments: &Fragments) -> Query {
    let of = |column: &str| format!("(SELECT {column} FROM pg_aggregate a WHERE a.aggfnoid = p.oid)");
    [
        ("state function", "a.aggtransfn"),
        ("final function", "a.aggfinalfn"),
        ("combine function", "a.aggcombinefn"),
        ("serialization function", "a.aggserialfn"),
        ("deserialization function", "a.aggdeserialfn"),
        ("moving state function", "a.aggmtransfn"),
        ("moving inverse function", "a.aggminvtransfn"),
        ("moving final function", "a.aggmfinalfn"),
    ]
    .into_iter()
    .fold(of_routine("aggregate", 'a', fragments), |query, (name, oid)| {
        query.with(name, of(&format!("nullif({oid}::oid, 0)::regprocedure::text")))
    })
    .with("arguments", "pg_get_function_arguments(p.oid)")
    .with("result", "pg_get_function_result(p.oid)")
    .with("parallel", "p.proparallel")
    .with("aggregate kind", of("a.aggkind"))
    .with("state type", of("format_type(a.aggtranstype, NULL)"))
    .with("state size", of("a.aggtransspace"))
    .with("initial value", of("a.agginitval"))
    .with("final function extra", of("a.aggfinalextra"))
    .with("final function modifies", of("a.aggfinalmodify"))
    .with("moving state type", of("CASE WHEN a.aggmtranstype <> 0 THEN format_type(a.aggmtranstype, NULL) END"))
    .with("moving state size", of("a.aggmtransspace"))
    .with("moving initial value", of("a.aggminitval"))
    .with("moving final function extra", of("a.aggmfinalextra"))
    .with("moving final function modifies", of("a.aggmfinalmodify"))
    .with("sort operator", of("nullif(a.aggsortop, 0)::regoperator::text"))
}

fn language() -> Query {
    Query::new("language", "quote_ident(l.lanname)", "pg_language l")
        .only(not_member("pg_language", "l.oid"))
        .with("owner", owner("l.lanowner"))
        .with("grants", grants("l.lanacl", 'l', "l.lanowner"))
        .with("trusted", "l.lanpltrusted")
        .with("handler", function("l.lanplcallfoid"))
        .with("inline handler", function("l.laninline"))
        .with("validator", function("l.lanvalidator"))
        .with("comment", comment("pg_language", "l.oid"))
}

fn transform(fragments: &Fragments) -> Query {
    let from = "pg_transform r JOIN pg_language l ON l.oid = r.trflang";
    Query::new("transform", "format_type(r.trftype, NULL) || ' in ' || quote_ident(l.lanname)", from)
        .only(not_member("pg_transform", "r.oid"))
        .only(fragments.kept_type("r.trftype"))
        .with("from sql", function("r.trffromsql::oid"))
        .with("to sql", function("r.trftosql::oid"))
        .with("comment", comment("pg_transform", "r.oid"))
}

fn cast(fragments: &Fragments) -> Query {
    let name = "format_type(k.castsource, NULL) || ' to ' || format_type(k.casttarget, NULL)";
    Query::new("cast", name, "pg_cast k")
        .only(format!("k.oid >= {FIRST_USER_OID}"))
        .only(not_member("pg_cast", "k.oid"))
        .only(fragments.kept_type("k.castsource"))
        .only(fragments.kept_type("k.casttarget"))
        .with("function", function("k.castfunc"))
        .with("context", "CASE k.castcontext WHEN 'e' THEN 'explicit' WHEN 'a' THEN 'assignment' ELSE 'implicit' END")
        .with("method", "CASE k.castmethod WHEN 'f' THEN 'function' WHEN 'i' THEN 'inout' ELSE 'binary' END")
        .with("comment", comment("pg_cast", "k.oid"))
}

/// Shells, operators named only as another's commutator, are left out as in a dump.
fn operator(fragments: &Fragments) -> Query {
    let from = "pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace";
    Query::new("operator", "o.oid::regoperator::text", from)
        .only("o.oprcode::oid <> 0")
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_operator", "o.oid"))
        .with("owner", owner("o.oprowner"))
        .with("function", function("o.oprcode::oid"))
        .with("result", "format_type(o.oprresult, NULL)")
        .with("commutator", "nullif(o.oprcom, 0)::regoperator::text")
        .with("negator", "nullif(o.oprnegate, 0)::regoperator::text")
        .with("restriction estimator", function("o.oprrest::oid"))
        .with("join estimator", function("o.oprjoin::oid"))
        .with("can merge", "o.oprcanmerge")
        .with("can hash", "o.oprcanhash")
        .with("comment", comment("pg_operator", "o.oid"))
}

fn operator_class(fragments: &Fragments) -> Query {
    let from = "pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace JOIN pg_am a ON a.oid = c.opcmethod";
    Query::new("operator class", format!("{} || ' using ' || a.amname", qualified("n", "c.opcname")), from)
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_opclass", "c.oid"))
        .with("owner", owner("c.opcowner"))
        .with("input type", "format_type(c.opcintype, NULL)")
        .with("storage type", "CASE WHEN c.opckeytype <> 0 THEN format_type(c.opckeytype, NULL) END")
        .with("default", "c.opcdefault")
        .with("family", qualified_by_oid("pg_opfamily", "opf", "c.opcfamily"))
        .with("comment", comment("pg_opclass", "c.oid"))
}

fn operator_family(fragments: &Fragments) -> Query {
    let from = "pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace JOIN pg_am a ON a.oid = f.opfmethod";
    Query::new("operator family", format!("{} || ' using ' || a.amname", qualified("n", "f.opfname")), from)
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_opfamily", "f.oid"))
        .with("owner", owner("f.opfowner"))
        .with(
            "operators",
            format!(
                "(SELECT jsonb_agg(m.line ORDER BY m.line COLLATE \"C\") FROM (SELECT o.amopstrategy || ' ' \
                 || o.amopopr::regoperator::text || ' for ' || o.amoppurpose::text \
                 || coalesce(' by ' || {}, '') AS line FROM pg_amop o WHERE o.amopfamily = f.oid) m)",
                qualified_by_oid("pg_opfamily", "opf", "o.amopsortfamily")
            ),
        )
        .with(
            "functions",
            "(SELECT jsonb_agg(m.line ORDER BY m.line COLLATE \"C\") FROM (SELECT p.amprocnum || ' ' \
             || p.amproc::oid::regprocedure::text || ' on ' || format_type(p.amproclefttype, NULL) || ', ' \
             || format_type(p.amprocrighttype, NULL) AS line FROM pg_amproc p WHERE p.amprocfamily = f.oid) m)",
        )
        .with("comment", comment("pg_opfamily", "f.oid"))
}

fn access_method() -> Query {
    Query::new("access method", "quote_ident(a.amname)", "pg_am a")
        .only(format!("a.oid >= {FIRST_USER_OID}"))
        .only(not_member("pg_am", "a.oid"))
        .with("type", "CASE a.amtype WHEN 'i' THEN 'index' ELSE 'table' END")
        .with("handler", function("a.amhandler::oid"))
        .with("comment", comment("pg_am", "a.oid"))
}
