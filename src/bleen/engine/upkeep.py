"""What should run runs: environments and the listener, started again when they crash, brought back in order after a reboot; and it is said when it is ill."""

import time
from collections.abc import Mapping
from contextlib import suppress

from bleen.engine.tick import PATIENCE, Engine
from bleen.errors import Unavailable
from bleen.lifecycle import Release, Service
from bleen.model import Environment, Target, whereabouts
from bleen.ports import Journal, Providers

TEND_EVERY = 0.2
BEAT_EVERY = 1.0
LOOK_EVERY = 2.0
"""Seconds between two looks at what serves, while no release looks more often."""


class Upkeep:
    """Of one service, by whoever holds it."""

    def __init__(self, journal: Journal, engine: Engine, service: str) -> None:
        self._journal, self._engine, self._name = journal, engine, service
        self._began = journal.now()
        self._back: bool | None = None
        self._tended = self._beaten = float("-inf")
        self._ill = set[Environment]()
        self._listens = True
        self._targets: Mapping[Environment, tuple[Target, ...]] | None = None
        """The targets with which the router was last found, or put, right; None: look again."""

    def back(self, service: Service) -> bool:
        """Whether releases may be acted on: after a reboot everything looks dead until it has been started again.

        A listener that answers, or a process that is alive, says that there was none. While neither can be asked, it is not known; a minute later each
        release says for itself what it lacks.
        """
        if self._back is None:
            with suppress(Unavailable):
                _, providers = self._providers(service)
                with suppress(Unavailable):
                    self._back = not service.up or any(runs.alive for runs in providers.platform.running().values())
                providers.router.routing()
                self._back = True
        return self._journal.now() >= self._began + PATIENCE if self._back is None else self._back

    def tend(self, service: Service) -> None:
        """Starts again what should run and does not: the environments first, then, with something to send to, the listener. Raises Unavailable or Refused."""
        if time.monotonic() >= self._beaten + BEAT_EVERY:
            self._beaten = time.monotonic()
            self._journal.beat()
        if time.monotonic() < self._tended + TEND_EVERY:
            return
        self._tended = time.monotonic()
        newest, providers = self._providers(service)
        try:
            providers.platform.tend(service.epoch)
        finally:  # an environment that cannot be seen to keeps nobody from the others, nor from the listener
            if service.up:
                self._open(service, newest, providers)

    def _open(self, service: Service, newest: Release | None, providers: Providers) -> None:
        """Sees to the listener, once there is something to send to."""
        self._look_after(service, newest, providers)
        targets = dict[Environment, tuple[Target, ...]]()
        with suppress(Unavailable):
            targets = whereabouts(providers.platform.running())
        astray: Unavailable | None = None
        if targets != self._targets:
            try:
                self._lead(service, newest, providers, targets)
            except Unavailable as error:
                astray = error
        if not (self._back or self._well(service.active, newest, providers)):
            return
        try:
            self._listening(service._replace(confirmed=service.confirmed.moved(targets)), providers)
        finally:  # a router that finds fault with a renewed certificate, say, listens all the same
            self._settle_back(newest, providers)
        if astray and self._listens:  # one that did not run was started with them
            raise astray

    def _settle_back(self, newest: Release | None, providers: Providers) -> None:
        """Notes that all is back after a reboot, once the router answers and what runs is well."""
        if self._back:
            return
        with suppress(Unavailable):
            providers.router.routing()
            running = whereabouts(providers.platform.running())
            self._back = all(self._well(environment, newest, providers) for environment in running)

    def _lead(self, service: Service, newest: Release | None, providers: Providers, targets: Mapping[Environment, tuple[Target, ...]]) -> None:
        """Leads the router to where copies are now, wherever it sends somebody: another process has the port of one that ended, and would get its requests.

        Raises Unavailable if that was not to be done. Shares stay as they are; what somebody else did to the router is left to be undone by a person first.
        """
        now = providers.router.routing()
        named = {e: t for e, t in targets.items() if e in now.targets and (now.names(e) or now.unknown)}
        wanted = now.moved(named)
        astray = any(set(now.targets[e]) - set(t) for e, t in named.items())  # requests at a stranger's port are worse than a touch on what somebody changed
        if (astray or not now.strange) and any(sorted(now.targets[e]) != sorted(t) for e, t in wanted.targets.items()):
            if left := providers.router.prepare(wanted, service.epoch):
                raise Unavailable(f"waits for {left.why}")
            providers.router.settle(wanted, service.epoch)
            for e in named:
                if gone := set(now.targets.get(e, ())) - set(named[e]):
                    said = " and ".join(map(str, sorted(gone)))
                    self._engine.log(f"{e} is not sent anything at {said} any more, where no copy of it listens; `bleen logs {e.name}` says who does")
        kept = self._journal.service(self._name)  # a tick may have changed it since ``service`` was read
        confirmed = kept.confirmed.moved(named)
        if newest and confirmed != kept.confirmed:
            newest = self._journal.read(newest.id)
            self._journal.commit(newest, newest, None, service._replace(confirmed=confirmed))
        self._targets = targets if not now.strange else None

    def _listening(self, service: Service, providers: Providers) -> None:
        """Starts the listener if it does not run. Logs that it did not, and that it does again."""
        listened, self._listens = self._listens, False  # nor does it if the router raises
        left = providers.router.up(service.confirmed, service.epoch)
        self._listens = left is None
        if left and listened:
            self._engine.log(f"the router does not answer: waits for {left.why}")
        elif self._listens and not listened:
            self._engine.log("the router answers again")

    def _look_after(self, service: Service, newest: Release | None, providers: Providers) -> None:
        """Logs that what serves is dead, and that it is well again: once a release has ended, nobody else tells."""
        if newest is None:
            return
        probe = newest.plan.probe
        for environment in service.confirmed.serving:
            sight = self._engine.watch.look(providers.platform, environment, probe._replace(interval=max(probe.interval, LOOK_EVERY)), self._journal.now())
            if sight.dead and environment not in self._ill:
                self._ill.add(environment)
                self._engine.log(f"{environment} serves, and is dead: {sight.why}")
            elif sight.healthy and environment in self._ill:
                self._ill.remove(environment)
                self._engine.log(f"{environment} is well again")

    def _providers(self, service: Service) -> tuple[Release | None, Providers]:
        newest = self._journal.latest(self._name)
        return newest, self._engine.providers(service, newest)

    def _well(self, environment: Environment | None, newest: Release | None, providers: Providers) -> bool:
        """Whether an environment is healthy, or has had its time."""
        if environment is None or newest is None:
            return True
        probe, now = newest.plan.probe, self._journal.now()
        return self._engine.watch.look(providers.platform, environment, probe, now).healthy or now >= self._began + probe.timeout
