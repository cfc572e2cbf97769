"""Whether a function of PostgreSQL's hands a row on to something that may read it by a name, a variable, say; and which names in it are of what it writes.

A row that is compared, that is returned, or that is written as JSON into a log, nobody reads by name.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import postgast

from bleen.database.parser import Source, Token
from bleen.database.statements import Unreadable

_PB = postgast.pg_query_pb2
OTHERWISE = frozenset("to_jsonb to_json row_to_json hstore".split())
"""Functions that make something else of a row."""
_PASSES = frozenset(
    "json_build_object jsonb_build_object json_build_array jsonb_build_array jsonb_strip_nulls hstore_to_json hstore_to_jsonb pg_notify".split()
)
"""Those that read nothing of what they are given."""

_ROW = r"(?<![\w.$] )\b(?:old|new)(?: \. \*)?(?= |$)(?! \.)"
_MADE = rf"(?:\w+ \. )?(?:{'|'.join(sorted(OTHERWISE))}) \( {_ROW} \)(?: - (?:''|[\w$]+))*"
_UNEQUAL = r" (?:is (?:not )?distinct from|=|<>|!=) "
_READS_NOTHING = re.compile(
    rf"(?:\brow )?(?:\( )*\b(?:old|new)(?: \. \*)?(?: \))*{_UNEQUAL}(?:row )?(?:\( )*\b(?:old|new)(?: \. \*)?(?= |$)(?! \.)(?: \))*"
    rf"|(?:\( )*{_MADE}(?: \))*{_UNEQUAL}(?:\( )*{_MADE}(?: \))*"
    r"|\breturn (?:coalesce \( )?(?:old|new)(?: , (?:old|new))*(?: \))?(?= ;|$)"
    r"|\( (?:old|new) \) \. (?!\*)"
)
"""Rows compared with each other, with less of them too; rows returned; a column of one."""


def handed(source: Source, *rows: str) -> bool:
    """Whether a row that a function calls so may get to something that reads it."""
    names, values = _written(source.text)
    words = [
        "''" if each.kind == "SCONST" else source.text[each.begin : each.end].lower().strip('"')
        for each in source.tokens
        if not any(begin <= each.begin < end for begin, end in (*(span for span, _ in names), *values))
    ]
    rest = _READS_NOTHING.sub(" ", " ".join(words))
    return any(re.search(rf"(?<![\w$]){re.escape(row)}(?![\w$])(?: \. \*|(?! \.))", rest) for row in rows)


def without_targets(source: Source, table: str) -> str:
    """A function without its comments, which say nothing, and may stand in the midst of a name; nor with the columns that it gives to other tables."""
    away = [(each.begin, each.end) for each in source.comments]
    away += [span for span, of in _written(source.text)[0] if of.lower() != table.lower()]
    text, at = "", 0
    for begin, end in sorted(away):
        text, at = f"{text}{source.text[at:begin]} ", end
    return text + source.text[at:]


@lru_cache(maxsize=64)
def _written(text: str) -> tuple[list[tuple[tuple[int, int], str]], list[tuple[int, int]]]:
    """Where the columns are named that a function gives to a table, with the table's name, or the keys that it gives to JSON; and the rows among the values,
    as a whole or as JSON.
    """
    source, at = Source(text), 0
    names, values = [(span, "") for span in _keys(source)], list[tuple[int, int]]()
    while at < len(source.tokens):
        token = source.tokens[at]
        performs = text[token.begin : token.end].lower() == "perform"
        end = end_of(source.tokens, at) if token.kind in ("INSERT", "UPDATE", "WITH") or performs else at
        if end > at and (read := _parsed(text[token.begin : source.tokens[end - 1].end])):
            inner, node = read
            starts = {each.begin: each for each in source.tokens[at:end]}

            def place(location: int, inner: Source = inner, base: int = token.begin) -> int:
                return base + inner.characters(location)

            for location, of in _targets(node):
                if found := starts.get(place(location)):
                    names.append(((found.begin, found.end), of))
            for location, called in _straight(node, performs):
                first = source.tokens.index(starts[place(location)])
                last = _closes(source.tokens, first) if called else first
                values.append((source.tokens[first].begin, source.tokens[last].end))
            at = end
        else:
            at += 1
    return names, values


def _keys(source: Source) -> Iterator[tuple[int, int]]:
    """Strings that are keys of what json_build_object() makes."""
    for at, call in enumerate(source.tokens):
        if source.text[call.begin : call.end].lower() in ("json_build_object", "jsonb_build_object"):
            depth = commas = 0
            inside = source.tokens[at : _closes(source.tokens, at) + 1]
            for before, token, behind in zip(inside, inside[1:], inside[2:], strict=False):
                depth += (token.kind == "ASCII_40") - (token.kind == "ASCII_41")
                commas += depth == 1 and token.kind == "ASCII_44"
                if depth == 1 and commas % 2 == 0 and token.kind == "SCONST" and before.kind in ("ASCII_40", "ASCII_44") and behind.kind == "ASCII_44":
                    yield token.begin, token.end


def _parsed(text: str) -> tuple[Source, Any] | None:
    """A statement of PL/pgSQL as SQL; where PERFORM stands, SELECT and a space take as much room."""
    try:
        source = Source(re.sub(r"^perform", "SELECT ", text, flags=re.IGNORECASE))
        return source, source.parsed()[0].node
    except (Unreadable, IndexError):
        return None


def _targets(node: Any) -> Iterator[tuple[int, str]]:
    for each in postgast.find_nodes(node, _PB.InsertStmt):
        yield from ((one.res_target.location, each.relation.relname) for one in (*each.cols, *each.on_conflict_clause.target_list))
    for each in postgast.find_nodes(node, _PB.UpdateStmt):
        yield from ((one.res_target.location, each.relation.relname) for one in each.target_list)


def _straight(node: Any, performs: bool) -> Iterator[tuple[int, bool]]:
    """Rows among the values that are written, or that PERFORM gives to what reads nothing of them; with each, whether a function is called with it."""
    for each in postgast.find_nodes(node, _PB.InsertStmt):
        select = each.select_stmt.select_stmt
        lists = [one.list.items for one in select.values_lists] or [[one.res_target.val for one in select.target_list]]
        yield from (found for values in lists for value in values for found in _rows(value))
    for each in postgast.find_nodes(node, _PB.UpdateStmt):
        yield from (found for one in each.target_list for found in _rows(one.res_target.val))
    if performs:
        values = [one.res_target.val for one in node.select_stmt.target_list]
        yield from (found for value in values if value.WhichOneof("node") == "func_call" for found in _rows(value))


def _rows(value: Any) -> Iterator[tuple[int, bool]]:
    kind = value.WhichOneof("node")
    held: Any = getattr(value, kind) if kind else None
    if kind == "column_ref" and len(held.fields) == 1 and held.fields[0].string.sval.lower() in ("old", "new"):
        yield held.location, False
    elif kind == "type_cast":
        yield from _rows(held.arg)
    elif kind == "a_expr" and held.name and held.name[-1].string.sval == "-":
        yield from (found for each in (held.lexpr, held.rexpr) for found in _rows(each))
    elif kind == "coalesce_expr":
        yield from (found for each in held.args for found in _rows(each))
    elif kind == "case_expr":
        yield from (found for each in (*(when.case_when.result for when in held.args), held.defresult) for found in _rows(each))
    elif kind == "func_call" and held.funcname[-1].string.sval in OTHERWISE:
        yield held.location, True
    elif kind == "func_call" and held.funcname[-1].string.sval in _PASSES:
        yield from (found for each in held.args for found in _rows(each))


def _closes(tokens: Sequence[Token], at: int) -> int:
    """Where a call ends that begins here."""
    depth = 0
    for number in range(at, len(tokens)):
        depth += (tokens[number].kind == "ASCII_40") - (tokens[number].kind == "ASCII_41")
        if depth == 0 and tokens[number].kind == "ASCII_41":
            return number
    return at


def end_of(tokens: Sequence[Token], at: int) -> int:
    """Where a statement ends that may be part of something, before its RETURNING: behind that, PL/pgSQL says INTO."""
    depth = 0
    for number in range(at + 1, len(tokens)):
        kind = tokens[number].kind
        depth += (kind == "ASCII_40") - (kind == "ASCII_41")
        if depth < 0 or (depth == 0 and kind in ("ASCII_59", "RETURNING")):
            return number
    return len(tokens)
