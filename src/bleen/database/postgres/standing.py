"""What a statement of a way back would leave otherwise than it is now: rights, memberships, defaults, NOT NULL and row security."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import postgast

from bleen.database.catalogue import Otherwise
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.objects import meant
from bleen.database.postgres.trees import named, node_of
from bleen.database.statements import Statement

_PB = postgast.pg_query_pb2


class _Rights(NamedTuple):
    """Where those on the objects of a kind stand; all in SQL, where ``o`` is the object."""

    of: str
    told: str
    rights: str
    owner: str
    schema: str = ""
    kind: str = "true"
    """Which of them ALL ... IN SCHEMA means."""


_RELATIONS = _Rights(
    "pg_class o",
    "o.oid::regclass::text",
    """coalesce(o.relacl, acldefault(CASE o.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", o.relowner))""",
    "o.relowner",
    "o.relnamespace",
    "o.relkind IN ('r', 'v', 'm', 'f', 'p')",
)
_COLUMNS = _RELATIONS._replace(of="pg_class o JOIN pg_attribute c ON c.attrelid = o.oid", told="c.attname || ' of ' || o.oid::regclass", rights="c.attacl")
_FUNCTIONS = _Rights("pg_proc o", "o.oid::regprocedure::text", "coalesce(o.proacl, acldefault('f', o.proowner))", "o.proowner", "o.pronamespace")
_SCHEMAS = _Rights("pg_namespace o", "o.nspname::text", "coalesce(o.nspacl, acldefault('n', o.nspowner))", "o.nspowner")
_DATABASES = _Rights("pg_database o", "'the database ' || o.datname", "coalesce(o.datacl, acldefault('d', o.datdba))", "o.datdba")
_TYPES = _Rights("pg_type o", "o.oid::regtype::text", "coalesce(o.typacl, acldefault('T', o.typowner))", "o.typowner")
_DEFAULTS = _Rights(
    "pg_default_acl o",
    """CASE o.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE 'schemas' END
    || ' to come' || coalesce(' in ' || nullif(o.defaclnamespace, 0)::regnamespace, '')""",
    "o.defaclacl",
    "o.defaclrole",
)
"""For what somebody makes later."""
_ON = {
    _PB.OBJECT_TABLE: _RELATIONS,
    _PB.OBJECT_SEQUENCE: _RELATIONS._replace(kind="o.relkind = 'S'"),
    _PB.OBJECT_FUNCTION: _FUNCTIONS._replace(kind="o.prokind <> 'p'"),
    _PB.OBJECT_PROCEDURE: _FUNCTIONS._replace(kind="o.prokind = 'p'"),
    _PB.OBJECT_ROUTINE: _FUNCTIONS,
    _PB.OBJECT_SCHEMA: _SCHEMAS,
    _PB.OBJECT_DATABASE: _DATABASES,
    **dict.fromkeys((_PB.OBJECT_TYPE, _PB.OBJECT_DOMAIN), _TYPES),
}
_MADE_LATER = {_PB.OBJECT_TABLE: "r", _PB.OBJECT_SEQUENCE: "S", _PB.OBJECT_FUNCTION: "f", _PB.OBJECT_TYPE: "T", _PB.OBJECT_SCHEMA: "n"}
_BY_DEFAULT = "SELECT oid::bigint FROM pg_default_acl WHERE defaclobjtype::text = %s AND defaclrole = ANY(%s) AND defaclnamespace = ANY(%s)"
_GIVEN = """
    SELECT DISTINCT coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC'), a.privilege_type, {told} FROM {of} CROSS JOIN aclexplode({rights}) a
    WHERE {which} = ANY(%s) AND a.grantee = ANY(%s) AND a.grantor IN ({owner}, current_user::regrole) AND (a.is_grantable OR NOT %s)
    AND %s IN ('', lower(a.privilege_type)) ORDER BY 1, 2, 3"""
"""A REVOKE takes what its own role has given, or as a superuser the owner."""
_MEMBERS = """
    SELECT DISTINCT m.member::regrole::text, m.roleid::regrole::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    WHERE r.rolname = ANY(%s) AND m.member = ANY(%s) ORDER BY 1, 2"""
_ROLES = "SELECT oid::bigint FROM pg_roles WHERE rolname = ANY(%s) OR (%s AND rolname = current_user) OR (%s AND rolname = session_user)"
_COLUMN = """
    SELECT a.attrelid::regclass::text, pg_get_expr(d.adbin, d.adrelid), a.attnotnull
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass(%s) AND a.attname = %s AND NOT a.attisdropped AND a.attgenerated = ''"""
_SECURITY = "SELECT oid::regclass::text, relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = to_regclass(%s)"
_SECURED = {
    _PB.AT_EnableRowSecurity: ("", True),
    _PB.AT_DisableRowSecurity: ("", False),
    _PB.AT_ForceRowSecurity: ("forced ", True),
    _PB.AT_NoForceRowSecurity: ("forced ", False),
}
_OURS = _PB.Node(role_spec=_PB.RoleSpec(roletype=_PB.ROLESPEC_CURRENT_USER))
_SHORT = {"temp": "temporary"}
_OUT = "take it out of both"
_MANY = 3


def otherwise(rows: Rows, statement: Statement) -> Iterator[Otherwise]:
    """Implements ``Catalogue.otherwise``."""
    node, kind = node_of(statement)
    if kind == "grant_stmt" and not node.is_grant:
        yield from _revoked(rows, node)
    elif kind == "alter_default_privileges_stmt" and not node.action.is_grant:
        yield from _no_default(rows, node)
    elif kind == "grant_role_stmt" and not node.is_grant and not node.opt:
        roles = [each.access_priv.priv_name for each in node.granted_roles]
        yield from (Otherwise(f"{who} is a member of {of} already", _OUT) for who, of in rows(_MEMBERS, [roles, _roles(rows, node.grantee_roles)]))
    elif kind == "alter_table_stmt":
        for each in node.cmds:
            yield from _altered(rows, named(node.relation), each.alter_table_cmd)


def _revoked(rows: Rows, node: Any) -> Iterator[Otherwise]:
    if (on := _ON.get(node.objtype)) is None:
        return
    way = _OUT
    if node.targtype == _PB.ACL_TARGET_ALL_IN_SCHEMA:
        way = "name in both what it is to be given on, and not ALL"
        where, which = f"{on.kind} AND {on.schema}", [oid for each in node.objects for _, oid, _ in meant(rows, _PB.OBJECT_SCHEMA, each)]
    else:
        where, which = "o.oid", [oid for each in node.objects for oid in _oids(rows, node.objtype, each)]
    yield from _rights(rows, node, on, where, which, way)


def _no_default(rows: Rows, node: Any) -> Iterator[Otherwise]:
    said = {each.def_elem.defname: list(each.def_elem.arg.list.items) for each in node.options}
    schemas = [oid for each in said.get("schemas", []) for _, oid, _ in meant(rows, _PB.OBJECT_SCHEMA, each)] if "schemas" in said else [0]
    makers = _roles(rows, said.get("roles", [_OURS]))
    found = [oid for (oid,) in rows(_BY_DEFAULT, [_MADE_LATER.get(node.action.objtype, ""), makers, schemas])]
    yield from _rights(rows, node.action, _DEFAULTS, "o.oid", found, _OUT)


def _rights(rows: Rows, node: Any, on: _Rights, where: str, which: Sequence[int], way: str) -> Iterator[Otherwise]:
    """Those that a REVOKE takes on some objects: where their oids stand, and which."""
    to = _roles(rows, node.grantees)
    given = dict[tuple[str, str], list[str]]()
    for right, columns in [(each.access_priv.priv_name, [name.string.sval for name in each.access_priv.cols]) for each in node.privileges] or [("", [])]:
        sources = [] if columns else [(on, where)]
        if on.of == _RELATIONS.of:
            chosen = "c.attname::text = ANY(%s)" if columns else "true"
            sources.append((_COLUMNS, f"{chosen} AND {where}"))
        for source, condition in sources:
            query = _GIVEN.format(told=source.told, of=source.of, rights=source.rights, which=condition, owner=source.owner)
            asked = [columns] if columns else []
            for who, what, thing in rows(query, [*asked, which, to, node.grant_option, _SHORT.get(right, right)]):
                things = given.setdefault((who, what), [])
                things += [thing] if thing not in things else []
    for (who, what), things in given.items():
        more = f" and {len(things) - _MANY} more" if len(things) > _MANY else ""
        yield Otherwise(f"{who} has {what} on {', '.join(things[:_MANY])}{more} already", way)


def _oids(rows: Rows, kind: int, what: Any) -> list[int]:
    if what.HasField("range_var"):
        return [oid for (oid,) in rows("SELECT to_regclass(%s)::oid::bigint", [named(what.range_var)]) if oid is not None]
    return [oid for _, oid, _ in meant(rows, kind, what)]


def _roles(rows: Rows, grantees: Sequence[Any]) -> list[int]:
    """Their oids; that of PUBLIC is 0."""
    specs = [each.role_spec for each in grantees]
    kinds = {each.roletype for each in specs}
    names = [each.rolename for each in specs if each.roletype == _PB.ROLESPEC_CSTRING]
    ours = not kinds.isdisjoint({_PB.ROLESPEC_CURRENT_USER, _PB.ROLESPEC_CURRENT_ROLE})
    found = [oid for (oid,) in rows(_ROLES, [names, ours, _PB.ROLESPEC_SESSION_USER in kinds])]
    return [*found, 0] if _PB.ROLESPEC_PUBLIC in kinds else found


def _altered(rows: Rows, table: str, command: Any) -> Iterator[Otherwise]:
    what = command.subtype
    if what in _SECURED:
        which, on = _SECURED[what]
        for told, secured, forced in rows(_SECURITY, [table]):
            if (forced if which else secured) is not on:
                yield Otherwise(f"{which}row security of {told} is {'off' if on else 'on'} already", _OUT)
        return
    sets = command.HasField("def") and not getattr(command, "def").a_const.isnull
    for told, default, required in rows(_COLUMN, [table, command.name]):
        if what == _PB.AT_ColumnDefault and (default is None) is sets:
            now, say = ("no default", "DROP DEFAULT") if default is None else (f"the default {default}", f"SET DEFAULT {default}")
            yield Otherwise(f"{command.name} of {told} has {now} now", f"let it say {say}")
        elif what in (_PB.AT_SetNotNull, _PB.AT_DropNotNull) and required is not (what == _PB.AT_SetNotNull):
            yield Otherwise(f"{command.name} of {told} {'is NOT NULL' if required else 'may be NULL'} already", _OUT)
