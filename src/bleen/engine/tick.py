"""One tick of a release: read afresh; then a person's command; then the watch; then the phase's own work. Nothing here sleeps."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from bleen.engine.phases import WORK, World, leads_to
from bleen.engine.watch import Watch
from bleen.errors import Fenced, Refused, StaleWriter, Unavailable, trace
from bleen.host import clock
from bleen.lifecycle import REVERSIBLE, TABLE, Answer, Ask, Phase, Release, ReleaseId, Service, Verb, after, halt, obey, resumed
from bleen.model import Done, Failed, Halt, NotYet, Outcome, Routing, whereabouts
from bleen.ports import Journal, Providers
from bleen.shipping import release_of

PATIENCE = 60.0
"""Seconds for which a provider may be unavailable until the phase takes its failure edge, beside what the phase itself waits for."""

_SOON = 0.02
"""Seconds until the next look, where somebody waits for an answer."""

_LOOKS = 0.5
"""Seconds for which a command waits for a look: less than a verb waits for its answer before it ends a holder that seems to hang."""

UNHURRIED = (Phase.AWAITING_PROMOTION, Phase.BAKING, Phase.HOLDING)
"""Phases that wait out a provider that is unavailable: going back would need it too."""


class Engine:
    """Moves releases of the services that this process holds."""

    def __init__(
        self,
        journal: Journal,
        build: Callable[[Service, Release | None], Providers],
        watch: Watch | None = None,
        wall: Callable[[], float] = clock.wall,
        ended: Callable[[], None] = lambda: None,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``ended`` is called once a release has: what was kept for it may go. ``log`` gets what happens, a line each, and the tracebacks of our bugs."""
        self.journal, self.log, self.watch = journal, log, watch or Watch(log=log)
        self._build, self._wall, self._ended = build, wall, ended
        self._built: tuple[object, Providers] | None = None
        self._failures: dict[ReleaseId, int] = {}
        self._unwritten: Release | None = None
        """A row with what it waits for, as the journal could not take it: a bake goes on while its disk is full."""
        self._alone: tuple[str, int] | None = None
        """The service and the epoch as which this engine has passed the fence: no effect of a deposed one can land any more."""

    def advance(self, service: Service, id: ReleaseId) -> float | None:
        """One tick. Returns in how many seconds the next is worth it, or None if nothing is left to do before somebody commands it.

        ``service`` is as claimed by this process. Raises Fenced or StaleWriter if the release is somebody else's now; then nothing was written. Raises
        Unavailable if the journal cannot be written; what else there is to do may go on.
        """
        release = self._read(id)
        if ask := self.journal.asked(id):
            needed = self._needed(service, release, ask) if ask.verb is Verb.RETIRE and release.phase is Phase.HOLDING else ""
            return _SOON if needed is None else self._obey(service, release, ask, needed)
        if release.ended:
            return None
        if release.halted:
            return self._guard(service, release)
        world = self._world(service, release)
        found = self._guarded(release, world, self._passing) or self._guarded(release, world, self._watched)
        outcome = found or self._guarded(release, world, WORK[release.phase])
        assert outcome is not None, "a phase's work always has an outcome"
        return self._record(world, release, outcome)

    def _read(self, id: ReleaseId) -> Release:
        """The row; with what the journal could not take, unless somebody has written since."""
        row, kept = self.journal.read(id), self._unwritten
        return kept if kept is not None and (kept.id, kept.revision) == (row.id, row.revision) else row

    def _guard(self, service: Service, release: Release) -> float | None:
        """Watches over a halted release that users may have: a new environment that dies while a person is waited for is left at once, if the old one is
        well and the traffic is where we left it.
        """
        old = release.plan.old
        if release.phase not in (*REVERSIBLE, Phase.ROLLING_BACK) or old is None:
            return None
        again, world = release.plan.probe.interval, self._world(service, release)
        if release.phase is Phase.ROLLING_BACK:  # it was on its way there, and waits for nothing else
            if release.moved and world.sight(release, old).healthy and world.sight(release, release.environment).dead:
                now, event = resumed(release, f"{release.plan.old_words} is well again", self.journal.now(), self._wall())
                self.journal.commit(release, now, event, world.service)
                return 0.0
            return again
        found = self._guarded(release, world, self._watched)
        if not isinstance(found, Failed) or not world.router.routing().same_production(service.confirmed):
            return again
        return self._record(world, release, found)

    def providers(self, service: Service, release: Release | None) -> Providers:
        """What drives this service, built anew only for another release or other settings of the router."""
        key = (release and release.id, service.router)
        if self._built is None or self._built[0] != key:
            self._built = (key, self._build(service, release))
        return self._built[1]

    def _world(self, service: Service, release: Release) -> World:
        providers = self.providers(service, release)
        events, made_by = partial(self.journal.events, release.id), partial(release_of, self.journal, service.name)
        return World(providers.router, providers, service, self.watch, self.journal.now(), events, made_by)

    def _needed(self, service: Service, release: Release, ask: Ask) -> str | None:
        """Why the old environment is not to be given up now: it may be what users have, as somebody has led the router there; or the new one has no target that
        is ready, and the old one is well. None until that was seen.
        """
        if release.plan.old is None:
            return ""
        providers, probe, now = self.providers(service, release), release.plan.probe, self.journal.now()
        platform = providers.platform
        with suppress(Unavailable):  # a router that cannot be asked does not keep a person from it: RETIRING waits for it
            routing = providers.router.routing()
            runs = platform.running().get(release.plan.old)
            ways = f"`bleen up --apply` leads it back to {release.plan.version}, `bleen rollback` to {release.plan.old_version}"
            if routing.may_serve(release.plan.old, runs.targets if runs else ()):
                return f"{leads_to(routing, release.plan.old, release.plan.old_words)}: nothing was changed; {ways}"
            if not routing.same_production(service.confirmed):
                found = routing.unknown or routing.amiss or ("by its addresses" if routing.led else "nothing is served")
                return f"the router does not do what it should ({found}): nothing was changed; {ways}"
        new, old = (self.watch.look(platform, e, probe, now, ask.at) for e in (release.environment, release.plan.old))
        if now < ask.at + _LOOKS and not all(s.trouble or s.at >= ask.at for s in (new, old)):
            return None
        if new.trouble or new.health is None or new.partly or not old.healthy:
            return ""
        return (
            f"{release.plan.new_words} is not well ({new.why}), and {release.plan.old_words} is: nothing was changed; `bleen rollback` returns to"
            f" {release.plan.old_version}"
        )

    def _obey(self, service: Service, release: Release, ask: Ask, refused: str) -> float:
        now, event, answer = obey(release, ask, self.journal.now(), self._wall())
        if refused and event:
            now, event, answer = release, None, Answer(ask.number, False, refused)
        if now.phase is Phase.CLOSED and release.phase is not Phase.CLOSED:
            service, refused = self._closed(service, release)
            if refused:
                now, event, answer = release, None, Answer(ask.number, False, f"{refused}; nothing was changed")
        self.journal.commit(release, now, event, service, answer)
        return 0.0

    def _closed(self, service: Service, release: Release) -> tuple[Service, str]:
        """The service with what its router does now as the truth, which is settled there; or why that cannot be, with nothing changed."""
        providers = self.providers(service, release)
        here = dict(service.confirmed.targets)
        with suppress(Unavailable, Refused):  # where nobody can look, they are where they were
            here |= whereabouts(providers.platform.running())
        try:
            routing = providers.router.routing()
            if why := _no_truth(routing, service.confirmed, release):
                return service, why
            # Without a preview: kept, it would be in the way of all later releases. With every copy of what serves, those that somebody has taken out included.
            truth = routing._replace(unknown="", amiss="", beside="", preview=None).moved(here)
            providers.router.settle(truth, service.epoch)
        except (Unavailable, Refused) as error:
            return service, f"what the router serves cannot be asked, or settled: {error}"
        return service._replace(confirmed=truth), ""

    def _passing(self, release: Release, world: World) -> NotYet | None:
        """Before its first tick an engine has the router do what it does already, which takes the fence: an earlier engine that was stopped in the middle of an
        effect has then ended it, or is refused from now on.
        """
        if self._alone != (world.service.name, world.epoch):
            now = world.router.routing()
            known = {e: targets for e, targets in now.targets.items() if targets}
            with suppress(Refused):  # by a router that has let us pass
                if left := world.router.prepare(Routing(now.shares, now.preview if now.preview in known else None, known), world.epoch):
                    return left
            self._alone = (world.service.name, world.epoch)
        return None

    def _watched(self, release: Release, world: World) -> Failed | NotYet | Halt | None:
        """What the watch has to say of a new environment that should be well; None if it has nothing to say."""
        if not TABLE[release.phase].watched:
            return None
        sight = world.sight(release, release.environment)
        if sight.healthy:
            return None
        before = world.sight(release, release.plan.old) if release.moved and release.plan.old else None  # looked at early, as it may be needed at once
        if not sight.dead:
            return None
        dead = f"{release.plan.version} ({release.plan.environment}) is dead: {sight.why}"
        if min(sight.at, before.at if before else sight.at) <= release.entered:
            return NotYet(f"another look: {dead}", 0.02)  # what was seen before a person said `resume` must not halt it again
        if before is None:
            return Failed(dead)
        if before.dead:
            return Halt(f"both environments are dead, traffic was left where it is: {dead}; {release.plan.old_version}: {before.why}")
        if before.partly:
            return Failed(dead)
        return NotYet(f"a look at {release.plan.old_version}, as {dead}", 0.02)

    def _guarded(self, release: Release, world: World, work: Callable[[Release, World], Outcome | None]) -> Outcome | None:
        """What a phase or the watch says, with what its ports raise turned into an outcome."""
        try:
            said = work(release, world)
        except Unavailable as error:
            return self._wait(release, world, str(error))
        except Refused as error:
            return Failed(str(error))
        except (Fenced, StaleWriter):
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours: the failure edge, and the traceback to the log
            self.log(f"{release.id}, {release.phase}: {trace()}")
            return Failed(f"a bug in bleen, please report it: {type(error).__name__}: {error}; the traceback is in the engine's log")
        if said is not None:
            self._failures.pop(release.id, None)
        return said

    def _wait(self, release: Release, world: World, why: str) -> NotYet | Failed:
        """Back-off for a provider that is unavailable, until the phase's deadline."""
        deadline = release.entered + PATIENCE + release.plan.drain + release.plan.probe.timeout
        if release.phase not in UNHURRIED and world.now >= deadline:
            return Failed(f"gave up: {why}")
        failures = self._failures[release.id] = self._failures.get(release.id, 0) + 1
        return NotYet(f"another try: {why}", 0.02 * 2 ** min(failures, 6), release.until)

    def _record(self, world: World, release: Release, outcome: Outcome) -> float:
        if isinstance(outcome, NotYet):
            noted = release._replace(until=outcome.until, why=outcome.why, memo=release.memo if outcome.memo is None else outcome.memo)
            if noted != release or release is self._unwritten:
                self._unwritten = noted
                self.journal.commit(release, noted, None, world.service)
                self._unwritten = None
            return outcome.again
        if isinstance(outcome, Halt):
            now, event = halt(release, outcome.why, self._wall())
        else:
            now, event = after(release, outcome, self.journal.now(), self._wall())
        service = world.service
        if isinstance(outcome, Done) and outcome.confirmed is not None:
            service = service._replace(confirmed=outcome.confirmed)
        if isinstance(outcome, Done) and outcome.pending is not None:
            self.journal.pend(service.name, outcome.pending)
        self.journal.commit(release, now, event, service)
        if now.ended:
            self._failures.pop(release.id, None)
            self.watch.forget(set(service.confirmed.shares))
        self.log(f"{release.id}: {event.text}{'' if now.halted else f' -> {now.phase}'}")
        if now.ended:
            self._ended()
        return 0.0


def _no_truth(routing: Routing, confirmed: Routing, release: Release) -> str:
    """Why what the router does cannot be taken as the truth, and what ends that; empty if it can."""
    if len(routing.serving) > 1:
        way = "`bleen up --apply`"
        if len(confirmed.serving) > 1 and release.phase in (*REVERSIBLE, Phase.ROLLING_BACK):
            way = "`bleen rollback --force`" if release.phase is Phase.ROLLING_BACK else "`bleen rollback`"
        return f"traffic is split between two environments: {way} ends that first"
    if confirmed.serving and not routing.serving and not routing.unknown:
        return "nothing is served: `bleen up --apply` ends that first"
    if routing.unknown:
        way = "`bleen up --apply` undoes what is not ours, with `--to blue` or `--to green` in favour of that one"
        return f"what the router serves cannot be told ({routing.unknown}): {way}"
    return ""
