"""What no file of a migration is wrong with by itself: a contract that takes away what its own expand adds, as the down half of an up/down file does.

Only within one migration: a database that is new gets all migrations at once, and a later one may well drop what an earlier one added.
"""

from collections.abc import Sequence

from bleen.database.statements import Dialect, Place, Unreadable


def dropped_new(expands: Sequence[str], contract: str, dialect: Dialect) -> list[tuple[Place, str]]:
    """Where a contract drops a table or a column that the expand adds, by the name that it has then, and why it must not. What cannot be read is for the
    rules of its own file.
    """
    from bleen.database.importing import read, same  # which itself goes by the rules

    def folded(names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of PostgreSQL are, but where their case is meant; and there what has no schema before it is of ``public``."""
        if dialect != "postgres":
            return tuple(each.lower() for each in names)
        kind, *own = names
        return (kind, "public", *own) if len(own) == 1 + (kind == "column") else names

    made, takes = set[tuple[str, ...]](), list[tuple[Place, tuple[str, ...]]]()
    try:
        for text in expands:
            for part in read(text, dialect)[0]:
                made = part.leaves(made)
        for part in read(contract, dialect)[0]:
            takes += [(part.statement.at, thing) for thing in part.drops if any(same(folded(thing), folded(each)) for each in made)]
            made = part.leaves(made) - {*part.makes}
    except Unreadable:
        return []
    why = "which expand.sql of this migration adds, with all that the new version wrote there; what undoes expand.sql is revert.sql"
    return [(at, f"drops the {kind} {'.'.join(names)}, {why}") for at, (kind, *names) in takes if kind in ("table", "column")]
