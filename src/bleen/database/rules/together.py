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
        """Those of PostgreSQL are, but where their case is meant."""
        return names if dialect == "postgres" else tuple(each.lower() for each in names)

    made, takes = set[tuple[str, ...]](), list[tuple[Place, tuple[str, ...], bool]]()
    try:
        for text in expands:
            for part in read(text, dialect)[0]:
                made = part.leaves(made)
        for part in read(contract, dialect)[0]:
            for thing in part.drops:
                if alike := [each for each in made if same(folded(thing), folded(each))]:
                    takes.append((part.statement.at, thing, any(len(each) == len(thing) for each in alike)))
            made = part.leaves(made) - {*part.makes}
    except Unreadable:
        return []
    why = "which expand.sql of this migration adds, with all that the new version wrote there; what undoes expand.sql is revert.sql"
    other = "; if these are two, of two schemas, say the schema of each"  # where a name without one is looked for, the search_path says
    return [(at, f"drops the {kind} {'.'.join(names)}, {why}{'' if plain else other}") for at, (kind, *names), plain in takes if kind in ("table", "column")]
