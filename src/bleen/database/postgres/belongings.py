"""What a statement on PostgreSQL takes along that no text tells of: an index of a partition becomes part of one of the whole table, by itself, and is dropped
with it (manual: CREATE INDEX, "ALTER TABLE … ATTACH PARTITION"; "Dependency Tracking"). The catalogue knows, once the statement was run.
"""

from collections.abc import Iterator

from bleen.database.migration import speaks_of
from bleen.database.parser import Source
from bleen.database.postgres.leftovers import Rows
from bleen.database.reverting import HOW

_TAKEN_IN = """
    SELECT DISTINCT coalesce(c.relname, k.conname), t.relname FROM pg_depend d
    LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid LEFT JOIN pg_index i ON i.indexrelid = c.oid
    LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    JOIN pg_class t ON t.oid = coalesce(i.indrelid, k.conrelid, c.oid)
    WHERE d.xmin = pg_current_xact_id()::xid AND d.deptype IN ('a', 'i', 'P', 'S') AND d.objsubid = 0
    AND EXISTS (SELECT FROM pg_depend o WHERE o.classid = d.classid AND o.objid = d.objid AND o.xmin <> pg_current_xact_id()::xid)
    ORDER BY 1"""
"""What belongs to something else only since this transaction, and its table: what it hangs on otherwise is older, and so is it."""
_TABLES = "SELECT oid::bigint, relname FROM pg_class WHERE relkind IN ('r', 'p', 'f', 'm') AND relpersistence <> 't' AND oid >= 16384"

_OURS = "SELECT relation::bigint FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode = 'AccessExclusiveLock'"
"""What nobody else can have dropped meanwhile."""


class Belongings:
    """Looks at the catalogue when it is made, in the transaction whose statements are then run."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._tables = rows, rows(_TABLES, ())

    def taken_in(self, spoken: str) -> Iterator[str]:
        """What the statements have made part of something else, and a text does not name."""
        made = _made(spoken)
        for name, table in self._rows(_TAKEN_IN, ()) if spoken else ():
            if not speaks_of(spoken, name) and table not in made:
                yield f"{name}{f' of {table}' if table != name else ''}, there before, becomes part of what it makes, and would be dropped with it; {HOW}"

    def gone(self, named: str) -> Iterator[str]:
        """The tables that the statements have dropped, and a text does not name."""
        left, ours = ({oid for oid, *_ in self._rows(query, ())} for query in (_TABLES, _OURS)) if named else (set(), set())
        for oid, name in self._tables:
            if oid in ours - left and not speaks_of(named, name):
                yield f"the table {name}, which the expand does not name, would be dropped with it; DETACH or drop it first, if it may go"


def _made(text: str) -> set[str]:
    """The tables that a text makes."""
    return {each.node.create_stmt.relation.relname for each in Source(text).parsed() if each.node.HasField("create_stmt")}
