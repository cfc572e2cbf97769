"""Time that no change of the wall clock moves."""

import time
from functools import cache


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
