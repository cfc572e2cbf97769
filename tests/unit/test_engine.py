"""The engine over fakes: what happens when environments die, recover, are sick or are not seen at all."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bleen.engine.upkeep import Upkeep
from bleen.engine.watch import Watch
from bleen.errors import Fenced, StaleWriter, Unavailable
from bleen.lifecycle import REVERSIBLE, UNMOVED, Phase, Release, Verb
from bleen.model import Environment, Health, NotYet, Result, Routing, Running, Verdict
from bleen.plan import Probe, Step
from bleen.testing.service import NAME, FakeService

P = Phase
BLUE, GREEN = Environment("blue", 1), Environment("green", 2)
WATCHED = [P.TESTING, P.AWAITING_PROMOTION, P.PROMOTING, P.BAKING, P.HOLDING]
STEPS = (Step(10, 2.0), Step(50, 2.0), Step(100, 2.0))
SLOW = {"mode": "manual", "deadline": 600.0}
"""For a release that is to be found in AWAITING_PROMOTION."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    """1.0 is active as blue-1."""
    made = FakeService(tmp_path)
    made.stand()
    yield made
    assert made.faults() == []
    made.close()


def served(service: FakeService) -> dict[Environment, int]:
    return dict(service.router.truth().shares)


def whose_test_answers(root: Path, *answers: NotYet | Verdict) -> FakeService:
    """A service with 1.0 active, whose smoke test answers so from now on."""
    standing = FakeService(root)
    standing.stand()
    standing.close()
    return FakeService(root, *answers)


def pass_time(service: FakeService, seconds: float) -> None:
    """Ticks on for so long."""
    end = service.clock.now() + seconds
    while service.clock.now() < end:
        service.clock.advance(min(service.tick() or 0.2, end - service.clock.now()))


# The way through


def test_a_first_release_is_served_and_complete(tmp_path: Path) -> None:
    """It has nothing to hold: its HOLDING ends at once."""
    service = FakeService(tmp_path)
    release = service.deploy("1.0")
    assert (release.phase, served(service)) == (P.COMPLETED, {BLUE: 100})
    entered = {event.phase: event.number for event in service.events}
    assert entered[P.RETIRING] == entered[P.HOLDING] + 1
    assert service.faults() == []


def test_a_release_moves_traffic_holds_and_retires_the_old(service: FakeService) -> None:
    began = service.clock.now()
    assert service.deploy("1.1", P.HOLDING, window=100.0).moved
    assert served(service) == {GREEN: 100}
    assert service.clock.now() - began >= 5.0, "it did not bake"
    held = service.clock.now()
    assert service.drive().phase is P.COMPLETED
    assert service.clock.now() - held >= 100.0
    assert list(service.platform.running()) == [GREEN]
    assert set(service.router.truth().targets) == {GREEN}
    assert service.service.active == GREEN


def test_environments_take_turns(service: FakeService) -> None:
    for number in range(2, 7):
        assert service.deploy(f"1.{number}").phase is P.COMPLETED
        assert served(service) == {Environment(("green", "blue")[number % 2], number): 100}


def test_no_effect_touches_users_before_promotion(service: FakeService) -> None:
    """Nothing a user can feel happens before it."""
    service.deploy("1.1", P.AWAITING_PROMOTION, **SLOW)
    pass_time(service, 20.0)
    assert (served(service), service.release.phase) == ({BLUE: 100}, P.AWAITING_PROMOTION)
    assert [e.name for e in service.router.effects("route")] == ["route"], "only the first release's"
    assert service.router.truth().preview == GREEN


def test_traffic_moves_in_the_steps_of_the_plan(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING, steps=STEPS)
    moves = [effect.arguments["wanted"]["shares"] for effect in service.router.effects("route")][1:]
    assert moves == [{"green-2": 10, "blue-1": 90}, {"green-2": 50, "blue-1": 50}, {"green-2": 100}]
    assert [event.step for event in service.events if event.phase is P.BAKING] == [0, 1, 2]


def test_a_rollback_from_a_step_takes_all_of_the_traffic_back(service: FakeService) -> None:
    service.deploy("1.1", P.BAKING, steps=STEPS)
    assert served(service) == {GREEN: 10, BLUE: 90}
    service.ask(Verb.ROLLBACK)
    assert service.drive().phase is P.ROLLED_BACK
    assert served(service) == {BLUE: 100}


def test_a_hundredth_tick_leaves_the_same_world_as_the_first(service: FakeService) -> None:
    """Every effect is absolute and idempotent. Twice equals once."""
    service.deploy("1.1", P.HOLDING)
    before = service.end()
    for _ in range(100):
        service.tick()
    assert service.end() == before


# Promotion


def test_manual_mode_waits_for_a_person(service: FakeService) -> None:
    """`promote`: the only thing that moves users forward."""
    service.deploy("1.1", P.AWAITING_PROMOTION, **SLOW)
    pass_time(service, 5.0)
    assert "bleen promote" in service.release.why
    assert service.ask(Verb.PROMOTE).obeyed
    assert service.drive(P.HOLDING).phase is P.HOLDING


@pytest.mark.parametrize(("otherwise", "end"), [("abort", P.ABORTED), ("promote", P.HOLDING)])
def test_nobody_promotes_within_the_deadline(service: FakeService, otherwise: str, end: Phase) -> None:
    service.deploy("1.1", P.AWAITING_PROMOTION, mode="manual", deadline=7200.0, otherwise=otherwise)
    service.clock.advance(7100.0)
    pass_time(service, 1.0)
    assert service.release.phase is P.AWAITING_PROMOTION
    service.clock.advance(100.0)
    assert service.drive(P.HOLDING).phase is end


def test_an_approved_version_that_is_not_well_is_given_up_in_the_time_of_a_health_check(service: FakeService) -> None:
    """Fail closed; what is waited for has an end."""
    service.deploy("1.1", P.AWAITING_PROMOTION)
    service.clock.advance(1.0)  # what was seen of it is too old
    service.platform.sicken(GREEN, ready=1)
    assert service.drive().phase is P.ABORTED
    assert "1 of 2" in service.release.reason or "answered 500" in service.release.reason
    assert served(service) == {BLUE: 100}


def test_an_active_environment_that_is_dead_does_not_prevent_promotion(service: FakeService) -> None:
    """An active environment that is unhealthy never prevents the promotion of a healthy one."""
    service.deploy("1.1", P.TESTING)
    service.platform.kill(BLUE)
    assert service.drive(P.HOLDING).phase is P.HOLDING
    assert served(service) == {GREEN: 100}


# Before promotion


def test_a_version_that_never_becomes_healthy_is_undone_with_its_last_words(service: FakeService) -> None:
    service.platform.sicken("1.1")
    assert service.deploy("1.1").phase is P.ABORTED
    assert "did not become healthy within 30s" in service.release.reason
    failure = next(event for event in service.events if event.phase is P.UNDOING)
    assert failure.facts["log"] == ["1| green-2 runs 1.1"]
    assert list(service.platform.running()) == [BLUE]
    assert served(service) == {BLUE: 100}


def test_a_version_that_crashes_again_and_again_is_said_to_crash(service: FakeService) -> None:
    """ "An environment whose processes all keep crashing (three restarts each within a minute) is dead too" """
    service.platform.sicken("1.1", "crashed 4 times", crashing=True)
    assert service.deploy("1.1").phase is P.ABORTED
    assert service.release.reason == "1.1 keeps crashing: green-2: crashed 4 times"
    assert next(event for event in service.events if event.phase is P.UNDOING).facts["log"] == ["1| green-2 runs 1.1"]


def test_a_version_that_becomes_healthy_late_is_waited_for(service: FakeService) -> None:
    service.platform.become_healthy_after("1.1", 100)
    assert service.deploy("1.1", P.HOLDING).phase is P.HOLDING


def test_a_version_whose_directory_is_missing_is_undone(service: FakeService) -> None:
    service.platform.lose_version("1.1")
    release = service.deploy("1.1")
    assert (release.phase, "there is no version 1.1" in release.reason) == (P.ABORTED, True)


@pytest.mark.parametrize("result", [Result.FAIL, Result.INCONCLUSIVE])
def test_a_smoke_test_that_does_not_pass_aborts(tmp_path: Path, result: Result) -> None:
    """Fail closed: a check that could not run is not a pass."""
    service = whose_test_answers(tmp_path, NotYet("1 of 2"), Verdict(result, "GET / gave 500", ({"status": 500},)))
    release = service.deploy("1.1")
    assert (release.phase, release.reason) == (P.ABORTED, "smoke tests: GET / gave 500")
    assert next(event for event in service.events if event.phase is P.UNDOING).facts["evidence"] == [{"status": 500}]
    assert (served(service), service.router.truth().preview, service.faults()) == ({BLUE: 100}, None, [])


def test_a_smoke_test_that_is_under_way_is_cancelled(tmp_path: Path) -> None:
    service = whose_test_answers(tmp_path, NotYet("runs", memo={"pid": 12}))
    service.deploy("1.1", P.TESTING)
    service.tick()
    service.tick()
    service.ask(Verb.ABORT)
    assert service.drive().phase is P.ABORTED
    assert service.check is not None
    assert service.check.cancelled


@pytest.mark.parametrize("phase", UNMOVED)
@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.ROLLBACK])
def test_an_abort_before_promotion_leaves_no_trace(service: FakeService, phase: Phase, verb: Verb) -> None:
    """Before PROMOTING it is `abort`, exit 0."""
    before = service.end()
    service.deploy("1.1", phase, **SLOW)
    assert service.ask(verb).obeyed
    assert service.drive().phase is P.ABORTED
    assert {**service.end(), "phase": 0, "moved": 0, "reason": 0} == {**before, "phase": 0, "moved": 0, "reason": 0}


def test_what_is_left_of_an_earlier_release_makes_room(service: FakeService) -> None:
    service.deploy("1.1", keep=None)
    assert set(service.platform.running()) == {BLUE, GREEN}
    service.deploy("1.2", P.HOLDING)
    assert set(service.platform.running()) == {GREEN, Environment("blue", 3)}


def test_what_the_router_names_never_makes_room(service: FakeService) -> None:
    """What the router names is never stopped."""
    service.deploy("1.1", keep=None)
    truth = service.router.truth()
    service.router.drift(truth._replace(shares={BLUE: 100}))
    assert service.deploy("1.2").phase is P.ABORTED
    assert BLUE in service.platform.running()


# Dead, back, halted


@pytest.mark.parametrize("phase", WATCHED)
@pytest.mark.parametrize("how", ["killed", "crashing"])
def test_green_dead_takes_the_failure_edge(tmp_path: Path, phase: Phase, how: str) -> None:
    """Green dead at any time from PROMOTING to the end of HOLDING, blue healthy: traffic goes back at once, whatever [...] wait was under way."""
    service = whose_test_answers(tmp_path, *([NotYet("a long test")] if phase is P.TESTING else []))
    service.deploy("1.1", phase, **(SLOW if phase is P.AWAITING_PROMOTION else {}))
    if how == "killed":
        service.platform.kill(GREEN)
    else:
        service.platform.sicken(GREEN, "it was restarted three times", ready=2, crashing=True)
    began = service.clock.now()
    service.drive(P.UNDOING)
    assert service.clock.now() - began < 1.0
    assert service.drive().phase is (P.ROLLED_BACK if phase in REVERSIBLE else P.ABORTED)
    assert "dead" in service.release.reason
    assert served(service) == {BLUE: 100}
    assert list(service.platform.running()) == [BLUE]
    assert service.faults() == []


@pytest.mark.parametrize("phase", [P.PROMOTING, P.BAKING])
def test_green_dead_in_a_first_release_halts_and_still_serves(tmp_path: Path, phase: Phase) -> None:
    """After it halted, still serving."""
    service = FakeService(tmp_path)
    green = Environment("blue", 1)
    service.deploy("1.0", phase)
    service.platform.kill(green)
    assert service.drive().halted
    assert service.release.phase in REVERSIBLE
    assert served(service) == {green: 100}
    service.platform.recover(green)
    assert service.ask(Verb.RESUME).obeyed
    assert (service.drive().phase, service.faults()) == (P.COMPLETED, [])


@pytest.mark.parametrize("phase", [P.BAKING, P.HOLDING])
def test_both_dead_halts_and_moves_nothing(service: FakeService, phase: Phase) -> None:
    """Both dead, from PROMOTING on: halted, traffic untouched, and said loudly."""
    service.deploy("1.1", phase)
    moves = len(service.router.effects("route"))
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    release = service.drive()
    assert release.phase is phase
    assert "both environments are dead" in release.halted
    assert len(service.router.effects("route")) == moves
    assert served(service) == {GREEN: 100}


def test_a_green_that_dies_while_its_release_is_halted_is_left_at_once(service: FakeService) -> None:
    """Green dead at any time from PROMOTING to the end of HOLDING, blue healthy: traffic goes back at once."""
    service.deploy("1.1", P.BAKING)
    service.platform.sicken(GREEN, ready=1)
    assert service.drive().halted
    service.platform.kill(GREEN)
    pass_time(service, 5.0)
    assert (service.release.phase, served(service)) == (P.ROLLED_BACK, {BLUE: 100})


def test_traffic_goes_back_when_blue_recovers_and_green_stays_dead(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    assert service.drive().halted
    service.platform.recover(BLUE)
    pass_time(service, 5.0)
    assert (service.release.phase, served(service)) == (P.ROLLED_BACK, {BLUE: 100})


def test_a_halted_release_whose_traffic_somebody_moved_is_left_alone(service: FakeService) -> None:
    """Drift: only a person can say what was meant."""
    service.deploy("1.1", P.BAKING)
    service.platform.sicken(GREEN, ready=1)
    assert service.drive().halted
    service.router.drift(service.router.truth()._replace(shares={GREEN: 50, BLUE: 50}))
    service.platform.kill(GREEN)
    pass_time(service, 5.0)
    assert service.release.halted
    assert served(service) == {GREEN: 50, BLUE: 50}


def test_both_dead_in_promoting_halts_and_moves_nothing(service: FakeService) -> None:
    """Both dead, from PROMOTING on: halted, traffic untouched."""
    service.deploy("1.1", P.PROMOTING)
    service.clock.advance(1.0)  # what was seen of green is too old to move traffic by
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    release = service.drive()
    assert (release.phase, "both environments are dead" in release.halted) == (P.PROMOTING, True)
    assert served(service) == {BLUE: 100}


def test_green_dead_and_blue_half_well_goes_back(service: FakeService) -> None:
    """Green dead, and at least one copy of blue well: traffic goes back too; something that answers is better than nothing."""
    service.deploy("1.1", P.HOLDING)
    service.platform.sicken(BLUE, ready=1)
    service.platform.kill(GREEN)
    assert service.drive().phase is P.ROLLED_BACK
    assert served(service) == {BLUE: 100}


def test_green_alive_and_blue_half_well_halts_a_rollback(service: FakeService) -> None:
    """An old version that is not healthy within `checks.health.timeout`: halted in ROLLING_BACK."""
    service.deploy("1.1", P.HOLDING)
    service.platform.sicken(BLUE, ready=1)
    assert service.ask(Verb.ROLLBACK).obeyed
    release = service.drive()
    assert (release.phase, bool(release.halted), served(service)) == (P.ROLLING_BACK, True, {GREEN: 100})


def test_fewer_failures_in_a_row_than_fall_move_nothing(service: FakeService) -> None:
    """Dead: every target of an environment failed three checks in a row. Anything less is shown and not acted on; flapping moves nothing."""
    service.deploy("1.1", P.HOLDING, window=60.0)
    for _ in range(30):
        service.platform.sicken(GREEN)
        for _ in range(2):
            service.clock.advance(0.2)
            service.tick()
        service.platform.recover(GREEN)
        service.clock.advance(0.2)
        service.tick()
    assert (service.release.phase, served(service)) == (P.HOLDING, {GREEN: 100})


def test_one_target_that_is_dead_moves_nothing(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.platform.sicken(GREEN, ready=1)
    pass_time(service, 10.0)
    assert (service.release.phase, served(service)) == (P.HOLDING, {GREEN: 100})


def test_health_that_cannot_be_asked_is_not_death(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.platform.break_down()
    pass_time(service, 10.0)
    assert service.release.phase is P.HOLDING
    assert not service.release.halted


def test_at_most_one_automatic_rollback(service: FakeService) -> None:
    """At most one automatic rollback a release."""
    service.deploy("1.1", P.HOLDING)
    service.platform.kill(GREEN)
    service.drive(P.UNDOING)
    service.platform.kill(BLUE)
    service.platform.recover(GREEN)
    assert service.drive().phase is P.ROLLED_BACK
    assert served(service) == {BLUE: 100}
    assert [event.phase for event in service.events].count(P.ROLLING_BACK) == 1


# Baking and holding


def test_bake_counts_only_the_time_in_which_green_was_seen_serving(service: FakeService) -> None:
    """Bake counts only the time in which green was seen serving."""
    service.deploy("1.1", P.BAKING, steps=(Step(100, 10.0),))
    pass_time(service, 4.0)
    right = service.router.truth()
    service.router.drift(right._replace(shares={BLUE: 100}))
    pass_time(service, 60.0)
    assert service.release.phase is P.BAKING
    assert "drift" in service.release.why
    service.router.drift(right)
    began = service.clock.now()
    service.drive(P.HOLDING)
    assert 5.5 <= service.clock.now() - began <= 8.5


def test_a_gap_in_which_nobody_looked_is_not_baked(service: FakeService) -> None:
    service.deploy("1.1", P.BAKING, steps=(Step(100, 10.0),))
    service.tick()
    service.clock.advance(3600.0)
    service.tick()
    assert service.release.phase is P.BAKING


@pytest.mark.parametrize("ready", [1, 0], ids=["partly sick", "flapping"])
def test_a_version_that_is_neither_well_nor_dead_when_its_bake_is_over_halts_and_moves_nothing(service: FakeService, ready: int) -> None:
    """ "A version that is neither healthy nor dead when its bake is over is waited for, `checks.health.timeout` at the most; then it halts" """
    service.deploy("1.1", P.BAKING, steps=STEPS)
    service.platform.sicken(GREEN, "answered 500", ready=1)
    pass_time(service, 5.0)
    assert (service.release.phase, service.release.step) == (P.BAKING, 0), "it went on with a copy that is sick"
    if ready == 0:  # every copy fails, but never three times in a row
        for _ in range(100):
            service.platform.sicken(GREEN, "answered 500", ready=0)
            pass_time(service, 0.3)
            service.platform.sicken(GREEN, "answered 500", ready=1)
            pass_time(service, 0.3)
    else:
        pass_time(service, 22.0)
        assert not service.release.halted
        assert "to be healthy at the end of its bake: green-2: answered 500" in service.release.why
        pass_time(service, 10.0)
    release = service.release
    assert (release.phase, "answered 500" in release.halted, served(service)) == (P.BAKING, True, {GREEN: 10, BLUE: 90})
    assert {"`bleen resume` looks again", "`bleen rollback` returns to 1.0"} <= {part.strip() for part in re.split("[,:;]", release.halted)}


def test_a_version_that_halted_unwell_after_its_bake_is_looked_at_as_long_again_when_resumed(service: FakeService) -> None:
    """ "`resume` tries again" """
    service.deploy("1.1", P.BAKING)
    service.platform.sicken(GREEN, ready=1)
    assert service.drive().halted
    assert service.ask(Verb.RESUME).obeyed
    pass_time(service, 25.0)
    assert not service.release.halted, "what was found before a person said `resume` halted it again"
    service.platform.recover(GREEN)
    assert service.drive(P.HOLDING).phase is P.HOLDING


def test_a_first_release_that_is_unwell_after_its_bake_names_close_as_the_way(tmp_path: Path) -> None:
    service = FakeService(tmp_path)
    service.deploy("1.0", P.BAKING)
    service.platform.sicken(BLUE, ready=1)
    release = service.drive()
    assert (release.phase, "`bleen close`" in release.halted, "`bleen rollback`" in release.halted) == (P.BAKING, True, False)


def test_a_bake_that_is_over_waits_out_looks_that_cannot_be_taken(service: FakeService) -> None:
    """Neither health nor death."""
    service.deploy("1.1", P.BAKING)
    service.platform.sicken(GREEN, ready=1)
    pass_time(service, 10.0)
    service.platform.break_down()
    pass_time(service, 60.0)
    assert (service.release.phase, service.release.halted) == (P.BAKING, "")
    service.platform.mend()
    service.platform.recover(GREEN)
    assert service.drive(P.HOLDING).phase is P.HOLDING


def test_the_hold_lasts_its_window_over_a_reboot(tmp_path: Path) -> None:
    """A jump of the clock closes no window early. After a reboot, time elapsed at the last heartbeat counts on."""
    service = FakeService(tmp_path)
    service.stand()
    service.deploy("1.1", P.HOLDING, window=900.0)
    pass_time(service, 600.0)
    service.journal.beat()
    service.close()
    rebooted = FakeService(tmp_path, boot="another")
    rebooted.clock.advance(-rebooted.clock.now() + 5.0)
    rebooted.close()
    rebooted = FakeService(tmp_path, boot="yet another")
    rebooted.claim()
    pass_time(rebooted, 290.0)
    assert rebooted.release.phase is P.HOLDING
    pass_time(rebooted, 15.0)
    assert rebooted.release.phase is not P.HOLDING


def test_the_warm_environment_is_not_given_up_while_green_fails_its_checks(service: FakeService) -> None:
    """Never make it worse."""
    service.deploy("1.1", P.HOLDING, window=10.0)
    pass_time(service, 9.7)
    service.platform.kill(GREEN)
    assert service.drive().phase is P.ROLLED_BACK
    assert served(service) == {BLUE: 100}


UNSAID = "production is led to 'berth2:100', which is not of our making"


@pytest.mark.parametrize("phase", [P.RETIRING, P.UNDOING])
def test_nothing_is_stopped_while_nobody_can_say_whom_the_router_serves(service: FakeService, phase: Phase) -> None:
    """What the router names is never stopped: it may be this one that somebody has led the traffic to."""
    aborted = phase is P.UNDOING
    service.deploy("1.1", P.AWAITING_PROMOTION if aborted else P.HOLDING, **({"mode": "manual", "deadline": 600.0} if aborted else {}))
    truth = service.router.truth()
    service.ask(Verb.ABORT if aborted else Verb.RETIRE)
    service.router.drift(truth._replace(shares={}, unknown=UNSAID))
    assert service.drive().halted.startswith(f"nobody can say whom the router serves ({UNSAID})")
    assert service.release.phase is phase
    assert {e for e, runs in service.platform.running().items() if runs.alive} == {BLUE, GREEN}
    service.router.drift(truth)
    service.ask(Verb.RESUME)
    assert service.drive().phase is (P.ABORTED if aborted else P.COMPLETED)
    assert len(service.platform.running()) == 1


@pytest.mark.parametrize("does", ["the old one", "what nobody can say", "the old one's addresses", "nobody, as no address is known", "nobody, by a weight"])
def test_the_window_does_not_end_by_itself_nor_by_retire_while_the_router_serves_something_else(service: FakeService, does: str) -> None:
    """From PROMOTING to HOLDING it always works: [...] with drift in the router."""
    service.deploy("1.1", P.HOLDING)
    truth = service.router.truth()
    drifts = {
        "the old one": truth._replace(shares={BLUE: 100}),
        "what nobody can say": truth._replace(shares={}, unknown=UNSAID),
        "the old one's addresses": truth._replace(targets={**truth.targets, GREEN: truth.targets[BLUE]}),
        "nobody, as no address is known": truth._replace(targets={BLUE: truth.targets[BLUE]}),
        "nobody, by a weight": truth._replace(amiss="the servers of green-2 have a weight of 0"),
    }
    service.router.drift(drifts[does])
    answer = service.ask(Verb.RETIRE)
    assert (answer.obeyed, "nothing was changed; `bleen up --apply` leads it back to 1.1, `bleen rollback` to 1.0" in answer.text) == (False, True)
    service.clock.advance(service.release.plan.window)
    assert service.drive().halted == "the router does not do what it should: 1.0 is not given up; `bleen status` shows the drift"
    assert service.release.phase is P.HOLDING
    service.ask(Verb.ROLLBACK)
    assert service.drive().phase is P.ROLLED_BACK
    assert served(service) == {BLUE: 100}


@pytest.mark.parametrize("phase", REVERSIBLE)
def test_rollback_works_from_promoting_to_the_end_of_holding(service: FakeService, phase: Phase) -> None:
    """From PROMOTING to HOLDING it always works."""
    service.deploy("1.1", phase)
    assert service.ask(Verb.ROLLBACK).obeyed
    assert service.drive().phase is P.ROLLED_BACK
    assert service.release.reason == "rollback by somebody"
    again = service.ask(Verb.ROLLBACK)
    assert (again.obeyed, again.text) == (True, "already on 1.0")
    assert served(service) == {BLUE: 100}


def test_rollback_goes_ahead_with_drift_in_the_router(service: FakeService) -> None:
    """`status` shows it, `deploy` refuses on it, `rollback` goes ahead."""
    service.deploy("1.1", P.HOLDING)
    service.router.drift(service.router.truth()._replace(unknown="a rule that we do not know"))
    service.ask(Verb.ROLLBACK)
    assert service.drive().phase is P.ROLLED_BACK
    assert (served(service), service.router.truth().unknown) == ({BLUE: 100}, "")


def test_rollback_to_a_version_that_is_not_healthy_halts_until_forced(service: FakeService) -> None:
    """An old version that is not healthy within `checks.health.timeout`: halted in ROLLING_BACK; `rollback --force` then moves traffic all the same."""
    service.deploy("1.1", P.HOLDING)
    service.platform.sicken(BLUE, "answered 503")
    began = service.clock.now()
    service.ask(Verb.ROLLBACK)
    release = service.drive()
    assert (release.phase, served(service)) == (P.ROLLING_BACK, {GREEN: 100})
    assert "answered 503" in release.halted
    assert "--force" in release.halted
    assert service.clock.now() - began >= 30.0
    assert service.ask(Verb.ROLLBACK, {"force": True}).obeyed
    assert (service.drive().phase, served(service)) == (P.ROLLED_BACK, {BLUE: 100})


def test_a_rollback_while_nobody_can_look_at_what_runs_ends_in_words_and_is_forced_with_what_the_router_knows(service: FakeService) -> None:
    """ "An old version that is not healthy within `checks.health.timeout`: halted in ROLLING_BACK, exit 5, saying what was found" """
    service.deploy("1.1", P.HOLDING)
    service.platform.break_down("Permission denied")
    service.ask(Verb.ROLLBACK)
    halted = service.drive().halted
    assert ("Permission denied" in halted, "--force" in halted, served(service)) == (True, True, {GREEN: 100})
    service.ask(Verb.ROLLBACK, {"force": True})
    assert (service.drive(P.UNDOING).phase, served(service)) == (P.UNDOING, {BLUE: 100})
    assert set(service.router.truth().targets) == {BLUE, GREEN}, "what is in flight to green goes on"
    service.platform.mend()
    assert service.drive().phase is P.ROLLED_BACK


def test_a_list_of_what_runs_that_nobody_can_read_keeps_no_rollback_from_a_version_that_is_well(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """From PROMOTING to HOLDING it always works."""
    service.deploy("1.1", P.HOLDING)

    def running() -> Mapping[Environment, Running]:
        raise Unavailable("Permission denied")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(service.platform, "running", running)
        service.ask(Verb.ROLLBACK)
        assert service.drive(P.UNDOING).phase is P.UNDOING
    assert served(service) == {BLUE: 100}
    assert service.drive().phase is P.ROLLED_BACK


def test_a_release_is_acted_on_though_nobody_can_look_at_anything_for_a_minute(service: FakeService) -> None:
    """It says itself what it lacks: who waits for a rollback is told."""
    service.deploy("1.1", P.HOLDING)
    for each in (service.router, service.platform):
        each.break_down("Permission denied")
    upkeep = Upkeep(service.journal, service.engine, NAME)
    assert not upkeep.back(service.service)
    service.clock.advance(59.0)
    assert not upkeep.back(service.service)
    service.clock.advance(1.0)
    assert upkeep.back(service.service)
    service.router.mend()
    assert Upkeep(service.journal, service.engine, NAME).back(service.service), "a listener that answers says that there was no reboot"


def test_who_cannot_read_the_newest_release_does_not_know_either_whether_all_is_back(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    standing, upkeep = service.service, Upkeep(service.journal, service.engine, NAME)

    def latest(name: str) -> Release:
        raise Unavailable("the journal cannot be read: Input/output error")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(service.journal, "latest", latest)
        assert not upkeep.back(standing)
    assert upkeep.back(standing)


def test_a_rollback_that_is_forced_to_an_environment_that_is_lost_leaves_no_drift_and_a_deploy_is_the_way_on(service: FakeService) -> None:
    """`rollback --force` then moves traffic all the same. Drift is a routing that equals neither the last one confirmed nor the one intended."""
    service.deploy("1.1", P.HOLDING)
    service.platform.retire(BLUE, 0, service.service.epoch)
    service.ask(Verb.ROLLBACK)
    assert "blue-1 does not run" in service.drive().halted
    service.ask(Verb.ROLLBACK, {"force": True})
    assert (service.drive().phase, served(service)) == (P.ROLLED_BACK, {BLUE: 100})
    assert service.router.truth().targets[BLUE]
    assert service.router.truth().same_production(service.service.confirmed)
    assert service.deploy("1.2").phase is P.COMPLETED


def test_a_rollback_that_the_router_does_not_carry_out_halts_after_a_minute_and_resume_gives_it_another(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.router.delay("served", 1000)
    service.ask(Verb.ROLLBACK)
    for halts in (1, 2):
        pass_time(service, 1.0)
        service.clock.advance(58.0)
        service.tick()
        assert not service.release.halted
        service.clock.advance(2.0)
        release = service.drive()
        assert (release.phase, release.halted) == (
            P.ROLLING_BACK,
            "the router was told, and 1m later it still waits for the fake router takes its time; `bleen status` shows what serves",
        ), halts
        service.ask(Verb.RESUME)
    service.router.delay("served", 0)
    assert service.drive().phase is P.ROLLED_BACK


def test_a_rollback_that_halted_is_tried_again_without_force(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.platform.sicken(BLUE)
    service.ask(Verb.ROLLBACK)
    assert service.drive().halted
    service.platform.recover(BLUE)
    assert service.ask(Verb.ROLLBACK).obeyed
    assert service.drive().phase is P.ROLLED_BACK


def test_an_old_environment_that_was_shrunk_is_scaled_up_before_traffic_goes_back(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.platform.retire(BLUE, 1, service.service.epoch)
    service.ask(Verb.ROLLBACK)
    assert service.drive(P.UNDOING).phase is P.UNDOING
    assert service.platform.running()[BLUE].replicas == 2


# Retirement


@pytest.mark.parametrize(("keep", "left"), [(0, {GREEN: 2}), (1, {BLUE: 1, GREEN: 2}), (None, {BLUE: 2, GREEN: 2})])
def test_the_old_environment_is_stopped_shrunk_or_kept(service: FakeService, keep: int | None, left: dict[Environment, int]) -> None:
    assert service.deploy("1.1", keep=keep).phase is P.COMPLETED
    assert {e: r.replicas for e, r in service.platform.running().items()} == left


@pytest.mark.parametrize("keep", [None, 1])
def test_an_environment_that_was_kept_drains_before_the_next_release_takes_its_place(service: FakeService, keep: int | None) -> None:
    """Retirement: targets leave the router, requests in flight and open streams get `drain: 30s`."""
    service.deploy("1.1", keep=keep)
    service.router.carry(BLUE, open=2)
    service.open("1.2")
    pass_time(service, 20.0)
    assert (service.release.phase, BLUE in service.platform.running()) == (P.PROVISIONING, True)
    service.router.carry(BLUE, open=0)
    assert service.drive(P.HOLDING).phase is P.HOLDING
    assert BLUE not in service.platform.running()


def test_retire_ends_the_window_early(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING, window=3600.0)
    began = service.clock.now()
    assert service.ask(Verb.RETIRE).obeyed
    assert service.drive().phase is P.COMPLETED
    assert service.clock.now() - began < 60.0


def test_requests_in_flight_have_the_time_of_the_drain_and_are_counted_then(service: FakeService) -> None:
    """Requests in flight get `drain: 30s`; what is left then gets TERM with its process, and is counted in the report; it never halts a release."""
    service.deploy("1.1", P.HOLDING)
    service.router.carry(BLUE, open=3)
    service.ask(Verb.RETIRE)
    began = service.clock.now()
    assert service.drive().phase is P.COMPLETED
    assert service.clock.now() - began == pytest.approx(30.0, abs=1.0)
    assert next(event.facts for event in service.events if event.phase is P.CONTRACTING) == {"cut": 3}


def test_what_was_in_flight_when_copies_were_asked_to_end_is_counted_although_it_has_ended_with_them(service: FakeService) -> None:
    """ "what is left then gets TERM with its process, and is counted in the report" """
    service.deploy("1.1", P.HOLDING)
    service.router.carry(BLUE, open=3)
    service.platform.stop_after(BLUE, 3)
    service.ask(Verb.RETIRE)
    service.drive(P.RETIRING)
    while "cut" not in service.release.memo:
        service.clock.advance(service.tick() or 0.0)
    service.router.carry(BLUE, open=0)
    assert service.drive().phase is P.COMPLETED
    assert next(event.facts for event in service.events if event.phase is P.CONTRACTING) == {"cut": 3}


def test_after_a_rollback_green_drains_the_same_way(service: FakeService) -> None:
    """After a rollback green drains the same way."""
    service.deploy("1.1", P.HOLDING)
    service.router.carry(GREEN, open=1)
    service.ask(Verb.ROLLBACK)
    service.drive(P.UNDOING)
    pass_time(service, 10.0)
    assert GREEN in service.platform.running()
    service.router.carry(GREEN, open=0)
    assert service.drive().phase is P.ROLLED_BACK
    assert service.events[-1].facts == {"cut": 0}


@pytest.mark.parametrize("keep", [0, 1])
def test_retiring_what_the_router_names_halts_and_stops_nothing(service: FakeService, keep: int) -> None:
    """What the router names is never stopped."""
    service.deploy("1.1", P.HOLDING, keep=keep)
    truth = service.router.truth()
    assert service.ask(Verb.RETIRE).obeyed
    service.router.drift(truth._replace(shares={GREEN: 50, BLUE: 50}))
    release = service.drive()
    assert (release.phase, "blue-1" in release.halted) == (P.RETIRING, True)
    assert service.platform.running()[BLUE].replicas == 2
    service.router.drift(truth)
    service.ask(Verb.RESUME)
    assert service.drive().phase is P.COMPLETED


def test_undoing_what_the_router_names_halts_and_stops_nothing(service: FakeService) -> None:
    """What the router names is never stopped."""
    service.deploy("1.1", P.HOLDING)
    service.ask(Verb.ROLLBACK)
    service.drive(P.UNDOING)
    truth = service.router.truth()
    service.router.drift(truth._replace(shares={GREEN: 100}))
    release = service.drive()
    assert (release.phase, "green-2" in release.halted) == (P.UNDOING, True)
    assert GREEN in service.platform.running()
    service.router.drift(truth)
    service.ask(Verb.RESUME)
    assert service.drive().phase is P.ROLLED_BACK


def test_a_window_is_not_closed_over_a_version_that_is_not_well_while_the_old_one_is(service: FakeService) -> None:
    """Green dead at any time from PROMOTING to the end of HOLDING, blue healthy: traffic goes back at once, and nobody stops blue before that was seen."""
    service.deploy("1.1", P.HOLDING, window=3600.0)
    service.platform.kill(GREEN)
    answer = service.ask(Verb.RETIRE)
    assert (answer.obeyed, "`bleen rollback` returns to 1.0" in answer.text) == (False, True)
    assert service.drive().phase is P.ROLLED_BACK
    assert served(service) == {BLUE: 100}


@pytest.mark.parametrize("comes", [True, False], ids=["and it is seen", "and nothing is seen in time"])
def test_a_window_is_closed_only_after_a_look_that_was_begun_since_and_no_later_than_half_a_second(service: FakeService, comes: bool) -> None:
    """Nobody stops blue before that was seen; a target that hangs delays nobody's command."""
    looks: list[Callable[[], None]] = []
    slow = False
    service.engine.watch = Watch(lambda look: looks.append(look) if slow else look())
    service.deploy("1.1", P.HOLDING, window=3600.0)
    service.platform.kill(GREEN)
    slow = True
    number = service.journal.ask(service.release.id, Verb.RETIRE, "somebody", {})
    service.tick()
    assert service.journal.answer(number) is None
    if comes:
        for look in looks:
            look()
    else:
        service.clock.advance(0.5)
    service.tick()
    answer = service.journal.answer(number)
    assert answer
    assert (answer.obeyed, "`bleen rollback` returns to 1.0" in answer.text) == (not comes, comes)


