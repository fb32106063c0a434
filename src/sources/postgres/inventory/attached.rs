//! What hangs on a table: constraints, indexes, triggers, rules, policies, extended statistics.

use super::fragment::{Fragments, comment, depends_on_extension, not_member, owner, qualified};
use super::query::Query;

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    vec![
        constraint(fragments),
        domain_constraint(fragments),
        index(fragments),
        trigger(fragments),
        rule(fragments),
        policy(fragments),
        statistics(fragments),
    ]
}

/// `schema.table.name` of something on the relation `c` in the schema `n`.
fn on_table(name: &str) -> String {
    format!("{} || '.' || quote_ident({name})", qualified("n", "c.relname"))
}

/// Joins the relation that `oid` names, of a kept schema.
fn from_table(catalog: &str, oid: &str) -> String {
    format!("{catalog} JOIN pg_class c ON c.oid = {oid} JOIN pg_namespace n ON n.oid = c.relnamespace")
}

fn of_kept_table(query: Query, fragments: &Fragments) -> Query {
    query.only(fragments.kept_schema("n")).only(fragments.kept_relation("c.oid"))
}

fn of_constraint(query: Query, fragments: &Fragments) -> Query {
    query
        .with("definition", "pg_get_constraintdef(k.oid)")
        .with("validated", "k.convalidated")
        .with_if(fragments.major >= 18, "enforced", "k.conenforced")
        .with("comment", comment("pg_constraint", "k.oid"))
}

/// Foreign keys of partitions that come from their parent's are left out: the server makes them again, and names them.
fn constraint(fragments: &Fragments) -> Query {
    let query = Query::new("constraint", on_table("k.conname"), from_table("pg_constraint k", "k.conrelid"))
        .only("k.contype <> 't'")
        .only("(k.contype <> 'f' OR k.conparentid = 0)")
        .only(not_member("pg_class", "c.oid"))
        .only(fragments.kept_relation("k.confrelid"));
    of_constraint(of_kept_table(query, fragments), fragments)
        .with("no inherit", "CASE WHEN k.connoinherit AND k.contype IN ('c', 'n') THEN true END")
        .with("local", "CASE WHEN k.contype IN ('c', 'n') THEN k.conislocal END")
        .with("deferrable", "k.condeferrable")
        .with("initially deferred", "k.condeferred")
}

fn domain_constraint(fragments: &Fragments) -> Query {
    let name = format!("{} || '.' || quote_ident(k.conname)", qualified("n", "t.typname"));
    let from = "pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN pg_namespace n ON n.oid = t.typnamespace";
    let query = Query::new("domain constraint", name, from)
        .only(fragments.kept_schema("n"))
        .only(not_member("pg_type", "t.oid"));
    of_constraint(query, fragments)
}

/// Invalid indexes are left out because a dump leaves them out; on a partitioned table invalid means unfinished, and is kept.
fn index(fragments: &Fragments) -> Query {
    let from = "pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid \
                JOIN pg_namespace n ON n.oid = i.relnamespace";
    let query = Query::new("index", qualified("n", "i.relname"), from)
        .only("(x.indisvalid AND x.indisready OR c.relkind = 'p')")
        .only(not_member("pg_class", "c.oid"))
        .only(not_member("pg_class", "i.oid"));
    of_kept_table(query, fragments)
        .with("definition", "pg_get_indexdef(x.indexrelid)")
        .with("valid", "x.indisvalid")
        .with("clustered", "CASE WHEN x.indisclustered THEN true END")
        .with("replica identity", "CASE WHEN x.indisreplident THEN true END")
        .with("tablespace", "(SELECT t.spcname FROM pg_tablespace t WHERE t.oid = i.reltablespace)")
        .with("partition of", "(SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = x.indexrelid)")
        .with(
            "statistics targets",
            "(SELECT jsonb_object_agg(a.attnum::text, a.attstattarget) FROM pg_attribute a \
             WHERE a.attrelid = x.indexrelid AND a.attnum > 0 AND a.attstattarget >= 0)",
        )
        .with("comment", comment("pg_class", "x.indexrelid"))
        .with("depends on extensions", depends_on_extension("pg_class", "x.indexrelid"))
}

fn firing(column: &str) -> String {
    format!(
        "CASE {column} WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas' \
         WHEN 'A' THEN 'always' END"
    )
}

fn trigger(fragments: &Fragments) -> Query {
    let query = Query::new("trigger", on_table("g.tgname"), from_table("pg_trigger g", "g.tgrelid"))
        .only("NOT g.tgisinternal")
        .only(not_member("pg_class", "c.oid"));
    of_kept_table(query, fragments)
        .with("definition", "pg_get_triggerdef(g.oid)")
        .with("state", firing("g.tgenabled"))
        .with("comment", comment("pg_trigger", "g.oid"))
        .with("depends on extensions", depends_on_extension("pg_trigger", "g.oid"))
}

/// `_RETURN` rules are the views themselves.
fn rule(fragments: &Fragments) -> Query {
    let query = Query::new("rule", on_table("r.rulename"), from_table("pg_rewrite r", "r.ev_class"))
        .only("r.rulename <> '_RETURN'")
        .only(not_member("pg_class", "c.oid"))
        .only(not_member("pg_rewrite", "r.oid"));
    of_kept_table(query, fragments)
        .with("definition", "pg_get_ruledef(r.oid)")
        .with("state", firing("r.ev_enabled"))
        .with("comment", comment("pg_rewrite", "r.oid"))
}

fn policy(fragments: &Fragments) -> Query {
    let query = Query::new("policy", on_table("p.polname"), from_table("pg_policy p", "p.polrelid"));
    of_kept_table(query, fragments)
        .with(
            "command",
            "CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' \
             WHEN 'd' THEN 'DELETE' ELSE 'ALL' END",
        )
        .with("permissive", "p.polpermissive")
        .with(
            "roles",
            "(SELECT jsonb_agg(r.name ORDER BY r.name COLLATE \"C\") FROM (SELECT CASE o.oid WHEN 0 THEN 'PUBLIC' \
             ELSE quote_ident(pg_get_userbyid(o.oid)) END AS name FROM unnest(p.polroles) AS o(oid)) r)",
        )
        .with("using", "pg_get_expr(p.polqual, p.polrelid)")
        .with("with check", "pg_get_expr(p.polwithcheck, p.polrelid)")
        .with("comment", comment("pg_policy", "p.oid"))
}

fn statistics(fragments: &Fragments) -> Query {
    let from = "pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace";
    Query::new("statistics", qualified("n", "s.stxname"), from)
        .only(fragments.kept_schema("n"))
        .only(fragments.kept_relation("s.stxrelid"))
        .only(not_member("pg_statistic_ext", "s.oid"))
        .with("definition", "pg_get_statisticsobjdef(s.oid)")
        .with("owner", owner("s.stxowner"))
        .with("target", "nullif(s.stxstattarget, -1)")
        .with("comment", comment("pg_statistic_ext", "s.oid"))
}
