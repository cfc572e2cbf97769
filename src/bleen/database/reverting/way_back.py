"""What a revert.sql does beyond undoing its expand: it runs while the old version serves, and what was there before stays."""

import re
from pathlib import Path

from bleen.database import reverting
from bleen.database.deeds import Deed, Names, among, deed, surely
from bleen.database.migration import says
from bleen.database.reverting.picking import picked
from bleen.database.rules import Finding, Script, lint_back
from bleen.database.statements import Dialect, Statement, Unreadable, split

_PUTS_BACK = frozenset("set-default drop-default not-null-in-expand replaces revoke row-security trigger-state alter-constraint".split())
"""Rules that what was there before an expand may break again, where that changed it; not those of what is lost, or of how long something is locked."""
_LATER = re.compile(r"[;,] (?:[^;]* in|and any other trigger to) contract\b.*$", re.DOTALL)
_OTHER_FILE = re.compile(r"^-- (?:expand|backfill|contract)\.sql$", re.MULTILINE)


def lint(expand: str, revert: str, folder: str, dialect: Dialect) -> list[Finding]:
    """The findings in a revert.sql; none if there is nothing in it, or if one of the two cannot be read, which others say."""
    try:
        if not says(revert):
            return []
        statements, done, derived = split(revert, dialect), split(expand, dialect), reverting.derived(expand, dialect).statements
    except Unreadable:
        return []
    parts = [deed(each.text, dialect) for each in done]
    made = {name for each in parts for name in each.makes} | {name for each in derived for name in deed(each, dialect).takes}
    touched = made | {name for each in parts for name in each.whole}

    def judged(finding: Finding) -> Finding | None:
        it = _at(finding, statements)
        if finding.rule == "attach-partition":  # a table that was there before goes with the new one that it was attached to
            return finding
        back = deed(it.text, dialect)
        if f"{it.text};" in derived or (finding.rule == "holds-the-old-version" and _holds_again(back, touched)):
            return None
        if not (back.whole and surely(back.takes, made) and surely(back.whole, touched)):
            perhaps = {name for name in back.whole if not surely({name}, touched) and among({name}, touched)}
            return _unsure(finding, perhaps, touched) if perhaps else _beyond(finding)
        if finding.rule == "set-not-null":  # it may, and there is a way that locks nobody out
            return finding._replace(fix=finding.fix.removeprefix("-- contract.sql\n"))
        if finding.rule == "delete-in-expand":
            puts = [each.text for each, part in zip(done, parts, strict=True) if surely(back.changes, part.changes)]
            return None if picked(it.text, puts, dialect) else finding._replace(message=f"{_LATER.sub('', finding.message)}; {_PICK}", fix="")
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


def _unsure(finding: Finding, perhaps: set[Names], touched: set[Names]) -> Finding:
    """The one may be another of that name, which the search_path finds first, and was there before."""
    told = {".".join(each[1:]).replace(".(", "("): next(".".join(one[1:]).replace(".(", "(") for one in touched if among({each}, {one})) for each in perhaps}
    said = "; ".join(f"{here} may be another than {there} of expand.sql" for here, there in sorted(told.items()))
    way = "name it in both with its schema, or in both without"
    return finding._replace(message=f"{_LATER.sub('', finding.message)}; {said}: {way}", fix="")


def _holds_again(back: Deed, touched: set[Names]) -> bool:
    """Whether a constraint is one that the expand dropped, or the CHECK with which a column is NOT NULL again that the expand let be NULL."""
    return len(back.makes) == 1 and surely(back.changes or back.makes, touched)


def _at(finding: Finding, statements: list[Statement]) -> Statement:
    """The statement that a finding is in."""
    return [each for each in statements if each.at <= (finding.line, finding.column)][-1]
