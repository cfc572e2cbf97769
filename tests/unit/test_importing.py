"""Files of SQL that were written for one release, split by phase."""

import json
import sys
import tomllib
from contextlib import nullcontext
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bleen.cli import main
from bleen.database.importing import Imported, Unfit, lint, split
from bleen.database.migration import Pair, parse, read, read_all
from bleen.database.rules import Script, lint_release
from bleen.database.statements import DIALECTS, Dialect
from bleen.errors import UserError

ARTICLE = {
    "expand.sql": """\
-- Add new column, keep old one
ALTER TABLE users ADD COLUMN full_name VARCHAR(255);
-- Backfill new column
UPDATE users SET full_name = first_name || ' ' || last_name;
""",
    "contract.sql": """\
-- Now safe to remove old columns
ALTER TABLE users DROP COLUMN first_name;
ALTER TABLE users DROP COLUMN last_name;
""",
}


def one(text: str, dialect: Dialect = "postgres") -> Imported:
    (only,) = split([("change.sql", text)], dialect)
    return only


def pairs(imported: Imported) -> tuple[Pair, ...]:
    """What migration.toml pairs, once every backward that is open is written."""
    toml = imported.files["migration.toml"].replace('= ""', '= "x"')
    return parse("0001_x", {**imported.files, "migration.toml": toml}, "x").pairs


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("files", [list(ARTICLE.items()), [("all.sql", "".join(ARTICLE.values()))]], ids=["two files", "one file"])
def test_the_article_s_own_example_is_split_by_phase(dialect: Dialect, files: list[tuple[str, str]]) -> None:
    """The article's own example, ADD COLUMN and a whole-table UPDATE in one file and the DROPs in another, works."""
    (made,) = split(files, dialect)
    assert made.files["expand.sql"] == "-- Add new column, keep old one\nALTER TABLE users ADD COLUMN full_name VARCHAR(255);\n"
    assert made.files["backfill.sql"] == "-- Backfill new column\nUPDATE users SET full_name = first_name || ' ' || last_name;\n"
    assert made.files["contract.sql"] == ARTICLE["contract.sql"]
    assert "ALTER TABLE users DROP COLUMN" in made.files["revert.sql"]
    assert "full_name" in made.files["revert.sql"]
    (pair,) = pairs(made)
    assert (pair.table, pair.old, pair.new) == ("users", ("first_name", "last_name"), ("full_name",))
    assert pair.forward == {"full_name": "first_name || ' ' || last_name"}
    refused = ["pipes"] if dialect == "mysql" else []  # || is OR there, and a backfill does not take it: the finding has CONCAT in its stead
    assert [each.rule for each in lint([("0001_x", made)], dialect) if each.severity == "error"] == refused


def test_that_mysql_reads_the_article_s_expression_as_a_condition_is_said() -> None:
    made = one("".join(ARTICLE.values()), "mysql")
    assert made.notes[0] == "change.sql:4:1: || is OR in MySQL, unless sql_mode has PIPES_AS_CONCAT: CONCAT(a, b) joins strings"


STATEMENTS = [
    "ALTER TABLE a ADD b int",
    "ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0) NOT VALID",
    "UPDATE a SET b = ';' || c WHERE k = 1",
    "UPDATE d SET e = 1",
    "ALTER TABLE a DROP c",
    "DROP TABLE d",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$",
    "CREATE VIEW v AS SELECT 1 -- of one",
    "DELETE FROM g WHERE id < 9",
]
BETWEEN = [";", ";\n", " ;\n\n-- a comment; with a semicolon\n", ";  /* behind; it */ ", ";-- 'at its end\n"]


@given(st.lists(st.tuples(st.sampled_from(STATEMENTS), st.sampled_from(BETWEEN)), min_size=1, max_size=8, unique_by=lambda each: each[0]))
def test_no_statement_and_no_comment_is_lost_or_comes_twice(parts: list[tuple[str, str]]) -> None:
    text = "".join(f"{statement}\n{between}" for statement, between in parts)
    made = split([("change.sql", text)], "postgres")
    files = [each.files.get(f"{phase}.sql", "") for each in made for phase in ("expand", "backfill", "contract")]
    for statement, _ in parts:
        assert sum(file.count(statement.removesuffix(" -- of one")) for file in files) == 1, files
    for comment in ("-- of one", "-- a comment; with a semicolon", "/* behind; it */", "-- 'at its end"):
        assert sum(file.count(comment) for file in files) == text.count(comment)
    again = split([(str(number), file) for number, file in enumerate(files) if file], "postgres")
    assert [each.files for each in again] == [each.files for each in made]


def test_what_cannot_be_derived_is_open_and_refused_until_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full_name.sql").write_text("".join(ARTICLE.values()))
    assert main(["migrate", "import", "full_name.sql"]) == 0
    folder = Path("migrations/0001_full_name")
    with pytest.raises(UserError, match=r"0001_full_name/migration.toml: \[\[sync\]\] 1: backward of first_name is not written yet"):
        read(folder)
    toml = (folder / "migration.toml").read_text()
    assert "TODO" in toml
    backward = """{ first_name = "split_part(full_name, ' ', 1)", last_name = "split_part(full_name, ' ', 2)" }"""
    (folder / "migration.toml").write_text(toml.replace('{ first_name = "", last_name = "" }', backward))
    assert read(folder).pairs[0].backward["last_name"] == "split_part(full_name, ' ', 2)"


@pytest.mark.parametrize(
    ("expression", "backward"),
    [
        ("age", "years"),
        ("age::bigint", "years"),
        ("CAST(age AS bigint)", "years"),
        ("NOT age", "NOT years"),
        ("age::text", ""),
        ("age + 1", ""),
        ("lower(age)", ""),
    ],
)
def test_a_column_that_is_copied_cast_or_negated_comes_back_by_itself(expression: str, backward: str) -> None:
    made = one(f"ALTER TABLE users ADD years bigint; UPDATE users SET years = {expression} WHERE years IS NULL; ALTER TABLE users DROP age;")
    assert f'backward = {{ age = "{backward}" }}' in made.files["migration.toml"]
    assert bool(made.notes) == (not backward)


def test_columns_that_are_made_from_the_same_ones_are_one_pair_and_others_another() -> None:
    made = one(
        "UPDATE users SET first_name = split_part(name, ' ', 1), last_name = split_part(name, ' ', 2), years = age;"
        "ALTER TABLE users DROP COLUMN name, DROP COLUMN age;"
    )
    assert [(pair.old, pair.new) for pair in pairs(made)] == [(("name",), ("first_name", "last_name")), (("age",), ("years",))]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_column_that_was_there_before_is_on_no_new_side(dialect: Dialect) -> None:
    """The version that serves writes it, too: a trigger would write over that."""
    text = "ALTER TABLE users ADD COLUMN low varchar(99); UPDATE users SET low = lower(email), nick = substr(email, 1, 9); ALTER TABLE users DROP COLUMN email;"
    assert [(pair.old, pair.new) for pair in pairs(one(text, dialect))] == [(("email",), ("low",))]
    assert pairs(one(text.replace("low varchar(99)", "more int"), dialect)) == ()


def test_sqlites_table_rebuild_is_called_so_with_what_to_write_instead() -> None:
    """As `manage.py sqlmigrate` prints it."""
    rebuild = 'CREATE TABLE "new__a" (id int);\nINSERT INTO "new__a" SELECT id FROM "a";\nDROP TABLE "a";\nALTER TABLE "new__a" RENAME TO "a";'
    with pytest.raises(Unfit, match=r"^a\.sql:4:1: makes the table a again, which a\.sql:3:1 drops: .*it is SQLite's table rebuild"):
        split([("a.sql", rebuild)], "sqlite")


