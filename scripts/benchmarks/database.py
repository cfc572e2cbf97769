"""A database of a million rows that is changed under 300 transactions a second: as it is often done, as bleen does it, and by pgroll's design."""

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import databases
from benchmarks.table import Row, Table
from bleen.database import backfill, sync
from bleen.database.ledger import Ledger
from bleen.database.migration import Backfill, Locks, Migration, Pace, Pair
from bleen.database.postgres.server import Postgres
from bleen.database.statements import Place, Statement
from bleen.testing.site import until

ROWS = 1_000_000
RATE = 300
CONNECTIONS = 8
QUIET = 30.0
"""Seconds of each baseline: as a disk that others use stalls for tenths of a second now and then, and three of those decide a p99 of ten seconds."""
TURNS = 3
"""How often what has a limit for its p99 is measured, each with a table and a baseline of its own: of three, one stall does not decide the median."""
READER = 8.0
"""Seconds for which somebody reads the table in one transaction."""

COUNTS = ("UPDATE users SET visits = visits + 1 WHERE id = %s",)
"""What clients write who do not know the columns that change."""
RENAMES = (*COUNTS, "UPDATE users SET last_name = last_name || 'x' WHERE id = %s")
"""And those who write what is being changed; without sync a backfill would never end."""

SETTINGS = ("fsync=on", "shared_buffers=512MB", "min_wal_size=4GB", "max_wal_size=8GB", "checkpoint_timeout=30min")
NAMES = Pair(
    "users",
    ("first_name", "last_name"),
    ("full_name",),
    {"full_name": "first_name || ' ' || last_name"},
    {"first_name": "split_part(full_name, ' ', 1)", "last_name": "substr(full_name, strpos(full_name, ' ') + 1)"},
    on_conflict="new",
)
FULL_NAME = Backfill("users", NAMES.forward)


class Felt(NamedTuple):
    """What clients felt of something: milliseconds of each of their transactions, from when it was due, and the errors."""

    times: list[float]
    errors: list[str]

    @property
    def p99(self) -> float:
        return sorted(self.times)[int(len(self.times) * 0.99)]


class Clients:
    """The load, in a process of its own."""

    def __init__(self, url: str, report: Path, rows: int, writes: Sequence[str]) -> None:
        self._report = report
        argv = [sys.executable, "-m", "benchmarks.database_clients", url, str(report), str(RATE), str(CONNECTIONS), str(rows), *writes]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE)

    def felt(self, begin: float, end: float) -> Felt:
        """By all that was due in this time; waits until the last of it is done."""
        until("clients have caught up", lambda: any(due > end for due, _, _ in self._lines()))
        found = [(due, done, error) for due, done, error in self._lines() if begin <= due <= end]
        return Felt([(done - due) * 1000 for due, done, _ in found], [error for _, _, error in found if error])

    def close(self) -> None:
        self._process.communicate()

    def _lines(self) -> Iterator[tuple[float, float, str]]:
        for line in self._report.read_text().split("\n")[:-1] if self._report.exists() else ():
            due, done, error = line.split(" ", 2)
            yield float(due), float(done), error


class Site(NamedTuple):
    """A full table under load, and our connection to it."""

    server: Postgres
    clients: Clients
    rows: int
    connect: Callable[[], Postgres]

    def run(self, *texts: str) -> None:
        for text in texts:
            self.server.rows(text)


def run(table: Table, place: Path, scale: float) -> None:
    rows, quiet = max(20_000, round(ROWS * scale)), max(3.0, QUIET * scale)
    numbers = itertools.count()
    with databases.postgres(15, *SETTINGS) as postgres:

        def measured(
            what: str,
            act: Callable[[Site], float],
            prepare: Sequence[str] = (),
            writes: Sequence[str] = RENAMES,
            longest: float | None = None,
            p99: float | None = None,
        ) -> Row:
            turns = [turn(act, prepare, writes) for _ in range(1 if p99 is None else TURNS)]
            base = table.add(f"{what}: client p99 before", [before.p99 for before, _, _ in turns])
            row = table.add(f"{what}: time for {rows:,} rows", [took for _, took, _ in turns], "s")
            table.add(f"{what}: client p99", [during.p99 for _, _, during in turns], base=base, limit=p99)
            table.add(f"{what}: longest transaction", [max(during.times) for _, _, during in turns], limit=longest)
            errors = [error for _, _, during in turns for error in during.errors]
            table.add(f"{what}: failed statements", [len(errors)], "", limit=None if what.startswith("as often done") else 0)
            for error in sorted(set(errors)):
                table.say(f"    {error}")
            return row

        def turn(act: Callable[[Site], float], prepare: Sequence[str], writes: Sequence[str]) -> tuple[Felt, float, Felt]:
            """What was felt before, the seconds that it took, and what was felt during them."""
            with _site(postgres, place / f"{next(numbers)}", rows, writes) as site:
                site.run(*prepare)
                site.run("VACUUM ANALYZE users", "CHECKPOINT")
                quietly = time.monotonic()
                time.sleep(quiet)
                before = site.clients.felt(quietly, time.monotonic())
                began = time.monotonic()
                took = act(site)
                return before, took, site.clients.felt(began, time.monotonic())

        _wear(postgres)
        measured("as often done, ALTER TYPE", _statement("ALTER TABLE users ALTER visits TYPE bigint"))
        measured("as often done, UPDATE", _statement("UPDATE users SET full_name = first_name || ' ' || last_name"), [ADD])
        measured("bleen, without sync, duty 50 %", _fill(Pace()), [ADD], COUNTS, p99=1.5)
        measured("bleen, with sync, duty 50 %", _fill(Pace(), NAMES), [ADD], p99=1.5)
        design = measured("pgroll's design", _pgroll, [ADD, *PGROLL])
        row = measured("bleen, with sync, always at work", _fill(Pace(duty=1.0, target=0.01), NAMES), [ADD])
        table.add("time of bleen with sync, always at work, against pgroll's design", row.values, "s", base=design, limit=0.5)
        reader = max(1.0, READER * scale)
        measured(f"as often done, ADD COLUMN behind a reader of {reader:g} s", _behind(reader, lambda site: site.run(ADD)))
        measured(f"bleen, ADD COLUMN behind a reader of {reader:g} s", _behind(reader, lambda site: _change(site, [ADD])), longest=Locks().timeout * 1000 + 50)


