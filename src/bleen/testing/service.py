"""A whole service over fakes, or over a router that a test brings along: its journal is a real SQLite file, its clock stands still until somebody
advances it, and no thread is involved.

Any number of processes may open the same directory; each is then one more engine over the same world. Nothing is kept in memory that the next one needs.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from bleen.engine.drive import Driver, holder
from bleen.engine.tick import Engine
from bleen.engine.watch import Watch
from bleen.errors import Unavailable
from bleen.host.clock import since_boot
from bleen.host.files import Fence
from bleen.host.state import Place
from bleen.lifecycle import Answer, Event, Phase, Release, ReleaseId, Service, Verb, fold
from bleen.model import NotYet, Verdict
from bleen.plan import Plan, Probe, Step, idle_name
from bleen.ports import Check, Holder, Migrator, Providers, Router
from bleen.providers.journals.sqlite import SQLite
from bleen.testing.fakes import FakeCheck, FakeClock, FakePlatform, FakeRouter, Truthful

NAME = "shop"
LIMIT = 2000
"""Ticks after which a release that neither ends nor halts is taken to hang."""


class KnownRouter(Router, Truthful, Protocol):
    """A router that tells a test what it really does."""


R = TypeVar("R", bound=KnownRouter)


class ServiceOver(Generic[R]):
    """One engine over the world of one directory; a subclass says what its router is."""

    ports: Sequence[int] = range(1024, 65536)
    """Where its copies are."""

    def __init__(
        self,
        root: Path,
        *answers: Verdict | NotYet,
        boot: str = "boot",
        by: Holder | None = None,
        patience: float = 1.0,
        moving: bool = False,
        migrator: Migrator | None = None,
    ) -> None:
        """``answers``: what its smoke test says in turn; none means that there is no smoke test. ``boot``: another one is a reboot.

        ``moving``: its clock is the host's, for what waits in earnest. ``migrator``: what changes the database of a plan that has one.
        """
        self.place = Place(NAME, root)
        self.place.make()
        fence, world = Fence(self.place.fence), self.place.path / "world"
        self.router = self.make_router(world, fence)
        self.platform = FakePlatform(world, fence, self.router, self.ports)
        self.clock = FakeClock(world / "clock")
        self.check = FakeCheck(*answers) if answers else None
        self.migrator = migrator
        self.journal = SQLite(self.place, patience, since_boot if moving else self.clock.now, lambda: f"{boot}, moving" if moving else boot)
        self.engine = Engine(self.journal, self.build, Watch(lambda look: look()), self.wall)
        self.me = by or holder("0")
        if not self.service.router:
            self.journal.register(NAME, {"kind": "fake"}, True)

    def make_router(self, world: Path, fence: Fence) -> R:
        """The router of this engine; others have one each, over the same world."""
        raise NotImplementedError

    def build(self, service: Service, release: Release | None) -> Providers:
        check: Check | None = self.check
        return Providers(self.router, self.platform, check, self.migrator if release and release.plan.database else None)

    def wall(self) -> float:
        """Seconds since the epoch, of which nothing may depend."""
        return 1.7e9

    def close(self) -> None:
        self.journal.close()

    @property
    def service(self) -> Service:
        return self.journal.service(NAME)

    @property
    def release(self) -> Release:
        """The newest release."""
        found = self.journal.latest(NAME)
        assert found is not None, "no release was opened yet"
        return found

    @property
    def events(self) -> list[Event]:
        """Of the newest release."""
        return list(self.journal.events(self.release.id))

    def claim(self, seize: bool = False) -> Service:
        """Makes this engine the one that drives; ``seize`` whoever holds it."""
        service = self.journal.claim(NAME, self.me, seize=self.service.epoch if seize else None)
        with suppress(Unavailable):  # broken by the test; whoever drives tries again
            self.router.up(service.confirmed, service.epoch)
        return service

    def plan(self, version: str, **changes: Any) -> Plan:
        """A plan from what is active to ``version``; two copies, and no time that is not said in ``changes``."""
        old = self.service.active
        was = self.platform.running().get(old) if old else None
        standard = Plan(
            service=NAME,
            version=version,
            environment=idle_name(old),
            old=old,
            old_version=was.version if was else "",
            old_replicas=was.replicas if was else 0,
            platform={"kind": "fake", "replicas": 2},
            probe=Probe(),
            smoke=(),
            steps=(Step(100, 5.0),),
            mode="auto",
            deadline=60.0,
            otherwise="abort",
            window=15.0,
            drain=30.0,
            keep=0,
        )
        return standard._replace(**changes)

    def open(self, version: str, **changes: Any) -> Release:
        """Begins a release and claims the service for it."""
        self.claim()
        return self.journal.open(NAME, self.plan(version, **changes), "somebody")

    def tick(self, id: ReleaseId | None = None) -> float | None:
        """One tick; the clock stays where it is."""
        return self.engine.advance(self.service, id or self.release.id)

    def drive(self, *until: Phase, limit: int = LIMIT) -> Release:
        """Ticks, and lets the time pass that each tick asks for, until a release is in one of these phases, has ended or has halted."""
        for _ in range(limit):
            release = self.release
            if release.ended or release.phase in until or (release.halted and not self.journal.asked(release.id)):
                return release
            self.clock.advance(self.tick(release.id) or 0.0)
        raise AssertionError(f"still in {self.release.phase} after {limit} ticks: {self.release.why}")

    def deploy(self, version: str, *until: Phase, **changes: Any) -> Release:
        """Opens a release and drives it."""
        self.open(version, **changes)
        return self.drive(*until)

    def stand(self) -> None:
        """Makes 1.0 the active version, its release ended."""
        self.deploy("1.0")

    def driver(self) -> Driver:
        """This engine as a process that drives, in real time."""
        return Driver(self.journal, self.engine, NAME, self.me)

    def ask(self, verb: Verb, options: Mapping[str, Any] = {}) -> Answer:
        """Asks, and ticks until it is answered."""
        release = self.release
        number = self.journal.ask(release.id, verb, "somebody", options)
        for _ in range(3):
            if answer := self.journal.answer(number):
                return answer
            self.tick(release.id)
        raise AssertionError(f"{verb} was not answered in {release.phase}")

    def faults(self) -> list[str]:
        """What must be empty at any time: broken promises, and events that tell another story than their row."""
        found = self.platform.violations()
        found += [f"{each} serves and does not exist" for each in self.router.truth().serving if each not in self.platform.truth()]
        epochs = [effect.epoch for effect in self.platform.effects()]
        if epochs != sorted(epochs):
            found.append(f"an effect of a deposed epoch: {epochs}")
        for release in self.journal.releases(NAME, 100):
            events = self.journal.events(release.id)
            if fold(events) != (release.phase, release.step, release.moved, release.halted):
                found.append(f"{release.id} is {release.phase}, its events say {fold(events)}")
            phases = [event.phase for event in events]
            if Phase.RETIRING in phases and Phase.ROLLING_BACK in phases[phases.index(Phase.RETIRING) :]:
                found.append(f"{release.id} went back after it was retired: {phases}")
        return found

    def end(self) -> dict[str, Any]:
        """The world and the record as they are compared between two runs; times are left out."""
        routing, release = self.router.truth(), self.release
        return {
            "phase": release.phase,
            "moved": release.moved,
            "halted": release.halted,
            "reason": release.reason,
            "shares": {str(e): s for e, s in routing.led.items()},
            "confirmed": {str(e): s for e, s in self.service.confirmed.led.items()},
            "preview": str(routing.preview),
            "known": sorted(map(str, routing.targets)),
            "running": {str(e): (r.version, r.replicas) for e, r in self.platform.running().items()},
            "faults": self.faults(),
        }


class FakeService(ServiceOver[FakeRouter]):
    """Over fakes alone."""

    def make_router(self, world: Path, fence: Fence) -> FakeRouter:
        return FakeRouter(world, fence)
