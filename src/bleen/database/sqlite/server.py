"""SQLite 3.37 and later, in a file of this host.

Everything that changes the schema is part of its transaction, and one connection writes at a time. What a process does is known by looking at the process:
a connection has neither a name nor settings. Foreign keys are not enforced on ours, as SQLite has it by default: else DROP TABLE would delete rows of others.
The journal mode (WAL or not) is the application's, and is left as it is.
"""

import fcntl
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bleen.database.grammar.tokens_update import update
from bleen.database.migration import Backfill, Locks, Pair
from bleen.database.patience import Patience
from bleen.database.rules.own import REFUGE
from bleen.database.server import Column, Contended, Missing, Session, Taken, Told, TookTooLong, Values
from bleen.database.sqlite import processes as sqlite_processes
from bleen.database.sqlite import values as sqlite_values
from bleen.database.sqlite.catalogue import SQLiteCatalogue
from bleen.database.sqlite.processes import Lock
from bleen.database.statements import Dialect, Statement, split
from bleen.database.things import Thing, taken
from bleen.database.tokens import Cursor, Puzzled, read
from bleen.errors import Refused, Unavailable

OLDEST = (3, 37, 0)
"""DROP COLUMN came with 3.35, PRAGMA table_list and STRICT tables with 3.37 (SQLite, "Release History")."""
PATIENCE = 5.0
"""Seconds for which a statement that changes no schema waits for whoever writes."""
BEGINS = 1.0
"""Seconds for which a change waits to begin, at a time: nobody has to wait for who has not begun."""
GONE_WITHIN = 1.0
"""Seconds in which the lock of somebody who was killed is gone."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_SCHEMA)
_AWAY = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL)
_ALONE = ("VACUUM", "ATTACH", "DETACH", "PRAGMA")
"""What cannot be part of a transaction, or means nothing in one."""


class SQLite:
    """Implements ``server.Server``."""

    dialect: Dialect = "sqlite"
    atomic = True

    def __init__(self, url: str, application: str = "bleen migrate") -> None:
        """Opens the file. Raises Refused if there is none, if it is no database or may not be written, and for an SQLite older than 3.37."""
        self._path, self._application = _path(url), application
        if sqlite3.sqlite_version_info < OLDEST:
            raise Refused(f"this Python has SQLite {sqlite3.sqlite_version}; bleen changes schemas with 3.37 and later, which can drop a column")
        for each in (self._path, self._path.parent):
            if not os.access(each, os.W_OK):
                raise Refused(f"{each} may not be written by uid {os.geteuid()}: run bleen as its owner")
        with _mapped():
            self._connection = sqlite3.connect(f"file:{quote(str(self._path))}?mode=rw", timeout=PATIENCE, isolation_level=None, uri=True)
            try:
                self._connection.execute("SELECT count(*) FROM sqlite_master")
            except sqlite3.Error:
                self.close()
                raise

    @property
    def catalogue(self) -> SQLiteCatalogue:
        return SQLiteCatalogue(self)

    def close(self) -> None:
        self._connection.close()

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        try:
            with _mapped():
                return self._connection.execute(sql.replace("%s", "?") if values else sql, tuple(values)).fetchall()
        except Contended as error:
            raise Contended(f"{error}{sqlite_processes.told(sqlite_processes.in_the_way(self._path))}") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """It has the right to write from the beginning on: one that asked for it later could be refused with no way to wait."""
        self.rows("BEGIN IMMEDIATE")
        try:
            yield
            self.rows("COMMIT")
        finally:
            if self._connection.in_transaction:  # some errors end it themselves
                with suppress(sqlite3.Error):  # what was raised matters more: whoever opens the file next rolls back what is left
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Waits for others for so long, inside."""
        self._connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
        try:
            yield
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {round(PATIENCE * 1000)}")

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Ends, with TookTooLong, statements that take longer than so many seconds together; 0 is no end."""
        deadline = time.monotonic() + seconds
        self._connection.set_progress_handler((lambda: time.monotonic() > deadline) if seconds else None, 10_000)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)

    @contextmanager
    def watch(self) -> Iterator[Callable[[], str]]:
        stop = threading.Event()
        seen: list[Lock] = []

        def look() -> None:
            while not stop.wait(0.02):
                if found := sqlite_processes.in_the_way(self._path):
                    seen[:] = found

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield lambda: sqlite_processes.told(list(seen))
        finally:
            stop.set()
            thread.join()

    def lookout(self, told: Told) -> AbstractContextManager[None]:
        """A look waits for no longer than any statement may."""
        return nullcontext()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """By flock(2) on a file beside the database: it ends with the process. The database's own file is not touched, as whoever closes a descriptor
        of it lets go of the locks that SQLite holds (SQLite, "How To Corrupt An SQLite Database File", section 2.2).
        """
        handle = _beside(self._path)
        try:
            deadline = time.monotonic() + GONE_WITHIN
            while not _given(handle):
                if time.monotonic() > deadline:
                    holder = os.pread(handle, 200, 0).decode(errors="replace")
                    raise Taken(f"another migration of this database is under way: {holder or 'nobody knows whose'}; wait for it, or end it")
                time.sleep(0.02)
            os.ftruncate(handle, 0)
            with suppress(OSError):  # on a full disk nobody reads whose it is
                os.pwrite(handle, f"{self._application} (process {os.getpid()})".encode(), 0)
            yield
        finally:
            os.close(handle)

    def change(
        self, statements: Sequence[Statement], record: Sequence[tuple[str, Values]], locks: Locks, told: Told, spoken: str = "", named: str = ""
    ) -> None:
        """Whoever waits to begin keeps nobody waiting; whoever waits to commit keeps all who begin to read, where there is no WAL: ``locks.timeout``.

        Nothing is taken along here that no text names.
        """

        def once() -> None:
            with self.waiting(BEGINS), self.transaction():
                self._connection.execute(f"PRAGMA busy_timeout = {round(locks.timeout * 1000)}")
                for statement in statements:
                    self._run(statement)
                for text, values in record:
                    self.rows(text, values)

        self._until_given(once, statements[0].brief if statements else "the ledger", locks, told)

    def transactional(self, statement: Statement) -> bool:
        return _tokens(statement).now.word not in _ALONE

    def passing(self, statement: Statement) -> bool:
        return _tokens(statement).now.word in ("ATTACH", "DETACH", "PRAGMA")

    def sight(self, statement: Statement) -> str:
        return ""

    def shape(self) -> str:
        """The server's own schema_version goes up with what is kept in the refuge, too."""
        return str(zlib.crc32(repr(self.rows("SELECT type, name, sql FROM sqlite_master WHERE name <> %s ORDER BY 1, 2", [REFUGE])).encode()))

    def concurrently(self, statement: Statement, locks: Locks, told: Told, again: bool) -> None:
        """Each of them can be done again: what was begun was done, or nothing of it."""

        def once() -> None:
            with self.waiting(BEGINS), self.within(locks.concurrently):
                self._run(statement)

        self._until_given(once, statement.brief, locks, told)

    def clear(self, statement: Statement, locks: Locks, told: Told) -> list[str]:
        """What was begun was done, or nothing of it."""
        return []

    def _until_given(self, once: Callable[[], None], what: str, locks: Locks, told: Told) -> None:
        patience = Patience(locks, told)
        while True:
            with self.watch() as blockers:
                try:
                    return once()
                except Contended:
                    waited = f"{what}: others were reading or writing all the time{blockers()}"
            patience.again(waited)

    def _run(self, statement: Statement) -> None:
        try:
            self.rows(statement.text)
        except Refused as error:
            raise type(error)(f"{statement.brief}: {str(error).removeprefix(_SAYS)}") from None

    def split(self, text: str) -> list[Statement]:
        return split(text, "sqlite")

    def update(self, text: str) -> Backfill:
        return update(text, "sqlite")

    def drops(self, statement: Statement, pair: Pair) -> bool:
        cursor, wanted = _tokens(statement), sqlite_values.named(pair.table).lower()
        try:
            if cursor.accept("DROP", "TABLE"):
                cursor.accept("IF", "EXISTS")
                return cursor.table()[-1].identifier.lower() == wanted
            if not cursor.accept("ALTER", "TABLE") or cursor.table()[-1].identifier.lower() != wanted or not cursor.accept("DROP"):
                return False
            cursor.accept("COLUMN")
            return cursor.name().identifier.lower() in {name.lower() for name in (*pair.old, *pair.new)}
        except Puzzled:
            return False  # the server will say what it is

    def takes(self, statement: Statement) -> frozenset[Thing]:
        return taken(statement.text, self.dialect) or frozenset()

    def columns(self, table: str) -> Mapping[str, Column]:
        found = self.rows('SELECT name, type, "notnull", dflt_value, hidden FROM pragma_table_xinfo(%s)', [sqlite_values.named(table)])
        return {name: Column(name, type, not required, default or "", hidden != 0) for name, type, required, default, hidden in found}

    def bare(self) -> bool:
        return not self.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT GLOB 'bleen_*' AND name NOT GLOB 'sqlite_*' LIMIT 1")

    def key(self, table: str) -> tuple[str, ...]:
        return tuple(r[0] for r in self.rows("SELECT name FROM pragma_table_xinfo(%s) WHERE pk > 0 ORDER BY pk", [sqlite_values.named(table)]))

    def quoted(self, name: str) -> str:
        return sqlite_values.quoted(name)

    def sessions(self) -> list[Session]:
        return sqlite_processes.sessions(self._path)