def test_a_window_is_closed_over_two_versions_that_are_not_well(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING, window=3600.0)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    assert service.ask(Verb.RETIRE).obeyed


def test_who_waits_in_a_rollback_for_an_old_version_goes_on_once_it_is_well_and_the_new_one_is_dead(service: FakeService) -> None:
    """A release that is halted with its traffic moved is still watched: green dead and blue healthy takes the traffic back."""
    service.deploy("1.1", P.HOLDING, window=3600.0)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    assert service.drive().halted
    service.ask(Verb.ROLLBACK)
    assert (service.drive().phase, bool(service.release.halted)) == (P.ROLLING_BACK, True)
    pass_time(service, 5.0)
    assert service.release.halted
    service.platform.recover(BLUE)
    pass_time(service, 5.0)
    assert (service.release.phase, served(service)) == (P.ROLLED_BACK, {BLUE: 100})


# Halted


def test_what_somebody_has_promoted_in_the_router_loses_its_preview_with_the_promotion(service: FakeService) -> None:
    """ "The preview leads to this release's idle environment or answers 503, never to the active one" """
    service.deploy("1.1", P.AWAITING_PROMOTION, **SLOW)
    service.router.drift(service.router.truth()._replace(shares={GREEN: 100}))
    assert service.ask(Verb.PROMOTE).obeyed
    assert service.drive(P.HOLDING).phase is P.HOLDING
    assert (served(service), service.router.truth().preview) == ({GREEN: 100}, None)


