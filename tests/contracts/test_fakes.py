"""What a test can make happen to the fakes happens, in every process that looks, and only as often as was said."""

from pathlib import Path

import pytest

from bleen.errors import Refused, Unavailable
from bleen.host.files import Fence
from bleen.model import Environment, NotYet, Result, Routing, Target, Verdict
from bleen.testing.fakes import FakeCheck, FakeClock, FakePlatform, FakeRouter

BLUE, GREEN = Environment("blue", 4), Environment("green", 5)
WANTED = Routing({BLUE: 100}, None, {BLUE: (Target("127.0.0.1", 1),)})


@pytest.fixture
def router(tmp_path: Path) -> FakeRouter:
    router = FakeRouter(tmp_path, Fence(tmp_path / "fence"))
    router.up(Routing(), 1)
    return router


@pytest.fixture
def platform(tmp_path: Path) -> FakePlatform:
    return FakePlatform(tmp_path, Fence(tmp_path / "fence"))


def test_what_is_broken_down_is_unavailable_until_it_is_mended(router: FakeRouter) -> None:
    router.break_down("the socket is gone")
    with pytest.raises(Unavailable, match="the socket is gone"):
        router.routing()
    router.mend()
    assert router.routing() == Routing()


def test_a_delayed_call_is_not_done_so_many_times(router: FakeRouter) -> None:
    router.delay("prepare", 2)
    assert [router.prepare(WANTED, 1) is None for _ in range(3)] == [False, False, True]


def test_a_refused_effect_does_nothing(router: FakeRouter) -> None:
    router.prepare(WANTED, 1)
    router.refuse("route", "no reason")
    with pytest.raises(Refused, match="no reason"):
        router.route(WANTED, 1)
    assert not router.routing().shares
    assert [effect.name for effect in router.effects()] == ["up", "prepare"]


def test_an_effect_whose_answer_is_lost_was_done(router: FakeRouter) -> None:
    router.prepare(WANTED, 1)
    router.lose_answer("route")
    with pytest.raises(Unavailable):
        router.route(WANTED, 1)
    assert router.routing().serves(BLUE)
    router.route(WANTED, 1)
    assert [effect.epoch for effect in router.effects("route")] == [1, 1]


def test_what_somebody_else_did_is_seen(router: FakeRouter) -> None:
    router.drift(WANTED._replace(unknown="a rule that is not ours"))
    assert router.routing().unknown
    assert isinstance(router.served(WANTED, 1.0), NotYet)
    router.carry(BLUE, requests=7, errors=1, open=2)
    assert router.traffic()[BLUE] == (7, 1, 2)
    router.route(Routing(), 1)
    assert isinstance(router.drained(BLUE, 1.0), NotYet)
    router.carry(BLUE, requests=9, errors=1)
    assert router.drained(BLUE, 1.0) is None


def test_an_environment_dies_and_recovers_as_it_is_told(platform: FakePlatform) -> None:
    platform.become_healthy_after(BLUE, 2)
    platform.provision(BLUE, "1.0", 2, 1)
    assert [platform.health(BLUE).healthy for _ in range(3)] == [False, False, True]
    platform.kill(BLUE)
    platform.tend(1)
    assert (platform.health(BLUE).ready, platform.running()[BLUE].alive) == (0, 0)
    platform.recover(BLUE)
    assert platform.health(BLUE).healthy
    platform.reboot()
    assert not platform.health(BLUE).healthy
    platform.tend(1)
    assert platform.health(BLUE).healthy


def test_a_version_is_lost_and_found(platform: FakePlatform) -> None:
    platform.lose_version("1.1")
    with pytest.raises(Refused):
        platform.provision(GREEN, "1.1", 1, 1)
    platform.find_version("1.1")
    platform.provision(GREEN, "1.1", 1, 1)
    assert platform.health(GREEN).healthy


def test_an_environment_takes_its_time_to_stop(platform: FakePlatform) -> None:
    platform.provision(BLUE, "1.0", 1, 1)
    platform.stop_after(BLUE, 1)
    assert isinstance(platform.retire(BLUE, 0, 1), NotYet)
    assert platform.running()[BLUE].stopping
    with pytest.raises(Refused):
        platform.provision(BLUE, "1.0", 1, 1)
    assert platform.retire(BLUE, 0, 1) is None


def test_a_check_answers_in_order_whoever_asks() -> None:
    passed = Verdict(Result.PASS, "well")
    answers = (NotYet("it runs", memo={"pid": 12}), Unavailable("no answer"), passed)
    first, second = FakeCheck(*answers), FakeCheck(*answers)
    started = first.run(GREEN, {})
    assert isinstance(started, NotYet)
    assert started.memo == {"pid": 12, "look": 1}
    with pytest.raises(Unavailable):
        second.run(GREEN, started.memo)
    assert first.run(GREEN, {"look": 2}) == passed
    assert (first.begun, second.begun) == (1, 0)
    second.cancel()
    assert second.cancelled == 1


def test_time_passes_only_when_it_is_told_and_for_all_who_share_it(tmp_path: Path) -> None:
    here, there = FakeClock(tmp_path / "clock"), FakeClock(tmp_path / "clock")
    assert here.advance(5.0) == there.now() == 1005.0
    assert FakeClock(start=1.0).advance(-2.0) == -1.0
