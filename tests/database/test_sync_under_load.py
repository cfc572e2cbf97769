"""Sync comes and goes under four writers with warm statements: none of them fails one. pgroll fails some (its #905 and #906), between two transactions."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest
from in_step import NAMES, WRITERS

from bleen.database import sync
from bleen.database.migration import Locks
from bleen.database.postgres.server import Postgres
from bleen.database.statements import Place, Statement
from bleen.database.sync import postgres
from bleen.errors import Refused
from databases import Base

LOCKS = Locks(timeout=0.1, patience=60)

OLD = (
    ("INSERT INTO users (id, first, last) VALUES (%s, 'a', 'b')", True),
    ("UPDATE users SET first = 'c' || %s::int", True),
    ("SELECT id, first, last FROM users WHERE id = %s", False),
    ("SELECT old_write(%s)", False),
)
NEW = (
    ("INSERT INTO users (id, full_name) VALUES (%s, 'a b')", True),
    ("UPDATE users SET full_name = 'c ' || %s::int", True),
    ("SELECT id, full_name FROM users WHERE id = %s", False),
    ("SELECT new_write(%s)", False),
)
FUNCTION = (
    "CREATE FUNCTION {name}(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE users SET {column} = 'x ' || n WHERE id = n;"
    " PERFORM {column} FROM users WHERE id = n; END $$"
)


class Writers:
    """Four connections that write as one version until they are told of another; every statement is prepared, and none is ever tried again."""

    def __init__(self, base: Base) -> None:
        self.base, self.failed = base, list[str]()
        self.version: tuple[tuple[str, bool], ...] = OLD
        self.done = [0, 0, 0, 0]
        self._keys, self._stop = count(1), threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(4)]

    @contextmanager
    def running(self) -> Iterator["Writers"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def go_on(self, statements: int = 60) -> None:
        """Until every writer has come so much further."""
        goals = [done + statements for done in self.done]
        until(lambda: bool(self.failed) or all(done >= goal for done, goal in zip(self.done, goals, strict=True)))

    def _write(self, number: int) -> None:
        with self.base.connect() as connection:
            connection.prepare_threshold = 0
            while not self._stop.is_set():
                for text, writes in self.version:
                    key = next(self._keys)
                    where = f" WHERE id = {number + 1}" if writes and text.startswith("UPDATE") else ""
                    try:
                        connection.execute((text + where).encode(), [key])
                    except psycopg.Error as error:
                        self.failed.append(f"{text}: {error}")
                    self.done[number] += 1


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it has not come true within a minute"
        time.sleep(0.01)


def change(server: Postgres, *texts: str) -> None:
    server.change([Statement(text, Place(1, 1), 0) for text in texts], [], LOCKS, lambda _: None)


def test_sync_comes_and_goes_with_the_columns_under_four_writers_and_fails_no_statement(end_base: Base) -> None:
    """The issue: "Install and removal are atomic for clients: pgroll's order failed 30 statements under four writers; ours fails none"."""
    server = end_base.open()
    server.rows("CREATE TABLE users (id int PRIMARY KEY, first text NOT NULL, last text NOT NULL)")
    server.rows("INSERT INTO users SELECT -n, 'a' || n, 'b' FROM generate_series(1, 500) n")
    server.rows(FUNCTION.format(name="old_write", column="first"))
    with Writers(end_base).running() as writers:
        writers.go_on()
        change(server, "ALTER TABLE users ADD full_name text")
        server.rows(FUNCTION.format(name="new_write", column="full_name"))
        made = sync.of(server, "0007_full_name", 1, NAMES, WRITERS)
        change(server, *made.install())
        writers.go_on()
        server.rows("UPDATE users SET full_name = first || ' ' || last WHERE id < 0")
        writers.version = NEW
        writers.go_on()
        writers.version = (*OLD, *NEW)
        writers.go_on()
        change(server, *made.rewrite())
        writers.go_on()
        server.rows("UPDATE users SET full_name = first || ' ' || last WHERE full_name IS NULL")
        assert server.rows(made.diverged()) == [(0,)]
        writers.version = NEW
        writers.go_on()
        change(server, *made.remove(), "ALTER TABLE users DROP COLUMN first", "ALTER TABLE users DROP COLUMN last")
        writers.go_on()
        assert writers.failed == []
    assert set(server.columns("users")) == {"id", "full_name"}
    server.close()


def test_sync_is_removed_under_writers_of_both_versions_before_a_revert_and_fails_no_statement(base: Base) -> None:
    server = base.open()
    server.rows("CREATE TABLE users (id int PRIMARY KEY, first text, last text, full_name text)")
    server.rows(FUNCTION.format(name="old_write", column="first"))
    server.rows(FUNCTION.format(name="new_write", column="full_name"))
    made = sync.of(server, "0007_full_name", 1, NAMES, WRITERS)
    writers = Writers(base)
    writers.version = (*OLD, *NEW)
    with writers.running():
        for _ in range(5):
            change(server, *made.install())
            writers.go_on(20)
            change(server, *made.remove())
            writers.go_on(20)
    assert writers.failed == []
    server.close()


def test_an_order_in_two_transactions_fails_statements(base: Base) -> None:
    """What the tests above would see: the columns go first, the trigger in a second transaction, as in pgroll's #906."""
    server = base.open()
    server.rows("CREATE TABLE users (id int PRIMARY KEY, first text, last text, full_name text)")
    server.rows(FUNCTION.format(name="new_write", column="full_name"))
    made = postgres.of(server, "0007_full_name", 1, NAMES, WRITERS)
    change(server, *made.install())
    with pytest.raises(Refused, match="trigger ~bleen_0007_full_name_1 on table users depends on column first"):
        change(server, "ALTER TABLE users DROP COLUMN first")
    change(server, *made._replace(calls=made.calls._replace(own=True)).install())  # without a condition, on which the server could see it
    writers = Writers(base)
    writers.version = NEW
    with writers.running():
        writers.go_on(20)
        change(server, "ALTER TABLE users DROP COLUMN first", "ALTER TABLE users DROP COLUMN last")
        writers.go_on(20)
        change(server, *made.remove())
    assert writers.failed
    server.close()
