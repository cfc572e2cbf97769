"""Whatever is written to MariaDB, by whomever and in whatever order, the rows are those that the decision table says: it is asked after every statement."""

import pytest
from in_step_mysql import change, made
from pymysql import err
from test_sync_property import LEVEL, NAMES, OPEN, RENAMED, STATUS, Mapped, Model, Op, Rows, Story, _told, stories

from bleen.database.migration import OnConflict
from bleen.database.mysql.server import MySQL
from mariadb import Client, MariaBase

SHAPES = {
    "names": NAMES._replace(
        pair=NAMES.pair._replace(
            forward={"full_name": "concat(first, ' ', last)"},
            backward={"first": "substring_index(full_name, ' ', 1)", "last": "substr(full_name, locate(' ', full_name) + 1)"},
        ),
    ),
    "status": STATUS._replace(columns="status varchar(9) NOT NULL DEFAULT 'off', active boolean"),
    "demanded": STATUS._replace(columns="status varchar(9) NOT NULL, active boolean", defaults={}),
    "level": LEVEL._replace(
        pair=LEVEL.pair._replace(backward={"level": "coalesce(big, -10) DIV 10"}),
        columns="level int NOT NULL DEFAULT (floor(rand() * 0)), big bigint DEFAULT 50",
    ),
    "renamed": RENAMED,
    "open": OPEN._replace(
        pair=OPEN.pair._replace(backward={"level": "coalesce(big, -10) DIV 10"}), columns="level int NOT NULL DEFAULT (floor(rand() * 0)), big bigint"
    ),
}
REFUSED = (1048, 1062, 1364, 4025)
"""NULL that must not be, a key that is there, nothing given that must be, and ours."""


@pytest.mark.parametrize("choice", ["old", "new", "error"])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_interleaving_of_writes_by_both_versions_ends_as_the_table_says(maria_base: MariaBase, shape: str, choice: OnConflict) -> None:
    """The issue: "random interleavings of writes by both versions, with rollbacks in between; the two shapes always agree"."""
    mapped = SHAPES[shape]._replace(pair=SHAPES[shape].pair._replace(on_conflict=choice))
    server = maria_base.open()
    with maria_base.connect() as client:
        for story in stories(mapped, 4, shape, choice):
            _follow(client, server, mapped, choice, story)
    server.close()


def _follow(client: Client, server: MySQL, mapped: Mapped, choice: OnConflict, story: Story) -> None:
    model = Model(mapped, choice)
    client.run("ROLLBACK")
    gone = made(server, mapped.pair).remove() if server.columns("t") else []
    change(server, *gone, "DROP TABLE IF EXISTS t", f"CREATE TABLE t (id int PRIMARY KEY, note int DEFAULT 0, {mapped.columns})")
    _rows_from_before(client, model, story.unfilled)
    change(server, *made(server, mapped.pair).install())
    sync = made(server, mapped.pair)
    saved: Rows | None = None
    for op in story.ops:
        if op.verb == "begin" and saved is None:
            client.run("BEGIN")
            saved = dict(model.rows)
        elif op.verb in ("rollback", "commit") and saved is not None:
            client.run(op.verb)
            model.rows, saved = (saved if op.verb == "rollback" else model.rows), None
        elif op.verb not in ("begin", "rollback", "commit"):
            expected = _told(model, op)
            assert _done(client, mapped, op) == expected, op
        assert _stored(client, mapped) == model.rows, op
        assert (client.only(sync.written()), client.only(sync.conflicts())) == (model.written, model.conflicts), op
    if saved is not None:
        client.run("COMMIT")
    client.run("SET @bleen_environment = NULL", _backfill(mapped))
    for key in model.rows:
        _told(model, Op("backfill", key, 0, (), None))
    assert _stored(client, mapped) == model.rows
    assert model.agree()
    assert client.only(sync.diverged()) == 0


def _rows_from_before(client: Client, model: Model, keys: set[int]) -> None:
    """Rows that were there before the sync was, with their new columns as ADD COLUMN left them."""
    mapped = model.mapped
    for key in keys:
        values = mapped.old[key % len(mapped.old)]
        row = {**dict(zip(mapped.pair.old, values, strict=True)), **{name: mapped.defaults.get(name) for name in mapped.pair.new}}
        model.rows[key] = row
        client.rows(f"INSERT INTO t (id, {', '.join(row)}) VALUES ({key}{', %s' * len(row)})", *row.values())


def _backfill(mapped: Mapped) -> str:
    """As bleen's own: only rows that it changes."""
    sets = ", ".join(f"{name} = {expression}" for name, expression in mapped.pair.forward.items())
    return f"UPDATE t SET {sets} WHERE ({' OR '.join(f'NOT {name} <=> ({e})' for name, e in mapped.pair.forward.items())})"


def _done(client: Client, mapped: Mapped, op: Op) -> bool:
    """Runs a statement; False if it fails for a constraint."""
    given = op.given(mapped)
    names, marks = ", ".join(("id", *given)), ", ".join(["%s"] * (len(given) + 1))
    sets = ", ".join(f"{name} = %s" for name in given)
    again = ", ".join(f"{name} = VALUES({name})" for name in given) or "note = 1"
    statement, values = {
        "insert": (f"INSERT INTO t ({names}) VALUES ({marks})", [op.key, *given.values()]),
        "upsert": (f"INSERT INTO t ({names}) VALUES ({marks}) ON DUPLICATE KEY UPDATE {again}", [op.key, *given.values()]),
        "update": (f"UPDATE t SET {sets or 'note = 1'} WHERE id = %s", [*given.values(), op.key]),
        "note": ("UPDATE t SET note = note + 1 WHERE id = %s", [op.key]),
        "move": ("UPDATE t SET id = %s WHERE id = %s", [op.to, op.key]),
        "delete": ("DELETE FROM t WHERE id = %s", [op.key]),
        "backfill": (f"{_backfill(mapped)} AND id = %s", [op.key]),
    }[op.verb]
    writer = {"old": "'blue-4'", "new": "'green-5'", None: "NULL"}[None if op.verb == "backfill" else op.writer]
    client.run(f"SET @bleen_environment = {writer}")
    try:
        client.rows(statement, *values)
    except err.MySQLError as error:
        if error.args[0] not in REFUSED:
            raise
        return False
    return True


def _stored(client: Client, mapped: Mapped) -> Rows:
    names = (*mapped.pair.old, *mapped.pair.new)
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in client.rows(f"SELECT id, {', '.join(names)} FROM t")}  # type: ignore[misc]
