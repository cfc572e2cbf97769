"""An expand and its way back, carried out on a clone first: what fails on a copy of the data fails where nobody is."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress

from bleen.database import connect, reverting
from bleen.database.backfill import LONGEST
from bleen.database.command import running
from bleen.database.command.home import Home
from bleen.database.ledger import Entry, Part, State
from bleen.database.migration import Migration
from bleen.database.schema import Schema
from bleen.database.server import Server, Taken, Told
from bleen.database.steps import mend
from bleen.errors import PortError, Refused

Expand = Callable[[Schema, Sequence[Migration], Home | None], object]
"""Expands migrations on the schema of the clone; where their commands run."""

_UNDER_WAY: tuple[Part, int] = ("rehearsal", 0)
"""The step, of no migration, by which the ledger of the clone tells which ones are there for a rehearsal only."""
_HALF = (State.EXPANDING, State.REVERTING)


def rehearse(database: Server, url: str, migrations: Sequence[Migration], expand: Expand, home: Home | None, told: Told) -> Mapping[str, float]:
    """Expands what the clone at ``url`` does not have, one by one, then undoes it, so that the next rehearsal begins where this one did. Seconds that each
    expand took; nobody is there who must not feel it, so a backfill does not pause. One that cannot be undone stays. What one leaves that is broken off, the
    next one undoes first.

    ``home``: where commands run, with the clone's url, and kept to it. Raises Refused for what fails, with all undone that can be, and if the clone is the
    database itself; Unavailable.
    """
    try:
        clone = connect(url, "bleen migrate, on the clone")
        try:
            schema = Schema(clone, lambda text: told(f"on the clone: {text}"))
            must_be_another(database, clone, "give `database.clone` the url of a copy")
            with running.kept_to(clone, home) if home else nullcontext() as there:
                return _there_and_back(schema, [m._replace(pace=m.pace._replace(duty=1.0, target=LONGEST)) for m in migrations], expand, there)
        finally:
            clone.close()
    except PortError as error:
        raise type(error)(f"on the clone: {error}") from None


def must_be_another(database: Server, clone: Server, instead: str) -> None:
    """Raises Refused, with what to do ``instead``, if the two are one database: who has the lock of the one has not that of the other."""
    with database.alone(), suppress(Taken), clone.alone():
        return
    with clone.alone(), suppress(Taken), database.alone():  # somebody else had it, and has ended meanwhile
        return
    raise Refused(f"it is the database itself: {instead}")


def _there_and_back(schema: Schema, migrations: Sequence[Migration], expand: Expand, home: Home | None) -> Mapping[str, float]:
    names = [migration.name for migration in migrations]
    begun = schema.ledger.steps("").get(_UNDER_WAY)
    left = begun.memo["names"] if begun else ()  # by a rehearsal that was broken off
    _back(schema, [e for e in schema.ledger.entries() if e.name in left or (e.name in names and e.state in _HALF)], home)
    known = {entry.name for entry in schema.ledger.entries()}
    with schema.server.alone():
        schema.ledger.make()
        schema.ledger.note(schema.ledger.mark("", *_UNDER_WAY, False, memo={"names": [name for name in names if name not in known]}))
    took: dict[str, float] = {}
    try:
        for migration in migrations:
            began = time.monotonic()
            expand(schema, [migration], home)
            if migration.name not in known:
                took[migration.name] = round(time.monotonic() - began, 3)
    except Refused as error:
        try:
            _undo(schema, names, known, home)
        except Refused as second:
            raise Refused(f"{error}; and there it could not be undone: {second}") from None
        said = str(error)
        for migration in migrations if not any(reverting.irreversible(each.sql("revert")) for each in migrations) else ():
            said = said.replace(mend(migration), "what it did there is undone; mend it, and try again")
        raise type(error)(said) from None
    _undo(schema, names, known, home)
    return took


def _undo(schema: Schema, names: Sequence[str], known: Collection[str], home: Home | None) -> None:
    _back(schema, [entry for entry in schema.ledger.entries() if entry.name in names and entry.name not in known], home)
    schema.ledger.note(schema.ledger.unmark("", *_UNDER_WAY))


def _back(schema: Schema, entries: Sequence[Entry], home: Home | None) -> None:
    for entry in reversed(entries):
        if not reverting.irreversible(entry.migration.sql("revert")):
            schema.revert(entry.name, home)
