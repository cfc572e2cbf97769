"""The backfill: an UPDATE of a whole table, done in batches along a key, while everybody goes on to write.

Each batch is a short transaction of its own, and between two of them nothing is held: no lock, no snapshot. The checkpoint is committed with the batch, so a
backfill that was killed goes on where it was. A row that is as it should be is not written. It has ended when a count of the rows out of step is 0.

What is said in SQL is a dialect's: ``Rows``, in the module of that name.
"""

import importlib
import math
import random
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

from bleen.database.ledger import Ledger
from bleen.database.migration import Backfill, Migration, Pair, speaks_of
from bleen.database.server import Contended, Server, TookTooLong
from bleen.database.statements import Unreadable
from bleen.errors import Refused

ROUNDS = 5
"""How often the rows are gone over that came, or moved behind the cursor, meanwhile; who still finds some then will never find none."""
LARGEST = 50_000
"""Rows of a batch at most, also where it has nothing to write."""
LONGEST = 0.05
"""Seconds of work in a batch at most, if nobody asked for more: it is as long as all else that a batch takes, if that is longer than its target."""
FEW = 100
"""Rows that no batch has fewer of, unless so many take longer than that, or are in somebody's way."""
GUESS = 20_000
"""Rows in a second of work, before any is known."""
CAUTION = 0.5
"""Seconds after which replicas and load are looked at again."""

_NO_COLUMN = re.compile(r"""column "?([^"]+?)"? does not exist|Unknown column '([^']+)'|no such column: (\S+)""")
"""In the words of PostgreSQL, of MySQL and of SQLite."""

_ELSEWHERE = re.compile(r"""\bselect\b|[\w"`\]]\s*\.\s*[\w"`\[]+\s*\.""", re.IGNORECASE)
"""What asks of other rows, or names the table by more than one word: it cannot be asked as it was before the backfill, and leaves no written row out."""

_KEY_COMES = ("UNIQUE", "PRIMARY", "SECURITY")
"""Words of an expand that may make the key along which its backfill goes, or take back what hides rows from it."""

_DIALECTS = {"postgres": "bleen.database.backfill.postgres", "sqlite": "bleen.database.backfill.sqlite", "mysql": "bleen.database.backfill.mysql"}


class Bound(NamedTuple):
    """Where a range of rows begins, along the key."""

    key: tuple[str, ...]
    """Its values as text."""
    itself: bool
    """Whether the row of this key is one of them."""


class Progress(NamedTuple):
    """How far a backfill is; told about once a second, and whenever it has to wait."""

    table: str
    rows: int
    """Looked at, since the first beginning, whoever was killed meanwhile."""
    of: int
    """How many there are, by the server's statistics, which may know of fewer than were looked at."""
    changed: int
    rate: float
    """Rows looked at per second, pauses included, smoothed over some ten seconds."""
    round: int
    waits: str
    """Why it does not go on just now; empty if it does."""

    @property
    def left(self) -> float | None:
        """Seconds; None where nothing is known."""
        return (self.of - self.rows) / self.rate if self.rate and self.round == 1 and self.rows <= self.of else None

    def line(self) -> str:
        """For people."""
        share = f"{100 * self.rows / self.of:.0f} %, " if self.of else ""
        looked = f"{share}{self.rows:,} of about {self.of:,} rows"
        if self.rows > self.of:
            looked = f"{self.rows:,} rows" + (f", more than the {self.of:,} of the statistics: how many are left is not known" if self.round == 1 else "")
        said = f"backfill of {self.table}: {looked}, {self.changed:,} changed, {self.rate:,.0f} rows/s"
        if self.round > 1:
            said += f", round {self.round}: rows that came or moved meanwhile"
        elif self.left is not None:
            said += f", {_duration(self.left)} left"
        return f"{said}; waits: {self.waits}" if self.waits else said


class Estimate(NamedTuple):
    """What a backfill will cost, before it begins. From statistics and a sample: right to a factor of two or so."""

    table: str
    rows: int
    changes: int
    """Rows that are out of step, by a sample."""
    bytes: int
    """By which the table and its indexes grow until autovacuum has made the old versions free again; how much the disk has, the server does not say."""
    log: int
    """Bytes that are written to the server's log (WAL), and sent to every replica."""
    seconds: float
    """By a guess at how many rows a second of work changes."""
    notes: tuple[str, ...]
    """What should be seen to before."""

    def line(self) -> str:
        """For people."""
        said = (
            f"backfill of {self.table}: {self.changes:,} of about {self.rows:,} rows to change, up to {_size(self.bytes)} more on disk and {_size(self.log)}"
            f" of log, about {_duration(self.seconds)}"
        )
        return "; ".join((said, *self.notes))


