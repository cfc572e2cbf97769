"""Sync comes and goes on MariaDB under four writers with warm connections: none of their statements fails, though each change commits by itself."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import pymysql
import pytest
from in_step_mysql import LOCKS, NAMES, change, made

from bleen.database.migration import Locks
from bleen.database.mysql.server import MySQL
from bleen.database.server import Told, Values
from bleen.database.statements import Statement
from bleen.database.sync import mysql_return
from mariadb import MariaBase, numbers

OLD = (
    "INSERT INTO users (id, first, last) VALUES ({0}, 'a', '{0}')",
    "UPDATE users SET first = 'c{0}' WHERE id = {1}",
    "INSERT INTO users (id, first, last) VALUES ({1}, 'a', '{1}') ON DUPLICATE KEY UPDATE first = 'd{0}'",
    "SELECT id, first, last FROM users WHERE id = {0}",
)
NEW = (
    "INSERT INTO users (id, full_name) VALUES ({0}, 'a {0}')",
    "UPDATE users SET full_name = 'c {1}' WHERE id = {1}",
    "INSERT INTO users (id, full_name) VALUES ({1}, 'a {1}') ON DUPLICATE KEY UPDATE full_name = 'd {1}'",
    "SELECT id, full_name FROM users WHERE id = {0}",
)
TABLE = "CREATE TABLE users (id bigint PRIMARY KEY, first varchar(40) NOT NULL, last varchar(40) NOT NULL, note text)"
ROWS = f"INSERT INTO users (id, first, last) SELECT -seq, concat('a', seq), concat('b', seq) FROM {numbers(500)}"
FILL = "UPDATE users SET full_name = concat(first, ' ', last) WHERE full_name IS NULL"


class Writers:
    """Four connections that write as one version until they are told of another; none of their statements is ever tried again."""

    def __init__(self, base: MariaBase, version: tuple[str, ...] = OLD) -> None:
        self.base, self.failed, self.version = base, list[str](), version
        self.done = [0, 0, 0, 0]
        self._keys, self._stop = count(1_000), threading.Event()
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
        with self.base.connect() as client:
            while not self._stop.is_set():
                for text in self.version:
                    try:
                        client.run(text.format(next(self._keys), number))
                    except pymysql.Error as error:
                        self.failed.append(f"{text}: {error}")
                    self.done[number] += 1


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it has not come true within a minute"
        time.sleep(0.01)


def stepwise(server: MySQL, writers: Writers, texts: list[str]) -> None:
    """One change after the other, with writers between: as if bleen had been killed at each."""
    for text in texts:
        change(server, text)
        writers.go_on(12)


def there_and_gone(base: MariaBase, table: str) -> None:
    server = base.open()
    change(server, table)
    server.rows(ROWS)
    with Writers(base).running() as writers:
        writers.go_on()
        change(server, "ALTER TABLE users ADD full_name varchar(81)")
        stepwise(server, writers, made(server).install())
        server.rows(FILL)
        writers.version = NEW
        writers.go_on()
        writers.version = (*OLD, *NEW)
        writers.go_on()
        stepwise(server, writers, made(server, writers={"blue": "new"}).rewrite())
        assert server.rows(made(server).diverged()) == [(0,)]
        writers.version = NEW
        writers.go_on()
        stepwise(server, writers, made(server).remove())
        stepwise(server, writers, ["ALTER TABLE users DROP COLUMN first", "ALTER TABLE users DROP COLUMN last"])
        assert writers.failed == []
    assert set(server.columns("users")) == {"id", "note", "full_name"}
    assert server.rows("SHOW TRIGGERS") == []
    server.close()


def test_sync_comes_and_goes_with_the_columns_under_four_writers_and_fails_no_statement(maria_base: MariaBase) -> None:
    """The issue: "Install and removal are atomic for clients: pgroll's order failed 30 statements under four writers; ours fails none". The old columns are NOT
    NULL without a default.
    """
    there_and_gone(maria_base, TABLE)


def test_an_old_column_that_must_be_unique_goes_without_a_failure(maria_base: MariaBase) -> None:
    """No one default would do for it, between its trigger and its end."""
    there_and_gone(maria_base, TABLE.replace("last varchar(40) NOT NULL", "last varchar(40) NOT NULL UNIQUE COMMENT 'it''s NOT NULL' CHECK (last <> '')"))


def test_the_new_columns_go_in_a_revert_under_old_writers_without_a_failure(maria_base: MariaBase) -> None:
    server = maria_base.open()
    change(server, TABLE.replace("note text", "note text, full_name varchar(81) NOT NULL"))
    change(server, *made(server).install())
    with Writers(maria_base).running() as writers:
        writers.go_on()
        stepwise(server, writers, made(server).remove("new"))
        stepwise(server, writers, ["ALTER TABLE users DROP COLUMN full_name"])
        assert writers.failed == []
    server.close()


class Stepping(MySQL):
    """Lets the writers come further behind each change."""

    writers: Writers

    def change(
        self, statements: Sequence[Statement], record: Sequence[tuple[str, Values]], locks: Locks, told: Told, spoken: str = "", named: str = ""
    ) -> None:
        for each in statements:
            super().change([each], [], locks, told)
            self.writers.go_on(6)
        super().change([], record, locks, told)


@pytest.mark.parametrize("last", ["NOT NULL", "NOT NULL UNIQUE COMMENT 'it''s NOT NULL' CHECK (last <> '')"])
def test_sync_comes_back_under_new_writers_whose_rows_it_brings_into_step_without_a_failure(maria_base: MariaBase, last: str) -> None:
    """A contract that has taken nothing away was in vain."""
    server = Stepping(maria_base.url)
    for text in (TABLE.replace("last varchar(40) NOT NULL", f"last varchar(40) {last}").replace("note text", "note text, full_name varchar(81)"), ROWS, FILL):
        server.rows(text)
    before = server.rows("SHOW CREATE TABLE users")
    for text in made(server).install():  # a contract comes when each row is filled
        server.rows(text)
    server.writers = Writers(maria_base, OLD)
    with server.writers.running():
        server.writers.go_on()
        server.writers.version = NEW
        server.writers.go_on()
        was = made(server).demanded("old")
        change(server, *made(server).remove())
        mysql_return.put_back(server, "0007_full_name", 1, NAMES, {}, was, LOCKS, print)
        server.writers.go_on()
        assert server.writers.failed == []
    assert server.rows(made(server).diverged()) == [(0,)]
    assert server.rows("SHOW CREATE TABLE users") == before
    assert [made(server).whole, len(server.rows("SHOW TRIGGERS"))] == [True, 2]
    server.close()


def test_columns_that_go_before_their_triggers_fail_statements(maria_base: MariaBase) -> None:
    """What the tests above would see."""
    server = maria_base.open()
    change(server, TABLE, "ALTER TABLE users ADD full_name varchar(81)")
    change(server, *made(server).install())
    with Writers(maria_base, NEW).running() as writers:
        change(server, "ALTER TABLE users DROP COLUMN first")
        writers.go_on(12)
    assert "Unknown column 'first' in 'NEW'" in writers.failed[0]
    server.close()


def test_triggers_that_go_before_their_columns_have_defaults_fail_statements(maria_base: MariaBase) -> None:
    server = maria_base.open()
    change(server, TABLE, "ALTER TABLE users ADD full_name varchar(81)")
    change(server, *made(server).install())
    with Writers(maria_base, NEW).running() as writers:
        change(server, *(text for text in made(server).remove() if text.startswith("DROP")))
        writers.go_on(12)
    assert "doesn't have a default value" in writers.failed[0]
    server.close()


def test_names_are_those_of_one_pair(maria_base: MariaBase) -> None:
    server = maria_base.open()
    change(server, TABLE, "ALTER TABLE users ADD full_name varchar(81)")
    first, second = made(server, migration="0007_a" * 20), made(server, NAMES, migration="0007_a" * 20, number=2)
    assert first.name != second.name
    assert all(len(text.split("`")[3]) <= 64 for text in first.install())
    server.close()
