"""Who drives a service, and the loop that does it.

One process at a time holds a service. Others ask it by rows; who gets no answer within a second ends the holder, if it is of this host, and drives on from
what the journal and the world say. That is safe because intent is recorded before acting and every effect is idempotent and fenced.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bleen.engine.tick import Engine
from bleen.engine.upkeep import TEND_EVERY, Upkeep
from bleen.errors import BleenError, Fenced, Held, Refused, StaleWriter, Unavailable, trace
from bleen.host.processes import Process, is_bleen, me, named
from bleen.lifecycle import Answer, Event, Phase, Release, ReleaseId, Service, Verb
from bleen.ports import SILENT, Holder, Journal

ANSWER_WITHIN = 1.0
"""Seconds in which a holder answers a command; one that does not is succeeded."""

TAKEN_UP_WITHIN = 5.0
"""Seconds in which a holder begins with a release that was recorded; nobody's site is down meanwhile."""

GONE = 60.0
"""Seconds without a trouble after which it is told anew when it comes again: what comes and goes in between is one trouble."""

T = TypeVar("T")


class Down(Unavailable):
    """The service was taken down, and only a person brings it up again."""


def holder(version: str, resident: bool = False) -> Holder:
    """This process, as one that drives."""
    process = me()
    return Holder(os.uname().nodename, process.pid, process.start, process.boot, version, resident)


