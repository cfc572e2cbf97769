"""Starts programs that are nobody's child, and ends them; each is known by a record that the program's own process wrote before it became that program.

Nothing that serves may die with the process that started it. A launched process has been re-parented to init before its program begins (Envoy asks the
kernel to end it with the thread that launched it, PR_SET_PDEATHSIG in prctl(2)), has a session of its own and no descriptor of ours.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bleen.errors import Refused, Unavailable
from bleen.host import processes
from bleen.host.files import locked
from bleen.host.processes import Process

_LAUNCHER = Path(__file__).with_name("launcher.py")


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
    ``end(record, forever=True)`` has been said, Unavailable if another launch of the same record takes longer than 10 s.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_LAUNCHER)],
        input=json.dumps({**program._asdict(), "record": str(record)}),
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=10,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Unavailable(f"the launcher of {program.argv[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}") from None
    if "refused" in answer:
        raise Refused(answer["refused"])
    return Process(answer["pid"], answer["start"], answer["boot"])


def recorded(record: Path) -> Process | None:
    """The process that a record names, dead or alive."""
    try:
        row = json.loads(record.read_text())
        return Process(row["pid"], row["start"], row["boot"])
    except (OSError, ValueError, KeyError):
        return None


def end(record: Path, number: int = signal.SIGTERM, forever: bool = False) -> bool:
    """Sends a signal to the process that a record names, after any launch of it that is under way; True once it is gone.

    SIGKILL goes to its whole tree. ``forever`` leaves a mark that no later launch starts it again.
    """
    with locked(record.with_suffix(".lock"), 5, "a launch is under way"):
        if forever:
            record.with_suffix(".ended").touch(mode=0o600)
        process = recorded(record)
    if process is None or not process.alive:
        return True
    if number == signal.SIGKILL:
        for pid in processes.tree(process.pid):
            if member := processes.find(pid):
                member.signal(number)
    else:
        process.signal(number)
    return not process.alive
