"""Two-way sync on PostgreSQL: one PL/pgSQL BEFORE ROW trigger a pair, in the schema of its table.

Why it is as it is:

- Its name begins with ``~``, the last character of ASCII: BEFORE triggers fire in the order of their names (PostgreSQL manual, "Overview of Trigger
  Behavior"), and ours must see what the others made of the row.
- It fires on every UPDATE, not UPDATE OF: a row whose key moved behind the backfill's cursor is filled by whoever touches it.
- Where it can, it has a condition (WHEN), which is evaluated without calling it: for a row in step it costs 1 µs, and not 3.
- Nothing in it is a query but for the counting: PL/pgSQL evaluates such expressions without the executor, 0.2 µs each.
- Values are compared by their bytes (``record_image_eq``), so that every type can be, and 1.0 that becomes 1.00 is a change.
- ``search_path`` is pinned, and what else the values of its types depend on, to what they were for whoever installed it: every client's write
  must come to the same. It costs 0.9 µs a row on PostgreSQL 15, 0.1 µs on 18.
- It is not SECURITY DEFINER, and needs no right of the writing role: the counting finds its sequence through the catalogue, as a role that writes
  through a view may not use the schema of the table.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from psycopg import sql

from bleen.database import sync
from bleen.database.migration import Pair
from bleen.database.postgres.triggers import PREFIX
from bleen.database.server import Missing, Server
from bleen.database.sync.expression import Expression
from bleen.database.sync.postgres_expression import constant, read
from bleen.database.sync.reasons import moved
from bleen.database.sync.table import Side
from bleen.errors import Refused

_TEXTS = ("DateStyle", "IntervalStyle", "TimeZone", "bytea_output", "extra_float_digits")
"""The settings of a session on which the text of some type depends (PostgreSQL manual, "Client Connection Defaults", "Locale and Formatting")."""
_LOCALES = ("lc_monetary", "lc_numeric", "lc_time")
"""And those on which ``to_char`` and its like depend, and the type money."""
_READINGS = {
    "standard_conforming_strings": re.compile(r"\\"),
    "backslash_quote": re.compile(r"\\'"),
    "array_nulls": re.compile(r"\{|\[\]"),
    "transform_null_equals": re.compile(r"(?<!:)=[\s(]*NULL\b|\bNULL[\s)]*=", re.IGNORECASE),
}
"""And those by which a session reads the text of a function that it calls for the first time, each with what it makes something else of."""

_STEADY = ("bool", "bpchar", "int2", "int4", "int8", "json", "jsonb", "name", "numeric", "text", "uuid", "varchar")
"""Types whose text is the same in every session."""
_NEAR = (*_STEADY, "float4", "float8", "any", "anyelement", "anyarray", "anynonarray", "anycompatible", "anycompatiblearray", "unknown")
"""Types that a function may take which is called with those."""


class Shape(NamedTuple):
    """A column of a pair as the catalogue has it."""

    type: str
    """With its length and such: ``numeric(10,2)``."""
    base: str
    """Without: ``numeric``."""
    nullable: bool
    default: str
    """The expression; empty if there is none."""


class Calls(NamedTuple):
    """What the expressions of a pair call."""

    own: bool
    """Perhaps something that is not PostgreSQL's own, and so may depend on a session's ``search_path``."""
    steady: bool
    """Nothing that takes or gives a type whose text depends on a session's settings."""


class _Fields(NamedTuple):
    migration: str
    number: int
    pair: Pair
    schema: str
    table: str
    shapes: Mapping[str, Shape]
    path: str
    """The schemas in which its expressions look for what they name, as SQL writes them."""
    settings: Mapping[str, str]
    """Of the session that it was first made in; those are pinned that matter."""
    writers: Mapping[str, Side]
    calls: "Calls"
    astray: tuple[tuple[str, str, str], ...] = ()
    """Its triggers on tables that others were swapped for, which call its function: each with its schema and its table."""


