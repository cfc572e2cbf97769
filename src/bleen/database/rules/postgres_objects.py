"""Everything on PostgreSQL that is neither a table nor a row: DROP, RENAME, rights, types, functions, roles, settings, the database as a whole."""

from collections.abc import Iterable, Iterator

from postgast import pg_query_pb2 as pb

from bleen.database.grammar.postgres import Message, changed, inner, kind, object_name, quoted, relation, signature, sql, temporary, words, wrapped
from bleen.database.rules import postgres_made as made
from bleen.database.rules import postgres_never_null as nulls
from bleen.database.rules.findings import Finding
from bleen.database.rules.moved import kept_equal
from bleen.database.rules.postgres_look import BUILT_IN, SHARED, Look, default_along, options
from bleen.database.statements import Place

_RELATIONS = ("TABLE", "VIEW", "MATVIEW", "INDEX", "SEQUENCE", "FOREIGN_TABLE")
_ON_RELATION = ("TRIGGER", "POLICY", "RULE")
_CALLED = ("FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE")
DROPPED = (
    *_RELATIONS,
    *_ON_RELATION,
    *_CALLED,
    "TYPE",
    "DOMAIN",
    "SCHEMA",
    "EXTENSION",
    "STATISTIC_EXT",
    "COLLATION",
    "CAST",
    "OPERATOR",
    "OPCLASS",
    "OPFAMILY",
    "CONVERSION",
    "TSCONFIGURATION",
    "TSDICTIONARY",
    "TSPARSER",
    "TSTEMPLATE",
    "PUBLICATION",
    "EVENT_TRIGGER",
    "FOREIGN_SERVER",
)


def _told(what: str) -> str:
    """A kind of object, as people call it."""
    return {"LARGEOBJECT": "large object", "OPCLASS": "operator class", "OPFAMILY": "operator family"}.get(what, what.lower().replace("_", " "))


def _kind(what: str) -> str:
    """What ``Known`` calls an object: relations share their names."""
    if what in _RELATIONS:
        return made.NAME
    if what in _ON_RELATION:
        return "on relation"
    return {**dict.fromkeys(_CALLED, "function"), "TYPE": "type", "DOMAIN": "type", "SCHEMA": "schema"}.get(what, what)


def _known(what: str, name: tuple[str, ...]) -> tuple[str, ...]:
    """As ``Known`` has it. Without its arguments a function is the only one of its name, so that what is below that is it."""
    return (_kind(what), *(name[:-1] if what in _CALLED and name[-1] == "(?)" else name))


def _made(look: Look, what: str, name: tuple[str, ...]) -> bool:
    """Whether this release made it, or what it is part of."""
    if what in _ON_RELATION and look.known.made(made.NAME, *name[:-1]):
        return True
    known = _known(what, name)
    return look.known.made(*known) or (what in _CALLED and bool(look.known.below(*known)))


def drop(look: Look, statement: Message) -> Iterator[Finding]:
    what = pb.ObjectType.Name(statement.remove_type).removeprefix("OBJECT_")
    if what not in DROPPED:
        yield look.finding("not-understood", f"no rule knows DROP of {what}")
        return
    names = [object_name(each) for each in statement.objects]
    used = [name for name in names if not _made(look, what, name)]
    locked = [name for name in names if what == "INDEX" and not statement.concurrent and not made.is_free(look, name)]
    tied = [(name, tie) for name in names if what == "TABLE" and made.is_free(look, name) for tie in made.ties(look, name)]
    parts = [(name, part) for name in names if what == "TABLE" for part in made.in_use_below(look, name)]
    for name in names:
        if what in _RELATIONS:
            made.forgets(look, name)
            look.known.takes_back("holding", name[-1])
        else:
            look.known.forgets(*_known(what, name))
    safe = changed(statement, concurrent=what == "INDEX" or statement.concurrent, behavior=pb.DROP_RESTRICT)
    told, later = _told(what), "-- contract.sql\n" if used and look.expanding else ""
    if used and look.expanding:
        yield look.finding(
            "drop-in-expand",
            f"the old version may use the {told} {_list(what, used)}, and going back needs it; drop it in contract",
            f"{later}{_each(safe)}",
        )
    elif statement.concurrent and len(names) > 1:
        yield look.finding("drop-index-without-concurrently", "PostgreSQL refuses this: CONCURRENTLY drops one index at a time", _each(safe))
    elif locked:
        yield look.finding(
            "drop-index-without-concurrently",
            f"nobody reads or writes its table until this has its lock; DROP INDEX CONCURRENTLY {_list(what, locked)}",
            _each(safe),
        )
    for name, part in parts:
        yield look.finding("attach-partition", f"{quoted(*part)}, which was there before, belongs to {quoted(*name)} and goes with it; DETACH it first")
    for name, tie in tied:
        key, other = f"the foreign key {quoted(tie.constraint)}", quoted(*tie.other)
        yield look.warning("foreign-key", f"{key} goes with {quoted(*name)}: nobody reads or writes {other} until this has its lock there too")
    if statement.behavior == pb.DROP_CASCADE:
        yield look.finding(
            "drop-cascade",
            "CASCADE drops what is not named here as well: defaults, columns, views and foreign keys that may be in use; drop each by its name before",
            f"{later}{_each(safe)}",
            "warn" if what == "TABLE" else "error",  # Django writes it with every table and every column
        )


