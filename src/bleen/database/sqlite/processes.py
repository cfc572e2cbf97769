"""Who else has a SQLite database open: evidence of this host alone, as SQLite keeps no list of whom it serves."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bleen.database.server import Session
from bleen.host.files import user
from bleen.host.processes import command_line, variable

APPLICATION = "BLEEN_APPLICATION"
"""The variable of a process's environment that says what it calls itself towards a database: ``bleen:shop:blue``."""

_OURS = re.compile(r"bleen\.database\.worker|bleen\S* migrate\b")
_PEOPLE = range(1000, 60001)
"""Users that are no daemons' (UID_MIN and UID_MAX of login.defs(5))."""
_LOCKS = Path("/proc/locks")
_HIDDEN = "this host, where /proc shows it to root alone"
_WRITER = 120
"""The byte of the -shm file that a writer of a database in WAL mode locks (SQLite, "WAL-mode File Format", section 2.2)."""


class Lock(NamedTuple):
    """A lock of /proc/locks on one of the files of a database."""

    pid: int
    writes: bool


def sessions(path: Path) -> list[Session]:
    """The other processes that have the file open. Those that we may not look into, or that /proc hides (hidepid, proc(5)), are known by their locks, which in
    WAL mode all have who have read it.

    Without WAL they have none between transactions, and not every /proc tells of locks (systemd's ProcSubset=pid): there, a user whose processes may have it
    open is one session more, whose ``client`` says what to do.
    """
    file, shared = os.stat(path), _stat(path.with_name(f"{path.name}-shm"))
    pids = [pid for pid in _pids() if pid != os.getpid()]
    opened = {pid: _has_open(pid, file) for pid in pids}
    closed = [pid for pid in pids if opened[pid] is None]
    locks = [(int(line[4]), line[5]) for line in _locks()]
    unknown = [(pid, on) for pid, on in locks if pid != os.getpid() and opened.get(pid) is None]
    holding = {pid for pid, on in unknown if _is(on, file, pid) or _is(on, shared, pid)}
    having = sorted(holding.union(pid for pid in pids if opened[pid]))
    found = [Session(pid, _application(pid), _user(pid), "this host" if pid in pids else _HIDDEN, command_line(pid)) for pid in having]
    return found if shared and _LOCKS.exists() else [*found, *_unseen(path.resolve(), [pid for pid in closed if pid not in holding])]


def _unseen(path: Path, closed: Sequence[int]) -> Iterator[Session]:
    """One session of each user whose processes could have the file open. Not of root, nor of our own: theirs that may not be looked into run on every host."""
    told = {0, os.geteuid()}
    for pid in closed:
        uid, groups = _credentials(pid)
        if uid not in told and _may_open(path, uid, groups):
            told.add(uid)
            yield Session(
                pid, "", user(uid), f"this host: it may open {path.name}, and only root sees whether it has; chmod, if it need not", command_line(pid)
            )
    if 1 not in _pids() and _may_open(path, _PEOPLE[-1], {os.stat(path).st_gid}):
        yield Session(0, "", "any other", f"this host, where /proc shows no processes of others, which may open {path.name}; chmod, if they need not", "")


def _may_open(path: Path, uid: int, groups: Collection[int]) -> bool:
    """Whether a user may open a file. What everybody may only read is nothing to daemons, which run on every host: there, people count."""

    def bits(each: os.stat_result) -> int:
        return each.st_mode >> (6 if each.st_uid == uid else 3 if each.st_gid in groups else 0)

    file = os.stat(path)
    meant = uid == file.st_uid or file.st_gid in groups or uid in _PEOPLE
    return bool(bits(file) & (6 if meant else 2)) and all(bits(os.stat(each)) & 1 for each in path.parents)


def _credentials(pid: int) -> tuple[int, frozenset[int]]:
    """The user and the groups that a process acts as; root, which is asked nothing, for one that is gone."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(lines["Uid"].split()[1]), frozenset(map(int, [lines["Gid"].split()[1], *lines["Groups"].split()]))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        there = _stat(Path(f"/proc/{pid}"))
        return there.st_uid if there else 0, frozenset()


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
    return f"process {lock.pid} ({_application(lock.pid) or 'no ' + APPLICATION}, {doing}): {command_line(lock.pid)[:80]}"


def _application(pid: int) -> str:
    """What a process calls itself; one of our own is known by its command line."""
    return variable(pid, APPLICATION) or ("bleen migrate" if _OURS.search(command_line(pid)) else "")


def _user(pid: int) -> str:
    try:
        return user(os.stat(f"/proc/{pid}").st_uid)
    except FileNotFoundError:
        return "unknown"


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _has_open(pid: int, file: os.stat_result) -> bool | None:
    """Whether a process has a file open; None if we may not look, or if /proc hides it."""
    try:
        return any(os.path.samestat(file, each) for each in _files(pid))
    except (FileNotFoundError, ProcessLookupError):
        return None if _hidden(pid) else False
    except PermissionError:
        return None


def _hidden(pid: int) -> bool:
    """Whether a process is there that /proc does not show: kill(2) knows it."""
    if os.path.exists(f"/proc/{pid}"):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _files(pid: int) -> Iterator[os.stat_result]:
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            yield os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:  # closed meanwhile, or something that has no inode to look at
            continue


def _is(on: str, file: os.stat_result | None, pid: int) -> bool:
    """Whether what a process has locked (device and inode) is a file. Some file systems (btrfs) tell stat(2) of another device: there, who may have it open."""
    major, minor, inode = on.split(":")
    if file is None or int(inode) != file.st_ino:
        return False
    return os.makedev(int(major, 16), int(minor, 16)) == file.st_dev or _has_open(pid, file) is not False


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _locks() -> Iterator[list[str]]:
    try:
        text = _LOCKS.read_text()
    except OSError:
        return
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 8 and fields[1] == "POSIX":  # one that waits has an arrow more
            yield fields


def told(locks: Sequence[Lock]) -> str:
    """What goes behind an error; empty if nobody was seen."""
    return f"; in the way: {'; '.join(words(lock) for lock in locks)}" if locks else ""
