"""A revert.sql takes what its expand made; all else in it is judged as in expand."""

from pathlib import Path

import pytest
from test_reverting import UNDONE

from bleen.cli import main
from bleen.database.operations import from_words, migrations
from bleen.database.reverting import derived
from bleen.database.reverting.way_back import lint
from bleen.database.statements import DIALECTS, Dialect
from bleen.database.written import revert_sql
from operation_cases import CASES, Case

COLUMN = "ALTER TABLE users ADD COLUMN x int;"
ATTACHED = "CREATE TABLE new (a int) PARTITION BY LIST (a); ALTER TABLE new ATTACH PARTITION users FOR VALUES IN (1);"
PARTITION = "CREATE TABLE p (LIKE events INCLUDING ALL); ALTER TABLE events ATTACH PARTITION p FOR VALUES IN (1);"
TRIGGER = """
CREATE TABLE log (id int);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f();
"""

AUDIT = "CREATE TABLE IF NOT EXISTS audit (id int);"

FLAG = "INSERT INTO flags (id, name, enabled) VALUES (7, 'new', 1), (8, 'newer', 1);"

OTHERS: list[tuple[Dialect, str]] = [
    *((each, "WHERE enabled = 1") for each in DIALECTS),
    ("postgres", "WHERE id = 7 OR name = 'new'"),
    ("postgres", "WHERE id = 7 AND name = 'newer'"),
    ("postgres", "WHERE (id, name) IN ((7, 'new'), (8, 'new'))"),
    ("postgres", "WHERE name = 7"),
    ("postgres", "USING users WHERE users.id = 7"),
    ("postgres", "WHERE id = 7 AND enabled = 1 OR name LIKE 'o%'"),
    ("postgres", "WHERE enabled BETWEEN 0 AND id = 7"),
    ("mysql", "WHERE id = 7 || enabled"),
    ("mysql", "WHERE id = 7 AND enabled XOR name = 'old'"),
    ("mysql", "WHERE NOT id = 7"),
    ("sqlite", "WHERE id NOT IN (7)"),
    ("sqlite", "WHERE id = 7 IS FALSE"),
    ("sqlite", "WHERE (id) = (7) IS FALSE"),
]
"""What takes rows of before too, from where ``FLAG`` puts some in."""
OWN: list[tuple[Dialect, str]] = [
    *((each, "WHERE id IN (7, 8) AND enabled = 1") for each in DIALECTS),
    ("postgres", "AS f WHERE f.id = 7 AND name = 'new'::text AND enabled IS NOT NULL RETURNING id"),
    ("postgres", "WHERE (id, name) IN ((7, 'new'), (8, 'newer'))"),
    ("mysql", "WHERE (id = 7 OR `id` = 8) AND name LIKE 'n%' ORDER BY id LIMIT 2"),
]
UNSURE: list[tuple[Dialect, str]] = [
    ("postgres", "INSERT INTO settings (k, v) SELECT 'x', '1' WHERE NOT EXISTS (SELECT 1 FROM settings WHERE k = 'x');"),
    ("postgres", "INSERT INTO settings (k, v) SELECT 'x', '1' EXCEPT SELECT k, '1' FROM settings;"),
    ("postgres", "WITH w (k) AS (VALUES ('x')) INSERT INTO settings (k) SELECT k FROM w;"),
    ("postgres", "INSERT INTO settings VALUES ('x', '1');"),
    ("postgres", "INSERT INTO settings (v, k) VALUES ('1', 'x');"),
    ("mysql", "INSERT INTO settings (k, v) VALUES ('x', '1') ON DUPLICATE KEY UPDATE v = '1';"),
    ("sqlite", "INSERT OR IGNORE INTO settings (k, v) VALUES ('x', '1');"),
]
"""Of what may not have put its row in, or does not say which of its values is the key."""
SURE: list[tuple[Dialect, str]] = [
    ("postgres", "INSERT INTO settings (k, v) VALUES ('x', replace('a', 'a', 'b')) RETURNING k;"),
    ("postgres", "INSERT INTO settings (at, k) OVERRIDING SYSTEM VALUE VALUES (now(), 'x');"),
    ("mysql", "INSERT INTO settings (k, v) VALUES ('x', 'ignore it ON CONFLICT');"),
    ("mysql", "INSERT INTO settings SET k = 'x', v = '1';"),
    ("sqlite", "INSERT INTO settings VALUES ('x');"),
]

