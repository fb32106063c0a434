-- A database that holds one of everything that round trips have been known to lose. For psql, as a superuser, on majors 13 to 18.
-- What a server lacks (contrib extensions, newer syntax) is left out, never replaced.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = error;
SELECT current_setting('server_version_num')::int >= 140000 AS v14,
       current_setting('server_version_num')::int >= 150000 AS v15,
       current_setting('server_version_num')::int >= 180000 AS v18,
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'btree_gist') AS contrib \gset

-- Roles: attributes, settings, memberships, grants between them, odd names.
CREATE ROLE unusual_owner NOLOGIN;
COMMENT ON ROLE unusual_owner IS 'owns nearly everything';
CREATE ROLE unusual_reader LOGIN CONNECTION LIMIT 7 VALID UNTIL '2037-01-01 00:00:00+00';
CREATE ROLE "Weird ""Role"" ü" NOINHERIT CREATEDB;
CREATE ROLE unusual_auditor NOLOGIN BYPASSRLS;
ALTER ROLE unusual_reader SET statement_timeout = '5min';
ALTER ROLE unusual_reader SET search_path = '$user', app, public;
GRANT unusual_owner TO unusual_reader;
GRANT unusual_auditor TO "Weird ""Role"" ü" WITH ADMIN OPTION;
GRANT pg_monitor TO unusual_auditor;

SELECT format('ALTER DATABASE %I SET work_mem = %L', current_database(), '5MB') \gexec
SELECT format('ALTER DATABASE %I SET lock_timeout = %L', current_database(), '11s') \gexec
SELECT format('ALTER ROLE unusual_reader IN DATABASE %I SET work_mem = %L', current_database(), '6MB') \gexec
SELECT format('GRANT TEMPORARY ON DATABASE %I TO unusual_reader', current_database()) \gexec
SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), 'one of everything') \gexec

CREATE SCHEMA app AUTHORIZATION unusual_owner;
COMMENT ON SCHEMA app IS 'the application''s';
CREATE SCHEMA "Odd ""Schema"" ü";
GRANT USAGE ON SCHEMA app TO unusual_reader WITH GRANT OPTION;
GRANT USAGE ON SCHEMA app TO unusual_auditor;
GRANT USAGE, CREATE ON SCHEMA "Odd ""Schema"" ü" TO PUBLIC;

ALTER DEFAULT PRIVILEGES FOR ROLE unusual_owner IN SCHEMA app GRANT SELECT ON TABLES TO unusual_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE unusual_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Types.
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
ALTER TYPE app.mood ADD VALUE 'so so' BEFORE 'ok';
ALTER TYPE app.mood ADD VALUE 'it''s "great"';
CREATE TYPE app.address AS (street text COLLATE "C", house int, tags text[]);
COMMENT ON COLUMN app.address.house IS 'number, no letter';
ALTER TYPE app.address OWNER TO unusual_owner;
CREATE TYPE app.price_range AS RANGE (SUBTYPE = numeric);
CREATE DOMAIN app.positive AS int DEFAULT 1 NOT NULL CONSTRAINT "above zero" CHECK (VALUE > 0);
CREATE DOMAIN app.email AS text COLLATE "C";
ALTER DOMAIN app.email ADD CONSTRAINT has_at CHECK (VALUE LIKE '%@%') NOT VALID;
COMMENT ON DOMAIN app.positive IS 'a positive number';
COMMENT ON CONSTRAINT "above zero" ON DOMAIN app.positive IS 'zero is not positive';
GRANT USAGE ON TYPE app.mood TO unusual_reader;
REVOKE USAGE ON TYPE app.address FROM PUBLIC;
CREATE COLLATION app.by_bytes (provider = libc, locale = 'C');
COMMENT ON COLLATION app.by_bytes IS 'by bytes';

-- Functions, an aggregate, an operator, a cast, an operator class.
CREATE FUNCTION app.add_one(n int, OUT result int) LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 7
    SET search_path = pg_catalog AS 'SELECT n + 1';
