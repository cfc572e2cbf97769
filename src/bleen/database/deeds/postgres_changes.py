"""What of before a statement of PostgreSQL changes: what is neither made nor dropped by it, and what its counterpart puts back."""

from collections.abc import Iterator

from postgast import pg_query_pb2 as pb

from bleen.database.deeds import Names
from bleen.database.grammar.postgres import Message, inner, kind, object_name, relation, sql, words, wrapped
from bleen.database.parser import Source

_OF_COLUMN = {"ColumnDefault": "default", "AddIdentity": "default", "DropIdentity": "default", "SetIdentity": "default"}
_OF_COLUMN |= {"SetNotNull": "not null", "DropNotNull": "not null"}
_OF_TABLE = {"EnableRowSecurity": "row security", "DisableRowSecurity": "row security"}
_OF_TABLE |= {"ForceRowSecurity": "forced row security", "NoForceRowSecurity": "forced row security"}
_OF_TABLE |= {"SetRelOptions": "options", "ResetRelOptions": "options", "ReplaceRelOptions": "options"}
_OF_TABLE |= {"EnableTrigAll": "all triggers", "DisableTrigAll": "all triggers", "EnableTrigUser": "user triggers", "DisableTrigUser": "user triggers"}
_STATE = {"Trig": "state of trigger", "Rule": "state of rule"}
"""By the end of ENABLE and DISABLE, ALWAYS and REPLICA."""


def changes(text: str) -> Iterator[Names]:
    """Each as an aspect and the names of what has it. Raises Unreadable."""
    for parsed in Source(text).parsed():
        yield from _changes(inner(parsed.node))


def _changes(node: Message) -> Iterator[Names]:
    match kind(node):
        case "AlterTableStmt":
            for each in node.cmds:
                yield from _command(relation(node.relation), each.alter_table_cmd)
        case "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "CopyStmt":
            yield "rows", *relation(node.relation)
        case "AlterFunctionStmt":
            yield "routine", *object_name(wrapped(node.func))
        case "AlterPolicyStmt":
            yield "policy", *relation(node.table), node.policy_name
        case "GrantStmt":
            where = pb.GrantTargetType.Name(node.targtype)
            for right in _rights(node, where):
                yield from ((right, *object_name(each)) for each in node.objects)
        case "GrantRoleStmt":
            for each in node.granted_roles:
                yield from ((f"member: {_role(to)}", each.access_priv.priv_name) for to in node.grantee_roles)
        case "AlterDefaultPrivilegesStmt":
            for right in _rights(node.action, f"by default {sql(pb.AlterDefaultPrivilegesStmt(options=node.options, action=_ANY))}"):
                yield (right,)


def _command(table: Names, command: Message) -> Iterator[Names]:
    """What a part of ALTER TABLE changes."""
    what = pb.AlterTableType.Name(command.subtype).removeprefix("AT_")
    if what in _OF_COLUMN:
        yield _OF_COLUMN[what], *table, command.name
    elif what in _OF_TABLE:
        yield _OF_TABLE[what], *table
    elif what.startswith(("Enable", "Disable")) and what[-4:] in _STATE:
        yield _STATE[what[-4:]], *table, command.name
    elif what == "AlterConstraint":
        yield "constraint", *table, getattr(command, "def").atalter_constraint.conname
    elif what == "AddConstraint":
        constraint = getattr(command, "def").constraint
        check = inner(constraint.raw_expr) if constraint.contype == pb.CONSTR_CHECK else None
        if check is not None and kind(check) == "NullTest" and check.nulltesttype == pb.IS_NOT_NULL:
            yield from (("not null", *table, words(node.fields)[-1]) for node in [inner(check.arg)] if kind(node) == "ColumnRef")
        elif constraint.contype == pb.CONSTR_NOTNULL:
            yield "not null", *table, *words(constraint.keys)


_PUBLIC = pb.Node(role_spec=pb.RoleSpec(roletype=pb.ROLESPEC_PUBLIC))
_ANY = pb.GrantStmt(is_grant=True, targtype=pb.ACL_TARGET_DEFAULTS, objtype=pb.OBJECT_TABLE, grantees=[_PUBLIC])
"""Says nothing of what is granted, only of where."""


def _rights(node: Message, where: str) -> Iterator[str]:
    """Each right of a GRANT or a REVOKE for itself, with who has it."""
    given = [each.access_priv for each in node.privileges]
    named = [" ".join((each.priv_name or "all", *sorted(words(each.cols)))) for each in given] or ["all"]
    for each in named:
        yield from (f"{each} {where} {pb.ObjectType.Name(node.objtype)}: {_role(to)}" for to in node.grantees)


def _role(node: Message) -> str:
    """A role is told from what the session makes of CURRENT_USER and its like."""
    return f"{pb.RoleSpecType.Name(node.role_spec.roletype)} {node.role_spec.rolename}"
