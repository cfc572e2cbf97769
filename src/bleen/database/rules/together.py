"""What no statement of a migration is wrong with by itself: a contract that takes away what its own expand adds, as the down half of an up/down file does, or
what it makes again itself, and a backfill that writes over what no expand of its release adds.

Contract and expand only within one migration: a database that is new gets all migrations at once, and a later one may well drop what an earlier one added.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from bleen.database.deeds import Names, Part, read, same
from bleen.database.rules.findings import Severity
from bleen.database.statements import Dialect, Place, Unreadable


def dropped_new(expands: Sequence[str], contract: str, dialect: Dialect) -> list[tuple[Place, str]]:
    """Where a contract drops a table or a column that the expand adds, by the name that it has then, and why it must not. What cannot be read is for the
    rules of its own file.
    """
    takes = list[tuple[Place, tuple[str, ...], bool]]()
    try:
        made = _made(expands, dialect, perhaps=True)
        for part in read(contract, dialect)[0]:
            for thing in part.drops:
                whole = [_folded(each, dialect) for each in (thing, *_whole(thing))]
                if alike := [(it, each) for each in made for it in whole if same(it, _folded(each, dialect))]:
                    takes.append((part.statement.at, thing, any(len(each) == len(it) for it, each in alike)))
            made = part.leaves(made) - {*part.makes}
    except Unreadable:
        return []
    why = "which expand.sql of this migration adds, with all that the new version wrote there; what undoes expand.sql is revert.sql"
    other = "; if these are two, of two schemas, say the schema of each"  # where a name without one is looked for, the search_path says
    return [(at, f"drops the {kind} {'.'.join(names)}, {why}{'' if plain else other}") for at, (kind, *names), plain in takes if kind in ("table", "column")]


_ALIKE = {"view": "table", "function": "routine", "procedure": "routine"}
_PARTS = ("column", "constraint", "trigger", "policy", "rule")
"""Of a table, whose name goes before their own where a statement says it."""
_MISSED = ("table", "column", "routine", "sequence", "type")
"""What statements fail without. While a trigger or a CHECK is not there, something else is done or let through."""
_PERHAPS = re.compile(r"\bIF\s+EXISTS\b", re.IGNORECASE)
"""Scripts say it of what is new too, so that they may run twice; only the database knows."""
_KEY = r"""CONSTRAINT\s+"?{}"?\s+(UNIQUE|PRIMARY|EXCLUDE)\b"""


def made_again(contract: str, dialect: Dialect) -> list[tuple[Place, Severity, str]]:
    """Where a contract drops what it makes again by the same name, and what that does to the version that serves: each statement is a transaction."""
    found: list[tuple[Place, Severity, str]] = []
    made: set[Names] = set()
    gone: list[tuple[Part, Names]] = []
    try:
        for _, statement in groupby(read(contract, dialect)[0], key=lambda part: part.statement.offset):
            parts = list(statement)
            gone += [(part, thing) for part in parts for thing in part.drops if not _new(thing, made)]
            for thing in {each: None for part in parts for each in (*part.makes, *part.brings, *(new for _, new in part.renames if new[0] == "table"))}:
                for was, dropped in [each for each in gone if same(_kindred(each[1], dialect), _kindred(thing, dialect))]:
                    gone.remove((was, dropped))
                    if not (dialect == "sqlite" and dropped[0] == thing[0] == "table"):  # of which its own rules tell
                        found += _gap(was, dropped, parts[0], dialect)
            for part in parts:
                made = part.leaves(made)
    except Unreadable:
        return []
    return found


def _new(thing: Names, made: set[Names]) -> bool:
    """Whether it, or the table that it is part of, is."""
    return any(same(each, other) for each in (thing, *_whole(thing)) for other in made)


def _whole(thing: Names) -> list[Names]:
    """The table that it is part of, if it is of one."""
    return [("table", *thing[1:-1])] if thing[0] in _PARTS and len(thing) > 2 else []


def _kindred(thing: tuple[str, ...], dialect: Dialect) -> tuple[str, ...]:
    """With one kind for all that have their names from one another."""
    kind, *names = _folded(thing, dialect)
    return _ALIKE.get(kind, kind), *names


def _gap(was: Part, dropped: tuple[str, ...], again: Part, dialect: Dialect) -> list[tuple[Place, Severity, str]]:
    """What it means that something is dropped and made again: for an index a warning, as it may only be slow."""
    (kind, *names), words = dropped, was.text.upper().split()
    query = words[1:3] == ["MATERIALIZED", "VIEW"]
    view, rows = query or words[1:2] == ["VIEW"], kind in ("table", "column")
    name = f"the {'view' if view else kind} {'.'.join(names).replace('.(', '(').removesuffix('(?)')}"
    at_once = was.statement.offset == again.statement.offset
    told = f"drops {name} and makes it again" if at_once else f"drops {name}, which line {again.statement.at.line} makes again"
    none = "; where there is none, leave this DROP out" if _PERHAPS.search(was.text) else ""
    other = f"make the new one in expand, under another name, and drop this one here{none}"
    if at_once and kind in ("index", "constraint"):
        return []
    if kind == "constraint" and re.search(_KEY.format(re.escape(names[-1])), again.statement.text, re.IGNORECASE):
        lacks = "ON CONFLICT over it fails until then, and a duplicate that gets in keeps it from being made again"
        way = "build the index CONCURRENTLY under another name, then say DROP CONSTRAINT and ADD CONSTRAINT ... USING INDEX in one ALTER TABLE"
        return [(was.statement.at, "error", f"{told}: {lacks}; {way}{none}")]
    if kind == "policy":
        lacks = "until then it lets nobody read or write the rows that it is to let through, or keeps nobody from those that it is to keep back"
        way = f"say ALTER POLICY, or make the new one under another name, and then drop this one{none}"
        return [(was.statement.at, "error", f"{told}: {lacks}; {way}")]
    if kind == "index":
        return [(was.statement.at, "warn", f"{told}: until then queries are slow, and fail where they count on it being unique; {other}")]
    if _ALIKE.get(kind, kind) not in _MISSED:
        return []
    fails = "" if at_once else "what the version that serves does with it fails until then"
    loses = "what it holds is lost" if rows and not view else "who may use it is forgotten" if dialect == "postgres" else ""
    replace = "say CREATE OR REPLACE, or " if dialect != "sqlite" and not query and (view or kind in ("routine", "function", "procedure")) else ""
    return [(was.statement.at, "error", f"{told}: {', and '.join(filter(None, (fails, loses)))}; {replace}{other}")]


def filled_old(expands: Sequence[str], backfill: str, dialect: Dialect) -> list[tuple[Place, str]]:
    """Where a backfill sets columns that no expand adds, so that the old version may read them, and what that means."""
    found = list[tuple[Place, str]]()
    try:
        made = [_folded(each, dialect) for each in _made(expands, dialect)]
        for part in read(backfill, dialect)[0]:
            if part.fill is None or any(same(_folded(("table", *part.fill.names), dialect), each) for each in made):
                continue
            writes = [name for name, to in part.fill.set.items() if name and to.expression.strip('`"[]').lower() != name.lower()]  # a = a keeps it
            things = {name: _folded(("column", *part.fill.names, name), dialect) for name in writes}
            if old := [name for name, thing in things.items() if not any(same(thing, each) for each in made)]:
                what = f"writes over {', '.join(old)} of {part.fill.table}, which no expand of this release adds"
                found.append((part.statement.at, f"{what}: the old version may read it, and revert does not bring back what was there; fill a new column"))
    except Unreadable:
        return []
    return found


def _made(expands: Sequence[str], dialect: Dialect, perhaps: bool = False) -> set[tuple[str, ...]]:
    """What is new once they have run, or ``perhaps`` is, as a table that is made IF NOT EXISTS. Raises Unreadable."""
    made = set[tuple[str, ...]]()
    for text in expands:
        for part in read(text, dialect)[0]:
            made = part.leaves(made) | {each for each in part.brings if perhaps and "TABLE" in part.text.upper().split()[:4]}
    return made


def _folded(names: tuple[str, ...], dialect: Dialect) -> tuple[str, ...]:
    """Those of PostgreSQL are, but where their case is meant."""
    return names if dialect == "postgres" else tuple(each.lower() for each in names)
