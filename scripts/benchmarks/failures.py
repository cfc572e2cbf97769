"""Requests that fail, in switches and in whole releases, under clients that do not rest.

A request has failed if its answer is not the application's own and whole: a 503 of the proxy, a reset, a truncation, a timeout. Clients try nothing twice.
"""

from pathlib import Path

from benchmarks.proxies import routers
from benchmarks.service import APPLICATIONS, ROUTERS, Service, up, users
from benchmarks.table import Table
from bleen.testing.load import Load, Report
from bleen.testing.routers import BLUE, GREEN, Fleet
from bleen.testing.site import Site

SWITCHES, RELEASES = 200, 20


def run(table: Table, place: Path, scale: float) -> None:
    with routers(place) as (sites, fleet):
        for name, site in sites.items():
            _switches(table, name, site, fleet, max(2, round(SWITCHES * scale)))
    for router in ROUTERS:
        for application in APPLICATIONS:
            service = Service(place / f"{router}-{application}", router, application, bake="0s", rollback_window="0s", drain="5s")
            _releases(table, service, application, max(2, round(RELEASES * scale)))


def _switches(table: Table, name: str, site: Site, fleet: Fleet, count: int) -> None:
    """Blue and green in turn. Nobody may be answered by the old one who asked after a switch was served."""
    late = 0
    with Load(site.listen, clients=8) as load:
        load.wait(200)
        for number in range(count):
            environment = (GREEN, BLUE)[number % 2]
            site.route(fleet.routing({environment: 100}))
            served = load.now()
            load.wait(50)
            late += sum(n for who, n in load.report().who(after=served).items() if who != environment.name)
    _tell(table, f"{name}, {count} switches", load.report(), late)


def _releases(table: Table, service: Service, application: str, count: int) -> None:
    """Every release ends with the retirement of the one before. Nobody may be answered by a version that a finished release has left."""
    late, took = 0, []
    with up(service):
        service.bleen("deploy", "0")
        with users(service) as load:
            load.wait(200)
            for number in range(1, count + 1):
                took.append(service.bleen("deploy", str(number)).seconds)
                service.bleen("wait", "--until", "completed")
                done = load.now()
                load.wait(50)
                late += sum(n for who, n in load.report().who(after=done).items() if who.partition("/")[0] != str(number))
    what = f"{service.router}, {count} releases of {application}"
    table.add(f"{what}: `deploy` under load", took, "s")
    _tell(table, what, load.report(), late)


def _tell(table: Table, what: str, report: Report, late: int) -> None:
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(report.kinds().items()))
    table.say(f"  {what}: {kinds}")
    table.add(f"{what}: requests", [len(report)], "")
    table.add(f"{what}: failed", [len(report.failures)], "", limit=0)
    table.add(f"{what}: answered by the old one afterwards", [late], "", limit=0)
    for each in report.failures[:5]:
        table.say(f"    {each.kind} at {each.start:.3f} for {each.end - each.start:.3f} s: {each.problem}")