COMMENT ON FUNCTION app.add_one(int) IS 'adds one';
REVOKE EXECUTE ON FUNCTION app.add_one(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.add_one(int) TO unusual_reader;
CREATE PROCEDURE app.nothing(INOUT n int) LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN n := 0; END';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION app.note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE AGGREGATE app.product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1', PARALLEL = safe, COMBINEFUNC = int4mul);
COMMENT ON AGGREGATE app.product(int) IS 'multiplies';
CREATE FUNCTION app.same_house(a app.address, b app.address) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT (a).house = (b).house';
CREATE OPERATOR app.=== (LEFTARG = app.address, RIGHTARG = app.address, FUNCTION = app.same_house, COMMUTATOR = OPERATOR(app.===));
COMMENT ON OPERATOR app.=== (app.address, app.address) IS 'the same house number';
CREATE FUNCTION app.mood_level(m app.mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT length(m::text)';
CREATE CAST (app.mood AS int) WITH FUNCTION app.mood_level(app.mood) AS ASSIGNMENT;
COMMENT ON CAST (app.mood AS int) IS 'how much';
CREATE OPERATOR CLASS app.int_backwards FOR TYPE int USING btree AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int);
CREATE CONVERSION app.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;

-- Text search.
CREATE TEXT SEARCH DICTIONARY app.plain (TEMPLATE = pg_catalog.simple, ACCEPT = 'false');
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION app.words ALTER MAPPING FOR asciiword, word WITH app.plain, pg_catalog.simple;
COMMENT ON TEXT SEARCH CONFIGURATION app.words IS 'plain words';

-- A table with many attributes and things hanging on it.
CREATE TABLE app.people (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 5 CACHE 3) PRIMARY KEY,
    other int GENERATED BY DEFAULT AS IDENTITY,
    name text COLLATE app.by_bytes NOT NULL DEFAULT 'nobody''s',
    name_length int GENERATED ALWAYS AS (length(name)) STORED,
    email app.email,
    score app.positive,
    mood app.mood DEFAULT 'ok',
    home app.address,
    prices app.price_range,
    tags text[] DEFAULT '{}',
    document jsonb,
    raw bytea,
    amount numeric(12, 3),
    ratio float8,
    born date,
    seen timestamptz DEFAULT '2026-01-01 00:00:00+00',
    pause interval,
    bits bit varying(9),
    place point,
    flags "char",
    CONSTRAINT people_score_check CHECK (score < 1000000),
    CONSTRAINT people_amount_check CHECK (amount >= 0) NO INHERIT,
    CONSTRAINT people_name_key UNIQUE (name, born) DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 70, autovacuum_enabled = off, toast.autovacuum_enabled = off);
ALTER TABLE app.people OWNER TO unusual_owner;
ALTER TABLE app.people ALTER COLUMN document SET STORAGE EXTERNAL;
ALTER TABLE app.people ALTER COLUMN name SET STATISTICS 321;
ALTER TABLE app.people ALTER COLUMN name SET (n_distinct = -0.5);
ALTER TABLE app.people ADD CONSTRAINT people_ratio_check CHECK (ratio > 0) NOT VALID;
\if :v14
ALTER TABLE app.people ALTER COLUMN raw SET COMPRESSION pglz;
\endif
COMMENT ON TABLE app.people IS 'people, with a ''quote'' and a
second line';
COMMENT ON COLUMN app.people.name IS 'what they are called';
COMMENT ON CONSTRAINT people_score_check ON app.people IS 'not too much';
CREATE INDEX people_mood ON app.people (mood, lower(name) DESC NULLS LAST) INCLUDE (score) WHERE mood <> 'sad';
COMMENT ON INDEX app.people_mood IS 'by mood';
CREATE INDEX people_document ON app.people USING gin (document jsonb_path_ops);
CREATE INDEX people_expression ON app.people ((score + other));
ALTER INDEX app.people_expression ALTER COLUMN 1 SET STATISTICS 55;
CREATE INDEX people_backwards ON app.people (other app.int_backwards);
CREATE INDEX people_words ON app.people USING gin (to_tsvector('app.words'::regconfig, name));
ALTER TABLE app.people CLUSTER ON people_pkey;
CREATE TRIGGER people_touch BEFORE UPDATE OF name ON app.people FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name)
    EXECUTE FUNCTION app.touch();
