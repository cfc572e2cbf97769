"""What the engine asks of the world, and what it may rely on. These docstrings are the specification; ``bleen.testing`` proves a provider against them.

For every port: calls are synchronous, bounded (10 s at the most, usually milliseconds) and may be made from any thread; effects come one at a time, while
``Platform.health`` and what only asks may be called beside them and beside each other. They raise ``Unavailable``, ``Refused`` or ``Fenced`` (see ``errors``)
and nothing else, but for the journal, whose calls name what else they raise. Every effect is absolute and idempotent: given twice it equals once, and given
again after a crash at any instant it ends where it would have ended. ``epoch`` is the position of the service's journal from which the effect was decided: an
effect with an epoch smaller than one already seen raises ``Fenced`` and does nothing, and no effect is half done when a larger one begins.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bleen.host.processes import Process
from bleen.model import Due, Environment, Health, Memo, NotYet, Routing, Running, Traffic, Verdict

if TYPE_CHECKING:
    from bleen.lifecycle import Answer, Ask, Event, Release, ReleaseId, Service, Verb
    from bleen.plan import Plan, Probe


SILENT = 15.0
"""Seconds without a heartbeat after which a holder that is alive counts as hung: longer than any call may take."""


class Router(Protocol):
    """Moves production traffic between environments. What it says of itself is asked of the data plane, never of our own records."""

    def routing(self) -> Routing:
        """What the router does now, as the running proxy says. What becomes of production traffic that cannot be said in
        these words is told in ``unknown``, what else somebody changed in ``amiss`` and ``beside``. Raises Unavailable if the proxy does not answer.
        """
        ...

    def prepare(self, wanted: Routing, epoch: int) -> NotYet | None:
        """Makes every environment of ``wanted.targets`` known to the router, and leads the preview to ``wanted.preview``. Production traffic is untouched, and
        targets that are not named stay. None once a ``route(wanted)`` can be carried out at once. A lowered TTL is waited for here.
        """
        ...

    def route(self, wanted: Routing, epoch: int) -> None:
        """Gives production traffic the shares of ``wanted``, durably: a proxy that dies and starts again keeps them. Cuts no request in flight.

        Raises Refused, with nothing changed, for an environment that the running proxy does not know or that has no targets: never a silent 503.
        After Unavailable the outcome is unknown: ask ``routing()``.
        """
        ...

    def served(self, wanted: Routing, elapsed: float) -> NotYet | None:
        """None once new requests are answered as ``wanted`` says, proven at the data plane; ``elapsed`` seconds have passed since ``route``, for a router that
        cannot see it, as the TTLs of DNS hide it, and waits a time out. Raises Refused where it lets nobody in before it is started anew.
        """
        ...

    def drained(self, environment: Environment, elapsed: float) -> NotYet | None:
        """None once no request or stream of production or preview is in flight to an environment that has no share any more; ``elapsed`` seconds have been
        waited for that, for a router that cannot count them, and waits a time out.
        """
        ...

    def settle(self, wanted: Routing, epoch: int) -> None:
        """Undoes ``prepare``: environments that ``wanted.targets`` does not name are forgotten, those that it names have no other targets, and the preview is
        ``wanted.preview``.

        Never forgets one that serves. Raises Refused, with nothing changed, for one that is to be forgotten while nobody can say whom production reaches.
        """
        ...

    def traffic(self) -> Mapping[Environment, Traffic]:
        """Counters for each environment that the router knows; they restart from 0 with the proxy."""
        ...

    def up(self, routing: Routing, epoch: int) -> NotYet | None:
        """Listens. A proxy that runs is left as it is; one that does not is started with the routing that it last had, at the targets that ``routing`` names
        for its environments, or, without a memory of one, with ``routing``. None once it answers, which the call that starts it leaves to the next one to say.
        Where somebody else has led production to what ``routing`` says, it is led there after a start, too.

        Raises Refused if an address is held by somebody else, and says by whom.
        """
        ...

    def down(self, epoch: int) -> NotYet | None:
        """Stops listening; None once it has ended."""
        ...


class Platform(Protocol):
    """Where environments run."""

    def running(self) -> Mapping[Environment, Running]:
        """Every environment that was started here and has not ended, whoever started it and whichever process asks."""
        ...

    def provision(self, environment: Environment, version: str, replicas: int, epoch: int) -> None:
        """Starts ``version`` as ``environment``, or brings its number of copies to ``replicas``; one that exists keeps the settings that it was started with.

        Returns when started, not when healthy. A copy that runs is adopted, never doubled.
        Raises Refused for what can never start: a directory or a command that is missing.
        """
        ...

    def health(self, environment: Environment) -> Health:
        """One look at every target, fresh. A target is ready only if it answers *and* is this environment's own.

        An old process on the port does not pass for the new one. Each environment is asked as was right when it was started: what a later release
        says of its own version is no news of this one.
        """
        ...

    def probe(self, environment: Environment) -> "Probe":
        """How its targets are asked whether they are well, which the router does too; as this plan says for one of which that is not known. Never raises."""
        ...

    def retire(self, environment: Environment, replicas: int, epoch: int) -> NotYet | None:
        """Brings the environment down to ``replicas``; 0 stops it, after which it never starts again. None once that is so; already gone is success.
        Raises Refused where nobody can tell what runs of it.
        """
        ...

    def down(self, epoch: int) -> NotYet | None:
        """Ends all that runs, in its own time, and remembers what should run: the next ``tend`` starts it again. None once nothing runs."""
        ...

    def tend(self, epoch: int) -> None:
        """Starts again what should run and does not, with back-off; rotates logs. Called a few times a second by whoever drives the service.

        A copy that does not run and whose address somebody else has got gets another one, which ``running`` tells from then on.
        """
        ...

    def logs(self, environment: Environment, lines: int) -> Sequence[str]:
        """The last lines that the environment wrote, oldest first; none if there is nothing."""
        ...

    def follow(self, environment: Environment) -> Callable[[], Sequence[str]]:
        """What the environment writes from now on: each call of the answer gives the lines that are new, and does not wait for any."""
        ...


class Check(Protocol):
    """Something that must hold of an environment before it is promoted."""

    def run(self, environment: Environment, memo: Memo) -> Verdict | NotYet:
        """Begins the check, or looks how it goes: bounded, like every call. The memo of the last NotYet comes back.

        An empty one begins it, or takes up what an engine began that did not live to remember it: never two at once.
        """
        ...

    def cancel(self) -> None:
        """Ends what was begun, remembered or not; already ended is success."""
        ...


class Shipping(NamedTuple):
    """An environment that exists, or is about to, and what its version knows of the schema."""

    environment: Environment
    version: str
    migrations: frozenset[str]
    """The names of those that its version ships, and for each service whose it need not ship, what ``model.apart_from`` says of that."""
    processes: int
    share: int
    """Percent of production traffic."""


class Migrator(Protocol):
    """Changes the schema of the database that the versions of a service share. Like a check, its work takes its own time and outlives the engine: every call
    begins it, or looks how it goes. The memo of the last NotYet comes back; an empty one takes up what is under way, or begins. What a killed one has done
    stays done, and is gone on with.
    """

    def expand(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """Makes the schema fit for the versions of all of these. PASS once it does; evidence: ``expanded``, what was new."""
        ...

    def contract(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """Takes away what nobody needs, if the plan says so and the gate is open. Evidence: ``contracted``, and ``pending`` with what each waits for.

        INCONCLUSIVE if the database could not be asked; FAIL for a statement that it does not take.
        """
        ...

    def account(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """After a rollback, when these environments are left: what the release's version wrote in the new shape, how much of it the old shape cannot read,
        and how much an UPDATE in the old shape would overwrite. Evidence: ``written``, by pair of columns.
        """
        ...

    def cancel(self) -> None:
        """Ends an expand that was begun; already ended is success."""
        ...

    def tidy(self, environments: Sequence[Shipping], memo: Memo) -> Verdict | NotYet:
        """After an abort, when these environments are left: takes away what an expand that was ended half way left in the way of the version that serves.
        Evidence: ``dropped``, if there was something. INCONCLUSIVE if the database could not be asked, FAIL if it could not be taken away; a later expand
        does it then.
        """
        ...

    def down(self, memo: Memo) -> Memo:
        """Ends whatever of this is under way, as production ends; nothing under way is success. ``memo`` is that of the call which looks how it goes; the next
        one goes on with it, with the memo that this returns: what was ended here did not end by itself.
        """
        ...


class Providers(NamedTuple):
    """What drives one service, as wired for one plan."""

    router: Router
    platform: Platform
    check: Check | None = None
    migrator: Migrator | None = None
    before: Check | None = None
    """The checks of the version before, on its own environment: whether it can live with the schema that was expanded."""


class Holder(NamedTuple):
    """Who drives a service: a process of a host, by pid and start time. ``resident`` is True for a resident engine."""

    host: str
    pid: int
    start: int
    """In clock ticks since boot, from /proc/PID/stat: a pid that was given to another process does not match."""
    boot: str
    version: str = ""
    resident: bool = False

    @property
    def process(self) -> Process | None:
        """Its process; None for a holder of another host."""
        return Process(self.pid, self.start, self.boot) if self.host == os.uname().nodename else None

    @property
    def alive(self) -> bool:
        """Whether it drives, as far as this host can tell: a holder of another host does."""
        return self.process is None or self.process.alive


class Journal(Protocol):
    """What we know and intend, durably. The row, its event and the answer to a command change in one transaction or not at all."""

    def now(self) -> float:
        """Seconds on a clock that runs while the host is up and goes on after a reboot from where it was last seen; no change of the wall clock moves it."""
        ...

    def service(self, name: str) -> "Service":
        """The service's own row; an empty one for a service that is new. Needs no lock, not even while a writer is stopped inside a commit."""
        ...

    def register(self, name: str, router: Mapping[str, Any], up: bool) -> "Service":
        """Sets what the service listens on, and whether it should."""
        ...

    def claim(self, name: str, by: Holder, seize: int | None = None) -> "Service":
        """Makes ``by`` the holder, with the next epoch; already the holder changes nothing.

        Raises Held if another living holder has it, unless its epoch is ``seize``; raises StaleWriter if the epoch is not ``seize`` any more.
        """
        ...

    def beat(self) -> None:
        """The holder is alive; remembers how far the clock has come. Raises Unavailable if there is no room for that; it is heard of all the same."""
        ...

    def silence(self) -> float:
        """Seconds since a holder was last heard of: by its heartbeat, or when it claimed."""
        ...

    def open(self, name: str, plan: "Plan", who: str) -> "Release":
        """Records a release, PLANNED. Raises Busy if one that has not ended is there already."""
        ...

    def read(self, id: "ReleaseId") -> "Release":
        """A release, however long ago. Raises UserError if there is none."""
        ...

    def latest(self, name: str) -> "Release | None":
        """The newest release."""
        ...

    def releases(self, name: str, limit: int) -> "Sequence[Release]":
        """The newest releases, newest first."""
        ...

    def due(self, limit: int) -> "Sequence[ReleaseId]":
        """Releases that have something to do now, and any, ended ones too, that have a command to answer; the longest due first."""
        ...

    def commit(self, was: "Release", now: "Release", event: "Event | None", service: "Service", answer: "Answer | None" = None) -> "Release":
        """Replaces the row by compare-and-set on its revision and on the epoch of ``service``, and writes what ``service`` confirms.

        Returns the row as written. Raises StaleWriter, with nothing written.
        """
        ...

    def pend(self, name: str, contracts: Sequence[Due]) -> None:
        """Remembers which contracts are pending, and which expands are gone, as the service's database says: there is the truth about them, here what can be
        shown without it.
        """
        ...

    def ask(self, id: "ReleaseId", verb: "Verb", who: str, options: Mapping[str, Any] = {}) -> int:
        """Records a person's command; returns its number."""
        ...

    def asked(self, id: "ReleaseId") -> "Ask | None":
        """The oldest command that has not been answered."""
        ...

    def answer(self, number: int) -> "Answer | None":
        """The answer to a command, once there is one."""
        ...

    def blocker(self) -> Process | None:
        """The process that keeps others from writing at this moment, if it is one of this host."""
        ...

    def events(self, id: "ReleaseId", after: int = 0) -> "Sequence[Event]":
        """What happened, in order; those later than number ``after``."""
        ...

    def changed(self, timeout: float) -> bool:
        """Waits until somebody else has committed, or for ``timeout`` seconds; True if somebody has."""
        ...

    def close(self) -> None:
        """Gives back the connection. Nothing else is asked of the object afterwards."""
        ...
