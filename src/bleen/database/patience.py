"""A lock is asked for briefly, and then again: as long as we stand in its queue, whoever comes after us waits too."""

import random
import time

from bleen.database.migration import Locks
from bleen.database.server import NotGiven, Told

LONGEST = 2.0
"""Seconds that a pause grows to; it is half as long or half as much again, so that two who are in each other's way do not stay there."""


class Patience:
    """The tries of one change, from its first on, for ``locks.patience`` seconds."""

    def __init__(self, locks: Locks, told: Told) -> None:
        self._locks, self._told = locks, told
        self._deadline, self._pause = time.monotonic() + locks.patience, locks.timeout

    @property
    def over(self) -> bool:
        """Whether the last try was the last."""
        return time.monotonic() >= self._deadline

    def again(self, waited: str, left: str = "nothing was changed by it") -> None:
        """Tells what the last try waited for, and pauses before the next. Raises NotGiven, with what the last try has ``left``, if there is none."""
        if self.over:
            raise NotGiven(f"{waited}; {left}; tried for {self._locks.patience:g} s")
        self._told(f"{waited}; tries again")
        time.sleep(random.uniform(0.5, 1.5) * self._pause)
        self._pause = min(self._pause * 1.5, LONGEST)
