"""What a person has done to a whole service, beside its releases: its router put back, its listener closed, all that serves ended.

Whoever does that is the holder first, and reads then: nobody else drives meanwhile, so what was read stays true.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress

from bleen.engine.phases import put_off
from bleen.engine.tick import Engine
from bleen.errors import Held, StaleWriter, UserError
from bleen.lifecycle import Service, drifted
from bleen.model import NotYet, Routing
from bleen.ports import Holder, Journal, Providers

_SOON = 6.0
"""Seconds in which a router does what it is told; whoever drives shows no life meanwhile."""
_LEAVES = 3.0
"""Seconds in which a verb that drives a service sees that it was taken down."""


def put_back(engine: Engine, name: str, by: Holder, told: Callable[[Routing, Routing], None]) -> None:
    """Undoes drift: the router does again what it was last confirmed to do. ``told`` hears what it does, and what it goes back to; nothing where all is right.

    Who went back meanwhile has confirmed another version, and stopped the one from before: neither is known before this process drives. Raises UserError, with
    nothing changed, if what is to get the traffic is not well.
    """
    service = take_over(engine.journal, name, by)
    newest, confirmed = engine.journal.latest(name), service.confirmed
    router, platform = (providers := engine.providers(service, newest)).router, providers.platform
    now = router.routing()
    if not drifted(service, newest, now):
        return
    for environment in confirmed.serving if now.reaches_beyond(confirmed) else ():  # a repair that only adds takes nobody away from what works
        health = platform.health(environment)
        if not health.ready:
            raise UserError(f"{environment} is to get the traffic back, and is not well ({health.why}): nothing was changed; `bleen logs {environment.name}`")
    told(now, confirmed)
    wanted, began = confirmed._replace(preview=None if now.preview in confirmed.serving else now.preview), time.monotonic()
    _finish(lambda: router.prepare(wanted, service.epoch), _SOON)
    router.route(wanted, service.epoch)
    _finish(lambda: router.served(wanted, time.monotonic() - began), _SOON)
    if left := router.routing().strange:
        raise UserError(f"production is led as it was, and {left}: `bleen down` and `bleen up` start the router anew, which cuts every connection")


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
