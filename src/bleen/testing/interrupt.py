"""Ends or stops a process at a named call into C: before or after the third ``fsync`` of a phase, say. Nothing in the product knows of it.

``sys.setprofile`` is told of every call into C (https://docs.python.org/3/library/sys.html#sys.setprofile); those that a crash can fall between are ``CALLS``.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

from bleen.host.processes import Process, find
from bleen.testing.site import until

_FILES = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "flock", "open", "pwrite", "write", "posix_fallocate", "fchmod")
_SOCKETS = ("connect", "send", "sendall", "recv", "recv_into")
_PROCESSES = ("kill", "pidfd_send_signal", "fork", "fork_exec")
CALLS = frozenset(("execute", "executescript", *_FILES, *_SOCKETS, *_PROCESSES))
"""Calls that change what others can see, or that wait for them."""


class Point(NamedTuple):
    """A moment in the life of a process, named so that it stays the same when other code changes."""

    phase: str
    """What the test called the part of the run: a phase, an effect."""
    call: str
    """The function of ours that makes the call, and the call: ``write_durably:fsync``."""
    occurrence: int
    """The first is 1, counted anew in each phase."""
    when: str
    """before or after."""

    def __str__(self) -> str:
        return f"{self.when} {self.call} #{self.occurrence} in {self.phase}"


class Interrupt:
    """Inside ``with``, does something when the process comes to a point; without a point, only remembers which there are."""

    def __init__(self, at: Point | None = None, then: Callable[[], object] = lambda: None) -> None:
        self.at, self._then = at, then
        self.phase = ""
        """To be set whenever another part of the run begins."""
        self.points: list[Point] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> "Interrupt":
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, call: object) -> None:
        name = getattr(call, "__name__", "")
        if name not in CALLS or not event.startswith("c_"):
            return
        named = f"{frame.f_code.co_name}:{name}"
        self._counts[self.phase, named] += event == "c_call"
        if event == "c_exception":
            return  # a call that failed has changed nothing: after it is before it
        point = Point(self.phase, named, self._counts[self.phase, named], "before" if event == "c_call" else "after")
        if self.at is None:
            self.points.append(point)
        elif point == self.at:
            sys.setprofile(None)
            self._then()


def suicide(number: int = signal.SIGKILL) -> Callable[[], None]:
    """Sends a signal to the process that asks for it, in which nothing more happens than with any SIGKILL or SIGSTOP."""
    return lambda: os.kill(os.getpid(), number)


def fork(work: Callable[[], object]) -> int:
    """Does something in a process of its own, which ends with 0 if it went well, and with 1 and a line on standard error if not. Returns its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the stack above is the parent's, and nothing may unwind it here
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(1)


def killed(work: Callable[[Interrupt], object], at: Point) -> bool:
    """Does something in a process that is SIGKILLed at a point; False if it never came there. Raises RuntimeError if the work failed before."""

    def run() -> None:
        with Interrupt(at, suicide()) as interrupt:
            work(interrupt)

    code = os.waitstatus_to_exitcode(os.waitpid(fork(run), 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the process that was to end {at} failed by itself ({code}); its last words are on standard error")
    return code != 0


@contextmanager
def stopped(work: Callable[[Interrupt], object], at: Point) -> Iterator[Process]:
    """A process that does something, stopped (SIGSTOP) at a point. At the end it is killed, if it is still there.

    Raises TimeoutError if it never came there.
    """

    def run() -> None:
        with Interrupt(at, suicide(signal.SIGSTOP)) as interrupt:
            work(interrupt)

    pid = fork(run)
    process = find(pid)
    if process is None:
        raise RuntimeError(f"the process that was to stop {at} has failed at once; its last words are on standard error")
    try:
        until(f"stops {at}", lambda: process.stopped)
        yield process
    finally:
        process.signal(signal.SIGKILL)
        os.waitpid(pid, 0)
