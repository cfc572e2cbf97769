"""Whatever is written to SQLite, by whomever and in whatever order, the rows are those that the decision table says, with nobody's name known."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import FIRST, LAST, File, installed, made
from test_sync_property import LEVEL, NAMES, OPEN, RENAMED, STATUS, Mapped, Model, Op, Rows, Story, stories

from bleen.database import sync
from bleen.database.migration import OnConflict

SHAPES = {
    "names": NAMES._replace(pair=NAMES.pair._replace(backward={"first": FIRST, "last": LAST})),
    "status": STATUS,
    "level": LEVEL._replace(columns="level int NOT NULL DEFAULT (random() * 0), big bigint DEFAULT 50"),
    "renamed": RENAMED,
    "open": OPEN._replace(columns="level int NOT NULL DEFAULT (random() * 0), big bigint"),
}
TABLES = {"": "", "without rowid": " WITHOUT ROWID"}
TOUCHED = (
    "CREATE TRIGGER touched AFTER UPDATE ON t WHEN NEW.at IS OLD.at BEGIN UPDATE t SET at = coalesce(at, 0) + 1 WHERE id = NEW.id; END",
    "CREATE TRIGGER numbered AFTER INSERT ON t WHEN NEW.at IS NULL BEGIN UPDATE t SET at = 0 WHERE id = NEW.id; END",
)
"""As applications keep the time of the last change."""


class SqliteModel(Model):
    """Where an upsert finds its row, no trigger has seen what was to be inserted."""

    def upsert(self, key: int, given: Mapping[str, Any], writer: sync.Side | None) -> bool:
        return self.update(key, given, writer) if key in self.rows else self.insert(key, given, writer)


@pytest.mark.parametrize("choice", ["old", "new", "error"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "recursive", "triggers", "later"),
    [
        ("", "OFF", (), ()),
        ("", "OFF", TOUCHED, ()),
        ("", "ON", TOUCHED, ()),
        ("", "OFF", TOUCHED[:1], TOUCHED[1:]),
        ("", "ON", (), TOUCHED),
        ("without rowid", "ON", (), ()),
        ("without rowid", "OFF", TOUCHED, ()),
        ("without rowid", "OFF", (), TOUCHED),
    ],
)
def test_any_interleaving_of_writes_by_both_versions_ends_as_the_table_says(
    tmp_path: Path, shape: str, choice: OnConflict, kind: str, recursive: str, triggers: tuple[str, ...], later: tuple[str, ...]
) -> None:
    """The issue: "random interleavings of writes by both versions, with rollbacks in between; the two shapes always agree". ``later``: made behind ours."""
    mapped = SHAPES[shape]._replace(pair=SHAPES[shape].pair._replace(on_conflict=choice))
    file = made(tmp_path)
    with file.connect(f"recursive_triggers = {recursive}", "synchronous = OFF") as connection:
        connection.execute(f"CREATE TABLE t (id integer PRIMARY KEY, note int DEFAULT 0, at int, {mapped.columns}){TABLES[kind]}")
        for each in triggers:
            connection.execute(each)
        for story in stories(mapped, 8, shape, choice, kind, recursive, triggers, later):
            _follow(file, connection, mapped, choice, story, later)


def _follow(file: File, connection: sqlite3.Connection, mapped: Mapped, choice: OnConflict, story: Story, later: tuple[str, ...]) -> None:
    model = SqliteModel(mapped, choice)
    connection.execute("DELETE FROM t")
    _rows_from_before(connection, model, story.unfilled)
    done = installed(file, mapped.pair)
    for each in later:
        connection.execute(f"DROP TRIGGER IF EXISTS {each.split()[2]}")
        connection.execute(each)
    saved: Rows | None = None
    for op in (each._replace(writer=None) for each in story.ops):
        if op.verb == "begin" and saved is None:
            connection.execute("BEGIN")
            saved = dict(model.rows)
        elif op.verb in ("rollback", "commit") and saved is not None:
            connection.execute(op.verb)
            model.rows, saved = (saved if op.verb == "rollback" else model.rows), None
        elif op.verb not in ("begin", "rollback", "commit"):
            expected = _told(model, op)
            assert _done(connection, mapped, op) == expected, op
        assert _stored(connection, mapped) == model.rows, op
        assert connection.execute("SELECT count(*) FROM bleen_sync WHERE writing IS NOT NULL").fetchone() == (0,)
    if saved is not None:
        connection.execute("COMMIT")
    connection.execute(_backfill(mapped))
    for key in model.rows:
        _told(model, Op("backfill", key, 0, (), None))
    assert _stored(connection, mapped) == model.rows
    assert model.agree()
    assert connection.execute(done.diverged()).fetchone() == (0,)
    for text in done.remove():
        connection.execute(text)


def _rows_from_before(connection: sqlite3.Connection, model: Model, keys: set[int]) -> None:
    """Rows that were there before the sync was, with their new columns as ADD COLUMN left them."""
    mapped = model.mapped
    for key in keys:
        values = mapped.old[key % len(mapped.old)]
        row = {**dict(zip(mapped.pair.old, values, strict=True)), **{name: mapped.defaults.get(name) for name in mapped.pair.new}}
        model.rows[key] = row
        connection.execute(f"INSERT INTO t (id, {', '.join(row)}) VALUES ({key}{', ?' * len(row)})", list(row.values()))


def _backfill(mapped: Mapped) -> str:
    """As bleen's own: only rows that it changes."""
    sets = ", ".join(f"{name} = {expression}" for name, expression in mapped.pair.forward.items())
    return f"UPDATE t SET {sets} WHERE ({' OR '.join(f'{name} IS NOT ({e})' for name, e in mapped.pair.forward.items())})"