def _each(statement: Message) -> str:
    """CONCURRENTLY drops one index at a time."""
    if statement.remove_type != pb.OBJECT_INDEX:
        return sql(statement)
    return "\n".join(sql(changed(statement, objects=[each])) for each in statement.objects)


def _list(what: str, names: list[tuple[str, ...]]) -> str:
    if what in _ON_RELATION:
        return ", ".join(f"{quoted(name[-1])} of {quoted(*name[:-1])}" for name in names)
    if what == "OPERATOR":
        return ", ".join(".".join(name[:-1]) + name[-1] for name in names)
    if what in ("CAST", "LARGEOBJECT"):
        return ", ".join(" ".join(name) for name in names)
    return ", ".join(quoted(*name[:-1]) + name[-1].replace("(?)", "") if what in _CALLED else quoted(*name) for name in names)


def rename(look: Look, statement: Message) -> Iterator[Finding]:
    what = pb.ObjectType.Name(statement.rename_type).removeprefix("OBJECT_")
    on = relation(statement.relation) if statement.HasField("relation") else ()
    old, new = statement.subname, statement.newname
    if what in _RELATIONS:
        free, told = look.known.made(made.NAME, *on), quoted(*on)
        made.moves(look, on, (*on[:-1], new))
    elif what in ("COLUMN", "TABCONSTRAINT"):
        below = "column" if what == "COLUMN" else "constraint"
        free, told = (look.known.made(made.NAME, *on) and not made.in_use_below(look, on)) or look.known.made(below, *on, old), quoted(*on, old)
        if look.known.made(below, *on, old):
            look.known.makes(below, *on, new, what=look.known.of(below, *on, old))
        look.known.forgets(below, *on, old)
        if below == "constraint":
            nulls.renames_constraint(look, on, old, new)
    elif on:
        free, told = look.known.made(made.NAME, *on), quoted(*on, old)
    else:
        name = object_name(statement.object) or (old,)
        free, told = _made(look, what, name), quoted(*(name[:-1] if what in _CALLED else name))
        domain = look.known.knows("domain", *name)  # whose base would be known by another name
        look.known.forgets(*_known(what, name))
        if free and what == "TYPE" and not domain:
            look.known.makes("type", *name[:-1], new)
    if free:
        return
    if what in ("INDEX", "TABCONSTRAINT") and not look.expanding:
        yield look.warning("rename", f"who names {told} (ON CONFLICT ON CONSTRAINT, an error's text) does not find it any more")
        return
    yield look.finding(
        "rename",
        f"the version that runs knows {told} by this name, and fails with the first statement that names it; add {quoted(new)} beside it",
        _both("" if what == "COLUMN" and statement.relation_type != pb.OBJECT_TABLE else what, on, old, new),
    )


