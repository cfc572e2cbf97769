"""Programs that are nobody's child: started once, found again, ended with all that they started."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from bleen.errors import Refused, Unavailable
from bleen.host import launch, launcher, processes
from bleen.host.files import locked
from bleen.host.launch import Program
from bleen.host.processes import Process
from bleen.testing.site import until
from programs import child


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    """Where a program is recorded; what runs at the end is ended."""
    file = tmp_path / "1.json"
    yield file
    until("all is gone", lambda: launch.end(file, signal.SIGKILL, forever=True))


def program(record: Path, *argv: str) -> Program:
    return Program(argv, str(record.parent), {"PATH": os.environ["PATH"]}, str(record.with_suffix(".log")))


def shell(record: Path, script: str) -> Program:
    return program(record, "sh", "-c", script)


def said(record: Path, lines: int = 1) -> list[str]:
    """What the program wrote, once it is so many lines."""

    def look() -> list[str]:
        found = record.with_suffix(".log").read_text().splitlines()
        return found if len(found) >= lines else []

    return until("the program speaks", look)


def carriers(record: Path) -> list[int]:
    """Every process of this host that was started as this record."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        try:
            if f"{launch.MARK}={record}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and processes.find(pid):
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_a_launched_program_is_nobodys_child_and_has_nothing_of_ours(record: Path) -> None:
    launch.launch(shell(record, "cut -d' ' -f4,6 /proc/$$/stat; ls -m /proc/$$/fd; echo $$; exec sleep 1000"), record)
    parent_and_session, descriptors, pid = said(record, 3)
    parent, session = parent_and_session.split()
    assert session == pid
    assert int(parent) not in (os.getpid(), os.getppid())
    assert descriptors == "0, 1, 2"


def test_what_we_ignore_or_block_is_not_ignored_by_a_launched_program(record: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        process = launch.launch(program(record, "sleep", "1000"), record)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "SigIgn:\t0000000000000000" in status
    assert "SigBlk:\t0000000000000000" in status


def test_launched_twice_is_one_process(record: Path) -> None:
    first = launch.launch(program(record, "sleep", "1000"), record)
    assert launch.launch(program(record, "sleep", "1000"), record) == first == launch.recorded(record)


def test_launched_by_many_at_once_is_one_process(record: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: launch.launch(program(record, "sleep", "1000"), record), range(6)))
    assert len(found) == 1
    assert carriers(record) == [found.pop().pid]


def test_a_launch_killed_at_any_instant_and_repeated_ends_with_one_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from bleen.host.launch import Program, launch; record = Path(sys.argv[1])\n"
        "print(flush=True); launch(Program(['sleep', '1000'], '/', {'PATH': sys.argv[2]}, str(record.with_suffix('.log'))), record)"
    )
    for moment in range(12):
        record = tmp_path / f"{moment}.json"
        with child("-c", script, str(record), os.environ["PATH"]) as caller:
            assert caller.stdout
            caller.stdout.readline()
            time.sleep(moment * 0.005)  # the moment of the kill, not a wait
            caller.kill()
        process = launch.launch(program(record, "sleep", "1000"), record)
        assert carriers(record) == [process.pid]
        until("it is gone", lambda record=record: launch.end(record, signal.SIGKILL))  # type: ignore[misc]


