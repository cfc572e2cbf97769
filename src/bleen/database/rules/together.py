"""What no file of a migration is wrong with by itself: a contract that takes away what its own expand adds, as the down half of an up/down file does, and a
backfill that writes over what no expand of its release adds.

Contract and expand only within one migration: a database that is new gets all migrations at once, and a later one may well drop what an earlier one added.
"""

from collections.abc import Sequence

from bleen.database.statements import Dialect, Place, Unreadable


def dropped_new(expands: Sequence[str], contract: str, dialect: Dialect) -> list[tuple[Place, str]]:
    """Where a contract drops a table or a column that the expand adds, by the name that it has then, and why it must not. What cannot be read is for the
    rules of its own file.
    """
    from bleen.database.importing import read, same  # which itself goes by the rules

    takes = list[tuple[Place, tuple[str, ...], bool]]()
    try:
        made = _made(expands, dialect)
        for part in read(contract, dialect)[0]:
            for thing in part.drops:
                if alike := [each for each in made if same(_folded(thing, dialect), _folded(each, dialect))]:
                    takes.append((part.statement.at, thing, any(len(each) == len(thing) for each in alike)))
            made = part.leaves(made) - {*part.makes}
    except Unreadable:
        return []
    why = "which expand.sql of this migration adds, with all that the new version wrote there; what undoes expand.sql is revert.sql"
    other = "; if these are two, of two schemas, say the schema of each"  # where a name without one is looked for, the search_path says
    return [(at, f"drops the {kind} {'.'.join(names)}, {why}{'' if plain else other}") for at, (kind, *names), plain in takes if kind in ("table", "column")]


def filled_old(expands: Sequence[str], backfill: str, dialect: Dialect) -> list[tuple[Place, str]]:
    """Where a backfill sets columns that no expand adds, so that the old version may read them, and what that means."""
    from bleen.database.importing import read, same

    found = list[tuple[Place, str]]()
    try:
        made = [_folded(each, dialect) for each in _made(expands, dialect)]
        for part in read(backfill, dialect)[0]:
            if part.fill is None or any(same(_folded(("table", *part.fill.names), dialect), each) for each in made):
                continue
            writes = [name for name, to in part.fill.set.items() if name and to.expression.strip('`"[]').lower() != name.lower()]  # a = a keeps it
            things = {name: _folded(("column", *part.fill.names, name), dialect) for name in writes}
            if old := [name for name, thing in things.items() if not any(same(thing, each) for each in made)]:
                what = f"writes over {', '.join(old)} of {part.fill.table}, which no expand of this release adds"
                found.append((part.statement.at, f"{what}: the old version may read it, and revert does not bring back what was there; fill a new column"))
    except Unreadable:
        return []
    return found


def _made(expands: Sequence[str], dialect: Dialect) -> set[tuple[str, ...]]:
    """What is new once they have run. Raises Unreadable."""
    from bleen.database.importing import read

    made = set[tuple[str, ...]]()
    for text in expands:
        for part in read(text, dialect)[0]:
            made = part.leaves(made)
    return made


def _folded(names: tuple[str, ...], dialect: Dialect) -> tuple[str, ...]:
    """Those of PostgreSQL are, but where their case is meant."""
    return names if dialect == "postgres" else tuple(each.lower() for each in names)
