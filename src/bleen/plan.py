"""What would happen: printed by ``bleen plan``, stored with the release, and run. One object; pure.

A release carries its plan, so that nothing later needs today's bleen.yaml. Secrets are held as references (``${NAME}``), never as values.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bleen.errors import Refused
from bleen.model import NAMES, Environment, apart_from

_TEMPLATE = r"\{(port|version|environment|instance)\}|(\$\$\{|\{\{[a-z][a-z0-9_]*\}\})|\$\{([A-Za-z_][A-Za-z0-9_]*)\}"
"""Compiled where it is first used: only what starts something needs it."""


class Listener(NamedTuple):
    """Where a router listens, and how. Addresses are ``host:port``, IPv6 in brackets."""

    listen: str
    preview: str
    tls: Mapping[str, str] | None = None
    """The paths of ``certificate`` and ``key``, for ``listen`` only; plain HTTP if there are none."""
    keep_alive: float | None = None
    """Seconds for which the application keeps an idle connection, 0 if it keeps none, None if nobody knows: the router closes its own before."""
    trusted: Sequence[str] = ()
    """The networks whose X-Forwarded-Proto is kept."""


class Probe(NamedTuple):
    """How a target is asked whether it is well: GET ``path``, an answer of 200 to 399 is well."""

    path: str = "/"
    interval: float = 0.2
    """Seconds between two looks at one target."""
    patience: float = 1.0
    """Seconds that one look may take."""
    timeout: float = 30.0
    """Seconds that an environment may take until all its targets are well."""
    fall: int = 3
    """Looks in a row that must fail until a target is dead."""


class Step(NamedTuple):
    """One share of the traffic, and how many seconds the new version is judged with it."""

    share: int
    bake: float


class Plan(NamedTuple):
    """Everything that a release does and needs."""

    service: str
    version: str
    environment: str
    """The idle environment that the release takes: blue or green."""
    old: Environment | None
    """What is active now; None for a first release."""
    old_version: str
    old_replicas: int
    platform: Mapping[str, Any]
    """``kind`` and the settings of that platform."""
    probe: Probe
    smoke: tuple[Mapping[str, Any], ...]
    steps: tuple[Step, ...]
    mode: str
    """auto, or manual: a person says ``promote``."""
    deadline: float
    """Seconds to wait for that person."""
    otherwise: str
    """What happens then: abort or promote."""
    window: float
    drain: float
    keep: int | None
    """How many copies of the old environment stay after the window: 0 stops it, None leaves it as it is."""
    warnings: tuple[str, ...] = ()
    database: Mapping[str, Any] = {}
    """What becomes of the schema: ``dialect``, ``folder``, ``contract`` (manual, auto), ``migrations`` (name to check sum, all that the version ships),
    ``expands`` and ``contracts`` (names, in order), ``final`` (those of ``expands`` that nothing undoes), ``before`` (``ships`` of the version before),
    ``smoke`` and ``secrets`` (the smoke tests of the version before, and where what they refer to lies), ``clone`` (whether there is one to rehearse on),
    ``home`` (where the version's commands run; None if it has none), ``apart`` (services of whose migrations the version need ship none, and why; perhaps not
    there). Empty without a database."""

    @property
    def ships(self) -> frozenset[str]:
        """See ``ports.Shipping.migrations``."""
        return frozenset((*self.database.get("migrations", ()), *map(apart_from, self.database.get("apart", ()))))

    @property
    def new_words(self) -> str:
        """The new version for people; with its environment where the old one is the same version."""
        return f"{self.version} ({self.environment})" if self.version == self.old_version else self.version

    @property
    def old_words(self) -> str:
        """The old version likewise."""
        return f"{self.old_version} ({self.old.name})" if self.old and self.version == self.old_version else self.old_version

    def shared(self, was: Mapping[str, Any]) -> str:
        """The directory whose files the old version, with these settings of its platform, would be started from again although they are the new one's now;
        empty if each has its own, or is told apart by {version}.
        """
        directory: str = self.platform.get("directory", "")
        texts = (*self.platform.get("command", ()), *self.platform.get("env", {}).values())
        told_apart = self.version != self.old_version and any("{version}" in text for text in texts)
        return directory if self.old and not told_apart and was.get("directory") == directory else ""

    @property
    def digest(self) -> str:
        """The same for two plans that would run the same thing, whatever they replace."""
        import hashlib  # only verbs that make a plan compare one

        platform = {name: value for name, value in self.platform.items() if name != "secrets"}
        database = {name: value for name, value in self.database.items() if name in ("dialect", "folder", "contract", "migrations", "apart")}
        steps = self.steps[-1:]  # those before are of the way there, which a first release has not
        same = self._replace(environment="", old=None, old_version="", old_replicas=0, platform=platform, steps=steps, warnings=(), database=database)
        return hashlib.sha256(json.dumps(same.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        row = self._asdict()
        row.update(old=str(self.old) if self.old else None, probe=self.probe._asdict(), steps=[list(s) for s in self.steps])
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Plan":
        return cls(
            **{
                **row,
                "old": Environment.parse(row["old"]) if row["old"] else None,
                "probe": Probe(**row["probe"]),
                "smoke": tuple(row["smoke"]),
                "steps": tuple(Step(*s) for s in row["steps"]),
                "warnings": tuple(row["warnings"]),
            }
        )


def fill(template: str, words: Mapping[str, str], values: Mapping[str, str] | None) -> str:
    """One pass over ``{port}``, ``{version}``, ``{environment}``, ``{instance}`` and, where there are values, ``${NAME}``; ``$${`` and ``{{port}}`` stand for
    the literal text, and what is put in is never looked at again. Raises Refused for a reference without a value, KeyError for one of the words.
    """

    def put(match: re.Match[str]) -> str:
        word, escape, name = match.groups()
        if word:
            return words[word]
        if escape:
            return str(escape[1:] if escape[0] == "$" else escape[1:-1])
        if values is None:
            return match.group()
        if name not in values:
            raise Refused(f"${{{name}}} has no value; deploy again with it set")
        return values[name]

    return re.sub(_TEMPLATE, put, template)


def idle_name(old: Environment | None) -> str:
    """The environment that a release takes: the one that is not active."""
    return next(name for name in NAMES if old is None or name != old.name)


def lines(plan: Plan) -> list[str]:
    """The plan in words, a line a phase."""
    was = f"{plan.old_version} ({plan.old.name})" if plan.old else "nothing"
    new = f"{plan.version} ({plan.environment})"
    said = [f"{plan.service}: from {was} to {new}"]
    if plan.database.get("clone") and plan.database["expands"]:
        said.append(f"  rehearse   {', '.join(plan.database['expands'])}, on the clone, there and back")
    if plan.database:
        said.append(f"  expand     {', '.join(plan.database['expands']) or 'nothing: the database has every migration of it'}")
    if plan.old and plan.database.get("expands") and plan.database.get("smoke"):
        said.append(f"  test       {_tests(plan.database['smoke'])} of {plan.old_version} again, on a copy of it that serves")
    said.append(f"  provision  {plan.platform.get('replicas', 1)} of {plan.version} as {plan.environment}, all well within {duration(plan.probe.timeout)}")
    said.append(f"  test       {_tests(plan.smoke)} through the preview" if plan.smoke else "  test       health only: no smoke tests")
    if plan.mode == "manual":
        said.append(f"  wait       for `bleen promote`, {duration(plan.deadline)} at the most, then {plan.otherwise}")
    for step in plan.steps:
        said.append(f"  promote    {step.share} % to {plan.environment}, bake {duration(step.bake)}")
    if plan.old:
        said.append(f"  hold       {plan.old_words} stays warm for {duration(plan.window)}; `bleen rollback` returns to it at once")
        after = {0: "is stopped", None: "stays as it is"}.get(plan.keep, f"shrinks to {plan.keep}")
        said.append(f"  retire     {plan.old_words} drains for {duration(plan.drain)} at the most, then {after}")
    else:
        said.append("  hold       nothing: a first release has nothing to return to")
    if plan.database.get("contracts"):
        how = "once its gate is open" if plan.database["contract"] == "auto" else "later, by `bleen migrate contract`"
        said.append(f"  contract   {', '.join(plan.database['contracts'])}, {how}")
    said.extend(f"  note: {warning}" for warning in plan.warnings)
    return said


def _tests(tests: Sequence[object]) -> str:
    return "1 smoke test" if len(tests) == 1 else f"{len(tests)} smoke tests"


def duration(seconds: float) -> str:
    """A length of time as bleen.yaml writes it: 200ms, 5s, 15m, 2h."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
