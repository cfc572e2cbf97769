"""Two-way sync on SQLite: an AFTER INSERT and an AFTER UPDATE trigger a pair, and one table ``bleen_sync`` with a row a pair.

Why it is as it is:

- A BEFORE trigger of SQLite cannot change the row that is written, and one that writes the same row leaves the result undefined ("CREATE TRIGGER",
  section 3): so ours write it again, AFTER. Hence what RETURNING gives is not what they have made, and a column that must not be NULL needs a default.
- A connection has no settings: nobody knows who writes. Which columns changed decides, else ``on_conflict``.
- Our own write fires triggers again: the AFTER UPDATE one from the AFTER INSERT one, those of the other pairs of the table, and all where an application
  has set ``recursive_triggers``. While we write a row, ``bleen_sync`` names it, and what is then no change, or makes the old side of the new one, is ours.
  Only that is let pass: a statement with OR FAIL can end in the middle, and leave the name there.
- AFTER triggers fire newest first: ours, which are made last, see the row as it was written, before a trigger of the application writes it again. But those
  that keep something of the rows elsewhere (an index for search) have to see what was written before our UPDATE fires them: they are made anew behind ours.
- A trigger that is made later and writes the row again, to note the time, say, fires ours for a row out of step of which nothing changed: as one that nobody
  has filled, it is made from its old side. Only behind that, ours fires for what was written, and first writes the new side again.
- At its end each trigger looks whether the row is in step: under OR IGNORE, which holds for the statements inside of triggers too, a constraint on the
  columns that we write is passed over in silence.
- Only what SQLite has long had is used in them: the application may come with an older one, which has to read the whole schema.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bleen.database import sync
from bleen.database.migration import Pair
from bleen.database.server import Missing, Server
from bleen.database.sqlite.triggers import Trigger, before_ours, triggers
from bleen.database.sqlite.values import Table, default, literal, look, quoted
from bleen.database.sync.reasons import moved
from bleen.database.sync.table import Side
from bleen.errors import Refused

PREFIX = "~bleen_"
SIDES: tuple[Side, Side] = ("old", "new")

STATE = (
    "CREATE TABLE IF NOT EXISTS bleen_sync (name text PRIMARY KEY, of_table text NOT NULL, columns text NOT NULL, source text, writing text,"
    " written integer NOT NULL, conflicts integer NOT NULL)"
)
"""``source`` and ``writing``: which side counts, and which row is being written, within a statement. ``columns``: those of the pair, for other pairs."""


class _Fields(NamedTuple):
    migration: str
    number: int
    pair: Pair
    table: Table
    before: tuple[Trigger, ...] = ()
    """Those of the application's that have to fire before ours, oldest first."""
    there: frozenset[str] = frozenset()
    """The texts of its own triggers, as the catalogue has them."""


