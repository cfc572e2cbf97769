"""Statements on PostgreSQL that read and write rows, and those whose effect cannot be seen in them.

Sources: PostgreSQL 18, "Explicit Locking", "Row-Level Locks"; INSERT, UPDATE, DELETE, MERGE, COPY, WITH (data-modifying statements).
"""

from collections.abc import Iterator

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.grammar.postgres import Message, changed, inner, kind, quoted, relation, sql, tables, temporary, words
from bleen.database.rules import postgres_made as made
from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_creates import temporary_table
from bleen.database.rules.postgres_look import FREE, Look, called, functions, options
from bleen.database.rules.postgres_many import how_many, named
from bleen.database.rules.postgres_values import Unsure, relation_said, value

_MANY = 1000
"""Rows of one INSERT ... VALUES."""

_WRITES = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")


def select(look: Look, statement: Message) -> Iterator[Finding]:
    yield from _effects(look, statement)
    if any(kind(node) == "IntoClause" for _, node in walk(statement)):
        yield look.finding(
            "copies-rows", "SELECT INTO copies rows of which both versions go on writing the originals; make the table empty, and fill it in batches"
        )


def insert(look: Look, statement: Message) -> Iterator[Finding]:
    """Of a few rows, written out."""
    yield from _effects(look, statement)
    name, query = relation(statement.relation), statement.select_stmt
    yield from _defaults(look, statement)
    yield from _fired(look, name, made.INSERTS | (made.UPDATES if statement.on_conflict_clause.action == pb.ONCONFLICT_UPDATE else 0))
    look.known.learns(made.FILLED, name[-1], what=True)
    if statement.on_conflict_clause.action == pb.ONCONFLICT_UPDATE and not made.is_free(look, name):
        yield look.warning("replaces", f"changes rows of {quoted(*name)} that are in use; see that the old version can read them as they are then")
    if made.has_own_rows(look, name) and _free(look, statement):
        return
    select, local = query.select_stmt, named(statement.with_clause, {})
    rows = how_many(select, local) if statement.HasField("select_stmt") else 1
    reads = [*tables(statement.with_clause), *(table for table in tables(query) if len(table) > 1 or table[0] not in local)]
    if rows is None and reads:
        yield look.finding(
            "copies-rows",
            "INSERT ... SELECT copies a table in one transaction, and what is written to it meanwhile is missed; have a version that writes both copy the rest "
            "itself, in batches, or allow it with a reason where nobody writes it meanwhile",
        )
    elif rows is None or len(select.values_lists) <= _MANY < rows:
        yield look.finding("many-rows", f"{rows or 'nobody can tell how many'} rows in one transaction; insert a thousand at a time")
    elif rows > _MANY:
        yield look.warning("many-rows", f"{rows} rows in one transaction; insert them in several")


def _defaults(look: Look, statement: Message) -> Iterator[Finding]:
    """What the defaults of a new table call, where this leaves their columns out."""
    values = statement.select_stmt.select_stmt.values_lists
    given = [each.res_target.name for each in statement.cols]
    for column, place, calls in look.known.of(made.DEFAULTS, statement.relation.relname) or ():
        at = given.index(column) if column in given else None if given else place  # behind the last one there is no value
        said = at is not None and bool(values) and all(at < len(row.list.items) and kind(inner(row.list.items[at])) != "SetToDefault" for row in values)
        if not (said or (column in given and not values)):
            why = f"the default of {quoted(column)} calls {', '.join(calls)}(), which may change data, settings or other sessions; say a value"
            yield look.finding("side-effect", why)


def _fired(look: Look, name: tuple[str, ...], events: int) -> Iterator[Finding]:
    for each in made.fired(look, name, events):
        why = f"{each.what} that this release has put on {quoted(*name)} runs with it, and may reach tables that are in use"
        yield look.finding(each.rule, f"{why}; write the rows before")


def update(look: Look, statement: Message) -> Iterator[Finding]:
    yield from _effects(look, statement)
    name = relation(statement.relation)
    if made.has_own_rows(look, name):
        yield from _fired(look, name, made.UPDATES)
        return
    unfit = "".join(f"; {why}" for why in _unfit(statement))
    safe = sql(statement) if not unfit else _in_a_subquery(statement)
    fix = f"-- backfill.sql\n{safe}" if safe else ""
    way = f"let it be the backfill, which goes in batches{unfit}"
    if _everything(statement.where_clause):
        yield look.finding(
            "whole-table-update",
            f"all rows of {quoted(*name)} are locked until the last is written, and every writer waits; {way}",
            fix,
        )
    else:
        yield look.finding(
            "update-outside-backfill",
            f"how many rows of {quoted(*name)} this locks, and for how long, nobody can tell from its WHERE; {way}",
            fix,
        )


