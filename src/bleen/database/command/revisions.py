"""What a command takes along: most tools have one line of revisions, and go to a place on it wherever the database is."""

import hashlib
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from bleen.database import importing
from bleen.database.command import HALVES, Half, alembic, django, words
from bleen.database.command.home import Home
from bleen.database.command.running import asked
from bleen.database.migration import Migration
from bleen.database.server import Server
from bleen.errors import Refused, UserError


def overtaken(migration: Migration, others: Sequence[Migration], across: bool = False) -> list[str]:
    """Those of earlier migrations, in their order, whose contract command is still to be run which a tool with one line of revisions would run with this
    expand. ``across``: of Django's other apps too, which it runs where this one needs them; ``straight`` asks it for those.
    """
    if not migration.command.expand or migration.command.branched:
        return []
    ours = migration.command.expand
    ahead = [m for m in others if m.command.contract and (across or not django.apart(ours, m.command.contract)) and not _of_two(ours, m.command.contract)]
    earlier = sorted((m for m in ahead if m.number < migration.number), key=lambda m: m.number)
    return list(dict.fromkeys(m.name for m in earlier))


def _of_two(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two commands are of two tools, that each keep a book of their own."""
    return bool((django.goal(one) and alembic.goal(other)) or (alembic.goal(one) and django.goal(other)))


def overtakes(migration: Migration, earlier: Sequence[str], new: Collection[str] = (), ships: Collection[str] | None = None) -> str:
    """Why an expand has to wait for contracts. ``new``: what comes with it; ``ships``: what its version knows, which no contract of another can wait for."""
    names, way = ", ".join(earlier), "contract first"
    if new and {*earlier} <= {*new}:
        way = f"release a version first that ships {names} and not {migration.name}, and contract it"
    elif lacks := [each for each in earlier if ships is not None and each not in ships]:
        way = f"`bleen migrate revert {lacks[-1]}` first, as this version does not ship it (after a rollback, say), or let it ship that, and contract first"
    tool, apart = "a tool with one line of revisions", ", or say branched = true in [command] if its revisions are in a branch of their own"
    if django.goal(migration.command.expand):
        tool, apart = "Django", ""
    return f"{migration.name}: the contract of {names} is pending, and {tool} would run it now; {way}{apart}"


def upon(migration: Migration, others: Sequence[Migration]) -> str:
    """The newest of later migrations that goes along when the command of this one goes back, as far as the words tell: the same tool has one line of them,
    and Django one an app. Empty if there is none. Of Alembic, which has branches, ``straight`` asks what builds on what, but for a step such as -1.
    """
    ours = migration.command.expand
    told = alembic.goal(ours) and (to := alembic.goal(migration.command.revert)) and not to.rpartition("@")[2].startswith("-")
    for other in reversed(others):
        theirs = other.command.expand
        if ours and theirs[:1] == ours[:1] and not django.apart(ours, theirs) and not (told and alembic.goal(theirs)):
            return other.name
    return ""


class Standing(NamedTuple):
    """What a command finds of its tool's as its half begins."""

    note: Mapping[str, Any] = {}
    """What was there, or what was not, as the tool itself says."""
    idle: str = ""
    """Why it is not to be run, as there is nothing for it to do; empty if it is."""


def straight(server: Server, migration: Migration, half: Half, home: Home, others: Sequence[Migration] = (), noted: Mapping[str, Any] = {}) -> Standing:
    """Raises Refused for a ``migrate`` of Django's that would take away what its revert is not about: it goes to a state, wherever the database is. So does a
    ``downgrade`` of Alembic's; and what its directory does not have, it cannot go from. Nor does a ``migrate`` run a contract on its way.
    ``others``: what else is on the database. ``noted``: what this gave before the expand.
    """
    argv, planned = words(migration, half), _planned(server, migration, half, home)
    current = _current(server, migration, half, home, others) if alembic.goal(argv) else ""
    if half == "revert":
        return _back(server, migration, home, others, noted, planned, current)
    goal = django.goal(argv)
    if goal and goal.ahead(planned):
        would = f"{migration.name}: {half}, `{shlex.join(argv)}` would take back {', '.join(planned)}"
        return Standing({"brings": []}, f"{would}: the database has come further already, and it is not run")
    due = [m.name for m in others if half == "expand" and (by := django.goal(words(m, "contract"))) and by.among(planned) >= 0]
    if due:
        raise Refused(overtakes(migration, due))
    return Standing({"at": alembic.places(current)} if alembic.goal(argv) else {"brings": planned} if goal else {})


def _back(
    server: Server, migration: Migration, home: Home, others: Sequence[Migration], noted: Mapping[str, Any], planned: Sequence[str], current: str
) -> Standing:
    """What ``straight`` says of a revert, of which Django has ``planned`` this, or Alembic is at ``current``."""
    argv, upgrade = words(migration, "revert"), words(migration, "expand")
    taken, gone, only, strange = planned, list[str](), list[str](), False
    if to := alembic.goal(argv):
        book = alembic.Book(_history(server, migration, home), current)
        sent = [alembic.goal(words(m, each)) for m in others for each in HALVES if each != "revert"]
        taken, gone = book.taken(to), book.beyond(to, alembic.goal(upgrade), sent, noted.get("at", ()))
        only = alembic.sent(argv, place) if gone and (place := book.only([each for each in taken if each not in gone])) else []
    elif goal := django.goal(upgrade):
        gone = goal.beyond(planned, noted.get("brings"))
        only = django.only(argv, planned, gone) if gone else []
        strange = bool(noted.get("brings")) and goal.among(gone) >= 0  # it has come there itself, by a migration that had another name then
    known = bool(noted.keys() & {"at", "brings"})
    would = f"{migration.name}: revert, `{shlex.join(argv)}` would take back {', '.join(gone)}"
    if known and gone and gone == taken and not strange:
        return Standing(idle=f"{would}, and its expand has brought nothing of that: it is not run, and what was there before stays")
    if gone:
        goals = {alembic.goal(words(m, "expand")).rpartition("@")[2]: m.name for m in others}
        by = next((goals[each] for each in gone if each in goals), "")
        way = f"`bleen migrate revert {by}` first" if by else "take that back first, by the migration that brought it, or by hand"
        way = f"take only its own back by hand, `{shlex.join(only)}`, then revert again" if only and known else way
        raise Refused(f"{would} too, and what they hold: {way}")
    return Standing()


def placed(server: Server, migrations: Sequence[Migration], home: Home | None, others: Sequence[Migration]) -> None:
    """Raises Refused if the database is at a revision of Alembic's that a version does not have. One of its migrations asks for all."""
    first = next((m for m in migrations if alembic.goal(words(m, "expand"))), None)
    if first and home:
        _current(server, first, "expand", home, others)


def fitting(server: Server, migration: Migration, homes: Sequence[Home]) -> Home:
    """The first home that has the revision of Alembic's at which the database is: after a rollback, what serves does not. Else the first."""
    half = next((half for half in HALVES if alembic.goal(words(migration, half))), None)
    for home in homes if half and len(homes) > 1 else ():
        with suppress(Refused):
            _current(server, migration, half or "expand", home, ())
            return home
    return homes[0]


def _current(server: Server, migration: Migration, half: Half, home: Home, others: Sequence[Migration]) -> str:
    """What Alembic says of where the database is. Raises Refused if that is nowhere in the files of the version."""
    argv = words(migration, half)
    try:
        return asked(server, migration, half, alembic.asking(argv, "current"), home)
    except UserError as error:
        if not (lost := alembic.unknown(str(error))):
            raise Refused(str(error)) from None
    brought = next((m.name for m in others if lost == alembic.goal(words(m, "expand")).rpartition("@")[2]), "")
    way = f"have the files of a version in place that has it, then `bleen migrate {half} {migration.name}`"
    if half == "expand":
        way = f"{f'`bleen migrate revert {brought}`' if brought else 'take that back by hand'}, or ship that revision too and build on it"
    at = f"the database is at revision {lost}{f' ({brought})' if brought else ''}, which is not among the files of {home.version} ({home.directory})"
    raise Refused(f"{migration.name}: {half}, `{shlex.join(argv)}`: {at}; {way}")


def _history(server: Server, migration: Migration, home: Home) -> str:
    """What Alembic says of the revisions in the files of a version."""
    try:
        return asked(server, migration, "revert", alembic.asking(words(migration, "revert"), "history"), home)
    except UserError as error:
        raise Refused(str(error)) from None


def would_run(server: Server, migration: Migration, home: Home) -> list[str]:
    """What Django would run for an expand; nothing if that is no command of its, or if the database has come as far, or further."""
    planned, goal = _planned(server, migration, "expand", home), django.goal(words(migration, "expand"))
    return [] if goal and goal.ahead(planned) else planned


def _planned(server: Server, migration: Migration, half: Half, home: Home) -> list[str]:
    """What Django would run, or take back, for a half; nothing if that is no command of its."""
    argv = words(migration, half)
    if django.goal(argv) is None:
        return []
    try:
        return django.planned(asked(server, migration, half, django.plan(argv), home))
    except UserError as error:
        raise Refused(str(error)) from None


def books(server: Server) -> str:
    """Another one whenever a tool has noted something in a book that is known; empty where there is none, or nobody may read it."""
    there = [book for book in importing.BOOKS if server.columns(book)]
    try:
        noted = [sorted(map(repr, server.rows(f"SELECT * FROM {book}"))) for book in there]
    except Refused:
        return ""
    return hashlib.sha256(repr(noted).encode()).hexdigest()[:16] if there else ""