def test_a_backfill_that_nothing_keeps_in_step_is_told() -> None:
    made = one("ALTER TABLE users ADD a int;\nUPDATE users SET a = b;")
    assert "[[sync]]" not in made.files["migration.toml"]
    assert made.notes[0].startswith("change.sql:2:1: nothing keeps a of users in step")


@pytest.mark.parametrize(
    ("update", "paired"),
    [
        ("a = b", True),
        ("a = b WHERE a IS NULL", True),
        ("a = b WHERE c > 1", False),
        ("a = b WHERE c IS NOT NULL", False),
        ("a = b WHERE b IS NOT NULL AND c > 1", False),
        ("a = b WHERE b IS NULL", False),
        ("a = b || c WHERE b IS NOT NULL AND c IS NOT NULL", False),
        ("a = (SELECT max(b) FROM x)", False),
        ("a = a || b", False),
        ("a = 1", False),
    ],
)
def test_only_an_update_of_every_row_from_its_own_columns_is_a_pair(update: str, paired: bool) -> None:
    made = one(f"UPDATE users SET {update}; ALTER TABLE users DROP COLUMN b;")
    assert ("[[sync]]" in made.files["migration.toml"]) == paired


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("update", "forward"),
    [
        ("lower(b) WHERE b IS NOT NULL", "CASE WHEN b IS NOT NULL THEN lower(b) END"),
        ("lower(b) || c WHERE a IS NULL AND b IS NOT NULL", "CASE WHEN b IS NOT NULL THEN lower(b) || c END"),
        ("b WHERE b IS NOT NULL", "b"),
        ("lower(b) WHERE a IS NULL", "lower(b)"),
    ],
)
def test_an_update_that_leaves_out_what_has_nothing_to_say_is_a_pair_that_does_too(dialect: Dialect, update: str, forward: str) -> None:
    """ "where the UPDATE makes new columns from old ones that are dropped, migration.toml gets a [[sync]]" """
    (made,) = split([("a.sql", f"ALTER TABLE t ADD a text; UPDATE t SET a = {update}; ALTER TABLE t DROP COLUMN b; ALTER TABLE t DROP COLUMN c;")], dialect)
    assert tomllib.loads(made.files["migration.toml"])["sync"][0]["forward"] == {"a": forward}
    assert bool(made.files.get("backfill.sql")) == ("CASE" not in forward), "what says something else than its pair is refused, and a pair fills what it makes"
    (alone,) = split([("a.sql", f"ALTER TABLE t ADD a text DEFAULT 'x'; UPDATE t SET a = {update}; ALTER TABLE t DROP COLUMN b;")], dialect)
    assert ("[[sync]]" in alone.files["migration.toml"]) == ("b IS NOT NULL" not in update), "the rows left out keep the default"


def test_an_update_that_calls_its_table_otherwise_is_the_same_backfill() -> None:
    made = one("ALTER TABLE t ADD a text; UPDATE t AS x SET a = x.b WHERE x.a IS NULL; ALTER TABLE t DROP COLUMN b;")
    assert made.files["backfill.sql"] == "UPDATE t AS x SET a = x.b WHERE x.a IS NULL;\n"
    (pair,) = pairs(made)
    assert (pair.forward, pair.backward) == ({"a": "b"}, {"b": "a"})


def test_parts_of_one_alter_table_go_each_into_its_phase() -> None:
    made = one('ALTER TABLE IF EXISTS ONLY app."Users" ADD a numeric(1, 2) DEFAULT 1.1, DROP COLUMN b, ALTER c SET NOT NULL, ALTER d DROP NOT NULL;')
    assert made.files["expand.sql"].splitlines() == [
        'ALTER TABLE IF EXISTS ONLY app."Users" ADD a numeric(1, 2) DEFAULT 1.1;',
        'ALTER TABLE IF EXISTS ONLY app."Users" ALTER d DROP NOT NULL;',
    ]
    assert made.files["contract.sql"] == 'ALTER TABLE IF EXISTS ONLY app."Users" DROP COLUMN b, ALTER c SET NOT NULL;\n'


def test_parts_of_an_alter_table_with_an_asterisk_and_what_a_column_loses() -> None:
    made = one("ALTER TABLE a * ADD b int, ALTER c DROP DEFAULT, ALTER d SET DEFAULT 1;")
    assert made.files["expand.sql"] == "ALTER TABLE a * ADD b int;\nALTER TABLE a * ALTER d SET DEFAULT 1;\n"
    assert made.files["contract.sql"] == "ALTER TABLE a * ALTER c DROP DEFAULT;\n"


def test_parts_of_mysql_s_alter_table_keep_how_they_are_done() -> None:
    made = one("ALTER TABLE `users` ADD a int, DROP COLUMN b, DROP KEY c, ALGORITHM=INPLACE, LOCK=NONE;", "mysql")
    assert made.files["expand.sql"] == "ALTER TABLE `users` ADD a int, ALGORITHM=INPLACE, LOCK=NONE;\n"
    assert made.files["contract.sql"] == "ALTER TABLE `users` DROP COLUMN b, DROP KEY c, ALGORITHM=INPLACE, LOCK=NONE;\n"


def test_comments_stay_with_their_statements() -> None:
    made = one("/* head */\n-- é\nALTER TABLE a ADD b int; -- behind\n\n-- of the drop\nDROP TABLE c; -- gone\n-- the end\n")
    assert made.files["expand.sql"] == "/* head */\n-- é\nALTER TABLE a ADD b int;  -- behind\n"
    assert made.files["contract.sql"] == "-- of the drop\nDROP TABLE c;  -- gone\n-- the end\n"


def test_the_comments_of_a_statement_that_is_split_come_once() -> None:
    made = one("-- of both\nALTER TABLE a ADD b int, DROP c; -- behind\n")
    assert made.files["expand.sql"] == "-- of both\nALTER TABLE a ADD b int;\n"
    assert made.files["contract.sql"] == "ALTER TABLE a DROP c;  -- behind\n"


def test_what_the_release_makes_itself_is_free_to_change() -> None:
    made = one("CREATE TABLE a (id int); UPDATE a SET id = 1; ALTER TABLE a DROP COLUMN id; DROP TABLE a; DROP TABLE b")
    assert made.files["expand.sql"].count("\n") == 4
    assert made.files["contract.sql"] == "DROP TABLE b;\n"


def test_more_than_one_update_makes_more_than_one_migration() -> None:
    text = """
    ALTER TABLE a ADD x int, ADD y int;
    UPDATE a SET x = old_x;
    ALTER TABLE b ADD z int;
    UPDATE b SET z = old_z;
    ALTER TABLE a ADD last int;
    ALTER TABLE b DROP old_z;
    ALTER TABLE a DROP old_x;
    DROP TABLE c;
    """
    first, second = split([("all.sql", text)], "postgres")
    assert first.files["expand.sql"] == "ALTER TABLE a ADD x int, ADD y int;\n"
    assert first.files["contract.sql"] == "ALTER TABLE a DROP old_x;\n"
    assert second.files["expand.sql"] == "ALTER TABLE b ADD z int;\nALTER TABLE a ADD last int;\n"
    assert second.files["contract.sql"] == "ALTER TABLE b DROP old_z;\nDROP TABLE c;\n"
    assert [each.table for made in (first, second) for each in pairs(made)] == ["a", "b"]


