"""How the sync of a pair comes back on MySQL and MariaDB, when a contract has failed that had it removed first.

Only the new version is there by then, and what it wrote meanwhile is right: its rows are out of step, and the trigger for UPDATE would make their new side from
the old one. So the first one that comes makes the old side of them; each such row is touched, and then the usual trigger takes its place.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from bleen.database.migration import Locks, Pair
from bleen.database.mysql.server import MySQL
from bleen.database.parts import own
from bleen.database.server import Server, Told, Values
from bleen.database.sync import mysql
from bleen.database.sync.mysql import Sync
from bleen.database.sync.table import Side


def put_back(server: Server, migration: str, number: int, pair: Pair, writers: Mapping[str, Side], was: Mapping[str, str], locks: Locks, told: Told) -> None:
    """Implements ``sync.put_back``. Each step goes by what the one before has left, and finds what was done of itself."""

    def now() -> Sync:
        return mysql.of(server, migration, number, pair, writers)

    def change(texts: Sequence[str]) -> None:
        server.change(own(texts), [], locks, told)

    if not now().whole:
        change(now().regain(was))
        change(now().install(returning=True))
        for touch in _touches(cast(MySQL, server), now()):
            server.change([], [touch], locks, told)
        if server.rows(now().diverged())[0][0]:  # no key finds them, or there is none
            server.change([], [(_touches_all(now()), ())], locks, told)
    change(now().hold(was))
    change(now().install())


def _touches(server: MySQL, sync: Sync) -> list[tuple[str, Values]]:
    """What touches the rows that are out of step one by one: an UPDATE that looks for them locks each row that it reads."""
    table, name = sync.named(sync.table), server.quoted(sync.pair.old[0])
    key = [server.quoted(each) for each in server.key(table)]
    found = server.rows(f"SELECT {', '.join(f't.{each}' for each in key)} FROM {_out_of_step(sync)}") if key else []
    touch = f"UPDATE {table} SET {name} = {name} WHERE ".replace("%", "%%") + " AND ".join(f"{each.replace('%', '%%')} = %s" for each in key)
    return [(touch, row) for row in found]


def _touches_all(sync: Sync) -> str:
    name = sync.server.quoted(sync.pair.old[0])
    return f"UPDATE {_out_of_step(sync).replace(' WHERE ', f' SET t.{name} = t.{name} WHERE ', 1)}"


def _out_of_step(sync: Sync) -> str:
    return sync.diverged().partition(" FROM ")[2]
