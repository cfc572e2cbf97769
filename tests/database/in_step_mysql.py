"""A pair that is kept in step on a real MariaDB, and the writers of both versions."""

from collections.abc import Mapping
from contextlib import ExitStack

from bleen.database import sync
from bleen.database.migration import Locks, Pair
from bleen.database.mysql.server import MySQL
from bleen.database.statements import Place, Statement
from bleen.database.sync import mysql
from mariadb import MariaBase

NAMES = Pair(
    "users",
    ("first", "last"),
    ("full_name",),
    {"full_name": "concat(first, ' ', last)"},
    {"first": "substring_index(full_name, ' ', 1)", "last": "substr(full_name, locate(' ', full_name) + 1)"},
    "error",
)
USERS = "CREATE TABLE users (id int PRIMARY KEY, first varchar(40), last varchar(40), note text, full_name varchar(81))"
WRITERS: Mapping[str, sync.Side] = {"blue": "old", "green": "new"}
LOCKS = Locks(timeout=0.1, patience=60)

Row = tuple[object, ...]


def change(server: MySQL, *texts: str) -> None:
    """As bleen changes a schema."""
    server.change([Statement(text, Place(0, 0), 0) for text in texts], [], LOCKS, lambda _: None)


def made(server: MySQL, pair: Pair = NAMES, writers: Mapping[str, sync.Side] = WRITERS, migration: str = "0007_full_name", number: int = 1) -> mysql.Sync:
    """The sync of a pair as the catalogue is now."""
    return mysql.of(server, migration, number, pair, writers)


class Table:
    """A table with a pair in step; ``old``, ``new`` and ``anyone`` write as blue, as green, and without a name. Each statement is a transaction."""

    def __init__(self, base: MariaBase, pair: Pair = NAMES, table: str = USERS) -> None:
        self.base, self.pair = base, pair
        with ExitStack() as opened:
            self.anyone = opened.enter_context(base.connect())
            self.old = opened.enter_context(base.connect("blue-4"))
            self.new = opened.enter_context(base.connect("green-5"))
            self.anyone.run(table)
            self.server = base.open()
            opened.callback(self.server.close)
            change(self.server, *self.sync.install())
            self._opened = opened.pop_all()

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def sync(self) -> mysql.Sync:
        return made(self.server, self.pair)

    def row(self, key: object = 1, columns: str = "") -> Row:
        """The pair's columns of a row, old ones first."""
        names = columns or ", ".join(f"`{name}`" for name in (*self.pair.old, *self.pair.new))
        (found,) = self.anyone.rows(f"SELECT {names} FROM {self.pair.table} WHERE id = %s", key)
        return found

    @property
    def counts(self) -> tuple[object, object]:
        """How often the new side was the source, and how many conflicts there were."""
        return self.anyone.only(self.sync.written()), self.anyone.only(self.sync.conflicts())

    def diverged(self) -> object:
        return self.anyone.only(self.sync.diverged())

    def without(self, statement: str) -> None:
        """Writes while the triggers are not there, as before the sync."""
        change(self.server, *self.sync.remove())
        self.anyone.run(statement)
        change(self.server, *self.sync.install())
