"""The statements of a file of PostgreSQL, each in the phase in which it can run."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.deeds import ANY, Assigned, Fill, Names, Part, Rows
from bleen.database.grammar.postgres import Message, inner, kind, object_name, quoted, relation, signature, tables, type_name, words
from bleen.database.grammar.postgres_update import update
from bleen.database.migration import Phase
from bleen.database.parser import Parsed, Source
from bleen.database.statements import Comment, Dialect, Unreadable, in_a_line, place

_TAKES = frozenset("DropColumn DropConstraint SetNotNull DropExpression DropIdentity DetachPartition".split())
"""Subcommands of ALTER TABLE that the old version would notice: what it needs is taken, or what it does not know is asked of it."""
_HOLDS = frozenset("AddConstraint ValidateConstraint AlterColumnType AttachPartition SetNotNull".split())
"""Subcommands that all rows have to fit."""
_DROPPED = {pb.OBJECT_TABLE: "table", pb.OBJECT_VIEW: "table", pb.OBJECT_MATVIEW: "table", pb.OBJECT_INDEX: "index", pb.OBJECT_SEQUENCE: "sequence"}
_DROPPED |= {pb.OBJECT_FOREIGN_TABLE: "table", pb.OBJECT_DOMAIN: "type", pb.OBJECT_STATISTIC_EXT: "statistics", pb.OBJECT_EVENT_TRIGGER: "event trigger"}
_DROPPED |= {pb.OBJECT_TABCONSTRAINT: "constraint"}
_DROPPED |= dict.fromkeys((pb.OBJECT_FUNCTION, pb.OBJECT_PROCEDURE, pb.OBJECT_ROUTINE, pb.OBJECT_AGGREGATE), "routine")
_ON_RELATION = (pb.OBJECT_TRIGGER, pb.OBJECT_POLICY, pb.OBJECT_RULE)
_NEGATION = pb.NOT_EXPR
_SESSION = frozenset(
    "statement_timeout lock_timeout idle_in_transaction_session_timeout transaction_timeout check_function_bodies xmloption client_min_messages"
    " row_security".split()
)
"""Settings with which a dump begins, and which a migration does without, whatever their value (pg_dump's ``_doSetFixedOutputState``)."""
_PREAMBLE = frozenset(
    f"{setting} {value}"
    for setting, value in {
        "client_encoding": "utf8",
        "standard_conforming_strings": "on",
        "default_tablespace": "",
        "default_table_access_method": "heap",
        "search_path": "",
        "set_config search_path": "",
    }.items()
)
"""And those that leave the session as it is if they are set to this, and if all names are qualified, as a dump's are."""
_STRINGS = ("text", "varchar", "bpchar", "char", "name", "citext")


def read(text: str, dialect: Dialect) -> tuple[list[Part], list[Comment]]:
    """The parts of a file, in its order, and its comments. Raises Unreadable."""
    source = Source(text)
    return [part for parsed in source.parsed() for part in _parts(text, parsed)], source.comments


def _parts(text: str, parsed: Parsed) -> Iterator[Part]:
    node, statement = inner(parsed.node), parsed.statement
    match kind(node):
        case "AlterTableStmt":
            yield from _alter_table(parsed, node)
        case "DropStmt":
            what = _called(node.remove_type)
            names = [object_name(each) for each in node.objects]
            table = names[0][:-1] if node.remove_type in _ON_RELATION else ()
            yield Part("contract", statement, statement.text, table, drops=tuple((what, *name) for name in names))
        case "UpdateStmt":
            reads = [("table", *name) for name in tables(node)]
            reads.remove(("table", *relation(node.relation)))
            rows = Rows(_tables([node.relation]), tuple(reads))
            yield Part("backfill", statement, statement.text, relation(node.relation), fill=_fill(text, parsed, node), rows=rows)
        case "DeleteStmt":
            rows = Rows(_tables([node.relation]), _tables([node]))
            yield Part("contract", statement, statement.text, relation(node.relation), rows=rows, picks=_columns(node))
        case "TruncateStmt":
            yield Part("contract", statement, statement.text, rows=Rows(_tables(node.relations)))
        case "GrantStmt" | "GrantRoleStmt" if not node.is_grant:
            yield Part("contract", statement, statement.text)
        case "TransactionStmt" if node.kind in (pb.TRANS_STMT_BEGIN, pb.TRANS_STMT_START, pb.TRANS_STMT_COMMIT):
            yield Part("expand", statement, statement.text, idle=f"{statement.text}: each statement has a transaction of its own")
        case "VariableSetStmt" | "SelectStmt" if _preamble(node):
            yield Part("expand", statement, statement.text, idle=f"{in_a_line(statement.text)}: bleen sets up the session itself")
        case _:
            made, brought, renamed = tuple(_made(node)), tuple(_brought(node)), tuple(_renamed(node))
            yield Part("expand", statement, statement.text, _altered(node), made, brings=brought, renames=renamed, rows=_rows(node))


def _called(kind_of_object: Message) -> str:
    return _DROPPED.get(kind_of_object) or str(pb.ObjectType.Name(kind_of_object).removeprefix("OBJECT_").lower())


def _preamble(node: Message) -> bool:
    """Whether a statement only sets up the session, as a dump does in its first lines."""
    if kind(node) == "VariableSetStmt":
        return node.name in _SESSION or f"{node.name} {_constants(node.args)}".lower() in _PREAMBLE
    call = inner(node.target_list[0].res_target.val) if len(node.target_list) == 1 and not node.from_clause else None
    return call is not None and kind(call) == "FuncCall" and f"{words(call.funcname)[-1]} {_constants(call.args[:2])}" in _PREAMBLE


def _constants(nodes: Iterable[Message]) -> str:
    return " ".join(each.sval.sval for each in map(inner, nodes) if kind(each) == "A_Const")


def _alter_table(parsed: Parsed, node: Message) -> Iterator[Part]:
    """The whole statement, or one for each run of subcommands that belong in one phase."""
    table, statement = relation(node.relation), parsed.statement
    texts = _commands(parsed)
    told = [_command(table, each.alter_table_cmd) for each in node.cmds]
    runs = [list(run) for _, run in groupby(range(len(told)), key=lambda at: told[at][0])]
    for run in runs:
        makes = tuple(name for at in run for name in told[at][1])
        drops = tuple(name for at in run for name in told[at][2])
        text = statement.text if len(runs) == 1 else f"{texts[0]} {', '.join(texts[1 + at] for at in run)}"
        yield Part(told[run[0]][0], statement, text, table, makes, drops, rows=_altering(table, [node.cmds[at].alter_table_cmd for at in run]))


def _command(table: Names, command: Message) -> tuple[Phase, tuple[Names, ...], tuple[Names, ...]]:
    """The phase of a subcommand, what it makes, and what it drops."""
    what = pb.AlterTableType.Name(command.subtype).removeprefix("AT_")
    if what == "AddColumn":
        return "expand", (("column", *table, getattr(command, "def").column_def.colname),), ()
    if what == "AddConstraint":
        return "expand", (("constraint", *table, getattr(command, "def").constraint.conname),), ()
    drops = {"DropColumn": (("column", *table, command.name),), "DropConstraint": (("constraint", *table, command.name),)}.get(what, ())
    takes = what in _TAKES or (what == "ColumnDefault" and (not command.HasField("def") or getattr(command, "def").a_const.isnull))
    return ("contract" if takes else "expand"), (), drops


def _commands(parsed: Parsed) -> list[str]:
    """ALTER TABLE with its table, then each subcommand, as they are written."""
    tokens, base = parsed.tokens, parsed.statement.offset
    at = 2
    while tokens[at].kind in ("IF_P", "EXISTS", "ONLY"):
        at += 1
    at += 1
    while tokens[at].kind == "ASCII_46":  # a name's dot
        at += 2
    at += tokens[at].kind == "ASCII_42"
    starts, depth = [at], 0
    for number in range(at, len(tokens)):
        depth += (tokens[number].kind in ("ASCII_40", "ASCII_91")) - (tokens[number].kind in ("ASCII_41", "ASCII_93"))
        if tokens[number].kind == "ASCII_44" and not depth:
            starts.append(number + 1)
    ends = [start - 2 for start in starts[1:]] + [len(tokens) - 1]
    spans = [(0, at - 1), *zip(starts, ends, strict=True)]
    return [parsed.statement.text[tokens[begin].begin - base : tokens[end].end - base] for begin, end in spans]


def _rows(node: Message) -> Rows:
    """The tables about whose rows a statement is that changes no table as ALTER TABLE does."""
    match kind(node):
        case "InsertStmt" | "MergeStmt" | "CopyStmt":
            return Rows(_tables([node.relation]), _tables([node]))
        case "SelectStmt" | "CreateTableAsStmt":
            return Rows(reads=_tables([node]))
        case "RefreshMatViewStmt":
            return Rows(reads=(ANY,))
        case "CreateTrigStmt" | "RuleStmt":
            return Rows(reads=_tables([node.relation]))
        case "IndexStmt" if node.unique:
            return Rows(holds=_tables([node.relation]))
    return Rows()


def _altering(table: Names, commands: Iterable[Message]) -> Rows:
    """The same of subcommands of ALTER TABLE."""
    kinds = [(pb.AlterTableType.Name(each.subtype).removeprefix("AT_"), each) for each in commands]
    others = [each for what, each in kinds if what in _HOLDS]
    own = (("table", *table),)
    fires = any("Trig" in what or "Rule" in what for what, _ in kinds)
    return Rows(reads=own if fires else (), holds=(*own, *_tables(others)) if others else ())


def _tables(trees: Iterable[Message]) -> tuple[Names, ...]:
    return tuple(dict.fromkeys(("table", *name) for tree in trees for name in tables(tree)))


def _columns(node: Message) -> frozenset[str]:
    found = (each.fields[-1] for _, each in walk(node) if kind(each) == "ColumnRef")
    return frozenset(each.string.sval.lower() for each in found if each.HasField("string"))


def _altered(node: Message) -> Names:
    """The table of a statement, if it has one."""
    fields = {field.name for field, _ in node.ListFields()}
    return relation(node.relation) if "relation" in fields and kind(node.relation) == "RangeVar" and kind(node) not in ("CreateStmt",) else ()


def _made(node: Message) -> Iterator[Names]:
    """What a statement makes that is surely new."""
    match kind(node):
        case "CreateStmt":
            if not node.if_not_exists:
                yield "table", *relation(node.relation)
        case "ViewStmt":
            if not node.replace:
                yield "table", *relation(node.view)
        case "CreateTableAsStmt":
            yield "table", *relation(node.into.rel)
        case "IndexStmt":
            yield "index", *relation(node.relation)[:-1], node.idxname
        case "CreateSeqStmt":
            yield "sequence", *relation(node.sequence)
        case "CreateEnumStmt":
            yield "type", *words(node.type_name)


def _brought(node: Message) -> Iterator[Names]:
    """What is there once a CREATE has run, beside what it surely makes."""
    match kind(node):
        case "CreateStmt":
            yield "table", *relation(node.relation)
        case "CreateForeignTableStmt":
            yield "table", *relation(node.base_stmt.relation)
        case "ViewStmt":
            yield "table", *relation(node.view)
        case "CreateFunctionStmt":
            yield "routine", *signature(node)
        case "DefineStmt" if node.kind == pb.OBJECT_AGGREGATE:
            yield "routine", *words(node.defnames), "(?)"
        case "CreateTrigStmt":
            yield "trigger", *relation(node.relation), node.trigname
        case "CreatePolicyStmt":
            yield "policy", *relation(node.table), node.policy_name
        case "RuleStmt":
            yield "rule", *relation(node.relation), node.rulename
        case "CreateSchemaStmt":
            yield "schema", node.schemaname
        case "CreateExtensionStmt":
            yield "extension", node.extname
        case "CreateEventTrigStmt":
            yield "event trigger", node.trigname
        case "CreateDomainStmt":
            yield "type", *words(node.domainname)
        case "CompositeTypeStmt":
            yield "type", *relation(node.typevar)
        case "CreateRangeStmt":
            yield "type", *words(node.type_name)
        case "CreateStatsStmt" if node.defnames:
            yield "statistics", *words(node.defnames)


def _renamed(node: Message) -> Iterator[tuple[Names, Names]]:
    """What a statement gives another name or another schema, and what it is called then."""
    if kind(node) not in ("RenameStmt", "AlterObjectSchemaStmt"):
        return
    moves = kind(node) == "AlterObjectSchemaStmt"
    what = _called(node.object_type if moves else node.rename_type)
    names = relation(node.relation) if node.HasField("relation") else object_name(node.object)
    if not moves and node.subname:  # a part of a table, or a schema
        yield (what, *names, node.subname), (what, *names, node.newname)
        return
    own = -2 if what == "routine" else -1  # behind its name are its arguments
    became = (node.newschema, *names[own:]) if moves else (*names[:own], node.newname, *names[own:][1:])
    for each in ("table", "index", "sequence") if what == "table" else (what,):  # ALTER TABLE takes them all
        yield (each, *names), (each, *became)


def _fill(text: str, parsed: Parsed, node: Message) -> Fill:
    statement, names = parsed.statement, relation(node.relation)
    if node.from_clause:
        return Fill(quoted(*names), names, {}, None)
    try:
        filled = update(statement.text)
    except Unreadable as error:
        begin = text.find("\n", statement.offset) if error.at.line > 1 else -1
        for _ in range(error.at.line - 2):
            begin = text.find("\n", begin + 1)
        offset = begin + error.at.column if begin >= 0 else statement.offset + error.at.column - 1
        raise Unreadable(str(error), place(text, offset)) from None
    condition = inner(node.where_clause) if node.HasField("where_clause") else None
    targets = [each.res_target for each in node.target_list]
    sets = {each.name: _assigned(each.name, each.val, filled.set[each.name]) for each in targets}
    return Fill(quoted(*names), names, sets, _given(condition, {each.name for each in targets}))


def _given(condition: Message | None, targets: set[str]) -> dict[str, str] | None:
    """As ``Fill`` has it."""
    if condition is None:
        return {}
    found = {}
    for term in map(inner, condition.args) if kind(condition) == "BoolExpr" and condition.boolop == pb.AND_EXPR else [condition]:
        column = _column(term.arg) if kind(term) == "NullTest" else ""
        if not column or (term.nulltesttype == pb.IS_NULL and column not in targets):
            return None
        if term.nulltesttype == pb.IS_NOT_NULL:
            found[column] = quoted(column)
    return found if len(found) < 2 else None  # of two, one alone may be NULL, and what is made of NULL does not give the other back


def _assigned(column: str, value: Message, expression: str) -> Assigned:
    nodes = [node for _, node in walk(value)]
    reads = dict.fromkeys(node.fields[-1].string.sval for node in nodes if kind(node) == "ColumnRef")
    return Assigned(expression, tuple(reads), any(kind(node) == "SubLink" for node in nodes), _back(column, value))


def _back(column: str, value: Message) -> str:
    """The column that a value is made from, made from ``column`` again: of the column itself, of a cast of it, and of NOT. Else empty.

    A cast to a string is not: PostgreSQL casts none back without being told to which type (manual, "Value Storage").
    """
    node = inner(value)
    if kind(node) == "BoolExpr" and node.boolop == _NEGATION and _column(node.args[0]):
        return f"NOT {quoted(column)}"
    while kind(node) == "TypeCast" and type_name(node.type_name) not in _STRINGS:
        node = inner(node.arg)
    return quoted(column) if kind(node) == "ColumnRef" else ""


def _column(node: Message) -> str:
    """The column that an expression is, and nothing else; empty if it is more."""
    found = inner(node)
    return found.fields[-1].string.sval if kind(found) == "ColumnRef" and found.fields[-1].HasField("string") else ""
