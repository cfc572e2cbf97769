"""The last lines of logs, and the bound on what they take."""

import os
import subprocess
from pathlib import Path

from bleen.host import logs
from bleen.testing.site import until


def write(path: Path, text: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, text)
    os.close(handle)


def test_the_last_lines_are_those_written_last_whole_or_not(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    assert logs.tail(log, 3) == []
    write(log, b"")
    assert logs.tail(log, 3) == []
    write(log, b"one\ntwo\nthr\xffee")
    assert logs.tail(log, 2) == ["two", "thr\ufffdee"]
    assert logs.tail(log, 0) == []


def test_a_log_within_its_bound_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    assert not logs.rotate(log, 10)
    write(log, b"0123456789")
    assert not logs.rotate(log, 10)
    assert log.read_bytes() == b"0123456789"


def test_a_log_past_its_bound_is_cut_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for n in range(2000):
        os.write(handle, b"line %d\n" % n)
        logs.rotate(log, 1000)
        assert log.stat().st_size <= 1000
    assert logs.old(log).stat().st_size <= 1000
    os.write(handle, b"the last\n")
    os.close(handle)
    found = logs.tail(log, 60)
    assert found[-2:] == ["line 1999", "the last"]
    assert found[:-1] == [f"line {n}" for n in range(2000 - 59, 2000)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["1.log", "1.log.old"]


def test_what_is_appended_while_a_log_is_cut_breaks_no_bound(tmp_path: Path) -> None:
    log, chatter = tmp_path / "1.log", "ulimit -f 20000; while :; do echo a line that is written again and again; done"
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as end, subprocess.Popen(["sh", "-c", chatter], stdout=end) as writer:
        until("it was cut", lambda: logs.rotate(log, 1000))
        writer.kill()
    assert logs.old(log).stat().st_size == 1000


def test_a_log_that_is_kept_is_shrunk_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    write(log, b"".join(b"line %d\n" % n for n in range(1000)))
    logs.shrink(log, 20)
    assert log.read_bytes() == b"7\nline 998\nline 999\n"
    logs.shrink(log, 20)
    assert log.read_bytes() == b"7\nline 998\nline 999\n"


def test_who_follows_a_log_sees_each_finished_line_once_and_goes_on_after_it_was_cut(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    log.write_text("before\n")
    follower = logs.Follower(lambda: {"1| ": log})
    with log.open("a") as f:
        f.write("same\nsame\nhal")
    assert follower.fresh() == ["1| same", "1| same"]
    with log.open("a") as f:
        f.write("f\n")
    assert follower.fresh() == ["1| half"]
    logs.rotate(log, 3)
    with log.open("a") as f:
        f.write("after\n")
    assert follower.fresh() == ["1| after"]
    assert follower.fresh() == []


def test_who_follows_a_log_is_shown_a_line_that_does_not_end_in_pieces_and_keeps_little_of_it(tmp_path: Path) -> None:
    """A program that writes its progress over itself, with \\r, ends no line for hours."""
    log = tmp_path / "1.log"
    log.write_bytes(b"")
    follower, written = logs.Follower(lambda: {"": log}), 0
    for number in range(8):
        with open(log, "ab") as end:
            written += end.write(b"progress %d%%\r" % number * 10_000)
        shown = follower.fresh()
        assert [len(each) for each in shown] == [120_000]
    assert not any(follower._begun.values())


def test_who_follows_logs_sees_those_of_copies_that_are_started_later(tmp_path: Path) -> None:
    follower = logs.Follower(lambda: {f"{path.stem}| ": path for path in tmp_path.glob("*.log")})
    (tmp_path / "2.log").write_text("hello\n")
    assert follower.fresh() == ["2| hello"]
