//! What leads to other servers: foreign data wrappers, servers, user mappings, publications, subscriptions.

use super::fragment::{Fragments, comment, function, grants, not_member, owner, sorted};
use super::query::Query;

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    vec![wrapper(), server(), user_mapping(), publication(fragments), subscription()]
}

fn wrapper() -> Query {
    Query::new("foreign data wrapper", "quote_ident(w.fdwname)", "pg_foreign_data_wrapper w")
        .only(not_member("pg_foreign_data_wrapper", "w.oid"))
        .with("owner", owner("w.fdwowner"))
        .with("grants", grants("w.fdwacl", 'F', "w.fdwowner"))
        .with("handler", function("w.fdwhandler"))
        .with("validator", function("w.fdwvalidator"))
        .with("options", sorted("w.fdwoptions"))
        .with("comment", comment("pg_foreign_data_wrapper", "w.oid"))
}

fn server() -> Query {
    let from = "pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw";
    Query::new("foreign server", "quote_ident(s.srvname)", from)
        .only(not_member("pg_foreign_server", "s.oid"))
        .with("owner", owner("s.srvowner"))
        .with("grants", grants("s.srvacl", 'S', "s.srvowner"))
        .with("wrapper", "w.fdwname")
        .with("type", "s.srvtype")
        .with("version", "s.srvversion")
        .with("options", sorted("s.srvoptions"))
        .with("comment", comment("pg_foreign_server", "s.oid"))
}

/// Options may be passwords: only their names are shown, their values as digests.
fn user_mapping() -> Query {
    let name =
        "quote_ident(u.srvname) || ' for ' || CASE u.umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(u.usename) END";
    Query::new("user mapping", name, "pg_user_mappings u").with(
        "options",
        "(SELECT jsonb_object_agg(o.option_name, encode(sha256(convert_to(o.option_value, 'UTF8')), 'hex')) \
         FROM pg_options_to_table(u.umoptions) o)",
    )
}

fn publication(fragments: &Fragments) -> Query {
    // Row filters and column lists came with 15.
    let detail = if fragments.major >= 15 {
        "|| coalesce(' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE \"C\") \
         FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) || ')', '') \
         || coalesce(' where ' || pg_get_expr(r.prqual, r.prrelid), '')"
    } else {
        ""
    };
    let tables = format!(
        "(SELECT jsonb_agg(m.line ORDER BY m.line COLLATE \"C\") FROM (SELECT r.prrelid::regclass::text {detail} \
         AS line FROM pg_publication_rel r WHERE r.prpubid = p.oid AND {}) m)",
        fragments.kept_relation("r.prrelid")
    );
    Query::new("publication", "quote_ident(p.pubname)", "pg_publication p")
        .only(not_member("pg_publication", "p.oid"))
        .with("owner", owner("p.pubowner"))
        .with_all(&[
            ("all tables", "p.puballtables"),
            ("insert", "p.pubinsert"),
            ("update", "p.pubupdate"),
            ("delete", "p.pubdelete"),
            ("truncate", "p.pubtruncate"),
            ("via root", "p.pubviaroot"),
        ])
        .with_if(fragments.major >= 18, "generated columns", "p.pubgencols")
        .with("tables", tables)
        .with_if(
            fragments.major >= 15,
            "schemas",
            format!(
                "(SELECT jsonb_agg(n.nspname ORDER BY n.nspname) FROM pg_publication_namespace s \
                 JOIN pg_namespace n ON n.oid = s.pnnspid WHERE s.pnpubid = p.oid AND {})",
                fragments.kept_schema("n")
            ),
        )
        .with("comment", comment("pg_publication", "p.oid"))
}

/// Only a superuser's dump holds subscriptions, and a restore creates them without connecting. The connection string may hold
/// a password and is shown as nothing at all; ordinary roles may read the columns below.
fn subscription() -> Query {
    Query::new("subscription", "quote_ident(s.subname)", "pg_subscription s")
        .only("s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())")
        .only("(SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user)")
        .with("owner", owner("s.subowner"))
        .with("slot", "s.subslotname")
        .with("publications", sorted("s.subpublications"))
}
