"""ALTER TABLE on PostgreSQL, subcommand by subcommand. What is not listed in ``COMMANDS`` is not understood.

Sources: PostgreSQL 18, "ALTER TABLE" (Notes), "Explicit Locking"; tablecmds.c, AlterTableGetLockLevel.
"""

from collections.abc import Callable, Iterator, Sequence

from postgast import pg_query_pb2 as pb

from bleen.database.grammar.postgres import Message, changed, expression, inner, kind, quoted, relation, sql, type_name, wrapped
from bleen.database.migration import PHASES
from bleen.database.rules import postgres_made as made
from bleen.database.rules import postgres_never_null as nulls
from bleen.database.rules.findings import Finding
from bleen.database.rules.moved import kept_equal
from bleen.database.rules.postgres_columns import add_column, added, required
from bleen.database.rules.postgres_holds import check, columns_of, default_changes, drops, foreign_key, held, never_null, refuses_inserts
from bleen.database.rules.postgres_indexes import exclusion, indexed
from bleen.database.rules.postgres_look import BUILT_IN, FREE, Look, called, called_alone, default_along, functions
from bleen.database.rules.postgres_objects import numbers_change
from bleen.database.rules.postgres_values import value
from bleen.database.statements import Place

Command = Callable[[Look, Message, Message, Place], Iterator[Finding]]
"""The rules of one subcommand of ALTER TABLE, on a table that is in use."""

_ALTERED = ("OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_SEQUENCE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE")
MOMENT = frozenset(
    "AT_SetStatistics AT_SetOptions AT_ResetOptions AT_SetCompression AT_ClusterOn AT_DropCluster AT_SetRelOptions "
    "AT_ResetRelOptions AT_DetachPartitionFinalize AT_DropOids".split()
)
"""Changes the catalogue and nothing else, and no version notices."""
_CUT = ("varchar", "bpchar", "bit", "varbit")
"""The types to whose length a cast cuts a value; a domain may be one of them."""


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
    yield from _with_the_rest(look, statement, list(_parts(look, statement, what, name)))


_OF_VIEWS = frozenset(["check_option", "security_barrier", "security_invoker"])
"""Options that only a view has (PostgreSQL manual, "CREATE VIEW"); ALTER TABLE takes a view's name, too."""


def _parts(look: Look, statement: Message, what: str, name: tuple[str, ...]) -> Iterator[tuple[Message, list[Finding]]]:
    """What is found in each subcommand, in the order in which they are carried out."""
    free = made.is_free(look, name) or (what in ("OBJECT_VIEW", "OBJECT_FOREIGN_TABLE") and look.known.made(made.NAME, *name))
    for node, at in sorted(zip(statement.cmds, look.parts(), strict=False), key=lambda part: _turn(statement, part[0].alter_table_cmd)):
        command = node.alter_table_cmd
        subtype = pb.AlterTableType.Name(command.subtype)
        options = getattr(command, "def").list.items if subtype in ("AT_SetRelOptions", "AT_ResetRelOptions") else ()
        if options and (what in ("OBJECT_VIEW", "OBJECT_MATVIEW") or any(each.def_elem.defname in _OF_VIEWS for each in options)):
            yield command, list(_view_options(look, name, at))
        else:
            yield command, [] if subtype in MOMENT else list(_part(look, statement, command, at, free))


def _part(look: Look, statement: Message, command: Message, at: Place, free: bool) -> Iterator[Finding]:
    subtype, name = pb.AlterTableType.Name(command.subtype), relation(statement.relation)
    rule = COMMANDS.get(subtype)
    made.refers(look, name, command)
    if free:
        yield from refers(look, name, command, at, nulls.follows(look, name, command))
        yield from _tied(look, name, command, at)
        made.makes_numbers(look, name, command)
        yield from _calls(look, name, command, at)
        made.calls_by_default(look, name, _with_default(command), added=True)
        made.calls_by_check(look, name, command)
    if rule is None:
        yield look.finding("not-understood", f"no rule knows this part of ALTER TABLE ({subtype.removeprefix('AT_')})", at=at)
    elif not free or rule in (_attach, _detach, _validate, _inheritance):
        yield from rule(look, statement, command, at)
    if command.behavior == pb.DROP_CASCADE:
        yield from _cascade(look, statement, command, at)


