"""An engine is SIGKILLed around every call that others could see, in every phase; the next one must end where the first would have.

Over fakes, whose worlds are files, with a real SQLite journal. A point is named (phase, call, occurrence, before or after), found by an undisturbed run under
a clock that stands still; one that a later run does not come to is a failure. ``interrupt`` says how it is done without a failpoint in the product.
"""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bleen.engine.drive import holder
from bleen.lifecycle import Phase, Verb
from bleen.model import Environment, NotYet, Result, Verdict
from bleen.plan import Step
from bleen.ports import Holder
from bleen.testing.interrupt import Interrupt, Point, fork, killed
from bleen.testing.service import FakeService

READS = (
    "open:open",
    "locked:open",
    "_note:open",
    "read:execute",
    "service:execute",
    "asked:execute",
    "latest:execute",
    "releases:execute",
    "_write:",
    "executescript",
    "_data_version:",
    "_migrate:",
)
"""A crash at a look is a crash after the effect before it."""
SHORT = {"steps": (Step(50, 0.3), Step(100, 0.3)), "window": 0.3, "drain": 0.3}
GREEN = Environment("green", 2)


class Scenario(NamedTuple):
    """A release, and what comes in its way as it enters a phase."""

    end: Phase
    at: Phase = Phase.PLANNED
    comes: Callable[[FakeService], object] = lambda _: None
    answers: tuple[NotYet | Verdict, ...] = ()


SCENARIOS = {
    "a deploy": Scenario(Phase.COMPLETED),
    "a failing smoke test": Scenario(
        Phase.ABORTED, Phase.TESTING, answers=(NotYet("1 of 2", memo={"pid": 9}), Verdict(Result.FAIL, "GET / gave 500", ({"status": 500},)))
    ),
    "a rollback": Scenario(Phase.ROLLED_BACK, Phase.HOLDING, lambda service: service.journal.ask(service.release.id, Verb.ROLLBACK, "ann")),
    "green dying": Scenario(Phase.ROLLED_BACK, Phase.HOLDING, lambda service: service.platform.kill(GREEN)),
    "a rollback in the first step": Scenario(Phase.ROLLED_BACK, Phase.BAKING, lambda service: service.journal.ask(service.release.id, Verb.ROLLBACK, "ann")),
}


class Leg(NamedTuple):
    """A phase of an undisturbed run: the world as it was entered, and the points that it has."""

    start: Path
    points: list[Point]


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory in memory, where there is one: syncing is not what is tried here, and a thousand crashes sync a hundred thousand times."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="bleen-crashes-", dir=memory if os.access(memory, os.W_OK) else None))
    yield made
    shutil.rmtree(made)


def go_on(service: FakeService, interrupt: Interrupt, whole: bool = True) -> None:
    """Claims the service, and drives its release to the end, or out of the phase that it is in."""
    began = _where(service)
    interrupt.phase = began
    service.claim(seize=not whole)
    while not service.release.ended and not service.release.halted and (whole or _where(service) == began):
        interrupt.phase = _where(service)
        service.clock.advance(service.tick() or 0.0)


def undisturbed(room: Path, scenario: Scenario) -> tuple[list[Leg], dict[str, Any]]:
    """The legs from where something comes in the way, and the end."""
    at = room / "undisturbed"
    service = FakeService(at, by=_gone(-1))
    service.stand()
    service.open("1.1", **SHORT)
    if scenario.at is not Phase.PLANNED:
        service.drive(scenario.at)
    service.close()
    service = FakeService(at, *scenario.answers, by=_gone(0))
    scenario.comes(service)
    legs: list[Leg] = []
    while not service.release.ended:
        service.close()
        start = room / f"leg {len(legs)}"
        shutil.copytree(at, start)
        service = FakeService(at, *scenario.answers, by=_gone(len(legs)))
        with Interrupt() as interrupt:
            go_on(service, interrupt, whole=False)
        legs.append(Leg(start, [point for point in interrupt.points if not any(read in point.call for read in READS)]))
    end = world(service)
    service.close()
    return legs, end


def world(service: FakeService) -> dict[str, Any]:
    """How a run ended."""
    return {**service.end(), "unanswered": service.journal.asked(service.release.id), "events": [event.phase.value for event in service.events]}


