"""Smoke tests as a check: the program that runs them, engines that die around it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bleen.host import launch
from bleen.host.processes import Process
from bleen.model import Environment, NotYet, Result, Verdict
from bleen.providers.checks.smoke import Smoke

GREEN = Environment("green", 5)


class Door:
    """A server that answers 200 once it is opened; ``asked`` counts the requests."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = threading.Event()
        self.closing = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            self._threads.append(threading.Thread(target=self._answer, args=(connection,)))
            self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(None)
            request = connection.recv(65536)
            if not request:
                return
            self.asked += 1
            self.open.wait()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self.closing.set()
        self.open.set()
        for thread in self._threads:
            thread.join()
        self._server.close()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "releases" / "5"
    yield made
    if (made / "smoke.json").exists():
        until(lambda: launch.end(made / "smoke.json", signal.SIGKILL))


def row(**more: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "url": "/",
        "method": "GET",
        "headers": {},
        "expect_status": None,
        "expect_body_contains": [],
        "expect_json": [],
        "expect_header": {},
        "capture": {},
        "max_response_time_ms": None,
        "retries": 0,
        "timeout": 30.0,
        "verify_tls": True,
        **more,
    }


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def verdict(check: Smoke, memo: Any) -> Verdict:
    """Asks until there is a verdict, as the engine does."""
    deadline = time.monotonic() + 30
    while isinstance(answer := check.run(GREEN, memo), NotYet):
        memo = memo if answer.memo is None else answer.memo
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


def began(check: Smoke) -> Any:
    answer = check.run(GREEN, {})
    assert isinstance(answer, NotYet)
    assert answer.memo
    return json.loads(json.dumps(answer.memo))  # as a journal keeps it


def test_the_tests_run_beside_the_engine_and_their_verdict_is_found(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], door.url, "")
    memo = began(check)
    until(lambda: door.asked)
    assert isinstance(check.run(GREEN, memo), NotYet)
    door.open.set()
    assert verdict(check, memo) == Verdict(Result.PASS, "1 of 1 passed", verdict(check, memo).evidence)
    assert door.asked == 1


def test_values_come_from_the_file_of_secrets_and_stand_in_no_other(door: Door, place: Path, tmp_path: Path) -> None:
    """Values live in a file of mode 0600 [...]; the journal, the plan, `--json`, logs, process arguments and proxy configuration hold references."""
    door.open.set()
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"base": {}, "values": {"KEY": "canary-9931"}}))
    check = Smoke(place, [row(headers={"X-Key": "${KEY}"}, expect_body_contains=["${KEY}"])], door.url, str(secrets))
    memo = began(check)
    found = verdict(check, memo)
    assert found.result is Result.FAIL
    assert "canary-9931" not in repr(found) + repr(memo)
    written = [path for path in place.rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"smoke.json", "smoke-spec.json", "smoke-report.json"}
    for path in written:
        assert "canary-9931" not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0


def test_a_killed_engine_is_succeeded_without_a_second_run(door: Door, place: Path) -> None:
    """Killed at any instant, the next run reads the row and the world, and ends where the first would have."""
    code = f"""
import sys, time
from pathlib import Path
from bleen.model import Environment
from bleen.providers.checks.smoke import Smoke
Smoke(Path({str(place)!r}), [{row()!r}], {door.url!r}, "").run(Environment("green", 5), {{}})
print("begun", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline()
        engine.kill()
    until(lambda: door.asked)
    next_engine = Smoke(place, [row()], door.url, "")
    memo = began(next_engine)  # the first one died before it could remember
    door.open.set()
    assert verdict(next_engine, memo).result is Result.PASS
    assert verdict(Smoke(place, [row()], door.url, ""), {}).result is Result.PASS  # and a third one that remembers nothing either
    assert door.asked == 1


def test_a_program_that_died_without_a_report_is_inconclusive(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], door.url, "")
    memo = began(check)
    until(lambda: door.asked)
    os.kill(memo["pid"], signal.SIGKILL)
    found = verdict(check, memo)
    assert found.result is Result.INCONCLUSIVE
    assert "ended without a report" in found.why


def test_secrets_that_are_gone_make_the_tests_inconclusive(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], door.url, str(place / "gone.json"))
    assert verdict(check, began(check)).result is Result.INCONCLUSIVE
    assert door.asked == 0


def test_a_program_that_hangs_is_ended_and_inconclusive(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], door.url, "")
    memo = began(check)
    os.kill(memo["pid"], signal.SIGSTOP)
    found = check.run(GREEN, {**memo, "until": 0.0})
    assert isinstance(found, Verdict)
    assert found.result is Result.INCONCLUSIVE
    assert launch.remains(place / "smoke.json") == []


def test_cancelling_ends_the_tests_remembered_or_not_and_twice_equals_once(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], door.url, "")
    check.cancel({})
    for remembered in (True, False):
        memo = began(check)
        until(lambda: launch.remains(place / "smoke.json"))
        check.cancel(memo if remembered else {})
        check.cancel(memo)
        assert launch.remains(place / "smoke.json") == []
    assert not (place / "smoke-report.json").exists()


def test_other_tests_are_another_run(door: Door, place: Path) -> None:
    door.open.set()
    first = Smoke(place, [row()], door.url, "")
    assert verdict(first, began(first)).result is Result.PASS
    second = Smoke(place, [row(expect_status=[201])], door.url, "")
    assert verdict(second, began(second)).result is Result.FAIL
    assert door.asked == 2


def test_other_tests_that_are_under_way_are_ended_first(door: Door, place: Path) -> None:
    first = began(Smoke(place, [row()], door.url, ""))
    until(lambda: door.asked)
    second = Smoke(place, [row(name="other")], door.url, "")
    memo = began(second)
    assert not Process(first["pid"], first["start"], first["boot"]).alive
    door.open.set()
    assert verdict(second, memo).evidence[0]["test"] == "other"


def test_the_way_of_a_rollback_loads_no_http(place: Path) -> None:
    code = "import sys, bleen.providers.checks.smoke; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"http.client", "pydantic", "ruamel", "subprocess", "ssl", "asyncio", "dataclasses"} & set(loaded)
