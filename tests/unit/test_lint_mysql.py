"""The rules of MySQL and MariaDB, beyond their cases: where each points, and what its way out says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lint_cases import parts

from bleen.database.migration import Phase
from bleen.database.rules import Finding, Script, lint, lint_release
from bleen.database.rules.mysql import RULES
from bleen.database.statements import Dialect
from lint_cases_mysql import GOOD

QUICK = settings(max_examples=300)


def found(sql: str, phase: Phase) -> list[Finding]:
    return lint(sql, "mysql", phase, "a.sql")


def test_the_safe_way_is_written_for_this_statement() -> None:
    fixes = {sql: [finding.fix for finding in found(sql, "expand")] for sql in ("CREATE INDEX `i` ON a.users (b(3))", "ALTER TABLE `u` CHANGE a b INT")}
    assert fixes == {
        "CREATE INDEX `i` ON a.users (b(3))": ["CREATE INDEX `i` ON a.users (b(3)) ALGORITHM=INPLACE LOCK=NONE;"],
        "ALTER TABLE `u` CHANGE a b INT": [
            "ALTER TABLE `u` ADD COLUMN b INT NULL, ALGORITHM=INSTANT;\n"
            "-- in migration.toml, or what is written to a after the backfill is lost at contract:\n"
            '--   [[sync]]\n--   table = "`u`"\n--   old = ["a"]\n--   new = ["b"]\n'
            '--   forward = { b = "a" }\n--   backward = { a = "b" }\n--   on_conflict = "new"\n'
            "-- behind ADD COLUMN, if a has a default: ALTER TABLE `u` ALTER COLUMN b SET DEFAULT (that of a);\n"
            "-- backfill.sql\nUPDATE `u` SET b = a WHERE NOT (b <=> a);\n"
            "-- contract.sql\nALTER TABLE `u` DROP COLUMN a, ALGORITHM=INPLACE, LOCK=NONE;"
        ],
    }


@pytest.mark.parametrize(
    ("phase", "changes", "fix"),
    [
        (
            "expand",
            "ADD COLUMN (x INT NOT NULL, y INT), COMMENT = 't', ADD INDEX i (x), ALGORITHM=INPLACE, LOCK=NONE",
            "ALTER TABLE users ADD COLUMN x INT NULL, ALGORITHM=INSTANT;\n"
            "ALTER TABLE users ADD COLUMN y INT, COMMENT = 't', ADD INDEX i (x), ALGORITHM=INPLACE, LOCK=NONE;\n-- backfill.sql\n",
        ),
        (
            "contract",
            "ADD COLUMN x INT NOT NULL, DROP COLUMN y, ALGORITHM=INSTANT",
            "-- expand.sql\nALTER TABLE users ADD COLUMN x INT NULL, ALGORITHM=INSTANT;\n-- backfill.sql\nUPDATE users SET x = 0 WHERE x IS NULL;\n"
            "-- contract.sql\nALTER TABLE users MODIFY COLUMN x INT NOT NULL, ALGORITHM=INPLACE, LOCK=NONE;\n"
            "ALTER TABLE users DROP COLUMN y, ALGORITHM=INSTANT;",
        ),
        ("expand", "COMMENT = 't', DROP COLUMN w", "-- expand.sql\nALTER TABLE users COMMENT = 't';\n-- contract.sql\nALTER TABLE users DROP COLUMN w"),
        (
            "expand",
            "DROP COLUMN w, ADD COLUMN w INT, ALGORITHM=INSTANT",
            "-- contract.sql\nALTER TABLE users DROP COLUMN w, ALGORITHM=INPLACE, LOCK=NONE;\n"
            "-- in a release after that, as the name is taken until then: ALTER TABLE users ADD COLUMN w INT;",
        ),
    ],
)
def test_the_safe_way_of_one_part_says_the_harmless_ones_too(phase: Phase, changes: str, fix: str) -> None:
    """A safe way says all that the statement says"""
    (finding,) = found(f"ALTER TABLE users {changes}", phase)
    assert finding.fix.startswith(fix)
    assert [each for each in lint_release(parts(finding.fix, phase), "mysql") if each.severity == "error"] == []


def test_a_replace_has_no_safe_way_as_an_insert_is_another_change() -> None:
    assert [each.fix for each in found("REPLACE INTO users (id) VALUES (1)", "expand")] == [""]


def test_a_finding_points_at_the_part_that_is_wrong() -> None:
    sql = "ALTER TABLE users\n  ADD COLUMN a INT,\n  DROP COLUMN b,\n  ALGORITHM=INSTANT;\n  DROP TABLE users;"
    assert [(finding.line, finding.column, finding.rule) for finding in found(sql, "expand")] == [(3, 3, "drop-in-expand"), (5, 3, "drop-in-expand")]


def test_a_foreign_key_is_added_without_checks_and_checks_are_on_again_right_after() -> None:
    added = "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c (d), ALGORITHM=INPLACE, LOCK=NONE;"
    assert [finding.severity for finding in found(f"SET foreign_key_checks = 0;{added}SET SESSION foreign_key_checks = ON;", "contract")] == ["warn"]
    assert "session-setting" in {finding.rule for finding in found(f"SET foreign_key_checks = 0;{added}", "expand")}
    other = "ALTER TABLE a ADD COLUMN b INT, ALGORITHM=INSTANT;"
    assert "session-setting" in {finding.rule for finding in found(f"SET foreign_key_checks = 0;{other}SET foreign_key_checks = 1;", "expand")}


def test_what_every_server_does_online_anyway_is_a_warning_and_what_builds_or_moves_is_an_error() -> None:
    said = {
        spec: [finding.severity for finding in found(f"ALTER TABLE users {spec}", "contract") if finding.rule == "algorithm"]
        for spec in ("ADD COLUMN a INT", "DROP COLUMN a", "ADD COLUMN a INT FIRST", "ADD INDEX (a)", "MODIFY a INT NOT NULL")
    }
    assert list(said.values()) == [["warn"], ["warn"], ["error"], ["error"], ["error"]]


def test_a_pipe_is_told_at_its_place_with_concat_in_its_stead() -> None:
    """MySQL, "Server SQL Modes": `||` is OR, unless sql_mode has PIPES_AS_CONCAT."""
    said = {
        sql: [(finding.line, finding.column, finding.fix) for finding in found(sql, "backfill")]
        for sql in (
            "UPDATE users\nSET a = b || ' ' || COALESCE(c || d, '') WHERE e OR f",
            "UPDATE users SET a = CASE WHEN b THEN c END || d",
            "UPDATE users SET a = 'b' 'c' || d",
            "UPDATE users SET a = b || _utf8'c'",
            "UPDATE users SET a = b || c WHERE d || e",
            "UPDATE users SET a = 1 + b || c.d, e = -1",
        )
    }
    assert list(said.values()) == [
        [(2, 11, "UPDATE users\nSET a = CONCAT(b, ' ', COALESCE(CONCAT(c, d), '')) WHERE e OR f;")],
        [(1, 45, "")],
        [(1, 30, "")],
        [(1, 24, "")],
        [(1, 24, "")],
        [(1, 28, "UPDATE users SET a = 1 + CONCAT(b, c.d), e = -1;")],
    ]


def test_a_fix_keeps_what_the_statement_says_of_the_column_and_of_the_index() -> None:
    place = "COMMENT 'x' COLLATE utf8mb4_bin AFTER c"
    cases: list[tuple[Phase, str]] = [
        ("expand", f"ALTER TABLE u ADD a ENUM('x', 'y') NOT NULL {place}, ALGORITHM=INSTANT"),
        ("expand", "ALTER TABLE u ADD a POINT NOT NULL, ALGORITHM=INSTANT"),
        ("expand", "CREATE UNIQUE INDEX IF NOT EXISTS i USING BTREE ON u (a) COMMENT 'x' LOCK=NONE"),
        ("contract", "ALTER TABLE u MODIFY a VARCHAR(20)"),
        ("contract", "ALTER TABLE u MODIFY a BIGINT"),
    ]
    enum, point, index, longer, other = (next(finding.fix for finding in found(sql, phase) if finding.fix) for phase, sql in cases)
    assert enum == (
        f"ALTER TABLE u ADD COLUMN a ENUM('x', 'y') NULL {place}, ALGORITHM=INSTANT;\n-- backfill.sql\nUPDATE u SET a = 'x' WHERE a IS NULL;\n"
        "-- contract.sql\nALTER TABLE u MODIFY COLUMN a ENUM('x', 'y') NOT NULL COMMENT 'x' COLLATE utf8mb4_bin, ALGORITHM=INPLACE, LOCK=NONE;"
    )
    assert "SET a = `a POINT for every row` WHERE" in point  # a name that no column has: it cannot be run unread
    assert index == "CREATE UNIQUE INDEX IF NOT EXISTS i USING BTREE ON u (a) COMMENT 'x' ALGORITHM=INPLACE LOCK=NONE;"
    assert longer == "ALTER TABLE u MODIFY a VARCHAR(20), ALGORITHM=INPLACE, LOCK=NONE;"
    assert other.startswith("-- expand.sql\nALTER TABLE u ADD COLUMN `a_new` BIGINT NULL, ALGORITHM=INSTANT;")


def test_a_column_that_the_release_has_added_may_be_another_if_the_server_need_not_copy() -> None:
    sql = "ALTER TABLE u ADD a INT, ALGORITHM=INSTANT; ALTER TABLE u MODIFY a BIGINT"
    (finding,) = found(sql, "expand")
    assert (finding.rule, finding.fix) == ("algorithm", "ALTER TABLE u MODIFY a BIGINT, ALGORITHM=INPLACE, LOCK=NONE;")
    assert found(f"{sql}, ALGORITHM=INPLACE, LOCK=NONE", "expand") == []


@pytest.mark.parametrize("change", ["ADD a INT NOT NULL", "RENAME COLUMN a TO b"])
def test_what_a_backfill_fills_is_there_before(change: str) -> None:
    assert [finding.fix.startswith("-- expand.sql\n") for finding in found(f"ALTER TABLE u {change}", "contract") if finding.severity == "error"] == [True]


def test_a_statement_that_names_how_it_is_done_keeps_all_of_its_parts() -> None:
    parts = "DROP COLUMN a, DROP INDEX i, ALTER b SET DEFAULT 1"
    fixes = [finding.fix for finding in found(f"ALTER TABLE u {parts}", "contract")]
    assert fixes == [f"ALTER TABLE u {parts}, ALGORITHM=INPLACE, LOCK=NONE;"]


def test_an_update_that_passes_over_faults_is_no_backfill() -> None:
    changes = ("UPDATE IGNORE u SET a = 1 WHERE b = 2", "DELETE IGNORE FROM u WHERE b = 2", "UPDATE LOW_PRIORITY u SET a = 1 WHERE b = 2")
    assert [finding.fix for sql in changes for finding in found(sql, "expand")] == ["", "", "-- backfill.sql\nUPDATE u SET a = 1 WHERE b = 2;"]


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
@pytest.mark.parametrize(
    ("condition", "safe"),
    [
        ("o.n = (SELECT max(b.n) FROM bills b WHERE b.user_id = u.id)", True),
        ("u.n = (SELECT max(n) FROM users WHERE n < u.n)", False),
        ("o.n = (SELECT max(u.n) FROM bills u WHERE u.id = o.id)", False),
    ],
)
def test_a_safe_way_is_only_written_where_each_name_goes_on_to_mean_the_same(dialect: Dialect, condition: str, safe: bool) -> None:
    joined = (
        "UPDATE users u JOIN orders o ON o.id = u.id SET u.a = o.a WHERE"
        if dialect == "mysql"
        else "UPDATE users AS u SET a = o.a FROM orders o WHERE o.id = u.id AND"
    )
    (told,) = lint(f"{joined} {condition}", dialect, "expand")
    assert (told.rule, bool(told.fix)) == ("second-table", safe)


def test_a_safe_way_names_the_schema_once_and_gives_no_default_by_a_subquery() -> None:
    (told,) = lint("UPDATE main.a SET n = b.n FROM main.b b WHERE b.id = main.a.id", "sqlite", "backfill")
    assert "WHERE b.id = main.a.id)" in told.fix
    (told,) = lint("UPDATE a JOIN b ON b.id = a.id SET a.n = DEFAULT WHERE b.n = 1", "mysql", "backfill")
    assert (told.rule, told.fix) == ("second-table", "")
    (told,) = lint("UPDATE a AS o SET n = b.n FROM main.a b WHERE b.id = o.parent", "sqlite", "backfill")
    assert (told.rule, told.fix) == ("second-table", ""), "the same table, by its longer name"


def test_what_is_dropped_later_is_dropped_as_it_is_written() -> None:
    dropped = ("DROP TABLE IF EXISTS users", "DROP INDEX IF EXISTS i ON users")
    fixes = [finding.fix for sql in dropped for finding in found(sql, "expand")]
    assert fixes == ["-- contract.sql\nDROP TABLE IF EXISTS users;", "-- contract.sql\nALTER TABLE users DROP INDEX IF EXISTS i;"]


@pytest.mark.parametrize(
    ("part", "written"),
    [("CAST(data->'$.a' AS UNSIGNED ARRAY)", "data"), ("CAST(a AS CHAR(9) CHARACTER SET latin1), b", "a, b"), ("a / 0b11 + x'0f' + b'1'", "a")],
)
def test_what_is_no_column_is_not_told_as_one(part: str, written: str) -> None:
    (told,) = (each for each in found(f"CREATE INDEX i ON users (({part})) ALGORITHM=INPLACE LOCK=NONE", "expand") if each.severity == "warn")
    assert f" as it writes {written}: " in told.message


def test_a_check_of_a_new_column_is_told_of_its_default() -> None:
    (told,) = (each for each in found("ALTER TABLE users ADD COLUMN a INT DEFAULT 1 CHECK (mod(a, 2) = 1)", "expand") if each.severity == "warn")
    assert "leaves a to the default" in told.message


def test_a_setting_is_told_as_it_is_written() -> None:
    said = [finding.message for sql in ("SET STATEMENT a = 1 FOR SELECT 1", "SET @a := 1", "SET CHARACTER SET latin1") for finding in found(sql, "expand")]
    assert [message.partition(" changes ")[0] for message in said[:2]] == ["STATEMENT a", "@a"]
    assert said[2].startswith("holds for the session")


STEPS = {
    "ADD a INT AS (b) VIRTUAL UNIQUE COMMENT 'x' AFTER b": [
        "ADD COLUMN a INT AS (b) VIRTUAL COMMENT 'x' AFTER b, ALGORITHM=INSTANT",
        "ADD UNIQUE INDEX `u_a_unique` (a), ALGORITHM=INPLACE, LOCK=NONE",
    ],
    "ADD a INT AS (b) STORED NOT NULL": ["ADD COLUMN a INT GENERATED ALWAYS AS (b) VIRTUAL NOT NULL, ALGORITHM=INSTANT"],
    "ADD a INT NOT NULL UNIQUE DEFAULT 5": [],
    "ADD a TINYTEXT UNIQUE": [],
    "ADD a CHAR(36) NOT NULL DEFAULT (UUID()) UNIQUE": [
        "ADD COLUMN a CHAR(36) NULL, ALGORITHM=INSTANT",
        "ALTER COLUMN a SET DEFAULT (UUID())",
        "ADD UNIQUE INDEX `u_a_unique` (a), ALGORITHM=INPLACE, LOCK=NONE",
        "SET a = UUID() WHERE a IS NULL",
        "MODIFY COLUMN a CHAR(36) NOT NULL DEFAULT (UUID()), ALGORITHM=INPLACE, LOCK=NONE",
    ],
    "ADD COLUMN IF NOT EXISTS a UUID NOT NULL DEFAULT UUID()": [
        "ADD COLUMN IF NOT EXISTS a UUID NULL, ALGORITHM=INSTANT",
        "ALTER COLUMN a SET DEFAULT (UUID())",
        "SET a = UUID() WHERE a IS NULL",
        "MODIFY COLUMN a UUID NOT NULL DEFAULT UUID(), ALGORITHM=INPLACE, LOCK=NONE",
    ],
    "ADD a INT NOT NULL REFERENCES b (id) ON DELETE CASCADE": [
        "ADD COLUMN a INT NULL, ALGORITHM=INSTANT",
        "ADD FOREIGN KEY (a) REFERENCES b (id) ON DELETE CASCADE, ALGORITHM=INPLACE, LOCK=NONE",
        "SET a = `another INT for each row` WHERE a IS NULL",
        "MODIFY COLUMN a INT NOT NULL, ALGORITHM=INPLACE, LOCK=NONE",
    ],
    "ADD a INT NOT NULL CHECK (a > 0)": [
        "ADD COLUMN a INT NULL CHECK (a > 0), ALGORITHM=INSTANT",
        "SET a = `a INT for every row` WHERE a IS NULL",
        "MODIFY COLUMN a INT NOT NULL CHECK (a > 0), ALGORITHM=INPLACE, LOCK=NONE",
    ],
    "MODIFY a VARCHAR(30) NOT NULL DEFAULT 'x' COLLATE utf8mb4_bin AFTER b": [
        "ADD COLUMN `a_new` VARCHAR(30) NULL COLLATE utf8mb4_bin AFTER b, ALGORITHM=INSTANT",
        "ALTER COLUMN `a_new` SET DEFAULT ('x')",
        "SET `a_new` = a WHERE NOT (`a_new` <=> a)",
        "MODIFY COLUMN `a_new` VARCHAR(30) NOT NULL DEFAULT 'x' COLLATE utf8mb4_bin, ALGORITHM=INPLACE, LOCK=NONE",
        "DROP COLUMN a, ALGORITHM=INPLACE, LOCK=NONE",
    ],
    "MODIFY a BIGINT UNIQUE": [],
}


@pytest.mark.parametrize("spec", STEPS)
def test_a_fix_says_all_that_the_statement_says_or_there_is_none(spec: str) -> None:
    (fix,) = (finding.fix for finding in found(f"ALTER TABLE u {spec}", "expand") if finding.severity == "error")
    lines = [line.removeprefix("ALTER TABLE u ").removeprefix("UPDATE u ").removesuffix(";") for line in fix.splitlines()]
    assert [line for line in lines if not line.startswith(("--", "SET foreign_key_checks"))] == STEPS[spec]


def test_an_index_gets_no_longer_name_than_a_server_takes() -> None:
    (fix,) = (finding.fix for finding in found(f"ALTER TABLE {'u' * 64} ADD {'a' * 64} INT UNIQUE", "expand"))
    assert f"ADD UNIQUE INDEX `{'u' * 57}_unique`" in fix


def test_a_new_table_that_rows_in_use_cascade_from_is_not_free() -> None:
    cascade = "SET foreign_key_checks = 0; ALTER TABLE users ADD FOREIGN KEY (a) REFERENCES n (id) ON DELETE CASCADE, ALGORITHM=INPLACE, LOCK=NONE;"
    sql = f"CREATE TABLE n (id INT PRIMARY KEY); {cascade} SET foreign_key_checks = 1; DELETE FROM n"
    assert [finding.rule for finding in found(sql, "expand")] == ["holds-the-old-version", "foreign-key", "delete-without-where"]


def test_the_example_of_the_article_passes_when_it_is_split_by_phase() -> None:
    """ "The article's own example [...] works" """
    expand = Script("ALTER TABLE users ADD COLUMN full_name VARCHAR(255);", "expand.sql", "expand")
    backfill = Script("UPDATE users SET full_name = CONCAT(first_name, ' ', last_name);", "backfill.sql", "backfill")
    contract = Script("ALTER TABLE users DROP COLUMN first_name;\nALTER TABLE users DROP COLUMN last_name;", "contract.sql", "contract")
    assert {finding.severity for finding in lint_release([expand, backfill, contract], "mysql")} == {"warn"}


def test_an_override_names_the_rule_and_is_a_comment() -> None:
    """ "Overridable by a comment that names the rule and a reason" """
    assert found("# bleen: allow truncate the table is empty\nTRUNCATE a", "expand") == []
    assert [finding.rule for finding in found("TRUNCATE a; -- 'bleen: allow truncate x'\nTRUNCATE b", "expand")] == ["truncate", "truncate"]
    assert [finding.rule for finding in found("/*! bleen: allow executable-comment x */ TRUNCATE a", "expand")] == ["executable-comment"]


WORDS = """
    ALTER TABLE users ADD COLUMN a INT NOT NULL DEFAULT ( ) , ; . = ' " ` -- # /* */ /*! 1 'x' `b` INDEX KEY CONSTRAINT FOREIGN REFERENCES CHECK
    DROP RENAME TO CHANGE MODIFY FIRST AFTER ALGORITHM INSTANT LOCK NONE CREATE TRIGGER BEGIN END IF CASE BEFORE INSERT ON FOR EACH ROW UPDATE SET
    WHERE DELETE FROM INTO VALUES SELECT DELIMITER // PARTITION BY GENERATED ALWAYS AS STORED UNIQUE PRIMARY VIEW OR REPLACE UNION @ @@ \0 \\ \u00e9
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


@given(st.sampled_from([sql for told, sql in GOOD if told == "both" and sql and "\n" not in sql]), st.data())
@QUICK
def test_what_is_misspelt_never_passes_as_another_change(sql: str, data: st.DataObject) -> None:
    """ "a misspelt `ALTER TABEL` too" """
    words = sql.split(" ")
    first = data.draw(st.integers(0, min(2, len(words) - 1)))
    if words[first].upper() not in ("ALTER", "TABLE", "CREATE", "INSERT", "INTO", "GRANT", "ADD", "INDEX", "VIEW"):
        return
    words[first] = words[first][:-1] + "Q"
    assert found(" ".join(words), "expand"), " ".join(words)
