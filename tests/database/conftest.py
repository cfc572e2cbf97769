"""Real servers for the tests of this room: one of each version for a worker's whole run, and a database of its own for each test."""

from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest

import databases
from bleen.database.postgres import Postgres

VERSIONS = (15, 16, 18)


class Base(NamedTuple):
    """An empty database on a PostgreSQL server."""

    server: databases.Postgres
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def connect(self, user: str = "postgres", **settings: str) -> "psycopg.Connection[tuple[object, ...]]":
        return self.server.connect(self.name, user, **settings)

    def open(self, application: str = "bleen migrate") -> Postgres:
        return Postgres(self.url, application)


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda version: f"PostgreSQL {version}")
def server(request: pytest.FixtureRequest) -> Iterator[databases.Postgres]:
    """PostgreSQL, in every version that the tests have."""
    with databases.postgres(request.param) as running:
        yield running


@pytest.fixture(scope="session")
def oldest() -> Iterator[databases.Postgres]:
    """PostgreSQL 15 alone, for what does not depend on the version."""
    with databases.postgres(VERSIONS[0]) as running:
        yield running


@pytest.fixture
def base(oldest: databases.Postgres) -> Iterator[Base]:
    """An empty database on PostgreSQL 15."""
    with oldest.database() as name:
        yield Base(oldest, name)


@pytest.fixture
def any_base(server: databases.Postgres) -> Iterator[Base]:
    """An empty database, once on each version."""
    with server.database() as name:
        yield Base(server, name)
