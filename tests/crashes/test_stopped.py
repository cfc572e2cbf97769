"""An engine is stopped (SIGSTOP) in the middle of moving traffic, and somebody goes back meanwhile. It may be ended, or wake up when all is over.

Over fakes, and over both real routers with users at work, none of whose requests may fail.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from stories import BUILDS, directory, driving, gone

from bleen.host.processes import Process
from bleen.lifecycle import Phase, Verb
from bleen.model import Environment
from bleen.testing.interrupt import Interrupt, Point, fork, stopped
from bleen.testing.load import Load
from bleen.testing.service import NAME, ServiceOver
from bleen.testing.site import until
from bleen.testing.stages import FakeStage, ProxiedStage, Stage

BLUE, GREEN = Environment("blue", 1), Environment("green", 2)

LANDS = {
    "fakes": ("_changing:rename", "_changing:rename", 1),
    "envoy": ("write_durably:rename", "write_durably:rename", 1),
    "haproxy": ("ask:connect", "ask:sendall", 2),
}
"""The last call before a router is moved, the one that has moved it, and which of them: HAProxy is asked first."""
ROUTE = "PROMOTING 0 route"
MOMENTS: dict[str, Callable[[str], Point]] = {
    "before": lambda _: Point(ROUTE, "locked:open", 1, "before"),
    "fenced": lambda _: Point(ROUTE, "_lock:flock", 1, "after"),
    "landing": lambda over: Point(ROUTE, LANDS[over][0], LANDS[over][2], "before"),
    "landed": lambda over: Point(ROUTE, LANDS[over][1], LANDS[over][2], "after"),
    "committing": lambda _: Point("PROMOTING 0", "_once:execute", 2, "before"),  # between BEGIN IMMEDIATE and COMMIT: the lock of writers is held
}


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """1.0 is active as blue-1, a release to 1.1 is recorded, and nobody drives it yet."""
    if request.param == "fakes":
        yield ready(FakeStage(tmp_path))
        return
    with directory() as root, closing(ProxiedStage(root, BUILDS[request.param])) as made:
        ready(made)
        with Load(made.site.listen, clients=2, pause=0.002) as load:
            load.wait(8)
            yield made
            load.wait(8)
        assert not load.report().failures, str(load.report())


@pytest.fixture
def over(request: pytest.FixtureRequest) -> str:
    """What the stage is built over."""
    return str(request.node.callspec.params["stage"])


def ready(stage: Stage) -> Stage:
    service = stage.service(by=gone(1))
    service.stand()
    service.journal.open(NAME, service.plan("1.1"), "ann")
    service.close()
    return stage


def drive(stage: Stage, host: str = "") -> Callable[[Interrupt], object]:
    """What the engine that will be stopped does: drives, as a process of this host or of another, until somebody else does."""

    def work(interrupt: Interrupt) -> None:
        engine = stage.service(moving=True)
        engine.me = engine.me._replace(host=host or engine.me.host)
        engine.claim()
        driving(engine, interrupt).stay(lambda: engine.service.holder != engine.me)

    return work


def back(service: ServiceOver[Any], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Asks for a rollback as another process does, and sees it through; ``meanwhile`` the old version serves, and the new one still runs."""
    driver = service.driver()
    assert driver.ask(service.release.id, Verb.ROLLBACK, "ann").obeyed
    driver.follow(service.release.id, lambda release: release.phase is Phase.UNDOING, lambda *_: None)
    meanwhile()
    driver.follow(service.release.id, lambda _: False, lambda *_: None)


def another(stage: Stage) -> ServiceOver[Any]:
    """A process that is not patient with who holds up the journal."""
    return stage.service(moving=True, patience=0.3)


def wake(engine: Process) -> None:
    """Lets a stopped engine go on, until it has noticed that somebody else drives."""
    engine.signal(signal.SIGCONT)
    until("the engine stands down", lambda: not engine.alive)


def assert_back(stage: Stage, service: ServiceOver[Any]) -> None:
    assert service.release.phase is Phase.ROLLED_BACK
    assert service.router.truth().shares == {BLUE: 100}
    assert list(service.platform.running()) == [BLUE]
    assert service.faults() == []
    if isinstance(stage, ProxiedStage):
        assert {stage.site.get()[1] for _ in range(20)} == {str(BLUE)}
    service.close()


@pytest.mark.parametrize(("stage", "moment"), list(product(LANDS, MOMENTS)), indirect=["stage"])
def test_a_stopped_holder_is_ended_and_succeeded(stage: Stage, over: str, moment: str) -> None:
    """The holder obeys within a second, or is ended and replaced; never "busy"."""
    with stopped(drive(stage), MOMENTS[moment](over)) as engine:
        service = another(stage)
        back(service)
        assert not engine.alive
    assert_back(stage, service)


@pytest.mark.parametrize("stage", LANDS, indirect=True)
def test_an_engine_that_wakes_up_after_it_was_succeeded_does_nothing(stage: Stage, over: str) -> None:
    """A lease alone does not stop a process that was paused: a stale writer drops the effect."""
    with stopped(drive(stage, host="elsewhere"), MOMENTS["before"](over)) as engine:
        service = another(stage)

        def wakes_up() -> None:
            was = (service.platform.effects(), service.router.truth())
            wake(engine)
            assert (service.platform.effects(), service.router.truth()) == was

        back(service, wakes_up)
    assert_back(stage, service)


@pytest.mark.parametrize(("stage", "moment"), [("fakes", "fenced"), ("fakes", "landed"), ("envoy", "landing"), ("haproxy", "landing")], indirect=["stage"])
def test_what_a_stopped_engine_was_about_to_do_is_waited_for_and_undone(stage: Stage, over: str, moment: str) -> None:
    """What the router names is never stopped: not either if it is named only as the stopped engine wakes up."""
    with stopped(drive(stage, host="elsewhere"), MOMENTS[moment](over)) as engine:
        other = fork(lambda: back(another(stage)))
        service = another(stage)
        until("the rollback waits", lambda: "in the middle of an effect" in service.release.why)
        wake(engine)
        assert os.waitpid(other, 0)[1] == 0
    assert_back(stage, service)
