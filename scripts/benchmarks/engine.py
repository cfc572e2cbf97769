"""The engine over fakes, with its real journal: what a release costs as the journal grows, and how soon a rollback from another process is obeyed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.table import Table
from bleen.engine.drive import Driver
from bleen.lifecycle import Phase, Verb
from bleen.plan import Step
from bleen.testing.service import NAME, FakeService
from bleen.testing.site import until

RELEASES = 1000
AROUND = 10
"""Releases on each side of the 10th, the 100th and the 1,000th that are looked at."""
ROLLBACKS = 20


def run(table: Table, place: Path, scale: float) -> None:
    _growing(table, place / "growing", max(100, round(RELEASES * scale)))
    for holder, limit in (("waiting", 100.0), ("dead", 100.0), ("stopped", 1500.0)):
        rounds = max(2, round(ROLLBACKS * scale))
        times = [_rollback(place / f"{holder}{number}", holder) for number in range(rounds)]
        table.add(f"rollback from another process, holder {holder}", times, limit=limit)


def _growing(table: Table, place: Path, count: int) -> None:
    """Whole releases, from the command to the retirement of the one before; time passes only when asked for."""
    service = FakeService(place)
    cpu, wall = [], []
    for number in range(1, count + AROUND + 1):
        began, used = time.perf_counter(), time.process_time()
        release = service.deploy(str(number), steps=(Step(100, 0.0),), window=0.0)
        cpu.append((time.process_time() - used) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
        if release.phase is not Phase.COMPLETED:
            raise RuntimeError(f"release {number} is {release.phase}: {release.halted or release.reason}")
    service.close()
    for what, times in (("time", wall), ("CPU", cpu)):
        base = None
        for at in sorted({10, 100, count}):
            row = table.add(f"a release around the {at}th: {what}", times[max(0, at - AROUND) : at + AROUND], base=base, limit=1.5 if base else None)
            base = base or row


def _rollback(place: Path, state: str) -> float:
    """Milliseconds from asking until the answer, while the holder is in this state."""
    with _process(lambda: _prepare(place)) as earlier:
        os.waitpid(earlier, 0)
    with _process(lambda: _driver(FakeService(place)).stay(lambda: False)) as holder:
        service = FakeService(place)
        until("the holder holds", lambda: service.service.holder.pid == holder)
        if state == "dead":
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)
        elif state == "stopped":
            os.kill(holder, signal.SIGSTOP)
        began = time.perf_counter()
        answer = _driver(service).ask(service.release.id, Verb.ROLLBACK, "somebody")
        took = (time.perf_counter() - began) * 1000
        service.close()
    if not answer.obeyed or _phase(place) is Phase.HOLDING:
        raise RuntimeError(f"the rollback was not obeyed: {answer.text}")
    return took


def _prepare(place: Path) -> None:
    """A release that can be taken back, and nobody who drives it."""
    service = FakeService(place)
    service.deploy("1.0")
    service.deploy("1.1", Phase.HOLDING)


def _phase(place: Path) -> Phase:
    service = FakeService(place)
    phase = service.release.phase
    service.close()
    return phase


def _driver(service: FakeService) -> Driver:
    return Driver(service.journal, service.engine, NAME, service.me)


@contextmanager
def _process(work: Callable[[], object]) -> Iterator[int]:
    """Another process that does this work; it ends at the latest with ``with``."""
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