def test_a_closed_release_has_no_preview_that_would_be_in_the_way_of_all_later_ones(service: FakeService) -> None:
    """ "The preview leads to this release's idle environment or answers 503": once it is closed there is no release that it could lead to."""
    service.deploy("1.1", P.AWAITING_PROMOTION, **SLOW)
    truth = service.router.truth()
    service.router.drift(truth._replace(shares={GREEN: 100}))
    service.ask(Verb.ABORT)
    assert service.drive().halted
    service.router.drift(truth)
    assert service.ask(Verb.CLOSE).obeyed
    assert (served(service), service.router.truth().preview, service.service.confirmed.preview) == ({BLUE: 100}, None, None)
    assert service.deploy("1.2", P.HOLDING).phase is P.HOLDING


def test_a_preview_that_somebody_has_led_to_a_kept_environment_keeps_no_release_from_its_place(service: FakeService) -> None:
    service.deploy("1.1", keep=None)
    service.router.drift(service.router.truth()._replace(preview=BLUE))
    assert service.deploy("1.2", P.HOLDING).phase is P.HOLDING
    service.router.drift(service.router.truth()._replace(preview=GREEN))
    assert service.drive().phase is P.COMPLETED


def test_close_takes_what_the_router_serves_for_the_truth(service: FakeService) -> None:
    """`close` accepts what the router serves now as the truth (terminal CLOSED)."""
    service.deploy("1.1", P.HOLDING)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    service.drive()
    service.router.drift(service.router.truth()._replace(shares={BLUE: 100}))
    assert service.ask(Verb.CLOSE).obeyed
    assert (service.release.phase, service.service.active) == (P.CLOSED, BLUE)
    service.platform.recover(BLUE)
    assert service.deploy("1.2", P.HOLDING).phase is P.HOLDING
    assert served(service) == {Environment("green", 3): 100}


