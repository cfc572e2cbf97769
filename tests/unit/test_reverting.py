"""The way back from an expand: what its text undoes, and what it does not."""

from pathlib import Path

import pytest

from bleen.cli import main
from bleen.database.reverting import derived, lint, takes
from bleen.database.statements import DIALECTS, Dialect

UNDONE: list[tuple[Dialect, str, list[str]]] = [
    ("postgres", 'ALTER TABLE app."Users" ADD COLUMN note text', ['ALTER TABLE app."Users" DROP COLUMN IF EXISTS note;']),
    ("postgres", "CREATE UNIQUE INDEX CONCURRENTLY users_note ON app.users (note)", ["DROP INDEX CONCURRENTLY IF EXISTS app.users_note;"]),
    (
        "postgres",
        "ALTER TABLE users ADD CONSTRAINT positive CHECK (age > 0) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT positive",
        ["ALTER TABLE users DROP CONSTRAINT IF EXISTS positive;"],
    ),
    (
        "postgres",
        "CREATE TABLE notes (id int); CREATE INDEX i ON notes (id); WITH d AS (DELETE FROM notes RETURNING 1) INSERT INTO notes SELECT 1;"
        " GRANT SELECT ON notes TO app; COMMENT ON TABLE notes IS 'x'; SET CONSTRAINTS ALL IMMEDIATE",
        ["DROP TABLE IF EXISTS notes;"],
    ),
    (
        "postgres",
        "CREATE TYPE mood AS ENUM ('ok'); ALTER TABLE users ADD COLUMN mood mood",
        ["ALTER TABLE users DROP COLUMN IF EXISTS mood;", "DROP TYPE IF EXISTS mood;"],
    ),
    (
        "postgres",
        "CREATE SCHEMA app; CREATE DOMAIN app.age AS int; CREATE SEQUENCE app.numbers; CREATE VIEW app.v AS SELECT 1; CREATE STATISTICS s ON a, b FROM users",
        [
            "DROP STATISTICS IF EXISTS s;",
            "DROP VIEW IF EXISTS app.v;",
            "DROP SEQUENCE IF EXISTS app.numbers;",
            "DROP DOMAIN IF EXISTS app.age;",
            "DROP SCHEMA IF EXISTS app;",
        ],
    ),
    (
        "postgres",
        "CREATE FUNCTION half(a int, OUT b int, c text[]) LANGUAGE sql AS 'SELECT 1';"
        " CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f(); CREATE POLICY p ON users",
        ["DROP POLICY IF EXISTS p ON users;", "DROP TRIGGER IF EXISTS t ON users;", "DROP FUNCTION IF EXISTS half(int, text[]);"],
    ),
    (
        "postgres",
        "ALTER TABLE users ADD COLUMN n bigint; CREATE SEQUENCE numbers; ALTER TABLE users ALTER COLUMN n SET DEFAULT nextval('numbers')",
        ["ALTER TABLE users DROP COLUMN IF EXISTS n;", "DROP SEQUENCE IF EXISTS numbers;"],
    ),
    (
        "postgres",
        "ALTER TABLE users ADD COLUMN a int; CREATE INDEX CONCURRENTLY users_a ON users (a); ALTER TABLE users ADD COLUMN b int",
        [
            "ALTER TABLE users DROP COLUMN IF EXISTS b;",
            "ALTER TABLE users DROP COLUMN IF EXISTS a;",
            "DROP INDEX CONCURRENTLY IF EXISTS users_a;",
        ],
    ),
    (  # as pg_dump writes it
        "postgres",
        "CREATE TABLE author (id bigint); CREATE SEQUENCE ids; ALTER SEQUENCE ids OWNED BY author.id;"
        " ALTER TABLE ONLY author ALTER COLUMN id SET DEFAULT nextval('ids'::regclass)",
        ["ALTER TABLE author ALTER COLUMN id DROP DEFAULT;", "DROP SEQUENCE IF EXISTS ids;", "DROP TABLE IF EXISTS author;"],
    ),
    (
        "postgres",
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int);"
        " ALTER TABLE b ADD CONSTRAINT to_a FOREIGN KEY (a) REFERENCES a; ALTER TABLE a ADD CONSTRAINT to_b FOREIGN KEY (b) REFERENCES b",
        ["ALTER TABLE a DROP CONSTRAINT IF EXISTS to_b;", "DROP TABLE IF EXISTS b;", "DROP TABLE IF EXISTS a;"],
    ),
    (
        "postgres",
        "CREATE TABLE a (id int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS ''; CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW"
        " EXECUTE FUNCTION f(); CREATE TYPE mood AS ENUM ('ok'); ALTER TABLE a ADD COLUMN mood mood, ALTER COLUMN id SET DEFAULT 1, ADD CHECK (id > 0)",
        [
            "ALTER TABLE a DROP COLUMN IF EXISTS mood;",
            "DROP TYPE IF EXISTS mood;",
            "DROP TRIGGER IF EXISTS t ON a;",
            "DROP FUNCTION IF EXISTS f();",
            "DROP TABLE IF EXISTS a;",
        ],
    ),
    (
        "postgres",
        "CREATE TABLE a (b int); CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'; CREATE INDEX i ON a (f(b)); CREATE INDEX j ON a (b)",
        ["DROP INDEX IF EXISTS i;", "DROP FUNCTION IF EXISTS f(int);", "DROP TABLE IF EXISTS a;"],
    ),
    (
        "postgres",
        "CREATE TABLE all_of_it (a int) PARTITION BY LIST (a); CREATE TABLE part (a int); ALTER TABLE all_of_it ATTACH PARTITION part FOR VALUES IN (1);"
        " CREATE TABLE rest PARTITION OF all_of_it DEFAULT",
        ["DROP TABLE IF EXISTS rest;", "DROP TABLE IF EXISTS part;", "DROP TABLE IF EXISTS all_of_it;"],
    ),
    ("postgres", "CREATE INDEX i ON of_parts (a)", ["DROP INDEX IF EXISTS i;"]),  # PostgreSQL takes CONCURRENTLY in neither
    (
        "postgres",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON app.users (a); ALTER TABLE app.users ADD CONSTRAINT u UNIQUE USING INDEX i",
        ["ALTER TABLE app.users DROP CONSTRAINT IF EXISTS u;", "DROP INDEX CONCURRENTLY IF EXISTS app.i;"],
    ),
    (
        "mysql",
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int, FOREIGN KEY (a) REFERENCES a (id));"
        " ALTER TABLE a ADD CONSTRAINT to_b FOREIGN KEY (b) REFERENCES b (id), ADD COLUMN c int",
        ["ALTER TABLE a DROP FOREIGN KEY to_b, ALGORITHM=INPLACE, LOCK=NONE;", "DROP TABLE IF EXISTS b;", "DROP TABLE IF EXISTS a;"],
    ),
    (
        "mysql",
        "ALTER ONLINE TABLE `users` ADD COLUMN note text, ADD INDEX users_note (note(9)), ALGORITHM=INPLACE, LOCK=NONE",
        [
            "ALTER TABLE `users` DROP INDEX users_note, ALGORITHM=INPLACE, LOCK=NONE;",
            "ALTER TABLE `users` DROP COLUMN note, ALGORITHM=INPLACE, LOCK=NONE;",
        ],
    ),
    ("mysql", "ALTER TABLE posts ADD COLUMN note text", ["ALTER TABLE posts DROP COLUMN note;"]),
    (
        "mysql",
        "ALTER TABLE posts ADD COLUMN note text, ADD INDEX a_note (note(9)), ALGORITHM=INPLACE, LOCK=SHARED",
        [
            "ALTER TABLE posts DROP INDEX a_note, ALGORITHM=INPLACE, LOCK=NONE;",
            "ALTER TABLE posts DROP COLUMN note, ALGORITHM=INPLACE, LOCK=SHARED;",
        ],
    ),
    (
        "mysql",
        "SET foreign_key_checks = 0; ALTER TABLE a ADD CONSTRAINT to_b FOREIGN KEY (b) REFERENCES b (id), ALGORITHM=INPLACE; SET foreign_key_checks = 1",
        ["ALTER TABLE a DROP FOREIGN KEY to_b, ALGORITHM=INPLACE, LOCK=NONE;"],
    ),
    (
        "mysql",
        "CREATE TABLE notes (id int); INSERT INTO notes VALUES (1); CREATE DEFINER=`a`@`b` VIEW v AS SELECT 1; CREATE INDEX i ON users (a)",
        ["ALTER TABLE users DROP INDEX i, ALGORITHM=INPLACE, LOCK=NONE;", "DROP VIEW IF EXISTS v;", "DROP TABLE IF EXISTS notes;"],
    ),
    (
        "sqlite",
        "ALTER TABLE users ADD COLUMN a int; CREATE INDEX users_a ON users (a); CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END",
        ["DROP TRIGGER IF EXISTS t;", "DROP INDEX IF EXISTS users_a;", "ALTER TABLE users DROP COLUMN a;"],
    ),
]

