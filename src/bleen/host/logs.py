"""Log files that programs append to (O_APPEND): their last lines, and a bound on what they take."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

_REACH = 1 << 20
"""How many bytes from the end ``tail`` looks at."""
_LONGEST = 1 << 16
"""Bytes of a line that has not ended after which it is shown as it is: progress is written over itself, with \\r, for hours."""


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, those of its predecessor (``old``) included; at most the last MiB of each. A last line without its end counts."""
    found = _last(path, lines)
    return _last(old(path), lines - len(found)) + found


class Follower:
    """What is appended to some logs from now on. Each is named by what its lines begin with; one that was cut, or is new, is read from its start."""

    def __init__(self, files: Callable[[], Mapping[str, Path]]) -> None:
        self._files = files
        self._read = {path: _size(path) for path in files().values()}
        self._begun: dict[Path, bytes] = {}

    def fresh(self) -> list[str]:
        """The lines that were finished since the last call, or since this was made; one that grows too long comes in pieces."""
        return [f"{prefix}{line}" for prefix, path in self._files().items() for line in self._lines(path)]

    def _lines(self, path: Path) -> list[str]:
        at = self._read.get(path, 0)
        if _size(path) < at:
            at = 0
        try:
            with open(path, "rb") as log:
                log.seek(at)
                written = log.read(_REACH)
        except FileNotFoundError:
            return []
        self._read[path] = at + len(written)
        *lines, begun = (self._begun.get(path, b"") + written).split(b"\n")
        if len(begun) > _LONGEST:
            lines, begun = [*lines, begun], b""
        self._begun[path] = begun
        return [line.decode(errors="replace") for line in lines]


def old(path: Path) -> Path:
    """Where ``rotate`` keeps what it has cut."""
    return path.with_name(path.name + ".old")


def rotate(path: Path, limit: int) -> bool:
    """Cuts a log longer than ``limit`` bytes; its last ``limit`` bytes are then in ``old``. True if it was cut.

    The file stays the same one, as its writers keep it open: copied and truncated; what they append meanwhile is lost, however fast they write. On a full
    disk the copy is given up, not the bound.
    """
    try:
        if os.stat(path).st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    with open(path, "r+b") as log:
        old(path).unlink(missing_ok=True)
        try:
            with open(os.open(old(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
                log.seek(-limit, os.SEEK_END)
                left = limit
                while block := log.read(min(left, 1 << 20)):
                    left -= copy.write(block)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            old(path).unlink(missing_ok=True)
        log.truncate(0)
    return True


def shrink(path: Path, limit: int) -> None:
    """Leaves only the last ``limit`` bytes of a log that nobody writes any more; needs no room to do so."""
    with open(path, "r+b") as log:
        if log.seek(0, os.SEEK_END) > limit:
            log.seek(-limit, os.SEEK_END)
            end = log.read()
            log.seek(0)
            log.write(end)
            log.truncate()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last(path: Path, lines: int) -> list[str]:
    if lines <= 0:
        return []
    try:
        with open(path, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _REACH))
            return log.read().decode(errors="replace").removesuffix("\n").split("\n")[-lines:] if size else []
    except FileNotFoundError:
        return []