class Driver:
    """Asks, follows and drives the releases of one service, as one process."""

    def __init__(self, journal: Journal, engine: Engine, service: str, by: Holder, trouble: Callable[[str], None] | None = None) -> None:
        """``trouble`` is told, once while it lasts, what keeps this process from acting; it goes on trying. The engine's log, unless a person is to hear."""
        self._journal, self._engine, self._name, self._me = journal, engine, service, by
        self._trouble, self._troubles = trouble or engine.log, dict[str, float]()  # and when they were met last, not longer than GONE ago
        self._holds = False
        self._upkeep, self._tended = Upkeep(journal, engine, service), time.monotonic()  # a command that it was made for comes first
        self.ended_resident = False
        """A resident engine that did not answer was ended: somebody should start another."""

    @property
    def driving(self) -> bool:
        """Whether this process holds the service."""
        return self._holds

    def ask(self, id: ReleaseId, verb: Verb, who: str, options: Mapping[str, Any] = {}) -> Answer:
        """Has a command answered: by whoever holds the service or, if it is dead or silent, by this process, which holds it from then on.

        Raises Unavailable if the holder is silent on another host and the command is not ``rollback``, which alone may seize.
        """
        number = self.unblocked(lambda: self._journal.ask(id, verb, who, options))
        epoch, deadline = -1, 0.0
        while True:
            service = self._journal.service(self._name)
            if service.epoch != epoch:  # another holder has its own second: it may have taken over to obey somebody else
                epoch, deadline = service.epoch, time.monotonic() + ANSWER_WITHIN
            if answer := self._journal.answer(number):
                return answer
            if self._holds:
                self._turn()
            elif self._driven(service) and time.monotonic() < deadline:
                self._journal.changed(0.1)
            else:
                self._succeed(service, may_seize=verb is Verb.ROLLBACK)

    def unblocked(self, work: Callable[[], T]) -> T:
        """Writes to the journal; a process of ours that was stopped inside a commit, and so keeps everybody from writing, is ended."""
        try:
            return work()
        except Unavailable as error:
            blocker = self._journal.blocker()
            recorded = self._journal.service(self._name).holder
            if blocker is not None:
                if (recorded is None or blocker != recorded.process) and not is_bleen(blocker.pid):
                    raise Unavailable(f"{error}: {named(blocker.pid)}, which is not bleen's; end it, or wait for it") from None
                end(blocker)
                self.ended_resident |= recorded is not None and blocker == recorded.process and recorded.resident
            return work()

    def follow(self, id: ReleaseId, done: Callable[[Release], bool], told: Callable[[Release, Sequence[Event]], None]) -> Release:
        """Waits until ``done``, or the release has ended or needs a person; drives it whenever nobody else does.

        ``told`` hears every event, and every look in between.
        """
        seen, epoch, began = 0, -1, 0.0
        while True:
            service = self._journal.service(self._name)
            if service.epoch != epoch:
                epoch, began = service.epoch, time.monotonic()
            release = self._journal.read(id)
            events = self._journal.events(id, seen)
            seen = events[-1].number if events else seen
            told(release, events)
            if done(release) or release.ended or release.halted:
                return release
            if self._holds:
                self._turn()
            elif not self._driven(service) or (release.phase is Phase.PLANNED and time.monotonic() > began + TAKEN_UP_WITHIN):
                self._succeed(service, may_seize=False)
            else:
                self._journal.changed(0.1)

    def stay(self, stopping: Callable[[], bool]) -> None:
        """Drives the service until told to stop; stands by while somebody else does."""
        while not stopping():
            try:
                service = self._journal.service(self._name)
                if self._holds:
                    self._turn()
                elif self._driven(service):
                    self._journal.changed(0.2)
                else:  # nobody drives, or somebody has handed over to us
                    self._succeed(service, may_seize=False)
            except Down:
                raise
            except (OSError, Unavailable) as error:  # a disk without room, or one that cannot be read, say: who watches goes on
                self._tell(str(error))
                self._pause()
            except BleenError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug of ours leaves nobody without who watches: said once, with its traceback in the log
                self._tell(f"a bug in bleen, please report it: {type(error).__name__}: {error}", trace())
                self._pause()

    def _driven(self, service: Service) -> bool:
        """Whether somebody else drives: one that is alive, and has been heard of."""
        held = service.holder
        return held is not None and held != self._me and held.alive and self._journal.silence() < SILENT

    def _succeed(self, service: Service, may_seize: bool) -> None:
        """Becomes the holder after the one that ``service`` names, and only after that one; one that is alive on this host is ended first.

        Somebody else may be faster: then nothing has changed.
        """
        if service.holder is not None and service.holder != self._me and service.holder.alive:
            process = service.holder.process
            if process is not None:
                end(process)
                self.ended_resident |= service.holder.resident
            elif not may_seize:
                raise Unavailable(
                    f"{self._name} is driven by {service.holder.host}, which does not answer; `bleen rollback` alone may take over from another host"
                )
        try:
            self.unblocked(lambda: self._journal.claim(self._name, self._me, seize=service.epoch))
            self._holds = True
        except (StaleWriter, Held) as error:
            self._engine.log(str(error))

    def _turn(self) -> None:
        """Everything that is due, once; then waits until something may be due, or somebody has written.

        Raises Down if the service was taken down: who follows a release must not start again what `down` has just stopped.
        """
        service = self._journal.service(self._name)
        if not service.up:
            raise Down(f"{self._name} is down, and nothing goes on until `bleen up`")
        again, began = TEND_EVERY, time.monotonic()
        try:
            if service.holder != self._me:
                self._holds = False
                self._engine.log(f"{self._name} is driven by somebody else now: standing down")
                return
            back = self._upkeep.back(service)
            for id in self._due():  # one that has ended, and is commanded all the same, is older than the one under way: answered first, then gone
                if back or self._journal.asked(id):
                    again = min(again, self._advance(service, id))
            if again > 0 or began > self._tended + 1:
                self._tended = began
                self._upkeep.tend(service)
        except (Fenced, StaleWriter) as error:
            self._tell(str(error))
            again = 0.02
        except (Unavailable, Refused) as error:
            self._tell(str(error))
        if again > 0:
            self._journal.changed(again)

    def _pause(self) -> None:
        try:
            self._journal.changed(TEND_EVERY)
        except Unavailable:  # it is the journal that cannot be asked
            time.sleep(TEND_EVERY)

    def _advance(self, service: Service, id: ReleaseId) -> float:
        """In how many seconds the next tick is worth it. A journal that cannot be written keeps nobody from starting again what has crashed."""
        try:
            soon = self._engine.advance(service, id)
        except (Unavailable, Refused) as error:
            self._tell(str(error))
            soon = None
        return TEND_EVERY if soon is None else soon

    def _due(self) -> Sequence[ReleaseId]:
        """What has something to do, else the release that halted: it is still watched over."""
        if due := self._journal.due(1):
            return due
        newest = self._journal.latest(self._name)
        return [newest.id] if newest and newest.halted else []

    def _tell(self, trouble: str, more: str = "") -> None:
        now = time.monotonic()
        last = {each: met for each, met in self._troubles.items() if now <= met + GONE}  # texts have pids and counts in them: to keep all is to grow for ever
        self._troubles = {**last, trouble: now}
        if trouble not in last:
            self._trouble(trouble)
            if more:
                self._engine.log(more)


def end(process: Process) -> None:
    """Kills a process of ours that does not answer, and waits until it is gone. Raises Unavailable if it does not go within 2 s."""
    process.signal(signal.SIGKILL)
    deadline = time.monotonic() + 2
    while process.alive:
        if time.monotonic() > deadline:
            raise Unavailable(f"pid {process.pid} does not answer and cannot be ended; it waits for the kernel")
        time.sleep(0.001)
