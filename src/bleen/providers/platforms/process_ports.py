"""Gives out ports, across all services of a host: what the records of every service say is taken, whether it runs now or not."""

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bleen.errors import Refused, Unavailable
from bleen.host import launch, processes
from bleen.host.files import counted, keep_count, locked, matching
from bleen.providers.platforms import process_record

RANGE = (20000, 29999)
PATIENCE = 0.5
"""Seconds to wait for a lock of all services while the fence of one is held, at which its rollback waits."""


@contextmanager
def giving_out(lock: Path, limits: Sequence[int], count: int, patience: float = PATIENCE) -> Iterator[tuple[int, ...]]:
    """So many ports that nobody has; they must be recorded before this ends. Raises Refused if there are not as many in the range, and Unavailable while
    another service is given some, which takes milliseconds, after ``patience`` seconds.

    The search goes on after the last port given out (the lock's own content), so that a port is not used again while somebody may still send to its
    last owner. The kernel's ephemeral range is left out: a client's connection could hold a port of it.
    """
    if count == 0:
        yield ()
        return
    with locked(lock, patience, "ports are being given out to another service") as handle:
        low, high = limits
        kernel = processes.ephemeral()
        usable = [port for port in range(low, high + 1) if port not in kernel]
        last = counted(handle)
        taken = _recorded(lock.parent / "services")
        found: list[int] = []
        for port in sorted(usable, key=lambda port: (port <= last, port)):
            if len(found) == count:
                break
            if port not in taken and _is_free(port):
                found.append(port)
        if len(found) < count:
            given = Counter(taken[port] for port in usable if port in taken)
            whose = f"; given out there: {', '.join(f'{service} {number}' for service, number in sorted(given.items()))}" if given else ""
            raise Refused(
                f"only {len(found)} of {count} ports are free in {low}-{high} (without {kernel[0]}-{kernel[-1]}, from which the kernel gives ports to"
                f" clients){whose}; set platform.process.ports to a larger range"
            )
        keep_count(handle, found[-1])
        yield tuple(found)


class Stranger(NamedTuple):
    """Who listens on a port that was given out to somebody else."""

    pid: int | None
    """None if it cannot be seen."""
    uid: int
    """Whose socket it is."""

    @property
    def may_be_closing(self) -> bool:
        """Whether it may be a process of ours that has ended, and is still to close its sockets. Root sees all that are alive, and what it starts may have
        become anybody; whoever is not root starts copies as itself only.
        """
        return self.pid is None and os.geteuid() in (0, self.uid)

    def __str__(self) -> str:
        return processes.named(self.pid) if self.pid else f"a process of uid {self.uid}, which we may not look into,"


def stranger(port: int, record: Path) -> Stranger | None:
    """Who listens on an instance's port and is not of it; ``record`` is the instance's launch record. On any address: the instance may want them all."""
    found = processes.listening(port)
    if not found:
        return None
    for member in launch.remains(record):
        for inode in processes.descriptors(member.pid, set(found)):
            del found[inode]
    return Stranger(processes.holder(set(found)), next(iter(found.values())).uid) if found else None


def _recorded(services: Path) -> dict[int, str]:
    """The ports that were given out, and which service has each. A record that cannot be read is its own service's trouble: whoever still listens on its
    ports is seen by ``_is_free``.
    """
    found: dict[int, str] = {}
    for path in matching(services, "*/environments/*"):
        with suppress(Unavailable):
            if path.name[0] != "." and (record := process_record.read(path)):
                found.update(dict.fromkeys(record.ports, path.parent.parent.name))
    return found


def _is_free(port: int) -> bool:
    """Whether nobody listens there. SO_REUSEADDR: connections that an earlier owner left in TIME_WAIT do no harm (socket(7))."""
    for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((anywhere, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # a host without IPv6
                raise
    return True
