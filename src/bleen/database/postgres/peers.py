"""Who is at the client's end of sessions, as far as this host tells: a pooler lends its sessions to whoever comes, and each bears the name of the last one
(pgbouncer, ``pool_mode = transaction``, sets application_name whenever it lends one).
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from bleen.host import processes, state
from bleen.host.files import user
from bleen.host.launch import MARK

NOWHERE = "nothing that runs on this host"


class End(NamedTuple):
    """The client's end of a session, as the server tells it."""

    pid: int
    """Of the server's own process."""
    client: str
    port: int
    """-1 over a unix socket, or where a role may not see it."""


def straight(descriptor: int, client: str, port: int, to: int) -> bool:
    """Whether the server sees connections from where they are: our own, then, and over a unix socket whoever listens there has the network that we have. It
    does not behind what forwards connections, such as a published port of a container.
    """
    with socket.socket(fileno=os.dup(descriptor)) as ours:
        if ours.family != socket.AF_UNIX:
            return processes.socket_at(f"/proc/self/fd/{descriptor}") in processes.connected(client, port, to)
        pid, _, _ = struct.unpack("3i", ours.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return pid > 0 and os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:  # another user's, into which we may not look
        return False


def strangers(ends: Sequence[End], to: int) -> Iterator[str]:
    """For each client's end of sessions on a port: what is there that bleen has not started; empty if it has, or nobody can tell.

    What bleen has started, and all that comes of that, is told by the environment that each gets, or by its place among the processes of a copy: an
    application may clean its environment, or write over it, and so may a pooler.
    """
    started = cache(state.copies)
    unix = processes.unix_peers() if any(end.port < 0 for end in ends) else {}
    found = [_sockets(end, to, unix) for end in ends]
    holders = processes.holders({inode for sockets in found for inode in sockets})
    for end, sockets in zip(ends, found, strict=True):
        pids = [pid for inode in sockets for pid in holders.get(inode, ())]
        others = [uid for uid in sockets.values() if uid is not None and os.geteuid() not in (0, uid)]
        if not sockets:
            yield NOWHERE if end.port > 0 else ""
        elif any(pid == os.getpid() or processes.variable(pid, MARK) or pid in started() for pid in pids):
            yield ""
        else:
            yield processes.named(pids[0]) if pids else f"a process of {user(others[0])}" if others else ""


def _sockets(end: End, to: int, unix: Mapping[str, str]) -> Mapping[str, int | None]:
    """The sockets at a client's end, by inode, and whose each is, where that is told."""
    if end.port > 0:
        return {inode: each.uid for inode, each in processes.connected(end.client, end.port, to).items()}
    if not processes.command_line(end.pid).startswith("postgres"):  # the server is elsewhere, and the number is another one's here
        return {}
    return {unix[inode]: None for inode in processes.descriptors(end.pid, set(unix))}
