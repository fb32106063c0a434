//! What exists in a database besides its rows: one query for each kind of object.

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
    pub sql: String,
}

/// All kinds that a server of this version knows, ascending by the bytes of `kind`.
pub fn queries(_server_version_num: u32, _exclusions: &Exclusions) -> Vec<InventoryQuery> {
    Vec::new()
}
