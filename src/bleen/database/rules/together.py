"""What no file of a migration is wrong with by itself: a contract that takes away what its own expand adds, as the down half of an up/down file does.

Only within one migration: a database that is new gets all migrations at once, and a later one may well drop what an earlier one added.
"""

from collections.abc import Sequence

from bleen.database.statements import Dialect, Place, Unreadable


def dropped_new(expands: Sequence[str], contract: str, dialect: Dialect) -> list[tuple[Place, str]]:
    """Where a contract drops a table or a column that the expand adds, by the name that it has then, and why it must not. What cannot be read is for the
    rules of its own file.
    """
    from bleen.database.importing import read  # which itself goes by the rules

    made, takes = set[tuple[str, ...]](), list[tuple[Place, tuple[str, ...]]]()
    try:
        for text in expands:
            for part in read(text, dialect)[0]:
                made = part.leaves(made)
        for part in read(contract, dialect)[0]:
            takes += [(part.statement.at, thing) for thing in part.drops if any(_same(thing, each, dialect) for each in made)]
            made = part.leaves(made) - {*part.makes}
    except Unreadable:
        return []
    why = "which expand.sql of this migration adds, with all that the new version wrote there; what undoes expand.sql is revert.sql"
    return [(at, f"drops the {kind} {'.'.join(names)}, {why}") for at, (kind, *names) in takes if kind in ("table", "column")]


def _same(one: tuple[str, ...], other: tuple[str, ...], dialect: Dialect) -> bool:
    """Whether two ways to write a name may mean the same thing: with a schema and without; in any case, but for PostgreSQL, where it was folded or is meant."""
    (kind, *names), (kind_too, *names_too) = one, other
    if dialect != "postgres":
        names, names_too = [each.lower() for each in names], [each.lower() for each in names_too]
    shared = min(len(names), len(names_too))
    return kind == kind_too and names[-shared:] == names_too[-shared:]
