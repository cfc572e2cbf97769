"""Who changes a schema is SIGKILLed before and after each command that it sends to the database, while clients write; the next one ends it as the first would.

The database is a real PostgreSQL. Points are named by the command, in the words that the server is sent: BEGIN and COMMIT, each statement of the migration,
each row of the ledger, each batch of the backfill. "After" is sent and not yet answered: the server may carry it out, or see that nobody is there any more.
Here a sample of them is tried, the same one every time; with BLEEN_CRASHES=all, all are.
"""

import json
import os
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import GeneratorType
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import dict_row

import databases
import people
from bleen.database.migration import parse
from bleen.database.schema import Schema
from bleen.testing.interrupt import Point, fork, suicide
from bleen.testing.site import until
from databases import Base

TRIES = 7
"""Crashes of each story."""
ROWS = 3000
OFTEN = 2
"""How many of the commands that are the same are counted on: how many batches a backfill takes is the host's affair."""

NAME = "0007_full_name"
SHIPS = {"blue-1": frozenset[str](), "green-2": frozenset({NAME})}
MIGRATION = parse(
    NAME,
    {
        "expand.sql": """\
ALTER TABLE people ADD COLUMN full_name text;
CREATE INDEX CONCURRENTLY people_full_name ON people (full_name);
CREATE TABLE badge (label text NOT NULL);
INSERT INTO badge (label) VALUES ('once');
""",
        "backfill.sql": people.FULL_NAME["backfill.sql"],
        "migration.toml": people.FULL_NAME["migration.toml"] + "[pace]\nbatch = 700\nduty = 1\n",
        "contract.sql": """\
UPDATE badge SET label = label || ', and once';
DROP INDEX CONCURRENTLY people_names;
ALTER TABLE people DROP COLUMN first_name;
ALTER TABLE people DROP COLUMN last_name;
""",
        "revert.sql": """\
DROP TABLE badge;
DROP INDEX CONCURRENTLY people_full_name;
ALTER TABLE people DROP COLUMN full_name;
UPDATE witness SET reverted = reverted + 1;
""",
    },
    NAME,
)
FRESH = f"""
{people.TABLE};
CREATE INDEX people_names ON people (last_name, first_name);
CREATE TABLE witness (reverted int NOT NULL);
INSERT INTO witness VALUES (0);
INSERT INTO people (first_name, last_name) SELECT 'A' || n, 'B' || n FROM generate_series(1, {ROWS}) n;
"""
Work = Callable[[Schema], object]


class Story(NamedTuple):
    """What is done to the schema, and who writes meanwhile, and afterwards."""

    work: Work
    expanded: bool
    """Whether it begins there."""
    during: tuple[str, ...]
    after: tuple[str, ...]


def _revert(schema: Schema) -> None:
    if schema.ledger.entry(NAME):  # the first one may have lived to forget it
        schema.revert(NAME)


STORIES = {
    "expand": Story(lambda schema: schema.expand([MIGRATION], "shop", 2, SHIPS), False, ("old", "old"), ("old", "new")),
    "contract": Story(lambda schema: schema.contract(NAME), True, ("new", "new"), ("new",)),
    "revert": Story(_revert, True, ("old", "old"), ("old",)),
}


