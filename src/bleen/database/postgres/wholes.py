"""Which INSERTs in a trigger function of PostgreSQL give all columns of a row of a table without naming them. The server reads them when they run (manual:
PL/pgSQL, "Plan Caching"); until then they are a text, in which a row is followed through joins, subqueries and WITH, and not through variables and calls.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

import postgast

from bleen.database.migration import speaks_of
from bleen.database.parser import Source
from bleen.database.postgres.handed import OTHERWISE, end_of, handed
from bleen.database.postgres.leftovers import Rows
from bleen.database.statements import Unreadable, in_a_line

_PB = postgast.pg_query_pb2
HEIRS = "heirs(relid) AS (SELECT %s::oid UNION SELECT i.inhrelid FROM heirs JOIN pg_inherits i ON i.inhparent = heirs.relid)"
PATH = r"""
            (SELECT array_agg(coalesce(replace(part[1], '""', '"'), part[2], '') ORDER BY at) FROM pg_options_to_table(p.proconfig)
            LEFT JOIN regexp_matches(option_value, '"((?:[^"]|"")+)"|([^\s,"]+)', 'g') WITH ORDINALITY r(part, at) ON true
            WHERE option_name = 'search_path') AS path"""
"""Of a function, as it is kept: names with a comma between them, in quotes where SQL needs them."""
_FAMILY = f"WITH RECURSIVE {HEIRS} SELECT relid::bigint FROM heirs"
NAMED = """
    SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN (SELECT %s AS schema, %s::text[] AS path) it
    WHERE c.relname = %s AND CASE WHEN schema <> '' THEN n.nspname = schema WHEN path IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = ANY(path) END
    ORDER BY array_position(path, n.nspname::text)"""
"""What a function names, also in a schema that this role may not use: to_regclass() would be refused."""
_WIDTH = "SELECT count(*) FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"

_STAR = r"""(?:OLD|NEW)\b"?(?:\s*\))?\s*\.\s*\*"""
_WHOLE = re.compile(rf"\b{_STAR}|\$\d+(?:\s*\))?\s*\.\s*\*", re.IGNORECASE)
_HARMLESS = re.compile(
    rf"(?:\bROW\b\s*)?[(\s]*\b{_STAR}[)\s]*(?:IS\s+(?:NOT\s+)?DISTINCT\s+FROM|=|<>|!=)\s*(?:\bROW\b\s*)?[(\s]*\b{_STAR}"
    rf"|\b(?!(?:VALUES|ROW|SELECT)\b)\w+\s*\(\s*{_STAR}\s*[,)]",
    re.IGNORECASE,
)
"""Rows that are compared, and those that are given to a function whole, such as to_jsonb(): they have another column, and that is all."""
_RUN = re.compile(r"\bINSERT\b[^;]*?(?:\.|\bSELECT)\s*\*", re.IGNORECASE)
"""An INSERT in a text that EXECUTE may run."""


class Sure(IntEnum):
    """Whether something is a row of the table, and so as wide as that."""

    NO = 0
    MAYBE = 1
    YES = 2


class Function(NamedTuple):
    """Of a trigger, or of several."""

    trigger: str
    of: str
    """The table of its trigger."""
    relid: int
    function: str
    called: str
    source: str
    own: bool
    """Whether it is a trigger of the table in question, so that OLD and NEW are rows of it."""
    old: str | None
    new: str | None
    """What it calls the transition tables."""
    path: list[str] | None
    """The search_path that it sets for itself, as one with the rights of its owner should; None if it looks where its caller does."""


class Insert(NamedTuple):
    """One that gives all columns of a row."""

    into: str
    """Empty where nobody can read it."""
    relid: int
    """Of what it goes into; 0 if that is not there: the function may make it itself."""
    sure: bool
    open: bool
    """Whether the columns of a row come last, and the table's are not named: what comes to both fits."""
    behind: int | None
    """How many values there are up to the last of them, as the row is now; None if nobody knows."""


class _Value(NamedTuple):
    """Of what an INSERT gives: a value, or all columns of something."""

    sure: Sure = Sure.NO
    wide: int | None = 1


class _Ranges(NamedTuple):
    """What a FROM offers: by name, and all of it, in the order of `*`."""

    named: Mapping[str, Sequence[_Value]]
    all: Sequence[_Value]


