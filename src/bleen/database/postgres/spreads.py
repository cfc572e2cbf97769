"""Which trigger functions on PostgreSQL spread whole rows: `INSERT INTO history SELECT OLD.*` gives as many values as the row then has columns. With one
more, the write that fires it fails; with one less, what comes behind lands in another column, unseen. Such a function is a text to the server (manual: INSERT).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import postgast

from bleen.database.catalogue import Spreading
from bleen.database.migration import speaks_of
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.trees import named, node_of, written
from bleen.database.postgres.triggers import PREFIX
from bleen.database.postgres.wholes import HEIRS, PATH, Function, inserts
from bleen.database.statements import Statement

_PB = postgast.pg_query_pb2
_FUNCTIONS = rf"""
    WITH RECURSIVE {HEIRS}, fired AS (
        SELECT DISTINCT ON (p.oid, own, t.tgoldtable, t.tgnewtable)
            t.tgname, t.tgrelid::regclass::text AS of, t.tgrelid::bigint, p.oid::regprocedure::text AS function, p.proname, p.prosrc,
            t.tgrelid IN (SELECT relid FROM heirs) AS own, t.tgoldtable, t.tgnewtable, {PATH}
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND NOT starts_with(t.tgname, %s) AND p.prosrc ~* '\*|\mTABLE\M'
        ORDER BY p.oid, own, t.tgoldtable, t.tgnewtable, t.tgrelid, t.tgname)
    SELECT * FROM fired ORDER BY 2, 1"""
"""Each function once, and the first of its triggers: those of the table and of what inherits from it, and of others, which may read the table."""
_TABLE = "SELECT oid::bigint FROM pg_class WHERE oid = to_regclass(%s)"
_COLUMNS = "SELECT attname, atttypid::text FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
_INHERITS = f"WITH RECURSIVE {HEIRS} SELECT 1 FROM heirs WHERE relid = %s"
_OID = "CASE WHEN {0} ~ '^[0-9]+$' THEN {0}::oid ELSE to_regtype({0})::oid END"
_TAKES = f"""
    SELECT s IS NULL OR t IS NULL OR s = t OR typcategory IN ('S', 'A') OR typtype = 'd'
        OR EXISTS (SELECT FROM pg_cast WHERE (castsource, casttarget) = (s, t) AND castcontext <> 'e')
    FROM (SELECT {_OID.format("given")}, {_OID.format("taken")} FROM (SELECT %s, %s) asked(given, taken)) types(s, t) LEFT JOIN pg_type ON pg_type.oid = t"""
"""Whether an INSERT gives a value of one type to a column of another (manual: "Value Storage"); where nobody knows, it does."""
_KEEPS = frozenset(
    f"{kind}_stmt"
    for kind in ("index", "reindex", "comment", "insert", "update", "delete", "merge", "grant", "create_stats", "create_policy", "vacuum", "lock", "truncate")
)
"""What changes no columns and no trigger, whatever it speaks of."""


class _Column(NamedTuple):
    name: str
    type: str
    """As a statement says it; or its oid; empty where it is another one by then."""


class _Shapes:
    """The columns of tables, as statements make them one after the other."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known = dict[int, list[_Column]]()
        self.said = ""
        """Statements of which it is not known what they do to the columns of what they speak of."""

    def of(self, table: int) -> list[_Column]:
        if table not in self._known:
            self._known[table] = self.found(table)
        return self._known[table]

    def found(self, table: int) -> list[_Column]:
        return [_Column(name, kind) for name, kind in self._rows(_COLUMNS, [table])]

    def ran(self, statement: Statement, table: int, kind: str, comes: Sequence[_Column], goes: Sequence[str], commands: Sequence[Any]) -> None:
        retyped = [each.name for each in commands if each.subtype == _PB.AT_AlterColumnType]
        if table:
            kept = [each._replace(type="") if each.name in retyped else each for each in self.of(table) if each.name not in goes]
            self._known[table] = [*kept, *comes]
        if kind not in _KEEPS and not (table and commands):
            self.said += f"\n{statement.text};"


def spreading(rows: Rows, statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Spreading]:
    """Implements ``Catalogue.spreading``. What a statement before it speaks of may be such by then that it is right."""
    shapes, said = _Shapes(rows), ""
    for number, statement in enumerate((*before, *statements)):
        node, kind = node_of(statement)
        commands = [each.alter_table_cmd for each in node.cmds] if kind == "alter_table_stmt" else []
        table = next((oid for (oid,) in rows(_TABLE, [named(node.relation)])), 0) if commands else 0
        there = [each.name for each in shapes.of(table)] if table else []
        added = [getattr(each, "def").column_def for each in commands if each.subtype == _PB.AT_AddColumn]
        comes = [_Column(each.colname, _type(each.type_name)) for each in added if each.colname not in there]
        goes = [each.name for each in commands if each.subtype == _PB.AT_DropColumn and each.name in there]
        if number >= len(before) and there and (comes or goes):
            for each in (Function(*row) for row in rows(_FUNCTIONS, [table, PREFIX])):
                if not (speaks_of(said, each.called) or speaks_of(said, each.trigger)):
                    yield from _spread(rows, shapes, statement, (table, node.relation.relname), each, comes, goes)
        shapes.ran(statement, table, kind, comes, goes, commands)
        said += "" if kind in _KEEPS else f"\n{statement.text};"


def _spread(
    rows: Rows, shapes: _Shapes, statement: Statement, table: tuple[int, str], of: Function, comes: Sequence[_Column], goes: Sequence[str]
) -> Iterator[Spreading]:
    found, suspect = inserts(rows, *table, of)
    runs, more = f"trigger {of.trigger} on table {of.of} runs {of.function}", ", ".join(each.name for each in comes)
    for each in found:
        if rows(_INHERITS, [table[0], each.relid]):  # it gets what its parent gets
            continue
        does = f"{runs}, whose INSERT{each.into and f' INTO {each.into}'} {'gives' if each.sure else 'may give'} all columns of a row without naming them"
        if goes:
            yield Spreading(statement, f"{does}: without {', '.join(goes)}, values land in other columns, unseen, or the write fails", of.trigger, fails=False)
        at = None if each.behind is None else each.behind + len(shapes.of(table[0])) - len(shapes.found(table[0]))
        into = [] if at is None else shapes.of(each.relid)[at : at + len(comes)]
        if comes and not (each.open and _fits(rows, comes, into)):
            unless = f", unless {each.into} gets {more} first, as its next columns and of the same type" if each.open else ""
            sure = each.sure and bool(each.relid) and not speaks_of(shapes.said, each.into)
            fails = "values land in other columns, or every write fails" if len(into) == len(comes) else "every write fails"
            yield Spreading(statement, f"{does}: with {more}, {fails} that fires it{unless}", of.trigger, sure)
    if suspect:
        why = "that is more or fewer values from then on, and may fail the write where they land"
        yield Spreading(statement, f"{runs}, which says {suspect}: {why}", of.trigger, fails=False)


def _fits(rows: Rows, comes: Sequence[_Column], into: Sequence[_Column]) -> bool:
    """Whether these are the columns that come to the row."""
    same = [each.name for each in into] == [each.name for each in comes]
    return same and all(rows(_TAKES, [given.type, taken.type])[0][0] for given, taken in zip(comes, into, strict=True) if given.type and taken.type)


def _type(name: Any) -> str:
    return written([part.string.sval for part in name.names]) + "[]" * len(name.array_bounds)