_SAYS = "the database says: "


@contextmanager
def _mapped() -> Iterator[None]:
    """The library's errors as ours (SQLite, "Result and Error Codes")."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the module's own errors have none
        if code in _BUSY:
            raise Contended(f"{_SAYS}{error}") from None
        if code == sqlite3.SQLITE_INTERRUPT:
            raise TookTooLong("it took longer than it may, and was ended") from None
        if code in _AWAY:
            room = ", make room where it lies" if code == sqlite3.SQLITE_FULL else ""
            raise Unavailable(f"the database cannot be worked with: {error}{room}") from None
        if str(error).startswith("no such "):
            raise Missing(f"{_SAYS}{error}") from None
        raise Refused(f"{_SAYS}{error}") from None


def _path(url: str) -> Path:
    rest = url.partition("://")[2]
    if not rest.startswith("/") or rest in ("/", "/:memory:") or "?" in rest:
        raise Refused("the database's url is not that of a file; it is like sqlite:////absolute/path.db")
    path = Path(rest[1:]).resolve()  # one lock, whatever link leads there
    if not path.is_file():
        raise Refused(f"there is no database at {path}; an empty file is one (a relative path is looked for where bleen runs)")
    return path


def _beside(path: Path) -> int:
    """The lock file of a database, open: whoever made it, root too, all who may write the one may write the other. Raises Refused."""
    file, of = path.with_name(f"{path.name}-bleen"), path.stat()
    try:
        try:
            handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(file, os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        way = "run bleen as the owner of both, or remove the file while no migration is under way"
        raise Refused(f"{file}, the lock of the database, cannot be opened by uid {os.geteuid()} ({error.strerror}): {way}") from None
    if os.geteuid() == 0:
        os.fchown(handle, of.st_uid, of.st_gid)
    os.fchmod(handle, of.st_mode & 0o666)
    return handle


def _given(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tokens(statement: Statement) -> Cursor:
    return Cursor(read(statement.text, "sqlite").sentences[0].tokens, statement.text)
