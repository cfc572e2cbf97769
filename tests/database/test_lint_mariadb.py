"""The rules of MySQL beside a real MariaDB: what we read, it reads; what we let pass, it does without copying; what we call a copy, it refuses to do online."""

import itertools
from collections.abc import Iterator

import pytest
from pymysql.connections import Connection
from pymysql.cursors import Cursor
from pymysql.err import MySQLError

from bleen.database.rules import lint
from bleen.database.rules.mysql import split
from lint_cases_mysql import BAD, BODIES, GOOD
from mariadb import MariaDB, connect

SYNTAX, NOT_SUPPORTED, NOT_SUPPORTED_BECAUSE = 1064, 1845, 1846
UNKNOWN_TYPE, UNKNOWN_ALGORITHM, UNKNOWN_OPTION = 4161, 1800, 1911
MYSQL_ALONE = (
    *("(LOWER(", "((COALESCE(", "((CONCAT_WS(", "((a IS", "(b + 1))", "((1 / a))", "((CAST("),
    *(" VISIBLE", "ENFORCED", "SET INVISIBLE", "DROP CHECK", "VIRTUAL NOT NULL", "EXPLAIN ANALYZE"),
)
MISSPELT = ("TABEL", "INTT", "NOT NUL", "FROBNICATE", "ALGORITM", "QUICK", "source", "(b INT")

ROWS = """
    CREATE TABLE b (id INT PRIMARY KEY);
    CREATE TABLE users (id INT PRIMARY KEY, b INT, name VARCHAR(20), place POINT NOT NULL DEFAULT (POINT(1, 1)));
    INSERT INTO b VALUES (1), (2);
    INSERT INTO users (id, b, name) VALUES (1, 1, 'x'), (2, 2, 'y')
"""


_numbers = itertools.count(1)


@pytest.fixture
def base(maria: MariaDB) -> Iterator["Connection[Cursor]"]:
    """A connection to a database of its own, with two tables that have rows."""
    name = f"test_{next(_numbers)}"
    with connect(maria.socket) as connection:
        told(connection, f"CREATE DATABASE {name}")
        connection.select_db(name)
        assert [told(connection, statement.text) for statement in split(ROWS)] == [0, 0, 0, 0]
        yield connection
    with connect(maria.socket) as other:
        told(other, f"DROP DATABASE {name}")


