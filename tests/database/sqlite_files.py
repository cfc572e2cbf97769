"""SQLite databases for the tests: a file of its own each, in WAL mode or not, and a table with a pair in step."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bleen.database import sync
from bleen.database.migration import Pair
from bleen.database.sqlite.server import SQLite

MODES = ("wal", "delete")

FIRST = "CASE WHEN instr(full_name, ' ') THEN substr(full_name, 1, instr(full_name, ' ') - 1) ELSE full_name END"
LAST = "substr(full_name, instr(full_name, ' ') + 1)"
NAMES = Pair("users", ("first", "last"), ("full_name",), {"full_name": "first || ' ' || last"}, {"first": FIRST, "last": LAST}, "error")
USERS = "CREATE TABLE users (id integer PRIMARY KEY, first text, last text, note text, full_name text)"


class File(NamedTuple):
    """A database."""

    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @contextmanager
    def connect(self, *pragmas: str) -> Iterator[sqlite3.Connection]:
        """As an application does."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            for each in pragmas:
                connection.execute(f"PRAGMA {each}")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def opened(self, application: str = "bleen migrate") -> Iterator[SQLite]:
        """As bleen does."""
        server = SQLite(self.url, application)
        try:
            yield server
        finally:
            server.close()


def made(place: Path, mode: str = "wal") -> File:
    """An empty database."""
    file = File(place / "shop.db")
    with file.connect(f"journal_mode = {mode}"):
        return file


def installed(file: File, pair: Pair = NAMES, number: int = 1, migration: str = "0007_full_name") -> sync.Sync:
    """Installs the sync of a pair in one transaction, as bleen does."""
    with file.opened() as server:
        done = sync.of(server, migration, number, pair, {})
        with server.transaction():
            for text in done.install():
                server.rows(text)
    return done


class Table:
    """A table with a pair in step, and a connection that writes it as an application does."""

    def __init__(self, file: File, connection: sqlite3.Connection, pair: Pair, table: str) -> None:
        self.file, self.pair, self.connection = file, pair, connection
        connection.executescript(table)
        self.sync = installed(file, pair)

    def execute(self, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def row(self, key: object = 1, columns: str = "") -> tuple[Any, ...]:
        """The pair's columns of a row, old ones first."""
        names = columns or ", ".join(f'"{name}"' for name in (*self.pair.old, *self.pair.new))
        (found,) = self.execute(f"SELECT {names} FROM {self.pair.table} WHERE id = ?", [key])
        return found

    @property
    def counts(self) -> tuple[int, int]:
        """How often the new side was the source, and how many conflicts there were."""
        return self.execute(self.sync.written())[0][0], self.execute(self.sync.conflicts())[0][0]

    def unfilled(self, first: str, last: str, key: int = 1) -> None:
        """A row as it is before the backfill comes to it."""
        for text in self.sync.remove():
            self.execute(text)
        self.execute("INSERT INTO users (id, first, last) VALUES (?, ?, ?)", [key, first, last])
        installed(self.file, self.pair)
