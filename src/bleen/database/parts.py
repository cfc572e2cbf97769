"""The parts of a migration as its server reads them: statements, what belongs together of them, and how rows are filled."""

import re
from collections.abc import Iterator, Sequence

from bleen.database import reverting
from bleen.database.migration import Backfill, Migration, Pair, speaks_of
from bleen.database.server import Server
from bleen.database.statements import Place, Statement, Unreadable, bare
from bleen.database.things import called, taken_among
from bleen.errors import Refused

_WORD = re.compile(r"\w+")

_HELD = ("TABLE", "COLUMN")
"""What values are in."""

_QUOTES = str.maketrans("", "", '"`')


def statements(server: Server, migration: Migration, part: str) -> list[Statement]:
    """Of a part; ``revert`` is derived where it is not written. Raises Refused, located, for what cannot be read."""
    try:
        return server.split(reverting.revert(migration, server.dialect) if part == "revert" else migration.sql(part))
    except Unreadable as error:
        raise Refused(f"{migration.name}/{part}.sql:{error.at.line}:{error.at.column}: {error}") from None


def said(server: Server, migration: Migration, part: str) -> str:
    """A part as it is written, without its comments: what is looked for in it is not found in what only speaks of it. Raises Refused, located."""
    try:
        return bare(migration.sql(part), server.dialect)
    except Unreadable as error:
        raise Refused(f"{migration.name}/{part}.sql:{error.at.line}:{error.at.column}: {error}") from None


def fill(server: Server, migration: Migration) -> Backfill | None:
    """How its rows are filled, if they are. Raises Refused, located, for what cannot be read."""
    if migration.backfill:
        return migration.backfill
    if not migration.holds("backfill"):
        return _from_pairs(migration)
    try:
        return server.update(migration.sql("backfill"))
    except Unreadable as error:
        raise Refused(f"{migration.name}/backfill.sql:{error.at.line}:{error.at.column}: {error}") from None


def dropped(server: Server, migration: Migration, table: str, names: Sequence[str]) -> list[str]:
    """Which of a table's columns contract drops, where the table stays."""
    drops = [each for each in statements(server, migration, "contract") if reverting.altered(each.text)]
    try:
        known = server.columns(table)
        return [name for name in names if name in known and any(server.drops(each, Pair(table, (name,), (), {}, {})) for each in drops)]
    except Refused:  # what is no name of a table is told where its rows are looked at
        return []


def unkept(server: Server, filling: Migration, migration: Migration) -> tuple[Backfill, list[str]] | None:
    """What one migration fills by what the contract of another, or its own, takes away, and that no pair keeps in step with that: by columns, of its table or
    of others, or by tables; and which those are. What the version that serves writes of them behind the backfill goes with them.
    """
    if (filled := unpaired(server, filling, migration.pairs)) is None:
        return None
    said = "\n".join([*filled.set.values(), filled.where])
    if {*_WORD.findall(said.lower())}.isdisjoint(_WORD.findall(migration.sql("contract").lower())):
        return None  # the server need not be asked
    gone = dropped(server, migration, filled.table, [name for name in server.columns(filled.table) if speaks_of(said, name)])
    for statement in statements(server, migration, "contract") if gone or "SELECT" in said.upper() else ():
        for thing in sorted(taken_among(statement.text, server.dialect)):
            its_own = bare_name(filled.table) in thing.names and _takes(server, statement, filled.table)
            gone += [thing.names[-1]] if thing.kind in _HELD and not its_own and all(speaks_of(said, name) for name in thing.names) else []
    return (filled, gone) if gone else None


def _takes(server: Server, statement: Statement, table: str) -> bool:
    """Whether a statement drops a column of this very table, or all of it: one in another schema may have the same name."""
    try:
        return any(server.drops(statement, Pair(table, (name,), (), {}, {})) for name in server.columns(table))
    except Refused:
        return False


