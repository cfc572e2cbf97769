"""The fake router keeps the contract; so a test of the engine over it tells of routers that do."""

from collections.abc import Iterator
from contextlib import contextmanager

from bleen.model import Routing
from bleen.ports import Router
from bleen.testing.fakes import FakeRouter
from bleen.testing.routers import BLUE, GREEN, Fleet, RouterContract
from bleen.testing.site import Site


class TestFakeRouter(RouterContract):
    def build(self, site: Site) -> Router:
        return FakeRouter(site.place, site.fence)

    def kill(self, site: Site) -> None:
        self._fake(site).kill()

    def hang(self, site: Site) -> None:
        self._fake(site).break_down()

    def go_on(self, site: Site) -> None:
        self._fake(site).mend()

    def confuse(self, site: Site, fleet: Fleet) -> None:
        self._fake(site).drift(Routing({}, None, fleet.targets(BLUE, GREEN), unknown="a rule that is not ours"))

    def copies(self, site: Site) -> int:
        return int(self._fake(site).alive)

    @contextmanager
    def held(self, site: Site, address: str) -> Iterator[str]:
        self._fake(site).hold_address("pid 12, python old.py")
        yield "pid 12"
        self._fake(site).hold_address("")

    @staticmethod
    def _fake(site: Site) -> FakeRouter:
        return FakeRouter(site.place, site.fence)