class Clients:
    """Threads that write people in these shapes and read them back, until the end of ``with``; none of their statements may fail."""

    def __init__(self, base: Base, shapes: Sequence[str]) -> None:
        self._base, self._stop = base, threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(number, shape)) for number, shape in enumerate(shapes)]
        self.failed: list[str] = []
        self.known: dict[int, str] = {}
        self.done = [0] * len(shapes)

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait(self, more: int = 5) -> None:
        """Until each of them has written so many more people."""
        before = list(self.done)
        until("clients write", lambda: self.failed or all(now >= was + more for now, was in zip(self.done, before, strict=True)))
        assert self.failed == []

    def _guarded(self, number: int, shape: str) -> None:
        try:
            environment = {"old": "blue", "new": "green"}[shape]
            options = f"-c bleen.environment={environment}"
            with psycopg.connect(self._base.url, autocommit=True, prepare_threshold=0, row_factory=dict_row, options=options) as db:
                while not self._stop.wait(0.005):
                    self._write(db, people.SHAPES[shape], f"{shape}{number}x{self.done[number]}")
                    self.done[number] += 1
        except psycopg.Error as error:
            self.failed.append(f"{shape}: {error}")

    def _write(self, db: people.Database, statements: people.Statements, name: str) -> None:
        """Adds somebody, calls them something else, and somebody who was there before too."""
        added = db.execute(statements.add, {"first": "Nobody", "last": name}).fetchone()
        assert added is not None
        for id, last in ((added["id"], name), (random.randrange(1, ROWS), f"S{name}")):
            db.execute(statements.change, {"id": id, "first": f"F{name}", "last": last})
        self.known[added["id"]] = f"F{name} {name}"
        read = db.execute(statements.read, {"id": added["id"]}).fetchone()
        if read is None or f"{read['first_name']} {read['last_name']}" != self.known[added["id"]]:
            self.failed.append(f"{added['id']} is {read}, not {self.known[added['id']]}")


