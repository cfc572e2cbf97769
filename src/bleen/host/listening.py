"""Whether an address can be listened on, and who is in the way."""

import errno
import socket
import time
from pathlib import Path

from bleen.errors import Refused
from bleen.host import processes
from bleen.host.files import text_of

_LOWEST = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
"""Holds the first port that everybody may listen on (ip-sysctl)."""
_LETTING_GO = 3.0
"""Seconds that an address may be held by nobody who can be seen: a process that was killed is a zombie 0.1 s, or more under load, before its sockets close."""


def require_free(address: str) -> None:
    """Raises Refused, naming the holder, for an address ("host:port") that is taken or is not ours to take."""
    deadline = time.monotonic() + _LETTING_GO
    while error := _cannot_bind(address):
        if error.errno != errno.EADDRINUSE:
            raise Refused(f"the router cannot listen on {address}: {reason(address, error)}")
        if pid := processes.owner(address):
            raise Refused(f"{address} is held by {processes.named(pid)}: stop it, or listen elsewhere")
        if time.monotonic() > deadline:
            raise Refused(f"{address} is in use, and by whom cannot be seen: {unseen(address)}, or listen elsewhere")
        time.sleep(0.01)


def holder(address: str) -> int | None:
    """The pid of a process that keeps an address from being listened on; None if nothing does, or if it cannot be seen."""
    return processes.owner(address) if _cannot_bind(address) else None


def unseen(address: str) -> str:
    """What to do about an address that is in use, and of which no process is seen to listen there."""
    if processes.listening_at(address):
        return "look as root who holds it"
    kernel = processes.ephemeral()
    given = processes.lent(int(address.rpartition(":")[2]))
    lent = f", as its port is one of {kernel[0]}-{kernel[-1]}, which the kernel gives to clients" if given else ""
    return f"nobody listens there, so a connection has it{lent}: try again"


def reason(address: str, error: OSError) -> str:
    """Why an address cannot be listened on, and the way on where it is a port that only root may take."""
    port, said = int(address.rpartition(":")[2]), error.strerror or str(error)
    lowest = int(text_of(_LOWEST) or 0)
    if error.errno != errno.EACCES or port >= lowest:
        return said
    return f"{said}: ports below {lowest} are for root; run bleen as root, listen elsewhere, or `sudo sysctl net.ipv4.{_LOWEST.name}={port}`"


def _cannot_bind(address: str) -> OSError | None:
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, where = socket.getaddrinfo(host.strip("[]*") or "0.0.0.0", int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as proxies do: connections that linger from before are no hindrance
            probe.bind(where)
    except OSError as error:
        return error
    return None
