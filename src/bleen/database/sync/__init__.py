"""Two-way sync: the old and the new columns of a table say the same from expand until contract, whoever writes. ``table`` says what happens when."""

import hashlib
import importlib
import json
from collections.abc import Mapping
from typing import Protocol, cast

from bleen.database.migration import Locks, Pair
from bleen.database.server import Server, Told
from bleen.database.sync.table import Side

__all__ = ["Side", "Sync", "foreseen", "of", "put_back", "refusals", "remains", "risks", "short", "signature"]


class Sync(Protocol):
    """The sync of one pair of one migration. Everything is SQL for the caller to run, each text one statement. What has a body here, most dialects do so."""

    def install(self) -> list[str]:
        """To be run in one transaction where the dialect can; run again, or after it was left half done, it comes to the same."""
        ...

    def remove(self, leaves: Side = "old") -> list[str]:
        """Takes everything of it away, be it there or not; in one transaction with what drops the columns, where the dialect can. Where it cannot: such that
        from the first statement to the last, and until the columns of the side that ``leaves`` are dropped, nobody's statement fails who writes the other one.
        """
        ...

    def loosen(self) -> list[str]:
        """After this nothing of it is in the way of another type for its columns; it keeps them in step all the same."""
        return []

    def tighten(self) -> list[str]:
        """The opposite of ``loosen``, once they have that type."""
        return []

    def rewrite(self) -> list[str]:
        """For a sync that is installed: who writes which shape may have changed. Locks no table where the dialect can."""
        ...

    def demanded(self, leaves: Side) -> Mapping[str, str]:
        """The columns that ``remove`` makes otherwise where it is in no transaction with what drops them, and how each was said: see ``put_back``."""
        return {}

    def gone(self) -> str:
        """Counts those of its triggers that its table has no more, as whoever rebuilt it did not bring them along, say. Empty where nobody looks."""
        ...

    def others(self) -> str:
        """Counts those of its triggers that another role has made, and that end with that one. Empty where triggers are nobody's."""
        return ""

    def session(self) -> list[str]:
        """To be run in a transaction before what counts rows: what is pinned for its triggers holds for the count too. Nothing, where no expression may depend
        on what a session sets.
        """
        return []

    def diverged(self) -> str:
        """Counts the rows that are out of step."""
        ...

    def lost(self) -> str:
        """Counts the rows whose new columns say what the old ones do not: what would be lost without the new columns."""
        return f"SELECT count(*) {self.lost_rows()}"

    def lost_rows(self) -> str:
        """Those rows, from FROM on; ``t`` is the table."""
        ...

    def unreadable(self) -> str:
        """Counts the rows whose old columns are not what old -> new -> old makes of them: what the old version sees is not what the new one meant.

        The constraints of the old columns need no count: the server holds every row against them that the sync writes.
        """
        return f"SELECT count(*) {self.unreadable_rows()}"

    def unreadable_rows(self) -> str:
        """Those rows, from FROM on."""
        ...

    def written(self) -> str:
        """Says how often the old columns were made from the new ones. An upper bound of the rows: what was rolled back is counted too. Empty where
        nobody counts.
        """
        ...

    def conflicts(self) -> str:
        """Says how often ``on_conflict`` decided, or refused. Empty where nobody counts."""
        ...


def of(server: Server, migration: str, number: int, pair: Pair, writers: Mapping[str, Side]) -> Sync:
    """The sync of the ``number``-th pair of a migration. ``writers``: which shape an environment writes, by name (``green``) or by name and release
    (``green-5``, which is looked for first). Raises Missing if there is no such table; Refused if somebody has moved it, or an expression cannot be read.
    """
    if server.dialect == "postgres":
        from bleen.database.sync import postgres

        return postgres.of(server, migration, number, pair, writers)
    if server.dialect == "mysql":
        from bleen.database.sync import mysql

        return mysql.of(server, migration, number, pair, writers)
    from bleen.database.sync import sqlite

    return sqlite.of(server, migration, number, pair)


def put_back(server: Server, migration: str, number: int, pair: Pair, writers: Mapping[str, Side], was: Mapping[str, str], locks: Locks, told: Told) -> None:
    """Brings back a sync, or what is missing of it, that was removed in no transaction with what was to drop the old side, which is there. What was written
    meanwhile is the new version's. ``was``: what ``demanded`` said before. No statement of that version fails.
    """
    from bleen.database.sync import mysql_return

    mysql_return.put_back(server, migration, number, pair, writers, was, locks, told)


def remains(server: Server, migration: str, number: int, pair: Pair) -> list[str]:
    """What takes away the rest of a sync whose table somebody has dropped: its triggers went with that."""
    if server.dialect == "postgres":
        from bleen.database.sync import postgres

        return postgres.remains(server, migration, number, pair)
    if server.dialect == "mysql":
        from bleen.database.sync import mysql

        return mysql.remains(server, migration, number, pair)
    from bleen.database.sync import sqlite

    return sqlite.remains(migration, number, pair)


def foreseen(server: Server, pair: Pair, coming: str | None = "") -> list[str]:
    """Those of ``refusals`` that can be known before expand has made the columns of the new side: to be said before anything is touched. Reads no row.
    ``coming``: the SQL that will have run before, which may make a function that the pair calls; None if nobody knows it.
    """
    return _module(server).foreseen(server, pair, coming)


def refusals(server: Server, pair: Pair) -> list[str]:
    """Why a pair cannot be kept in step, and what to do about it, each in a line; none if it can. The columns of both sides are there.

    Reads every row of the table, unless the pair is declared ``lossy``: whether old -> new -> old gives the same.
    """
    return _module(server).refusals(server, pair)


def risks(server: Server, pair: Pair, expand: str = "") -> list[str]:
    """What of a pair may fail, make wrong or pass by a trigger a write that the server took before, a line each. Also before expand, whose statements say how
    the new columns will be.
    """
    return _module(server).risks(server, pair, expand)


def signature(pair: Pair) -> str:
    """What stands in the triggers of a pair, by which a sync that is installed is known again."""
    return json.dumps({"old": pair.old, "new": pair.new, "forward": dict(pair.forward), "backward": dict(pair.backward)}, sort_keys=True)


def short(migration: str, most: int, kept: int) -> str:
    """A migration in the names of its triggers: if it has more than ``most`` characters, the first that are ``kept``, and what tells it from others."""
    return migration if len(migration) <= most else f"{migration[:kept]}_{hashlib.sha256(migration.encode()).hexdigest()[:8]}"


class _Refusals(Protocol):
    """What a dialect's module of that name provides."""

    def foreseen(self, server: Server, pair: Pair, coming: str | None = "") -> list[str]: ...
    def refusals(self, server: Server, pair: Pair) -> list[str]: ...
    def risks(self, server: Server, pair: Pair, expand: str) -> list[str]: ...


def _module(server: Server) -> _Refusals:
    return cast(_Refusals, importlib.import_module(f"bleen.database.sync.{server.dialect}_refusals"))
