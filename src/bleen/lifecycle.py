"""The life of a release: one table, and what follows from it. Pure: no clock, no I/O; the engine acts.

``TABLE`` says what may happen; ``after`` says what an outcome leads to; ``obey`` says what a person's command leads to.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from bleen.model import Done, Due, Environment, Failed, Memo, Routing
from bleen.plan import Plan, Step

LAPSES = 60.0
"""Seconds after which a command that nobody could obey is not obeyed any more: the person has gone on."""


class Phase(StrEnum):
    """Where a release is; spelled exactly so in ``--json``."""

    PLANNED = "PLANNED"
    EXPANDING = "EXPANDING"
    PROVISIONING = "PROVISIONING"
    TESTING = "TESTING"
    AWAITING_PROMOTION = "AWAITING_PROMOTION"
    PROMOTING = "PROMOTING"
    BAKING = "BAKING"
    HOLDING = "HOLDING"
    RETIRING = "RETIRING"
    CONTRACTING = "CONTRACTING"
    ROLLING_BACK = "ROLLING_BACK"
    UNDOING = "UNDOING"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"
    ROLLED_BACK = "ROLLED_BACK"
    CLOSED = "CLOSED"


class Verb(StrEnum):
    """What a person can ask of a release that is under way; each names an end, so that given twice it equals once."""

    PROMOTE = "promote"
    ABORT = "abort"
    ROLLBACK = "rollback"
    RETIRE = "retire"
    RESUME = "resume"
    CLOSE = "close"


class Row(NamedTuple):
    """One line of the table."""

    does: str
    then: Phase
    fails: Phase | None
    """The failure edge; None halts."""
    may: tuple[Verb, ...] = ()
    watched: bool = False
    """The new environment found dead takes the failure edge at the next tick, whatever else is waited for."""


_P, _V = Phase, Verb
TABLE: Mapping[Phase, Row] = {
    _P.PLANNED: Row("claims the service, records the plan", _P.EXPANDING, _P.ABORTED, (_V.ABORT,)),
    _P.EXPANDING: Row("changes the schema so that both versions understand it", _P.PROVISIONING, _P.UNDOING, (_V.ABORT,)),
    _P.PROVISIONING: Row("starts the new version in the idle environment", _P.TESTING, _P.UNDOING, (_V.ABORT,)),
    _P.TESTING: Row("health and smoke tests, away from production traffic", _P.AWAITING_PROMOTION, _P.UNDOING, (_V.ABORT,), True),
    _P.AWAITING_PROMOTION: Row("readies the router; approval, and health once more", _P.PROMOTING, _P.UNDOING, (_V.PROMOTE, _V.ABORT), True),
    _P.PROMOTING: Row("moves this step's share, and proves that it is served", _P.BAKING, _P.ROLLING_BACK, (_V.ROLLBACK,), True),
    _P.BAKING: Row("judges this step under production traffic", _P.HOLDING, _P.ROLLING_BACK, (_V.ROLLBACK,), True),
    _P.HOLDING: Row("keeps the old environment able to take the load", _P.RETIRING, _P.ROLLING_BACK, (_V.ROLLBACK, _V.RETIRE), True),
    _P.RETIRING: Row("drains, then stops or shrinks the old environment; settles the router", _P.CONTRACTING, None),
    _P.CONTRACTING: Row("contracts the schema if the gate is open, else leaves it pending", _P.COMPLETED, None),
    _P.ROLLING_BACK: Row("scales the old environment up, moves traffic back if it is healthy", _P.UNDOING, None, (_V.ROLLBACK,)),
    _P.UNDOING: Row("drains and stops the new environment once nothing routes to it", _P.ROLLED_BACK, None),
}
TERMINAL: Mapping[Phase, str] = {
    _P.COMPLETED: "the new version serves, the old one is given up",
    _P.ABORTED: "users saw nothing of it",
    _P.ROLLED_BACK: "the old version serves, as before",
    _P.CLOSED: "ended by a person; what the router serves is the truth",
}
UNMOVED = (_P.PLANNED, _P.EXPANDING, _P.PROVISIONING, _P.TESTING, _P.AWAITING_PROMOTION)
"""Before traffic moves: a way out is called abort, and users saw nothing."""
REVERSIBLE = (_P.PROMOTING, _P.BAKING, _P.HOLDING)
"""Traffic has moved, and ``rollback`` always works."""
RETURNING = (_P.ROLLING_BACK, _P.UNDOING)
BEYOND = (_P.RETIRING, _P.CONTRACTING, _P.COMPLETED)
"""The old environment is given up: going back is a new release."""


class ReleaseId(NamedTuple):
    service: str
    number: int

    def __str__(self) -> str:
        return f"{self.service} release {self.number}"


class Release(NamedTuple):
    """One attempt to move a service to a version: the row of the journal."""

    id: ReleaseId
    plan: Plan
    phase: Phase = Phase.PLANNED
    step: int = 0
    moved: bool = False
    """PROMOTING has been entered: users may have seen the new version."""
    approved: bool = False
    """A person, or the plan, said that it may be promoted."""
    forced: bool = False
    """``rollback --force``: traffic goes back whatever the old environment's health."""
    halted: str = ""
    """Why it needs a person; empty while it does not."""
    reason: str = ""
    """Why it was aborted or rolled back."""
    entered: float = 0.0
    """When the phase was entered, on the journal's clock."""
    since: float = 0.0
    """The same in seconds since the epoch, for people."""
    until: float | None = None
    """When what it waits for ends by itself, on the journal's clock."""
    why: str = ""
    """What it waits for."""
    memo: Memo = {}
    revision: int = 0

    @property
    def environment(self) -> Environment:
        return Environment(self.plan.environment, self.id.number)

    @property
    def ended(self) -> bool:
        return self.phase in TERMINAL

    @property
    def shares(self) -> Mapping[Environment, int] | None:
        """The production traffic that this phase intends; None where it intends no change."""
        if self.phase is Phase.ROLLING_BACK and self.plan.old:
            return {self.plan.old: 100}
        if self.phase is Phase.PROMOTING:
            share = self.plan.steps[self.step].share if self.plan.old else 100
            return {self.environment: share} | ({self.plan.old: 100 - share} if self.plan.old and share < 100 else {})
        return None

    @property
    def split(self) -> bool:
        """Whether users may be on both versions, by a step of the promotion: as one begins, they are where the step before has led them."""
        if self.plan.old is None or self.phase not in (Phase.PROMOTING, Phase.BAKING, Phase.ROLLING_BACK):
            return False
        return self.plan.steps[self.step].share < 100 or (self.step > 0 and self.phase is not Phase.BAKING)


