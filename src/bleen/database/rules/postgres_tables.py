"""ALTER TABLE, CREATE TABLE and indexes on PostgreSQL, subcommand by subcommand. What is not listed in ``COMMANDS`` or ``TABLES`` is not understood.

Sources: PostgreSQL 18, "ALTER TABLE" (Notes), "Explicit Locking"; tablecmds.c, AlterTableGetLockLevel.
"""

from collections.abc import Callable, Iterator

from postgast import pg_query_pb2 as pb

from bleen.database.rules.findings import Finding
from bleen.database.rules.moved import kept_equal
from bleen.database.rules.postgres_columns import add_column, added, required
from bleen.database.rules.postgres_holds import held
from bleen.database.rules.postgres_look import (
    Look,
    Message,
    called,
    changed,
    default_along,
    expression,
    inner,
    kind,
    options,
    quoted,
    relation,
    sql,
    temporary,
    wrapped,
)
from bleen.database.statements import Place

Command = Callable[[Look, Message, Message, Place], Iterator[Finding]]
"""The rules of one subcommand of ALTER TABLE, on a table that is in use."""

_ALTERED = ("OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_SEQUENCE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE")
MOMENT = frozenset(
    "AT_DropNotNull AT_SetStatistics AT_SetOptions AT_ResetOptions AT_SetStorage AT_SetCompression AT_ClusterOn AT_DropCluster AT_SetRelOptions "
    "AT_ResetRelOptions AT_DetachPartitionFinalize AT_DropOids".split()
)
"""Changes the catalogue and nothing else, and no version notices."""


def alter_table(look: Look, statement: Message) -> Iterator[Finding]:
    """Every subcommand by itself, at its own place."""
    what, name = pb.ObjectType.Name(statement.objtype), relation(statement.relation)
    if what == "OBJECT_TYPE":
        if not look.known.made("type", *name):
            yield look.finding("change-type", f"values of {quoted(*name)} are stored, and used by both versions; make a new type, and a new column of it")
        return
    if what not in _ALTERED:
        yield look.finding("not-understood", f"no rule knows ALTER of {what}")
        return
    free = look.known.made("relation", *name)
    for node, at in zip(statement.cmds, look.parts(), strict=False):
        command = node.alter_table_cmd
        subtype = pb.AlterTableType.Name(command.subtype)
        rule = COMMANDS.get(subtype)
        if subtype in ("AT_SetRelOptions", "AT_ResetRelOptions") and what in ("OBJECT_VIEW", "OBJECT_MATVIEW"):
            yield from _view_options(look, name, at)
            continue
        if subtype in MOMENT:
            continue
        if rule is None:
            yield look.finding("not-understood", f"no rule knows this part of ALTER TABLE ({subtype.removeprefix('AT_')})", at=at)
        elif not free or rule in (_attach, _validate):
            yield from rule(look, statement, command, at)


def _view_options(look: Look, name: tuple[str, ...], at: Place) -> Iterator[Finding]:
    if look.expanding and not look.known.made("relation", *name):
        yield look.warning("replaces", f"what {quoted(*name)} shows to whom changes for the old version too", at=at)


def _alone(statement: Message, command: Message) -> str:
    """ALTER TABLE with this subcommand and no other."""
    return sql(changed(statement, cmds=[wrapped(command)]))


def _later(statement: Message, command: Message) -> str:
    return f"-- contract.sql\n{_alone(statement, command)}"


