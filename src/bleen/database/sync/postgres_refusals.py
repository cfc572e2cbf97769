"""What two-way sync on PostgreSQL cannot keep in step, or not without harm; each reason with a way."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bleen.database.migration import Pair, speaks_of
from bleen.database.parser import added
from bleen.database.postgres.published import ways_out
from bleen.database.postgres.triggers import PREFIX, first, unfired
from bleen.database.server import Server
from bleen.database.statements import Unreadable
from bleen.database.sync import postgres, signature
from bleen.database.sync.postgres import Sync
from bleen.database.sync.postgres_expression import casts, constant, longest
from bleen.database.sync.reach import exceeding
from bleen.database.sync.reasons import called, lossy, missing, undecided
from bleen.errors import Refused

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
"""A name that needs no quotes, if it is no word of SQL."""
_STEADY = frozenset(
    "array_to_json array_to_string concat concat_ws date_part date_trunc extract format json_build_array json_build_object jsonb_build_array"
    " jsonb_build_object length make_timestamptz quote_literal quote_nullable row_to_json timezone to_char to_date to_json to_jsonb to_number"
    " to_timestamp".split()
)
"""STABLE functions of PostgreSQL that depend on nothing but what they are given and settings that the trigger pins."""


def foreseen(server: Server, pair: Pair, coming: str | None = "") -> list[str]:
    """Implements ``sync.foreseen``. What comes first is asked first: no reason is given that only follows from another."""
    if not server.columns(pair.table):
        return []
    try:
        sync = postgres.of(server, "", 0, pair, {})
        oid = server.rows("SELECT to_regclass(%s)::oid", [pair.table])[0][0]
        return _table(server, sync, oid) or [*_columns(server, sync, oid), *_others(server, sync, oid), *undecided(pair)] or _calls(server, sync, coming)
    except Refused as error:
        return [str(error)]


def refusals(server: Server, pair: Pair) -> list[str]:
    """Implements ``sync.refusals``, in the same order."""
    try:
        sync = postgres.of(server, "", 0, pair, {})
    except Refused as error:
        return [str(error)]
    return foreseen(server, pair) or missing(pair, sync.table, sync.shapes) or _expressions(server, sync) or _values(server, sync)


_WIDTHS = {"smallint": 1, "int2": 1, "integer": 2, "int4": 2, "bigint": 3, "int8": 3, "numeric": 4}
_STRINGS = ("text", "varchar", "bpchar", "char", "citext", "name", "character", "character varying")


_LIMITED = re.compile(r"(?:character(?: varying)?|varchar|bpchar)\((\d+)\)")
"""As the catalogue shows it, and as the parser calls it; an array of such has brackets behind it."""
_DIGITS = {"smallint": 6, "integer": 11, "bigint": 20}


def risks(server: Server, pair: Pair, expand: str) -> list[str]:
    """Implements ``sync.risks``: casts from a string to what is none, and to a number that is narrower; new columns that take fewer characters than forward
    may make, or hold what the old ones do not; and triggers that do not see what the pair changes, or not yet.
    """
    types = {name: re.sub(r"\(.*?\)|\[\]", "", column.type) for name, column in server.columns(pair.table).items()}
    found = []
    for name, expression in pair.forward.items():
        for column, kind in casts(expression):
            was = types.get(column, "")
            if (was in _STRINGS and kind not in _STRINGS) or _WIDTHS.get(kind, 9) < _WIDTHS.get(was, 0):
                found.append(
                    f"{name} is made by a cast of {column} to {kind}: a write of the old version fails whose value cannot be cast;"
                    f" if there may be one, look first: CASE WHEN ... THEN {expression} END"
                )
    try:
        coming = added(expand, pair.table)
    except Unreadable:  # as the rules say
        coming = {}
    there = {name: column.type for name, column in server.columns(pair.table).items()}
    return [*found, *_narrow(pair, there, coming), *exceeding(pair, {**coming, **there}), *_unseen(server, pair, expand)]


def _unseen(server: Server, pair: Pair, expand: str) -> Iterator[str]:
    for name, seen, unseen in unfired(server.rows, pair.table, pair.old, pair.new):
        if not speaks_of(expand, name):
            fires = f"trigger {name} fires on UPDATE OF {', '.join(seen)}, and not on an UPDATE of {', '.join(unseen)} that changes {', '.join(seen)}"
            yield f"{fires} through the pair: let it fire on each UPDATE until contract"
    for what in first(server.rows, pair.table, pair.old, expand):
        yield f"{what}, and fires before ours: when the new version writes, it does not see what {', '.join(pair.new)} makes of that; let the application do it"


def _narrow(pair: Pair, there: Mapping[str, str], coming: Mapping[str, str]) -> Iterator[str]:
    lengths = {name: length for name in pair.old if (length := _length(there.get(name, "")))}
    limited = {name: float(found[1]) for name, type in coming.items() if (found := _LIMITED.fullmatch(type))}
    takes = {**limited, **{name: _length(type) for name, type in there.items()}}
    for name, expression in pair.forward.items():
        made = longest(expression, lengths)
        if made is not None and made > (most := takes.get(name, 0) or math.inf):
            endless = [each for each in pair.old if lengths.get(each) == math.inf]
            may, way = (f"be longer, as {', '.join(endless)} may", "") if made == math.inf else (f"have {made:.0f}", f", or varchar({made:.0f})")
            yield (
                f"{name} takes {most:.0f} characters, and what forward makes may {may}: a write of the old version fails whose value does not fit; let it be"
                f" text{way}"
            )


def _length(type: str) -> float:
    """How many characters a column of this type may have; 0 if its values are nothing that has a length."""
    if limited := _LIMITED.fullmatch(type):
        return int(limited[1])
    return math.inf if type in ("text", "character varying") else _DIGITS.get(type, 0)


def _table(server: Server, sync: Sync, oid: int) -> list[str]:
    kind, partition, inherits = server.rows(
        "SELECT relkind, relispartition, EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid OR inhparent = c.oid) FROM pg_class c WHERE c.oid = %s", [oid]
    )[0]
    if kind in ("v", "m", "f"):
        words = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}[kind]
        return [f"{sync.table} is {words}, which has no row triggers of this kind: name the table that holds the rows"]
    if kind == "p" or partition:
        return [f"{sync.table} is partitioned, or a partition: a trigger must not move a row to another; expand by a new table, or without sync"]
    if inherits:
        return [f"{sync.table} inherits, or is inherited from: an UPDATE of the parent would pass by the trigger; expand without sync"]
    return []


def _columns(server: Server, sync: Sync, oid: int) -> list[str]:
    ours = [*sync.pair.old, *sync.pair.new]
    found = [
        f"{name} is {'an identity' if identity else 'a generated column'}, which a trigger cannot set: pair the columns that it is made from"
        for name, identity, generated in server.rows(
            "SELECT attname, attidentity <> '', attgenerated <> '' FROM pg_attribute WHERE attrelid = %s AND attname = ANY(%s) ORDER BY attnum", [oid, ours]
        )
        if identity or generated
    ]
    keys = server.rows(
        "SELECT k.conname, k.contype, k.conrelid::regclass::text, a.attname FROM pg_constraint k"
        " JOIN pg_attribute a ON a.attrelid = %s AND a.attname = ANY(%s)"
        " AND (k.conrelid = a.attrelid AND a.attnum = ANY(k.conkey) OR k.confrelid = a.attrelid AND a.attnum = ANY(k.confkey))"
        " WHERE k.contype IN ('p', 'f') ORDER BY a.attnum, k.conname",
        [oid, ours],
    )
    for constraint, kind, holder, column in keys:
        words = "the primary key" if kind == "p" else f"the foreign key {constraint} of {holder}"
        found.append(f"{column} is in {words}: a write that seems to leave it alone would change it; leave it out of the pair")
    return found


def _others(server: Server, sync: Sync, oid: int) -> list[str]:
    """Whoever else has a hand in the table's rows."""
    found = []
    triggers = server.rows(
        "SELECT tgname, coalesce(obj_description(oid, 'pg_trigger'), '') FROM pg_trigger WHERE tgrelid = %s AND NOT tgisinternal AND tgtype & 3 = 3"
        " AND tgtype & 20 <> 0 AND tgenabled <> 'D' AND tgname COLLATE \"C\" >= %s ORDER BY tgname",
        [oid, PREFIX],
    )
    for name, comment in triggers:
        if not name.startswith(PREFIX):
            found.append(f"the trigger {name} would fire after ours, and change what ours has made: give it a name that sorts before {PREFIX!r}")
        elif comment != signature(sync.pair) and (both := _shared(comment, sync.pair)):
            found.append(f"{', '.join(both)}: kept in step by {name} already; contract that migration first")
    for publication, way in ways_out(server.rows, sync.schema, sync.table):
        why = f"{sync.table} is in the publication {publication}: subscribers have neither the columns nor the trigger"
        found.append(f"{why}; {way}; or expand there first and without sync")
    if server.rows("SELECT 1 FROM pg_subscription_rel WHERE srrelid = %s", [oid]):
        found.append(f"{sync.table} is filled by a subscription, and triggers do not fire for it (session_replication_role = replica): expand without sync")
    roles = server.rows(
        "SELECT coalesce(setrole::regrole::text, '') FROM pg_db_role_setting WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname ="
        " current_database())) AND 'session_replication_role=replica' = ANY(setconfig) ORDER BY 1"
    )
    for (role,) in roles:
        who = f"the role {role}" if role not in ("", "-") else "this database"
        found.append(f"{who} is set to session_replication_role = replica, for which triggers do not fire: reset it (ALTER ROLE or ALTER DATABASE ... RESET)")
    return found


