"""What a statement of an expand does to whoever uses the database, and no error tells of when it runs: a line each, with what to do."""

import re
from collections.abc import Iterator
from typing import Any

import postgast

from bleen.database.grammar.postgres import quoted, words
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.published import called, comes, sent
from bleen.database.postgres.trees import named, node_of
from bleen.database.statements import Statement

_PB = postgast.pg_query_pb2

_MOVES = re.compile(r"\b(setval|RESTART)\b", re.IGNORECASE)

_HIDDEN = """
    SELECT r.rolname, n.nspname, c.relname FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rolname = %s AND r.rolcanlogin AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname = ANY(current_schemas(false)) AND n.nspname <> r.rolname ORDER BY array_position(current_schemas(false), n.nspname) LIMIT 1"""
"""PostgreSQL, "Schemas": the search_path is "$user", public by default."""
_BEHIND = """
    WITH made AS (SELECT coalesce(nullif(%s, ''), current_schema()) AS schema, %s AS name, current_schemas(false)::text[] AS ours), paths AS (
        SELECT CASE setrole WHEN 0 THEN 'this database' ELSE 'the role ' || setrole::regrole END AS who, substr(config, 13) AS said,
        string_to_array(translate(replace(substr(config, 13), '"$user"', coalesce(rolname, '')), '"', ''), ', ') AS path
        FROM pg_db_role_setting CROSS JOIN unnest(setconfig) config LEFT JOIN pg_roles r ON r.oid = setrole
        WHERE starts_with(config, 'search_path=') AND (setrole = 0 OR rolcanlogin)
        AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
    SELECT who, said, n.nspname FROM made CROSS JOIN paths JOIN pg_class c ON c.relname = name JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND array_position(path, n.nspname::text) > array_position(path, schema)
    AND (array_position(ours, n.nspname::text) > array_position(ours, schema)) IS NOT TRUE ORDER BY 1, array_position(path, n.nspname::text) LIMIT 1"""
"""What is refused by our own path is no risk any more."""
_COUNTED = """
    SELECT attname, seq::regclass::text, CASE WHEN has_sequence_privilege(seq, 'SELECT') THEN coalesce(pg_sequence_last_value(seq), 0) END
    FROM (SELECT attname, attnum, pg_get_serial_sequence(%s, attname)::regclass::oid AS seq FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
        WHERE attrelid = to_regclass(%s) AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped) those ORDER BY attnum"""
"""The columns of a table, each with the sequence that it is counted by, and where that stands."""
_WIDE = """
    SELECT s.attname, avg_width FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
    WHERE c.oid = to_regclass(%s) AND s.attname = ANY(%s) AND avg_width >= 100 AND attlen = -1 AND (atttypmod = -1 OR atttypmod > 2000) ORDER BY attnum"""
"""Columns whose values are long, as the statistics say, and may be longer than a page of a btree lets them (2704 bytes): not of an address or a name."""

_CONSTRAINED = """
    WITH RECURSIVE type AS (SELECT t.* FROM pg_type t WHERE oid = to_regtype(%s)
        UNION ALL SELECT base.* FROM pg_type base JOIN type t ON base.oid = t.typbasetype WHERE t.typtype = 'd')
    SELECT EXISTS (SELECT FROM type WHERE typtype = 'd'
        AND (typnotnull OR typdefault LIKE '%%(%%' OR EXISTS (SELECT FROM pg_constraint WHERE contypid = type.oid)))
    AND to_regclass(%s) IS NOT NULL"""
"""Whether a type is a domain with a constraint or a default that calls something, or is made of one, and a table is there: ATExecAddColumn (tablecmds.c)
goes by the first, but not for arrays, and by whether the default is volatile."""


def risks(rows: Rows, statement: Statement, expand: str) -> Iterator[str]:
    """Implements ``Catalogue.risks``."""
    node, kind = node_of(statement)
    yield from _hides(rows, node, kind)
    yield from _strands(rows, node, kind)
    yield from _collides(rows, node, kind, expand)
    yield from _limits(rows, node, kind)
    yield from _rewrites(rows, node, kind)


