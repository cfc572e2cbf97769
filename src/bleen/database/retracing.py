"""The way back from wherever a migration has come: what was done of it, by the ledger and the catalogue, and what undoes that and nothing else."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from bleen.database import command, parts, reverting
from bleen.database.catalogue import Needing
from bleen.database.command import revisions
from bleen.database.ledger import Entry, Ledger, Part, State, Step
from bleen.database.migration import Locks, Migration, Pair, speaks_of
from bleen.database.pairs import kept, parted
from bleen.database.server import Missing, Server, Told
from bleen.database.statements import Statement, in_a_line
from bleen.database.things import Thing, called, taken, taken_among, taken_in_words
from bleen.errors import PortError, Refused

CLEARING = Locks(patience=5.0)
"""How long whoever has just failed tries to take away what is left in the way."""

_KEEPS = re.compile(r"\b(INSERT|MERGE|RENAME|REPLACE|SELECT|UPDATE)\b", re.IGNORECASE)
"""What may bring elsewhere what a table, or a column, says."""


class Gone(NamedTuple):
    """What a way back drops of what rows say."""

    table: str
    """As it is written."""
    columns: tuple[str, ...]
    """As the catalogue has them; none: the table itself."""

    @property
    def told(self) -> str:
        """For people."""
        return parts.plain(self.table) + (f" ({', '.join(self.columns)})" if self.columns else "")


class Retracing:
    """What was done of migrations on one database, and what undoes it."""

    def __init__(self, server: Server, ledger: Ledger, told: Told) -> None:
        self._server, self._ledger, self._told = server, ledger, told

    def done(self, migration: Migration, part: Part) -> list[Statement]:
        """The statements of a part that were done, or were begun by themselves and may be."""
        steps, found = self._ledger.steps(migration.name), []
        for number, statement in enumerate(parts.statements(self._server, migration, part), 1):
            step = steps.get((part, number))
            if step and (step.done or self._may_be_done(statement, step)):
                found.append(statement)
        return found

    def _may_be_done(self, statement: Statement, begun: Step) -> bool:
        if self._server.catalogue.unable(statement):  # an earlier bleen has marked it, and run it no more than this one would
            return False
        return not (sight := self._server.sight(statement)) or sight != begun.memo.get("seen")

    def settle(self, migration: Migration) -> None:
        """Says of each statement that was begun by itself whether it was done, while the catalogue still shows it: the way back is counted by them."""
        steps, done = self._ledger.steps(migration.name), self.done(migration, "expand")
        for number, statement in enumerate(parts.statements(self._server, migration, "expand"), 1):
            step = steps.get(("expand", number))
            if step and not step.done and statement in done:
                self._ledger.note(self._ledger.mark(migration.name, "expand", number, True, statement.text))
            elif step and not step.done:
                self._ledger.note(self._ledger.unmark(migration.name, "expand", number))

    def begun(self, entry: Entry) -> bool:
        """Whether something of a migration was done, or may be: else nothing has to be undone, be that possible or not."""
        others = any(part != "expand" and (part, number) != command.VERSION for part, number in self._ledger.steps(entry.name))
        return entry.state is not State.EXPANDING or others or bool(self.done(entry.migration, "expand"))

    def way_back(self, migration: Migration) -> list[Statement]:
        """What undoes the part of an expand that was done: what its other statements would have made was there before, or is not there."""
        whole, done = parts.statements(self._server, migration, "expand"), self.done(migration, "expand")
        if not migration.holds("revert"):
            return self._server.split(self._undoing(done))
        if whole and not done:
            return []
        others = [s for s in whole if s not in done]
        made, unmade = self._makes(done), self._makes(others)
        left = []
        for statement in parts.statements(self._server, migration, "revert"):
            gone = taken(statement.text, self._server.dialect)
            if gone is None:  # it may take away anything of which it speaks
                told = [each for each in unmade if all(speaks_of(statement.text, name) for name in each.names)]
            else:
                told = [each for each in sorted(gone) if _unmade(each, made, unmade, done, others)]
                if gone and len(told) == len(gone) and not made & gone:
                    continue
            if told:
                named = " of ".join(told[0].names[::-1])
                way = "mend what stopped it, let `bleen migrate expand` end it, then revert"
                raise Refused(f"{migration.name}/revert.sql: {statement.brief} may take away {named}, which the expand had not made when it stopped; {way}")
            left.append(statement)
        return left

    def built_upon(self, entry: Entry) -> str:
        """Why what the way back takes away cannot go yet: a migration since then that names it, or that its command takes back as well, or what there needs
        it; empty if nothing does.
        """
        back = self.way_back(entry.migration)
        things = [each for statement in back for each in taken_among(statement.text, self._server.dialect)]
        calls = [each for statement in back for each in self._server.takes(statement)]
        later = [other for other in self._ledger.entries() if _since(other, entry)]
        behind = [each for each in later if each.at > entry.at or each.state is State.CONTRACTED]  # and not there before, as that was reverted, and came again
        ran = [each for each in (entry, *behind) if each.service == entry.service and command.step("expand") in self._ledger.steps(each.name)]
        if entry in ran and (upon := revisions.upon(entry.migration, [each.migration for each in ran[1:]])):
            return f"{entry.name} made what {upon} builds on: `bleen migrate revert {upon}` first"
        for each in reversed(later):
            said = "\n".join(text for file, text in each.sources.items() if file != "revert.sql")
            if any(_upon(thing, said) for thing in things) or any(called(calls, pair.said) for pair in each.migration.pairs):
                return f"{entry.name} made what {each.name} builds on: `bleen migrate revert {each.name}` first"
        for need in self._server.catalogue.needing(back, ()):
            if need.certain:  # half of the way back would be gone, with what was in it, before the server refuses
                way = "revert the migration that made that first, or drop it by hand"
                return f"{entry.name} cannot be reverted yet, {in_a_line(need.statement.text)[:100]}: {need.why}; {way}"
        return ""

    def going(self, entry: Entry) -> list[Gone]:
        """The tables that the way back drops, and of others the columns, but for those of pairs; as far as they are there, and nothing in it copies what they
        say, or gives another table their name.
        """
        if reverting.irreversible(entry.migration.sql("revert")):
            return []
        back = self.way_back(entry.migration)
        keeping = "\n".join(each.text for each in back if _KEEPS.search(each.text) and not self._server.takes(each))
        found = []
        things = [thing for each in back for thing in sorted(taken_in_words(each.text, self._server.dialect))]
        for table in dict.fromkeys(thing.names[0] for thing in things if thing.kind in ("TABLE", "COLUMN")):
            kept = speaks_of(keeping, parts.bare_name(table))
            paired = {name.lower() for pair in entry.migration.pairs if parts.bare_name(pair.table) == parts.bare_name(table) for name in pair.new}
            columns = [each.name for each in self._server.columns(table).values() if not each.generated and each.name.lower() not in paired]
            if any(self._server.drops(each, Pair(table, (), (), {}, {})) for each in back):
                found += [Gone(table, ())] if self._server.columns(table) and not kept else []
                continue
            goes = [name for name in columns if any(self._server.drops(each, Pair(table, (name,), (), {}, {})) for each in back)]
            if goes := [name for name in goes if not (kept and speaks_of(keeping, name))]:
                found.append(Gone(table, tuple(goes)))
        return found

    def breaking(self, entry: Entry) -> list[Needing]:
        """What the way back would make fail without a word of the server's: a trigger that somebody has made since, and names what goes, say."""
        if reverting.irreversible(entry.migration.sql("revert")):
            return []
        return [need for need in self._server.catalogue.needing(self.way_back(entry.migration), ()) if not need.certain]

    def tidy(self, migration: Migration, locks: Locks) -> list[str]:
        """Takes away what statements that were begun by themselves have left half done; names it."""
        steps, both = self._ledger.steps(migration.name), list[Part](("expand", "contract"))
        numbered = [((part, n), s) for part in both for n, s in enumerate(parts.statements(self._server, migration, part), 1)]
        begun = [s for key, s in numbered if (step := steps.get(key)) and not step.done]
        return [each for statement in begun for each in self._server.clear(statement, locks, self._told)]

    def taken(self, entry: Entry) -> bool:
        """Whether something of the old shape is gone, or may be: a contract that failed before it came to that can be put back, its pairs too."""
        if entry.state is not State.CONTRACTING:
            return entry.state is State.CONTRACTED
        steps = self._ledger.steps(entry.name)
        if self._changed(steps.get(command.step("contract"))):
            return True
        if any(not (kept(steps, number) or parted(steps, number)) for number, _ in enumerate(entry.migration.pairs, 1)):
            return True
        return self._added(entry.migration)[1]

    def taken_back(self, name: str, before: Mapping[tuple[Part, int], Step]) -> bool:
        """Whether a revert has taken something back, or may have; ``before``: the steps as it began."""
        steps = self._ledger.steps(name)
        ran = any(part == "revert" or (part, number) == command.step("revert") for part, number in steps)
        return ran or any(step != steps.get(key) for key, step in before.items() if key[0] == "sync")

    def unshared(self, entry: Entry) -> bool:
        """Whether only versions that ship it can be on this database: something was taken, or its pairs are not kept in step, be it until they are again."""
        steps = self._ledger.steps(entry.name) if entry.state is State.CONTRACTING else {}
        return any(parted(steps, number) for number, _ in enumerate(entry.migration.pairs, 1)) or self.taken(entry)

    def _changed(self, step: Step | None) -> bool:
        """Whether a command has changed the schema, or may have: one that was rolled back, or was never started, has not."""
        return step is not None and (step.done or not (shape := self._server.shape()) or shape != step.memo.get("shape"))

    def put_back(self, migration: Migration, why: Refused) -> None:
        """Takes away what a contract had added until it failed, or left half built: a CHECK that is not valid yet goes on to refuse rows of the version that
        serves, and so does a unique index that is INVALID.
        """
        begun = [key for key in self._ledger.steps(migration.name) if (key[0] == "contract" and key[1]) or key == command.step("contract")]
        try:
            self.tidy(migration, CLEARING)
            for statement in self._added(migration)[0]:
                with suppress(Missing):
                    if self._server.transactional(statement):
                        self._server.change([statement], [], CLEARING, self._told)
                    else:
                        self._server.concurrently(statement, CLEARING, self._told, again=True)
        except PortError as trouble:
            raise Refused(f"{why}; what it had added could not be taken away: {trouble}") from None
        for part, number in begun:
            self._ledger.note(self._ledger.unmark(migration.name, part, number))

    def _added(self, migration: Migration) -> tuple[list[Statement], bool]:
        """What takes away what a contract has added as far as it has come, and whether that is not all that it has done. A NOT NULL of a new column, which sync
        fills, is something added: for a column of unknown past it would not be.
        """
        loose, others = [], list[Statement]()
        for statement in self.done(migration, "contract"):
            if undo := next(filter(None, (self._server.catalogue.loosens(statement, pair) for pair in migration.pairs)), ""):
                loose.append(undo)
            elif not self._server.passing(statement):
                others.append(statement)
        takes = reverting.takes("".join(f"{s.text};\n" for s in others), self._server.dialect)
        return self._server.split("".join(f"{each};\n" for each in loose) + self._undoing(others)), takes

    def _makes(self, statements: Sequence[Statement]) -> frozenset[Thing]:
        """What statements of an expand make, as far as their text tells."""
        undoing = [each for statement in statements for each in self._server.split(self._undoing([statement]))]
        return frozenset(thing for each in undoing for thing in taken(each.text, self._server.dialect) or ())

    def _undoing(self, statements: Sequence[Statement]) -> str:
        return reverting.derived("".join(f"{s.text};\n" for s in statements), self._server.dialect).text


def _since(other: Entry, entry: Entry) -> bool:
    """Whether a migration may build on another: two services number theirs as they like, and then the time counts."""
    return other.migration.number > entry.migration.number or (other.service != entry.service and other.at > entry.at)


def _upon(thing: Thing, said: str) -> bool:
    """Whether a text builds on a thing; of a type, what needs it the catalogue knows, and its name is often that of a column, too."""
    if thing.kind in ("TABLE", "VIEW", "SEQUENCE", "COLUMN"):
        return all(speaks_of(said, name) for name in thing.names)
    return called([thing], said)


def _unmade(thing: Thing, made: frozenset[Thing], unmade: frozenset[Thing], done: Sequence[Statement], others: Sequence[Statement]) -> bool:
    """Whether it is one of the ``others`` that would have made a thing, or its table: ``CREATE TABLE IF NOT EXISTS``, say, does not tell what it makes."""
    if thing in made or thing in unmade or thing.table in unmade:
        return thing not in made or thing in unmade
    speaks = [any(all(speaks_of(s.text, name) for name in thing.names) for s in statements) for statements in (done, others)]
    return speaks == [False, True]
