"""Smoke tests as a check keep the contract; and what holds of them alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bleen.host import launch
from bleen.host.processes import Process
from bleen.model import NotYet, Result, Verdict
from bleen.ports import Check
from bleen.providers.checks.smoke import Smoke
from bleen.testing.checks import GREEN, ProgramContract, Stand, begun, verdict
from bleen.testing.site import until


class Door:
    """A server that answers 200 once it is opened; ``asked`` counts the requests."""

    def __init__(self) -> None:
        self.asked, self.says = 0, b"ok"
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
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.says), self.says))

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
        until("it has ended", lambda: launch.end(made / "smoke.json", signal.SIGKILL))


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


class TestSmoke(ProgramContract):
    """Its program waits for an answer until the door is opened."""

    door: Door | None = None

    def build(self, stand: Stand, result: Result) -> Check:
        door = self.door = self.door or stand.stack.enter_context(closing(Door()))
        expected = [201] if result is Result.FAIL else None
        secrets = str(stand.root / "gone.json") if result is Result.INCONCLUSIVE else ""
        return Smoke(stand.root / "releases" / "5", [row(expect_status=expected)], lambda _: door.url, secrets)

    def let_go(self, stand: Stand) -> None:
        if self.door:
            self.door.open.set()

    def processes(self, stand: Stand) -> list[Process]:
        return launch.remains(stand.root / "releases" / "5" / "smoke.json")


def test_the_tests_run_beside_the_engine_and_their_verdict_is_found(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], lambda _: door.url, "")
    memo = begun(check)
    until("it was asked", lambda: door.asked)
    assert isinstance(check.run(GREEN, memo), NotYet)
    door.open.set()
    assert verdict(check, memo) == Verdict(Result.PASS, "1 of 1 passed", verdict(check, memo).evidence)
    assert door.asked == 1


def test_values_come_from_the_file_of_secrets_and_stand_in_no_other(door: Door, place: Path, tmp_path: Path) -> None:
    """Values live in a file of mode 0600 [...]; the journal, the plan, `--json`, logs, process arguments and proxy configuration hold references."""
    door.says = b"in production with canary-9931-of-env-file"
    door.open.set()
    secrets = tmp_path / "secrets.json"
    base = {"MODE": "production", "TOKEN": "canary-9931-of-env-file"}
    secrets.write_text(json.dumps({"base": base, "values": {"KEY": "canary-9931"}}))
    check = Smoke(place, [row(headers={"X-Key": "${KEY}"}, expect_body_contains=["${KEY} there"])], lambda _: door.url, str(secrets))
    memo = begun(check)
    found = verdict(check, memo)
    assert found.result is Result.FAIL
    assert found.evidence[0]["answer"]["body"] == "in production with [redacted]"
    assert "canary-9931" not in repr(found) + repr(memo)
    written = [path for path in place.rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"smoke.json", "smoke-spec.json", "smoke-report.json"}
    for path in written:
        assert "canary-9931" not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0


def test_a_program_that_died_without_a_report_is_inconclusive(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], lambda _: door.url, "")
    memo = begun(check)
    until("it was asked", lambda: door.asked)
    os.kill(memo["pid"], signal.SIGKILL)
    found = verdict(check, memo)
    assert found.result is Result.INCONCLUSIVE
    assert "ended without a report" in found.why


def test_secrets_that_are_gone_make_the_tests_inconclusive(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], lambda _: door.url, str(place / "gone.json"))
    assert verdict(check, begun(check)).result is Result.INCONCLUSIVE
    assert door.asked == 0


def test_a_program_that_hangs_is_ended_and_inconclusive(door: Door, place: Path) -> None:
    check = Smoke(place, [row()], lambda _: door.url, "")
    memo = begun(check)
    os.kill(memo["pid"], signal.SIGSTOP)
    found = check.run(GREEN, {**memo, "until": 0.0})
    assert isinstance(found, Verdict)
    assert found.result is Result.INCONCLUSIVE
    assert launch.remains(place / "smoke.json") == []


def test_what_is_tested_has_a_name_whatever_the_variables_say(door: Door, place: Path, tmp_path: Path) -> None:
    """And it is no secret: a report shows it."""
    door.open.set()
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"base": {}, "values": {"VERSION": "canary-9931"}}))
    check = Smoke(place, [row(expect_body_contains=["${VERSION} in ${ENVIRONMENT}"])], lambda _: door.url, str(secrets), version="1.1")
    assert verdict(check, begun(check)).why.endswith('the body does not contain "1.1 in green"')


def test_other_tests_are_another_run(door: Door, place: Path) -> None:
    door.open.set()
    first = Smoke(place, [row()], lambda _: door.url, "")
    assert verdict(first, begun(first)).result is Result.PASS
    second = Smoke(place, [row(expect_status=[201])], lambda _: door.url, "")
    assert verdict(second, begun(second)).result is Result.FAIL
    assert door.asked == 2


def test_other_tests_that_are_under_way_are_ended_first(door: Door, place: Path) -> None:
    first = begun(Smoke(place, [row()], lambda _: door.url, ""))
    until("it was asked", lambda: door.asked)
    second = Smoke(place, [row(name="other")], lambda _: door.url, "")
    memo = begun(second)
    assert not Process(first["pid"], first["start"], first["boot"]).alive
    door.open.set()
    assert verdict(second, memo).evidence[0]["test"] == "other"


def test_the_way_of_a_rollback_loads_no_http(place: Path) -> None:
    code = "import sys, bleen.providers.checks.smoke; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"http.client", "pydantic", "ruamel", "subprocess", "ssl", "asyncio", "dataclasses"} & set(loaded)
