"""The pairs of every migration on one database, kept in step by triggers: put there, made to follow what becomes of their columns, counted, taken away."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

from bleen.database import sync
from bleen.database.ledger import Entry, Ledger, Part, State, Step
from bleen.database.migration import Backfill, Migration, Pair, speaks_of
from bleen.database.parts import own, words
from bleen.database.server import Missing, Server, Told
from bleen.database.statements import Statement
from bleen.database.sync.reasons import torn
from bleen.errors import Refused
from bleen.model import Environment


class Kept(NamedTuple):
    """A pair that is kept in step: which of a migration."""

    migration: Migration
    number: int
    pair: Pair


class Pairs:
    """What keeps old and new columns equal whoever writes. To be changed by who is ``alone`` on the server."""

    def __init__(self, server: Server, ledger: Ledger, told: Told) -> None:
        self._server, self._ledger, self._told = server, ledger, told

    def install(self, migration: Migration, beside: Sequence[Migration], mend: str) -> None:
        """Keeps the pairs of a migration in step from now on, those that are not yet. Raises Refused, with ``mend`` behind it, for one that cannot be.
        ``beside``: see ``shared``.
        """
        for number, pair in enumerate(migration.pairs, 1):
            if kept(self._ledger.steps(migration.name), number):
                continue
            if refused := sync.refusals(self._server, pair) or shared(self._server, pair, beside):
                raise Refused(f"{migration.name}: {words(pair)} cannot be kept in step: {'; '.join(refused)}. {mend}")
            texts = self._sync(migration, number, pair, self._writers(migration)).install()
            self._told(f"{migration.name}: keeps {words(pair)} in step")
            self.half(migration, number)
            self._server.change(own(texts), self._ledger.mark(migration.name, "sync", number, True), migration.locks, self._told)

    def rewrite(self, service: str) -> None:
        """Tells the triggers of earlier migrations who writes which shape now; those of other services too, as a name of theirs may be one of this one's."""
        for entry, number, pair in self._in_step():
            writers = self._writers(entry.migration)
            try:
                if self._spent(pair):  # with its old side went whoever wrote that
                    continue
                self.refuse_torn(entry.migration, but_spent=True)
                try:
                    each = self._sync(entry.migration, number, pair, writers)
                except Missing:  # with the table went its triggers
                    continue
                self._server.change(own(each.rewrite()), [], entry.migration.locks, self._told)
            except Refused as error:
                way = f"; let its role have the rights of the one that owns them (GRANT … TO …), or ship {entry.name}" if "must be owner" in str(error) else ""
                trouble = f"the triggers of {entry.name} cannot be told which environments {service} has now: {error}{way}"
                names = {n for k in self._ledger.environments() if k.service == service for n in (k.environment, Environment.parse(k.environment).name)}
                if entry.service == service or names - writers.keys():  # else at worst they do not know a writer
                    raise type(error)(trouble) from None
                self._told(trouble)

    @contextmanager
    def followed(self) -> Iterator[None]:
        """The triggers of pairs follow what a statement or a command makes of their columns, such as another default, which they go by; those that went with
        a table that was rebuilt come back.
        """
        before = self._triggers()
        yield
        self.restore()
        for key, (migration, texts) in self._triggers().items():
            if key in before and before[key] != (migration, texts):
                self._server.change(own(texts), [], migration.locks, self._told)

    def restore(self) -> None:
        """Makes the triggers anew that somebody has taken away, or that went with a rebuilt table, and tells of rows that were written without them."""
        for entry, number, pair in self._in_step():
            try:
                each = self._sync(entry.migration, number, pair, self._writers(entry.migration))
            except Refused:  # its table is gone, or on its way
                continue
            if self._gone(pair):  # whoever needs it is told
                continue
            if not (gone := each.gone()) or not self._number(each, gone):
                continue
            self._server.change(own(each.install()), [], entry.migration.locks, self._told)
            said = f"{entry.name}: the triggers that keep {words(pair)} in step were gone, as if with a table that was rebuilt, and are there again"
            if entry.state is State.EXPANDED and (count := self._number(each, each.diverged())):
                said += f"; {count} rows written meanwhile are out of step: `bleen migrate backfill {entry.name}` fills or shows them"
            self._told(said)

    def half(self, migration: Migration, number: int) -> None:
        """Says that the sync of a pair may be half there from now on, where one of its triggers can come or go without the other."""
        if not self._server.atomic:
            self._ledger.note(self._ledger.mark(migration.name, "sync", number, False))

    def parting(self, migration: Migration, part: Part, number: int) -> None:
        """The same before an end that something may have to put back: with what that makes otherwise, as it was before the first try."""
        steps = self._ledger.steps(migration.name)
        if not self._server.atomic and not parted(steps, number):
            try:
                was = self._sync(migration, number, migration.pairs[number - 1]).demanded(_leaves(part))
            except Missing:  # nothing of it is put back
                was = {}
            self._ledger.note(self._ledger.mark(migration.name, "sync", number, False, memo={"was": dict(was)}))

    def put_back(self, migration: Migration) -> None:
        """Keeps the pairs in step again whose sync was ended, or half ended, for a contract that then took none of their columns away."""
        for number, pair in enumerate(migration.pairs, 1):
            steps = self._ledger.steps(migration.name)
            if not parted(steps, number):
                continue
            was = steps["sync", number].memo["was"]
            self._ledger.note(self._ledger.mark(migration.name, "sync", number, False, memo={"was": was}))  # from here on it is not gone
            sync.put_back(self._server, migration.name, number, pair, self._writers(migration), was, migration.locks, self._told)
            self._ledger.note(self._ledger.mark(migration.name, "sync", number, True))
            self._told(f"{migration.name}: keeps {words(pair)} in step again")

    def removal(self, migration: Migration, part: Part, numbers: Sequence[int]) -> list[Statement]:
        """What ends the sync of pairs, one side of which goes."""
        found = list[str]()
        for number in numbers:
            pair = migration.pairs[number - 1]
            try:
                found += self._sync(migration, number, pair).remove(_leaves(part))
            except Missing:
                found += sync.remains(self._server, migration.name, number, pair)
        return own(found)

    def needed(self, pair: Pair, statements: Sequence[Statement]) -> list[str]:
        """The old columns that every INSERT has to give, which these statements neither drop nor, as far as their text tells, loosen. None where the end of
        the sync itself lets them be left out.
        """
        loosening = [each.text for each in statements if not self._server.takes(each)]
        return [
            name
            for name, each in (self._server.columns(pair.table) if self._server.atomic else {}).items()
            if name in pair.old and not (each.nullable or each.default or each.generated)
            if not any(self._server.drops(s, Pair(pair.table, (name,), (), {}, {})) for s in statements)
            if not any(speaks_of(text, name) for text in loosening)
        ]

    def absent(self, migration: Migration) -> list[str]:
        """The tables of pairs that somebody has dropped: no row of theirs is out of step, or lost, and nothing needs their columns any more."""
        standing = {pair.table for pair, _ in self._standing(migration)}
        return sorted(table for table in {pair.table for pair in migration.pairs} - standing if not self._server.columns(table))

    def retyped(self, group: Sequence[Statement]) -> list[Kept]:
        """The pairs in step whose columns get another type."""
        found = [
            Kept(entry.migration, number, pair)
            for entry in self._ledger.entries()
            for number, pair in enumerate(entry.migration.pairs, 1)
            if kept(self._ledger.steps(entry.name), number)
        ]
        return [each for each in found if any(self._server.catalogue.retypes(statement, each.pair) for statement in group)]

    def loosened(self, retyped: Sequence[Kept]) -> list[Statement]:
        """What takes the conditions off their triggers that would be in the way."""
        return own([text for each in retyped for text in self._sync(*each).loosen()])

    def tighten(self, retyped: Sequence[Kept]) -> None:
        """Puts conditions back, by the types that are there now."""
        for each in retyped:
            self._server.change(own(self._sync(*each).tighten()), [], each.migration.locks, self._told)

    def diverged(self, migration: Migration) -> dict[str, int]:
        """How many rows of each pair are out of step."""
        self.refuse_torn(migration, but_spent=True)
        return {words(pair): self._number(each, each.diverged()) for pair, each in self._standing(migration) if not self._spent(pair)}

    def spent(self, migration: Migration) -> list[tuple[Pair, str]]:
        """The old columns that somebody has dropped, of pairs that have no other: what contract was to take away is gone, and nothing else."""
        return [(pair, name) for pair in migration.pairs if self._spent(pair) for name in pair.old]

    def shown(self, migration: Migration) -> list[str]:
        """The queries that find the rows of each pair that are out of step."""
        return [each.diverged() for _, each in self._standing(migration)]

    def refuse_torn(self, migration: Migration, but_spent: bool = False) -> None:
        """Says the ways out where somebody has taken columns of a pair away, or restored its table from a dump of before: no server names them. ``but_spent``:
        not for a pair that only waits for its contract, see ``spent``.
        """
        for pair in migration.pairs:
            if (gone := self._gone(pair)) and not (but_spent and self._spent(pair)):
                raise Refused(torn(pair, migration.name, gone))

    def refuse_left_out(self, migration: Migration, fill: Backfill) -> None:
        """Rows that somebody wrote are not filled where a backfill leaves them out; out of step, their next write would make one side from the other."""
        for number, pair in enumerate(migration.pairs if fill.where else (), 1):
            each = self._sync(migration, number, pair)
            if count := self._number(each, each.diverged()):
                raise Refused(
                    f"{migration.name}: the backfill's WHERE leaves out {count} rows of {words(pair)} that are out of step, and nobody but you knows which side"
                    f" is right; UPDATE the other, and expand again; these rows are found by: {each.diverged()}"
                )

    def losses(self, migration: Migration) -> dict[str, int]:
        """For each pair that is kept in step, or can be again, how many rows hold what the old columns do not say; none where the new ones are gone already."""
        steps = self._ledger.steps(migration.name)
        numbers = [n for n, p in enumerate(migration.pairs, 1) if (kept(steps, n) or parted(steps, n)) and {*p.new} - {*self._gone(p)}]
        for pair in (migration.pairs[n - 1] for n in numbers):
            if {*pair.old} & {*(gone := self._gone(pair))}:  # the new ones alone hold what the rows say
                raise Refused(torn(pair, migration.name, gone))
        return {words(pair): self._number(each, each.lost()) for pair, each in self._standing(migration, numbers)}

    def written(self, migration: Migration) -> dict[str, Mapping[str, int | str]]:
        """For each pair: see ``Reading.written``."""
        told: dict[str, Mapping[str, int | str]] = {}
        for pair, each in self._standing(migration):
            queries = {"written": each.written(), "conflicts": each.conflicts(), "unreadable": each.unreadable(), "lost": each.lost()}
            counts = {what: self._number(each, query) for what, query in queries.items() if query}
            if pair.lossy:  # declared: what does not come back the same is no news, and the old version has its own rows as it wrote them
                counts["unreadable"] = 0
            told[f"{migration.name}, {words(pair)}"] = {**counts, "such": self._lost_one(pair, each)} if counts["lost"] else counts
        return told

    def _lost_one(self, pair: Pair, of: sync.Sync) -> str:
        """The key of a row that ``lost`` counts; empty if the table has none."""
        key = self._server.key(pair.table)
        query = f"SELECT {', '.join(f't.{self._server.quoted(name)}' for name in key)} {of.lost_rows()} LIMIT 1"
        found = self._asked(of, query) if key else []
        return ", ".join(f"{name} = {str(value)[:60]}" for row in found for name, value in zip(key, row, strict=True))

    def _standing(self, migration: Migration, numbers: Sequence[int] | None = None) -> list[tuple[Pair, sync.Sync]]:
        """The pairs, all or those of ``numbers``, whose table is there."""
        found = []
        for number, pair in enumerate(migration.pairs, 1):
            with suppress(Missing):
                found += [(pair, self._sync(migration, number, pair))] if numbers is None or number in numbers else []
        return found

    def _in_step(self) -> Iterator[tuple[Entry, int, Pair]]:
        """Every pair that triggers keep in step now, whoever's it is; also of what is half contracted or reverted, for which releases do not wait."""
        for entry in self._ledger.entries():
            steps = self._ledger.steps(entry.name) if entry.migration.pairs else {}
            for number, pair in enumerate(entry.migration.pairs, 1):
                if kept(steps, number) and (entry.state in (State.EXPANDING, State.EXPANDED) or self._there(pair)):
                    yield entry, number, pair

    def _there(self, pair: Pair) -> bool:
        """Whether a pair has both sides: where DDL is in no transaction, a side is gone before the ledger knows, and the triggers before it."""
        return {name.lower() for name in (*pair.old, *pair.new)} <= {name.lower() for name in self._server.columns(pair.table)}

    def _gone(self, pair: Pair) -> list[str]:
        """Those of its columns that its table, if that is there, has not."""
        there = {name.lower() for name in self._server.columns(pair.table)}
        return [name for name in (*pair.old, *pair.new) if name.lower() not in there] if there else []

    def _spent(self, pair: Pair) -> bool:
        return {*self._gone(pair)} == {*pair.old}

    def _triggers(self) -> dict[tuple[str, int], tuple[Migration, list[str]]]:
        """What makes the triggers of each pair anew, by its columns as they are; without those that cannot be made, as their table is gone, say."""
        found = {}
        for entry, number, pair in self._in_step():
            with suppress(Refused):
                found[entry.name, number] = entry.migration, self._sync(entry.migration, number, pair, self._writers(entry.migration)).rewrite()
        return found

    def _writers(self, migration: Migration) -> dict[str, sync.Side]:
        """Which shape an environment writes, by what a connection may say: blue-4, or blue. What means two things to two services tells nothing."""
        told: dict[str, dict[str, sync.Side]] = {}
        for each in sorted(self._ledger.environments(), key=lambda known: Environment.parse(known.environment).release):  # a name's newest counts
            side: sync.Side = "new" if migration.name in each.migrations else "old"
            for name in (each.environment, Environment.parse(each.environment).name):
                told.setdefault(name, {})[each.service] = side
        return {name: side for name, of in told.items() for side in {*of.values()} if len({*of.values()}) == 1}

    def _sync(self, migration: Migration, number: int, pair: Pair, writers: Mapping[str, sync.Side] = {}) -> sync.Sync:
        return sync.of(self._server, migration.name, number, pair, writers)

    def _number(self, of: sync.Sync, query: str) -> int:
        return int(self._asked(of, query)[0][0])

    def _asked(self, of: sync.Sync, query: str) -> list[tuple[Any, ...]]:
        session = of.session()
        with self._server.transaction() if session else nullcontext():  # on SQLite it would keep all writers waiting for the whole scan
            for text in session:
                self._server.rows(text)
            return self._server.rows(query)