def _shared(comment: str, pair: Pair) -> list[str]:
    try:
        other = json.loads(comment)
        theirs = {*other["old"], *other["new"]}
    except (ValueError, KeyError, TypeError):
        return [*pair.old, *pair.new]  # somebody has changed the comment: nothing is known of it
    return sorted(theirs & {*pair.old, *pair.new})


def _calls(server: Server, sync: Sync, coming: str | None) -> list[str]:
    return called(sync.forward(), sync.backward(), lambda name: _function(server, name, coming)) or _schemas(server, sync)


def _schemas(server: Server, sync: Sync) -> list[str]:
    """What the expressions name in a schema that somebody may not use who writes the table: the trigger reads them with the rights of the writer."""
    expressions = [*sync.forward().values(), *sync.backward().values()]
    functions = [name for each in expressions for name in each.functions]
    rows = server.rows(
        "WITH named AS (SELECT p.pronamespace AS schema, p.proname AS name FROM pg_proc p JOIN unnest(%s::text[], %s::text[]) f (schema, name)"
        " ON p.proname = f.name AND CASE WHEN f.schema = '' THEN pg_function_is_visible(p.oid) ELSE p.pronamespace = to_regnamespace(quote_ident(f.schema)) END"
        " UNION SELECT t.typnamespace, t.typname FROM pg_type t WHERE t.typname = ANY(%s) AND (pg_type_is_visible(t.oid)"
        " OR NOT EXISTS (SELECT FROM pg_type o WHERE o.typname = t.typname AND pg_type_is_visible(o.oid))))"
        " SELECT n.nspname, min(named.name), min(r.rolname) FROM named JOIN pg_namespace n ON n.oid = named.schema JOIN pg_roles r"
        " ON has_any_column_privilege(r.oid, to_regclass(%s), 'INSERT, UPDATE') AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE') GROUP BY 1 ORDER BY 1",
        [
            [name[-2] if len(name) > 1 else "" for name in functions],
            [name[-1] for name in functions],
            [t for e in expressions for t in e.types],
            sync.pair.table,
        ],
    )
    return [
        f"forward or backward names {name} of the schema {schema}, which {role} may not use, who writes {sync.table}: GRANT USAGE ON SCHEMA"
        f" {server.quoted(schema)} TO {server.quoted(role)}"
        for schema, name, role in rows
    ]


