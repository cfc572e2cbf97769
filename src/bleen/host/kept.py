"""Runs somebody's program as long as it is wanted: when whoever asked for it ends, in whatever way, the program ends with all that it started.

Between the two stands a keeper, which is this file run by itself (standard library only): it holds a pipe whose other end is with who asked, and adopts what
the program leaves behind (PR_SET_CHILD_SUBREAPER in prctl(2)).
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

_PDEATHSIG, _SUBREAPER = 1, 36
NOT_STARTED = 127
"""The exit code of a program that could not be started; what it has said is why."""


def run(
    argv: Sequence[str],
    directory: str,
    env: Mapping[str, str],
    user: str,
    heard: Callable[[bytes], None],
    look: Callable[[], None],
    every: float,
    errors: "IO[bytes] | None" = None,
) -> int:
    """Runs a program to its end; its exit code, 128 and more for a signal, as a shell counts.

    ``heard`` is given what it writes to standard output and error (``errors`` takes the latter, if it is given), ``look`` is called at least every so many
    seconds. If either raises, the program is ended, and what it started too; what it leaves behind when it ends is ended in any case.
    """
    with _keeper(errors) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.write(json.dumps({"argv": list(argv), "directory": directory, "env": dict(env), "user": user}).encode() + b"\n")
        keeper.stdin.flush()
        output = keeper.stdout.fileno()
        while True:
            if select.select([output], [], [], every)[0]:
                data = os.read(output, 1 << 16)
                if not data:
                    return keeper.wait()
                heard(data)
            look()


@contextmanager
def _keeper(errors: "IO[bytes] | None") -> "Iterator[subprocess.Popen[bytes]]":
    argv = [sys.executable, "-I", "-S", __file__]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors or subprocess.STDOUT, start_new_session=True)
    with process:  # whose end closes the pipe, and waits
        yield process


def main() -> None:
    """Keeps one program."""
    wanted: dict[str, Any] = json.loads(sys.stdin.readline())
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        child = subprocess.Popen(
            wanted["argv"],
            cwd=wanted["directory"],
            env=wanted["env"],
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0),  # noqa: PLW1509 - there is one thread here
            **_user(wanted["user"]),
        )
    except (OSError, KeyError, ValueError) as error:  # ValueError: a zero byte, which no argument can hold
        print(f"cannot be started: {error}", flush=True)
        sys.exit(NOT_STARTED)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(os.pidfd_open(child.pid), select.POLLIN)
    poll.poll()
    code = child.poll()
    _end_all()
    sys.exit(1 if code is None else code if code >= 0 else 128 - code)


def _user(name: str) -> dict[str, Any]:
    """What makes a program somebody else's, who may open /dev/stdout then."""
    if not name:
        return {}
    import pwd  # only where somebody asks for it

    entry = pwd.getpwnam(name)
    if os.geteuid() == entry.pw_uid:
        return {}
    for output in (1, 2):
        os.fchown(output, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(name, entry.pw_gid)}


def _end_all() -> None:
    """Ends every child; what those had started becomes ours when they end."""
    while True:
        for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
            if _parent(pid) == os.getpid():
                os.kill(pid, signal.SIGKILL)  # it cannot be gone: it is ours to wait for
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


if __name__ == "__main__":
    main()