def unpaired(server: Server, migration: Migration, more: Sequence[Pair] = ()) -> Backfill | None:
    """What is filled that is of no pair of the migration's own, nor of ``more``, if anything is."""
    if (filled := fill(server, migration)) is None:
        return None
    pairs = [pair for pair in (*migration.pairs, *more) if bare_name(pair.table) == bare_name(filled.table)]
    paired = {name.lower() for pair in pairs for name in pair.new}
    made = {name: expression for name, expression in filled.set.items() if name.lower() not in paired}
    return filled._replace(set=made) if made else None


def there(server: Server, filled: Backfill) -> Backfill | None:
    """Of what is filled, what its table has: the contract of a later migration may have taken the rest away."""
    known = {name.lower() for name in server.columns(filled.table)}
    made = {name: expression for name, expression in filled.set.items() if name.lower() in known}
    return filled._replace(set=made) if made else None


def overlap(one: Backfill, other: Backfill) -> bool:
    """Whether two backfills fill the same column."""
    return bare_name(one.table) == bare_name(other.table) and not {*map(str.lower, one.set)}.isdisjoint(map(str.lower, other.set))


def contracts(migration: Migration) -> bool:
    """Whether a migration takes anything away at its end; one that only adds never needs to be contracted."""
    return bool(migration.holds("contract") or migration.pairs or migration.command.contract)


def final(migration: Migration) -> str:
    """Why nothing undoes what its expand has done; empty if something does, as far as its files say it."""
    if why := reverting.irreversible(migration.sql("revert")):
        return why
    return "no command undoes that of its expand" if migration.command.expand and not migration.command.revert else ""


def groups(server: Server, statements: Sequence[Statement], pairs: Sequence[Pair]) -> Iterator[list[Statement]]:
    """Statements one by one, but for those that take away the columns of one pair, or what its expressions call: they go at once, with its sync and with what
    stands between them.

    Raises Refused where something stands between them that no transaction can hold, though they are in one.
    """
    at = 0
    while at < len(statements):
        last = seen = at
        while seen <= last:
            for pair in pairs:
                if ends(server, statements[seen], pair):
                    last = max(last, *(i for i, s in enumerate(statements) if ends(server, s, pair)))
            seen += 1
        group = list(statements[at : last + 1])
        if any(server.transactional(s) for s in group) and (apart := [s for s in group if not server.transactional(s)]):
            between = f"{apart[0].brief}, which no transaction holds, stands between them: put it before or behind them"
            raise Refused(f"line {group[0].at.line} and line {group[-1].at.line} take away columns of one pair; {between}")
        yield group
        at = last + 1


def ends(server: Server, statement: Statement, pair: Pair) -> bool:
    """Whether a pair cannot be kept in step any more behind a statement."""
    return server.drops(statement, pair) or called(server.takes(statement), pair.said)


def own(texts: Sequence[str]) -> list[Statement]:
    """Statements that no file holds."""
    return [Statement(text, Place(0, 0), 0) for text in texts]


def plain(table: str) -> str:
    """A table without the quotes of its name, as people are told of it."""
    return table.translate(_QUOTES)


def bare_name(table: str) -> str:
    """A table by its own name alone, in lower case, where it is compared with others of one migration."""
    return plain(table).rpartition(".")[2].lower()


def words(pair: Pair) -> str:
    """A pair for people."""
    return f"{pair.table} ({'+'.join(pair.old)} <-> {'+'.join(pair.new)})"


def _from_pairs(migration: Migration) -> Backfill | None:
    """A pair says itself how its new columns are filled."""
    if not migration.pairs:
        return None
    if len(tables := sorted({pair.table for pair in migration.pairs})) > 1:
        raise Refused(f"pairs of {', '.join(tables)} and no backfill: make it a migration for each table")
    return Backfill(tables[0], {column: expression for pair in migration.pairs for column, expression in pair.forward.items()})
