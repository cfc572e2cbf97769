"""What statements do, by name, so that nothing is taken for another thing of which some text speaks: what they make, take, rename and change, and about
whose rows they are.
"""

from collections.abc import Iterator, Mapping, Set
from typing import NamedTuple

from bleen.database.migration import Phase
from bleen.database.statements import Comment, Dialect, Statement, Unreadable
from bleen.database.things import taken_as_written

Names = tuple[str, ...]
"""A thing: its kind, then its names as the dialect compares them."""


class Assigned(NamedTuple):
    """What an UPDATE sets one column to."""

    expression: str
    reads: tuple[str, ...]
    """The columns that it is made from."""
    beyond: bool
    """It needs more than columns of its row: a subquery."""
    back: str
    """The one column that it reads, made from this one again; empty where that is not certain."""


class Fill(NamedTuple):
    """An UPDATE of one table."""

    table: str
    """As it is to be written."""
    names: Names
    set: Mapping[str, Assigned]
    """Empty of an UPDATE that a second table comes in to, which no backfill takes as it is: the linter has the word, and the safe way."""
    given: Mapping[str, str] | None
    """The columns that its WHERE wants NOT NULL, as they are to be written, where it is of every other row that is not filled yet: it says nothing but that,
    and that one of the columns set IS NULL. None of any other WHERE.
    """

    def forward(self, column: str) -> str:
        """What keeps a column in step with those that it is made from, in the rows that the WHERE leaves out too."""
        expression = self.set[column].expression
        if not self.given or self.set[column].back:  # which is NULL of NULL
            return expression
        return f"CASE WHEN {' AND '.join(f'{each} IS NOT NULL' for each in self.given.values())} THEN {expression} END"


class Rows(NamedTuple):
    """The tables about whose rows a statement is; ``ANY`` where the statement does not say them."""

    writes: tuple[Names, ...] = ()
    reads: tuple[Names, ...] = ()
    """Beside those; a trigger reads what is written where it stands."""
    holds: tuple[Names, ...] = ()
    """All of whose rows have to be as it says: a unique index, a constraint."""

    @property
    def all(self) -> tuple[Names, ...]:
        return self.writes + self.reads + self.holds


ANY: Names = ("table",)
"""Whatever table: see ``same``."""


class Part(NamedTuple):
    """A statement, or what is left of one when parts of it belong in different phases."""

    phase: Phase
    statement: Statement
    """The whole of it, where it stands."""
    text: str
    table: Names = ()
    """The table that it changes."""
    makes: tuple[Names, ...] = ()
    """What is surely new."""
    drops: tuple[Names, ...] = ()
    fill: Fill | None = None
    idle: str = ""
    """Why it is left out."""
    brings: tuple[Names, ...] = ()
    """What is there once it has run, perhaps in the place of another: a function too, CREATE OR REPLACE, IF NOT EXISTS."""
    renames: tuple[tuple[Names, Names], ...] = ()
    """What has another name once it has run, and that name."""
    rows: Rows = Rows()
    picks: Set[str] = frozenset()
    """Of a DELETE: the columns, in lower case, that say which rows it takes; perhaps other words too."""

    def leaves(self, made: Set[Names]) -> set[Names]:
        """What is new once it has run, by its name then; before it, ``made`` was."""
        for old, new in self.renames:
            made = {_renamed(thing, old, new) for thing in made}
        return {*made, *self.makes} - {*self.drops}


_ALIKE = {"view": "table", "function": "routine", "procedure": "routine"}
_PARTS, _ANY_CASE = ("column", "index", "constraint", "default"), ("routine", "event")
"""Names that MySQL takes in any case: of the parts of a table, where its own is one of those that it does not, and of all else."""


