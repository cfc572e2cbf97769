"""A table to be filled, and a backfill that fills it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from bleen.database import backfill
from bleen.database.backfill import Filled, Progress
from bleen.database.ledger import Ledger
from bleen.database.migration import Backfill, Locks, Migration, Pace, Pair
from bleen.database.postgres.server import Postgres
from databases import Base

FULL_NAME = Backfill("users", {"full_name": "first_name || ' ' || last_name"})
AT_ONCE = Pace(duty=1.0)
PATIENT = Locks()


@contextmanager
def opened(base: Base) -> Iterator[Postgres]:
    server = base.open()
    try:
        yield server
    finally:
        server.close()


def migration(*pairs: Pair, pace: Pace = AT_ONCE, locks: Locks = PATIENT) -> Migration:
    return Migration("0007_full_name", {}, "", None, pairs, locks, pace)


def fill(
    server: Postgres,
    wanted: Backfill = FULL_NAME,
    of: Migration | None = None,
    told: Callable[[Progress], None] = lambda _: None,
    pause: Callable[[float], object] = lambda _: None,
) -> Filled:
    ledger = Ledger(server)
    ledger.make()
    return backfill.run(server, ledger, of or migration(), wanted, told, pause)


def users(base: Base, rows: int = 2500) -> psycopg.Connection[tuple[Any, ...]]:
    """The article's table, expanded and not filled; how often a row was written is written in it."""
    client = base.connect()
    client.execute(
        "CREATE TABLE users (id bigint PRIMARY KEY, first_name text, last_name text, full_name text, writes int NOT NULL DEFAULT 0, writer text);"
        "CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.writes := NEW.writes + 1; NEW.writer := current_setting('bleen.environment', true); RETURN NEW; END $$;"
        "CREATE TRIGGER written BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION written()"
    )
    client.execute("INSERT INTO users (id, first_name, last_name) SELECT n, 'F' || n, 'L' || n FROM generate_series(1, %s) n", [rows])
    return client


def slow(client: psycopg.Connection[tuple[Any, ...]], seconds: float) -> None:
    """Each row of users takes its time."""
    client.execute(
        f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;"
        "CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()"
    )


def only(client: psycopg.Connection[tuple[Any, ...]], query: str) -> Any:
    found = client.execute(query).fetchone()
    assert found is not None
    return found[0] if len(found) == 1 else found


class Enough(Exception):
    """Raised by who wants no more."""