class Event(NamedTuple):
    """What happened. Folding a release's events gives its row's ``phase``, ``step``, ``moved`` and ``halted``."""

    number: int
    at: float
    """Seconds since the epoch."""
    phase: Phase
    step: int
    moved: bool
    halted: str
    text: str
    facts: Mapping[str, Any] = {}


class Ask(NamedTuple):
    """A person's command, as recorded."""

    number: int
    verb: Verb
    who: str
    options: Mapping[str, Any] = {}
    at: float = float("inf")
    """When it was given, on the journal's clock."""


class Answer(NamedTuple):
    """What became of a command. ``obeyed``: its end will be, or is, reached; otherwise nothing was changed, and ``text`` says what would be right."""

    number: int
    obeyed: bool
    text: str


class Service(NamedTuple):
    """What outlives a release."""

    name: str
    epoch: int = 0
    """Grows with every change of holder; an effect that carries a smaller one is refused."""
    holder: Any = None
    """``ports.Holder``: who drives the service; None if nobody ever did."""
    router: Mapping[str, Any] = {}
    """What it listens on, and with what; ``kind`` names the router. Empty before the first ``up``."""
    up: bool = False
    """Whether it should be listening."""
    confirmed: Routing = Routing()
    """What the router should do: what it was last seen to do as told, or what a person accepted by `close`. Drift is measured by it."""
    pending: tuple[Due, ...] = ()
    """Contracts that wait for their gate."""

    @property
    def active(self) -> Environment | None:
        """The environment that has most of the traffic."""
        shares = self.confirmed.shares
        return max(shares, key=lambda e: (shares[e], e.release)) if shares else None