class Filled(NamedTuple):
    """What a backfill came to, all its beginnings together."""

    rows: int
    changed: int
    rounds: int


class Rows(Protocol):
    """The rows of one backfill, in the SQL of a dialect. A row is out of step if the backfill's UPDATE would change it, and no sync holds it to be right."""

    table: str
    pairs: Sequence[Pair]
    """Those of the migration that are of this table: they fill their columns themselves, whatever it says of them."""
    given: Mapping[str, str]
    """What it sets, by the names that the catalogue has, if it has them."""

    def check(self) -> None:
        """Raises Refused for a backfill that could never be in step, saying what to write instead; also before its columns are there."""
        ...

    def ready(self) -> None:
        """Raises Refused if its columns are not there, or for what ``along`` says."""
        ...

    def along(self) -> None:
        """Raises Refused if its table has no key to go along, or hides rows from us."""
        ...

    def batch(self, lock: float, limit: float) -> AbstractContextManager[None]:
        """One transaction, whose writes are known as the backfill's. Seconds that it waits for a lock, and that a statement may take; 0 is no end."""
        ...

    def count(self) -> int:
        """How many rows the table has, by its statistics."""
        ...

    def any(self) -> bool:
        """Whether a row is out of step; ends at the first."""
        ...

    def left(self) -> tuple[int, tuple[str, ...]]:
        """How many rows are out of step, and the lowest key of them."""
        ...

    def number(self, condition: str) -> int:
        """Of how many rows this is true, whatever is filled."""
        ...

    def same(self, expressions: Mapping[str, str]) -> str:
        """Whether columns are what expressions make, to the byte, in SQL."""
        ...

    def default(self, name: str) -> str:
        """What ADD COLUMN gave the rows that were there, in SQL; NULL also where it gave each row another."""
        ...

    def unwritten(self, names: Collection[str]) -> str:
        """Whether columns are as ADD COLUMN left them, in SQL: with its default, or with NULL where that came later."""
        ...

    def as_added(self, condition: str) -> str:
        """A condition, in SQL, as it was before anybody wrote the columns that are set: with what ADD COLUMN gave them. For a table with a key."""
        ...

    def reach(self, begin: Bound | None, size: int) -> tuple[tuple[str, ...], int] | None:
        """The key of the last of the next ``size`` rows, and how many there are; None after the last one."""
        ...

    def fill(self, begin: Bound | None, last: tuple[str, ...]) -> int:
        """Brings a range into step; how many rows it changed."""
        ...

    def spelled(self, expression: str) -> Sequence[str]:
        """An expression without its comments and white space: what two ways to write the same have in common. Raises Unreadable."""
        ...

    def burden(self, lag: float) -> str:
        """Why it had better wait: a replica is more than ``lag`` seconds behind, or too many sessions wait for each other or for the disk. Empty if not."""
        ...

    def estimate(self, rate: float) -> Estimate:
        """``rate``: rows per second."""
        ...


def check(server: Server, migration: Migration, backfill: Backfill, coming: str | None) -> None:
    """Raises Refused for a backfill that could never end, that is at odds with a pair, or that names what the table has not and what is ``coming`` does not
    speak of, saying what to write instead; also before its table and its columns are there. ``coming``: the SQL that will have run before, None if nobody
    knows it.
    """
    rows = _rows(server, migration, backfill)
    rows.check()
    _agree(rows)
    known = server.columns(backfill.table)
    if strays := [pair.table for pair in migration.pairs if pair not in rows.pairs and known and server.columns(pair.table)]:
        raise Refused(f"backfill of {backfill.table}: the pair of {strays[0]} would not be filled, as a migration fills one table: make it one for each")
    if not known or coming is None:
        return
    there = {*map(str.lower, known), ""}
    for name in (*backfill.set, *backfill.key, _missing(server, rows, backfill)):
        if name.lower() not in there and not speaks_of(coming, name):
            raise Refused(f"backfill of {backfill.table}: it has no column {name}, and expand.sql adds none; it has {', '.join(known)}")
    if not any(speaks_of(coming, word) for word in _KEY_COMES):
        rows.along()