ELSEWHERE: list[tuple[Dialect, str, str, str]] = [
    ("postgres", "CREATE TABLE audit.orders (id int);", "DROP TABLE IF EXISTS orders;", "orders may be another than audit.orders"),
    ("postgres", "CREATE TABLE orders (id int);", "DROP TABLE IF EXISTS audit.orders, orders;", "audit.orders may be another than orders"),
    ("postgres", "ALTER TABLE a.users ADD COLUMN x int;", "ALTER TABLE users DROP COLUMN IF EXISTS x;", "users.x may be another than a.users.x"),
    ("postgres", "CREATE FUNCTION a.f(int) RETURNS int RETURN 1;", "DROP FUNCTION f(int);", "f(int4) may be another than a.f(int4)"),
    ("postgres", "CREATE TYPE a.mood AS ENUM ('a');", "DROP TYPE mood;", "mood may be another than a.mood"),
    ("postgres", "CREATE INDEX CONCURRENTLY i ON a.users (a);", "DROP INDEX CONCURRENTLY i;", "i may be another than a.i"),
    ("postgres", "CREATE POLICY p ON a.users;", "DROP POLICY p ON users;", "users.p may be another than a.users.p"),
    ("postgres", "ALTER TABLE a.t ALTER i SET DEFAULT 1;", "ALTER TABLE t ALTER i DROP DEFAULT;", "t.i may be another than a.t.i"),
    ("postgres", "INSERT INTO a.kinds (id) VALUES (7);", "DELETE FROM kinds WHERE id = 7;", "kinds may be another than a.kinds"),
    ("postgres", "ALTER TABLE a.t DROP CONSTRAINT c;", "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;", "t.c may be another than a.t.c"),
    ("postgres", "GRANT SELECT ON a.users TO app;", "REVOKE SELECT ON users FROM app;", "users may be another than a.users"),
    ("mysql", "CREATE TABLE audit.orders (id int);", "DROP TABLE orders;", "orders may be another than audit.orders"),
]
"""What expand.sql names with its schema and revert.sql without, or the other way round."""

