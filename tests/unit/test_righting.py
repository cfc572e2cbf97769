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


@pytest.fixture
def halted(service: Service) -> Service:
    """In RETIRING: 1.1 is ill, and a person has led all users to 1.0 by hand, in a way that nobody can say."""
    truth = service.router.truth()
    service.ask(Verb.RETIRE)
    service.router.drift(truth._replace(shares={}, unknown="a way of somebody's"))
    assert service.drive().halted.startswith("nobody can say whom the router serves")
    service.platform.sicken(GREEN)
    return service


def lead_to(service: Service, called: str) -> None:
    service.told = []
    righting.lead_to(service.engine, NAME, ME, called, lambda now, wanted: service.told.append((now, wanted)))


@pytest.mark.parametrize("called", ["blue", "blue-1"])
def test_a_person_says_who_serves_where_nobody_else_can_and_what_was_confirmed_is_ill(halted: Service, called: str) -> None:
    """`close` accepts what the router serves now as the truth: a release that is halted has a way on."""
    drift = halted.router.truth()
    with pytest.raises(UserError, match=r"green-2 is to get the traffic back, and is not well .*`bleen up --apply --to blue` leads it to blue-1"):
        halted.put_back()
    answer = halted.ask(Verb.CLOSE)
    assert (answer.obeyed, "with `--to blue` or `--to green` in favour of that one" in answer.text) == (False, True)
    lead_to(halted, called)
    assert (halted.router.truth().shares, halted.router.truth().unknown) == ({BLUE: 100}, "")
    assert [now for now, _ in halted.told] == [drift]
    assert halted.service.active == BLUE
    assert (halted.release.phase, halted.service.confirmed.shares) == (Phase.CLOSED, {BLUE: 100})


@pytest.mark.parametrize(
    ("called", "why"),
    [("green", "green-2 is to get the traffic, and is not well"), ("red", "no red runs: blue-1, green-2 does; nothing was changed")],
)
def test_nobody_is_led_to_what_is_ill_or_does_not_run(halted: Service, called: str, why: str) -> None:
    drift, confirmed = halted.router.truth(), halted.service.confirmed
    with pytest.raises(UserError, match=why):
        lead_to(halted, called)
    assert (halted.router.truth(), halted.service.confirmed, halted.told) == (drift, confirmed, [])


@pytest.mark.parametrize("called", ["", "green"])
def test_where_nothing_is_well_a_person_says_that_it_is_better_than_what_is(service: Service, called: str) -> None:
    """A maintenance page is served by hand, and the next version cannot be released over drift: a way out is named, and works."""
    service.ask(Verb.RETIRE)
    assert service.drive().phase is Phase.COMPLETED
    service.router.drift(service.router.truth()._replace(shares={}, unknown="a page"))
    service.platform.sicken(GREEN)
    with pytest.raises(UserError, match=f"`bleen up --apply{' --to green' if called else ''} --force` leads it there all the same"):
        lead_to(service, called) if called else service.put_back()
    if called:
        righting.lead_to(service.engine, NAME, ME, called, lambda *_: None, force=True)
    else:
        righting.put_back(service.engine, NAME, ME, lambda *_: None, force=True)
    assert service.router.truth().led == service.service.confirmed.led == {GREEN: 100}


def test_a_rollback_is_preferred_where_it_does_the_same(service: Service) -> None:
    """`resume` of a release that goes on to hold green, while blue was confirmed, gave up what serves."""
    service.router.drift(service.router.truth()._replace(shares={BLUE: 100}))
    service.clock.advance(service.release.plan.window)
    assert service.drive().halted
    with pytest.raises(UserError, match=r"`bleen rollback` goes back to 1\.0"):
        lead_to(service, "blue")
    lead_to(service, "green")
    assert (service.release.phase, service.router.truth().shares) == (Phase.CLOSED, {GREEN: 100})


def test_traffic_is_moved_by_releases_alone_where_nothing_is_amiss_or_one_is_under_way(service: Service) -> None:
    truth = service.router.truth()
    with pytest.raises(UserError, match="the router does what it should: `bleen rollback` and `bleen deploy` are what moves traffic"):
        lead_to(service, "blue")
    service.router.drift(drift := truth._replace(shares={}, unknown="a way of somebody's"))
    with pytest.raises(UserError, match="release 2 is under way, and moves traffic itself"):
        lead_to(service, "blue")
    assert service.router.truth() == drift