def test_what_two_updates_read_is_dropped_after_both() -> None:
    first, second = split([("all.sql", "UPDATE a SET x = o WHERE k; UPDATE a SET y = o WHERE l; ALTER TABLE a DROP o; DROP VIEW v;")], "postgres")
    assert "contract.sql" not in first.files
    assert second.files["contract.sql"] == "ALTER TABLE a DROP o;\nDROP VIEW v;\n"


def test_begin_and_commit_are_left_out_and_that_is_said() -> None:
    made = one("BEGIN;\nALTER TABLE a ADD b int;\nCOMMIT;")
    assert made.files["expand.sql"] == "ALTER TABLE a ADD b int;\n"
    assert [note.partition(":")[2][:5] for note in made.notes] == ["1:1: ", "3:1: "]


DUMP = """\
--
-- PostgreSQL database dump
--
\\restrict mzMcyF3h7nLOqsHGyKCWY93lA1
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.notes (id bigint NOT NULL, body text);
ALTER TABLE ONLY public.notes ADD CONSTRAINT notes_pkey PRIMARY KEY (id);
\\unrestrict mzMcyF3h7nLOqsHGyKCWY93lA1
"""


def test_a_dump_begins_with_settings_that_are_left_out() -> None:
    made = one(DUMP)
    assert made.files["expand.sql"].splitlines()[-2:] == DUMP.splitlines()[-3:-1]
    assert "SET" not in made.files["expand.sql"]
    assert len([note for note in made.notes if "left out" in note]) == 14
    assert not [each for each in lint([("", made)], "postgres") if each.severity == "error"]


@pytest.mark.parametrize("setting", ["SET search_path = app", "SET standard_conforming_strings = off", "SELECT set_config('role', 'x', false)", "SET ROLE x"])
def test_a_setting_that_changes_what_follows_stays_to_be_judged(setting: str) -> None:
    assert setting in one(f"{setting};\nCREATE TABLE a (b int);").files["expand.sql"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_another_tool_writes_into_its_own_book_is_left_out(dialect: Dialect) -> None:
    made = one(
        "BEGIN;\n-- Running upgrade 1a -> 2b\nALTER TABLE users ADD a int;\n"
        "UPDATE alembic_version SET version_num='2b' WHERE alembic_version.version_num = '1a';\n"
        "INSERT INTO django_migrations (app) VALUES ('shop');\nCREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);\nCOMMIT;",
        dialect,
    )
    assert made.files["expand.sql"] == "-- Running upgrade 1a -> 2b\nALTER TABLE users ADD a int;\n"
    assert "backfill.sql" not in made.files
    assert [note.split(" ")[:5] for note in made.notes[1:4]] == [
        ["change.sql:4:1:", "left", "out:", "alembic_version", "is"],
        ["change.sql:5:1:", "left", "out:", "django_migrations", "is"],
        ["change.sql:6:1:", "left", "out:", "alembic_version", "is"],
    ]


@pytest.mark.parametrize("none", ["DROP DEFAULT", "SET DEFAULT NULL"])
def test_django_s_way_to_add_a_column_keeps_its_default_until_contract(none: str) -> None:
    made = one(f"""ALTER TABLE "users" ADD COLUMN "a" int DEFAULT 0 NOT NULL;\nALTER TABLE "users" ALTER COLUMN "a" {none};""")
    assert made.files["contract.sql"] == f'ALTER TABLE "users" ALTER COLUMN "a" {none};\n'


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_known_of_the_way_back_stands_in_revert_sql_beside_what_is_to_be_written(dialect: Dialect) -> None:
    made = one("CREATE TABLE n (\n  a int\n);\nINSERT INTO version (v) VALUES (7);\nCREATE TABLE m (a int);\n", dialect)
    first, place, rest, *known, last = made.files["revert.sql"].splitlines()
    assert (first, place[:17]) == ("-- Undoes expand.sql, until contract. To be written:", "-- expand.sql:4: ")
    assert (rest, last) == ("-- beside what is known, newest first, a comment until then:", "-- or, if there is no way back: bleen: irreversible REASON")
    assert [each[:22] for each in known] == ["-- DROP TABLE IF EXIST"] * 2
    left = [each.rule for each in lint([("0001_a", made)], dialect) if each.severity == "error"]
    assert left == ["irreversible"], "what is a comment undoes nothing yet"


UP_AND_DOWN = [
    ("-- migrate:up transaction:false", "-- migrate:down"),
    ("-- +goose Up", "-- +goose Down"),
    ("-- +migrate Up", "-- +migrate Down notransaction"),
    ("--liquibase formatted sql\n--changeset ann:1 runOnChange:true", "-- rollback"),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("up", "down"), UP_AND_DOWN)
def test_the_half_of_a_file_that_goes_down_is_revert_and_not_contract(up: str, down: str, dialect: Dialect) -> None:
    made = one(f"{up}\nALTER TABLE users ADD COLUMN nick text;\n\n{down}\n-- gone again\nALTER TABLE users DROP COLUMN nick;\n", dialect)
    assert made.files["expand.sql"].endswith("ALTER TABLE users ADD COLUMN nick text;\n")
    assert made.files["revert.sql"] == "-- Undoes expand.sql, until contract.\n-- gone again\nALTER TABLE users DROP COLUMN nick;\n"
    assert "contract.sql" not in made.files
    assert made.notes[0].startswith(f"change.sql:{up.count(chr(10)) + 6}:1: what goes down is revert.sql")


@pytest.mark.parametrize(
    ("table", "build", "back"),
    [
        ("", "CREATE INDEX i ON plans (name)", "DROP INDEX CONCURRENTLY IF EXISTS i"),
        ("", "CREATE UNIQUE INDEX i ON plans (name)", "DROP INDEX CONCURRENTLY IF EXISTS i"),
        ("-- bleen: allow index-without-concurrently of ten rows\n", "CREATE INDEX i ON plans (name)", "DROP INDEX IF EXISTS i"),
        ("CREATE TABLE plans (name text);\n", "CREATE INDEX i ON plans (name)", "DROP TABLE IF EXISTS plans"),
    ],
)
def test_the_way_back_that_an_import_writes_is_one_that_plan_takes_once_the_safe_way_is_taken_over(table: str, build: str, back: str) -> None:
    made = one(f"{table}{build};\n")
    assert f"\n{back};\n" in made.files["revert.sql"]
    safe = {**made.files, "expand.sql": next((each.fix for each in lint([("1_a", made)], "postgres") if each.fix), made.files["expand.sql"])}
    assert not [each for each in lint([("1_a", Imported(safe, ()))], "postgres") if each.severity == "error"]


def test_what_the_rules_forbid_of_the_half_that_goes_down_is_told_by_the_import_too() -> None:
    made = one("CREATE INDEX i ON plans (name);\n-- migrate:down\nDROP INDEX i;\n")
    (found,) = [each for each in lint([("1_a", made)], "postgres") if each.file == "1_a/revert.sql"]
    assert (found.rule, found.fix) == ("drop-index-without-concurrently", "DROP INDEX CONCURRENTLY i;")


def test_a_file_that_is_called_down_goes_down() -> None:
    files = [("7_nick.up.sql", "ALTER TABLE users ADD COLUMN nick text;"), ("7_nick.down.sql", "ALTER TABLE users DROP COLUMN nick;")]
    (made,) = split(files, "postgres")
    assert "contract.sql" not in made.files
    assert made.files["revert.sql"].endswith("\nALTER TABLE users DROP COLUMN nick;\n")
    with pytest.raises(UserError, match="no statement in it that goes up"):
        split(files[1:], "postgres")


def test_what_goes_down_where_more_than_an_expand_went_up_is_refused_where_it_stands() -> None:
    with pytest.raises(Unfit, match=r"^change.sql:4:1: what goes down takes back what contract takes away, too"):
        one("-- +goose Up\nALTER TABLE users DROP COLUMN nick;\n-- +goose Down\nALTER TABLE users ADD COLUMN nick text;")
    with pytest.raises(Unfit, match=r"^change.sql:4:1: what goes down takes back more than one migration"):
        one("UPDATE a SET b = 1;\nUPDATE c SET d = 1;\n-- +goose Down\nALTER TABLE a DROP COLUMN b;")


def test_a_comment_that_only_speaks_of_going_down_is_a_comment() -> None:
    made = one("ALTER TABLE users ADD COLUMN nick text; -- rollback\n-- rollback is by hand\nALTER TABLE users DROP COLUMN age;")
    assert made.files["contract.sql"] == "-- rollback is by hand\nALTER TABLE users DROP COLUMN age;\n"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_contract_that_drops_what_its_own_expand_adds_is_an_error(dialect: Dialect) -> None:
    expand, contract = "ALTER TABLE users ADD COLUMN nick text;\nCREATE TABLE pets (id int);", "ALTER TABLE users DROP COLUMN nick;\nDROP TABLE pets;"

    def said(where: str) -> list[tuple[str, int, str]]:
        scripts = [Script(expand, "1_a/expand.sql", "expand"), Script(contract, f"{where}/contract.sql", "contract")]
        return [(each.file, each.line, each.severity) for each in lint_release(scripts, dialect) if each.rule == "drops-new"]

    assert said("1_a") == [("1_a/contract.sql", 1, "error"), ("1_a/contract.sql", 2, "error")]
    assert said("2_b") == [], "a database that is new gets both at once"
    contract = f"-- bleen: allow drops-new it helped the backfill\n{contract}"
    assert said("1_a") == [("1_a/contract.sql", 3, "error")]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("expand", "contract", "lines"),
    [
        ("CREATE TABLE IF NOT EXISTS pets (id int PRIMARY KEY)", "DROP TABLE pets", [1]),
        ("CREATE TABLE pets (id int PRIMARY KEY, age int)", "ALTER TABLE pets DROP COLUMN age", [1]),
        ("CREATE TABLE IF NOT EXISTS pets (id int, age int)", "DROP TABLE users;\nALTER TABLE pets RENAME TO users;\nALTER TABLE users DROP COLUMN age", [3]),
        ("CREATE TABLE pets (id int PRIMARY KEY, age int)", "ALTER TABLE users DROP COLUMN age;\nDROP TABLE pet", []),
    ],
)
def test_a_contract_that_drops_a_part_of_a_new_table_or_one_that_is_perhaps_new_is_an_error(
    expand: str, contract: str, lines: list[int], dialect: Dialect
) -> None:
    """ "Contract drops no table and no column that the expand of the same migration adds" """
    scripts = [Script(expand, "1_a/expand.sql", "expand"), Script(contract, "1_a/contract.sql", "contract")]
    assert [each.line for each in lint_release(scripts, dialect) if each.rule == "drops-new"] == lines