BEYOND: list[tuple[Dialect, str, str, list[str]]] = [
    ("postgres", COLUMN, "ALTER TABLE users DROP COLUMN IF EXISTS x, DROP COLUMN IF EXISTS name;", ["drop-in-expand"]),
    ("postgres", COLUMN, "DELETE FROM users;", ["delete-without-where"]),
    ("postgres", COLUMN, "DELETE FROM users WHERE id = 1;", ["delete-in-expand"]),
    ("postgres", COLUMN, "DROP TABLE IF EXISTS other;", ["drop-in-expand"]),
    ("postgres", COLUMN, "DROP TABLE x;", ["drop-in-expand"]),
    ("postgres", "CREATE POLICY p ON users;", "DROP TABLE users;", ["drop-in-expand"]),
    ("postgres", COLUMN, "DO $$BEGIN EXECUTE 'drop table users'; END$$;", ["dynamic-sql"]),
    ("postgres", COLUMN, "TRUNCATE users;", ["truncate"]),
    ("postgres", COLUMN, "ALTER TABLE users ALTER COLUMN name SET NOT NULL;", ["set-not-null"]),
    ("postgres", "CREATE INDEX CONCURRENTLY i ON users (a);", "DROP INDEX i;", ["drop-index-without-concurrently"]),
    ("postgres", "CREATE TYPE m AS ENUM ('a');", "DROP TYPE mood CASCADE;", ["drop-in-expand", "drop-cascade"]),
    ("postgres", "CREATE TABLE staging.users (id int);", "DROP TABLE IF EXISTS public.users;", ["drop-in-expand"]),
    ("postgres", "CREATE TABLE users (id int);", 'DROP TABLE IF EXISTS "Users";', ["drop-in-expand"]),
    ("postgres", "ALTER TABLE a.orders ADD COLUMN x int;", "ALTER TABLE b.orders DROP COLUMN x;", ["drop-in-expand"]),
    ("postgres", "CREATE FUNCTION f(int) RETURNS int RETURN 1;", "DROP FUNCTION f(text);", ["drop-in-expand"]),
    ("postgres", "CREATE TYPE a.mood AS ENUM ('a');", "DROP TYPE b.mood;", ["drop-in-expand"]),
    ("postgres", "INSERT INTO staging.settings VALUES ('x');", "DELETE FROM prod.settings WHERE k = 'x';", ["delete-in-expand"]),
    ("postgres", "INSERT INTO settings (k, v) VALUES ('x', '1');", "DELETE FROM settings WHERE k <> 'x';", ["delete-in-expand"]),
    ("postgres", "INSERT INTO settings (k, v) VALUES ('x', '1');", "DELETE FROM settings WHERE k = 'x' OR v = k;", ["delete-in-expand"]),
    ("mysql", "INSERT INTO settings (k, v) VALUES ('x', '1');", "DELETE FROM settings WHERE k IN ('x', 'y');", ["delete-in-expand"]),
    ("mysql", "INSERT IGNORE INTO settings (k, v) VALUES ('x', '1');", "DELETE FROM settings WHERE k = 'x';", ["delete-in-expand"]),
    ("postgres", "INSERT INTO settings VALUES ('x') ON CONFLICT DO NOTHING;", "DELETE FROM settings WHERE k = 'x';", ["delete-in-expand"]),
    *((each, FLAG, f"DELETE FROM flags {where};", ["delete-in-expand"]) for each, where in OTHERS),
    *((each, insert, "DELETE FROM settings WHERE k = 'x';", ["delete-in-expand"]) for each, insert in UNSURE),
    ("postgres", "UPDATE settings SET v = '2' WHERE k = 'x';", "DELETE FROM settings WHERE k = 'x';", ["delete-in-expand"]),
    ("mysql", "CREATE TABLE staging.users (id int);", "DROP TABLE shop.users;", ["drop-in-expand"]),
    ("mysql", "CREATE TABLE audit (id INT PRIMARY KEY);", "DROP TABLE IF EXISTS Audit;", ["drop-in-expand"]),
    ("mysql", "CREATE VIEW v AS SELECT 1;", "DROP VIEW V;", ["drop-in-expand"]),
    ("mysql", "ALTER TABLE users ADD COLUMN x int;", "ALTER TABLE Users DROP COLUMN x, ALGORITHM=INPLACE, LOCK=NONE;", ["drop-in-expand"]),
    ("mysql", "ALTER TABLE users ADD INDEX i (a), ALGORITHM=INPLACE;", "DROP INDEX i ON orders;", ["drop-in-expand"]),
    ("postgres", AUDIT, "ALTER TABLE orders ALTER COLUMN state DROP DEFAULT;", ["drop-default"]),
    ("postgres", "ALTER TABLE a.orders ALTER COLUMN state DROP DEFAULT;", "ALTER TABLE b.orders ALTER COLUMN state DROP DEFAULT;", ["drop-default"]),
    ("postgres", AUDIT, "REVOKE ALL ON users, orders FROM app;", ["revoke"]),
    ("postgres", "GRANT SELECT ON users TO reporting;", "REVOKE SELECT ON users FROM reporting, app;", ["revoke"]),
    ("postgres", "GRANT SELECT ON users TO reporting;", "REVOKE ALL ON users FROM reporting;", ["revoke"]),
    ("postgres", "GRANT reader TO a;", "REVOKE reader FROM b;", ["revoke"]),
    ("postgres", "ALTER TABLE users DISABLE TRIGGER t;", "ALTER TABLE users DISABLE TRIGGER ALL;", ["trigger-state"]),
    ("postgres", "ALTER TABLE users NO FORCE ROW LEVEL SECURITY;", "ALTER TABLE users DISABLE ROW LEVEL SECURITY;", ["row-security"]),
    ("mysql", AUDIT, "REPLACE INTO settings (k, v) VALUES (1, 1);", ["replaces"]),
    ("mysql", AUDIT, "ALTER TABLE users ALTER COLUMN state DROP DEFAULT, ALGORITHM=INSTANT;", ["drop-default"]),
    ("mysql", "GRANT SELECT ON shop.* TO r;", "REVOKE SELECT, INSERT ON shop.* FROM r;", ["revoke"]),
    ("mysql", "INSERT INTO kinds VALUES (1);", "ALTER VIEW v AS SELECT 1;", ["replaces"]),
    ("sqlite", AUDIT, "REPLACE INTO settings (k, v) VALUES (1, 1);", ["replaces"]),
    ("postgres", ATTACHED, "DROP TABLE IF EXISTS new;", ["attach-partition"]),
    ("postgres", PARTITION, "ALTER TABLE events DETACH PARTITION p;", ["detach-partition"]),
    ("postgres", PARTITION, "ALTER TABLE events DETACH PARTITION q CONCURRENTLY;", ["detach-partition"]),
    ("mysql", COLUMN, "/*!50000 DROP TABLE users */;", ["executable-comment"]),
    ("mysql", COLUMN, "DELETE FROM users;", ["delete-without-where"]),
    ("sqlite", COLUMN, "DROP TABLE users;", ["drop-in-expand"]),
]