def _expressions(server: Server, sync: Sync) -> list[str]:
    """What can be said of the expressions without a row."""
    sets = ", ".join(f"{server.quoted(name)} = {each.over(_of(server, 't'))}" for name, each in (*sync.forward().items(), *sync.backward().items()))
    return _tried(server, f"EXPLAIN UPDATE {sync.named(sync.table)} t SET {sets}", "PostgreSQL does not take forward and backward as values of their columns")


def _function(server: Server, name: Sequence[str], coming: str | None) -> str:
    """What speaks against a function; empty if nothing does, or if it is not PostgreSQL's own and may be made or changed by what is ``coming``."""
    shown = ".".join(name)
    rows = server.rows(
        "SELECT n.nspname = 'pg_catalog', p.prokind, p.proretset, p.provolatile, has_function_privilege('public', p.oid, 'EXECUTE') FROM pg_proc p"
        " JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = %s AND CASE WHEN %s = '' THEN pg_function_is_visible(p.oid) ELSE n.nspname = %s END",
        [name[-1], *([name[-2] if len(name) > 1 else ""] * 2)],
    )
    if (coming is None or speaks_of(coming, name[-1])) and not any(row[0] for row in rows):
        return ""
    if not rows:
        return f"calls {shown}(), which there is not; name it with its schema"
    for builtin, kind, many, volatile, granted in rows:
        if kind != "f" or many:
            return f"calls {shown}(), which is for many rows, or gives many; a row is made from its own columns alone"
        if volatile == "v" or (volatile == "s" and not (builtin and name[-1] in _STEADY)):
            return f"calls {shown}(), which may give another value every time: a row would never be in step; mark it IMMUTABLE if it is, or use a constant"
        if not granted:
            said = ".".join(each if _PLAIN.fullmatch(each) else server.quoted(each) for each in name)
            return f"calls {shown}(), which not every role may: GRANT EXECUTE ON FUNCTION {said} TO PUBLIC, as whoever writes the table calls it"
    return ""


