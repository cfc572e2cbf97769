"""Nights that went wrong: what people do to a service beside releasing it, and in the wrong moment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shop import ROUTERS, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Shop(tmp_path) as made:
        yield made


@pytest.fixture(params=ROUTERS)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with Shop(tmp_path, request.param) as made:
        yield made


def test_a_kind_of_router_that_served_some_releases_ago_comes_back_with_the_routing_of_now(either: Shop) -> None:
    """ "The router's kind and addresses do not: a change there is refused by `deploy`; `up --apply` makes it" """
    either.up("1.0")
    addresses = either.settings["router"][either.router]
    for kind, version in ((next(r for r in ROUTERS if r != either.router), "1.1"), (either.router, "1.2")):
        either.configure(router={kind: addresses})
        served = either.serves()
        either.bleen("up", "--apply")
        assert either.serves() == served
        assert either.status()["drift"] is None
        either.bleen("deploy", either.ship(version), "--end-window")
        assert either.serves() == version