UNDOES: list[tuple[Dialect, str, str]] = [
    ("postgres", COLUMN, "ALTER TABLE users DROP COLUMN x;"),
    ("postgres", COLUMN, "-- bleen: allow truncate nobody reads them any more\nTRUNCATE users;"),
    ("postgres", COLUMN, "-- bleen: irreversible nobody needs it\n"),
    ("postgres", TRIGGER, "DROP TRIGGER t ON users; DROP FUNCTION f(); DROP TABLE log;"),
    ("postgres", "CREATE TABLE IF NOT EXISTS t (id int); CREATE OR REPLACE VIEW v AS SELECT 1;", "DROP VIEW v; DROP TABLE t;"),
    ("postgres", "ALTER TABLE users DROP CONSTRAINT c;", "ALTER TABLE users ADD CONSTRAINT c CHECK (a > 0) NOT VALID;"),
    ("postgres", "CREATE TABLE app.t (id int); CREATE INDEX CONCURRENTLY i ON public.users (a);", "DROP TABLE app.t; DROP INDEX CONCURRENTLY public.i;"),
    ("postgres", "CREATE OR REPLACE FUNCTION f(a int) RETURNS int RETURN 1;", "DROP FUNCTION f;"),
    ("postgres", "CREATE ROLE reader;", "DROP ROLE IF EXISTS reader;"),
    ("postgres", "ALTER TABLE users ADD COLUMN IF NOT EXISTS x int;", "ALTER TABLE users DROP COLUMN x;"),
    ("postgres", "INSERT INTO k VALUES (1, 'a'), (2, 'b');", "DELETE FROM k WHERE (k.id, name) IN ((1, 'a'), (2, 'b')) OR (id = 1 AND name = 'a');"),
    ("mysql", "CREATE TABLE IF NOT EXISTS T1 (id int);", "DROP TABLE T1;"),
    ("mysql", "ALTER TABLE Users ADD COLUMN Nick int;", "ALTER TABLE Users DROP COLUMN nick, ALGORITHM=INPLACE, LOCK=NONE;"),
    ("mysql", "CREATE OR REPLACE VIEW V AS SELECT 1; INSERT INTO K VALUES (1);", "ALTER VIEW V AS SELECT 2; DELETE FROM K WHERE id = 1;"),
    ("mysql", "CREATE FUNCTION W() RETURNS int RETURN 1;", "DROP FUNCTION w;"),
    ("sqlite", "CREATE TABLE IF NOT EXISTS T1 (id int);", "DROP TABLE main.t1;"),
    ("mysql", "INSERT INTO k VALUES (1, -2);", "DELETE FROM k WHERE id = 1 AND b IN (-2);"),
    *((each, FLAG, f"DELETE FROM flags {where};") for each, where in OWN),
    *((each, insert, "DELETE FROM settings WHERE k = 'x';") for each, insert in SURE),
    ("postgres", "ALTER TABLE users ALTER COLUMN a SET DEFAULT 1;", "ALTER TABLE users ALTER COLUMN a DROP DEFAULT;"),
    ("postgres", "GRANT SELECT, INSERT ON users, orders TO reporting;", "REVOKE SELECT ON orders FROM reporting; REVOKE INSERT ON users FROM reporting;"),
    ("postgres", "GRANT UPDATE (a, b) ON users TO app;", "REVOKE UPDATE (b, a) ON users FROM app;"),
    ("postgres", "GRANT reader TO a, b;", "REVOKE reader FROM b;"),
    (
        "postgres",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO r;",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM r;",
    ),
    ("postgres", "ALTER TABLE users DISABLE TRIGGER t, FORCE ROW LEVEL SECURITY;", "ALTER TABLE users ENABLE TRIGGER t, NO FORCE ROW LEVEL SECURITY;"),
    ("postgres", "ALTER POLICY p ON users USING (true);", "ALTER POLICY p ON users USING (a = 1);"),
    ("postgres", "CREATE OR REPLACE VIEW v AS SELECT 1 AS a, 2 AS b;", "CREATE OR REPLACE VIEW v AS SELECT 1 AS a;"),
    ("postgres", "CREATE OR REPLACE FUNCTION f(a int) RETURNS int RETURN 1;", "CREATE OR REPLACE FUNCTION f(int) RETURNS int RETURN 2;"),
    (
        "postgres",
        "INSERT INTO kinds VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET a = 'a';",
        "INSERT INTO kinds VALUES (1, 'b') ON CONFLICT (id) DO UPDATE SET a = 'b';",
    ),
    ("mysql", "ALTER TABLE users ALTER COLUMN a SET DEFAULT 2;", "ALTER TABLE users ALTER COLUMN a SET DEFAULT 1;"),
    ("mysql", "GRANT SELECT, INSERT ON shop.* TO r, `app`@'%';", "REVOKE INSERT ON shop.* FROM app@'%';"),
    ("mysql", "CREATE OR REPLACE VIEW v AS SELECT 1;", "ALTER VIEW v AS SELECT 2;"),
    ("mysql", "REPLACE INTO settings (k, v) VALUES (1, 2);", "REPLACE INTO settings (k, v) VALUES (1, 1);"),
    ("sqlite", "INSERT OR REPLACE INTO settings (k, v) VALUES (1, 2);", "INSERT OR REPLACE INTO settings (k, v) VALUES (1, 1);"),
    ("postgres", PARTITION, "ALTER TABLE events DETACH PARTITION p CONCURRENTLY; DROP TABLE IF EXISTS p;"),
    ("postgres", ATTACHED, "ALTER TABLE new DETACH PARTITION users; DROP TABLE new;"),
    ("postgres", "INSERT INTO app.kinds VALUES (7);", "DELETE FROM app.kinds WHERE id = 7;"),
    ("mysql", "CREATE FUNCTION w() RETURNS int RETURN 1; ALTER TABLE users ADD INDEX i (a), ALGORITHM=INPLACE;", "DROP FUNCTION w; DROP INDEX i ON users;"),
    ("sqlite", "CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END;", "DROP TRIGGER t;"),
]


