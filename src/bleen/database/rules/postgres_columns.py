"""ADD COLUMN on PostgreSQL: what makes it rewrite or scan the table, or fail the old version, and the same column added safely.

Sources: PostgreSQL 18, "ALTER TABLE", Notes; tablecmds.c ATExecAddColumn (a rewrite for volatile defaults, stored and identity columns, and domains
with a constraint) and parse_utilcmd.c transformAlterTableStmt.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from postgast import pg_query_pb2 as pb

from bleen.database.grammar.postgres import Message, changed, expression, literal, quoted, relation, sql, type_name, words, wrapped
from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_domains import domain_column
from bleen.database.rules.postgres_holds import Added, check, held, refuses_inserts, unique_index, virtual
from bleen.database.rules.postgres_look import BUILT_IN, SERIAL, STEADY, Look, called, called_alone, functions
from bleen.database.rules.postgres_never_null import requires
from bleen.database.rules.postgres_values import Unsure, Value, as_type, value
from bleen.database.statements import Place

_NEUTRAL = {
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "money"), "0"),
    **dict.fromkeys(("text", "varchar", "bpchar", "citext"), "''"),
    **dict.fromkeys(("json", "jsonb"), "'{}'"),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), "now()"),
    "bool": "false",
    "uuid": "gen_random_uuid()",
}
"""A value of a type, for a backfill that nobody has written yet."""

_OF_IDENTITY = ("sequence_name", "as", "owned_by")
"""Options of its sequence that the column itself says."""

_UNDERSTOOD = frozenset(
    "NULL NOTNULL DEFAULT IDENTITY GENERATED CHECK PRIMARY UNIQUE EXCLUSION FOREIGN ATTR_DEFERRABLE ATTR_NOT_DEFERRABLE ATTR_DEFERRED "
    "ATTR_IMMEDIATE ATTR_ENFORCED ATTR_NOT_ENFORCED".split()
)

_ATTRIBUTES = {
    "ATTR_DEFERRABLE": {"deferrable": True},
    "ATTR_DEFERRED": {"deferrable": True, "initdeferred": True},
    "ATTR_NOT_ENFORCED": {"is_enforced": False},
}


class Column(NamedTuple):
    """A column that is to be added, taken apart."""

    statement: Message
    command: Message
    definition: Message
    table: tuple[str, ...]
    name: str
    constraints: dict[str, list[Message]]
    """By their kind, such as NOTNULL or CHECK."""

    @property
    def type(self) -> str:
        return type_name(self.definition.type_name)

    @property
    def default(self) -> Message | None:
        """DEFAULT NULL, however it is written, is none."""
        said = self.constraints.get("DEFAULT")
        return said[0].raw_expr if said and value(said[0].raw_expr) is not None else None

    @property
    def serial(self) -> bool:
        return self.type in SERIAL

    @property
    def stored(self) -> Message | None:
        made = self.constraints.get("GENERATED")
        return made[0].raw_expr if made and made[0].generated_kind != "v" else None

    @property
    def virtual(self) -> Message | None:
        """It is computed when it is read."""
        made = self.constraints.get("GENERATED")
        return made[0] if made and made[0].generated_kind == "v" else None

    @property
    def volatile(self) -> bool:
        return self.default is not None and bool(functions(wrapped_in(self.default), STEADY))

    @property
    def required(self) -> bool:
        return bool(self.constraints.keys() & {"NOTNULL", "PRIMARY", "IDENTITY"}) or self.serial

    @property
    def alike(self) -> bool:
        """The old version's rows are not unique by it: they have all the same default, or NULLs that are one value."""
        nulls = self.default is None and any(each.nulls_not_distinct for each in self.constraints.get("UNIQUE", ()))
        return nulls or (self.default is not None and not self.volatile)


def wrapped_in(node: Message) -> Message:
    return pb.ResTarget(val=node)