def _with_the_rest(look: Look, statement: Message, parts: Sequence[tuple[Message, Sequence[Finding]]]) -> Iterator[Finding]:
    """The first safe way of a statement says the parts too against which there is nothing to be said: it takes the statement's place."""
    found = [each for _, of in parts for each in of]
    safe = [each for each in found if each.severity == "error" and each.fix]
    rest = [part for part, of in parts if not any(each.severity == "error" or each.fix for each in of)] if safe else []
    said = "\n".join(each.fix for each in safe)
    unsaid = [part for part in rest if _alone(statement, part).partition(f"{quoted(*relation(statement.relation))} ")[2].removesuffix(";") not in said]
    first = min(safe, key=lambda each: (each.line, each.column)) if unsaid else None
    dropped = {part.name for part, of in parts if of and part.subtype in (pb.AT_DropColumn, pb.AT_DropConstraint)}
    at_once = [wrapped(part) for part in unsaid if not dropped & _adds(part)]
    for each in found:
        fix = each.fix
        if each is first and at_once:
            fix = _behind(sql(changed(statement, cmds=at_once)), fix, look)
        if each is first and len(at_once) < len(unsaid):
            later = "; ".join(" ".join(_alone(statement, part).removesuffix(";").split()) for part in unsaid if dropped & _adds(part))
            fix += f"\n-- in a release after that, as the name is taken until then: {later}"
        yield each._replace(fix=fix)


def _adds(command: Message) -> set[str]:
    """The name that a part gives to what it adds."""
    definition = getattr(command, "def")
    return {pb.AT_AddColumn: {definition.column_def.colname}, pb.AT_AddConstraint: {definition.constraint.conname}}.get(command.subtype, set())


def _behind(more: str, fix: str, look: Look) -> str:
    """A safe way with a statement before it, in the file of this phase."""
    file, lines = "-- expand.sql" if look.expanding else "-- contract.sql", fix.splitlines()
    if file in lines:
        at = lines.index(file) + 1
        return "\n".join([*lines[:at], more, *lines[at:]])
    if not any(f"-- {phase}.sql" in lines for phase in PHASES):
        return f"{more}\n{fix}"
    return f"{file}\n{more}\n{fix}" if look.expanding else f"{fix}\n{file}\n{more}"


def _turn(statement: Message, command: Message) -> int:
    """When PostgreSQL carries out a part, wherever it stands: what drops comes first (tablecmds.c, AT_PASS_*)."""
    subtype = pb.AlterTableType.Name(command.subtype)
    if subtype == "AT_DropConstraint" and any(each.name == command.name for each in _validations(statement)):
        return 6  # which PostgreSQL refuses: it was meant to come last
    if subtype.startswith("AT_Drop") or (subtype == "AT_ColumnDefault" and not command.HasField("def")):
        return 0
    return {"AT_AlterColumnType": 1, "AT_AddColumn": 2, "AT_SetNotNull": 3, "AT_AddConstraint": 4, "AT_ColumnDefault": 4}.get(subtype, 5)