STAYS: list[tuple[Dialect, str, str]] = [
    ("postgres", "ALTER TABLE users ALTER COLUMN age DROP NOT NULL", "how it was before ALTER TABLE users ALTER COLUMN age DROP NOT NULL is not in the text"),
    ("postgres", "ALTER TABLE users ALTER COLUMN age SET DEFAULT 1", "how it was before"),
    ("postgres", "ALTER TABLE users ADD COLUMN IF NOT EXISTS note text", "IF NOT EXISTS"),
    ("postgres", "ALTER TABLE users ADD CHECK (age > 0) NOT VALID", "give it a name"),
    ("postgres", "CREATE INDEX CONCURRENTLY ON users (age)", "give it a name"),
    ("postgres", "CREATE OR REPLACE VIEW v AS SELECT 1", "OR REPLACE"),
    ("postgres", "ALTER TYPE mood ADD VALUE 'good'", "AlterEnum"),
    ("postgres", "GRANT SELECT ON users TO app", "Grant"),
    ("postgres", "INSERT INTO users DEFAULT VALUES", "Insert"),
    ("mysql", "ALTER TABLE users MODIFY age bigint", "how it was before MODIFY age bigint"),
    ("mysql", "ALTER TABLE users ADD INDEX (age)", "give it a name"),
    ("mysql", "CREATE TABLE IF NOT EXISTS notes (id int)", "IF NOT EXISTS"),
    ("mysql", "INSERT INTO users VALUES (1)", "the rows that were inserted"),
    ("sqlite", "DROP TABLE users", "DROP"),
    ("sqlite", "CREATE TABLE IF NOT EXISTS notes (id)", "IF NOT EXISTS"),
]