def _both(what: str, on: tuple[str, ...], old: str, new: str) -> str:
    """Two names for one thing, while two versions run."""
    if what in ("TABLE", "VIEW", "MATVIEW", "FOREIGN_TABLE"):
        return _view((*on[:-1], new), on)
    if what == "COLUMN" and on:
        table, is_new, is_old = quoted(*on), quoted(new), quoted(old)
        lines = [
            "-- expand.sql",
            f"-- ALTER TABLE {table} ADD COLUMN {is_new} (the type of {is_old});".replace("\n", " "),
            kept_equal(table, old, new, is_old, is_new, default_along(table, is_old, is_new)),
            "-- backfill.sql",
            f"UPDATE {table} SET {is_new} = {is_old} WHERE {is_new} IS DISTINCT FROM {is_old};",
            "-- contract.sql",
            f"ALTER TABLE {table} DROP COLUMN {is_old};",
        ]
        return "\n".join(lines)
    return ""


def _view(new: tuple[str, ...], of: tuple[str, ...]) -> str:
    """Without security_invoker it is read as its owner, whom no policy of the table holds."""
    rights = f"-- GRANT on {quoted(*new)} each role what it may do with {quoted(*of)}; before PostgreSQL 15, which knows no security_invoker, the policies of"
    said = f"{rights} {quoted(*of)} hide nothing in a view".replace("\n", " ")
    return f"{said}\nCREATE VIEW {quoted(*new)} WITH (security_invoker=true) AS SELECT * FROM {quoted(*of)};"


def set_schema(look: Look, statement: Message) -> Iterator[Finding]:
    what = pb.ObjectType.Name(statement.object_type).removeprefix("OBJECT_")
    name = relation(statement.relation) if statement.HasField("relation") else object_name(statement.object)
    free = _made(look, what, name)
    if what in _RELATIONS:
        made.moves(look, name, (statement.newschema, name[-1]))
    else:
        look.known.forgets(*_known(what, name))
    if not free:
        fix = _view((statement.newschema, name[-1]), name) if what in ("TABLE", "VIEW", "MATVIEW") else ""
        yield look.finding("set-schema", f"the version that runs does not find {_list(what, [name])} in another schema", fix)


def owner(look: Look, statement: Message) -> Iterator[Finding]:
    what = pb.ObjectType.Name(statement.object_type).removeprefix("OBJECT_")
    name = relation(statement.relation) if statement.HasField("relation") else object_name(statement.object)
    if not _made(look, what, name):
        yield look.finding(
            "owner",
            f"whoever has its rights as the owner of the {_told(what)} {_list(what, [name])} loses them at once; grant the new role what it needs instead",
        )


def grant(look: Look, statement: Message) -> Iterator[Finding]:
    if statement.is_grant:
        _granted(look, statement)
        return
    what = pb.ObjectType.Name(statement.objtype).removeprefix("OBJECT_")
    names = [object_name(each) for each in statement.objects]
    if statement.targtype == pb.ACL_TARGET_OBJECT and all(_made(look, what, name) for name in names):
        return
    yield from _revoked(look)


def _granted(look: Look, grant: Message) -> None:
    """Of sequences it is remembered, since a default that takes a number asks for a right."""
    if grant.objtype == pb.OBJECT_SEQUENCE:
        for last in [object_name(each)[-1] for each in grant.objects] if grant.targtype == pb.ACL_TARGET_OBJECT else [""]:
            look.known.learns(made.GRANTED, last)


def grant_role(look: Look, statement: Message) -> Iterator[Finding]:
    """With an option that is off it takes that option from who is a member already."""
    off = not all(options(statement.opt).values())
    if not statement.is_grant or (off and not all(look.known.made("role", each.access_priv.priv_name) for each in statement.granted_roles)):
        yield from _revoked(look)


def default_privileges(look: Look, statement: Message) -> Iterator[Finding]:
    if statement.action.is_grant:
        _granted(look, statement.action)
        return
    schemas = [each.sval for option in statement.options if option.def_elem.defname == "schemas" for each in map(inner, option.def_elem.arg.list.items)]
    if not (schemas and all(look.known.made("schema", each) for each in schemas)):
        yield from _revoked(look)


def _revoked(look: Look) -> Iterator[Finding]:
    why = "statements of the version that runs fail from now on if they need the right"
    yield look.finding("revoke", f"{why}; revoke it in contract", look.later()) if look.expanding else look.warning("revoke", why)


