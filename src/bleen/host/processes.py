"""Processes known by pid and start time, so that a pid given to another process is never taken for the first (proc(5))."""

import errno
import os
import signal as signals
import struct
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from bleen.host.clock import boot_id, since_boot

if TYPE_CHECKING:
    import socket

_SOCK_DIAG, _BY_FAMILY, _DUMP, _ERROR, _LAST, _ESTABLISHED, _LISTEN, _INET6 = 4, 20, 0x301, 2, 3, 1, 10, 10
"""NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE, TCP_ESTABLISHED, TCP_LISTEN, AF_INET6 (netlink(7))."""
_SHOW_PEER, _PEER = 4, 2
"""UDIAG_SHOW_PEER, UNIX_DIAG_PEER."""
_NO_DIAG = (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL)

_LOOKS = 20
"""How often /proc/locks is read before it is believed to lack a lock."""


class Socket(NamedTuple):
    """One end of TCP on this host: a socket that listens, or is connected."""

    address: str
    """The local one, as /proc/net/tcp writes it."""
    uid: int
    """Whose it is: told also of a socket whose process we may not look into."""
    peer: int
    """The port at its other end; 0 where it listens."""


class Process(NamedTuple):
    """A process of this host."""

    pid: int
    start: int
    """Clock ticks since boot: field 22 of /proc/PID/stat."""
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it runs, or could: a stopped one is alive, a zombie is dead."""
        stat = _stat(self.pid)
        return self.boot == boot_id() and stat is not None and int(stat[19]) == self.start and stat[0] not in "ZX"

    @property
    def stopped(self) -> bool:
        """Whether it is alive and stopped by a signal (SIGSTOP, Ctrl-Z, a debugger)."""
        stat = _stat(self.pid)
        return self.alive and stat is not None and stat[0] in "Tt"

    @property
    def ends(self) -> bool:
        """Whether it is dead, or is just being taken down by the kernel, which lets go of its environment first (PF_EXITING)."""
        stat = _stat(self.pid)
        return not self.alive or stat is None or bool(int(stat[6]) & 4)

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return since_boot() - self.start / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int) -> bool:
        """Sends a signal to this very process; False if it is gone. Holds a pidfd meanwhile, so that the pid cannot change hands (pidfd_open(2))."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signals.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
        except PermissionError:
            raise PermissionError(errno.EPERM, f"{named(self.pid)} is another user's; end it as root: `kill {self.pid}`") from None
        finally:
            os.close(handle)


def find(pid: int) -> Process | None:
    """The living process that has this pid now."""
    stat = _stat(pid)
    if stat is None or stat[0] in "ZX":
        return None
    return Process(pid, int(stat[19]), boot_id())


def me() -> Process:
    """The process that asks."""
    found = find(os.getpid())
    assert found is not None, "/proc is not mounted"
    return found


def tree(process: Process, mark: str = "") -> list[Process]:
    """What is alive of a process and of what it started, also after the process itself has ended: its descendants, whoever shares the session that it
    led, and whoever carries ``mark``, a NAME=value, in the environment that it was started with. Never the process that asks.
    """
    if process.boot != boot_id():
        return []
    table = {each: stat for each in _pids() if (stat := _stat(each)) is not None and stat[0] not in "ZX"}
    there = table.get(process.pid)
    led = there is None or int(there[19]) == process.start  # else the pid has been given to somebody else, and with it the session's number
    members = {process.pid} if there is not None and led else set()
    for each, stat in table.items():
        if mark and _carries(each, mark):
            members.add(each)
        elif led and int(stat[3]) == process.pid and (there is not None or not mark or not _environment(each)):
            members.add(each)  # with its leader gone, only one that has wiped its own environment (setproctitle does) is believed by session alone
    children: dict[int, list[int]] = {}
    for each, stat in table.items():
        children.setdefault(int(stat[1]), []).append(each)
    todo = list(members)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in members:
                members.add(child)
                todo.append(child)
    return [Process(each, int(table[each][19]), process.boot) for each in sorted(members) if each != os.getpid()]


def ephemeral() -> range:
    """The ports from which the kernel gives some to clients (ip_local_port_range in ip(7))."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        low, high = f.read().split()
    return range(int(low), int(high) + 1)


def lent(port: int) -> bool:
    """Whether the kernel may give a port to a client: one of those that is not reserved (ip_local_reserved_ports in its ip-sysctl)."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_reserved_ports", encoding="ascii") as f:
            reserved = [each.partition("-") for each in f.read().strip().split(",") if each]
    except OSError:  # a kernel that knows none
        reserved = []
    return port in ephemeral() and not any(int(low) <= port <= int(high or low) for low, _, high in reserved)


def listening(port: int) -> dict[str, Socket]:
    """The sockets that listen on a TCP port, by inode.

    Asked of the kernel by sock_diag(7), which looks only where listening sockets are: /proc/net/tcp tells every connection of the host, and takes 70 ms
    where 30,000 of them are in TIME_WAIT. It is read where there is no sock_diag (gVisor, a kernel without its module).
    """
    return _sockets(port, _LISTEN)


