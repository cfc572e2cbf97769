"""Processes known by pid and start time, so that a pid given to another process is never taken for the first (proc(5))."""

import os
import signal as signals
from collections.abc import Iterator
from typing import NamedTuple

from bleen.host.clock import boot_id


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

    def signal(self, number: int) -> bool:
        """Sends a signal to this very process; False if it is gone. Holds a pidfd meanwhile, so that the pid cannot change hands (pidfd_open(2))."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive:
                return False
            signals.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
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


def tree(pid: int) -> list[int]:
    """The pid itself, its living descendants, and whoever shares its session: what a daemon and its workers are."""
    children: dict[int, list[int]] = {}
    members = {pid}
    for each in _pids():
        stat = _stat(each)
        if stat is not None and stat[0] not in "ZX":
            children.setdefault(int(stat[1]), []).append(each)
            if int(stat[3]) == pid:
                members.add(each)
    todo = list(members)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in members:
                members.add(child)
                todo.append(child)
    return sorted(p for p in members if _stat(p) is not None)


def listening(port: int) -> dict[str, str]:
    """The sockets that listen on a TCP port: inode to local address as /proc/net/tcp writes it."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as f:
                next(f)
                for line in f:
                    fields = line.split()
                    if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                        found[fields[9]] = fields[1]
        except FileNotFoundError:
            continue
    return found


def holds_socket(pid: int, inodes: set[str]) -> bool:
    """Whether a process has one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    try:
        return any(_link(f"/proc/{pid}/fd/{fd}") in wanted for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def owner(port: int) -> int | None:
    """The pid of a process that listens on a TCP port; None if none does, or if it cannot be seen."""
    inodes = set(listening(port))
    return next((pid for pid in _pids() if holds_socket(pid, inodes)), None) if inodes else None


def command_line(pid: int) -> str:
    """What a process was started as, for people to read; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; a name with spaces or brackets in it does no harm."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()
    except OSError:
        return None


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
