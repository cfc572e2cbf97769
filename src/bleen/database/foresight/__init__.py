"""What a migration would do to a database and its clients, known before anything is touched: what will be refused, and what may fail somebody's write.

Each question is a function of a ``Prospect``, and yields its findings, a line each.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bleen.database import backfill, command, parts, reverting
from bleen.database.command import HALVES
from bleen.database.foresight import losing, names, pairs, statements
from bleen.database.foresight.prospect import Prospect
from bleen.database.migration import Migration
from bleen.database.parts import words
from bleen.database.reading import Reading
from bleen.database.statements import in_a_line

_Question = Callable[[Prospect], Iterator[str]]

_REFUSALS: tuple[_Question, ...] = (
    pairs.unkept,
    pairs.emptied,
    statements.unfilled,
    statements.unable,
    pairs.lacking,
    pairs.hampered,
    names.merged,
    names.there,
    names.alike,
    names.otherwise,
    statements.spreads,
    statements.outgrown,
    pairs.ungrouped,
)
_RISKS: tuple[_Question, ...] = (
    pairs.failing,
    pairs.requiring,
    statements.unseen,
    pairs.defaultless,
    pairs.imposing,
    pairs.demanding,
    losing.unruled,
    losing.widowed,
    losing.emptying,
    losing.behind,
    losing.unfilled,
    statements.needing,
    statements.missed,
    statements.overlooked,
    statements.firing,
    statements.silent,
    statements.may_spread,
    statements.may_outgrow,
)


class Outlook(NamedTuple):
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
    """Looks at the database of a schema; changes nothing. ``before``: the migrations that are about to be expanded before the one asked of, or with it;
    ``behind``: those behind it.
    """

    def __init__(self, schema: Reading) -> None:
        self._schema = schema

    def plan(self, migration: Migration, before: Sequence[Migration] = (), behind: Sequence[Migration] = ()) -> Outlook:
        """What an expand of it would do. Raises Refused for files that cannot be read."""
        server = self._schema.server
        said = {part: [in_a_line(s.text) for s in parts.statements(server, migration, part)] for part in HALVES}
        for half in HALVES:
            if argv := command.words(migration, half):
                said[half].insert(0 if half == "expand" else len(said[half]), f"`{shlex.join(argv)}`")
        if why := reverting.irreversible(migration.sql("revert")):
            said["revert"] = [f"cannot be: {why}"]
        fill = parts.fill(server, migration)
        estimate = backfill.estimate(server, migration, fill).line() if fill and server.columns(fill.table) else ""
        kept, beware = [words(p) for p in migration.pairs], self.risks(migration, before, behind)
        return Outlook(migration.name, migration.description, said["expand"], kept, beware, estimate, said["contract"], said["revert"])

    def foreseen(self, migration: Migration, before: Sequence[Migration] = ()) -> list[str]:
        """What will refuse its pairs, its backfill or its statements when their turn comes, as far as it can be known now; a line each."""
        it = Prospect(self._schema, migration, before)
        if said := [*pairs.unnamed(it)]:
            return said
        said = [each for question in _REFUSALS for each in question(it)]
        return said or [*statements.refused(it)]  # which may only follow from what else is wrong

    def risks(self, migration: Migration, before: Sequence[Migration] = (), behind: Sequence[Migration] = ()) -> list[str]:
        """What of its pairs may fail a write of the version that serves, what its contract does unseen, and what it leaves that fails the INSERTs of the new
        one, a line each.
        """
        it = Prospect(self._schema, migration, before, behind)
        return [f"{migration.name}: {each}" for question in _RISKS for each in question(it)]

    def losing(self, migration: Migration) -> list[str]:
        """What its contract would take away for good as things are now, and the new shape has not, a line each: while it is pending, too."""
        it = Prospect(self._schema, migration, ())
        return [f"{migration.name}: {each}" for question in (pairs.defaultless, losing.unruled, losing.emptying, losing.behind) for each in question(it)]
