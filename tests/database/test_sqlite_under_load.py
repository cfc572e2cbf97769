"""A SQLite file is expanded, kept in step, filled and contracted while other processes write it: none of their statements fails. And killed meanwhile."""

import os
import random
from pathlib import Path

import pytest
from sqlite_files import FIRST, LAST, MODES, File, made
from sqlite_writers import Writers

from bleen.database.gate import Around
from bleen.database.migration import parse
from bleen.database.schema import Schema
from bleen.testing.interrupt import Interrupt, Point, killed

USERS = """
CREATE TABLE users (id integer PRIMARY KEY, first text NOT NULL DEFAULT '', last text NOT NULL DEFAULT '');
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3000) INSERT INTO users (first, last) SELECT 'F' || n, 'L' || n FROM n;
"""
SETTINGS = f"""
[pace]
batch = 300
target = 10
[[sync]]
table = "users"
old = ["first", "last"]
new = ["full_name"]
forward = {{ full_name = "first || ' ' || last" }}
backward = {{ first = "{FIRST}", last = "{LAST}" }}
on_conflict = "new"
"""
MIGRATION = parse(
    "0007_full_name",
    {
        "expand.sql": "ALTER TABLE users ADD COLUMN full_name text;\nCREATE INDEX by_name ON users (full_name);",
        "backfill.sql": "UPDATE users SET full_name = first || ' ' || last;",
        "contract.sql": "ALTER TABLE users DROP COLUMN first;\nALTER TABLE users DROP COLUMN last;",
        "revert.sql": "DROP INDEX by_name;\nALTER TABLE users DROP COLUMN full_name;",
        "migration.toml": SETTINGS,
    },
    "",
)
NAME = MIGRATION.name
PATIENT = MIGRATION._replace(locks=MIGRATION.locks._replace(patience=300.0))
SHIPS = {"blue-1": frozenset[str](), "green-2": frozenset({NAME})}
SAMPLE = 10
"""Points of each run that are tried where BLEEN_CRASHES does not say all."""


def users(place: Path, mode: str) -> File:
    file = made(place, mode)
    with file.connect() as connection:
        connection.executescript(USERS)
    return file


@pytest.mark.parametrize("mode", MODES)
def test_a_schema_goes_there_and_contracts_under_writers_of_both_versions_and_fails_no_statement(tmp_path: Path, mode: str) -> None:
    """The issue: "Install and removal are atomic for clients: pgroll's order failed 30 statements under four writers; ours fails none"."""
    file = users(tmp_path, mode)
    with Writers(file).running() as writers, file.opened() as server:
        schema = Schema(server)
        writers.go_on()
        schema.expand([PATIENT], "shop", 2, SHIPS)
        writers.go_on("both")
        assert schema._diverged(schema._entry(NAME)) == {"users (first+last <-> full_name)": 0}
        writers.go_on("new")
        schema.contract(NAME)
        writers.go_on()
        assert writers.failed == []
        assert list(server.columns("users")) == ["id", "full_name"]


@pytest.mark.parametrize("mode", MODES)
def test_a_revert_under_writers_of_the_old_version_fails_no_statement(tmp_path: Path, mode: str) -> None:
    file = users(tmp_path, mode)
    with Writers(file).running() as writers, file.opened() as server:
        schema = Schema(server)
        for _ in range(3):
            schema.expand([PATIENT], "shop", 2, SHIPS)
            writers.go_on()
            schema.revert(NAME)
            writers.go_on()
        assert writers.failed == []
        assert list(server.columns("users")) == ["id", "first", "last"]


def carried_out(file: File, does: str, interrupt: Interrupt | None = None) -> None:
    with file.opened() as server:
        schema = Schema(server)
        if interrupt:
            interrupt.phase = does
        if does == "expand":
            schema.expand([MIGRATION], "shop", 2, SHIPS)
        elif does == "contract":
            schema.contract(NAME)
        elif schema.ledger.entry(NAME):  # a revert that was killed after its end has nothing left to do
            schema.revert(NAME)


def state(file: File) -> list[object]:
    """All that there is in the end, but for times and the size of batches."""
    with file.connect() as db:
        shown = [db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall(), db.execute("SELECT * FROM users ORDER BY id").fetchall()]
        ledger = [
            "SELECT name, checksum, state FROM bleen_migration",
            "SELECT migration, part, number, done, sql_text, memo ->> 'rows', memo ->> 'changed' FROM bleen_step ORDER BY 2, 3",
        ]
        return shown + [db.execute(text).fetchall() for text in (*ledger, "SELECT * FROM bleen_sync", "PRAGMA integrity_check")]


def points(place: Path, does: str, before: tuple[str, ...]) -> tuple[list[Point], list[object]]:
    """Where a run can be killed, and what is there when it is not."""
    place.mkdir()
    file = users(place, "wal")
    for each in before:
        carried_out(file, each)
    with Interrupt() as interrupt:
        carried_out(file, does, interrupt)
    found = [point for point in interrupt.points if point.phase == does and point.call.split(":")[1] in ("execute", "flock", "pwrite")]
    return found, state(file)


@pytest.mark.parametrize(("does", "before"), [("expand", ()), ("contract", ("expand",)), ("revert", ("expand",))])
def test_killed_anywhere_the_next_run_ends_where_the_first_would_have(tmp_path: Path, does: str, before: tuple[str, ...]) -> None:
    """The issue: "kill -9 at every step of expand, backfill, sync install, contract"."""
    found, expected = points(tmp_path / "whole", does, before)
    assert len(found) > 20
    if os.environ.get("BLEEN_CRASHES") != "all":
        found = sorted(random.Random(7).sample(found, SAMPLE))
    for number, point in enumerate(found):
        place = tmp_path / str(number)
        place.mkdir()
        file = users(place, MODES[number % 2])
        for each in before:
            carried_out(file, each)
        assert killed(lambda interrupt, file=file: carried_out(file, does, interrupt), point), point  # type: ignore[misc]
        carried_out(file, does)
        assert state(file) == expected, point


def test_the_gate_of_a_contract_that_was_killed_opens_again(tmp_path: Path) -> None:
    file = users(tmp_path, "wal")
    carried_out(file, "expand")
    point = Point("contract", "rows:execute", 14, "after")
    assert killed(lambda interrupt: carried_out(file, "contract", interrupt), point)
    with file.opened() as server:
        assert [(p.migration, p.obstacles) for p in Schema(server).pending(Around("shop", ()))] == [(NAME, ())]
