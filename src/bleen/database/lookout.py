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
_PARTING = 5.0
"""Seconds in which who looks on has gone, or is waited for no longer."""


class AtWork:
    """Whether a statement is at work: the block of a ``with``. Behind it nobody looks on beside it any more."""

    def __init__(self) -> None:
        self._since, self._over, self.beside = 0.0, threading.Event(), threading.Lock()
        """``beside``: held by who looks on."""

    def __enter__(self) -> None:
        self._since = time.monotonic()
        self._over.clear()

    def __exit__(self, *_: object) -> None:
        self._since = 0.0
        self._over.set()
        if self.beside.acquire(timeout=_PARTING):  # else its connection would be in the way of what comes next, where a role may have few
            self.beside.release()

    @property
    def seconds(self) -> float:
        """For how long; 0 if none is."""
        since = self._since
        return time.monotonic() - since if since else 0.0

    def over(self, seconds: float) -> bool:
        """Whether none is, or it ends within this time."""
        return self._over.wait(seconds)


@contextmanager
def looking_out(work: AtWork, connected: Callable[[], AbstractContextManager[Callable[[], str]]], told: Told) -> Iterator[None]:
    """Tells of a lock that is waited for. ``connected``: a connection beside the one that is at ``work``, with what says who is in its way: there is one only
    as long as a statement is at work for long, as a role may have few.
    """
    stop = threading.Event()

    def look() -> None:
        seen = 0
        with suppress(PortError), connected() as waits:  # who waits goes on waiting; it only is not told for what
            while not work.over(EVERY):
                said = waits()
                seen = seen + 1 if said else 0
                if seen % AGAIN == 2:
                    told(said)

    def watch() -> None:
        while not stop.wait(EVERY):
            if work.seconds >= EVERY:
                with work.beside:
                    look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(EVERY)  # Ctrl-C is not to wait for a server that hangs
