"""The driver of a whole release over a real router is SIGKILLed, in every phase, under load; the next one ends it as the first would have. No request fails.

One service lives through all of it, as services do: each crash hits a release of its own. The journal is a real SQLite file, the proxy is real, and what
answers behind it is what the platform says that runs, so that a request to an environment that was stopped fails. The clock passes only by waiting.
Points are named as in ``test_matrix``. Here a sample of them is tried, spread over all phases, the same one every time; with BLEEN_CRASHES=all, all are.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, zip_longest
from typing import Any

import pytest
from stories import SCENARIOS, Scenario, begin, directory, envoy, equal, go_on, gone, haproxy, points, world

from bleen.testing.interrupt import Interrupt, Point, killed
from bleen.testing.load import Load
from bleen.testing.stages import ProxiedStage

TRIES = 30
"""Crashes of each story."""
DRAIN = 30.0
"""Seconds of a clock that runs far ahead of the host's: what is in flight gets the milliseconds that it needs."""
POLLED = 3
"""How often a call that asks the proxy is counted on: how often it has to be asked is the host's affair."""


class Releases:
    """Releases of one service, one after the other, all of them the same story."""

    def __init__(self, stage: ProxiedStage, scenario: Scenario) -> None:
        self._stage, self._scenario, self._engines = stage, scenario, 0
        service = stage.service(by=gone(0))
        service.stand()
        service.close()

    def undisturbed(self) -> tuple[list[Point], dict[str, Any]]:
        """The points that the story has, and its end."""
        self._begin()
        with Interrupt() as interrupt:
            end = self._drive(interrupt)
        return points(interrupt), end

    def crash(self, point: Point, load: Load) -> tuple[bool, dict[str, Any]]:
        """Whether an engine came to the point, and was killed there; and how the next one ended."""
        self._begin()
        hit = killed(lambda interrupt: go_on(self._stage.service(*self._scenario.answers), interrupt), point)
        load.wait(4)
        return hit, self._drive(Interrupt())

    def serving(self) -> set[str]:
        """Which environments production is sent to."""
        return {str(environment) for environment in self._stage.site.router.routing().serving}

    def _begin(self) -> None:
        self._engines += 1
        begin(self._stage, self._scenario, self._engines, drain=DRAIN)

    def _drive(self, interrupt: Interrupt) -> dict[str, Any]:
        self._engines += 1
        service = self._stage.service(*self._scenario.answers, by=gone(self._engines))
        go_on(service, interrupt)
        end = world(service)
        service.close()
        return end


def common(runs: list[list[Point]]) -> list[Point]:
    """The points that every run comes to, as far as that can be known: an answer comes in as many pieces, and after as many questions, as the proxy likes."""
    counts = [Counter((p.phase, p.call, p.when) for p in run) for run in runs]

    def steady(point: Point) -> bool:
        seen = {count[point.phase, point.call, point.when] for count in counts}
        most = POLLED if ":send" in point.call else max(seen)
        return ":recv" not in point.call and point.occurrence <= (min(most, *seen) if len(seen) == 1 else 1)

    return [point for point in runs[0] if all(point in run for run in runs) and steady(point)]


def spread(found: list[Point], tries: int) -> list[Point]:
    """So many of the points: one of each phase and effect, then another one of each, and so on."""
    dice = random.Random(0)
    phases: dict[str, list[Point]] = {}
    for point in found:
        phases.setdefault(point.phase, []).append(point)
    turns = zip_longest(*(dice.sample(each, len(each)) for each in phases.values()))
    return [point for point in chain.from_iterable(turns) if point][:tries]


@pytest.fixture(params=[haproxy, envoy])
def stage(request: pytest.FixtureRequest) -> Iterator[ProxiedStage]:
    with directory() as root, closing(ProxiedStage(root, request.param)) as made:
        yield made


@pytest.mark.parametrize("name", ["a deploy", "a failing smoke test", "a rollback"])
def test_a_driver_killed_in_the_middle_of_a_release_is_succeeded_and_no_request_fails(stage: ProxiedStage, name: str) -> None:
    """Killed at any instant, the next run reads the row and the world, and ends where the first would have."""
    scenario = SCENARIOS[name]
    releases = Releases(stage, scenario)
    with Load(stage.site.listen, clients=2, pause=0.002) as load:
        load.wait(8)
        runs, ends = zip(*(releases.undisturbed() for _ in range(3)), strict=True)
        end = ends[-1]  # the first release replaces another version than those after it
        assert (end["phase"], end["faults"], end["unanswered"]) == (scenario.end, [], None)
        found = common(list(runs))
        sample = found if os.environ.get("BLEEN_CRASHES") == "all" else spread(found, TRIES)
        phases = end["events"]
        assert {point.phase.partition(" ")[0] for point in sample} >= set(phases[phases.index(scenario.at) : -1])
        missed = []
        for point in sample:
            hit, ended = releases.crash(point, load)
            missed += [] if hit else [point]
            equal(ended, end)
            after = load.now()
            load.wait(4)
            assert set(load.report().who(after)) == releases.serving(), f"killed {point}"
    assert len(missed) <= len(sample) / 10, f"no run came to {', '.join(map(str, missed))}"
    assert not load.report().failures, str(load.report())
