"""The rules of SQLite, beyond their cases: where each points, and what its way out says."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lint_cases import fixes, parts
from lint_cases_sqlite import BAD, GOOD

from bleen.database.migration import Phase
from bleen.database.rules import Finding, Script, lint, lint_release
from bleen.database.rules.sqlite import RULES, split

QUICK = settings(max_examples=300)


def found(sql: str, phase: Phase) -> list[Finding]:
    return lint(sql, "sqlite", phase, "a.sql")


LEFT_OUT = "-- left out, since SQLite adds it to no table with rows, so that the application sees to it:"


@pytest.mark.parametrize(
    ("column", "fix"),
    [
        ("`a` TEXT UNIQUE", 'ALTER TABLE [u] ADD COLUMN `a` TEXT;\nCREATE UNIQUE INDEX "u_a_unique" ON [u] (`a`);'),
        ("a REAL NOT NULL", "ALTER TABLE [u] ADD COLUMN a REAL NOT NULL DEFAULT 0;"),
        ("a INT CHECK (a < 5) CHECK (a >= 0) NOT NULL", "ALTER TABLE [u] ADD COLUMN a INT CHECK (a < 5) CHECK (a >= 0) NOT NULL DEFAULT 0;"),
        (
            "a TEXT COLLATE NOCASE NOT NULL CHECK (a <> '')",
            f"{LEFT_OUT} NOT NULL\nALTER TABLE [u] ADD COLUMN a TEXT COLLATE NOCASE CHECK (a <> '');",
        ),
        ("a INT NOT NULL REFERENCES t (id)", f"{LEFT_OUT} NOT NULL\nALTER TABLE [u] ADD COLUMN a INT REFERENCES t (id);"),
        ("a INT AS (b) STORED NOT NULL", "ALTER TABLE [u] ADD COLUMN a INT GENERATED ALWAYS AS (b) VIRTUAL NOT NULL;"),
        (
            "a INT AS (b) VIRTUAL UNIQUE",
            'ALTER TABLE [u] ADD COLUMN a INT AS (b) VIRTUAL;\n-- contract.sql\nCREATE UNIQUE INDEX "u_a_unique" ON [u] (a);',
        ),
        ("a INT UNIQUE DEFAULT 5", ""),
        ("a INT UNIQUE DEFAULT 5 REFERENCES t (id)", ""),
        ("a TEXT UNIQUE DEFAULT CURRENT_TIMESTAMP", ""),
        (
            "a INT UNIQUE ON CONFLICT IGNORE",
            f'{LEFT_OUT} ON CONFLICT IGNORE\nALTER TABLE [u] ADD COLUMN a INT;\nCREATE UNIQUE INDEX "u_a_unique" ON [u] (a);',
        ),
        (
            "a TEXT NOT NULL DEFAULT (hex(1)) COLLATE NOCASE",
            f"{LEFT_OUT} NOT NULL DEFAULT (hex(1))\nALTER TABLE [u] ADD COLUMN a TEXT COLLATE NOCASE;\n"
            "-- backfill.sql\nUPDATE [u] SET a = (hex(1)) WHERE a IS NULL;",
        ),
    ],
)
def test_the_safe_way_is_written_for_this_statement_and_tells_what_it_leaves_out(column: str, fix: str) -> None:
    assert [finding.fix for finding in found(f"ALTER TABLE [u] ADD {column}", "expand") if finding.severity == "error"] == [fix]


def test_a_safe_way_that_is_another_change_is_none_or_says_so() -> None:
    """ "where a part of it cannot be had so, a comment in it tells which, and where it would be another change there is none" """
    assert [found(f"{verb} INTO users (id) VALUES (1)", "expand")[0].fix for verb in ("REPLACE", "INSERT OR REPLACE")] == ["", ""]
    view = "-- SQLite writes to no view but by its INSTEAD OF triggers: write what people is to get to users\nCREATE VIEW people AS SELECT * FROM users;"
    assert [each.fix for each in found("ALTER TABLE users RENAME TO people", "expand")] == [view]


def test_the_index_of_a_unique_column_is_in_the_database_of_its_table() -> None:
    (fix,) = (finding.fix for finding in found("ALTER TABLE main.u ADD a INT UNIQUE", "expand"))
    assert fix.splitlines()[1] == 'CREATE UNIQUE INDEX main."u_a_unique" ON u (a);'


@pytest.mark.parametrize("change", ["ADD a TEXT DEFAULT (hex(1))", "RENAME COLUMN a TO b"])
def test_what_a_backfill_fills_is_there_before(change: str) -> None:
    assert [finding.fix.startswith("-- expand.sql\n") for finding in found(f"ALTER TABLE u {change}", "contract") if finding.severity == "error"] == [True]


def test_an_update_that_passes_over_faults_is_no_backfill() -> None:
    assert [finding.fix for finding in found("UPDATE OR IGNORE u SET a = 1 WHERE b = 2", "expand")] == [""]


def test_what_is_dropped_later_is_dropped_as_it_is_written() -> None:
    assert [finding.fix for finding in found("DROP INDEX IF EXISTS i", "expand")] == ["-- contract.sql\nDROP INDEX IF EXISTS i;"]


def test_what_holds_the_old_version_is_told_by_its_columns() -> None:
    sql = "ALTER TABLE u ADD a INT CHECK (coalesce(b, a) GLOB 'x' AND c NOTNULL)"
    assert ["as it writes b, c:" in finding.message for finding in found(sql, "expand") if finding.rule == "holds-the-old-version"] == [True]


def test_a_finding_points_at_the_part_that_is_wrong() -> None:
    sql = "CREATE TABLE a (\n  id INT\n);\nALTER TABLE users\n  DROP COLUMN b;\n  DROP TABLE users;\nCREATE TABLE c (d INT) ENGINE=x"
    places = [(finding.line, finding.column, finding.rule) for finding in found(sql, "expand")]
    assert places == [(5, 3, "drop-in-expand"), (6, 3, "drop-in-expand"), (7, 30, "not-understood")]


def test_the_table_rebuild_of_the_manual_is_found_step_by_step() -> None:
    """ "SQLite's table rebuild" (SQLite, "ALTER TABLE", section 7)"""
    sql = "CREATE TABLE new_x (id INTEGER PRIMARY KEY, a);\nINSERT INTO new_x SELECT id, a FROM x;\nDROP TABLE x;\nALTER TABLE new_x RENAME TO x;"
    assert [finding.rule for finding in found(sql, "expand")] == ["copies-rows", "drop-in-expand", "table-rebuild"]
    assert [finding.rule for finding in found(sql, "contract")] == ["copies-rows", "table-rebuild"]


def test_the_example_of_the_article_passes_when_it_is_split_by_phase() -> None:
    """ "The article's own example [...] works" """
    expand = Script("ALTER TABLE users ADD COLUMN full_name VARCHAR(255);", "expand.sql", "expand")
    backfill = Script("UPDATE users SET full_name = first_name || ' ' || last_name;", "backfill.sql", "backfill")
    contract = Script("ALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users DROP COLUMN last_name;", "contract.sql", "contract")
    assert [finding.severity for finding in lint_release([expand, backfill, contract], "sqlite")] == ["warn", "warn"]


def test_an_override_names_the_rule_and_is_a_comment() -> None:
    """ "Overridable by a comment that names the rule and a reason" """
    assert found("--bleen: allow vacuum the file is small\nVACUUM", "expand") == []
    assert [finding.rule for finding in found("VACUUM; SELECT '-- bleen: allow vacuum x'", "expand")] == ["vacuum"]


def test_what_was_rolled_back_is_not_new() -> None:
    sql = "CREATE TABLE users (id);\nROLLBACK; -- bleen: allow transaction-control the table may be there\nDROP TABLE users;"
    assert [finding.rule for finding in found(sql, "expand")] == ["drop-in-expand"]


POPULATED = """
    CREATE TABLE b (id INTEGER PRIMARY KEY, a INT, b INT, c INT, d INT);
    CREATE TABLE users (id INTEGER PRIMARY KEY, b INT DEFAULT 1, first_name TEXT, last_name TEXT);
    INSERT INTO b VALUES (1, 1, 1, 1, 1);
    INSERT INTO users (id) VALUES (1), (2);
    PRAGMA foreign_keys = ON;
