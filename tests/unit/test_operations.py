"""Declarative operations become SQL that the rules of each dialect let pass."""

import json
import re
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from bleen.cli import main
from bleen.database.importing import lint
from bleen.database.migration import Locks, Pace, parse, read
from bleen.database.operations import OPERATIONS, from_toml, from_words, migrations, template
from bleen.database.statements import DIALECTS, Dialect
from bleen.errors import UserError
from operation_cases import CASES, Case


def test_every_operation_is_tried() -> None:
    assert {case.words[0] for case in CASES.values()} == set(OPERATIONS)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_an_operation_writes_is_let_pass_in_its_phase(case: Case, dialect: Dialect) -> None:
    """Declarative operations write the four SQL files, to be read, edited and committed; nothing is hidden."""
    if dialect not in case.needs:
        with pytest.raises(UserError, match=r"operation 1 \(\w+\): (MySQL|SQLite) "):
            migrations(from_words(case.words), dialect, "")
        return
    (made,) = migrations(from_words(case.words), dialect, "what it is for")
    assert [each for each in lint([("0001_x", made)], dialect) if each.severity == "error"] == []
    assert parse("0001_x", made.files, "x").description == "what it is for"
    assert "revert.sql" in made.files
    unique = dialect == "sqlite" and "unique=" in " ".join(case.words)  # which its rules leave to contract
    assert ("contract.sql" in made.files) == (bool(case.contracted) or unique)


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if "with a default, of a column that is required" in name])
def test_a_column_that_is_required_is_so_from_the_beginning_where_it_cannot_become_so(case: Case) -> None:
    required = {
        d: [part for part in ("expand.sql", "contract.sql") if "NOT NULL" in migrations(from_words(case.words), d, "")[0].files[part]] for d in DIALECTS
    }
    assert required == {"postgres": ["contract.sql"], "mysql": ["contract.sql"], "sqlite": ["expand.sql"]}


def test_operations_that_fill_rows_are_a_migration_each() -> None:
    add = ["add_column", "table=people", "type=text", "fill=''"]
    first, second = migrations(from_words([*add, "column=a", "create_index", "table=people", "columns=b", *add, "column=c"]), "postgres", "")
    assert first.files["expand.sql"].count("\n") == 2
    assert second.files["backfill.sql"] == "UPDATE people SET c = '' WHERE c IS NULL;\n"


def test_a_file_of_toml_says_the_same_as_the_command_line() -> None:
    toml = """
    [[operation]]
    do = "merge_columns"
    table = "people"
    columns = ["first_name", "last_name"]
    to = "full_name"
    type = "varchar(255)"
    forward = "concat(first_name, ' ', last_name)"
    backward = { first_name = "split_part(full_name, ' ', 1)", last_name = "split_part(full_name, ' ', 2)" }
    """
    (from_file,), (from_line,) = from_toml(toml, "ops.toml"), from_words(CASES["merge_columns"].words)
    assert from_file.operation == from_line.operation


def test_what_a_person_has_to_say_is_open_and_refused_until_then() -> None:
    words = [word for word in CASES["merge_columns"].words if not word.startswith("backward")]
    (made,) = migrations(from_words(words), "postgres", "")
    assert made.notes == ("to be written in migration.toml: what is marked TODO",)
    with pytest.raises(UserError, match="backward of first_name is not written yet"):
        parse("0001_x", made.files, "x")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["add_colum", "table=a"], r"operation 1 \(add_colum\): there is no operation 'add_colum' \(did you mean add_column\?\)"),
        (["x"], "known are create_table"),
        (["table=a"], "say first which operation it belongs to"),
        (["drop_table", "table=a", "drop_table"], r"operation 2 \(drop_table\): table is missing"),
        (["drop_table", "tabel=a"], "drop_table has no tabel; it has table"),
        (["drop_table", "table="], "table is a text"),
        (["create_index", "table=a", "columns=b,,c"], "columns is a list of names"),
        (["create_index", "table=a", "columns=lower(b)"], r"columns is a list of names, and lower\(b\) is an expression"),
        (["create_table", "table=a", "columns=id", "columns.b=text"], "columns.b=text: columns=id was said before"),
        (["create_index", "table=a", "columns=b", "unique=perhaps"], "unique is true or false"),
        (["split_column", "table=a", "column=b", "to=c", "forward.c=b"], r"to is a table, of one text for each column: to\.COLUMN="),
        (["split_column", "table=a", "column=b", "to.c=int", "forward.d=b"], "forward wants one expression for each of c, and has d"),
        (["add_constraint", "table=a"], "say one of check, unique and not_null"),
        (["add_constraint", "table=a", "check=b > 1"], "name is missing"),
        (["add_column", "table=a", "column=b", "type=uuid", "default=gen_random_uuid()"], "(?s)the rules forbid.*gen_random_uuid.*SET DEFAULT"),
        (["add_column", "table=a", "column=b", "type=int int"], "syntax error"),
    ],
)
def test_what_is_wrong_with_an_operation_is_said(words: list[str], why: str) -> None:
    with pytest.raises(UserError, match=why):
        migrations(from_words(words), "postgres", "")