def crash(leg: Leg, point: Point, at: Path, scenario: Scenario) -> None:
    """A copy of the leg's world, in which an engine was killed at the point."""
    shutil.copytree(leg.start, at)
    assert killed(lambda interrupt: go_on(FakeService(at, *scenario.answers), interrupt, whole=False), point), f"no run came to {point}"


def recovered(at: Path, scenario: Scenario) -> dict[str, Any]:
    """How a second engine ends."""
    service = FakeService(at, *scenario.answers)
    go_on(service, Interrupt())
    found = world(service)
    service.close()
    shutil.rmtree(at)
    return found


def in_parallel(room: Path, work: Callable[[Any, Path], object], items: Sequence[Any]) -> None:
    """Does the work for every item, in as many processes as there are processors; raises for those that failed, with what was said."""
    workers = len(os.sched_getaffinity(0))

    def share(number: int) -> None:
        said = []
        for count, item in enumerate(items[number::workers]):
            try:
                work(item, room / f"run {number} {count}")
            except AssertionError as error:
                said.append(f"{item[1:]}: {error}")
        (room / f"said {number}").write_text("\n".join(said))

    for pid in [fork(lambda number=number: share(number)) for number in range(workers)]:  # type: ignore[misc]
        assert os.waitpid(pid, 0)[1] == 0, "a process of the matrix failed; its last words are on standard error"
    said = "\n".join((room / f"said {number}").read_text() for number in range(workers)).strip()
    assert not said, said


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_instant_the_next_engine_ends_where_the_first_would_have(room: Path, name: str) -> None:
    """Killed at any instant, the next run reads the row and the world, and ends where the first would have."""
    scenario = SCENARIOS[name]
    legs, end = undisturbed(room, scenario)
    assert (end["phase"], end["faults"], end["unanswered"]) == (scenario.end, [], None)
    every = [(leg, point) for leg in legs for point in leg.points]
    calls = {point.call for _, point in every}
    assert {"_once:execute", "_commit:execute", "_tell:execute", "_lock:flock", "passing:pwrite", "_changing:rename"} <= calls, (
        "the engine's effects were not seen"
    )

    def tried(item: tuple[Leg, Point], at: Path) -> None:
        crash(*item, at, scenario)
        _equal(recovered(at, scenario), end)

    in_parallel(room, tried, every)


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_again_while_it_recovers_a_third_engine_ends_there_too(room: Path, name: str) -> None:
    """A second kill during recovery, sampled."""
    scenario = SCENARIOS[name]
    legs, end = undisturbed(room, scenario)
    dice = random.Random(name)
    sample = dice.sample([(leg, point, dice.random()) for leg in legs for point in leg.points], 25)

    def tried(item: tuple[Leg, Point, float], at: Path) -> None:
        leg, point, where = item
        crash(leg, point, at, scenario)
        again = at.with_name(f"{at.name} again")
        shutil.copytree(at, again)
        points = _points_of_recovery(again, scenario)
        second = points[int(where * len(points))]
        assert killed(lambda interrupt: go_on(FakeService(at, *scenario.answers), interrupt), second), f"no recovery came to {second}"
        _equal(recovered(at, scenario), end)

    in_parallel(room, tried, sample)


def _points_of_recovery(at: Path, scenario: Scenario) -> list[Point]:
    """The points that a recovery has; the world is used up."""
    told = at / "points"

    def run() -> None:
        with Interrupt() as interrupt:
            go_on(FakeService(at, *scenario.answers), interrupt)
        told.write_text(json.dumps([point for point in interrupt.points if not any(read in point.call for read in READS)]))

    assert os.waitpid(fork(run), 0)[1] == 0
    points = [Point(*row) for row in json.loads(told.read_text())]
    shutil.rmtree(at)
    return points


def _equal(found: dict[str, Any], end: dict[str, Any]) -> None:
    assert found == end, {key: (found[key], end[key]) for key in end if found[key] != end[key]}


def _gone(number: int) -> Holder:
    """A holder that is new each time, as after every crash, and dead for those who ask."""
    return holder("0")._replace(pid=1, start=-number)


def _where(service: FakeService) -> str:
    return f"{service.release.phase} {service.release.step}"
