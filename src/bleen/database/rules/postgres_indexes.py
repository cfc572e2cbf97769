"""Indexes on PostgreSQL, and the constraints that are made of them.

Sources: PostgreSQL 18, "CREATE INDEX", "Building Indexes Concurrently"; "ALTER TABLE", ADD table_constraint_using_index.
"""

from collections.abc import Iterable, Iterator

from postgast import pg_query_pb2 as pb

from bleen.database.grammar.postgres import Message, changed, quoted, relation, sql, wrapped
from bleen.database.rules import postgres_made as made
from bleen.database.rules.findings import Finding
from bleen.database.rules.postgres_columns import added, apart, required
from bleen.database.rules.postgres_holds import Holding, computed, held, unique_index
from bleen.database.rules.postgres_look import Look, called, called_alone, options
from bleen.database.rules.postgres_never_null import is_never_null
from bleen.database.statements import Place


def indexed(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    name, primary = relation(statement.relation), constraint.contype == pb.CONSTR_PRIMARY
    if constraint.indexname:
        if primary:
            yield from _primary_key(look, statement, constraint, at)
        if constraint.deferrable and look.expanding:
            why = f"the old version's INSERT ... ON CONFLICT into {quoted(*name)} fails from here on: PostgreSQL takes no deferrable constraint for it"
            yield look.warning("alter-constraint", f"{why}; add it in contract", f"-- contract.sql\n{added(statement, constraint)}", at=at)
        return
    if constraint.without_overlaps:
        yield from exclusion(look, statement, constraint, at)
        return
    columns = [each.string.sval for each in constraint.keys]
    chosen = constraint.conname or called_alone(look, name[-1], *([] if primary else columns), "pkey" if primary else "key")
    stands_for = _replaced(statement, constraint)
    taken = any(each.name == chosen for each in stands_for)
    index, use = apart(statement, constraint, called(chosen, "new") if taken else chosen, columns)
    before, after = _required(look, name, columns) if primary else ([], [])
    together = [*map(wrapped, stands_for), wrapped(pb.AlterTableCmd(subtype=pb.AT_AddConstraint, **{"def": wrapped(changed(use, conname=chosen))}))]
    fix = "\n".join([sql(index), *before, sql(changed(statement, cmds=together)), *after])
    yield look.finding(
        "constraint-builds-index",
        f"its index is built while nobody reads or writes {quoted(*name)}; build it CONCURRENTLY, then make it a constraint",
        f"-- contract.sql\n{fix}" if (before or stands_for) and look.expanding else fix,
        at=at,
    )
    yield from held(look, name, unique_index(index, fix), at)


def _replaced(statement: Message, constraint: Message) -> list[Message]:
    """The constraints that the same statement drops for this one, by the same name, or none that another of it has: nobody is to do without meanwhile."""
    commands = [each.alter_table_cmd for each in statement.cmds]
    adds = [getattr(each, "def").constraint for each in commands if each.subtype == pb.AT_AddConstraint]
    adds = [each for each in adds if each.contype in (pb.CONSTR_UNIQUE, pb.CONSTR_PRIMARY) and not each.indexname]
    named = {each.conname for each in adds[:1] if each != constraint} | {each.conname for each in adds[1:]}
    first = adds[:1] == [constraint]
    drops = [each for each in commands if each.subtype == pb.AT_DropConstraint]
    return [each for each in drops if each.name == constraint.conname or (first and each.name not in named)]


def _required(look: Look, table: tuple[str, ...], columns: Iterable[str]) -> tuple[list[str], list[str]]:
    """What makes columns NOT NULL, before a primary key does it in its own way; and what takes the CHECKs away that prove it, when there is one: what the key
    is added together with may drop a NOT NULL.
    """
    steps = [required(table, column) for column in columns if not is_never_null(look, table, column)]
    return [step for each in steps for step in each[:-1]], [each[-1] for each in steps]


def _primary_key(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    """PRIMARY KEY USING INDEX does SET NOT NULL for each column that takes NULL ("ALTER TABLE", ADD table_constraint_using_index)."""
    name, index = relation(statement.relation), quoted(constraint.indexname)
    columns = look.known.of("index columns", *name[:-1], constraint.indexname)
    why = f"all rows of {quoted(*name)} are read while nobody reads or writes it, and the old version may write no NULL from then on"
    if columns is None:
        yield look.finding(
            "set-not-null",
            f"if a column of {index}, which this release does not build, takes NULL, {why}: require each such column before, by a CHECK ... NOT VALID, "
            "VALIDATE and SET NOT NULL, or say that there is none",
            f"-- bleen: allow set-not-null every column of {index} is NOT NULL\n{added(statement, constraint)}",
            at=at,
        )
        return
    before, after = _required(look, name, columns)
    if before:
        told = ", ".join(quoted(column) for column in columns if not is_never_null(look, name, column))
        fix = "\n".join([*(["-- contract.sql"] if look.expanding else []), *before, added(statement, constraint), *after])
        yield look.finding("set-not-null", f"nothing in this release says that {told} is NOT NULL; if it is not, {why}", fix, at=at)


def exclusion(look: Look, statement: Message, constraint: Message, at: Place) -> Iterator[Finding]:
    yield look.finding(
        "constraint-builds-index",
        f"its index is built while nobody reads or writes {quoted(*relation(statement.relation))}, and PostgreSQL has no other "
        "way; make a new table with it, and move the rows there",
        at=at,
    )
    it = Holding(constraint.conname, tuple(constraint.exclusions or constraint.keys), "", "exclude")
    yield from held(look, relation(statement.relation), it, at)


def create_index(look: Look, statement: Message) -> Iterator[Finding]:
    """CONCURRENTLY, by name, and not IF NOT EXISTS; on a new table as you like."""
    table = relation(statement.relation)
    named = statement.idxname and not statement.if_not_exists
    columns = [each.index_elem.name for each in statement.index_params if each.index_elem.name]
    if named:
        look.known.learns("index columns", *table[:-1], statement.idxname, what=columns)
    if made.is_free(look, table):
        if named:
            made.makes_copy(look, (*table[:-1], statement.idxname))
        return
    chosen = statement.idxname or called_alone(look, table[-1], *columns, "idx")
    safe = sql(changed(statement, concurrent=True, idxname=chosen, if_not_exists=False))
    if parts := made.in_use_below(look, table):  # no partitioned table's index is built CONCURRENTLY
        if statement.relation.inh:
            why = f"nobody writes {', '.join(quoted(*each) for each in parts)}, which belongs to {quoted(*table)}, while the index is built"
            how = "CREATE INDEX ON ONLY, then CONCURRENTLY on each partition, then ALTER INDEX ... ATTACH PARTITION"
            yield look.finding("index-without-concurrently", f"{why}; {how}")
    elif not statement.concurrent and not statement.relation.inh:
        why = f"on a partitioned table ONLY builds nothing, and the index is whole once each partition's is attached; any other {quoted(*table)} nobody writes"
        yield look.warning("index-without-concurrently", f"{why} while this builds its index: there leave ONLY out, and say CONCURRENTLY")
    elif not statement.concurrent:
        yield look.finding("index-without-concurrently", f"nobody writes {quoted(*table)} while the index is built; CREATE INDEX CONCURRENTLY", safe)
    elif not statement.idxname:
        yield look.finding("unnamed-index", "an index that PostgreSQL names is not found again if its build fails; name it", safe)
    elif statement.if_not_exists:
        yield look.warning(
            "index-if-not-exists", "an INVALID index that a failed build left counts as existing, and is left invalid; bleen builds it again itself", safe
        )
    if statement.unique:
        yield from held(look, table, unique_index(statement, safe))
    else:
        yield from computed(look, table, statement, safe)
    if named:
        made.makes_name(look, (*table[:-1], statement.idxname))


def reindex(look: Look, statement: Message) -> Iterator[Finding]:
    name = relation(statement.relation) if statement.HasField("relation") else (statement.name,)
    if statement.kind == pb.REINDEX_OBJECT_SYSTEM and options(statement.params).get("concurrently"):
        yield look.finding("reindex-without-concurrently", "PostgreSQL refuses this: it builds no index of its own catalogues CONCURRENTLY; leave it out")
        return
    if options(statement.params).get("concurrently") or (statement.HasField("relation") and made.is_free(look, name)):
        return
    said = [each for each in statement.params if each.def_elem.defname != "concurrently"]
    safe = changed(statement, params=[*said, wrapped(pb.DefElem(defname="concurrently", defaction=pb.DEFELEM_UNSPEC))])
    whole = statement.kind == pb.REINDEX_OBJECT_SYSTEM
    yield look.finding(
        "reindex-without-concurrently",
        f"nobody writes {quoted(*name)} while its indexes are built, nor reads through them; REINDEX ... CONCURRENTLY",
        "" if whole else sql(safe),
    )
