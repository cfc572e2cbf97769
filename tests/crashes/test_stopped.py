"""An engine is stopped (SIGSTOP) in the middle of moving traffic, and somebody goes back meanwhile. It may be ended, or wake up when all is over."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bleen.engine.drive import holder
from bleen.host.processes import Process
from bleen.lifecycle import Phase, ReleaseId, Service, Verb
from bleen.model import Environment, Routing
from bleen.testing.interrupt import Interrupt, Point, fork, stopped
from bleen.testing.service import NAME, FakeService
from bleen.testing.site import until

BLUE, GREEN = Environment("blue", 1), Environment("green", 2)

BEFORE = Point("route", "locked:open", 1, "before")
FENCED = Point("route", "_lock:flock", 1, "after")
LANDING = Point("route", "_changing:rename", 1, "before")
LANDED = Point("route", "_changing:rename", 1, "after")
COMMITTING = Point("PROMOTING", "_once:execute", 2, "before")
"""Between BEGIN IMMEDIATE and COMMIT: the lock of writers is held."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    """1.0 is active as blue-1, a release to 1.1 is recorded, and nobody drives it yet."""
    before = FakeService(tmp_path, by=holder("0")._replace(pid=1, start=1))
    before.stand()
    before.close()
    made = FakeService(tmp_path, moving=True, patience=0.3)
    made.journal.open(NAME, made.plan("1.1"), "ann")
    yield made
    made.close()


def drive(service: FakeService, host: str = "") -> Callable[[Interrupt], object]:
    """What the engine that will be stopped does: drives, as a process of this host or of another, until somebody else does."""

    def work(interrupt: Interrupt) -> None:
        engine = FakeService(service.place.root, moving=True)
        engine.me = engine.me._replace(host=host or engine.me.host)
        engine.claim()
        advance, route = engine.engine.advance, engine.router.route

        def ticked(service: Service, id: ReleaseId) -> float | None:
            interrupt.phase = engine.release.phase
            return advance(service, id)

        def routed(wanted: Routing, epoch: int) -> None:
            interrupt.phase = "route"
            route(wanted, epoch)
            interrupt.phase = Phase.PROMOTING

        engine.engine.advance, engine.router.route = ticked, routed  # type: ignore[method-assign]
        engine.driver().stay(lambda: engine.service.holder != engine.me)

    return work


def back(service: FakeService) -> None:
    """Asks for a rollback as another process does, and sees it through."""
    driver = service.driver()
    assert driver.ask(service.release.id, Verb.ROLLBACK, "ann").obeyed
    driver.follow(service.release.id, lambda _: False, lambda *_: None)


def back_while_it_sleeps(service: FakeService, engine: Process) -> None:
    """Has another process go back, wakes the engine up once that one waits for it, and sees both through."""
    other = fork(lambda: back(FakeService(service.place.root, moving=True)))
    until("the rollback waits", lambda: "in the middle of an effect" in service.release.why)
    wake(engine)
    assert os.waitpid(other, 0)[1] == 0


def wake(engine: Process) -> None:
    """Lets a stopped engine go on, until it has noticed that somebody else drives."""
    engine.signal(signal.SIGCONT)
    until("the engine stands down", lambda: not engine.alive)


def assert_back(service: FakeService) -> None:
    assert service.release.phase is Phase.ROLLED_BACK
    assert service.router.truth().shares == {BLUE: 100}
    assert list(service.platform.running()) == [BLUE]
    assert service.faults() == []


@pytest.mark.parametrize("point", [BEFORE, FENCED, LANDING, LANDED, COMMITTING], ids=str)
def test_a_stopped_holder_is_ended_and_succeeded(service: FakeService, point: Point) -> None:
    """The holder obeys within a second, or is ended and replaced; never "busy"."""
    with stopped(drive(service), point) as engine:
        back(service)
        assert not engine.alive
    assert_back(service)


def test_an_engine_that_wakes_up_after_it_was_succeeded_does_nothing(service: FakeService) -> None:
    """A lease alone does not stop a process that was paused: a stale writer drops the effect."""
    with stopped(drive(service, host="elsewhere"), BEFORE) as engine:
        back(service)
        effects = service.router.effects()
        wake(engine)
        assert service.router.effects() == effects
    assert_back(service)


@pytest.mark.parametrize("point", [FENCED, LANDING, LANDED], ids=str)
def test_what_a_stopped_engine_was_about_to_do_is_waited_for_and_undone(service: FakeService, point: Point) -> None:
    """What the router names is never stopped: not either if it is named only as the stopped engine wakes up."""
    with stopped(drive(service, host="elsewhere"), point) as engine:
        back_while_it_sleeps(service, engine)
    assert_back(service)