COMMENT ON TRIGGER people_touch ON app.people IS 'touches';
CREATE TRIGGER people_off AFTER INSERT ON app.people FOR EACH STATEMENT EXECUTE FUNCTION app.touch();
ALTER TABLE app.people DISABLE TRIGGER people_off;
CREATE CONSTRAINT TRIGGER people_late AFTER INSERT ON app.people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.people ENABLE ALWAYS TRIGGER people_late;
CREATE STATISTICS app.people_stats (dependencies, ndistinct) ON score, other FROM app.people;
COMMENT ON STATISTICS app.people_stats IS 'they go together';
GRANT SELECT, INSERT ON app.people TO unusual_reader;
GRANT SELECT (name), UPDATE (name, mood) ON app.people TO "Weird ""Role"" ü";
SET ROLE unusual_owner;
GRANT SELECT ON app.people TO unusual_auditor WITH GRANT OPTION;
SET ROLE unusual_auditor;
GRANT SELECT ON app.people TO "Weird ""Role"" ü";
RESET ROLE;
ALTER TABLE app.people ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.people FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON app.people FOR SELECT TO unusual_reader, "Weird ""Role"" ü" USING (name = current_user);
CREATE POLICY "no sad ones" ON app.people AS RESTRICTIVE FOR INSERT WITH CHECK (mood <> 'sad');
COMMENT ON POLICY own_rows ON app.people IS 'only their own';
INSERT INTO app.people (name, email, score, mood, home, prices, tags, document, raw, amount, ratio, born, pause, bits, place, flags)
SELECT 'name ' || n || E' \t\\ "q" ''s'' \n ü 名', 'a' || n || '@b', n, (ARRAY['sad', 'so so', 'ok', NULL])[1 + n % 4]::app.mood,
       ROW('street ' || n, n, ARRAY['x', NULL, 'y,z'])::app.address, app.price_range(n, n + 1), ARRAY['t' || n, ''], jsonb_build_object('n', n, 'deep', jsonb_build_array(n, NULL)),
       decode(lpad(to_hex(n), 8, '0'), 'hex'), n / 7.0, 1.0 / n, date '2000-01-01' + n, make_interval(days => n, secs => 0.5),
       n::bit(9), point(n, -n), chr(65 + n % 26)::"char"
FROM generate_series(1, 200) AS n;
INSERT INTO app.people (name, amount, ratio, seen, born) VALUES
    ('specials', 'NaN', 'Infinity', 'infinity', '-infinity'), ('nulls', NULL, NULL, NULL, NULL), ('', 0.000, '1e-300', '0044-03-15 BC', NULL);

-- Every other replica identity, persistence and kind of constraint.
CREATE UNLOGGED TABLE app.cache (key text PRIMARY KEY, value text);
INSERT INTO app.cache VALUES ('k', 'v');
CREATE TABLE app.identified (a int NOT NULL, b int, CONSTRAINT identified_a UNIQUE (a));
ALTER TABLE app.identified REPLICA IDENTITY USING INDEX identified_a;
CREATE TABLE app.full_identity (a int, b text);
ALTER TABLE app.full_identity REPLICA IDENTITY FULL;
INSERT INTO app.full_identity VALUES (1, 'twice'), (1, 'twice'), (2, NULL), (3, '\N'), (4, '\.'), (5, '');
CREATE TABLE app.orders (
    id int PRIMARY KEY,
    person bigint REFERENCES app.people ON DELETE SET NULL DEFERRABLE,
    parent int CONSTRAINT orders_parent REFERENCES app.orders
);
ALTER TABLE app.orders ADD CONSTRAINT orders_unchecked FOREIGN KEY (person) REFERENCES app.people NOT VALID;
INSERT INTO app.orders VALUES (1, 100, NULL), (2, 105, 1), (3, NULL, 2);
\if :v15
CREATE TABLE app.one_null (a int, UNIQUE NULLS NOT DISTINCT (a));
INSERT INTO app.one_null VALUES (NULL), (1);
\endif
\if :v18
CREATE TABLE app.eighteen (a int CONSTRAINT a_given NOT NULL, b int, c int GENERATED ALWAYS AS (a * 2) VIRTUAL,
    CONSTRAINT b_small CHECK (b < 10) NOT ENFORCED);
