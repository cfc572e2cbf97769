"""What an expression of MySQL or SQLite says without a row to look at, as far as that is plain: a condition that every row meets, a CHECK that none does.

What the two dialects, or two collations, answer differently is not plain; neither is what a function says.
"""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bleen.database.tokens import Cursor, Puzzled, Token, words

EXPRESSION = words("""
    AND OR NOT XOR IS NULL TRUE FALSE IN BETWEEN LIKE RLIKE REGEXP DIV MOD CASE WHEN THEN ELSE COLLATE BINARY INTERVAL AS ASC DESC SET DEFAULT CHECK SELECT
    RETURNING EXISTS
""")
"""Words of an expression, or before one, that are no value."""


class Unknown:
    """A value that is not plain."""


class Named(NamedTuple):
    """A column, whatever stands in it."""

    names: tuple[str, ...]


Value = float | str | Named | Unknown | None
"""TRUE is 1, FALSE is 0, NULL is None."""

UNKNOWN = Unknown()


def value(expression: Sequence[Token], given: Mapping[str, Value] | None = None) -> Value:
    """What an expression says; ``given`` are the values of columns, by their names in lower case."""
    reader = _Reader(expression, given or {})
    try:
        said = reader.expression(0)
    except Puzzled:
        return UNKNOWN
    return said if reader.cursor.done else UNKNOWN


def always(condition: Sequence[Token]) -> bool:
    """Whether every row meets a condition: 1 = 1, TRUE OR x, x = x, id IS NOT NULL. Rows that have NULL there may be left out, as if there were none."""
    return truth(value(condition)) is True


def truth(said: Value) -> bool | Unknown | None:
    """A value as a condition: NULL is neither true nor false."""
    if isinstance(said, Unknown | Named | str):  # '1x' is true for one server and an error for another
        return UNKNOWN
    return None if said is None else said != 0


_KEYS = words("ID ROWID _ROWID_ OID")
"""Columns of these names are NULL in no row."""
_STRICT = words("LENGTH CHAR_LENGTH OCTET_LENGTH LOWER UPPER TRIM LTRIM RTRIM ABS JSON_VALID ROUND FLOOR CEIL CEILING MOD SIGN")
"""Functions that say NULL of NULL."""
_TWO = words("<= >= <> != == && || << >> ->")
_DEEPEST = 100
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OR, _XOR, _AND, _NOT, _COMPARE, _ARITHMETIC = range(1, 7)
_BINDS = {"OR": _OR, "XOR": _XOR, "AND": _AND, "&&": _AND, **dict.fromkeys(_COMPARED, _COMPARE), **dict.fromkeys(words("<=> IS IN BETWEEN NOT"), _COMPARE)}
_OTHER = words("LIKE GLOB RLIKE REGEXP MATCH")
_ENDS = words(") ,")


