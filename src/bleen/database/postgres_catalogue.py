"""What PostgreSQL's catalogue says of statements before they run."""

from collections.abc import Sequence

import postgast

from bleen.database.catalogue import Catalogue, Needing
from bleen.database.postgres_leftovers import Rows
from bleen.database.postgres_needing import needing
from bleen.database.postgres_trees import dropped, last, named, node_of
from bleen.database.postgres_triggers import fired
from bleen.database.statements import Statement

_RELATIONS = tuple(getattr(postgast.pg_query_pb2, f"OBJECT_{kind}") for kind in ("TABLE", "FOREIGN_TABLE", "VIEW", "MATVIEW", "SEQUENCE", "INDEX"))
"""What shares its names with one another."""

_BY_NAME = {
    postgast.pg_query_pb2.OBJECT_EXTENSION: "SELECT extname FROM pg_extension WHERE extname = ANY(%s)",
    postgast.pg_query_pb2.OBJECT_SCHEMA: "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)",
    postgast.pg_query_pb2.OBJECT_STATISTIC_EXT: "SELECT stxname FROM pg_statistic_ext WHERE stxname = ANY(%s)",
    postgast.pg_query_pb2.OBJECT_COLLATION: "SELECT collname FROM pg_collation WHERE collname = ANY(%s)",
}
"""Of each kind, those that have one of these names."""
_MERGED = """
    SELECT c.relname FROM pg_partition_tree(to_regclass(%s)) p JOIN pg_index i ON i.indrelid = p.relid JOIN pg_class c ON c.oid = i.indexrelid
    WHERE p.level > 0 AND NOT c.relispartition AND i.indisunique = %s AND %s::text[] = ARRAY(
        SELECT coalesce(a.attname, '')::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, at)
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.at)
    ORDER BY 1"""


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
        table = named(node.relation)
        if not self._rows("SELECT 1 FROM pg_class WHERE oid = to_regclass(%s) AND relkind = 'p'", [table]):
            return ""
        return (
            f"{statement.brief}: {table} is partitioned, and PostgreSQL builds no index of such a table CONCURRENTLY: build one of each partition so, then this"
            " one without, which takes them for its own; above it `-- bleen: allow index-without-concurrently REASON`"
        )

    def holds(self, drop: Statement) -> list[str]:
        (node, name), pb = node_of(drop), postgast.pg_query_pb2
        if name == "alter_table_stmt":
            table = named(node.relation)
            known = {
                pb.AT_DropColumn: "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped",
                pb.AT_DropConstraint: "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s",
            }
            commands = [each.alter_table_cmd for each in node.cmds if each.alter_table_cmd.subtype in known]
            return [f"{name} of {table}" for each in commands for (name,) in self._rows(known[each.subtype], [table, each.name])]
        if name == "drop_stmt" and node.remove_type in _BY_NAME:
            return [str(each) for (each,) in self._rows(_BY_NAME[node.remove_type], [[last(each) for each in node.objects]])]
        if name != "drop_stmt" or node.remove_type not in (*_RELATIONS, pb.OBJECT_TYPE, pb.OBJECT_DOMAIN):
            return []
        of_types = node.remove_type not in _RELATIONS
        own = "typname FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace AND typcategory <> 'A'"  # an array's makes room by itself
        query = own if of_types else "relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        parts_of = [[part.string.sval for part in (each.type_name.names if of_types else each.list.items)] for each in node.objects]
        found = [
            self._rows(f"SELECT {query} WHERE {query.split()[0]} = %s AND nspname = coalesce(%s::text, current_schema())", [parts[-1], (None, *parts)[-2]])
            for parts in parts_of
        ]
        return [name for rows in found for (name,) in rows]

    def merges(self, statement: Statement) -> list[str]:
        """Of partitions, for one of the whole table: those of the same columns, in their order, be they names or expressions."""
        node, name = node_of(statement)
        if name != "index_stmt" or node.concurrent or not node.relation.inh:
            return []
        table = named(node.relation)
        columns = [each.index_elem.name for each in (*node.index_params, *node.index_including_params)]
        return [str(each) for (each,) in self._rows(_MERGED, [table, node.unique, columns])]

    def needing(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Needing]:
        return list(needing(self._rows, statements, before))

    def fires(self, table: str, columns: Sequence[str]) -> list[str]:
        return fired(self._rows, table, columns)
