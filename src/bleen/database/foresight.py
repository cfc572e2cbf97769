"""What a migration would do to a database and its clients, known before anything is touched: what will be refused, and what may fail somebody's write."""

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from bleen.database import backfill, command, parts, reverting, sync
from bleen.database.command import HALVES
from bleen.database.deeds import among, deed, own
from bleen.database.ledger import State
from bleen.database.migration import Migration, Pair, speaks_of
from bleen.database.parts import groups, words
from bleen.database.picking import picked
from bleen.database.reverting_names import called, taken
from bleen.database.schema import Schema
from bleen.database.statements import Statement, in_a_line
from bleen.errors import Refused

_DEFAULT = re.compile(r"\bDEFAULT\b", re.IGNORECASE)
_FREES = re.compile(r"\b(DROP|RENAME|CHANGE|SCHEMA|DO|CALL|EXECUTE)\b", re.IGNORECASE)
"""What may take a name from what has it."""
_PERHAPS = re.compile(r"(?P<leaves>\bIF\s+NOT\s+EXISTS\b)|\bOR\s+REPLACE\b", re.IGNORECASE)
_TEMPORARY = re.compile(r"\s*CREATE\s+((GLOBAL|LOCAL)\s+)?TEMP", re.IGNORECASE)
_RENAMES = re.compile(r"\b(RENAME|CHANGE)\b", re.IGNORECASE)


class Plan(NamedTuple):
    """What an expand would do, and what its contract and its revert would do later: one line a statement."""

    migration: str
    description: str
    expand: list[str]
    sync: list[str]
    beware: list[str]
    """What of it may fail a write of the version that serves, or of the new one, or is not known to us."""
    backfill: str
    """What it would cost; empty if there is none, or if its table is made by the expand."""
    contract: list[str]
    revert: list[str]

    def lines(self) -> list[str]:
        """For people."""
        said = [f"{self.migration}{': ' + self.description if self.description else ''}"]
        said += [f"  expand    {each}" for each in self.expand] + [f"  sync      {each}" for each in self.sync]
        said += [f"  beware    {each}" for each in self.beware] + [f"  backfill  {self.backfill}"] * bool(self.backfill)
        return said + [f"  contract  {each}" for each in self.contract] + [f"  revert    {each}" for each in self.revert]