def test_close_keeps_nothing_for_the_truth_that_nobody_can_name(service: FakeService) -> None:
    """`close` accepts what the router serves now as the truth: drift is over with it, and what was closed by hand is no part of it."""
    service.deploy("1.1", P.HOLDING)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    service.drive()
    truth = service.router.truth()
    fewer = {**truth.targets, GREEN: truth.targets[GREEN][:1]}
    service.router.drift(truth._replace(beside="the preview listener was closed by hand", preview=GREEN, targets=fewer))  # the other one was taken out by hand
    assert service.ask(Verb.CLOSE).obeyed
    assert service.service.confirmed == truth, "a preview of what serves would be drift that nothing ends"
    service.router.drift(truth)
    service.platform.recover(GREEN)
    assert service.router.routing().same_production(service.service.confirmed)
    assert service.deploy("1.2", P.HOLDING).phase is P.HOLDING


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (
            {"shares": {}, "unknown": "routes for some hosts only"},
            "`bleen up --apply` undoes what is not ours, with `--to blue` or `--to green` in favour of that one; nothing was changed",
        ),
        ({"shares": {BLUE: 50, GREEN: 50}}, "split between two environments: `bleen up --apply` ends that first; nothing was changed"),
        ({"shares": {}}, "nothing is served: `bleen up --apply` ends that first; nothing was changed"),
    ],
    ids=["what nobody can say", "what somebody has split", "nothing"],
)
def test_close_is_refused_and_forgets_no_drift_while_the_router_does(service: FakeService, does: dict[str, Any], said: str) -> None:
    """A refusal that wrote the drift down for the truth left nothing that could undo it."""
    service.deploy("1.1", P.HOLDING)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    service.drive()
    service.router.drift(service.router.truth()._replace(**does))
    confirmed = service.service.confirmed
    answer = service.ask(Verb.CLOSE)
    assert (answer.obeyed, said in answer.text) == (False, True)
    assert service.release.halted
    assert service.service.confirmed == confirmed


