"""What PostgreSQL's catalogue says of statements before they run."""

from collections.abc import Sequence
from typing import Any

import postgast
from psycopg import sql

from bleen.database.catalogue import Catalogue, Going, Needing, Otherwise, Outgrown, Spreading
from bleen.database.migration import Pair
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.needing import needing
from bleen.database.postgres.objects import alters, behind, held, lacking
from bleen.database.postgres.outgrown import outgrown
from bleen.database.postgres.published import called, comes
from bleen.database.postgres.risks import risks
from bleen.database.postgres.spreads import spreading
from bleen.database.postgres.standing import otherwise
from bleen.database.postgres.trees import dropped, named, node_of
from bleen.database.postgres.triggers import fired
from bleen.database.postgres.views import changed
from bleen.database.statements import Statement

_MERGED = """
    SELECT c.relname FROM pg_partition_tree(to_regclass(%s)) p JOIN pg_index i ON i.indrelid = p.relid JOIN pg_class c ON c.oid = i.indexrelid
    WHERE p.level > 0 AND NOT c.relispartition AND i.indisunique = %s AND %s::text[] = ARRAY(
        SELECT coalesce(a.attname, '')::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, at)
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.at)
    ORDER BY 1"""

_GOING = """
    SELECT t.said, CASE WHEN c.contype = 'c' THEN 'CHECK' WHEN c.contype = 'x' THEN 'EXCLUDE' WHEN i.indisunique THEN 'UNIQUE' ELSE 'INDEX' END,
        coalesce(c.conname, x.relname), array_agg(DISTINCT a.attname::text),
        coalesce(pg_get_expr(c.conbin, c.conrelid), substring(pg_get_indexdef(i.indexrelid) FROM ' (USING .*)'))
    FROM unnest(%s::text[]) t (said) JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(t.said) AND d.refobjsubid > 0
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid AND c.conrelid = d.refobjid AND c.contype IN ('c', 'u', 'x')
    LEFT JOIN pg_index i ON i.indexrelid = CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid ELSE nullif(c.conindid, 0) END
    LEFT JOIN pg_class x ON x.oid = i.indexrelid
    WHERE c.oid IS NOT NULL OR i.indexrelid IS NOT NULL GROUP BY 1, 2, 3, 5 ORDER BY 1, 3"""
"""An index over an expression, or of a part of the rows, needs the columns that it speaks of, too."""


