"""Who waits for a lock only to look is told who holds it: what changes something has limits of its own, a look has none."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from bleen.database.server import Told
from bleen.errors import PortError

EVERY = 1.0
"""Seconds between two looks; a wait is told by the second one that sees it."""
AGAIN = 10
"""Looks after which it is told again."""


class AtWork:
    """Whether a statement is at work: the block of a ``with``."""

    _since = 0.0

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since = 0.0

    @property
    def seconds(self) -> float:
        """For how long; 0 if none is."""
        since = self._since
        return time.monotonic() - since if since else 0.0


@contextmanager
def looking_out(work: AtWork, connected: Callable[[], AbstractContextManager[Callable[[], str]]], told: Told) -> Iterator[None]:
    """Tells of a lock that is waited for. ``connected``: a connection beside the one that is at ``work``, with what says who is in its way: there is one only
    as long as a statement is at work for long, as a role may have few.
    """
    stop = threading.Event()

    def look() -> None:
        seen = 0
        with suppress(PortError), connected() as waits:  # who waits goes on waiting; it only is not told for what
            while work.seconds and not stop.wait(EVERY):
                said = waits()
                seen = seen + 1 if said else 0
                if seen % AGAIN == 2:
                    told(said)

    def watch() -> None:
        while not stop.wait(EVERY):
            if work.seconds >= EVERY:
                look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
