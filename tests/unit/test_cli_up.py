"""What `bleen up` waits for, and what it then says."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from bleen import wiring
from bleen.cli.access import Access
from bleen.cli.verbs import up
from bleen.engine.drive import holder
from bleen.errors import UserError
from bleen.lifecycle import Phase, Verb
from bleen.model import Routing
from bleen.testing.fakes import FakeClock
from bleen.testing.service import NAME, FakeService


class Looks:
    """Time as `up` sees it: what happens to its service happens between two looks, and so much of it passes there."""

    def __init__(self, *happens: Callable[[], object], passes: float = 0.05) -> None:
        self._happens, self._passes, self._clock = list(happens), passes, FakeClock()
        self.monotonic = self._clock.now

    def sleep(self, seconds: float) -> None:
        self._clock.advance(self._passes)
        if self._happens:
            self._happens.pop(0)()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """1.1 holds, 1.0 is warm, and a resident engine drives."""
    made = FakeService(tmp_path, by=holder("0", resident=True))
    made.stand()
    made.deploy("1.1", Phase.HOLDING)
    made.journal.register(NAME, {"kind": "fake", "listen": "127.0.0.1:1"}, True)
    monkeypatch.setattr(wiring, "build", lambda place, service, release: made.build(service, release))
    return made


def waited(service: FakeService, looks: Looks, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(up, "time", looks)
    return up._wait(Namespace(json=False), Access(service.place, service.journal))


def test_up_says_what_serves_at_its_end_also_if_the_engine_had_to_go_back_meanwhile(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service.platform.kill("green-2")
    looks = Looks(lambda: service.drive(Phase.UNDOING))
    assert (waited(service, looks, monkeypatch), capsys.readouterr().out) == (0, "shop is up on 127.0.0.1:1: 1.0 serves\n")


def test_up_waits_for_a_version_that_is_gone_back_to(service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """1.1 still serves, and is well."""
    service.platform.become_healthy_after("blue-1", 2)
    service.ask(Verb.ROLLBACK)
    assert service.release.phase is Phase.ROLLING_BACK
    looks = Looks(lambda: None, lambda: service.drive(Phase.UNDOING))
    assert (waited(service, looks, monkeypatch), capsys.readouterr().out) == (0, "shop is up on 127.0.0.1:1: 1.0 serves\n")


def test_a_proxy_that_is_started_late_has_its_time_to_read_its_files_and_drift_that_stays_is_told(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = service.router.truth()

    def starts() -> None:
        service.router.mend()
        service.router.drift(Routing())

    service.router.break_down()
    looks = Looks(lambda: None, starts, lambda: None, lambda: service.router.drift(served), passes=2.0)
    assert waited(service, looks, monkeypatch) == 0
    service.router.drift(Routing())
    with pytest.raises(UserError, match="neither did nor intends"):
        waited(service, Looks(passes=2.0), monkeypatch)