class PostgresCatalogue(Catalogue):
    """Asks by ``rows``."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def unable(self, statement: Statement) -> str:
        node, name = node_of(statement)
        if name == "drop_stmt" and node.concurrent:
            many = [each for each in dropped(node) if self._rows("SELECT 1 FROM pg_class WHERE oid = to_regclass(%s) AND relkind = 'I'", [each])]
            why = "is an index of a partitioned table, which PostgreSQL does not drop CONCURRENTLY: drop it without"
            return f"{statement.brief}: {many[0]} {why}" if many else ""
        if name != "index_stmt" or not node.concurrent:
            return ""
        if not node.idxname:
            return f"{statement.brief}: PostgreSQL would name this index, and one that is left INVALID is found again by its name: give it one"
        table = named(node.relation)
        if not self._rows("SELECT 1 FROM pg_class WHERE oid = to_regclass(%s) AND relkind = 'p'", [table]):
            return ""
        return (
            f"{statement.brief}: {table} is partitioned, and PostgreSQL builds no index of such a table CONCURRENTLY: build one of each partition so, then this"
            " one without, which takes them for its own; above it `-- bleen: allow index-without-concurrently REASON`"
        )

    def holds(self, drop: Statement) -> list[str]:
        return held(self._rows, *node_of(drop))

    def finds(self, drop: Statement) -> list[str]:
        return held(self._rows, *node_of(drop), here="")

    def lacks(self, statement: Statement) -> dict[str, str]:
        return lacking(self._rows, *node_of(statement))

    def behind(self, drop: Statement) -> list[str]:
        return behind(self._rows, *node_of(drop))

    def otherwise(self, back: Statement) -> list[Otherwise]:
        return list(otherwise(self._rows, back))

    def retypes(self, statement: Statement, pair: Pair) -> bool:
        retype = postgast.pg_query_pb2.AT_AlterColumnType
        return any(each.subtype == retype and each.name in (*pair.old, *pair.new) for each in alters(self._rows, statement, pair.table))

    def loosens(self, statement: Statement, pair: Pair) -> str:
        commands = alters(self._rows, statement, pair.table)
        if any(each.subtype != postgast.pg_query_pb2.AT_SetNotNull or each.name not in pair.new for each in commands):
            return ""
        loose = ", ".join(f"ALTER COLUMN {sql.Identifier(each.name).as_string()} DROP NOT NULL" for each in commands)
        return loose and f"ALTER TABLE {pair.table} {loose}"

    def going(self, tables: Sequence[str]) -> list[Going]:
        return [Going(table, kind, name, tuple(columns), body) for table, kind, name, columns, body in self._rows(_GOING, [list(tables)])]

    def merges(self, statement: Statement) -> list[str]:
        """Of partitions, for one of the whole table: those of the same columns, in their order, be they names or expressions."""
        node, name = node_of(statement)
        if name != "index_stmt" or node.concurrent or not node.relation.inh:
            return []
        table = named(node.relation)
        columns = [each.index_elem.name for each in (*node.index_params, *node.index_including_params)]
        return [str(each) for (each,) in self._rows(_MERGED, [table, node.unique, columns])]

    def needing(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Needing]:
        spread = (Needing(each.statement, each.why, each.trigger) for each in spreading(self._rows, statements, before))
        return [*needing(self._rows, statements, before), *spread]

    def hampers(self, statement: Statement, pair: Pair) -> str:
        (node, name), pb, table = node_of(statement), postgast.pg_query_pb2, pair.table
        heirs, parts, published = list[Any](), list[Any](), list[Any]()
        if name == "create_stmt" and not node.HasField("partbound"):
            heirs = [each.range_var for each in node.inh_relations]
        elif name == "alter_table_stmt":
            commands = [each.alter_table_cmd for each in node.cmds]
            heirs = [each for it in commands if it.subtype == pb.AT_AddInherit for each in (node.relation, getattr(it, "def").range_var)]
            parts = [getattr(it, "def").partition_cmd.name for it in commands if it.subtype == pb.AT_AttachPartition]
        elif name in ("create_publication_stmt", "alter_publication_stmt") and getattr(node, "action", pb.AP_AddObjects) != pb.AP_DropObjects:
            published = [each.publication_obj_spec.pubtable.relation for each in node.pubobjects]
        for relations, why in (
            (heirs, "inherits, or is inherited from, by it: an UPDATE of the parent would pass by the trigger"),
            (parts, "becomes a partition by it, and a trigger must not move a row to another"),
            (published, "is published by it, and subscribers have neither the columns nor the trigger"),
        ):
            if any(each.relname and self._rows("SELECT 1 WHERE to_regclass(%s) = to_regclass(%s)", [named(each), table]) for each in relations):
                return f"{table} {why}"
        return ""

    def refuses(self, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
        """Of all that a shape may stand in the way of, a view that is to be another one: there is no copy of it to try the rest on."""
        return changed(self._rows, before, statements)

    def spreading(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Spreading]:
        return list(spreading(self._rows, statements, before))

    def outgrown(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Outgrown]:
        return list(outgrown(self._rows, statements, before))

    def risks(self, statement: Statement, expand: str) -> list[str]:
        return list(risks(self._rows, statement, expand))

    def strands(self, tables: Sequence[str]) -> str:
        found = comes(self._rows)
        why = "a subscriber that has none of them stops at their first row, with all other tables, and the primary keeps its WAL for it"
        return f"{', '.join(tables)}, which bleen makes here, come into {called(found)}: {why}" if found else ""

    def fires(self, table: str, columns: Sequence[str]) -> list[str]:
        return fired(self._rows, table, columns)
