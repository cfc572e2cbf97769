"""How the sync of a pair comes back on MySQL and MariaDB, when a contract has failed that had it removed first.

Only the new version is there by then, and what it wrote meanwhile is right: its rows are out of step, and the trigger for UPDATE would make their new side from
the old one. So the first one that comes makes the old side of them; each such row is touched, and then the usual trigger takes its place. Where a row says what
no old side can be made of, it stays: the row keeps what it says.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from bleen.database.migration import Locks, Pair
from bleen.database.mysql.server import MySQL
from bleen.database.parts import own, words
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
        if server.rows(f"SELECT count(*) {now().returning_rows()}")[0][0]:  # no key finds them, or there is none
            server.change([], [(_touches_all(cast(MySQL, server), now()), ())], locks, told)
    change(now().hold(was))
    if left := server.rows(f"SELECT count(*) {now().diverged_rows()}")[0][0]:
        does = f"say in {', '.join(pair.new)} what backward makes nothing of for {', '.join(pair.old)}: both stay as they are"
        way = "the old version may misread them, the contract does not wait for them"
        told(f"{migration}: {left} rows of {words(pair)}, written while nothing kept them in step, {does}; {way}")
    else:
        change(now().install())


def _touches(server: MySQL, sync: Sync) -> list[tuple[str, Values]]:
    """What touches the rows that are out of step one by one: an UPDATE that looks for them locks each row that it reads."""
    table = sync.named(sync.table)
    key = [server.quoted(each) for each in server.key(table)]
    found = server.rows(f"SELECT {', '.join(f't.{each}' for each in key)} {sync.returning_rows()}") if key else []
    touch = f"UPDATE {table} t SET {_same(server, sync)} WHERE ".replace("%", "%%") + " AND ".join(f"t.{each.replace('%', '%%')} = %s" for each in key)
    return [(touch, row) for row in found]


def _touches_all(server: MySQL, sync: Sync) -> str:
    return f"UPDATE {sync.returning_rows().removeprefix('FROM ').replace(' WHERE ', f' SET {_same(server, sync)} WHERE ', 1)}"


def _same(server: MySQL, sync: Sync) -> str:
    """Sets what changes nothing; nor does the server then set a time of the last change."""
    names = [sync.pair.old[0], *server.catalogue.stamps(sync.named(sync.table), sync.pair.old)]
    return ", ".join(f"t.{server.quoted(name)} = t.{server.quoted(name)}" for name in names)