def enum(look: Look, statement: Message) -> Iterator[Finding]:
    name = words(statement.type_name)
    if look.known.made("type", *name):
        return
    if statement.old_val:
        yield look.finding(
            "rename",
            f"the version that runs knows {statement.old_val!r} of {quoted(*name)}, and fails when it names it; add the new value beside it",
        )
    elif look.expanding:
        yield look.finding(
            "enum-value",
            f"a value of {quoted(*name)} can never be taken away, so that going back leaves it; and the old version reads rows whose value it does not know. "
            "Use text with a CHECK, or allow it",
            f"-- bleen: allow enum-value the old version passes values through that it does not know\n{look.parsed.statement.text};",
        )


def create_type(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.typevar) if kind(statement) == "CompositeTypeStmt" else words(statement.type_name)
    look.known.makes("type", *name)
    yield from ()


def define(look: Look, statement: Message) -> Iterator[Finding]:
    """CREATE AGGREGATE, COLLATION, base TYPE, text search: nobody uses them yet. An operator changes what statements mean that are there."""
    what = pb.ObjectType.Name(statement.kind).removeprefix("OBJECT_")
    if what not in ("AGGREGATE", "COLLATION", "TYPE", "TSCONFIGURATION", "TSDICTIONARY", "TSPARSER", "TSTEMPLATE"):
        yield look.finding("not-understood", f"no rule knows CREATE of {what}")
    elif statement.replace:
        yield from _replaces(look, quoted(*words(statement.defnames)))
    elif what not in ("AGGREGATE", "TYPE") and not statement.if_not_exists:
        look.known.makes(what, *words(statement.defnames))


def function(look: Look, statement: Message) -> Iterator[Finding]:
    name = signature(statement)
    if len(statement.parameters) == 1 and name[-1].strip("()") not in BUILT_IN:
        look.known.learns("of a row", name[-2])  # it may be called as if it were a column
    if len(statement.funcname) == 1 or name[0] in SHARED:
        look.known.learns(made.SHADOWS, name[-2])
    if not statement.replace:
        look.known.makes("function", *name)
        defaults = any(each.function_parameter.HasField("defexpr") for each in statement.parameters)
        if defaults and look.expanding:
            told = quoted(*name[:-1])
            why = f"if there is another {told}, a call of the old version that leaves out what has a default here may fit both, and fails as not unique"
            yield look.warning("replaces", f"{why}; give the arguments no default, or the function another name")
    elif not look.known.made("function", *name):
        yield from _replaces(look, quoted(*name[:-1]) + name[-1])


def _replaces(look: Look, told: str) -> Iterator[Finding]:
    if look.expanding:
        yield look.warning(
            "replaces",
            f"if {told} exists, the old version calls the new one from now on; see that it does what the old version counts on, or give it another name",
        )


def alter_function(look: Look, statement: Message) -> Iterator[Finding]:
    name = object_name(wrapped(statement.func))
    if look.expanding and not _made(look, "FUNCTION", name):
        yield look.finding(
            "alter-function", f"the old version calls {quoted(*name[:-1])} as it is; make another one beside it, or alter it in contract", look.later()
        )


def search_configuration(look: Look, statement: Message) -> Iterator[Finding]:
    name = words(statement.cfgname)
    if not look.known.made("TSCONFIGURATION", *name):
        yield look.finding("alter-function", f"what the version that runs finds by {quoted(*name)} changes at once; make another one beside it")


def create_schema(look: Look, statement: Message) -> Iterator[Finding]:
    if not statement.if_not_exists:
        look.known.makes("schema", statement.schemaname)
    if statement.schema_elts:
        yield look.finding("not-understood", "no rule looks into CREATE SCHEMA; write what it makes as statements of their own")


def sequence(look: Look, statement: Message) -> Iterator[Finding]:
    if temporary(statement.sequence):
        yield look.temporary(statement.sequence.relname)
    elif not statement.if_not_exists:
        made.makes_copy(look, relation(statement.sequence))