@pytest.mark.parametrize(("dialect", "expand", "revert", "rules"), BEYOND, ids=[revert for _, _, revert, _ in BEYOND])
def test_what_a_revert_does_beyond_undoing_is_an_error(dialect: Dialect, expand: str, revert: str, rules: list[str]) -> None:
    """ "undoes what was done: what was there before stays" """
    found = lint(expand, revert, "0001_x", dialect)
    assert [each.rule for each in found if each.severity == "error"] == rules
    assert not [each for each in found if "in contract" in each.message or "contract.sql" in each.fix]


@pytest.mark.parametrize(("dialect", "expand", "revert", "which"), ELSEWHERE, ids=[revert for _, _, revert, _ in ELSEWHERE])
def test_what_only_one_of_the_two_names_with_its_schema_may_be_another(dialect: Dialect, expand: str, revert: str, which: str) -> None:
    """ "what was there before stays" """
    (found,) = lint(expand, revert, "0001_x", dialect)
    assert found.message.endswith(f"; {which} of expand.sql: name it in both with its schema, or in both without")
    assert (found.severity, found.fix) == ("warn" if found.rule == "holds-the-old-version" else "error", "")


def test_what_a_revert_replaces_beyond_undoing_is_a_warning() -> None:
    revert = "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET role = 'a'; CREATE OR REPLACE VIEW active AS SELECT 1;"
    assert [each.rule for each in lint(AUDIT, revert, "0001_x", "postgres")] == ["replaces", "replaces"]


