"""Files that are either the old or the new one, effects that a paused process cannot land late, and room on a full disk."""

import errno
import fcntl
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import TypeVar

from bleen.errors import Fenced, Unavailable

T = TypeVar("T")

_FLAGS = 0x80006601 | struct.calcsize("l") << 16
_SET_FLAGS = 0x40006602 | struct.calcsize("l") << 16
_IN_PLACE = 0x00800000
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_NOCOW_FL of linux/fs.h."""
_LEAST = 4
"""Slices of a reserve that a rollback can be done with, and a proxy that is killed meanwhile be started again."""


_LIMIT = "raise the limit (`ulimit -n`)"
_ROOM = "make room there, for files too (`df -h`, `df -i`)"
READ_ONLY = "`dmesg` says why, and `mount -o remount,rw` or a check of the disk ends that"
_WAYS = {
    errno.EISDIR: "remove it",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _LIMIT),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    errno.EROFS: READ_ONLY,
}


def in_words(error: OSError) -> str:
    """What the operating system says of a file of ours, and the way on where only a person has one."""
    return f"{error.strerror or error}{way(error)}"


def way(error: OSError) -> str:
    """The way on alone, behind a semicolon; empty if there is none to be told."""
    known = _WAYS.get(error.errno or 0)
    return f"; {known}" if known else _another_s(error)


def _another_s(error: OSError) -> str:
    """What belongs to another user in a directory of ours, where that is why something is not permitted, and the way on; empty if nothing does."""
    if error.errno not in (errno.EACCES, errno.EPERM):
        return ""
    named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    for path in (each for name in named for each in (name, *name.parents)):
        with suppress(OSError):
            owner, me = path.lstat().st_uid, os.geteuid()
            if owner != me and path.parent.lstat().st_uid == me:
                return f"; {path} belongs to {user(owner)}: `chown -R {user(me)} {path}` as root"
    return ""


def user(uid: int) -> str:
    """The name of a user, or the number of one that has none."""
    import pwd  # only to say who it is

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def read_only(directory: Path) -> bool:
    """Whether the file system of a directory takes no file: after an error of the disk the kernel lets nothing be written, whatever the modes say."""
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600))  # leaves nothing (open(2)); where that is not known, nothing is told
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def room(path: Path) -> int:
    """Bytes that the disk of a path has left for whoever is not root (statvfs(3))."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def write_durably(path: Path, text: str, sure: Callable[[], object] = lambda: None) -> None:
    """Replaces a file whole: written beside it, synced, renamed over it, the directory synced. Readers see the old text or the new.

    ``sure`` is called before the rename; what it raises leaves the old text. Of several who write the same file at once each has its turn, and the last one's
    text stays. One that is killed leaves at most ``.NAME.new``, which the next one uses. Raises Unavailable if somebody else is in the middle of it for 5 s.
    """
    beside = path.with_name(f".{path.name}.new")
    handle = _mine(beside)
    try:
        os.fchmod(handle, 0o600)
        os.ftruncate(handle, 0)
        _write_all(handle, text.encode())
        os.fsync(handle)
        sure()
        os.rename(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    finally:
        os.close(handle)
    sync_directory(path.parent)


def text_of(path: Path) -> str | None:
    """What a file of ours holds; None if it is not there or cannot be read, as a disk or another hand may leave it: then it holds nothing that we wrote."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def matching(at: Path, pattern: str) -> list[Path]:
    """The paths below a directory that match, but for what is removed meanwhile: for that ``Path.glob`` of Python 3.11 raises FileNotFoundError."""
    return [at / found for found in glob(pattern, root_dir=at)]


def sync_directory(path: Path) -> None:
    """Makes creations and renames in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_in_place(directory: Path) -> None:
    """Asks of btrfs that what will be made in a directory is written where it lies (chattr(1), C). Other disks do so, or do not know the question.

    Else each change needs room that a full disk has not; where it is made through memory, as SQLite's to its -shm, its writer is killed for it (SIGBUS).
    """
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            flags = bytearray(struct.calcsize("l"))
            fcntl.ioctl(handle, _FLAGS, flags)
            asked = int.from_bytes(flags[:4], sys.byteorder) | _IN_PLACE
            fcntl.ioctl(handle, _SET_FLAGS, asked.to_bytes(4, sys.byteorder).ljust(len(flags), b"\0"))
        finally:
            os.close(handle)


@contextmanager
def locked(path: Path, seconds: float, why: str) -> Iterator[int]:
    """Holds an exclusive flock(2) on a file; the kernel lets go of it when the process ends. Raises Unavailable, with ``why``, if it takes longer."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise Unavailable(f"{path} cannot be opened: {in_words(error)}") from None
    try:
        _lock(handle, path, time.monotonic() + seconds, why)
        yield handle
    finally:
        os.close(handle)


def locked_by(path: Path) -> str:
    """Who has locked a file, to be said behind that, and the way on where only a person has one; empty where it cannot be seen."""
    from bleen.host import processes  # only to say who it is

    holder = processes.locker(str(path))
    if holder is None:
        return ""
    uid = processes.another_s(holder.pid)
    whose, way = ("", "") if uid is None else (f" of {user(uid)}", " as root")
    stopped = f", which is stopped: `kill -CONT {holder.pid}`{way} lets it go on" if holder.stopped else ""
    return f" by {processes.named(holder.pid)}{whose}{stopped}"


def counted(handle: int) -> int:
    """The number that a locked file holds; 0 where it holds none. It is not synced, so a power cut may leave zero bytes, and no process that counted on it."""
    text = os.pread(handle, 20, 0)
    return int(text) if text.isdigit() else 0


def keep_count(handle: int, number: int) -> None:
    """Makes it this number."""
    os.pwrite(handle, b"%020d" % number, 0)


class Fence:
    """Lets effects on the providers of one service through one after the other, and none that was decided before the last one seen.

    The file holds the largest epoch that has acted. It is not synced: a host that crashes takes every stale process along.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def passing(self, epoch: int) -> Iterator[None]:
        """Holds the fence across a whole effect. Raises Fenced if a larger epoch has passed, Unavailable if another effect is under way for 5 s."""
        with locked(self._path, 5, "another process is in the middle of an effect on this service") as handle:
            seen = counted(handle)
            if epoch < seen:
                raise Fenced(f"epoch {epoch} has been succeeded by {seen}; nothing was done")
            if epoch > seen:
                keep_count(handle, epoch)
            yield


class Reserve:
    """Disk space put aside, so that a rollback can be written down when the disk is full.

    It is given back a slice at a time: whoever filled the disk goes on, and takes at once what this work leaves of a slice; the next work needs its own.
    """

    def __init__(self, path: Path, size: int = 4 << 20) -> None:
        self._path, self._size, self._slice = path, size, max(1, size // 32)

    def keep(self) -> None:
        """Puts aside what is missing of the whole; of a disk without four times as much, a quarter of what is not used for anything else."""
        held, wanted = self.held, self._wanted()
        if held >= wanted:
            return
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:  # there is room, and no inode for it
            return
        try:
            for at in range(0, wanted, self._slice):  # what btrfs was asked for at once it gives back only as a whole
                os.posix_fallocate(handle, at, self._slice)
        except OSError:
            os.ftruncate(handle, held)
        finally:
            os.close(handle)

    @property
    def lacks(self) -> bool:
        """Whether there is none, and no room to make one."""
        return not self.held and not self._wanted()

    @property
    def held(self) -> int:
        """Bytes that are put aside."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def spend(self) -> bool:
        """Gives a slice back to the disk; False if there was none."""
        held = self.held
        try:
            if held > self._slice:
                os.truncate(self._path, held - self._slice)
            else:
                self._path.unlink()
        except OSError:
            return False
        return held > 0

    def within(self, work: Callable[[], T]) -> T:
        """Does the work; again, with more of the space given back, for as long as the disk turns out to be full."""
        while True:
            try:
                return work()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.spend():
                    raise

    def _wanted(self) -> int:
        """In whole slices; none rather than so few that a rollback runs out of them half way."""
        wanted = min(self._size, (room(self._path.parent) + self.held) // 4 // self._slice * self._slice)
        return wanted if wanted >= _LEAST * self._slice else 0


def _mine(beside: Path) -> int:
    """A file to write, locked, that nobody has renamed or removed before the lock was had."""
    deadline = time.monotonic() + 5
    while True:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            _lock(handle, beside, deadline, "another process is in the middle of writing this file")
            if os.path.samestat(os.fstat(handle), os.stat(beside)):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, path: Path, deadline: float, why: str) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Unavailable(f"{why} ({path} is locked{locked_by(path)})") from None
            time.sleep(0.005)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
