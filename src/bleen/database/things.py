"""What a statement takes away, by name, however it is written."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bleen.database.statements import Dialect, Unreadable
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

_KINDS = words("TABLE VIEW INDEX SEQUENCE TYPE DOMAIN SCHEMA EXTENSION COLLATION FUNCTION PROCEDURE ROUTINE TRIGGER POLICY STATISTICS EVENT")
_BEFORE_KIND = words("MATERIALIZED FOREIGN TEMPORARY")
_BEFORE_TABLE = words("ONLINE IGNORE")
_PARTS = {"CONSTRAINT": "CONSTRAINT", "CHECK": "CONSTRAINT", "FOREIGN": "CONSTRAINT", "INDEX": "INDEX", "KEY": "INDEX", "COLUMN": "COLUMN"}


_NAMED = dict.fromkeys(("FUNCTION", "PROCEDURE", "ROUTINE"), r"""(?<!\w){}["`]?\s*\(""")
_NAMED |= dict.fromkeys(("TYPE", "DOMAIN", "COLLATION"), r"""(?:::|\bAS\b|\bCOLLATE\b)\s*(?:["\w]+\s*\.\s*)?"?{}(?!\w)""")
"""By its kind, how an expression names something; its name is left open."""

_Spelt = Callable[[tuple[Token, ...]], tuple[str, ...]]


class Thing(NamedTuple):
    """Something that a schema holds, in lower case unless it is said otherwise."""

    kind: str
    names: tuple[str, ...]
    """Its own, behind that of its table where the statement says it."""

    @property
    def table(self) -> "Thing":
        """That it is part of, if that is known; else none that there is."""
        return Thing("TABLE", self.names[:-1])


def taken(text: str, dialect: Dialect) -> frozenset[Thing] | None:
    """What a statement takes away, without what qualifies it; None if it does anything else, or cannot be read."""
    return _taken(text, dialect, _lowered)


def taken_among(text: str, dialect: Dialect) -> frozenset[Thing]:
    """As ``taken``, also of an ALTER TABLE that does other things beside."""
    return _taken(text, dialect, _lowered, mixed=True) or frozenset()


def taken_as_written(text: str, dialect: Dialect) -> frozenset[Thing] | None:
    """As ``taken``, with what qualifies it, in the case in which it is written."""
    return _taken(text, dialect, lambda names: tuple(each.identifier for each in names))


def taken_in_words(text: str, dialect: Dialect) -> frozenset[Thing]:
    """As ``taken_among``, each name as a statement can say it again, with its quotes and with what qualifies it."""
    return _taken(text, dialect, lambda names: (".".join(each.text for each in names),), mixed=True) or frozenset()


def _taken(text: str, dialect: Dialect, spelt: _Spelt, mixed: bool = False) -> frozenset[Thing] | None:
    try:
        tokens = read(text, "mysql" if dialect == "mysql" else "sqlite").sentences[0].tokens  # whose names in quotes are those of PostgreSQL
        cursor = Cursor(tokens, text)
        if cursor.accept("DROP"):
            return frozenset(_dropped(cursor, spelt))
        return frozenset(_altered(cursor, spelt, mixed))
    except (Unreadable, Puzzled, IndexError):
        return None


def apart(text: str, dialect: Dialect) -> tuple[str, list[str]]:
    """An ALTER TABLE that only drops: what stands before its commands, and each of them; of any other statement all of it, and none."""
    try:
        cursor = Cursor(read(text, "mysql" if dialect == "mysql" else "sqlite").sentences[0].tokens, text)
        table, found = _table(cursor, _lowered), list[str]()
        head = text[: cursor.now.offset]
        while True:
            begin = cursor.now.offset
            _command(cursor, table, _lowered)
            found.append(text[begin : cursor.ahead(-1).end])
            if cursor.done:
                return head, found
            cursor.expect(",")
    except (Unreadable, Puzzled, IndexError):
        return text, []


def called(things: Iterable[Thing], text: str) -> bool:
    """Whether an expression names a function, a type or a collation of these: in a trigger it is a text to the server, which lets it go. Of one that has
    several signatures, it may be another.
    """
    return any(each.kind in _NAMED and re.search(_NAMED[each.kind].format(re.escape(each.names[-1])), text, re.IGNORECASE) for each in things)


def _dropped(cursor: Cursor, spelt: _Spelt) -> list[Thing]:
    while cursor.accept_one(_BEFORE_KIND):
        pass
    kind = cursor.accept_one(_KINDS)
    if not kind:
        raise Puzzled(cursor.now)
    cursor.accept("CONCURRENTLY")
    cursor.accept("IF", "EXISTS")
    found = []
    while True:
        name = spelt(cursor.table())
        if cursor.sees("("):
            cursor.group()
        found.append(Thing(kind, (*spelt(cursor.table()), *name[-1:]) if cursor.accept("ON") else name))
        if not cursor.accept(","):
            return found


def _table(cursor: Cursor, spelt: _Spelt) -> tuple[str, ...]:
    """That an ALTER TABLE is of, whose first word is next."""
    cursor.expect("ALTER")
    while cursor.accept_one(_BEFORE_TABLE):
        pass
    cursor.expect("TABLE")
    cursor.accept("IF", "EXISTS")
    cursor.accept("ONLY")
    return spelt(cursor.table())


def _altered(cursor: Cursor, spelt: _Spelt, mixed: bool) -> list[Thing]:
    table, found = _table(cursor, spelt), list[Thing]()
    while True:
        begin = cursor.at
        try:
            found += _command(cursor, table, spelt)
        except Puzzled:
            if not mixed:
                raise
            cursor.at = begin
            while not (cursor.done or cursor.sees(",")):
                if cursor.sees("("):
                    cursor.group()
                else:
                    cursor.at += 1
        if cursor.done:
            return found
        cursor.expect(",")


def _command(cursor: Cursor, table: tuple[str, ...], spelt: _Spelt) -> list[Thing]:
    """What one of the commands of an ALTER TABLE drops; nothing of one that only says how."""
    if cursor.accept_one(words("ALGORITHM LOCK")):
        cursor.accept("=")
        cursor.name()
        return []
    cursor.expect("DROP")
    kind = "COLUMN"
    if cursor.now.word in _PARTS and cursor.ahead(1).kind in ("word", "name"):  # else it is a column of that name
        kind = _PARTS[cursor.name().word]
        cursor.expect(*["KEY"] * (cursor.ahead(-1).word == "FOREIGN"))
    cursor.accept("IF", "EXISTS")
    name = cursor.name()
    cursor.accept_one(words("CASCADE RESTRICT"))
    if not (cursor.done or cursor.sees(",")):
        raise Puzzled(cursor.now)
    return [Thing(kind, (*table, *spelt((name,))))]


def _lowered(names: tuple[Token, ...]) -> tuple[str, ...]:
    """Without what qualifies it."""
    return tuple(each.identifier.lower() for each in names[-1:])
