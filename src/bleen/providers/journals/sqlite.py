"""The journal in a SQLite file: write-ahead log, ``synchronous=FULL``, one file a service.

A reader needs no lock, so the holder can be found even while a writer is stopped inside a commit (https://sqlite.org/wal.html, "Concurrency").
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from bleen.errors import Busy, Gone, Held, StaleWriter, Unavailable, UserError
from bleen.host import clock
from bleen.host.files import READ_ONLY, Reserve, read_only, room
from bleen.host.processes import Process, find, locks
from bleen.host.state import Place
from bleen.lifecycle import TERMINAL, UNMOVED, Answer, Ask, Event, Phase, Release, ReleaseId, Service, Verb
from bleen.model import Due, Routing
from bleen.plan import Plan
from bleen.ports import Holder

FORMAT = 2
"""Of the tables below, and of the plans in them: a plan of format 2 has ``database``. A newer bleen migrates an older journal; an older bleen refuses a
newer one.
"""

_TABLES = """
CREATE TABLE service (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, holder TEXT, router TEXT NOT NULL, up INTEGER NOT NULL,
    confirmed TEXT NOT NULL, pending TEXT NOT NULL);
CREATE TABLE release (service TEXT NOT NULL, number INTEGER NOT NULL, phase TEXT NOT NULL, halted TEXT NOT NULL, ended INTEGER NOT NULL,
    entered REAL NOT NULL, revision INTEGER NOT NULL, plan TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (service, number));
CREATE INDEX under_way ON release (entered) WHERE NOT ended;
CREATE TABLE event (service TEXT NOT NULL, release INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, phase TEXT NOT NULL, step INTEGER NOT NULL,
    moved INTEGER NOT NULL, halted TEXT NOT NULL, text TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (service, release, number)) WITHOUT ROWID;
CREATE TABLE ask (number INTEGER PRIMARY KEY, service TEXT NOT NULL, release INTEGER NOT NULL, verb TEXT NOT NULL, who TEXT NOT NULL, options TEXT NOT NULL,
    at REAL NOT NULL, obeyed INTEGER, text TEXT);
CREATE INDEX unanswered ON ask (service, release) WHERE obeyed IS NULL;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, ahead REAL NOT NULL, seen REAL NOT NULL);
"""

_ROW = ("step", "moved", "approved", "forced", "reason", "since", "until", "why", "memo")
"""What of a release lies in the JSON column ``row``."""

_SMALL = 1 << 16
"""Bytes; a disk with less room than SQLite's shared index takes is full."""

P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[Concatenate["SQLite", P], T]


def _written(spends: bool) -> Callable[[Method[P, T]], Method[P, T]]:
    """One transaction around a method: all of it or nothing, with the lock of writers held from the start. ``spends``: see ``_transact``."""

    def around(method: Method[P, T]) -> Method[P, T]:
        @wraps(method)
        def within(self: "SQLite", /, *args: P.args, **kwargs: P.kwargs) -> T:
            return self._transact(lambda: method(self, *args, **kwargs), spends)

        return within

    return around


