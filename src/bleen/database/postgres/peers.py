"""Who is at the client's end of sessions, as far as this host tells: a pooler lends its sessions to whoever comes, and each bears the name of the last one
(pgbouncer, ``pool_mode = transaction``, sets application_name whenever it lends one).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache

from bleen.errors import Unavailable
from bleen.host import launch, processes, state
from bleen.host.files import user
from bleen.host.launch import MARK

NOWHERE = "nothing that runs on this host"


def straight(descriptor: int, client: str, port: int) -> bool:
    """Whether the server sees our own connection from where it is: then it sees those of other processes so, too. It does not over a unix socket, nor behind
    what forwards connections, such as a published port of a container.
    """
    return processes.socket_at(f"/proc/self/fd/{descriptor}") in processes.connected(client, port)


def strangers(ends: Sequence[tuple[str, int]]) -> Iterator[str]:
    """For each client's end, an address and a port as the server sees them: what is there that bleen has not started; empty if it has, or nobody can tell.

    What bleen has started, and all that comes of that, is told by the environment that each gets, or by its place among the processes of a copy: an
    application may clean its environment, or write over it, and so may a pooler.
    """
    started = cache(_started)
    found = [processes.connected(*end) for end in ends]
    holders = processes.holders({inode for sockets in found for inode in sockets})
    for sockets in found:
        pids = [pid for inode in sockets for pid in holders.get(inode, ())]
        others = [uid for uid in {each.uid for each in sockets.values()} if os.geteuid() not in (0, uid)]
        if not sockets:
            yield NOWHERE
        elif any(pid == os.getpid() or processes.variable(pid, MARK) or pid in started() for pid in pids):
            yield ""
        else:
            yield processes.named(pids[0]) if pids else f"a process of {user(others[0])}" if others else ""


def _started() -> set[int]:
    """Every process of a copy, of whatever service and state of this host."""
    living = (state.holding(record) for record in processes.variables(MARK).values())
    pids: set[int] = set()
    for root in {state.root(), *(place.root for place in living if place)}:
        for record in root.glob("services/*/environments/*/[0-9]*.json"):
            with suppress(Unavailable, PermissionError):  # of one that cannot be read nobody can tell
                pids.update(each.pid for each in launch.remains(record))
    return pids
