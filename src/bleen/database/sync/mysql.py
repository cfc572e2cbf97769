"""Two-way sync on MySQL and MariaDB: two BEFORE ROW triggers a pair, one for INSERT and one for UPDATE, in the database of its table.

Why it is as it is:

- A change of the schema commits by itself, so triggers come and go one by one. For UPDATE comes first: what is inserted before the other one is there is not
  filled yet, which the backfill finds; an UPDATE that nobody saw would be a row that is wrong. It goes first, too: see ``remove``.
- A trigger is never replaced, as MySQL cannot: the one with the new text is created behind the old one (its name holds a hash of the text), finds every row in
  step as the old one left it, and then the old one goes.
- Triggers of one kind fire in the order of their creation (MySQL manual, "CREATE TRIGGER Statement"): ours is the last when it is installed.
- A column that is NOT NULL and has no default is NULL for a BEFORE INSERT trigger if the statement does not give it, and may be set there. MariaDB looks
  earlier at INSERT ... SELECT (and at DEFAULT as a value): the new version has to name such old columns there, or expand has to give them a default.
- Where that is allowed, as without a strict ``sql_mode`` or with IGNORE, the server puts 0, '' or such into it behind the trigger: ``forward`` is made of that.
- Values are compared by their bytes, as collations call equal what is not the same.
- A trigger does what its definer may, who is the role that made it (MySQL manual, "CREATE TRIGGER Statement"): once that is dropped, each write of the table
  fails. So a trigger of another role's counts as gone, and is made anew by the one that comes; the name of the role is in the hash.
- A trigger keeps the ``sql_mode`` and the character sets that it was created with (MySQL manual, "Stored Object Access Control", "CREATE TRIGGER"): every
  client's write comes to the same. ``time_zone`` it does not keep: hence what depends on it is refused.
- The variables of what is made are called as the columns that it is for: what does not fit into one fails the write, and the server says the variable's name.
  But for ``new`` and ``old``, which would hide the row of that name, and for what is called as the other variables are.
- Who writes is known by ``@bleen_environment`` in the session: ``SET @bleen_environment = 'green'``, which drivers send for each connection
  (init_command, sessionVariables).
- A dump keeps the text of a trigger as it was made. A name without its database is of the trigger's own, whoever fires it, and so of the one that a dump is
  restored into: triggers name none, but for a table elsewhere than in the database of the url, where CREATE TRIGGER would not find it.
- MariaDB counts with sequences, which nobody waits for and no rollback turns back. MySQL has none, and a row that is a counter would be one for which every
  writer waits until the one before has committed: there, nothing is counted. Nor where statements are logged: a table whose trigger names a sequence, the
  server then lets nobody write, whether the trigger would count or not.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from bleen.database import sync
from bleen.database.migration import Pair
from bleen.database.mysql.columns import INTEGERS, Shape, shapes
from bleen.database.mysql.server import MySQL
from bleen.database.rules.mysql_adding import ONLINE
from bleen.database.server import Missing, Server
from bleen.database.sync.expression import Expression
from bleen.database.sync.mysql_expression import constant, read
from bleen.database.sync.reasons import moved
from bleen.database.sync.table import Side
from bleen.database.tokens import read as tokens
from bleen.errors import Refused

PREFIX = "bleen_"

_EMPTY = {
    **dict.fromkeys((*INTEGERS, "decimal", "float", "double"), "0"),
    **dict.fromkeys(("char", "varchar", "binary", "varbinary", "set"), "''"),
    **dict.fromkeys(("tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob"), "('')"),
    "json": "('null')",
    "date": "'1970-01-01'",
    "datetime": "'1970-01-01 00:00:00'",
    "timestamp": "'1970-01-02 00:00:00'",
    "time": "'00:00:00'",
    "year": "1970",
    "uuid": "'00000000-0000-0000-0000-000000000000'",
    "inet4": "'0.0.0.0'",
    "inet6": "'::'",
}
"""By type: a value for a column that nobody gives one any more, until it is dropped."""
_ZERO = {"date": "'0000-00-00'", "datetime": "'0000-00-00 00:00:00'", "year": "0"}
"""By type: what the server itself takes for such a value, where that is another."""


class Trigger(NamedTuple):
    """One that is there, on the table of the pair: BEFORE INSERT or BEFORE UPDATE."""

    name: str
    event: str
    body: str
    definer: str


class _Fields(NamedTuple):
    server: MySQL
    migration: str
    number: int
    pair: Pair
    schema: str
    table: str
    shapes: Mapping[str, Shape]
    there: tuple[Trigger, ...]
    """The triggers of the table, in the order in which they fire."""
    counting: tuple[str, ...]
    """The sequences that are there, of those that are ours."""
    counts: bool
    """Whether the server lets a trigger count."""
    role: str
    """Who makes triggers now, as the server says it: ``deploy@%``."""
    writers: Mapping[str, Side]


class Sync(_Fields, sync.Sync):
    """Implements ``sync.Sync``."""

    def install(self, returning: bool = False) -> list[str]:
        """``returning``: see ``mysql_return``; a row that is out of step, and that an UPDATE leaves alone, is then as the new version wrote it: the old side is
        made from that, or stays as it is where that gives none.
        """
        bodies = {("return" if returning else "update"): self._body("UPDATE", returning), "insert": self._body("INSERT", returning)}
        wanted = {self._trigger(kind, body): ("INSERT" if kind == "insert" else "UPDATE", body) for kind, body in bodies.items()}
        ours = self.ours()
        found = {each.name for each in ours if each.definer == self.role}
        restored = [each.name for each in ours if each.name in wanted and each.name not in found]  # by another role, from a dump that named none
        counters = [f"CREATE SEQUENCE {self.named(name)} NOCACHE ENGINE=InnoDB" for name in self._sequences() if name not in self.counting]
        made = [self._create(name, event, body) for name, (event, body) in wanted.items() if name not in found]
        astray = self.server.rows(  # on a table that was swapped for this one
            "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s AND event_object_table <> %s AND trigger_name IN (%s, %s)",
            [self.schema, self.table, *wanted],
        )
        return [
            *counters,
            *(self._drop(name) for name in [*restored, *(name for (name,) in astray)]),
            *made,
            *(self._drop(each.name) for each in ours if each.name not in wanted),
        ]

    def rewrite(self) -> list[str]:
        """Those of another role stay as they are, as they would be ours afterwards: at worst they do not know a writer, and go by what changed."""
        return self.install(self.returning) if all(each.definer == self.role for each in self.ours()) else []

    def remove(self, leaves: Side = "old") -> list[str]:
        """Without its trigger, an INSERT that does not give a column which is NOT NULL and has no default would fail. So first another trigger gives it a
        value, then ours go, then it has that value as its default, and that trigger goes too. Where one value for all would not do, it may be NULL before. The
        trigger for UPDATE is gone before what is inserted is not filled any more: it would take the side that nobody gave for the one that is right.
        """
        demanded = self.demanded(leaves)
        held = [name for name in demanded if self._held(name)]
        freed = [name for name in demanded if name not in held]
        there = [each.name for each in sorted(self.ours(), key=lambda trigger: trigger.event != "UPDATE")]
        parting = self._parting in there
        return [
            *(f"ALTER TABLE {self.named(self.table)} MODIFY {self._q(name)} {_nullable(self._shape(name).definition)}, {ONLINE}" for name in held),
            *([self._part(freed)] if freed and not parting else []),
            *(self._drop(name) for name in there if name != self._parting),
            *(f"ALTER TABLE {self.named(self.table)} ALTER {self._q(name)} SET DEFAULT {self._empty(name)}" for name in freed),
            *([self._drop(self._parting)] if freed or parting else []),
            *(f"DROP SEQUENCE IF EXISTS {self.named(name)}" for name in self.counting),
        ]

    def demanded(self, leaves: Side) -> dict[str, str]:
        """The columns that ``remove`` makes otherwise, and how each was said. One that is gone already, nobody has to give."""
        leaving = [name for name in (self.pair.old if leaves == "old" else self.pair.new) if name in self.shapes]
        return {name: self._shape(name).definition for name in leaving if self._shape(name).demanded}

    def regain(self, was: Mapping[str, str]) -> list[str]:
        """Takes back the defaults that ``remove`` gave to columns, by the other trigger, to which the one of ``install`` comes before it goes."""
        freed = [name for name in was if self._shape(name).default]
        parting = [] if not freed or self._parting in [each.name for each in self.there] else [self._part(freed)]
        return [*parting, *(f"ALTER TABLE {self.named(self.table)} ALTER {self._q(name)} DROP DEFAULT" for name in freed)]

    def hold(self, was: Mapping[str, str]) -> list[str]:
        """Says columns again as they were, that ``remove`` let be NULL."""
        freed = [name for name in was if self._shape(name).nullable]
        return [f"ALTER TABLE {self.named(self.table)} MODIFY {self._q(name)} {was[name]}, {ONLINE}" for name in freed]

    def gone(self) -> str:
        """A dump without triggers leaves them out; where a table was swapped for another (pt-online-schema-change, gh-ost), that one has them."""
        return f"SELECT 2 - count(DISTINCT event_manipulation) {self._made()}"

    def others(self) -> str:
        """They may be of one that is no more, which only the server's administrator sees."""
        return f"SELECT count(*) {self._made()} AND definer <> CURRENT_USER()"

    def _made(self) -> str:
        """Its triggers, from FROM on."""
        name = self.server.literal(f"^{self.called('insert|update|return')}$")
        of = f"event_object_schema = {self.server.literal(self.schema)} AND event_object_table = {self.server.literal(self.table)}"
        return f"FROM information_schema.triggers WHERE {of} AND trigger_name REGEXP {name}"

    def diverged(self) -> str:
        """Nobody has to say which side is right of what a sync that has come back found: the new one, as the trigger knows that is there for it."""
        return "SELECT 0" if self.returning else f"SELECT count(*) {self.diverged_rows()}"

    def diverged_rows(self) -> str:
        """Those out of step, from FROM on; ``t`` is the table."""
        back = [self._same(name, f"t.{self._q(name)}", self._shape(name).cast(each.over(self._of("t")))) for name, each in self.backward().items()]
        return f"{self.lost_rows()} AND NOT ({' AND '.join(back)})"

    def returning_rows(self) -> str:
        """Those of them that have an old side to be made from the new one."""
        needed = [f" AND {each.over(self._of('t'))} IS NOT NULL" for name, each in self.backward().items() if not self._shape(name).nullable]
        return self.diverged_rows() + "".join(needed)

    def lost_rows(self) -> str:
        made = [self._same(name, f"t.{self._q(name)}", self._shape(name).cast(each.over(self._of("t")))) for name, each in self.forward().items()]
        return f"FROM {self.named(self.table)} t WHERE NOT ({' AND '.join(made)})"

    def unreadable_rows(self, key: Sequence[str] = ()) -> str:
        """See ``sync.Sync``; ``made`` has the columns of ``key`` under their names."""
        made = [f"{self._shape(name).cast(each.over(self._of('t')))} AS {self._q(f'new {n}')}" for n, (name, each) in enumerate(self.forward().items())]
        kept = [f"t.{self._q(name)} AS {self._q(f'old {name}')}" for name in self.pair.old] + [f"t.{self._q(name)}" for name in key]
        places = {name: f"made.{self._q(f'new {n}')}" for n, name in enumerate(self.pair.new)}
        back = [
            self._same(name, f"made.{self._q(f'old {name}')}", self._shape(name).cast(each.over(lambda column: places[column])))
            for name, each in self.backward().items()
        ]
        return f"FROM (SELECT {', '.join([*kept, *made])} FROM {self.named(self.table)} t) made WHERE NOT ({' AND '.join(back)})"

    def written(self) -> str:
        return self._count(0)

    def conflicts(self) -> str:
        return self._count(1)

    @property
    def name(self) -> str:
        """What the names of its triggers begin with. MySQL's names have 64 characters; a migration's may have more."""
        return f"{PREFIX}{sync.short(self.migration, 35, 26)}_{self.number}"

    def ours(self) -> list[Trigger]:
        """The triggers of this very sync that are there."""
        return [each for each in self.there if re.fullmatch(self.called("insert|update|parts|return"), each.name)]

    @property
    def whole(self) -> bool:
        """Whether both triggers are there, so that no write has passed them by."""
        return all(any(re.fullmatch(self.called(kind), each.name) for each in self.there) for kind in ("insert", "update"))

    @property
    def returning(self) -> bool:
        """Whether the trigger for UPDATE is the one of a sync that comes back: see ``mysql_return``."""
        return any(re.fullmatch(self.called("return"), each.name) for each in self.there)

    def called(self, events: str) -> str:
        """What the names of its triggers match, whatever their texts; the name of a migration has nothing in it that means something there."""
        return f"{self.name}_({events})_[0-9a-f]{{8}}"

    def named(self, name: str) -> str:
        return f"{self._q(self.schema)}.{self._q(name)}"

    def dumped(self, name: str) -> str:
        """As CREATE TRIGGER says it, which a dump repeats."""
        return self._q(name) if self.server.qualified([self.table]) == (self.schema, self.table) else self.named(name)

    def forward(self) -> Mapping[str, Expression]:
        return {name: read(self.pair.forward[name], f"forward of {name}", self.table, self.pair.old) for name in self.pair.new}

    def backward(self) -> Mapping[str, Expression]:
        return {name: read(self.pair.backward[name], f"backward of {name}", self.table, self.pair.new) for name in self.pair.old}

    def _sequences(self) -> list[str]:
        return sequences(self.name) if self.counts else []

    def _count(self, which: int) -> str:
        name = sequences(self.name)[which]
        return f"SELECT next_not_cached_value - 1 FROM {self.named(name)}" if name in self.counting else ""

    def _next(self, which: int) -> str:
        return f"SET bleen_count = NEXT VALUE FOR {self._q(self._sequences()[which])};" if self.counts else ""

    @property
    def _parting(self) -> str:
        return f"{self.name}_parts_00000000"

    def _trigger(self, kind: str, body: str) -> str:
        return f"{self.name}_{kind}_{hashlib.sha256(f'{self.role} {self.dumped(self.table)} {body}'.encode()).hexdigest()[:8]}"

    def _create(self, name: str, event: str, body: str) -> str:
        first = f"PRECEDES {self._q(self._parting)} " if event == "INSERT" and self._parting in [each.name for each in self.there] else ""
        return f"CREATE TRIGGER {self.dumped(name)} BEFORE {event} ON {self.dumped(self.table)} FOR EACH ROW {first}{body}"

    def _part(self, freed: Sequence[str]) -> str:
        """Makes the trigger that gives columns a value which an INSERT would have to give."""
        given = " ".join(f"IF NEW.{self._q(name)} IS NULL THEN SET NEW.{self._q(name)} = {self._empty(name)}; END IF;" for name in freed)
        return self._create(self._parting, "INSERT", f"BEGIN {given} END")

    def _drop(self, name: str) -> str:
        return f"DROP TRIGGER IF EXISTS {self.named(name)}"

    def _held(self, name: str) -> bool:
        """Whether no one value is right for every row, or none can be the default: of MySQL's TEXT, BLOB and JSON (its manual, "The BLOB and TEXT Types")."""
        shape = self._shape(name)
        return shape.held or (shape.base not in _EMPTY and shape.base != "enum") or (not self.server.mariadb and self._empty(name).startswith("("))

    def _empty(self, name: str) -> str:
        shape = self._shape(name)
        if shape.base == "enum":
            return shape.members[0]
        return _EMPTY["json" if shape.document else shape.base]

    def _shape(self, column: str) -> Shape:
        try:
            return self.shapes[column]
        except KeyError:
            raise Refused(f"{self.table} has no column {column}; it has {', '.join(self.shapes)}") from None

    def _body(self, event: str, returning: bool) -> str:
        insert = event == "INSERT"
        old, new = self.pair.old, self.pair.new
        filled, taken = ({name: self._variable(name) for name in side} for side in (new, old))
        empty = {name: f"bleen_empty_{number}" for number, name in enumerate((*old, *new)) if self._closed(name)} if insert else {}
        declared = {variable: f"{self._shape(name).declared}" for each in (filled, taken) for name, variable in each.items()}
        declared |= {variable: f"{self._shape(name).declared} DEFAULT {self._shape(name).default or 'NULL'}" for name, variable in empty.items()}
        fill = " ".join(f"SET NEW.{self._q(name)} = {variable};" for name, variable in filled.items())
        take = " ".join([self._next(0), *(f"SET NEW.{self._q(name)} = {variable};" for name, variable in taken.items())]).strip()
        touched = [self._given(side, empty) if insert else self._changed(side) for side in (old, new)]
        whole = " AND ".join(["TRUE", *(f"{variable} IS NOT NULL" for name, variable in taken.items() if not self._shape(name).nullable)])
        return _BODY.format(
            signature=sync.signature(self.pair).replace("*/", r"*\/"),
            declared="\n".join(f"  DECLARE {variable} {kind};" for variable, kind in declared.items()),
            filled="\n".join(f"  SET {filled[name]} = {each.over(self._of('NEW'))};" for name, each in self.forward().items()),
            taken="\n".join(f"  SET {taken[name]} = {each.over(self._of('NEW'))};" for name, each in self.backward().items()),
            in_step_forward=self._all_same(new, filled) + (self._complete(old) if insert else ""),
            in_step_backward=self._all_same(old, taken) + (self._complete(new) if insert else ""),
            old_touched=touched[0],
            new_touched=touched[1],
            implied=self._implied(filled),
            fill=fill,
            take=take,
            writer=self._writer(),
            ungiven=_UNGIVEN.format(fill=fill) if insert else "",
            unwritten=_UNWRITTEN.format(ends=f"({missing})" if (missing := self._missing()) else "FALSE", fill=fill) if insert else "",
            untouched="" if insert else _UNTOUCHED.format(fill=f"IF {whole} THEN {take} END IF;" if returning else fill),
            alone=_ALONE.format(only_old=self._only_old(), fill=fill) if insert else "",
            conflict=f"{self._next(1)} {self._conflict()}".strip(),
        )

    def _variable(self, column: str) -> str:
        taken = column.lower() in ("new", "old") or column.lower().startswith("bleen_")
        return self._q(f"bleen_of_{column}" if taken else column)

    def _same(self, name: str, one: str, other: str) -> str:
        return f"({self._shape(name).same(one, other)})"

    def _all_same(self, names: Sequence[str], variables: Mapping[str, str]) -> str:
        return " AND ".join(self._same(name, f"NEW.{self._q(name)}", variables[name]) for name in names)

    def _changed(self, names: Sequence[str]) -> str:
        return f"NOT ({' AND '.join(self._same(name, f'NEW.{self._q(name)}', f'OLD.{self._q(name)}') for name in names)})"

    def _complete(self, columns: Iterable[str]) -> str:
        """No column is NULL that must not be."""
        needed = [f"NEW.{self._q(name)} IS NOT NULL" for name in columns if not self._shape(name).nullable]
        return "".join(f" AND {each}" for each in needed)

    def _implied(self, filled: Mapping[str, str]) -> str:
        """Has ``forward`` made of what will be in the row, for old columns that are NULL and must not be; not for who gives the new side alone."""
        ends = self._ends()
        over = {name: f"COALESCE(NEW.{self._q(name)}, {value})" for name, value in ends.items()}
        made = [f"SET {filled[name]} = {each.over(lambda column: over.get(column, f'NEW.{self._q(column)}'))};" for name, each in self.forward().items()]
        return _IMPLIED.format(missing=self._missing(), filled=" ".join(made)) if ends else ""

    def _ends(self) -> dict[str, str]:
        """The old columns in which no NULL stays, and what the server puts there."""
        return {name: self._shape(name).cast(value) for name in self.pair.old if (value := self._left(name))}

    def _missing(self) -> str:
        return " OR ".join(f"NEW.{self._q(name)} IS NULL" for name in self._ends())

    def _left(self, name: str) -> str:
        """What the server puts into a column that must not be NULL and that is NULL behind the triggers; empty where it does not, or where that is not known: a
        TIMESTAMP gets the time.
        """
        shape = self._shape(name)
        if shape.nullable or shape.base == "timestamp" or (shape.base not in _EMPTY and shape.base != "enum"):
            return ""
        return _ZERO.get(shape.base) or self._empty(name)

    def _only_old(self) -> str:
        said = " OR ".join(f"NEW.{self._q(name)} IS NOT NULL" for name in self.pair.old)
        return f"({said}) AND {' AND '.join(f'NEW.{self._q(name)} IS NULL' for name in self.pair.new)}{self._complete(self.pair.old)}"

    def _closed(self, column: str) -> bool:
        return not self._shape(column).default or constant(self._shape(column).default)

    def _given(self, columns: Sequence[str], empty: Mapping[str, str]) -> str:
        """True if a column is not its default, NULL if that cannot be told, else false."""
        closed = [name for name in columns if name in empty]
        given = f"NOT ({self._all_same(closed, empty)})" if closed else "FALSE"
        return given if len(closed) == len(columns) else f"{given} OR NULL"

    def _writer(self) -> str:
        if not self.writers:
            return "NULL"
        named = " ".join(f"WHEN {self.server.literal(name)} THEN {self.server.literal(side)}" for name, side in sorted(self.writers.items()))
        short = "REGEXP_REPLACE(CAST(@bleen_environment AS CHAR), '-[0-9]+$', '')"
        return f"COALESCE(CASE CAST(@bleen_environment AS BINARY) {named} END, CASE CAST({short} AS BINARY) {named} END)"

    def _conflict(self) -> str:
        if self.pair.on_conflict != "error":
            return f"SET bleen_source = {self.server.literal(self.pair.on_conflict or 'old')};"
        what = f"bleen: set @bleen_environment, or write one side: {', '.join(self.pair.old)} and {', '.join(self.pair.new)} of {self.table} disagree"
        number = 4025 if self.server.mariadb else 3819
        return f"SIGNAL SQLSTATE '23000' SET MESSAGE_TEXT = {self.server.literal(what[:128])}, MYSQL_ERRNO = {number};"

    def _q(self, name: str) -> str:
        return self.server.quoted(name)

    def _of(self, row: str) -> Callable[[str], str]:
        return lambda column: f"{row}.{self._q(column)}"