class Sync(_Fields, sync.Sync):
    """Implements ``sync.Sync``."""

    def install(self) -> list[str]:
        sequences = [f"CREATE SEQUENCE IF NOT EXISTS {self.named(name)}" for name in self._sequences()]
        comment = f"COMMENT ON TRIGGER {_quoted(self.name)} ON {self.named(self.table)} IS {_literal(sync.signature(self.pair))}"
        return [*sequences, *self.rewrite(), *self.tighten(), comment]

    def loosen(self) -> list[str]:
        return [self._trigger("")]

    def tighten(self) -> list[str]:
        return [self._trigger(self._unless_in_step())]

    def _trigger(self, condition: str) -> str:
        return (
            f"CREATE OR REPLACE TRIGGER {_quoted(self.name)} BEFORE INSERT OR UPDATE ON {self.named(self.table)}"
            f" FOR EACH ROW{condition} EXECUTE FUNCTION {self.named(self.name)}()"
        )

    def remove(self, leaves: Side = "old") -> list[str]:
        return [
            f"DROP TRIGGER IF EXISTS {_quoted(self.name)} ON {self.named(self.table)}",
            *(f"DROP TRIGGER IF EXISTS {_quoted(name)} ON {sql.Identifier(*table).as_string()}" for *table, name in self.astray),
            f"DROP FUNCTION IF EXISTS {self.named(self.name)}()",
            *(f"DROP SEQUENCE IF EXISTS {self.named(name)}" for name in self._sequences()),
        ]

    def rewrite(self) -> list[str]:
        """With the rights of whoever writes, which a dump may leave out (``--no-acl``), and somebody who tightens rights may take away."""
        body = self._body()
        mark = "$bleen$"
        while mark in body:
            mark = f"$b{mark[1:]}"
        pinned = [f"SET {_quoted(name)} TO {_literal(value)}" for name, value in {**self.pinned, **self._read_by(body)}.items()]
        head = f"CREATE OR REPLACE FUNCTION {self.named(self.name)}() RETURNS trigger LANGUAGE plpgsql SET search_path TO {self.path} {' '.join(pinned)}"
        grants = [f"GRANT USAGE ON SEQUENCE {self.named(name)} TO PUBLIC" for name in self._sequences()]
        return [f"{head} AS {mark}\n{body}{mark}", *grants]

    def diverged(self) -> str:
        back = [self._cast(name, each.over(_of("t"))) for name, each in self.backward().items()]
        return f"{self.lost()} AND NOT {_same(_columns('t', self.pair.old), back)}"

    def lost_rows(self) -> str:
        made = [self._cast(name, each.over(_of("t"))) for name, each in self.forward().items()]
        return f"FROM {self.named(self.table)} t WHERE NOT {_same(_columns('t', self.pair.new), made)}"

    def unreadable_rows(self) -> str:
        """See ``sync.Sync``; ``t`` is the table."""
        made = ", ".join(f"{self._cast(name, each.over(_of('t')))} AS {_quoted(name)}" for name, each in self.forward().items())
        back = [self._cast(name, each.over(_of("made"))) for name, each in self.backward().items()]
        return f"FROM {self.named(self.table)} t CROSS JOIN LATERAL (SELECT {made}) made WHERE NOT {_same(_columns('t', self.pair.old), back)}"

    def written(self) -> str:
        return self._count(self._sequences()[0])

    def conflicts(self) -> str:
        return self._count(self._sequences()[1])

    @property
    def name(self) -> str:
        """Of the trigger and its function. PostgreSQL's names have 63 bytes; a migration's may have more."""
        return f"{PREFIX}{sync.short(self.migration, 40, 31)}_{self.number}"

    def _unless_in_step(self) -> str:
        """The first line of the decision table as a condition of the trigger, which costs a third of a call: most rows that are written are in step. Only if
        it comes to the same in every session, as what a trigger's function pins is not pinned there; and a cast never cuts what an assignment refuses.
        """
        if self.calls.own or self.pinned or any(self._shape(name).base == "bpchar" for name in self.pair.new):
            return ""
        made = [self._cast(name, each.over(_of("NEW"))) for name, each in self.forward().items()]
        needed = "".join(f" AND NEW.{_quoted(name)} IS NOT NULL" for name in self.pair.old if not self._shape(name).nullable)
        return f" WHEN (NOT ({_same(_columns('NEW', self.pair.new), made)}{needed}))"

    def _sequences(self) -> tuple[str, str]:
        return f"{self.name}_written", f"{self.name}_conflicts"

    def _count(self, sequence: str) -> str:
        return f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {self.named(sequence)}"

    def named(self, name: str) -> str:
        return sql.Identifier(self.schema, name).as_string()

    def forward(self) -> Mapping[str, Expression]:
        return {name: read(self.pair.forward[name], f"forward of {name}", self.table, self.pair.old) for name in self.pair.new}

    def backward(self) -> Mapping[str, Expression]:
        return {name: read(self.pair.backward[name], f"backward of {name}", self.table, self.pair.new) for name in self.pair.old}

    def _shape(self, column: str) -> Shape:
        try:
            return self.shapes[column]
        except KeyError:
            raise Refused(f"{self.table} has no column {column}; it has {', '.join(self.shapes)}") from None

    def _cast(self, column: str, value: str) -> str:
        """A value as it would be in the column. A string that is too long stays as it is: an INSERT would refuse it, where a cast cuts it."""
        kind = re.sub(r"^(character varying)\(\d+\)$", r"\1", self._shape(column).type)
        return f"{value}::{kind}"

    @property
    def pinned(self) -> Mapping[str, str]:
        """The settings on which the values of the pair may depend, each with its value."""
        expressions = [*self.forward().values(), *self.backward().values()]
        bases = {self._shape(name).base for name in (*self.pair.old, *self.pair.new)} | {kind for each in expressions for kind in each.types}
        speaks = "money" in bases or any(name[-1].startswith("to_") for each in expressions for name in each.functions)
        matter = _TEXTS if speaks or not self.calls.steady or not bases <= {*_STEADY} else ()
        return {name: self.settings[name] for name in (*matter, *(_LOCALES if speaks else ()))}

    def _read_by(self, body: str) -> Mapping[str, str]:
        """The settings by which the text of its function might be read otherwise, each with its value; its condition is read once, when it is made."""
        return {name: self.settings[name] for name, said in _READINGS.items() if said.search(body)}

    def gone(self) -> str:
        """A dump of some tables leaves it out, and somebody who loads rows may have disabled it."""
        return (
            f"SELECT 1 - count(*) FROM pg_trigger WHERE tgrelid = to_regclass({_literal(self.named(self.table))}) AND tgname = {_literal(self.name)}"
            " AND tgenabled IN ('O', 'A')"
        )

    def session(self) -> list[str]:
        """See ``sync.Sync``. How long the count of a large table takes is no reason to keep a gate shut."""
        pinned = [f"SET LOCAL {_quoted(name)} = {_literal(value)}" for name, value in {**self.pinned, **self._read_by(self._body())}.items()]
        # a policy that would hide rows from us is an error: they would not be counted
        return [*pinned, "SET LOCAL statement_timeout = 0", "SET LOCAL row_security = off"]

    def _body(self) -> str:
        old, new = self.pair.old, self.pair.new
        filled = [f"  filled.{_quoted(name)} := {each.over(_of('NEW'))};" for name, each in self.forward().items()]
        taken = [f"  taken.{_quoted(name)} := {each.over(_of('NEW'))};" for name, each in self.backward().items()]
        counts = {name: f"PERFORM {self._next(name)};" for name in self._sequences()}
        return _BODY.format(
            pair=f"{', '.join(old)} <-> {', '.join(new)} of {self.table}, for {self.migration}".replace("\n", " "),
            filled="\n".join(filled),
            taken="\n".join(taken),
            in_step_forward=_same(_columns("NEW", new), _columns("filled", new)) + self._complete(old),
            in_step_backward=_same(_columns("NEW", old), _columns("taken", old)) + self._complete(new),
            old_changed=f"NOT {_same(_columns('NEW', old), _columns('OLD', old))}",
            new_changed=f"NOT {_same(_columns('NEW', new), _columns('OLD', new))}",
            empty="\n".join(f"    empty.{_quoted(name)} := {self._default(name)};" for name in (*old, *new) if self._closed(name)),
            old_given=self._given(old),
            new_given=self._given(new),
            written=counts[self._sequences()[0]],
            conflicts=counts[self._sequences()[1]],
            writer=self._writer(),
            only_old=self._only_old(),
            conflict=self._conflict(),
        )

    def _complete(self, columns: Iterable[str]) -> str:
        """For an INSERT: no column is NULL that must not be. One that exists already has none."""
        needed = [f"NEW.{_quoted(name)} IS NULL" for name in columns if not self._shape(name).nullable]
        return f" AND (TG_OP = 'UPDATE' OR NOT ({' OR '.join(needed)}))" if needed else ""

    def _only_old(self) -> str:
        said = " OR ".join(f"{name} IS NOT NULL" for name in _columns("NEW", self.pair.old))
        return f"({said}) AND {' AND '.join(f'{name} IS NULL' for name in _columns('NEW', self.pair.new))}{self._complete(self.pair.old)}"

    def _closed(self, column: str) -> bool:
        return not self._shape(column).default or constant(self._shape(column).default)

    def _default(self, column: str) -> str:
        return f"({self._shape(column).default})" if self._shape(column).default else "NULL"

    def _given(self, columns: Sequence[str]) -> str:
        """True if a column is not its default, NULL if that cannot be told, else false."""
        closed = [name for name in columns if self._closed(name)]
        given = f"NOT {_same(_columns('NEW', closed), _columns('empty', closed))}" if closed else "false"
        return given if len(closed) == len(columns) else f"{given} OR NULL"

    def _next(self, sequence: str) -> str:
        """The next number of a sequence, without the right to use its schema."""
        return (
            "nextval(c.oid::regclass) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            f" WHERE n.nspname = {_literal(self.schema)} AND c.relname = {_literal(sequence)}"
        )

    def _writer(self) -> str:
        if not self.writers:
            return "NULL"
        named = " ".join(f"WHEN {_literal(name)} THEN {_literal(side)}" for name, side in sorted(self.writers.items()))
        setting = "current_setting('bleen.environment', true)"
        return f"coalesce(CASE {setting} {named} END, CASE substring({setting} FROM '^(.*)-[0-9]+$') {named} END)"

    def _conflict(self) -> str:
        if self.pair.on_conflict != "error":
            return f"source := {_literal(self.pair.on_conflict or 'old')};"
        what = f"bleen: {', '.join(self.pair.old)} and {', '.join(self.pair.new)} of {self.table} do not say the same, and nothing says which of them counts"
        hint = "Write one side only, or connect with -c bleen.environment=NAME, the environment whose version writes."
        return f"RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = {_literal(what)}, HINT = {_literal(hint)};"