def connected(address: str, port: int, to: int) -> dict[str, Socket]:
    """The sockets of this host that are connected from an address of it ("127.0.0.1", "::1") and a port to another port, by inode. One to somewhere else may
    have the same address and port at this end (RFC 9293 section 3.3.1: a connection is both ends).
    """
    own = taking(address)
    return {inode: each for inode, each in _sockets(port, _ESTABLISHED).items() if each.address in own and each.peer == to}


def listening_at(address: str) -> dict[str, Socket]:
    """The sockets that listen on an address ("host:port") or on every one of its kind, by inode; for a wildcard all that listen on the port.

    Whether they bar it altogether only a bind tells: the wildcard of IPv6 may have left IPv4 to others.
    """
    host, _, port = address.rpartition(":")
    return {inode: each for inode, each in listening(int(port)).items() if host in ("0.0.0.0", "[::]") or each.address in taking(host)}


def taking(host: str) -> frozenset[str]:
    """The local addresses, as ``Socket`` has them, on which a socket takes connections to a host: itself and the wildcard; IPv4's as IPv6 has them, too."""
    import socket  # as in sockets_by_diag

    if ":" in host:
        return frozenset((_as_proc(socket.inet_pton(socket.AF_INET6, host.strip("[]"))), _as_proc(bytes(16))))
    own = socket.inet_aton(host)
    return frozenset((_as_proc(bytes(4)), _as_proc(own), _as_proc(bytes(16)), _as_proc(bytes(10) + b"\xff\xff" + own)))


def _as_proc(address: bytes) -> str:
    """As /proc/net/tcp and tcp6 write an address: words of 32 bits in the host's own order."""
    return "".join(f"{int.from_bytes(address[i : i + 4], sys.byteorder):08X}" for i in range(0, len(address), 4))


def _sockets(port: int, state: int) -> dict[str, Socket]:
    try:
        return sockets_by_diag(port, state)
    except OSError as error:
        if error.errno not in _NO_DIAG:
            raise
        return sockets_by_table(port, state)


def sockets_by_diag(port: int, state: int = _LISTEN) -> dict[str, Socket]:
    """The sockets of a local port that are in a state of TCP, by inode, from sock_diag(7)."""
    import socket  # 5 ms, which a rollback that another process carries out need not pay

    found: dict[str, Socket] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            wanted = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, 1 << state) + struct.pack("!H46x", port)
            for message in _answers(kernel, wanted):  # struct inet_diag_msg
                peer = struct.unpack_from("!H", message, 22)[0]
                words = struct.unpack_from("=4I" if message[16] == _INET6 else "=I", message, 24)
                uid, inode = struct.unpack_from("=2I", message, 80)
                found[str(inode)] = Socket("".join(f"{word:08X}" for word in words), uid, peer)
    return found


def unix_peers() -> dict[str, str]:
    """Of every connected unix socket of this host the inode of its other end, by inode, from sock_diag(7) (struct unix_diag_msg); none where there is none."""
    import socket

    found: dict[str, str] = {}
    wanted = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 1 << _ESTABLISHED, 0, _SHOW_PEER, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        try:
            for message in _answers(kernel, wanted):
                inode, at = struct.unpack_from("=I", message, 20)[0], 32
                while at < len(message):
                    length, kind = struct.unpack_from("=HH", message, at)
                    if kind == _PEER:
                        found[str(inode)] = str(struct.unpack_from("=I", message, at + 4)[0])
                    at += length + 3 & ~3
        except OSError as error:
            if error.errno not in _NO_DIAG:
                raise
    return found


def sockets_by_table(port: int, state: int = _LISTEN) -> dict[str, Socket]:
    """The same from /proc/net/tcp and tcp6 (proc(5))."""
    found, said = {}, f"{state:02X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as f:
                rows = [line.split() for line in f if f" {said} " in line]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for row in rows:
            address, _, at = row[1].rpartition(":")
            if row[3] == said and int(at, 16) == port:
                found[row[9]] = Socket(address, int(row[7]), int(row[2].rpartition(":")[2], 16))
    return found


def _answers(kernel: "socket.socket", wanted: bytes) -> Iterator[bytes]:
    """The messages with which sock_diag answers, each with its header. Raises OSError if the kernel refuses to tell."""
    kernel.sendto(struct.pack("=IHHII", 16 + len(wanted), _BY_FAMILY, _DUMP, 0, 0) + wanted, (0, 0))
    while True:
        answer = kernel.recv(1 << 16)
        while answer:
            length, kind = struct.unpack_from("=IH", answer)
            if kind == _LAST:
                return
            if kind == _ERROR:
                raise OSError(-struct.unpack_from("=i", answer, 16)[0], "sock_diag")
            yield answer[:length]
            answer = answer[length + 3 & ~3 :]


def holds_socket(pid: int, inodes: set[str]) -> bool:
    """Whether a process has one of these sockets open."""
    return bool(descriptors(pid, inodes))


