"""Why a pair cannot be kept in step, where every dialect that knows its writers says the same; each reason with a way."""

from collections.abc import Iterable

from bleen.database.migration import Pair


def undecided(pair: Pair) -> list[str]:
    """A pair that does not say what a conflict comes to."""
    if pair.on_conflict is not None:
        return []
    return ['a writer that names no environment may change both sides at once, and then nothing tells which counts: say on_conflict = "old", "new" or "error"']


def moved(pair: Pair, to: str, trigger: str) -> str:
    """A pair whose table somebody has given another name or schema, triggers and all."""
    return f"{pair.table} is {to} by now, with the trigger {trigger}: move it back; or, if it is to stay there without the pair, drop that trigger"


def missing(pair: Pair, table: str, columns: Iterable[str]) -> list[str]:
    """Columns of a pair that its table, as the catalogue has it, does not have."""
    known = [*columns]
    if absent := [name for name in (*pair.old, *pair.new) if name not in known]:
        return [f"{table} has no column {', '.join(absent)}; add it in expand.sql, or write it as the catalogue does: {', '.join(known)}"]
    return []
