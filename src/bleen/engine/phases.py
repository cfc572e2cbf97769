"""What each phase of the table does, one function a phase: reads the world afresh, has at most one thing done, says how it went.

Every function may be run again from its beginning after a crash at any instant, and ends where it would have ended.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bleen.engine.watch import Sight, Watch
from bleen.errors import Refused, Unavailable
from bleen.lifecycle import Event, Phase, Release, Service, step
from bleen.model import Done, Due, Environment, Failed, Halt, Memo, NotYet, Outcome, Result, Routing, Running, Verdict, unseen
from bleen.plan import duration
from bleen.ports import Migrator, Providers, Router, Shipping
from bleen.shipping import shipping

DRIFTING = 60.0
"""Seconds for which a bake waits while somebody else has moved the traffic."""

SERVING = 60.0
"""Seconds that a router has to serve what it was told."""


class World(NamedTuple):
    """What a phase may look at and act on."""

    router: Router
    providers: Providers
    service: Service
    watch: Watch
    now: float
    events: Callable[[], Sequence[Event]]
    """Those of the release so far."""
    made_by: Callable[[Environment], Release | None]
    """See ``shipping.release_of``."""

    @property
    def epoch(self) -> int:
        return self.service.epoch

    def sight(self, release: Release, environment: Environment) -> Sight:
        return self.watch.look(self.providers.platform, environment, release.plan.probe, self.now)

    def sight_now(self, release: Release, environment: Environment) -> Sight:
        """What is seen since the phase was entered: traffic goes only to what is healthy now."""
        sight = self.watch.look(self.providers.platform, environment, release.plan.probe, self.now, release.entered)
        return sight if sight.at >= release.entered else Sight(trouble="looking")

    def missed(self, release: Release, sight: Sight, until: float) -> bool:
        """Whether a deadline has passed, and what is seen is of now: what was seen long ago, or not at all, as nobody was there to look, says nothing."""
        return self.now >= until and sight.fresh(self.now, release.plan.probe)

    def known(self) -> Mapping[Environment, Running]:
        """What runs; while the platform cannot say it, what the router knows, as damaged: that keeps nobody from going back to what is well."""
        try:
            return self.providers.platform.running()
        except Unavailable as error:
            return unseen(self.router.routing(), str(error))

    def wanted(self, shares: Mapping[Environment, int], preview: Environment | None = None, running: Mapping[Environment, Running] | None = None) -> Routing:
        """A routing with these shares, that knows the addresses of every environment which runs.

        For one whose addresses the platform cannot tell (it is down, or its record is damaged) the router's own are kept: else what is confirmed would differ
        from what the router does, and `up --apply` could not undo that.
        """
        running = self.providers.platform.running() if running is None else running
        targets = {e: r.targets for e, r in running.items() if r.targets and not r.stopping}
        if lost := (shares.keys() | {e for e, r in running.items() if r.damaged}) - targets.keys():
            targets |= {e: ts for e, ts in self.router.routing().targets.items() if e in lost and ts}
        return Routing(shares, preview, targets)


def planned(release: Release, world: World) -> Outcome:
    return Done()


def expanding(release: Release, world: World) -> Outcome:
    migrator = world.providers.migrator
    if migrator is None:
        return Done()
    expanded: Mapping[str, Any] | None = release.memo.get("expanded")
    if expanded is None:
        answer = migrator.expand(_shipping(release, world), release.memo)
        if isinstance(answer, NotYet):
            return answer
        if answer.result is not Result.PASS:
            return Failed(f"the schema was not expanded: {answer.why}", _facts(answer))
        expanded = _facts(answer)
    return _lives_on(release, world, expanded)


def _lives_on(release: Release, world: World, expanded: Mapping[str, Any]) -> Outcome:
    """The version that serves is asked whether it can live with the schema as it is now, before another one comes."""
    plan, check = release.plan, world.providers.before
    left = tuple(each for each in world.service.pending if each["since"] is not None or each["migration"] not in plan.ships)
    done = Done(expanded, pending=None if left == world.service.pending else left)
    if plan.old is None or check is None or not expanded.get("expanded"):
        return done
    runs = world.providers.platform.running().get(plan.old)
    if runs is None or not runs.targets:
        return done
    answer = check.run(plan.old, release.memo.get("check", {}))
    if isinstance(answer, NotYet):
        memo = {"expanded": expanded, "check": release.memo.get("check", {}) if answer.memo is None else answer.memo}
        return answer._replace(why=f"the smoke tests of {plan.old_words}, now that the schema is expanded", memo=memo)
    if answer.result is Result.PASS:
        return done
    stay = [name for name in expanded["expanded"] if name in plan.database.get("final", ())]
    undo = ", ".join(f"`bleen migrate revert {name}`" for name in reversed(expanded["expanded"]) if name not in stay)
    ways = [f"{undo} undoes that"] if undo else []
    ways += [f"{', '.join(stay)} cannot be reverted: give {plan.old_version} back by hand, or by a new migration, what it misses"] if stay else []
    why = f"{plan.old_version}, which serves, does not pass its smoke tests since the schema was expanded: {answer.why}; {'; '.join(ways)}"
    return Failed(why, {**expanded, "evidence": list(answer.evidence)})


def provisioning(release: Release, world: World) -> Outcome:
    plan, platform, new = release.plan, world.providers.platform, release.environment
    if "started" not in release.memo:
        for other in platform.running():
            if other.name == new.name and other != new:
                if hinders := _led_away(world, other):
                    return hinders
                drained = _drained(release, world, other)
                if isinstance(drained, NotYet):
                    return drained._replace(why=f"{other} to make room: {drained.why}")
                if left := platform.retire(other, 0, world.epoch):
                    return left._replace(why=f"{other} to make room: {left.why}")
                _forget(world, other)
        platform.provision(new, plan.version, plan.platform["replicas"], world.epoch)
        return NotYet(f"{plan.version} to start", 0.0, release.entered + plan.probe.timeout, {"started": world.now})
    sight, until = world.sight(release, new), release.memo["started"] + plan.probe.timeout
    if sight.healthy:
        return Done({"ready": sight.health.ready if sight.health else 0, "seconds": round(world.now - release.entered, 3)})
    crashing = sight.health is not None and sight.health.crashing
    if crashing or world.missed(release, sight, until):
        what = "keeps crashing" if crashing else f"did not become healthy within {duration(plan.probe.timeout)}"
        return Failed(f"{plan.version} {what}: {sight.why}", {"log": list(platform.logs(new, 20))})
    return NotYet(f"{plan.version} to be healthy: {sight.why}", 0.05, until)


def testing(release: Release, world: World) -> Outcome:
    if left := world.router.prepare(world.wanted(world.service.confirmed.shares, preview=release.environment), world.epoch):
        return left
    check = world.providers.check
    if check is None:
        return Done({"smoke": "none"})
    answer = check.run(release.environment, release.memo)
    if isinstance(answer, NotYet):
        return answer
    facts = {"result": answer.result.value, "evidence": list(answer.evidence)}
    return Done(facts) if answer.result is Result.PASS else Failed(f"smoke tests: {answer.why}", facts)


def awaiting_promotion(release: Release, world: World) -> Outcome:
    plan, until = release.plan, release.entered + release.plan.deadline
    if left := world.router.prepare(world.wanted(world.service.confirmed.shares, preview=release.environment), world.epoch):
        return left
    approved = release.approved or plan.mode == "auto"
    if not approved:
        if world.now < until:
            return NotYet("`bleen promote`", plan.probe.interval, until)
        if plan.otherwise != "promote":
            return Failed(f"nobody promoted {plan.version} within {duration(plan.deadline)}")
    sight = world.sight(release, release.environment)
    if sight.healthy:
        return Done()
    unwell: float = release.memo.get("unwell", world.now)
    if world.missed(release, sight, unwell + plan.probe.timeout):
        return Failed(f"{plan.version} was not healthy enough to be promoted: {sight.why}")
    return NotYet(f"{plan.version} to be healthy: {sight.why}", plan.probe.interval / 2, unwell + plan.probe.timeout, {"unwell": unwell})


def promoting(release: Release, world: World) -> Outcome:
    plan, new = release.plan, release.environment
    shares = release.shares
    assert shares is not None, "PROMOTING intends shares"
    wanted, now = world.wanted(shares), world.router.routing()
    if not now.same_production(wanted):
        sight, until = world.sight_now(release, new), release.entered + plan.probe.timeout
        if not sight.healthy:
            if world.missed(release, sight, until):
                return Failed(f"{plan.version} was not healthy enough to take traffic: {sight.why}")
            return NotYet(f"{plan.version} to be healthy: {sight.why}", 0.02, until)
    if now.preview == new or not now.same_production(wanted):
        if left := world.router.prepare(wanted, world.epoch):  # the preview never leads to what is active
            return left
        world.router.route(wanted, world.epoch)
    return _served(release, world, wanted)


def baking(release: Release, world: World) -> Outcome:
    """Counts only the time in which the new version was seen serving: looks further apart than two seconds count two."""
    plan, wanted = release.plan, step(release).bake
    sight = world.sight(release, release.environment)
    routed = world.router.routing().same_production(world.service.confirmed)
    serving = routed and sight.partly
    seen: float | None = release.memo.get("seen")
    baked: float = release.memo.get("baked", 0.0) + (min(world.now - seen, 2.0) if seen is not None and serving else 0.0)
    if baked >= wanted and sight.healthy:
        counted = world.router.traffic().get(release.environment)
        return Done({"seconds": round(baked, 3), **({"requests": counted.requests, "errors": counted.errors} if counted else {})})
    again = min(plan.probe.interval, max(wanted - baked, 0.005)) if baked < wanted else plan.probe.interval
    if not routed:
        lost = _since(release, world, "lost")
        if world.now >= lost + DRIFTING:
            return Halt(f"for {duration(DRIFTING)} the router has not sent the traffic where it should; `bleen status` shows the drift")
        memo = {"baked": baked, "seen": None, "lost": lost}
        return NotYet("the router to send the traffic where it should; `bleen status` shows the drift", again, lost + DRIFTING, memo)
    if baked >= wanted:
        return _unwell_after_its_bake(release, world, sight, baked)
    if not serving:
        return NotYet(f"{plan.version} to be seen serving: {sight.why}", again, None, {"baked": baked, "seen": None})
    why = f"the end of the bake with {step(release).share} % of the traffic" + (f", but {sight.why}" if sight.why else "")
    if seen is not None and world.now - seen < 1.0:  # the row moves on once a second, so that a quiet bake is not rewritten at every look
        return NotYet(why, again, release.until)
    return NotYet(why, again, world.now + wanted - baked, {"baked": baked, "seen": world.now})


def holding(release: Release, world: World) -> Outcome:
    plan, until = release.plan, release.entered + release.plan.window
    if plan.old is None:
        return Done()
    if world.now >= until:
        now, intended = world.router.routing(), world.service.confirmed
        if not now.same_production(intended):  # where a person may go back, and not one phase later, where nobody may
            lost = _since(release, world, "lost")
            if world.now >= lost + DRIFTING:
                return Halt(f"the router does not do what it should: {plan.old_words} is not given up; `bleen status` shows the drift")
            why = f"the router to do what it should, before {plan.old_version} is given up; `bleen status` shows the drift"
            return NotYet(why, plan.probe.interval, lost + DRIFTING, {"lost": lost})
        sight = world.sight(release, release.environment)
        if sight.health and sight.health.ready and not sight.trouble:
            return Done()
        return NotYet(f"{plan.version} to be seen well, before {plan.old_version} is given up: {sight.why}", plan.probe.interval / 2)
    return NotYet(f"the end of the rollback window; {plan.old_words} stays warm", max(min(plan.probe.interval, until - world.now), 0.001), until)


def retiring(release: Release, world: World) -> Outcome:
    plan, old, platform = release.plan, release.plan.old, world.providers.platform
    if old is None or plan.keep is None:
        return Done()
    left = _drained(release, world, old)
    if isinstance(left, NotYet):
        return left
    if hinders := _led_away(world, old):
        return hinders
    if stopping := platform.retire(old, plan.keep, world.epoch):
        return _ending(release, stopping, left)
    if plan.keep == 0:
        _forget(world, old)
    return Done(left)


def contracting(release: Release, world: World) -> Outcome:
    """A contract that cannot be done now stays pending, and so does one of a database that cannot be asked: the release is over all the same."""
    migrator = world.providers.migrator
    if migrator is None:
        return Done()
    answer = migrator.contract(_shipping(release, world), release.memo if release.memo.get("entered") == release.entered else {})  # `resume` begins anew
    if isinstance(answer, NotYet):
        return answer if answer.memo is None else answer._replace(memo={**answer.memo, "entered": release.entered})
    facts = _facts(answer)
    if answer.result is Result.FAIL:
        return Failed(f"the schema was not contracted: {answer.why}", facts)
    if answer.result is Result.INCONCLUSIVE:
        contracts, known = release.plan.database["contracts"], {each["migration"] for each in world.service.pending}
        auto = release.plan.database["contract"] == "auto"
        left = [each | {"failed": answer.why} if auto and each["migration"] in contracts else each for each in world.service.pending]
        since = next((event.at for event in world.events() if event.phase is Phase.PROVISIONING), release.since)  # which is when EXPANDING was done
        unasked = [Due(migration=name, description="", since=since, waits=[answer.why], failed=answer.why * auto) for name in contracts if name not in known]
        return Done({"database": answer.why}, pending=(*left, *unasked))
    before = {each["migration"]: each.get("failed", "") for each in world.service.pending}  # what it failed on is true until it is tried again
    pending: list[Due] = facts["pending"]
    return Done(facts, pending=tuple(each | {"failed": each.get("failed") or before.get(each["migration"], "")} for each in pending))


def rolling_back(release: Release, world: World) -> Outcome:
    plan, old, platform = release.plan, release.plan.old, world.providers.platform
    assert old is not None, "a release without an old environment halts instead"
    running = world.known()
    runs = running.get(old)
    if runs and runs.replicas < plan.old_replicas and not runs.damaged:
        platform.provision(old, plan.old_version, plan.old_replicas, world.epoch)
    wanted = world.wanted({old: 100}, running=running)
    if not world.router.routing().same_production(wanted):
        sight, until = world.sight_now(release, old), release.entered + plan.probe.timeout
        if not _able(release, world, sight) and not release.forced:
            if world.missed(release, sight, until):
                return Failed(
                    f"{plan.old_version} ({old.name}) is not healthy, traffic was left where it is: {sight.why}; `bleen rollback --force` moves it all the same"
                )
            return NotYet(f"{plan.old_version} to be healthy: {sight.why}", 0.02, until)
        if left := world.router.prepare(wanted, world.epoch):
            return left
        world.router.route(wanted, world.epoch)
    try:
        return _served(release, world, wanted)
    except Refused as error:  # it lets nobody in as it is; who keeps it running starts it with what it was told
        world.router.down(world.epoch)
        return NotYet(f"the router to be started anew, as {error}", 0.05)


def undoing(release: Release, world: World) -> Outcome:
    new, platform = release.environment, world.providers.platform
    if not release.moved:
        if world.providers.check:
            world.providers.check.cancel()
        if world.providers.migrator:
            world.providers.migrator.cancel()
        if world.providers.before:
            world.providers.before.cancel()
    if hinders := _led_away(world, new):
        return hinders
    left = _drained(release, world, new)
    if isinstance(left, NotYet):
        return left
    if stopping := platform.retire(new, 0, world.epoch):
        return _ending(release, stopping, left)
    _forget(world, new)
    return _settled(release, world, world.providers.migrator, left) if world.providers.migrator else Done(left)


def _settled(release: Release, world: World, migrator: Migrator, facts: Mapping[str, Any]) -> Outcome:
    """The database is told who is left, and asked what the new version wrote; or what its expand left in the way is taken away."""
    remain = [each for each in _shipping(release, world) if each.environment != release.environment]
    answer = (migrator.account if release.moved else migrator.tidy)(remain, release.memo.get("database", {}))
    if isinstance(answer, NotYet):
        return answer if answer.memo is None else answer._replace(memo={**release.memo, "database": answer.memo})
    return Done({**facts, **_facts(answer)} if answer.result is Result.PASS else {**facts, "database": answer.why})


WORK: Mapping[Phase, Callable[[Release, World], Outcome]] = {
    Phase.PLANNED: planned,
    Phase.EXPANDING: expanding,
    Phase.PROVISIONING: provisioning,
    Phase.TESTING: testing,
    Phase.AWAITING_PROMOTION: awaiting_promotion,
    Phase.PROMOTING: promoting,
    Phase.BAKING: baking,
    Phase.HOLDING: holding,
    Phase.RETIRING: retiring,
    Phase.CONTRACTING: contracting,
    Phase.ROLLING_BACK: rolling_back,
    Phase.UNDOING: undoing,
}


def put_off(release: Release, providers: Providers) -> Memo:
    """Ends what a phase has under way in processes of its own, as production ends. A change of the schema is gone on with later; a check is taken again from
    its beginning. What the phase remembers from then on.
    """
    memo, migrator, phase = release.memo, providers.migrator, release.phase
    if migrator and phase is Phase.UNDOING:
        left = migrator.down(memo.get("database", {}))
        memo = {**memo, "database": left} if "database" in memo else memo
    elif migrator:
        memo = migrator.down(memo)
    if phase is Phase.TESTING and providers.check:
        providers.check.cancel()
        memo = {}
    elif phase is Phase.EXPANDING and providers.before and "check" in memo:
        providers.before.cancel()
        memo = {**memo, "check": {}}
    return memo


def _unwell_after_its_bake(release: Release, world: World, sight: Sight, baked: float) -> NotYet | Halt:
    """A version that is neither well nor dead moves nothing; in the end a person is asked."""
    plan, unwell = release.plan, _since(release, world, "unwell")
    until = unwell + plan.probe.timeout
    if world.missed(release, sight, until) and not sight.trouble:
        way = f"`bleen rollback` returns to {plan.old_version}" if plan.old else "`bleen close` leaves it so"
        return Halt(
            f"{plan.version} has baked, but was not healthy for {duration(plan.probe.timeout)}: {sight.why}; traffic was left where it is:"
            f" `bleen resume` looks again, {way}"
        )
    return NotYet(f"{plan.version} to be healthy at the end of its bake: {sight.why}", plan.probe.interval, until, {"baked": baked, "unwell": unwell})


def _since(release: Release, world: World, what: str) -> float:
    """When something that is waited out began: as the memo has it, but not before a person said `resume`."""
    began: float = release.memo.get(what, world.now)
    return max(began, release.entered)


def _shipping(release: Release, world: World) -> list[Shipping]:
    return shipping(world.service, world.made_by, world.providers.platform.running(), world.router.routing().shares, release.environment)


def _facts(verdict: Verdict) -> Mapping[str, Any]:
    return verdict.evidence[0] if verdict.evidence else {}


def _able(release: Release, world: World, sight: Sight) -> bool:
    """Whether the old environment can take the traffic: it is healthy; or some of it answers, while nothing of the new one does."""
    return sight.healthy or (sight.partly and world.sight(release, release.environment).dead)


def _served(release: Release, world: World, wanted: Routing) -> Outcome:
    """Done once new requests are seen to go where they should."""
    routed = _since(release, world, "routed")
    if left := world.router.served(wanted, world.now - routed):
        if world.now >= routed + SERVING:
            return Failed(f"the router was told, and {duration(SERVING)} later it still waits for {left.why}; `bleen status` shows what serves")
        return left._replace(until=routed + SERVING, memo={"routed": routed})
    return Done({"seconds": round(world.now - release.entered, 4), "shares": {str(e): s for e, s in wanted.shares.items()}}, wanted)


def _drained(release: Release, world: World, environment: Environment) -> NotYet | Mapping[str, int]:
    """What was cut, once requests in flight have ended or had their time: as the memo has it, where copies are ending already."""
    if release.memo.get("drained") == release.entered:
        return {"cut": release.memo["cut"]}
    until = release.entered + release.plan.drain
    left = world.router.drained(environment, world.now - release.entered)
    if left and world.now < until:
        return left._replace(until=until)
    traffic = world.router.traffic().get(environment)
    return {"cut": traffic.open if left and traffic else 0}


def _led_away(world: World, environment: Environment) -> NotYet | Failed | None:
    """Takes the preview away from an environment that is to be stopped; production is not ours to take from it, nor to be guessed at."""
    routing, runs = world.router.routing(), world.known().get(environment)
    if routing.may_serve(environment, runs.targets if runs else ()):
        left = "it is being stopped already" if runs and runs.stopping else "nothing was stopped"
        ways = "`bleen up --apply` undoes what is not ours, `bleen resume` goes on"
        return Failed(f"{leads_to(routing, environment, str(environment))}, and {environment} was to be stopped: {left}; {ways}")
    return world.router.prepare(routing._replace(preview=None), world.epoch) if routing.preview == environment else None


def _ending(release: Release, stopping: NotYet, cut: Mapping[str, int]) -> NotYet:
    """Copies are asked to end: what was in flight then is not to be counted again, as it ends with them. `resume` drains anew."""
    return stopping._replace(memo={**release.memo, **cut, "drained": release.entered})


def leads_to(routing: Routing, environment: Environment, name: str) -> str:
    """That production may reach an environment, which people know by ``name``, in words."""
    if routing.serves(environment):
        return f"the router sends traffic to {name}"
    return f"nobody can say whom the router serves ({routing.unknown})" if routing.unknown else f"the router sends traffic to where {name} listens"


def _forget(world: World, environment: Environment) -> None:
    """Has the router forget an environment that was stopped, and whatever else does not run any more."""
    routing, running = world.router.routing(), world.known()
    preview = None if routing.preview == environment else routing.preview
    targets = {e: t for e, t in routing.targets.items() if e != environment and e in running}
    world.router.settle(routing._replace(preview=preview, targets=targets), world.epoch)
