"""The values that everybody speaks in: environments, targets, routings, health, verdicts. No behaviour beyond reading them.

All are NamedTuples: immutable, comparable, and cheap to load on the way of ``bleen rollback``.
"""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, NamedTuple, NotRequired, TypedDict

Memo = Mapping[str, Any]
"""A phase's checkpoint: JSON values only."""

NAMES = ("blue", "green")


class Environment(NamedTuple):
    """One running copy of a service: a name that its platform gave it, and the number of the release that made it.

    The number is part of the identity, so that retiring the blue of release 4 can never touch the blue of release 6.
    """

    name: str
    release: int

    def __str__(self) -> str:
        return f"{self.name}-{self.release}"

    @classmethod
    def parse(cls, text: str) -> "Environment":
        """The inverse of ``str()``. Raises ValueError for anything else."""
        name, dash, number = text.rpartition("-")
        if not (name and dash and number.isdecimal()):
            raise ValueError(f"{text!r} is not an environment such as 'blue-4'")
        return cls(name, int(number))


def apart_from(service: str) -> str:
    """A marker among the names of what a version ships: it uses nothing that the migrations of ``service`` change, so it need not ship them."""
    return f"all of {service}"


class Target(NamedTuple):
    """An address that a router can send to."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Routing(NamedTuple):
    """What a router does with traffic, or should do; always the whole of it, never a difference.

    ``shares``: percent of production traffic for each environment; empty means that production is answered 503. Those that we wish for add up to 100; of those
    that a router was found with, ``unknown`` tells what is led to nobody.
    ``preview``: the environment that the preview leads to; None means that the preview is answered 503.
    ``targets``: the addresses of every environment that the router is to know, those without traffic included.
    ``unknown``: what becomes of production traffic that cannot be said in these words; ``amiss``: what else somebody did to production, by which nobody is led
    elsewhere: a listener that was closed, a copy that was taken out; ``beside``: what somebody did to the preview, or to who serves nobody. All are empty for
    every routing that we wish for. What harms nobody, as an address that nothing leads to, is none of them.
    """

    shares: Mapping[Environment, int] = {}
    preview: Environment | None = None
    targets: Mapping[Environment, tuple[Target, ...]] = {}
    unknown: str = ""
    amiss: str = ""
    beside: str = ""

    @property
    def led(self) -> dict[Environment, int]:
        """The shares of those that have any."""
        return {e: s for e, s in self.shares.items() if s}

    @property
    def strange(self) -> str:
        """All that is not of our making, in words."""
        return "; ".join(filter(None, (self.unknown, self.amiss, self.beside)))

    def serves(self, environment: Environment) -> bool:
        """Whether production traffic reaches this environment."""
        return self.shares.get(environment, 0) > 0

    def may_serve(self, environment: Environment, at: Collection[Target]) -> bool:
        """Whether production may reach this environment, whose copies are ``at`` these addresses: it has a share, what has one is led to an address of it, or
        nobody can say whom production reaches. Nothing that it may reach is stopped.
        """
        return self.serves(environment) or bool(self.unknown) or any(not {*at}.isdisjoint(self.targets.get(e, ())) for e in self.led)

    @property
    def serving(self) -> frozenset[Environment]:
        """Every environment that production traffic reaches."""
        return frozenset(environment for environment, share in self.shares.items() if share > 0)

    def names(self, environment: Environment) -> bool:
        """Whether any traffic, the preview's included, reaches this environment."""
        return self.serves(environment) or self.preview == environment

    def same_production(self, other: "Routing") -> bool:
        """Whether the two do the same with production: equal shares, to equal targets, and nothing strange about it."""
        same = all(sorted(self.targets.get(e, ())) == sorted(other.targets.get(e, ())) for e in self.led)
        strange = any((self.unknown, self.amiss, other.unknown, other.amiss))
        return not strange and self.led == other.led and same

    def reaches_beyond(self, other: "Routing") -> bool:
        """Whether production reaches somebody whom it would not with the other: by a share, an address, or in a way that nobody can say."""
        beyond = any(set(self.targets.get(e, ())) - set(other.targets.get(e, ())) for e in self.led)
        return bool(self.unknown) or beyond or self.led not in ({}, other.led)

    def moved(self, targets: Mapping[Environment, tuple[Target, ...]]) -> "Routing":
        """The same routing, with the environments that it knows at these addresses; those of which none is named stay where they are."""
        return self._replace(targets={e: targets.get(e) or known for e, known in self.targets.items()})

    def to_json(self) -> dict[str, Any]:
        row = {
            "shares": {str(e): s for e, s in self.shares.items()},
            "preview": str(self.preview) if self.preview else None,
            "targets": {str(e): [list(t) for t in ts] for e, ts in self.targets.items()},
            "unknown": self.unknown,
        }
        odd = {name: said for name, said in (("amiss", self.amiss), ("beside", self.beside)) if said}
        return {**row, **odd}  # which what was confirmed, and is journaled, never has

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Routing":
        return cls(
            {Environment.parse(e): s for e, s in row["shares"].items()},
            Environment.parse(row["preview"]) if row["preview"] else None,
            {Environment.parse(e): tuple(Target(h, p) for h, p in ts) for e, ts in row["targets"].items()},
            row["unknown"],
            row.get("amiss", ""),
            row.get("beside", ""),
        )


