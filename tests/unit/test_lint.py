"""The linter as a whole: overrides, the verb, its formats, and that nothing that is read can break it."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lint_cases_postgres import BAD
from lint_cases_postgres_safe import GOOD

from bleen import config
from bleen.cli import main
from bleen.database.migration import PHASES, read_all
from bleen.database.reverting import way_back
from bleen.database.rules import Finding, lint, rules
from bleen.database.rules.sarif import log
from bleen.database.statements import DIALECTS, Dialect

DROP = "DROP TABLE users"


def expand(sql: str) -> list[str]:
    return [finding.rule for finding in lint(sql, "postgres", "expand", "a.sql")]


@pytest.mark.parametrize(
    "sql",
    [
        f"-- bleen: allow drop-in-expand nobody reads it\n{DROP};",
        f"/* bleen: allow drop-in-expand nobody\n reads it */\n\n-- more\n{DROP};",
        f"{DROP}; -- bleen: allow drop-in-expand: nobody reads it",
        f"{DROP} -- bleen: allow drop-in-expand nobody reads it\n;",
        "DROP TABLE -- bleen: allow drop-in-expand nobody reads it\n users;",
        f"{DROP}\n-- it is old\n-- bleen: allow drop-in-expand nobody reads it\n; SELECT 1",
        f"SELECT 1; /* bleen: allow drop-in-expand nobody reads it */ {DROP}; SELECT 2",
        f"-- bleen: allow drop-in-expand nobody reads it\n-- bleen: allow drop-cascade it has no dependants\n{DROP} CASCADE",
        "-- bleen: allow drop-in-expand both are new\nALTER TABLE users DROP a,\n  DROP b",
        "-- bleen: allow not-understood it waits for nobody\nCHECKPOINT",
        f"SELECT 'é';\n-- bleen: allow drop-in-expand nobody\n{DROP};",
    ],
)
def test_a_comment_at_a_statement_allows_one_rule_there(sql: str) -> None:
    """ "Overridable by a comment that names the rule and a reason" """
    assert expand(sql) == []


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (f"-- bleen: allow drop-in-expand nobody reads it\n{DROP}; {DROP}", ["drop-in-expand"]),
        (f"SELECT 1 /* bleen: allow drop-in-expand nobody reads it */; {DROP}", ["unused-override", "drop-in-expand"]),
        (f"SELECT 1 /* ; */\n-- bleen: allow drop-in-expand nobody reads it\n; {DROP}", ["unused-override", "drop-in-expand"]),
        (f"{DROP};\n-- bleen: allow drop-in-expand nobody reads it\n", ["drop-in-expand", "unused-override"]),
        (f"-- bleen: allow drop-in-expand nobody reads it\nSELECT 1; {DROP}", ["unused-override", "drop-in-expand"]),
        (f"-- bleen: allow drop-in-expand\n{DROP}", ["bad-override", "drop-in-expand"]),
        (f"-- bleen: allow drop-in-expand -\n{DROP}", ["bad-override", "drop-in-expand"]),
        (f"-- bleen: allow drop-in-expnad nobody reads it\n{DROP}", ["bad-override", "drop-in-expand"]),
        (f"-- bleen: allow\n{DROP}", ["bad-override", "drop-in-expand"]),
        (f"-- bleen: ignore drop-in-expand nobody reads it\n{DROP}", ["bad-override", "drop-in-expand"]),
        (f"SELECT '\n-- bleen: allow drop-in-expand nobody reads it\n'; {DROP}", ["drop-in-expand"]),
        (f"-- allow drop-in-expand nobody reads it\n{DROP}", ["drop-in-expand"]),
        ("-- bleen: allow bad-override it may be\n-- bleen: allow nothing", ["bad-override", "bad-override"]),
        ("-- bleen: allow not-understood it is fine\nALTER TABEL users", ["unused-override", "not-understood"]),
        ("SELECT 1; -- bleen: allow not-understood it is fine\nALTER TABEL users; SELECT 2", ["unused-override", "not-understood"]),
        (f"-- bleen: allow rename it is fine\n{DROP}; ALTER TABEL x", ["unused-override", "drop-in-expand", "not-understood"]),
        (f"-- bleen: allow drop-in-expand nobody reads it\n{DROP}; ALTER TABEL x", ["not-understood"]),
        ("-- bleen: allow drop-in-expand nobody reads it\nSELECT 'a", ["not-understood"]),
    ],
)
def test_nothing_else_is_allowed_by_it(sql: str, found: list[str]) -> None:
    assert expand(sql) == found


def test_a_wrong_override_says_what_was_meant_and_where_it_stands() -> None:
    (wrong, _) = lint(f"SELECT 1;\n  -- bleen: allow drop-in-expnad nobody\n{DROP}", "postgres", "expand", "a.sql")
    assert wrong == Finding("a.sql", 2, 3, "bad-override", "error", "the override there is no rule drop-in-expnad; did you mean drop-in-expand?")
    (wrong, _) = lint(f"-- bleen: allow irreversible nobody goes back\n{DROP}", "postgres", "expand")
    assert "write `-- bleen: irreversible REASON` in revert.sql" in wrong.message


@given(
    st.lists(
        st.sampled_from([sql for group in (*BAD.values(), GOOD) for _, sql in group] + ["-- bleen: allow rename x", "'", "$$", "/*", "\\", "\0", "é"]),
        max_size=4,
    ),
    st.text(),
)
def test_no_text_breaks_the_linter(parts: list[str], any_text: str) -> None:
    for text in (";\n".join(parts), any_text, "".join(parts)):
        lines = text.split("\n")
        for finding in lint(text, "postgres", "expand", "a.sql"):
            assert 1 <= finding.line <= len(lines)
            assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1
            assert finding.rule in rules("postgres")


@given(st.lists(st.sampled_from([sql for group in (*BAD.values(), GOOD) for _, sql in group]), min_size=1, max_size=4), st.data())
def test_what_is_found_alone_is_found_in_company(parts: list[str], data: st.DataObject) -> None:
    """Unless what stands before made it, nothing that stands beside a statement hides what is wrong with it."""
    last = data.draw(
        st.sampled_from([sql for sql in parts if "unterminated" not in sql]) if any("unterminated" not in sql for sql in parts) else st.just("LOCK a")
    )
    alone = {finding.rule for finding in lint(last, "postgres", "contract", "")}
    before = [sql for sql in parts if "unterminated" not in sql and "CREATE" not in sql and "ADD" not in sql and not sql.startswith("\\")]
    together = {finding.rule for finding in lint(";\n".join([*before, last]), "postgres", "contract", "")}
    assert alone <= together


@pytest.mark.parametrize(
    ("dialects", "sql", "name"),
    [
        (DIALECTS, "DROP TABLE bleen_migration", "bleen_migration"),
        (DIALECTS, "DROP TABLE IF EXISTS main.Bleen_Step", "bleen_step"),
        (DIALECTS, "ALTER TABLE bleen_environment RENAME TO old", "bleen_environment"),
        (DIALECTS, "ALTER TABLE bleen_step ADD COLUMN a int", "bleen_step"),
        (DIALECTS, "DELETE FROM bleen_step WHERE number = 1", "bleen_step"),
        (DIALECTS, "UPDATE bleen_migration SET state = 'expanded'", "bleen_migration"),
        (("postgres", "mysql"), "TRUNCATE bleen_step", "bleen_step"),
        (("mysql",), "RENAME TABLE users TO u, bleen_step TO b", "bleen_step"),
        (("mysql",), "DROP TRIGGER bleen_0001_n_1_insert_0a1b2c3d", "bleen_0001_n_1_insert_0a1b2c3d"),
        (("postgres",), 'DROP TABLE users, "public"."bleen_step" CASCADE', "bleen_step"),
        (("postgres",), 'DROP TRIGGER "~bleen_0001_n" ON users', "~bleen_0001_n"),
        (("postgres",), 'ALTER TABLE users DISABLE TRIGGER "~bleen_0001_n"', "~bleen_0001_n"),
        (("postgres",), 'DROP FUNCTION "~bleen_0001_n"()', "~bleen_0001_n"),
        (("sqlite",), "DROP TABLE bleen_sync", "bleen_sync"),
        (("sqlite",), 'DROP TRIGGER "~bleen_0001_n_1_insert"', "~bleen_0001_n_1_insert"),
    ],
)
def test_what_is_bleens_own_is_in_no_migrations_hands(dialects: tuple[Dialect, ...], sql: str, name: str, tmp_path: Path) -> None:
    """ "The truth about the schema is a ledger table in the database itself": autogenerate of Alembic finds tables that no model has, and drops them."""
    for dialect in dialects:
        for phase in PHASES:
            (finding,) = lint(f"SELECT 1; {sql}", dialect, phase)[-1:]
            assert (finding.rule, finding.severity, finding.line, finding.column) == ("bleens-own", "error", 1, 11)
            assert finding.message.startswith(f"{name} is bleen's own, in contract too")
            assert "include_name in env.py" in finding.message
        (back,) = way_back.lint("CREATE TABLE a (id int);", f"DROP TABLE a; {sql};", str(tmp_path), dialect)
        assert back.rule == "bleens-own"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW migrations AS SELECT name FROM bleen_migration",
        "CREATE TABLE copied (id int); INSERT INTO copied VALUES (1)",
        "ALTER TABLE users ADD COLUMN bleen_id int",
        "CREATE TABLE a (note text DEFAULT 'bleen_step')",
        *("-- bleen: allow bleens-own bleen goes\nDROP TABLE bleen_step", "DROP TABLE bleen_steps"),
    ],
)
def test_what_only_speaks_of_it_passes_by(dialect: Dialect, sql: str) -> None:
    assert "bleens-own" not in {each.rule for phase in PHASES for each in lint(sql, dialect, phase)}


@pytest.mark.parametrize(
    ("dialect", "sql", "table", "old", "new"),
    [
        ("postgres", 'ALTER TABLE app."Users" ALTER "N""é" TYPE text', 'app."Users"', 'N"é', 'N"é_new'),
        ("postgres", "ALTER TABLE users RENAME name TO full_name", "users", "name", "full_name"),
        ("mysql", "ALTER TABLE `a``b` MODIFY `c \n` BIGINT", "`a``b`", "c \n", "c \n_new"),
        ("mysql", "ALTER TABLE users CHANGE a b INT DEFAULT 5, ALGORITHM=INSTANT", "users", "a", "b"),
        ("mysql", "ALTER TABLE users RENAME COLUMN a TO b", "users", "a", "b"),
        ("sqlite", 'ALTER TABLE users RENAME COLUMN "a b" TO [c]', "users", "a b", "c"),
    ],
)
def test_the_way_to_another_name_or_type_keeps_both_columns_equal(dialect: Dialect, sql: str, table: str, old: str, new: str, tmp_path: Path) -> None:
    """ "triggers keep old and new columns equal whoever writes": without the pair, what blue writes behind the backfill is lost when contract drops it."""
    (finding,) = (each for each in lint(sql, dialect, "expand") if each.rule in ("rename", "change-type"))
    toml = "\n".join(line.removeprefix("-- ") for line in finding.fix.splitlines() if line.startswith("--   "))
    (tmp_path / "0001_moved").mkdir()
    (tmp_path / "0001_moved" / "migration.toml").write_text(toml)
    (tmp_path / "0001_moved" / "expand.sql").write_text("SELECT 1;")
    (migration,) = read_all(tmp_path)
    (pair,) = migration.pairs
    assert (pair.table, pair.old, pair.new, list(pair.forward), list(pair.backward)) == (table, (old,), (new,), [new], [old])
    assert "default" in finding.fix.lower()


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["migrate", "lint", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "expand.sql").write_text("CREATE TABLE people (id int);\nALTER TABLE users ADD COLUMN full_name text;\n")
    (tmp_path / "backfill.sql").write_text("UPDATE users SET full_name = first_name || ' ' || last_name WHERE full_name IS NULL;\n")
    (tmp_path / "contract.sql").write_text("ALTER TABLE users DROP COLUMN first_name;\n")
    (tmp_path / "more.sql").write_text("DROP TABLE people;\nDROP TABLE users;\n")
    return tmp_path


def test_a_release_whose_files_are_called_by_their_phase_is_read_without_a_project(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ "works without a project" """
    assert run("--dialect", "postgres", "expand.sql", "backfill.sql", "contract.sql", "--json", capsys=capsys) == (0, "[]\n", "")
    assert run("--dialect", "postgres", "expand.sql", capsys=capsys) == (0, "nothing found: 0 errors, 0 warnings\n", "")
    assert sorted(each.name for each in release.iterdir()) == ["backfill.sql", "contract.sql", "expand.sql", "more.sql"]


