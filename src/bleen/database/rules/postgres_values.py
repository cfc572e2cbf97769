"""What an expression of PostgreSQL comes to, as far as that can be seen in it: by three-valued logic, and without a server.

Python's values stand for SQL's: None for NULL, True and False, int, Decimal and str. Beside them stand three markers of what cannot be told.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, expression, inner, kind, type_name, words
from bleen.database.rules.postgres_look import BUILT_IN, functions


class Unsure(Enum):
    """What is not told by a value."""

    UNKNOWN = "anything, NULL too"
    SOME = "one value that is not NULL, the same for every row"
    NEW = "another value for every row, never NULL"
    FILLED = "a value that is not NULL, and perhaps another one in another row"


Value = None | bool | int | Decimal | str | Unsure
Row = Callable[[Message], Value]
"""What a column, by its ColumnRef, is in the row at hand."""

_NEW = ("gen_random_uuid", "nextval", "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "uuidv4", "uuidv7")
_FILLED = ("clock_timestamp", "now", "random", "statement_timestamp", "transaction_timestamp")
_STRICT = frozenset(
    "abs btrim cardinality char_length character_length date_trunc json_typeof jsonb_typeof length lower octet_length timezone trim trunc upper".split()
)
"""NULL of NULL."""

_TRIMMED = {"btrim": str.strip, "trim": str.strip, "ltrim": str.lstrip, "rtrim": str.rstrip}

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<>": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}
_NULL_OF_NULL = (*_COMPARED, "+", "-", "*", "/", "%", "~", "~*", "!~", "!~*", "~~", "!~~", "~~*", "!~~*")
_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\s".]+)')
_NAMES = re.compile(rf"(?:{_NAME.pattern})(?:\.(?:{_NAME.pattern}))*")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_WHOLE = {"int2": 2**15, "int4": 2**31, "int8": 2**63}
_TEXT, _NUMERIC = ("text", "varchar"), ("numeric", "float4", "float8")
_TEXTS = frozenset((*_TEXT, "bpchar", "char", "citext", "name"))
"""Types that take any text, if only a part of it."""


def no_row(column: Message) -> Value:
    return Unsure.UNKNOWN


def value(node: Message, row: Row = no_row) -> Value:
    """What an expression comes to."""
    it = inner(node)
    match kind(it):
        case "A_Const":
            return _constant(it)
        case "ColumnRef":
            return row(it)
        case "TypeCast":
            return _cast(it, row)
        case "CollateClause":
            given = value(it.arg, row)
            return Unsure.SOME if isinstance(given, str) else given
        case "BoolExpr":
            return _logic(it.boolop, [value(each, row) for each in it.args])
        case "NullTest":
            return _not(_is_null(value(it.arg, row)), it.nulltesttype == pb.IS_NOT_NULL)
        case "BooleanTest":
            return _boolean_test(it.booltesttype, value(it.arg, row))
        case "CoalesceExpr":
            return next((each for each in (value(each, row) for each in it.args) if each is not None), None)
        case "SQLValueFunction":
            return Unsure.FILLED
        case "A_ArrayExpr" if not functions(it, frozenset()):
            return Unsure.SOME
        case "FuncCall":
            several = it.func_variadic  # its last argument is an array that stands for them
            return Unsure.UNKNOWN if several else _called(words(it.funcname)[-1], [value(each, row) for each in it.args])
        case "SubLink":
            select = it.subselect.select_stmt
            plain = it.sub_link_type == pb.EXISTS_SUBLINK and select.target_list and not select.from_clause
            clauses = ("where_clause", "having_clause", "limit_count", "limit_offset", "larg")
            return True if plain and not any(select.HasField(each) for each in clauses) and not functions(select, frozenset()) else Unsure.UNKNOWN
        case "A_Expr":
            return _operator(it, row)
    return Unsure.UNKNOWN


def _constant(it: Message) -> Value:
    if it.isnull:
        return None
    match it.WhichOneof("val"):
        case "ival":
            return int(it.ival.ival)
        case "fval":
            return _number(it.fval.fval)
        case "boolval":
            return bool(it.boolval.boolval)
        case "sval":
            return str(it.sval.sval)
    return Unsure.SOME


def relation_said(node: Message) -> tuple[str, ...]:
    """The relation that a literal names, as nextval and setval take it: 's', 'app."S"'::regclass; empty where that cannot be told."""
    it = inner(node)
    said = value(it.arg if kind(it) == "TypeCast" else node)
    names = said if isinstance(said, str) and _NAMES.fullmatch(said) else ""
    return tuple(quoted.replace('""', '"') if quoted else plain.lower() for quoted, plain in _NAME.findall(names))


def _number(written: str) -> Value:
    """What does not fit an int4, or has a fraction: 0xFF_FF and 0b1 are numbers too (PostgreSQL 16)."""
    with suppress(ValueError):
        return int(written, 0)
    with suppress(InvalidOperation):
        return Decimal(written)
    return Unsure.SOME  # its exponent is more than a number has room for


def as_type(given: Value, name: Message) -> Value:
    """A value in a type. One that a type may change, by its length or its rules, is no more than some value."""
    type_is = type_name(name)
    built_in = type_is.removesuffix("[]") in BUILT_IN
    if given is None or isinstance(given, Unsure):
        return given if built_in or given is None else Unsure.UNKNOWN
    if type_is == "bool" and str(given).lower() in ("true", "t", "false", "f"):
        return str(given).lower().startswith("t")
    if type_is in (*_WHOLE, *_NUMERIC) and isinstance(given, str) and _INTEGER.fullmatch(given):
        given = int(given)
    text = type_is in _TEXT and isinstance(given, str)
    number = type_is in (*_WHOLE, *_NUMERIC) and type(given) is int
    fraction = type_is in ("numeric", "float8") and isinstance(given, Decimal)
    return given if (text or number or fraction) and _fits(given, name) else Unsure.SOME if built_in else Unsure.UNKNOWN


def _cast(it: Message, row: Row) -> Value:
    """What a column has in it may be refused by the type that it is cast to, other than a literal, which PostgreSQL has looked at."""
    given = value(it.arg, row)
    said = as_type(given, it.type_name)
    read = isinstance(given, str) and said is Unsure.SOME and type_name(it.type_name) not in _TEXTS
    refused = (read or not has_room(said, it.type_name)) and any(kind(node) == "ColumnRef" for _, node in walk(it))
    return Unsure.UNKNOWN if refused else said


def _fits(given: str | int | Decimal, name: Message) -> bool:
    """Whether a type's length or scale, as in varchar(3) and numeric(10, 2), leaves a value as it is."""
    limits = _limits(name)
    if limits is None:
        return False
    if isinstance(given, str):
        return not limits or len(given) <= limits[0]
    scale = limits[1] if len(limits) > 1 else 0
    return not limits or isinstance(given, int) or int(given.as_tuple().exponent) >= -scale