"""


@pytest.mark.parametrize("sql", [sql for told, sql in GOOD if told == "both" and "ADD" in sql])
def test_sqlite_takes_each_column_that_passes_for_a_table_with_rows(sql: str) -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(POPULATED)
    database.executescript(sql)


REFUSED = ["add-not-null", "volatile-default", "rewriting-column", "foreign-key"]


@pytest.mark.parametrize("sql", [sql for rule in REFUSED for told, sql in BAD[rule] if told == "both"])
def test_sqlite_refuses_what_we_say_that_it_refuses(sql: str) -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(POPULATED)
    with pytest.raises(sqlite3.OperationalError, match=r"(?i)cannot add a"):
        database.executescript(sql)


def test_a_delete_of_the_old_version_fails_where_a_new_table_refers_to_what_is_no_key() -> None:
    """SQLite, "SQLite Foreign Key Support", 3: "foreign key mismatch" """
    sql = "CREATE TABLE notes (author TEXT REFERENCES users (first_name) ON DELETE CASCADE);"
    (finding,) = found(sql, "expand")
    assert (finding.rule, finding.severity, finding.column) == ("foreign-key", "warn", 33)
    assert "each DELETE of the old version from users fails unless first_name is" in finding.message
    database = sqlite3.connect(":memory:")
    database.executescript(POPULATED + sql)
    assert "foreign key mismatch" in refusal(database, "DELETE FROM users WHERE id = 1")


@pytest.mark.parametrize("rule", BAD)
def test_sqlite_takes_the_safe_way(rule: str) -> None:
    for phase, fix in fixes("sqlite", BAD[rule]):
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(POPULATED)
            said = [refusal(database, statement.text) for script in parts(fix, phase) for statement in split(script.text)]
            assert [why for why in said if not why.startswith("no such")] == [], (phase, fix)


def refusal(database: sqlite3.Connection, statement: str) -> str:
    """Why a database does not take a statement; "no such" thing if it does, or knows too little."""
    try:
        database.execute(statement)
    except sqlite3.OperationalError as error:
        return str(error)
    return "no such refusal"


WORDS = """
    ALTER TABLE users ADD COLUMN a INT NOT NULL DEFAULT ( ) , ; . = ' " ` -- # /* */ /*! 1 'x' `b` INDEX KEY CONSTRAINT FOREIGN REFERENCES CHECK
    DROP RENAME TO CHANGE MODIFY FIRST AFTER ALGORITHM INSTANT LOCK NONE CREATE TRIGGER BEGIN END IF CASE BEFORE INSERT ON FOR EACH ROW UPDATE SET
    WHERE DELETE FROM INTO VALUES SELECT TEMP VIRTUAL USING PRAGMA GENERATED ALWAYS AS STORED UNIQUE PRIMARY VIEW OR REPLACE UNION @ @@ \0 \\ \u00e9
""".split()


@given(
    st.one_of(st.lists(st.sampled_from([*WORDS, "\n"]), max_size=25).map(" ".join), st.text(max_size=40)), st.sampled_from(["expand", "backfill", "contract"])
)
@QUICK
def test_any_text_is_answered_with_findings_that_stand_in_it(text: str, phase: Phase) -> None:
    lines = text.split("\n")
    for finding in found(text, phase):
        assert 1 <= finding.line <= len(lines)
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
        assert finding.rule in RULES


@pytest.mark.parametrize(
    "sql", ["SELECT row_number() OVER (ORDER BY a), lag(a) OVER w FROM users WINDOW w AS (ORDER BY b)", "SELECT name FROM pragma_table_info('users') AS p"]
)
def test_a_query_that_only_reads_is_a_warning(sql: str) -> None:
    assert [(each.rule, each.severity) for each in lint(sql, "sqlite", "expand")] == [("side-effect", "warn")]
