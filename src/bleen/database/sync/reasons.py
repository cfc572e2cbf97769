"""Why a pair cannot be kept in step, where every dialect that knows its writers says the same; each reason with a way."""

from collections.abc import Callable, Iterable, Mapping

from bleen.database.migration import Pair
from bleen.database.sync.expression import Expression


def undecided(pair: Pair) -> list[str]:
    """A pair that does not say what a conflict comes to."""
    if pair.on_conflict is not None:
        return []
    return ['a writer that names no environment may change both sides at once, and then nothing tells which counts: say on_conflict = "old", "new" or "error"']


def moved(pair: Pair, to: str, trigger: str) -> str:
    """A pair whose table somebody has given another name or schema, triggers and all."""
    return f"{pair.table} is {to} by now, with the trigger {trigger}: move it back; or, if it is to stay there without the pair, drop that trigger"


def torn(pair: Pair, migration: str, gone: Iterable[str]) -> str:
    """A pair that was kept in step, and columns of which somebody has taken away since, or has given another name; its table may be one of before, restored."""
    lost = {*gone}
    how = "ADD COLUMN, and an UPDATE that fills it from the new ones" if lost & {*pair.old} else "ADD COLUMN as expand.sql says"
    way = f"give it back by hand (RENAME COLUMN, or {how}), then `bleen migrate expand` and `bleen migrate backfill {migration}`"
    if lost == {*pair.old}:
        end = f"; or let `bleen migrate contract {migration} --because REASON` end it, with a reason that names it"
    else:
        end = "" if {*pair.new} - lost else f"; or let `bleen migrate revert {migration}` take away what is left of it"
    return f"{pair.table} has no column {', '.join(gone)} any more, which {migration} keeps in step: {way}{end}"


def missing(pair: Pair, table: str, columns: Iterable[str]) -> list[str]:
    """Columns of a pair that its table, as the catalogue has it, does not have."""
    known = [*columns]
    if absent := [name for name in (*pair.old, *pair.new) if name not in known]:
        return [f"{table} has no column {', '.join(absent)}; add it in expand.sql, or write it as the catalogue does: {', '.join(known)}"]
    return []


def called(forward: Mapping[str, Expression], backward: Mapping[str, Expression], unfit: Callable[[tuple[str, ...]], str]) -> list[str]:
    """What speaks against the functions of a pair's expressions; ``unfit`` says it of one, by its name, and is empty if nothing does."""
    of = [(f"forward of {column}", each) for column, each in forward.items()] + [(f"backward of {column}", each) for column, each in backward.items()]
    return [f"{whose} {why}" for whose, expression in of for name in expression.functions if (why := unfit(name))]


def lossy(pair: Pair, key: str, count: int, example: object) -> list[str]:
    """So many rows that old -> new -> old changes, and what the ``key`` of one of them is; that is empty for a table that has none."""
    way, such = f"{', '.join(pair.old)} -> {', '.join(pair.new)} -> {', '.join(pair.old)}", f" (such as {key} = {example})" if key else ""
    return [f"{count} rows lose something on the way {way}{such}: mend forward or backward, or declare it with lossy = true"] if count else []