def _limits(name: Message) -> list[int] | None:
    """What a type says in its parentheses; None if that is no numbers."""
    limits = [inner(each).ival.ival for each in name.typmods if kind(inner(each)) == "A_Const"]
    return limits if len(limits) == len(name.typmods) else None


def has_room(given: Value, name: Message) -> bool:
    """Whether a column of a type takes a value, however it pads or rounds it; True too where that cannot be told."""
    type_is, limits = type_name(name), _limits(name)
    if isinstance(given, str):
        return not limits or type_is not in ("varchar", "bpchar") or len(given.rstrip(" ")) <= limits[0]
    if given is None or isinstance(given, (bool, Unsure)):
        return True
    if type_is in _WHOLE:
        return -_WHOLE[type_is] - Decimal("0.5") < given < _WHOLE[type_is] - Decimal("0.5")
    room = Decimal((0, (1,), limits[0] - sum(limits[1:]))) if limits and type_is == "numeric" else None
    return room is None or room.copy_negate() < given < room


def _is_null(given: Value) -> Value:
    return Unsure.UNKNOWN if given is Unsure.UNKNOWN else given is None


def _not(given: Value, really: bool = True) -> Value:
    return not given if really and isinstance(given, bool) else given


def _logic(how: int, terms: Sequence[Value]) -> Value:
    """Three-valued, and with what is not known as a fourth."""
    if how == pb.NOT_EXPR:
        return _not(terms[0]) if terms[0] is None or isinstance(terms[0], bool) else Unsure.UNKNOWN
    decides = bool(how == pb.OR_EXPR)
    if any(term is decides for term in terms):
        return decides
    if all(term is (not decides) for term in terms):
        return not decides
    return None if all(term is None or isinstance(term, bool) for term in terms) else Unsure.UNKNOWN