def told(connection: "Connection[Cursor]", statement: str) -> int:
    """What the server answers: the number of its error, 0 for none."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except MySQLError as error:
            return int(error.args[0])
    return 0


PASSED = [sql for phase, sql in GOOD if phase != "backfill" and sql and not any(word in sql for word in MYSQL_ALONE)]
NAMED = [sql for sql in PASSED if sql.lower().startswith(("alter table users add", "alter table `users` add")) and "algorithm" in sql.lower()]


@pytest.mark.parametrize("sql", PASSED)
def test_the_server_can_read_what_passes(base: "Connection[Cursor]", sql: str) -> None:
    """ "differential tests between the parsers" """
    assert SYNTAX not in {told(base, statement.text) for statement in split(sql)}


@pytest.mark.parametrize("sql", [sql for _, sql in BAD["not-understood"] if any(word in sql for word in MISSPELT)])
def test_the_server_cannot_read_what_is_misspelt_either(base: "Connection[Cursor]", sql: str) -> None:
    """ "a misspelt `ALTER TABEL` too" """
    assert told(base, sql) in (SYNTAX, UNKNOWN_TYPE, UNKNOWN_ALGORITHM, UNKNOWN_OPTION)


@pytest.mark.parametrize("sql", NAMED)
def test_the_server_adds_without_a_copy_what_passes(base: "Connection[Cursor]", sql: str) -> None:
    """ "Per phase and per dialect" """
    assert not {SYNTAX, NOT_SUPPORTED, NOT_SUPPORTED_BECAUSE}.intersection(told(base, statement.text) for statement in split(sql))


COPIES = {
    "volatile-default": ["ADD COLUMN a CHAR(36) DEFAULT (UUID())", "ADD COLUMN a CHAR(36) NOT NULL DEFAULT UUID()"],
    "rewriting-column": ["ADD COLUMN a INT GENERATED ALWAYS AS (b + 1) STORED", "ADD COLUMN a BIGINT NOT NULL AUTO_INCREMENT UNIQUE"],
    "inline-constraint": ["ADD COLUMN a INT REFERENCES b (id)"],
    "primary-key": ["DROP PRIMARY KEY", "DROP INDEX `PRIMARY`", "DROP CONSTRAINT `primary`"],
    "offline-index": ["ADD FULLTEXT INDEX i (name)", "ADD SPATIAL INDEX i (place)"],
    "check-constraint": ["ADD CONSTRAINT c CHECK (b > 0)"],
    "table-rewrite": ["CONVERT TO CHARACTER SET utf16", "ADD SYSTEM VERSIONING", "ORDER BY b"],
    "partition": ["PARTITION BY HASH (id) PARTITIONS 4"],
    "change-type": ["MODIFY name VARCHAR(5)", "CHANGE b b BIGINT"],
}


@pytest.mark.parametrize(("rule", "spec"), [(rule, spec) for rule, specs in COPIES.items() for spec in specs])
def test_the_server_refuses_to_do_online_what_we_say_that_it_copies(base: "Connection[Cursor]", rule: str, spec: str) -> None:
    sql = f"ALTER TABLE users ALGORITHM=INPLACE, LOCK=NONE{' ' if rule == 'partition' else ', '}{spec}"
    assert rule in {finding.rule for finding in lint(sql, "mysql", "expand")}
    assert told(base, sql) in (NOT_SUPPORTED, NOT_SUPPORTED_BECAUSE)


REFUSING = [
    "ADD COLUMN a INT NOT NULL DEFAULT 1, ALGORITHM=INSTANT;\nALTER TABLE users ALTER a DROP DEFAULT",
    "ADD COLUMN a INT CHECK (a IS NOT NULL), ALGORITHM=INSTANT",
    "ADD COLUMN a JSON NOT NULL DEFAULT '', ALGORITHM=INSTANT",
    "ADD COLUMN a JSON DEFAULT ('{'), ALGORITHM=INPLACE, LOCK=NONE",
    "ADD COLUMN a JSON DEFAULT '01', ALGORITHM=INSTANT",
    "ADD COLUMN a JSON DEFAULT 'NaN', ALGORITHM=INSTANT",
    "ADD COLUMN a LONGTEXT DEFAULT '[1,]' CHECK (json_valid(a)), ALGORITHM=INSTANT",
    "ADD COLUMN a INT NOT NULL DEFAULT 0 CHECK (a NOT IN (0, 1)), ALGORITHM=INSTANT",
    "ADD COLUMN a INT, ALGORITHM=INSTANT;\nALTER TABLE users ALTER a SET DEFAULT 5;\nALTER TABLE users ADD UNIQUE u (a), ALGORITHM=INPLACE, LOCK=NONE",
]


@pytest.mark.parametrize("spec", REFUSING)
def test_the_old_version_cannot_write_any_more_where_we_say_so(base: "Connection[Cursor]", spec: str) -> None:
    sql = f"ALTER TABLE users {spec}"
    assert "error" in {finding.severity for finding in lint(sql, "mysql", "expand")}
    assert {told(base, statement.text) for statement in split(sql)} == {0}
    assert {told(base, f"INSERT INTO users (id, b) VALUES ({number}, 1)") for number in (3, 4)} != {0}


@pytest.mark.parametrize(
    "type", ["DATETIME(3)", "TIMESTAMP(6)", "DATE", "TIME", "YEAR", "JSON", "UUID", "INET6", "ENUM('x', 'y')", "SET('x')", "BIT(8)", "BLOB"]
)
def test_a_column_is_filled_with_what_its_type_takes(base: "Connection[Cursor]", type: str) -> None:
    (fix,) = (finding.fix for finding in lint(f"ALTER TABLE users ADD a {type} NOT NULL COMMENT 'x' AFTER b, ALGORITHM=INSTANT", "mysql", "expand"))
    assert [told(base, statement.text) for statement in split(fix)] == ([0] if type == "TIMESTAMP(6)" else [0, 0, 0])


@pytest.mark.parametrize(
    "spec",
    [
        "ADD a VARCHAR(20) COLLATE utf8mb4_bin AS (name) VIRTUAL UNIQUE COMMENT 'x'",
        "ADD a CHAR(36) NOT NULL DEFAULT (UUID()) UNIQUE",
        "ADD a UUID NOT NULL DEFAULT UUID() COMMENT 'x' FIRST",
        "ADD a INT REFERENCES b (id) ON DELETE SET NULL",
        "ADD a INT NOT NULL CHECK (a >= 0)",
        "MODIFY name VARCHAR(30) NOT NULL DEFAULT 'x' COLLATE utf8mb4_bin COMMENT 'y' AFTER b",
    ],
)
def test_the_steps_of_a_fix_end_where_the_statement_would(base: "Connection[Cursor]", spec: str) -> None:
    """ "with the safe way written out for *this* statement" """
    (fix,) = (finding.fix for finding in lint(f"ALTER TABLE users {spec}", "mysql", "expand"))
    told(base, "CREATE TABLE meant LIKE users")
    assert told(base, f"ALTER TABLE meant {spec}") == 0
    assert {told(base, statement.text) for statement in split(fix)} == {0}
    ours, meant = (_columns(base, table) for table in ("users", "meant"))
    assert ours == meant


def _columns(base: "Connection[Cursor]", table: str) -> set[object]:
    """All that the server says of each column but its place; one that came in the place of another has its name."""
    with base.cursor() as cursor:
        cursor.execute(f"SHOW FULL COLUMNS FROM {table}")
        return {(str(name).removesuffix("_new"), *said) for name, *said in cursor.fetchall()}


def test_a_foreign_key_is_added_online_as_the_fix_says(base: "Connection[Cursor]") -> None:
    key = "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (b) REFERENCES b (id)"
    assert told(base, f"{key}, ALGORITHM=INPLACE, LOCK=NONE") == NOT_SUPPORTED_BECAUSE
    fix = next(finding.fix for finding in lint(key, "mysql", "expand") if finding.fix)
    assert [told(base, statement.text) for statement in split(fix)] == [0, 0, 0]


def test_the_server_can_read_every_way_out(base: "Connection[Cursor]") -> None:
    """ "with the safe way written out for *this* statement" """
    cases = [(phase, sql) for cases in BAD.values() for phase, sql in cases]
    fixes = {finding.fix for phase, sql in cases for finding in lint(sql, "mysql", "contract" if phase == "contract" else "expand")}
    statements = [statement.text for fix in fixes for statement in split(fix) if not any(word in statement.text for word in MYSQL_ALONE)]
    assert [sql for sql in statements if told(base, sql) == SYNTAX] == []


def test_the_server_takes_each_program_that_we_cut_out_of_a_file(base: "Connection[Cursor]") -> None:
    """ "fuzzed splitter [...] trigger bodies): never crashes, never mis-splits" """
    before = ["CREATE TABLE t (a INT, b INT)", "CREATE TABLE u (a INT)", "CREATE TRIGGER b AFTER UPDATE ON t FOR EACH ROW SET @b = 1"]
    programs = [statement.text for statement in split(";\n".join([*before, *BODIES]))]
    assert len(programs) == len(before) + len(BODIES)
    assert [sql for sql in programs if told(base, sql) == SYNTAX] == []