def drifted(service: Service, newest: Release | None, routing: Routing) -> bool:
    """Whether the router does what we neither confirmed nor intend."""
    if routing.preview in routing.serving or routing.beside:
        return True
    if routing.same_production(service.confirmed):
        return False
    return bool(routing.strange) or newest is None or newest.shares != routing.led


def after(release: Release, outcome: Done | Failed, now: float, wall: float) -> tuple[Release, Event]:
    """Where an outcome leads, and the event that says so."""
    row = TABLE[release.phase]
    if isinstance(outcome, Done):
        return _enter(release, _next(release), now, wall, "", outcome.facts)
    if row.fails is None or (row.fails is Phase.ROLLING_BACK and release.plan.old is None):
        return halt(release, outcome.why, wall, outcome.facts)
    return _enter(release._replace(reason=outcome.why), row.fails, now, wall, outcome.why, outcome.facts)


def halt(release: Release, why: str, wall: float, facts: Mapping[str, Any] = {}) -> tuple[Release, Event]:
    """The release stays where it is until a person says what to do."""
    halted = release._replace(halted=why, why=why, until=None, forced=False)  # what was forced was forced then, and not whenever somebody tries again
    return halted, _event(halted, wall, f"halted: {why}", facts)


def obey(release: Release, ask: Ask, now: float, wall: float) -> tuple[Release, Event | None, Answer]:
    """What a person's command leads to. A command that changes nothing has no event."""
    answer = _lapsed(ask, now) or _refusal(release, ask) or _already(release, ask)
    if answer:
        return release, None, answer
    verb, who = ask.verb, f"{ask.verb} by {ask.who}"
    if verb is Verb.PROMOTE:
        approved = release._replace(approved=True, halted="", why="")  # a person is waited for no more
        return approved, _event(approved, wall, who), _yes(ask, f"{release.plan.version} is being promoted")
    if verb is Verb.RESUME:
        return *resumed(release, who, now, wall), _yes(ask, f"{release.phase} is tried again")
    if verb is Verb.CLOSE:
        return *_enter(release._replace(reason=who), Phase.CLOSED, now, wall, who), _yes(ask, "closed")
    if verb is Verb.RETIRE:
        return *_enter(release, Phase.RETIRING, now, wall, who), _yes(ask, f"the rollback window is closed; {release.plan.old_words} is being retired")
    if release.phase in UNMOVED:
        to = TABLE[release.phase].fails
        assert to is not None, "every phase before promotion has a failure edge"
        return *_enter(release._replace(reason=who), to, now, wall, who), _yes(ask, f"{release.plan.version} is aborted; users saw nothing of it")
    forced = release._replace(forced=bool(ask.options.get("force")), reason=release.reason or who)
    if forced.forced:
        who += ", by force"
    return *_enter(forced, Phase.ROLLING_BACK, now, wall, who), _yes(ask, f"going back to {release.plan.old_words}")


def resumed(release: Release, why: str, now: float, wall: float) -> tuple[Release, Event]:
    """A halted release tries again where it stands."""
    again = release._replace(halted="", why="", entered=now, since=wall)
    return again, _event(again, wall, why)


def settled(release: Release, verb: Verb, options: Mapping[str, Any] = {}) -> Answer | None:
    """The answer to a command that would change nothing, so that nobody need be asked; None if it would change something."""
    _, event, answer = obey(release, Ask(0, verb, "", options), 0.0, 0.0)
    return answer if event is None else None


