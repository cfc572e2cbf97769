"""Which rows a DELETE takes, as far as its text tells, and whether they are those that INSERTs put in. Where it does not tell, they are not."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from bleen.database.statements import Dialect, Unreadable
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

_ALIKE = words("XOR CASE BETWEEN | &")
"""What takes AND and OR for its own, or binds like them: in MySQL || is OR."""
_ENDS = words("RETURNING LIMIT ORDER")
_MOST = 10_000
"""Combinations of values."""

Pick = frozenset[tuple[str, str]]
"""Columns, and the value that each has: a row has them all."""


class Told(NamedTuple):
    """What a DELETE takes."""

    table: str
    """As it is written."""
    picks: set[Pick]
    """What its rows have, one of these each."""


Row = tuple[tuple[str, ...], tuple[str, ...]]
"""Columns, none where the INSERT does not say them, and values as they are written, empty for what is no plain value."""


def picked(delete: str, inserts: Sequence[str], dialect: Dialect) -> Told | None:
    """What a DELETE takes, if those are only rows that these INSERTs put in, as it says by = and IN; else None. It has to say the first value that the INSERT
    gives, as a key stands first: one like ``enabled`` is in rows of before too.
    """
    whole, by_first = set[tuple[str, ...]](), dict[tuple[str, str], list[Pick]]()
    try:
        for columns, values in (row for each in inserts for row in _rows(each, dialect)):
            given = [(column, value) for column, value in zip(columns, values, strict=False) if value]
            if given:
                by_first.setdefault(given[0], []).append(frozenset(given))
            elif not columns:
                whole.add(tuple(sorted(values)))
        told = _told(_words(delete, dialect))
    except (Unreadable, Puzzled):
        return None

    def own(pick: Pick) -> bool:
        return tuple(sorted(value for _, value in pick)) in whole or any(pick <= row for first in pick for row in by_first.get(first, ()))

    return told if all(map(own, told.picks)) else None


class _Words(Cursor):
    """Of a statement, or of a piece of it."""

    def __init__(self, tokens: tuple[Token, ...], text: str, folds: bool) -> None:
        super().__init__(tokens, text)
        self._folds = folds

    def within(self) -> "_Words":
        """What stands in the parentheses that come next."""
        return self._of(self.group())

    def pieces(self, ends: frozenset[str]) -> list["_Words"]:
        """What is left, as parted by these words outside of parentheses."""
        found: list[list[Token]] = [[]]
        depth = 0
        for token in self.rest():
            depth += {"(": 1, ")": -1}.get(token.word, 0)
            if not depth and token.word in ends:
                found.append([])
            else:
                found[-1].append(token)
        return [self._of(tuple(each)) for each in found]

    def _of(self, tokens: tuple[Token, ...]) -> "_Words":
        return _Words(tokens, self.text, self._folds)

    def spelt(self, name: Token) -> str:
        return name.identifier.lower() if self._folds or name.kind == "word" else name.identifier

    def value(self) -> str:
        """A plain value; empty if it is none, or NULL, which equals nothing. What it is cast to, its column is of anyway."""
        found = ""
        if self.now.kind in ("string", "number") or self.sees("TRUE") or self.sees("FALSE"):
            found = self.now.word or self.now.text
        elif self.sees("-") and self.ahead(1).kind == "number":
            found, self.at = f"-{self.ahead(1).text}", self.at + 1
        self.at += 1
        if self.sees(":") and self.ahead(1).kind == "parameter" and found.startswith("'"):  # ::text, in tokens of SQLite
            self.at += 2
        return found if self.done else ""


def _words(text: str, dialect: Dialect) -> _Words:
    """Those of a statement. Raises Unreadable."""
    sentences = read(text, "mysql" if dialect == "mysql" else "sqlite").sentences  # quoted names of PostgreSQL are those of SQLite
    return _Words(sentences[0].tokens if sentences else (), text, dialect != "postgres")


def _rows(insert: str, dialect: Dialect) -> list[Row]:
    """The rows of an INSERT of values, which fails if one of them is there. What does something else then, or reads what is there, may leave one of before."""
    cursor = _words(insert, dialect)
    try:
        cursor.expect("INSERT", "INTO")
        cursor.table()
        if cursor.accept("SET"):
            pairs = [_equals(each) for each in cursor.pieces(words(","))]
            return [(tuple(column for column, _ in pairs), tuple(value for _, value in pairs))]
        if cursor.accept("AS"):
            cursor.name()
        columns = tuple(each.spelt(each.name()) for each in cursor.within().pieces(words(","))) if cursor.sees("(") else ()
        _ = cursor.accept("OVERRIDING", "SYSTEM", "VALUE") or cursor.accept("OVERRIDING", "USER", "VALUE")
        if not cursor.accept("VALUE"):
            cursor.expect("VALUES")
        found = [(columns, _values(cursor.within()))]
        while cursor.accept(","):
            found.append((columns, _values(cursor.within())))
        return found if cursor.done or cursor.sees("RETURNING") else []
    except Puzzled:
        return []


def _values(cursor: _Words) -> tuple[str, ...]:
    return tuple(each.value() for each in cursor.pieces(words(",")))


def _row(cursor: _Words) -> tuple[str, ...]:
    values = _values(cursor.within())
    return values if cursor.done else ()


def _told(cursor: _Words) -> Told:
    """Of a DELETE from one table. ``Puzzled`` if not all that it takes is told so."""
    cursor.expect("DELETE", "FROM")
    cursor.accept("ONLY")
    begin = cursor.at
    table = cursor.table()
    written = cursor.written(begin)
    if cursor.accept("AS") or not cursor.sees("WHERE"):
        table = (cursor.name(),)
    cursor.expect("WHERE")
    condition = cursor.pieces(_ENDS)[0]
    if any(token.word in _ALIKE or token.kind == "executable" for token in condition.tokens):
        raise Puzzled(condition.now)
    return Told(written, _either(condition, [cursor.spelt(each) for each in table]))


def _either(condition: _Words, table: Sequence[str]) -> set[Pick]:
    return {pick for each in condition.pieces(words("OR")) for pick in _all(each, table)}


def _all(condition: _Words, table: Sequence[str]) -> set[Pick]:
    """Of what holds together; a test that is not understood lets fewer rows through, not more."""
    told = [found for each in condition.pieces(words("AND")) if (found := _test(each, table))]
    size = 1
    for found in told:
        size *= len(found)
    if not told or size > _MOST:
        raise Puzzled(condition.now)
    return {frozenset[tuple[str, str]]().union(*picks) for picks in product(*told)}


def _test(test: _Words, table: Sequence[str]) -> set[Pick]:
    """What a comparison lets through; empty if that is not told by values."""
    begin = test.at
    try:
        if test.sees("("):
            inner = test.within()
            if test.done:
                return _either(inner, table)
            names = [_column(each, table) for each in inner.pieces(words(","))]
            values = [_row(each) for each in _compared(test)]
        else:
            head = test.pieces(words("= IN"))[0]
            test.at = begin + len(head.tokens)
            names = [_column(head, table)]
            values = [(each.value(),) for each in _compared(test)]
    except Puzzled:
        return set()
    fit = all(len(row) == len(names) and all(row) for row in values)
    return {frozenset(zip(names, row, strict=True)) for row in values} if fit else set()


def _compared(test: _Words) -> list[_Words]:
    """What stands behind = or IN."""
    if test.accept("="):
        return test.pieces(frozenset())
    test.expect("IN")
    inner = test.within()
    if not test.done:
        raise Puzzled(test.now)
    return inner.pieces(words(","))


def _column(name: _Words, table: Sequence[str]) -> str:
    """A column of this table, whatever of its name stands before it."""
    *before, own = [name.spelt(each) for each in name.table()]
    if not name.done or before != list(table[len(table) - len(before) :]):
        raise Puzzled(name.now)
    return own


def _equals(pair: _Words) -> tuple[str, str]:
    column = pair.spelt(pair.name())
    pair.expect("=")
    return column, pair.value()
