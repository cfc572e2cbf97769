"""What undoes the statements of an expand on PostgreSQL."""

from collections.abc import Callable, Iterator, Sequence

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, changed, inner, kind, object_name, quoted, relation, sql, words, wrapped
from bleen.database.parser import Source
from bleen.database.reverting import Beyond, Stays, Undo

_PERHAPS = "IF NOT EXISTS: the text does not say whether it was there before"
_OTHER = "OR REPLACE: the text does not say what was there before"
_WITHOUT_A_TRACE = frozenset("CommentStmt SelectStmt ExplainStmt VacuumStmt ReindexStmt RefreshMatViewStmt VariableShowStmt ConstraintsSetStmt".split())
"""Changes nothing that a version could notice, or that could be taken back."""
_WRITES = frozenset("InsertStmt UpdateStmt DeleteStmt MergeStmt".split())
_QUERIES = _WRITES | {"SelectStmt", "ExplainStmt", "CreateTableAsStmt"}


def undo(text: str, undone: list[Undo], stays: list[Stays]) -> None:
    """Appends what undoes each statement, in their order, and what cannot be undone. Raises Unreadable."""
    look = _Undoing()
    for parsed in Source(text).parsed():
        try:
            undone += look.statement(inner(parsed.node))
        except Beyond as why:
            stays.append(Stays(parsed.statement.at, str(why)))