def delete(look: Look, statement: Message) -> Iterator[Finding]:
    yield from _effects(look, statement)
    name = relation(statement.relation)
    if made.has_own_rows(look, name):
        return
    if _everything(statement.where_clause):
        yield look.finding("delete-without-where", f"all rows of {quoted(*name)}, or all that have a value there, are locked, and then gone; say which")
    elif look.expanding:
        yield look.finding(
            "delete-in-expand",
            f"the old version reads these rows of {quoted(*name)}, and going back does not bring them back; delete them in contract",
            look.later(),
        )
    else:
        yield look.warning(
            "delete-in-contract", f"how many rows of {quoted(*name)} this locks, and for how long, nobody can tell from its WHERE; delete many in batches"
        )


def merge(look: Look, statement: Message) -> Iterator[Finding]:
    yield from _effects(look, statement)
    name = relation(statement.relation)
    if not made.has_own_rows(look, name):
        yield look.finding(
            "merge",
            f"the rows of {quoted(*name)} that it writes are locked until the last is written, and every writer waits; let an UPDATE be the backfill, which "
            "goes in batches",
        )


def copy(look: Look, statement: Message) -> Iterator[Finding]:
    yield look.finding(
        "copy",
        "COPY in a migration reads or writes files of the server, or waits for rows that no client sends; insert the rows, or load them beside the release",
    )


def explain(look: Look, statement: Message) -> Iterator[Finding]:
    """With ANALYZE it does what it explains; else it is planned, and a function may be called for that."""
    explained = {"SelectStmt": select, "InsertStmt": insert, "UpdateStmt": update, "DeleteStmt": delete, "MergeStmt": merge}.get(kind(inner(statement.query)))
    if not options(statement.options).get("analyze", False):
        yield from _calls(look, statement.query)
    elif explained is not None:
        yield from explained(look, inner(statement.query))
    else:
        yield look.finding("dynamic-sql", "what EXPLAIN ANALYZE carries out here is not looked at; write the statement itself")


def create_table_as(look: Look, statement: Message) -> Iterator[Finding]:
    name, is_view = relation(statement.into.rel), statement.objtype == pb.OBJECT_MATVIEW
    if kind(inner(statement.query)) == "ExecuteStmt":
        yield from unseen(look, inner(statement.query))
        return
    yield from _effects(look, statement.query)
    if not statement.into.skip_data and not _free(look, statement.query):
        rows = how_many(inner(statement.query))
        if is_view:
            yield look.warning(
                "long-query", f"one query over whole tables fills {quoted(*name)}, and while it runs no row that is dead is cleared away anywhere"
            )
        elif rows is None or rows > _MANY:
            query = pb.Node(select_stmt=changed(inner(statement.query), locking_clause=[]))
            empty = sql(changed(statement, into=changed(statement.into, skip_data=True), query=query))
            fix = "" if functions(query, FREE) else empty
            yield look.finding(
                "copies-rows", f"{quoted(*name)} is a copy, of which both versions go on writing the originals; make it empty, and fill it in batches", fix
            )
    yield from temporary_table(look, statement.into.rel)
    if not statement.if_not_exists and not temporary(statement.into.rel):
        (made.makes_copy if is_view else made.makes_table)(look, name)
        if not statement.into.skip_data:
            look.known.learns(made.FILLED, name[-1], what=True)


def view(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.view)
    yield from temporary_table(look, statement.view)
    if temporary(statement.view):
        return
    below = (call for table in tables(statement.query) for call in look.known.of(made.QUERY, table[-1]) or ())
    calls = [*functions(statement.query, FREE), *made.unseen(look, statement.query), *below]
    if calls:
        look.known.learns(made.QUERY, name[-1], what=list(dict.fromkeys(calls)))
    if not statement.replace:
        made.makes_name(look, name)
    elif look.expanding and not look.known.made(made.NAME, *name):
        yield look.warning(
            "replaces",
            f"if {quoted(*name)} exists, the old version reads the new one from now on; give the new one another name",
            sql(changed(statement, replace=False, view=changed(statement.view, relname=called(name[-1], "new")))),
        )


def refresh(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.relation)
    if statement.skip_data and not made.is_free(look, name):
        why = f"{quoted(*name)} is emptied, and each query of it fails until it is filled again; drop it in contract, once nobody reads it"
        yield look.finding("refresh-without-concurrently", why)
    elif not statement.concurrent and not made.is_free(look, name):
        yield look.finding(
            "refresh-without-concurrently",
            f"nobody reads {quoted(*name)} while it is filled; REFRESH MATERIALIZED VIEW CONCURRENTLY, which wants a unique index",
            sql(changed(statement, concurrent=True)),
        )