def _boolean_test(how: int, given: Value) -> Value:
    wanted = {pb.IS_TRUE: (True, True), pb.IS_NOT_TRUE: (True, False), pb.IS_FALSE: (False, True), pb.IS_NOT_FALSE: (False, False)}
    if given is not None and not isinstance(given, bool):
        return Unsure.UNKNOWN
    what, is_it = wanted.get(how, (None, how == pb.IS_UNKNOWN))
    return bool((given is what) == is_it)


def _called(name: str, given: Sequence[Value]) -> Value:
    if name in _NEW:
        return Unsure.NEW
    if name in _STRICT and any(each is None for each in given):
        return None
    if name in ("num_nonnulls", "num_nulls") and Unsure.UNKNOWN not in given:
        return sum((each is None) == (name == "num_nulls") for each in given)
    only = given[0] if len(given) == 1 else None
    if name in _TRIMMED and isinstance(only, str):
        return _TRIMMED[name](only, " ")
    if name in ("length", "char_length", "character_length") and isinstance(only, str):
        return len(only)
    if name in ("lower", "upper") and isinstance(only, str) and only.isascii():
        return only.lower() if name == "lower" else only.upper()
    if name in _FILLED:
        return Unsure.FILLED
    if name in _STRICT and Unsure.UNKNOWN not in given:
        return Unsure.FILLED if Unsure.NEW in given or Unsure.FILLED in given else Unsure.SOME
    return Unsure.UNKNOWN


def _operator(it: Message, row: Row) -> Value:
    name = words(it.name)[-1] if it.name else ""
    left = value(it.lexpr, row) if it.HasField("lexpr") else Unsure.SOME
    match pb.A_Expr_Kind.Name(it.kind):
        case "AEXPR_OP" | "AEXPR_LIKE" | "AEXPR_ILIKE":
            right = value(it.rexpr, row)
            if name in _NULL_OF_NULL and (left is None or right is None):
                return None
            if name == "-" and not it.HasField("lexpr") and isinstance(right, (int, Decimal)) and not isinstance(right, bool):
                return right.copy_negate() if isinstance(right, Decimal) else -right  # unlike -right it rounds nothing, and never overflows
            if name in ("=", "<=", ">=") and left is Unsure.SOME and expression(it.lexpr) == expression(it.rexpr):
                return True
            return _compared(name, left, right)
        case "AEXPR_DISTINCT" | "AEXPR_NOT_DISTINCT" as how:
            right = value(it.rexpr, row)
            same = left is right if left is None or right is None else _compared("=", left, right)
            known = isinstance(same, bool) and Unsure.UNKNOWN not in (left, right)
            return _not(same, how == "AEXPR_DISTINCT") if known else Unsure.UNKNOWN
        case "AEXPR_NULLIF":
            same = _compared("=", left, value(it.rexpr, row))
            return None if left is None or same is True else left if same is not Unsure.UNKNOWN else Unsure.UNKNOWN
        case "AEXPR_IN":
            return _among(left, it.rexpr.list.items, row, name == "=")
        case "AEXPR_OP_ANY" if kind(inner(it.rexpr)) == "A_ArrayExpr" and name == "=":
            return _among(left, inner(it.rexpr).elements, row, True)
        case "AEXPR_BETWEEN":
            low, high = (value(each, row) for each in it.rexpr.list.items)
            return _logic(pb.AND_EXPR, [_compared(">=", left, low), _compared("<=", left, high)])
    return Unsure.UNKNOWN


def _among(left: Value, items: Sequence[Message], row: Row, within: bool) -> Value:
    found = _logic(pb.OR_EXPR, [_compared("=", left, value(each, row)) for each in items]) if items else Unsure.UNKNOWN
    return _not(found, not within)


def _compared(name: str, left: Value, right: Value) -> Value:
    """Two values of which PostgreSQL makes no other ones before it compares them; how text is sorted depends on its collation."""
    if name in _COMPARED and (left is None or right is None):
        return None
    numbers = all(isinstance(each, (int, Decimal)) and not isinstance(each, bool) for each in (left, right))
    alike = type(left) is type(right) and (isinstance(left, bool) or (isinstance(left, str) and name in ("=", "<>")))
    return _COMPARED[name](left, right) if name in _COMPARED and (numbers or alike) else Unsure.UNKNOWN