class Deed(NamedTuple):
    """What a statement does."""

    makes: set[Names]
    takes: set[Names]
    changes: set[Names]
    """Of what was there before."""
    renames: set[Names]
    """By the names that they lose."""

    @property
    def whole(self) -> set[Names]:
        return self.makes | self.takes | self.changes

    def frees(self, thing: Names) -> bool:
        """Whether something has not its name any more, or its table has not."""
        return not {thing, ("table", *thing[1:-1])}.isdisjoint(self.takes | self.renames)


def deed(text: str, dialect: Dialect) -> Deed:
    """What a statement does; of one that cannot be read nothing is known."""
    try:
        parts = read(text, dialect)[0]
        makes = {name for part in parts for name in (*part.makes, *part.brings)}
        renames = {old for part in parts for old, _ in part.renames}
        if dialect == "postgres":
            return Deed(makes, {name for part in parts for name in part.drops}, set(_changes(text, dialect)), renames)
        gone = {(each.kind.lower(), *each.names) for each in taken_as_written(text, dialect) or ()}
        known = {name for name in makes if name[0] != "index" or dialect == "sqlite"}  # of MySQL's, only what is derived says the table
        return Deed(*({_alike(name, dialect) for name in names} for names in (known, gone, set(_changes(text, dialect)), renames)))
    except Unreadable:
        return Deed(set(), set(), set(), set())


def read(text: str, dialect: Dialect) -> tuple[list[Part], list[Comment]]:
    """The parts of a text, in its order, and its comments. Raises Unreadable."""
    if dialect == "postgres":
        from bleen.database.deeds import postgres as reader
    else:
        from bleen.database.deeds import tokens as reader  # type: ignore[no-redef]
    return reader.read(text, dialect)


def same(one: Names, other: Names) -> bool:
    """Whether two may be the same thing: where a schema stands before one of them only, nobody knows which is meant by the other; and of a routine
    without its arguments, there is only one.
    """
    if one[-1] == "(?)" or other[-1] == "(?)":
        one, other = one[:-1], other[:-1]
    shared = min(len(one), len(other)) - 1
    return one[0] == other[0] and one[len(one) - shared :] == other[len(other) - shared :]


def own(thing: Names) -> Names:
    """The names of which whatever makes a thing speaks: of a part of a table, that of the table too."""
    kind, *names = thing
    if kind == "routine" and names[-1].startswith("("):
        names.pop()
    return tuple(names[-2:] if kind in ("column", "constraint") else names[-1:])


def among(some: set[Names], others: set[Names]) -> bool:
    """Whether each may be one of the others."""
    return all(any(same(each, other) for other in others) for each in some)


def surely(some: set[Names], others: set[Names]) -> bool:
    """As ``among``, where nobody has to guess: what one says with its schema, the other says with it too."""
    return all(any(len(each) == len(other) and same(each, other) for other in others) for each in some)


def _alike(names: Names, dialect: Dialect) -> Names:
    """Of MySQL and SQLite, in lower case where that is the same: on Linux, Audit and audit are two tables to MySQL."""
    kind, *own = names
    kind = _ALIKE.get(kind.lower(), kind.lower())
    if dialect == "sqlite" and len(own) > 1 and own[0].lower() == "main":  # it is what a name without a schema means
        own = own[1:]
    if dialect != "mysql" or kind in _ANY_CASE:
        return kind, *(each.lower() for each in own)
    return kind, *own[:-1], *(each.lower() if kind in _PARTS else each for each in own[-1:])


def _changes(text: str, dialect: Dialect) -> Iterator[Names]:
    if dialect == "postgres":
        from bleen.database.deeds import postgres_changes

        return postgres_changes.changes(text)
    from bleen.database.deeds import tokens_changes

    return tokens_changes.changes(text, dialect)


def _renamed(thing: Names, old: Names, new: Names) -> Names:
    """A thing once ``old`` is called ``new``: a table takes its columns along."""
    along = old[0] == "table" and thing[0] in ("column", "constraint") and thing[1:-1] == old[1:]
    return new if thing == old else (thing[0], *new[1:], thing[-1]) if along else thing
