//! Single deliberate changes to the unusual schema, each of which a comparison must find and name.

/// One change, made to a restored copy of `unusual_schema.sql`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutation {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// What a mismatch must name: `<kind> <name>` for the catalog, sequences and large objects, part of the group's name for rows.
    pub(crate) what: &'static str,
    pub(crate) seen_in: SeenIn,
    pub(crate) needs: Needs,
}

/// Which half of a proof sees the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeenIn {
    Inventory,
    Content,
}

/// Where the change can be made at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Any,
    Contrib,
    Major(u32),
}

const fn catalog(name: &'static str, sql: &'static str, what: &'static str) -> Mutation {
    Mutation { name, sql, what, seen_in: SeenIn::Inventory, needs: Needs::Any }
}

const fn content(name: &'static str, sql: &'static str, what: &'static str) -> Mutation {
    Mutation { name, sql, what, seen_in: SeenIn::Content, needs: Needs::Any }
}

impl Mutation {
    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }
}

/// Each runs by itself, within one transaction that may be rolled back.
pub(crate) const MUTATIONS: &[Mutation] = &[
    // Content.
    content("a value", "UPDATE app.full_identity SET b = 'other' WHERE a = 3", "app.full_identity"),
    content("a value to null", "UPDATE app.full_identity SET b = NULL WHERE a = 5", "app.full_identity"),
    content(
        "a duplicate row",
        "INSERT INTO app.full_identity SELECT * FROM app.full_identity WHERE a = 4",
        "app.full_identity",
    ),
    content(
        "one of two equal rows missing",
        "DELETE FROM app.full_identity WHERE ctid = (SELECT min(ctid) FROM app.full_identity WHERE a = 1)",
        "app.full_identity",
    ),
    content("a missing row", "DELETE FROM app.child WHERE a = 3", "app.child"),
    content("a row of a table without columns", "INSERT INTO app.no_columns DEFAULT VALUES", "app.no_columns"),
    content("a row in an empty table", "INSERT INTO app.no_rows (a) VALUES (1)", "app.no_rows"),
    content("a value in the last of 1,600 columns", "UPDATE app.wide SET c1600 = 4 WHERE c1 = 1", "app.wide"),
    content("a number that is none any more", "UPDATE app.people SET amount = 'NaN' WHERE name = ''", "app.people"),
    content("a row moved to another partition", "UPDATE app.events SET id = id + 1 WHERE id = 40", "app.events_2026"),
    content(
        "a row of a quoted table",
        "UPDATE \"Odd \"\"Schema\"\" ü\".\"a table, with 'quotes' and\na line break\" SET \"ü\" = 'u'",
        "a table, with 'quotes'",
    ),
    content("a value of a sequence, set back", "SELECT setval('app.odd_steps', 7)", "sequence app.odd_steps"),
    content("whether a sequence was called", "SELECT setval('app.set_back', 5, false)", "sequence app.set_back"),
    content("a byte of a large object", "SELECT lo_put(70001, 11999, '\\x0b')", "large object 70001"),
    content("a large object's length", "SELECT lo_put(70002, 0, '\\x00')", "large object 70002"),
    // Grants and owners.
    catalog("a grant on a table", "GRANT DELETE ON app.people TO unusual_reader", "table app.people"),
    catalog("a revoked grant", "REVOKE INSERT ON app.people FROM unusual_reader", "table app.people"),
    catalog("a grant of a column", "GRANT SELECT (mood) ON app.people TO unusual_reader", "column app.people.mood"),
    catalog("a grant on a schema", "REVOKE GRANT OPTION FOR USAGE ON SCHEMA app FROM unusual_reader", "schema app"),
    catalog(
        "a grant on a function",
        "GRANT EXECUTE ON FUNCTION app.add_one(int) TO PUBLIC",
        "function app.add_one(integer)",
    ),
    catalog("a grant on a type", "GRANT USAGE ON TYPE app.address TO PUBLIC", "composite type app.address"),
    catalog("a grant on a sequence", "GRANT UPDATE ON SEQUENCE app.odd_steps TO PUBLIC", "sequence app.odd_steps"),
    catalog("a grant on a large object", "GRANT UPDATE ON LARGE OBJECT 70001 TO unusual_reader", "large object 70001"),
    catalog(
        "a grant on a foreign server",
        "REVOKE USAGE ON FOREIGN SERVER elsewhere FROM unusual_reader",
        "foreign server elsewhere",
    ),
    catalog(
        "a grant on a system function",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC",
        "system object function pg_read_file(text)",
    ),
    catalog(
        "a grant on a system view",
        "GRANT SELECT ON pg_catalog.pg_cursors TO PUBLIC",
        "system object table pg_cursors",
    ),
    catalog(
        "a grant on an extension's function",
        "GRANT EXECUTE ON FUNCTION public.set_limit(real) TO unusual_auditor",
        "system object function public.set_limit(real)",
    )
    .needs(Needs::Contrib),
    catalog("the owner of a table", "ALTER TABLE app.orders OWNER TO unusual_reader", "table app.orders"),
    catalog("the owner of a type", "ALTER TYPE app.address OWNER TO unusual_reader", "composite type app.address"),
    catalog("the owner of a large object", "ALTER LARGE OBJECT 70003 OWNER TO unusual_reader", "large object 70003"),
    catalog(
        "default privileges",
        "ALTER DEFAULT PRIVILEGES FOR ROLE unusual_owner IN SCHEMA app REVOKE SELECT ON TABLES FROM unusual_reader",
        "default privileges for unusual_owner in app on tables",
    ),
    // Tables and columns.
    catalog("a column more", "ALTER TABLE app.orders ADD COLUMN more int", "column app.orders.more"),
    catalog("a column's default", "ALTER TABLE app.people ALTER COLUMN name SET DEFAULT 'x'", "column app.people.name"),
    catalog("a column's type", "ALTER TABLE app.identified ALTER COLUMN b TYPE bigint", "column app.identified.b"),
    catalog(
        "a column's collation",
        "ALTER TABLE app.full_identity ALTER COLUMN b TYPE text COLLATE \"C\"",
        "column app.full_identity.b",
    ),
    catalog(
        "a column that may no longer be null",
        "ALTER TABLE app.identified ALTER COLUMN b SET NOT NULL",
        "column app.identified.b",
    ),
    catalog(
        "the kind of an identity",
        "ALTER TABLE app.people ALTER COLUMN other SET GENERATED ALWAYS",
        "column app.people.other",
    ),
    catalog(
        "a generated column turned plain",
        "ALTER TABLE app.people ALTER COLUMN name_length DROP EXPRESSION",
        "column app.people.name_length",
    ),
    catalog(
        "how a column is stored",
        "ALTER TABLE app.people ALTER COLUMN document SET STORAGE MAIN",
        "column app.people.document",
    ),
    catalog(
        "a statistics target",
        "ALTER TABLE app.people ALTER COLUMN name SET STATISTICS 5",
        "column app.people.name",
    ),
    catalog("a column's comment", "COMMENT ON COLUMN app.people.name IS NULL", "column app.people.name"),
    catalog("a table's comment", "COMMENT ON TABLE app.people IS 'someone'", "table app.people"),
    catalog("a storage parameter", "ALTER TABLE app.people SET (fillfactor = 71)", "table app.people"),
    catalog("persistence", "ALTER TABLE app.cache SET LOGGED", "table app.cache"),
    catalog("replica identity", "ALTER TABLE app.full_identity REPLICA IDENTITY DEFAULT", "table app.full_identity"),
    catalog("a missing table", "DROP TABLE app.typed", "table app.typed"),
    catalog("inheritance removed", "ALTER TABLE app.grandchild NO INHERIT app.child", "table app.grandchild"),
    catalog("a partition detached", "ALTER TABLE app.events DETACH PARTITION app.events_2025", "table app.events_2025"),
    catalog(
        "a partition's bound",
        "ALTER TABLE app.events_2026_ab DETACH PARTITION app.events_2026_ab_1",
        "table app.events_2026_ab_1",
    ),
    // What hangs on tables.
    catalog(
        "a dropped constraint",
        "ALTER TABLE app.people DROP CONSTRAINT people_score_check",
        "constraint app.people.people_score_check",
    ),
    catalog(
        "a constraint never validated",
        "UPDATE pg_constraint SET convalidated = false WHERE conname = 'orders_parent'",
        "constraint app.orders.orders_parent",
    ),
    catalog(
        "a constraint validated",
        "ALTER TABLE app.orders VALIDATE CONSTRAINT orders_unchecked",
        "constraint app.orders.orders_unchecked",
    ),
    catalog(
        "when a constraint is checked",
        "ALTER TABLE app.orders ALTER CONSTRAINT orders_parent DEFERRABLE",
        "constraint app.orders.orders_parent",
    ),
    catalog(
        "a partitioned foreign key dropped",
        "ALTER TABLE app.events DROP CONSTRAINT events_number",
        "constraint app.events.events_number",
    ),
    catalog(
        "an invalid index",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.people_mood'::regclass",
        "index app.people_mood",
    ),
    catalog("a dropped index", "DROP INDEX app.people_document", "index app.people_document"),
    catalog("an index more", "CREATE INDEX extra ON app.orders (person)", "index app.extra"),
    catalog("the clustered index", "ALTER TABLE app.people SET WITHOUT CLUSTER", "index app.people_pkey"),
    catalog(
        "a disabled trigger",
        "ALTER TABLE app.people DISABLE TRIGGER people_touch",
        "trigger app.people.people_touch",
    ),
    catalog("an enabled trigger", "ALTER TABLE app.people ENABLE TRIGGER people_off", "trigger app.people.people_off"),
    catalog(
        "a trigger of one partition",
        "ALTER TABLE app.events_old DISABLE TRIGGER events_touch",
        "trigger app.events_old.events_touch",
    ),
    catalog("a dropped trigger", "DROP TRIGGER people_late ON app.people", "trigger app.people.people_late"),
    catalog("a rule", "DROP RULE writable_insert ON app.writable", "rule app.writable.writable_insert"),
    catalog("a rule enabled", "ALTER TABLE app.no_rows ENABLE RULE quiet", "rule app.no_rows.quiet"),
    catalog("a policy's condition", "ALTER POLICY own_rows ON app.people USING (true)", "policy app.people.own_rows"),
    catalog("a policy's roles", "ALTER POLICY own_rows ON app.people TO PUBLIC", "policy app.people.own_rows"),
    catalog("row security off", "ALTER TABLE app.people DISABLE ROW LEVEL SECURITY", "table app.people"),
    catalog("row security not forced", "ALTER TABLE app.people NO FORCE ROW LEVEL SECURITY", "table app.people"),
    catalog("extended statistics", "DROP STATISTICS app.people_stats", "statistics app.people_stats"),
    // Sequences, types, code.
    catalog("a sequence's step", "ALTER SEQUENCE app.odd_steps INCREMENT -2", "sequence app.odd_steps"),
    catalog("a sequence's owner column", "ALTER SEQUENCE app.never_used OWNED BY NONE", "sequence app.never_used"),
    catalog("an enum's label", "ALTER TYPE app.mood RENAME VALUE 'sad' TO 'blue'", "enum type app.mood"),
    catalog("an enum's label more", "ALTER TYPE app.mood ADD VALUE 'fine' AFTER 'ok'", "enum type app.mood"),
    catalog(
        "a domain's check",
        "ALTER DOMAIN app.positive DROP CONSTRAINT \"above zero\"",
        "domain constraint app.positive.\"above zero\"",
    ),
    catalog("a domain's default", "ALTER DOMAIN app.positive SET DEFAULT 2", "domain app.positive"),
    catalog(
        "a composite type's attribute",
        "ALTER TYPE app.address RENAME ATTRIBUTE tags TO labels CASCADE",
        "composite type app.address",
    ),
    catalog("a range type's name", "ALTER TYPE app.price_range RENAME TO prices", "range type app.price_range"),
    catalog(
        "a function's body",
        "CREATE OR REPLACE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "function app.touch()",
    ),
    catalog(
        "a function's setting",
        "ALTER FUNCTION app.add_one(int) RESET search_path",
        "function app.add_one(integer)",
    ),
    catalog(
        "a procedure that runs as its caller",
        "ALTER PROCEDURE app.nothing(int) SECURITY INVOKER",
        "procedure app.nothing(integer)",
    ),
    catalog(
        "an aggregate",
        "CREATE OR REPLACE AGGREGATE app.product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '2')",
        "aggregate app.product(integer)",
    ),
    catalog(
        "a cast's context",
        "UPDATE pg_cast SET castcontext = 'i' WHERE castsource = 'app.mood'::regtype",
        "cast app.mood to integer",
    ),
    catalog(
        "an operator",
        "DROP OPERATOR app.=== (app.address, app.address)",
        "operator app.===(app.address,app.address)",
    ),
    catalog(
        "an operator family's member",
        "ALTER OPERATOR FAMILY app.int_backwards USING btree ADD FUNCTION 2 (int, int) btint4sortsupport(internal)",
        "operator family app.int_backwards using btree",
    ),
    catalog(
        "a view's definition",
        "CREATE OR REPLACE VIEW app.writable AS SELECT a, b FROM app.unowned_defaults WHERE a > 0",
        "view app.writable",
    ),
    catalog("a view's barrier", "ALTER VIEW app.careful RESET (security_barrier)", "view app.careful"),
    catalog(
        "a materialised view not populated",
        "REFRESH MATERIALIZED VIEW app.summary WITH NO DATA",
        "materialized view app.summary",
    ),
    catalog(
        "a text search mapping",
        "ALTER TEXT SEARCH CONFIGURATION app.words DROP MAPPING FOR word",
        "text search configuration app.words",
    ),
    catalog(
        "a text search dictionary",
        "ALTER TEXT SEARCH DICTIONARY app.plain (ACCEPT = 'true')",
        "text search dictionary app.plain",
    ),
    catalog("a conversion", "DROP CONVERSION app.latin", "conversion app.latin"),
    catalog("a collation's comment", "COMMENT ON COLLATION app.by_bytes IS 'x'", "collation app.by_bytes"),
    catalog("a transform", "COMMENT ON TRANSFORM FOR int LANGUAGE sql IS 'x'", "transform integer in sql"),
    catalog("a language", "ALTER LANGUAGE plcopy OWNER TO unusual_reader", "language plcopy"),
    catalog("a table's access method", "COMMENT ON ACCESS METHOD heap_too IS NULL", "access method heap_too"),
    // What leads elsewhere, and the database's own.
    catalog("an event trigger disabled", "ALTER EVENT TRIGGER watch_ddl DISABLE", "event trigger watch_ddl"),
    catalog(
        "an extension's version",
        "UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'citext'",
        "extension citext",
    )
    .needs(Needs::Contrib),
    catalog("an extension dropped", "DROP EXTENSION file_fdw CASCADE", "extension file_fdw").needs(Needs::Contrib),
    catalog(
        "an exclusion constraint",
        "ALTER TABLE app.rooms DROP CONSTRAINT rooms_room_during_excl",
        "constraint app.rooms.rooms_room_during_excl",
    )
    .needs(Needs::Contrib),
    catalog(
        "a foreign table's option",
        "ALTER FOREIGN TABLE app.far OPTIONS (SET table_name 'near')",
        "foreign table app.far",
    ),
    catalog(
        "a foreign column's option",
        "ALTER FOREIGN TABLE app.far ALTER COLUMN id OPTIONS (DROP column_name)",
        "column app.far.id",
    ),
    catalog("a foreign server's option", "ALTER SERVER elsewhere OPTIONS (SET host 'x')", "foreign server elsewhere"),
    catalog(
        "a foreign data wrapper's option",
        "ALTER FOREIGN DATA WRAPPER nowhere OPTIONS (DROP mode)",
        "foreign data wrapper nowhere",
    ),
    catalog(
        "a user mapping's password",
        "ALTER USER MAPPING FOR unusual_reader SERVER elsewhere OPTIONS (SET password 'x')",
        "user mapping elsewhere for unusual_reader",
    ),
    catalog(
        "a publication's tables",
        "ALTER PUBLICATION unusual_some DROP TABLE app.identified",
        "publication unusual_some",
    ),
    catalog(
        "a publication's filter",
        "ALTER PUBLICATION unusual_rows SET TABLE app.orders (id, parent) WHERE (id > 2)",
        "publication unusual_rows",
    )
    .needs(Needs::Major(15)),
    catalog(
        "a subscription's publications",
        "UPDATE pg_subscription SET subpublications = '{other}'",
        "subscription unusual_subscription",
    ),
    catalog(
        "a setting of the database",
        "SELECT set_config('lifeboat.unused', '', true); UPDATE pg_db_role_setting SET setconfig = '{work_mem=9MB,lock_timeout=11s}' WHERE setrole = 0 AND setdatabase <> 0",
        "database itself",
    ),
    catalog(
        "a setting of a role in the database",
        "UPDATE pg_db_role_setting SET setconfig = '{work_mem=9MB}' WHERE setrole <> 0 AND setdatabase <> 0",
        "role setting unusual_reader",
    ),
    catalog("a role's attribute", "ALTER ROLE unusual_auditor NOBYPASSRLS", "role unusual_auditor"),
    catalog("a role's setting", "ALTER ROLE unusual_reader RESET statement_timeout", "role unusual_reader"),
    catalog("a role's password-less login", "ALTER ROLE unusual_reader NOLOGIN", "role unusual_reader"),
    catalog(
        "a membership",
        "REVOKE unusual_owner FROM unusual_reader",
        "role membership unusual_reader in unusual_owner",
    ),
];
