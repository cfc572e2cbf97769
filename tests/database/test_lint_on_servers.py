"""What the linter says of PostgreSQL, asked of PostgreSQL: whether a statement writes the table again or reads all of it, and that the safe ways do neither."""

import psycopg
from postgast import parse

from bleen.database.rules import lint
from bleen.database.rules.postgres_look import STEADY
from bleen.database.rules.postgres_values import value
from bleen.database.statements import split
from databases import Base

SCHEMA = """
CREATE DOMAIN age AS int CHECK (value > 0);
CREATE DOMAIN nick AS text;
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE SEQUENCE s;
CREATE TABLE orgs (id bigint PRIMARY KEY);
INSERT INTO orgs VALUES (1);
CREATE TABLE users (id int NOT NULL, org_id bigint DEFAULT 1, name varchar(50) NOT NULL, email text);
INSERT INTO users SELECT n, 1, 'n' || n, 'e' || n FROM generate_series(1, 500) n;
CREATE UNIQUE INDEX users_id ON users (id);
CREATE TABLE people (LIKE users);
"""

STATEMENTS = [
    "ALTER TABLE users ADD COLUMN a text",
    "ALTER TABLE users ADD COLUMN a int NOT NULL DEFAULT 1",
    "ALTER TABLE users ADD COLUMN a timestamptz NOT NULL DEFAULT now()",
    "ALTER TABLE users ADD COLUMN a timestamptz DEFAULT CURRENT_TIMESTAMP, ADD b date DEFAULT (now() AT TIME ZONE 'utc')::date",
    "ALTER TABLE users ADD COLUMN a jsonb DEFAULT '{}', ADD COLUMN b text[] DEFAULT ARRAY[]::text[]",
    "ALTER TABLE users ADD COLUMN a text DEFAULT lower(md5('A'))",
    "ALTER TABLE users ADD COLUMN a uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE users ADD COLUMN a float DEFAULT random()",
    "ALTER TABLE users ADD COLUMN a timestamptz DEFAULT clock_timestamp()",
    "ALTER TABLE users ADD COLUMN a bigint DEFAULT nextval('s')",
    "ALTER TABLE users ADD COLUMN a serial",
    "ALTER TABLE users ADD COLUMN a bigint GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE users ADD COLUMN a text GENERATED ALWAYS AS (upper(name)) STORED",
    "ALTER TABLE users ADD COLUMN a int CHECK (a > 0)",
    "ALTER TABLE users ADD COLUMN a text UNIQUE",
    "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0)",
    "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
    "ALTER TABLE users ADD CONSTRAINT c FOREIGN KEY (org_id) REFERENCES orgs",
    "ALTER TABLE users ADD CONSTRAINT c FOREIGN KEY (org_id) REFERENCES orgs NOT VALID",
    "ALTER TABLE users ADD CONSTRAINT c UNIQUE (email)",
    "ALTER TABLE users ADD CONSTRAINT c UNIQUE USING INDEX users_id",
    "ALTER TABLE users ADD COLUMN a date DEFAULT date('2020-01-01'), ADD COLUMN b int4range DEFAULT int4range(0, 1)",
    "ALTER TABLE users ADD COLUMN a bigint DEFAULT pg_relation_size('orgs')",
    "CREATE DOMAIN d AS int CHECK (value > 0); CREATE DOMAIN e AS d; ALTER TABLE users ADD COLUMN a e",
    "CREATE DOMAIN d AS nick; ALTER DOMAIN d ADD CHECK (value <> ''); ALTER TABLE users ADD COLUMN a d",
    "CREATE DOMAIN d AS text; CREATE DOMAIN e AS d; ALTER TABLE users ADD COLUMN a e; ALTER TABLE users ADD COLUMN b e DEFAULT 'x'",
    "CREATE DOMAIN d AS int CHECK (value > 0); ALTER TABLE users ADD COLUMN a d[]",
    "CREATE DOMAIN d AS uuid DEFAULT gen_random_uuid(); CREATE DOMAIN e AS d; ALTER TABLE users ADD COLUMN a e",
    "CREATE DOMAIN d AS uuid DEFAULT gen_random_uuid(); ALTER TABLE users ADD COLUMN a d DEFAULT NULL",
    "CREATE DOMAIN d AS int; CREATE DOMAIN e AS d; ALTER TABLE users ADD COLUMN a e; ALTER DOMAIN d ADD CHECK (value > 0)",
    "CREATE INDEX CONCURRENTLY i ON users (email); REINDEX INDEX i",
    "ALTER TABLE users ALTER email SET NOT NULL",
    "ALTER TABLE users ALTER name DROP NOT NULL",
    "ALTER TABLE users ALTER email SET STORAGE EXTERNAL, ALTER email SET STATISTICS 100",
    "ALTER TABLE users SET (fillfactor = 70)",
    "ALTER TABLE users ALTER id TYPE bigint",
    "ALTER TABLE users ALTER email TYPE varchar(100)",
    "ALTER TABLE users SET UNLOGGED",
    "CREATE INDEX i ON users (email)",
    "CREATE TABLE new (LIKE users)",
    "CREATE TABLE new (org_id bigint REFERENCES orgs)",
]