def fold(events: Iterable[Event]) -> tuple[Phase, int, bool, str]:
    """``phase, step, moved, halted`` as the events tell them; always those of the row."""
    phase, step, moved, halted = Phase.PLANNED, 0, False, ""
    for event in events:
        phase, step, moved, halted = event.phase, event.step, event.moved, event.halted
    return phase, step, moved, halted


def step(release: Release) -> Step:
    """The step that is being promoted or judged."""
    return release.plan.steps[release.step]


def _next(release: Release) -> Phase:
    if release.phase is Phase.BAKING and release.step + 1 < len(release.plan.steps):
        return Phase.PROMOTING
    if release.phase is Phase.UNDOING and not release.moved:
        return Phase.ABORTED
    return TABLE[release.phase].then


def _enter(release: Release, phase: Phase, now: float, wall: float, text: str, facts: Mapping[str, Any] = {}) -> tuple[Release, Event]:
    entered = release._replace(
        phase=phase,
        step=release.step + (release.phase is Phase.BAKING and phase is Phase.PROMOTING),
        moved=release.moved or phase is Phase.PROMOTING,
        halted="",
        entered=now,
        since=wall,
        until=now + release.plan.window if phase is Phase.HOLDING and release.plan.old else None,  # a hold is over when it is, whoever looks and when
        why="",
        memo={},
    )
    return entered, _event(entered, wall, text or f"{release.phase} done", facts)


def _event(release: Release, wall: float, text: str, facts: Mapping[str, Any] = {}) -> Event:
    return Event(0, wall, release.phase, release.step, release.moved, release.halted, text, facts)


def _yes(ask: Ask, text: str) -> Answer:
    return Answer(ask.number, True, text)


def _lapsed(ask: Ask, now: float) -> Answer | None:
    """The answer to a command that comes up so late that it is not what the person wants now."""
    return Answer(ask.number, False, f"nobody was there to obey within {LAPSES:g} s: say it again") if now > ask.at + LAPSES else None


def _already(release: Release, ask: Ask) -> Answer | None:
    """The answer to a command whose end is reached, or on its way."""
    plan, phase, verb = release.plan, release.phase, ask.verb
    gone = "its old environment is given up already"
    if plan.keep != 0:
        gone = f"its rollback window is closed already; {plan.old_words} stays as `after_window` says, until the next deploy takes its place"
    went_back = f"already on {plan.old_words}" if release.moved else f"{plan.version} was aborted already; {plan.old_version or 'nothing'} serves, as before it"
    text = {
        Verb.PROMOTE: f"{plan.version} is promoted already" if release.moved and phase not in RETURNING else "it is being promoted" if release.approved else "",
        Verb.ABORT: went_back if phase in (Phase.UNDOING, Phase.ABORTED) else "",
        Verb.ROLLBACK: went_back if phase in (Phase.UNDOING, Phase.ABORTED, Phase.ROLLED_BACK) else "",
        Verb.RETIRE: (gone if plan.old else f"{plan.version} is the first release: there is no old environment to give up") if phase in BEYOND else "",
        Verb.RESUME: "" if release.halted else "it is not halted",
        Verb.CLOSE: "it is closed already" if phase is Phase.CLOSED else "",
    }[verb]
    forces = bool(ask.options.get("force")) and not release.forced
    if verb is Verb.ROLLBACK and phase is Phase.ROLLING_BACK and not release.halted and not forces:
        text = f"already going back to {plan.old_words}"
    return _yes(ask, text) if text else None


