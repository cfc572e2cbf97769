"""What statements really do to a PostgreSQL server: the locks that they take and the tables that they write again or read, seen on a scratch database.

The rules judge a statement by its text; this asks the server. Lock modes and what they are in the way of: PostgreSQL manual, "Explicit Locking".
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from bleen.database.rules.findings import Finding
from bleen.database.server import Server
from bleen.database.statements import Statement
from bleen.errors import Refused

_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""From the weakest to the strongest; from ShareLock on, nobody writes the table meanwhile."""

_TABLES = (
    "SELECT c.oid::bigint, c.oid::regclass::text, c.relfilenode, coalesce(pg_stat_get_xact_numscans(c.oid), 0)"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
    " WHERE relkind IN ('r', 'm') AND nspname NOT LIKE 'pg\\_%%' AND nspname <> 'information_schema'"
)
_LOCKS = "SELECT relation::bigint, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted"


class Traced(NamedTuple):
    """What one statement did. Only tables that were there before the first of them are named: what a release makes itself, nobody else uses yet."""

    statement: Statement
    locks: Mapping[str, str]
    """The strongest lock on each table; empty for a statement that cannot be part of a transaction, which releases its own as it goes."""
    rewritten: tuple[str, ...]
    scanned: tuple[str, ...]
    failure: str = ""

    def findings(self, file: str) -> list[Finding]:
        """What of it takes a site down."""
        line, column = self.statement.at
        if self.failure:
            return [Finding(file, line, column, "traced-failure", "error", self.failure)]
        found = [
            Finding(file, line, column, "traced-rewrite", "error", f"writes {table} again, all of it, under {self.locks.get(table, 'a lock')}")
            for table in self.rewritten
        ]
        return found + [
            Finding(file, line, column, "traced-scan", "error", f"reads all of {table} under {self.locks[table]}: nobody writes it meanwhile")
            for table in self.scanned
            if table not in self.rewritten and _MODES.index(self.locks.get(table, _MODES[0])) >= _MODES.index("ShareLock")
        ]

    def line(self) -> str:
        """For people."""
        did = [f"{mode} on {table}" for table, mode in sorted(self.locks.items())] or ["no lock that is held to its end"]
        did += [f"writes {table} again" for table in self.rewritten] + [f"reads all of {table}" for table in self.scanned]
        return f"line {self.statement.at.line}: {', '.join(did)}" if not self.failure else f"line {self.statement.at.line}: {self.failure}"


def trace(server: Server, statements: Sequence[Statement]) -> Iterator[Traced]:
    """Runs statements, and keeps what they did: ``server`` is a scratch database, or a clone. After one that fails no other is run.

    Raises Refused if anybody else is connected to it: a scratch database has nobody else.
    """
    if others := server.sessions():
        who = ", ".join(sorted({each.application or f"user {each.user}" for each in others}))
        raise Refused(f"this is no scratch database: {who} is connected to it; statements that are traced are really run")
    there = {table for table, *_ in server.rows(_TABLES)}
    for statement in statements:
        traced = _traced(server, statement, there)
        yield traced
        if traced.failure:
            return


def _traced(server: Server, statement: Statement, there: Collection[int]) -> Traced:
    try:
        alone = not server.transactional(statement)
        with nullcontext() if alone else server.transaction():
            # with their names, as a statement may give another; a server may still count scans of earlier transactions
            before = {table: (name, node, scans) for table, name, node, scans in server.rows(_TABLES) if table in there}
            server.rows(statement.text)
            after, locks = server.rows(_TABLES), [] if alone else server.rows(_LOCKS)
    except Refused as error:
        return Traced(statement, {}, (), (), str(error))
    held: dict[str, str] = {}
    for table, mode in locks:
        if table in before and _MODES.index(mode) > _MODES.index(held.get(before[table][0], _MODES[0])):
            held[before[table][0]] = mode
    left = [(*before[table], node, scans) for table, _, node, scans in after if table in before]
    rewritten = tuple(name for name, earlier, _, node, _ in left if node != earlier)
    scanned = tuple(name for name, _, earlier, _, scans in left if scans > earlier and locks)
    return Traced(statement, held, rewritten, scanned)