def alter_sequence(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.sequence)
    options = {each.def_elem.defname: each.def_elem for each in statement.options}
    if look.known.made(made.NAME, *name):
        return
    owner = words(options["owned_by"].arg.list.items) if "owned_by" in options else ()
    if look.expanding and len(owner) > 1 and (look.known.made(made.NAME, *owner[:-1]) or look.known.made("column", *owner)):
        why = f"{quoted(*name)} goes once {quoted(*owner)} does, by a DROP of the release that made that, or by its revert; say it in contract"
        yield look.finding("alter-sequence", why, look.later())
    yield from numbers_change(look, quoted(*name), [each for each in options if each != "owned_by"])


def numbers_change(look: Look, sequence: str, options: Iterable[str], at: Place | None = None) -> Iterator[Finding]:
    """By ALTER SEQUENCE, or as those of an identity column."""
    if changes := [each for each in options if each != "cache"]:
        why = f"the numbers that {sequence} gives out change at once ({', '.join(changes)}), perhaps to some that are taken; make another sequence"
        yield look.finding("alter-sequence", why, at=at)


def statistics(look: Look, statement: Message) -> Iterator[Finding]:
    if not statement.if_not_exists:
        look.known.makes("STATISTIC_EXT", *words(statement.defnames))
    yield from ()


def publication(look: Look, statement: Message) -> Iterator[Finding]:
    yield look.finding(
        "publication",
        "UPDATE and DELETE of a published table fail if its rows have no identity (a primary key, or REPLICA IDENTITY); allow it, and say that they have",
    )


def extension(look: Look, statement: Message) -> Iterator[Finding]:
    yield look.finding("extension", f"both versions get another version of {quoted(statement.extname)} at once, by a script that no rule looks at")


def create_role(look: Look, statement: Message) -> Iterator[Finding]:
    look.known.makes("role", statement.role)
    yield from ()


def role(look: Look, statement: Message) -> Iterator[Finding]:
    roles = statement.roles if kind(statement) == "DropRoleStmt" else [wrapped(statement.role)]
    if all(look.known.made("role", each.role_spec.rolename) for each in roles):
        return
    yield look.finding("role", "the sessions of both versions log in with these roles; change them beside the release")


def database(look: Look, statement: Message) -> Iterator[Finding]:
    yield look.finding("database", "this is about the database or the server as a whole, and everybody in it; no release needs it")


def move_all(look: Look, statement: Message) -> Iterator[Finding]:
    yield look.finding("table-rewrite", f"everything in {quoted(statement.orig_tablespacename)} is copied, and nobody reads or writes what is being copied")


def vacuum(look: Look, statement: Message) -> Iterator[Finding]:
    said = options(statement.options)
    names = [relation(each.vacuum_relation.relation) for each in statement.rels]
    if said.get("full") and not (names and all(made.is_free(look, name) for name in names)):
        safe = changed(statement, options=[each for each in statement.options if each.def_elem.defname != "full"])
        yield look.finding(
            "table-rewrite",
            "VACUUM FULL writes the whole table again, and nobody reads or writes it meanwhile; VACUUM, or pg_repack beside the release",
            sql(safe),
        )


def cluster(look: Look, statement: Message) -> Iterator[Finding]:
    if not (statement.HasField("relation") and made.is_free(look, relation(statement.relation))):
        yield look.finding("table-rewrite", "CLUSTER writes the whole table again, and nobody reads or writes it meanwhile; pg_repack, beside the release")


def setting(look: Look, statement: Message) -> Iterator[Finding]:
    if statement.name.lower() not in ("client_min_messages", "maintenance_work_mem", "max_parallel_maintenance_workers"):
        what = statement.name or "all settings"
        yield look.finding(
            "session-setting",
            f"bleen sets {what} itself where it matters (lock_timeout, search_path, who writes), and each statement has a transaction of its own; "
            "lock_timeout and the pace of batches belong in migration.toml",
        )


def transaction(look: Look, statement: Message) -> Iterator[Finding]:
    if statement.kind in (pb.TRANS_STMT_ROLLBACK, pb.TRANS_STMT_ROLLBACK_TO):
        look.known.undo()
    yield look.finding(
        "transaction-control", "each statement runs in a transaction of its own, so that each lock is let go at once and a failure can be resumed; leave it out"
    )


def nothing(look: Look, statement: Message) -> Iterator[Finding]:
    """Felt by nobody, whatever it says."""
    yield from ()
