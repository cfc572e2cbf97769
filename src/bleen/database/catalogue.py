"""What is known of statements before they run, and no text tells: by what the database holds, or by a copy of it without rows."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from bleen.database.migration import Locks, Pair
from bleen.database.statements import Statement

if TYPE_CHECKING:
    from bleen.database.server import Told


class Needing(NamedTuple):
    """What needs something that a statement takes away."""

    statement: Statement
    why: str
    about: str = ""
    """Empty if the server refuses the statement; else which trigger, index or the like may fail whoever writes from then on; or which view or table fails."""

    @property
    def certain(self) -> bool:
        return not self.about


class Spreading(NamedTuple):
    """A trigger, or a view, that gives all columns of a row without naming them, of a table that a statement gives another column, or takes one from."""

    statement: Statement
    why: str
    trigger: str
    fails: bool
    """Whether each write fails then that fires it; else it may, or put values into other columns."""


class Outgrown(NamedTuple):
    """What a table with more columns fails otherwise than ``Spreading``, and what to do."""

    statement: Statement
    why: str
    fails: bool
    """Whether each write fails then that comes there; else it may, or something else than a write."""


class Otherwise(NamedTuple):
    """What is now, before an expand, and would not be any more behind a statement of its way back; ``way``: what to do about it."""

    told: str
    way: str


class Going(NamedTuple):
    """A constraint or an index, which goes with any of its columns when that is dropped, without a word of the server's."""

    table: str
    """As it was asked for."""
    kind: Literal["UNIQUE", "CHECK", "INDEX", "EXCLUDE"]
    name: str
    columns: tuple[str, ...]
    body: str
    """What it says, as it stands behind the name in a statement that makes it; of a CHECK, its expression."""


class Catalogue:
    """Knows nothing; that of a dialect says what it can. Raises what ``server.Server`` does."""

    def unable(self, statement: Statement) -> str:
        """Why the server will not take a statement, or we do not run it, so that it cannot have been done; empty if nothing is known against it."""
        return ""

    def holds(self, drop: Statement) -> list[str]:
        """Which of the relations, types, columns, constraints and the like that a DROP, or an ALTER that only drops, names are there."""
        return []

    def finds(self, drop: Statement) -> list[str]:
        """As ``holds``, wherever the statement would find it: not only where what was made by such a name would be."""
        return self.holds(drop)

    def lacks(self, statement: Statement) -> dict[str, str]:
        """What a statement changes, and nobody has: by its bare name, in words."""
        return {}

    def behind(self, drop: Statement) -> list[str]:
        """What is found by a name without its schema now, and would not be any more once what a DROP names was made, in a schema that is looked in first."""
        return []

    def otherwise(self, back: Statement) -> list[Otherwise]:
        """What a statement of a way back would leave otherwise than it is now."""
        return []

    def refuses(self, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
        """The first of some statements that the server will refuse for the shape of the schema, once those ``before`` were run, why, and what to do; empty if
        none is known. Leaves nothing that anybody else sees.
        """
        return ""

    def tries(self, statements: Sequence[Statement], locks: Locks, told: "Told") -> None:
        """Runs statements on something as like what they are about as can be made for a moment, where none of them can be taken back. Raises what they would:
        Refused, with what to do, and NotGiven once ``locks.patience`` is over.
        """

    def retypes(self, statement: Statement, pair: Pair) -> bool:
        """Whether a statement gives a column of a pair another type, which a condition of its triggers may stand in the way of."""
        return False

    def loosens(self, statement: Statement, pair: Pair) -> str:
        """What takes NOT NULL off columns of the new side again, for a statement that puts it on them and does nothing else; empty where nobody knows."""
        return ""

    def going(self, tables: Sequence[str]) -> list[Going]:
        """What goes with a column of these tables, but for keys of rows and of other tables: those hold a column back."""
        return []

    def merges(self, statement: Statement) -> list[str]:
        """The indexes of now that become part of what a statement makes, and are dropped with it."""
        return []

    def needing(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Needing]:
        """What is there and stands in the way of ``statements`` that drop, when their turn comes behind ``before``: neither takes it away first."""
        return []

    def hampers(self, statement: Statement, pair: Pair) -> str:
        """Why a pair cannot be kept in step once a statement was run; empty if nothing is known against it."""
        return ""

    def spreading(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Spreading]:
        """The triggers whose rows have other columns behind ``statements``, when their turn comes behind ``before``."""
        return []

    def outgrown(self, statements: Sequence[Statement], before: Sequence[Statement]) -> list[Outgrown]:
        """The functions that the columns fail which ``statements`` add, when their turn comes behind ``before``."""
        return []

    def overlooks(self, statements: Sequence[Statement]) -> list[str]:
        """What of the schema no look ahead sees that these statements may stand in the way of, or make fail; each with why."""
        return []

    def fires(self, table: str, columns: Sequence[str]) -> list[str]:
        """The triggers, but for ours, that an UPDATE of these columns fires."""
        return []

    def stamps(self, table: str, columns: Sequence[str]) -> list[str]:
        """The other columns that the server itself sets when an UPDATE sets these."""
        return []

    def risks(self, statement: Statement, expand: str) -> list[str]:
        """What a statement of an ``expand`` hides from, or makes fail for, whoever uses the database, and no error tells of then; each with what to do."""
        return []

    def strands(self, tables: Sequence[str]) -> str:
        """Who stops, and with what, once we make these tables where the search_path begins; empty if nobody does."""
        return ""

    def jams(self, others: Collection[str]) -> str:
        """What fails every write to the tables of pairs as their triggers are now, or soon may: a setting of the server's, a role; empty if nothing does.
        ``others``: the tables of other services' pairs, whose triggers are of their roles.
        """
        return ""

    def forgets(self, before: Sequence[Statement], statements: Sequence[Statement]) -> list[str]:
        """Which of ``statements``, behind those ``before``, take the default of a column away without a word, as they say all of it anew; a line each, with
        what to do.
        """
        return []
