"""What hurts nobody on PostgreSQL; "both" is expand and contract."""

from lint_cases_postgres import VALIDATED

GOOD: list[tuple[str, str]] = [
    ("both", "CREATE TABLE n (id int); WITH ins AS (INSERT INTO n VALUES (1) RETURNING id) SELECT id FROM ins"),
    ("contract", "DROP SERVER s"),
    ("both", ""),
    ("both", "-- nothing\n/* at /* all */ */ ;;"),
    ("both", "ALTER TABLE users ADD COLUMN full_name VARCHAR(255)"),
    ("both", "ALTER TABLE users ADD COLUMN full_name text NULL, ADD COLUMN IF NOT EXISTS tags text[]"),
    ("both", "ALTER TABLE users ADD COLUMN active boolean NOT NULL DEFAULT true"),
    (
        "expand",
        "ALTER TABLE users ADD a text, ADD b text DEFAULT '7', ADD c varchar(9) DEFAULT 'abcd', ADD d jsonb DEFAULT '{}', ADD e int DEFAULT 70000; "
        "ALTER TABLE users ADD CHECK (a::int IS NULL AND b::int > 6 AND c::char(3) IS NOT NULL AND d::text IS NOT NULL AND e::bigint > 6) NOT VALID; "
        "ALTER TABLE users ADD f int GENERATED ALWAYS AS (b::int) VIRTUAL, ADD g int GENERATED ALWAYS AS (a::int) VIRTUAL",
    ),
    ("both", "ALTER TABLE users ADD COLUMN settings jsonb NOT NULL DEFAULT '{}'::jsonb"),
    ("both", "ALTER TABLE users ADD COLUMN created timestamptz NOT NULL DEFAULT now()"),
    ("both", "ALTER TABLE users ADD COLUMN created timestamptz DEFAULT CURRENT_TIMESTAMP, ADD day date DEFAULT (now() AT TIME ZONE 'utc')::date"),
    ("both", "ALTER TABLE users ADD COLUMN tags text[] DEFAULT ARRAY[]::text[], ADD COLUMN grid int[][], ADD COLUMN three int ARRAY[3]"),
    ("both", "SELECT 1 OPERATOR(pg_catalog.+) 1"),
    ("both", "ALTER TABLE users ADD COLUMN full_name text GENERATED ALWAYS AS (first_name) VIRTUAL"),
    ("both", "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD COLUMN b int GENERATED ALWAYS AS (1 / a) VIRTUAL"),
    ("both", "ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (total / nullif(qty, 0) % 7) VIRTUAL"),
    ("contract", "ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (total / qty) VIRTUAL"),
    ("both", "ALTER TABLE users ADD COLUMN a numeric(10, 2) DEFAULT 0.5, ADD COLUMN b double precision DEFAULT -1, ADD c timestamp with time zone"),
    ("both", "ALTER TABLE users ADD COLUMN a text; ALTER TABLE users ALTER a SET DEFAULT 'x'; ALTER TABLE users ALTER a DROP DEFAULT"),
    ("both", "ALTER TABLE users ADD COLUMN a text; ALTER TABLE users DROP COLUMN a"),
    ("both", "ALTER TABLE users ADD COLUMN a text; ALTER TABLE users RENAME a TO b; ALTER TABLE users DROP COLUMN b"),
    ("both", "CREATE TYPE mood AS ENUM ('sad'); ALTER TABLE users ADD COLUMN m mood; ALTER TYPE mood ADD VALUE 'glad'"),
    ("both", "ALTER TABLE users ALTER COLUMN email DROP NOT NULL"),
    ("both", "ALTER TABLE users ALTER email SET STATISTICS 500, ALTER email SET STORAGE EXTERNAL, ALTER email SET COMPRESSION lz4"),
    ("both", "ALTER TABLE users SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01), RESET (fillfactor), SET WITHOUT OIDS"),
    ("both", "ALTER TABLE users ALTER email SET (n_distinct = -1), ALTER email RESET (n_distinct), CLUSTER ON users_email, SET WITHOUT CLUSTER"),
    ("both", "ALTER TABLE events DETACH PARTITION old FINALIZE"),
    ("contract", "ALTER TABLE orders ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID"),
    ("both", "ALTER TABLE orders VALIDATE CONSTRAINT fk"),
    ("both", "ALTER TABLE orders VALIDATE CONSTRAINT fk, VALIDATE CONSTRAINT positive"),
    ("contract", "ALTER TABLE users ADD CONSTRAINT adult CHECK (age > 17) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT adult"),
    ("contract", "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 17) NOT VALID; ALTER TABLE users DROP CONSTRAINT c"),
    ("both", "ALTER TABLE users ADD COLUMN age int; ALTER TABLE users ADD CONSTRAINT adult CHECK (users.age > 17) NOT VALID"),
    ("both", "ALTER TABLE users ADD COLUMN org int; ALTER TABLE users ADD CONSTRAINT fk FOREIGN KEY (org) REFERENCES orgs (id) NOT VALID"),
    ("both", "ALTER TABLE users ADD COLUMN slug text; CREATE UNIQUE INDEX CONCURRENTLY i ON users (lower(slug)) WHERE active"),
    ("both", "CREATE TABLE n (a int PRIMARY KEY); ALTER TABLE users ADD a int, ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES n NOT VALID"),
    ("contract", "ALTER TABLE users ADD FOREIGN KEY (a) REFERENCES orgs NOT VALID, ADD FOREIGN KEY (b) REFERENCES orgs NOT VALID, SET (fillfactor = 70)"),
    ("both", "ALTER TABLE users ADD COLUMN slug text; CREATE UNIQUE INDEX CONCURRENTLY i ON users (slug)"),
    (
        "contract",
        VALIDATED + "ALTER TABLE users ALTER email SET NOT NULL",
    ),
    ("contract", "ALTER TABLE users ADD CONSTRAINT c NOT NULL email NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c"),
    ("both", "ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX users_email"),
    ("contract", "ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX users_email DEFERRABLE INITIALLY DEFERRED"),
    (
        "contract",
        VALIDATED + "CREATE UNIQUE INDEX CONCURRENTLY i ON users (email); ALTER TABLE users ADD CONSTRAINT pk PRIMARY KEY USING INDEX i",
    ),
    (
        "contract",
        VALIDATED + "ALTER TABLE users ALTER email SET NOT NULL; ALTER TABLE users DROP CONSTRAINT c; "
        "CREATE UNIQUE INDEX CONCURRENTLY i ON users (email); ALTER TABLE users ADD PRIMARY KEY USING INDEX i",
    ),
    ("contract", VALIDATED + "ALTER TABLE users DROP age; ALTER TABLE users ALTER email SET NOT NULL, ADD age bigint"),
    ("contract", VALIDATED + VALIDATED.replace(" c", " d") + "ALTER TABLE users ALTER email SET NOT NULL, DROP CONSTRAINT d"),
    ("contract", VALIDATED.replace("email IS NOT NULL", "NOT users.email IS NULL") + "ALTER TABLE users ALTER email SET NOT NULL"),
    (
        "both",
        "ALTER TABLE users ADD b int NOT NULL DEFAULT 1; ALTER TABLE users ALTER b SET DEFAULT nextval('s'); "
        "CREATE UNIQUE INDEX CONCURRENTLY i ON users (b); ALTER TABLE users ADD PRIMARY KEY USING INDEX i",
    ),
    ("both", "ALTER TABLE users ADD b int DEFAULT 1; ALTER TABLE users ADD CONSTRAINT c CHECK (b IS NOT NULL AND b > 0) NOT VALID"),
    ("both", "ALTER TABLE users ADD b text DEFAULT 'a'; ALTER TABLE users ADD CHECK (b IN ('a', 'b') OR b = ANY (ARRAY['c'])) NOT VALID"),
    ("both", "ALTER TABLE users ADD a int, ADD b int DEFAULT 1; ALTER TABLE users ADD CHECK (num_nonnulls(a, b) = 1 AND num_nulls(a) > 0) NOT VALID"),
    ("both", "ALTER TABLE users ADD b text; ALTER TABLE users ADD CHECK (b IN ('a', 'b') AND length(b) < 10) NOT VALID"),
    ("both", "ALTER TABLE users ADD b varchar(3) NOT NULL DEFAULT 'new'; ALTER TABLE users ADD CHECK (b IN ('new', 'old')) NOT VALID"),
    ("both", "ALTER TABLE users ADD b numeric(10, 2) NOT NULL DEFAULT 0.5, ADD c int DEFAULT '--5'; ALTER TABLE users ADD CHECK (b >= 0) NOT VALID"),
    ("both", "ALTER TABLE users ADD b bigint DEFAULT 0xFF_FFFFFFFF; ALTER TABLE users ADD CHECK (b > 0b111 AND b > 0o7777777777777 AND b < 1e999) NOT VALID"),
    (
        "both",
        "ALTER TABLE users ADD b varchar(3), ADD c smallint, ADD d numeric(4, 2), ADD e varchar(3)[]; ALTER TABLE users ALTER b SET DEFAULT 'new  ', "
        "ALTER c SET DEFAULT 32767.4, ALTER d SET DEFAULT 99.99, ALTER e SET DEFAULT '{none}'; ALTER TABLE users ALTER b SET DEFAULT 'none'::varchar(3)",
    ),
    ("both", "ALTER TABLE users ADD b numeric DEFAULT -1e9999999, ADD c numeric DEFAULT 1e99999999999999999999"),  # the last of them no server takes
    ("both", "ALTER TABLE users ADD b int DEFAULT 1; CREATE UNIQUE INDEX CONCURRENTLY i ON users (b) WHERE b <> 1"),
    ("both", "ALTER TABLE users ADD b uuid; ALTER TABLE users ALTER b SET DEFAULT gen_random_uuid(); CREATE UNIQUE INDEX CONCURRENTLY i ON users (b)"),
    ("both", "ALTER TABLE users ADD b date DEFAULT date('2020-01-01'), ADD c int4range DEFAULT int4range(0, 1), ADD d text DEFAULT NULL"),
    ("both", "CREATE DOMAIN d AS text; CREATE DOMAIN e AS d DEFAULT 'x'; ALTER TABLE users ADD COLUMN m e; ALTER DOMAIN d DROP NOT NULL"),
    ("both", "CREATE DOMAIN d AS uuid DEFAULT gen_random_uuid(); ALTER TABLE users ADD COLUMN m d DEFAULT NULL"),
    ("both", "CREATE DOMAIN d AS int; ALTER DOMAIN d ADD CHECK (value > 0); CREATE TABLE people (a d)"),
    ("both", "CREATE DOMAIN d AS int CHECK (f(VALUE)); CREATE TABLE n (x d, y int); CREATE DOMAIN e AS int CHECK (VALUE > 0); SELECT 1::e"),
    ("both", "CREATE DOMAIN d AS d; ALTER DOMAIN d ADD CHECK (value > 0); CREATE DOMAIN text AS pg_catalog.text; ALTER DOMAIN text ADD CHECK (value <> '')"),
    ("both", "CREATE DOMAIN d AS e; CREATE DOMAIN e AS d; ALTER DOMAIN d ADD CHECK (value > 0)"),
    ("both", "VACUUM (FULL 0) users; VACUUM (FULL false, ANALYZE 1) users; REINDEX (CONCURRENTLY 1) TABLE users"),
    ("both", "CREATE ROLE reader; GRANT reader TO app WITH INHERIT FALSE; GRANT admin TO app WITH ADMIN OPTION"),
    ("both", "INSERT INTO settings (k, v) SELECT 1, 'x' WHERE NOT EXISTS (SELECT 1 FROM settings WHERE k = 1)"),
    ("both", "INSERT INTO plans SELECT a FROM (VALUES ('a'), ('b')) n (a) WHERE NOT EXISTS (SELECT 1 FROM plans p WHERE p.a = n.a)"),
    ("both", "INSERT INTO days SELECT d::date FROM generate_series('2026-01-01'::date, '2026-12-31', '1 day') d ORDER BY d"),
    ("both", "CREATE DOMAIN d AS int CHECK (value > 0); ALTER TABLE users ADD COLUMN m d[]"),
    ("both", "CREATE VIEW v AS SELECT 1 AS a; ALTER TABLE v OWNER TO app; ALTER VIEW v OWNER TO app"),
    ("both", "CREATE TABLE n (a int); ALTER TABLE n ADD b int DEFAULT app.number(); INSERT INTO n (a, b) VALUES (1, 2)"),
    (
        "both",
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a ON DELETE CASCADE); DELETE FROM a; "
        "ALTER TABLE b ADD FOREIGN KEY (a) REFERENCES a ON UPDATE CASCADE; UPDATE a SET id = 1; TRUNCATE b",
    ),
    (
        "both",
        "ALTER TABLE users ADD b int DEFAULT 1; ALTER TABLE users ADD CONSTRAINT c CHECK (b > 0) NOT VALID; ALTER TABLE users DROP b; "
        "ALTER TABLE users ADD b int; ALTER TABLE users ALTER b SET DEFAULT -1",
    ),
    ("both", "INSERT INTO plans SELECT unnest(ARRAY['a', 'b']); INSERT INTO days SELECT generate_series(1, 31)"),
    ("both", "CREATE TABLE n (a int); CREATE TABLE p (a int); ALTER TABLE n INHERIT p; INSERT INTO n SELECT generate_series(1, 100000)"),
    ("both", "CREATE VIEW v AS SELECT app.full_name(u) FROM users u; DROP VIEW v; CREATE FOREIGN TABLE f (a int) SERVER s; ALTER FOREIGN TABLE f ADD b int"),
    ("both", "CREATE TABLE people (a int, b int DEFAULT app.number()); INSERT INTO people VALUES (1, 2); INSERT INTO people (b) VALUES (1)"),
    ("both", "CREATE TABLE people (a int); CREATE TRIGGER t BEFORE INSERT ON people EXECUTE FUNCTION f(); CREATE INDEX i ON people (a); DROP TABLE people"),
    (
        "both",
        "CREATE TABLE n (a int); INSERT INTO n VALUES (1); CREATE TRIGGER t BEFORE UPDATE ON n FOR EACH ROW EXECUTE FUNCTION f(); INSERT INTO n VALUES (2); "
        "DROP TABLE n; CREATE TABLE n (a int CHECK (a > 0)); ALTER TABLE n ADD b int DEFAULT app.number(); ALTER TABLE n ALTER b TYPE text USING app.told(b)",
    ),
    ("both", "CREATE TABLE n (a int); INSERT INTO n VALUES (1); ALTER TABLE n ADD b text DEFAULT now(), ALTER a TYPE bigint USING abs(a), ADD CHECK (a > 0)"),
    ("both", "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT x.f, (x).f FROM users x; SELECT x.g FROM users x"),
    ("both", "CREATE INDEX CONCURRENTLY users_email ON users (email)"),
    ("contract", 'CREATE UNIQUE INDEX CONCURRENTLY "Users email" ON app."Users" USING btree (lower(email)) INCLUDE (name) WHERE active'),
    ("both", "CREATE INDEX CONCURRENTLY i ON users (a); DROP INDEX CONCURRENTLY i"),
    ("both", "CREATE INDEX CONCURRENTLY i ON users (lower(a), (b::text), (c / 2), (meta->>'x'), (at::date)) WHERE a <> '' AND kind = 'x'::mood"),
    ("both", "ALTER TABLE users ADD a text; CREATE INDEX CONCURRENTLY i ON users ((a::int))"),
    ("contract", "CREATE INDEX CONCURRENTLY i ON users ((name::int))"),
    ("both", "ALTER TABLE users ADD t text; ALTER TABLE users ALTER t SET DEFAULT current_setting('app.t', true)"),
    *(
        ("both", f"{granted}; ALTER TABLE users ADD t bigint; ALTER TABLE users ALTER t SET DEFAULT nextval('s')")
        for granted in (
            "CREATE SEQUENCE s; GRANT USAGE ON SEQUENCE s TO app",
            "CREATE SEQUENCE s; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app",
            "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO app; CREATE SEQUENCE s",
        )
    ),
    ("both", "REINDEX TABLE CONCURRENTLY users; REINDEX (CONCURRENTLY) INDEX users_email"),
    ("both", "REFRESH MATERIALIZED VIEW CONCURRENTLY v"),
    ("both", "CREATE TABLE people (id serial PRIMARY KEY, email text UNIQUE NOT NULL, org_id bigint REFERENCES orgs (id) ON DELETE CASCADE, CHECK (id > 0))"),
    (
        "both",
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a (id), u int REFERENCES users (id) ON DELETE SET NULL, c int); "
        "ALTER TABLE a ALTER id TYPE bigint; CREATE INDEX i ON b (u); "
        "ALTER TABLE b ALTER a TYPE bigint, ALTER c TYPE bigint, DROP CONSTRAINT b_a_fkey, ADD d text NOT NULL, DROP c; DROP TABLE a",
    ),
    ("contract", "CREATE TABLE people (org_id bigint REFERENCES orgs (id))"),
    (
        "both",
        "CREATE TABLE n (id serial, b int GENERATED ALWAYS AS IDENTITY); SELECT setval('n_id_seq', 100); ALTER SEQUENCE n_b_seq RESTART WITH 5; "
        "SELECT setval(pg_get_serial_sequence('n', 'id'), (SELECT max(id) FROM n)); ALTER TABLE n ADD c bigserial; SELECT setval('n_c_seq'::regclass, 2)",
    ),
    ("both", "CREATE STATISTICS s ON a, b FROM users; DROP STATISTICS s; CREATE TYPE mood AS ENUM ('a'); ALTER TYPE mood RENAME TO feeling; DROP TYPE feeling"),
    ("both", "CREATE TABLE IF NOT EXISTS people (id uuid DEFAULT gen_random_uuid())"),
    ("both", "CREATE TABLE people (LIKE users INCLUDING ALL); CREATE INDEX i ON people (email); DROP INDEX i"),
    ("both", "CREATE TABLE people (a int); ALTER TABLE people ALTER a TYPE bigint, ADD b serial UNIQUE, ALTER a SET NOT NULL; LOCK people; TRUNCATE people"),
    ("both", "CREATE TABLE people (a int); INSERT INTO people VALUES (1); UPDATE people SET a = 2; DELETE FROM people; DROP TABLE people"),
    (
        "both",
        "CREATE TABLE people (a int); ALTER TABLE people RENAME TO folk; CREATE INDEX ON folk (a); "
        "ALTER TABLE folk SET SCHEMA app; CREATE INDEX ON app.folk (a)",
    ),
    ("both", "CREATE TABLE people AS SELECT 1 AS a"),
    ("both", "CREATE TABLE people AS SELECT * FROM users WITH NO DATA"),
    ("both", "CREATE MATERIALIZED VIEW v AS SELECT * FROM users WITH NO DATA; REFRESH MATERIALIZED VIEW v; CREATE UNIQUE INDEX i ON v (id)"),
    (
        "both",
        "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); "
        "CREATE TABLE p2 (a int); ALTER TABLE p ATTACH PARTITION p2 DEFAULT",
    ),
    ("both", "CREATE TABLE rest (a int); ALTER TABLE events ATTACH PARTITION rest DEFAULT"),
    ("both", "CREATE VIEW people AS SELECT * FROM users; CREATE OR REPLACE VIEW people AS SELECT * FROM users; DROP VIEW people"),
    (
        "both",
        "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS $$ SELECT 1; DROP TABLE users $$; "
        "REVOKE ALL ON FUNCTION f(int) FROM PUBLIC; DROP FUNCTION f(int)",
    ),
    ("both", "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.a := 1; RETURN NEW; END $f$"),
    (
        "both",
        "CREATE SCHEMA app; CREATE SEQUENCE app.s; CREATE TYPE t AS (a int); CREATE DOMAIN d AS text; "
        "CREATE TYPE r AS RANGE (SUBTYPE = int); CREATE EXTENSION IF NOT EXISTS citext",
    ),
    ("both", "CREATE TABLE n (id int); CREATE SEQUENCE s; ALTER SEQUENCE s OWNED BY n.id; ALTER SEQUENCE t OWNED BY NONE; DROP TABLE n"),
    ("contract", "CREATE TABLE n (id int); ALTER SEQUENCE s OWNED BY n.id; ALTER TABLE users ALTER CONSTRAINT fk NOT ENFORCED"),
    ("both", "ALTER SEQUENCE s OWNED BY users.id; COMMENT ON TABLE users IS 'DROP TABLE users;'; CREATE STATISTICS s ON a, b FROM users"),
    ("both", "GRANT SELECT ON users TO app; GRANT admin TO app; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app; CREATE ROLE reader"),
    ("both", "INSERT INTO plans (id, name) VALUES (1, 'a;b'), (2, E'it\\'s') ON CONFLICT (id) DO NOTHING"),
    ("both", "CREATE TABLE n (a int PRIMARY KEY, b int); INSERT INTO n VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET b = excluded.b"),
    ("both", "INSERT INTO plans SELECT 1, 'free'"),
    ("both", "SELECT count(*), max(created) FROM users WHERE lower(email) LIKE 'a%'; SHOW server_version; EXPLAIN SELECT 1"),
    ("both", "SET CONSTRAINTS users_team_fk IMMEDIATE; SET CONSTRAINTS ALL DEFERRED"),  # Django writes it behind a foreign key
    ("both", "ANALYZE users; VACUUM users; VACUUM (FULL off, ANALYZE) users; ANALYZE"),
    ("both", "SET client_min_messages = warning"),
    ("both", "ALTER DOMAIN d DROP NOT NULL"),
    ("contract", "ALTER DOMAIN d ADD CONSTRAINT c CHECK (value > 0) NOT VALID; ALTER DOMAIN d DROP NOT NULL"),
    ("both", "CREATE DOMAIN d AS int; ALTER DOMAIN d ADD CONSTRAINT c CHECK (value > 0) NOT VALID; ALTER DOMAIN d VALIDATE CONSTRAINT c"),
    ("both", "WITH a AS (SELECT 1) SELECT * FROM a; CREATE FOREIGN TABLE f (a int) SERVER s; DROP FOREIGN TABLE f"),
    ("contract", "ALTER TABLE users DROP COLUMN first_name, DROP COLUMN IF EXISTS last_name"),
    ("contract", "DROP TABLE users; DROP VIEW IF EXISTS v; DROP FUNCTION f(int); DROP TYPE mood; DROP TRIGGER t ON users; DROP SEQUENCE s"),
    ("contract", "DROP INDEX CONCURRENTLY users_email"),
    ("contract", "ALTER TABLE users DROP CONSTRAINT c, ALTER a DROP DEFAULT, ALTER b SET DEFAULT 1"),
    ("contract", "ALTER TABLE events DETACH PARTITION old CONCURRENTLY"),
    ("contract", "ALTER TYPE mood ADD VALUE 'calm'"),
    (
        "both",
        "CREATE TABLE n (id int); DROP TRIGGER IF EXISTS t ON n; CREATE TRIGGER t BEFORE UPDATE ON n FOR EACH ROW EXECUTE FUNCTION f(); "
        "DROP POLICY IF EXISTS p ON n; CREATE POLICY p ON n USING (true)",
    ),
    ("both", "CREATE FUNCTION f(a int) RETURNS int RETURN 1; ALTER FUNCTION f STRICT; REVOKE ALL ON FUNCTION f FROM public; DROP FUNCTION f"),
    ("both", "CREATE SCHEMA bill; ALTER DEFAULT PRIVILEGES IN SCHEMA bill REVOKE ALL ON FUNCTIONS FROM public"),
    ("both", "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple); ALTER TEXT SEARCH CONFIGURATION c ALTER MAPPING FOR word WITH simple"),
    ("both", "CREATE COLLATION c (locale = 'de'); DROP COLLATION c"),
    ("both", "CREATE TABLE n (id uuid DEFAULT public.uuid_generate_v4(), a int); INSERT INTO n (a) VALUES (1)"),
    ("both", "CREATE ROLE reader; ALTER ROLE reader CONNECTION LIMIT 1; DROP ROLE reader"),
    ("contract", "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION f() STRICT"),
    ("backfill", "UPDATE users SET full_name = first_name || ' ' || last_name"),
    ("backfill", "UPDATE app.users AS u SET a = (SELECT o.a FROM orders o WHERE o.user_id = u.id), b = lower(name) WHERE a IS NULL;"),
]
