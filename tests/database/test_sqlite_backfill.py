"""The backfill of a SQLite table: along every kind of key, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import MODES, File, made

from bleen.database import backfill
from bleen.database.backfill import Filled, Progress
from bleen.database.ledger import Ledger
from bleen.database.migration import Backfill, Pace, parse
from bleen.errors import Refused

MIGRATION = parse("0007_note", {"expand.sql": "-- nothing"}, "")._replace(pace=Pace(batch=10, duty=1.0))
COUNTED = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 300) "


@pytest.fixture(params=MODES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> File:
    return made(tmp_path, request.param)


def filled(file: File, fill: Backfill, told: Callable[[Progress], None] = lambda _: None, pace: Pace = MIGRATION.pace) -> Filled:
    with file.opened() as server, server.alone():
        ledger = Ledger(server)
        ledger.make()
        return backfill.run(server, ledger, MIGRATION._replace(pace=pace), fill, told)


def query(file: File, *statements: str) -> list[tuple[object, ...]]:
    with file.connect() as connection:
        return [connection.execute(each).fetchall() for each in statements][-1]


NOTE = Backfill("t", {"note": "'x' || a"})
TABLES = {
    "a rowid, with holes": ("CREATE TABLE t (a text, note text)", "INSERT INTO t (rowid, a) SELECT n * n - 50, n FROM n", ()),
    "an INTEGER PRIMARY KEY, named": ("CREATE TABLE t (id integer PRIMARY KEY, a text, note text)", "INSERT INTO t (id, a) SELECT -n, n FROM n", ("id",)),
    "two columns without rowid": (
        "CREATE TABLE t (k text, n real, a text, note text, PRIMARY KEY (k, n DESC)) WITHOUT ROWID",
        "INSERT INTO t (k, n, a) SELECT 'it''s ' || (n % 7), n / 3.0, n FROM n",
        (),
    ),
    "blobs, texts and numbers in one key": (
        "CREATE TABLE t (k PRIMARY KEY, a text, note text) WITHOUT ROWID",
        "INSERT INTO t (k, a) SELECT CASE n % 3 WHEN 0 THEN n WHEN 1 THEN 'k' || n ELSE CAST(n AS blob) END, n FROM n",
        ("k",),
    ),
    "a unique index of another collation than its column": (
        "CREATE TABLE t (k text COLLATE NOCASE NOT NULL, a text, note text); CREATE UNIQUE INDEX i ON t (k COLLATE BINARY)",
        "INSERT INTO t (k, a) SELECT CASE n % 2 WHEN 0 THEN 'k' ELSE 'K' END || (n / 2), n FROM n",
        ("k",),
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_row_is_filled_once_along_every_kind_of_key(file: File, kind: str) -> None:
    table, rows, key = TABLES[kind]
    query(file, *table.split("; "), COUNTED + rows)
    assert filled(file, NOTE._replace(key=key)) == Filled(300, 300, 1)
    assert query(file, "SELECT count(*) FROM t WHERE note = 'x' || a") == [(300,)]


def test_rows_in_step_are_not_written_and_a_condition_holds(file: File) -> None:
    query(file, "CREATE TABLE t (a text, note text)", COUNTED + "INSERT INTO t SELECT n, CASE WHEN n <= 100 THEN 'x' || n END FROM n")
    assert filled(file, NOTE._replace(where="CAST(a AS int) <= 200")).changed == 100
    assert query(file, "SELECT count(*) FROM t WHERE note IS NULL") == [(100,)]


def test_a_value_is_in_step_if_it_is_what_would_be_stored_to_the_byte(file: File) -> None:
    """Another case under NOCASE is another value; a number in a text column is its text."""
    query(file, "CREATE TABLE t (a int, note text COLLATE NOCASE, n text)", "INSERT INTO t VALUES (7, 'x', '7'), (8, 'X', '08')")
    assert filled(file, Backfill("t", {"note": "'X'"})).changed == 1
    query(file, "DROP TABLE bleen_step")
    query(file, "DROP TABLE bleen_environment")
    assert filled(file, Backfill("t", {"N": "a"})).changed == 1
    assert query(file, "SELECT note, n FROM t") == [("X", "7"), ("X", "8")]


def test_rows_that_come_behind_the_cursor_are_found_in_another_round(file: File) -> None:
    query(file, "CREATE TABLE t (id integer PRIMARY KEY, a text, note text)", COUNTED + "INSERT INTO t (id, a) SELECT n, n FROM n")
    came = iter([True])

    def told(progress: Progress) -> None:
        if progress.waits.startswith("counts") and next(came, False):
            query(file, "INSERT INTO t (id, a) VALUES (-5, 'late')")

    assert filled(file, NOTE, told) == Filled(300, 301, 2)
    assert query(file, "SELECT note FROM t WHERE id = -5") == [("xlate",)]


def test_the_row_that_cannot_be_changed_is_named(file: File) -> None:
    query(file, "CREATE TABLE t (a text, note text CHECK (note <> 'x250'))", COUNTED + "INSERT INTO t (a) SELECT n FROM n")
    with pytest.raises(Refused, match=r"backfill of t, row 250: .*CHECK constraint failed"):
        filled(file, NOTE)
    assert query(file, "SELECT count(*) FROM t WHERE note IS NOT NULL") == [(249,)]


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (NOTE._replace(set={"note": "random()"}), r"random\(\) says something else each time"),
        (NOTE._replace(set={"note": "CURRENT_TIMESTAMP"}), "CURRENT_TIMESTAMP says something else each time"),
        (NOTE._replace(set={"note": "date('now')"}), "'now' says something else each time"),
        (NOTE._replace(set={"note": "unixepoch()"}), r"unixepoch\(\) says something else each time"),
        (NOTE._replace(set={"note": "'x' ; 'y'"}), "this is not one expression"),
        (NOTE._replace(where="note IS NULL) OR (true"), "this is not one expression"),
        (NOTE._replace(set={"notes": "a"}), "it has no column notes; it has a, note, made"),
        (NOTE._replace(set={"made": "a"}), "made is generated"),
        (NOTE._replace(key=("a",)), r"\(a\) is none of its keys; it has \(rowid\)"),
        (NOTE._replace(table="u"), "there is no table u"),
    ],
)
def test_a_backfill_that_could_never_be_in_step_is_refused(file: File, fill: Backfill, words: str) -> None:
    query(file, "CREATE TABLE t (a text, note text, made text AS (a || '!'))", "INSERT INTO t (a) VALUES ('a')")
    with pytest.raises(Refused, match=words):
        filled(file, fill)


@pytest.mark.parametrize("fault", [{"key": ("n",)}, {"set": {"notes": "a"}}, {"set": {"note": "n || a"}}, {"where": "t.n > 3"}])
def test_a_column_that_will_not_be_there_is_known_before_expand(file: File, fault: dict[str, Any]) -> None:
    query(file, "CREATE TABLE t (a text)")
    coming = "ALTER TABLE t ADD COLUMN note text"
    with file.opened() as server:
        backfill.check(server, MIGRATION, NOTE._replace(where="note IS NULL"), coming)
        with pytest.raises(Refused, match=r"backfill of t: it has no column (n|notes), and expand.sql adds none; it has a$"):
            backfill.check(server, MIGRATION, NOTE._replace(**fault), coming)


def test_the_estimate_knows_the_rows_that_are_out_of_step_also_before_expand(file: File) -> None:
    query(file, "CREATE TABLE t (a text)", COUNTED + "INSERT INTO t SELECT n FROM n")
    with file.opened() as server:
        assert backfill.estimate(server, MIGRATION, NOTE)[:3] == ("t", 300, 300)
        query(file, "ALTER TABLE t ADD note text", "UPDATE t SET note = 'x' || a WHERE a > 3")
        assert backfill.estimate(server, MIGRATION, NOTE).changes < 300
