"""The decision table of two-way sync: what becomes of a row that is written while an old and a new shape are kept in step.

``forward`` makes the new columns from the old ones, ``backward`` the old from the new. The triggers of every dialect carry this table out; the
tests hold them against ``decide``, and the guide prints ``TABLE``.
"""

from typing import Literal, NamedTuple

from bleen.database.migration import OnConflict

Side = Literal["old", "new"]

Touch = Literal["touched", "untouched", "open"]
"""What a write did to the columns of a side. UPDATE: touched if one of them changed. INSERT: touched if one of them is not its default (NULL where it has
none); open if none is, but a default cannot be told from a value: ``nextval()``, ``now()``, ``random()``.
"""


class Written(NamedTuple):
    """A row as a statement, and whatever ran before us, wants it written."""

    insert: bool
    old: Touch
    new: Touch
    forward: bool
    """The new columns are what ``forward`` makes of the old ones; for an INSERT, and no old column is NULL that must not be."""
    backward: bool
    """The old columns are what ``backward`` makes of the new ones; for an INSERT, and no new column is NULL that must not be."""
    writer: Side | None
    """Which shape the environment writes that the connection names; None if it names none that is known."""
    only_old: bool
    """Some old column has a value, and every one that must have; no new column has."""


class Rule(NamedTuple):
    """A row of the table: the first that fits decides. A field that is None fits everything."""

    does: Literal["leave", "old", "new", "conflict"]
    """``old``: the old columns count, and the new ones are made from them; ``new``: the other way round."""
    why: str
    insert: bool | None = None
    old: Touch | None = None
    new: Touch | None = None
    forward: bool | None = None
    backward: bool | None = None
    writer: Side | None = None
    only_old: bool | None = None

    def fits(self, row: Written) -> bool:
        wanted = (self.insert, self.old, self.new, self.forward, self.backward, self.writer, self.only_old)
        given = (row.insert, row.old, row.new, row.forward, row.backward, row.writer, row.only_old)
        return all(want is None or want == have for want, have in zip(wanted, given, strict=True))


TABLE: tuple[Rule, ...] = (
    Rule("leave", "in step already: the backfill's own UPDATE, an application that writes both, a row that comes back from a dump", forward=True),
    Rule("old", "the old shape was written", old="touched", new="untouched"),
    Rule("new", "the new shape was written", old="untouched", new="touched"),
    Rule("old", "the old version left it all to the defaults", insert=True, new="untouched", writer="old"),
    Rule("leave", "the new version left it all to the defaults, and they agree", insert=True, old="untouched", new="untouched", backward=True, writer="new"),
    Rule("old", "somebody left it all to the defaults: filled as what the old version writes", insert=True, old="untouched", new="untouched", backward=True),
    Rule("leave", "in step, as the new shape says more than the old one can", backward=True),
    Rule("old", "not filled yet: the backfill has not come here, or the row's key has moved behind it", insert=False, old="untouched", new="untouched"),
    Rule("old", "only the writer knows which side was meant", writer="old"),
    Rule("new", "only the writer knows which side was meant", writer="new"),
    Rule("old", "only the old side says anything, be it by default: nothing that the new version wrote is lost", insert=True, new="untouched", only_old=True),
    Rule("conflict", "nobody knows: `on_conflict` says old, new or error, and it is counted"),
)


class Decision(NamedTuple):
    """What becomes of the row."""

    source: Side | None
    """The side that counts; None leaves the row as it is."""
    conflict: bool = False
    """It is counted as a conflict."""
    error: bool = False
    """The statement fails."""


def decide(row: Written, on_conflict: OnConflict) -> Decision:
    """What the table says."""
    rule = next(each for each in TABLE if each.fits(row))
    if rule.does == "conflict":
        return Decision(None, True, True) if on_conflict == "error" else Decision(on_conflict, True)
    return Decision(None if rule.does == "leave" else rule.does)
