"""Processes that write people to a SQLite file as one version or both of them do, and none of whose statements is ever tried again."""

import multiprocessing
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_files import File

_OLD = (
    "INSERT INTO users (first, last) SELECT 'a', 'b' || ?1 WHERE ?2",
    "UPDATE users SET first = 'c' || ?1 WHERE id = ?2",
    "SELECT first, last FROM users WHERE id = ?2 AND ?1",
)
_NEW = (
    "INSERT INTO users (full_name) SELECT 'a b' || ?1 WHERE ?2",
    "UPDATE users SET full_name = 'c ' || ?1 WHERE id = ?2",
    "SELECT full_name FROM users WHERE id = ?2 AND ?1",
)
VERSIONS = {"old": _OLD, "new": _NEW, "both": _OLD + _NEW}
BUSY = 60.0
"""The busy_timeout of the writers, in seconds: long, as the machine may be slow, and how long they wait is not what is asked."""


def _write(path: Path, number: int, version: Any, done: Any, failed: Any) -> None:
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
    turn = 0
    while (name := version.value.decode()) != "stop":
        for text in VERSIONS[name]:
            turn += 1
            try:
                connection.execute(text, (turn, number + turn % 7 + 1)).fetchall()
            except sqlite3.Error as error:
                failed.put(f"{text}: {error}")
            done[number] += 1
        time.sleep(0.002)  # as a version has something else to do too: SQLite's lock is not a fair one
    connection.close()


class Writers:
    """So many processes; they begin as the old version."""

    def __init__(self, file: File, count: int = 3) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would take over what SQLite knows of its locks
        shared: tuple[Any, Any, Any] = (spawn.Array("c", 8), spawn.Array("i", count), spawn.Queue())
        self._version, self._done, self._failed = shared
        self._version.value = b"old"
        self._processes = [spawn.Process(target=_write, args=(file.path, number, *shared), daemon=True) for number in range(count)]

    @contextmanager
    def running(self) -> Iterator["Writers"]:
        for each in self._processes:
            each.start()
        try:
            yield self
        finally:
            self._version.value = b"stop"
            for each in self._processes:
                each.join()

    def go_on(self, version: str = "", statements: int = 30) -> None:
        """Until every writer has come so much further, as this version."""
        if version:
            self._version.value = version.encode()
        goals = [done + statements for done in self._done]
        deadline = time.monotonic() + 120
        while not all(done >= goal for done, goal in zip(self._done, goals, strict=True)):
            assert time.monotonic() < deadline, "the writers do not come on"
            time.sleep(0.01)

    @property
    def failed(self) -> list[str]:
        return [self._failed.get() for _ in range(self._failed.qsize())]