def _told(model: Model, op: Op) -> bool:
    given = op.given(model.mapped)
    row = model.rows.get(op.key)
    match op.verb:
        case "insert":
            return model.insert(op.key, given, None)
        case "upsert":
            return model.upsert(op.key, given, None)
        case "update":
            return model.update(op.key, given, None)
        case "note":
            return model.update(op.key, {}, None)
        case "delete":
            return bool(model.rows.pop(op.key, None)) or True
        case "move" if row is None or op.to in model.rows:
            return row is None or (op.to == op.key and model.update(op.key, {}, None))
        case "move":
            if done := model.update(op.key, {}, None):
                model.rows[op.to] = model.rows.pop(op.key)
            return done
    if row is None:
        return True
    forward = model.mapped.forward(tuple(row[name] for name in model.mapped.pair.old))
    changed = dict(zip(model.mapped.pair.new, forward, strict=True))
    return all(row[name] == value for name, value in changed.items()) or model.update(op.key, changed, None)


def _done(connection: sqlite3.Connection, mapped: Mapped, op: Op) -> bool:
    """Runs a statement; False if it fails for a constraint."""
    given = op.given(mapped)
    names, marks = ", ".join(("id", *given)), ", ".join(["?"] * (len(given) + 1))
    sets = ", ".join(f"{name} = ?" for name in given)
    excluded = ", ".join(f"{name} = excluded.{name}" for name in given) or "note = 1"
    statement, values = {
        "insert": (f"INSERT INTO t ({names}) VALUES ({marks})", [op.key, *given.values()]),
        "upsert": (f"INSERT INTO t ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {excluded}", [op.key, *given.values()]),
        "update": (f"UPDATE t SET {sets or 'note = 1'} WHERE id = ?", [*given.values(), op.key]),
        "note": ("UPDATE t SET note = note + 1 WHERE id = ?", [op.key]),
        "move": ("UPDATE t SET id = ? WHERE id = ?", [op.to, op.key]),
        "delete": ("DELETE FROM t WHERE id = ?", [op.key]),
        "backfill": (f"{_backfill(mapped)} AND id = ?", [op.key]),
    }[op.verb]
    try:
        connection.execute(statement, values)
    except sqlite3.IntegrityError:
        return False
    return True


def _stored(connection: sqlite3.Connection, mapped: Mapped) -> Rows:
    names = (*mapped.pair.old, *mapped.pair.new)
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in connection.execute(f"SELECT id, {', '.join(names)} FROM t")}
