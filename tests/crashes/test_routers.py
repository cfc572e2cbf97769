"""Whoever moves traffic is SIGKILLed around every call of every effect of the real routers, under load; whoever comes next ends it, and no request fails.

As in ``test_matrix``, points are named; here a sample of them is tried, the same one every time. Recorded twice, so that what depends on how often a
proxy had to be asked is no point.
"""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from stories import envoy, haproxy

from bleen.model import Environment, NotYet, Routing
from bleen.testing.interrupt import Interrupt, Point, killed
from bleen.testing.load import Load
from bleen.testing.routers import BLUE, EFFECTS, GREEN, Fleet, RouterContract, settled
from bleen.testing.site import Site, done

TRIES = 30
"""Points of each step."""


AGAIN, PROOF = "asked again", "asked for the proof"
"""Phases behind a step's first call: how often it is called again is the host's affair, and no point is in there."""

RUNS = 5
"""Runs in which a point has to come up."""

ASKED = 2
"""How often Envoy is asked at the least, each time on a connection of its own, while a step is taken."""


class Step(NamedTuple):
    """One effect of a release, from what it finds to what it leaves: shares, preview, and which environments the router knows."""

    effect: str
    before: tuple[Mapping[Environment, int], tuple[Environment, ...]]
    wanted: tuple[Mapping[Environment, int], Environment | None, tuple[Environment, ...]]


BOTH = (BLUE, GREEN)
STEPS = {
    "prepare": Step("prepare", ({BLUE: 100}, (BLUE,)), ({BLUE: 100}, GREEN, BOTH)),
    "the first share": Step("route", ({BLUE: 100}, BOTH), ({BLUE: 50, GREEN: 50}, None, BOTH)),
    "promotion": Step("route", ({BLUE: 100}, BOTH), ({GREEN: 100}, None, BOTH)),
    "rollback": Step("route", ({GREEN: 100}, BOTH), ({BLUE: 100}, None, BOTH)),
    "settle": Step("settle", ({GREEN: 100}, BOTH), ({GREEN: 100}, None, (GREEN,))),
}


class Crashes:
    """A router of a site, brought to where a step begins, again and again; every engine has an epoch of its own."""

    def __init__(self, site: Site, fleet: Fleet) -> None:
        self._site, self._fleet, self._epoch = site, fleet, 1

    def begin(self, step: Step) -> None:
        """Brings the router to where the step begins."""
        shares, know = step.before
        self._epoch += 1
        self._site.prepare(self._fleet.routing(shares), self._epoch)
        self._site.route(self._fleet.routing(shares), self._epoch)
        done(lambda: self._site.router.settle(self._fleet.routing(shares, know=know), self._epoch))

    def take(self, name: str, interrupt: Interrupt) -> None:
        """Takes a step, as a new engine would."""
        interrupt.phase = name
        step, router = STEPS[name], self._site.again()
        wanted = self.wanted(step)
        self._epoch += 1

        def ask() -> NotYet | None:
            left = EFFECTS[step.effect](router, wanted, self._epoch)
            interrupt.phase = AGAIN
            return left  # type: ignore[return-value]

        done(ask)
        interrupt.phase = PROOF
        if step.effect == "route":
            self._site.router.served(wanted, 0.0)

    def wanted(self, step: Step) -> Routing:
        shares, preview, know = step.wanted
        return self._fleet.routing(shares, preview, know)

    def points(self, name: str) -> list[Point]:
        """What two undisturbed runs have in common, but for how often Envoy is asked until it is ready: that is the host's affair."""
        runs: list[list[Point]] = []
        for _ in range(2):
            self.begin(STEPS[name])
            with Interrupt() as interrupt:
                self.take(name, interrupt)
            runs.append(interrupt.points)
        common = [point for point in runs[0] if point in runs[1] and ":recv" not in point.call]  # an answer comes in as many pieces as it likes
        first = [point for point in common if point.phase != AGAIN]
        return [point for point in first if not point.call.startswith(("_send:", "_connect:")) or point.occurrence <= ASKED]

    def _died(self, name: str, point: Point) -> bool:
        """Whether an engine that takes the step comes to the point. On a host that is slow for a moment, what a first call does is left to a second one."""
        self.begin(STEPS[name])
        return killed(lambda interrupt: self.take(name, interrupt), point)

    def crash(self, name: str, point: Point, load: Load) -> None:
        """One engine dies at the point; the next one takes the step. In between a server may be half way in, and look as if somebody had taken it out."""
        step = STEPS[name]
        assert any(self._died(name, point) for _ in range(RUNS)), f"no run of {RUNS} came to {point}"
        self._epoch += 1  # that of the one that died
        between = self._site.router.routing()
        assert sum(between.shares.values()) == 100
        assert {e for e, share in between.shares.items() if share} <= set(step.before[0]) | set(step.wanted[0])
        load.wait(8)
        self.take(name, Interrupt())
        wanted = self.wanted(step)
        if step.effect == "route":
            done(lambda: self._site.router.served(wanted, 1.0))
        assert settled(self._site.router.routing()) == settled(wanted), f"killed {point}"
        after = load.now()
        load.wait(8)
        assert set(load.report().who(after)) <= {e.name for e in wanted.shares}


@pytest.fixture(params=[envoy, haproxy])
def on_trial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Fleet]]:
    """A router that serves blue and knows green; nothing of it is left afterwards, however the test ends."""
    contract, fleet = RouterContract(), Fleet()
    contract.build = request.param  # type: ignore[method-assign]
    with contract.sites(tmp_path) as make:
        yield contract.started(make(), fleet), fleet
    fleet.close()


def test_killed_in_the_middle_of_moving_traffic_the_next_one_ends_it_and_no_request_fails(on_trial: tuple[Site, Fleet]) -> None:
    """Every effect is absolute and idempotent: given again after a crash at any instant it ends where it would have ended."""
    site, fleet = on_trial
    crashes, dice = Crashes(site, fleet), random.Random(0)
    with Load(site.listen, pause=0.002) as load:
        load.wait(20)
        for name in STEPS:
            points = crashes.points(name)
            calls = {point.call.rpartition(":")[2] for point in points}
            assert "flock" in calls, f"the effect was not seen: {calls}"
            for point in dice.sample(points, min(TRIES, len(points))):
                crashes.crash(name, point, load)
    assert not load.report().failures, str(load.report())
