"""What the server would make of the statements of a migration, and of its backfill: by the catalogue, with nothing touched."""

import re
import shlex
from collections.abc import Iterator

from bleen.database import backfill, parts, reverting
from bleen.database.command import HALVES
from bleen.database.foresight.pairs import pulled
from bleen.database.foresight.prospect import Prospect
from bleen.database.migration import speaks_of
from bleen.database.statements import bare
from bleen.database.steps import CATALOGUED
from bleen.errors import Refused

_IF_EXISTS = re.compile(r"\bIF\s+EXISTS\b", re.IGNORECASE)
_SPREADS = {"postgres": "the function", "mysql": "the trigger", "sqlite": "the trigger, or the view,"}


def unfilled(it: Prospect) -> Iterator[str]:
    """What no backfill could do."""
    try:
        if fill := parts.fill(it.server, it.migration):
            backfill.check(it.server, it.migration, fill, it.coming)
    except Refused as error:
        yield str(error)


def unable(it: Prospect) -> Iterator[str]:
    """What this server cannot do, what a pair of another migration stands in the way of, and what a statement forgets of those before it."""
    for part in HALVES:
        for statement in it.statements(part):
            for why in (it.server.catalogue.unable(statement), pulled(it, statement)):
                if why:
                    yield f"{part}.sql: {why}"
        given = it.past["expand" if part == "revert" else part]  # it may well take what its own expand has given
        for why in it.server.catalogue.forgets(given, it.statements(part)):
            yield f"{part}.sql: {why}"


def refused(it: Prospect) -> Iterator[str]:
    """What of its files the server will refuse for the shape that the schema has by then, which no text of them shows: an index over a column that contract
    drops, say. Asked last, as it may only follow from what else is wrong.
    """
    if any(m.command.expand for m in it.made) or it.ledger.entry(it.migration.name):
        return  # what is there by then, only they know; or it was begun
    derived, unknown = not it.migration.holds("revert"), any(m.command.contract for m in it.earlier)
    for part, past in it.past.items():
        if (part == "revert" and derived) or (part == "contract" and unknown):
            continue
        if why := it.server.catalogue.refuses(past, it.statements(part)):
            yield f"{part}.sql: {why}"


def spreads(it: Prospect) -> Iterator[str]:
    """Triggers, on SQLite views too, that its expand makes fail, as they give all columns of a row."""
    yield from (said for said, fails in _spreading(it) if fails)


def may_spread(it: Prospect) -> Iterator[str]:
    """Triggers that its expand may make fail so, as far as their text tells."""
    yield from (said for said, fails in _spreading(it) if not fails)


def _spreading(it: Prospect) -> Iterator[tuple[str, bool]]:
    for each in it.server.catalogue.spreading(it.statements("expand"), it.past["expand"]):
        yield f"expand.sql: {each.statement.brief}: {each.why}; let {_SPREADS[it.server.dialect]} name its columns before this", each.fails


def outgrown(it: Prospect) -> Iterator[str]:
    """Triggers whose function fails once a row has one of the columns that its expand adds."""
    yield from (said for said, fails in _outgrown(it) if fails)


def may_outgrow(it: Prospect) -> Iterator[str]:
    """Those that may, and functions that only they know who call them."""
    yield from (said for said, fails in _outgrown(it) if not fails)


def _outgrown(it: Prospect) -> Iterator[tuple[str, bool]]:
    for each in it.server.catalogue.outgrown(it.statements("expand"), it.past["expand"]):
        yield f"expand.sql: {each.statement.brief}: {each.why}", each.fails


def unseen(it: Prospect) -> Iterator[str]:
    """What another tool takes away in contract."""
    if argv := it.migration.command.contract:
        unknown = f"what `{shlex.join(argv)}` takes away in contract, bleen does not know, and nothing brings it back"
        yield f"{unknown}: look that no other migration needs it, in a pair, a backfill or a contract of its own"


def silent(it: Prospect) -> Iterator[str]:
    """What its expand does to others without a word of the server's."""
    for each in it.statements("expand"):
        yield from (f"{each.brief}: {why}" for why in it.server.catalogue.risks(each, it.said("expand")))


def overlooked(it: Prospect) -> Iterator[str]:
    """What of the schema is in no look ahead."""
    if left := it.server.catalogue.overlooks([each for part in ("expand", "contract") for each in it.statements(part)]):
        way = "what breaks of that, or stands in the way for it, is not foreseen: try the files on a copy of the file, by what the application opens it with"
        yield f"bleen cannot make {', '.join(left)} on its copy of the schema; {way}"


def firing(it: Prospect) -> Iterator[str]:
    """The triggers that its backfill fires, and the times that it sets: rows that nobody has written look as if somebody had, or are noted as changed."""
    fill = parts.fill(it.server, it.migration)
    if fill is None:
        return
    if fired := it.server.catalogue.fires(fill.table, tuple(fill.set)):
        which = f"{'trigger' if len(fired) == 1 else 'triggers'} {', '.join(fired)}"
        way = "see that it may do what it does (a time of the last change, a line in a log) for each of them, or let it pass such an UPDATE by"
        yield f"the backfill updates the rows of {fill.table}, and fires {which} of yours: {way}"
    for name in it.server.catalogue.stamps(fill.table, tuple(fill.set)):
        way = f"SET {name} = {name} in it keeps what is there"
        yield f"the backfill sets {name} of each row of {fill.table} that it fills to the time then (ON UPDATE): {way}"


def needing(it: Prospect) -> Iterator[str]:
    """What will keep the gate of its contract shut, unless what runs before it has taken that away."""
    past = it.past["revert"] + [s for each in it.beside for s in it.statements("contract", each)]
    for each in it.server.catalogue.needing(it.statements("contract"), past):
        way = "drop that, or make it anew such that it does without, before this in contract.sql"
        yield f"contract.sql, {each.statement.brief}: {each.why}, and the contract waits while it does; {way}"


def missed(it: Prospect) -> Iterator[str]:
    """What contract drops or changes, and nothing has: by then the files do not change any more."""
    text = "\n".join(bare(each.text, it.server.dialect) for each in it.past["contract"])
    if it.ledger.entry(it.migration.name) or any(m.command.expand for m in it.made) or any(m.command.contract for m in it.earlier):
        return  # what is there by then, only they know; or it was begun
    for each in it.statements("contract"):
        for name, why in it.server.catalogue.lacks(each).items():
            if not (speaks_of(text, name) or _IF_EXISTS.search(each.text)):
                yield f"contract.sql, {each.brief}: {why}, so that the contract will stop; write the name as the catalogue has it"
        things = it.server.takes(each)
        coming = any(speaks_of(text, thing.names[-1]) for thing in things)
        text = f"{text}\n{each.text}"  # it may well take what it has made itself, as the safe way to NOT NULL does
        unknown = _IF_EXISTS.search(each.text) or any(thing.kind not in CATALOGUED for thing in things)
        if things and not (coming or unknown) and len(held := it.server.catalogue.finds(each)) < len(things):
            which = f"only {', '.join(held)} is there" if held else f"no {', '.join(sorted(thing.names[-1] for thing in things))} is there"
            if (table := reverting.altered(each.text)) and not it.server.columns(table):
                which = f"no table {table} is there"
            yield f"contract.sql, {each.brief}: {which}, so that the contract will stop; write the name as the catalogue has it"