def touched(connection: "psycopg.Connection[tuple[object, ...]]", sql: str) -> bool:
    """Whether the last statement writes a table again, or reads all of one; nothing is kept."""
    query = "SELECT oid, relfilenode, coalesce(pg_stat_get_xact_numscans(oid), 0) FROM pg_class WHERE relname IN ('users', 'orgs', 'i') ORDER BY oid"
    with connection.transaction(force_rollback=True):
        *made, last = split(sql.replace(" CONCURRENTLY", ""))
        for statement in made:
            connection.execute(statement.text.encode())
        before = connection.execute(query).fetchall()
        connection.execute(last.text.encode())
        return before != connection.execute(query).fetchall()


def test_the_linter_forbids_what_touches_all_rows_and_only_that(end_base: Base) -> None:
    """ "what takes the site down although it is compatible" """
    with end_base.connect() as connection:
        connection.execute(SCHEMA.encode())
        forbidden = {sql: any(finding.severity == "error" for finding in lint(sql, "postgres", "contract")) for sql in STATEMENTS}
        assert {sql: touched(connection, sql) for sql in STATEMENTS} == forbidden


def test_a_column_of_a_domain_writes_the_table_again_if_the_domain_has_a_constraint(end_base: Base) -> None:
    with end_base.connect() as connection:
        connection.execute(SCHEMA.encode())
        assert touched(connection, "ALTER TABLE users ADD COLUMN a age")
        assert not touched(connection, "ALTER TABLE users ADD COLUMN a nick, ADD COLUMN b mood, ADD COLUMN c mood[]")


def test_a_constraint_of_a_domain_locks_its_columns_tables_unless_it_is_not_valid(end_base: Base) -> None:
    add = "ALTER DOMAIN nick ADD CONSTRAINT c CHECK (value IS NOT NULL) NOT VALID"
    with end_base.connect() as connection:
        connection.execute(f"{SCHEMA} CREATE TABLE nicks (a nick); {add}".encode())
        for sql in (add.replace(" c ", " d "), "ALTER DOMAIN nick VALIDATE CONSTRAINT c", "ALTER DOMAIN nick SET NOT NULL"):
            forbidden = any(finding.severity == "error" for finding in lint(sql, "postgres", "contract"))
            with connection.transaction(force_rollback=True):
                connection.execute(sql.encode())
                modes = connection.execute("SELECT mode FROM pg_locks WHERE relation = 'nicks'::regclass AND pid = pg_backend_pid()").fetchall()
            assert modes == ([("ShareLock",)] if forbidden else []), sql


def test_no_function_that_is_the_same_for_every_row_is_volatile(end_base: Base) -> None:
    """ "What is not listed may do anything": and what is listed as steady is so in every version of PostgreSQL."""
    with end_base.connect() as connection:
        query = "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' AND proname = ANY(%s)"
        assert connection.execute(query, [sorted(STEADY)]).fetchall() == []


