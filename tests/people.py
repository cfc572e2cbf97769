"""An application that keeps people in PostgreSQL, in the old shape (first and last name) or in the new one (full name); and users who check its answers.

``python people.py --port N --shape old|new|star``; DATABASE_URL says where. ``star`` is the old shape, read with a prepared ``SELECT *`` on one connection
that all share.
"""

import argparse
import http.client
import itertools
import json
import os
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

TABLE = """
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    first_name text NOT NULL, last_name text NOT NULL, visits int NOT NULL DEFAULT 0)
"""
FULL_NAME = {
    "expand.sql": "ALTER TABLE people ADD COLUMN full_name text;\n",
    "backfill.sql": "UPDATE people SET full_name = first_name || ' ' || last_name;\n",
    "contract.sql": "ALTER TABLE people DROP COLUMN first_name;\nALTER TABLE people DROP COLUMN last_name;\n",
    "revert.sql": "ALTER TABLE people DROP COLUMN full_name;\n",
    "migration.toml": """\
description = "one column for the name"

[[sync]]
table = "people"
old = ["first_name", "last_name"]
new = ["full_name"]
forward = { full_name = "first_name || ' ' || last_name" }
backward = { first_name = "split_part(full_name, ' ', 1)", last_name = "split_part(full_name, ' ', 2)" }
on_conflict = "new"
""",
}
"""The migration from the old shape to the new one: the article's own example."""


class Statements(NamedTuple):
    """What a shape says to the database; parameters and results are a first and a last name."""

    add: str
    change: str
    read: str


SHAPES = {
    "old": Statements(
        "INSERT INTO people (first_name, last_name) VALUES (%(first)s, %(last)s) RETURNING id",
        "UPDATE people SET first_name = %(first)s, last_name = %(last)s, visits = visits + 1 WHERE id = %(id)s",
        "SELECT first_name, last_name FROM people WHERE id = %(id)s",
    ),
    "new": Statements(
        "INSERT INTO people (full_name) VALUES (%(first)s || ' ' || %(last)s) RETURNING id",
        "UPDATE people SET full_name = %(first)s || ' ' || %(last)s, visits = visits + 1 WHERE id = %(id)s",
        "SELECT split_part(full_name, ' ', 1) AS first_name, split_part(full_name, ' ', 2) AS last_name FROM people WHERE id = %(id)s",
    ),
}
SHAPES["star"] = SHAPES["old"]._replace(read="SELECT * FROM people WHERE id = %(id)s")


Database = psycopg.Connection[dict[str, Any]]


def opened() -> Database:
    """A connection that prepares every statement."""
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=0, row_factory=dict_row)


class Handler(BaseHTTPRequestHandler):
    """One connection of a proxy, with one warm connection to the database that prepares its statements."""

    protocol_version = "HTTP/1.1"
    statements: Statements
    version: str
    connect: Callable[[], Any]
    shared: Any = None

    def setup(self) -> None:
        super().setup()
        self.database = self.shared or self.connect()

    def finish(self) -> None:
        if self.database is not self.shared:
            self.database.close()
        super().finish()

    def do_GET(self) -> None:
        if self.path == "/health":
            self.database.execute("SELECT 1")
            return self._answer({"ok": True})
        found = self._one(self.statements.read, {"id": int(self.path.rpartition("/")[2])})
        return self._answer({"first": found["first_name"], "last": found["last_name"]})

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/people":
            return self._answer({"id": self._one(self.statements.add, given)["id"]})
        self.database.execute(self.statements.change, {**given, "id": int(self.path.rpartition("/")[2])})
        return self._answer({"ok": True})

    def _one(self, statement: str, values: Any) -> Any:
        row = self.database.execute(statement, values).fetchone()
        assert row is not None
        return row

    def _answer(self, body: Any) -> None:
        data = json.dumps({**body, "version": self.version}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


class Users:
    """Threads that add people, change them and read them back; ``failed`` holds every answer that was not right."""

    def __init__(self, listen: str, count: int = 4) -> None:
        self._listen, self._stop = listen, threading.Event()
        self._names = itertools.count(1)
        self.failed: list[str] = []
        self.asked = 0
        self.known: dict[int, tuple[str, str]] = {}
        """What everybody should be called at the end."""
        self.versions: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._guarded) for _ in range(count)]

    def __enter__(self) -> "Users":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def seen(self, version: str, more: int = 20) -> Callable[[], bool]:
        """Whether this version has answered so many requests from now on."""
        before = self.versions.get(version, 0)
        return lambda: self.versions.get(version, 0) >= before + more

    def _guarded(self) -> None:
        try:
            self._go()
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.failed.append(f"{type(error).__name__}: {error}")

    def _go(self) -> None:
        connection = http.client.HTTPConnection(self._listen, timeout=20)
        mine: list[int] = []
        for turn in itertools.count():
            if self._stop.wait(0.01):
                return
            name = {"first": f"F{next(self._names)}", "last": f"L{next(self._names)}"}
            if not mine or turn % 3 == 0:
                mine.append(self._ask(connection, "/people", name)["id"])
            else:
                self._ask(connection, f"/people/{mine[turn % len(mine)]}", name)
            who = mine[-1] if turn % 3 == 0 or len(mine) == 1 else mine[turn % len(mine)]
            self.known[who] = (name["first"], name["last"])
            read = self._ask(connection, f"/people/{who}")
            if (read["first"], read["last"]) != self.known[who]:
                self.failed.append(f"{who} is {read}, not {self.known[who]}")

    def _ask(self, connection: http.client.HTTPConnection, path: str, body: Any = None) -> Any:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        text = answer.read()
        self.asked += 1
        if answer.status != 200:
            raise ValueError(f"{path} answered {answer.status}: {text[:200]!r}")
        told = json.loads(text)
        self.versions[told["version"]] = self.versions.get(told["version"], 0) + 1
        return told


def main(connect: Callable[[], Any] = opened, shapes: Mapping[str, Statements] = SHAPES) -> None:
    """``connect`` opens a database whose ``execute`` gives a cursor of dictionaries, and which is closed with its block."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--shape", choices=shapes, required=True)
    parser.add_argument("--version", required=True)
    args = parser.parse_args()
    Handler.statements, Handler.version, Handler.connect = shapes[args.shape], args.version, staticmethod(connect)
    ThreadingHTTPServer.request_queue_size = 128
    with connect() as idle:  # as a pool has one
        Handler.shared = idle if args.shape == "star" else None
        ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
