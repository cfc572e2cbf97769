"""Waits for locks on MySQL and MariaDB: who is in the way, and an end to them that is not in whole seconds.

``lock_wait_timeout`` is in whole seconds (MySQL manual, "Server System Variables"; MariaDB's 0 does not wait at all), and whoever comes after an ALTER TABLE
that waits, waits too. So a second connection looks at the first one every 20 ms, and ends its statement (KILL QUERY) when it has waited for as long as it may.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from bleen.database.statements import in_a_line

_LOOK = 0.02
_LISTED = 3
"""Sessions that are named at most."""

_METADATA_MYSQL = """
    SELECT DISTINCT theirs.PROCESSLIST_ID FROM performance_schema.metadata_locks wanted
    JOIN performance_schema.threads mine ON mine.THREAD_ID = wanted.OWNER_THREAD_ID AND mine.PROCESSLIST_ID = %s
    JOIN performance_schema.metadata_locks held ON held.OBJECT_TYPE = wanted.OBJECT_TYPE AND held.OBJECT_SCHEMA <=> wanted.OBJECT_SCHEMA
        AND held.OBJECT_NAME <=> wanted.OBJECT_NAME AND held.LOCK_STATUS = 'GRANTED' AND held.OWNER_THREAD_ID <> wanted.OWNER_THREAD_ID
    JOIN performance_schema.threads theirs ON theirs.THREAD_ID = held.OWNER_THREAD_ID WHERE wanted.LOCK_STATUS = 'PENDING'
"""
_METADATA_MARIADB = """
    SELECT DISTINCT theirs.THREAD_ID FROM information_schema.METADATA_LOCK_INFO mine
    JOIN information_schema.METADATA_LOCK_INFO theirs USING (TABLE_SCHEMA, TABLE_NAME, LOCK_TYPE)
    WHERE mine.THREAD_ID = %s AND theirs.THREAD_ID <> mine.THREAD_ID AND mine.LOCK_TYPE = 'Table metadata lock'
"""
_WHO = """
    SELECT p.id, p.user, p.host, p.command, timestampdiff(SECOND, t.trx_started, now()), left(coalesce(p.info, t.trx_query, ''), 80)
    FROM information_schema.processlist p {join} JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id
    WHERE p.id NOT IN (connection_id(), {id}) {which} ORDER BY t.trx_started IS NULL, t.trx_started LIMIT {limit}
"""


class Guard:
    """Ends a statement of the connection ``id`` that waits for a lock for more than ``timeout`` seconds, or lasts for more than ``limit``."""

    def __init__(self, connect: Callable[[], "Connection[Cursor]"], id: int, timeout: float, limit: float) -> None:
        self._connection, self._id, self._timeout, self._limit = connect(), id, timeout, limit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self.ended: Literal["", "lock", "time"] = ""
        """What a statement was ended for; empty if it was not."""
        self.blockers = ""
        """Who was in the way when it was ended, to go behind an error."""

    def __enter__(self) -> "Guard":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def _guarded(self) -> None:
        try:
            self._look()
        except pymysql.Error as error:  # the statement goes on: its wait ends with lock_wait_timeout, and nobody is named
            self.blockers = f"; who was in the way is unknown: {error.args[-1]}"

    def _look(self) -> None:
        began = time.monotonic()
        waits_since: float | None = None
        while not self._stop.wait(_LOOK):
            waits, now = _waits(self._connection, self._id), time.monotonic()
            waits_since = (waits_since or now) if waits else None
            if waits_since is not None and now - waits_since >= self._timeout:
                self.blockers = blockers(self._connection, self._id)
                self._end("lock")
                return
            if now - began > self._limit:
                self._end("time")
                return

    def _end(self, why: Literal["lock", "time"]) -> None:
        self.ended = why
        _rows(self._connection, f"KILL QUERY {self._id:d}")


def waiting(connection: "Connection[Cursor]", id: int) -> str:
    """That the connection ``id`` waits for a lock, and who is in the way; empty if it does not."""
    return f"waits for a lock{blockers(connection, id)}" if _waits(connection, id) else ""


def _waits(connection: "Connection[Cursor]", id: int) -> bool:
    found = _rows(connection, "SELECT state FROM information_schema.processlist WHERE id = %s", [id])
    state = found[0][0] or "" if found else ""
    return state.startswith("Waiting for ") and state.endswith(" lock")


def blockers(connection: "Connection[Cursor]", id: int) -> str:
    """Who is in the way of a connection, to go behind an error; empty if nobody is seen. Exact on MySQL, and on MariaDB with its plugin
    ``metadata_lock_info``; else the oldest transactions are named, one of which it is.
    """
    try:
        exact = _holders(connection, id)
        which = f"AND p.id IN ({', '.join(str(each) for each in exact)})" if exact else ""
        found = _rows(connection, _WHO.format(join="LEFT" if exact else "", id=id, which=which, limit=_LISTED))
    except pymysql.Error as error:  # of a connection that is closed already, the driver has another kind
        return f"; who is in the way is not to be seen: {error.args[-1]}"
    named = [f"connection {n} ({user}@{host}, {command}{_age(age)}){f': {in_a_line(query)}' if query else ''}" for n, user, host, command, age, query in found]
    return f"; {'in the way' if exact else 'perhaps in the way'}: {'; '.join(named)}" if named else ""


def _holders(connection: "Connection[Cursor]", id: int) -> list[int]:
    """The connections that hold what this one waits for; none if that cannot be told."""
    maria = "MariaDB" in _rows(connection, "SELECT VERSION()")[0][0]
    if maria and not _rows(connection, "SELECT 1 FROM information_schema.plugins WHERE plugin_name = 'METADATA_LOCK_INFO' AND plugin_status = 'ACTIVE'"):
        return []
    return [int(row[0]) for row in _rows(connection, _METADATA_MARIADB if maria else _METADATA_MYSQL, [id]) if row[0] is not None]


def _age(seconds: int | None) -> str:
    return f", its transaction {seconds} s old" if seconds is not None else ""


def _rows(connection: "Connection[Cursor]", query: str, values: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())
