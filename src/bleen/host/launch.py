"""Starts programs that are nobody's child, and ends them; each is known by a record that the program's own process wrote before it became that program.

Nothing that serves may die with the process that started it. A launched process has been re-parented to init before its program begins (Envoy asks the
kernel to end it with the thread that launched it, PR_SET_PDEATHSIG in prctl(2)), has a session of its own, the default signal dispositions and no
descriptor of ours. ``BLEEN_RECORD`` in its environment names its record, so that what it started is known after it has ended.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bleen.errors import Refused, Unavailable
from bleen.host import launcher, processes
from bleen.host.files import in_words, locked, locked_by
from bleen.host.processes import Process

MARK = "BLEEN_RECORD"

_PATIENCE = 8.0
"""Seconds that a launch may take, the one that it waits for included."""
_LAUNCHER = Path(__file__).with_name("launcher.py")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.ETXTBSY, errno.EIO, errno.ESTALE)
"""What execve(2), fork(2) and open(2) answer when the same call may succeed later."""


class Program(NamedTuple):
    """What to start. ``env`` is the whole environment; it is handed over by a pipe, never on a command line."""

    argv: Sequence[str]
    directory: str
    env: Mapping[str, str]
    log: str
    """Standard output and error are appended here."""
    user: str = ""
    """Whom to become; empty stays who we are."""


def launch(program: Program, record: Path) -> Process:
    """Starts a program, or adopts the one that ``record`` says runs already. ``record`` is then its pid, start time and boot id, as JSON.

    Killed at any instant, the next call with the same record ends with one process. Raises Refused if the program cannot be executed or if
    ``forbid(record)`` has been said; Unavailable if another launch of the same record takes longer than 8 s, or if the host is short of processes,
    memory or descriptors; OSError (ENOSPC, EDQUOT) if the disk is full, as ``Reserve.within`` expects it.
    """
    import subprocess  # 4 ms, only where something is started

    if not program.argv:
        raise Refused(f"no command to start in {program.directory}")
    wanted = {**program._asdict(), "env": {**program.env, MARK: os.path.realpath(record)}, "record": str(record)}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_LAUNCHER)],
            input=json.dumps(wanted),
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        lock = record.with_suffix(".lock")
        who = locked_by(lock)
        why = f"{lock} is locked{who}" if who else f"is another launch of {record} under way?"
        raise Unavailable(f"{program.argv[0]} was not started within {_PATIENCE:g} s; {why}") from None
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Unavailable(f"the launcher of {program.argv[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}") from None
    if "refused" not in answer:
        return Process(answer["pid"], answer["start"], answer["boot"])
    if answer["errno"] in _FULL:
        raise OSError(answer["errno"], answer["refused"])
    if answer["errno"] in _PASSING:
        raise Unavailable(answer["refused"])
    raise Refused(answer["refused"])


def check(program: Program) -> None:
    """Raises Refused for what can be seen to be impossible before anything is touched: a directory, a command or a user that is not there."""
    if not program.argv:
        raise Refused(f"no command to start in {program.directory}")
    if not os.path.isdir(program.directory):
        raise Refused(f"{program.directory} is not a directory; the version's files are expected there")
    command = program.argv[0]
    if not found(program):
        places = os.get_exec_path(dict(program.env))
        where = program.directory if "/" in command else f"PATH ({os.pathsep.join(places)})"
        raise Refused(f"{command!r} is no program that can be executed in {where}")
    if program.user:
        import pwd  # only where somebody asks for it

        try:
            uid = pwd.getpwnam(program.user).pw_uid
        except KeyError:
            raise Refused(f"there is no user {program.user!r} on this host") from None
        if os.geteuid() not in (0, uid):
            raise Refused(f"only root can start a program as {program.user}")


def found(program: Program) -> str:
    """The file that the first word of a program means; empty if there is none. A word with a slash is relative to the directory, others lie in PATH."""
    command = program.argv[0]
    places = [""] if "/" in command else os.get_exec_path(dict(program.env))
    paths = (os.path.join(program.directory, place, command) for place in places)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), "")


def recorded(record: Path) -> Process | None:
    """The process that a record names, dead or alive. Raises Unavailable for one that cannot be read, PermissionError for one that is another user's."""
    try:
        row = launcher.read(str(record))
    except PermissionError:
        raise
    except OSError as error:
        raise Unavailable(f"{record} cannot be read: {in_words(error)}") from None
    return Process(row["pid"], row["start"], row["boot"]) if row else None


def is_of(pid: int, record: Path) -> bool:
    """Whether a process was launched with this record, or by one that was: also where the record itself is gone."""
    return processes.variable(pid, MARK) == os.path.realpath(record)


def remains(record: Path) -> list[Process]:
    """What is alive of the program that a record names and of everything that it started, also after the program itself has ended."""
    process = recorded(record)
    return processes.tree(process, f"{MARK}={os.path.realpath(record)}") if process else []


def forbid(record: Path) -> None:
    """Leaves a mark that no later launch starts this again, after any launch that is under way. Raises Unavailable if that takes longer than 5 s."""
    with locked(record.with_suffix(".lock"), 5, "a launch is under way"):
        record.with_suffix(".ended").touch(mode=0o600)


def end(record: Path, number: int = signal.SIGTERM, forever: bool = False) -> bool:
    """Sends a signal to the process that a record names, after any launch of it that is under way; True once it and all that it started are gone.

    SIGKILL goes to the whole tree, and so does every signal once the process itself has ended. ``forever`` leaves the mark of ``forbid``.
    """
    with locked(record.with_suffix(".lock"), 5, "a launch is under way"):
        if forever:
            record.with_suffix(".ended").touch(mode=0o600)
        process = recorded(record)
    if process is None:
        return True
    if process.alive and number != signal.SIGKILL:
        process.signal(number)
        return False
    told: set[Process] = set()
    while left := [each for each in remains(record) if each not in told]:  # one that forks while it is being ended leaves another
        for each in left:
            each.signal(number)
        told.update(left)
    return not any(each.alive for each in told)
