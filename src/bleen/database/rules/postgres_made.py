"""How free a release is with a relation that it made itself: by name only, or to lock it too, or to write all its rows at once."""

from bleen.database.rules.postgres_look import Look

NAME = "relation"
"""Nobody uses it by its name, so that it may be dropped, renamed and given away: a view, a foreign table, an index too."""

FREE = "free"
"""Nobody waits for a lock on it either: not so an index of a table that is in use, and what reads other tables."""

ROWS = "table"
"""And a statement that reads or writes all its rows reaches no other ones: an ordinary table on which no rule, trigger or cascade was put."""

QUERY, DEFAULTS = "query calls", "defaults call"
"""What a view's query, or the defaults of a table by their columns, call that may do anything. They do it once somebody uses them, and only that is an error;
by the last of the names alone."""

_EVERYTHING = (NAME, FREE, ROWS)


def makes_table(look: Look, name: tuple[str, ...]) -> None:
    for kind in _EVERYTHING:
        look.known.makes(kind, *name)


def makes_copy(look: Look, name: tuple[str, ...]) -> None:
    """A materialized view, a sequence, an index of what is new itself."""
    look.known.makes(NAME, *name)
    look.known.makes(FREE, *name)


def makes_name(look: Look, name: tuple[str, ...]) -> None:
    look.known.makes(NAME, *name)


def is_free(look: Look, name: tuple[str, ...]) -> bool:
    return look.known.made(FREE, *name)


def has_own_rows(look: Look, name: tuple[str, ...]) -> bool:
    return look.known.made(ROWS, *name)


def forgets(look: Look, name: tuple[str, ...]) -> None:
    for kind in _EVERYTHING:
        look.known.forgets(kind, *name)


def moves(look: Look, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    """To another name; columns and what else is known below it is known no more, but not what it calls."""
    kinds, calls = [kind for kind in _EVERYTHING if look.known.made(kind, *old)], [(fact, look.known.of(fact, old[-1])) for fact in (QUERY, DEFAULTS)]
    forgets(look, old)
    for kind in kinds:
        look.known.makes(kind, *new)
    for fact, what in calls:
        if what:
            look.known.learns(fact, new[-1], what=what)


def reaches_further(look: Look, name: tuple[str, ...]) -> None:
    """From now on who writes its rows writes, or calls, something else; whatever schema was named when it was made."""
    look.known.takes_back(ROWS, name[-1])
