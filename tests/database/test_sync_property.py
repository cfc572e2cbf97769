"""Whatever is written, by whomever and in whatever order, the rows are those that the decision table says: it is asked after every statement."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import psycopg
import pytest
from in_step import WRITERS, installed

from bleen.database import sync
from bleen.database.migration import OnConflict, Pair
from bleen.database.sync.table import Touch, Written, decide
from databases import Base

Values = tuple[Any, ...]
"""Of one side of a row."""


class Mapped(NamedTuple):
    """A pair, and its two expressions in Python."""

    pair: Pair
    columns: str
    forward: Callable[[Values], Values]
    backward: Callable[[Values], Values]
    old: Values
    """Each is what a writer may write into the columns of a side."""
    new: Values
    defaults: Mapping[str, Any] = {}
    """Column to its default; one that is None is volatile."""
    required: tuple[str, ...] = ()

    def side(self, which: sync.Side) -> tuple[str, ...]:
        return self.pair.old if which == "old" else self.pair.new


def _split(value: Values) -> Values:
    if value[0] is None:
        return (None, None)
    head, _, rest = value[0].partition(" ")
    return (head, rest if " " in value[0] else value[0])


NAMES = Mapped(
    Pair(
        "t",
        ("first", "last"),
        ("full_name",),
        {"full_name": "first || ' ' || last"},
        {"first": "split_part(full_name, ' ', 1)", "last": "substr(full_name, strpos(full_name, ' ') + 1)"},
        lossy=True,
    ),
    "first text, last text, full_name text",
    lambda old: (None if None in old else f"{old[0]} {old[1]}",),
    _split,
    tuple((a, b) for a in (None, "a", "b c") for b in (None, "d", "e f")),
    ((None,), ("a d",), ("x",), ("p q r",)),
)

STATUS = Mapped(
    Pair("t", ("status",), ("active",), {"active": "status = 'on'"}, {"status": "CASE WHEN active THEN 'on' ELSE 'off' END"}, lossy=True),
    "status text NOT NULL DEFAULT 'off', active boolean",
    lambda old: (None if old[0] is None else old[0] == "on",),
    lambda new: ("on" if new[0] else "off",),
    (("on",), ("off",), ("banned",)),
    ((True,), (False,), (None,)),
    {"status": "off"},
    ("status",),
)

LEVEL = Mapped(
    Pair("t", ("level",), ("big",), {"big": "level * 10"}, {"level": "coalesce(big, -10) / 10"}, lossy=True),
    "level int NOT NULL DEFAULT (random() * 0)::int, big bigint DEFAULT 50",
    lambda old: (None if old[0] is None else old[0] * 10,),
    lambda new: (int((-10 if new[0] is None else new[0]) / 10),),
    ((0,), (1,), (5,)),
    ((None,), (0,), (17,), (50,)),
    {"level": None, "big": 50},
    ("level",),
)

RENAMED = Mapped(
    Pair("t", ("status",), ("state",), {"state": "status"}, {"status": "state"}),
    "status varchar(9) NOT NULL DEFAULT 'active', state varchar(9)",
    lambda old: old,
    lambda new: new,
    (("active",), ("gone",)),
    ((None,), ("active",), ("new",)),
    {"status": "active"},
    ("status",),
)

OPEN = LEVEL._replace(columns=LEVEL.columns.removesuffix(" DEFAULT 50"), defaults={"level": None})

SHAPES = {"names": NAMES, "status": STATUS, "level": LEVEL, "renamed": RENAMED, "open": OPEN}

Rows = dict[int, dict[str, Any]]


class Model:
    """What the table should hold, by the decision table and by nothing of the database."""

    def __init__(self, mapped: Mapped, choice: OnConflict) -> None:
        self.mapped, self.choice = mapped, choice
        self.rows: Rows = {}
        self.written = self.conflicts = 0

    def insert(self, key: int, given: Mapping[str, Any], writer: sync.Side | None) -> bool:
        """False if the statement fails, which leaves everything as it was but the counts: the trigger fires before a key is looked for."""
        made = self._before_insert(given, writer)
        if key in self.rows or made is None or any(made[name] is None for name in self.mapped.required):
            return False
        self.rows[key] = made
        return True

    def upsert(self, key: int, given: Mapping[str, Any], writer: sync.Side | None) -> bool:
        """INSERT ... ON CONFLICT DO UPDATE SET each given column = EXCLUDED's: the trigger sees the row to be inserted first."""
        if key not in self.rows:
            return self.insert(key, given, writer)
        made = self._before_insert(given, writer)
        if made is None or any(made[name] is None for name in self.mapped.required):
            return False
        return self.update(key, {name: made[name] for name in given}, writer)

    def update(self, key: int, given: Mapping[str, Any], writer: sync.Side | None) -> bool:
        was = self.rows.get(key)
        if was is None:
            return True
        row = {**was, **given}
        touches: list[Touch] = ["touched" if any(row[n] != was[n] for n in self.mapped.side(side)) else "untouched" for side in ("old", "new")]
        made = self._decided(Written(False, touches[0], touches[1], *self._in_step(row), writer, self._only_old(row)), row)
        if made is None or any(made[name] is None for name in self.mapped.required):
            return False
        self.rows[key] = made
        return True

    def _before_insert(self, given: Mapping[str, Any], writer: sync.Side | None) -> dict[str, Any] | None:
        names = (*self.mapped.pair.old, *self.mapped.pair.new)
        row = {name: given[name] if name in given else self.mapped.defaults.get(name) for name in names}
        volatile = {name for name, default in self.mapped.defaults.items() if default is None}
        row.update({name: 0 for name in volatile if name not in given})  # as its expression gives, though nobody can know
        touches: list[Touch] = []
        for side in (self.mapped.pair.old, self.mapped.pair.new):
            touched = any(row[name] != self.mapped.defaults.get(name) for name in side if name not in volatile)
            touches.append("touched" if touched else "open" if volatile & {*side} else "untouched")
        forward, backward = self._in_step(row)
        forward = forward and all(row[name] is not None for name in self.mapped.required)
        return self._decided(Written(True, touches[0], touches[1], forward, backward, writer, self._only_old(row)), row)

    def _in_step(self, row: Mapping[str, Any]) -> tuple[bool, bool]:
        old, new = (tuple(row[name] for name in self.mapped.side(side)) for side in ("old", "new"))
        return new == self.mapped.forward(old), old == self.mapped.backward(new)

    def _only_old(self, row: Mapping[str, Any]) -> bool:
        given = {name for name, value in row.items() if value is not None}
        return bool(given & {*self.mapped.pair.old}) and not given & {*self.mapped.pair.new} and given >= {*self.mapped.required}

    def _decided(self, written: Written, row: dict[str, Any]) -> dict[str, Any] | None:
        decision = decide(written, self.choice)
        self.conflicts += decision.conflict
        if decision.error:
            return None
        old, new = (tuple(row[name] for name in self.mapped.side(side)) for side in ("old", "new"))
        if decision.source == "old":
            row = {**row, **dict(zip(self.mapped.pair.new, self.mapped.forward(old), strict=True))}
        elif decision.source == "new":
            self.written += 1
            row = {**row, **dict(zip(self.mapped.pair.old, self.mapped.backward(new), strict=True))}
        return row

    def agree(self) -> bool:
        return all(any(self._in_step(row)) for row in self.rows.values())


