"""What on PostgreSQL needs that which statements take away (manual: "Dependency Tracking"; pg_depend): without CASCADE the server refuses those, which nobody
shall find out only when the contract is due. What a trigger function says of a column is a text to the server, which drops it all the same; then writes fail.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import postgast
from psycopg import sql

from bleen.database.catalogue import Needing
from bleen.database.migration import speaks_of
from bleen.database.postgres_leftovers import Rows
from bleen.database.postgres_trees import named
from bleen.database.statements import Statement
from bleen.database.sync.postgres import PREFIX

Key = tuple[int, int, int]
"""An object as pg_depend has it: its catalogue, its oid, and which of its columns; 0 for the whole."""

_PB = postgast.pg_query_pb2
_RELATION = "SELECT 'pg_class'::regclass::oid::bigint, oid::bigint, 0 FROM pg_class WHERE oid = to_regclass(%s)"
_TYPE = "SELECT 'pg_type'::regclass::oid::bigint, oid::bigint, 0 FROM pg_type WHERE oid = to_regtype(%s)"
_FUNCTION = "SELECT 'pg_proc'::regclass::oid::bigint, oid::bigint, 0 FROM pg_proc WHERE oid = to_regproc(%s)"
_NAMED = {
    **dict.fromkeys((_PB.OBJECT_TABLE, _PB.OBJECT_FOREIGN_TABLE, _PB.OBJECT_VIEW, _PB.OBJECT_MATVIEW, _PB.OBJECT_SEQUENCE, _PB.OBJECT_INDEX), _RELATION),
    **dict.fromkeys((_PB.OBJECT_TYPE, _PB.OBJECT_DOMAIN), _TYPE),
    **dict.fromkeys((_PB.OBJECT_FUNCTION, _PB.OBJECT_PROCEDURE, _PB.OBJECT_ROUTINE), _FUNCTION),
}
_OF_TABLES = {
    _PB.OBJECT_TRIGGER: "SELECT 'pg_trigger'::regclass::oid::bigint, oid::bigint, 0 FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname = %s",
    _PB.OBJECT_POLICY: "SELECT 'pg_policy'::regclass::oid::bigint, oid::bigint, 0 FROM pg_policy WHERE polrelid = to_regclass(%s) AND polname = %s",
    _PB.OBJECT_RULE: "SELECT 'pg_rewrite'::regclass::oid::bigint, oid::bigint, 0 FROM pg_rewrite WHERE ev_class = to_regclass(%s) AND rulename = %s",
}
_OF_COMMANDS = {
    _PB.AT_DropColumn: """
        WITH RECURSIVE heirs(relid) AS (
            SELECT to_regclass(%s)::oid UNION SELECT i.inhrelid FROM heirs JOIN pg_inherits i ON i.inhparent = heirs.relid)
        SELECT 'pg_class'::regclass::oid::bigint, attrelid::bigint, attnum::int FROM heirs JOIN pg_attribute ON attrelid = relid
        WHERE attname = %s AND NOT attisdropped""",
    _PB.AT_DropConstraint: "SELECT 'pg_constraint'::regclass::oid::bigint, oid::bigint, 0 FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s",
}
_GIVEN = "unnest(%s::oid[], %s::oid[], %s::int[])"
_GOES = f"""
    WITH RECURSIVE gone(classid, objid, objsubid) AS (
        SELECT * FROM {_GIVEN} UNION
        SELECT d.classid, d.objid, d.objsubid FROM gone g JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid
        AND g.objsubid IN (0, d.refobjsubid) WHERE d.deptype <> 'n' OR %s)
    SELECT classid::bigint, objid::bigint, objsubid FROM gone"""
"""With what is dropped goes what belongs to it; with CASCADE, what needs it too."""
_NEEDS = f"""
    WITH goes(classid, objid, objsubid) AS (SELECT * FROM {_GIVEN}), gone(classid, objid, objsubid) AS (SELECT * FROM {_GIVEN}),
    needs AS (
        SELECT DISTINCT g.classid AS ofclass, g.objid AS ofobj, g.objsubid AS ofsub,
            CASE WHEN r.oid IS NOT NULL OR e.oid IS NOT NULL THEN 'pg_class'::regclass::oid ELSE d.classid END AS classid,
            coalesce(r.ev_class, e.adrelid, d.objid) AS objid, coalesce(e.adnum, d.objsubid) AS objsubid
        FROM goes g JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND g.objsubid IN (0, d.refobjsubid)
        LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
        LEFT JOIN pg_attrdef e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
        WHERE d.deptype = 'n' AND NOT EXISTS (SELECT FROM gone o WHERE (o.classid, o.objid) = (d.classid, d.objid) AND o.objsubid IN (0, d.objsubid)))
    SELECT DISTINCT ON (1) pg_describe_object(classid, objid, objsubid), (pg_identify_object_as_address(classid, objid, objsubid)).object_names,
        pg_describe_object(ofclass, ofobj, ofsub)
    FROM needs ORDER BY 1, 3"""
"""A view is its rule to pg_depend, a generated column its expression."""


_TRIGGERS = """
    SELECT t.tgname, t.tgfoid::regprocedure::text, p.proname, p.prosrc, t.tgrelid::regclass::text, t.tableoid::bigint, t.oid::bigint FROM pg_trigger t
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(%s) AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND NOT starts_with(t.tgname, %s) ORDER BY 1"""


def needing(rows: Rows, statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Needing]:
    """Implements ``Catalogue.needing``. What a statement before it speaks of, that may have made such that it does without."""
    gone, said = set[Key](), ""
    for number, statement in enumerate((*before, *statements)):
        tree = postgast.parse(statement.text).stmts[0].stmt
        kind = tree.WhichOneof("node") or ""
        node = getattr(tree, kind)
        if kind in ("do_stmt", "call_stmt", "select_stmt", "drop_owned_stmt") or (kind == "variable_set_stmt" and node.name == "search_path"):
            return  # what is there behind it, or is meant by a name, only it knows
        drops, cascades = _dropped(rows, node, kind)
        goes = {(int(a), int(b), int(c)) for a, b, c in rows(_GOES, [*_columns(drops), cascades])} if drops else set[Key]()
        gone |= goes
        if goes and number >= len(before):
            for what, names, of in rows(_NEEDS, [*_columns(goes), *_columns(gone)]):
                name = str(names[-1]).rpartition(".")[2].strip('"') if names else PREFIX  # gone since it was found
                if not speaks_of(said, name) and not name.startswith(PREFIX):
                    yield Needing(statement, f"{what} needs {of}")
            for table, column in _dropped_columns(node, kind):
                yield from _calling(rows, statement, table, column, gone, said)
        said += f"{statement.text};\n"


def _dropped(rows: Rows, node: Any, kind: str) -> tuple[list[Key], bool]:
    """What a statement that drops names, as far as it is there, and whether it says CASCADE."""
    asked: list[tuple[str, list[str]]] = []
    cascades = False
    if kind == "drop_stmt":
        cascades = node.behavior == _PB.DROP_CASCADE
        for each in node.objects:
            parts = _parts(each)
            if node.remove_type in _NAMED:
                asked.append((_NAMED[node.remove_type], [_written(parts)]))
            elif node.remove_type in _OF_TABLES:
                asked.append((_OF_TABLES[node.remove_type], [_written(parts[:-1]), parts[-1]]))
    elif kind == "alter_table_stmt":
        commands = [each.alter_table_cmd for each in node.cmds if each.alter_table_cmd.subtype in _OF_COMMANDS]
        cascades = any(each.behavior == _PB.DROP_CASCADE for each in commands)
        asked = [(_OF_COMMANDS[each.subtype], [named(node.relation), each.name]) for each in commands]
    return [(int(row[0]), int(row[1]), int(row[2])) for query, values in asked for row in rows(query, values)], cascades


def _dropped_columns(node: Any, kind: str) -> list[tuple[str, str]]:
    commands = [each.alter_table_cmd for each in node.cmds] if kind == "alter_table_stmt" else []
    return [(named(node.relation), each.name) for each in commands if each.subtype == _PB.AT_DropColumn]


def _calling(rows: Rows, statement: Statement, table: str, column: str, gone: set[Key], said: str) -> Iterator[Needing]:
    """Triggers of a table whose functions say NEW.column or OLD.column; perhaps where they never come to."""
    calls = re.compile(rf"""\b(?:NEW|OLD)\s*\.\s*(?:"{re.escape(column)}"|{re.escape(column)}(?![\w$]))""", re.IGNORECASE)
    for name, function, called, source, of, *key in rows(_TRIGGERS, [table, PREFIX]):
        if (found := calls.search(source)) and (*key, 0) not in gone and not (speaks_of(said, called) or speaks_of(said, name)):
            yield Needing(statement, f"trigger {name} on table {of} runs {function}, which says {found[0]}: writes would fail that come there", certain=False)


def _parts(named: Any) -> list[str]:
    """The parts of the name of something that is dropped."""
    what = named.WhichOneof("node")
    held = getattr(named, what)
    parts = held.objname if what == "object_with_args" else held.names if what == "type_name" else held.items if what == "list" else [named]
    return [str(part.string.sval) for part in parts]


def _written(parts: Sequence[str]) -> str:
    return sql.Identifier(*parts).as_string()


def _columns(keys: Any) -> list[list[int]]:
    """Objects as the columns of a table that SQL takes them for."""
    return [list(column) for column in zip(*keys, strict=True)]