_IMPLIED = """
  IF (bleen_old OR bleen_new IS NOT TRUE) AND ({missing}) THEN
    {filled}
  END IF;"""

_UNGIVEN = """
  IF NOT bleen_new AND bleen_source = 'old' THEN
    {fill}
    LEAVE bleen;
  END IF;"""

_UNWRITTEN = """
    IF NOT bleen_old AND NOT bleen_new AND (bleen_source IS NULL OR {ends}) THEN
      {fill}
    END IF;"""

_UNTOUCHED = """
  IF NOT bleen_old THEN
    {fill}
    LEAVE bleen;
  END IF;"""

_ALONE = """
    IF NOT bleen_new AND {only_old} THEN
      {fill}
      LEAVE bleen;
    END IF;"""

_BODY = """\
bleen: BEGIN
  /* {signature} */
  DECLARE bleen_old BOOLEAN;
  DECLARE bleen_new BOOLEAN;
  DECLARE bleen_source VARCHAR(3) CHARACTER SET ascii;
  DECLARE bleen_count BIGINT;
{declared}
{filled}
  IF {in_step_forward} THEN
    LEAVE bleen;
  END IF;
  SET bleen_old = {old_touched};
  SET bleen_new = {new_touched};{implied}
  IF bleen_old AND NOT bleen_new THEN
    {fill}
    LEAVE bleen;
  END IF;
{taken}
  IF bleen_new AND NOT bleen_old THEN
    {take}
    LEAVE bleen;
  END IF;
  SET bleen_source = {writer};{ungiven}
  IF {in_step_backward} THEN{unwritten}
    LEAVE bleen;
  END IF;{untouched}
  IF bleen_source IS NULL THEN{alone}
    {conflict}
  END IF;
  IF bleen_source = 'old' THEN
    {fill}
  ELSE
    {take}
  END IF;
END"""