def _refusal(release: Release, ask: Ask) -> Answer | None:
    """The answer to a command that the table does not allow here; it names what would be right."""
    plan, phase, verb = release.plan, release.phase, ask.verb
    stuck = f"it is halted: `bleen status` shows why, then {ways_on(release)}" if release.halted else ""
    text = ""
    if verb is Verb.PROMOTE and phase in UNMOVED and phase is not Phase.AWAITING_PROMOTION:
        text = f"{plan.version} cannot be promoted yet: it is in {phase}; wait for AWAITING_PROMOTION"
    elif verb in (Verb.PROMOTE, Verb.ROLLBACK) and phase is Phase.CLOSED:
        text = f"release {release.id.number} is closed: `bleen status` shows what serves, and `bleen deploy VERSION` brings another"
    elif verb is Verb.PROMOTE and (phase in RETURNING or phase in (Phase.ABORTED, Phase.ROLLED_BACK)):
        text = f"{plan.version} cannot be promoted any more ({phase}); {stuck or f'`bleen deploy {plan.version}` tries again'}"
    elif verb in (Verb.ABORT, Verb.ROLLBACK) and phase in BEYOND and not (verb is Verb.ABORT and release.ended):
        text = f"the rollback window is closed: nothing was changed; {way_back(release)}" if plan.old else _first(release)
    elif verb is Verb.ABORT and release.moved and phase in RETURNING:
        text = f"{plan.version} is being taken back already ({phase}): nothing was changed; {stuck or '`bleen wait` waits for it'}"
    elif verb is Verb.ABORT and release.moved and not release.ended:
        text = f"{plan.version} has been promoted: nothing was changed; `bleen rollback` returns to {plan.old_version}" if plan.old else _first(release)
    elif verb is Verb.ABORT and phase in (Phase.COMPLETED, Phase.ROLLED_BACK, Phase.CLOSED):
        text = f"release {release.id.number} has ended ({phase}): there is nothing to abort"
    elif verb is Verb.ROLLBACK and phase in REVERSIBLE and plan.old is None:
        text = _first(release)
    elif verb is Verb.RETIRE and phase is not Phase.HOLDING and phase not in BEYOND:
        text = f"there is no rollback window to close: release {release.id.number} is in {phase}"
    elif verb is Verb.CLOSE and phase is not Phase.CLOSED and not release.halted:
        text = f"only a halted release can be closed: release {release.id.number} is in {phase}"
    return Answer(ask.number, False, text) if text else None


def ways_on(release: Release) -> str:
    """What a person may do about a release that is halted: who cannot go back is not told to, and what users are on two versions of cannot be closed."""
    if release.split:
        return (
            f"`bleen resume`, `bleen rollback{' --force' if release.phase is Phase.ROLLING_BACK else ''}` or, where all users are on one version, `bleen close`"
        )
    back = release.phase in UNMOVED or (release.plan.old is not None and release.phase in (*REVERSIBLE, Phase.ROLLING_BACK))
    return "`bleen resume`, `bleen rollback` or `bleen close`" if back else "`bleen resume` or `bleen close`"


def goes_on(release: Release, verb: Verb) -> str:
    """What becomes of a command that was obeyed, and whose end nobody waits for any more."""
    name = f"release {release.id.number} ({release.plan.version})"
    if release.ended:
        return f"{name} has ended in {release.phase}"
    if release.halted:
        return f"{name} is halted in {release.phase}: {release.halted}; {ways_on(release)}"
    waits = f", and waits for {release.why}" if release.why else ""
    back = "`bleen abort`" if release.phase in UNMOVED else "`bleen rollback`" if release.phase in REVERSIBLE and release.plan.old else ""
    takes = f", {back} takes it back" if back and verb is Verb.PROMOTE else ""
    return f"detached: {verb} goes on; {name} is in {release.phase}{waits}: `bleen wait` waits for it{takes}"


def way_back(release: Release) -> str:
    """How to return to the old version once it is given up. The database alone knows whether a contract that forbids it has been done: it is named."""
    plan, ends = release.plan, "`bleen close` ends this, then " if release.halted else ""
    before = plan.database.get("before", ())
    foreign = [name for name in plan.database.get("contracts", ()) if name not in before]
    unless = f", unless what it needs was contracted ({', '.join(foreign)}): `bleen migrate status`" if foreign else ""
    return f"{ends}`bleen deploy {plan.old_version}` is the way back{unless}"


def _first(release: Release) -> str:
    first = "`bleen close` ends this, then " if release.halted else "" if release.ended else "once it has ended, "
    return f"{release.plan.version} is the first release: there is nothing to go back to; {first}`bleen deploy` another version"
