"""What statements do, by name, so that nothing is taken for another thing of which some text speaks."""

from collections.abc import Iterator
from typing import NamedTuple

from bleen.database.importing import Names, read, same
from bleen.database.reverting_names import taken_whole
from bleen.database.statements import Dialect, Unreadable

_ALIKE = {"view": "table", "function": "routine", "procedure": "routine"}


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
        gone = {(each.kind.lower(), *each.names) for each in taken_whole(text, dialect) or ()}
        known = {name for name in makes if name[0] != "index" or dialect == "sqlite"}  # of MySQL's, only what is derived says the table
        return Deed(*({_alike(name) for name in names} for names in (known, gone, set(_changes(text, dialect)), renames)))
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


def _alike(names: Names) -> Names:
    """Of MySQL and SQLite, in lower case."""
    kind, *own = (each.lower() for each in names)
    return _ALIKE.get(kind, kind), *own


def _changes(text: str, dialect: Dialect) -> Iterator[Names]:
    if dialect == "postgres":
        from bleen.database import changes_postgres

        return changes_postgres.changes(text)
    from bleen.database import changes_tokens

    return changes_tokens.changes(text, dialect)
