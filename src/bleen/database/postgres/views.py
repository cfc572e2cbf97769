"""Which CREATE OR REPLACE VIEW PostgreSQL refuses: a view keeps the names, the types and the order of the columns that it has (manual: "CREATE VIEW")."""

from collections.abc import Iterator, Sequence
from typing import Any

import postgast

from bleen.database.migration import speaks_of
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.objects import alters
from bleen.database.postgres.trees import named, node_of, written
from bleen.database.statements import Statement

_PB = postgast.pg_query_pb2
_COLUMNS = """
    SELECT a.attname, a.atttypid::bigint, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE strpos(%s, c.relkind::text) > 0 AND a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_PLAIN = frozenset(
    f"{kind}_stmt"
    for kind in ("alter_table", "rename", "drop", "create", "index", "view", "create_function", "comment", "grant", "insert", "update", "delete", "select")
)
"""What leaves a view alone that it does not name, but for CASCADE."""


def changed(rows: Rows, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
    """The first that would give a view another column where it has one, and what to write; empty where none does, as far as their text tells."""
    past = list(before)
    for statement in statements:
        node, name = node_of(statement)
        if name == "view_stmt" and node.replace and all(_leaves(each, node.view.relname) for each in past):
            for why in _differences(rows, node, past):
                return f"{statement.brief}: {why}, or make the view by another name in expand.sql"
        past.append(statement)
    return ""


def _leaves(statement: Statement, view: str) -> bool:
    node, name = node_of(statement)
    return name in _PLAIN and getattr(node, "behavior", 0) != _PB.DROP_CASCADE and not speaks_of(statement.text, view)


def _differences(rows: Rows, view: Any, past: Sequence[Statement]) -> Iterator[str]:
    called, select = view.view.relname, view.query.select_stmt
    while select.HasField("larg"):
        select = select.larg
    there, aliases = rows(_COLUMNS, ["v", named(view.view)]), [each.string.sval for each in view.aliases]
    for at, (name, kind, type) in enumerate(there):
        if at == len(select.target_list):
            if at:
                yield f"view {called} has a column {name}, which PostgreSQL does not drop from it: give it one by that name, in its place"
            return
        value = select.target_list[at].res_target.val
        fields = value.column_ref.fields
        if fields and fields[-1].HasField("a_star"):  # nobody counts how many these are
            return
        given = aliases[at] if at < len(aliases) else select.target_list[at].res_target.name or (fields[-1].string.sval if fields else name)
        if given != name:
            yield f"column {at + 1} of view {called} is {name}, which PostgreSQL does not rename in it: write `AS {name}` there"
        other = _type(rows, select, value, past)
        if other not in (0, kind):
            yield f"column {name} of view {called} is {type}, and PostgreSQL gives it no other type: write `CAST(… AS {type})` there"


def _type(rows: Rows, select: Any, value: Any, past: Sequence[Statement]) -> int:
    """The type of a value; 0 where its text does not tell."""
    if value.HasField("type_cast"):
        return _of_name(rows, value.type_cast.type_name)
    names = [each.string.sval for each in value.column_ref.fields]
    tables = list(_tables(select.from_clause))
    if not names or len(names) > 2 or None in tables or select.HasField("with_clause"):
        return 0
    asked = [each for each in tables if len(names) == 1 or names[0] == (each.alias.aliasname or each.relname)]
    found = [kind for each in asked for kind in _of_column(rows, named(each), names[-1], past)]
    return found[0] if len(found) == 1 else 0


def _tables(clause: Sequence[Any]) -> Iterator[Any]:
    """What a FROM reads, None for what is no table's name."""
    for each in clause:
        if each.HasField("join_expr"):
            yield from _tables([each.join_expr.larg, each.join_expr.rarg])
        else:
            yield each.range_var if each.HasField("range_var") else None


def _of_column(rows: Rows, table: str, column: str, past: Sequence[Statement]) -> Iterator[int]:
    """The type of a column of a table, once what comes before was run; 0 where that changes it."""
    there = rows(_COLUMNS, ["rp", table])
    yield from (kind for name, kind, _ in there if name == column)
    for statement in past:
        for command in alters(rows, statement, table):
            definition = getattr(command, "def").column_def
            if command.subtype == _PB.AT_AddColumn and definition.colname == column:
                yield _of_name(rows, definition.type_name)
            elif command.subtype == _PB.AT_AlterColumnType and command.name == column:
                yield 0
        node, name = node_of(statement)
        if name == "rename_stmt" and column in (node.subname, node.newname):
            yield 0


def _of_name(rows: Rows, type: Any) -> int:
    names = [each.string.sval for each in type.names]
    return int(rows("SELECT coalesce(to_regtype(%s)::oid::bigint, 0)", [written(names) + "[]" * bool(type.array_bounds)])[0][0])
