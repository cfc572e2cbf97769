"""What PostgreSQL keeps of a statement with CONCURRENTLY that failed or was killed half way (manual: CREATE INDEX, "Building Indexes Concurrently";
REINDEX, "Rebuilding Indexes Concurrently"; ALTER TABLE, DETACH PARTITION).

An INVALID index is no harmless leftover: a unique one goes on to refuse rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import postgast
from psycopg import sql

from bleen.database.postgres.trees import named
from bleen.database.server import Values

Rows = Callable[[str, Values], list[tuple[Any, ...]]]
"""Runs a statement, and returns what it does."""

_INVALID = (
    "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND n.nspname <> 'pg_toast' AND "
)


def built(create: Any) -> str:
    """The index that a CREATE INDEX makes, in the schema of its table."""
    return sql.Identifier(*(part for part in (create.relation.schemaname, create.idxname) if part)).as_string()


def invalid(rows: Rows, node: Any, kind: str) -> Sequence[str]:
    """The INVALID indexes that a CREATE INDEX or REINDEX has left; none for any other statement."""
    if kind == "index_stmt":  # without a name, it was never begun
        return [name for (name,) in rows(_INVALID + "i.indexrelid = to_regclass(%s)", [built(node)])] if node.idxname else []
    if kind != "reindex_stmt":
        return []
    pb, transient = postgast.pg_query_pb2, _INVALID + "c.relname ~ '_cc(new|old)[0-9]*$'"
    if node.kind == pb.REINDEX_OBJECT_INDEX:
        found = rows(f"{transient} AND i.indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%s))", [named(node.relation)])
    elif node.kind == pb.REINDEX_OBJECT_TABLE:
        found = rows(f"{transient} AND i.indrelid = to_regclass(%s)", [named(node.relation)])
    elif node.kind == pb.REINDEX_OBJECT_SCHEMA:
        found = rows(f"{transient} AND n.nspname = %s", [node.name])
    else:
        found = rows(transient, [])
    return [name for (name,) in found]


def undetached(rows: Rows, alter: Any, text: str) -> str:
    """What a DETACH PARTITION ... CONCURRENTLY that was begun before still has to say: all of ``text``, its end, or nothing."""
    parent, child = named(alter.relation), named(getattr(alter.cmds[0].alter_table_cmd, "def").partition_cmd.name)
    begun = rows("SELECT inhdetachpending FROM pg_inherits WHERE inhparent = to_regclass(%s) AND inhrelid = to_regclass(%s)", [parent, child])
    if not begun:
        return ""
    return f"ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE" if begun[0][0] else text
