"""Files that are the old one or the new one, the fence, and the room kept on a full disk."""

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from bleen.errors import Fenced, Unavailable
from bleen.host import files, processes
from bleen.host.files import Fence, Reserve, locked, matching, write_durably
from bleen.host.processes import Process
from bleen.host.state import Place
from bleen.testing.interrupt import fork
from bleen.testing.site import until
from disks import mounted
from programs import child


def test_a_file_is_replaced_whole_and_readable_by_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_durably(file, "old")
    write_durably(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(("how", "seen"), [("-t tmpfs -o ro tmpfs", "True"), ("-t tmpfs tmpfs", "False")])
def test_a_disk_that_has_become_read_only_is_told_from_one_that_takes_files(tmp_path: Path, how: str, seen: str) -> None:
    look = f"from pathlib import Path; from bleen.host.files import read_only; print(read_only(Path({str(tmp_path)!r})))"
    done = subprocess.run(mounted(how, tmp_path, sys.executable, "-c", look), capture_output=True, text=True, check=True)
    assert done.stdout == f"{seen}\n"
    assert not any(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_durably(file, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_durably(file, "x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_write_of_which_somebody_is_not_sure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "x"
    write_durably(file, "old")

    def unsure() -> None:
        raise Unavailable("not now")

    with pytest.raises(Unavailable):
        write_durably(file, "new", sure=unsure)
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_writers_that_are_killed_in_the_middle_leave_one_file_at_most_and_are_in_nobodys_way(tmp_path: Path) -> None:
    file = tmp_path / "x"
    script = (
        "import os, sys; from pathlib import Path; from bleen.host.files import write_durably\n"
        "os.fsync = lambda handle: (print(flush=True), sys.stdin.read())\n"
        "write_durably(Path(sys.argv[1]), 'the text of one that was killed')"
    )
    for _ in range(3):
        with child("-c", script, str(file)) as other:
            assert other.stdout
            other.stdout.readline()
    assert [each.name for each in tmp_path.iterdir()] == [".x.new"]
    write_durably(file, "new")
    assert file.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_what_is_removed_while_somebody_looks_for_it_is_not_there(tmp_path: Path) -> None:
    """An environment that ended at that moment ended the look at all others, as a bug."""
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            for n in range(20):
                (tmp_path / "here" / str(n)).mkdir(parents=True)
            shutil.rmtree(tmp_path / "here")

    (tmp_path / "stays" / "1").mkdir(parents=True)
    (tmp_path / "stays" / "1" / "1.json").touch()
    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        found = [matching(tmp_path, "*/*/*.json") for _ in range(200)]
    finally:
        ended.set()
        thread.join()
    assert found == [[tmp_path / "stays" / "1" / "1.json"]] * 200


def test_a_file_that_many_write_at_once_is_always_one_of_their_texts(tmp_path: Path) -> None:
    file = tmp_path / "x"
    script = (
        "import sys; from pathlib import Path; from bleen.host.files import write_durably\n"
        "for n in range(50): write_durably(Path(sys.argv[1]), sys.argv[2] * 5000 + str(n))"
    )
    write_durably(file, "a" * 5000 + "0")
    with ExitStack() as stack:
        writers = [stack.enter_context(child("-c", script, str(file), letter)) for letter in "abcd"]
        while any(writer.poll() is None for writer in writers):
            text = file.read_text()
            assert text[:5000] == text[0] * 5000
            assert text[5000:].isdecimal()
        assert [writer.returncode for writer in writers] == [0] * 4
    assert file.read_text()[5000:] == "49"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_an_effect_of_a_smaller_epoch_is_refused_and_of_the_same_one_is_not(tmp_path: Path) -> None:
    """a provider that can refuse an older one does"""
    fence = Fence(tmp_path / "fence")
    for epoch in (1, 1, 7):
        with fence.passing(epoch):
            pass
    with pytest.raises(Fenced, match="epoch 6 has been succeeded by 7"), fence.passing(6):
        raise AssertionError("the effect was carried out")
    with Fence(tmp_path / "fence").passing(7):
        pass


@pytest.mark.parametrize("left", [b"\0" * 20, b"", b"12\0", b"\xff"], ids=["zeroes", "nothing", "the beginning", "anything"])
def test_a_fence_of_which_a_power_cut_left_no_number_lets_the_first_effect_pass_and_no_earlier_one_then(tmp_path: Path, left: bytes) -> None:
    """The fence is not synced: a host that crashes takes every stale process along."""
    (tmp_path / "fence").write_bytes(left)
    fence = Fence(tmp_path / "fence")
    with fence.passing(7):
        pass
    with pytest.raises(Fenced, match="epoch 6 has been succeeded by 7"), fence.passing(6):
        raise AssertionError("the effect was carried out")


def test_a_lock_is_had_by_one_process_which_is_named_and_let_go_when_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from bleen.host.files import locked\nwith locked(Path(sys.argv[1]), 5, ''): print(flush=True); sys.stdin.read()"
    )
    with child("-c", script, str(tmp_path / "lock")) as other:
        assert other.stdout
        other.stdout.readline()
        holder = processes.find(other.pid)
        assert holder
        for words in (
            r"another has it \(.*lock is locked by pid {pid} \(.*\)\)",
            r"lock is locked by pid {pid} .*, which is stopped: `kill -CONT {pid}` lets it",
        ):
            with pytest.raises(Unavailable, match=words.format(pid=other.pid)), locked(tmp_path / "lock", 0.05, "another has it"):
                raise AssertionError("two have the lock")
            other.send_signal(signal.SIGSTOP)
            until("it has stopped", lambda: holder.stopped)
        assert os.waitpid(fork(lambda: _is_told_as_another_user(tmp_path / "lock", holder)), 0)[1] == 0
        other.kill()
    with locked(tmp_path / "lock", 5, "another has it"):
        pass


def _is_told_as_another_user(lock: Path, holder: Process) -> None:
    whose = way = ""
    if os.geteuid() == 0:
        lock.chmod(0o666)
        handle = os.open(lock, os.O_RDWR)
        os.setuid(65534)
        lock, whose, way = Path(f"/proc/self/fd/{handle}"), " of root", " as root"
    said = files.locked_by(lock)
    assert said.startswith(f" by pid {holder.pid} ("), said
    assert said.endswith(f"){whose}, which is stopped: `kill -CONT {holder.pid}`{way} lets it go on"), said


def test_on_a_full_disk_the_reserve_is_spent_and_the_work_done_once_more(tmp_path: Path) -> None:
    """with a full disk (a reserve is kept for it)"""
    reserve = Reserve(tmp_path / "reserve", 1 << 16)
    reserve.keep()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 16

    def work() -> str:
        if (tmp_path / "reserve").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return "done"

    assert reserve.within(work) == "done"
    assert not reserve.spend()


def test_a_disk_that_is_filled_again_at_once_leaves_a_slice_of_the_reserve_for_the_next_work(tmp_path: Path) -> None:
    """with a full disk (a reserve is kept for it)"""
    reserve, others = Reserve(tmp_path / "reserve", 1 << 16), [1 << 16]
    reserve.keep()

    def work() -> None:
        freed, others[0] = others[0] - (tmp_path / "reserve").stat().st_size, (tmp_path / "reserve").stat().st_size
        if freed < 1024:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(10):
        reserve.within(work)
    reserve.keep()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 16


def test_a_reserve_is_asked_of_the_disk_in_the_slices_in_which_it_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """btrfs frees nothing of what it gave in one piece while any of it is left."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda handle, at, size: asked.append((at, size)))
    Reserve(tmp_path / "reserve", 1 << 16).keep()
    assert asked == [(at, 1 << 11) for at in range(0, 1 << 16, 1 << 11)]


@pytest.mark.parametrize("refused", [False, True], ids=["btrfs", "any other disk"])
def test_the_state_is_written_in_place_where_the_disk_would_write_to_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    """with a full disk (a reserve is kept for it)"""
    flags, had = {}, 0x80  # FS_NOATIME_FL, which is not to be lost

    def ioctl(handle: int, request: int, value: bytearray) -> None:
        where = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if refused:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if request == 0x80086601:
            value[:4] = had.to_bytes(4, sys.byteorder)
        else:
            assert (request, list(where.iterdir())) == (0x40086602, []), "what is there already is not written in place"
            flags[where] = int.from_bytes(value[:4], sys.byteorder)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    place = Place("shop", tmp_path)
    place.make()
    assert flags == ({} if refused else {place.path: 0x00800000 | had})
    assert place.environments.is_dir()


def test_what_fails_for_another_reason_does_not_spend_the_reserve(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 1 << 16)
    reserve.keep()

    def work() -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    with pytest.raises(PermissionError):
        reserve.within(work)
    assert (tmp_path / "reserve").exists()


def test_a_process_that_is_out_of_descriptors_is_told_to_try_later_by_the_fence(tmp_path: Path) -> None:
    """Ports raise Unavailable, Refused or Fenced, and nothing else: what is short for a moment is no bug."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(Unavailable, match="Too many open files"), Fence(tmp_path / "fence").passing(1):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with Fence(tmp_path / "fence").passing(1):
        pass


def test_a_reserve_for_which_the_disk_has_no_file_left_is_done_without(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserve = Reserve(tmp_path / "reserve", 1 << 16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        reserve.keep()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not (tmp_path / "reserve").exists()
    reserve.keep()
    assert (tmp_path / "reserve").exists()


def test_what_belongs_to_another_user_in_a_directory_of_ours_is_said_with_the_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both names are looked at: of a rename, either may be where it is not permitted."""
    ours, theirs, lstat = tmp_path / "green-3", tmp_path / "ended", Path.lstat
    theirs.mkdir()
    root = os.stat_result((0, 0, 0, 1, os.geteuid() + 1, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "lstat", lambda path: root if path == theirs else lstat(path))
    refused = PermissionError(errno.EACCES, "Permission denied", str(ours), None, str(theirs / "green-3"))
    me = files.user(os.geteuid())
    assert files.in_words(refused) == f"Permission denied; {theirs} belongs to {files.user(os.geteuid() + 1)}: `chown -R {me} {theirs}` as root"
    assert files.in_words(PermissionError(errno.EACCES, "Permission denied", str(ours))) == "Permission denied"
    assert files.in_words(PermissionError(errno.EACCES, "Permission denied", "/")) == "Permission denied", (
        "what lies in no directory of ours is not ours to have"
    )
