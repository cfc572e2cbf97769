"""What is bleen's own in a database, its ledger and what keeps pairs in step, is in no migration's hands.

Whoever compares a database with models of an application finds tables there that no model has: Alembic's autogenerate writes DROP TABLE for them.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bleen.database.rules.findings import Finding
from bleen.database.statements import Dialect, Statement, Unreadable, place
from bleen.database.tokens import words

RULE = "bleens-own"

LEDGER = ("bleen_migration", "bleen_step", "bleen_environment")
REFUGE = "bleen_kept"
_TABLES = frozenset({*LEDGER, REFUGE, "bleen_sync"})
_ANYWHERE, _OF_MYSQL = "~bleen_", "bleen_"
"""How triggers, functions and sequences of pairs begin; a table or a column of an application may begin like those of MySQL."""
_SHAPE, _ROWS = words("ALTER DROP RENAME TRUNCATE"), words("DELETE INSERT REPLACE UPDATE")
_BEFORE_TABLE = words("ABORT DELAYED FAIL FROM HIGH_PRIORITY IGNORE INTO LOW_PRIORITY ONLY OR QUICK REPLACE ROLLBACK")
_MADE_FOR_PAIRS = words("SEQUENCE TRIGGER")
_FOREVER = "without it a version that needs the old shape is let in again"
_IN_STEP = "it keeps a pair in step, and goes with the contract or the revert of its migration"
_WAY = "leave this out of the migration (where Alembic's autogenerate wrote it, include_name in env.py keeps it out: docs/guide/adapters.md)"


class _Word(NamedTuple):
    """A word or a sign in upper case, empty for a quoted name; and the name in lower case, empty for what cannot be one."""

    bare: str
    name: str


def found(text: str, file: str, dialect: Dialect) -> list[Finding]:
    """Statements that drop, rename, empty, change or write what is bleen's own. What cannot be read is for the dialect's rules."""
    try:
        return [
            Finding(file, *each.at, RULE, "error", f"{name} is bleen's own, in contract too: {_FOREVER if name in _TABLES else _IN_STEP}; {_WAY}")
            for each, read in _statements(text, dialect)
            if (name := _touched(read, dialect))
        ]
    except Unreadable:
        return []


def instead(findings: Sequence[Finding], text: str, statements: Sequence[Statement]) -> list[Finding]:
    """Without what else is wrong with those statements: that a DROP belongs in contract, say, which it does not."""
    at = {(each.line, each.column) for each in findings if each.rule == RULE}
    parts = [(each.at, place(text, each.offset + len(each.text))) for each in statements if each.at in at]
    return [each for each in findings if each.rule == RULE or not any(begin <= (each.line, each.column) < end for begin, end in parts)]


def _touched(read: Sequence[_Word], dialect: Dialect) -> str:
    """What of bleen's a statement changes; empty if there is nothing."""
    verb, rest = read[0].bare, read[1:]
    if verb in _ROWS:
        table = next((at for at, each in enumerate(rest) if each.bare not in _BEFORE_TABLE), 0)
        while table + 2 < len(rest) and rest[table + 1].bare == ".":
            table += 2
        return next((each.name for each in rest[table : table + 1] if each.name in _TABLES), "")
    if verb not in _SHAPE or (rest and rest[0].bare == "PUBLICATION"):  # which may well pass them by
        return ""
    pairs = _OF_MYSQL if dialect == "mysql" and rest and rest[0].bare in _MADE_FOR_PAIRS else _ANYWHERE
    return next((each.name for each in rest if each.name in _TABLES or each.name.startswith((pairs, _ANYWHERE))), "")


def _statements(text: str, dialect: Dialect) -> Iterator[tuple[Statement, list[_Word]]]:
    """Raises Unreadable."""
    if dialect == "postgres":
        from bleen.database.parser import Source

        for parsed in Source(text).readable()[0]:
            written = [text[each.begin : each.end] for each in parsed.tokens]
            yield parsed.statement, [_Word("", each[1:-1].lower()) if each[:1] == '"' else _Word(each.upper(), each.lower()) for each in written]
    else:
        from bleen.database.tokens import read

        for sentence in read(text, dialect).sentences:
            yield sentence.statement, [_Word(each.word, each.identifier.lower() if each.kind in ("word", "name") else "") for each in sentence.tokens]
