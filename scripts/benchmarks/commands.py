"""Commands as whole processes: CPU time against a bare interpreter, and what users feel of `bleen rollback`.

CPU is that of the process and of all that it started and waited for; the interpreter is the real binary, not a shim or a virtual environment, and does nothing.
It is run right before every command, so that what else the host does meanwhile falls on both.
"""

import os
import signal
import sys
from pathlib import Path

from benchmarks.service import ROUTERS, Cost, Service, cost, up, users
from benchmarks.table import Table
from bleen.host import launch
from bleen.testing.site import until

ROUNDS = 10


def run(table: Table, place: Path, scale: float) -> None:
    rounds = max(2, round(ROUNDS * scale))
    for router in ROUTERS:
        with up(Service(place / router, router, bake="0s", rollback_window="1h", drain="1s", replicas=1)) as service:
            _release(service, "0")
            for word in ("status", "--help"):
                _tell(table, f"{router}: bleen {word}", [_beside(service, word) for _ in range(rounds * 2)], 5)
            for resident in (True, False):
                _rollbacks(table, service, resident, rounds)


def _rollbacks(table: Table, service: Service, resident: bool, rounds: int) -> None:
    """Half of them at rest, for the CPU; half of them under load, for what is felt."""
    spent, felt, failed = [], [], 0
    what = f"{service.router}: bleen rollback, engine {'resident' if resident else 'dead'}"
    for number in range(rounds):
        _release(service, f"{resident:d}.{number}")
        _engine(service, resident)
        spent.append(_beside(service, "rollback"))
    for number in range(rounds):
        version = f"{resident:d}.{number}"
        _release(service, version)
        _engine(service, resident)
        with users(service, pause=0.002) as load:
            load.wait(50)
            began = service.bleen("rollback").began
            load.wait(50)
        report = load.report()
        failed += len(report.failures)
        felt.append(max(answer.end for answer in report if answer.who.startswith(f"{version}/")) - began)
    _tell(table, what, spent, 6)
    table.add(f"{what}: from return to the last answer of the bad version", [each * 1000 for each in felt])
    table.add(f"{what}: failed requests", [failed], "", limit=0)


def _release(service: Service, version: str) -> None:
    """``version`` serves, and nothing is under way but its window."""
    service.bleen("up")
    service.bleen("deploy", version)


def _engine(service: Service, resident: bool) -> None:
    if not resident:
        os.kill(service.engine, signal.SIGKILL)
    until("the engine is as it should be", lambda: bool(launch.remains(service.state / "engine.json")) == resident)


def _beside(service: Service, word: str) -> tuple[Cost, Cost]:
    """What the bare interpreter took, and the command after it."""
    return cost([os.path.realpath(sys.executable), "-c", "pass"]), service.bleen(word)


def _tell(table: Table, what: str, spent: list[tuple[Cost, Cost]], limit: float) -> None:
    bare = table.add(f"{what}: CPU of the bare interpreter beside it", [interpreter.cpu * 1000 for interpreter, _ in spent])
    table.add(f"{what}: CPU", [command.cpu * 1000 for _, command in spent], base=bare, limit=limit)
    table.add(f"{what}: time", [command.seconds * 1000 for _, command in spent])