def _wear(postgres: databases.Postgres) -> None:
    """What a server has that runs for some days: segments of its log that are used again. To fill a new one with zeros stops every commit beside it."""
    with postgres.connect() as server:
        for _ in range(128):
            server.execute("SELECT pg_switch_wal() FROM pg_current_xact_id()")
        server.execute("CHECKPOINT")


@contextmanager
def _site(postgres: databases.Postgres, report: Path, rows: int, writes: Sequence[str]) -> Iterator[Site]:
    with postgres.database() as name:
        server = Postgres(postgres.url(name))
        server.rows("CREATE TABLE users (id bigint PRIMARY KEY, first_name text, last_name text, visits int NOT NULL DEFAULT 0, note text)")
        server.rows(f"INSERT INTO users SELECT n, 'First' || n, 'Last' || n, 0, repeat('x', 100) FROM generate_series(1, {rows}) n")
        Ledger(server).make()
        clients = Clients(postgres.url(name), report, rows, writes)
        try:
            yield Site(server, clients, rows, lambda: Postgres(postgres.url(name)))
        finally:
            clients.close()
            server.close()


def _statement(text: str) -> Callable[[Site], float]:
    return lambda site: _timed(lambda: site.run(text))


def _fill(pace: Pace, *pairs: Pair) -> Callable[[Site], float]:
    migration = Migration("0001_full_name", {}, "", None, pairs, Locks(), pace)

    def act(site: Site) -> float:
        for number, pair in enumerate(pairs, 1):
            _change(site, sync.of(site.server, migration.name, number, pair, {"blue": "old", "green": "new"}).install())
        return _timed(lambda: backfill.run(site.server, Ledger(site.server), migration, FULL_NAME, lambda _: None))

    return act


def _change(site: Site, texts: Sequence[str]) -> None:
    site.server.change([Statement(text, Place(1, 1), 0) for text in texts], [], Locks(), lambda _: None)


def _behind(seconds: float, change: Callable[[Site], None]) -> Callable[[Site], float]:
    """The change, while somebody's transaction has read the table and is not over."""

    def act(site: Site) -> float:
        reading = threading.Event()

        def read() -> None:
            reader = site.connect()
            with reader.transaction():
                reader.rows("SELECT FROM users LIMIT 1")
                reading.set()
                time.sleep(seconds)
            reader.close()

        thread = threading.Thread(target=read)
        thread.start()
        reading.wait()
        took = _timed(lambda: change(site))
        thread.join()
        return took

    return act


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


ADD = "ALTER TABLE users ADD COLUMN full_name text"

PGROLL = (
    "ALTER TABLE users ADD COLUMN needs_backfill boolean DEFAULT true",
    *(
        f"""CREATE FUNCTION to_{column}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE id users.id%TYPE := NEW.id; first_name users.first_name%TYPE := NEW.first_name; last_name users.last_name%TYPE := NEW.last_name;
          visits users.visits%TYPE := NEW.visits; note users.note%TYPE := NEW.note; full_name users.full_name%TYPE := NEW.full_name; path text;
        BEGIN
          SELECT current_setting INTO path FROM current_setting('search_path');
          IF path {writer} 'public_0001' THEN NEW.{column} := {expression}; NEW.needs_backfill := false; END IF;
          RETURN NEW;
        END $$"""
        for writer, sides in (("<>", NAMES.forward), ("=", NAMES.backward))
        for column, expression in sides.items()
    ),
    *(f"CREATE TRIGGER to_{c} BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION to_{c}()" for c in (*NAMES.forward, *NAMES.backward)),
)
"""What pgroll puts beside a table (its pkg/backfill): a column that says which rows are left, and a trigger a column that asks which schema its writer uses."""


def _pgroll(site: Site) -> float:
    """As pgroll goes over the rows: a thousand at a time, each set to its own key, so that the triggers fill it; no pause in between."""

    def fill() -> None:
        last = 0
        while True:
            with site.server.transaction():
                found = site.server.rows(
                    f"WITH batch AS (SELECT id FROM users WHERE needs_backfill AND id > {last} ORDER BY id LIMIT 1000 FOR NO KEY UPDATE),"
                    " done AS (UPDATE users SET id = users.id FROM batch WHERE users.id = batch.id RETURNING users.id) SELECT max(id) FROM done"
                )
            if found[0][0] is None:
                return
            last = found[0][0]

    return _timed(fill)
