"""Statements on PostgreSQL that read and write rows, and those whose effect cannot be seen in them.

Sources: PostgreSQL 18, "Explicit Locking", "Row-Level Locks"; INSERT, UPDATE, DELETE, MERGE, COPY, WITH (data-modifying statements).
"""

from collections.abc import Iterator

from postgast import pg_query_pb2 as pb
from postgast import walk

from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_look import FREE, Look, Message, changed, functions, inner, kind, quoted, relation, sql, tables, temporary
from bleen.database.rules.postgres_tables import temporary_table

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
    if look.known.made("relation", *name) and _free(look, query):
        return
    if statement.HasField("select_stmt"):
        select = query.select_stmt
        if not select.values_lists and any(True for _ in tables(query)):
            yield look.finding(
                "copies-rows",
                "INSERT ... SELECT copies a table in one transaction, and what is written to it meanwhile is missed; copy it in batches, with a trigger "
                "that takes along what is written",
            )
        elif len(select.values_lists) > _MANY:
            yield look.warning("many-rows", f"{len(select.values_lists)} rows in one transaction; insert them in several")


def update(look: Look, statement: Message) -> Iterator[Finding]:
    yield from _effects(look, statement)
    name = relation(statement.relation)
    if look.known.made("relation", *name):
        return
    fix = f"-- backfill.sql\n{sql(statement)}" if not list(_unfit(statement)) else ""
    if _everything(statement.where_clause):
        yield look.finding(
            "whole-table-update",
            f"all rows of {quoted(*name)} are locked until the last is written, and every writer waits; let it be the backfill, which goes in batches",
            fix,
        )
    else:
        yield look.finding(
            "update-outside-backfill",
            f"how many rows of {quoted(*name)} this locks, and for how long, nobody can tell from its WHERE; let it be the backfill, which goes in batches",
            fix,
        )


def delete(look: Look, statement: Message) -> Iterator[Finding]:
    yield from _effects(look, statement)
    name = relation(statement.relation)
    if look.known.made("relation", *name):
        return
    if _everything(statement.where_clause):
        yield look.finding("delete-without-where", f"all rows of {quoted(*name)} are locked, and then gone; say which")
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
    if not look.known.made("relation", *name):
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
    """With ANALYZE it does what it explains."""
    explained = {"SelectStmt": select, "InsertStmt": insert, "UpdateStmt": update, "DeleteStmt": delete, "MergeStmt": merge}.get(kind(inner(statement.query)))
    if explained is not None:
        yield from explained(look, inner(statement.query))
    elif any(option.def_elem.defname == "analyze" for option in statement.options):
        yield look.finding("dynamic-sql", "what EXPLAIN ANALYZE carries out here is not looked at; write the statement itself")


def create_table_as(look: Look, statement: Message) -> Iterator[Finding]:
    name, view = relation(statement.into.rel), statement.objtype == pb.OBJECT_MATVIEW
    yield from _effects(look, statement.query)
    if not statement.into.skip_data and not _free(look, statement.query):
        empty = sql(changed(statement, into=changed(statement.into, skip_data=True)))
        if view:
            yield look.warning(
                "long-query", f"one query over whole tables fills {quoted(*name)}, and while it runs no row that is dead is cleared away anywhere"
            )
        else:
            yield look.finding(
                "copies-rows", f"{quoted(*name)} is a copy, of which both versions go on writing the originals; make it empty, and fill it in batches", empty
            )
    yield from temporary_table(look, statement.into.rel)
    if not statement.if_not_exists and not temporary(statement.into.rel):
        look.known.makes("relation", *name)


def refresh(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.relation)
    if not statement.concurrent and not look.known.made("relation", *name):
        yield look.finding(
            "refresh-without-concurrently",
            f"nobody reads {quoted(*name)} while it is filled; REFRESH MATERIALIZED VIEW CONCURRENTLY, which wants a unique index",
            sql(changed(statement, concurrent=True, skip_data=False)),
        )


def truncate(look: Look, statement: Message) -> Iterator[Finding]:
    names = [relation(each.range_var) for each in statement.relations]
    if statement.behavior == pb.DROP_CASCADE or not all(look.known.made("relation", *name) for name in names):
        yield look.finding("truncate", f"nobody reads or writes {', '.join(quoted(*name) for name in names)} meanwhile, and then the rows are gone")


def lock(look: Look, statement: Message) -> Iterator[Finding]:
    names = [relation(each.range_var) for each in statement.relations]
    if not all(look.known.made("relation", *name) for name in names):
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
        yield look.finding("backfill", f"{why}; a backfill is one UPDATE of one table, which bleen does in batches along its key")
    harmful = [name for name in functions(statement, FREE) if name.startswith(("pg_", "lo_", "dblink", "set_config", "setval"))]
    if harmful:
        yield look.finding("side-effect", f"{', '.join(harmful)}() may do more than say a value")


def _unfit(statement: Message) -> Iterator[str]:
    if statement.from_clause:
        yield "FROM joins a second table; read it in a subquery of SET"
    if statement.HasField("with_clause"):
        yield "WITH is not understood here; write it as a subquery of SET"
    if statement.HasField("returning_clause"):
        yield "RETURNING has nobody to return rows to"
    if kind(inner(statement.where_clause)) == "CurrentOfExpr":
        yield "there is no cursor"


def _everything(where: Message) -> bool:
    """Whether a condition is plainly true of every row: none at all, TRUE, 1 = 1."""
    node = inner(where)
    if kind(node) == "Node":
        return True
    if kind(node) == "BoolExpr":
        terms = [_everything(each) for each in node.args]
        return any(terms) if node.boolop == pb.OR_EXPR else node.boolop == pb.AND_EXPR and all(terms)
    return kind(node) != "SubLink" and not any(kind(each) in ("ColumnRef", "SubLink", "CurrentOfExpr") for _, each in walk(node))


def _effects(look: Look, statement: Message) -> Iterator[Finding]:
    """What a query does besides: rows written in its WITH, row locks, functions that may do anything."""
    if any(kind(inner(node.ctequery)) in _WRITES for _, node in walk(statement) if kind(node) == "CommonTableExpr"):
        yield look.finding(
            "data-modifying-cte",
            "a WITH that writes locks its rows until the whole statement is done, and no rule sees how many; write its parts as statements",
        )
    if any(kind(node) == "LockingClause" for _, node in walk(statement)):
        yield look.finding("row-locks", "FOR UPDATE and its like lock rows that both versions write, and a migration has no use for that")
    unknown = functions(statement, FREE)
    if unknown:
        yield look.finding("side-effect", f"{', '.join(dict.fromkeys(unknown))}() may change data, settings or other sessions; no rule knows it to be harmless")


def _free(look: Look, query: Message) -> bool:
    """Whether a query reads nothing but what this release made."""
    return all(look.known.made("relation", *name) for name in tables(query))