@pytest.mark.parametrize(
    "words",
    [
        ["rename_column", "table=a", "column=b", "to=c", "type=int"],
        ["change_type", "table=a", "column=b", "to=c", "type=bigint"],
        ["split_column", "table=a", "column=b", "to.c=int", "forward.c=abs(b)"],
        ["merge_columns", "table=a", "columns=b", "to=c", "type=int", "forward=abs(b)"],
    ],
)
def test_a_column_that_takes_the_place_of_another_is_not_made_not_null_on_sqlite_and_what_is_said_leads_on(words: list[str]) -> None:
    with pytest.raises(UserError, match="SQLite makes no column NOT NULL that is there, as c is by then: leave not_null out, or say a default where"):
        migrations(from_words([*words, "not_null=true"]), "sqlite", "")
    assert migrations(from_words(words), "sqlite", "")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_written_for_a_column_that_takes_the_place_of_another_says_what_does_not_come_with_it(dialect: Dialect) -> None:
    (made,) = migrations(from_words(["rename_column", "table=a", "column=b", "to=c", "type=int"]), dialect, "")
    assert "-- What is of b (UNIQUE, CHECK, indexes, a default) is not of c, and goes with contract" in made.files["expand.sql"]


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("x = y\n", r"ops.toml: Invalid value \(at line 1"),
        ("", r"ops.toml: wants \[\[operation\]\] tables"),
        ("operation = 1", r"ops.toml: wants \[\[operation\]\] tables"),
        ("[[operation]]\ndo = 'drop_table'\ntable = 'a'\n[[operation]]\ntable = 'a'", r"ops.toml: \[\[operation\]\] 2: there is no operation ''"),
        ("[[operation]]\ndo = 'drop_table'\ntable = 1", r"ops.toml: \[\[operation\]\] 1: table is a text"),
    ],
)
def test_what_is_wrong_with_a_file_of_operations_is_said(toml: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        from_toml(toml, "ops.toml")


def test_what_a_modify_takes_away_unless_it_is_said_again_is_told_in_the_file() -> None:
    words = ["add_constraint", "table=people", "not_null=age", "type=int"]
    (mysql,), (postgres,) = migrations(from_words(words), "mysql", ""), migrations(from_words(words), "postgres", "")
    assert "put behind NOT NULL what else SHOW CREATE TABLE says of it, such as its DEFAULT" in mysql.files["contract.sql"]
    assert "MODIFY" not in postgres.files["contract.sql"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_without_operations_there_are_templates_that_change_nothing(
    dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["migrate", "new", "Full name", "--dialect", dialect]) == 0
    made = read(Path("migrations/0001_full_name"))
    assert not any(made.holds(part) for part in ("expand", "backfill", "contract", "revert"))
    assert (made.pairs, made.backfill) == ((), None)
    assert capsys.readouterr().out.splitlines() == [f"migrations/0001_full_name/{file}" for file in made.sources if file in made.sources]


def test_the_template_of_migration_toml_is_right_once_its_marks_are_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["migrate", "new", "full_name"])
    folder = Path("migrations/0001_full_name")
    lines = (folder / "migration.toml").read_text().splitlines()
    (folder / "migration.toml").write_text("\n".join(line.removeprefix("# ") if "=" in line or line.startswith("# [") else line for line in lines))
    made = read(folder)
    assert made.backfill is not None
    assert (len(made.pairs), made.locks.concurrently, made.pace.lag) == (1, 3600.0, 10.0)


def test_operations_are_read_from_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    toml = "[[operation]]\ndo = 'drop_table'\ntable = 'people'\n"
    Path("ops.toml").write_text(toml)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(toml.encode())))
    for source in ("ops.toml", "-"):
        assert main(["migrate", "new", "bye", "--from", source, "--json"]) == 0
    assert [json.loads(line)["migrations"] for line in capsys.readouterr().out.splitlines()] == [["migrations/0001_bye"], ["migrations/0002_bye"]]
    assert Path("migrations/0002_bye/contract.sql").read_text() == "DROP TABLE people;\n"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_name_that_an_earlier_migration_has_is_not_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert main(["migrate", "new", "by_name", "create_index", "table=users", "columns=full_name", "--dialect", dialect]) == 0
    names = [re.findall(r"users_full_name_idx\w*", Path(f"migrations/{n:04d}_by_name/expand.sql").read_text()) for n in (1, 2, 3)]
    assert names == [["users_full_name_idx"], ["users_full_name_idx1"], ["users_full_name_idx2"]]


def test_what_the_rules_forbid_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["migrate", "new", "x", "add_column", "table=a", "column=b", "type=serial"]) == 2
    assert "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dialect", "mark"), [("postgres", '"'), ("mysql", "`"), ("sqlite", '"')])
def test_a_name_is_given_without_quotes_which_are_put_where_they_are_needed(dialect: Dialect, mark: str) -> None:
    """Elsewhere, in migration.toml, names are written as SQL writes them; taken for a part of the name, their quotes would be doubled."""
    with pytest.raises(UserError) as raised:
        migrations(from_words(["drop_table", f"table={mark}Sales{mark}.{mark}Order Items{mark}"]), dialect, "")
    assert str(raised.value).endswith("has quotes, which are put where they are needed: say Sales.Order Items")
    (made,) = migrations(from_words(["drop_table", "table=Sales.Order Items"]), dialect, "")
    assert f"{mark}Sales{mark}.{mark}Order Items{mark};" in made.files["contract.sql"]


def test_every_operation_is_listed_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "new", "--operations", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == OPERATIONS.keys()
    assert told["create_index"]["needs"] == ["table", "columns"]
    assert main(["migrate", "new", "--operations"]) == 0
    assert "needs table, columns; may have name, unique, where" in capsys.readouterr().out


def test_a_template_names_the_settings_as_they_are_if_nobody_says_anything() -> None:
    toml = template("postgres").files["migration.toml"]
    said = "\n".join(line.removeprefix("# ") for line in toml[toml.index("# [locks]") :].splitlines())
    made = parse("0001_x", {"expand.sql": "SELECT 1", "migration.toml": said}, "0001_x")
    assert (made.locks, made.pace) == (Locks(), Pace())
    assert {"target", "duty", "lag", "timeout", "patience", "concurrently"} == set(re.findall(r"^(\w+) =", said, re.MULTILINE))
