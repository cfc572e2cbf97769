"""Empty databases of every dialect, for what must hold on all of them."""

from contextlib import ExitStack
from pathlib import Path

import pytest

import databases
from mariadb import MariaDB

DIALECTS = ("postgres", "mysql", "sqlite")


def urls(dialect: str, stack: ExitStack, request: pytest.FixtureRequest, count: int = 1) -> list[str]:
    """The urls of so many empty databases, which end with the stack: on PostgreSQL 15, on MariaDB, in files."""
    if dialect == "sqlite":
        place: Path = request.getfixturevalue("tmp_path")
        files = [place / f"{number}.db" for number in range(count)]
        for each in files:
            each.touch()
        return [f"sqlite:///{each}" for each in files]
    if dialect == "mysql":
        maria: MariaDB = request.getfixturevalue("maria")
        return [stack.enter_context(maria.database()).url for _ in range(count)]
    oldest: databases.Postgres = request.getfixturevalue("oldest")
    return [oldest.url(stack.enter_context(oldest.database())) for _ in range(count)]