class Op(NamedTuple):
    verb: str
    key: int
    to: int
    sides: tuple[tuple[sync.Side, Values], ...]
    writer: sync.Side | None

    def given(self, mapped: Mapped) -> dict[str, Any]:
        return {name: value for side, values in self.sides for name, value in zip(mapped.side(side), values, strict=True)}


VERBS = "insert update update upsert upsert note move delete backfill begin rollback commit".split()
SIDES: tuple[tuple[sync.Side, ...], ...] = (("old",), ("new",), ("old", "new"), ())
WHO: tuple[sync.Side | None, ...] = (None, "old", "new")


class Story(NamedTuple):
    """What is written to a table, and which of its rows were there before the sync was."""

    ops: list[Op]
    unfilled: set[int]


def stories(mapped: Mapped, count: int, *seed: object) -> Iterator[Story]:
    """The same each time for a seed. Each draw stands by itself: ten of these come by as much as thirty of Hypothesis, which repeats what it has drawn, and
    took as long to draw as they take to be written.
    """
    draw = random.Random(repr(seed))
    for _ in range(count):
        ops = []
        for _ in range(draw.randint(10, 40)):
            sides = tuple((side, draw.choice(mapped.old if side == "old" else mapped.new)) for side in draw.choice(SIDES))
            ops.append(Op(draw.choice(VERBS), draw.randint(1, 5), draw.randint(1, 5), sides, draw.choice(WHO)))
        yield Story(ops, {key for key in range(1, 6) if draw.random() < 0.4})


@pytest.mark.parametrize("choice", ["old", "new", "error"])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_interleaving_of_writes_by_both_versions_ends_as_the_table_says(end_base: Base, shape: str, choice: OnConflict) -> None:
    """The issue: "random interleavings of writes by both versions, with rollbacks in between; the two shapes always agree"."""
    mapped = SHAPES[shape]._replace(pair=SHAPES[shape].pair._replace(on_conflict=choice))
    with end_base.connect() as connection:
        connection.execute(f"CREATE TABLE t (id int PRIMARY KEY, note int DEFAULT 0, {mapped.columns})".encode())
        made = installed(end_base, mapped.pair, WRITERS)
        for story in stories(mapped, 11, shape, choice, end_base.server.version):
            _follow(connection, mapped, choice, made, story)