def test_a_view_that_expand_replaces_may_go_in_contract() -> None:
    scripts = [Script("CREATE OR REPLACE VIEW v AS SELECT 1", "1_a/expand.sql", "expand"), Script("DROP VIEW v", "1_a/contract.sql", "contract")]
    assert not [each for each in lint_release(scripts, "postgres") if each.rule == "drops-new"]


@pytest.mark.parametrize(
    ("dialect", "contract", "severities"),
    [
        ("postgres", "DROP VIEW app.v;\nALTER TABLE users DROP name;\nCREATE VIEW v AS SELECT 1", ["error"]),
        ("postgres", "DROP MATERIALIZED VIEW v;\nCREATE MATERIALIZED VIEW v AS SELECT 1", ["error"]),
        ("postgres", "DROP FUNCTION f;\nCREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'", ["error"]),
        ("postgres", "DROP FUNCTION f(int);\nCREATE FUNCTION f(text) RETURNS int LANGUAGE sql AS 'SELECT 1'", []),
        ("postgres", "ALTER TABLE users ADD COLUMN name varchar(20), DROP COLUMN name", ["error"]),
        ("postgres", "DROP TABLE IF EXISTS t, u;\nCREATE TABLE u (a int)", ["error"]),
        ("postgres", "DROP TABLE users;\nCREATE VIEW users AS SELECT * FROM people", ["error"]),
        ("postgres", "CREATE TABLE n (a int);\nDROP TABLE users;\nALTER TABLE n RENAME TO users", ["error"]),
        ("postgres", "CREATE TABLE n (a int);\nDROP TABLE n;\nCREATE TABLE n (b int)", []),
        ("postgres", "DROP INDEX CONCURRENTLY i;\nCREATE INDEX CONCURRENTLY i ON users (a)", ["warn"]),
        ("postgres", "DROP INDEX CONCURRENTLY i;\nALTER INDEX j RENAME TO i", []),
        ("postgres", "DROP TRIGGER t ON users;\nCREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION f()", []),
        ("postgres", "ALTER TABLE users DROP CONSTRAINT c;\nALTER TABLE users ADD CONSTRAINT c CHECK (a > 0) NOT VALID", []),
        ("postgres", "ALTER TABLE users DROP CONSTRAINT u;\nALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX u", ["error"]),
        ("postgres", 'ALTER TABLE users DROP CONSTRAINT "p-k";\nALTER TABLE users ADD CONSTRAINT "p-k" PRIMARY KEY USING INDEX i', ["error"]),
        ("postgres", "ALTER TABLE users DROP CONSTRAINT u, ADD CONSTRAINT u UNIQUE USING INDEX i", []),
        ("postgres", "DROP POLICY p ON users;\nCREATE POLICY p ON users USING (a > 0)", ["error"]),
        ("postgres", "CREATE POLICY q ON users USING (a > 0);\nDROP POLICY p ON users", []),
        ("postgres", "CREATE OR REPLACE VIEW v AS SELECT 1;\nDROP VIEW w", []),
        ("mysql", "DROP VIEW v;\nCREATE VIEW V AS SELECT 1", ["error"]),
        ("mysql", "ALTER TABLE users DROP COLUMN a, ADD COLUMN a TEXT, ALGORITHM=INPLACE, LOCK=NONE", ["error"]),
        ("mysql", "DROP TABLE users;\nCREATE TABLE IF NOT EXISTS users (a INT)", ["error"]),
        ("mysql", "DROP INDEX i ON users;\nCREATE INDEX i ON users (a) ALGORITHM=INPLACE LOCK=NONE", ["warn"]),
        ("mysql", "ALTER TABLE users DROP INDEX i;\nALTER TABLE users ADD UNIQUE INDEX i (b), ALGORITHM=INPLACE, LOCK=NONE", ["warn"]),
        ("mysql", "DROP INDEX i ON users;\nALTER TABLE users ADD FULLTEXT (b), ADD KEY i (b), ALGORITHM=INPLACE, LOCK=NONE", ["warn"]),
        ("mysql", "ALTER TABLE users DROP INDEX i, ADD INDEX i (b), ALGORITHM=INPLACE, LOCK=NONE", []),
        ("sqlite", "DROP VIEW v;\nCREATE VIEW v AS SELECT 1", ["error"]),
        ("sqlite", "ALTER TABLE users DROP COLUMN a;\nALTER TABLE users ADD COLUMN a TEXT", ["error"]),
        ("sqlite", "DROP INDEX i;\nCREATE INDEX i ON users (a)", ["warn"]),
        ("sqlite", "DROP TABLE t;\nCREATE TABLE t (a)", []),  # which is a table-rebuild
        ("sqlite", "DROP TABLE t;\nCREATE VIEW T AS SELECT 1 AS a", ["error"]),
    ],
)
def test_what_a_contract_drops_and_makes_again_the_version_that_serves_does_without_meanwhile(dialect: Dialect, contract: str, severities: list[str]) -> None:
    found = [each for each in lint_release([Script(contract, "1_a/contract.sql", "contract")], dialect) if each.rule == "made-again"]
    assert [each.severity for each in found] == severities
    assert not any(each.rule == "made-again" for each in lint_release([Script(contract, "1_a/expand.sql", "expand")], dialect))