class Health(NamedTuple):
    """What one look at an environment found. ``why`` says in words what is not well; empty when all is."""

    ready: int
    wanted: int
    targets: tuple[Target, ...]
    why: str = ""
    crashing: bool = False
    """Every process of it has been restarted three times within a minute: as good as dead, even if it answers in between."""

    @property
    def healthy(self) -> bool:
        """Every target that is wanted is ready. No targets is not healthy."""
        return self.ready >= self.wanted > 0 and not self.crashing


class Running(NamedTuple):
    """What a platform knows of one environment that it started."""

    version: str
    replicas: int
    """How many are wanted."""
    alive: int
    """How many processes (or containers, pods) are alive."""
    targets: tuple[Target, ...]
    stopping: bool = False
    """It was retired and has not ended yet."""
    damaged: str = ""
    """Why no more is known than how many are alive, with neither version nor targets; empty if all is."""


def whereabouts(running: Mapping[Environment, Running]) -> dict[Environment, tuple[Target, ...]]:
    """Where each environment that goes on is."""
    return {environment: runs.targets for environment, runs in running.items() if not runs.stopping and not runs.damaged}


def unseen(routing: Routing, why: str) -> dict[Environment, Running]:
    """A stand-in for ``Platform.running`` while that fails: every environment that the router knows, marked as damaged."""
    return {environment: Running("", 0, 0, (), damaged=why) for environment in routing.targets}


class Traffic(NamedTuple):
    """What a router counted for one environment since the router started."""

    requests: int
    errors: int
    """Answers of 500 and above, and requests that got none."""
    open: int
    """Requests and streams in flight now."""


class Result(Enum):
    """What a check says. INCONCLUSIVE, a check that could not run, is not a pass."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Verdict(NamedTuple):
    """A check's answer with its evidence: the request, the answer and the expectation; secrets are redacted."""

    result: Result
    why: str
    evidence: tuple[Mapping[str, Any], ...] = ()


class NotYet(NamedTuple):
    """Nothing is wrong, it takes time.

    ``why``: for what, in words that go on after "waits for". ``again``: seconds until it is worth looking; ``until``: when the wait ends by itself, on the
    journal's clock.
    """

    why: str
    again: float = 0.05
    until: float | None = None
    memo: Memo | None = None
    """The checkpoint to come back with; None leaves it as it is."""


class Due(TypedDict):
    """A contract that is pending, as the service's row and ``--json`` have it; or an expand that a version which is there ships, and the database has not."""

    migration: str
    description: str
    since: float | None
    """When it was expanded, in seconds since the epoch; None if it is not."""
    waits: list[str]
    asked: NotRequired[float]
    """When the database told this, in seconds since the epoch; it is missing where the database could not be asked."""
    service: NotRequired[str]
    """Whose release brought it."""
    failed: NotRequired[str]
    """What it failed on the last time."""


class Done(NamedTuple):
    """A phase has done its work; ``facts`` go into the event that says so."""

    facts: Mapping[str, Any] = {}
    confirmed: Routing | None = None
    """What the router was seen to do; from now on drift is measured by it."""
    pending: tuple[Due, ...] | None = None
    """What is still pending of the schema, as the database has it; None if it was not asked."""


class Failed(NamedTuple):
    """A phase cannot do its work; it takes its failure edge."""

    why: str
    facts: Mapping[str, Any] = {}


class Halt(NamedTuple):
    """Only a person can say what is right: the release stays where it is."""

    why: str


Outcome = Done | NotYet | Failed | Halt
