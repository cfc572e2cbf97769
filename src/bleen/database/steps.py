"""The steps of a migration: each statement and each command, marked in the ledger as one with what it does, and gone on with wherever it was killed."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from bleen.database import command, parts, reverting
from bleen.database.command import Half, revisions, running
from bleen.database.command.home import Home, startable
from bleen.database.command.revisions import Standing
from bleen.database.ledger import Ledger, Part, Step
from bleen.database.migration import Migration, Pair, speaks_of
from bleen.database.pairs import Pairs
from bleen.database.parts import words
from bleen.database.retracing import CLEARING
from bleen.database.server import Missing, NotGiven, Server, Told, TookTooLong, Values
from bleen.database.statements import Statement, in_a_line
from bleen.database.things import Thing, apart
from bleen.errors import PortError, Refused

CATALOGUED = frozenset(["TABLE", "VIEW", "SEQUENCE", "COLUMN", "INDEX", "CONSTRAINT"])
"""The kinds of things of which every catalogue says whether they are there."""

BY_HAND = "mend that by hand, then try again (an edit of its files, which were applied, changes nothing)"
"""The next step where the files do not change any more."""


class Steps:
    """Runs what migrations say on one database. To be used by who is ``alone`` on the server."""

    def __init__(self, server: Server, ledger: Ledger, pairs: Pairs, told: Told) -> None:
        self._server, self._ledger, self._pairs, self._told = server, ledger, pairs, told

    def expand(self, migration: Migration) -> None:
        """Runs the statements of an expand that were not run. What fails says how it is undone."""
        statements = parts.statements(self._server, migration, "expand")
        with _to_be_mended(migration):
            self._able(migration, "expand", statements)
        for number, statement in enumerate(statements, 1):
            with _to_be_mended(migration):
                self._run(migration, "expand", number, [statement])

    def take_away(self, migration: Migration, part: Part, statements: Sequence[Statement]) -> None:
        """Runs those of contract or revert. The sync of a pair ends in the transaction in which its columns go, where the dialect can, so that no writer fails
        between the two; else it ends in a way that leaves none to fail.
        """
        self._able(migration, part, statements)
        steps = self._ledger.steps(migration.name)
        left = {number: pair for number, pair in enumerate(migration.pairs, 1) if ("sync", number) in steps}
        self._needed(migration, part, left.values(), statements)
        number = 0
        for group in parts.groups(self._server, statements, list(left.values())):
            first, number = number + 1, number + len(group)
            ends = [n for n, pair in left.items() if any(parts.ends(self._server, s, pair) for s in group)]
            try:
                self._run(migration, part, first, group, ends)
            except Missing as error:
                self._bear(migration, part, group, error)
                self._server.change([], self._done(migration, part, first, group), migration.locks, self._told)
                continue
            for n in ends:
                del left[n]
        self._needed(migration, part, left.values(), [])
        for n in left:
            self._change(migration, part, [], [n], [])

    def _needed(self, migration: Migration, part: Part, pairs: Iterable[Pair], statements: Sequence[Statement]) -> None:
        """Refuses a contract that would leave an old column which only the triggers give: a misspelt name drops nothing, and every INSERT would fail then."""
        if part == "contract" and not migration.command.contract:
            with _named_in(migration, part):
                for pair in pairs:
                    for name in self._pairs.needed(pair, statements):
                        way = f"drop it by hand, or say ALTER TABLE {pair.table} ALTER COLUMN {self._server.quoted(name)} DROP NOT NULL, then contract again"
                        raise Refused(f"it drops {name} of {pair.table} nowhere, and without the triggers an INSERT fails that does not give it; {way}")

    def _able(self, migration: Migration, part: Part, statements: Sequence[Statement]) -> None:
        """Refuses what the server will not take of a part before any of it is begun: half of it would be there, or gone, for good."""
        steps = self._ledger.steps(migration.name)
        with _named_in(migration, part):
            for number, statement in enumerate(statements, 1):
                step = steps.get((part, number))
                if not (step and step.done) and (why := self._server.catalogue.unable(statement)):
                    raise Refused(why)

    def startable(self, migration: Migration, half: Half, home: Home | None) -> None:
        """Raises Refused for a command that is still to be run and cannot be started: to be asked before the statements that go before it."""
        step = self._ledger.steps(migration.name).get(command.step(half))
        if command.words(migration, half) and not (step and step.done):
            startable(migration, half, home)

    def command(self, migration: Migration, half: Half, home: Home | None, standing: Standing, because: str = "") -> None:
        """Runs the half of a migration that is another tool's, if it was not run to its end; marked as begun before, with what the schema was like then, and
        what was found of the tool's. ``because``: why a revert's need not take back what is left of its expand.
        """
        argv, key = command.words(migration, half), command.step(half)
        steps = self._ledger.steps(migration.name)
        step = steps.get(key)
        if not argv or (step and step.done):
            return
        home = startable(migration, half, home)
        service = entry.service if (entry := self._ledger.entry(migration.name)) else ""
        if half == "expand" and (earlier := revisions.overtaken(migration, self._ledger.uncontracted(service))):
            raise Refused(revisions.overtakes(migration, earlier))
        before = self._before(step, standing)
        self._mark(migration, key, False, shlex.join(argv), before)
        try:
            if standing.idle:
                self._told(standing.idle)
            else:
                with self._pairs.followed(service), self._ledger.kept(self._told):
                    running.run(self._server, migration, half, home, self._told)
            if half == "revert" and not because and self._left(steps.get(command.step("expand")), before):
                why = "though the expand, which has failed, had changed the schema: its tool knows nothing of what that has left"
                way = f"take that back by hand, or see that nothing is left, then `bleen migrate revert {migration.name} --because REASON`"
                raise Refused(f"{migration.name}: revert, `{shlex.join(argv)}` changed nothing, {why}; {way}")
        except running.Elsewhere:
            self._ledger.note(self._ledger.unmark(migration.name, *key))
            raise
        except Refused:
            self._pairs.restore(service)  # it may have come as far as a rebuild
            if half != "contract" and self._untouched(before):  # there is nothing to undo, or all of it still, and nothing that later undoing has to wait for
                self._ledger.note(self._ledger.unmark(migration.name, *key))
            raise
        self._mark(migration, key, True, shlex.join(argv), before)

    def _before(self, step: Step | None, standing: Standing) -> Mapping[str, Any]:
        """What there is as a command begins. An earlier try may have changed something: then what was there before that one is kept. Its files may be others
        since: what it brings now is of its own, too.
        """
        if step is None or self._untouched(step.memo):
            return {"shape": self._server.shape(), "books": revisions.books(self._server), **standing.note}
        brings = dict.fromkeys([*step.memo.get("brings", ()), *standing.note.get("brings", ())])
        return {**step.memo, "brings": [*brings]} if "brings" in step.memo else step.memo

    def _untouched(self, before: Mapping[str, Any]) -> bool:
        """Whether a command that has failed has changed nothing; where the server cannot tell, or no book of a tool says so, it may have."""
        now = {"shape": self._server.shape(), "books": revisions.books(self._server)}
        return all(now.values()) and now.items() <= before.items()

    def _left(self, expand: Step | None, before: Mapping[str, Any]) -> bool:
        """Whether an expand that has not ended has changed the schema, and what was to undo it, begun when all was as in ``before``, has changed nothing."""
        changed = expand and not expand.done and expand.memo.get("shape", before.get("shape")) != before.get("shape")
        return bool(changed) and self._untouched(before)

    def _run(self, migration: Migration, part: Part, first: int, group: Sequence[Statement], ends: Sequence[int] = ()) -> None:
        """Runs statements that belong together, if they were not run, and ends the sync of the pairs of these numbers."""
        entry = self._ledger.entry(migration.name)
        with _named_in(migration, part), self._pairs.followed(entry.service if entry else ""):
            steps = self._ledger.steps(migration.name)
            parting = [n for n in ends if not steps["sync", n].memo.get("gone")]
            if all((step := steps.get((part, first + i))) and step.done for i in range(len(group))) and not self._server.passing(group[0]):
                if parting:  # whoever has done it did not know that they end by it
                    self._change(migration, part, [], parting, [])
                if ends:
                    self._ledger.note(self._ended(migration, ends))
                return
            for statement in group:
                self._told(f"{migration.name}: {part}, {in_a_line(statement.text)[:100]}")
            for n in parting:
                self._told(f"{migration.name}: {part}, the triggers that kept {words(migration.pairs[n - 1])} in step")
            if all(self._server.transactional(statement) for statement in group):
                left = [each for s in group if (each := self._still(migration, part, s))]
                retyped = self._pairs.retyped(left)
                with nullcontext() if part == "expand" else _by_hand(Missing, kept=self._kept(migration, part, ends)):
                    self._change(migration, part, [*self._pairs.loosened(retyped), *left], ends, self._done(migration, part, first, group))
                self._pairs.tighten(retyped)
                return
            if parting:
                self._ask(migration, part, [each for s in group if (each := self._still(migration, part, s))], parting)
                self._part(migration, part, parting)
            with nullcontext() if part == "expand" else _by_hand():
                for number, statement in enumerate(group, first):
                    self._by_itself(migration, part, number, statement, steps.get((part, number)))
            if ends:
                self._ledger.note(self._ended(migration, ends))

    def _ask(self, migration: Migration, part: Part, group: Sequence[Statement], ends: Sequence[int]) -> None:
        """Refuses what the server would, before pairs are kept in step no more: rows that are written from then on have to be brought back into step."""
        with _by_hand(kept=self._kept(migration, part, ends)):
            self._server.catalogue.tries([*self._pairs.removal(migration, part, ends), *group], migration.locks, self._told)

    def _kept(self, migration: Migration, part: Part, numbers: Sequence[int]) -> list[str]:
        """The columns that go, and that pairs of these numbers are over."""
        pairs = [migration.pairs[n - 1] for n in numbers]
        return [name for pair in pairs for name in (pair.new if part == "revert" else pair.old)]

    def _change(self, migration: Migration, part: Part, group: Sequence[Statement], ends: Sequence[int], done: Sequence[tuple[str, Values]]) -> None:
        """Runs statements as one, with the end of the sync of pairs before them, and their marks."""
        removal = self._pairs.removal(migration, part, ends)
        for number in ends:
            self._pairs.parting(migration, part, number)
        self._server.change([*removal, *group], [*self._ended(migration, ends), *done], migration.locks, self._told, *_spoken(migration, part))

    def _part(self, migration: Migration, part: Part, ends: Sequence[int]) -> None:
        """Ends the sync of pairs before what takes their columns away, which no transaction holds: their steps tell until then how it is put back."""
        removal = self._pairs.removal(migration, part, ends)
        for number in ends:
            self._pairs.parting(migration, part, number)
        steps, name = self._ledger.steps(migration.name), migration.name
        gone = [each for n in ends for each in self._ledger.mark(name, "sync", n, False, memo={**steps["sync", n].memo, "gone": True})]
        self._server.change(removal, gone, migration.locks, self._told, *_spoken(migration, part))

    def _ended(self, migration: Migration, ends: Sequence[int]) -> list[tuple[str, Values]]:
        return [each for number in ends for each in self._ledger.unmark(migration.name, "sync", number)]

    def _by_itself(self, migration: Migration, part: Part, number: int, statement: Statement, step: Step | None) -> None:
        """Runs a statement that no transaction can hold, if it was not run; marked as begun before, with what there was then."""
        if step and step.done and not self._server.passing(statement):
            return
        sight = self._server.sight(statement)
        seen = step.memo.get("seen", "") if step and not step.done else sight
        self._mark(migration, (part, number), False, statement.text, {"seen": seen})
        if sight in (seen, "") and (left := self._still(migration, part, statement)):
            try:
                self._server.concurrently(left, migration.locks, self._told, again=step is not None)
            except Missing as error:
                self._bear(migration, part, [statement], error)
            except Refused as error:
                cleared = self._cleared(statement, error)
                if sight and self._server.sight(statement) == seen:  # done or not done at all: not at all
                    self._ledger.note(self._ledger.unmark(migration.name, part, number))
                raise cleared from None
            except KeyboardInterrupt:
                with suppress(PortError):
                    self._server.clear(statement, CLEARING, self._told)
                raise
        self._mark(migration, (part, number), True, statement.text)

    def _cleared(self, statement: Statement, error: Refused) -> Refused:
        """What failed, and what became of what it left half done: a unique index that is INVALID goes on to refuse rows of the version that serves."""
        try:
            gone = self._server.clear(statement, CLEARING, self._told)
        except PortError as trouble:
            return Refused(f"{error}; what it left half done could not be taken away: {trouble}")
        return Refused(f"{error}; {', '.join(gone)}, which it left invalid, was dropped") if gone else error

    def _bear(self, migration: Migration, part: Part, group: Sequence[Statement], error: Missing) -> None:
        """What a revert does not find is what the expand had not come to; what is of a pair's table that somebody has dropped went with that; what only drops
        what the expand made has nothing left to do. Anything else that is missing is an error: see ``_still``.
        """
        absent = self._pairs.absent(migration) if part != "expand" else []
        if absent and all((table := reverting.altered(each.text)) and not self._server.columns(table) for each in group):
            self._told(f"{error}: somebody has dropped {', '.join(absent)}, and what it held")
            return
        if part == "contract" and (names := sorted({t.names[-1] for s in group for each in self._alone(s) for t in self._gone(each)})):
            way = f"`bleen migrate contract {migration.name} --because REASON` goes on, with a reason that names {', '.join(names)}"
            raise Refused(f"{error}; if somebody has dropped that, and it is not misspelt, {way}")
        if part == "revert" and all((gone := self._gone(each)) and gone <= self._made(migration) for each in group):
            self._told(f"{error}: somebody has dropped it already, as it seems")
            return
        if part != "revert" or self._whole(migration, self._ledger.steps(migration.name)):
            raise error if part == "expand" else Refused(f"{error}; {BY_HAND}")
        self._told(f"{error}: its expand had not come that far")

    def _still(self, migration: Migration, part: Part, statement: Statement) -> Statement | None:
        """What a statement has left to do, if it has: in a contract not what somebody has dropped, of which a person's reason says so by its name. Without
        one, it may be misspelt.
        """
        reason = self._ledger.because(migration.name) if part == "contract" else ""
        alone = self._alone(statement) if reason else [statement]
        names = [[thing.names[-1] for thing in self._gone(each)] if reason else [] for each in alone]
        borne = {n: each for n, each in enumerate(names) if each and all(speaks_of(reason, name) for name in each)}
        if not borne:
            return statement
        self._told(f"{statement.brief}: somebody has dropped {', '.join(name for each in borne.values() for name in each)} already")
        left = [n for n, _ in enumerate(alone) if n not in borne]
        if not any(self._server.takes(alone[n]) for n in left):  # nothing, or how that was to go
            return None
        head, commands = apart(statement.text, self._server.dialect)
        return statement._replace(text=head + ", ".join(commands[n] for n in left))

    def _alone(self, statement: Statement) -> list[Statement]:
        """Each command of an ALTER that only drops as a statement of its own; any other statement as it is."""
        head, commands = apart(statement.text, self._server.dialect)
        return [statement._replace(text=head + each) for each in commands] or [statement]

    def _gone(self, statement: Statement) -> frozenset[Thing]:
        """What a statement drops that does nothing else, if the catalogue knows such things, and has none of them: a column in another case is one of them."""
        things, table = self._server.takes(statement), reverting.altered(statement.text)
        if not things:
            return things
        there = {Thing("COLUMN", (name.lower(),)) for name in (self._server.columns(table) if table else ())}
        cased = any(Thing(thing.kind, thing.names[-1:]) in there for thing in things)
        if cased or any(thing.kind not in CATALOGUED for thing in things) or self._server.catalogue.finds(statement):
            return frozenset()
        return things

    def _made(self, migration: Migration) -> frozenset[Thing]:
        """What an expand makes: another name may be misspelt in its revert."""
        undoing = reverting.derived(migration.sql("expand"), self._server.dialect).text
        return frozenset(thing for each in self._server.split(undoing) for thing in self._server.takes(each))

    def _whole(self, migration: Migration, steps: Mapping[tuple[Part, int], Step]) -> bool:
        """Whether every statement of the expand was done."""
        expand = parts.statements(self._server, migration, "expand")
        return all((step := steps.get(("expand", n))) and step.done for n, _ in enumerate(expand, 1))

    def _mark(self, migration: Migration, step: tuple[Part, int], done: bool, text: str, memo: Mapping[str, Any] = {}) -> None:
        self._ledger.note(self._ledger.mark(migration.name, *step, done, text, memo))

    def _done(self, migration: Migration, part: Part, first: int, group: Sequence[Statement]) -> list[tuple[str, Values]]:
        return [mark for i, statement in enumerate(group) for mark in self._ledger.mark(migration.name, part, first + i, True, statement.text)]


def mend(migration: Migration) -> str:
    """The next step behind what only another text can mend."""
    return f"`bleen migrate revert {migration.name}` undoes what was done of it; then mend it, and try again"


def _spoken(migration: Migration, part: Part) -> tuple[str, str]:
    """The text by which a statement of this part is undone, or undoes; empty if somebody has written that, or says that nothing undoes it. And the text that
    names each table which may go with it: what is written does not know, either, what others hang on it later.
    """
    expand, revert = migration.sql("expand"), migration.sql("revert")
    written = migration.holds("revert") or reverting.irreversible(revert)
    if part == "revert":
        return "" if written else expand, f"{expand}\n{revert}"
    return ("", "") if part == "contract" or written else (expand, expand)


@contextmanager
def _named_in(migration: Migration, part: str) -> Iterator[None]:
    """Says in which file stands what a server refuses: a release may bring many."""
    derived = part == "revert" and not migration.holds("revert")
    try:
        yield
    except Refused as error:
        raise type(error)(f"{migration.name}{', its way back as the plan shows it' if derived else f'/{part}.sql'}: {error}") from None


@contextmanager
def _by_hand(*others: type[Refused], kept: Sequence[str] = ()) -> Iterator[None]:
    """Says the next step where the files do not change any more; but for what was only in the way, or took too long, and ``others``, which say their own.
    ``kept``: columns that triggers of ours name.
    """
    try:
        yield
    except Refused as error:
        if isinstance(error, (NotGiven, TookTooLong, *others)) or BY_HAND in str(error):
            raise
        left = f"; but do not drop {', '.join(kept)} yourself: every write would fail, as the triggers that keep them in step name them" if kept else ""
        raise type(error)(f"{error}; {BY_HAND}{left}") from None


@contextmanager
def _to_be_mended(migration: Migration) -> Iterator[None]:
    """Says the next step; what was only in the way, or took too long, says its own."""
    try:
        yield
    except Refused as error:
        raise error if isinstance(error, NotGiven | TookTooLong) else type(error)(f"{error}; {mend(migration)}") from None
