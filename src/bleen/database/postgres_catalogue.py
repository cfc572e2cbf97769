"""What PostgreSQL's catalogue says of statements before they run."""

from collections.abc import Sequence

from bleen.database.catalogue import Catalogue, Needing, Spreading
from bleen.database.postgres_leftovers import Rows
from bleen.database.postgres_needing import needing
from bleen.database.postgres_objects import held
from bleen.database.postgres_spreads import spreading
from bleen.database.postgres_trees import dropped, named, node_of
from bleen.database.postgres_triggers import fired
from bleen.database.statements import Statement

_MERGED = """
    SELECT c.relname FROM pg_partition_tree(to_regclass(%s)) p JOIN pg_index i ON i.indrelid = p.relid JOIN pg_class c ON c.oid = i.indexrelid
    WHERE p.level > 0 AND NOT c.relispartition AND i.indisunique = %s AND %s::text[] = ARRAY(
        SELECT coalesce(a.attname, '')::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, at)
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum ORDER BY k.at)
    ORDER BY 1"""
_HIDDEN = """
    SELECT r.rolname, n.nspname, c.relname FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rolname = %s AND r.rolcanlogin AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname = ANY(current_schemas(false)) AND n.nspname <> r.rolname ORDER BY array_position(current_schemas(false), n.nspname) LIMIT 1"""
"""PostgreSQL, "Schemas": the search_path is "$user", public by default."""


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
        return held(self._rows, *node_of(drop))

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

    def spreading(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Spreading]:
        return list(spreading(self._rows, statements, before))

    def hides(self, statement: Statement) -> str:
        (node, name), made = node_of(statement), None
        if name in ("create_stmt", "create_foreign_table_stmt"):
            made = node.relation if name == "create_stmt" else node.base_stmt.relation
        elif name in ("view_stmt", "create_table_as_stmt"):
            made = node.view if name == "view_stmt" else node.into.rel
        found = self._rows(_HIDDEN, [made.schemaname, made.relname]) if made is not None and made.schemaname else []
        if not found:
            return ""
        ((schema, of, table),) = found
        why = f"to the role {schema}, whose search_path begins with the schema of its name, {table} is this from here on, and not {of}.{table}"
        return f"{why}: if the version that serves logs in as {schema}, give it another name or schema"

    def fires(self, table: str, columns: Sequence[str]) -> list[str]:
        return fired(self._rows, table, columns)
