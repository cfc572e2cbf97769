"""What is made on PostgreSQL beside or on tables: CREATE TABLE, FOREIGN TABLE, TRIGGER, POLICY and RULE.

Sources: PostgreSQL 18, "CREATE TABLE", "CREATE TRIGGER", "The Rule System".
"""

from collections.abc import Iterator

from postgast import pg_query_pb2 as pb

from bleen.database.grammar.postgres import Message, changed, inner, kind, quoted, relation, sql, temporary, wrapped
from bleen.database.rules import postgres_made as made
from bleen.database.rules import postgres_never_null as nulls
from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_look import Look
from bleen.database.rules.postgres_tables import refers

_INCLUDING_ALL, _IDENTITY = 0x7FFFFFFF, 1 << 5
"""Of LIKE (parsenodes.h, TableLikeOption)."""


def create_table(look: Look, statement: Message) -> Iterator[Finding]:
    """A new table is free; not so one that is perhaps not new, and one whose rows are those of a table in use."""
    name = relation(statement.relation)
    yield from temporary_table(look, statement.relation)
    parents, at = _parents(look, statement), look.parsed.statement.at
    alone = not parents and not temporary(statement.relation)
    if alone and statement.if_not_exists:
        yield from refers(look, name, statement, at, nulls.said(statement))
    elif alone:
        made.makes_table(look, name)
        made.makes_numbers(look, name, statement)
        made.calls_by_default(look, name, [inner(each) for each in statement.table_elts if kind(inner(each)) == "ColumnDef"])
        made.calls_by_check(look, name, statement)
        made.refers(look, name, statement)
        yield from refers(look, name, statement, at, nulls.follows(look, name, statement))
        for each in statement.inh_relations:
            made.takes_in(look, relation(each.range_var), name)
    yield from _parented(look, statement, parents)


def _parents(look: Look, statement: Message) -> list[Message]:
    """The tables in use whose rows those of a new one are too."""
    return [each.range_var for each in statement.inh_relations if not look.known.made(made.NAME, *relation(each.range_var))]


def _parented(look: Look, statement: Message, parents: list[Message], foreign: bool = False) -> Iterator[Finding]:
    for parent in parents:
        told = quoted(*relation(parent))
        if statement.HasField("partbound"):
            yield look.warning(
                "partition-of",
                f"nobody reads or writes {told} until this has its lock and is done; a table that is made first and attached then locks out nobody",
                "" if foreign else _attached(statement, parent),
            )
        else:
            yield look.warning("inheritance", f"who reads {told} reads the rows of {quoted(*relation(statement.relation))} too; give it no parent")


def _attached(statement: Message, parent: Message) -> str:
    """A partition that is made as a table, partitioned itself if it was to be, and then attached."""
    if any(kind(inner(each)) == "ColumnDef" for each in statement.table_elts):
        return ""  # a default of its own, which LIKE does not take
    like = wrapped(pb.TableLikeClause(relation=parent, options=_INCLUDING_ALL & ~_IDENTITY))  # it has its parent's; PostgreSQL 18 refuses one of its own
    table = changed(statement, inh_relations=[], table_elts=[like, *statement.table_elts], if_not_exists=False)  # only what is new is attached at once
    table.ClearField("partbound")
    part = wrapped(pb.PartitionCmd(name=statement.relation, bound=statement.partbound))
    command = pb.AlterTableCmd(subtype=pb.AT_AttachPartition, behavior=pb.DROP_RESTRICT, **{"def": part})
    return f"{sql(table)}\n{sql(pb.AlterTableStmt(relation=parent, objtype=pb.OBJECT_TABLE, cmds=[wrapped(command)]))}"


def create_foreign_table(look: Look, statement: Message) -> Iterator[Finding]:
    """Its rows are somewhere else, and in use there."""
    table = statement.base_stmt
    yield from temporary_table(look, table.relation)
    parents = _parents(look, table)
    if not table.if_not_exists and not parents:
        made.makes_name(look, relation(table.relation))
    yield from _parented(look, table, parents, foreign=True)


def temporary_table(look: Look, table: Message) -> Iterator[Finding]:
    if temporary(table):
        yield look.temporary(table.relname)


def trigger(look: Look, statement: Message) -> Iterator[Finding]:
    table = relation(statement.relation)
    if not look.known.made(made.NAME, *table) or made.in_use_below(look, table):
        why = f"{quoted(statement.trigname)} runs for the writes of the old version too: an error in it fails them"
        sync = "two-way sync is better left to [[sync]] in migration.toml"
        if look.expanding:
            yield look.finding("trigger", f"{why}; {sync}, and any other trigger to contract", look.later())
        else:
            yield look.warning("trigger", f"{quoted(statement.trigname)} runs for every write of {quoted(*table)}: an error in it fails them; {sync}")
        look.known.uses()
    made.reaches_further(look, table)
    made.fires(look, table, statement)
    if not statement.replace:
        look.known.makes("on relation", *table, statement.trigname)


def policy(look: Look, statement: Message) -> Iterator[Finding]:
    table = relation(statement.table)
    if look.known.made(made.NAME, *table):
        return
    why = f"the rows of {quoted(*table)} that a role sees or writes change at once"
    yield look.finding("row-security", f"{why}, for the old version too", look.later()) if look.expanding else look.warning("row-security", why)


def rule(look: Look, statement: Message) -> Iterator[Finding]:
    """Of a new table too: what it writes then is another one."""
    table = relation(statement.relation)
    yield look.finding("rule", f"the statements on {quoted(*table)} do something else from now on; use a trigger, or a view with a trigger")
    if not look.known.made(made.NAME, *table):
        look.known.uses()
    made.reaches_further(look, table)
