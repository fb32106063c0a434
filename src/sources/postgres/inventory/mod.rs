//! What exists in a database besides its rows: one query for each kind of object, for the second half of a proof.
//!
//! Source and scratch answer the same queries; the answers, merged as JSON lines sorted by (kind, name), must be equal. So a
//! query names things as SQL would write them, spells out what a catalog keeps as numbers, sorts what has no order of its own, and leaves out
//! whatever a restore assigns anew: object ids, column numbers, statistics, the values of sequences.
//!
//! Left out on purpose:
//! - members of extensions, which the extension brings (but for grants on them that were changed: kind `system object`), system
//!   and temporary schemas;
//! - what the backup excluded, and the views and foreign keys that need it;
//! - what `pg_dump` does not carry: invalid indexes, the state of internal triggers, owners of extensions, whether a
//!   subscription is enabled, tablespaces themselves, passwords of roles;
//! - the bootstrap superuser's attributes and the built-in `pg_*` roles.
//!
//! Every query runs as an ordinary role. What such a role cannot see (options of other people's user mappings,
//! subscriptions) is not in its dump either, and the queries leave it out in the same way.

mod attached;
mod cluster;
mod foreign;
mod fragment;
mod global;
mod query;
mod relations;
mod routines;
mod search;
mod types;

use fragment::Fragments;
use query::Query;

/// What a backup left out, by exact names as `quote_ident` writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// `public`, `"My Schema"`.
    pub schemas: Vec<String>,
    /// `public.audit`, `"My Schema"."odd table"`.
    pub tables: Vec<String>,
}

/// One kind of object and the query that lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryQuery {
    pub kind: &'static str,
    /// Returns (`name` text, `attributes` text: one JSON object), unique and ascending by the bytes of `name` in UTF-8. Run it with
    /// an empty `search_path`, or names come out unqualified.
    pub sql: String,
}

/// Kinds that belong to the whole server rather than to one database; a backup that may not read or restore roles leaves them out.
pub const SERVER_KINDS: [&str; 3] = ["parameter", "role", "role membership"];

/// All kinds that a server of this version knows, ascending by the bytes of `kind`.
///
/// `server_version_num` as the server shows it: 150018.
pub fn queries(server_version_num: u32, exclusions: &Exclusions) -> Vec<InventoryQuery> {
    let fragments = Fragments::new(server_version_num / 10_000, exclusions);
    let rooms: [fn(&Fragments) -> Vec<Query>; 8] = [
        attached::queries,
        cluster::queries,
        foreign::queries,
        global::queries,
        relations::queries,
        routines::queries,
        search::queries,
        types::queries,
    ];
    let mut queries: Vec<InventoryQuery> = rooms
        .iter()
        .flat_map(|room| room(&fragments))
        .map(|query| InventoryQuery { kind: query.kind, sql: query.sql(&fragments) })
        .collect();
    queries.sort_by_key(|query| query.kind);
    queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_asked_once_and_in_order() {
        for version in [130_000, 140_000, 150_018, 160_000, 170_000, 180_001] {
            let queries = queries(version, &Exclusions::default());
            assert!(queries.windows(2).all(|pair| pair[0].kind < pair[1].kind), "{version}");
            assert!(SERVER_KINDS.iter().filter(|kind| queries.iter().any(|q| q.kind == **kind)).count() >= 2);
        }
    }

    #[test]
    fn an_excluded_name_reaches_the_query_as_a_literal_whatever_quotes_it_holds() {
        let exclusions = Exclusions { schemas: vec![r#""it's""#.to_owned()], tables: vec![] };
        let schema = queries(150_000, &exclusions).into_iter().find(|query| query.kind == "schema").unwrap();
        assert!(schema.sql.contains(r#"'"it''s"'"#), "{}", schema.sql);
    }
}
