"""The syntax trees of PostgreSQL: what is in their nodes, and trees as SQL again."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import Message as ProtobufMessage
from postgast import deparse, scan, walk
from postgast import pg_query_pb2 as pb

Message = Any
"""A message of libpg_query's protobuf, which has no types of its own."""

_FIELDS = {field.message_type.name: field.name for field in pb.Node.DESCRIPTOR.fields if field.message_type is not None}
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def inner(node: Message) -> Message:
    """What a ``Node`` wraps."""
    kind = node.WhichOneof("node")
    return getattr(node, kind) if kind else node


def kind(message: Message) -> str:
    """The name of a message's type: ``AlterTableStmt``."""
    return str(message.DESCRIPTOR.name)


def wrapped(message: Message) -> Message:
    return pb.Node(**{_FIELDS[kind(message)]: message})


def sql(statement: Message) -> str:
    """A statement's tree as SQL, with its semicolon."""
    tree = pb.ParseResult(version=180000, stmts=[pb.RawStmt(stmt=wrapped(statement))])
    return f"{deparse(tree)};"


def expression(node: Message) -> str:
    """An expression's tree as SQL."""
    select = pb.SelectStmt(target_list=[wrapped(pb.ResTarget(val=node))], limit_option=pb.LIMIT_OPTION_DEFAULT, op=pb.SETOP_NONE)
    return sql(select).removeprefix("SELECT ").removesuffix(";")


def temporary(table: Message) -> bool:
    return bool(table.relpersistence == "t" or table.schemaname == "pg_temp")


def changed(message: Message, **fields: object) -> Message:
    """A copy of a tree with other values in some fields."""
    copy, kept = type(message)(), {field.name: value for field, value in message.ListFields()}  # no copy of a thousand subcommands in order to change one
    for field, value in {**kept, **fields}.items():
        if isinstance(value, ProtobufMessage):
            getattr(copy, field).CopyFrom(value)
        elif isinstance(value, (str, int, float)):
            setattr(copy, field, value)
        else:
            getattr(copy, field).extend(value)
    return copy


def words(nodes: Sequence[Message]) -> tuple[str, ...]:
    """A list of String nodes: the parts of a name."""
    return tuple(node.string.sval for node in nodes)


def relation(table: Message) -> tuple[str, ...]:
    """A table's name as it was written, without quotes: with its schema if it was named. ``public.users`` and ``users`` may be two tables."""
    return tuple(part for part in (table.catalogname, table.schemaname, table.relname) if part)


def object_name(node: Message) -> tuple[str, ...]:
    """The name of an object of DROP, GRANT, COMMENT and their like; of a function, with the types of its arguments behind it."""
    thing = inner(node)
    match kind(thing):
        case "List":
            return tuple(type_name(each.type_name) if each.HasField("type_name") else each.string.sval for each in thing.items)
        case "String":
            return (thing.sval,)
        case "Integer" | "Float":  # of a large object
            return (str(thing.ival if kind(thing) == "Integer" else thing.fval),)
        case "TypeName":
            return words(thing.names)
        case "RangeVar":
            return relation(thing)
        case "ObjectWithArgs":
            arguments = ("?",) if thing.args_unspecified else tuple(type_name(each.type_name) for each in thing.objargs)
            return (*words(thing.objname), f"({', '.join(arguments)})")
    return ()


def type_name(name: Message) -> str:
    """A type as PostgreSQL tells it from others: without its modifier, and without ``pg_catalog``."""
    parts = words(name.names)
    return ".".join(parts[1:] if parts[:1] == ("pg_catalog",) else parts) + "[]" * len(name.array_bounds)


def signature(function: Message) -> tuple[str, ...]:
    """What CREATE FUNCTION makes, as ``object_name`` calls it."""
    taken = [each.function_parameter for each in function.parameters]
    given = [each for each in taken if each.mode not in (pb.FUNC_PARAM_OUT, pb.FUNC_PARAM_TABLE)]
    return (*words(function.funcname), f"({', '.join(type_name(each.arg_type) for each in given)})")


def quoted(*names: str) -> str:
    """A name as it has to be written."""
    return ".".join(name if _is_plain(name) else '"' + name.replace('"', '""') + '"' for name in names)


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and scan(name).tokens[0].keyword_kind in (pb.NO_KEYWORD, pb.UNRESERVED_KEYWORD)


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def tables(tree: Message) -> Iterator[tuple[str, ...]]:
    """The tables that a query names, those of its WITH excepted."""
    local = {node.ctename for _, node in walk(tree) if kind(node) == "CommonTableExpr"}
    for _, node in walk(tree):
        if kind(node) == "RangeVar" and not (not node.schemaname and node.relname in local):
            yield relation(node)
