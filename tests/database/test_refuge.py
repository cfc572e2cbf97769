"""What the ledger says outlives who had a tool at work that dropped it, in the database itself: whoever comes to that finds it."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from bleen.database import connect, refuge
from bleen.database.ledger import Entry, Known, Ledger
from bleen.database.migration import parse
from bleen.database.rules.own import LEDGER
from bleen.database.schema import Schema
from bleen.errors import Refused
from bleen.testing.interrupt import fork
from databases import Base
from dialects import DIALECTS, urls

LONG = parse("0001_long", {"expand.sql": "-- a user's 100 %s \\ of it, and more: 'ß'\n" * 20_000}, "")
"""What a dialect would have to escape, and more than fits into 64 KiB."""
EXISTS = Known("shop", "blue-2", "1.1", frozenset({LONG.name}))


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of an empty database of the dialect that the test is about."""
    with ExitStack() as stack:
        (made,) = urls(request.param, stack, request)
        yield made


def known(url: str) -> Entry:
    """What the ledger of a database says of the migration, once it is entered; an application has a table there, as an empty one has lost nothing."""
    server = connect(url)
    server.rows("CREATE TABLE users (id integer PRIMARY KEY)")
    ledger = Ledger(server)
    ledger.make()
    entry = ledger.begin(LONG, "shop", 2)
    ledger.exists("shop", [EXISTS])
    server.close()
    return entry


def dies(url: str, dropped: Sequence[str] = LEDGER) -> None:
    """Somebody is killed while a tool is at work that has dropped tables of the ledger."""

    def work() -> None:
        server = connect(url)
        with server.alone(), Ledger(server).kept(lambda _: None):
            for table in dropped:
                server.rows(f"DROP TABLE {table}")
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(fork(work), 0)


@pytest.mark.parametrize("url", DIALECTS, indirect=True)
def test_whoever_comes_to_the_database_puts_back_what_was_dropped_of_its_ledger(url: str) -> None:
    """ "The truth about the schema is a ledger table in the database itself" """
    entry, told = known(url), list[str]()
    dies(url)
    server = connect(url)
    schema = Schema(server, told.append)
    assert schema.ledger.entries() == [entry]
    assert schema.ledger.environments() == [EXISTS]
    assert [each.partition(": ")[0] for each in told] == ["what a command has dropped of bleen_migration, bleen_step, bleen_environment is there again"]
    assert not refuge.used(server)
    server.close()


@pytest.mark.parametrize("url", DIALECTS, indirect=True)
def test_what_lies_there_is_no_change_of_the_schema_by_the_tool(url: str) -> None:
    """Whether a command that has failed has changed anything is told by that."""
    known(url)
    server = connect(url)
    shape = server.shape()
    with server.alone(), Ledger(server).kept(lambda _: None):
        assert refuge.used(server)
    assert (server.shape(), refuge.used(server)) == (shape, False)
    server.close()


def test_it_is_put_back_where_it_was_by_who_has_another_search_path(base: Base) -> None:
    entry = known(base.url)
    with base.connect() as db:
        db.execute("CREATE SCHEMA app")
    dies(base.url)
    server = connect(base.server.url(base.name, search_path="app"))
    Schema(server)
    server.close()
    assert Schema(base.open()).ledger.entries() == [entry]


@pytest.mark.parametrize(("dropped", "way"), [(LEDGER, r"`bleen migrate status`, with a url of it"), ((), r"`SELECT lo_unlink\(\d+\)` as that role")])
def test_another_role_is_told_whose_it_is_and_the_way(base: Base, dropped: Sequence[str], way: str) -> None:
    known(base.url)
    with base.connect() as db:
        db.execute("CREATE ROLE owner_15 LOGIN; GRANT ALL ON SCHEMA public TO owner_15; GRANT ALL ON ALL TABLES IN SCHEMA public TO owner_15")
        dies(base.url, dropped)
        server = connect(base.server.url(base.name, "owner_15"))
        said = rf"that the role postgres ran and .* lies in the large object \d+, which only that role may touch: {way}"
        with pytest.raises(Refused, match=said):
            Schema(server).tidy()
        server.close()
        db.execute("DROP OWNED BY owner_15; DROP ROLE owner_15")