def _hides(rows: Rows, node: Any, kind: str) -> Iterator[str]:
    """What a role, which names it without its schema, finds in the place of another."""
    made = None
    if kind in ("create_stmt", "create_foreign_table_stmt"):
        made = node.relation if kind == "create_stmt" else node.base_stmt.relation
    elif kind in ("view_stmt", "create_table_as_stmt"):
        made = node.view if kind == "view_stmt" else node.into.rel
    if made is None:
        return
    own = rows(_HIDDEN, [made.schemaname, made.relname]) if made.schemaname else []
    for schema, of, table in own:
        why = f"to the role {schema}, whose search_path begins with the schema of its name, {table} is this from here on, and not {of}.{table}"
        yield f"{why}: if the version that serves logs in as {schema}, give it another name or schema"
    for who, path, of in [] if own else rows(_BEHIND, [made.schemaname, made.relname]):
        why = f"by the search_path of {who} ({path}), {made.relname} is this from here on, and not {of}.{made.relname}"
        yield f"{why}: if the version that serves looks by that, give it another name"


def _strands(rows: Rows, node: Any, kind: str) -> Iterator[str]:
    """Columns and tables that subscribers have not, who stop then at the next row; a generated column is not published."""
    added = [getattr(each.alter_table_cmd, "def").column_def for each in _commands(node, kind) if each.alter_table_cmd.subtype == _PB.AT_AddColumn]
    sends = [each.colname for each in added if not any(it.constraint.contype == _PB.CONSTR_GENERATED for it in each.constraints)]
    if sends and (found := sent(rows, named(node.relation))):
        of = called(found)
        yield f"{node.relation.relname} is in {of}: a subscriber that has no {', '.join(sends)} stops at the next row; add it there first"
    made = node.relation if kind == "create_stmt" else node.into.rel if kind == "create_table_as_stmt" and node.objtype == _PB.OBJECT_TABLE else None
    if made is not None and made.relpersistence == "p":
        parent = named(node.inh_relations[0].range_var) if kind == "create_stmt" and node.HasField("partbound") else ""
        if found := comes(rows, made.schemaname, parent):
            why = f"{made.relname} comes into {called(found)}: a subscriber that has no such table stops at its first row, with all other tables"
            yield f"{why}; make it there first, and once it is here, ALTER SUBSCRIPTION ... REFRESH PUBLICATION there, or its rows are left out"


def _collides(rows: Rows, node: Any, kind: str, expand: str) -> Iterator[str]:
    """Keys by hand that a sequence will come to, and then an INSERT of the version that serves fails; whoever moves the sequence has thought of it."""
    if kind != "insert_stmt" or not node.HasField("select_stmt") or _MOVES.search(expand):
        return
    table, given = named(node.relation), [each.list.items for each in node.select_stmt.select_stmt.values_lists]
    columns = rows(_COUNTED, [table, table])
    order = [each.res_target.name for each in node.cols] or [name for name, _, _ in columns]
    for name, sequence, stands in columns:
        if not sequence or name not in order:
            continue
        at = order.index(name)
        values = [row[at] for row in given if at < len(row) and row[at].WhichOneof("node") != "set_to_default"]
        numbers = [each.a_const.ival.ival for each in values if each.a_const.WhichOneof("val") == "ival"]
        past = stands is not None and len(numbers) == len(values) and max(numbers, default=0) <= stands
        if (values and not past) or not given:
            where = "" if stands is None else f", which stands at {stands},"
            why = f"it gives {name} by hand, and {sequence}{where} comes to that too: an INSERT of the version that serves fails then"
            yield f"{why}; leave {name} out, so that the sequence gives it"


def _limits(rows: Rows, node: Any, kind: str) -> Iterator[str]:
    """A btree over values that may be longer than it takes: an INSERT of the version that serves fails for those from then on."""
    if kind == "index_stmt" and node.access_method == "btree":
        columns = [each.index_elem.name for each in (*node.index_params, *node.index_including_params)]
        for name, width in rows(_WIDE, [named(node.relation), columns]):
            why = f"{name} has {width} bytes on average, and a write fails from here on whose {name} is longer than 2704 bytes, compressed"
            yield f"{why}: index md5({name}) instead, or the beginning of it"


def _rewrites(rows: Rows, node: Any, kind: str) -> Iterator[str]:
    """Columns of domains that are there: their text looks as one of an enum does."""
    for column in [getattr(each.alter_table_cmd, "def").column_def for each in _commands(node, kind) if each.alter_table_cmd.subtype == _PB.AT_AddColumn]:
        of = quoted(*words(column.type_name.names))
        if not column.type_name.array_bounds and rows(_CONSTRAINED, [of, named(node.relation)]) == [(True,)]:
            what = f"{of} is a domain with a constraint, or a default that is computed"
            why = f"{what}: PostgreSQL writes the whole of {node.relation.relname} again, and nobody reads or writes it meanwhile"
            yield f"{why}; use the domain's base type, and the constraint as a CHECK that is NOT VALID at first"


def _commands(node: Any, kind: str) -> Any:
    return node.cmds if kind == "alter_table_stmt" else ()