def refers(look: Look, name: tuple[str, ...], tree: Message, at: Place, required: Sequence[str]) -> Iterator[Finding]:
    """A row that the new version writes to a new table keeps the old version from the DELETE of what it refers to."""
    keys = list(made.foreign_keys(tree))
    stay = [(relation(key.pktable), columns, made.emptied(key, columns), key.fk_del_action) for key, columns in keys if key.fk_del_action != "c"]
    if not keys:  # those that are there, once what they set to NULL is required
        stay = [(tie.other, tie.columns, tie.emptied, "n") for tie in made.ties(look, name) if {*tie.emptied} & {*required}]
    for other, columns, emptied, action in stay if look.expanding else ():
        never = [quoted(each) for each in emptied or columns if each in required or nulls.is_never_null(look, name, each)]
        if other == name or made.is_free(look, other) or (action == "n" and not never):
            continue
        how = {"n": f", as {', '.join(never)} cannot be NULL", "d": ", but where the default refers to a row that stays"}.get(action, "")
        why = f"a DELETE of the old version from {quoted(*other)} fails where a row of {quoted(*name)} refers to what it deletes{how}"
        safe = "ON DELETE CASCADE" if never else "ON DELETE CASCADE or SET NULL"
        yield look.warning("foreign-key", f"{why}; say {safe}, or add the foreign key in contract", at=at)


def _tied(look: Look, name: tuple[str, ...], command: Message, at: Place) -> Iterator[Finding]:
    """What a change of a new table does to one in use, over the foreign key between them."""
    for tie in made.ties(look, name):
        key, other = f"the foreign key {quoted(tie.constraint)}", quoted(*tie.other)
        if command.subtype == pb.AT_AlterColumnType and (command.name in tie.columns or not tie.columns):
            why = f"{key} is made again, and checked: nobody reads or writes {other} meanwhile; give {quoted(*name)} the type before it is tied to {other}"
            yield look.finding("foreign-key", why, at=at)
        elif (command.subtype == pb.AT_DropConstraint and command.name == tie.constraint) or (
            command.subtype == pb.AT_DropColumn and command.name in tie.columns
        ):
            made.unties(look, name, tie)
            yield look.warning("foreign-key", f"{key} goes with it: nobody reads or writes {other} until this has its lock there too", at=at)


def _calls(look: Look, name: tuple[str, ...], command: Message, at: Place) -> Iterator[Finding]:
    """What a change of a new table computes for each of the rows that were written to it."""
    computed, rows = getattr(command, "def"), look.known.knows(made.FILLED, name[-1])
    if command.subtype not in (pb.AT_AddColumn, pb.AT_AlterColumnType, pb.AT_AddConstraint) or computed.constraint.skip_validation or not rows:
        return
    if calls := functions(computed, FREE):
        why = f"{', '.join(calls)}() is called for every row of {quoted(*name)}, and may change data, settings or other sessions"
        yield look.finding("side-effect", f"{why}; do this before rows are written to it", at=at)


def _with_default(command: Message) -> list[Message]:
    """The column that is added, or has another default from now on, as CREATE TABLE would have it."""
    new = getattr(command, "def")
    if command.subtype == pb.AT_AddColumn:
        return [new.column_def]
    default = pb.Constraint(contype=pb.CONSTR_DEFAULT, raw_expr=new)
    return [pb.ColumnDef(colname=command.name, constraints=[wrapped(default)])] if command.subtype == pb.AT_ColumnDefault else []