def inserts(rows: Rows, table: int, name: str, of: Function) -> tuple[list[Insert], str]:
    """The INSERTs of a function that give a whole row of a table, and what else it says that may; empty if nothing."""
    try:
        source = Source(of.source)
    except Unreadable:  # another language, with strings of its own
        return [], _suspect(of.source, of.own)
    reader, found, rest, at = _Reader(rows, table, name, of, source), list[Insert](), list[str](), 0
    while at < len(source.tokens):
        token = source.tokens[at]
        end = end_of(source.tokens, at) if token.kind in ("INSERT", "WITH") else at
        given = reader.inserts(of.source[token.begin : source.tokens[end - 1].end], token.kind == "INSERT") if end > at else []
        found += given
        if not given:
            rest.append(of.source[token.begin : token.end])
        at = end if given else at + 1
    return found, _suspect(" ".join(rest), of.own) or next((_run(text) for text in rest if text[-1] in "'$" and (of.own or speaks_of(text, name))), "")


def _suspect(text: str, own: bool) -> str:
    found = _WHOLE.search(_HARMLESS.sub(" ", text)) if own else None
    return re.sub(r"[\s)]", "", found[0]) if found else ""


def _run(text: str) -> str:
    found = _RUN.search(text)
    return in_a_line(found[0]) if found else ""