class SQLite:
    """``ports.Journal`` for one host. One object belongs to one thread."""

    def __init__(
        self, place: Place, patience: float = 1.0, since_boot: Callable[[], float] = clock.since_boot, boot_id: Callable[[], str] = clock.boot_id
    ) -> None:
        """``patience``: seconds to wait for a writer of another process, until Unavailable is raised. Creates the file if there is none.

        Raises UserError if the file was written by a newer bleen, as ``changed`` does if one has migrated it meanwhile. From then on every method that writes,
        and ``changed``, raise Gone once the file is not there any more, or another one is.
        """
        self._place, self._patience, self._since_boot = place, patience, since_boot
        self._reserve = Reserve(place.reserve)
        self._create_file()
        self._file = os.stat(place.journal)
        try:
            self._db = sqlite3.connect(place.journal, timeout=patience, isolation_level=None, cached_statements=64)
        except sqlite3.OperationalError as error:
            way = "SQLite opens no path of more than 511 bytes: set BLEEN_STATE to a shorter one" if len(os.fsencode(place.journal)) > 511 else "`ls -l` it"
            raise UserError(f"the journal {place.journal} cannot be opened: {error}; {way}") from None
        self._with_room(self._attach, spends=True)
        self._migrate()
        self._clock(boot_id())
        self._version = self._data_version()

    def close(self) -> None:
        self._db.close()

    # time

    def now(self) -> float:
        return self._since_boot() + self._ahead

    def beat(self) -> None:
        self._must_be_there()
        self._show_life()
        self._transact(lambda: self._db.execute("UPDATE clock SET seen = ?", (self.now(),)), spends=False)
        self._reserve.keep()

    def silence(self) -> float:
        seen: float = self._rows("SELECT seen FROM clock")[0][0]
        with suppress(OSError):
            shown = os.stat(self._place.beat).st_mtime
            if shown <= self.now():  # not by whoever restored or touched it
                seen = max(seen, shown)
        return self.now() - seen

    def _show_life(self) -> None:
        """The time of a file takes no room: on a full disk, where the row stays as it is, a holder that works does not look as if it hung."""
        now = int(self.now() * 1e9)
        with suppress(OSError):
            os.close(os.open(self._place.beat, os.O_WRONLY | os.O_CREAT, 0o600))
            os.utime(self._place.beat, ns=(now, now))

    # the service

    def service(self, name: str) -> Service:
        rows = self._rows("SELECT epoch, holder, router, up, confirmed, pending FROM service WHERE name = ?", (name,))
        if not rows:
            return Service(name)
        epoch, holder, router, up, confirmed, pending = rows[0]
        return Service(
            name,
            epoch,
            Holder(**json.loads(holder)) if holder else None,
            json.loads(router),
            bool(up),
            Routing.from_json(json.loads(confirmed)),
            tuple(json.loads(pending)),
        )

    @_written(spends=True)
    def register(self, name: str, router: Mapping[str, Any], up: bool) -> Service:
        self._db.execute(
            "INSERT INTO service VALUES (?, 0, NULL, ?, ?, ?, '[]') ON CONFLICT (name) DO UPDATE SET router = excluded.router, up = excluded.up",
            (name, json.dumps(dict(router)), up, json.dumps(Routing().to_json())),
        )
        self._reserve.keep()
        return self.service(name)

    @_written(spends=True)
    def claim(self, name: str, by: Holder, seize: int | None = None) -> Service:
        service = self.service(name)
        if seize is not None and service.epoch != seize:
            raise StaleWriter(f"{name} was claimed by somebody else meanwhile")
        if service.holder == by:
            return service
        if seize is None and service.holder and service.holder.alive:
            raise Held(f"{name} is driven by pid {service.holder.pid} on {service.holder.host}")
        self._db.execute("UPDATE service SET epoch = epoch + 1, holder = ? WHERE name = ?", (json.dumps(by._asdict()), name))
        self._db.execute("UPDATE clock SET seen = ?", (self.now(),))
        return self.service(name)

    # releases

    @_written(spends=False)
    def open(self, name: str, plan: Plan, who: str) -> Release:
        newest = self.latest(name)
        if newest and not newest.ended:
            raise Busy(f"release {newest.id.number} ({newest.plan.version}) is in {newest.phase}")
        wall = clock.wall()
        release = Release(ReleaseId(name, newest.id.number + 1 if newest else 1), plan, entered=self.now(), since=wall)
        self._db.execute(
            "INSERT INTO release VALUES (?, ?, ?, '', 0, ?, 0, ?, ?)",
            (*release.id, release.phase, release.entered, json.dumps(plan.to_json()), _row(release)),
        )
        self._tell(release, Event(0, wall, release.phase, 0, False, "", f"{plan.version} by {who}"))
        return release

    def read(self, id: ReleaseId) -> Release:
        rows = self._rows("SELECT * FROM release WHERE service = ? AND number = ?", id)
        if not rows:
            raise UserError(f"{id.service} has no release {id.number}: `bleen history` lists them")
        return _release(rows[0])

    def latest(self, name: str) -> Release | None:
        return next(iter(self.releases(name, 1)), None)

    def releases(self, name: str, limit: int) -> Sequence[Release]:
        rows = self._rows("SELECT * FROM release WHERE service = ? ORDER BY number DESC LIMIT ?", (name, limit))
        return [_release(row) for row in rows]

    def due(self, limit: int) -> Sequence[ReleaseId]:
        rows = self._rows(
            """SELECT service, number, entered FROM release WHERE NOT ended AND halted = '' UNION
               SELECT service, number, entered FROM release WHERE (service, number) IN (SELECT service, release FROM ask WHERE obeyed IS NULL)
               ORDER BY entered LIMIT ?""",
            (limit,),
        )
        return [ReleaseId(service, number) for service, number, _ in rows]

    def commit(self, was: Release, now: Release, event: Event | None, service: Service, answer: Answer | None = None) -> Release:
        leaves = event is not None and now.phase not in UNMOVED
        return self._transact(lambda: self._commit(was, now, event, service, answer), spends=answer is not None or leaves)

    def _commit(self, was: Release, now: Release, event: Event | None, service: Service, answer: Answer | None) -> Release:
        written = now._replace(revision=was.revision + 1)
        changed = self._db.execute(
            "UPDATE service SET confirmed = ? WHERE name = ? AND epoch = ?",
            (json.dumps(service.confirmed.to_json()), service.name, service.epoch),
        ).rowcount
        if not changed:
            raise StaleWriter(f"{service.name} is driven by somebody else now")
        changed = self._db.execute(
            "UPDATE release SET phase = ?, halted = ?, ended = ?, entered = ?, revision = ?, row = ? WHERE service = ? AND number = ? AND revision = ?",
            (now.phase, now.halted, now.phase in TERMINAL, now.entered, written.revision, _row(now), *now.id, was.revision),
        ).rowcount
        if not changed:
            raise StaleWriter(f"{now.id} was changed by somebody else")
        if event is not None:
            self._tell(now, event)
        if answer is not None:
            self._db.execute("UPDATE ask SET obeyed = ?, text = ? WHERE number = ? AND obeyed IS NULL", (answer.obeyed, answer.text, answer.number))
        return written

    def events(self, id: ReleaseId, after: int = 0) -> Sequence[Event]:
        rows = self._rows(
            "SELECT number, at, phase, step, moved, halted, text, facts FROM event WHERE service = ? AND release = ? AND number > ? ORDER BY number",
            (*id, after),
        )
        return [Event(n, at, Phase(phase), step, bool(moved), halted, text, json.loads(facts)) for n, at, phase, step, moved, halted, text, facts in rows]

    @_written(spends=False)
    def pend(self, name: str, contracts: Sequence[Due]) -> None:
        self._db.execute("UPDATE service SET pending = ? WHERE name = ?", (json.dumps(list(contracts)), name))

    # commands

    @_written(spends=True)
    def ask(self, id: ReleaseId, verb: Verb, who: str, options: Mapping[str, Any] = {}) -> int:
        number = self._db.execute(
            "INSERT INTO ask (service, release, verb, who, options, at) VALUES (?, ?, ?, ?, ?, ?)", (*id, verb, who, json.dumps(dict(options)), self.now())
        ).lastrowid
        assert number is not None, "an INSERT has a rowid"
        return number

    def asked(self, id: ReleaseId) -> Ask | None:
        rows = self._rows("SELECT number, verb, who, options, at FROM ask WHERE service = ? AND release = ? AND obeyed IS NULL ORDER BY number LIMIT 1", id)
        return next((Ask(number, Verb(verb), who, json.loads(options), at) for number, verb, who, options, at in rows), None)

    def answer(self, number: int) -> Answer | None:
        rows = self._rows("SELECT obeyed, text FROM ask WHERE number = ? AND obeyed IS NOT NULL", (number,))
        return next((Answer(number, bool(obeyed), text) for obeyed, text in rows), None)

    def changed(self, timeout: float) -> bool:
        self._must_be_there()
        deadline = time.monotonic() + timeout
        while (version := self._data_version()) == self._version:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(0.02, left))
        self._version = version
        self._format()  # a newer bleen may have migrated it under an engine of ours
        return True

    # what goes on inside

    def blocker(self) -> Process | None:
        """The living process that holds the lock of writers, if one does now: byte 120 of the -shm file (https://sqlite.org/walformat.html, "WAL Locks")."""
        try:
            shm = os.stat(f"{self._place.journal}-shm")
        except FileNotFoundError:
            return None
        held = ["POSIX", "WRITE", f"{os.major(shm.st_dev):02x}:{os.minor(shm.st_dev):02x}:{shm.st_ino}", "120"]
        return next((find(int(fields[4])) for fields in locks() if [fields[at] for at in (1, 3, 5, 6)] == held), None)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds. In a transaction, whoever has begun that is told what is wrong, and may spend the reserve."""

        def found() -> list[tuple[Any, ...]]:
            return self._db.execute(query, values).fetchall()

        return found() if self._db.in_transaction else self._with_room(found, spends=False)

    def _transact(self, work: Callable[[], T], spends: bool) -> T:
        """Does the work in a transaction. ``spends``: it may use the disk's reserve. That is for commands, and for a release that has moved traffic or is
        being undone; not for a new text of what is waited for, which is written again anyway.
        """
        return self._with_room(lambda: self._once(work), spends)

    def _with_room(self, work: Callable[[], T], spends: bool) -> T:
        """Does the work; again, with more of the reserve given back to the disk, for as long as there is no room for it."""
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if not (spends and self._is_full(error) and self._reserve.spend()):
                    raise self._mapped(error) from error
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # a bug of ours
                raise
            except sqlite3.DatabaseError as error:
                raise UserError(
                    f"the journal {self._place.journal} is damaged ({error}), and what serves goes on serving: put a copy of it back, or move it away and let"
                    " `bleen up` name what runs"
                ) from None

    def _once(self, work: Callable[[], T]) -> T:
        self._must_be_there()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            self._db.execute("COMMIT")
            return result
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _create_file(self) -> None:
        """Readable by nobody else; SQLite gives the files that it puts beside it the same mode."""
        try:
            with suppress(FileExistsError):
                os.close(os.open(self._place.journal, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileNotFoundError:
            raise self._gone() from None
        except OSError as error:
            raise Unavailable(f"the journal {self._place.journal} cannot be created: {error.strerror}") from None

    def _must_be_there(self) -> None:
        """An open database outlives its file: whoever goes on with one would believe, and write down, what nobody else sees."""
        try:
            there = os.path.samestat(self._file, os.stat(self._place.journal))
        except FileNotFoundError:
            there = False
        if not there:
            raise self._gone()

    def _gone(self) -> Gone:
        return Gone(
            f"{self._place.journal} was removed while it was in use: nothing more is done, what serves goes on serving;"
            " put it back, or let `bleen up` name what runs"
        )

    def _is_full(self, error: sqlite3.OperationalError) -> bool:
        """Whether a disk without room is why; SQLite calls that an I/O error where it is about the shared index."""
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return True
        return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and room(self._place.path) < _SMALL

    def _mapped(self, error: sqlite3.OperationalError) -> Exception:
        path = self._place.journal
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return Unavailable(f"the journal {path} is locked by another process")
        if self._is_full(error):
            return Unavailable(f"the disk of {path} is full: make room on it")
        way = f"; {READ_ONLY}" if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY and read_only(path.parent) else ""
        return Unavailable(f"the journal {path} cannot be used: {error}{way}")

    def _tell(self, release: Release, event: Event) -> None:
        self._db.execute(
            """INSERT INTO event SELECT ?, ?, (SELECT COALESCE(MAX(number), 0) + 1 FROM event WHERE service = ? AND release = ?), ?, ?, ?, ?, ?, ?, ?""",
            (*release.id, *release.id, event.at, event.phase, event.step, event.moved, event.halted, event.text, json.dumps(dict(event.facts))),
        )

    def _data_version(self) -> int:
        version: int = self._rows("PRAGMA data_version")[0][0]
        return version

    def _attach(self) -> None:
        """Readies the connection. The first to open a journal needs room on the disk, to read even: for the index of the log that all processes share."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
                return
            except sqlite3.OperationalError as error:  # SQLite itself does not wait for the lock that a new file's first mode takes
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _migrate(self) -> None:
        if self._format() < FORMAT:
            self._transact(self._create, spends=False)

    def _format(self) -> int:
        """What the rows are written in. Raises UserError for a format that we do not know, before anything that we do not know is read."""
        found: int = self._rows("PRAGMA user_version")[0][0]
        if found > FORMAT:
            raise UserError(f"{self._place.journal} has format {found}, this bleen knows {FORMAT}: it was written by a newer bleen; use that one")
        return found

    def _create(self) -> None:
        if self._format() == 0:
            for statement in _TABLES.split(";\n"):
                self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {FORMAT}")  # the rows of format 1 are read as they are: their plans know no database

    def _clock(self, boot: str) -> None:
        """Goes on, after a reboot, from the last heartbeat."""
        rows = self._rows("SELECT boot, ahead, seen FROM clock")
        if rows and rows[0][0] == boot:
            self._ahead: float = rows[0][1]
            return
        self._ahead = (rows[0][2] if rows else 0.0) - self._since_boot()
        row = (boot, self._ahead, self.now())
        self._transact(lambda: self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?)", row), spends=True)


def router_of(place: Place) -> Mapping[str, Any]:
    """The settings of a service's router, of whatever format its journal is, which is left as it is; empty where they cannot be read."""
    try:
        with closing(sqlite3.connect(f"{place.journal.absolute().as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT router FROM service WHERE name = ?", (place.service,)).fetchone()
    except sqlite3.Error:
        return {}
    return dict(json.loads(row[0])) if row else {}


def _row(release: Release) -> str:
    return json.dumps({name: getattr(release, name) for name in _ROW})


@lru_cache(maxsize=2)
def _plan(text: str) -> Plan:
    """The plan of a row, which never changes: whoever drives a release reads it with every tick."""
    return Plan.from_json(json.loads(text))


def _release(columns: Sequence[Any]) -> Release:
    service, number, phase, halted, _ended, entered, revision, plan, row = columns
    return Release(ReleaseId(service, number), _plan(plan), Phase(phase), halted=halted, entered=entered, revision=revision, **json.loads(row))
