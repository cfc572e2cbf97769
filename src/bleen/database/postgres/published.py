"""Publications: which tables they send to subscribers, and what takes one out again. Schemas, and lists of columns, came with PostgreSQL 15."""

from collections.abc import Sequence

from psycopg import sql

from bleen.database.postgres.leftovers import Rows

_COMES = """
    WITH RECURSIVE above AS (SELECT to_regclass(nullif(%s, ''))::oid AS relid UNION SELECT inhparent FROM pg_inherits JOIN above ON inhrelid = relid),
    schemas AS (SELECT quote_ident(coalesce(nullif(%s, ''), current_schema())) AS name
        UNION SELECT relnamespace::regnamespace::text FROM pg_class JOIN above ON oid = relid)
    SELECT pubname FROM pg_publication p WHERE NOT (pubviaroot AND EXISTS (SELECT FROM above WHERE relid IS NOT NULL)) AND (puballtables
        OR EXISTS (SELECT FROM pg_publication_rel JOIN above ON relid = prrelid WHERE prpubid = p.oid)
        OR EXISTS (SELECT FROM ({namespaces}) n JOIN schemas s ON s.name = n.name WHERE n.pubid = p.oid))
    ORDER BY 1"""
"""Of a partition that is sent as part of its root, a subscriber need not know."""
_SENT = """
    WITH those AS (SELECT to_regclass(%s)::oid AS relid UNION SELECT relid FROM pg_partition_tree(to_regclass(%s)))
    SELECT pubname FROM pg_publication p WHERE EXISTS (SELECT FROM those JOIN pg_class c ON c.oid = relid WHERE relpersistence = 'p' AND (puballtables
        OR EXISTS (SELECT FROM pg_publication_rel r WHERE prpubid = p.oid AND prrelid = relid AND to_jsonb(r) ->> 'prattrs' IS NULL)
        OR EXISTS (SELECT FROM ({namespaces}) n WHERE n.pubid = p.oid AND n.name = relnamespace::regnamespace::text)))
    ORDER BY 1"""
"""Each column of the table, be it added later: no list of columns says which."""
_HAS = """
    SELECT pubname, puballtables, EXISTS (SELECT FROM pg_publication_rel WHERE prpubid = p.oid AND prrelid = c.oid),
        EXISTS (SELECT FROM ({namespaces}) n WHERE n.pubid = p.oid AND n.name = relnamespace::regnamespace::text)
    FROM pg_publication_tables JOIN pg_publication p USING (pubname)
    JOIN pg_class c ON relname = tablename AND relnamespace = to_regnamespace(quote_ident(schemaname))
    WHERE schemaname = %s AND tablename = %s ORDER BY 1"""
_NAMESPACES = "SELECT pnpubid AS pubid, pnnspid::regnamespace::text AS name FROM pg_publication_namespace"
_NO_NAMESPACES = "SELECT NULL::oid AS pubid, NULL::text AS name"


def comes(rows: Rows, schema: str = "", parent: str = "") -> list[str]:
    """The publications that a table comes into once it is made: in a schema, or in the first one of the search_path, and as a partition, if it is one."""
    return [name for (name,) in rows(_asked(rows, _COMES), [parent, schema])]


def sent(rows: Rows, table: str) -> list[str]:
    """The publications that have each column of a table, or of a partition of it."""
    return [name for (name,) in rows(_asked(rows, _SENT), [table, table])] if table else []


def ways_out(rows: Rows, schema: str, table: str) -> list[tuple[str, str]]:
    """The publications that have a table, each with what takes it out, as PostgreSQL takes it."""
    return [(name, _way_out(name, schema, table, *has)) for name, *has in rows(_asked(rows, _HAS), [schema, table])]


def called(names: Sequence[str]) -> str:
    return f"the publication{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _way_out(name: str, schema: str, table: str, everything: bool, listed: bool, namespace: bool) -> str:
    publication = sql.Identifier(name).as_string()
    if everything:
        anew = f"DROP PUBLICATION {publication}; CREATE PUBLICATION {publication} FOR TABLE"
        return f"FOR ALL TABLES takes none out: in one transaction, {anew} and all the others, with the options that it has"
    ways = [f"ALTER PUBLICATION {publication} DROP TABLE {sql.Identifier(schema, table).as_string()}"] if listed else []
    if namespace:
        within = f"ALTER PUBLICATION {publication} DROP TABLES IN SCHEMA {sql.Identifier(schema).as_string()}"
        ways.append(f"{within}, and ADD TABLE the others of that schema, in one transaction")
    return f"take it out with {'; '.join(ways)}"


def _asked(rows: Rows, query: str) -> str:
    there = rows("SELECT to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL", []) == [(True,)]
    return query.replace("{namespaces}", _NAMESPACES if there else _NO_NAMESPACES)
