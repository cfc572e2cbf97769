"""What expand and contract ask of a database server; one implementation a dialect."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from bleen.database.catalogue import Catalogue
from bleen.database.migration import Backfill, Locks, Pair
from bleen.database.statements import Dialect, Statement
from bleen.database.things import Thing
from bleen.errors import Refused, Unavailable

Values = Sequence[Any]
Told = Callable[[str], None]
"""Gets a line for people whenever there is something to say: who holds the lock that we wait for."""


QUIET = 15
"""Seconds without a byte after which a server's host is asked whether it is there."""
LOST = 30
"""Seconds after which a connection is lost whose other end has acknowledged nothing (TCP_USER_TIMEOUT, tcp(7)): by itself, the kernel waits two hours for an
answer that a firewall, or a host that is gone, has swallowed. A server that is busy, or stopped, is there.
"""


class Contended(Unavailable):
    """A lock was not given in time, or the server ended a deadlock or a serialization failure: tried again, the transaction may succeed."""


class TookTooLong(Refused):
    """A statement took longer than it may, or somebody ended it."""


class NotGiven(Refused):
    """A lock was not given for as long as we have patience; nothing was changed."""


class Taken(Unavailable):
    """Another of us changes this database."""


class LeftOver(Taken):
    """What an earlier try has left at work in the database has not ended."""


class Missing(Refused):
    """What a statement names is not there."""


class Denied(Refused):
    """The role may not do what a statement says."""


class Column(NamedTuple):
    """What the catalogue knows of a column."""

    name: str
    type: str
    nullable: bool
    default: str = ""
    """The expression; empty if there is none."""
    generated: bool = False
    """Generated or an identity: not ours to write."""


class Session(NamedTuple):
    """Somebody who is connected to this database, other than ourselves."""

    id: int
    application: str
    """What it calls itself, such as ``bleen:shop:blue-4``; empty if it does not say."""
    user: str
    client: str
    state: str
    stranger: str = ""
    """What holds its connection that bleen has not started, a pooler say; empty if that is bleen's, or if nobody can tell."""


class Server(Protocol):
    """One direct connection to a database, and what differs between dialects. Methods raise ``Unavailable`` if the server is away (``Contended`` if others are
    in the way), ``Refused`` with the server's own words for a statement that it does not take (``TookTooLong``, ``Missing``), and nothing else of the driver's.
    """

    dialect: Dialect
    atomic: bool
    """Whether a change of the schema is part of its transaction: the ledger is never behind what was done."""

    @property
    def catalogue(self) -> Catalogue:
        """What is known of statements before they run."""
        ...

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Runs one statement, in the transaction that is open or in one of its own; ``%s`` stands for a value. What it returns, if anything."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """One transaction: committed at the end, rolled back if anything is raised."""
        ...

    def watch(self) -> AbstractContextManager[Callable[[], str]]:
        """Looks who blocks us: once a wait is over, nobody does any more. What it gives says who it was, to go behind an error; empty if nobody was seen."""
        ...

    def lookout(self, told: Told) -> AbstractContextManager[None]:
        """Tells of a lock that we wait for for some seconds to look at something, and who holds it."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """The only one of us who changes this database. Ends with the connection, at the latest a moment after its client was killed: for so long another one
        is waited for; then Taken is raised, naming it.
        """
        ...

    def split(self, text: str) -> list[Statement]:
        """Raises ``statements.Unreadable``."""
        ...

    def change(
        self, statements: Sequence[Statement], record: Sequence[tuple[str, Values]], locks: Locks, told: Told, spoken: str = "", named: str = ""
    ) -> None:
        """Runs statements and ``record`` as one: in one transaction where the dialect can, waiting for locks only ``locks.timeout`` at a time.

        ``spoken``: the text that their way back goes by; what was there and is not named in it shall not become part of what they make. ``named``: a table that
        is not named in it shall not go with what they drop. Refused, if it would.

        Raises Refused, with nothing changed where the dialect can, for a statement that fails, and NotGiven, saying who was in the way, once
        ``locks.patience`` is over.
        """
        ...

    def transactional(self, statement: Statement) -> bool:
        """Whether a statement can be part of a transaction; one that cannot is given to ``concurrently``."""
        ...

    def passing(self, statement: Statement) -> bool:
        """Whether it only sets up the session, and so has to be said again by whoever goes on."""
        ...

    def sight(self, statement: Statement) -> str:
        """What the catalogue says of what a statement that commits by itself is about to change, kept with the mark that it was begun: once that is another,
        it was done, and is not given to ``concurrently`` again. Empty where only ``concurrently`` itself can tell.
        """
        ...

    def shape(self) -> str:
        """Another one whenever something of the schema was changed, be it by whom it may; empty where nobody can tell. Rows do not count."""
        ...

    def concurrently(self, statement: Statement, locks: Locks, told: Told, again: bool) -> None:
        """Runs a statement that cannot be part of a transaction. ``again``: it was begun before, and may have been done; the catalogue knows, and what it left
        half done is done away with first.
        """
        ...

    def clear(self, statement: Statement, locks: Locks, told: Told) -> list[str]:
        """Does away with what such a statement has left half done that is in somebody's way, for as long as ``locks`` say; names it. Raises as ``change``."""
        ...

    def update(self, text: str) -> Backfill:
        """The parts of one UPDATE of one table. Raises Unreadable for anything else."""
        ...

    def drops(self, statement: Statement, pair: Pair) -> bool:
        """Whether a statement takes away a column of a pair, or its table."""
        ...

    def takes(self, statement: Statement) -> frozenset[Thing]:
        """What a statement takes away or puts out of reach, by name, with what goes along unnamed as part of an extension; none where it does nothing else."""
        ...

    def columns(self, table: str) -> Mapping[str, Column]:
        """The columns of a table, by name, in their order; none if there is no such table."""
        ...

    def bare(self) -> bool:
        """Whether it holds no table but those of the ledger, and of extensions."""
        ...

    def key(self, table: str) -> tuple[str, ...]:
        """The columns of the primary key."""
        ...

    def quoted(self, name: str) -> str:
        """A name as an identifier."""
        ...

    def sessions(self) -> list[Session]:
        """Who else is connected to this database."""
        ...

    def close(self) -> None: ...
