"""What a revert.sql does beyond undoing its expand: it runs while the old version serves, and what was there before stays."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bleen.database import reverting
from bleen.database.importing import Names, read
from bleen.database.migration import says
from bleen.database.reverting_names import Thing, taken
from bleen.database.rules import Finding, Script, lint_back
from bleen.database.statements import Dialect, Statement, Unreadable, split

_PUTS_BACK = frozenset("set-not-null set-default drop-default not-null-in-expand replaces revoke row-security trigger-state alter-constraint".split())
"""Rules that what was there before an expand may break again, where that changed it; not those of what is lost, or of how long something is locked."""
_ALIKE = {"VIEW": "TABLE", "FUNCTION": "ROUTINE", "PROCEDURE": "ROUTINE", "DOMAIN": "TYPE"}
_PARTS = ("COLUMN", "CONSTRAINT", "TRIGGER", "POLICY")
"""They have their names within a table."""
_ROWS = re.compile(r"(?:INSERT(?:\s+\w+)?\s+INTO|REPLACE\s+INTO|DELETE\s+FROM(?:\s+ONLY)?)\s+([^\s(;]+)", re.IGNORECASE)


def lint(expand: str, revert: str, folder: str, dialect: Dialect) -> list[Finding]:
    """The findings in a revert.sql; none if there is nothing in it, or if one of the two cannot be read, which others say."""
    try:
        if not says(revert):
            return []
        statements, ours, filled = split(revert, dialect), _made(expand, dialect), _filled(expand, dialect)
        derived, touched = reverting.derived(expand, dialect).statements, _touched(split(expand, dialect), dialect)
    except Unreadable:
        return []

    def undoes(finding: Finding) -> bool:
        it = _at(finding, statements)
        if f"{it.text};" in derived:
            return True
        if finding.rule in _PUTS_BACK:
            back = _touched([it], dialect)
            return bool(back) and all(any(_same(each, other) for other in touched) for each in back)
        if finding.rule == "drop-in-expand":
            things = taken(it.text, dialect)
            return things is not None and {*map(_alike, things)} <= ours
        return finding.rule == "delete-in-expand" and _rows_of(it) in filled

    return lint_back(expand, Script(revert, str(Path(folder, "revert.sql")), "expand"), dialect, undoes)


def _at(finding: Finding, statements: list[Statement]) -> Statement:
    """The statement that a finding is in."""
    return [each for each in statements if each.at <= (finding.line, finding.column)][-1]


def _touched(statements: Sequence[Statement], dialect: Dialect) -> set[Names]:
    """What statements make, drop, or change of what was there before; of one that cannot be read nothing is known."""
    found = set[Names]()
    for each in statements:
        with suppress(Unreadable):
            found.update(*((*part.makes, *part.brings, *part.drops) for part in read(each.text, dialect)[0]), _changes(each.text, dialect))
    return found if dialect == "postgres" else {tuple(name.lower() for name in names) for names in found}


def _changes(text: str, dialect: Dialect) -> Iterator[Names]:
    if dialect == "postgres":
        from bleen.database import changes_postgres

        return changes_postgres.changes(text)
    from bleen.database import changes_tokens

    return changes_tokens.changes(text, dialect)


def _same(one: Names, other: Names) -> bool:
    """Whether two may be the same thing: where a schema stands before one of them only, nobody knows which is meant by the other."""
    shared = min(len(one), len(other)) - 1
    return one[0] == other[0] and one[len(one) - shared :] == other[len(other) - shared :]


def _made(expand: str, dialect: Dialect) -> set[Thing]:
    """What an expand says that it makes, IF NOT EXISTS and OR REPLACE too: of those nobody else knows what there was before."""
    undone = {_alike(thing) for each in reverting.derived(expand, dialect).statements for thing in taken(each, dialect) or ()}
    return undone | {_brought(what.upper(), names) for part in read(expand, dialect)[0] for what, *names in (*part.makes, *part.brings)}


def _brought(kind: str, names: list[str]) -> Thing:
    own = [each.lower() for each in names if not each.startswith("(")]
    return _alike(Thing(kind, tuple(own[-2:] if kind in _PARTS else own[-1:])))


def _alike(thing: Thing) -> Thing:
    return thing._replace(kind=_ALIKE.get(thing.kind, thing.kind))


def _filled(expand: str, dialect: Dialect) -> set[str]:
    """The tables that an expand puts rows into: revert.sql may take rows out of them again."""
    return {_rows_of(each) for each in split(expand, dialect)} - {""}


def _rows_of(statement: Statement) -> str:
    """The table of an INSERT or a DELETE, in lower case and without what qualifies it; empty if the statement is neither."""
    found = _ROWS.match(statement.text)
    return found[1].split(".")[-1].strip('"`').lower() if found else ""