_BODY = """\
-- bleen keeps in step {pair}. It is made and removed by bleen migrate.
DECLARE
  filled record; -- the row with its new columns made from the old ones
  taken record;  -- the row with its old columns made from the new ones
  empty record;  -- the row as if neither side had been given
  old_touched boolean;
  new_touched boolean;
  source text;
BEGIN
  filled := NEW;
{filled}
  IF {in_step_forward} THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    old_touched := {old_changed};
    new_touched := {new_changed};
  ELSE
    empty := NEW;
{empty}
    old_touched := {old_given};
    new_touched := {new_given};
  END IF;
  IF old_touched AND NOT new_touched THEN
    RETURN filled;
  END IF;
  taken := NEW;
{taken}
  IF new_touched AND NOT old_touched THEN
    {written}
    RETURN taken;
  END IF;
  source := {writer};
  IF TG_OP = 'INSERT' AND NOT new_touched AND source = 'old' THEN
    RETURN filled;
  END IF;
  IF {in_step_backward} THEN
    IF TG_OP = 'INSERT' AND NOT old_touched AND NOT new_touched AND source IS NULL THEN
      RETURN filled;
    END IF;
    RETURN NEW;
  END IF;
  IF TG_OP = 'UPDATE' AND NOT old_touched THEN
    RETURN filled;
  END IF;
  IF source IS NULL THEN
    IF TG_OP = 'INSERT' AND NOT new_touched AND {only_old} THEN
      RETURN filled;
    END IF;
    {conflicts}
    {conflict}
  END IF;
  IF source = 'old' THEN
    RETURN filled;
  END IF;
  {written}
  RETURN taken;
END
"""


