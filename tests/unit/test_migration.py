"""What a migration's folder may hold, and how what is wrong with it is told."""

from pathlib import Path

import pytest

from bleen.database.migration import Locks, Pace, Pair, parse, read, read_all, says
from bleen.errors import UserError

TOML = """
description = "one column for the name"

[locks]
timeout = 0.2

[[sync]]
table = "users"
old = ["first_name", "last_name"]
new = ["full_name"]
forward = { full_name = "first_name || ' ' || last_name" }
backward = { first_name = "split_part(full_name, ' ', 1)", last_name = "split_part(full_name, ' ', 2)" }
on_conflict = "new"
"""


def folder(at: Path, **files: str) -> Path:
    at.mkdir(parents=True)
    for name, text in files.items():
        (at / name.replace("__", ".")).write_text(text)
    return at


def test_a_folder_is_read_with_its_pairs_and_settings(tmp_path: Path) -> None:
    made = read(folder(tmp_path / "0007_full_name", expand__sql="ALTER TABLE users ADD full_name text;", migration__toml=TOML))
    assert (made.name, made.number, made.description) == ("0007_full_name", 7, "one column for the name")
    assert made.pairs == (
        Pair(
            "users",
            ("first_name", "last_name"),
            ("full_name",),
            {"full_name": "first_name || ' ' || last_name"},
            {"first_name": "split_part(full_name, ' ', 1)", "last_name": "split_part(full_name, ' ', 2)"},
            "new",
            False,
        ),
    )
    assert (made.locks, made.pace) == (Locks(timeout=0.2), Pace())
    assert made.sql("expand") == "ALTER TABLE users ADD full_name text;"
    assert made.sql("contract") == ""


def test_the_check_sum_is_of_what_the_files_say_and_not_of_their_line_ends(tmp_path: Path) -> None:
    one = read(folder(tmp_path / "a" / "0001_x", expand__sql="SELECT 1;\nSELECT 2;\n"))
    windows = read(folder(tmp_path / "b" / "0001_x", expand__sql="SELECT 1;\r\nSELECT 2;\r\n"))
    other = read(folder(tmp_path / "c" / "0001_x", expand__sql="SELECT 1;\nSELECT 3;\n"))
    assert one.checksum == windows.checksum != other.checksum


def test_a_carriage_return_in_a_string_stays_one(tmp_path: Path) -> None:
    (folder(tmp_path / "0001_x") / "expand.sql").write_bytes(b"SELECT 'a\rb';\r\nSELECT 2;\r\n")
    assert read(tmp_path / "0001_x").sql("expand") == "SELECT 'a\rb';\nSELECT 2;\n"


def test_migrations_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10_c", "9_b", "0001_a"):
        folder(tmp_path / name, expand__sql="SELECT 1")
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("")
    assert [m.name for m in read_all(tmp_path)] == ["0001_a", "9_b", "10_c"]


def test_a_version_without_migrations_has_none(tmp_path: Path) -> None:
    assert read_all(tmp_path / "nowhere") == []


def test_two_migrations_of_one_number_are_refused(tmp_path: Path) -> None:
    folder(tmp_path / "0001_a", expand__sql="SELECT 1")
    folder(tmp_path / "1_b", expand__sql="SELECT 1")
    with pytest.raises(UserError, match="0001_a and 1_b have the same number"):
        read_all(tmp_path)


@pytest.mark.parametrize("name", ["full_name", "0007", "0007-full-name", "0007_Full", "x"])
def test_a_folder_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="a number and a name"):
        read(folder(tmp_path / name, expand__sql="SELECT 1"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing in it"):
        read(folder(tmp_path / "0001_a"))


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (folder(tmp_path / "0001_a") / "expand.sql").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"expand\.sql: cannot be read"):
        read(tmp_path / "0001_a")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("x =", "migration.toml: "),
        ("descripton = 'a'", "there is no descripton; known are backfill?"),
        ("description = 7", "description is 7; it should be a str"),
        ("[locks]\ntimeout = '1s'", r"\[locks\]: timeout is '1s'; it should be a float"),
        ("[pace]\nduty = 0", r"\[pace\] wants"),
        ("[pace]\nbatch = true", "batch is True"),
        ("[pace]\ntarget = inf", r"\[pace\] wants"),
        ("[pace]\nlag = nan", r"\[pace\] wants"),
        ("[locks]\ntimeout = nan", r"\[locks\] wants"),
        ("[locks]\ntimeout = -1", r"\[locks\] wants"),
        ("[locks]\nconcurrently = 1e12", r"\[locks\] wants"),
        ("[[sync]]\ntable = 't'\nold = ['a', 'a']\nnew = ['b']\nforward = {b = 'a'}\nbackward = {a = 'b'}", "old names a column twice"),
        ("[[sync]]\nold = ['a']\nnew = ['b']", r"\[\[sync\]\] 1: table is missing"),
        ("[[sync]]\ntable = 't'\nold = ['a']\nnew = ['b']", "forward wants one expression for each of b, and has none"),
        ("[[sync]]\ntable = 't'\nold = ['a']\nnew = []", "new names no column"),
        ("[[sync]]\ntable = 't'\nold = ['a']\nnew = ['a']\nforward = {a = 'a'}\nbackward = {a = 'a'}", "a column is on both sides"),
        ("[[sync]]\ntable = 't'\nold = ['a']\nnew = ['b']\nforward = {b = 'a'}\nbackward = {a = ''}", "backward of a is not written yet"),
        ("[[sync]]\ntable = 't'\nold = '`a`'\nnew = 'b'\nforward = {b = 'a'}\nbackward = {'`a`' = 'b'}", "as the catalogue does, without quotes: a;"),
        ("[backfill]\ntable = 't'\nset = {'`b`' = '1'}", "set names a column as the catalogue does, without quotes: b;"),
        ("[[sync]]\ntable = 't'\non_conflict = 'blue'", "on_conflict is old, new or error"),
        ("[backfill]\ntable = 't'", "set names no column"),
        ("sync = ['x']", r"sync is a list of tables, each under a \[\[sync\]\] of its own"),
    ],
)
def test_what_is_wrong_with_migration_toml_is_said(toml: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("backfill?", "")):
        parse("0001_a", {"expand.sql": "SELECT 1", "migration.toml": toml}, "0001_a")


def test_a_backfill_is_said_once() -> None:
    sources = {"backfill.sql": "UPDATE t SET a = 1", "migration.toml": "[backfill]\ntable = 't'\nset = {a = '1'}"}
    with pytest.raises(UserError, match="one of them is enough"):
        parse("0001_a", sources, "0001_a")


SILENT = ["", " \n", "-- a\n-- b", "/* left empty: it is derived */", "/* a\nb */ -- c\n;", "# MySQL's\n", "/* a /* b */ c */", "/**/"]
LOUD = ["SELECT 1", "/* a */ SELECT 1", "-- /*\nDROP TABLE a; /* */", "/* a /* b */ DROP TABLE c", "/* no end", "/*! DROP TABLE a */", "/*M! SELECT 1 */", "*/"]


@pytest.mark.parametrize(("text", "loud"), [*((text, False) for text in SILENT), *((text, True) for text in LOUD)])
def test_a_file_that_holds_only_comments_says_nothing(text: str, loud: bool) -> None:
    assert says(text) == loud