class _Reader:
    """Reads an expression by the precedence of its operators, and folds it on the way."""

    def __init__(self, tokens: Sequence[Token], given: Mapping[str, Value]) -> None:
        self.cursor = Cursor(tuple(tokens), "")
        self.given = given
        self.depth = 0

    def expression(self, binds: int) -> Value:
        """As far as operators go on that bind more than ``binds``."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Puzzled(self.cursor.now)
        left = self.operand()
        while not self.cursor.done and (sign := self.sign()) not in _ENDS:
            strength = _COMPARE if sign in _OTHER else _BINDS.get(sign, _ARITHMETIC)
            if strength <= binds:
                break
            self.cursor.at += 3 if sign == "<=>" else len(sign) if not sign.isalpha() else 1
            left = self.joined(left, sign, strength)
        self.depth -= 1
        return left

    def sign(self) -> str:
        """The operator that comes next, which may be of several signs that stand beside each other."""
        now, after, third = (self.cursor.ahead(count) for count in range(3))
        if now.kind not in ("sign", "word"):
            raise Puzzled(now)
        both = now.word + after.word
        if now.kind != "sign" or after.offset != now.end or both not in _TWO:
            return now.word
        return "<=>" if both == "<=" and third.word == ">" and third.offset == after.end else both

    def joined(self, left: Value, sign: str, strength: int) -> Value:
        """What an operator says of what stands before it and what comes behind it."""
        if sign == "IS":
            return self.identical(left)
        if sign == "NOT":
            return _negated(self.joined(left, self.cursor.accept_one(_OTHER | words("IN BETWEEN")), _COMPARE))
        if sign == "BETWEEN":
            low = self.expression(_COMPARE)
            self.cursor.expect("AND")
            return _both(_compared(">=", left, low), _compared("<=", left, self.expression(_COMPARE)))
        if sign == "IN":
            return self.among(left)
        right = self.expression(strength)
        if sign == "OR":
            return _negated(_both(_negated(left), _negated(right)))
        if sign in ("AND", "&&"):
            return _both(left, right)
        if sign == "<=>":
            return _same(left, right)
        if sign in _COMPARED:
            return _compared(sign, left, right)
        return None if sign in _OTHER | words("+ - * / % < >") and (left is None or right is None) else UNKNOWN

    def identical(self, left: Value) -> Value:
        """What follows IS."""
        negated = self.cursor.accept("NOT")
        if self.cursor.accept("DISTINCT"):
            self.cursor.expect("FROM")
            negated = not negated
        right = self.cursor.accept_one(words("TRUE FALSE"))
        if right:
            said = truth(left)
            same: Value = UNKNOWN if isinstance(said, Unknown) else float(said is (right == "TRUE"))
        else:
            same = _same(left, self.expression(_COMPARE))
        return _negated(same) if negated else same

    def among(self, left: Value) -> Value:
        """What follows IN: values, or a query."""
        self.cursor.expect("(")
        if self.cursor.now.word in ("SELECT", "WITH", "VALUES", "TABLE"):
            self.cursor.at -= 1
            self.cursor.group()
            return UNKNOWN
        none: Value = 1.0
        while True:
            none = _both(none, _negated(_compared("=", left, self.expression(0))))
            if not self.cursor.accept(","):
                self.cursor.expect(")")
                return _negated(none)

    def operand(self) -> Value:
        cursor = self.cursor
        if cursor.accept("NOT"):
            return _negated(self.expression(_NOT))
        if cursor.accept("!"):
            return _negated(self.expression(_ARITHMETIC))
        if signed := cursor.accept_one(words("- + ~")):
            said = self.expression(_ARITHMETIC)
            if isinstance(said, float) and signed != "~":
                return -said if signed == "-" else said
            return None if said is None else UNKNOWN
        if cursor.sees("("):
            return self.parenthesis()
        token = cursor.kind("word", "name", "string", "number")
        if token.kind == "string":
            return _text(token)
        if token.kind == "number":
            return UNKNOWN if token.text[:2] in ("0x", "0X") else float(token.text)
        if token.word in ("TRUE", "FALSE", "NULL"):
            return {"TRUE": 1.0, "FALSE": 0.0, "NULL": None}[token.word]
        if cursor.sees("("):
            return self.call(token)
        if token.word in EXPRESSION or cursor.now.kind == "string":  # CASE, x'00'
            raise Puzzled(token)
        names = [token.identifier.lower()]
        while cursor.accept("."):
            names.append(cursor.name().identifier.lower())
        return self.given.get(names[-1], Named(tuple(names)))

    def parenthesis(self) -> Value:
        begin = self.cursor.at
        self.cursor.expect("(")
        if not self.cursor.sees("SELECT"):
            said = self.expression(0)
            if self.cursor.accept(")"):
                return said
        self.cursor.at = begin
        self.cursor.group()
        return UNKNOWN

    def call(self, function: Token) -> Value:
        begin = self.cursor.at
        self.cursor.expect("(")
        if function.word in ("COALESCE", "IFNULL"):
            return self.first()
        said = self.expression(0) if function.word in _STRICT else UNKNOWN
        alone = self.cursor.sees(")")
        self.cursor.at = begin
        self.cursor.group()
        return None if said is None else valid_json(said) if function.word == "JSON_VALID" and alone else UNKNOWN

    def first(self) -> Value:
        """The first that is not NULL of what stands in a parenthesis."""
        said: Value = None
        while True:
            next_one = self.expression(0)
            said = next_one if said is None else said
            if self.cursor.accept(")"):
                return UNKNOWN if isinstance(said, Named) else said
            self.cursor.expect(",")


def valid_json(said: Value) -> Value:
    """Whether a text is JSON; not what is none: MySQL says no to JSON_VALID(1), and the others yes."""
    if not isinstance(said, str) or len(said) > _DEEPEST:
        return UNKNOWN
    try:
        json.loads(said, parse_constant=_no_constant)  # NaN and Infinity are Python's own
    except ValueError:
        return 0.0
    return 1.0


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _text(token: Token) -> Value:
    plain = token.text[1:-1]
    return UNKNOWN if "\\" in plain else plain.replace(token.text[-1] * 2, token.text[-1])


def _negated(said: Value) -> Value:
    known = truth(said)
    return UNKNOWN if isinstance(known, Unknown) else None if known is None else float(not known)


def _both(left: Value, right: Value) -> Value:
    one, other = truth(left), truth(right)
    if one is False or other is False:
        return 0.0
    if isinstance(one, Unknown) or isinstance(other, Unknown):
        return UNKNOWN
    return None if one is None or other is None else 1.0


def _compared(sign: str, left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    if isinstance(left, float) and isinstance(right, float):
        return float(_COMPARED[sign](left, right))
    if isinstance(left, Named) and left == right:
        return float(_COMPARED[sign](0, 0))
    if isinstance(left, str) and isinstance(right, str) and sign in ("=", "==", "<>", "!="):
        if left == right:
            return float(sign in ("=", "=="))
        if left.strip().casefold() != right.strip().casefold() and (left + right).isascii():
            return float(sign in ("<>", "!="))
    return UNKNOWN


def _same(left: Value, right: Value) -> Value:
    """Whether two values are the same one, where NULL is one too."""
    if left is None and right is None:
        return 1.0
    if left is None or right is None:
        known = right if left is None else left
        if isinstance(known, Named):
            return 0.0 if known.names[-1].upper() in _KEYS else UNKNOWN
        return UNKNOWN if isinstance(known, Unknown) else 0.0
    return _compared("=", left, right)
