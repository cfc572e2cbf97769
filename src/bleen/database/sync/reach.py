"""What columns of a type can hold, as far as its name tells: until contract, the new version may only write what the old columns can."""

import math
import re
from collections.abc import Iterator, Mapping

from bleen.database.migration import Pair

_TYPE = re.compile(r"([a-z]\w*)( +varying| +precision)? *(?:\( *(\d+) *(?:, *(\d+) *)?\))?(.*)", re.DOTALL)
_WHOLE = {"tinyint": 8, "smallint": 16, "int2": 16, "mediumint": 24, "int": 32, "integer": 32, "int4": 32, "bigint": 64, "int8": 64}
_BROKEN = frozenset("float float4 float8 double real".split())
_DECIMAL = frozenset("decimal numeric dec fixed".split())
_TEXTS = {"char": 1, "character": 1, "bpchar": 1, "varchar": 65535, "text": 65535, "tinytext": 255, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1}
_TIMES = {"date": (1, 0), "timestamp": (1, 1), "timestamptz": (1, 1), "datetime": (2, 1)}
"""Which years it has, as MySQL's TIMESTAMP ends in 2038, and whether a time of the day."""
_PLAIN = {"cast", "convert", "as", "coalesce", "nullif", "varying", "precision", "signed", "unsigned", "with", "without", "time", "zone"}
"""What an expression may say, and still be the value itself; one that says more decides what becomes of what does not fit."""


def exceeding(pair: Pair, types: Mapping[str, str]) -> Iterator[str]:
    """That the one new column holds what the one old column does not, a line or none. ``types``: those that are known, by the names of the columns."""
    if len(pair.old) > 1 or len(pair.new) > 1:  # of several, forward and backward say how much of each there is
        return
    (old,), (new,) = pair.old, pair.new
    if old in types and new in types and _itself(pair.backward[old], new) and _more(types[new], types[old]):
        fails = "until contract, a write of the new version that does not fit fails, or is cut where backward casts it"
        way = "let it write only what fits until then, or backward say what becomes of the rest (CASE WHEN ... END)"
        yield f"{old} ({types[old]}) cannot hold all that {new} ({types[new]}) can: {fails}; {way}"


def _itself(expression: str, column: str) -> bool:
    """Whether an expression is a column, cast perhaps."""
    words = re.findall(r"[^\W\d]\w*|[-+*/%|&]", re.sub(r"'[^']*'", "", expression.lower()))
    return {*words} - {column.lower()} <= _PLAIN | _WHOLE.keys() | _BROKEN | _DECIMAL | _TEXTS.keys() | _TIMES.keys()


def _more(type: str, than: str) -> bool:
    """Whether values of a type may be none of another."""
    (kind, reach), (other, least) = _reach(type), _reach(than)
    if kind != other:
        return kind == "text" and bool(other)
    return any(mine > its for mine, its in zip(reach, least, strict=True))


def _reach(type: str) -> tuple[str, tuple[float, ...]]:
    """Of what kind a type's values are, empty if that is not known, and how far they go: each number is the greater, the more it holds."""
    found = _TYPE.fullmatch(type.lower())
    if not found or found[5].lstrip().startswith(("[", "array")):
        return "", ()
    kind, first, second = "varchar" if (found[2] or "").strip() == "varying" else found[1], int(found[3] or 0), int(found[4] or 0)
    if bits := _WHOLE.get(kind):
        return "number", (0, 2.0**bits, 0) if "unsigned" in found[5] else (2.0 ** (bits - 1), 2.0 ** (bits - 1), 0)
    if kind in _BROKEN or (kind in _DECIMAL and not first):
        return "number", (math.inf, math.inf, math.inf)
    if kind in _DECIMAL:
        return "number", (10.0 ** (first - second), 10.0 ** (first - second), second)
    if kind in _TEXTS:
        return "text", (first or _TEXTS[kind],)
    return ("time", _TIMES[kind]) if kind in _TIMES else ("", ())