def _default(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    column, table = quoted(command.name), quoted(*name)
    if not look.expanding:
        return
    if look.known.made("column", *name, command.name):
        if not command.HasField("def") and look.known.made("required column", *name, command.name):
            why = f"every INSERT of the old version into {table} fails from here on: it does not know {column}, which is NOT NULL and has no default any more"
            yield look.finding("drop-default", why, _later(statement, command), at=at)
        return
    if command.HasField("def"):
        yield look.warning("set-default", f"the old version's INSERTs without {column} get this value too; see that it can read it", at=at)
    else:
        yield look.finding("drop-default", f"the old version's INSERTs into {table} may count on the default of {column}", _later(statement, command), at=at)


def _not_null(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    if not look.known.knows("not null", *name, command.name):
        steps = required(name, command.name)
        fix = "\n".join(["-- contract.sql", *steps] if look.expanding else steps)
        yield look.finding(
            "set-not-null",
            f"all rows of {quoted(*name)} are read while nobody reads or writes it; PostgreSQL skips that for a CHECK ({quoted(command.name)} "
            "IS NOT NULL) that this release has validated before",
            fix,
            at=at,
        )


def _expression(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "generated-expression",
        f"another expression makes PostgreSQL write the whole of {quoted(*relation(statement.relation))} again, and nobody reads "
        "or writes it meanwhile; add another column",
        at=at,
    )


def _drop_expression(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    if look.expanding:
        yield look.finding(
            "generated-expression", f"the old version does not write {quoted(command.name)}, and counts on its expression", _later(statement, command), at=at
        )


def _drop_column(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    if look.known.made("column", *name, command.name):
        look.known.forgets("column", *name, command.name)
    elif look.expanding:
        yield look.finding(
            "drop-in-expand", f"the old version reads and writes {quoted(*name, command.name)}; drop it in contract", _later(statement, command), at=at
        )
    if command.behavior == pb.DROP_CASCADE:
        yield look.warning("drop-cascade", "CASCADE drops what is not named here as well, views and foreign keys that are in use; name it", at=at)


def _add_constraint(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    constraint = getattr(command, "def").constraint
    name, what = relation(statement.relation), pb.ConstrType.Name(constraint.contype).removeprefix("CONSTR_")
    rule = {"CHECK": _check, "NOTNULL": _check, "FOREIGN": _foreign, "UNIQUE": _indexed, "PRIMARY": _indexed, "EXCLUSION": _exclusion}.get(what)
    if rule is None:
        yield look.finding("not-understood", f"no rule knows a constraint of the kind {what}", at=at)
        return
    yield from rule(look, statement, constraint, at)
    if constraint.conname:
        look.known.makes("constraint", *name, constraint.conname)


def _foreign(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    yield from _unvalidated(look, statement, constraint, at)
    yield from held(look, relation(statement.relation), constraint.fk_attrs, added(statement, _not_valid(constraint)), at)


def _not_valid(constraint: Message) -> Message:
    return changed(constraint, skip_validation=True, initially_valid=False)


def _check(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    yield from _unvalidated(look, statement, constraint, at)
    name = relation(statement.relation)
    yield from held(look, name, constraint.keys or [constraint.raw_expr], added(statement, _not_valid(constraint)), at)
    for column in _never_null(constraint):
        if constraint.skip_validation and constraint.conname:
            look.known.learns("promises not null", *name, column, constraint.conname)
        if look.expanding and look.known.made("column", *name, column) and not look.known.made("column default", *name, column):
            yield look.finding(
                "not-null-in-expand",
                f"every INSERT of the old version fails from here on: it does not know {quoted(column)}, which has no default; require it in contract",
                f"-- contract.sql\n{added(statement, _not_valid(constraint))}",
                at=at,
            )


def _never_null(constraint: Message) -> list[str]:
    """The columns that a constraint says are not null: CHECK (a IS NOT NULL AND b IS NOT NULL), NOT NULL a."""
    if constraint.contype == pb.CONSTR_NOTNULL:
        return [each.string.sval for each in constraint.keys]
    found, left = [], [inner(constraint.raw_expr)]
    while left:
        term = left.pop()
        if kind(term) == "BoolExpr" and term.boolop == pb.AND_EXPR:
            left += [inner(each) for each in term.args]
        elif kind(term) == "NullTest" and term.nulltesttype == pb.IS_NOT_NULL and kind(inner(term.arg)) == "ColumnRef" and len(inner(term.arg).fields) == 1:
            found.append(inner(term.arg).fields[0].string.sval)
    return found


def _unvalidated(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    if constraint.skip_validation:
        return
    name = relation(statement.relation)
    other = f", nor {quoted(*relation(constraint.pktable))}" if constraint.contype == pb.CONSTR_FOREIGN else ""
    columns = constraint.fk_attrs or constraint.keys
    suffix = {pb.CONSTR_FOREIGN: "fkey", pb.CONSTR_NOTNULL: "not_null"}.get(constraint.contype, "check")
    chosen = constraint.conname or called(name[-1], *(each.string.sval for each in columns), suffix)
    fix = f"{added(statement, _not_valid(changed(constraint, conname=chosen)))}\nALTER TABLE {quoted(*name)} VALIDATE CONSTRAINT {quoted(chosen)};"
    yield look.finding(
        "constraint-without-not-valid",
        f"all rows of {quoted(*name)} are checked while nobody writes it{other}; add it NOT VALID, then validate it in a "
        "statement of its own, which locks nobody out",
        fix,
        at=at,
    )


def _indexed(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    if constraint.indexname:
        return
    name, primary = relation(statement.relation), constraint.contype == pb.CONSTR_PRIMARY
    columns = [each.string.sval for each in constraint.keys]
    chosen = constraint.conname or called(name[-1], *([] if primary else columns), "pkey" if primary else "key")
    index = pb.IndexStmt(
        idxname=chosen,
        relation=changed(statement.relation, inh=True),
        access_method="btree",
        index_params=[wrapped(pb.IndexElem(name=each, ordering=pb.SORTBY_DEFAULT, nulls_ordering=pb.SORTBY_NULLS_DEFAULT)) for each in columns],
        index_including_params=[
            wrapped(pb.IndexElem(name=each.string.sval, ordering=pb.SORTBY_DEFAULT, nulls_ordering=pb.SORTBY_NULLS_DEFAULT)) for each in constraint.including
        ],
        unique=True,
        concurrent=True,
        nulls_not_distinct=constraint.nulls_not_distinct,
    )
    use = changed(constraint, conname=chosen, indexname=chosen, keys=[], including=[], nulls_not_distinct=False)
    fix = f"{sql(index)}\n{added(statement, use)}"
    yield look.finding(
        "constraint-builds-index",
        f"its index is built while nobody reads or writes {quoted(*name)}; build it CONCURRENTLY, then make it a constraint",
        fix,
        at=at,
    )
    yield from held(look, name, constraint.keys, fix, at)


def _exclusion(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "constraint-builds-index",
        f"its index is built while nobody reads or writes {quoted(*relation(statement.relation))}, and PostgreSQL has no other "
        "way; make a new table with it, and move the rows there",
        at=at,
    )
    yield from held(look, relation(statement.relation), constraint.exclusions, "", at)


def _validate(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    if len(statement.cmds) > 1:
        alone = [each.alter_table_cmd for each in statement.cmds if each.alter_table_cmd.subtype == pb.AT_ValidateConstraint]
        rest = [each for each in statement.cmds if each.alter_table_cmd.subtype != pb.AT_ValidateConstraint]
        steps = [*([sql(changed(statement, cmds=rest))] if rest else []), *(_alone(statement, each) for each in alone)]
        if not look.known.made("relation", *name):
            yield look.finding(
                "validate-alone",
                f"all rows of {quoted(*name)} are checked under the locks of the other parts of this statement; validate in a statement of its own",
                "\n".join(steps),
                at=at,
            )
    for column in _promised(look, name, command.name):
        look.known.learns("not null", *name, column)


def _promised(look: Look, table: tuple[str, ...], constraint: str) -> list[str]:
    """The columns that a constraint of this release, validated or not, says are not null."""
    return [names[-2] for names in look.known.facts("promises not null") if names[:-2] == table and names[-1] == constraint]


def _alter_constraint(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    how = getattr(command, "def").atalter_constraint
    if how.alter_enforceability and how.is_enforced:
        yield look.finding(
            "constraint-without-not-valid",
            f"all rows of {quoted(*relation(statement.relation))} are checked while nobody writes it; add the constraint again, NOT VALID, and validate it",
            at=at,
        )
    elif look.expanding:
        yield look.warning("alter-constraint", f"the old version's transactions meet {quoted(how.conname)} at another moment than before", at=at)


def _drop_constraint(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    for column in _promised(look, name, command.name):
        look.known.unlearns("promises not null", *name, column, command.name)
        look.known.unlearns("not null", *name, column)
    if look.known.made("constraint", *name, command.name):
        look.known.forgets("constraint", *name, command.name)
    elif look.expanding:
        yield look.finding(
            "drop-in-expand",
            f"the old version may count on {quoted(command.name)} (ON CONFLICT, cascades, what it can read), and going back would have to "
            "check all rows; drop it in contract",
            _later(statement, command),
            at=at,
        )
    if command.behavior == pb.DROP_CASCADE:
        yield look.warning("drop-cascade", "CASCADE drops what is not named here as well, such as foreign keys of other tables; name it", at=at)


def _change_type(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name, definition = relation(statement.relation), getattr(command, "def").column_def
    table, old, new = quoted(*name), quoted(command.name), quoted(called(command.name, "new"))
    made = sql(
        changed(
            statement,
            cmds=[
                wrapped(
                    pb.AlterTableCmd(
                        subtype=pb.AT_AddColumn,
                        behavior=pb.DROP_RESTRICT,
                        **{"def": wrapped(pb.ColumnDef(colname=called(command.name, "new"), type_name=definition.type_name, is_local=True))},
                    )
                )
            ],
        )
    )
    cast = (
        expression(definition.raw_default)
        if definition.HasField("raw_default")
        else expression(wrapped(pb.TypeCast(arg=wrapped(pb.ColumnRef(fields=[pb.Node(string=pb.String(sval=command.name))])), type_name=definition.type_name)))
    )
    back = f"CAST({new} AS OLD_TYPE)"
    along = f"{default_along(table, old, new)} OLD_TYPE is the type of {old}"
    fix = (
        f"-- expand.sql\n{made}\n{kept_equal(table, command.name, called(command.name, 'new'), cast, back, along)}\n"
        f"-- backfill.sql\nUPDATE {table} SET {new} = {cast} WHERE {new} IS DISTINCT FROM {cast};\n"
        f"-- contract.sql\nALTER TABLE {table} DROP COLUMN {old};"
    )
    yield look.finding(
        "change-type",
        f"PostgreSQL may write the whole of {table} again while nobody reads or writes it, and the old version gets another type; add a column of "
        "the new type, and let [[sync]] keep both equal. Free is only what no version notices, varchar(n) to a longer one or to text: allow that with a reason",
        fix,
        at=at,
    )


def _owner(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "owner",
        f"whoever has its rights as the owner of {quoted(*relation(statement.relation))} loses them at once; grant the new role what it needs instead",
        at=at,
    )


def _rewrites(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "table-rewrite", f"PostgreSQL writes the whole of {quoted(*relation(statement.relation))} again, and nobody reads or writes it meanwhile", at=at
    )


def _trigger_state(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "trigger-state",
        f"from now on the triggers or rules of {quoted(*relation(statement.relation))} do other things than the versions that run count on, "
        "foreign keys and two-way sync among them; change what a trigger's function does",
        at=at,
    )


def _inheritance(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "inheritance", f"the rows that a query of {quoted(*relation(statement.relation))} or of its parent sees change at once, for both versions", at=at
    )


def _replica_identity(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "replica-identity",
        f"if {quoted(*relation(statement.relation))} is published, UPDATE and DELETE fail where the rows have no identity, and subscribers get other columns",
        at=at,
    )


def _row_security(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    why = f"the rows of {quoted(*relation(statement.relation))} that a role sees change at once"
    yield (
        look.finding("row-security", f"{why}, for the old version too", _later(statement, command), at=at)
        if look.expanding
        else look.warning("row-security", why, at=at)
    )


def _attach(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    part = relation(getattr(command, "def").partition_cmd.name)
    new = look.known.made("relation", *part)
    if not look.known.made("relation", *relation(statement.relation)):
        look.known.forgets("relation", *part)
    if statement.objtype != pb.OBJECT_INDEX and not new:
        yield look.finding(
            "attach-partition",
            f"all rows of {quoted(*part)} are checked while nobody reads or writes it; if a validated CHECK proves the bounds, PostgreSQL "
            "skips that: then allow it, and name the CHECK as the reason",
            at=at,
        )


def _detach(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    how = getattr(command, "def").partition_cmd
    table = quoted(*relation(statement.relation))
    if not how.concurrent:
        safe = changed(command)
        getattr(safe, "def").partition_cmd.concurrent = True
        yield look.finding(
            "detach-partition",
            f"nobody reads or writes {table} until this has its lock and is done; DETACH ... CONCURRENTLY",
            _later(statement, safe) if look.expanding else _alone(statement, safe),
            at=at,
        )
    elif look.expanding:
        yield look.warning(
            "detach-partition",
            f"the old version does not see the rows of {quoted(*relation(how.name))} in {table} any more; detach it in contract",
            _later(statement, command),
            at=at,
        )


def _identity(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    if look.expanding:
        yield look.finding(
            "identity", f"the old version's INSERTs with or without {quoted(command.name)} meet another rule than before", _later(statement, command), at=at
        )


COMMANDS: dict[str, Command] = {
    "AT_AddColumn": add_column,
    "AT_ColumnDefault": _default,
    "AT_SetNotNull": _not_null,
    "AT_SetExpression": _expression,
    "AT_DropExpression": _drop_expression,
    "AT_DropColumn": _drop_column,
    "AT_AddConstraint": _add_constraint,
    "AT_AlterConstraint": _alter_constraint,
    "AT_ValidateConstraint": _validate,
    "AT_DropConstraint": _drop_constraint,
    "AT_AlterColumnType": _change_type,
    "AT_ChangeOwner": _owner,
    **dict.fromkeys(("AT_SetLogged", "AT_SetUnLogged", "AT_SetAccessMethod", "AT_SetTableSpace"), _rewrites),
    **{f"AT_{verb}Trig{which}": _trigger_state for verb in ("Enable", "Disable") for which in ("", "All", "User")},
    **dict.fromkeys(
        ("AT_EnableAlwaysTrig", "AT_EnableReplicaTrig", "AT_EnableRule", "AT_EnableAlwaysRule", "AT_EnableReplicaRule", "AT_DisableRule"), _trigger_state
    ),
    **dict.fromkeys(("AT_AddInherit", "AT_DropInherit", "AT_AddOf", "AT_DropOf"), _inheritance),
    "AT_ReplicaIdentity": _replica_identity,
    **dict.fromkeys(("AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity", "AT_NoForceRowSecurity"), _row_security),
    "AT_AttachPartition": _attach,
    "AT_DetachPartition": _detach,
    **dict.fromkeys(("AT_AddIdentity", "AT_SetIdentity", "AT_DropIdentity"), _identity),
}


def create_table(look: Look, statement: Message) -> Iterator[Finding]:
    """A new table is free; not so one that is perhaps not new, and one whose rows are those of a table in use."""
    name = relation(statement.relation)
    yield from temporary_table(look, statement.relation)
    parents = [each.range_var for each in statement.inh_relations if not look.known.made("relation", *relation(each.range_var))]
    if not statement.if_not_exists and not parents and not temporary(statement.relation):
        look.known.makes("relation", *name)
    for parent in parents:
        told = quoted(*relation(parent))
        if statement.HasField("partbound"):
            part = wrapped(pb.PartitionCmd(name=statement.relation, bound=statement.partbound))
            command = pb.AlterTableCmd(subtype=pb.AT_AttachPartition, behavior=pb.DROP_RESTRICT, **{"def": part})
            attach = sql(pb.AlterTableStmt(relation=parent, objtype=pb.OBJECT_TABLE, cmds=[wrapped(command)]))
            yield look.warning(
                "partition-of",
                f"nobody reads or writes {told} until this has its lock and is done; a table that is made first and attached then locks out nobody",
                f"CREATE TABLE {quoted(*name)} (LIKE {told} INCLUDING ALL);\n{attach}",
            )
        else:
            yield look.warning("inheritance", f"who reads {told} reads the rows of {quoted(*name)} too; give it no parent")


def temporary_table(look: Look, table: Message) -> Iterator[Finding]:
    if temporary(table):
        name = quoted(table.relname)
        why = f"{name} is gone with its connection, and a migration that goes on in another one then means another one of this name, or none; make a plain one"
        yield look.finding("temporary-table", why)


def create_index(look: Look, statement: Message) -> Iterator[Finding]:
    """CONCURRENTLY, by name, and not IF NOT EXISTS; on a new table as you like."""
    table = relation(statement.relation)
    if look.known.made("relation", *table):
        if statement.idxname and not statement.if_not_exists:
            look.known.makes("relation", *table[:-1], statement.idxname)
        return
    columns = [each.index_elem.name for each in statement.index_params if each.index_elem.name]
    chosen = statement.idxname or called(table[-1], *columns, "idx")
    safe = sql(changed(statement, concurrent=True, idxname=chosen, if_not_exists=False))
    if not statement.concurrent:
        yield look.finding("index-without-concurrently", f"nobody writes {quoted(*table)} while the index is built; CREATE INDEX CONCURRENTLY", safe)
    elif not statement.idxname:
        yield look.warning("unnamed-index", "an index that PostgreSQL names is not found again if its build fails; name it", safe)
    elif statement.if_not_exists:
        yield look.warning(
            "index-if-not-exists", "an INVALID index that a failed build left counts as existing, and is left invalid; bleen builds it again itself", safe
        )
    if statement.unique:
        yield from held(look, table, () if statement.nulls_not_distinct else statement.index_params, safe)  # what the old version leaves out is NULL
    if statement.idxname and not statement.if_not_exists:
        look.known.makes("relation", *table[:-1], statement.idxname)


def reindex(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.relation) if statement.HasField("relation") else (statement.name,)
    if options(statement.params).get("concurrently") or look.known.made("relation", *name):
        return
    said = [each for each in statement.params if each.def_elem.defname != "concurrently"]
    safe = changed(statement, params=[*said, wrapped(pb.DefElem(defname="concurrently", defaction=pb.DEFELEM_UNSPEC))])
    whole = statement.kind == pb.REINDEX_OBJECT_SYSTEM
    yield look.finding(
        "reindex-without-concurrently",
        f"nobody writes {quoted(*name)} while its indexes are built, nor reads through them; REINDEX ... CONCURRENTLY",
        "" if whole else sql(safe),
    )


def trigger(look: Look, statement: Message) -> Iterator[Finding]:
    table = relation(statement.relation)
    if not look.known.made("relation", *table):
        yield look.warning(
            "trigger",
            f"{quoted(statement.trigname)} runs for the writes of the old version too: an error in it fails them; two-way sync is better left to [[sync]] in "
            "migration.toml",
        )
        look.known.uses()
    if not statement.replace:
        look.known.makes("on relation", *table, statement.trigname)


def policy(look: Look, statement: Message) -> Iterator[Finding]:
    table = relation(statement.table)
    if look.known.made("relation", *table):
        return
    why = f"the rows of {quoted(*table)} that a role sees or writes change at once"
    yield look.finding("row-security", f"{why}, for the old version too", look.later()) if look.expanding else look.warning("row-security", why)


def rule(look: Look, statement: Message) -> Iterator[Finding]:
    table = relation(statement.relation)
    if not look.known.made("relation", *table):
        yield look.finding(
            "rule", f"the statements of both versions on {quoted(*table)} do something else from now on; use a trigger, or a view with a trigger"
        )
        look.known.uses()


def view(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.view)
    yield from temporary_table(look, statement.view)
    if temporary(statement.view):
        return
    if not statement.replace:
        look.known.makes("relation", *name)
    elif look.expanding and not look.known.made("relation", *name):
        yield look.warning(
            "replaces",
            f"if {quoted(*name)} exists, the old version reads the new one from now on; give the new one another name",
            sql(changed(statement, replace=False, view=changed(statement.view, relname=called(name[-1], "new")))),
        )
