"""Who is at the client's end of sessions, as far as this host tells: a pooler lends its sessions to whoever comes, and each bears the name of the last one
(pgbouncer, ``pool_mode = transaction``, sets application_name whenever it lends one).
"""

import os
from collections.abc import Iterator, Sequence

from bleen.host import processes
from bleen.host.files import user
from bleen.host.launch import MARK

NOWHERE = "nothing that runs on this host"


def straight(descriptor: int, client: str, port: int) -> bool:
    """Whether the server sees our own connection from where it is: then it sees those of other processes so, too. It does not over a unix socket, nor behind
    what forwards connections, such as a published port of a container.
    """
    return processes.socket_at(f"/proc/self/fd/{descriptor}") in processes.connected(client, port)


def strangers(ends: Sequence[tuple[str, int]]) -> Iterator[str]:
    """For each client's end, an address and a port as the server sees them: what is there that bleen has not started; empty if it has, or nobody can tell."""
    found = [processes.connected(*end) for end in ends]
    holders = processes.holders({inode for sockets in found for inode in sockets})
    for sockets in found:
        pids = [pid for inode in sockets for pid in holders.get(inode, ())]
        others = [uid for uid in {each.uid for each in sockets.values()} if os.geteuid() not in (0, uid)]
        if not sockets:
            yield NOWHERE
        elif any(pid == os.getpid() or processes.knows(pid, MARK) is not False for pid in pids):
            yield ""
        else:
            yield processes.named(pids[0]) if pids else f"a process of {user(others[0])}" if others else ""