def of(server: Server, migration: str, number: int, pair: Pair, writers: Mapping[str, Side]) -> Sync:
    """The sync of a pair, with what the catalogue says of its columns. See ``sync.of``."""
    found = server.rows(
        "SELECT n.nspname, c.relname, current_schemas(false)::text[] FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = to_regclass(%s)",
        [pair.table],
    )
    if not found:
        trigger = _without_table(migration, number, pair, "").name
        for (table,) in server.rows("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = %s", [trigger]):
            raise Refused(moved(pair, table, trigger))
        raise Missing(f"there is no table {pair.table}; name it with its schema, or set the search_path of the migrating role")
    schema, table, path = found[0]
    shapes = server.rows(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname, NOT (a.attnotnull OR t.typnotnull),"
        " coalesce(pg_get_expr(d.adbin, d.adrelid), t.typdefault, '') FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        [pair.table],
    )
    columns = {name: Shape(*rest) for name, *rest in shapes}
    path = ", ".join(map(_quoted, ("pg_catalog", *path, "pg_temp")))
    made = Sync(migration, number, pair, schema, table, columns, path, {}, dict(writers), Calls(True, False))
    calls = _calls(server, [*made.forward().values(), *made.backward().values()])
    settings = dict(server.rows("SELECT name, current_setting(name) FROM unnest(%s::text[]) name", [[*_TEXTS, *_LOCALES, *_READINGS]]))
    first = installed(server, pair)
    astray = server.rows(
        "SELECT n.nspname, c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE t.tgfoid = to_regproc(%s) AND c.oid <> to_regclass(%s) ORDER BY 1, 2, 3",
        [made.named(made.name), pair.table],
    )
    return made._replace(calls=calls, path=first.pop("search_path", made.path), settings={**settings, **first}, astray=tuple(map(tuple, astray)))


