"""What every test gets: the contracts' assertions explained as if they stood here, and a clean end for whoever stops the run."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop import ROUTERS, Shop

pytest.register_assert_rewrite("bleen.testing.routers", "bleen.testing.proxies", "bleen.testing.platforms", "bleen.testing.journals", "bleen.testing.checks")


def pytest_configure() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what tests have started is ended, as it is no child of ours
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background ignores it, and so would every bleen that it starts
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the same under nohup


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A service of its own behind Envoy, released by real bleen processes."""
    with Shop(tmp_path) as made:
        yield made


@pytest.fixture(params=ROUTERS)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """The same, behind Envoy and behind HAProxy."""
    with Shop(tmp_path, request.param) as made:
        yield made
