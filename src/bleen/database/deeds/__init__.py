"""What statements do, by name, so that nothing is taken for another thing of which some text speaks."""

from collections.abc import Iterator
from typing import NamedTuple

from bleen.database.importing import Names, read, same
from bleen.database.statements import Dialect, Unreadable
from bleen.database.things import taken_as_written

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
        from bleen.database.deeds import postgres

        return postgres.changes(text)
    from bleen.database.deeds import tokens

    return tokens.changes(text, dialect)
