"""Health without waiting: looks are taken beside the tick, so that a hanging target delays nobody's command."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from bleen.errors import PortError, trace
from bleen.model import Environment, Health
from bleen.plan import Probe
from bleen.ports import Platform

_LOST = 60.0
"""Seconds beyond its patience after which a look is no longer waited for: a platform hangs, or the disk that it reads."""


class Sight(NamedTuple):
    """What was last seen of an environment."""

    health: Health | None = None
    at: float = float("-inf")
    """When that look began."""
    failures: int = 0
    """Looks in a row that found no target ready."""
    fall: int = 3
    trouble: str = ""
    """Why the last look could not be taken. That is neither health nor death."""

    @property
    def healthy(self) -> bool:
        return self.health is not None and self.health.healthy and not self.trouble

    @property
    def partly(self) -> bool:
        """At least one target is ready."""
        return self.health is not None and self.health.ready > 0 and not self.trouble

    @property
    def dead(self) -> bool:
        """Every target failed ``fall`` looks in a row, or its processes keep crashing."""
        return self.failures >= self.fall or (self.health is not None and self.health.crashing)

    def fresh(self, now: float, probe: Probe) -> bool:
        """Whether it is as new as what is seen by who looks all the time: the next look may be under way, and take as long again."""
        return self.at >= now - 2 * probe.patience - probe.interval

    @property
    def why(self) -> str:
        if self.trouble or self.health is None:
            return self.trouble or "not looked at yet"
        return self.health.why or ("" if self.healthy else f"{self.health.ready} of {self.health.wanted} ready")


class _Waiting(NamedTuple):
    """For a look that is under way."""

    asked: float
    seconds: float = 0.0

    def still(self, now: float) -> "_Waiting":
        """It is asked for again. Where nobody asked for longer, nobody was there, and perhaps the look was stopped as well."""
        return _Waiting(now, self.seconds + min(now - self.asked, 1.0))


def in_a_thread(look: Callable[[], None]) -> None:
    """Takes a look beside the tick, and waits for it as long as a healthy target takes to answer."""
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(0.02)


class Watch:
    """Looks at environments no more often than their interval says, one look at a time each."""

    def __init__(self, taking: Callable[[Callable[[], None]], None] = in_a_thread, log: Callable[[str], None] = lambda _: None) -> None:
        self._taking, self._log = taking, log
        self._lock = threading.Lock()
        self._sights: dict[Environment, Sight] = {}
        self._under_way: dict[Environment, _Waiting] = {}

    def look(self, platform: Platform, environment: Environment, probe: Probe, now: float, since: float = float("-inf")) -> Sight:
        """The last thing seen; takes another look when one is due, or when the last one began before ``since``. Never waits longer than ``taking`` does."""
        with self._lock:
            sight = self._sights.get(environment, Sight())
            waiting = self._under_way.get(environment)
            due = waiting is None and (now >= sight.at + probe.interval or sight.at < since)
            if due:
                self._under_way[environment] = _Waiting(now)
            elif waiting:
                self._under_way[environment] = waiting = waiting.still(now)
        if due:
            try:
                self._taking(lambda: self._take(platform, environment, probe, now))
            except RuntimeError as error:  # a host that is out of threads is neither health nor death
                with self._lock:
                    self._under_way.pop(environment, None)
                    self._sights[environment] = sight._replace(at=now, fall=probe.fall, trouble=f"no look can be taken: {error}")
        if waiting and waiting.seconds >= probe.patience + _LOST:
            return sight._replace(at=now, trouble=f"a look is waited for for {waiting.seconds:.0f} s and has not come back")
        with self._lock:
            return self._sights.get(environment, Sight())

    def forget(self, keep: set[Environment]) -> None:
        """Drops what was seen of environments that are gone."""
        with self._lock:
            self._sights = {e: s for e, s in self._sights.items() if e in keep}

    def _take(self, platform: Platform, environment: Environment, probe: Probe, now: float) -> None:
        with self._lock:
            seen = was = self._sights.get(environment, Sight())
        try:
            health = platform.health(environment)
            seen = Sight(health, now, 0 if health.ready else was.failures + 1, probe.fall)
        except PortError as error:
            seen = was._replace(at=now, fall=probe.fall, trouble=str(error))
        except Exception as error:  # noqa: BLE001 - a bug of ours is neither health nor death
            self._log(f"a look at {environment}: {trace()}")
            seen = was._replace(at=now, fall=probe.fall, trouble=f"a bug in bleen, please report it: {type(error).__name__}: {error}")
        finally:
            with self._lock:  # at once: who came between the two would find that the next look is due
                self._under_way.pop(environment, None)
                self._sights[environment] = seen