@pytest.mark.parametrize(
    ("drop", "make"),
    [
        ("DROP POLICY{} p ON users", "CREATE POLICY p ON users USING (a > 0)"),
        ("DROP VIEW{} v", "CREATE VIEW v AS SELECT 1 AS a"),
        ("ALTER TABLE users DROP CONSTRAINT{} u", "ALTER TABLE users ADD CONSTRAINT u UNIQUE USING INDEX u"),
    ],
)
def test_what_a_contract_drops_if_it_exists_and_makes_may_be_new_and_then_needs_no_drop(drop: str, make: str) -> None:
    for perhaps in ("", " IF EXISTS"):
        scripts = [Script(f"{drop.format(perhaps)};\n{make}", "1_a/contract.sql", "contract")]
        (found,) = [each for each in lint_release(scripts, "postgres") if each.rule == "made-again"]
        assert found.message.endswith("; where there is none, leave this DROP out") is bool(perhaps)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_backfill_of_what_no_expand_of_the_release_adds_is_warned_of(dialect: Dialect) -> None:
    """ "a backfill fills what was added" """

    def said(backfill: str, *expands: str) -> list[str]:
        expanding = [Script(expand, f"{number}_a/expand.sql", "expand") for number, expand in enumerate(expands)]
        found = lint_release([*expanding, Script(backfill, "0_a/backfill.sql", "backfill")], dialect)
        assert {(each.file, each.line, each.severity) for each in found if each.rule == "backfill-old-column"} <= {("0_a/backfill.sql", 1, "warn")}
        return [each.message for each in found if each.rule == "backfill-old-column"]

    adds, tables = "ALTER TABLE users ADD COLUMN x int", "CREATE TABLE pets (id int)"
    (told,) = said("UPDATE users SET x = 1, email = NULL", adds)
    assert told.startswith("writes over email of users, which no expand of this release adds: the old version may read it, and revert does not bring back")
    assert said("UPDATE users SET email = lower(email) WHERE email <> lower(email)", "SELECT 1") != []
    assert said("UPDATE users SET X = 1, seen_at = seen_at WHERE x IS NULL", adds) == []
    assert said("UPDATE users SET x = 1, y = 2", adds, "ALTER TABLE users ADD COLUMN y int") == []
    assert said("UPDATE users SET z = 1", adds, "ALTER TABLE users RENAME COLUMN x TO z") == []
    assert said("UPDATE pets SET id = 1", tables) == []
    assert said("UPDATE users SET x = 1, email = NULL") == [], "what is new nobody knows"
    assert said("-- bleen: allow backfill-old-column an earlier release has added it\nUPDATE users SET email = NULL", adds) == []


RENAMES: list[tuple[str, str, tuple[Dialect, ...]]] = [
    ("CREATE TABLE t_new (id int);\nALTER TABLE t_new RENAME TO t", "DROP TABLE IF EXISTS t", DIALECTS),
    ("CREATE TABLE t_new (id int)", "ALTER TABLE t_new RENAME TO t;\nDROP TABLE t", DIALECTS),
    ("ALTER TABLE a ADD COLUMN b_new int;\nALTER TABLE a RENAME COLUMN b_new TO b", "ALTER TABLE a DROP COLUMN b", DIALECTS),
    ("ALTER TABLE a_old ADD COLUMN b int;\nALTER TABLE a_old RENAME TO a", "ALTER TABLE a DROP COLUMN b", DIALECTS),
    ("CREATE TABLE t (id int);\nALTER TABLE t SET SCHEMA s", "DROP TABLE s.t", ("postgres",)),
    ("CREATE VIEW t_new AS SELECT 1;\nALTER VIEW t_new RENAME TO t", "DROP VIEW t", ("postgres",)),
    ("CREATE TABLE t_new (id int);\nRENAME TABLE t TO t_old, t_new TO t", "DROP TABLE t", ("mysql",)),
    ("CREATE TABLE t_new (id int);\nALTER TABLE t_new ADD COLUMN a int, RENAME TO t", "ALTER TABLE t DROP COLUMN a", ("mysql",)),
    ("ALTER TABLE a ADD COLUMN b_new int;\nALTER TABLE a CHANGE b_new b int", "ALTER TABLE a DROP COLUMN b", ("mysql",)),
    ("CREATE TABLE public.t (id int)", "DROP TABLE t", ("postgres",)),
    ("ALTER TABLE a ADD COLUMN b int", "ALTER TABLE public.a DROP COLUMN b", ("postgres",)),
    ("CREATE TABLE app.t (id int)", "DROP TABLE t", ("postgres",)),
    ("ALTER TABLE a ADD COLUMN b int", "ALTER TABLE app.a DROP COLUMN b", ("postgres",)),
    ("ALTER TABLE a ADD COLUMN b int", "ALTER TABLE a DROP COLUMN B", ("mysql", "sqlite")),
]
"""An expand that makes something, a contract that drops it by the name that it has then, however it is written, and where both can be written."""


@pytest.mark.parametrize(("expand", "contract", "dialect"), [(expand, contract, each) for expand, contract, where in RENAMES for each in where])
def test_a_contract_that_drops_by_its_last_name_what_its_own_expand_makes_is_an_error(expand: str, contract: str, dialect: Dialect) -> None:
    scripts = [Script(expand, "1_a/expand.sql", "expand"), Script(contract, "1_a/contract.sql", "contract")]
    assert [each.line for each in lint_release(scripts, dialect) if each.rule == "drops-new"] == [contract.count("\n") + 1]


def test_a_contract_may_drop_what_has_the_name_of_something_new_elsewhere() -> None:
    def said(drop: str) -> list[str]:
        scripts = [Script("CREATE TABLE s.t (id int)", "1_a/expand.sql", "expand"), Script(drop, "1_a/contract.sql", "contract")]
        return [each.message for each in lint_release(scripts, "postgres") if each.rule == "drops-new"]

    assert said("DROP TABLE o.t") == []
    (found,) = said("DROP TABLE t")
    assert found.endswith("; if these are two, of two schemas, say the schema of each"), "where t is looked for, the search_path says"
    (found,) = said("DROP TABLE s.t")
    assert found.endswith("is revert.sql")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_contract_may_drop_what_has_had_the_name_of_something_new(dialect: Dialect) -> None:
    expand = "CREATE TABLE t_new (id int);\nALTER TABLE t_new RENAME TO t_next"
    contract = "DROP TABLE t_new;\nALTER TABLE t RENAME TO t_old;\nALTER TABLE t_next RENAME TO t;\nDROP TABLE t_old"
    scripts = [Script(expand, "1_a/expand.sql", "expand"), Script(contract, "1_a/contract.sql", "contract")]
    assert not [each for each in lint_release(scripts, dialect) if each.rule == "drops-new"]