def kept(steps: Mapping[tuple[Part, int], Step], number: int) -> bool:
    """Whether a pair is kept in step, by all of its triggers."""
    step = steps.get(("sync", number))
    return bool(step and step.done)


def parted(steps: Mapping[tuple[Part, int], Step], number: int) -> bool:
    """Whether the sync of a pair was ended, or half ended, before what takes its columns away, and can be put back until that has come."""
    step = steps.get(("sync", number))
    return bool(step and not step.done and "was" in step.memo)


def shared(server: Server, pair: Pair, beside: Sequence[Migration]) -> list[str]:
    """The columns of a pair that other migrations have in theirs, a line for each of those; asked of the text, as triggers that are gone may come back."""
    said = []
    for other, theirs in [(migration, each) for migration in beside for each in migration.pairs]:
        names = (*theirs.old, *theirs.new)
        gone = own([f"ALTER TABLE {theirs.table} DROP COLUMN {server.quoted(name)}" for name in names])
        if both := [name for name, each in zip(names, gone, strict=True) if server.drops(each, pair)]:
            said.append(f"{', '.join(both)}: {other.name} keeps that in step, and its contract has not ended; contract, or revert, that migration first")
    return said


def _leaves(part: Part) -> sync.Side:
    """The side that goes in a part."""
    return "new" if part == "revert" else "old"
