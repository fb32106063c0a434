//! The database itself, and what stands beside it in its server: roles, memberships, settings.

use super::fragment::{Fragments, grants, owner, shared_comment, sorted};
use super::query::Query;

/// Every server has its own bootstrap superuser; a scratch instance bears the same name, its attributes are not compared.
const BOOTSTRAP_OID: u32 = 10;

pub(super) fn queries(fragments: &Fragments) -> Vec<Query> {
    let mut queries = vec![database(fragments), database_role_setting(), role(), membership(fragments)];
    if fragments.major >= 15 {
        queries.push(parameter());
    }
    queries
}

/// One entry with a fixed name: a restore may give the database another.
fn database(fragments: &Fragments) -> Query {
    let locale = match fragments.major {
        ..=14 => "NULL::text",
        15 | 16 => "d.daticulocale",
        _ => "d.datlocale",
    };
    Query::new("database", "'itself'", "pg_database d")
        .only("d.datname = current_database()")
        .with("owner", owner("d.datdba"))
        .with("grants", grants("d.datacl", 'd', "d.datdba"))
        .with("encoding", "pg_encoding_to_char(d.encoding)")
        .with("collate", "d.datcollate")
        .with("ctype", "d.datctype")
        .with_if(fragments.major >= 15, "locale provider", "d.datlocprovider")
        .with("locale", locale)
        .with_if(fragments.major >= 16, "collation rules", "d.daticurules")
        .with("connection limit", "nullif(d.datconnlimit, -1)")
        .with("template", "CASE WHEN d.datistemplate THEN true END")
        .with(
            "settings",
            "(SELECT jsonb_agg(o.value ORDER BY o.value COLLATE \"C\") FROM pg_db_role_setting s, \
             unnest(s.setconfig) AS o(value) WHERE s.setdatabase = d.oid AND s.setrole = 0)",
        )
        .with("comment", shared_comment("pg_database", "d.oid"))
}

fn database_role_setting() -> Query {
    Query::new("role setting", "quote_ident(pg_get_userbyid(s.setrole))", "pg_db_role_setting s")
        .only("s.setrole <> 0")
        .only("s.setdatabase = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())")
        .with("settings", sorted("s.setconfig"))
}

/// Built-in roles and the bootstrap superuser come with the server. Passwords cannot be read by ordinary roles.
fn is_ours(alias: &str) -> String {
    format!("{alias}.rolname !~ '^pg_' AND {alias}.oid <> {BOOTSTRAP_OID}")
}

fn role() -> Query {
    Query::new("role", "quote_ident(r.rolname)", "pg_roles r")
        .only(is_ours("r"))
        .with_all(&[
            ("superuser", "r.rolsuper"),
            ("inherit", "r.rolinherit"),
            ("create role", "r.rolcreaterole"),
            ("create database", "r.rolcreatedb"),
            ("login", "r.rolcanlogin"),
            ("replication", "r.rolreplication"),
            ("bypass row security", "r.rolbypassrls"),
            ("connection limit", "nullif(r.rolconnlimit, -1)"),
            ("valid until", "(r.rolvaliduntil AT TIME ZONE 'UTC')::text"),
        ])
        .with(
            "settings",
            "(SELECT jsonb_agg(o.value ORDER BY o.value COLLATE \"C\") FROM pg_db_role_setting s, \
             unnest(s.setconfig) AS o(value) WHERE s.setrole = r.oid AND s.setdatabase = 0)",
        )
        .with("comment", shared_comment("pg_authid", "r.oid"))
}

/// Since 16 a membership has its own options, and one role may be granted to another by several grantors.
fn membership(fragments: &Fragments) -> Query {
    let from = "pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member";
    let own = fragments.major >= 16;
    let grantor = if own { " || ' by ' || quote_ident(pg_get_userbyid(m.grantor))" } else { "" };
    let name = format!("quote_ident(u.rolname) || ' in ' || quote_ident(r.rolname){grantor}");
    Query::new("role membership", name, from)
        .only("u.rolname !~ '^pg_'")
        .with("admin", "m.admin_option")
        .with_if(own, "inherit", "m.inherit_option")
        .with_if(own, "set", "m.set_option")
}

fn parameter() -> Query {
    Query::new("parameter", "p.parname", "pg_parameter_acl p")
        .with("grants", grants("p.paracl", 'p', &BOOTSTRAP_OID.to_string()))
}
