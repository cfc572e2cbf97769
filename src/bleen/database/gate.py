"""When a schema may be contracted: only when nobody is left who needs the old shape, and nothing has been lost of what the new one was given.

Evidence is not proof: a session behind a pooler, or one that does not say what it is, is unseen, and what is unseen keeps the gate shut until a person
names the reason why it may be opened all the same.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from bleen.database.ledger import Known
from bleen.database.migration import speaks_of
from bleen.database.server import Session
from bleen.model import Environment, apart_from
from bleen.ports import Shipping


class Around(NamedTuple):
    """What the service knows of itself when it asks for a contract."""

    service: str
    environments: tuple[Shipping, ...]
    window: str = ""
    """Why the way back is still open, and until when; empty if it is not."""
    known: bool = True
    """Whether whoever asks knows of a release of it; else ``environments`` are those that the database remembers."""

    def apart(self, owner: str) -> bool:
        """Whether every environment says that it uses nothing which the migrations of another service change: theirs and its own are in no order."""
        return owner not in ("", self.service) and bool(self.environments) and all(apart_from(owner) in e.migrations for e in self.environments)

    @property
    def hearsay(self) -> str:
        """What to do about environments that only the database speaks of, to go behind an error; empty if there are none."""
        if self.known or not self.environments:
            return ""
        way = f"if {self.service} is gone for good, `bleen migrate forget {self.service}` says so"
        return f"; that is what the database remembers, no release of {self.service} is known here: ask where it runs (BLEEN_STATE, --service), or, {way}"

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Around":
        environments = (
            Shipping(**{**e, "environment": Environment.parse(e["environment"]), "migrations": frozenset(e["migrations"])}) for e in row["environments"]
        )
        return cls(row["service"], tuple(environments), row["window"])


class Obstacle(NamedTuple):
    """Why the gate is shut. ``unseen``: only evidence is missing; a person may name the reason why it does not matter."""

    why: str
    unseen: bool = False
    about: str = ""
    """Which trigger or column it is about, if it is about one: the reason has to name it, as what is said of a session says nothing of it."""
    silent: bool = False
    """Whether it is only that who serves is not seen: that may pass with the next request."""

    def opened(self, because: str) -> bool:
        """Whether this reason opens the gate all the same."""
        return self.unseen and bool(because) and (not self.about or speaks_of(because, self.about))

    @property
    def told(self) -> str:
        named = f", if it names {self.about}" if self.about else ""
        return f"{self.why}; --because REASON opens it all the same{named}" if self.unseen else self.why


def lives_with(ships: Collection[str], migration: str, owner: str) -> bool:
    """Whether a version can live with a contract: it ships that migration, or says that it uses nothing which those of its ``owner`` change."""
    return migration in ships or (bool(owner) and apart_from(owner) in ships)


def saying(service: str, owner: str) -> str:
    """How a service says that it can live with all contracts of another one."""
    return f"if {service} uses nothing that the migrations of {owner} change, write `database: {{apart: {{{owner}: WHY}}}}` into its bleen.yaml"


def ways(service: str, owner: str) -> str:
    """What a person may do about a service that does not ship a migration of another one."""
    said = f"let it ship that, or, {saying(service, owner)}, and release it; " if owner not in ("", service) else ""
    return f"{said}if that service is gone for good, `bleen migrate forget {service}` says so"


def obstacles(
    migration: str,
    around: Around,
    others: Sequence[Known],
    sessions: Sequence[Session],
    diverged: Mapping[str, int],
    earlier: Sequence[str],
    owner: str = "",
) -> list[Obstacle]:
    """Everything that keeps the gate of one migration shut; nothing means that it is open.

    ``others``: environments of other services that share the database. ``diverged``: by pair, how many rows are out of step. ``earlier``: contracts that are
    pending and come first. ``owner``: the service that brought the migration.
    """
    found = [Obstacle(f"{name} comes first, and is pending") for name in earlier]
    if around.window:
        found.append(Obstacle(around.window))
    for each in around.environments:
        if not lives_with(each.migrations, migration, owner):
            does = f"gets {each.share} % of the traffic" if each.share else f"runs {each.processes} processes" if each.processes else "exists"
            found.append(Obstacle(f"{each.environment} ({each.version}) {does}, and its version does not ship {migration}{around.hearsay}"))
    for other in others:
        if other.service != around.service and not lives_with(other.migrations, migration, owner):
            why = f"{other.service} shares this database, and its {other.environment} ({other.version}) does not ship {migration}"
            found.append(Obstacle(f"{why}; {ways(other.service, owner)}"))
    way = f"`bleen migrate backfill {migration}` fills or shows them"
    found.extend(Obstacle(f"{count} rows of {pair} are out of step: {way}") for pair, count in diverged.items() if count)
    return found + _sessions(migration, around, others, sessions, owner)


def named(service: str, environment: str) -> str:
    """The application_name of an environment's sessions; ``environment`` is blue or green: a name is used again only when the one before has ended."""
    return f"bleen:{service}:{environment}"


def _sessions(migration: str, around: Around, others: Sequence[Known], sessions: Sequence[Session], owner: str) -> list[Obstacle]:
    ships = {named(around.service, e.environment.name): e.migrations for e in around.environments}
    ships |= {named(o.service, o.environment.rpartition("-")[0]): o.migrations for o in others if o.service != around.service}
    found = []
    for session in sessions:
        if session.application.startswith("bleen migrate"):
            continue
        known = ships.get(session.application)
        origin = f", from {session.client}" if session.client else ""
        who = f"session {session.id} ({session.application or 'no application_name'}, user {session.user}{origin})"
        if session.stranger and session.application.startswith(named(around.service, "")):
            lent = "a pooler lends a session to whoever comes, under the name of the last one"
            found.append(Obstacle(f"{who} is held by {session.stranger}, which bleen has not started: {lent}", unseen=True))
        elif known is None and session.application.startswith("bleen:"):
            found.append(Obstacle(f"{who} is of an environment that has ended"))
        elif known is None:
            found.append(Obstacle(f"{who} is none that bleen knows: it may need the old shape", unseen=True))
        elif not lives_with(known, migration, owner):
            found.append(Obstacle(f"{who} is of a version that does not ship {migration}"))
    serving = [e for e in around.environments if e.share]
    if serving and not any(s.application == named(around.service, e.environment.name) for e in serving for s in sessions):
        why = f"no session says that it is of {serving[0].environment}, which serves: it has none open (no request yet, or none since the server was away?)"
        unseen = "sessions are not seen as they are (a pooler?), or its driver says nothing"
        found.append(Obstacle(f"{why}, {unseen}, which can be mended (docs/guide/database.md, How a connection says who it is)", unseen=True, silent=True))
    return found