def test_a_bake_during_which_somebody_moves_the_traffic_waits_a_minute_then_halts(service: FakeService) -> None:
    """A bake during which somebody else has moved the traffic waits a minute, then halts: only a person can say what was meant."""
    service.deploy("1.1", P.BAKING)
    truth = service.router.truth()
    service.router.drift(truth._replace(shares={BLUE: 100}))
    pass_time(service, 50.0)
    assert not service.release.halted
    release = service.drive()
    assert (release.phase, "the drift" in release.halted, served(service)) == (P.BAKING, True, {BLUE: 100})
    assert service.ask(Verb.RESUME).obeyed
    pass_time(service, 50.0)
    assert not service.release.halted, "it had no minute of its own"
    service.router.drift(truth)
    assert service.drive(P.HOLDING).phase is P.HOLDING


def test_close_is_refused_while_traffic_is_split_and_names_the_way_out(service: FakeService) -> None:
    service.deploy("1.1", P.BAKING, steps=STEPS)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    assert service.drive().halted
    answer = service.ask(Verb.CLOSE)
    assert (answer.obeyed, "`bleen rollback` ends that first" in answer.text) == (False, True)
    assert service.ask(Verb.ROLLBACK).obeyed
    assert service.drive().phase is P.ROLLING_BACK, "neither is well"
    assert "`bleen rollback --force` ends that first" in service.ask(Verb.CLOSE).text
    assert service.ask(Verb.ROLLBACK, {"force": True}).obeyed
    assert service.drive().phase is P.ROLLED_BACK