def of(server: Server, migration: str, number: int, pair: Pair, writers: Mapping[str, Side]) -> Sync:
    """The sync of a pair, with what the catalogue says of its columns. See ``sync.of``."""
    mysql = cast(MySQL, server)
    schema, table = mysql.named(pair.table)
    columns = shapes(mysql, pair.table)
    if not columns:
        ours = f"^{Sync(mysql, migration, number, pair, schema, table, {}, (), (), False, '', {}).called('insert|update|parts|return')}$"
        query = "SELECT event_object_table, trigger_name FROM information_schema.triggers WHERE trigger_schema = %s AND trigger_name REGEXP %s"
        for to, trigger in mysql.rows(query, [schema, ours]):
            raise Refused(moved(pair, to, trigger))
        raise Missing(f"there is no table {pair.table} in {schema}; name it with its database")
    there = mysql.rows(
        "SELECT trigger_name, event_manipulation, coalesce(action_statement, ''), definer FROM information_schema.triggers WHERE event_object_schema = %s"
        " AND event_object_table = %s AND action_timing = 'BEFORE' AND event_manipulation IN ('INSERT', 'UPDATE') ORDER BY event_manipulation, action_order",
        [schema, table],
    )
    counts = mysql.mariadb and not mysql.logs_statements()
    role = mysql.rows("SELECT CURRENT_USER()")[0][0]
    named = Sync(mysql, migration, number, pair, schema, table, columns, tuple(Trigger(*each) for each in there), (), counts, role, dict(writers))
    counting = mysql.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_name IN (%s, %s) AND table_type = 'SEQUENCE'",
        [schema, *sequences(named.name)],
    )
    return named._replace(counting=tuple(row[0] for row in counting))


def remains(server: Server, migration: str, number: int, pair: Pair) -> list[str]:
    """See ``sync.remains``: what it counts by."""
    mysql = cast(MySQL, server)
    schema, table = mysql.named(pair.table)
    without = Sync(mysql, migration, number, pair, schema, table, {}, (), (), False, "", {})
    return [f"DROP SEQUENCE IF EXISTS {without.named(name)}" for name in sequences(without.name)] if mysql.mariadb else []


def sequences(name: str) -> list[str]:
    """Those that count for a sync: rows that the new shape wrote, and conflicts."""
    return [f"{name}_written", f"{name}_conflicts"]


def _nullable(definition: str) -> str:
    """A column's definition, such that it may be NULL."""
    given = tokens(definition, "mysql").sentences[0].tokens
    at = next((at for at, token in enumerate(given[:-1]) if token.word == "NOT" and given[at + 1].word == "NULL"), None)
    return definition if at is None else definition[: given[at].offset] + definition[given[at + 1].offset :]