def _cascade(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    safe, new = changed(command, behavior=pb.DROP_RESTRICT), look.known.made(made.NAME, *relation(statement.relation))
    yield look.warning(
        "drop-cascade",
        "CASCADE drops what is not named here as well, such as views and foreign keys of other tables that are in use; name what is to go, and drop it before",
        _later(statement, safe) if look.expanding and not new else _alone(statement, safe),
        at=at,
    )


def _view_options(look: Look, name: tuple[str, ...], at: Place) -> Iterator[Finding]:
    if look.expanding and not look.known.made(made.NAME, *name):
        yield look.warning("replaces", f"what {quoted(*name)} shows to whom changes for the old version too", at=at)


def _alone(statement: Message, command: Message) -> str:
    """ALTER TABLE with this subcommand and no other."""
    return sql(changed(statement, cmds=[wrapped(command)]))


def _later(statement: Message, command: Message) -> str:
    return f"-- contract.sql\n{_alone(statement, command)}"


def _default(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    column, table = quoted(command.name), quoted(*name)
    sets = command.HasField("def") and value(getattr(command, "def")) is not None  # SET DEFAULT NULL leaves none either
    (look.known.unlearns if sets else look.known.learns)("default gone", *name, command.name)
    if not look.expanding:
        return
    if look.known.made("column", *name, command.name):
        yield from default_changes(look, name, command.name, getattr(command, "def") if command.HasField("def") else None, at)
        if command.HasField("def"):
            yield from refuses_inserts(look, name, command.name, getattr(command, "def"), at)
        now = look.known.of("column", *name, command.name)
        if now.required and now.given is None:
            why = f"every INSERT of the old version into {table} fails from here on: it does not know {column}, which is NOT NULL and has no default any more"
            yield look.finding("drop-default", why, _later(statement, command), at=at)
        return
    if any(each.alter_table_cmd.subtype == pb.AT_AddIdentity and each.alter_table_cmd.name == command.name for each in statement.cmds):
        return  # which is told of both
    if sets:
        yield look.warning("set-default", f"the old version's INSERTs without {column} get this value too; see that it can read it", at=at)
    else:
        yield look.finding("drop-default", f"the old version's INSERTs into {table} may count on the default of {column}", _later(statement, command), at=at)


def _not_null(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    proven = nulls.is_never_null(look, name, command.name)
    nulls.requires(look, name, command.name)
    if look.known.made("column", *name, command.name):
        look.known.makes("column", *name, command.name, what=look.known.of("column", *name, command.name)._replace(required=True))
    if not proven:
        told = any(command.name in nulls.promised_by(look, name, each.name) for each in _validations(statement))  # by ``_validate``, which comes before it
        steps = [] if told else required(name, command.name)
        fix = "\n".join(["-- contract.sql", *steps] if look.expanding and steps else steps)
        yield look.finding(
            "set-not-null",
            f"all rows of {quoted(*name)} are read while nobody reads or writes it; PostgreSQL skips that for a CHECK ({quoted(command.name)} "
            "IS NOT NULL) that this release has validated before, and that no part of this statement drops",
            fix,
            at=at,
        )


def _nullable(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    """Nobody waits for it, but what the new version writes then the old one reads."""
    name = relation(statement.relation)
    nulls.allows(look, name, command.name)
    if look.known.made("column", *name, command.name):
        look.known.makes("column", *name, command.name, what=look.known.of("column", *name, command.name)._replace(required=False))
    elif look.expanding:
        why = f"the old version, after a rollback too, reads NULL in {quoted(*name, command.name)} where the new one writes it"
        yield look.warning("drop-not-null", f"{why}; see that it can, or say it in contract", _later(statement, command), at=at)


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


def _storage(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    """Changes the catalogue and nothing else; PLAIN keeps a value whole, and in the row."""
    name, how = relation(statement.relation), getattr(command, "def").string.sval
    if look.expanding and how.lower() == "plain" and not look.known.made("column", *name, command.name):
        why = f"a write of the old version to {quoted(*name, command.name)} fails from here on whose row is larger than a page (8 kB)"
        yield look.warning("holds-the-old-version", f"{why}; say it in contract", _later(statement, command), at=at)


def _drop_column(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    if look.expanding and not look.known.made("column", *name, command.name):
        yield look.finding(
            "drop-in-expand", f"the old version reads and writes {quoted(*name, command.name)}; drop it in contract", _later(statement, command), at=at
        )
    look.known.forgets("column", *name, command.name)
    drops(look, name, command.name)
    nulls.loses_column(look, name, command.name)


def _add_constraint(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    constraint = getattr(command, "def").constraint
    name, what = relation(statement.relation), pb.ConstrType.Name(constraint.contype).removeprefix("CONSTR_")
    rule = {"CHECK": _check, "NOTNULL": _check, "FOREIGN": _foreign, "UNIQUE": indexed, "PRIMARY": indexed, "EXCLUSION": exclusion}.get(what)
    if rule is None:
        yield look.finding("not-understood", f"no rule knows a constraint of the kind {what}", at=at)
        return
    yield from rule(look, statement, constraint, at)
    if constraint.conname:
        look.known.makes("constraint", *name, constraint.conname)


def _foreign(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    yield from _waits_in_company(look, statement, constraint, at)
    yield from _unvalidated(look, statement, constraint, at)
    if constraint.is_enforced:
        yield from held(look, relation(statement.relation), foreign_key(constraint, added(statement, _not_valid(constraint))), at)


def _waits_in_company(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    """A foreign key waits for its lock on the other table under the locks that the other parts have."""
    if not _waits(look, statement, constraint):
        return
    table, other = relation(statement.relation), relation(constraint.pktable)
    why = f"{quoted(*table)} is locked against everything by the other parts of this statement while this waits for its lock on {quoted(*other)}"
    fix = added(statement, constraint) if constraint.skip_validation else ""  # else that is told by ``_unvalidated``
    yield look.finding("inline-constraint", f"{why}; add the foreign key in a statement of its own", fix, at=at)


def _waits(look: Look, statement: Message, constraint: Message) -> bool:
    other = relation(constraint.pktable)
    beside = [each.alter_table_cmd for each in statement.cmds if getattr(each.alter_table_cmd, "def").constraint != constraint]
    return not made.is_free(look, other) and other != relation(statement.relation) and not all(_is_gentle(each) for each in beside)


def _is_gentle(command: Message) -> bool:
    """Whether readers go on under its lock: another foreign key, a validation, a storage parameter."""
    what = pb.AlterTableType.Name(command.subtype)
    foreign = what == "AT_AddConstraint" and getattr(command, "def").constraint.contype == pb.CONSTR_FOREIGN
    return foreign or what in ("AT_ValidateConstraint", "AT_SetStatistics", "AT_SetOptions", "AT_ResetOptions", "AT_SetRelOptions", "AT_ResetRelOptions")


def _not_valid(constraint: Message) -> Message:
    return changed(constraint, skip_validation=True, initially_valid=False)


def _check(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    if constraint.contype == pb.CONSTR_CHECK and not constraint.is_enforced:
        return  # no row is read, and none refused
    yield from _unvalidated(look, statement, constraint, at)
    name, it = relation(statement.relation), check(constraint, added(statement, _not_valid(constraint)))
    yield from held(look, name, it, at)
    if constraint.skip_validation and constraint.conname and not constraint.is_no_inherit:
        nulls.promises(look, name, constraint.conname, never_null(it.parts), columns_of(it))


def _unvalidated(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    if constraint.skip_validation:
        return
    name = relation(statement.relation)
    other = f", nor {quoted(*relation(constraint.pktable))}" if constraint.contype == pb.CONSTR_FOREIGN else ""
    said = [each.string.sval for each in constraint.fk_attrs or constraint.keys]
    columns = said or [each for each in dict.fromkeys(columns_of(check(constraint, ""))) if each != "*"]
    suffix = {pb.CONSTR_FOREIGN: "fkey", pb.CONSTR_NOTNULL: "not_null"}.get(constraint.contype, "check")
    chosen = constraint.conname or called_alone(look, name[-1], *columns, suffix)
    fix = f"{added(statement, _not_valid(changed(constraint, conname=chosen)))}\nALTER TABLE {quoted(*name)} VALIDATE CONSTRAINT {quoted(chosen)};"
    yield look.finding(
        "constraint-without-not-valid",
        f"all rows of {quoted(*name)} are checked while nobody writes it{other}; add it NOT VALID, then validate it in a "
        "statement of its own, which locks nobody out",
        fix,
        at=at,
    )


def _validate(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    if not only_validates(statement):
        if not made.is_free(look, name):
            yield look.finding(
                "validate-alone",
                f"all rows of {quoted(*name)} are checked under the locks of the other parts of this statement; validate in a statement of its own",
                "\n".join(_alone(statement, each) for each in _around(look, statement, command)),
                at=at,
            )
    elif look.known.locked(look.parsed.statement.offset) and not made.is_free(look, name):
        yield look.finding(
            "validate-alone",
            f"all rows of {quoted(*name)} are checked under the locks of what goes before it in the same transaction; put it in expand.sql, which is run "
            "behind the command",
            f"-- expand.sql\n{_alone(statement, command)}",
            at=at,
        )
    nulls.validated(look, name, command.name)


def _around(look: Look, statement: Message, command: Message) -> list[Message]:
    """A validation between those parts of its statement that it waits for, and those that wait for it."""
    name, parts = relation(statement.relation), [each.alter_table_cmd for each in statement.cmds]
    adds = [each for each in parts if each.subtype == pb.AT_AddConstraint and getattr(each, "def").constraint.conname == command.name]
    adds = [each for each in adds if (it := getattr(each, "def").constraint).skip_validation and not (it.fk_attrs and _waits(look, statement, it))]
    proven = nulls.promised_by(look, name, command.name)
    requires = [each for each in parts if each.subtype == pb.AT_SetNotNull and each.name in proven]
    drops = [each for each in parts if each.subtype == pb.AT_DropConstraint and each.name == command.name]
    return [*adds, command, *requires, *drops]


def _validations(statement: Message) -> list[Message]:
    return [each.alter_table_cmd for each in statement.cmds if each.alter_table_cmd.subtype == pb.AT_ValidateConstraint]


def only_validates(statement: Message) -> bool:
    """Whether it does nothing but what lets everybody read and write."""
    return kind(statement) == "AlterTableStmt" and len(_validations(statement)) == len(statement.cmds)


def _alter_constraint(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    how, name = getattr(command, "def").atalter_constraint, relation(statement.relation)
    nulls.doubts(look, name, how.conname)
    if how.alter_enforceability and how.is_enforced:
        yield look.finding(
            "constraint-without-not-valid",
            f"all rows of {quoted(*relation(statement.relation))} are checked while nobody writes it; add the constraint again, NOT VALID, and validate it",
            at=at,
        )
    elif how.alter_enforceability and look.expanding and not look.known.made("constraint", *name, how.conname):
        why = f"from here on nothing is checked by {quoted(how.conname)}, and going back would have to check all rows; say it in contract"
        yield look.finding("drop-in-expand", why, _later(statement, command), at=at)
    elif look.expanding and not how.alter_enforceability:
        yield look.warning("alter-constraint", f"the old version's transactions meet {quoted(how.conname)} at another moment than before", at=at)


def _drop_constraint(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name = relation(statement.relation)
    nulls.loses_constraint(look, name, command.name, look.known.made("constraint", *name, command.name))
    if look.known.made("constraint", *name, command.name):
        look.known.forgets("constraint", *name, command.name)
        look.known.forgets("holding", *name, command.name)
    elif look.expanding:
        yield look.finding(
            "drop-in-expand",
            f"the old version may count on {quoted(command.name)} (ON CONFLICT, cascades, what it can read), and going back would have to "
            "check all rows; drop it in contract",
            _later(statement, command),
            at=at,
        )


def _change_type(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    name, definition = relation(statement.relation), getattr(command, "def").column_def
    table, old, new = quoted(*name), quoted(command.name), quoted(called(command.name, "new"))
    if look.known.made("column", *name, command.name):
        yield look.finding("change-type", f"PostgreSQL may write the whole of {table} again; {old} is new: say this type in its ADD COLUMN", at=at)
        return
    collation = definition.coll_clause if definition.HasField("coll_clause") else None
    column = pb.ColumnDef(colname=called(command.name, "new"), type_name=definition.type_name, coll_clause=collation, is_local=True)
    made = sql(
        changed(
            statement,
            cmds=[
                wrapped(
                    pb.AlterTableCmd(
                        subtype=pb.AT_AddColumn,
                        behavior=pb.DROP_RESTRICT,
                        **{"def": wrapped(column)},
                    )
                )
            ],
        )
    )
    given = definition.raw_default if definition.HasField("raw_default") else wrapped(pb.ColumnRef(fields=[pb.Node(string=pb.String(sval=command.name))]))
    own = expression(wrapped(pb.TypeCast(arg=given.type_cast.arg if kind(inner(given)) == "TypeCast" else given, type_name=definition.type_name)))
    # cast, as what is wider than the new type never equals what the column holds of it; but where a cast cuts off what ALTER TYPE, and an assignment, refuse
    base = type_name(definition.type_name).removesuffix("[]")
    as_it_is = own == expression(given) or base in _CUT or base not in BUILT_IN
    cast = expression(given if as_it_is else wrapped(pb.TypeCast(arg=given, type_name=definition.type_name)))
    back = f"CAST({new} AS OLD_TYPE)"
    along = f"{default_along(table, old, new)} OLD_TYPE is the type of {old}, without the length of a varchar: a cast cuts off what is longer"
    fix = (
        f"-- expand.sql\n{made}\n{kept_equal(table, command.name, called(command.name, 'new'), cast, back, along)}\n"
        f"-- backfill.sql\nUPDATE {table} SET {new} = {cast};\n"  # of all rows: json, xml and point have no IS DISTINCT FROM
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
    name = relation(statement.relation)
    if not look.known.made(made.NAME, *name):
        why = f"whoever has its rights as the owner of {quoted(*name)} loses them at once; grant the new role what it needs instead"
        yield look.finding("owner", why, at=at)


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
    name, parent = relation(statement.relation), relation(getattr(command, "def").range_var)
    if parent:
        (made.takes_in if command.subtype == pb.AT_AddInherit else made.lets_go)(look, parent, name)
    if made.is_free(look, name) and (command.subtype != pb.AT_AddInherit or made.is_free(look, parent)):
        return
    made.forgets(look, name)
    if parent:
        made.reaches_further(look, parent)
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
    how = getattr(command, "def").partition_cmd
    part, whole, rows = relation(how.name), relation(statement.relation), statement.objtype != pb.OBJECT_INDEX
    new = made.is_free(look, part)
    if rows:
        made.takes_in(look, whole, part)
    if not new:
        made.reaches_further(look, whole)
    if not look.known.made(made.NAME, *whole):
        made.forgets(look, part)
        if rows and not how.bound.is_default:
            yield look.warning(
                "default-partition",
                f"if {quoted(*whole)} has a DEFAULT partition, nobody reads or writes that one while all its rows are checked; a validated CHECK on it that "
                "excludes these bounds spares that",
                at=at,
            )
    if rows and not new:
        yield look.finding(
            "attach-partition",
            f"all rows of {quoted(*part)} are checked while nobody reads or writes it; if a validated CHECK proves the bounds, PostgreSQL "
            "skips that: then allow it, and name the CHECK as the reason",
            at=at,
        )


def _detach(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    how, whole = getattr(command, "def").partition_cmd, relation(statement.relation)
    table, part = quoted(*whole), relation(how.name)
    ours = made.took_in(look, whole, part)  # the old version did without it before
    made.lets_go(look, whole, part)
    if look.known.made(made.NAME, *whole):
        return
    if not how.concurrent:
        safe = changed(command)
        getattr(safe, "def").partition_cmd.concurrent = True
        yield look.finding(
            "detach-partition",
            f"nobody reads or writes {table} until this has its lock and is done; DETACH ... CONCURRENTLY",
            _later(statement, safe) if look.expanding and not ours else _alone(statement, safe),
            at=at,
        )
    elif look.expanding and not ours:
        yield look.finding(
            "detach-partition",
            f"the old version does not find the rows of {quoted(*part)} in {table} any more, nor can it write such; detach it in contract",
            _later(statement, command),
            at=at,
        )


_OTHER_RULE = "the old version's INSERTs with or without {} meet another rule than before"


def _identity(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    """Of a column that is in use, by the version that serves too once the contract is run."""
    name, column = relation(statement.relation), quoted(command.name)
    options = {each.def_elem.defname: inner(each.def_elem.arg) for each in getattr(command, "def").list.items}
    always = options.pop("generated", None)
    if command.subtype == pb.AT_SetIdentity:
        yield from numbers_change(look, f"{quoted(*name)}.{column}", options, at)
        if always is None:
            return
    if command.subtype == pb.AT_AddIdentity:
        yield from _add_identity(look, statement, command, at)
    elif look.expanding:
        yield look.finding("identity", _OTHER_RULE.format(column), "" if options else _later(statement, command), at=at)
    elif command.subtype == pb.AT_DropIdentity and not any(_defaults(each.alter_table_cmd, command.name) for each in statement.cmds):
        yield look.warning("identity", f"INSERTs into {quoted(*name)} without {column} fail from here on: see that the version that serves says it", at=at)
    elif always is not None and chr(always.ival) == "a":
        yield _always(look, name, column, at)


def _add_identity(look: Look, statement: Message, command: Message, at: Place) -> Iterator[Finding]:
    """It brings a sequence of its own, which knows nothing of the numbers that are there."""
    name, column, identity = relation(statement.relation), quoted(command.name), getattr(command, "def").constraint
    dropping = [each.alter_table_cmd for each in statement.cmds if _defaults(each.alter_table_cmd, command.name)]
    gap = not dropping and look.known.knows("default gone", *name, command.name)
    if gap:  # the safe way drops it itself
        dropping = [pb.AlterTableCmd(subtype=pb.AT_ColumnDefault, name=command.name, behavior=pb.DROP_RESTRICT)]
    start = next((inner(each.def_elem.arg) for each in identity.options if each.def_elem.defname == "start"), None)
    anew = start is None or (kind(start) == "Integer" and start.ival == 1)
    adding, above = changed(command), ""
    if anew:
        others = [each for each in identity.options if each.def_elem.defname != "start"]
        number = pb.DefElem(defname="start", arg=wrapped(pb.Float(fval="NUMBER")), defaction=pb.DEFELEM_UNSPEC)
        getattr(adding, "def").constraint.CopyFrom(changed(identity, options=[*others, wrapped(number)]))
        above = f"-- NUMBER is to be above all that {column} has come to by then: ".replace("\n", " ")
    safe = above + " ".join(sql(changed(statement, cmds=list(map(wrapped, (*dropping, adding))))).split())
    if look.expanding:
        yield look.finding("identity", _OTHER_RULE.format(column), f"-- contract.sql\n{safe}", at=at)
    elif anew:
        why = f"its numbers begin at 1, and an INSERT into {quoted(*name)} fails for each that is taken; say START WITH a number that is above them all"
        yield look.finding("identity", why, safe, at=at)
    elif gap:
        why = f"INSERTs into {quoted(*name)} without {column} fail between its DROP DEFAULT and this; say both in one ALTER TABLE"
        yield look.finding("identity", why, safe, at=at)
    if not look.expanding and identity.generated_when == "a":
        yield _always(look, name, column, at)


def _always(look: Look, name: tuple[str, ...], column: str, at: Place) -> Finding:
    return look.warning("identity", f"INSERTs into {quoted(*name)} that say {column} fail from here on: see that the version that serves does not", at=at)


def _defaults(command: Message, column: str) -> bool:
    return bool(command.subtype == pb.AT_ColumnDefault and command.name == column)


COMMANDS: dict[str, Command] = {
    "AT_AddColumn": add_column,
    "AT_ColumnDefault": _default,
    "AT_SetNotNull": _not_null,
    "AT_DropNotNull": _nullable,
    "AT_SetExpression": _expression,
    "AT_DropExpression": _drop_expression,
    "AT_SetStorage": _storage,
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