INSERT INTO app.eighteen VALUES (1, 50);
\endif
CREATE TABLE app.typed OF app.address (house WITH OPTIONS DEFAULT 3);
INSERT INTO app.typed VALUES ('s', 1, NULL);
CREATE TABLE app.unowned_defaults (a int, b int DEFAULT 5 CHECK (b > 1));

-- Nothing and very much.
CREATE TABLE app.no_columns ();
INSERT INTO app.no_columns SELECT FROM generate_series(1, 3);
CREATE TABLE app.no_rows (a int);
SELECT 'CREATE TABLE app.wide (' || string_agg(format('c%s int', n), ', ' ORDER BY n) || ')' FROM generate_series(1, 1600) n \gexec
INSERT INTO app.wide (c1, c800, c1600) VALUES (1, 2, 3), (NULL, NULL, NULL);
CREATE TABLE app.dropped_columns (a int, gone text, b int);
INSERT INTO app.dropped_columns VALUES (1, 'x', 2);
ALTER TABLE app.dropped_columns DROP COLUMN gone, ADD COLUMN added int DEFAULT 9;
CREATE TABLE "Odd ""Schema"" ü"."a table, with 'quotes' and
a line break" ("a column" int PRIMARY KEY, "ü" text DEFAULT 'x', "select" int);
INSERT INTO "Odd ""Schema"" ü"."a table, with 'quotes' and
a line break" VALUES (1, 'ü', 2);
CREATE INDEX "odd / index" ON "Odd ""Schema"" ü"."a table, with 'quotes' and
a line break" ("ü");

-- Inheritance with another column order in the child.
CREATE TABLE app.parent (a int, b text DEFAULT 'b', CONSTRAINT parent_a CHECK (a > 0));
CREATE TABLE app.child (c int, b text, a int);
ALTER TABLE app.child ADD CONSTRAINT parent_a CHECK (a > 0);
ALTER TABLE app.child INHERIT app.parent;
CREATE TABLE app.grandchild (d int) INHERITS (app.child);
ALTER TABLE app.parent ADD COLUMN late int DEFAULT 4;
ALTER TABLE app.child ALTER COLUMN b SET DEFAULT 'child';
INSERT INTO app.parent VALUES (1, 'p');
INSERT INTO app.child (c, b, a) VALUES (2, 'c', 3);
INSERT INTO app.grandchild (a, d) VALUES (5, 6);