def test_a_command_that_nobody_could_obey_for_a_minute_is_not_obeyed_later(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING, window=3600.0)
    number = service.journal.ask(service.release.id, Verb.ROLLBACK, "somebody")
    service.clock.advance(61.0)
    service.tick()
    answer = service.journal.answer(number)
    assert answer is not None
    assert (answer.obeyed, "say it again" in answer.text, served(service)) == (False, True, {GREEN: 100})


def test_close_is_refused_while_the_router_does_not_answer(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    service.drive()
    service.router.break_down()
    answer = service.ask(Verb.CLOSE)
    assert (answer.obeyed, "cannot be asked" in answer.text) == (False, True)
    assert service.release.phase is P.HOLDING
    assert service.release.halted


def test_resume_goes_on_where_it_halted(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING)
    service.platform.kill(BLUE)
    service.platform.kill(GREEN)
    assert service.drive().halted
    service.platform.recover(GREEN)
    service.platform.recover(BLUE)
    assert service.ask(Verb.RESUME).obeyed
    assert service.ask(Verb.RESUME).text == "it is not halted"
    assert service.drive().phase is P.COMPLETED


# Providers that do not answer


@pytest.mark.parametrize("phase", [P.PROVISIONING, P.TESTING, P.PROMOTING, P.BAKING, P.HOLDING, P.RETIRING, P.ROLLING_BACK, P.UNDOING])
@pytest.mark.parametrize("what", ["router", "platform"])
def test_a_provider_that_comes_back_is_waited_for(service: FakeService, phase: Phase, what: str) -> None:
    """Unavailable: NotYet with back-off, until the phase's deadline."""
    back = phase in (P.ROLLING_BACK, P.UNDOING)
    service.deploy("1.1", P.HOLDING if back else phase)
    if back:
        service.ask(Verb.ROLLBACK)
        service.drive(phase)
    broken = service.router if what == "router" else service.platform
    broken.break_down("it hangs")
    pass_time(service, 8.0)
    assert not service.release.halted
    broken.mend()
    assert service.drive().phase is (P.ROLLED_BACK if back else P.COMPLETED)


def test_what_is_waited_for_is_said_in_words_that_go_on_after_waits_for(service: FakeService) -> None:
    service.deploy("1.1", P.HOLDING, drain=100.0)
    service.router.carry(BLUE, open=2)
    service.ask(Verb.RETIRE)
    service.tick()
    assert service.release.why == "requests in flight to blue-1 to end: 2 left"
    service.router.break_down("it hangs")
    service.tick()
    assert service.release.why == "another try: the fake router: it hangs"


@pytest.mark.parametrize(("phase", "end"), [(P.TESTING, P.UNDOING), (P.PROMOTING, P.ROLLING_BACK), (P.RETIRING, P.RETIRING)])
def test_a_provider_that_does_not_come_back_ends_in_the_failure_edge(service: FakeService, phase: Phase, end: Phase) -> None:
    service.deploy("1.1", phase)
    service.router.break_down("it hangs")
    release = service.drive()
    assert (release.phase, "it hangs" in release.halted) == (end, True)
    service.router.mend()
    service.ask(Verb.RESUME)
    assert service.drive().phase is {P.UNDOING: P.ABORTED, P.ROLLING_BACK: P.ROLLED_BACK, P.RETIRING: P.COMPLETED}[end]


@pytest.mark.parametrize(("phase", "away"), [(P.BAKING, 1200.0), (P.HOLDING, 100.0)])
def test_a_bake_and_a_hold_wait_out_a_provider_for_as_long_as_it_takes(service: FakeService, phase: Phase, away: float) -> None:
    """Going back would need it too. A back-off that doubles each time is no number any more after a thousand times."""
    service.deploy("1.1", phase, window=away + 100.0)
    service.router.break_down("it hangs")
    pass_time(service, away)
    assert (service.release.phase, service.release.halted) == (phase, "")
    service.router.mend()
    assert service.drive(P.RETIRING, limit=8000).phase is P.RETIRING


@pytest.mark.parametrize("effect", ["prepare", "route", "settle", "provision", "retire"])
def test_an_answer_that_was_lost_is_asked_of_the_world(service: FakeService, effect: str) -> None:
    """After Unavailable the outcome is unknown: ask `routing()`."""
    (service.router if effect in ("prepare", "route", "settle") else service.platform).lose_answer(effect)
    assert service.deploy("1.1").phase is P.COMPLETED
    assert service.end() | {"faults": []} == service.end()
    assert served(service) == {GREEN: 100}


@pytest.mark.parametrize(("effect", "end"), [("provision", P.ABORTED), ("prepare", P.ABORTED), ("route", P.ROLLED_BACK)])
def test_an_effect_that_is_refused_takes_the_failure_edge(service: FakeService, effect: str, end: Phase) -> None:
    """Refused: the failure edge."""
    service.open("1.1")
    (service.platform if effect == "provision" else service.router).refuse(effect, "no such thing")
    release = service.drive(P.UNDOING)
    assert "no such thing" in release.reason
    service.router.mend()
    service.platform.mend()
    assert service.drive().phase is end
    assert served(service) == {BLUE: 100}


def test_a_bug_in_a_provider_takes_the_failure_edge_and_its_traceback_goes_to_the_log(service: FakeService) -> None:
    """Anything else is our bug: the failure edge, the traceback to the log."""

    class Buggy(type(service.router)):  # type: ignore[misc]
        def route(self, wanted: Routing, epoch: int) -> None:
            raise KeyError("a bug")

    said: list[str] = []
    service.open("1.1")
    service.engine.log = said.append
    right, service.router.__class__ = service.router.__class__, Buggy
    service.drive(P.UNDOING)
    service.router.__class__ = right
    assert "please report it: KeyError" in service.release.reason
    assert any("Traceback" in line and "KeyError" in line for line in said)
    assert service.drive().phase is P.ROLLED_BACK


def test_a_bug_in_a_look_at_health_is_no_death_and_is_said(service: FakeService) -> None:
    class Buggy(type(service.platform)):  # type: ignore[misc]
        def health(self, environment: Environment) -> None:
            raise KeyError("a bug")

    service.deploy("1.1", P.HOLDING)
    right, service.platform.__class__ = service.platform.__class__, Buggy
    pass_time(service, 5.0)
    assert (service.release.phase, service.release.halted) == (P.HOLDING, "")
    service.platform.__class__ = right
    assert service.drive().phase is P.COMPLETED


def test_a_host_that_is_out_of_threads_for_a_while_neither_kills_nor_blinds(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead: every target of an environment failed three checks in a row. A look that could not be taken is none of them."""

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    service.engine.watch = Watch()
    service.deploy("1.1", P.HOLDING, window=100.0)
    with monkeypatch.context() as out_of_threads:
        out_of_threads.setattr(threading.Thread, "start", none_left)
        pass_time(service, 3.0)
        assert (service.release.phase, service.release.halted, served(service)) == (P.HOLDING, "", {GREEN: 100})
    service.platform.kill(GREEN)
    assert service.drive().phase is P.ROLLED_BACK


DEADLINES = [P.PROVISIONING, P.AWAITING_PROMOTION, P.PROMOTING, P.BAKING, P.ROLLING_BACK]
"""Phases that wait for a version to be healthy, but not for ever."""


def waiting(service: FakeService, phase: Phase) -> None:
    """Has a version that is ill be waited for in a phase, for six seconds by now."""
    if phase is P.PROVISIONING:
        service.platform.sicken("1.1")
    service.deploy("1.1", P.HOLDING if phase is P.ROLLING_BACK else phase)
    service.platform.sicken(BLUE if phase is P.ROLLING_BACK else GREEN, ready=1)
    if phase is P.ROLLING_BACK:
        service.ask(Verb.ROLLBACK)
    service.clock.advance(1.0)  # what was seen is not what is
    pass_time(service, 6.0)


def slow_looks(service: FakeService, took: float) -> Callable[[float], None]:
    """Has looks take so long from now on. Returns what lets time pass."""
    looks: list[tuple[float, Callable[[], None]]] = []
    service.engine.watch._taking = lambda look: looks.append((service.clock.now() + took, look))

    def passing(seconds: float) -> None:
        end = service.clock.now() + seconds
        while service.clock.now() < end:
            service.clock.advance(min(service.tick() or 0.02, 0.1))
            for due in [each for each in looks if each[0] <= service.clock.now()]:
                looks.remove(due)
                due[1]()

    return passing


@pytest.mark.parametrize("phase", DEADLINES)
@pytest.mark.parametrize("by", ["another engine", "one that was stopped", "one that was stopped in a look"])
def test_a_deadline_that_passed_while_nobody_looked_is_judged_by_a_look_of_now(service: FakeService, phase: Phase, by: str) -> None:
    """Restart the engine: whatever phase it is in, the next one goes on. A version that became healthy while no engine was there did so in time."""
    waiting(service, phase)
    if by == "another engine":
        service.engine.watch = Watch(lambda look: look())
    passing = slow_looks(service, 0.7)
    if by == "one that was stopped in a look":
        passing(0.5)
    service.clock.advance(3600.0)
    for sick in ("1.1", BLUE, GREEN):
        service.platform.recover(sick)
    passing(8.5)
    assert (service.release.phase, service.release.halted) == (P.ROLLED_BACK if phase is P.ROLLING_BACK else P.HOLDING, "")


@pytest.mark.parametrize("phase", DEADLINES)
def test_looks_that_take_their_whole_patience_put_a_deadline_off_by_no_more_than_one(service: FakeService, phase: Phase) -> None:
    waiting(service, phase)
    patience, until = service.release.plan.probe.patience, service.release.until
    assert until is not None
    passing = slow_looks(service, patience)
    passing(until - service.journal.now() + patience + 0.2)
    assert service.release.halted or service.release.phase in (P.UNDOING, P.ABORTED, P.ROLLING_BACK, P.ROLLED_BACK)


@pytest.mark.parametrize("phase", [each for each in DEADLINES if each is not P.BAKING])
def test_a_look_that_never_comes_back_is_not_waited_for_without_end(service: FakeService, phase: Phase) -> None:
    waiting(service, phase)
    passing = slow_looks(service, 1e9)
    passing(120.0)
    release = service.release
    told = [release.halted, release.reason, *(event.text for event in service.events)]
    assert any("has not come back" in each for each in told), told


def test_a_look_is_under_way_until_what_it_saw_is_there(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at environments no more often than their interval says, one look at a time each."""
    watch, looks = Watch(taking=lambda look: look()), list[Environment]()

    class Interrupted:
        """A lock behind each turn of which somebody else looks, once the first look was taken."""

        lock, inside = threading.Lock(), False

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            if looks and not self.inside:
                self.inside = True
                watch.look(service.platform, BLUE, Probe(), 1.0)
                self.inside = False

    def health(environment: Environment) -> Health:
        looks.append(environment)
        return Health(1, 1, ())

    monkeypatch.setattr(watch, "_lock", Interrupted())
    monkeypatch.setattr(service.platform, "health", health)
    assert watch.look(service.platform, BLUE, Probe(), 1.0).healthy
    assert looks == [BLUE]


# Another engine


def test_an_engine_that_was_succeeded_does_nothing(service: FakeService) -> None:
    """A smaller epoch is refused; no commit of a deposed epoch."""
    service.open("1.1")
    deposed = service.service
    other = FakeService(service.place.root, by=service.me._replace(host="elsewhere"))
    other.claim(seize=True)
    seen: set[Phase] = set()
    while not other.release.ended:
        if other.release.phase not in seen:
            seen.add(other.release.phase)
            before, effects = other.end(), len(other.router.effects())
            with suppress(Fenced, StaleWriter):  # or NotYet, where there is nothing to write
                service.engine.advance(deposed, service.release.id)
            assert (other.end(), len(other.router.effects())) == (before, effects)
        other.clock.advance(other.tick() or 0.0)
    assert other.release.phase is P.COMPLETED


@pytest.mark.parametrize("every", [1, 2, 3])
def test_engines_that_take_turns_end_where_one_would(tmp_path: Path, every: int) -> None:
    """Killed at any instant, the next run reads the row and the world, and ends where the first would have."""
    alone = FakeService(tmp_path / "alone")
    alone.stand()
    alone.deploy("1.1")
    services = [FakeService(tmp_path / "turns")]
    services[0].stand()
    services[0].open("1.1")
    for turn in range(3000):
        now = services[-1]
        if now.release.ended:
            break
        if turn % every == 0 and now.release.phase is not P.HOLDING:
            services.append(FakeService(tmp_path / "turns", by=now.me._replace(pid=1, start=turn)))
            now = services[-1]
            now.claim(seize=True)
        now.clock.advance(now.tick() or 0.0)
    assert services[-1].end() == alone.end()
