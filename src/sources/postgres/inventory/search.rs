//! Text search: parsers, templates, dictionaries, configurations.

use super::fragment::{Fragments, comment, function, not_member, owner, qualified, qualified_by_oid};
use super::query::Query;

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    vec![parser(fragments), template(fragments), dictionary(fragments), configuration(fragments)]
}

fn of(kind: &'static str, catalog: &str, prefix: &str, fragments: &Fragments) -> Query {
    let from = format!("{catalog} s JOIN pg_namespace n ON n.oid = s.{prefix}namespace");
    Query::new(kind, qualified("n", &format!("s.{prefix}name")), from)
        .only(fragments.kept_schema("n"))
        .only(not_member(catalog, "s.oid"))
        .with("comment", comment(catalog, "s.oid"))
}

fn parser(fragments: &Fragments) -> Query {
    of("text search parser", "pg_ts_parser", "prs", fragments)
        .with("start", function("s.prsstart::oid"))
        .with("token", function("s.prstoken::oid"))
        .with("end", function("s.prsend::oid"))
        .with("headline", function("s.prsheadline::oid"))
        .with("types", function("s.prslextype::oid"))
}

fn template(fragments: &Fragments) -> Query {
    of("text search template", "pg_ts_template", "tmpl", fragments)
        .with("init", function("s.tmplinit::oid"))
        .with("lexize", function("s.tmpllexize::oid"))
}

fn dictionary(fragments: &Fragments) -> Query {
    of("text search dictionary", "pg_ts_dict", "dict", fragments)
        .with("owner", owner("s.dictowner"))
        .with("template", qualified_by_oid("pg_ts_template", "tmpl", "s.dicttemplate"))
        .with("options", "s.dictinitoption")
}

fn configuration(fragments: &Fragments) -> Query {
    of("text search configuration", "pg_ts_config", "cfg", fragments)
        .with("owner", owner("s.cfgowner"))
        .with("parser", qualified_by_oid("pg_ts_parser", "prs", "s.cfgparser"))
        .with(
            "mappings",
            "(SELECT jsonb_object_agg(m.alias, m.dictionaries) FROM (SELECT k.alias, \
             jsonb_agg(c.mapdict::regdictionary::text ORDER BY c.mapseqno) AS dictionaries \
             FROM pg_ts_config_map c JOIN ts_token_type(s.cfgparser) k ON k.tokid = c.maptokentype \
             WHERE c.mapcfg = s.oid GROUP BY k.alias) m)",
        )
}