def column(statement: Message, command: Message) -> Column:
    definition = getattr(command, "def").column_def
    constraints: dict[str, list[Message]] = {}
    last = None
    for node in definition.constraints:
        what = pb.ConstrType.Name(node.constraint.contype).removeprefix("CONSTR_")
        if last is not None and what in _ATTRIBUTES:  # it stands beside what it is said of
            for field, said in _ATTRIBUTES[what].items():
                setattr(last, field, said)
        else:
            last = changed(node.constraint)
            constraints.setdefault(what, []).append(last)
    return Column(statement, command, definition, relation(statement.relation), definition.colname, constraints)


def add_column(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    """The rules of one ADD COLUMN of a table that is in use."""
    it = column(statement, command)
    strange = [each for each in it.constraints if each not in _UNDERSTOOD]
    if strange:
        yield look.finding("not-understood", f"no rule knows a column with {', '.join(strange)}", at=at)
    table, name, fix = quoted(*it.table), quoted(it.name), safely(look, it)
    if not command.missing_ok:
        look.known.makes("column", *it.table, it.name, what=Added(_given(look, it), it.definition.type_name, it.required))
        if it.required:
            requires(look, it.table, it.name)
    if statement.objtype == pb.OBJECT_FOREIGN_TABLE and look.expanding:
        why = f"from here on each INSERT of the old version into {table}, and its SELECT *, ask the server behind {table} for {name}"
        yield look.warning("holds-the-old-version", f"{why}, and fail unless the table there has it: add it there first", at=at)
    if it.stored is not None:
        yield look.finding(
            "rewriting-column",
            f"a STORED column makes PostgreSQL write the whole of {table} again, and nobody reads or writes it meanwhile; "
            "add a plain column, fill it in batches, and let a trigger keep it",
            fix,
            at=at,
        )
    elif it.serial or "IDENTITY" in it.constraints:
        yield look.finding(
            "rewriting-column",
            f"{name} gets a number in every row: PostgreSQL writes the whole of {table} again, and nobody reads or writes "
            "it meanwhile; add a plain column, then the sequence, and number the rows in batches",
            fix,
            at=at,
        )
    elif it.volatile and it.default is not None:
        which = ", ".join(functions(wrapped_in(it.default), STEADY))
        yield look.finding(
            "volatile-default",
            f"{which}() gives, or may give, each row a value of its own: PostgreSQL writes the whole of {table} again, and "
            "nobody reads or writes it meanwhile; add the column without, then set the default, then fill the rows in batches",
            fix,
            at=at,
        )
    elif it.required and it.virtual is not None:
        yield look.finding(
            "add-not-null",
            f"all rows of {table} are read while nobody reads or writes it, and a write of the old version that makes {name} NULL fails; require it later",
            fix,
            at=at,
        )
    elif it.required and it.default is None:
        yield look.finding(
            "add-not-null",
            f"{table} has rows, which have no value for {name}: this fails; and every INSERT of the old version would, which does "
            "not know it; add it without NOT NULL, and require it in contract",
            fix,
            at=at,
        )
    elif it.default is not None:
        yield from refuses_inserts(look, it.table, it.name, it.default, at)
    if it.virtual is not None:
        yield from virtual(look, it.table, it.virtual, at)
    yield from _inline(look, it, table, fix, at)
    if not it.serial and it.type.replace("[]", "") not in BUILT_IN:
        yield from domain_column(look, it.definition.type_name, table, "DEFAULT" in it.constraints, at)


def _inline(look: Look, it: Column, table: str, fix: str, at: Place) -> Iterator[Finding]:
    why = {
        "UNIQUE": f"the index of UNIQUE is built while nobody reads or writes {table}; build it CONCURRENTLY, then make it a constraint",
        "PRIMARY": f"the index of PRIMARY KEY is built while nobody reads or writes {table}; build it CONCURRENTLY, then make it a constraint",
        "CHECK": f"all rows of {table} are checked while nobody reads or writes it; add the CHECK as NOT VALID, then validate it, which locks nobody out",
        "FOREIGN": f"{table} is locked against everything while this waits for its lock on the table that is referred to; add the foreign key by itself, as "
        "NOT VALID, then validate it",
    }
    checks = [each for each in it.constraints.get("CHECK", ()) if each.is_enforced]
    for what, reason in why.items():
        if checks if what == "CHECK" else what in it.constraints:
            yield look.finding("inline-constraint", reason, fix, at=at)
    for each in (*it.constraints.get("UNIQUE", ()), *it.constraints.get("PRIMARY", ())):
        index, _ = apart(it.statement, each, each.conname, [it.name])
        yield from held(look, it.table, unique_index(index, ""), at)
    for each in checks:
        yield from held(look, it.table, check(each, added(it.statement, changed(each, skip_validation=True, initially_valid=False))), at)


def _given(look: Look, it: Column) -> Value:
    """What the column is in the rows of who does not know it."""
    if "GENERATED" in it.constraints:
        return Unsure.UNKNOWN
    if it.serial or "IDENTITY" in it.constraints:
        return Unsure.NEW
    if it.default is not None:
        return as_type(value(it.default), it.definition.type_name)
    domain = None if "DEFAULT" in it.constraints else look.known.of("domain", *words(it.definition.type_name.names))
    return None if domain is None else Unsure.UNKNOWN if domain.volatile else domain.given


def safely(look: Look, it: Column) -> str:
    """The same column in steps of which none locks anybody out for longer than a moment."""
    table, name = quoted(*it.table), quoted(it.name)
    expand, backfill = [_bare(it)], []
    if it.volatile and it.default is not None:
        filling = expression(it.default)
        expand.append(f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {filling};")
        backfill.append(f"UPDATE {table} SET {name} = {filling} WHERE {name} IS NULL;")
    elif it.serial or "IDENTITY" in it.constraints:
        sequence = (*it.table[:-1], called(it.table[-1], it.name, "seq"))
        filling = f"nextval({literal(quoted(*sequence))})"
        kept = {"int2": "smallint", "int4": "integer", "int8": "bigint"}[SERIAL.get(it.type, it.type if it.type in ("int2", "int4") else "int8")]
        said = [option for each in it.constraints.get("IDENTITY", ()) for option in each.options if option.def_elem.defname not in _OF_IDENTITY]
        made = sql(pb.CreateSeqStmt(sequence=changed(it.statement.relation, relname=sequence[-1]), options=said)).removesuffix(";")
        expand.append(f"{made} AS {kept} OWNED BY {table}.{name};")
        granted = f"-- GRANT USAGE ON SEQUENCE {quoted(*sequence)} TO each role that writes {table}: an identity column asks for no right"
        expand.append(granted.replace("\n", " "))
        expand.append(f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {filling};")
        backfill.append(f"UPDATE {table} SET {name} = {filling} WHERE {name} IS NULL;")
    elif it.stored is not None:
        filling = expression(it.stored)
        expand.append(f"-- let a trigger BEFORE INSERT OR UPDATE keep {name} equal to {filling}, and allow it with that as the reason".replace("\n", " "))
        backfill.append(f"UPDATE {table} SET {name} = {filling} WHERE {name} IS NULL;")
    elif it.required and it.default is None and it.virtual is None:
        filling = _NEUTRAL.get(it.type, "'{}'" if it.type.endswith("[]") else "NULL")
        backfill.append(f"-- say what {name} is to be in the rows that are there, instead of {filling}".replace("\n", " "))
        backfill.append(f"UPDATE {table} SET {name} = {filling} WHERE {name} IS NULL;")
    contract = required(it.table, it.name) if it.required and (it.volatile or it.default is None) else []
    (contract if it.alike else expand).extend(_indexes(look, it))
    expand += _constraints(look, it)
    for each in it.constraints.get("PRIMARY", ()):
        contract.append(added(it.statement, apart(it.statement, each, each.conname or called(it.table[-1], it.name, "pkey"), [it.name])[1]))
    if not backfill and not contract:
        return "\n".join(expand)
    return "\n".join(["-- expand.sql", *expand, *(["-- backfill.sql", *backfill] if backfill else []), *(["-- contract.sql", *contract] if contract else [])])


def _bare(it: Column) -> str:
    """ADD COLUMN with what costs nothing: a steady default, and NOT NULL beside one; the expression of a VIRTUAL one."""
    kinds = ("GENERATED",) if it.virtual is not None else () if it.volatile or it.default is None else ("DEFAULT", "NOTNULL")
    keep = [wrapped(each) for kind in kinds for each in it.constraints.get(kind, ())]
    definition = changed(it.definition, constraints=keep)
    if it.serial:
        definition.type_name.ClearField("names")
        definition.type_name.names.extend(pb.Node(string=pb.String(sval=part)) for part in ("pg_catalog", SERIAL[it.type]))
    command = changed(it.command)
    getattr(command, "def").column_def.CopyFrom(definition)
    return sql(changed(it.statement, cmds=[wrapped(command)]))


def _indexes(look: Look, it: Column) -> list[str]:
    steps = []
    for each in it.constraints.get("UNIQUE", ()):
        index, use = apart(it.statement, each, each.conname or called_alone(look, it.table[-1], it.name, "key"), [it.name])
        steps += [sql(index), added(it.statement, use)]
    for each in it.constraints.get("PRIMARY", ()):
        steps.append(sql(apart(it.statement, each, each.conname or called(it.table[-1], it.name, "pkey"), [it.name])[0]))
    return steps


def _constraints(look: Look, it: Column) -> list[str]:
    table, steps = quoted(*it.table), []
    for kind, suffix in (("CHECK", "check"), ("FOREIGN", "fkey")):
        for each in it.constraints.get(kind, ()):
            chosen = each.conname or called_alone(look, it.table[-1], it.name, suffix)
            made = changed(each, conname=chosen, skip_validation=True, initially_valid=False)
            if kind == "FOREIGN":
                made.fk_attrs.append(pb.Node(string=pb.String(sval=it.name)))
            steps += [added(it.statement, made), *([f"ALTER TABLE {table} VALIDATE CONSTRAINT {quoted(chosen)};"] if each.is_enforced else [])]
    return steps


def apart(statement: Message, constraint: Message, name: str, columns: Iterable[str]) -> tuple[Message, Message]:
    """The index of a UNIQUE or PRIMARY KEY, built CONCURRENTLY, and the constraint that is then made of it."""
    index = pb.IndexStmt(
        idxname=name,
        relation=changed(statement.relation, inh=True),
        access_method="btree",
        index_params=[_part(each) for each in columns],
        index_including_params=[_part(each.string.sval) for each in constraint.including],
        unique=True,
        concurrent=True,
        nulls_not_distinct=constraint.nulls_not_distinct,
        options=constraint.options,
        table_space=constraint.indexspace,
    )
    return index, changed(constraint, conname=name, indexname=name, keys=[], including=[], nulls_not_distinct=False, options=[], indexspace="")


def _part(column: str) -> Message:
    return wrapped(pb.IndexElem(name=column, ordering=pb.SORTBY_DEFAULT, nulls_ordering=pb.SORTBY_NULLS_DEFAULT))


def added(statement: Message, constraint: Message) -> str:
    """ALTER TABLE ... ADD CONSTRAINT, as SQL."""
    command = pb.AlterTableCmd(subtype=pb.AT_AddConstraint, behavior=pb.DROP_RESTRICT, **{"def": wrapped(constraint)})
    return sql(changed(statement, cmds=[wrapped(command)]))


def required(table: tuple[str, ...], name: str) -> list[str]:
    """NOT NULL without a scan under a lock: PostgreSQL believes a validated CHECK ("ALTER TABLE", SET NOT NULL)."""
    told, check = quoted(*table), quoted(called(table[-1], name, "not_null"))
    return [
        f"ALTER TABLE {told} ADD CONSTRAINT {check} CHECK ({quoted(name)} IS NOT NULL) NOT VALID;",
        f"ALTER TABLE {told} VALIDATE CONSTRAINT {check};",
        f"ALTER TABLE {told} ALTER COLUMN {quoted(name)} SET NOT NULL;",
        f"ALTER TABLE {told} DROP CONSTRAINT {check};",
    ]
