"""Whatever happens, in whatever order: engines are killed and succeeded, environments die and recover, people ask for everything, the router drifts.

Many times over fakes; a few times over each real router, which is asked what it does, and sent a request, after every step.
"""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Part
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from stories import BUILDS, directory

from bleen.engine.drive import holder
from bleen.errors import Fenced, StaleWriter, Unavailable
from bleen.lifecycle import BEYOND, REVERSIBLE, UNMOVED, Phase, Verb
from bleen.model import Environment, NotYet, Result, Verdict
from bleen.plan import Step
from bleen.testing.interrupt import CALLS, Interrupt
from bleen.testing.load import Problem
from bleen.testing.service import NAME, ServiceOver
from bleen.testing.site import until
from bleen.testing.stages import FakeStage, ProxiedStage, Stage

WINDOW = 6.0
QUICK = {"steps": (Step(50, 0.5), Step(100, 0.5)), "window": WINDOW, "drain": 1.0, "deadline": 5.0}
ANSWERS = (NotYet("1 of 2", memo={"pid": 9}), Verdict(Result.PASS, "well"))


class Killed(BaseException):
    """An engine ends here; nothing of its work is caught on the way."""


class AnyCall(Interrupt):
    """Kills an engine at the so many'th call into C."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self._left = call

    def _called(self, frame: Any, event: str, call: object) -> None:
        if event == "c_call" and getattr(call, "__name__", "") in CALLS:
            self._left -= 1
            if self._left == 0:
                raise Killed


class World(RuleBasedStateMachine):
    """Two engines of one service; ``self.service`` holds it, ``self.deposed`` held it before."""

    def __init__(self) -> None:
        super().__init__()
        self.things = ExitStack()
        self.stage = self.build(self.things.enter_context(directory()))
        self.things.callback(self.stage.close)
        self.engines = self.boots = 0
        self.drifted = False
        self.service = self.engine()
        self.deposed: tuple[ServiceOver[Any], Any] | None = None

    def build(self, root: Path) -> Stage:
        return FakeStage(root)

    def engine(self) -> ServiceOver[Any]:
        self.engines += 1
        made = self.stage.service(*ANSWERS, boot=f"boot {self.boots}", by=holder("0")._replace(host="elsewhere", pid=self.engines))
        made.claim(seize=True)
        return made

    def teardown(self) -> None:
        """It ends: with all well again, a release that nobody halts comes to its end."""
        try:
            self.mend()
            if self.service.journal.latest(NAME):
                release = self.service.drive()
                assert release.ended or release.halted
                for _ in range(3):
                    if not release.halted:
                        break
                    self.service.clock.advance(1.0)
                    self.service.ask(Verb.RESUME)
                    release = self.service.drive()
                assert release.ended or self.drifted, f"halted in {release.phase}, with all well: {release.halted}"
                self.promises()
                self.users_are_served()
        finally:
            self.service.close()
            self.things.close()

    @initialize()
    def stand(self) -> None:
        self.service.stand()

    # Engines

    @rule(ticks=st.integers(1, 12))
    def tick(self, ticks: int) -> None:
        self.ticks(ticks)

    @rule(ticks=st.integers(12, 60))
    def tick_on(self, ticks: int) -> None:
        self.ticks(ticks)

    def ticks(self, ticks: int) -> None:
        for _ in range(ticks):
            if self.service.release.ended:
                return
            self.service.clock.advance(self.service.tick() or 0.1)

    @rule(call=st.integers(1, 60))
    def kill_the_engine(self, call: int) -> None:
        """In the middle of a tick; another one takes over."""
        with suppress(Killed), AnyCall(call):
            self.service.tick()
        self.service.close()
        self.service = self.engine()

    @rule()
    def seize(self) -> None:
        """Somebody else takes over; the one that held the service is not dead, only slow."""
        was = (self.service, self.service.service)
        self.service = self.engine()
        if self.deposed:
            self.deposed[0].close()
        self.deposed = was

    @precondition(lambda self: self.deposed)
    @rule()
    def the_deposed_engine_wakes_up(self) -> None:
        assert self.deposed is not None
        engine, claimed = self.deposed
        before = self.all_that_is()
        with suppress(Fenced, StaleWriter):
            engine.engine.advance(claimed, engine.release.id)
        assert self.all_that_is() == before

    def all_that_is(self) -> tuple[Any, ...]:
        service = self.service
        return len(service.platform.effects()), service.router.truth(), service.release, service.events, service.service

    @rule()
    def reboot(self) -> None:
        self.service.journal.beat()
        self.service.close()
        if self.deposed:
            self.deposed[0].close()
            self.deposed = None
        self.boots += 1
        self.service.clock.advance(7.0 - self.service.clock.now())
        self.service = self.engine()

    # People

    @precondition(lambda self: self.service.release.ended and not self.drifted)
    @rule(version=st.sampled_from(["1.1", "1.2"]), mode=st.sampled_from(["auto", "manual"]), keep=st.sampled_from([0, 1, None]))
    def deploy(self, version: str, mode: str, keep: int | None) -> None:
        with suppress(Unavailable):
            self.service.open(version, mode=mode, keep=keep, **QUICK)

    @precondition(lambda self: self.service.release.ended and not self.drifted)
    @rule(keep=st.sampled_from([0, 1, None]), phase=st.sampled_from([*UNMOVED, *REVERSIBLE, Phase.HOLDING]))
    def deploy_as_far_as(self, phase: Phase, keep: int | None) -> None:
        self.mend()
        self.service.deploy("1.3", phase, keep=keep, **QUICK)

    @precondition(lambda self: self.service.release.phase in REVERSIBLE)
    @rule(force=st.booleans())
    def go_back(self, force: bool) -> None:
        assert self.service.ask(Verb.ROLLBACK, {"force": True} if force else {}).obeyed

    @rule(verb=st.sampled_from(list(Verb)), force=st.booleans())
    def ask(self, verb: Verb, force: bool) -> None:
        was = self.service.release
        answer = self.service.ask(verb, {"force": True} if force else {})
        now = self.service.release
        if not answer.obeyed:
            assert now._replace(revision=0) == was._replace(revision=0)
        if was.phase in BEYOND:
            assert now.phase in (was.phase, Phase.CLOSED)
        if now.phase is Phase.CLOSED and was.phase is not Phase.CLOSED:
            self.drifted = False

    # The world

    @rule(which=st.sampled_from(["old", "new"]), what=st.sampled_from(["kill", "crash", "sicken", "recover"]))
    def environment(self, which: str, what: str) -> None:
        release = self.service.release
        environment = release.environment if which == "new" else release.plan.old
        if environment is not None:
            getattr(self.service.platform, what)(environment)

    @rule(
        what=st.sampled_from(["router", "platform"]),
        how=st.sampled_from(["break", "lose", "mend", "mend", "mend"]),
        effect=st.sampled_from(["prepare", "route", "settle", "retire", "provision"]),
    )
    def provider(self, what: str, how: str, effect: str) -> None:
        provider = self.service.router if what == "router" else self.service.platform
        if how == "break":
            provider.break_down("it hangs")
        elif how == "lose":
            provider.lose_answer(effect)
        else:
            provider.mend()

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.service.clock.advance(seconds)

    @rule()
    def drift_that_nobody_can_say(self) -> None:
        truth = self.service.router.truth()
        self.service.router.drift(truth._replace(shares={}, unknown="a way of somebody's"))
        self.drifted = True

    @rule(green=st.sampled_from([0, 50, 100]), unknown=st.sampled_from(["", "a rule of somebody's"]))
    def drift(self, green: int, unknown: str) -> None:
        truth, release = self.service.router.truth(), self.service.release
        shares = {e: s for e, s in ((release.environment, green), (release.plan.old, 100 - green)) if e and s}
        if sum(shares.values()) == 100 and all(truth.targets.get(e) for e in shares) and self.runs(*shares):
            self.service.router.drift(truth._replace(shares=shares, unknown=unknown))
            self.drifted = True

    @precondition(lambda self: self.service.release.ended and not self.drifted)
    @rule(keep=st.sampled_from([0, None]), phase=st.sampled_from([*REVERSIBLE, Phase.RETIRING]), green=st.sampled_from([0, 50, None]))
    def drift_on_the_way(self, phase: Phase, keep: int | None, green: int | None) -> None:
        """Over the end of the rollback window: to a share that can be said, or None."""
        self.deploy_as_far_as(phase, keep)
        if green is None:
            self.drift_that_nobody_can_say()
        else:
            self.drift(green, "")
        self.service.clock.advance(WINDOW)
        self.ticks(12)

    def runs(self, *environments: Environment) -> bool:
        try:
            return set(environments) <= set(self.service.platform.running())
        except Unavailable:
            return False

    def mend(self) -> None:
        service = self.service
        service.router.mend()
        service.platform.mend()
        for environment in service.platform.running():
            service.platform.recover(environment)

    # What holds at any time

    @invariant()
    def promises(self) -> None:
        """Nothing routed to is stopped; no effect of a deposed epoch; no way back after RETIRING; the folded events equal the row."""
        assert self.service.faults() == []

    @invariant()
    def one_answer_to_who_is_active(self) -> None:
        """What serves is what was confirmed, or what some phase of this release intended; and it exists. Nobody serves only before anything was confirmed."""
        truth = self.service.router.truth()
        if self.service.journal.latest(NAME) is None:
            return
        assert sum(truth.shares.values()) in (0, 100)
        release, confirmed = self.service.release, self.service.service.confirmed
        if self.drifted:
            return
        intended = [dict(confirmed.shares)]
        if release.moved:
            intended += [{e: s for e, s in ((release.environment, step.share), (release.plan.old, 100 - step.share)) if e and s} for step in release.plan.steps]
            intended += [{release.plan.old: 100}, {release.environment: 100}]  # type: ignore[dict-item]
        assert dict(truth.shares) in intended

    def users_are_served(self) -> None:
        """By whoever the router says to serve; a real proxy may have to see first that they are well again."""
        serving = set(map(str, self.service.router.truth().serving))
        if isinstance(self.stage, ProxiedStage) and serving:
            site = self.stage.site
            until(f"{serving} answers", lambda: site.get()[1] in serving)

    @invariant()
    def whoever_answers_is_active(self) -> None:
        """A real proxy sends a request to an environment that it says to serve, or to nobody: all copies of it may have ended."""
        if isinstance(self.stage, ProxiedStage):
            with suppress(Problem):
                answered = self.stage.site.get()[1]
                assert answered in {"", *map(str, self.service.router.truth().serving)}


def run(world: type[World], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Part.generate,),
        ),
    )


def test_whatever_happens_in_whatever_order_the_promises_hold() -> None:
    run(World, examples=60, steps=40)


@pytest.mark.parametrize("over", BUILDS)
def test_whatever_happens_in_whatever_order_a_real_router_keeps_the_promises(over: str) -> None:
    class ProxiedWorld(World):
        def build(self, root: Path) -> Stage:
            return ProxiedStage(root, BUILDS[over])

    run(ProxiedWorld, examples=10, steps=25)