def remains(server: Server, migration: str, number: int, pair: Pair) -> list[str]:
    """See ``sync.remains``: its function, and what it counts by."""
    name = _without_table(migration, number, pair, "").name
    schemas = server.rows("SELECT n.nspname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = %s", [name])
    return [text for (schema,) in schemas for text in _without_table(migration, number, pair, schema).remove()]


def _without_table(migration: str, number: int, pair: Pair, schema: str) -> Sync:
    return Sync(migration, number, pair, schema, pair.table, {}, "", {}, {}, Calls(True, False))


def installed(server: Server, pair: Pair) -> dict[str, str]:
    """What the trigger of a pair pins, if it is there: its ``search_path``, as SQL writes it, and settings. They stay what they were for whoever made it."""
    found = server.rows(
        "SELECT unnest(p.proconfig) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE t.tgrelid = to_regclass(%s) AND obj_description(t.oid, 'pg_trigger') = %s",
        [pair.table, sync.signature(pair)],
    )
    return {name: value for name, _, value in (each.partition("=") for (each,) in found)}


def _calls(server: Server, expressions: Sequence[Expression]) -> Calls:
    """By the names of what is called, where types might say less: a function, an operator or a cast that somebody has made may be meant."""
    called = [name[-1] for each in expressions for name in each.functions]
    row = server.rows(
        "WITH own AS (SELECT oid FROM pg_namespace WHERE nspname NOT IN ('pg_catalog', 'information_schema')),"
        " near AS (SELECT oid FROM pg_type WHERE typname = ANY(%s) AND typnamespace = 'pg_catalog'::regnamespace),"
        " called AS (SELECT * FROM pg_proc WHERE proname = ANY(%s))"
        " SELECT EXISTS (SELECT FROM called WHERE pronamespace IN (SELECT oid FROM own))"
        " OR EXISTS (SELECT FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM own))"
        " OR EXISTS (SELECT FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc WHERE p.pronamespace IN (SELECT oid FROM own)),"
        " NOT EXISTS (SELECT FROM called WHERE NOT EXISTS (SELECT FROM unnest(proargtypes) each WHERE each NOT IN (SELECT oid FROM near))"
        " AND prorettype NOT IN (SELECT oid FROM near WHERE oid NOT IN ('float4'::regtype, 'float8'::regtype)))",
        [[*_NEAR], called],
    )[0]
    return Calls(row[0], row[1] and not row[0])


def _same(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Whether values are the same, byte for byte. By the function of ``*=``: the catalogue shows a condition without ``::record``, and what a dump then says,
    ``ROW(a) *= ROW(b)``, is read as a comparison of their columns.
    """
    return f"pg_catalog.record_image_eq(ROW({', '.join(ours)})::record, ROW({', '.join(theirs)})::record)"


def _columns(row: str, names: Iterable[str]) -> list[str]:
    return [f"{row}.{_quoted(name)}" for name in names]


def _of(row: str) -> Callable[[str], str]:
    return lambda column: f"{row}.{_quoted(column)}"


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _literal(text: str) -> str:
    return sql.Literal(text).as_string().strip()
