"""A migration before it is expanded, with the database that it is meant for and what runs before it: what every question of foresight is asked of."""

from collections.abc import Sequence
from functools import cached_property

from bleen.database import parts
from bleen.database.ledger import State
from bleen.database.migration import Migration
from bleen.database.reading import Reading
from bleen.database.statements import Statement


class Prospect:
    """``before``: the migrations that are about to be expanded before it, or with it; ``behind``: those behind it, in the same go."""

    def __init__(self, schema: Reading, migration: Migration, before: Sequence[Migration], behind: Sequence[Migration] = ()) -> None:
        self._schema, self.server, self.ledger = schema, schema.server, schema.ledger
        self.migration, self.before, self.behind = migration, before, behind

    def statements(self, part: str, of: Migration | None = None) -> list[Statement]:
        """Those of one of its files, or of another migration's."""
        return parts.statements(self.server, of or self.migration, part)

    def said(self, part: str) -> str:
        """One of its files without its comments."""
        return parts.said(self.server, self.migration, part)

    @property
    def made(self) -> tuple[Migration, ...]:
        """Those that are about to be expanded, itself the last."""
        return (*self.before, self.migration)

    @property
    def coming(self) -> str | None:
        """What they are expanded by, without comments; None if that is another tool's to know."""
        return None if any(m.command.expand for m in self.made) else "\n".join(parts.said(self.server, m, "expand") for m in self.made)

    @cached_property
    def fillings(self) -> list[Migration]:
        """All whose backfills may have filled what is there, or will; its own first."""
        return list({m.name: m for m in (self.migration, *self._schema.fillings(self.migration.name), *self.before)}.values())

    @cached_property
    def beside(self) -> list[Migration]:
        """The other migrations that are expanded, or about to be."""
        return list({m.name: m for m in (*self._schema.beside(self.migration.name), *self.before)}.values())

    @cached_property
    def earlier(self) -> list[Migration]:
        """Those that will be contracted before it."""
        waiting = [entry.migration for entry in self.ledger.entries() if entry.state is not State.CONTRACTED]
        return [m for m in (*waiting, *self.before) if m.name != self.migration.name]

    @cached_property
    def past(self) -> dict[str, list[Statement]]:
        """What will have been run before each of its files, and is not yet."""
        made = [s for m in self.before for s in self.statements("expand", m)]
        expanded = [*made, *self.statements("expand")]
        return {"expand": made, "revert": expanded, "contract": [*expanded, *(s for m in self.earlier for s in self.statements("contract", m))]}
