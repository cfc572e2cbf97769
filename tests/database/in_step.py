"""A pair that is kept in step on a real server, and the writers of both versions."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from bleen.database import sync
from bleen.database.migration import Pair
from databases import Base

NAMES = Pair(
    "users",
    ("first", "last"),
    ("full_name",),
    {"full_name": "first || ' ' || last"},
    {"first": "split_part(full_name, ' ', 1)", "last": "substr(full_name, strpos(full_name, ' ') + 1)"},
    "error",
)
USERS = "CREATE TABLE users (id int PRIMARY KEY, first text, last text, note text, full_name text)"
WRITERS: Mapping[str, sync.Side] = {"blue": "old", "green": "new"}

Row = tuple[Any, ...]


def installed(base: Base, pair: Pair, writers: Mapping[str, sync.Side] = WRITERS, migration: str = "0007_full_name", number: int = 1) -> sync.Sync:
    """Installs the sync of a pair in one transaction, as bleen does."""
    server = base.open()
    try:
        made = sync.of(server, migration, number, pair, writers)
        with server.transaction():
            for text in made.install():
                server.rows(text)
        return made
    finally:
        server.close()


class Table:
    """A table with a pair in step; ``old``, ``new`` and ``anyone`` write as blue, as green, and without a name. Each statement is a transaction."""

    def __init__(self, base: Base, pair: Pair = NAMES, table: str = USERS, rows: str = "") -> None:
        self.base, self.pair = base, pair
        with ExitStack() as opened:
            self.anyone = opened.enter_context(base.connect())
            self.old = opened.enter_context(base.connect(**{"bleen.environment": "blue-4"}))
            self.new = opened.enter_context(base.connect(**{"bleen.environment": "green-5"}))
            self.anyone.execute(table)
            if rows:
                self.anyone.execute(rows)
            self.sync = installed(base, pair)
            self._opened = opened.pop_all()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def row(self, key: object = 1, columns: str = "") -> Row:
        """The pair's columns of a row, old ones first."""
        names = columns or ", ".join(f'"{name}"' for name in (*self.pair.old, *self.pair.new))
        found = self.anyone.execute(f"SELECT {names} FROM {self.pair.table} WHERE id = %s", [key]).fetchone()
        assert found is not None
        return found

    def count(self, query: str) -> int:
        found = self.anyone.execute(query).fetchone()
        assert found is not None
        return int(found[0])  # type: ignore[call-overload, no-any-return]

    @property
    def counts(self) -> tuple[int, int]:
        """How often the new side was the source, and how many conflicts there were."""
        return self.count(self.sync.written()), self.count(self.sync.conflicts())

    def unfilled(self, first: str, last: str, key: int = 1) -> None:
        """A row as it is before the backfill comes to it."""
        with self.anyone.transaction():
            self.anyone.execute("SET LOCAL session_replication_role = replica")
            self.anyone.execute("INSERT INTO users (id, first, last) VALUES (%s, %s, %s)", [key, first, last])
