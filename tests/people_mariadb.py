"""The application of ``people`` over MariaDB or MySQL; DATABASE_URL says where, APPLICATION and ENVIRONMENT what it calls itself.

``python people_mariadb.py --port N --shape old|new --version V``
"""

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
from pymysql.cursors import DictCursor

sys.path.insert(0, str(Path(__file__).parent))

import people
from people import Statements

TABLE = """
CREATE TABLE people (id bigint AUTO_INCREMENT PRIMARY KEY, first_name varchar(40) NOT NULL, last_name varchar(40) NOT NULL, visits int NOT NULL DEFAULT 0)
"""
FULL_NAME = {
    "expand.sql": "ALTER TABLE people ADD COLUMN full_name varchar(81), ALGORITHM=INSTANT;\n",
    "backfill.sql": "UPDATE people SET full_name = CONCAT(first_name, ' ', last_name);\n",
    "contract.sql": "ALTER TABLE people DROP COLUMN first_name, ALGORITHM=INSTANT;\nALTER TABLE people DROP COLUMN last_name, ALGORITHM=INSTANT;\n",
    "migration.toml": """\
description = "one column for the name"

[[sync]]
table = "people"
old = ["first_name", "last_name"]
new = ["full_name"]
forward = { full_name = "CONCAT(first_name, ' ', last_name)" }
backward = { first_name = "SUBSTRING_INDEX(full_name, ' ', 1)", last_name = "SUBSTRING_INDEX(full_name, ' ', -1)" }
on_conflict = "new"
""",
}
"""The article's own example; what undoes the expand is derived."""

SHAPES = {
    "old": people.SHAPES["old"],
    "new": Statements(
        "INSERT INTO people (full_name) VALUES (CONCAT(%(first)s, ' ', %(last)s)) RETURNING id",
        "UPDATE people SET full_name = CONCAT(%(first)s, ' ', %(last)s), visits = visits + 1 WHERE id = %(id)s",
        "SELECT SUBSTRING_INDEX(full_name, ' ', 1) AS first_name, SUBSTRING_INDEX(full_name, ' ', -1) AS last_name FROM people WHERE id = %(id)s",
    ),
}


class Database:
    """A warm connection."""

    def __init__(self) -> None:
        url = urlsplit(os.environ["DATABASE_URL"])
        self.connection = pymysql.connect(
            host=str(url.hostname),
            port=int(url.port or 3306),
            user=str(url.username),
            database=url.path[1:],
            autocommit=True,
            ssl_disabled=True,
            charset="utf8mb4",
            cursorclass=DictCursor,
            program_name=os.environ["APPLICATION"],
            init_command=f"SET @bleen_environment = '{os.environ['ENVIRONMENT']}'",
        )

    def execute(self, statement: str, values: Any = None) -> Any:
        cursor = self.connection.cursor()
        cursor.execute(statement, values)
        return cursor

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    people.main(Database, SHAPES)
