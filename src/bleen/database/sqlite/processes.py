"""Who else has a SQLite database open: evidence of this host alone, as SQLite keeps no list of whom it serves."""

import os
import pwd
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bleen.database.server import Session
from bleen.host.processes import command_line, variable

APPLICATION = "BLEEN_APPLICATION"
"""The variable of a process's environment that says what it calls itself towards a database: ``bleen:shop:blue``."""

_OURS = re.compile(r"bleen\.database\.worker|bleen\S* migrate\b")
_WRITER = 120
"""The byte of the -shm file that a writer of a database in WAL mode locks (SQLite, "WAL-mode File Format", section 2.2)."""


class Lock(NamedTuple):
    """A lock of /proc/locks on one of the files of a database."""

    pid: int
    writes: bool


def sessions(path: Path) -> list[Session]:
    """The other processes that have the file open, as far as we may look into them."""
    file = os.stat(path)
    return [
        Session(pid, _application(pid), _user(pid), "this host", command_line(pid))
        for pid in _pids()
        if pid != os.getpid() and any(os.path.samestat(file, each) for each in _files(pid))
    ]


def in_the_way(path: Path) -> list[Lock]:
    """Who of the others holds locks that a writer waits for, by /proc/locks (proc(5)); nobody where there is none, or where it does not tell.

    In WAL mode that is the one who writes; else also who reads, as their locks keep a commit waiting (SQLite, "File Locking And Concurrency").
    """
    main, shared = _stat(path), _stat(path.with_name(f"{path.name}-shm"))
    found: list[Lock] = []
    for line in _locks():
        kind, pid, on, begin = line[3], int(line[4]), line[5], line[6]
        if pid in (-1, 0, os.getpid()):
            continue
        if shared is None and _is(on, main, pid):
            found.append(Lock(pid, kind == "WRITE"))
        elif begin == str(_WRITER) and _is(on, shared, pid):
            found.append(Lock(pid, True))
    return [lock for lock in found if lock.writes] or found


def words(lock: Lock) -> str:
    """For people."""
    doing = "writes" if lock.writes else "reads"
    return f"process {lock.pid} ({_application(lock.pid) or 'no ' + APPLICATION}, {doing}): {' '.join(command_line(lock.pid).split())[:80]}"


def _application(pid: int) -> str:
    """What a process calls itself; one of our own is known by its command line."""
    return variable(pid, APPLICATION) or ("bleen migrate" if _OURS.search(command_line(pid)) else "")


def _user(pid: int) -> str:
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except FileNotFoundError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _files(pid: int) -> Iterator[os.stat_result]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    for name in names:
        try:
            yield os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:  # closed meanwhile, or something that has no inode to look at
            continue


def _is(on: str, file: os.stat_result | None, pid: int) -> bool:
    """Whether what a process has locked (device and inode) is a file. Some file systems (btrfs) tell stat(2) of another device: there, who has it open."""
    major, minor, inode = on.split(":")
    if file is None or int(inode) != file.st_ino:
        return False
    return os.makedev(int(major, 16), int(minor, 16)) == file.st_dev or any(os.path.samestat(file, each) for each in _files(pid))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _locks() -> Iterator[list[str]]:
    try:
        text = Path("/proc/locks").read_text()
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 8 and fields[1] == "POSIX":  # one that waits has an arrow more
            yield fields


def told(locks: Sequence[Lock]) -> str:
    """What goes behind an error; empty if nobody was seen."""
    return f"; in the way: {'; '.join(words(lock) for lock in locks)}" if locks else ""
