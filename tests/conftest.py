"""What every test gets: the contracts' assertions explained as if they stood here, and a clean end for whoever stops the run."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

import databases
import quick_tools
from databases import Base
from mariadb import MariaBase, MariaDB, mariadb
from shop import ROUTERS, Shop

pytest.register_assert_rewrite(
    "bleen.testing.routers", "bleen.testing.proxies", "bleen.testing.platforms", "bleen.testing.journals", "bleen.testing.checks", "bleen.testing.migrators"
)


def pytest_configure() -> None:
    settings.register_profile("anywhere", deadline=None, derandomize=True, database=None)  # the same examples each time, however slow the host is
    settings.load_profile("anywhere")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what tests have started is ended, as it is no child of ours
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it, and so would every bleen that it starts
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the same under nohup


QUEUES = ("scenarios", "e2e", "contracts"), ("crashes", "database", "unit")
"""The rooms whose tests wait for processes more than they work, and those whose tests work."""

LONGEST = (
    "test_releases test_matrix test_mysql_schema test_schema test_backfill test_migrating test_proxies"
    " test_engines test_haproxy_router test_envoy_router test_inputs test_migrating_troubles test_hosts test_life"
).split()
"""Files that take more than a minute: they come first, so that small ones fill the end."""


def _rank(file: Path) -> int:
    return LONGEST.index(file.stem) if file.stem in LONGEST else len(LONGEST)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests wait and files whose tests work take turns: where several run at once, no processor is idle while others have too much to do."""
    files = dict.fromkeys(item.path for item in items)
    turns: dict[Path, float] = {}
    for rooms in QUEUES:
        queue = sorted((file for file in files if file.parent.name in rooms), key=lambda file: (_rank(file), rooms.index(file.parent.name)))
        turns |= {file: number / len(queue) for number, file in enumerate(queue)}
    items.sort(key=lambda item: turns[item.path])


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A service of its own, released by real bleen processes; behind HAProxy, which takes a quarter of Envoy's time to start, or as ``BEHIND_ENVOY`` says."""
    with Shop(tmp_path, getattr(request, "param", "haproxy")) as made:
        yield made


@pytest.fixture(params=ROUTERS)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """The same, behind Envoy and behind HAProxy."""
    with Shop(tmp_path, request.param) as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[int], databases.Postgres]]:
    """PostgreSQL of a version, started when it is first asked for, for a worker's whole run."""
    with ExitStack() as running:
        yield cache(lambda version: running.enter_context(databases.postgres(version)))


@pytest.fixture(scope="session")
def oldest(postgres: Callable[[int], databases.Postgres]) -> databases.Postgres:
    """PostgreSQL 15 alone, for what does not depend on the version."""
    return postgres(databases.ENDS[0])


@pytest.fixture(scope="session")
def quick() -> Iterator[str]:
    """A directory with Alembic and Django, started at a fifth of what it takes."""
    with quick_tools.started() as directory:
        yield directory


@pytest.fixture
def base(oldest: databases.Postgres) -> Iterator[Base]:
    """An empty database on PostgreSQL 15."""
    with oldest.database() as name:
        yield Base(oldest, name)


@pytest.fixture(params=databases.ENDS, ids=lambda version: f"PostgreSQL {version}")
def end_base(request: pytest.FixtureRequest, postgres: Callable[[int], databases.Postgres]) -> Iterator[Base]:
    """An empty database, once on the oldest version and once on the newest."""
    server = postgres(request.param)
    with server.database() as name:
        yield Base(server, name)


@pytest.fixture(scope="session")
def maria() -> Iterator[MariaDB]:
    """MariaDB 10.11."""
    with mariadb() as running:
        yield running


@pytest.fixture
def maria_base(maria: MariaDB) -> Iterator[MariaBase]:
    """An empty database on MariaDB."""
    with maria.database() as base:
        yield base