def test_a_directory_stands_for_the_migrations_in_it_each_a_release_of_its_own(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ "A table created in the same release is free to change", and which migrations are released together nobody knows here."""
    for name, text in {"10_more": "CREATE INDEX of_b ON notes (b);", "9_notes": "CREATE TABLE notes (b int);", "_draft": "DROP TABLE users;"}.items():
        (release / name).mkdir()
        (release / name / "expand.sql").write_text(text)
    assert run("--dialect", "postgres", ".", capsys=capsys)[:2] == (0, "nothing found: 0 errors, 0 warnings\n"), "its own files come first"
    assert run("--dialect", "postgres", "9_notes", "10_more", capsys=capsys)[0] == 0
    for name in ("expand.sql", "backfill.sql", "contract.sql"):
        (release / name).unlink()
    code, out, _ = run("--dialect", "postgres", "--json", ".", capsys=capsys)
    assert (code, [(each["file"], each["rule"]) for each in json.loads(out)]) == (1, [("10_more/expand.sql", "index-without-concurrently")])


def test_findings_are_a_json_list_and_an_error_exits_1(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ "prints a list of findings: file, line, column, rule, severity (error | warn), message, fix; exit 1 if one is an error" """
    code, out, _ = run("--dialect", "postgres", "--phase", "expand", "--json", "expand.sql", "more.sql", capsys=capsys)
    (only,) = json.loads(out)
    assert code == 1
    assert list(only) == ["file", "line", "column", "rule", "severity", "message", "fix"]
    assert (only["file"], only["line"], only["column"], only["rule"], only["severity"]) == ("more.sql", 2, 1, "drop-in-expand", "error")
    assert only["fix"] == "-- contract.sql\nDROP TABLE users;"


def test_people_read_lines_that_editors_can_jump_to(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--dialect", "postgres", "--phase", "expand", "more.sql", capsys=capsys)
    assert code == 1
    assert out.splitlines()[0].startswith("more.sql:1:1: error [drop-in-expand] the old version may use the table people")
    assert out.splitlines()[1:3] == ["    -- contract.sql", "    DROP TABLE people;"]
    assert out.splitlines()[-1] == "2 errors, 0 warnings"


def test_warnings_alone_are_no_failure(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "expand.sql").write_text("ALTER TABLE users ADD COLUMN mood mood")
    code, out, _ = run("--dialect", "postgres", "expand.sql", capsys=capsys)
    assert (code, out.splitlines()[-1]) == (0, "0 errors, 1 warning")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_byte_order_mark_is_no_part_of_a_file_nor_counted(
    dialect: Dialect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ "located (file:line:col)": as editors count that save with one."""
    folder, marked = tmp_path / "0001_a", b"\xef\xbb\xbf\tDROP TABLE a;"
    folder.mkdir()
    (folder / "expand.sql").write_bytes(marked)
    (folder / "migration.toml").write_bytes(b"\xef\xbb\xbfdescription = 'a'\r\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(marked)))
    for file in (str(folder / "expand.sql"), "-"):
        code, out, _ = run("--dialect", dialect, "--phase", "expand", file, capsys=capsys)
        assert code == 1
        assert out.startswith(f"{file}:1:2: error [drop-in-expand]")
    (read,) = read_all(tmp_path)
    assert (read.sql("expand"), read.description) == ("\tDROP TABLE a;", "a")


SETTINGS = {
    "a backfill that is in order": ('[backfill]\ntable = "users"\nset = { a = "upper(b)" }\n', []),
    "one that says more than an expression": ('\n[backfill]\ntable = "users"\nset = { a = "1); DROP TABLE users; --" }\n', [(2, 1, "not-understood")]),
    "a condition that leaves its parentheses": (
        '[backfill]\ntable = "users"\nset = { a = "b" }\nwhere = "a IS NULL) OR (true"\n',
        [(1, 1, "not-understood")],
    ),
    "a value that sets a second column": ('[backfill]\ntable = "users"\nset = { a = "1), b = (2" }\n', [(1, 1, "not-understood")]),
    "parentheses and commas that are in their place": (
        '[backfill]\ntable = "users"\nset = { a = "coalesce(b, \'(\') -- )" }\nwhere = "a = (ARRAY[1, 2])[1]"\n',
        [],
    ),
    "what is no TOML": ('[backfill]\ntable = "users\n', [(2, 15, "not-understood")]),
    "what nobody knows": ("[backfil]\n", [(1, 1, "not-understood")]),
    "a pair alone": ('[[sync]]\ntable = "t"\nold = "a"\nnew = "b"\nforward = { b = "a" }\nbackward = { a = "b" }\n', []),
}


@pytest.mark.parametrize(("text", "found"), SETTINGS.values(), ids=SETTINGS)
def test_a_migration_toml_is_read_too_and_its_backfill_judged(
    text: str, found: list[tuple[int, int, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(text)
    code, out, _ = run("--dialect", "postgres", "--json", str(file), capsys=capsys)
    assert [(each["line"], each["column"], each["rule"]) for each in json.loads(out)] == found
    assert code == (1 if found else 0)


def test_a_backfill_of_a_migration_toml_is_read_with_the_expand_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "expand.sql").write_text("ALTER TABLE users ADD COLUMN a int;")
    (tmp_path / "migration.toml").write_text('\n[backfill]\ntable = "users"\nset = { a = "1", email = "NULL" }\n')
    code, out, _ = run("--dialect", "postgres", str(tmp_path), capsys=capsys)
    assert (code, out.splitlines()[-1]) == (0, "0 errors, 1 warning")
    assert "migration.toml:2:1: warn [backfill-old-column] writes over email of users" in out


def test_a_backfill_of_a_migration_that_adds_nothing_is_told_what_it_writes_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, files in {"0001_low": ("backfill",), "0002_tool": ("backfill", "migration")}.items():
        (tmp_path / name).mkdir()
        for file in files:
            text = '[commands]\nexpand = ["x"]\n' if file == "migration" else "UPDATE users SET email = lower(email) WHERE email <> lower(email);"
            (tmp_path / name / f"{file}.{'toml' if file == 'migration' else 'sql'}").write_text(text)
    _, out, _ = run("--dialect", "mysql", str(tmp_path), capsys=capsys)
    assert [line.partition(tmp_path.name)[2][:24] for line in out.splitlines() if "[backfill-old-column]" in line] == ["/0001_low/backfill.sql:1"]


def test_a_backfill_is_said_in_one_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "expand.sql").write_text("ALTER TABLE users ADD COLUMN a int;")
    (tmp_path / "backfill.sql").write_text("UPDATE users SET a = 1;")
    (tmp_path / "migration.toml").write_text('[backfill]\ntable = "users"\nset = { a = "1" }\n')
    code, out, _ = run("--dialect", "postgres", str(tmp_path), capsys=capsys)
    assert code == 1
    assert "migration.toml:1:1: error [not-understood] both backfill.sql and [backfill] in migration.toml" in out


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("-- é\nDROP TABLE ü".encode())))
    code, out, _ = run("--dialect", "postgres", "--phase", "expand", "--json", "-", capsys=capsys)
    (only,) = json.loads(out)
    assert (code, only["file"], only["line"]) == (1, "-", 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say --dialect postgres|mysql|sqlite; or name with -f the bleen.yaml that has the database (there is no bleen.yaml)"),
        (("expand.sql", "-f", "more.yaml"), "(there is no more.yaml)"),
        (("expand.sql", "-f", "latin.sql"), "say --dialect postgres|mysql|sqlite; latin.sql does not tell:"),
        (("--dialect", "postgres", "nowhere.sql"), "nowhere.sql: cannot be read: No such file or directory"),
        (("--dialect", "postgres"), "there is no file to read"),
        (("--dialect", "postgres", "nowhere.sql", "--phase", "expand"), "nowhere.sql: cannot be read: No such file or directory"),
        (("--dialect", "postgres", "empty"), "empty: neither is it a migration nor does it hold one: there is no expand.sql"),
        (("--dialect", "postgres", "more.sql"), "more.sql: which phase runs it? say --phase"),
        (("--dialect", "postgres", "latin.sql", "--phase", "expand"), "latin.sql:2: is not UTF-8 (byte 10); save it as UTF-8"),
        (("--dialect", "postgres", "-", "-", "--phase", "expand"), "standard input can be read once"),
        (("--dialect", "postgres", "expand.sql", "--json", "--format", "sarif"), "are two formats"),
    ],
)
def test_what_cannot_be_read_exits_2_and_says_what_to_do(words: tuple[str, ...], said: str, release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "latin.sql").write_bytes(b"SELECT 1;\n\xe9")
    (release / "empty").mkdir()
    code, out, err = run(*words, capsys=capsys)
    assert code == 2
    assert said in out + err


@pytest.mark.parametrize(
    ("url", "said"), [("postgresql://shop@db/shop", "index-without-concurrently"), ("mariadb://shop@db/shop", "algorithm"), ("sqlite:shop.db", "index-blocks")]
)
def test_the_bleen_yaml_tells_whose_sql_it_is(url: str, said: str, release: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (release / "expand.sql").write_text("CREATE INDEX i ON users (name);")
    file = config.template("haproxy") + '\ndatabase:\n  url: "${SHOP_DATABASE}"\n'
    (release / "shop.yaml").write_text(file)
    monkeypatch.setenv("SHOP_DATABASE", url)
    assert f"[{said}" in run("expand.sql", "-f", "shop.yaml", capsys=capsys)[1]
    (release / "bleen.yaml").write_text(file)
    assert f"[{said}" in run("expand.sql", capsys=capsys)[1]
    assert "[index-without-concurrently]" in run("--dialect", "postgres", "expand.sql", capsys=capsys)[1]
    (release / "bleen.yaml").write_text(config.template("haproxy"))
    assert run("expand.sql", capsys=capsys)[0::2] == (2, "bleen: whose SQL is it? say --dialect postgres|mysql|sqlite; bleen.yaml names no database\n")
    monkeypatch.delenv("SHOP_DATABASE")
    assert "SHOP_DATABASE" in run("expand.sql", "-f", "shop.yaml", capsys=capsys)[2]
    assert run("--dialect", "sqlite", "expand.sql", "-f", "shop.yaml", capsys=capsys)[0] == 0


def test_options_before_the_sub_verb_and_unknown_ones_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--json", "lint"]) == 2
    assert "options come after the sub-verb" in capsys.readouterr().out
    assert main(["migrate", "lnit"]) == 2
    assert "lint" in capsys.readouterr().err


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_rules_of_each_dialect_can_be_listed(dialect: Dialect, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--dialect", dialect, "--rules", "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out) == dict(rules(dialect))
    assert all(told.endswith(".") and "\n" not in told for told in rules(dialect).values())
    assert {"not-understood", "bad-override", "unused-override"} <= rules(dialect).keys()


def _closed(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}, "additionalProperties": False}


TEXT = _closed({"text": {"type": "string", "minLength": 1}})
NUMBER = {"type": "integer", "minimum": 1}
SARIF = _closed(
    {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": _closed(
                {
                    "tool": _closed(
                        {
                            "driver": _closed(
                                {"name": {"type": "string"}},
                                {
                                    "version": {"type": "string"},
                                    "rules": {"type": "array", "uniqueItems": True, "items": _closed({"id": {"type": "string"}}, {"shortDescription": TEXT})},
                                },
                            )
                        }
                    )
                },
                {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {
                        "type": "array",
                        "items": _closed(
                            {"message": TEXT},
                            {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "locations": {
                                    "type": "array",
                                    "items": _closed(
                                        {},
                                        {
                                            "physicalLocation": _closed(
                                                {
                                                    "artifactLocation": _closed(
                                                        {}, {"uri": {"type": "string", "pattern": r"^[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]*$"}}
                                                    )
                                                },
                                                {"region": _closed({}, {"startLine": NUMBER, "startColumn": NUMBER})},
                                            )
                                        },
                                    ),
                                },
                            },
                        ),
                    },
                },
            ),
        },
    },
    {"$schema": {"type": "string", "format": "uri"}},
)
"""What SARIF 2.1.0 (OASIS, sarif-schema-2.1.0.json) says of the properties that we use."""


def test_sarif_is_what_the_standard_says_it_is(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "ü 1.sql").write_text("DROP TABLE a; CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON users (email); ALTER TABEL x")
    code, out, _ = run("--dialect", "postgres", "--phase", "expand", "--format", "sarif", "ü 1.sql", capsys=capsys)
    written = json.loads(out)
    jsonschema.validate(written, SARIF)
    (only,) = written["runs"]
    assert code == 1
    assert [(each["ruleId"], each["level"]) for each in only["results"]] == [
        ("drop-in-expand", "error"),
        ("index-if-not-exists", "warning"),
        ("not-understood", "error"),
    ]
    assert all(only["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] == each["ruleId"] for each in only["results"])
    assert only["results"][0]["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "%C3%BC%201.sql"},
        "region": {"startLine": 1, "startColumn": 1},
    }
    assert "The safe way:\n\n-- contract.sql\nDROP TABLE a;" in only["results"][0]["message"]["text"]


def test_sarif_of_nothing_found_is_a_run_all_the_same() -> None:
    jsonschema.validate(log([], rules("postgres")), SARIF)


@pytest.mark.parametrize(("dialect", "heavy"), [("sqlite", {"postgast", "psycopg", "google.protobuf"}), ("postgres", {"psycopg", "sqlglot"})])
def test_linting_loads_nothing_that_its_dialect_does_not_need(dialect: str, heavy: set[str]) -> None:
    program = f"import sys\nfrom bleen.cli import main\nmain(['migrate', 'lint', '--dialect', '{dialect}', '--phase', 'expand', '-'])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", program], input="SELECT 1;", capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split()), done.stderr