def descriptors(pid: int, inodes: set[str]) -> dict[str, str]:
    """Where a process has sockets open: inode to path in /proc. Nothing for a process that is gone or that we may not look into."""
    found: dict[str, str] = {}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{fd}"
            if (inode := socket_at(path)) in inodes:
                found[inode] = path
                if len(found) == len(inodes):
                    break
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    return found


def socket_at(path: str) -> str:
    """The inode of the socket that a descriptor in /proc is; empty if it is none."""
    try:
        link = os.readlink(path)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    return link[8:-1] if link.startswith("socket:[") else ""


def holder(inodes: set[str]) -> int | None:
    """The pid of a process that has one of these sockets open; None if none does, or if it cannot be seen."""
    return next((pid for pid in _pids() if holds_socket(pid, inodes)), None)


def holders(inodes: set[str]) -> dict[str, list[int]]:
    """The pids of all processes that have these sockets open, by inode, as far as they can be seen."""
    found: dict[str, list[int]] = {}
    for pid in _pids() if inodes else ():
        for inode in descriptors(pid, inodes):
            found.setdefault(inode, []).append(pid)
    return found


def owner(address: str) -> int | None:
    """The pid of a process that listens on an address ("host:port"), as ``listening_at`` has it; None if none does, or if it cannot be seen."""
    inodes = set(listening_at(address))
    return holder(inodes) if inodes else None


def locker(path: str) -> Process | None:
    """The living process that has taken a flock(2) on a file and has it open, by /proc/locks (proc(5)); None where that does not tell.

    Of one that we may not look into it is believed that it still has it open, if /proc/locks names the file's device, too, which btrfs keeps to itself.
    """
    try:
        file = os.stat(path)
    except OSError:
        return None
    held = ((int(fields[4]), fields[5]) for fields in locks() if fields[1] == "FLOCK" and fields[5].endswith(f":{file.st_ino}"))
    whole = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    holders = (pid for pid, which in held if _has_open(pid, file) or (which == whole and another_s(pid) is not None))
    return next((process for pid in holders if (process := find(pid))), None)


def locks() -> Iterator[Sequence[str]]:
    """The locks of files that are held, each as the fields of its line in /proc/locks (proc(5)); nothing where that is hidden, as by systemd's ProcSubset=pid.

    All of them several times: the kernel gives the list a page at a time, and what is unlocked between two pages makes it pass over other locks (1 of 100
    looks did not see one, with 200 that came and went, and more on a host that is busy). Who has found his need not go on.
    """
    for _ in range(_LOOKS):
        try:
            with open("/proc/locks", encoding="ascii") as f:
                seen = [line.split() for line in f]
        except OSError:
            return
        yield from seen


def another_s(pid: int) -> int | None:
    """The uid of a process that is another user's, into which we may not look; None for ours, for one that is gone, and for root, who may."""
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    return None if os.geteuid() in (0, owner) else owner


def command_line(pid: int) -> str:
    """What a process was started as, in one line for people to read; empty if it is gone."""
    text = " ".join(_arguments(pid))
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def named(pid: int) -> str:
    """A process as people are told of it: its pid, and what it was started as where that is known."""
    said = command_line(pid)[:100]
    return f"pid {pid} ({said})" if said else f"pid {pid}"


def program(pid: int) -> str:
    """The path by which a process was started; empty if it is gone."""
    return next(iter(_arguments(pid)), "")


def is_bleen(pid: int) -> bool:
    """Whether a process runs this program: a path that has its name in it, such as a backup of our state is given, is not enough."""
    argv = _arguments(pid)
    names = [os.path.basename(word) for word in argv[:2]]
    if "bleen" in names:
        return True
    module = next((after for word, after in pairwise(argv) if word == "-m"), "")
    return names[0].startswith("python") and module.partition(".")[0] == "bleen" if names else False


def _arguments(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def variables(name: str) -> dict[int, str]:
    """The value of an environment variable in every process that was started with it and that we may look into."""
    return {pid: value for pid in _pids() if (value := variable(pid, name))}


def variable(pid: int, name: str) -> str:
    """The value of an environment variable that a process was started with; empty if there is none, or if we may not look."""
    start = os.fsencode(f"{name}=")
    return next((os.fsdecode(entry[len(start) :]) for entry in _environment(pid) if entry.startswith(start)), "")


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; a name with spaces or brackets in it does no harm.

    None if there is no such process, or none that we may see. Whatever else prevents the look, too many open files say, does not make a process dead.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _environment(pid: int) -> list[bytes]:
    """The variables that a process was started with (NAME=value); none if it has written over them, or if we may not look."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            found = f.read()
        return [] if b"\0\0" in found else [entry for entry in found.split(b"\0") if b"=" in entry]  # a title has a = at times, and zeros behind it
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def _has_open(pid: int, file: os.stat_result) -> bool:
    try:
        return any(os.path.samestat(file, os.stat(f"/proc/{pid}/fd/{each}")) for each in os.listdir(f"/proc/{pid}/fd"))
    except OSError:  # it is gone, closes one just now, or is another user's
        return False


def _carries(pid: int, mark: str) -> bool:
    return os.fsencode(mark) in _environment(pid)