def _follow(connection: "psycopg.Connection[tuple[object, ...]]", mapped: Mapped, choice: OnConflict, made: sync.Sync, story: Story) -> None:
    model = Model(mapped, choice)
    connection.execute("TRUNCATE t")
    _rows_from_before(connection, model, story.unfilled)
    before = _numbers(connection, made)
    saved: Rows | None = None
    for op in story.ops:
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
        assert tuple(now - then for now, then in zip(_numbers(connection, made), before, strict=True)) == (model.written, model.conflicts), op
    if saved is not None:
        connection.execute("COMMIT")
    connection.execute(_backfill(mapped).encode())
    for key in model.rows:
        _told(model, Op("backfill", key, 0, (), None))
    assert _stored(connection, mapped) == model.rows
    assert model.agree()
    assert connection.execute(made.diverged().encode()).fetchone() == (0,)


def _rows_from_before(connection: "psycopg.Connection[tuple[object, ...]]", model: Model, keys: set[int]) -> None:
    """Rows that were there before the sync was, with their new columns as ADD COLUMN left them."""
    mapped = model.mapped
    for key in keys:
        values = mapped.old[key % len(mapped.old)]
        row = {**dict(zip(mapped.pair.old, values, strict=True)), **{name: mapped.defaults.get(name) for name in mapped.pair.new}}
        model.rows[key] = row
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(f"INSERT INTO t (id, {', '.join(row)}) VALUES ({key}{', %s' * len(row)})".encode(), list(row.values()))


def _backfill(mapped: Mapped) -> str:
    """As bleen's own: only rows that it changes."""
    sets = ", ".join(f"{name} = {expression}" for name, expression in mapped.pair.forward.items())
    return f"UPDATE t SET {sets} WHERE {' OR '.join(f'{name} IS DISTINCT FROM {e}' for name, e in mapped.pair.forward.items())}"


def _told(model: Model, op: Op) -> bool:
    given = op.given(model.mapped)
    if op.verb == "insert":
        return model.insert(op.key, given, op.writer)
    if op.verb == "upsert":
        return model.upsert(op.key, given, op.writer)
    if op.verb == "update":
        return model.update(op.key, given, op.writer)
    if op.verb == "note":
        return model.update(op.key, {}, op.writer)
    if op.verb == "move":
        if op.to in model.rows or op.key not in model.rows:
            return op.key not in model.rows or (op.to == op.key and model.update(op.key, {}, op.writer))
        if done := model.update(op.key, {}, op.writer):
            model.rows[op.to] = model.rows.pop(op.key)
        return done
    if op.verb == "delete":
        model.rows.pop(op.key, None)
        return True
    row = model.rows.get(op.key)
    if row is None:
        return True
    forward = model.mapped.forward(tuple(row[name] for name in model.mapped.pair.old))
    changed = dict(zip(model.mapped.pair.new, forward, strict=True))
    return all(row[name] == value for name, value in changed.items()) or model.update(op.key, changed, None)


def _done(connection: "psycopg.Connection[tuple[object, ...]]", mapped: Mapped, op: Op) -> bool:
    """Runs a statement, in a savepoint if a transaction is open; False if it fails for a constraint."""
    given = op.given(mapped)
    names, marks = ", ".join(("id", *given)), ", ".join(["%s"] * (len(given) + 1))
    sets = ", ".join(f"{name} = %s" for name in given)
    excluded = ", ".join(f"{name} = EXCLUDED.{name}" for name in given) or "note = 1"
    statement, values = {
        "insert": (f"INSERT INTO t ({names}) VALUES ({marks})", [op.key, *given.values()]),
        "upsert": (f"INSERT INTO t ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {excluded}", [op.key, *given.values()]),
        "update": (f"UPDATE t SET {sets or 'note = 1'} WHERE id = %s", [*given.values(), op.key]),
        "note": ("UPDATE t SET note = note + 1 WHERE id = %s", [op.key]),
        "move": ("UPDATE t SET id = %s WHERE id = %s", [op.to, op.key]),
        "delete": ("DELETE FROM t WHERE id = %s", [op.key]),
        "backfill": (f"{_backfill(mapped).replace(' WHERE ', ' WHERE (')}) AND id = %s", [op.key]),
    }[op.verb]
    writer = {"old": "blue-4", "new": "green-5", None: ""}[None if op.verb == "backfill" else op.writer]
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('bleen.environment', %s, true)", [writer])
            connection.execute(statement.encode(), values)
    except psycopg.IntegrityError:
        return False
    return True


def _stored(connection: "psycopg.Connection[tuple[object, ...]]", mapped: Mapped) -> Rows:
    names = (*mapped.pair.old, *mapped.pair.new)
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in connection.execute(f"SELECT id, {', '.join(names)} FROM t".encode())}  # type: ignore[misc]


def _numbers(connection: "psycopg.Connection[tuple[object, ...]]", made: sync.Sync) -> tuple[int, ...]:
    found = connection.execute(f"SELECT ({made.written()}), ({made.conflicts()})".encode()).fetchone()
    assert found is not None
    return tuple(int(str(number)) for number in found)
