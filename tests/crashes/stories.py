"""Whole releases that engines are killed or stopped in: how they begin, what comes in their way, how they are driven, and how they ended."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from bleen.engine.drive import Driver, holder
from bleen.lifecycle import Phase, Release, ReleaseId, Service, Verb
from bleen.model import NotYet, Result, Verdict
from bleen.plan import Step
from bleen.ports import Holder, Router
from bleen.providers.routers.envoy import Envoy
from bleen.providers.routers.haproxy import HAProxy
from bleen.testing.interrupt import Interrupt, Point
from bleen.testing.service import LIMIT, ServiceOver
from bleen.testing.site import Site
from bleen.testing.stages import Stage

READS = ("open:open", "locked:open", "found:execute", "_note:open", "_stat:open", "_show_life:open", "executescript", "_data_version:", "_migrate:")
"""A crash at a look is a crash after the effect before it."""
SHORT = {"steps": (Step(50, 0.3), Step(100, 0.3)), "window": 0.3, "drain": 0.3}
EFFECTS = {"router": ("prepare", "route", "served", "drained", "settle", "up"), "platform": ("provision", "retire", "tend")}

TAKING_OVER, UPKEEP, LATER = "taking over", "upkeep", "later upkeep"
"""What an engine is at outside of its ticks: before the first, until it waits for the first time, and from then on, which depends on how fast the host is."""


class Scenario(NamedTuple):
    """A release, and what comes in its way as it enters a phase."""

    end: Phase
    at: Phase = Phase.PLANNED
    comes: Callable[[ServiceOver[Any]], object] = lambda _: None
    answers: tuple[NotYet | Verdict, ...] = ()


def _rollback(service: ServiceOver[Any]) -> None:
    service.journal.ask(service.release.id, Verb.ROLLBACK, "ann")


SCENARIOS = {
    "a deploy": Scenario(Phase.COMPLETED),
    "a failing smoke test": Scenario(
        Phase.ABORTED, Phase.TESTING, answers=(NotYet("1 of 2", memo={"pid": 9}), Verdict(Result.FAIL, "GET / gave 500", ({"status": 500},)))
    ),
    "a rollback": Scenario(Phase.ROLLED_BACK, Phase.HOLDING, _rollback),
    "green dying": Scenario(Phase.ROLLED_BACK, Phase.HOLDING, lambda service: service.platform.kill(service.release.environment)),
    "a rollback in the first step": Scenario(Phase.ROLLED_BACK, Phase.BAKING, _rollback),
}


@contextmanager
def directory() -> Iterator[Path]:
    """One in memory, where there is one: syncing is not what is tried here, and a thousand crashes sync a hundred thousand times."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="bleen-crashes-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def begin(stage: Stage, scenario: Scenario, number: int, **changes: Any) -> None:
    """Opens a release on a service that stands, drives it to where something comes in its way, and has that come. ``changes`` of the plan are over SHORT."""
    service = stage.service(by=gone(number))
    service.open("1.1", **{**SHORT, **changes})
    if scenario.at is not Phase.PLANNED:
        service.drive(scenario.at)
    service.close()
    service = stage.service(*scenario.answers, by=gone(number))
    scenario.comes(service)
    service.close()


def driving(service: ServiceOver[Any], interrupt: Interrupt) -> Driver:
    """An engine as a process that drives, and that tells the interrupt what it is at: a phase, an effect in it ("PROMOTING 0 route"), or neither."""
    outside = interrupt.phase = TAKING_OVER
    advance, changed = service.engine.advance, service.journal.changed

    def advanced(claimed: Service, id: ReleaseId) -> float | None:
        nonlocal outside
        outside, interrupt.phase = UPKEEP if outside == TAKING_OVER else outside, where(service.release)
        try:
            return advance(claimed, id)
        finally:
            interrupt.phase = outside

    def waited(timeout: float) -> bool:
        nonlocal outside
        outside = interrupt.phase = LATER
        return changed(timeout)

    def labelled(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any) -> Any:
            was = interrupt.phase
            interrupt.phase = f"{was} {name}"
            try:
                return call(*args)
            finally:
                interrupt.phase = was

        return called

    service.engine.advance, service.journal.changed = advanced, waited  # type: ignore[method-assign, assignment]
    for of, names in EFFECTS.items():
        provider = getattr(service, of)
        for name in names:
            setattr(provider, name, labelled(name, getattr(provider, name)))
    return service.driver()


def go_on(service: ServiceOver[Any], interrupt: Interrupt, done: Callable[[Release], bool] = lambda _: False) -> None:
    """Takes over, and drives the newest release until it is done, has ended or has halted. No time passes but by waiting."""
    waits = count()

    def changed(timeout: float) -> bool:
        assert next(waits) < LIMIT, f"still in {where(service.release)}: {service.release.why}"
        service.clock.advance(timeout)
        return False

    service.journal.changed = changed  # type: ignore[method-assign]
    driving(service, interrupt).follow(service.release.id, done, lambda *_: None)


def points(interrupt: Interrupt) -> list[Point]:
    """Those of a run at which a crash is worth trying. Nothing that others can see is between two calls: after the one is before the next."""
    seen = [p for p in interrupt.points if not p.phase.startswith(LATER) and not any(read in p.call for read in READS)]
    return [*seen[:1], *(p for p in seen if p.when == "after")]


def world(service: ServiceOver[Any]) -> dict[str, Any]:
    """How a run ended. The environments are called new and old: the same whichever release of the service it was."""
    release = service.release
    roles = {str(release.environment): "new", str(release.plan.old): "old"}

    def said(value: Any) -> Any:
        if isinstance(value, dict):
            return {roles.get(each, each): value[each] for each in value}
        if isinstance(value, list):
            return sorted(roles.get(each, each) for each in value)
        return roles.get(value, value)

    end = {name: said(value) for name, value in service.end().items()}
    return {**end, "unanswered": service.journal.asked(release.id), "events": [event.phase.value for event in service.events]}


def equal(found: dict[str, Any], end: dict[str, Any]) -> None:
    assert found == end, {key: (found[key], end[key]) for key in end if found[key] != end[key]}


def gone(number: int) -> Holder:
    """A holder that is new each time, as after every crash, and dead for those who ask."""
    return holder("0")._replace(pid=1, start=-number)


def where(release: Release) -> str:
    return f"{release.phase} {release.step}"


def envoy(site: Site) -> Router:
    return Envoy(site.place, site.fence, site.reserve, site.listener, site.asked)


def haproxy(site: Site) -> Router:
    return HAProxy(site.place, site.fence, site.reserve, site.listener, site.asked)


BUILDS = {"envoy": envoy, "haproxy": haproxy}