class Sync(_Fields, sync.Sync):
    """Implements ``sync.Sync``."""

    def install(self) -> list[str]:
        columns = ", ".join(map(quoted, (*self.pair.old, *self.pair.new)))
        row = f"INSERT OR IGNORE INTO bleen_sync VALUES ({literal(self.name)}, {literal(self.table.name)}, {literal(columns)}, NULL, NULL, 0, 0)"
        anew = [text for each in self.before for text in (f"DROP TRIGGER {quoted(each.name)}", each.text)]
        return [STATE, row, *self._drops(), *self._triggers(), *anew]

    def remove(self, leaves: Side = "old") -> list[str]:
        return [STATE, *self._drops(), f"DELETE FROM bleen_sync WHERE name = {literal(self.name)}"]

    def rewrite(self) -> list[str]:
        """Nothing in it depends on who writes; but an earlier version of bleen may have made them otherwise."""
        return [] if self.there == {*self._triggers()} else self.install()

    def gone(self) -> str:
        """A table that is made anew and given the old one's name, as SQLite's manual has it for ALTER TABLE, and Alembic and Django do it, has no triggers."""
        names = ", ".join(map(literal, self.named()))
        of = f"tbl_name = {literal(self.table.name)} COLLATE NOCASE"
        return f"SELECT 2 - count(*) FROM sqlite_master WHERE type = 'trigger' AND {of} AND name IN ({names})"

    def diverged(self) -> str:
        return f"{self.lost()} AND NOT {self.in_step('new', 't')}"

    def lost_rows(self) -> str:
        return f"FROM {self._of} AS t WHERE NOT {self.in_step('old', 't')}"

    def unreadable_rows(self) -> str:
        """See ``sync.Sync``; ``t`` is the table."""
        made = {name: f"CAST({v} AS TEXT)" if self.table.columns[name].affinity == "text" else v for name, v in self._values("old", "t").items()}
        back = {name: self._over(self.pair.backward[name], made) for name in self.pair.old}
        return f"FROM {self._of} AS t WHERE NOT ({' AND '.join(self.table.same('t', name, value) for name, value in back.items())})"

    def written(self) -> str:
        return self._count("written")

    def conflicts(self) -> str:
        """What a statement failed for, or was rolled back, is not among them."""
        return self._count("conflicts")

    @property
    def name(self) -> str:
        """Of its row, and of its triggers, but for what they fire on."""
        return f"{PREFIX}{sync.short(self.migration, 60, 50)}_{self.number}"

    def in_step(self, source: Side, row: str) -> str:
        """Whether the other side of a row is what is made of the source."""
        return "(" + " AND ".join(self.table.same(row, name, value) for name, value in self._values(source, row).items()) + ")"

    @property
    def _of(self) -> str:
        return quoted(self.table.name)

    def _values(self, source: Side, row: str) -> dict[str, str]:
        """The columns of the other side, and what each is made from."""
        columns, expressions = (self.pair.old, self.pair.forward) if source == "old" else (self.pair.new, self.pair.backward)
        given = {name: f"{row}.{quoted(name)}" for name in columns}
        return {name: self._over(expression, given) for name, expression in expressions.items()}

    def _over(self, expression: str, given: Mapping[str, str]) -> str:
        """An expression in which each name stands for what is given; no other name means anything in it."""
        named = ", ".join(f"{value} AS {quoted(name)}" for name, value in given.items())
        return f"(SELECT (\n{expression}\n) FROM (SELECT {named}))"

    def _count(self, what: str) -> str:
        return f"SELECT coalesce(max({what}), 0) FROM bleen_sync WHERE name = {literal(self.name)}"

    def _drops(self) -> list[str]:
        return [f"DROP TRIGGER IF EXISTS {quoted(name)}" for name in self.named()]

    def named(self) -> list[str]:
        return [f"{self.name}_{event}" for event in ("insert", "update")]

    def _triggers(self) -> list[str]:
        return [self._trigger("INSERT", self._inserted()), self._trigger("UPDATE", self._updated())]

    def _inserted(self) -> str:
        """The side that counts, by the decision table, for an INSERT; 'leave' or 'conflict' where none does."""
        old, new = self._given(self.pair.old), self._given(self.pair.new)
        said = " OR ".join(f"NEW.{quoted(name)} IS NOT NULL" for name in self.pair.old)
        only_old = f"({said}) AND {' AND '.join(f'NEW.{quoted(name)} IS NULL' for name in self.pair.new)}"
        return (
            f"CASE WHEN {self.in_step('old', 'NEW')} THEN 'leave' WHEN {old.touched} AND {new.untouched} THEN 'old'"
            f" WHEN {old.untouched} AND {new.touched} THEN 'new' WHEN {self.in_step('new', 'NEW')} THEN"
            f" CASE WHEN {old.untouched} AND {new.untouched} THEN 'old' ELSE 'leave' END"
            f" WHEN {new.untouched} AND {only_old} THEN 'old' ELSE 'conflict' END"
        )

    def _updated(self) -> str:
        """The same for an UPDATE."""
        old, new = self._changed(self.pair.old), self._changed(self.pair.new)
        return (
            f"CASE WHEN {self.in_step('old', 'NEW')} THEN 'leave' WHEN {old} AND NOT {new} THEN 'old' WHEN {new} AND NOT {old} THEN 'new'"
            f" WHEN {self.in_step('new', 'NEW')} THEN 'leave' WHEN NOT {old} THEN 'old' ELSE 'conflict' END"
        )

    def _given(self, side: Sequence[str]) -> "_Given":
        """What an INSERT did to the columns of a side: see ``sync.table.Touch``."""
        defaults = {name: default(self.table.columns[name].default) for name in side}
        closed = [f"NOT {self.table.same('NEW', name, value)}" for name, value in defaults.items() if value is not None]
        touched = f"({' OR '.join(closed) or '0'})"
        return _Given(touched, f"(NOT {touched})" if len(closed) == len(side) else "0")

    def _changed(self, side: Sequence[str], row: str = "NEW", since: str = "OLD") -> str:
        return "(" + " OR ".join(f"NOT {self.table.same(row, name, f'{since}.{quoted(name)}')}" for name in side) + ")"

    def _key(self) -> str:
        return " || ',' || ".join(f"hex(quote(NEW.{name}))" for name in self.table.locator)

    def _trigger(self, event: str, decided: str) -> str:
        """``decided`` is of the row as it was written, whatever has been done to it since."""
        name, of = literal(self.name), self._of
        here = " AND ".join(f"{of}.{each} = NEW.{each}" for each in self.table.locator)
        state = f"(SELECT {_top('source')} FROM bleen_sync WHERE name = {name})"
        known = self.pair.on_conflict if self.pair.on_conflict != "error" else None
        sources = {side: f"('{side}', 'conflict')" if known == side else f"('{side}')" for side in SIDES}
        ours = ""
        if event == "UPDATE":
            still = f"(NOT {self._changed(self.pair.old)} OR {self.in_step('new', 'NEW')}) AND NOT {self._changed(self.pair.new)}"
            ours = f" AND NOT ({still} AND EXISTS (SELECT 1 FROM bleen_sync WHERE of_table = {literal(self.table.name)} AND {_top('writing')} = {self._key()}))"
        body = [f"UPDATE bleen_sync SET {_pushed('source', decided)}, {_pushed('writing', self._key())} WHERE name = {name}"]
        if known is None:
            body.append(f"SELECT RAISE(ABORT, {literal(self._undecided())}) WHERE {state} = 'conflict'")
        body.append(f"{self._again(of)} AND {here} AND {state} IN {sources['new']}")
        for source in SIDES:
            made = ", ".join(f"{quoted(name)} = {value}" for name, value in self._values(source, "NEW").items())
            body.append(f"UPDATE {of} SET {made} WHERE {here} AND {state} IN {sources[source]}")
        out = f"CASE WHEN {state} IN {sources['old']} THEN NOT {self.in_step('old', of)} ELSE NOT {self.in_step('new', of)} END"
        body.append(f"SELECT RAISE(ABORT, {literal(self._unheld())}) FROM {of} WHERE {here} AND {out}")
        counts = f"written = written + ({_top('source')} IN {sources['new']}), conflicts = conflicts + ({_top('source')} = 'conflict')"
        body.append(f"UPDATE bleen_sync SET {counts}, {_popped('source')}, {_popped('writing')} WHERE name = {name}")
        head = f"CREATE TRIGGER {quoted(f'{self.name}_{event.lower()}')} AFTER {event} ON {of} FOR EACH ROW WHEN ({decided}) <> 'leave'{ours}"
        return f"{head} BEGIN\n" + "".join(f"  {each};\n" for each in body) + "END"

    def _again(self, row: str) -> str:
        """Writes the new side as the statement did, where all that has been done to the row since is that it was made from the old side; and the old one, as
        else this would count as a write of its own.
        """
        values = {name: f"NEW.{quoted(name)}" for name in self.pair.new} | self._values("new", "NEW")
        written = ", ".join(f"{quoted(name)} = {value}" for name, value in values.items())
        kept = f"NOT {self._changed(self.pair.old, row, 'NEW')} AND {self.in_step('old', row)}"
        return f"UPDATE {row} SET {written} WHERE {self._changed(self.pair.new, row, 'NEW')} AND {kept}"

    def _undecided(self) -> str:
        return (
            f"bleen: {', '.join(self.pair.old)} and {', '.join(self.pair.new)} of {self.table.name} do not say the same, and nothing says which of them"
            " counts: write one side only"
        )

    def _unheld(self) -> str:
        both = f"{', '.join(self.pair.old)} and {', '.join(self.pair.new)} of {self.table.name}"
        return f"bleen: {both} cannot both hold what was written: a constraint forbids it"