@pytest.mark.parametrize(("dialect", "expand", "wanted"), UNDONE)
def test_what_an_expand_made_is_taken_away_newest_first(dialect: Dialect, expand: str, wanted: list[str]) -> None:
    """Always make migrations reversible until the contract phase."""
    assert derived(expand, dialect) == (wanted, [])


@pytest.mark.parametrize(("dialect", "expand", "why"), STAYS)
def test_what_its_text_does_not_undo_wants_a_revert_sql(dialect: Dialect, expand: str, why: str) -> None:
    (found,) = lint(f"-- é\n{expand};", "", "0007_x", dialect)
    assert (found.file, found.line, found.column, found.rule, found.severity) == ("0007_x/expand.sql", 2, 1, "irreversible", "error")
    assert why in found.message
    assert lint(expand, "-- nothing here\nSELECT 1;", "0007_x", dialect) == []


INTO_SOMETHING_NEW: list[tuple[Dialect, str, str]] = [
    ("postgres", "ALTER TABLE made ATTACH PARTITION events DEFAULT", "ATTACH PARTITION events: it was there before, and would be dropped with made"),
    ("postgres", "CREATE TABLE b (); ALTER TABLE made ATTACH PARTITION app.b DEFAULT", "ATTACH PARTITION app.b"),
    ("postgres", "ALTER TABLE events INHERIT made", "how it was before"),
    ("postgres", "ALTER SEQUENCE numbers OWNED BY made.a", "AlterSeq"),
    ("postgres", "ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX by_email", "USING INDEX by_email: it was there before"),
    ("postgres", "CREATE TABLE p (); ALTER TABLE events ATTACH PARTITION p DEFAULT", "ATTACH PARTITION p: the old version may write rows to it by events"),
    ("postgres", "CREATE TABLE y2026 PARTITION OF app.events FOR VALUES IN (2026)", "PARTITION OF app.events: rows of the old version may go into it"),
    ("postgres", "CREATE TABLE p PARTITION OF made DEFAULT; CREATE FOREIGN TABLE q PARTITION OF events DEFAULT SERVER s", "PARTITION OF events"),
    ("postgres", "WITH d AS (DELETE FROM events RETURNING a) INSERT INTO made SELECT a FROM d", "what WITH changes in events"),
    ("postgres", "WITH d AS (DELETE FROM events RETURNING a) SELECT a FROM d", "what WITH changes in events"),
    ("mysql", "ALTER TABLE made EXCHANGE PARTITION p WITH TABLE events", "rows that were there before would be dropped with made"),
]