def _agree(rows: Rows) -> None:
    """Raises Refused for a backfill that fills the column of a pair with something else than the pair does."""
    for name, made in ((name, made) for pair in rows.pairs for name, made in pair.forward.items()):
        said = rows.given.get(name, made)
        try:
            differs = rows.spelled(said) != rows.spelled(made)
        except Unreadable:  # that is said of the pair
            continue
        if differs:
            raise Refused(
                f"backfill of {rows.table}: {name} = {said}, and its pair says forward = {made}: the triggers would make the old columns from what differs;"
                f" leave {name} out of the backfill, as a pair fills its columns itself, or mend one of the two"
            )


def _missing(server: Server, rows: Rows, backfill: Backfill) -> str:
    """The first column that its expressions name and the table has not yet; empty if there is none, or if that cannot be told just now."""
    values = ", ".join(f"({value}\n)" for value in backfill.set.values())
    try:
        with rows.batch(lock=0.5, limit=5.0):
            server.rows(f"EXPLAIN SELECT {values} FROM {backfill.table} WHERE {backfill.where or '1 = 1'}")
    except (Refused, Contended) as error:
        found = _NO_COLUMN.search(str(error))
        return next(filter(None, found.groups())).rpartition(".")[2] if found else ""
    return ""


def estimate(server: Server, migration: Migration, backfill: Backfill) -> Estimate:
    """What it will cost; reads statistics and a sample. Also before expand, if the table is there. Raises Refused for a backfill that could never end."""
    rows = _rows(server, migration, backfill)
    rows.check()
    return rows.estimate(GUESS * migration.pace.duty)


def behind(server: Server, migration: Migration, backfill: Backfill, gone: Collection[str], others: Sequence[Backfill]) -> tuple[int, int]:
    """How many rows it would fill that nobody has written since the expand, and how many have been written and say something else than it would, whatever
    pairs there are. ``gone``: what it reads, and soon nobody can. ``others``: what else fills the same columns. Counted row by row. Raises Refused if they
    cannot be.

    A row that nobody has written, and that its WHERE leaves out, is none of its business. One that was written is, whatever WHERE says of it by now: it may
    have been filled, and left out since. Where WHERE leaves it out for what goes soon, it should be as ADD COLUMN left it. What another backfill makes of a
    row is that one's.
    """
    rows, where = _rows(server, migration._replace(pairs=()), backfill), backfill.where
    unwritten, made = rows.unwritten(rows.given), rows.same(rows.given)
    fits = f"({where}\n) IS TRUE" if where else "1 = 1"
    rest = "1 = 0" if others else f"NOT {made}"
    empty = rows.number(f"{unwritten} AND NOT {made} AND {fits}")
    if any(speaks_of(where, name) for name in backfill.set):
        fits = "1 = 1" if _ELSEWHERE.search(where) else f"({rows.as_added(where)}) IS TRUE"
    if any(speaks_of(where, name) for name in gone):
        rest = made if others else "1 = 1"
    theirs = [f"({rows.same(some)}{f' AND ({other.where}{chr(10)}) IS TRUE' if other.where else ''})" for other in others if (some := _overlap(rows, other))]
    nobodys = f"NOT ({' OR '.join(theirs)})" if theirs else "1 = 1"
    return empty, rows.number(f"NOT {unwritten} AND {nobodys} AND CASE WHEN {fits} THEN NOT {made} ELSE {rest} END")


def _overlap(rows: Rows, other: Backfill) -> dict[str, str]:
    """What another backfill makes of the same columns; nothing where its WHERE speaks of what it sets, and so of rows as they were."""
    if any(speaks_of(other.where, name) for name in other.set):
        return {}
    theirs = {name.lower(): made for name, made in other.set.items()}
    return {name: theirs[name.lower()] for name in rows.given if name.lower() in theirs}


def told(server: Server, migration: Migration, table: str, made: Mapping[str, str]) -> int:
    """How many rows of a table have something in one of these columns that neither ADD COLUMN nor its expression in ``made`` has put there; counted row by
    row. Where an expression fails for a row of now, whatever ADD COLUMN did not put there counts.
    """
    rows = _rows(server, migration._replace(pairs=()), Backfill(table, made))
    try:
        return rows.number(_written(made, rows))
    except Refused:
        return rows.number(_written(dict.fromkeys(made, "NULL"), rows))