class Commands:
    """In a process of its own: ends it at a point, or notes all that there are. Commands of other threads than the first are not counted."""

    def __init__(self, at: Point | None) -> None:
        self._at, self._counts = at, Counter[str]()
        self.points: list[Point] = []
        waits, me = psycopg.Connection.wait, threading.get_ident()

        def wait(connection: Any, command: Generator[Any, Any, Any], *more: Any, **most: Any) -> Any:
            mine = threading.get_ident() == me
            return waits(connection, self._watched(command) if mine else command, *more, **most)

        psycopg.Connection.wait = wait  # type: ignore[method-assign, assignment]

    def _watched(self, command: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        words = _words(command)
        if not words or _READS.match(words):
            return (yield from command)
        self._counts[words] += 1
        self._come(words, "before")
        try:
            wanted = next(command)  # it is sent, and its answer is waited for
            self._come(words, "after")
            while True:
                wanted = command.send((yield wanted))
        except StopIteration as end:
            return end.value

    def _come(self, words: str, when: str) -> None:
        point = Point("the change of the schema", words, self._counts[words], when)
        if self._at is None:
            self.points.append(point)
        elif point == self._at:
            suicide()()


_READS = re.compile(r"SELECT (?!pg_(try_)?advisory)|SHOW ")
"""A crash at a look is a crash after the effect before it."""


def _words(command: Generator[Any, Any, Any]) -> str:
    """What the server is sent, as it is the same in every run; empty for what is no command."""
    assert isinstance(command, GeneratorType)
    assert command.gi_frame is not None
    kind, values = command.gi_code.co_name, command.gi_frame.f_locals
    if kind == "_execute_gen":
        text = re.sub(r"'[^']*\d[^']*'", "'...'", " ".join(str(values["query"]).split()))
        return f"{text[:70]}...{text[-30:]}" if len(text) > 103 else text
    return {"_enter_gen": "BEGIN", "_exit_gen": "COMMIT"}.get(kind, "")


def ended(base: Base, work: Work, at: Point | None, notes: Path, shapes: Sequence[str]) -> tuple[bool, Clients]:
    """Has a process of its own do it while clients write; whether it was killed at the point."""
    ready, go = os.pipe()

    def alone() -> None:
        os.read(ready, 1)
        commands = Commands(at)
        with closing(base.open()) as server:
            work(Schema(server))
        notes.write_text(json.dumps(commands.points))

    pid = fork(alone)  # before there are threads
    clients = Clients(base, shapes)
    clients.__enter__()
    try:
        clients.wait()
        os.write(go, b"!")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        clients.__exit__()
        raise
    finally:
        os.close(ready)
        os.close(go)
    assert code in (0, -9), f"it was to be killed {at}, and failed by itself ({code}); its last words are on standard error"
    return code != 0, clients


def world(base: Base) -> Mapping[str, Any]:
    """All that is to be the same, killed or not."""
    with base.connect() as db:

        def rows(query: str) -> list[tuple[object, ...]]:
            return sorted(db.execute(query).fetchall(), key=repr)

        own = "JOIN pg_namespace n ON n.oid = {} WHERE nspname = 'public'"
        return {
            "columns": rows("SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = 'public'"),
            "indexes": rows(f"SELECT c.relname, indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid {own.format('c.relnamespace')}"),
            "triggers": rows("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"),
            "functions": rows(f"SELECT proname, prosrc FROM pg_proc {own.format('pronamespace')}"),
            "sequences": rows("SELECT sequencename FROM pg_sequences"),
            "badges": rows("SELECT label FROM badge") if db.execute("SELECT to_regclass('badge')").fetchone() != (None,) else [],
            "witness": rows("SELECT * FROM witness"),
            "migrations": rows("SELECT name, checksum, state, service, release_number FROM bleen_migration"),
            "steps": rows("SELECT migration, part, number, done, sql_text FROM bleen_step"),
            "environments": rows("SELECT service, environment, migrations FROM bleen_environment"),
            "locks": rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"),
        }


def right(base: Base, known: Mapping[int, str]) -> None:
    """Everybody is called what they were called last, in both shapes if there are two."""
    with base.connect() as db:
        columns = {name for (name,) in db.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'people'")}
        shapes = [{"full_name"} & columns and "full_name", {"first_name"} & columns and "first_name || ' ' || last_name"]
        for shape in filter(None, shapes):
            called: dict[Any, Any] = {row[0]: row[1] for row in db.execute(f"SELECT id, {shape} FROM people")}
            assert {id: called[id] for id in known} == known
            assert None not in called.values()
        if all(shapes):
            assert db.execute(f"SELECT count(*) FROM people WHERE {shapes[0]} IS DISTINCT FROM {shapes[1]}").fetchone() == (0,)


@contextmanager
def made(server: databases.Postgres, template: str) -> Iterator[Base]:
    with server.database(template) as name:
        yield Base(server, name)


@pytest.fixture(scope="module")
def templates(oldest: databases.Postgres) -> Iterator[Mapping[bool, str]]:
    """A database as it was before the migration, and one as it is after expand."""
    with oldest.database() as fresh:
        with oldest.connect(fresh) as db:
            db.execute(FRESH)
        with oldest.database(fresh) as expanded:
            with closing(Base(oldest, expanded).open()) as server:
                Schema(server).expand([MIGRATION], "shop", 2, SHIPS)
            yield {False: fresh, True: expanded}


def spread(points: list[Point], tries: int) -> list[Point]:
    """So many of them, from the beginning to the end."""
    return [points[round(i * (len(points) - 1) / (tries - 1))] for i in range(tries)] if len(points) > tries else points


@pytest.mark.parametrize("name", STORIES)
def test_who_changes_the_schema_is_killed_at_a_command_and_the_next_one_ends_it(
    oldest: databases.Postgres, templates: Mapping[bool, str], tmp_path: Path, name: str
) -> None:
    """kill -9 at every step of expand, backfill, sync install, contract: the next run ends where the first would have."""
    story, notes = STORIES[name], tmp_path / "points"
    with made(oldest, templates[story.expanded]) as base:
        _, clients = ended(base, story.work, None, notes, story.during)
        clients.__exit__()
        end = world(base)
        right(base, clients.known)
    points = [point for point in (Point(*each) for each in json.loads(notes.read_text())) if point.occurrence <= OFTEN]
    assert len(points) > 40
    missed = []
    for point in points if os.environ.get("BLEEN_CRASHES") == "all" else spread(points, TRIES):
        with made(oldest, templates[story.expanded]) as base:
            hit, clients = ended(base, story.work, point, notes, story.during)
            missed += [] if hit else [str(point)]
            try:
                with closing(base.open()) as server:
                    story.work(Schema(server))
                clients.wait()
            finally:
                clients.__exit__()
            assert clients.failed == [], f"killed {point}"
            found = world(base)
            assert found == end, (f"killed {point}", {each: (found[each], end[each]) for each in end if found[each] != end[each]})
            with Clients(base, story.after) as later:
                later.wait()
            assert later.failed == [], f"killed {point}"
            right(base, {**clients.known, **later.known})
    assert missed == []