# A trigger of the user's may write another row while ours writes one, and so fire ours within ours: what each has to know lies on a stack, a line a level.

_END = "char(10)"


def _pushed(column: str, value: str) -> str:
    return f"{column} = ({value}) || {_END} || coalesce({column}, '')"


def _top(column: str) -> str:
    return f"substr({column}, 1, instr({column}, {_END}) - 1)"


def _popped(column: str) -> str:
    return f"{column} = nullif(substr({column}, instr({column}, {_END}) + 1), '')"


class _Given(NamedTuple):
    """Two conditions on a row to be inserted; neither holds if its defaults leave it open."""

    touched: str
    untouched: str


def of(server: Server, migration: str, number: int, pair: Pair) -> Sync:
    """The sync of a pair, with what the catalogue says of its columns. See ``sync.of``."""
    table = look(server, pair.table)
    if table is None:
        ours = ", ".join(map(literal, _without_table(migration, number, pair).named()))
        for to, trigger in server.rows(f"SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger' AND name IN ({ours})"):
            raise Refused(moved(pair, to, trigger))
        raise Missing(f"there is no table {pair.table}")
    if missing := [name for name in (*pair.old, *pair.new) if name not in table.columns]:
        raise Missing(f"{table.name} has no column {', '.join(missing)}; add it in expand.sql, or write it as the catalogue does: {', '.join(table.columns)}")
    first, _ = before_ours(triggers(server, PREFIX), table.name, (*pair.old, *pair.new))
    made = Sync(migration, number, pair, table, tuple(first))
    there = server.rows(f"SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name IN ({', '.join(map(literal, made.named()))})")
    return made._replace(there=frozenset(text for (text,) in there))


def remains(migration: str, number: int, pair: Pair) -> list[str]:
    """See ``sync.remains``: its row of ours."""
    return _without_table(migration, number, pair).remove()


def _without_table(migration: str, number: int, pair: Pair) -> Sync:
    return Sync(migration, number, pair, Table("", {}, ""))
