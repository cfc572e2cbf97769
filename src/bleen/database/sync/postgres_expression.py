"""The expressions of a pair as PostgreSQL reads them: which columns they name, and the same expression over other names."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from postgast import pg_query_pb2 as pb

from bleen.database.parser import Source
from bleen.database.statements import Unreadable
from bleen.database.sync.expression import Expression, Reference
from bleen.errors import Refused

_BEFORE, _AFTER = "SELECT (\n", "\n)"

_UNFIT = {
    "SubLink": "has a subquery; a row is made from its own columns alone",
    "SQLValueFunction": "asks for the time or the user; it must give the same for the same row, always",
    "ParamRef": "has a parameter ($1)",
    "GroupingFunc": "has GROUPING, which is for queries of many rows",
    "SetToDefault": "has DEFAULT; write the value",
    "CurrentOfExpr": "has CURRENT OF, which is for cursors",
    "MergeSupportFunc": "has merge_action(), which is for MERGE",
}


def read(text: str, what: str, table: str, columns: Collection[str]) -> Expression:
    """An expression that may name ``columns``, alone or after ``table``. Raises Refused, beginning with ``what``, if it is not one, or if it needs
    more than the columns.
    """
    try:
        source = Source(_BEFORE + text + _AFTER)
        statements = source.parsed()
    except Unreadable as error:
        raise Refused(f"{what} is no expression that PostgreSQL understands: {error}") from None
    select = statements[0].node.select_stmt
    parts = {field.name for field, _ in select.ListFields()} - {"limit_option", "op"}
    one = len(statements) == 1 and parts == {"target_list"} and len(select.target_list) == 1
    if not one or select.target_list[0].res_target.val.row_expr.row_format == pb.COERCE_IMPLICIT_CAST:
        raise Refused(f"{what} is more than one expression")
    begin, end = len(_BEFORE), len(source.text) - len(_AFTER)
    inner = [token for token in source.tokens if begin <= token.begin < end]
    first, last = inner[0].begin, inner[-1].end  # without the comments around it
    references, functions, types = [], [], []
    for name, node in _nodes(select):
        if name in _UNFIT:
            raise Refused(f"{what} {_UNFIT[name]}")
        if name == "FuncCall":
            if node.HasField("over") or node.agg_star or node.agg_distinct or node.agg_within_group or node.agg_order or node.HasField("agg_filter"):
                raise Refused(f"{what} has an aggregate or a window; a row is made from its own columns alone")
            functions.append(tuple(part.string.sval for part in node.funcname))
        elif name == "TypeName":
            types.append(node.names[-1].string.sval)
        elif name == "ColumnRef":
            found = _reference(source, node, what, table, columns)
            references.append(Reference(found.column, found.begin - first, found.end - first))
    return Expression(source.text[first:last], tuple(sorted(references, key=lambda r: r.begin)), tuple(functions), tuple(types))


def casts(text: str) -> Iterator[tuple[str, str]]:
    """The casts of an expression, as the column that is cast and the type; but for those inside a CASE, which is there to look first."""
    try:
        tree = Source(_BEFORE + text + _AFTER).parsed()[0].node
    except Unreadable:
        return
    for name, node in _nodes(tree, beyond="CaseExpr"):
        if name == "TypeCast":
            for inner, column in _nodes(node.arg):
                if inner == "ColumnRef":
                    yield column.fields[-1].string.sval, node.type_name.names[-1].string.sval


def longest(text: str, lengths: Mapping[str, float]) -> float | None:
    """How many characters a string may have that an expression makes of columns with so many; None if that is not known."""
    try:
        return _longest(Source(_BEFORE + text + _AFTER).parsed()[0].node.select_stmt.target_list[0].res_target.val, lengths)
    except Unreadable:
        return None


def _longest(node: Any, lengths: Mapping[str, float]) -> float | None:
    kind = str(node.WhichOneof("node"))
    part = getattr(node, kind)
    called = part.funcname[-1].string.sval if kind == "func_call" else ""
    if kind == "column_ref":
        return lengths.get(part.fields[-1].string.sval)
    if kind == "a_const":
        return len(part.sval.sval) if part.isnull or part.HasField("sval") else None
    if kind == "case_expr":
        return _of_all(max, [*(each.case_when.result for each in part.args), *([part.defresult] if part.HasField("defresult") else [])], lengths)
    if kind == "coalesce_expr":
        return _of_all(max, part.args, lengths)
    if kind == "a_expr" and [each.string.sval for each in part.name] == ["||"]:
        return _of_all(sum, [part.lexpr, part.rexpr], lengths)
    if called in ("concat", "concat_ws"):
        between = [part.args[0]] * (len(part.args) - 2) if called == "concat_ws" else []
        return _of_all(sum, [*(part.args[1:] if called == "concat_ws" else part.args), *between], lengths)
    return _longest(part.args[0], lengths) if called in ("btrim", "ltrim", "rtrim", "lower", "upper", "initcap") and part.args else None


def _of_all(how: Callable[[list[float]], float], parts: Iterable[Any], lengths: Mapping[str, float]) -> float | None:
    found = [_longest(each, lengths) for each in parts]
    known = [each for each in found if each is not None]
    return how(known) if len(known) == len(found) else None


def constant(default: str) -> bool:
    """Whether a column's default, as the catalogue has it, is the same for every row: it calls nothing."""
    try:
        tree = Source(_BEFORE + default + _AFTER).parsed()[0].node
    except Unreadable:
        return False  # of a later PostgreSQL than the parser's
    return not any(name in ("FuncCall", "SQLValueFunction") for name, _ in _nodes(tree))


def _reference(source: Source, node: Any, what: str, table: str, columns: Collection[str]) -> Reference:
    begin = source.characters(node.location)
    at = next(number for number, token in enumerate(source.tokens) if token.begin == begin)
    tokens = source.tokens[at : at + 2 * len(node.fields) - 1]  # name . name . name
    written = source.text[begin : tokens[-1].end]
    if any(token.kind == "UIDENT" for token in tokens):
        raise Refused(f"{what} names a column with U&: write {written} in plain double quotes")
    names = [part.string.sval if part.HasField("string") else "*" for part in node.fields]
    if len(names) > 1 and names[-2] != table:
        raise Refused(f"{what} names {written}; it can name columns of {table} only")
    if names[-1] not in columns:
        if folded := [column for column in columns if column.lower() == names[-1]]:
            raise Refused(f'{what} names {written}, which PostgreSQL reads as {names[-1]}: write "{folded[0]}" in double quotes')
        raise Refused(f"{what} names {written}; it can be made from {', '.join(columns)} only")
    return Reference(names[-1], begin, tokens[-1].end)


def _nodes(message: Any, beyond: str = "") -> Iterator[tuple[str, Any]]:
    """Every message of a syntax tree, and the name of its kind; none of one of the kind ``beyond``, nor inside it."""
    if message.DESCRIPTOR.name == beyond:
        return
    yield message.DESCRIPTOR.name, message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else (value,):
                yield from _nodes(each, beyond)
