"""What a migration makes that is there already, and what its revert would take with it that is not its own."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from bleen.database import reverting
from bleen.database.deeds import among, deed, own
from bleen.database.foresight.prospect import Prospect
from bleen.database.migration import speaks_of
from bleen.database.reverting.picking import picked
from bleen.database.statements import Statement
from bleen.database.things import taken
from bleen.errors import Refused

_FREES = re.compile(r"\b(DROP|RENAME|CHANGE|SCHEMA|DO|CALL|EXECUTE)\b", re.IGNORECASE)
"""What may take a name from what has it."""
_PERHAPS = re.compile(r"(?P<leaves>\bIF\s+NOT\s+EXISTS\b)|\bOR\s+REPLACE\b", re.IGNORECASE)
_TEMPORARY = re.compile(r"\s*CREATE\s+((GLOBAL|LOCAL)\s+)?TEMP", re.IGNORECASE)


def there(it: Prospect) -> Iterator[str]:
    """What its expand makes anew though something has that name already, or will have, or would not be found by it any more; nothing that what runs before may
    have taken away, or given another name.
    """
    if it.coming is None or speaks_of(it.coming, "search_path"):
        return  # what is there by then, or where it is made, only they know
    if it.ledger.entry(it.migration.name):
        return  # it may be its own, from a try before
    past = [(m.name, s) for m in it.before for s in it.statements("expand", m)]
    made = {drop.text: name for name, statement in past for drop in _undone(it, statement)}
    for statement in it.statements("expand"):
        for drop in _undone(it, statement):
            names = {name for thing in taken(drop.text, it.server.dialect) or () for name in thing.names}
            freed = any(_FREES.search(s.text) and any(speaks_of(s.text, name) for name in names) for _, s in past)
            way = "give what is new another name, or take the statement out if that is what it would make"
            if found := [] if freed else it.server.catalogue.holds(drop):
                yield f"expand.sql: {statement.brief}: {', '.join(found)} is there already; {way}"
            elif drop.text in made and not freed:
                yield f"expand.sql: {statement.brief}: {made[drop.text]}, which is expanded before it, makes that too; {way}"
            elif found := [] if freed else it.server.catalogue.behind(drop):
                why = "is looked for behind it by the search_path, and whoever does not name its schema finds this instead, the version that serves too"
                other = "give what is new another name, or, if it is meant so, let the search_path of the migrating role end before that schema"
                yield f"expand.sql: {statement.brief}: {', '.join(found)} {why}; {other}"
        yield from _kept(it, statement, past)
        past.append((it.migration.name, statement))


def _kept(it: Prospect, statement: Statement, past: Sequence[tuple[str, Statement]]) -> Iterator[str]:
    """What is there already, or will be, so that IF NOT EXISTS leaves it or OR REPLACE another in its place, and revert.sql drops; nothing whose name what
    runs before has taken away.
    """
    if not (it.migration.holds("revert") and (perhaps := _PERHAPS.search(statement.text))):
        return
    done = [(name, deed(s.text, it.server.dialect)) for name, s in past]
    for back in it.statements("revert"):
        gone = deed(back.text, it.server.dialect).takes
        things = {each for each in gone if all(speaks_of(statement.text, name) for name in own(each)) and not any(d.frees(each) for _, d in done)}
        why = ""
        if things and (found := it.server.catalogue.holds(back)):
            why = f"{', '.join(found)} is there already"
        elif made := [name for name, each in done if name != it.migration.name and any(among({thing}, each.makes) for thing in things)]:
            why = f"{made[-1]}, which is expanded before it, makes that too"
        if why:
            way = "with all that is in it: take it out of both" if perhaps["leaves"] else "with what was there before: let it make that anew"
            yield f"expand.sql: {statement.brief}: {why}, and revert.sql would drop it ({back.brief}) {way}"


def merged(it: Prospect) -> Iterator[str]:
    """Indexes of before that a way back which is derived would drop: what they become part of is named in the text, and they are not."""
    if it.migration.holds("revert") or reverting.irreversible(it.migration.sql("revert")):
        return
    for statement in it.statements("expand"):
        if old := [each for each in it.server.catalogue.merges(statement) if not speaks_of(it.said("expand"), each)]:
            yield f"expand.sql: {statement.brief}: {', '.join(old)}, there before, becomes part of it, and would be dropped with it; {reverting.HOW}"


def alike(it: Prospect) -> Iterator[str]:
    """Rows of now that a DELETE of revert.sql would take with those that expand.sql puts in: no key keeps others from having their values."""
    if not it.migration.holds("revert") or it.ledger.entry(it.migration.name):
        return  # they may be its own, from a try before
    puts = [each.text for each in it.statements("expand")]
    for back in it.statements("revert"):
        told = picked(back.text, puts, it.server.dialect)
        names = {name.lower() for name in it.server.columns(told.table)} if told else set[str]()
        if not told or not names.issuperset(column.lower() for pick in told.picks for column, _ in pick):
            continue  # what the expand makes holds nothing of before
        rows = " OR ".join(" AND ".join(f"{it.server.quoted(column)} = {value}" for column, value in sorted(pick)) for pick in sorted(told.picks, key=sorted))
        with suppress(Refused):  # no such value: nor will the expand put it in
            if it.server.rows(f"SELECT 1 FROM {told.table} WHERE {rows} LIMIT 1"):
                way = "name a column that tells them apart, or take out of both what is there"
                yield f"revert.sql: {back.brief}: {told.table} has such a row already, and a revert leaves what was there before: {way}"


def otherwise(it: Prospect) -> Iterator[str]:
    """Rights, defaults and the like that are now, before the expand, and that revert.sql takes back as if the expand had brought them; nothing that what runs
    before changes.
    """
    if not it.migration.holds("revert") or it.coming is None or it.ledger.entry(it.migration.name):
        return  # they may be its own, from a try before
    backs = it.statements("revert")
    before = [deed(s.text, it.server.dialect).changes for m in it.before for s in it.statements("expand", m)]
    after = [deed(back.text, it.server.dialect).changes for back in backs]
    for number, back in enumerate(backs, 1):
        if any(among({thing}, changes) for thing in after[number - 1] for changes in (*before, *after[number:])):
            continue
        for told, way in it.server.catalogue.otherwise(back):
            yield f"revert.sql: {back.brief}: {told}, and a revert leaves what was there before: {way}"


def _undone(it: Prospect, statement: Statement) -> list[Statement]:
    """What undoes a statement names what it makes."""
    return it.server.split("" if _TEMPORARY.match(statement.text) else reverting.derived(f"{statement.text};", it.server.dialect).text)