def test_a_launch_that_does_not_get_its_lock_says_who_has_it(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_PATIENCE", 0.2)
    with locked(record.with_suffix(".lock"), 5, ""), pytest.raises(Unavailable, match=rf"1\.lock is locked by pid {os.getpid()} \("):
        launch.launch(program(record, "sleep", "1000"), record)


def test_a_program_that_ended_is_started_anew(record: Path) -> None:
    first = launch.launch(program(record, "true"), record)
    until("it has ended", lambda: not first.alive)
    assert launch.launch(program(record, "sleep", "1000"), record) != first


@pytest.mark.parametrize("held", ["", "5", "[]", "[1]", "{}", '{"pid": "x", "start": 1, "boot": ""}', '{"pid": 1, "start": null, "boot": ""}'])
def test_a_record_that_names_no_process_keeps_its_program_from_nothing(record: Path, held: str) -> None:
    record.write_text(held)
    assert launch.recorded(record) is None
    assert launch.launch(program(record, "sleep", "1000"), record).alive


def test_what_was_ended_for_good_is_never_started_again(record: Path) -> None:
    process = launch.launch(program(record, "sleep", "1000"), record)
    until("it is gone", lambda: launch.end(record, forever=True))
    assert not process.alive
    with pytest.raises(Refused, match="ended for good"):
        launch.launch(program(record, "sleep", "1000"), record)


@pytest.mark.parametrize(
    ("argv", "directory", "why"),
    [
        (["no-such-command"], "", "No such file"),
        (["./no-such-command"], "", "No such file"),
        (["/"], "", "Permission denied"),
        (["sleep", "1\0000"], "", "null byte"),
        (["sleep", "1000"], "/no/such/directory", "No such file or directory .*/no/such/directory"),
        ([], "", "no command"),
    ],
)
def test_what_cannot_be_executed_is_refused_with_the_reason(record: Path, argv: list[str], directory: str, why: str) -> None:
    wanted = program(record, *argv)
    with pytest.raises(Refused, match=why):
        launch.launch(wanted._replace(directory=directory or wanted.directory), record)
    assert carriers(record) == []


def test_a_launch_that_is_refused_has_left_nothing_alive_when_it_says_so(record: Path) -> None:
    """The launched process says why before it ends; its record must not name somebody alive meanwhile, who would be asked how he is."""
    script = (
        "import json, os, sys, time; from bleen.host import launcher\n"
        "def become(wanted, _, told):\n"
        "    launcher.write(wanted['record'], {'pid': os.getpid(), 'start': int(launcher.stat(os.getpid())[19]), 'boot': launcher.boot_id()})\n"
        "    os.write(told, json.dumps({'refused': 'slowly', 'errno': None}).encode()), os.close(told)\n"
        "    time.sleep(0.3), os._exit(127)\n"
        "launcher.become = become\n"
        "print(launcher.start({'record': sys.argv[1]})['refused'], launcher.alive(launcher.read(sys.argv[1])))"
    )
    with child("-c", script, str(record)) as launching:
        assert launching.communicate()[0].split() == [b"slowly", b"False"]


def test_ending_takes_the_children_along_that_outlive_their_parent(record: Path) -> None:
    process = launch.launch(shell(record, "sleep 1000 & setsid sleep 1001 & sleep 0.2; echo; exec sleep 1002"), record)
    said(record)
    before = [each.pid for each in launch.remains(record)]
    assert len(before) == 3
    process.signal(signal.SIGKILL)
    until("it is dead", lambda: not process.alive)
    assert [each.pid for each in launch.remains(record)] == [pid for pid in before if pid != process.pid]
    until("all is gone", lambda: launch.end(record))
    assert carriers(record) == []


def test_a_child_that_has_wiped_its_environment_is_still_known_by_its_session(record: Path) -> None:
    process = launch.launch(shell(record, "env -i sleep 1000 & sleep 0.2; echo; exec sleep 1001"), record)
    said(record)
    process.signal(signal.SIGKILL)
    until("it is dead", lambda: not process.alive)
    assert [processes.command_line(each.pid) for each in launch.remains(record)] == ["sleep 1000"]


def test_sigkill_ends_the_whole_tree_while_its_head_lives(record: Path) -> None:
    launch.launch(shell(record, "trap '' TERM; sleep 1000 & echo; while :; do sleep 1001 || true; done"), record)
    said(record)
    assert not launch.end(record)
    until("all is gone", lambda: launch.end(record, signal.SIGKILL))
    assert carriers(record) == []


def test_a_pid_that_was_given_to_somebody_else_is_left_alone(record: Path) -> None:
    """An environment's identity: known by pid and start time."""
    with child("sleep", "1000") as other:
        stranger = processes.find(other.pid)
        assert stranger
        record.write_text(f'{{"pid": {stranger.pid}, "start": {stranger.start - 1}, "boot": "{stranger.boot}"}}')
        assert launch.remains(record) == []
        assert launch.end(record, signal.SIGKILL)
        assert stranger.alive


def test_nothing_remains_of_an_earlier_boot(record: Path) -> None:
    process = launch.launch(program(record, "sleep", "1000"), record)
    text = record.read_text()
    record.write_text(text.replace(process.boot, "another"))
    assert launch.remains(record) == []
    assert not Process(process.pid, process.start, "another").alive
    record.write_text(text)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"directory": "/no/such"}, "/no/such is not a directory"),
        ({"argv": ["no-such-command"]}, "no program that can be executed in PATH"),
        ({"argv": ["./no-such-command"]}, "no program that can be executed in /"),
        ({"argv": []}, "no command"),
        ({"user": "no such user"}, "no user 'no such user'"),
    ],
)
def test_what_can_never_start_is_seen_before_anything_is_touched(record: Path, change: dict[str, str], why: str) -> None:
    good = program(record, "sleep", "1000")._replace(directory="/")
    launch.check(good)
    with pytest.raises(Refused, match=why):
        launch.check(good._replace(**change))  # type: ignore[arg-type]
    assert not list(record.parent.iterdir())


def test_a_record_that_is_written_again_takes_no_more_room_than_it_has(tmp_path: Path) -> None:
    """With a full disk (a reserve is kept for it): what crashes again and again would use it up."""
    file, inodes = tmp_path / "1.json", set()
    for row in ({"pid": 1}, {"pid": 1234567, "why": "it crashed"}, {"pid": 2}, {"pid": 3, "why": "it crashed"}):
        launcher.write(str(file), row)
        assert json.loads(file.read_text()) == row
        assert sorted(each.name for each in tmp_path.iterdir()) == ["1.json", "1.json.new"]
        inodes |= {each.stat().st_ino for each in tmp_path.iterdir()}
    assert len(inodes) == 2


@pytest.mark.parametrize("call", ["link", "rename"])
def test_a_record_that_somebody_was_killed_over_is_whole_and_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    file = tmp_path / "1.json"
    launcher.write(str(file), {"pid": 1})
    real = getattr(os, call)

    def killed(*paths: str) -> None:
        real(*paths)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(os, call, killed)
        launcher.write(str(file), {"pid": 2})
    assert json.loads(file.read_text()) in ({"pid": 1}, {"pid": 2})
    for pid in (3, 4):
        launcher.write(str(file), {"pid": pid})
        assert json.loads(file.read_text()) == {"pid": pid}