def truncate(look: Look, statement: Message) -> Iterator[Finding]:
    names = [relation(each.range_var) for each in statement.relations]
    if statement.behavior == pb.DROP_CASCADE or not all(made.has_own_rows(look, name) for name in names):
        yield look.finding("truncate", f"nobody reads or writes {', '.join(quoted(*name) for name in names)} meanwhile, and then the rows are gone")


def lock(look: Look, statement: Message) -> Iterator[Finding]:
    names = [relation(each.range_var) for each in statement.relations]
    if not all(made.is_free(look, name) for name in names):
        yield look.finding(
            "lock-table",
            f"LOCK keeps others from {', '.join(quoted(*name) for name in names)}; every statement takes the lock that it needs, for as long as it needs it",
        )


def unseen(look: Look, statement: Message) -> Iterator[Finding]:
    what = {"DoStmt": "DO", "CallStmt": "CALL", "PrepareStmt": "PREPARE", "ExecuteStmt": "EXECUTE"}[kind(statement)]
    yield look.finding("dynamic-sql", f"what {what} carries out cannot be looked at; write the statements themselves")


def backfill(look: Look, statement: Message) -> Iterator[Finding]:
    """What can be done in batches along a key."""
    if kind(statement) != "UpdateStmt":
        yield look.finding(
            "backfill", "a backfill is one UPDATE of one table, which bleen does in batches; what changes the schema belongs in expand.sql or contract.sql"
        )
        return
    for why in _unfit(statement):
        yield look.finding("backfill", f"{why}; a backfill is one UPDATE of one table, which bleen does in batches along its key", _in_a_subquery(statement))
    yield from _row_locks(look, statement)
    calls = [*functions(statement, FREE), *made.unseen(look, statement), *_as_attributes(look, statement)]
    harmful = [name for name in calls if name.removeprefix("pg_catalog.").startswith(("pg_", "lo_", "dblink", "set_config", "setval"))]
    if harmful:
        yield look.finding("side-effect", f"{', '.join(harmful)}() may do more than say a value")
    elif calls:
        yield look.warning("side-effect", f"{', '.join(dict.fromkeys(calls))}() is called for every row; see that it does no more than say a value")


def _unfit(statement: Message) -> Iterator[str]:
    if statement.from_clause:
        yield "FROM joins a second table; read it in a subquery of SET"
    if statement.HasField("with_clause"):
        yield "WITH is not understood here; write it as a subquery of SET"
    if statement.HasField("returning_clause"):
        yield "RETURNING has nobody to return rows to"
    if kind(inner(statement.where_clause)) == "CurrentOfExpr":
        yield "there is no cursor"


def _in_a_subquery(statement: Message) -> str:
    """An UPDATE with what its FROM joins in a subquery of each value, which can be the backfill; empty where that is not surely the same. Where more than one
    row meets a row, the join takes any of them, and this one fails: a comment says so.
    """
    name, alias = statement.relation.relname, statement.relation.alias.aliasname
    joined = [node for each in statement.from_clause for _, node in walk(each) if kind(node) == "RangeVar"]
    values = [kind(inner(each.res_target.val)) for each in statement.target_list]
    below = [node for each in (*statement.from_clause, *statement.target_list, statement.where_clause) for _, node in walk(each)]
    called = {node.relname for node in below if kind(node) == "RangeVar"} | {node.aliasname for node in below if kind(node) == "Alias"}
    called |= {node.fields[0].string.sval for node in below if kind(node) == "ColumnRef" and len(node.fields) == 1}  # a whole row, perhaps
    unfit = statement.HasField("with_clause") or statement.HasField("returning_clause") or {"MultiAssignRef", "SetToDefault"} & {*values}
    if not joined or unfit or not statement.HasField("where_clause") or called & ({name, alias} - {""}):  # who is meant by a name would be another there
        return ""
    alone = pb.UpdateStmt()
    alone.CopyFrom(statement)
    alone.relation.ClearField("alias")
    for _, node in walk(alone):
        if alias and kind(node) == "ColumnRef" and len(node.fields) > 1 and node.fields[0].string.sval == alias:
            node.fields[0].string.sval = name
    one = pb.Node(res_target=pb.ResTarget(val=pb.Node(a_const=pb.A_Const(ival=pb.Integer(ival=1)))))
    rows = {"from_clause": alone.from_clause, "where_clause": alone.where_clause, "limit_option": pb.LIMIT_OPTION_DEFAULT, "op": pb.SETOP_NONE}
    met = pb.SelectStmt(target_list=[one], **rows)
    for each in alone.target_list:
        if not any(kind(node) in ("ColumnRef", "SubLink") for _, node in walk(each.res_target.val)):
            continue  # which would have the type text in a subquery, whatever that of the column is
        value = pb.SelectStmt(target_list=[pb.Node(res_target=pb.ResTarget(val=each.res_target.val))], **rows)
        each.res_target.val.CopyFrom(_sub_link(value, pb.EXPR_SUBLINK))
    alone.where_clause.CopyFrom(_sub_link(met, pb.EXISTS_SUBLINK))
    del alone.from_clause[:]
    others = ", ".join(quoted(*relation(each)) for each in joined)
    said = f"-- if no row of {quoted(*relation(statement.relation))} meets more than one of {others}; else say which of them: max(...), or ORDER BY ... LIMIT 1"
    return f"{said}\n{sql(alone)}"


