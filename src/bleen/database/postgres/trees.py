"""The syntax trees of single statements of PostgreSQL, and the names in them."""

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from bleen.database.parser import Source
from bleen.database.statements import Statement, Unreadable


def node_of(statement: Statement) -> tuple[Any, str]:
    """The parse tree of one statement, and the name of its kind."""
    try:
        node = Source(statement.text).parsed()[0].node
    except Unreadable as error:
        raise Unreadable(str(error), statement.at) from None
    name = node.WhichOneof("node") or ""
    return getattr(node, name), name


def dropped(drop: Any) -> list[str]:
    """What a DROP names."""
    return [written(parts(each)) for each in drop.objects]


def parts(named: Any) -> list[str]:
    """The parts of the name of something that is dropped."""
    what = named.WhichOneof("node")
    held = getattr(named, what)
    found = held.objname if what == "object_with_args" else held.names if what == "type_name" else held.items if what == "list" else [named]
    return [str(part.string.sval) for part in found]


def written(name: Sequence[str]) -> str:
    """The parts of a name as SQL writes it."""
    return sql.Identifier(*name).as_string()


def last(named: Any) -> str:
    """The last part of the name of a function, a type or a collation, in lower case."""
    return parts(named)[-1].lower()


def named(relation: Any) -> str:
    """A relation of the parse tree as SQL writes it."""
    return written([part for part in (relation.schemaname, relation.relname) if part])
