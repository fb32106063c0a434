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

/// Since 16 a membership has options of its own, and several grantors may grant it, each with theirs.
fn membership(fragments: &Fragments) -> Query {
    let options = if fragments.major >= 16 {
        "'by ' || quote_ident(pg_get_userbyid(a.grantor)) || CASE WHEN a.inherit_option THEN ' inherit' ELSE '' END \
         || CASE WHEN a.set_option THEN ' set' ELSE '' END || CASE WHEN a.admin_option THEN ' admin' ELSE '' END"
    } else {
        "CASE WHEN a.admin_option THEN 'admin' ELSE 'member' END"
    };
    let from = format!(
        "(SELECT o.roleid, o.member, jsonb_agg(o.line ORDER BY o.line COLLATE \"C\") AS grants FROM \
         (SELECT a.roleid, a.member, {options} AS line FROM pg_auth_members a) o GROUP BY o.roleid, o.member) m \
         JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member"
    );
    Query::new("role membership", "quote_ident(u.rolname) || ' in ' || quote_ident(r.rolname)", from)
        .only("u.rolname !~ '^pg_'")
        .with("grants", "m.grants")
}

fn parameter() -> Query {
    Query::new("parameter", "p.parname", "pg_parameter_acl p")
        .with("grants", grants("p.paracl", 'p', &BOOTSTRAP_OID.to_string()))
}
