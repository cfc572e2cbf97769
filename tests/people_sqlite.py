"""The application of ``people``, with its people in a SQLite file: DATABASE_URL says which."""

import argparse
import os
import sqlite3
from http.server import ThreadingHTTPServer
from typing import Any

from people import Handler as Common
from people import Statements

TABLE = """
CREATE TABLE people (id integer PRIMARY KEY, first_name text NOT NULL DEFAULT '', last_name text NOT NULL DEFAULT '', visits int NOT NULL DEFAULT 0)
"""
FULL_NAME = {
    "expand.sql": "ALTER TABLE people ADD COLUMN full_name text;\n",
    "backfill.sql": "UPDATE people SET full_name = first_name || ' ' || last_name;\n",
    "contract.sql": "ALTER TABLE people DROP COLUMN first_name;\nALTER TABLE people DROP COLUMN last_name;\n",
    "migration.toml": """\
[[sync]]
table = "people"
old = ["first_name", "last_name"]
new = ["full_name"]
forward = { full_name = "first_name || ' ' || last_name" }
backward = { first_name = "substr(full_name, 1, instr(full_name, ' ') - 1)", last_name = "substr(full_name, instr(full_name, ' ') + 1)" }
on_conflict = "new"
""",
}

SHAPES = {
    "old": Statements(
        "INSERT INTO people (first_name, last_name) VALUES (:first, :last) RETURNING id",
        "UPDATE people SET first_name = :first, last_name = :last, visits = visits + 1 WHERE id = :id",
        "SELECT first_name, last_name FROM people WHERE id = :id",
    ),
    "new": Statements(
        "INSERT INTO people (full_name) VALUES (:first || ' ' || :last) RETURNING id",
        "UPDATE people SET full_name = :first || ' ' || :last, visits = visits + 1 WHERE id = :id",
        "SELECT substr(full_name, 1, instr(full_name, ' ') - 1) AS first_name, substr(full_name, instr(full_name, ' ') + 1) AS last_name"
        " FROM people WHERE id = :id",
    ),
}


def opened() -> sqlite3.Connection:
    connection = sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"), timeout=15, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


class Handler(Common):
    """One connection of a proxy, with one to the database."""

    def setup(self) -> None:
        super(Common, self).setup()
        self.database = opened()

    def _one(self, statement: str, values: Any) -> Any:
        (row,) = self.database.execute(statement, values).fetchall()  # to its end, else the transaction stays open
        return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--version", required=True)
    args = parser.parse_args()
    Handler.statements, Handler.version = SHAPES[args.shape], args.version
    ThreadingHTTPServer.request_queue_size = 128
    idle = opened()  # as a pool has one
    try:
        idle.execute("SELECT count(*) FROM sqlite_master").fetchall()
        ThreadingHTTPServer(("127.0.0.1", args.port), Handler).serve_forever()
    finally:
        idle.close()


if __name__ == "__main__":
    main()