FUNCTION = "CREATE OR REPLACE FUNCTION s.price(n integer) RETURNS int LANGUAGE sql AS 'SELECT $1'"
AGAIN = [
    ("DROP FUNCTION IF EXISTS price(int)", FUNCTION, "routine s.price(int4)"),
    ("DROP FUNCTION price", FUNCTION, "routine s.price(int4)"),
    ("DROP AGGREGATE total(int)", "CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int)", "routine total(?)"),
    ("DROP TRIGGER IF EXISTS t ON a", "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()", "trigger a.t"),
    ("DROP POLICY IF EXISTS p ON public.a", "CREATE POLICY p ON a USING (true)", "policy a.p"),
    ("DROP RULE r ON a", "CREATE RULE r AS ON DELETE TO a DO NOTHING", "rule a.r"),
    ("DROP SCHEMA IF EXISTS x", "CREATE SCHEMA x", "schema x"),
    ("DROP TYPE d", "CREATE DOMAIN d AS int", "type d"),
    ("DROP TYPE public.t", "CREATE TYPE t AS (a int)", "type t"),
    ("DROP EXTENSION IF EXISTS hstore", "CREATE EXTENSION hstore", "extension hstore"),
    ("DROP INDEX IF EXISTS public.ix", "CREATE INDEX CONCURRENTLY ix ON a (b)", "index ix"),
    ("DROP VIEW IF EXISTS v", "CREATE OR REPLACE VIEW v AS SELECT 1", "table v"),
    ("DROP TABLE IF EXISTS t", "CREATE TABLE IF NOT EXISTS t (id int)", "table t"),
    ("DROP STATISTICS st", "CREATE STATISTICS st ON b, c FROM a", "statistics st"),
    ("DROP TABLE IF EXISTS t", "ALTER TABLE t_new RENAME TO t", "table t"),
    ("DROP TABLE s.t", "ALTER TABLE public.t SET SCHEMA s", "table s.t"),
    ("DROP VIEW v", "ALTER VIEW v_new RENAME TO v", "table v"),
    ("DROP INDEX i", "ALTER INDEX i_new RENAME TO i", "index i"),
    ("DROP INDEX i", "ALTER TABLE i_new RENAME TO i", "index i"),
    ("ALTER TABLE a DROP b", "ALTER TABLE a RENAME b_new TO b", "column a.b"),
    ("ALTER TABLE a DROP CONSTRAINT c", "ALTER TABLE a RENAME CONSTRAINT c_new TO c", "constraint a.c"),
    ("DROP TRIGGER t ON a", "ALTER TRIGGER t_new ON a RENAME TO t", "trigger a.t"),
    ("DROP FUNCTION f(int)", "ALTER FUNCTION f_new(int) RENAME TO f", "routine f(int4)"),
    ("DROP FUNCTION s.f(int)", "ALTER FUNCTION f(int) SET SCHEMA s", "routine s.f(int4)"),
    ("DROP TYPE t", "ALTER TYPE t_new RENAME TO t", "type t"),
    ("DROP SCHEMA s", "ALTER SCHEMA s_new RENAME TO s", "schema s"),
]
"""What drops something, what makes it again, and how that is called."""


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("SELECT 1;\nALTER TABEL a;", "2:7", "syntax error"),
        ("SELECT 1;\n\n  UPDATE a SET b = 1\n RETURNING b", "3:10", "a backfill has no RETURNING"),
        ("SELECT 1;\n\n  UPDATE a SET b = 1,\n  b = 2", "4:3", "b is set twice"),
        ("ALTER TABLE a DROP b;\nALTER TABLE a ADD b text", "2:1", "makes the column a.b again, which change.sql:1:1 drops"),
        ("DROP TABLE a;\nCREATE TABLE a (id int)", "2:1", "makes the table a again"),
        *((f"{drop};\n{create}", "2:1", f"makes the {what} again, which change.sql:1:1 drops") for drop, create, what in AGAIN),
        ("UPDATE a SET x = o;\nUPDATE a SET y = o + 1;\nALTER TABLE a DROP o", "2:1", "write UPDATE a SET x = o, y = o + 1"),
    ],
)
def test_what_cannot_be_split_is_refused_where_it_stands(text: str, where: str, why: str) -> None:
    with pytest.raises(Unfit) as refused:
        one(text)
    assert str(refused.value).startswith(f"change.sql:{where}: ")
    assert why in str(refused.value)
    assert refused.value.located