@pytest.mark.parametrize(("dialect", "expand", "revert"), UNDOES, ids=[revert for _, _, revert in UNDOES])
def test_what_undoes_an_expand_is_let_pass(dialect: Dialect, expand: str, revert: str) -> None:
    assert lint(expand, revert, "0001_x", dialect) == []


def test_not_null_is_put_back_in_the_way_that_locks_nobody_out() -> None:
    expand = "ALTER TABLE users ALTER COLUMN a DROP NOT NULL;"
    (found,) = lint(expand, "ALTER TABLE users ALTER COLUMN a SET NOT NULL;", "0001_x", "postgres")
    assert (found.rule, found.fix.count("VALIDATE CONSTRAINT")) == ("set-not-null", 1)
    assert "take it out" not in found.message
    assert lint(expand, found.fix, "0001_x", "postgres") == []
    assert [each.rule for each in lint(COLUMN, found.fix, "0001_x", "postgres")] == ["holds-the-old-version"]


def test_a_delete_that_may_take_other_rows_is_told_what_to_say() -> None:
    (found,) = lint("INSERT INTO kinds VALUES (7);", "DELETE FROM kinds WHERE id > 6;", "0001_x", "postgres")
    assert found.message.endswith("with values of the columns that an INSERT (...) VALUES of expand.sql names, its first one among them")
    assert not found.fix


@pytest.mark.parametrize(("dialect", "expand"), [(dialect, expand) for dialect, expand, _ in UNDONE])
def test_what_is_derived_is_let_pass(dialect: Dialect, expand: str) -> None:
    assert lint(expand, revert_sql(derived(expand, dialect)), "0001_x", dialect) == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_revert_that_an_operation_writes_is_let_pass(case: Case, dialect: Dialect) -> None:
    made = migrations(from_words(case.words), dialect, "") if dialect in case.needs else []
    assert [lint(each.files.get("expand.sql", ""), each.files["revert.sql"], "0001_x", dialect) for each in made] == [[] for _ in made]


def test_lint_reads_the_revert_beside_an_expand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "expand.sql").write_text(COLUMN)
    (tmp_path / "revert.sql").write_text("ALTER TABLE users DROP COLUMN x;\nDROP TABLE other;\n")
    assert main(["migrate", "lint", "--dialect", "postgres", str(tmp_path)]) == 1
    assert f"{tmp_path}/revert.sql:2:1: error [drop-in-expand]" in capsys.readouterr().out