def _sub_link(select: Message, what: int) -> Message:
    return pb.Node(sub_link=pb.SubLink(sub_link_type=what, subselect=pb.Node(select_stmt=select)))


def _everything(where: Message) -> bool:
    """Whether a condition is plainly true of every row, or of every one that has a value: none at all, TRUE, 1 = 1, a = a, id IS NOT NULL.

    Any other column IS NOT NULL is a part of the rows: deleted_at, say.
    """
    node = inner(where)
    if kind(node) == "Node":
        return True
    asked = [inner(each.arg) for _, each in walk(node) if kind(each) == "NullTest"]
    if all(kind(each) == "ColumnRef" and words(each.fields)[-1:] == ("id",) for each in asked) and value(where, lambda column: Unsure.SOME) is True:
        return True
    if kind(node) == "BoolExpr":
        terms = [_everything(each) for each in node.args]
        return any(terms) if node.boolop == pb.OR_EXPR else node.boolop == pb.AND_EXPR and all(terms)
    return kind(node) != "SubLink" and not any(kind(each) in ("ColumnRef", "SubLink", "CurrentOfExpr") for _, each in walk(node))


def _effects(look: Look, statement: Message) -> Iterator[Finding]:
    """What a query does besides: rows written in its WITH, row locks, functions that may do anything."""
    writes = [each for _, node in walk(statement) if kind(node) == "CommonTableExpr" and kind(each := inner(node.ctequery)) in _WRITES]
    if all(kind(each) == "InsertStmt" and made.has_own_rows(look, relation(each.relation)) for each in writes):
        for each in writes:
            yield from insert(look, each)
    else:
        yield look.finding(
            "data-modifying-cte",
            "a WITH that writes locks its rows until the whole statement is done, and no rule sees how many; write its parts as statements",
        )
    yield from _row_locks(look, statement)
    yield from _calls(look, statement)


def _calls(look: Look, statement: Message) -> Iterator[Finding]:
    viewed = (call for table in tables(statement) for call in look.known.of(made.QUERY, table[-1]) or ())
    numbered = [node for _, node in walk(statement) if kind(node) == "FuncCall" and words(node.funcname)[-1] == "setval"]
    harmless = FREE | {"setval"} if all(_numbers_own(look, node) for node in numbered) else FREE
    unknown = [*functions(statement, harmless), *made.unseen(look, statement), *_as_attributes(look, statement), *viewed]
    if unknown:
        yield look.finding("side-effect", f"{', '.join(dict.fromkeys(unknown))}() may change data, settings or other sessions; no rule knows it to be harmless")


def _row_locks(look: Look, statement: Message) -> Iterator[Finding]:
    if any(kind(node) == "LockingClause" for _, node in walk(statement)):
        yield look.finding("row-locks", "FOR UPDATE and its like lock rows that both versions write, and a migration has no use for that")


def _numbers_own(look: Look, setval: Message) -> bool:
    """Whether it is a new sequence whose number is set: by its name, or as that of a new table's column."""
    first = setval.args[0] if setval.args else pb.Node()
    if kind(inner(first)) == "TypeCast":  # 's'::regclass
        first = inner(first).arg
    if kind(inner(first)) == "FuncCall" and words(inner(first).funcname)[-1] == "pg_get_serial_sequence" and inner(first).args:
        first = inner(first).args[0]
    return made.is_free(look, relation_said(first))


def _as_attributes(look: Look, statement: Message) -> list[str]:
    """The functions of a row that are written as if they were columns of it: ``u.f`` is ``f(u)`` where u has no such column."""
    nodes = [node for _, node in walk(statement)]
    last = [node.fields[-1] for node in nodes if kind(node) == "ColumnRef" and len(node.fields) > 1]
    last += [node.indirection[-1] for node in nodes if kind(node) == "A_Indirection"]
    return [quoted(each.string.sval) for each in last if look.known.knows("of a row", each.string.sval)]


def _free(look: Look, query: Message) -> bool:
    """Whether a query reads nothing but what this release made."""
    return all(made.has_own_rows(look, name) for name in tables(query))