class _Undoing:
    """One expand, statement by statement; what it has made goes with all that belongs to it."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, ...], None] = {}
        """In the order in which it was made."""
        self.indexes: set[tuple[str, ...]] = set()
        """By name, in the schema of their table as it is written."""

    def statement(self, node: Message) -> list[Undo]:
        name = kind(node)
        if table := self.rewritten(node):
            raise Beyond(f"what WITH changes in {quoted(*table)} is not undone by itself, and its rows may be in what would be dropped")
        known = _KNOWN.get(name)
        if known is not None:
            return list(known(self, node))
        if name in ("RenameStmt", "AlterObjectSchemaStmt"):
            self.renamed(node)
        if name in _WITHOUT_A_TRACE or self.of_ours(node):
            return []
        raise Beyond(f"what a statement like this ({name.removesuffix('Stmt')}) changes is not undone by itself")

    def rewritten(self, node: Message) -> tuple[str, ...]:
        """A table of before that a query changes beside what it says: rows that were moved to a new table would go with that. Empty if there is none."""
        if kind(node) not in _QUERIES:
            return ()
        beside = [inner(each.ctequery) for _, each in walk(node) if kind(each) == "CommonTableExpr"]
        touched = [relation(each.relation) for each in beside if kind(each) in _WRITES]
        return next((each for each in touched if ("relation", *each) not in self.made), ())

    def renamed(self, node: Message) -> None:
        """Raises Beyond if it has been made under the name that it loses here: by that one it would be dropped, if it is there, and so be left."""
        name = (*relation(node.relation), *([node.subname] if kind(node) == "RenameStmt" and node.subname else []))
        if any(made[1:] == name for made in self.made):
            raise Beyond(f"{quoted(*name)} is made in this file and named anew: make it under its last name")

    def of_ours(self, node: Message) -> bool:
        """Whether it is about a relation, a type or a sequence that this expand has made."""
        fields = {field.name for field, _ in node.ListFields()}
        if "relation" in fields and kind(node.relation) == "RangeVar":
            return ("relation", *relation(node.relation)) in self.made
        if "sequence" in fields:
            return ("relation", *relation(node.sequence)) in self.made
        if kind(node) == "AlterEnumStmt":
            return ("type", *words(node.type_name)) in self.made
        if kind(node) == "GrantStmt" and node.is_grant and node.targtype == pb.ACL_TARGET_OBJECT:
            return all((what, *object_name(each)) in self.made for each in node.objects for what in (_GRANTED.get(node.objtype, ""),))
        return False

    def alter_table(self, node: Message) -> Iterator[Undo]:
        table = relation(node.relation)
        ours, since = ("relation", *table) in self.made, self.since(table)
        for each in node.cmds:
            command, what = each.alter_table_cmd, pb.AlterTableType.Name(each.alter_table_cmd.subtype).removeprefix("AT_")
            part = relation(getattr(command, "def").partition_cmd.name) if what == "AttachPartition" else ()
            if ours and part and ("relation", *part) not in self.made:
                raise Beyond(f"ATTACH PARTITION {quoted(*part)}: it was there before, and would be dropped with {quoted(*table)}; DETACH it first")
            if part and not ours and node.objtype != pb.OBJECT_INDEX:
                why = f"the old version may write rows to it by {quoted(*table)}, and does not find them once it is detached"
                raise Beyond(f"ATTACH PARTITION {quoted(*part)}: {why}")
            if ours and not (since and _hangs(command, what, since)):
                continue
            if ours and what == "ColumnDefault":
                yield Undo("default", quoted(*table), f"ALTER TABLE {quoted(*table)} ALTER COLUMN {quoted(command.name)} DROP DEFAULT;")
            elif what == "AddColumn":
                if command.missing_ok:
                    raise Beyond(f"ADD COLUMN {_PERHAPS}")
                column = getattr(command, "def").column_def.colname
                self.made[("column", *table, column)] = None
                yield self.column(table, column)
            elif what == "AddConstraint":
                constraint = getattr(command, "def").constraint
                if not constraint.conname:
                    raise Beyond("the constraint has no name here, and PostgreSQL chooses one: give it a name")
                if constraint.indexname and (*table[:-1], constraint.indexname) not in self.indexes:
                    raise Beyond(f"USING INDEX {quoted(constraint.indexname)}: it was there before, and would be dropped with the constraint")
                self.made["constraint", *table, constraint.conname] = None
                yield Undo("constraint", quoted(*table), f"ALTER TABLE {quoted(*table)} DROP CONSTRAINT IF EXISTS {quoted(constraint.conname)};")
            elif what == "DropConstraint" and ("constraint", *table, command.name) in self.made:
                continue
            elif what != "ValidateConstraint" and ("column", *table, command.name) not in self.made:
                raise Beyond(f"how it was before {sql(changed(node, cmds=[each])).removesuffix(';')} is not in the text")
            elif what == "ColumnDefault":  # which may depend on what was made since the column: the column goes before that
                yield self.column(table, command.name)

    def since(self, table: tuple[str, ...]) -> list[tuple[str, ...]]:
        """What was made after a table of ours: what the table has got from there on may hang on it, and has to go before it, and so before the table."""
        made = list(self.made)
        return made[made.index(("relation", *table)) + 1 :] if ("relation", *table) in self.made else []

    def column(self, table: tuple[str, ...], name: str) -> Undo:
        return Undo("column", quoted(*table), f"ALTER TABLE {quoted(*table)} DROP COLUMN IF EXISTS {quoted(name)};")

    def table(self, node: Message, what: int = pb.OBJECT_TABLE) -> Iterator[Undo]:
        whole = relation(node.inh_relations[0].range_var) if node.HasField("partbound") else ()
        if whole and ("relation", *whole) not in self.made:
            raise Beyond(f"PARTITION OF {quoted(*whole)}: rows of the old version may go into it, and would be dropped with it")
        return self.new_relation(what, relation(node.relation), node.if_not_exists)

    def foreign_table(self, node: Message) -> Iterator[Undo]:
        return self.table(node.base_stmt, pb.OBJECT_FOREIGN_TABLE)

    def view(self, node: Message) -> Iterator[Undo]:
        if node.replace and ("relation", *relation(node.view)) not in self.made:
            raise Beyond(f"CREATE {_OTHER}")
        return self.new_relation(pb.OBJECT_VIEW, relation(node.view))

    def table_as(self, node: Message) -> Iterator[Undo]:
        return self.new_relation(node.objtype, relation(node.into.rel), node.if_not_exists)

    def sequence(self, node: Message) -> Iterator[Undo]:
        return self.new_relation(pb.OBJECT_SEQUENCE, relation(node.sequence), node.if_not_exists)

    def new_relation(self, what: int, name: tuple[str, ...], perhaps: bool = False) -> Iterator[Undo]:
        if perhaps:
            raise Beyond(f"CREATE {_PERHAPS}")
        self.made[("relation", *name)] = None
        yield Undo("relation", "", _drop(what, _list(*name)))

    def index(self, node: Message) -> Iterator[Undo]:
        table = relation(node.relation)
        self.indexes.add((*table[:-1], node.idxname))
        if ("relation", *table) in self.made and not (node.idxname and self.since(table) and _calls(node)):
            return
        if not node.idxname or node.if_not_exists:
            raise Beyond(f"CREATE INDEX {_PERHAPS}" if node.if_not_exists else "the index has no name here, and PostgreSQL chooses one: give it a name")
        yield Undo("index", quoted(*table), _drop(pb.OBJECT_INDEX, _list(*table[:-1], node.idxname), node.concurrent))

    def type(self, node: Message) -> Iterator[Undo]:
        domain = kind(node) == "CreateDomainStmt"
        name = words(node.domainname) if domain else relation(node.typevar) if kind(node) == "CompositeTypeStmt" else words(node.type_name)
        self.made[("type", *name)] = None
        named = wrapped(pb.TypeName(names=[_string(each) for each in name], typemod=-1))
        yield Undo("type", "", _drop(pb.OBJECT_DOMAIN if domain else pb.OBJECT_TYPE, named))

    def function(self, node: Message) -> Iterator[Undo]:
        if node.replace:
            raise Beyond(f"CREATE {_OTHER}")
        given = [each.function_parameter for each in node.parameters if each.function_parameter.mode not in (pb.FUNC_PARAM_OUT, pb.FUNC_PARAM_TABLE)]
        called = pb.ObjectWithArgs(objname=node.funcname, objargs=[wrapped(each.arg_type) for each in given])
        self.made[("function", *object_name(wrapped(called)))] = None
        yield Undo("function", "", _drop(pb.OBJECT_PROCEDURE if node.is_procedure else pb.OBJECT_FUNCTION, wrapped(called)))

    def trigger(self, node: Message) -> Iterator[Undo]:
        if node.replace:
            raise Beyond(f"CREATE {_OTHER}")
        return self.on_relation(pb.OBJECT_TRIGGER, relation(node.relation), node.trigname)

    def policy(self, node: Message) -> Iterator[Undo]:
        return self.on_relation(pb.OBJECT_POLICY, relation(node.table), node.policy_name)

    def on_relation(self, what: int, table: tuple[str, ...], name: str) -> Iterator[Undo]:
        if ("relation", *table) not in self.made or self.since(table):
            yield Undo("on relation", quoted(*table), _drop(what, _list(*table, name)))

    def schema(self, node: Message) -> Iterator[Undo]:
        if node.if_not_exists:
            raise Beyond(f"CREATE {_PERHAPS}")
        self.made[("schema", node.schemaname)] = None
        yield Undo("schema", "", _drop(pb.OBJECT_SCHEMA, _string(node.schemaname)))

    def statistics(self, node: Message) -> Iterator[Undo]:
        if node.if_not_exists or not node.defnames:
            raise Beyond(f"CREATE {_PERHAPS}" if node.if_not_exists else "the statistics have no name here: give them one")
        yield Undo("statistics", "", _drop(pb.OBJECT_STATISTIC_EXT, _list(*words(node.defnames))))


_GRANTED = {pb.OBJECT_TABLE: "relation", pb.OBJECT_SEQUENCE: "relation", pb.OBJECT_SCHEMA: "schema", pb.OBJECT_TYPE: "type", pb.OBJECT_FUNCTION: "function"}
_KNOWN: dict[str, Callable[[_Undoing, Message], Iterator[Undo]]] = {
    "AlterTableStmt": _Undoing.alter_table,
    "CreateStmt": _Undoing.table,
    "CreateForeignTableStmt": _Undoing.foreign_table,
    "ViewStmt": _Undoing.view,
    "CreateTableAsStmt": _Undoing.table_as,
    "CreateSeqStmt": _Undoing.sequence,
    "IndexStmt": _Undoing.index,
    **dict.fromkeys(("CreateEnumStmt", "CreateRangeStmt", "CompositeTypeStmt", "CreateDomainStmt"), _Undoing.type),
    "CreateFunctionStmt": _Undoing.function,
    "CreateTrigStmt": _Undoing.trigger,
    "CreatePolicyStmt": _Undoing.policy,
    "CreateSchemaStmt": _Undoing.schema,
    "CreateStatsStmt": _Undoing.statistics,
}


def _hangs(command: Message, what: str, since: Sequence[tuple[str, ...]]) -> bool:
    """Whether what a table of ours gets may hang on what was made since the table: a table that it refers to, a sequence, a function, a type."""
    if what == "AddConstraint":
        constraint = getattr(command, "def").constraint
        refers = constraint.contype == pb.CONSTR_FOREIGN and ("relation", *relation(constraint.pktable)) in since
        return refers or bool(constraint.conname and _calls(constraint))
    return what == "AddColumn" or (what == "ColumnDefault" and command.HasField("def") and _calls(getattr(command, "def")))


def _calls(node: Message) -> bool:
    return any(kind(each) == "FuncCall" for _, each in walk(node))


def _drop(what: int, thing: Message, concurrent: bool = False) -> str:
    return sql(pb.DropStmt(objects=[thing], remove_type=what, behavior=pb.DROP_RESTRICT, missing_ok=True, concurrent=concurrent))


def _list(*names: str) -> Message:
    return wrapped(pb.List(items=[_string(each) for each in names]))


def _string(text: str) -> Message:
    return pb.Node(string=pb.String(sval=text))
