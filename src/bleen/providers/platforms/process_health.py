"""One look at a target: does it answer, and is it the one that we started, or an old process that still has the port?"""

import errno
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bleen.errors import Unavailable
from bleen.host import launch, processes
from bleen.host.processes import Process
from bleen.model import Target
from bleen.plan import Probe
from bleen.providers.platforms.process_record import HOST

_RENEW = 10.0
"""Seconds after which a proof is made again: somebody may have joined the port with SO_REUSEPORT."""
_HEAD = 65536
"""How much is read in search of a status."""
_REST = 4 << 20
"""How much of an answer's rest is read, so that the application is not sent a reset in the middle of it."""
_TAKING = processes.taking(HOST)
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL)
"""What says that this host, or bleen itself, is short of something: no news of the target."""


def look(target: Target, probe: Probe) -> str:
    """GET of the probe's path; empty if it is answered with 200 to 399, else what was found. Takes at most ``probe.patience`` seconds.

    Raises Unavailable if the look itself could not be made, which says nothing of the target.
    """
    deadline = time.monotonic() + probe.patience
    try:
        with socket.socket() as connection:
            connection.settimeout(probe.patience)
            connection.connect((target.host.encode(), target.port))  # bytes: for a str, Python loads its codec of international names
            request = f"GET {probe.path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bleen\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            status = _status(connection, deadline)
    except ConnectionRefusedError:
        return _refusal(target.port)
    except TimeoutError:
        return f"gave no answer within {probe.patience:g} s"
    except OSError as error:
        if error.errno in _OURS:
            raise Unavailable(f"{target} could not be asked how it is: {error.strerror}") from None
        return f"broke the connection ({error.strerror or error})"
    return "" if status.isdecimal() and 200 <= int(status) <= 399 else f"answered {status}"


def _refusal(port: int) -> str:
    """Why nobody takes connections to a port of HOST."""
    try:
        addresses = {each.address for each in processes.listening(port).values()}
    except OSError:  # the host is short of something, or tells nobody: what was seen is said as it is
        return "refused the connection"
    if not addresses:
        return "nothing listens on the port"
    return "refused the connection" if addresses & _TAKING else f"the port is listened on, but not at {HOST}"


def look_at_all(targets: Mapping[int, Target], probe: Probe) -> dict[int, str]:
    """``look`` at all of them at once. Raises what one of the looks did: a bug of ours is no news of the target either."""
    found = dict[int, str]()
    failed = list[Exception]()

    def one(instance: int, target: Target) -> None:
        try:
            found[instance] = look(target, probe)
        except Exception as error:  # noqa: BLE001 - raised below, where somebody hears of it
            failed.append(error)

    threads = [threading.Thread(target=one, args=item, daemon=True) for item in targets.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return found


def _status(connection: socket.socket, deadline: float) -> str:
    """The status of the answer, informational ones (1xx, RFC 9110 section 15.2) passed over; words if it is no answer."""
    got = b""
    while True:
        if interim := re.match(rb"HTTP/1\.[01] 1\d\d.*?\r\n\r\n", got, re.DOTALL):
            got = got[interim.end() :]
        elif line := re.match(rb"HTTP/1\.[01] ([2-9]\d\d)[ \r\n]", got):
            _finish(connection, deadline)
            return line[1].decode()
        elif len(got) > _HEAD or (len(got) >= 13 and not got.startswith(b"HTTP/1.")):
            return f"something that is not HTTP: {got[:40]!r}"
        else:
            connection.settimeout(_left(deadline))
            if not (more := connection.recv(16384)):
                return f"something that is not HTTP: {got[:40]!r}" if got else "nothing and closed the connection"
            got += more


def _finish(connection: socket.socket, deadline: float) -> None:
    """Takes the rest of an answer if it comes soon: half a second is long also for an application that has to wait for a processor."""
    soon, got = min(deadline, time.monotonic() + 0.5), 0
    try:
        while got < _REST and time.monotonic() < soon:
            connection.settimeout(_left(soon))
            more = len(connection.recv(65536))
            if not more:
                return
            got += more
    except OSError:  # the status has been read; what the application does after it is its own affair
        return


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Proof(NamedTuple):
    """That the only socket which can take connections to a port is open in a process of the instance's tree."""

    main: Process
    inode: str
    descriptor: str
    holder: Process
    at: float


class Owners:
    """Knows whose the listening sockets are. A proof is a walk through /proc; that it still holds costs two reads. Threads share it: a proof goes in whole."""

    def __init__(self) -> None:
        self._proofs: dict[int, _Proof] = {}

    def objection(self, record: Path, main: Process, port: int) -> str:
        """Why an answer at an instance's port would not be the instance's own: who else takes connections there, or that nobody does, in words.

        Empty if it would be. To be asked before the target is: a port that nobody listens on yet may be an old process's a moment later.
        """
        proof = self._proofs.pop(port, None)
        if (
            proof
            and proof.main == main
            and time.monotonic() < proof.at + _RENEW
            and proof.holder.alive
            and processes.socket_at(proof.descriptor) == proof.inode
        ):
            self._proofs[port] = proof
            return ""
        inodes = {inode for inode, each in processes.listening(port).items() if each.address in _TAKING}
        if not inodes:
            return _refusal(port)
        found: dict[str, tuple[str, Process]] = {}
        for member in _members(record, main):
            found.update({inode: (path, member) for inode, path in processes.descriptors(member.pid, inodes).items()})
            if len(found) == len(inodes):
                inode, (path, holder) = next(iter(found.items()))
                self._proofs[port] = _Proof(main, inode, path, holder, time.monotonic())
                return ""
        return _named(inodes - set(found))


def _members(record: Path, main: Process) -> Iterator[Process]:
    """The instance's tree, the process itself first: mostly the socket is its own, and no other process of the host need be looked at."""
    yield main
    yield from launch.remains(record)


def _named(inodes: set[str]) -> str:
    pid = processes.holder(inodes)
    if pid is None:
        return "another process, which we may not look into, listens there"
    return f"another process, {processes.named(pid)}, listens there"
