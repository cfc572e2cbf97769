"""What Django's ``migrate`` is about to do, by its own ``--plan``: it goes to a state, over all that lies between, of other apps too, and backwards as well."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_VALUED = ("--database", "--settings", "--pythonpath", "--verbosity", "-v")
"""Options that take the next word."""
_HEADING = re.compile(r"^(\w+\.\w+)\s*$", re.MULTILINE)
"""A migration in what ``--plan`` prints; what it does is indented below."""

_LOST = re.compile(r"NodeNotFoundError|More than one migration matches|Cannot find a migration matching")


class Goal(NamedTuple):
    """The state to which a command goes."""

    app: str
    """Empty: every app."""
    name: str
    """The beginning of a migration's name, or ``zero``; empty: the newest."""

    def among(self, planned: Sequence[str]) -> int:
        """Where its migration is among those of a plan; -1 if it is not one of them."""
        return next((at for at, each in enumerate(planned) if self.name and each.startswith(f"{self.app}.{self.name}")), -1)

    def beyond(self, planned: Sequence[str], brought: Sequence[str] | None = None) -> list[str]:
        """What a plan takes back that is not of a migration which went here, and then has ``brought`` that; where nobody has noted it: all that lies behind
        it, or in other apps.
        """
        if brought is not None:
            return [each for each in planned if each not in brought]
        if self.name:
            return [*planned[: max(self.among(planned), 0)]]
        return [each for each in planned if self.app and not each.startswith(f"{self.app}.")]

    def ahead(self, planned: Sequence[str]) -> bool:
        """Whether a plan takes migrations back: on the way up to a migration, that is part of it, on the way down it is where it ends."""
        return bool(planned and self.name) and self.among(planned) < 0


def only(argv: Sequence[str], planned: Sequence[str], gone: Sequence[str]) -> list[str]:
    """The ``migrate`` that takes back what a plan does before it comes to ``gone``; empty if no state of the app is between the two."""
    own = planned[: len(planned) - len(gone)]
    app, _, name = gone[0].partition(".")
    apart = own and [*own, *gone] == [*planned] and all(each.startswith(f"{app}.") for each in planned)
    return [*argv[: argv.index("migrate") + 1], app, name] if apart else []


def goal(argv: Sequence[str]) -> Goal | None:
    """That of a command, if it is Django's ``migrate``."""
    return Goal(*(*_arguments(argv, "migrate"), "", "")[:2]) if _is(argv, "migrate") else None


def apart(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two commands go along the lines of two apps, each of its own."""
    apps = [found.app if (found := goal(each)) else "" for each in (one, other)]
    return all(apps) and len({*apps}) == 2


def plan(argv: Sequence[str]) -> list[str]:
    """The command that says what a ``migrate`` would do."""
    return [*argv, "--plan", "--no-color"]


def planned(text: str) -> list[str]:
    """The migrations in what that prints, as ``app.name``, in the order in which they are run."""
    return _HEADING.findall(text.partition("Planned operations:")[2])  # settings may print, too


def printing(argv: Sequence[str], migration: str) -> list[str] | None:
    """The command that prints the SQL of another migration, from a ``sqlmigrate`` of one; None if it is none."""
    if not _is(argv, "sqlmigrate") or len(said := _arguments(argv, "sqlmigrate")) != 2:
        return None
    at = next(n for n in range(argv.index("sqlmigrate"), len(argv)) if [*argv[n : n + 2]] == said)
    return [*argv[:at], *migration.split(".", 1), *argv[at + 2 :]]


def lost(said: str) -> bool:
    """Whether Django does not find a migration, or finds two, by what it says as it fails."""
    return bool(_LOST.search(said))


def _is(argv: Sequence[str], command: str) -> bool:
    before = argv[: argv.index(command)] if command in argv else ()
    return any(word.endswith(("manage.py", "django-admin")) or word == "django" for word in before)


def _arguments(argv: Sequence[str], command: str) -> list[str]:
    """The words behind a command that are no options."""
    found, words = list[str](), iter(argv[argv.index(command) + 1 :])
    for word in words:
        if word in _VALUED:
            next(words, None)
        elif not word.startswith("-"):
            found.append(word)
    return found
