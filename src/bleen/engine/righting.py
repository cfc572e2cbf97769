"""What a person has done to a whole service, beside its releases: its router put back, its listener closed, all that serves ended.

Whoever does that is the holder first, and reads then: nobody else drives meanwhile, so what was read stays true.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress

from bleen.engine.phases import put_off
from bleen.engine.tick import Engine
from bleen.errors import Held, Refused, StaleWriter, UserError
from bleen.lifecycle import REVERSIBLE, Release, Service, Verb, drifted
from bleen.model import Environment, NotYet, Routing, whereabouts
from bleen.ports import Holder, Journal, Platform, Providers, Router

_SOON = 6.0
"""Seconds in which a router does what it is told; whoever drives shows no life meanwhile."""
_LEAVES = 3.0
"""Seconds in which a verb that drives a service sees that it was taken down."""


def put_back(engine: Engine, name: str, by: Holder, told: Callable[[Routing, Routing], None], force: bool = False) -> None:
    """Undoes drift: the router does again what it was last confirmed to do. ``told`` hears what it does, and what it goes back to; nothing where all is right.

    Who went back meanwhile has confirmed another version, and stopped the one from before: neither is known before this process drives. Raises UserError, with
    nothing changed, if what is to get the traffic is not well, unless by ``force``.
    """
    service = take_over(engine.journal, name, by)
    newest, confirmed = engine.journal.latest(name), service.confirmed
    router, platform = (providers := engine.providers(service, newest)).router, providers.platform
    now = router.routing()
    if not drifted(service, newest, now):
        return
    for environment in confirmed.serving if now.reaches_beyond(confirmed) and not force else ():  # a repair that only adds takes nobody away from what works
        _well(platform, environment, newest, "the traffic back", "bleen up --apply")
    told(now, confirmed)
    _lead(router, service, confirmed._replace(preview=None if now.preview in confirmed.serving else now.preview))
    if left := router.routing().strange:
        raise UserError(f"production is led as it was, and {left}: `bleen down` and `bleen up` start the router anew, which cuts every connection")


def lead_to(engine: Engine, name: str, by: Holder, called: str, told: Callable[[Routing, Routing], None], force: bool = False) -> None:
    """Ends drift in favour of an environment, ``called`` blue or green, whatever was confirmed: all production goes there, and that is the truth from then on,
    with which a release that is halted is closed.

    For when what was confirmed is ill, and nobody but a person can say who serves instead. Raises UserError, with nothing changed, if there is no drift, if a
    release is under way, or a rollback does the same, and for an environment that does not run or, unless by ``force``, is not well.
    """
    service = take_over(engine.journal, name, by)
    newest, confirmed = engine.journal.latest(name), service.confirmed
    router, platform = (providers := engine.providers(service, newest)).router, providers.platform
    now, running = router.routing(), whereabouts(platform.running())
    if newest is None or not drifted(service, newest, now):
        raise UserError("the router does what it should: `bleen rollback` and `bleen deploy` are what moves traffic then; nothing was changed")
    if not newest.ended and not newest.halted:
        raise UserError(f"release {newest.id.number} is under way, and moves traffic itself: `bleen rollback` or `bleen abort` end it; nothing was changed")
    environment = next((each for each in running if called in (each.name, str(each))), None)
    if environment is None:
        raise UserError(f"no {called} runs: {', '.join(map(str, running)) or 'nothing'} does; nothing was changed")
    if newest.halted and newest.phase in REVERSIBLE and environment == newest.plan.old:
        raise UserError(f"`bleen rollback` goes back to {newest.plan.old_words}, and ends release {newest.id.number} with it; nothing was changed")
    if not force:
        _well(platform, environment, newest, "the traffic", f"bleen up --apply --to {environment.name}")
    wanted = Routing({environment: 100}, None if now.preview == environment else now.preview, {**confirmed.targets, **running})
    told(now, wanted)
    _lead(router, service, wanted)
    engine.journal.commit(newest, newest, None, service._replace(confirmed=wanted._replace(preview=None)))
    if newest.halted:
        asked = engine.journal.ask(newest.id, Verb.CLOSE, by.host)
        while (answer := engine.journal.answer(asked)) is None:
            engine.advance(engine.journal.service(name), newest.id)
        if not answer.obeyed:
            raise UserError(f"{environment} has all the traffic; release {newest.id.number} is not closed: {answer.text}")


def _well(platform: Platform, environment: Environment, newest: Release | None, what: str, verb: str) -> None:
    """Raises UserError for an environment that is to get ``what`` by a ``verb``, and has nothing that is ready; with the ways that are left."""
    health = platform.health(environment)
    if health.ready:
        return
    ways = [f"`bleen logs {environment.name}`"]
    if newest is None or newest.ended or newest.halted:
        others = [e for e in whereabouts(platform.running()) if e != environment and platform.health(e).ready]
        ways += [f"`bleen up --apply --to {e.name}` leads it to {e}, which is well" for e in others]
    ways.append(f"`{verb} --force` leads it there all the same")
    raise UserError(f"{environment} is to get {what}, and is not well ({health.why}): nothing was changed; {'; '.join(ways)}")


def _lead(router: Router, service: Service, wanted: Routing) -> None:
    """Has production led as it is wanted, and sees that. A router that lets nobody in before it is started anew is started anew."""
    began = time.monotonic()
    _finish(lambda: router.prepare(wanted, service.epoch), _SOON)
    router.route(wanted, service.epoch)
    try:
        _finish(lambda: router.served(wanted, time.monotonic() - began), _SOON)
    except Refused:
        _finish(lambda: router.down(service.epoch), _SOON)
        _finish(lambda: router.up(wanted, service.epoch), _SOON)
        _finish(lambda: router.served(wanted, time.monotonic() - began), _SOON)


def close_listener(engine: Engine, name: str, by: Holder) -> None:
    """Closes the listener, once nobody else drives."""
    service, providers = _held(engine, name, by)
    _finish(lambda: providers.router.down(service.epoch))


def end_everything(engine: Engine, name: str, by: Holder) -> None:
    """Closes the listener, then ends every environment; `bleen up` starts again what should run, and what was under way."""
    service, providers = _held(engine, name, by)
    newest = engine.journal.latest(name)
    if newest is not None and (memo := put_off(newest, providers)) != newest.memo:
        engine.journal.commit(newest, newest._replace(memo=memo), None, service)
    close_listener(engine, name, by)
    service, providers = _held(engine, name, by)
    _finish(lambda: providers.platform.down(service.epoch))


def take_over(journal: Journal, name: str, by: Holder) -> Service:
    """Makes a process the holder, whoever is. Who was stands by, and drives on as soon as that one has ended."""
    while True:
        with suppress(StaleWriter):
            return journal.claim(name, by, seize=journal.service(name).epoch)


def _held(engine: Engine, name: str, by: Holder) -> tuple[Service, Providers]:
    """Makes a process the holder, and says of what. Raises UserError while another verb drives; one that drives what is down stops doing so by itself."""
    journal = engine.journal
    deadline = time.monotonic() + (0 if journal.service(name).up else _LEAVES)
    while True:
        try:
            service = journal.claim(name, by)
            return service, engine.providers(service, journal.latest(name))
        except Held as error:  # by a verb that took over from the engine which has just been ended, it may be
            if time.monotonic() >= deadline:
                raise UserError(f"{error}: wait for it, or end it") from None
        time.sleep(0.02)


def _finish(effect: Callable[[], NotYet | None], within: float = math.inf) -> None:
    """Has an effect, again until it is done. Raises UserError if that takes more than so many seconds."""
    deadline = time.monotonic() + within
    while left := effect():
        if time.monotonic() > deadline:
            raise UserError(f"gave up after {within:g} s of waiting for {left.why}: `bleen status` shows what the router does")
        time.sleep(left.again)
