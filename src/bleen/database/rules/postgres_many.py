"""How many rows a query of PostgreSQL gives, as far as that can be seen in it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import prod

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, inner, kind, words
from bleen.database.rules.postgres_values import value

_PARTS = frozenset(
    """
    json_array_elements json_array_elements_text json_each json_each_text json_object_keys jsonb_array_elements jsonb_array_elements_text jsonb_each
    jsonb_each_text jsonb_object_keys jsonb_path_query regexp_matches regexp_split_to_table string_to_table unnest generate_subscripts
    """.split()
)
"""Functions that give no more rows than what they are given has characters and elements."""

_PACE = re.compile(r"(?P<count>\d{1,4}) (?P<unit>second|minute|hour|day|week|month|year)s?")
_LASTS = {
    **{unit: timedelta(**{f"{unit}s": 1}) for unit in ("second", "minute", "hour", "day", "week")},
    "month": timedelta(days=28),
    "year": timedelta(days=365),
}


Bounds = Mapping[str, int | None]
"""Of the queries of a WITH, by their names."""


def how_many(select: Message, known: Bounds | None = None) -> int | None:
    """At most; None if that cannot be told, as of a table. ``known`` are the queries of WITH around it."""
    local = named(select.with_clause, known or {})
    if select.op != pb.SETOP_NONE:
        arms = how_many(select.larg, local), how_many(select.rarg, local)
        return None if arms[0] is None or arms[1] is None else arms[0] + arms[1]
    if select.values_lists:
        return _product([len(select.values_lists), *_sets(select.values_lists)])
    return _product(
        [
            *(_source(inner(each), local) for each in select.from_clause),
            *_sets([*select.target_list, *select.sort_clause, *select.group_clause, *select.distinct_clause]),
        ]
    )


def named(clause: Message, around: Bounds) -> Bounds:
    """What a WITH adds to those around it."""
    found = dict(around)
    for each in clause.ctes:
        query = inner(each.common_table_expr.ctequery)
        found[each.common_table_expr.ctename] = how_many(query, found) if kind(query) == "SelectStmt" and not clause.recursive else None
    return found


def _product(bounds: Iterable[int | None]) -> int | None:
    found = list(bounds)
    return None if None in found else prod(each for each in found if each is not None)


def _source(node: Message, local: Bounds) -> int | None:
    match kind(node):
        case "RangeVar":
            return None if node.schemaname else local.get(node.relname)
        case "RangeSubselect":
            return how_many(inner(node.subquery), local)
        case "RangeFunction":
            return _product(_sets(node.functions))
        case "JoinExpr":
            left, right = _source(inner(node.larg), local), _source(inner(node.rarg), local)
            return None if left is None or right is None else left * right + left + right
    return None


def _sets(nodes: Sequence[Message]) -> Iterator[int | None]:
    """Of each function that gives a set; a subquery gives one value."""
    for call in (call for node in nodes for call in _calls(node)):
        name = words(call.funcname)[-1]
        if name == "generate_series":
            numbers = _series([value(each) for each in call.args])
            yield _days([_literal(each) for each in call.args]) if numbers is None else numbers
        elif name in _PARTS:
            yield _elements(call)


def _calls(message: Message) -> Iterator[Message]:
    if kind(message) == "FuncCall":
        yield message
    for field, below in message.ListFields() if kind(message) != "SubLink" else ():
        if field.message_type is not None:
            for each in below if field.is_repeated else (below,):
                yield from _calls(each)


def _series(given: Sequence[object]) -> int | None:
    numbers = [each for each in given if type(each) is int]
    if len(numbers) != len(given) or len(numbers) not in (2, 3):
        return None
    begin, end, step = (*numbers, 1)[:3]
    return max(0, (end - begin) // step + 1) if step else None


def _days(given: Sequence[str]) -> int | None:
    """From one day to another, at a steady pace of at least that: '1 day', '2 hours'."""
    if len(given) != 3 or not (pace := _PACE.fullmatch(given[2].lower())) or not int(pace["count"]):
        return None
    try:
        begin, end = (datetime.fromisoformat(each) for each in given[:2])
    except ValueError:
        return None
    if begin.utcoffset() != end.utcoffset():
        return None
    return max(0, int((end - begin) / (int(pace["count"]) * _LASTS[pace["unit"]])) + 3)


def _literal(node: Message) -> str:
    """What is written between quotes, whatever type it is to be."""
    it = inner(node)
    return _literal(it.arg) if kind(it) == "TypeCast" else str(it.sval.sval) if kind(it) == "A_Const" else ""


def _elements(call: Message) -> int | None:
    """Of literals only: a function among them may make many of few."""
    found = 1
    for _, node in (pair for each in call.args for pair in walk(each)):
        if kind(node) in ("FuncCall", "ColumnRef", "SubLink", "A_Expr"):
            return None
        if kind(node) == "A_Const":
            text = node.sval.sval
            found += 1 + (len(text) if call.funcname[-1].string.sval.startswith("regexp") else text.count(","))
    return found