@pytest.mark.parametrize(
    ("drop", "create", "what"),
    [
        ("DROP PROCEDURE IF EXISTS p", "CREATE DEFINER=`a`@`%` PROCEDURE shop.p() SELECT 1", "procedure shop.p"),
        ("DROP FUNCTION IF EXISTS f", "CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1", "function f"),
        ("DROP TRIGGER IF EXISTS t", "CREATE DEFINER = CURRENT_USER TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.b = 1", "trigger t"),
        ("DROP VIEW IF EXISTS v", "CREATE OR REPLACE SQL SECURITY INVOKER VIEW v AS SELECT 1", "view v"),
        ("DROP EVENT IF EXISTS e", "CREATE EVENT IF NOT EXISTS e ON SCHEDULE EVERY 1 DAY DO DELETE FROM a", "event e"),
        ("DROP TABLE IF EXISTS t", "RENAME TABLE u TO u_old, t_new TO t", "table t"),
        ("DROP VIEW v", "RENAME TABLE v_new TO v", "view v"),
        ("DROP INDEX i ON a", "ALTER TABLE a RENAME INDEX i_new TO i", "index a.i"),
        ("ALTER TABLE a DROP b", "ALTER TABLE a CHANGE b_new b int", "column a.b"),
    ],
)
def test_what_mysql_drops_and_makes_again_is_refused_too(drop: str, create: str, what: str) -> None:
    with pytest.raises(Unfit, match=f"makes the {what} again, which change.sql:1:1 drops"):
        one(f"{drop};\n{create};", "mysql")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_takes_the_name_of_something_dropped_is_refused_in_every_dialect(dialect: Dialect) -> None:
    for text, what in (
        ("DROP TABLE IF EXISTS t;\nALTER TABLE t_new RENAME TO t;", "table t"),
        ("ALTER TABLE a DROP COLUMN b;\nALTER TABLE a RENAME COLUMN b_new TO b;", "column a.b"),
    ):
        with pytest.raises(Unfit, match=f"^change.sql:2:1: makes the {what} again, which change.sql:1:1 drops"):
            one(text, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_release_makes_is_its_own_by_its_last_name(dialect: Dialect) -> None:
    text = "CREATE TABLE t_new (id int, a int);\nALTER TABLE t_new RENAME TO t;\nALTER TABLE t DROP COLUMN a;\nDROP TABLE t_new;\n"
    made = one(text, dialect)
    assert made.files["expand.sql"] == text.removesuffix("DROP TABLE t_new;\n")
    assert made.files["contract.sql"] == "DROP TABLE t_new;\n", "it is another one, which was there"


HOLDS: list[tuple[str, tuple[Dialect, ...]]] = [
    ("CREATE UNIQUE INDEX i ON t (a)", DIALECTS),
    ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;\nALTER TABLE t VALIDATE CONSTRAINT c", ("postgres",)),
    ("ALTER TABLE public.t ADD CONSTRAINT c UNIQUE (a)", ("postgres",)),
    ("ALTER TABLE o ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES t (a)", ("postgres", "mysql")),
    ("ALTER TABLE t ADD UNIQUE KEY i (a)", ("mysql",)),
    ("ALTER TABLE t MODIFY a int NOT NULL", ("mysql",)),
]
FOLLOWS: list[tuple[str, tuple[Dialect, ...]]] = [
    *HOLDS,
    ("INSERT INTO t (a) VALUES (1)", DIALECTS),
    ("INSERT INTO o (a) SELECT t.a FROM q, t", DIALECTS),
    ("CREATE TABLE n AS SELECT * FROM t", DIALECTS),
    ("REPLACE INTO t (a) VALUES (1)", ("mysql", "sqlite")),
    ("CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()", ("postgres",)),
    ("CREATE DEFINER=`r`@`%` TRIGGER g BEFORE UPDATE ON t FOR EACH ROW SET NEW.b = 1", ("mysql",)),
    ("CREATE TRIGGER g UPDATE ON t BEGIN SELECT 1; END", ("sqlite",)),
    ("ALTER TABLE t RENAME TO n", DIALECTS),
    ("ALTER TABLE t RENAME COLUMN a TO n", DIALECTS),
    ("SELECT setval('s', (SELECT max(a) FROM t))", ("postgres",)),
]
"""What ends otherwise if it runs before the rows of t are changed, and where it can be written."""


@pytest.mark.parametrize(("later", "dialect"), [(later, each) for later, where in FOLLOWS for each in where])
def test_what_is_about_rows_that_an_update_changes_first_runs_behind_its_backfill(later: str, dialect: Dialect) -> None:
    first, second = split([("a.sql", f"UPDATE t SET a = 1;\nALTER TABLE t ADD COLUMN c int;\n{later};\nALTER TABLE q ADD COLUMN d int;\n")], dialect)
    assert (first.files["backfill.sql"], first.files["expand.sql"]) == ("UPDATE t SET a = 1;\n", "ALTER TABLE t ADD COLUMN c int;\n")
    assert second.files["expand.sql"] == f"{later};\nALTER TABLE q ADD COLUMN d int;\n"
    assert second.notes[-1] == "a.sql:3:1: is about rows that a.sql:1:1 changes first, so it is in a migration behind that backfill"


@pytest.mark.parametrize(("holds", "dialect"), [(holds, each) for holds, where in HOLDS for each in where])
def test_what_holds_rows_to_something_goes_to_contract_behind_the_delete_that_makes_it_true(holds: str, dialect: Dialect) -> None:
    text = f"DELETE FROM t WHERE a < 1;\n{holds};\nCREATE INDEX j ON t (b);\n"
    (made,) = split([("a.sql", text)], dialect)
    assert made.files["contract.sql"] == f"DELETE FROM t WHERE a < 1;\n{holds};\n"
    assert made.files["expand.sql"] == "CREATE INDEX j ON t (b);\n"
    assert (
        made.notes[0]
        == "a.sql:2:1: holds rows to what a DELETE before it makes true, so it is in contract, behind that: the new version does without it until then"
    )


NEEDS = [
    ("CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES t (a))", True, DIALECTS),
    ("CREATE TABLE c (id int PRIMARY KEY, a int, FOREIGN KEY (a, id) REFERENCES t (a, id))", True, DIALECTS),
    ("CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t (id))", False, DIALECTS),
    ("CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES o (a))", False, DIALECTS),
    ("COMMENT ON INDEX t_one IS 'a'", True, ["postgres"]),
]


@pytest.mark.parametrize(("needs", "refused", "dialect"), [(needs, refused, each) for needs, refused, where in NEEDS for each in where])
def test_what_needs_something_that_goes_to_contract_behind_a_delete_is_refused_with_both_places(needs: str, refused: bool, dialect: Dialect) -> None:
    text = f"DELETE FROM t WHERE a < 1;\nCREATE UNIQUE INDEX t_one ON t (a);\n{needs};\n"
    with pytest.raises(Unfit, match=r"^a.sql:3:1: needs what a.sql:2:1 makes; but that .* goes to contract, and this to expand") if refused else nullcontext():
        split([("a.sql", text)], dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("gone", "later", "phase"),
    [
        ("DELETE FROM t WHERE a = 1", "INSERT INTO t (a) VALUES (1)", "expand"),
        ("DELETE FROM t WHERE a = 1", "INSERT INTO o SELECT * FROM t", "expand"),
        ("DELETE FROM t WHERE a NOT IN (SELECT a FROM o)", "INSERT INTO o (a) VALUES (1)", "expand"),
        ("DELETE FROM t WHERE a = 1", "UPDATE t SET a = 1 WHERE a = 2", "backfill"),
        ("DELETE FROM t WHERE a = 1", "UPDATE o SET b = (SELECT max(b) FROM t)", "backfill"),
    ],
)
def test_rows_that_would_be_deleted_after_what_was_written_behind_the_delete_are_refused(gone: str, later: str, phase: str, dialect: Dialect) -> None:
    with pytest.raises(Unfit) as refused:
        split([("a.sql", f"{gone};\nCREATE INDEX j ON t (b);\n{later};\n")], dialect)
    start = f"a.sql:3:1: is about rows of which a.sql:1:1 takes some first; but that goes to contract, and this to {phase}, which runs before it: "
    assert str(refused.value).startswith(start)
    assert split([("a.sql", f"{later};\n{gone};\n")], dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_delete_before_what_it_does_not_touch_is_split_as_before(dialect: Dialect) -> None:
    text = "DELETE FROM t WHERE a = 1;\nUPDATE t SET b = 2;\nINSERT INTO o (a) VALUES (1);\n"
    (made,) = split([("a.sql", text)], dialect)
    assert "".join(made.files[f"{phase}.sql"] for phase in ("contract", "backfill", "expand")) == text
    (own,) = split([("a.sql", own_text := "CREATE TABLE t (a int);\nDELETE FROM t WHERE a = 1;\nINSERT INTO t (a) VALUES (1);\n")], dialect)
    assert own.files["expand.sql"] == own_text


@pytest.mark.parametrize(
    "delete",
    ["DELETE t.* FROM t JOIN o ON t.a = o.a", "DELETE FROM x USING o, s.t AS x WHERE x.a = o.a", "DELETE x FROM (o JOIN t AS x ON x.a = o.a)"],
)
def test_a_delete_of_mysql_from_more_than_one_table_goes_to_contract_with_what_waits_for_it(delete: str) -> None:
    (made,) = split([("a.sql", f"{delete};\nCREATE UNIQUE INDEX i ON t (a);\n")], "mysql")
    assert made.files["contract.sql"] == f"{delete};\nCREATE UNIQUE INDEX i ON t (a);\n"


def test_a_column_with_what_holds_rows_in_one_statement_behind_a_delete_is_refused() -> None:
    with pytest.raises(Unfit, match=r"^change.sql:2:1: holds rows .* write the columns that it adds as a statement before it"):
        one("DELETE FROM t WHERE a < 1;\nALTER TABLE t ADD COLUMN b int, ADD UNIQUE (a);")


def test_a_delete_is_not_behind_the_drop_of_what_picks_its_rows() -> None:
    text = "UPDATE t SET x = o;\nDELETE FROM t WHERE o IS NULL;\nUPDATE u SET y = 1;\nALTER TABLE t DROP o;\n"
    first, second = split([("a.sql", text)], "postgres")
    assert first.files["contract.sql"] == "DELETE FROM t WHERE o IS NULL;\nALTER TABLE t DROP o;\n"
    assert "contract.sql" not in second.files


@pytest.mark.parametrize(
    ("dialect", "update", "rule"),
    [
        ("mysql", "UPDATE t JOIN o ON o.id = t.id SET t.a = o.a", "second-table"),
        ("sqlite", "UPDATE t SET a = o.a FROM o WHERE o.id = t.id", "second-table"),
        ("postgres", "UPDATE t SET a = o.a FROM o WHERE o.id = t.id", "update-outside-backfill"),
    ],
)
def test_an_update_over_two_tables_is_left_to_the_linter_where_its_safe_way_goes_or_where_it_stands(dialect: Dialect, update: str, rule: str) -> None:
    """ "What the rules forbid is written all the same, told with the safe way, and exits 1" """

    def said(text: str, phase: str) -> list[str]:
        (made,) = split([("a.sql", text)], dialect)
        assert made.files[f"{phase}.sql"] == text
        return [each.rule for each in lint([("0001_a", made)], dialect) if each.rule != "irreversible"]

    assert said(f"{update};\n", "backfill") == ["backfill" if dialect == "postgres" else rule]
    assert said(f"-- bleen: allow {rule} both are small\n{update};\n", "expand") == []
    for updates, table in [(update, "t"), *([("UPDATE t, o SET t.a = 1, o.a = 2 WHERE o.id = t.id", "o")] if dialect == "mysql" else [])]:
        first, second = split([("a.sql", f"{updates};\nINSERT INTO {table} (a) VALUES (1);\n")], dialect)
        assert first.files["backfill.sql"] == f"{updates};\n"
        assert second.files["expand.sql"] == f"INSERT INTO {table} (a) VALUES (1);\n"
    with pytest.raises(Unfit, match=r"^a.sql:2:1: is about rows of which a.sql:1:1 takes some first"):
        split([("a.sql", f"DELETE FROM o;\n{update};\n")], dialect)


@pytest.mark.parametrize(
    ("dialect", "later"),
    [
        ("sqlite", "WITH n(a) AS (VALUES (1)) INSERT INTO t (a) SELECT a FROM n"),
        ("sqlite", "WITH n AS (SELECT 1 AS a) REPLACE INTO main.t (a) SELECT a FROM n"),
        ("postgres", "REFRESH MATERIALIZED VIEW CONCURRENTLY counts"),
    ],
)
def test_what_reads_or_writes_the_rows_of_an_update_in_a_longer_way_is_behind_it_too(dialect: Dialect, later: str) -> None:
    """ "What is about the same rows keeps its order" """
    first, second = split([("a.sql", f"UPDATE t SET a = 2;\n{later};\n")], dialect)
    assert "expand.sql" not in first.files
    assert second.files["expand.sql"] == f"{later};\n"
    with pytest.raises(Unfit, match=r"^a.sql:2:1: is about rows of which a.sql:1:1 takes some first"):
        split([("a.sql", f"DELETE FROM t;\n{later};\n")], dialect)


def test_what_only_seems_to_be_made_again_is_taken() -> None:
    """Another signature is another function; what belongs to a table of the release's own is free to change."""
    made = one(f"DROP FUNCTION price(text);\n{FUNCTION};")
    assert made.files["contract.sql"] == "DROP FUNCTION price(text);\n"
    trigger = "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();\n"
    own = one(f"CREATE TABLE a (id int);\nDROP TRIGGER IF EXISTS t ON a;\n{trigger}")
    assert own.files["expand.sql"] == f"CREATE TABLE a (id int);\nDROP TRIGGER IF EXISTS t ON a;\n{trigger}"
    assert "contract.sql" not in own.files


def test_a_file_without_a_statement_is_refused() -> None:
    with pytest.raises(UserError, match="no statement"):
        one("-- nothing\n")


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    code = main(["migrate", "import", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_the_folder_gets_the_next_number_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "db" / "0041_before").mkdir(parents=True)
    for file, text in ARTICLE.items():
        (tmp_path / f"V12__{file}").write_text(text)
    files = [f"V12__{file}" for file in ARTICLE]
    assert run("--to", "db", *files, capsys=capsys)[1]["migrations"] == ["db/0042_expand"]
    (tmp_path / files[0]).write_text("ALTER TABLE users ADD COLUMN full_name TEXT;")
    assert run("--to", "db", "--name", "Full name", *files, capsys=capsys)[1]["migrations"] == ["db/0043_full_name"]
    assert sorted(each.name for each in Path("db").iterdir()) == ["0041_before", "0042_expand", "0043_full_name"]


def test_what_was_imported_already_is_not_imported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("change.sql").write_text("".join(ARTICLE.values()))
    run("change.sql", capsys=capsys)
    Path("migrations/0001_change/migration.toml").write_text("# gone on with")
    code, said = run("--name", "other", "change.sql", capsys=capsys)
    assert (code, said["text"].partition(",")[0]) == (2, "migrations/0001_change has the same SQL already")
    assert [each.name for each in Path("migrations").iterdir()] == ["0001_change"]


SHOP = """\
service: shop
platform: {process: {command: [./app], directory: "releases/{version}"}}
router: {envoy: {listen: "127.0.0.1:18080", preview: "127.0.0.1:18081"}}
"""


@pytest.mark.parametrize("words", [["import", "change.sql"], ["new", "change", "add_column", "table=t", "column=c", "type=int"]], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("url", "said", "if_exists"),
    [("sqlite:////srv/shop.db", [], False), ("${NOT_SET_HERE}", [], True), ("", [], True), ("sqlite:////srv/shop.db", ["--dialect", "postgres"], True)],
    ids=["SQLite's", "that of nobody knows whom", "no file", "what a person says"],
)
def test_what_is_written_is_in_the_dialect_of_the_database_of_bleen_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], url: str, said: list[str], if_exists: bool
) -> None:
    """bleen's own revert.sql for SQLite was one that SQLite does not understand, as it had taken PostgreSQL for granted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "change.sql").write_text("ALTER TABLE t ADD COLUMN c int;")
    if url:
        (tmp_path / "bleen.yaml").write_text(f"{SHOP}database: {{url: '{url}'}}\n")
    assert main(["migrate", *words, *said]) == 0
    assert ("IF EXISTS" in (tmp_path / "migrations/0001_change/revert.sql").read_text()) == if_exists


@pytest.mark.parametrize("words", [["import", "change.sql"], ["new", "change"]], ids=lambda words: words[0])
def test_where_a_deploy_looks_for_migrations_is_told_if_it_is_elsewhere(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a bleen.yaml there is no deploy, and nothing to tell."""
    monkeypatch.chdir(tmp_path)
    Path("change.sql").write_text("".join(ARTICLE.values()))

    def said(to: str) -> str:
        assert main(["migrate", *words, "--to", to]) == 0
        return capsys.readouterr().out

    assert "a deploy" not in said("0")
    Path("bleen.yaml").write_text(SHOP)
    assert "a deploy does not find it yet: bleen.yaml names no database" in said("1")
    Path("bleen.yaml").write_text(SHOP + 'database: {url: "${DATABASE_URL}"}\n')
    assert "a deploy looks into releases/{version}/migrations (database.migrations of bleen.yaml)" in said("2")
    assert "a deploy" not in said("releases/1.1/migrations")


def test_what_the_rules_forbid_is_told_with_the_safe_way_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"CREATE INDEX i ON users (a);")))
    code, said = run("--name", "index", "-", capsys=capsys)
    (finding,) = said["findings"]
    assert (code, finding["rule"], finding["file"]) == (1, "index-without-concurrently", "migrations/0001_index/expand.sql")
    assert "CONCURRENTLY" in finding["fix"]


def test_the_second_migration_of_a_long_name_has_a_name_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "change.sql").write_text("UPDATE users SET a = 1;\nUPDATE users SET b = 2;\n")
    main(["migrate", "import", "--name", "n" * 100, "--to", str(tmp_path / "to"), str(tmp_path / "change.sql")])
    assert [m.name for m in read_all(tmp_path / "to")] == ["0001_" + "n" * 100, "0002_" + "n" * 98 + "_2"]