class Foresight:
    """Looks at the database of a schema; changes nothing."""

    def __init__(self, schema: Schema) -> None:
        self._server, self._ledger = schema.server, schema.ledger
        self._statements = partial(parts.statements, schema.server)

    def plan(self, migration: Migration, before: Sequence[Migration] = ()) -> Plan:
        """What an expand of it would do behind those ``before``, with nothing touched. Raises Refused for files that cannot be read."""
        said = {part: [in_a_line(s.text) for s in self._statements(migration, part)] for part in HALVES}
        for half in HALVES:
            if argv := command.words(migration, half):
                said[half].insert(0 if half == "expand" else len(said[half]), f"`{shlex.join(argv)}`")
        if why := reverting.irreversible(migration.sql("revert")):
            said["revert"] = [f"cannot be: {why}"]
        fill = parts.fill(self._server, migration)
        estimate = backfill.estimate(self._server, migration, fill).line() if fill and self._server.columns(fill.table) else ""
        pairs, beware = [words(p) for p in migration.pairs], self.risks(migration, before)
        return Plan(migration.name, migration.description, said["expand"], pairs, beware, estimate, said["contract"], said["revert"])

    def foreseen(self, migration: Migration, before: Sequence[Migration] = ()) -> list[str]:
        """What will refuse its pairs, its backfill or its statements when their turn comes, as far as it can be known before anything is touched; a line each.
        ``before``: the migrations that are about to be expanded before it, or with it.
        """
        made = (*before, migration)
        coming = None if any(m.command.expand for m in made) else "\n".join(m.sql("expand") for m in made)  # what another tool makes, only that tool knows
        wrong = [(pair, sync.foreseen(self._server, pair, coming) or self._absent(pair, coming)) for pair in migration.pairs]
        said = [f"{words(pair)} cannot be kept in step: {why}" for pair, reasons in wrong for why in reasons]
        try:
            if fill := parts.fill(self._server, migration):
                backfill.check(self._server, migration, fill, coming)
        except Refused as error:
            said.append(str(error))
        past = self._past(migration, before)
        for part in HALVES:
            for statement in self._statements(migration, part):
                said += [f"{part}.sql: {why}" for why in (self._server.catalogue.unable(statement), self._pulled(statement, migration, before)) if why]
            given = past["expand" if part == "revert" else part]  # it may well take what its own expand has given
            said += [f"{part}.sql: {why}" for why in self._server.catalogue.forgets(given, self._statements(migration, part))]
        said += self._lacking(migration, before) if migration.pairs else ()
        said += self._hampered(migration, before)
        said += self._merged(migration)
        said += self._there(migration, before)
        said += self._alike(migration)
        said += (each for each, fails in self._spreading(migration, before) if fails)
        for part in ("contract", "revert"):
            try:
                list(groups(self._server, self._statements(migration, part), migration.pairs))
            except Refused as error:
                said.append(f"{part}.sql: {error}")
        return said or [*self._refused(migration, before)]

    def _merged(self, migration: Migration) -> Iterator[str]:
        """Indexes of before that a way back which is derived would drop: what they become part of is named in the text, and they are not."""
        if migration.holds("revert") or reverting.irreversible(migration.sql("revert")):
            return
        for statement in self._statements(migration, "expand"):
            if old := [each for each in self._server.catalogue.merges(statement) if not speaks_of(migration.sql("expand"), each)]:
                yield f"expand.sql: {statement.brief}: {', '.join(old)}, there before, becomes part of it, and would be dropped with it; {reverting.HOW}"

    def _there(self, migration: Migration, before: Sequence[Migration]) -> Iterator[str]:
        """What its expand makes anew though something has that name already, or will have; nothing that what runs before may have taken away, or given another
        name.
        """
        if any(m.command.expand or speaks_of(m.sql("expand"), "search_path") for m in (*before, migration)):
            return  # what is there by then, or where it is made, only they know
        if self._ledger.entry(migration.name):
            return  # it may be its own, from a try before
        past = [(m.name, s) for m in before for s in self._statements(m, "expand")]
        made = {drop.text: name for name, statement in past for drop in self._undone(statement)}
        for statement in self._statements(migration, "expand"):
            for drop in self._undone(statement):
                names = {name for thing in taken(drop.text, self._server.dialect) or () for name in thing.names}
                freed = any(_FREES.search(s.text) and any(speaks_of(s.text, name) for name in names) for _, s in past)
                way = "give what is new another name, or take the statement out if that is what it would make"
                if found := [] if freed else self._server.catalogue.holds(drop):
                    yield f"expand.sql: {statement.brief}: {', '.join(found)} is there already; {way}"
                elif drop.text in made and not freed:
                    yield f"expand.sql: {statement.brief}: {made[drop.text]}, which is expanded before it, makes that too; {way}"
            yield from self._kept(statement, migration, past)
            past.append((migration.name, statement))

    def _kept(self, statement: Statement, migration: Migration, past: Sequence[tuple[str, Statement]]) -> Iterator[str]:
        """What is there already, or will be, so that IF NOT EXISTS leaves it or OR REPLACE another in its place, and revert.sql drops; nothing whose name what
        runs before has taken away.
        """
        if not (migration.holds("revert") and (perhaps := _PERHAPS.search(statement.text))):
            return
        done = [(name, deed(s.text, self._server.dialect)) for name, s in past]
        for back in self._statements(migration, "revert"):
            gone = deed(back.text, self._server.dialect).takes
            things = {each for each in gone if all(speaks_of(statement.text, name) for name in own(each)) and not any(d.frees(each) for _, d in done)}
            why = ""
            if things and (found := self._server.catalogue.holds(back)):
                why = f"{', '.join(found)} is there already"
            elif made := [name for name, each in done if name != migration.name and any(among({thing}, each.makes) for thing in things)]:
                why = f"{made[-1]}, which is expanded before it, makes that too"
            if why:
                way = "with all that is in it: take it out of both" if perhaps["leaves"] else "with what was there before: let it make that anew"
                yield f"expand.sql: {statement.brief}: {why}, and revert.sql would drop it ({back.brief}) {way}"

    def _alike(self, migration: Migration) -> Iterator[str]:
        """Rows of now that a DELETE of revert.sql would take with those that expand.sql puts in: no key keeps others from having their values."""
        if not migration.holds("revert") or self._ledger.entry(migration.name):
            return  # they may be its own, from a try before
        puts = [each.text for each in self._statements(migration, "expand")]
        for back in self._statements(migration, "revert"):
            told = picked(back.text, puts, self._server.dialect)
            names = {name.lower() for name in self._server.columns(told.table)} if told else set[str]()
            if not told or not names.issuperset(column.lower() for pick in told.picks for column, _ in pick):
                continue  # what the expand makes holds nothing of before
            rows = " OR ".join(
                " AND ".join(f"{self._server.quoted(column)} = {value}" for column, value in sorted(pick)) for pick in sorted(told.picks, key=sorted)
            )
            with suppress(Refused):  # no such value: nor will the expand put it in
                if self._server.rows(f"SELECT 1 FROM {told.table} WHERE {rows} LIMIT 1"):
                    way = "name a column that tells them apart, or take out of both what is there"
                    yield f"revert.sql: {back.brief}: {told.table} has such a row already, and a revert leaves what was there before: {way}"

    def _refused(self, migration: Migration, before: Sequence[Migration]) -> Iterator[str]:
        """What of its files the server will refuse for the shape that the schema has by then, which no text of them shows: an index over a column that contract
        drops, say. Asked last, as it may only follow from what else is wrong.
        """
        if any(m.command.expand for m in (*before, migration)) or self._ledger.entry(migration.name):
            return  # what is there by then, only they know; or it was begun
        past = self._past(migration, before)
        if not migration.holds("revert"):
            del past["revert"]
        if any(m.command.contract for m in self._earlier(migration, before)):
            del past["contract"]
        for part, statements in past.items():
            if why := self._server.catalogue.refuses(statements, self._statements(migration, part)):
                yield f"{part}.sql: {why}"

    def _past(self, migration: Migration, before: Sequence[Migration]) -> dict[str, list[Statement]]:
        """What will have been run before each of its files, and is not yet."""
        of = self._statements
        made = [s for m in before for s in of(m, "expand")]
        expanded = [*made, *of(migration, "expand")]
        return {"expand": made, "revert": expanded, "contract": [*expanded, *(s for m in self._earlier(migration, before) for s in of(m, "contract"))]}

    def _earlier(self, migration: Migration, before: Sequence[Migration]) -> list[Migration]:
        """Those that will be contracted before it."""
        waiting = [entry.migration for entry in self._ledger.entries() if entry.state is not State.CONTRACTED]
        return [m for m in (*waiting, *before) if m.name != migration.name]

    def _undone(self, statement: Statement) -> list[Statement]:
        """What undoes a statement names what it makes."""
        return self._server.split("" if _TEMPORARY.match(statement.text) else reverting.derived(f"{statement.text};", self._server.dialect).text)

    def _beside(self, migration: Migration, before: Sequence[Migration]) -> list[Migration]:
        """The other migrations that are expanded, or about to be."""
        kept = [entry.migration for entry in self._ledger.entries() if entry.state in (State.EXPANDING, State.EXPANDED)]
        return list({m.name: m for m in (*kept, *before) if m.name != migration.name}.values())

    def _lacking(self, migration: Migration, before: Sequence[Migration]) -> Iterator[str]:
        """What the contract of another migration drops, the table to rebuild it included, and a pair of this one is over, or names; a line each."""
        for other in self._beside(migration, before):
            for statement in self._statements(other, "contract"):
                for pair in migration.pairs:
                    if self._server.drops(statement, pair):
                        way = f"say it in a release after the contract of {other.name}"
                        yield f"{words(pair)} is of what contract.sql of {other.name} takes away ({statement.brief}): {way}"
                    elif self._needs(pair, statement):
                        way = f"let it do without, or drop that in a release after the contract of {migration.name}"
                        yield f"{words(pair)} names what contract.sql of {other.name} takes away ({statement.brief}): {way}"

    def _needs(self, pair: Pair, statement: Statement) -> bool:
        """Whether a statement drops a function, a type or a collation that an expression of a pair names: its triggers are a text to the server, which lets it
        go. Of one that has several signatures, it may be another.
        """
        return called(self._server.takes(statement), pair.said)

    def _pulled(self, statement: Statement, migration: Migration, before: Sequence[Migration]) -> str:
        """That a statement gives another name to, or drops, a column that the pair of another migration keeps in step by its name, or drops what an expression
        of such a pair names; empty if it does not.
        """
        for other in self._beside(migration, before):
            for pair in other.pairs:
                renames = _RENAMES.search(statement.text) and speaks_of(statement.text, pair.table.rpartition(".")[2])
                named = self._server.drops(statement, pair) or (renames and any(speaks_of(statement.text, name) for name in (*pair.old, *pair.new)))
                if named or self._needs(pair, statement):
                    way = f"say it in {other.name}, if no database has seen that yet, or in a release after its contract"
                    by = "these names" if named else "an expression that names what this takes away"
                    return f"{statement.brief}: {words(pair)} is kept in step for {other.name}, by {by}; {way}"
        return ""

    def _hampered(self, migration: Migration, before: Sequence[Migration]) -> Iterator[str]:
        """What its expand makes of the table of a pair, be it of another migration, that no pair could be of when that was expanded."""
        for statement in self._statements(migration, "expand"):
            for other in (migration, *self._beside(migration, before)):
                for pair in other.pairs:
                    if why := self._server.catalogue.hampers(statement, pair.table):
                        way = f"say it in a release after the contract of {other.name}"
                        yield f"expand.sql: {statement.brief}: {words(pair)} is kept in step for {other.name}, and {why}; {way}"

    def risks(self, migration: Migration, before: Sequence[Migration] = ()) -> list[str]:
        """What of its pairs may fail a write of the version that serves, what its contract does unseen, and what it leaves that fails the INSERTs of the new
        one, a line each.
        """
        expand = migration.sql("expand")
        found = [f"{migration.name}, {words(pair)}: {each}" for pair in migration.pairs for each in sync.risks(self._server, pair, expand)]
        if argv := migration.command.contract:
            unknown = f"what `{shlex.join(argv)}` takes away in contract, bleen does not know, and nothing brings it back"
            found.append(f"{migration.name}: {unknown}: look that no other migration needs it, in a pair, a backfill or a contract of its own")
        own = (
            *self._defaultless(migration),
            *self._demanding(migration),
            *self._needing(migration, before),
            *self._firing(migration),
            *self._hiding(migration),
            *(each for each, fails in self._spreading(migration, before) if not fails),
        )
        return found + [f"{migration.name}: {each}" for each in own]

    def _hiding(self, migration: Migration) -> Iterator[str]:
        """What its expand makes that somebody finds in the place of what was there before."""
        for each in self._statements(migration, "expand"):
            if why := self._server.catalogue.hides(each):
                yield f"{each.brief}: {why}"

    def _spreading(self, migration: Migration, before: Sequence[Migration]) -> Iterator[tuple[str, bool]]:
        """Triggers that its expand makes fail, or that may, as they give all columns of a row; and whether they do."""
        past = [s for each in before for s in self._statements(each, "expand")]
        for each in self._server.catalogue.spreading(self._statements(migration, "expand"), past):
            yield f"expand.sql: {each.statement.brief}: {each.why}; let the function name its columns before this", each.fails

    def _firing(self, migration: Migration) -> Iterator[str]:
        """The triggers that its backfill fires, and the times that it sets: rows that nobody has written look as if somebody had, or are noted as changed."""
        fill = parts.fill(self._server, migration)
        if fill is None:
            return
        if fired := self._server.catalogue.fires(fill.table, tuple(fill.set)):
            which = f"{'trigger' if len(fired) == 1 else 'triggers'} {', '.join(fired)}"
            way = "see that it may do what it does (a time of the last change, a line in a log) for each of them, or let it pass such an UPDATE by"
            yield f"the backfill updates the rows of {fill.table}, and fires {which} of yours: {way}"
        for name in self._server.catalogue.stamps(fill.table, tuple(fill.set)):
            way = f"SET {name} = {name} in it keeps what is there"
            yield f"the backfill sets {name} of each row of {fill.table} that it fills to the time then (ON UPDATE): {way}"

    def _needing(self, migration: Migration, before: Sequence[Migration]) -> Iterator[str]:
        """What will keep the gate of its contract shut, unless what runs before it has taken that away."""
        past = [s for each in (*before, migration) for s in self._statements(each, "expand")]
        past += [s for each in self._beside(migration, before) for s in self._statements(each, "contract")]
        for each in self._server.catalogue.needing(self._statements(migration, "contract"), past):
            way = "drop that, or make it anew such that it does without, before this in contract.sql"
            yield f"contract.sql, {each.statement.brief}: {each.why}, and the contract waits while it does; {way}"

    def _defaultless(self, migration: Migration) -> Iterator[str]:
        """Pairs whose old side has a default, and the new one none: what the new version leaves out is NULL, or refused, on both."""
        for pair in migration.pairs:
            columns = self._server.columns(pair.table)
            given = [name for name in pair.old if name in columns and columns[name].default]
            if given and not _DEFAULT.search(migration.sql("expand")) and not any(columns[name].default for name in pair.new if name in columns):
                lacks = ", ".join(pair.new)
                way = "in the ADD COLUMN" if self._server.dialect == "sqlite" else "with ALTER TABLE ... ALTER COLUMN ... SET DEFAULT behind the ADD COLUMN"
                yield (
                    f"{', '.join(given)} of {pair.table} has a default, and {lacks} none: an INSERT of the new version that leaves {lacks} out says NULL, on"
                    f" both sides; give it one in expand.sql, {way}"
                )

    def _demanding(self, migration: Migration) -> Iterator[str]:
        """Columns that every INSERT has to give, and the new version does not know: those that contract drops, and those of a pair that it leaves."""
        expand, contract = migration.sql("expand"), self._statements(migration, "contract")
        for table in dict.fromkeys(reverting.altered(each.text) for each in contract):
            for name in self._demanded(table) if table else ():
                gone = [each for each in contract if self._server.drops(each, _of(table, name))]
                if gone and not speaks_of(expand, name) and not any(name in p.old and self._server.drops(gone[0], p) for p in migration.pairs):
                    alter = f"ALTER TABLE {table} ALTER COLUMN {self._server.quoted(name)}"
                    way = f"let expand.sql say {alter} SET DEFAULT, and revert.sql DROP DEFAULT"
                    if self._server.dialect == "sqlite":
                        way = "SQLite gives one to no column that is there, so rebuild the table in a release before this one"
                    yield f"contract.sql drops {name} of {table}, NOT NULL without a default: until then an INSERT fails that does not give it; {way}"
        if self._server.dialect != "postgres" or migration.command.contract:  # MySQL's sync leaves a default behind, and SQLite's refuses such a pair
            return
        for pair in migration.pairs:
            for name in self._demanded(pair.table):
                left = name in pair.old and not any(self._server.drops(each, _of(pair.table, name)) for each in contract)
                if left and not speaks_of(expand + migration.sql("contract"), name):
                    way = f"drop it there, or say ALTER TABLE {pair.table} ALTER COLUMN {self._server.quoted(name)} DROP NOT NULL"
                    yield f"contract.sql leaves {name} of {pair.table}, NOT NULL without a default: after it an INSERT fails that does not give it; {way}"

    def _demanded(self, table: str) -> list[str]:
        return [name for name, each in self._server.columns(table).items() if not (each.nullable or each.default or each.generated)]

    def _absent(self, pair: Pair, coming: str | None) -> list[str]:
        """Says which columns of a pair its table, if it is there, has not, and what is coming does not speak of; a line, or none."""
        known = self._server.columns(pair.table)
        if not known or coming is None:
            return []
        there = {*map(str.lower, known)}
        gone = [name for name in (*pair.old, *pair.new) if name.lower() not in there and not speaks_of(coming, name)]
        return [f"{pair.table} has no column {', '.join(gone)}, and expand.sql adds none; it has {', '.join(known)}"] if gone else []


def _of(table: str, column: str) -> Pair:
    """A column as ``Server.drops`` is asked for it."""
    return Pair(table, (column,), (), {}, {})
