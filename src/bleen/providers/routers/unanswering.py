"""A proxy that does not answer us: whether it runs all the same, and what a person can do about it."""

from pathlib import Path
from typing import NamedTuple

from bleen.host import processes
from bleen.host.files import locked_by
from bleen.host.processes import Process

_STARTS = 2.0
"""Seconds after its start in which a proxy need not answer yet."""


class Proxy(NamedTuple):
    """A proxy as it was started: by its launch record, to listen on these addresses."""

    record: Path
    listen: str
    preview: str

    def running(self) -> Process | None:
        """The process: the one that the record names, or that listens as that record although its files are gone; None if it is dead."""
        from bleen.host import launch  # a rollback whose proxy answers needs nothing of it

        process = launch.recorded(self.record)
        if process is None or not process.alive:
            pid = processes.owner(self.listen)
            ours = pid is not None and launch.is_of(pid, self.record)
            process = processes.find(pid) if pid is not None and ours else None
        return process

    def way(self, process: Process | None) -> str:
        """How the proxy comes to answer again; ``process`` is what ``running`` gave."""
        if process is None:
            from bleen.host.listening import holder  # as in ``running``

            lock = self.record.with_suffix(".lock")
            if who := locked_by(lock):
                return f"its launch is under way ({lock} is locked{who})"
            holders = ((address, holder(address)) for address in (self.listen, self.preview))
            held = next((f"{address} is held by {processes.named(pid)}: stop that, then " for address, pid in holders if pid), "")
            return f"{held}`bleen up` starts it"
        if process.stopped:
            return f"`kill -CONT {process.pid}` lets it go on"
        return "it has just been started" if process.age < _STARTS else f"`kill -9 {process.pid}` ends it, and it is started again as it was"