-- Partitions: range, list, hash, default, partitions of partitions, a partition with another column order.
CREATE TABLE app.events (id int NOT NULL, at date NOT NULL, kind text, note text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2025 PARTITION OF app.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (kind);
CREATE TABLE app.events_2026_ab PARTITION OF app.events_2026 FOR VALUES IN ('a', 'b') PARTITION BY HASH (id);
CREATE TABLE app.events_2026_ab_0 PARTITION OF app.events_2026_ab FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.events_2026_ab_1 PARTITION OF app.events_2026_ab FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE app.events_2026_other PARTITION OF app.events_2026 DEFAULT;
CREATE TABLE app.events_old (note text, kind text, at date NOT NULL, id int NOT NULL);
ALTER TABLE app.events ATTACH PARTITION app.events_old FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE INDEX events_kind ON app.events (kind);
CREATE INDEX events_unfinished ON ONLY app.events (note);
CREATE TABLE app.numbers (n int PRIMARY KEY);
INSERT INTO app.numbers SELECT generate_series(1, 60);
ALTER TABLE app.events ADD CONSTRAINT events_number FOREIGN KEY (id) REFERENCES app.numbers (n) DEFERRABLE;
CREATE TRIGGER events_touch BEFORE INSERT ON app.events FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.events_2025 DISABLE TRIGGER events_touch;
INSERT INTO app.events SELECT n, date '2024-06-01' + n * 20, (ARRAY['a', 'b', 'c', NULL])[1 + n % 4], 'note ' || n
FROM generate_series(1, 45) AS n;

-- Views, rules, materialised views.
CREATE VIEW app.careful WITH (security_barrier) AS SELECT id, name FROM app.people WHERE mood IS NOT NULL WITH LOCAL CHECK OPTION;
COMMENT ON VIEW app.careful IS 'behind a barrier';
COMMENT ON COLUMN app.careful.name IS 'a view''s column';
GRANT SELECT ON app.careful TO unusual_reader;
CREATE RECURSIVE VIEW app.ancestors (id, depth) AS SELECT id, 0 FROM app.orders WHERE parent IS NULL
    UNION ALL SELECT o.id, a.depth + 1 FROM app.orders o JOIN ancestors a ON a.id = o.parent;
CREATE VIEW app.writable AS SELECT a, b FROM app.unowned_defaults;
ALTER VIEW app.writable ALTER COLUMN a SET DEFAULT 42;
CREATE RULE writable_insert AS ON INSERT TO app.writable DO INSTEAD INSERT INTO app.unowned_defaults VALUES (NEW.a, NEW.b);
COMMENT ON RULE writable_insert ON app.writable IS 'goes on';
CREATE RULE quiet AS ON DELETE TO app.no_rows DO INSTEAD NOTHING;
ALTER TABLE app.no_rows DISABLE RULE quiet;
CREATE MATERIALIZED VIEW app.summary AS SELECT mood, count(*) AS n FROM app.people GROUP BY mood;
CREATE UNIQUE INDEX summary_mood ON app.summary (mood);
COMMENT ON MATERIALIZED VIEW app.summary IS 'refreshed now and then';
CREATE MATERIALIZED VIEW app.summary_empty AS SELECT * FROM app.summary WITH NO DATA;
-- A view that needs a primary key, and two views in a circle with a function.
CREATE VIEW app.grouped AS SELECT id, name, count(*) AS n FROM app.people GROUP BY id;

-- Sequences.
CREATE SEQUENCE app.odd_steps AS smallint START 7 INCREMENT -3 MINVALUE -30000 MAXVALUE 30000 CACHE 4 CYCLE;
SELECT nextval('app.odd_steps'), nextval('app.odd_steps') \g /dev/null
COMMENT ON SEQUENCE app.odd_steps IS 'backwards';
GRANT USAGE ON SEQUENCE app.odd_steps TO unusual_reader;
CREATE SEQUENCE app.never_used MAXVALUE 5;
ALTER TABLE app.no_rows ADD COLUMN serial_like int DEFAULT nextval('app.never_used');
ALTER SEQUENCE app.never_used OWNED BY app.no_rows.serial_like;
CREATE SEQUENCE app.set_back;
SELECT setval('app.set_back', 77, false) \g /dev/null

-- Large objects.
SELECT lo_from_bytea(70001, decode(repeat('00ff5c0a', 3000), 'hex')), lo_create(70002), lo_from_bytea(70003, 'small') \g /dev/null
ALTER LARGE OBJECT 70003 OWNER TO unusual_owner;
GRANT SELECT ON LARGE OBJECT 70001 TO unusual_reader;
COMMENT ON LARGE OBJECT 70001 IS 'three thousand times four bytes';

-- Foreign data.
CREATE FOREIGN DATA WRAPPER nowhere OPTIONS (mode 'none');
CREATE SERVER elsewhere TYPE 'none' VERSION '1.0' FOREIGN DATA WRAPPER nowhere OPTIONS (host 'db.example', note 'it''s');
COMMENT ON SERVER elsewhere IS 'far away';
GRANT USAGE ON FOREIGN SERVER elsewhere TO unusual_reader;
CREATE USER MAPPING FOR unusual_reader SERVER elsewhere OPTIONS (username 'far', password 'swordfish');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere;
CREATE FOREIGN TABLE app.far (id int OPTIONS (column_name 'far id') NOT NULL, v text DEFAULT 'v') SERVER elsewhere OPTIONS (table_name 'far "table"');
COMMENT ON FOREIGN TABLE app.far IS 'not here';

-- Event triggers.
CREATE EVENT TRIGGER watch_ddl ON ddl_command_end WHEN TAG IN ('DROP TABLE', 'CREATE TABLE') EXECUTE FUNCTION app.note_ddl();
COMMENT ON EVENT TRIGGER watch_ddl IS 'watches';
CREATE EVENT TRIGGER watch_drops ON sql_drop EXECUTE FUNCTION app.note_ddl();
ALTER EVENT TRIGGER watch_drops DISABLE;

-- Publications, a subscription that connects nowhere.
CREATE PUBLICATION unusual_all FOR ALL TABLES WITH (publish = 'insert');
CREATE PUBLICATION unusual_some FOR TABLE app.people, app.identified WITH (publish_via_partition_root);
COMMENT ON PUBLICATION unusual_some IS 'some';
\if :v15
CREATE PUBLICATION unusual_rows FOR TABLE app.orders (id, parent) WHERE (id > 1);
CREATE PUBLICATION unusual_schemas FOR TABLES IN SCHEMA "Odd ""Schema"" ü";
\endif
CREATE SUBSCRIPTION unusual_subscription CONNECTION 'host=db.example' PUBLICATION far_away WITH (connect = false);

-- Languages, transforms, access methods.
CREATE FUNCTION app.plcopy_call() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION app.plcopy_inline(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION app.plcopy_check(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE plcopy HANDLER app.plcopy_call INLINE app.plcopy_inline VALIDATOR app.plcopy_check;
COMMENT ON LANGUAGE plcopy IS 'PL/pgSQL by another name';
GRANT USAGE ON LANGUAGE plcopy TO unusual_reader;
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
COMMENT ON ACCESS METHOD heap_too IS 'heap by another name';
CREATE TABLE app.other_method (a int) USING heap_too;
INSERT INTO app.other_method VALUES (1), (2);
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));

-- Grants on what the server brings.
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO unusual_auditor;
REVOKE SELECT ON pg_catalog.pg_cursors FROM PUBLIC;

\if :contrib
CREATE EXTENSION btree_gist SCHEMA "Odd ""Schema"" ü";
CREATE EXTENSION citext;
COMMENT ON EXTENSION citext IS 'case does not matter';
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION file_fdw;
CREATE EXTENSION pg_trgm;
GRANT EXECUTE ON FUNCTION public.show_limit() TO unusual_reader;
REVOKE EXECUTE ON FUNCTION public.show_limit() FROM PUBLIC;
CREATE TABLE app.rooms (room int, during tstzrange, label citext, EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0));
INSERT INTO app.rooms VALUES (1, '[2026-01-01, 2026-01-02)', 'One'), (1, '[2026-01-02, 2026-01-03)', 'one'), (2, 'empty', NULL);
CREATE INDEX rooms_label ON app.rooms USING gin ((label::text) gin_trgm_ops);
CREATE SERVER next_door FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere', dbname 'd');
CREATE FOREIGN TABLE app.next (a int OPTIONS (column_name 'b')) SERVER next_door OPTIONS (schema_name 's');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE TABLE app.readings (at date, value float4) PARTITION BY RANGE (at);
CREATE FOREIGN TABLE app.readings_far PARTITION OF app.readings DEFAULT SERVER files OPTIONS (filename '/dev/null');
CREATE FUNCTION app.needs_trgm() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION app.needs_trgm() DEPENDS ON EXTENSION pg_trgm;
\endif
