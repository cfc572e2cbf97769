"""The rules of a safe schema change, per phase and per dialect: what they find, where, why, and the safe way for the statement at hand.

A dialect is a module of this package (``postgres``, ``mysql``, ``sqlite``; loaded when it is asked for) with

* ``RULES``: every rule in one sentence, by its name;
* ``lint(text, file, phase, known)``: the findings in one file, overrides not yet looked at; it never raises: what cannot be read is a finding,
  ``not-understood``. ``known`` is what the release made so far, and is carried on;
* ``split(text)`` and ``comments(text)``: where the statements that can be read stand, and the comments; both raise ``Unreadable``.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from bleen.database.migration import PHASES, Phase
from bleen.database.rules import overrides, own, together
from bleen.database.rules.findings import IRREVERSIBLE, Finding, Known
from bleen.database.statements import Comment, Dialect, Statement

__all__ = ["Finding", "Script", "lint", "lint_back", "lint_release", "rules"]


DROPS_NEW = "drops-new"
"""The rule of expand.sql and contract.sql of one migration together, which ``together`` looks at."""


MADE_AGAIN = "made-again"
"""The rule of the statements of one contract.sql together, which ``together`` looks at."""


FILLS_OLD = "backfill-old-column"
"""The rule of backfill.sql and every expand.sql of a release together, which ``together`` looks at."""


TRACED = {
    "traced-failure": "The server does not take the statement (`--trace`).",
    "traced-rewrite": "The statement writes a table again that was there before (`--trace`).",
    "traced-scan": "The statement reads all of a table that was there before while nobody can write it (`--trace`).",
}
"""The rules of what a statement did to a scratch database of PostgreSQL, which ``database.trace`` looks at."""


class DialectRules(Protocol):
    """What a dialect's module provides."""

    RULES: Mapping[str, str]

    def lint(self, text: str, file: str, phase: Phase, known: Known) -> list[Finding]: ...
    def split(self, text: str) -> list[Statement]: ...
    def comments(self, text: str) -> list[Comment]: ...


class Script(NamedTuple):
    """One file of a release."""

    text: str
    file: str
    phase: Phase
    transactions: tuple[tuple[int, int], ...] = ()
    """From where to where one goes, in characters, if another tool runs it; bleen gives each statement its own."""


def lint(text: str, dialect: Dialect, phase: Phase, file: str = "") -> list[Finding]:
    """The findings in one file, in the order of their places."""
    return lint_release([Script(text, file, phase)], dialect)


def lint_release(scripts: Iterable[Script], dialect: Dialect, traced: Mapping[str, Sequence[Finding]] | None = None) -> list[Finding]:
    """The findings in all files of one release, in the order given, and in each by their places. ``traced``: those of each file on a scratch database; None
    where there is none, so that nobody knows of them.

    They are read in the order in which a release runs them: all of expand before any contract.
    """
    given = list(scripts)
    module, known = _module(dialect), Known()
    found: dict[int, list[Finding]] = {}
    for index, script in sorted(enumerate(given), key=lambda each: PHASES.index(each[1].phase)):
        known.enters(script.phase, script.transactions)
        findings = module.lint(script.text, script.file, script.phase, known)
        if script.phase == "contract":
            dropped = together.dropped_new([each.text for each in given if _beside(each, script)], script.text, dialect)
            again = together.made_again(script.text, dialect)
            findings = [*findings, *(Finding(script.file, *at, DROPS_NEW, "error", why) for at, why in dropped)]
            findings += [Finding(script.file, *at, MADE_AGAIN, severity, why) for at, severity, why in again]
        if script.phase == "backfill" and any(_beside(each, script) for each in given):  # alone, nobody knows what is new
            filled = together.filled_old([each.text for each in given if each.phase == "expand"], script.text, dialect)
            findings = [*findings, *(Finding(script.file, *at, FILLS_OLD, "warn", why) for at, why in filled)]
        findings = [*findings, *(traced or {}).get(script.file, ())]
        found[index] = _left(findings, script, dialect, (DROPS_NEW, MADE_AGAIN, FILLS_OLD), traced is not None)
    return [finding for index in range(len(given)) for finding in found[index]]


def _beside(each: Script, script: Script) -> bool:
    """Whether it is the expand of the same migration."""
    return each.phase == "expand" and Path(each.file).parent == Path(script.file).parent


def lint_back(expand: str, revert: Script, dialect: Dialect, judged: Callable[[Finding], Finding | None]) -> list[Finding]:
    """The findings in a revert.sql, which runs while the old version serves, as expand does: what the expand made is free, all else is judged as in expand.

    ``judged`` says of a finding of expand what it is in a way back; None if there it is none.
    """
    module, known = _module(dialect), Known()
    known.enters(revert.phase)
    module.lint(expand, "", "expand", known)
    known.goes_back()
    findings = [found for each in module.lint(revert.text, revert.file, revert.phase, known) if (found := judged(each)) is not None]
    return _left(findings, revert, dialect)


def _left(findings: Iterable[Finding], script: Script, dialect: Dialect, more: Iterable[str] = (), traced: bool = False) -> list[Finding]:
    """The findings in a file, in the order of their places, without those that it allows; ``more`` are the rules that are not the dialect's."""
    module, found = _module(dialect), [*findings, *own.found(script.text, script.file, dialect)]
    # a failure is not to be allowed: nothing behind it is carried out, or looked at
    of_traces = [rule for rule in TRACED if rule != "traced-failure"] if dialect == "postgres" else []
    left = overrides.applied(found, script.text, script.file, module, (*module.RULES, own.RULE, *more, *of_traces), () if traced else of_traces)
    if any(each.rule == own.RULE for each in left):
        left = own.instead(left, script.text, module.split(script.text))
    return sorted(left, key=lambda each: (each.line, each.column))


def rules(dialect: Dialect) -> Mapping[str, str]:
    """Every rule of a dialect in one sentence, those of all dialects too."""
    of_all = {
        own.RULE: "No statement drops, renames, empties, changes or writes what is bleen's own: its ledger, and what keeps pairs in step.",
        IRREVERSIBLE: "What expand.sql does is undone by revert.sql, or by what is derived from it; else revert.sql says why not.",
        DROPS_NEW: "Contract drops no table and no column that the expand of the same migration adds, whatever it is called by then: the new version uses it.",
        MADE_AGAIN: "Contract drops nothing that it makes again by the same name: the version that serves does without it meanwhile.",
        FILLS_OLD: "A backfill fills what this release adds: what it writes over elsewhere the old version may read, and no way back restores it.",
    }
    return {**_module(dialect).RULES, **of_all, **(TRACED if dialect == "postgres" else {}), **overrides.RULES}


def _module(dialect: Dialect) -> DialectRules:
    return cast(DialectRules, importlib.import_module(f"bleen.database.rules.{dialect}"))
