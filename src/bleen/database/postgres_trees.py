"""The syntax trees of single statements of PostgreSQL, and the names in them."""

from typing import Any

import postgast
from psycopg import sql

from bleen.database.statements import Statement, Unreadable


def node_of(statement: Statement) -> tuple[Any, str]:
    """The parse tree of one statement, and the name of its kind."""
    try:
        tree = postgast.parse(statement.text).stmts
    except postgast.PgQueryError as error:
        raise Unreadable(str(error), statement.at) from None
    name = tree[0].stmt.WhichOneof("node") or ""
    return getattr(tree[0].stmt, name), name


def dropped(drop: Any) -> list[str]:
    """What a DROP names."""
    return [sql.Identifier(*(part.string.sval for part in each.list.items)).as_string() for each in drop.objects]


def last(named: Any) -> str:
    """The last part of the name of a function, a type or a collation, in lower case."""
    what = named.WhichOneof("node")
    if what == "string":
        return str(named.string.sval).lower()
    held = getattr(named, what)
    parts = held.objname if what == "object_with_args" else held.names if what == "type_name" else held.items
    return str(parts[-1].string.sval).lower()


def named(relation: Any) -> str:
    """A relation of the parse tree as SQL writes it."""
    return sql.Identifier(*(part for part in (relation.schemaname, relation.relname) if part)).as_string()
