"""What a revert.sql does beyond undoing its expand: it runs while the old version serves, and what was there before stays."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bleen.database import reverting
from bleen.database.importing import Names, read, same
from bleen.database.migration import says
from bleen.database.picking import picks
from bleen.database.reverting_names import taken_whole
from bleen.database.rules import Finding, Script, lint_back
from bleen.database.statements import Dialect, Statement, Unreadable, split

_PUTS_BACK = frozenset("set-default drop-default not-null-in-expand replaces revoke row-security trigger-state alter-constraint".split())
"""Rules that what was there before an expand may break again, where that changed it; not those of what is lost, or of how long something is locked."""
_LATER = re.compile(r"[;,] (?:[^;]* in|and any other trigger to) contract\b.*$", re.DOTALL)
_OTHER_FILE = re.compile(r"^-- (?:expand|backfill|contract)\.sql$", re.MULTILINE)
_ALIKE = {"view": "table", "function": "routine", "procedure": "routine"}


class _Part(NamedTuple):
    """What statements do, by name."""

    makes: set[Names]
    takes: set[Names]
    changes: set[Names]
    """Of what was there before."""

    @property
    def whole(self) -> set[Names]:
        return self.makes | self.takes | self.changes


def lint(expand: str, revert: str, folder: str, dialect: Dialect) -> list[Finding]:
    """The findings in a revert.sql; none if there is nothing in it, or if one of the two cannot be read, which others say."""
    try:
        if not says(revert):
            return []
        statements, done, derived = split(revert, dialect), split(expand, dialect), reverting.derived(expand, dialect).statements
    except Unreadable:
        return []
    parts = [_part(each.text, dialect) for each in done]
    made = {name for each in parts for name in each.makes} | {name for each in derived for name in _part(each, dialect).takes}
    touched = made | {name for each in parts for name in each.whole}

    def judged(finding: Finding) -> Finding | None:
        it = _at(finding, statements)
        if finding.rule == "attach-partition":  # a table that was there before goes with the new one that it was attached to
            return finding
        back = _part(it.text, dialect)
        if f"{it.text};" in derived or (finding.rule == "holds-the-old-version" and _holds_again(back, touched)):
            return None
        if not (back.whole and _among(back.takes, made) and _among(back.whole, touched)):
            return _beyond(finding)
        if finding.rule == "set-not-null":  # it may, and there is a way that locks nobody out
            return finding._replace(fix=finding.fix.removeprefix("-- contract.sql\n"))
        if finding.rule == "delete-in-expand":
            puts = [each.text for each, part in zip(done, parts, strict=True) if _among(back.changes, part.changes)]
            return None if picks(it.text, puts, dialect) else finding._replace(message=f"{_LATER.sub('', finding.message)}; {_PICK}", fix="")
        undoes = finding.rule in _PUTS_BACK or (finding.rule == "drop-in-expand" and back.takes)
        return None if undoes else _beyond(finding)

    return lint_back(expand, Script(revert, str(Path(folder, "revert.sql")), "expand"), dialect, judged)


_PICK = "say by = and IN which rows are its own, with values of the columns that an INSERT (...) VALUES of expand.sql names, its first one among them"


def _beyond(finding: Finding) -> Finding:
    """No contract comes after a revert: what is right only there is not done at all."""
    told, elsewhere = _LATER.sub("", finding.message), _OTHER_FILE.search(finding.fix)
    if told == finding.message and not elsewhere:
        return finding
    return finding._replace(message=f"{told}; expand.sql did not make this, and a revert leaves what was there before: take it out", fix="")


def _holds_again(back: _Part, touched: set[Names]) -> bool:
    """Whether a constraint is one that the expand dropped, or the CHECK with which a column is NOT NULL again that the expand let be NULL."""
    return len(back.makes) == 1 and _among(back.changes or back.makes, touched)


def _at(finding: Finding, statements: list[Statement]) -> Statement:
    """The statement that a finding is in."""
    return [each for each in statements if each.at <= (finding.line, finding.column)][-1]


def _part(text: str, dialect: Dialect) -> _Part:
    """What a statement does; of one that cannot be read nothing is known."""
    try:
        parts = read(text, dialect)[0]
        makes = {name for part in parts for name in (*part.makes, *part.brings)}
        if dialect == "postgres":
            return _Part(makes, {name for part in parts for name in part.drops}, set(_changes(text, dialect)))
        gone = {(each.kind.lower(), *each.names) for each in taken_whole(text, dialect) or ()}
        known = {name for name in makes if name[0] != "index" or dialect == "sqlite"}  # of MySQL's, only what is derived says the table
        return _Part(*({_alike(name) for name in names} for names in (known, gone, set(_changes(text, dialect)))))
    except Unreadable:
        return _Part(set(), set(), set())


def _alike(names: Names) -> Names:
    """Of MySQL and SQLite, in lower case."""
    kind, *own = (each.lower() for each in names)
    return _ALIKE.get(kind, kind), *own


def _changes(text: str, dialect: Dialect) -> Iterator[Names]:
    if dialect == "postgres":
        from bleen.database import changes_postgres

        return changes_postgres.changes(text)
    from bleen.database import changes_tokens

    return changes_tokens.changes(text, dialect)


def _among(some: set[Names], others: set[Names]) -> bool:
    return all(any(same(each, other) for other in others) for each in some)
