"""A switch: how long it takes until it is proven, and when the last request goes the old way; beside the bare mechanism and `nginx -s reload`.

Without load the time is that of ``route()`` until ``served()``, or of the same by hand: switched, durable, confirmed; both in turn, so that they see the same
machine. Under load it is how long after the call began the last request was sent that the old environment answered.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.proxies import BOTH, EnvoyByHand, HAProxyByHand, NginxByHand, routers
from benchmarks.table import Table
from bleen.model import Environment
from bleen.testing.load import Load
from bleen.testing.routers import Fleet
from bleen.testing.site import Site

SWITCHES = 100

Switch = Callable[[Environment], None]
BY_HAND: dict[str, type[EnvoyByHand] | type[HAProxyByHand]] = {"envoy": EnvoyByHand, "haproxy": HAProxyByHand}


def run(table: Table, place: Path, scale: float) -> None:
    count = max(4, round(SWITCHES * scale))
    with routers(place) as (sites, fleet):
        for name, site in sites.items():
            by_hand = BY_HAND[name](site, fleet)
            ours = partial(_ours, site, fleet)
            bare, timed = _times([by_hand.switch, ours], count)
            base = table.add(f"{name}, by hand", bare)
            table.add(f"{name}, route() until served()", timed, base=base, limit=2)
            last, failed = _felt(site.listen, by_hand.switch, count)
            base = table.add(f"{name}, by hand: last request to the old one", last)
            last, failed = _felt(site.listen, ours, count)
            table.add(f"{name}, bleen: last request to the old one", last, base=base)
            table.add(f"{name}, bleen: failed requests", [failed], "", limit=0)
        nginx = NginxByHand(place / "n", fleet)
        try:
            table.add("nginx -s reload", _times([nginx.switch], max(4, count // 4))[0])
            last, failed = _felt(nginx.listen, nginx.switch, max(4, count // 4))
            table.add("nginx -s reload: last request to the old one", last)
            table.add("nginx -s reload: failed requests", [failed], "")
        finally:
            nginx.end()


def _ours(site: Site, fleet: Fleet, environment: Environment) -> None:
    site.route(fleet.routing({environment: 100}))


def _times(switches: list[Switch], count: int) -> list[list[float]]:
    """Milliseconds of each, in turn and then in the opposite turn; every call is a switch from the other environment."""
    times: list[list[float]] = [[] for _ in switches]
    at = 0
    for lap in range(count):
        for number in range(len(switches)) if lap % 2 else reversed(range(len(switches))):
            at += 1
            began = Load.now()
            switches[number](BOTH[at % 2])
            times[number].append((Load.now() - began) * 1000)
    return times


def _felt(listen: str, switch: Switch, count: int) -> tuple[list[float], int]:
    """Milliseconds from each call until the last request was sent that the old environment answered; and how many requests failed."""
    began = []
    switch(BOTH[0])
    with Load(listen, clients=4) as load:
        load.wait(100)
        for number in range(1, count + 1):
            began.append(load.now())
            switch(BOTH[number % 2])
            load.wait(40)
        end = load.now()
    report = load.report()
    last = []
    for number, (start, until) in enumerate(zip(began, [*began[1:], end], strict=True), 1):
        old = BOTH[(number + 1) % 2].name
        last.append(max([a.start - start for a in report if a.who == old and start < a.start < until], default=0.0) * 1000)
    return last, len(report.failures)
