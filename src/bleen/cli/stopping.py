"""Stopping what serves, for the two verbs that may: ``down``, and ``up --apply``."""

import math
import signal
import time
from collections.abc import Callable

from bleen import __version__
from bleen.cli.access import Access
from bleen.engine.drive import holder
from bleen.engine.phases import put_off
from bleen.errors import Held, UserError
from bleen.host.launch import end
from bleen.lifecycle import Service
from bleen.model import NotYet

_LEAVES = 3.0
"""Seconds in which a verb that drives a service sees that it was taken down."""


def stop_engine(access: Access) -> None:
    """Ends the resident engine; one that does not end by itself is killed, which is safe. What serves goes on."""
    _until(lambda: end(access.place.engine), 3)
    _until(lambda: end(access.place.engine, signal.SIGKILL), 3)


def hold(access: Access) -> Service:
    """Makes this process the holder. Raises UserError while another verb drives the service; one that drives what is down stops doing so by itself."""
    me, deadline = holder(__version__), time.monotonic() + (0 if access.service.up else _LEAVES)
    while True:
        try:
            return access.journal.claim(access.name, me)
        except Held as error:  # by a verb that took over from the engine which has just been ended, it may be
            if time.monotonic() >= deadline:
                raise UserError(f"{error}: wait for it, or end it") from None
        time.sleep(0.02)


def stop_router(access: Access) -> None:
    """Closes the listener."""
    service = hold(access)
    router = access.providers(access.journal.latest(access.name)).router
    finish(lambda: router.down(service.epoch))


def stop_everything(access: Access) -> None:
    """Closes the listener, then ends every environment; `bleen up` starts again what should run, and what was under way."""
    service, newest = hold(access), access.journal.latest(access.name)
    if newest is not None and (memo := put_off(newest, access.providers(newest))) != newest.memo:
        access.journal.commit(newest, newest._replace(memo=memo), None, service)
    stop_router(access)
    service = hold(access)
    platform = access.providers(access.journal.latest(access.name)).platform
    finish(lambda: platform.down(service.epoch))


def finish(effect: Callable[[], NotYet | None], within: float = math.inf) -> None:
    """Has an effect, again until it is done. Raises UserError if that takes more than so many seconds."""
    deadline = time.monotonic() + within
    while left := effect():
        if time.monotonic() > deadline:
            raise UserError(f"gave up after {within:g} s of waiting for {left.why}: `bleen status` shows what the router does")
        time.sleep(left.again)


def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
