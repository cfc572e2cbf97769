"""Time that no change of the wall clock moves."""

import re
import time
from functools import cache

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def since_boot() -> float:
    """Seconds since boot, time asleep included (CLOCK_BOOTTIME, clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """Changes with every boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as f:
        return f.read().strip()


def wall() -> float:
    """Seconds since the epoch, for people to read; no time that a release takes is decided by it."""
    return time.time()


def local(seconds: float) -> str:
    """Seconds since the epoch as every list and log has them: the host's own time, with its offset from UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def duration(text: str) -> float | None:
    """A length of time as people write it, ``200ms 5s 15m 2h 1d``, in seconds; None for anything else, such as a bare number."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)", text)
    return round(float(found[1]) * _UNITS[found[2]], 6) if found else None
