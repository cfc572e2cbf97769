"""What a whole service is tried on: a directory with fakes alone, or with a real proxy before the copies of a fake platform.

The platform stays a fake: what it says that runs is what answers (``copies``), so that an environment can be started, crash or be stopped within a
millisecond, and what is sent to one that was stopped has failed.
"""

import copy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from bleen.errors import Refused, Unavailable
from bleen.host.files import Fence
from bleen.host.state import Place
from bleen.model import Environment, NotYet, Routing, Traffic
from bleen.ports import Router
from bleen.testing.fakes import Fake
from bleen.testing.service import NAME, FakeService, ServiceOver
from bleen.testing.site import Site, done, free_address

PORTS = 8
"""Copies that can run at once: two each of what serves, of what is coming, and of what has not gone yet; and room to go round in."""


class ProxiedRouter(Fake):
    """A real router, that a test can break and lead astray as it does a ``FakeRouter``. It adds nothing to what the router does, and holds no lock."""

    _of = "router"

    def __init__(self, world: Path, fence: Fence, site: Site) -> None:
        super().__init__(world, fence, {})
        self._site, self._router = site, site.again()

    def truth(self) -> Routing:
        """What production and preview really do: asked of the proxy."""
        return self._router.routing()

    def drift(self, routing: Routing) -> None:
        """Somebody else has changed the router, past every engine and their fence. What is strange to us is left out."""
        beside = copy.copy(self._site)
        beside.fence = Fence(beside.place.with_name("the fence of somebody else"))
        beside.router = beside.again()
        beside.route(routing._replace(unknown="", amiss="", beside=""))

    # The port

    def routing(self) -> Routing:
        self._look()
        return self._router.routing()

    def prepare(self, wanted: Routing, epoch: int) -> NotYet | None:
        with self._through("prepare", epoch):
            return self._router.prepare(wanted, epoch)

    def route(self, wanted: Routing, epoch: int) -> None:
        with self._through("route", epoch):
            self._router.route(wanted, epoch)

    def served(self, wanted: Routing, elapsed: float) -> NotYet | None:
        self._look()
        return self._router.served(wanted, elapsed)

    def drained(self, environment: Environment, elapsed: float) -> NotYet | None:
        self._look()
        return self._router.drained(environment, elapsed)

    def settle(self, wanted: Routing, epoch: int) -> None:
        with self._through("settle", epoch):
            self._router.settle(wanted, epoch)

    def traffic(self) -> Mapping[Environment, Traffic]:
        self._look()
        return self._router.traffic()

    def up(self, routing: Routing, epoch: int) -> NotYet | None:
        with self._through("up", epoch):
            return self._router.up(routing, epoch)

    def down(self, epoch: int) -> NotYet | None:
        with self._through("down", epoch):
            return self._router.down(epoch)

    @contextmanager
    def _through(self, effect: str, epoch: int) -> Iterator[None]:
        """What a test wished for, around an effect of the real router. One that is broken down lets nobody through, but has seen the epoch."""
        row = self._read()
        if row["broken"]:
            with self._fence.passing(epoch):
                self._look()
        if why := row["refusing"].get(effect):
            raise Refused(f"the router refuses to {effect}: {why}")
        yield
        if row["losing"].get(effect):
            with self._changing() as row:
                row["losing"][effect] = max(0, row["losing"][effect] - 1)
            raise Unavailable(f"the answer to {effect} was lost")


class ProxiedService(ServiceOver[ProxiedRouter]):
    """One engine over a real proxy and the copies behind it."""

    def __init__(self, stage: "ProxiedStage", *answers: Any, **options: Any) -> None:
        self._site, self.ports = stage.site, stage.ports
        super().__init__(stage.root, *answers, **options)

    def make_router(self, world: Path, fence: Fence) -> ProxiedRouter:
        return ProxiedRouter(world, fence, self._site)


class Stage(Protocol):
    """Where any number of engines act on one service."""

    root: Path

    def service(self, *answers: Any, **options: Any) -> ServiceOver[Any]:
        """One more engine; see ``ServiceOver``."""
        ...

    def close(self) -> None: ...


class FakeStage:
    """Fakes alone: all that there is are files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def service(self, *answers: Any, **options: Any) -> FakeService:
        return FakeService(self.root, *answers, **options)

    def close(self) -> None:
        pass


class ProxiedStage:
    """A proxy that listens, and nobody behind it until a release has started something. Processes run until ``close``."""

    def __init__(self, root: Path, build: Callable[[Site], Router]) -> None:
        """``build`` makes the router of a site, as in the contract suites."""
        self.root = root
        place = Place(NAME, root).path
        self.site = Site(place, build)
        self.ports = [int(free_address().rpartition(":")[2]) for _ in range(PORTS)]
        argv = [sys.executable, "-m", "bleen.testing.copies", str(place / "world" / "platform.json"), *map(str, self.ports)]
        self._copies = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert self._copies.stdout is not None
            if not self._copies.stdout.readline():
                raise RuntimeError("the copies do not listen; their standard error says why")
            self.site.up()
        except BaseException:
            self.close()
            raise

    def service(self, *answers: Any, **options: Any) -> ProxiedService:
        return ProxiedService(self, *answers, **options)

    def close(self) -> None:
        """Ends the proxy and the copies."""
        self.site.signal(signal.SIGKILL)
        done(lambda: self.site.router.down(1 << 40))
        self._copies.kill()
        self._copies.communicate()