class _Reader:
    """Of one function. A name that is no table, nor one of WITH, is a variable of it."""

    def __init__(self, rows: Rows, table: int, name: str, of: Function, source: Source) -> None:
        self._rows, self._of, self._row = rows, of, of.relid if of.own else table
        self._family = {int(oid) for (oid,) in rows(_FAMILY, [table])}
        self._words = [of.source[each.begin : each.end] for each in source.tokens]
        self._with = dict[str, Any]()
        self._transitions = [each.lower() for each in (of.old, of.new) if each and of.own]
        hands = of.own and handed(source, "old", "new", *self._transitions)
        self._reaches = Sure.MAYBE if hands or speaks_of(" ".join(self._words), name) else Sure.NO
        self._width = cache(lambda oid: int(rows(_WIDTH, [oid])[0][0]))

    def inserts(self, text: str, begins: bool) -> list[Insert]:
        """Those that give a row, of a statement; of one that nobody can read and that ``begins`` one, as in MERGE, it may."""
        try:
            node = Source(text).parsed()[0].node
        except Unreadable:
            return [Insert("", 0, False, False, None)] if begins and self._reaches and re.search(r"\.\s*\*", text) else []
        if not node.HasField("insert_stmt"):
            return []
        self._with = {each.ctename.lower(): each.ctequery for each in postgast.find_nodes(node, _PB.CommonTableExpr)}
        return [given for each in postgast.find_nodes(node, _PB.InsertStmt) if (given := self._insert(each))]

    def _insert(self, insert: Any) -> Insert | None:
        values = self._values(insert.select_stmt)
        at = next((number for number, each in enumerate(values) if each.sure), None)
        if at is None:
            return None
        into, row = insert.relation, values[at].wide
        wide = [each.wide for each in values[:at]] + [self._width(self._row) if row is None else row]
        behind = None if None in wide else sum(each or 0 for each in wide)
        sure = behind is not None and max(each.sure for each in values) is Sure.YES
        return Insert(into.relname, self._oid(into), sure, at == len(values) - 1 and not insert.cols, behind)

    def _values(self, query: Any) -> list[_Value]:
        """What a query gives, a value each, or all columns of something; of a UNION, what the one gives that has a row."""
        if query.WhichOneof("node") is None:  # DEFAULT VALUES
            return []
        if not query.HasField("select_stmt"):  # WITH may have others, whose RETURNING gives what nobody follows
            return [_Value(self._reaches, None)]
        return self._selected(query.select_stmt)

    def _selected(self, select: Any) -> list[_Value]:
        if select.HasField("larg"):
            one, other = self._selected(select.larg), self._selected(select.rarg)
            return one if any(each.sure for each in one) else other
        ranges = self._joined([self._range(each) for each in select.from_clause])
        lists = [each.list.items for each in select.values_lists] or [[each.res_target.val for each in select.target_list]]
        found = [[given for value in values for given in self._given(value, ranges)] for values in lists]
        return next((values for values in found if any(each.sure for each in values)), found[0])

    def _given(self, value: Any, ranges: _Ranges) -> Sequence[_Value]:
        inner = value.a_indirection.arg if value.WhichOneof("node") == "a_indirection" else value
        stars = value.a_indirection.indirection if inner is not value else value.column_ref.fields
        if not stars or stars[-1].WhichOneof("node") != "a_star":
            return [_Value()]
        if inner.WhichOneof("node") != "column_ref":
            return [_Value(Sure.MAYBE if self._made_of(inner) else Sure.NO, None)]
        names = [each.string.sval.lower() for each in inner.column_ref.fields if each.WhichOneof("node") == "string"]
        if not names:
            return ranges.all
        if inner is not value and len(names) + len(stars) > 2:  # (OLD.address).*, (OLD).address.*
            return [_Value(Sure.NO, None)]
        if names[-1] in ranges.named:
            return ranges.named[names[-1]]
        return [_Value(Sure.YES if self._of.own and names[-1] in ("old", "new") else self._variable(names[-1]), None)]

    def _joined(self, ranges: Sequence[_Ranges]) -> _Ranges:
        return _Ranges({name: values for each in ranges for name, values in each.named.items()}, [value for each in ranges for value in each.all])

    def _range(self, node: Any) -> _Ranges:
        kind = node.WhichOneof("node")
        held = getattr(node, kind)
        if kind == "range_table_sample":
            return self._range(held.relation)
        alias = held.alias.aliasname.lower()
        if kind == "range_var":
            return _Ranges({alias or held.relname.lower(): (values := self._table(held))}, values)
        if kind == "range_subselect":
            return _Ranges({alias: (values := self._values(held.subquery))}, values)
        if kind != "join_expr":
            return _Ranges({alias: (values := [_Value(Sure.MAYBE if self._made_of(node) else Sure.NO, None)])}, values)
        both = self._joined([self._range(held.larg), self._range(held.rarg)])
        if held.using_clause or held.is_natural:  # what both have comes first, once
            both = _Ranges(both.named, [_Value(min(max((each.sure for each in both.all), default=Sure.NO), Sure.MAYBE), None)])
        return _Ranges({alias: both.all}, both.all) if alias else both

    def _table(self, relation: Any) -> list[_Value]:
        name = "" if relation.schemaname else relation.relname.lower()
        if name in self._with:
            query = self._with.pop(name)  # one that reads itself ends there
            values = self._values(query)
            self._with[name] = query
            return values
        if name in self._transitions:
            return [_Value(Sure.YES, self._width(self._row))]
        oid = self._oid(relation)
        return [_Value(Sure.YES if oid in self._family else Sure.NO, self._width(oid))] if oid else [_Value(self._reaches, None)]

    def _variable(self, name: str) -> Sure:
        """Whether it is a row of the table, by its declaration: `name users%ROWTYPE;` or `name users;`. If that says nothing, it may have been given one."""
        words, found = [each.lower() for each in self._words], list[Sure]()
        for at, word in enumerate(words[1:-1], 1):
            if word == name and words[at - 1] in ("declare", ";"):
                parts = re.match(r"""(?:"?(\w+)"? \. )?"?(\w+)"?(?: % rowtype)? (?:;|:=|=|default|not)""", " ".join(words[at + 1 : at + 7]))
                if parts and (table := self._named(parts[2], parts[1] or "")):
                    found.append(Sure.YES if table in self._family else Sure.NO)
        return max(found, default=self._reaches)

    def _made_of(self, node: Any) -> bool:
        """Whether an expression may be a row: it casts to the type of the table, or reads it, or has OLD or NEW in it."""
        names = [each for each in postgast.find_nodes(node, _PB.TypeName) if each.names]
        tables = [(each.relname, each.schemaname) for each in postgast.find_nodes(node, _PB.RangeVar)]
        tables += [(each.names[-1].string.sval, each.names[-2].string.sval if len(each.names) > 1 else "") for each in names]
        return any(self._named(*each) in self._family for each in tables) or (self._of.own and self._has_row(node))

    def _has_row(self, node: Any) -> bool:
        if isinstance(node, _PB.FuncCall) and node.funcname[-1].string.sval in OTHERWISE:
            return False
        if isinstance(node, _PB.ColumnRef):
            first = node.fields[0].string.sval.lower()
            return first in ("old", "new") and (len(node.fields) == 1 or node.fields[1].WhichOneof("node") == "a_star")
        held = [value for field, value in node.ListFields() if field.message_type]
        return any(self._has_row(part) for each in held for part in ([each] if hasattr(each, "ListFields") else each))

    def _oid(self, relation: Any) -> int:
        return self._named(relation.relname, relation.schemaname)

    def _named(self, name: str, schema: str) -> int:
        return next((int(oid) for (oid,) in self._rows(NAMED, [schema, self._of.path, name])), 0)
