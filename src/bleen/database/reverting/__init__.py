"""What undoes an expand, made from the expand itself where its text says enough: a column that was added is dropped, newest first.

``revert.sql`` goes before it: whoever writes one says it better. An expand that neither undoes must say so, in a revert.sql that holds nothing but

    -- bleen: irreversible REASON
"""

import re
from pathlib import Path
from typing import NamedTuple

from bleen.database.migration import Migration, says
from bleen.database.rules.findings import IRREVERSIBLE, Finding
from bleen.database.statements import Dialect, Place, Unreadable, place, split

MARK = f"-- bleen: {IRREVERSIBLE}"
HOW = f"say in revert.sql how it is undone, or that it is not: `{MARK} REASON`"
_REASON = re.compile(r"^[ \t]*--[ \t]*bleen:[ \t]*irreversible\b[ \t]*(.*)$", re.MULTILINE)


_NAME = r"""(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?((?:"[^"]+"|`[^`]+`|[\w$])(?:\.?(?:"[^"]+"|`[^`]+`|[\w$]))*)"""
_ALTER_TABLE = re.compile(rf"^\s*ALTER\s+TABLE\s+{_NAME}", re.IGNORECASE)


class Stays(NamedTuple):
    """A part of an expand that cannot be undone from its text."""

    at: Place
    why: str


class Revert(NamedTuple):
    """What undoes an expand: statements with their semicolons, in the order in which they are to run, and what they leave undone."""

    statements: list[str]
    stays: list[Stays]

    @property
    def text(self) -> str:
        return "".join(f"{each}\n" for each in self.statements)


class Undo(NamedTuple):
    """What undoes a part of a statement. ``kind``: column, constraint, index or anything else; ``on``: the table that it is part of, as it is written."""

    kind: str
    on: str
    text: str


class Beyond(Exception):
    """A statement cannot be undone from its text; ``str()`` says why."""


def derived(text: str, dialect: Dialect) -> Revert:
    """What undoes the statements of an expand. Each leaves alone what is not there, where the dialect can say so, as an expand may have stopped half way.

    A text that cannot be read is left to the linter: nothing of it stays, and nothing undoes it.
    """
    try:
        undone, stays = _undone(text, dialect)
    except Unreadable:
        return Revert([], [])
    backwards = list(dict.fromkeys(undone[::-1]))
    return Revert([each.text for each in (_together(backwards) if dialect == "postgres" else backwards)], stays)


def takes(text: str, dialect: Dialect) -> bool:
    """Whether statements take something away, or change what was there: their text does not say how to undo it."""
    try:
        return bool(_undone(text, dialect)[1])
    except Unreadable:
        return True


def _undone(text: str, dialect: Dialect) -> tuple[list[Undo], list[Stays]]:
    """Raises Unreadable."""
    undone: list[Undo] = []
    stays: list[Stays] = []
    if dialect == "postgres":
        from bleen.database.reverting import postgres

        postgres.undo(text, undone, stays)
    else:
        from bleen.database.reverting import tokens

        tokens.undo(text, dialect, undone, stays)
    return undone, stays


def revert(migration: Migration, dialect: Dialect) -> str:
    """The SQL that undoes a migration's expand: its revert.sql, or what is derived. Empty if nothing does, or nothing has to be done."""
    return migration.sql("revert") if migration.holds("revert") else derived(migration.sql("expand"), dialect).text


def irreversible(text: str) -> str:
    """The reason that a revert.sql gives for why there is no way back; empty if there is one, or no reason."""
    found = None if says(text) else _REASON.search(text)
    return found[1].strip() if found else ""


def lint(expand: str, revert: str, folder: str, dialect: Dialect) -> list[Finding]:
    """Why an expand has no way back: what its text does not undo and its revert.sql leaves open, or says in a way that cannot be read. None if there is a
    way, or if it is declared that there is none. ``folder`` is said in front of the names of the files.
    """
    wrong = _unfit(revert, dialect)
    if wrong:
        at, why = wrong
        return [Finding(str(Path(folder, "revert.sql")), at.line, at.column, IRREVERSIBLE, "error", why)]
    if says(revert) or irreversible(revert):
        return []
    file = str(Path(folder, "expand.sql"))
    return [Finding(file, at.line, at.column, IRREVERSIBLE, "error", f"{why}; {HOW}") for at, why in derived(expand, dialect).stays]


def altered(statement: str) -> str:
    """The table that a statement alters, as it is written there; empty if it alters none."""
    found = _ALTER_TABLE.search(statement)
    return found[1] if found else ""


def _unfit(revert: str, dialect: Dialect) -> Stays | None:
    """What is wrong with a revert.sql as it is written."""
    if says(revert):
        try:
            split(revert, dialect)
        except Unreadable as error:
            return Stays(error.at, f"cannot be read: {error}")
    elif (found := _REASON.search(revert)) and not found[1].strip():
        return Stays(place(revert, found.start()), f"says no reason: write `{MARK} REASON`")
    return None


def _together(undone: list[Undo]) -> list[Undo]:
    """Columns of a table that only its indexes and constraints stand between go next to each other, as a pair of two-way sync ends with all of its columns.

    For PostgreSQL, where what belongs to a column goes with it, and is not missed afterwards.
    """
    made: list[Undo] = []
    for each in undone:
        at = len(made)
        while each.kind == "column" and at and made[at - 1].kind in ("index", "constraint") and made[at - 1].on == each.on:
            at -= 1
        beside = at and made[at - 1].kind == "column" and made[at - 1].on == each.on
        made.insert(at if beside else len(made), each)
    return made