def test_a_primary_key_from_an_index_reads_the_table_unless_its_columns_are_known_to_be_not_null(end_base: Base) -> None:
    key, check = "CREATE UNIQUE INDEX k ON users (email); ", "ALTER TABLE users ADD CONSTRAINT c CHECK (NOT users.email IS NULL) NOT VALID; "
    proven, required = "ALTER TABLE users VALIDATE CONSTRAINT c; ", "ALTER TABLE users ALTER email SET NOT NULL; ALTER TABLE users DROP CONSTRAINT c; "
    use = "ALTER TABLE users ADD PRIMARY KEY USING INDEX k"
    with end_base.connect() as connection:
        connection.execute(SCHEMA.encode())
        assert touched(connection, key + use)
        assert touched(connection, key + check + use)
        assert not touched(connection, key + check + proven + use)
        assert not touched(connection, key + check + proven + required + use)
        assert not touched(connection, check + proven + "ALTER TABLE users ALTER email SET NOT NULL")


def test_a_validated_check_spares_set_not_null_its_reading(end_base: Base) -> None:
    with end_base.connect() as connection:
        connection.execute(SCHEMA.encode())
        connection.execute("ALTER TABLE users ADD CONSTRAINT c CHECK (email IS NOT NULL AND id > 0) NOT VALID")
        assert touched(connection, "ALTER TABLE users ALTER email SET NOT NULL")
        connection.execute("ALTER TABLE users VALIDATE CONSTRAINT c")
        assert not touched(connection, "ALTER TABLE users ALTER email SET NOT NULL")
        assert touched(connection, "ALTER TABLE users ALTER email SET NOT NULL, DROP CONSTRAINT c")
        assert touched(connection, "ALTER TABLE users DROP id; ALTER TABLE users ALTER email SET NOT NULL")


MORE = [
    "ALTER TABLE users ADD COLUMN a uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE CHECK (a IS NOT NULL OR id > 0)",
    "ALTER TABLE users ADD COLUMN a bigint CONSTRAINT of REFERENCES orgs (id) ON DELETE CASCADE",
    "ALTER TABLE users ADD COLUMN a bigserial PRIMARY KEY",
    "ALTER TABLE users ADD COLUMN a bigint GENERATED BY DEFAULT AS IDENTITY (START WITH 100 INCREMENT BY 5) CONSTRAINT k PRIMARY KEY",
    "ALTER TABLE users ADD COLUMN a bigint REFERENCES orgs DEFERRABLE INITIALLY DEFERRED CHECK (a > 0)",
    "ALTER TABLE users ADD CONSTRAINT u UNIQUE (id) WITH (fillfactor = 70) USING INDEX TABLESPACE pg_default",
    "ALTER TABLE users ADD COLUMN a text UNIQUE DEFERRABLE",
    "ALTER TABLE users ALTER email TYPE varchar(10) COLLATE \"C\" USING 'x'",
    "ALTER TABLE users RENAME TO folk",
    "ALTER TABLE users ADD CONSTRAINT k UNIQUE USING INDEX users_id; ALTER TABLE users DROP CONSTRAINT k, ADD CONSTRAINT k UNIQUE (id) INCLUDE (name)",
]
VIRTUAL = [
    "ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (id * 2) VIRTUAL CHECK (a > 0) NOT NULL",
    "ALTER TABLE users ADD COLUMN a int CHECK (a > 0) NOT ENFORCED UNIQUE",
]
"""Of PostgreSQL 18."""
FIXED = [sql for sql in (*STATEMENTS, *MORE, *VIRTUAL) if any(finding.fix for finding in lint(sql, "postgres", "contract"))]