def _written(made: Mapping[str, str], rows: Rows) -> str:
    """Whether one of some columns has something that neither ADD COLUMN nor its expression has put there, in SQL."""
    return " OR ".join(f"NOT ({rows.same({name: each})} OR {rows.same({name: rows.default(name)})})" for name, each in made.items())


def run(
    server: Server,
    ledger: Ledger,
    migration: Migration,
    backfill: Backfill,
    told: Callable[[Progress], None],
    pause: Callable[[float], object] = time.sleep,
    late: bool = False,
) -> Filled:
    """Brings every row into step, or goes on with it; to be called by who is ``alone``. ``late``: the new version may have written since the expand, so only
    rows are filled that are as ADD COLUMN left them, and nothing that somebody wrote is lost.

    ``pause`` waits for so many seconds; what it raises ends the backfill between two batches. Raises Refused for a backfill that cannot be (no key, a volatile
    expression), for a row that cannot be changed, naming it, for a lock that was not given within ``locks.patience``, naming who held it, and if rows fall out
    of step as fast as they are changed. What was done stays, and is gone on with.
    """
    rows = _rows(server, migration, backfill, late)
    rows.check()
    rows.ready()
    return _Walk(server, ledger, migration, rows, told, pause).go()


def _rows(server: Server, migration: Migration, backfill: Backfill, late: bool = False) -> Rows:
    made: Rows = importlib.import_module(_DIALECTS[server.dialect]).Rows(server, backfill, migration.pairs, late)
    return made


class _At(NamedTuple):
    """The checkpoint: where the next batch begins."""

    begin: Bound | None
    rows: int
    changed: int
    round: int
    size: int

    @classmethod
    def from_memo(cls, memo: Mapping[str, Any]) -> "_At":
        begin = Bound(tuple(memo["begin"][0]), memo["begin"][1]) if memo["begin"] else None
        return cls(begin, memo["rows"], memo["changed"], memo["round"], memo["size"])


