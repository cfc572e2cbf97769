"""An engine is SIGKILLed around every call that others could see, in every phase; the next one must end where the first would have.

Over fakes, whose worlds are files, with a real SQLite journal. A point is named (phase, call, occurrence, before or after), found by an undisturbed run under
a clock that stands still; one that a later run does not come to is a failure. ``interrupt`` says how it is done without a failpoint in the product.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from stories import SCENARIOS, Scenario, begin, directory, equal, go_on, gone, points, where, world

from bleen.testing.interrupt import Interrupt, Point, fork, killed
from bleen.testing.stages import FakeStage


class Leg(NamedTuple):
    """A phase of an undisturbed run: the world as it was entered, and the points that it has."""

    start: Path
    points: list[Point]


@pytest.fixture
def room() -> Iterator[Path]:
    with directory() as made:
        yield made


def phase_of(at: Path, scenario: Scenario, interrupt: Interrupt, number: int | None = None) -> None:
    """Drives the release out of the phase that it is in."""
    service = FakeStage(at).service(*scenario.answers, by=None if number is None else gone(number))
    began = where(service.release)
    go_on(service, interrupt, lambda release: where(release) != began)
    service.close()


def undisturbed(room: Path, scenario: Scenario) -> tuple[list[Leg], dict[str, Any]]:
    """The legs from where something comes in the way, and the end."""
    at = room / "undisturbed"
    stage = FakeStage(at)
    service = stage.service(by=gone(-1))
    service.stand()
    service.close()
    begin(stage, scenario, 0)
    legs: list[Leg] = []
    while True:
        service = stage.service(*scenario.answers)
        if service.release.ended:
            break
        service.close()
        start = room / f"leg {len(legs)}"
        shutil.copytree(at, start)
        with Interrupt() as interrupt:
            phase_of(at, scenario, interrupt, len(legs) + 1)
        legs.append(Leg(start, points(interrupt)))
    end = world(service)
    service.close()
    return legs, end


def crash(leg: Leg, point: Point, at: Path, scenario: Scenario) -> None:
    """A copy of the leg's world, in which an engine was killed at the point."""
    shutil.copytree(leg.start, at)
    assert killed(lambda interrupt: phase_of(at, scenario, interrupt), point), f"no run came to {point}"


def recovered(at: Path, scenario: Scenario) -> dict[str, Any]:
    """How a second engine ends."""
    service = FakeStage(at).service(*scenario.answers)
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
    assert {"_once:execute", "_commit:execute", "_tell:execute", "_lock:flock", "keep_count:pwrite", "_changing:rename"} <= calls, (
        "the engine's effects were not seen"
    )

    def tried(item: tuple[Leg, Point], at: Path) -> None:
        crash(*item, at, scenario)
        equal(recovered(at, scenario), end)

    in_parallel(room, tried, every)


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_again_while_it_recovers_a_third_engine_ends_there_too(room: Path, name: str) -> None:
    """A second kill during recovery, sampled."""
    scenario = SCENARIOS[name]
    legs, end = undisturbed(room, scenario)
    dice = random.Random(name)
    sample = dice.sample([(leg, point, dice.random()) for leg in legs for point in leg.points], 25)

    def tried(item: tuple[Leg, Point, float], at: Path) -> None:
        leg, point, share = item
        crash(leg, point, at, scenario)
        again = at.with_name(f"{at.name} again")
        shutil.copytree(at, again)
        recovery = _points_of_recovery(again, scenario)
        second = recovery[int(share * len(recovery))]
        assert killed(lambda interrupt: go_on(FakeStage(at).service(*scenario.answers), interrupt), second), f"no recovery came to {second}"
        equal(recovered(at, scenario), end)

    in_parallel(room, tried, sample)


def _points_of_recovery(at: Path, scenario: Scenario) -> list[Point]:
    """The points that a recovery has; the world is used up."""
    told = at / "points"

    def run() -> None:
        with Interrupt() as interrupt:
            go_on(FakeStage(at).service(*scenario.answers), interrupt)
        told.write_text(json.dumps(points(interrupt)))

    assert os.waitpid(fork(run), 0)[1] == 0
    found = [Point(*row) for row in json.loads(told.read_text())]
    shutil.rmtree(at)
    return found