def test_the_safe_ways_are_carried_out_by_the_server_and_write_no_table_again(end_base: Base) -> None:
    """ "the safe way written out for *this* statement" """
    files = "SELECT relname, relfilenode FROM pg_class WHERE relname IN ('users', 'orgs') ORDER BY 1"
    with end_base.connect() as connection:
        for sql in FIXED if connection.info.server_version >= 180000 else [sql for sql in FIXED if sql not in VIRTUAL]:
            fix = next(finding.fix for finding in lint(sql, "postgres", "contract") if finding.fix)
            connection.execute(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; {SCHEMA}".encode())
            before = connection.execute(files).fetchall()
            for statement in (*split(sql)[:-1], *split(fix)):
                connection.execute(statement.text.encode())
            assert connection.execute(files).fetchall() == before, fix


HOLDING = [
    "ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
    "ALTER TABLE users ADD CHECK (email IS NOT NULL) NOT VALID",
    "ALTER TABLE users ADD CONSTRAINT c FOREIGN KEY (org_id) REFERENCES orgs NOT VALID",
    "CREATE UNIQUE INDEX CONCURRENTLY i ON users (lower(name))",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD CHECK (coalesce(a, id) > 0) NOT VALID",
    "CREATE INDEX CONCURRENTLY i ON users (name)",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD CHECK (a > 0) NOT VALID",
    "ALTER TABLE users ADD COLUMN a bigint; ALTER TABLE users ADD FOREIGN KEY (a) REFERENCES orgs NOT VALID",
    "ALTER TABLE users ADD COLUMN a text; CREATE UNIQUE INDEX CONCURRENTLY i ON users (lower(a))",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD CHECK (NOT a IS NULL) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int DEFAULT 1; ALTER TABLE users ADD CHECK (a IS NOT NULL) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int DEFAULT 1; ALTER TABLE users ADD CHECK (a IS NOT NULL) NOT VALID; ALTER TABLE users ALTER a DROP DEFAULT",
    "ALTER TABLE users ADD COLUMN a int DEFAULT -1; ALTER TABLE users ADD CHECK (a > 0) NOT VALID",
    "ALTER TABLE users ADD COLUMN a text DEFAULT 'x'; ALTER TABLE users ADD CHECK (a IN ('y', 'z')) NOT VALID",
    "ALTER TABLE users ADD COLUMN a text DEFAULT 'x'; ALTER TABLE users ADD CHECK (a = ANY (ARRAY['x', 'z']) AND length(a) < 3) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD CHECK (a IN (1, 2) OR coalesce(a, 0) = 0) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD CHECK ((a > 0) IS TRUE) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ADD CHECK ((a > 0) IS NOT FALSE AND a IS DISTINCT FROM 1) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ALTER a SET DEFAULT 1; CREATE UNIQUE INDEX CONCURRENTLY i ON users (a)",
    "ALTER TABLE users ADD COLUMN a int; ALTER TABLE users ALTER a SET DEFAULT 1; CREATE UNIQUE INDEX CONCURRENTLY i ON users (a) WHERE a > 1",
    "ALTER TABLE users ADD COLUMN a uuid; ALTER TABLE users ALTER a SET DEFAULT gen_random_uuid(); CREATE UNIQUE INDEX CONCURRENTLY i ON users (a)",
    "ALTER TABLE users ADD COLUMN a bigint; ALTER TABLE users ALTER a SET DEFAULT 5; ALTER TABLE users ADD FOREIGN KEY (a) REFERENCES orgs NOT VALID",
    "ALTER TABLE users ADD COLUMN a text NOT NULL DEFAULT ''; ALTER TABLE users ADD CHECK (a::jsonb IS NOT NULL) NOT VALID",
    "ALTER TABLE users ADD COLUMN a text DEFAULT '7'; ALTER TABLE users ADD CHECK (a::int IS NOT NULL AND a::varchar(9) IS NOT NULL) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int DEFAULT 70000; ALTER TABLE users ADD CHECK (a::smallint > 0) NOT VALID",
    "ALTER TABLE users ADD COLUMN a text DEFAULT ' '; ALTER TABLE users ADD CHECK (length(trim(a)) > 0) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int, ADD COLUMN b int; ALTER TABLE users ADD CHECK (num_nonnulls(a, b) = 1) NOT VALID",
    "ALTER TABLE users ADD COLUMN a int, ADD COLUMN b int DEFAULT 1; ALTER TABLE users ADD CHECK (num_nonnulls(a, b) = 1) NOT VALID",
    *(
        f"ALTER TABLE users ADD COLUMN a {of}; ALTER TABLE users ALTER a SET DEFAULT {default}"
        for of, default in [
            *(("varchar(3)", "'none'"), ("varchar(3)", "'new  '"), ("varchar(3)", "'none'::varchar(3)"), ("char", "'no'"), ("numeric(4, 2)", "-100")),
            *(("smallint", "32767.5"), ("smallint", "32767.4"), ("int", "3000000000"), ("numeric(4, 2)", "99.99"), ("int NOT NULL DEFAULT 1", "nullif(1, 1)")),
        ]
    ),
]


HOLDS = {"holds-the-old-version", "not-null-in-expand", "drop-default", "set-default"}


def refused(connection: "psycopg.Connection[tuple[object, ...]]", sql: str) -> bool:
    """Whether a row that could be written before cannot be written behind these statements; nothing is kept."""
    with connection.transaction(force_rollback=True):
        for statement in split(sql.replace(" CONCURRENTLY", "")):
            connection.execute(statement.text.encode())
        try:
            connection.execute("INSERT INTO users (id, org_id, name, email) VALUES (-2, 1, 'm1', 'm1')")
            connection.execute("INSERT INTO users (id, org_id, name, email) VALUES (-1, 2, 'n1', NULL)")
        except (psycopg.IntegrityError, psycopg.DataError):
            return True
        return False


def test_the_linter_tells_what_refuses_the_old_version_from_then_on_and_only_that(end_base: Base) -> None:
    """ "the constraint will still be enforced against subsequent inserts or updates" (PostgreSQL, "ALTER TABLE", NOT VALID)"""
    with end_base.connect() as connection:
        connection.execute(SCHEMA.encode())
        told = {sql: bool({finding.rule for finding in lint(sql, "postgres", "expand")} & HOLDS) for sql in HOLDING}
        assert {sql: refused(connection, sql) for sql in HOLDING} == told
        assert not refused(connection, "")


EXPRESSIONS = """
NULL::text; NOT false; NOT NULL::bool; 1 = 1 AND 'a' = 'a'; NULL AND false; NULL OR true; NULL OR false; 1 IN (1, 2); 3 IN (1, 2); 3 NOT IN (1, NULL)
3 = ANY (ARRAY[1, 2]); NULL = ANY (ARRAY[1]); -1 > 0; coalesce(NULL, 0) > 0; length('ab') > 2; lower('A') = 'a'; '{}'::jsonb IS NOT NULL; 2 BETWEEN 1 AND 3
1 IS DISTINCT FROM NULL; NULL IS NOT DISTINCT FROM NULL; (NULL > 1) IS NOT TRUE; (1 > 0) IS FALSE; NULL::bool IS UNKNOWN; 1.50 = 1.5; 1 <> NULL
EXISTS (SELECT 1); nullif(1, 1); nullif(2, 1); length(trim(' ')); num_nulls(NULL, 1, NULL)
'x' LIKE NULL; now() IS NULL; CURRENT_DATE IS NOT NULL; upper(NULL) IS NULL; 't'::bool; '7'::int > 6; abs(NULL); -(1.5); 'ab'::varchar(1) IS NULL
""".replace("\n", ";")


def test_what_an_expression_comes_to_is_what_the_server_says(end_base: Base) -> None:
    with end_base.connect() as connection:
        texts = [each.strip() for each in EXPRESSIONS.split(";") if each.strip()]
        trees = [parse(f"SELECT {text}").stmts[0].stmt.select_stmt.target_list[0].res_target.val for text in texts]
        said = [connection.execute(f"SELECT {text}".encode()).fetchall()[0][0] for text in texts]
        assert dict(zip(texts, [value(tree) for tree in trees], strict=True)) == dict(zip(texts, said, strict=True))
