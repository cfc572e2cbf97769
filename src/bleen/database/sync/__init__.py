"""Two-way sync: columns that say the same in the old and in the new shape are kept equal, whoever writes, from expand until contract.

``table`` is the published decision table; a module a dialect turns it into triggers.
"""

import importlib
from collections.abc import Mapping
from typing import Literal, Protocol

from bleen.database.migration import Pair
from bleen.database.server import Server

Side = Literal["old", "new"]

_DIALECTS = {"postgres": "bleen.database.sync.postgres"}


class Sync(Protocol):
    """The sync of one pair, as SQL of its dialect. Lists of statements are for one transaction, and absolute: run twice they equal once."""

    def install(self) -> list[str]: ...

    def rewrite(self) -> list[str]:
        """For a sync that is installed: other writers."""
        ...

    def remove(self) -> list[str]:
        """Also for a sync that is not there, or whose columns are gone."""
        ...

    def diverged(self) -> str:
        """A query for the number of rows that are out of step."""
        ...

    def unreadable(self) -> str:
        """A query for the number of rows that the old shape cannot read: old -> new -> old gives another value, or an old constraint does not hold."""
        ...

    def written(self) -> str:
        """A query for the number of times that the new side was the source."""
        ...

    def conflicts(self) -> str:
        """A query for the number of conflicts that ``on_conflict`` decided."""
        ...


def of(server: Server, migration: str, number: int, pair: Pair, writers: Mapping[str, Side]) -> Sync:
    """The sync of a migration's pair (``number`` from 1). ``writers``: environments, and which side each writes."""
    made: Sync = importlib.import_module(_DIALECTS[server.dialect]).Sync(migration, number, pair, server.columns(pair.table), writers)
    return made


def refusals(server: Server, pair: Pair) -> list[str]:
    """Why a pair cannot be kept in step; each with a way on. Nothing means that it can."""
    found: list[str] = importlib.import_module(_DIALECTS[server.dialect]).refusals(server, pair)
    return found
