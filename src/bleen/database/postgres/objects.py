"""What statements of PostgreSQL name, as its catalogue has it: an object, and not a word that another one may share, in another schema or of another kind."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import postgast
from psycopg import sql

from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.trees import named, node_of, parts, written
from bleen.database.statements import Statement

_PB = postgast.pg_query_pb2

Key = tuple[int, int, int]
"""An object as pg_depend has it: its catalogue, its oid, and which of its columns; 0 for the whole."""

GIVEN = "unnest(%s::oid[], %s::oid[], %s::int[])"
"""Objects as a table in SQL, of ``columns_of`` them."""


class Kind(NamedTuple):
    """Where the objects of a kind stand."""

    catalogue: str
    name: str
    schema: str = ""
    """The column that says it; empty if they are in none."""
    found: str = ""
    """What says whether the search path leads to one."""


_RELATION = Kind("pg_class", "relname", "relnamespace", "pg_table_is_visible")
_TYPE = Kind("pg_type", "typname", "typnamespace", "pg_type_is_visible")
_FUNCTION = Kind("pg_proc", "proname", "pronamespace", "pg_function_is_visible")
_KINDS = {
    **dict.fromkeys((_PB.OBJECT_TABLE, _PB.OBJECT_FOREIGN_TABLE, _PB.OBJECT_VIEW, _PB.OBJECT_MATVIEW, _PB.OBJECT_SEQUENCE, _PB.OBJECT_INDEX), _RELATION),
    **dict.fromkeys((_PB.OBJECT_TYPE, _PB.OBJECT_DOMAIN), _TYPE),
    **dict.fromkeys((_PB.OBJECT_FUNCTION, _PB.OBJECT_PROCEDURE, _PB.OBJECT_ROUTINE, _PB.OBJECT_AGGREGATE), _FUNCTION),
    _PB.OBJECT_COLLATION: Kind("pg_collation", "collname", "collnamespace", "pg_collation_is_visible"),
    _PB.OBJECT_STATISTIC_EXT: Kind("pg_statistic_ext", "stxname", "stxnamespace", "pg_statistics_obj_is_visible"),
    _PB.OBJECT_SCHEMA: Kind("pg_namespace", "nspname"),
    _PB.OBJECT_DATABASE: Kind("pg_database", "datname"),
    _PB.OBJECT_EXTENSION: Kind("pg_extension", "extname"),
    _PB.OBJECT_PUBLICATION: Kind("pg_publication", "pubname"),
}
_ASKED = "WITH RECURSIVE asked(relid, name, heirs) AS (SELECT to_regclass(%s)::oid, %s::text, %s::boolean)"
_COLUMN = f"""
    {_ASKED}, those(relid) AS (
        SELECT relid FROM asked UNION SELECT i.inhrelid FROM those JOIN pg_inherits i ON i.inhparent = those.relid JOIN asked ON heirs
        JOIN pg_attribute c ON c.attrelid = i.inhrelid AND c.attname = name AND NOT c.attislocal AND c.attinhcount = 1)
    SELECT 'pg_class'::regclass::oid::bigint, attrelid::bigint, attnum::int FROM asked CROSS JOIN those JOIN pg_attribute ON attrelid = those.relid
    WHERE attname = name AND NOT attisdropped"""
"""Of its heirs, those that have it of nobody else, nor by themselves: there it goes too."""
_HEIRS = f"""
    {_ASKED}, those(relid, own) AS (
        SELECT relid, true FROM asked UNION SELECT i.inhrelid, false FROM those JOIN pg_inherits i ON i.inhparent = those.relid JOIN asked ON heirs)"""
_COLUMNS = f"""
    {_HEIRS} SELECT 'pg_class'::regclass::oid::bigint, attrelid::bigint, attnum::int FROM asked CROSS JOIN those JOIN pg_attribute ON attrelid = those.relid
    WHERE attname = name AND NOT attisdropped"""
_OF_TABLE = (
    _HEIRS
    + """
    SELECT '{0}'::regclass::oid::bigint, o.oid::bigint, 0 FROM asked CROSS JOIN those JOIN {0} o ON o.{1} = those.relid
    WHERE (o.{2} = name OR name = '') AND (own OR {3})"""
)
_CONSTRAINT = _OF_TABLE.format("pg_constraint", "conrelid", "conname", "NOT o.conislocal")
_TRIGGER = _OF_TABLE.format("pg_trigger", "tgrelid", "tgname", "o.tgparentid <> 0")
_POLICY, _RULE = _OF_TABLE.format("pg_policy", "polrelid", "polname", "false"), _OF_TABLE.format("pg_rewrite", "ev_class", "rulename", "false")
_ITSELF = _ASKED + " SELECT 'pg_class'::regclass::oid::bigint, relid::bigint, 0 FROM asked WHERE relid IS NOT NULL"
_OF_TABLES = {_PB.OBJECT_TRIGGER: _TRIGGER, _PB.OBJECT_POLICY: _POLICY, _PB.OBJECT_RULE: _RULE}
_OF_COLUMN = frozenset(
    (_PB.AT_ColumnDefault, _PB.AT_DropNotNull, _PB.AT_SetNotNull, _PB.AT_AlterColumnType, _PB.AT_SetStatistics, _PB.AT_SetStorage, _PB.AT_SetExpression)
)
_DROPS = {_PB.AT_DropColumn: _COLUMN, _PB.AT_DropConstraint: _CONSTRAINT}
_CHANGES = {
    **dict.fromkeys((_PB.AT_ColumnDefault, _PB.AT_SetExpression, _PB.AT_DropExpression, _PB.AT_AlterColumnType), _COLUMNS),
    **dict.fromkeys((_PB.AT_DisableTrig, _PB.AT_DisableTrigAll, _PB.AT_DisableTrigUser), _TRIGGER),
    _PB.AT_DropOf: _ITSELF,
}


_OF_NO_EXTENSION = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = o.oid AND d.deptype = 'e')"
"""Whose own tables an application does not read by a name that it thinks of, such as place and state of PostGIS."""


class Step(NamedTuple):
    """What the server does at once: of an ALTER TABLE, one command after the other."""

    keys: list[Key]
    drops: bool = False
    """Else they are made anew, such that they may do without what they needed."""
    cascades: bool = False


def steps(rows: Rows, node: Any, kind: str) -> Iterator[Step]:
    """What a statement takes away, or makes anew, of what is there."""
    if kind == "drop_stmt":
        yield Step([key for each in node.objects for key in meant(rows, node.remove_type, each)], True, node.behavior == _PB.DROP_CASCADE)
    elif kind == "alter_table_stmt":
        for command in (each.alter_table_cmd for each in node.cmds):
            if query := (_DROPS | _CHANGES).get(command.subtype):
                found = _asked(rows, query, named(node.relation), command.name, node.relation.inh)
                yield Step(found, command.subtype in _DROPS, command.behavior == _PB.DROP_CASCADE)
    elif kind == "view_stmt":
        yield Step(_asked(rows, _ITSELF, named(node.view)))
    elif kind == "create_function_stmt":
        yield Step(there(rows, _FUNCTION, [part.string.sval for part in node.funcname]))
    elif kind == "create_trig_stmt":
        yield Step(_asked(rows, _TRIGGER, named(node.relation), node.trigname, True))
    elif kind == "rule_stmt":
        yield Step(_asked(rows, _RULE, named(node.relation), node.rulename))
    elif kind == "alter_policy_stmt":
        yield Step(_asked(rows, _POLICY, named(node.table), node.policy_name))


def held(rows: Rows, node: Any, kind: str, here: str = "n.nspname = current_schema()") -> list[str]:
    """Implements ``Catalogue.holds``; of a name without a schema, whether it is there where a CREATE would put it, or, without ``here``, anywhere in the
    search path.
    """
    if kind == "alter_table_stmt":
        table, commands = named(node.relation), [each.alter_table_cmd for each in node.cmds]
        return [f"{each.name} of {table}" for each in commands if each.subtype in _DROPS and _asked(rows, _DROPS[each.subtype], table, each.name)]
    return [parts(each)[-1] for each in node.objects if meant(rows, node.remove_type, each, here)] if kind == "drop_stmt" else []


def lacking(rows: Rows, node: Any, kind: str) -> dict[str, str]:
    """Implements ``Catalogue.lacks``, for the tables that are altered, and their columns."""
    if kind != "alter_table_stmt" or node.missing_ok:
        return {}
    table, names = named(node.relation), {each.alter_table_cmd.name for each in node.cmds if each.alter_table_cmd.subtype in _OF_COLUMN}
    if not rows("SELECT to_regclass(%s)::oid", [table])[0][0]:
        return {node.relation.relname: f"there is no {node.relation.relname}"}
    return {name: f"{node.relation.relname} has no column {name}" for name in sorted(names) if not _asked(rows, _COLUMN, table, name)}


def behind(rows: Rows, node: Any, kind: str) -> list[str]:
    """Implements ``Catalogue.behind``, for what a name without its schema may mean: the objects of a name that come later in our own search path."""
    known = _KINDS.get(node.remove_type) if kind == "drop_stmt" and node.remove_type != _PB.OBJECT_INDEX else None
    if known not in (_RELATION, _TYPE, _FUNCTION):
        return []
    found = list[Key]()
    for each in node.objects:
        *schema, name = parts(each)
        at = sql.Literal(schema[-1]).as_string().replace("%", "%%") if schema else "current_schema()"
        where = f"array_position(current_schemas(false), n.nspname) > array_position(current_schemas(false), {at}::name)"
        if known is _RELATION:
            where += f" AND o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {_OF_NO_EXTENSION}"
        found += there(rows, known, [name], where, _signature(known, each))
    return [str(rows("SELECT identity FROM pg_identify_object(%s::oid, %s::oid, %s)", key)[0][0]) for key in found]


def there(rows: Rows, kind: Kind, name: Sequence[str], where: str = "", signature: Sequence[str] | None = None) -> list[Key]:
    """Which objects have a name; without its schema, those that the search path leads to, or ``where`` says. Of functions, all, or the one that takes these."""
    query = f"SELECT '{kind.catalogue}'::regclass::oid::bigint, o.oid::bigint, 0 FROM {kind.catalogue} o"
    query += f" JOIN pg_namespace n ON n.oid = o.{kind.schema}" if kind.schema else ""
    query += f" WHERE o.{kind.name} = %s"
    values: list[Any] = [name[-1]]
    if kind.schema and len(name) > 1:
        query, values = f"{query} AND n.nspname = %s", [*values, name[-2]]
    elif kind.schema:
        query += f" AND {where or f'{kind.found}(o.oid)'}"
    if kind is _TYPE:
        query += " AND o.typcategory <> 'A'"  # an array's makes room by itself
    if signature is not None:
        order = "ARRAY(SELECT to_regtype(t)::oid FROM unnest(%s::text[]) WITH ORDINALITY a(t, at) ORDER BY at)"
        query, values = f"{query} AND o.proargtypes::text = array_to_string({order}, ' ', '?')", [*values, list(signature)]
    return keys(rows(query, values))


def keys(found: Iterable[Sequence[Any]]) -> list[Key]:
    """Rows as objects."""
    return [(int(catalogue), int(oid), int(column)) for catalogue, oid, column in found]


def columns_of(found: Collection[Key]) -> list[list[int]]:
    return [[key[column] for key in found] for column in range(3)]


def _asked(rows: Rows, query: str, table: str, name: str = "", heirs: bool = False) -> list[Key]:
    return keys(rows(query, [table, name, heirs]))


def meant(rows: Rows, kind: int, what: Any, where: str = "") -> list[Key]:
    """Which objects of a kind, OBJECT_VIEW, say, a name of the parse tree means; ``where`` as for ``there``."""
    name = parts(what)
    if kind in _OF_TABLES:
        return _asked(rows, _OF_TABLES[kind], written(name[:-1]), name[-1])
    if (known := _KINDS.get(kind)) is None:
        return []
    return there(rows, known, name, where, _signature(known, what))


def _signature(kind: Kind, what: Any) -> list[str] | None:
    signed = what.object_with_args if kind is _FUNCTION and not what.object_with_args.args_unspecified else None
    return signed and [_type(each.type_name) for each in signed.objargs]


def made(node: Any, kind: str) -> str:
    """The name, without its schema, of what a statement makes; empty if that is nothing that a function may name."""
    name = getattr(node, _MADE[kind]) if kind in _MADE else None
    return "" if name is None else str(name.relname if hasattr(name, "relname") else name[-1].string.sval)


_MADE = {
    "view_stmt": "view",
    "create_stmt": "relation",
    "create_seq_stmt": "sequence",
    "composite_type_stmt": "typevar",
    "create_function_stmt": "funcname",
    "create_enum_stmt": "type_name",
    "create_domain_stmt": "domainname",
}


def understood(node: Any, kind: str) -> bool:
    """Whether ``steps`` says all that a statement does to what is there; else more may have gone, or been made anew, than it says."""
    return kind in _UNDERSTOOD and (kind != "drop_stmt" or node.remove_type in _KINDS or node.remove_type in _OF_TABLES)


_UNDERSTOOD = frozenset(
    f"{kind}_stmt"
    for kind in (
        *("drop", "alter_table", "view", "create_function", "create_trig", "rule", "alter_policy"),
        *("create", "create_table_as", "create_seq", "create_enum", "create_domain", "create_schema", "create_policy", "create_stats", "index", "reindex"),
        *("insert", "update", "delete", "merge", "truncate", "lock", "comment", "grant", "vacuum", "refresh_mat_view", "cluster"),
        *("variable_set", "constraints_set"),
    )
)


def _type(name: Any) -> str:
    return written([part.string.sval for part in name.names]) + "[]" * len(name.array_bounds)


def same(rows: Rows, parts: Sequence[str], table: str) -> bool:
    """Whether two ways to write a table mean the same one."""
    written = sql.Identifier(*parts).as_string()
    return bool(rows("SELECT to_regclass(%s) = to_regclass(%s)", [written, table])[0][0])


def alters(rows: Rows, statement: Statement, table: str) -> list[Any]:
    """The commands of a statement that is an ALTER TABLE of this table; else none."""
    node, name = node_of(statement)
    if name != "alter_table_stmt" or not same(rows, [part for part in (node.relation.schemaname, node.relation.relname) if part], table):
        return []
    return [each.alter_table_cmd for each in node.cmds]
