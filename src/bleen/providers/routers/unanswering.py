"""A proxy that does not answer us: whether it runs all the same, and what a person can do about it."""

from pathlib import Path

from bleen.host import processes
from bleen.host.processes import Process

_STARTS = 2.0
"""Seconds after its start in which a proxy need not answer yet."""


def running(record: Path, listen: str) -> Process | None:
    """The proxy that a record names, or that listens as that record although its files are gone; None if it is dead."""
    from bleen.host import launch  # a rollback whose proxy answers needs nothing of it

    process = launch.recorded(record)
    if process is None or not process.alive:
        pid = processes.owner(int(listen.rpartition(":")[2]))
        ours = pid is not None and launch.is_of(pid, record)
        process = processes.find(pid) if pid is not None and ours else None
    return process


def way(process: Process | None) -> str:
    """How a proxy comes to answer again."""
    if process is None:
        return "`bleen up` starts it"
    if process.stopped:
        return f"`kill -CONT {process.pid}` lets it go on"
    return "it has just been started" if process.age < _STARTS else f"`kill -9 {process.pid}` ends it, and it is started again as it was"
