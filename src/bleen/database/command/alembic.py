"""Where Alembic is, and what its ``downgrade`` would take back, by its own ``current`` and ``history``: all that builds on a revision, whoever brought it."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

_LINE = re.compile(r"^(?P<before>\S.*?)(?: \((?P<needs>[^)]*)\))? -> (?P<name>\S+?)(?P<marks>(?: \([^)]*\))*)(?:, .*)?$", re.MULTILINE)
"""A revision in what ``history`` prints: those before it, those that it depends on, its name, its labels and whether it is a head, what it does."""
_UNKNOWN = re.compile(r"Can't locate revision identified by '([^']*)'")

_NO_NAME = re.compile(r"[@:/]")
"""What the name of a revision has not, and a url has, which is not to be noted."""


class Revision(NamedTuple):
    """One that a directory has."""

    before: frozenset[str]
    needs: frozenset[str]
    labels: frozenset[str]


class Book:
    """The revisions of a directory, and which of them were run on a database."""

    def __init__(self, history: str, current: str) -> None:
        self._known = {each["name"]: _revision(each) for each in _LINE.finditer(history)}  # the newest first
        self._run = self._up_to(places(current))

    def beyond(self, goal: str, expanded: str, others: Sequence[str], before: Sequence[str] = ()) -> list[str]:
        """What a ``downgrade`` would take back that the ``upgrade`` of the same migration has not brought; ``others``: where else Alembic was sent;
        ``before``: where it was as that upgrade began, if that is known.
        """
        brought = self._brought(expanded, others) - self._up_to(before)
        return [each for each in self.taken(goal) if each not in brought]

    def only(self, own: Sequence[str]) -> str:
        """Where a ``downgrade`` goes that takes back these and no others; empty if there is no such place."""
        below = {each for name in own for each in self._known[name].before} - {*own}
        return f"{own[0]}@{min(below)}" if len(below) == 1 and self._built_on(own) == {*own} else ""

    def taken(self, goal: str) -> list[str]:
        """What a ``downgrade`` would take back, in its order; nothing if it goes to what no list tells, such as -1."""
        label, _, name = goal.rpartition("@")
        to = self._named(name)
        if name != "base" and not to:
            return []
        roots = [each for each in self._run if (to in self._known[each].before if to else not self._known[each].before)]
        if label and len(roots) > 1:
            roots = [each for each in roots if any(on == label or label in self._known[on].labels for on in self._built_on([each]))]
        gone = self._built_on(roots)
        return [each for each in self._known if each in gone]

    def _brought(self, goal: str, others: Sequence[str]) -> set[str]:
        """What an ``upgrade`` has run, where ``others`` were run as well; nothing if the directory does not have it."""
        name = goal.rpartition("@")[2]
        to = self._named(name)
        if not to and name not in ("head", "heads") and "+" not in name and not any(name in each.labels for each in self._known.values()):
            return set()
        mine = self._up_to([to]) if to else set(self._run)
        earlier = {found for each in others if (found := self._named(each.rpartition("@")[2])) != to and found in mine}
        return mine - self._up_to(earlier)

    def _named(self, name: str) -> str:
        """The whole name of a revision that is named by its beginning; empty if it is none, or not one."""
        found = [name] if name in self._known else [each for each in self._known if name and each.startswith(name)]
        return found[0] if len(found) == 1 else ""

    def _up_to(self, names: Iterable[str]) -> set[str]:
        """These, and what comes before them."""
        return _reached([name for name in names if name in self._known], lambda name: self._known[name].before | self._known[name].needs & self._known.keys())

    def _built_on(self, names: Iterable[str]) -> set[str]:
        """These, and what was run on top of them."""
        return _reached(names, lambda name: [each for each in self._run if name in self._known[each].before | self._known[each].needs])


def goal(argv: Sequence[str]) -> str:
    """The revision to which a command goes; empty if it is no ``upgrade`` or ``downgrade`` of Alembic's."""
    behind = iter(argv[at + 1 :] if (at := _verb(argv)) else ())
    for word in behind:
        if word == "--tag":
            next(behind, None)
        elif not word.startswith("--"):
            return word
    return ""


def places(current: str) -> list[str]:
    """The revisions in what ``current`` prints, and perhaps words of env.py, which may print, too."""
    return [word for line in current.splitlines() for word in line.split()[:1] if not _NO_NAME.search(word)]


def sent(argv: Sequence[str], goal: str) -> list[str]:
    """The command that goes somewhere else."""
    return [*argv[: _verb(argv) + 1], goal]


def asking(argv: Sequence[str], verb: str) -> list[str]:
    """The command that only asks something, where another one changes something."""
    return [*argv[: _verb(argv)], verb]


def printing(argv: Sequence[str], contract: str) -> list[str] | None:
    """The command that prints the SQL up to a contract's revision, from an ``upgrade BEFORE:EXPAND --sql``; None if it is none."""
    before, apart, _ = (span := goal(argv)).partition(":")
    at = argv.index(span) if contract and apart and "--sql" in argv else 0
    return [*argv[:at], f"{before}:{contract}", *argv[at + 1 :]] if at else None


def unknown(said: str) -> str:
    """The revision that the directory does not have, as Alembic says when it fails; empty if that is not why."""
    return found[1] if (found := _UNKNOWN.search(said)) else ""


def _verb(argv: Sequence[str]) -> int:
    """Where it says what Alembic is to do; 0 if it is not Alembic, or neither of the two."""
    tool = next((at for at, word in enumerate(argv) if word == "alembic" or word.endswith("/alembic")), len(argv))
    return next((at for at in range(tool + 1, len(argv)) if argv[at] in ("upgrade", "downgrade")), 0)


def _revision(line: re.Match[str]) -> Revision:
    before = line["before"].split(", ")
    labels = line["marks"].replace(") (", ", ").strip(" ()").split(", ")
    return Revision(frozenset({*before} - {"<base>"}), frozenset((line["needs"] or "").split(", ")), frozenset(labels))


def _reached(names: Iterable[str], step: Callable[[str], Collection[str]]) -> set[str]:
    found, left = set[str](), [*names]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += step(name)
    return found
