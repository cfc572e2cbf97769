"""What is done to a whole service beside its releases, and by whom: nobody else drives meanwhile."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bleen.engine import righting
from bleen.engine.drive import holder
from bleen.errors import UserError
from bleen.lifecycle import Phase, Verb
from bleen.lifecycle import Service as Row
from bleen.model import Environment, NotYet, Result, Routing, Verdict
from bleen.testing.fakes import FakeMigrator
from bleen.testing.service import NAME, FakeService

BLUE, GREEN = Environment("blue", 1), Environment("green", 2)
ME = holder("0")


class Service(FakeService):
    """That remembers what was told of its drift."""

    told: list[tuple[Routing, Routing]]

    def put_back(self) -> None:
        self.told = []
        righting.put_back(self.engine, NAME, ME, lambda now, confirmed: self.told.append((now, confirmed)))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """1.1 holds, 1.0 is warm, and a resident engine drives."""
    made = Service(tmp_path, by=ME._replace(resident=True))
    made.stand()
    made.deploy("1.1", Phase.HOLDING)
    yield made
    assert made.faults() == []
    made.close()


def test_drift_is_undone_by_a_new_holder_who_tells_it_first(service: Service) -> None:
    """`up --apply` undoes it."""
    confirmed, before = service.router.truth(), service.service.epoch
    drift = confirmed._replace(shares={BLUE: 100}, preview=GREEN)
    service.router.drift(drift)
    service.put_back()
    assert service.router.truth() == confirmed._replace(preview=None)
    assert service.told == [(drift, service.service.confirmed)]
    assert (service.service.epoch, service.service.holder) == (before + 1, ME)


def test_what_is_put_back_is_what_was_confirmed_by_whoever_went_back_meanwhile(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the router names is never stopped: nor is it led to what was, in the moment before this process drives."""
    service.router.drift(service.router.truth()._replace(shares={BLUE: 100}))
    claim = service.journal.claim

    def claim_late(*words: Any, **more: Any) -> Row:
        service.ask(Verb.ROLLBACK)
        assert service.drive().phase is Phase.ROLLED_BACK
        return claim(*words, **more)

    monkeypatch.setattr(service.journal, "claim", claim_late)
    service.put_back()
    assert (service.router.truth().shares, service.told) == ({BLUE: 100}, [])


def test_traffic_goes_back_only_to_what_is_well(service: Service) -> None:
    """`up --apply` undoes it, unless it would take users from what serves them to what is not healthy."""
    service.router.drift(drift := service.router.truth()._replace(shares={BLUE: 100}))
    service.platform.sicken(GREEN)
    with pytest.raises(UserError, match=r"green-2 is to get the traffic back, and is not well .*: nothing was changed"):
        service.put_back()
    assert (service.router.truth(), service.told) == (drift, [])


def test_a_repair_that_takes_nobody_away_is_made_however_ill_what_serves_is(service: Service) -> None:
    confirmed = service.router.truth()
    service.router.drift(confirmed._replace(shares={}))
    service.platform.sicken(GREEN)
    service.put_back()
    assert service.router.truth() == confirmed


def test_a_router_that_does_not_do_what_it_is_told_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(righting, "_SOON", 0.05)
    service.router.drift(service.router.truth()._replace(shares={BLUE: 100}))
    service.router.delay("served", 1 << 20)
    with pytest.raises(UserError, match=r"gave up after 0\.05 s of waiting for the fake router takes its time"):
        service.put_back()


def test_all_that_serves_is_ended_behind_the_listener_and_runs_again_later(service: Service) -> None:
    """Closes the listener, then ends every environment; nothing is forgotten."""
    was = service.platform.truth()
    service.platform.crash(BLUE)
    righting.end_everything(service.engine, NAME, service.me)
    assert [f"{effect.of} {effect.name}" for effect in service.platform.effects()][-2:] == ["router down", "platform down"]
    assert {runs.alive for runs in service.platform.truth().values()} == {0}
    service.claim()
    service.platform.tend(service.service.epoch)
    assert (service.platform.truth(), service.router.truth().shares) == (was, {GREEN: 100})


@pytest.mark.parametrize("phase", [Phase.EXPANDING, Phase.TESTING])
def test_what_a_release_has_under_way_is_ended_too_and_goes_on_later(tmp_path: Path, phase: Phase) -> None:
    """`bleen up` starts what was running, and goes on with a release that was under way."""
    migrator = FakeMigrator({})
    service = FakeService(tmp_path, NotYet("1 of 2"), Verdict(Result.PASS, "well"), migrator=migrator)
    service.deploy("1.0")
    database = {"migrations": {"0007_full_name": "sum"}, "contracts": [], "before": [], "contract": "manual"}
    service.deploy("1.1", phase, database=database)
    service.tick()
    assert service.release.memo
    righting.end_everything(service.engine, NAME, service.me)
    assert migrator.cancelled == 1
    assert (service.check is not None and service.check.cancelled) == (phase is Phase.TESTING)
    service.claim()
    service.platform.tend(service.service.epoch)
    assert service.drive().phase is Phase.COMPLETED
    service.close()


def test_a_service_that_somebody_else_drives_is_left_to_them(service: Service) -> None:
    with pytest.raises(UserError, match="wait for it, or end it"):
        righting.end_everything(service.engine, NAME, ME)
    assert (service.router.alive, service.service.holder) == (True, service.me)