class _Walk:
    """One beginning of a backfill."""

    def __init__(
        self, server: Server, ledger: Ledger, migration: Migration, rows: Rows, told: Callable[[Progress], None], pause: Callable[[float], object]
    ) -> None:
        self._server, self._ledger, self._name, self._rows, self._told, self._pause = server, ledger, migration.name, rows, told, pause
        self._locks, self._pace = migration.locks, migration.pace
        step = ledger.steps(migration.name).get(("backfill", 1))
        self._new, self._done = step is None, step is not None and step.done
        self._at = _At.from_memo(step.memo) if step else _At(None, 0, 0, 1, self._pace.batch)
        self._last = self._at.round + ROUNDS - 1
        self._of, self._rate = rows.count(), 0.0
        self._work = self._filling = 0.0
        self._rest = math.inf  # the least that a batch has taken beside its rows: the way to the server, the commit
        self._said = self._looked = self._measured = -math.inf

    def go(self) -> Filled:
        if not self._done and not (self._new and not self._rows.any()):
            self._until_none_is_left()
        if not self._done:
            with self._server.transaction():
                self._mark(self._at, done=True)
        return Filled(self._at.rows, self._at.changed, self._at.round)

    def _until_none_is_left(self) -> None:
        if self._new:
            with self._server.transaction():
                self._mark(self._at)
        while True:
            self._round()
            self._tell("counts the rows that are out of step")
            left, lowest = self._rows.left()
            if not left:
                return
            if self._at.round == self._last:
                raise Refused(
                    f"backfill of {self._rows.table}: after {ROUNDS} rounds {left:,} rows are out of step, such as {', '.join(lowest)}: who writes them so?"
                    " A [[sync]] pair keeps rows in step as they are written"
                )
            self._at = self._at._replace(begin=Bound(lowest, True), round=self._at.round + 1)

    def _round(self) -> None:
        """Goes along the key to its end: at work for ``duty`` of the time, in batches that take the target time."""
        self._measured = time.monotonic()
        while True:
            self._give_way()
            began, before = time.monotonic(), self._at
            if not self._batch():
                return
            took = time.monotonic() - began
            self._pause(took * (1 / self._pace.duty - 1))
            self._measure(self._at.rows - before.rows)
            if self._at.size == before.size:  # else it has just been made smaller, for cause
                self._rest = min(self._rest, took - self._filling)
                target = max(self._pace.target, min(self._rest, LONGEST))
                self._at = self._at._replace(size=_fitting(before.size, self._work, target))
            self._tell("")

    def _give_way(self) -> None:
        """Waits while replicas lag, or the server has enough to do."""
        while time.monotonic() - self._looked > CAUTION:
            if not (why := self._rows.burden(self._pace.lag)):
                self._looked = time.monotonic()
                return
            self._tell(why)
            self._pause(CAUTION)

    def _batch(self) -> bool:
        """One batch, tried until it is done; False at the end of the table. A lock that is not given makes it smaller, so that it is in fewer people's way."""
        deadline = time.monotonic() + self._locks.patience
        watch: Callable[[], AbstractContextManager[Callable[[], str]]] = lambda: nullcontext(lambda: "")  # noqa: E731
        while True:
            size, began = self._at.size, time.monotonic()
            limit = max(1.0, 20 * self._pace.target) if size > 1 else 0.0
            with watch() as blockers:
                try:
                    return self._try(limit)
                except Contended as error:
                    why = f"{error}{blockers()}"
                    self._at = self._at._replace(size=max(1, size // 2))
                except TookTooLong:
                    if not limit or time.monotonic() - began < limit:  # it was not our limit: somebody ended it
                        raise
                    self._at = self._at._replace(size=max(1, size // 4))
                    continue
                except Refused as error:
                    if size == 1:
                        raise self._naming(error) from None
                    self._at = self._at._replace(size=max(1, size // 10))  # until the row that it is about stands alone
                    continue
            if time.monotonic() >= deadline:
                raise Refused(f"backfill of {self._rows.table}: {why}; tried for {self._locks.patience:g} s; what was done stays, and is gone on with")
            self._tell(why)
            self._pause(random.uniform(0.5, 1.5) * self._locks.timeout)
            watch = self._server.watch

    def _try(self, limit: float) -> bool:
        at, began = self._at, time.monotonic()
        with self._rows.batch(self._locks.timeout, limit):
            away = (time.monotonic() - began) / 2  # how long a statement takes that has nothing to do
            reached = self._rows.reach(at.begin, at.size)
            if reached is None:
                return False
            last, looked = reached
            filling = time.monotonic()
            changed = self._rows.fill(at.begin, last)
            self._filling = time.monotonic() - filling
            self._work = max(self._filling - away, 1e-4)
            now = at._replace(begin=Bound(last, False), rows=at.rows + (looked if at.round == 1 else 0), changed=at.changed + changed)
            self._server.rows(*self._ledger.moved(self._name, "backfill", 1, now._asdict()))
        self._at = now
        return True

    def _naming(self, error: Refused) -> Refused:
        reached = self._rows.reach(self._at.begin, 1)
        return Refused(f"backfill of {self._rows.table}, row {', '.join(reached[0]) if reached else 'unknown'}: {error}")

    def _mark(self, at: _At, done: bool = False) -> None:
        for text, values in self._ledger.mark(self._name, "backfill", 1, done, f"backfill of {self._rows.table}", at._asdict()):
            self._server.rows(text, values)

    def _measure(self, rows: int) -> None:
        now = time.monotonic()
        took = max(now - self._measured, 1e-6)
        weight = 1 - math.exp(-took / 10) if self._rate else 1.0
        self._rate += weight * (rows / took - self._rate)
        self._measured = now

    def _tell(self, waits: str) -> None:
        now = time.monotonic()
        if waits or now - self._said >= 1:
            self._said = now
            at = self._at
            self._told(Progress(self._rows.table, at.rows, self._of, at.changed, self._rate, at.round, waits))


def _fitting(size: int, work: float, target: float) -> int:
    """The size of the next batch: one whose rows take somewhat less than the target time, but no more than twice this one. Only what rows take counts: a server
    that is far away, or has no time, is not nearer for fewer rows; so there are few only where few take long.
    """
    fewest = min(size, FEW) if work <= LONGEST else 1
    return min(LARGEST, max(fewest, round(size * min(2.0, max(0.25, 0.8 * target / work)))))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