def _values(server: Server, sync: Sync) -> list[str]:
    """Whether the expressions hold for the defaults of the columns and for the rows that there are."""
    found = []
    for words, side, expressions in (("forward", sync.pair.old, sync.forward()), ("backward", sync.pair.new, sync.backward())):
        shapes = [(name, sync.shapes[name]) for name in side]
        if all(not shape.default or constant(shape.default) for _, shape in shapes):
            defaults = ", ".join(f"({shape.default or 'NULL'})::{shape.type} AS {server.quoted(name)}" for name, shape in shapes)
            made = ", ".join(each.over(_of(server, "t")) for each in expressions.values())
            why = f"{words} fails for the defaults of {', '.join(side)}, which a row has that was inserted by the other version"
            found += _tried(server, f"SELECT {made} FROM (SELECT {defaults}) t", why)
    if found or sync.pair.lossy:
        return found or _tried(server, sync.diverged(), "forward or backward fails for a row of the table")
    key = ", ".join(f"t.{server.quoted(name)}" for name in server.key(sync.named(sync.table))) or "t.ctid"
    answer: list[tuple[Any, ...]] = []
    found = _tried(server, f"SELECT count(*), min(concat_ws(', ', {key})) {sync.unreadable_rows()}", "forward or backward fails for a row of the table", answer)
    return found or lossy(sync.pair, key.replace("t.", ""), *answer[0])


def _tried(server: Server, statement: str, words: str, answer: list[tuple[Any, ...]] | None = None) -> list[str]:
    try:
        with server.transaction():
            server.rows("SET LOCAL statement_timeout = 0")  # else a large table would be taken for an expression that fails
            rows = server.rows(statement)
    except Refused as error:
        return [f"{words}: {str(error).removeprefix('the database says: ')}"]
    if answer is not None:
        answer += rows
    return []


def _of(server: Server, row: str) -> Callable[[str], str]:
    return lambda column: f"{row}.{server.quoted(column)}"