@pytest.mark.parametrize(("dialect", "statement", "why"), INTO_SOMETHING_NEW)
def test_what_was_there_before_is_not_dropped_with_something_new_that_it_has_become_part_of(dialect: Dialect, statement: str, why: str) -> None:
    """undoes what was done: what was there before stays"""
    made = "CREATE TABLE made (a int) PARTITION BY LIST (a)" + " (PARTITION p VALUES IN (1))" * (dialect == "mysql")
    expand = f"{made}; {statement}"
    assert why in " ".join(each.why for each in derived(expand, dialect).stays)
    assert takes(expand, dialect)


LAST_NAMES: list[tuple[Dialect, str]] = [
    ("postgres", "ALTER TABLE made RENAME TO last"),
    ("postgres", "ALTER TABLE made SET SCHEMA app"),
    ("postgres", "CREATE VIEW v AS SELECT 1; ALTER VIEW v RENAME TO w"),
    ("postgres", "CREATE TYPE mood AS ENUM ('ok'); ALTER TABLE made ADD COLUMN mood mood; ALTER TABLE made RENAME mood TO moods"),
    ("mysql", "ALTER TABLE made RENAME last"),
    ("sqlite", "ALTER TABLE made RENAME TO last"),
]


@pytest.mark.parametrize(("dialect", "statements"), LAST_NAMES)
def test_what_is_made_under_another_name_than_its_last_is_not_left_there_by_a_way_back(dialect: Dialect, statements: str) -> None:
    """undoes what was done"""
    ((_, why),) = derived(f"CREATE TABLE made (a int); {statements}", dialect).stays
    assert why.endswith("is made in this file and named anew: make it under its last name")
    assert derived("CREATE TABLE made (a int); ALTER TABLE made RENAME COLUMN a TO b", dialect) == (["DROP TABLE IF EXISTS made;"], [])


@pytest.mark.parametrize("dialect", ["postgres", "mysql"])
def test_a_key_without_a_name_to_a_table_that_was_made_later_is_in_the_way(dialect: Dialect) -> None:
    (found,) = lint("CREATE TABLE a (b int);\nCREATE TABLE b (c int);\nALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (c);", "", "x", dialect)
    assert (found.line, found.message.partition(" here")[0].rpartition(" has")[2]) == (3, " no name")


def test_that_there_is_no_way_back_is_declared_with_a_reason() -> None:
    expand = "ALTER TYPE mood ADD VALUE 'good';"
    assert lint(expand, "-- bleen: irreversible both versions pass unknown moods through\n", "x", "postgres") == []
    (found,) = lint(expand, "\n-- bleen: irreversible\n", "x", "postgres")
    assert (found.file, found.line) == ("x/revert.sql", 2)
    assert "says no reason" in found.message


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_revert_sql_that_cannot_be_read_is_found_before_it_is_needed(dialect: Dialect) -> None:
    (found,) = lint("ALTER TABLE a ADD COLUMN b int;", "DROP TABLE a;\nDROP TABLE 'b", "x", dialect)
    assert (found.file, found.line, found.severity) == ("x/revert.sql", 2, "error")
    assert "cannot be read" in found.message


def test_a_template_that_was_left_as_it_is_undoes_nothing() -> None:
    (found,) = lint("ALTER TYPE mood ADD VALUE 'good';", "-- write here what undoes expand.sql\n", "x", "postgres")
    assert found.rule == "irreversible"


def test_the_linter_looks_at_the_revert_sql_beside_an_expand_sql(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "expand.sql").write_text("ALTER TABLE users ALTER COLUMN age DROP NOT NULL;")
    files = [str(tmp_path / "expand.sql")]
    assert main(["migrate", "lint", "--dialect", "postgres", *files]) == 1
    assert f"{files[0]}:1:1: error [irreversible]" in capsys.readouterr().out
    (tmp_path / "revert.sql").write_text("-- bleen: irreversible nobody leaves it out\n")
    assert main(["migrate", "lint", "--dialect", "postgres", *files, str(tmp_path / "revert.sql")]) == 0
