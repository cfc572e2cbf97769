"""Triggers of others on PostgreSQL (manual: pg_trigger): which a write fires, or does not, and whose functions speak of what goes; and so the functions of
expressions that a write computes.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from bleen.database.migration import speaks_of
from bleen.database.parser import Source
from bleen.database.postgres.handed import handed, without_targets
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.objects import GIVEN, Key, columns_of, keys
from bleen.database.statements import Unreadable, in_a_line

PREFIX = "~bleen_"
"""How the names of triggers and functions begin that keep pairs in step: after those of nearly everybody else, as triggers fire in the order of their names."""

_ROW, _BEFORE, _INSERT, _UPDATE = 1, 2, 4, 16
"""In ``tgtype``; pg_trigger.h names them."""
_OTHERS = "NOT t.tgisinternal AND t.tgparentid = 0 AND NOT starts_with(t.tgname, %s)"
"""Without ours, and without those that a partition has of its table."""
_GIVEN = "CASE WHEN tgnargs > 0 THEN split_part(pg_get_triggerdef(t.oid), ' EXECUTE FUNCTION ', -1) ELSE '' END"
"""The arguments of a trigger, behind its function's name."""
_FIRED = f"""
    WITH RECURSIVE heirs(relid) AS (SELECT to_regclass(%s)::oid UNION SELECT i.inhrelid FROM heirs JOIN pg_inherits i ON i.inhparent = heirs.relid)
    SELECT DISTINCT tgname FROM heirs JOIN pg_trigger t ON t.tgrelid = relid WHERE {_OTHERS} AND tgenabled IN ('O', 'A') AND tgtype & %s <> 0
    AND (tgrelid = to_regclass(%s) OR tgtype & {_ROW} <> 0) AND (cardinality(tgattr::int2[]) = 0 OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr) AND a.attname = ANY(%s)))
    ORDER BY 1"""
"""Those of a partition or a child too, where a row of it is written; one FOR EACH STATEMENT only by a write to its own table."""
_RUNS = f"""
    SELECT t.tableoid AS classid, t.oid AS objid, 0 AS objsubid, f.oid AS function, tgname AS name, CASE WHEN f.oid = tgfoid THEN tgrelid END AS relid,
        f.oid <> tgfoid OR coalesce(tgoldtable, tgnewtable) IS NOT NULL AS inside,
        CASE WHEN f.oid = tgfoid THEN {_GIVEN} ELSE '' END AS given
    FROM pg_trigger t CROSS JOIN LATERAL (
        SELECT tgfoid UNION SELECT refobjid FROM pg_depend WHERE classid = t.tableoid AND objid = t.oid AND refclassid = 'pg_proc'::regclass) f(oid)
    WHERE {_OTHERS} AND tgenabled <> 'D'
    UNION SELECT CASE WHEN e.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END, coalesce(e.adrelid, d.objid), coalesce(e.adnum, 0), d.refobjid,
        coalesce(i.relname, c.conname, a.attname, l.polname), NULL, true, '' FROM pg_depend d
    LEFT JOIN pg_class i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid AND i.relkind IN ('i', 'I') AND NOT i.relispartition
    LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid AND c.conislocal
    LEFT JOIN pg_attrdef e ON d.classid = 'pg_attrdef'::regclass AND e.oid = d.objid
    LEFT JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
    LEFT JOIN pg_policy l ON d.classid = 'pg_policy'::regclass AND l.oid = d.objid
    WHERE d.refclassid = 'pg_proc'::regclass AND coalesce(i.oid, c.oid, e.oid, l.oid) IS NOT NULL"""
"""What runs a function when somebody writes: a trigger, also in its WHEN; an index, a CHECK, a default or generated column (to pg_depend, its expression), a
policy. Of a partition or a child, not what it has of its table."""
_CALLING = f"""
    WITH goes(classid, objid, objsubid) AS (SELECT * FROM {GIVEN}), lost(relid, name, part) AS (
        SELECT c.oid, c.relname, a.attname FROM goes JOIN pg_class c ON goes.classid = 'pg_class'::regclass AND c.oid = goes.objid
        LEFT JOIN pg_attribute a ON goes.objsubid > 0 AND a.attrelid = goes.objid AND a.attnum = goes.objsubid WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
        UNION SELECT 0, proname, NULL FROM goes JOIN pg_proc p ON goes.classid = 'pg_proc'::regclass AND p.oid = goes.objid
        UNION SELECT 0, typname, NULL FROM goes JOIN pg_type t ON goes.classid = 'pg_type'::regclass AND t.oid = goes.objid WHERE t.typtype IN ('d', 'e', 'r'))
    SELECT pg_describe_object(r.classid, r.objid, r.objsubid), p.oid::regprocedure::text, r.name, p.proname, p.prosrc, r.given, lost.name, coalesce(part, ''),
        coalesce(lost.relid = r.relid, lost.relid IN (SELECT typrelid FROM pg_type y WHERE y.oid = ANY(p.proargtypes))), r.inside,
        r.classid::bigint, r.objid::bigint, r.objsubid, p.tableoid::bigint, p.oid::bigint, 0
    FROM ({_RUNS}) r JOIN pg_proc p ON p.oid = r.function JOIN lost ON strpos(lower(p.prosrc || r.given), lower(coalesce(part, lost.name))) > 0
    ORDER BY 1, lost.name, part"""
"""What a text may name of what goes, and the functions that it stands in somewhere, of what runs them."""
_OF_COLUMNS = """
    SELECT tgname, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_trigger t JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr)
    WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & %s <> 0 AND NOT starts_with(tgname, %s)
    GROUP BY 1 ORDER BY 1"""
_FIRST = f"""
    SELECT tgname, CASE tgtype & {_INSERT | _UPDATE} WHEN {_INSERT} THEN 'INSERT' WHEN {_UPDATE} THEN 'UPDATE' ELSE 'INSERT OR UPDATE' END,
        proname, prosrc, {_GIVEN}, split_part(pg_get_triggerdef(t.oid), ' EXECUTE FUNCTION ', 1)
    FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid WHERE tgrelid = to_regclass(%s) AND {_OTHERS} AND tgenabled IN ('O', 'A')
    AND tgtype & {_ROW | _BEFORE} = {_ROW | _BEFORE} AND tgtype & {_INSERT | _UPDATE} <> 0 ORDER BY 1"""
"""With the function's text and what it is given, the head of the trigger, in which its WHEN is."""

_WORD = re.compile(r"'[^\s']*'")
"""A string that is no query: TG_TABLE_NAME = 'users', pg_notify('users', ...)."""


def fired(rows: Rows, table: str, columns: Sequence[str]) -> list[str]:
    """Implements ``Catalogue.fires``."""
    return [str(name) for (name,) in rows(_FIRED, [table, PREFIX, _UPDATE, table, list(columns)])]


def calling(rows: Rows, goes: Sequence[Key], gone: Collection[Key], said: str, anew: Collection[str]) -> Iterator[tuple[str, str]]:
    """What writes run and whose functions speak of what goes, by its name, and why that matters; perhaps where they never come to, or of another thing of that
    name. Not what is gone, or what was ``said`` before may have made anew; nor what is made ``anew`` at once under the name that it has.
    """
    told = set[Key]()
    for what, function, name, called, source, given, table, column, own, inside, *key in rows(_CALLING, [*columns_of(goes), PREFIX]):
        runner, run = keys([key[:3], key[3:]])
        past = {runner, run} & {*gone, *told} or speaks_of(said, called) or speaks_of(said, name) or (not column and table in anew)
        if not past and (speaks := _spoken(source, given, table, column, own, inside)):
            told.add(runner)
            yield name, f"{what} runs {function}, which {speaks}: writes {'would' if speaks.startswith('says') else 'may'} fail that come there"


def _spoken(source: str, given: str, table: str, column: str, own: bool, inside: bool) -> str:
    """How a function, or what its trigger gives it, speaks of a column of a table, or of what has no column; ``own``: it gets rows of the table, of its trigger
    or as an argument; ``inside``: by other names than OLD and NEW too.
    """
    if not speaks_of(f"{source} {given}", column or table):  # most: no need to read it
        return ""
    text, read = _read(source, table)
    both = f"{text} {given}"
    if not speaks_of(both, column or table):
        return ""
    if not column:
        return f"speaks of {table}"
    if own and (says := _of_row(text, read, given, table, column, "old", "new")):
        return says
    runs = speaks_of(text, "EXECUTE")
    queries = both if runs else _WORD.sub(" ", both)
    return f"speaks of {column} of {table}" if speaks_of(queries, table) or (own and (inside or runs)) else ""


def _of_row(text: str, read: Source | None, given: str, table: str, column: str, *rows: str) -> str:
    """How a function speaks of a column of one of its trigger's ``rows``: by that name, by one of its own, or by what it is given; empty if it does not."""
    row, name = "|".join(rows), re.escape(column)
    if found := re.search(rf"""(?:\(\s*(?:{row})\s*\)|\b(?:{row})"?)\s*\.\s*(?:"{name}"|{name}(?![\w$]))""", text, re.IGNORECASE):
        return f"says {in_a_line(found[0])}"
    by_name = speaks_of(text, column) and (read is None or handed(read, *rows))
    return f"speaks of {column} of {table}" if by_name or speaks_of(given.partition("(")[2], column) else ""


def _read(source: str, table: str) -> tuple[str, Source | None]:
    """What a function says that may be of a table; and the function as it is read, if it can be."""
    try:
        read = Source(source)
    except Unreadable:  # another language, with comments of its own
        return source, None
    return without_targets(read, table), read


def first(rows: Rows, table: str, columns: Sequence[str], said: str) -> Iterator[str]:
    """The triggers that see a row before ours do and speak of one of its columns, as they do it; not those that ``said`` may make anew."""
    for name, event, called, source, given, head in rows(_FIRST, [table, PREFIX]):
        text, read = _read(source, table.rpartition(".")[2])
        speaks = [found for each in columns if (found := _of_row(f"{text} {head}", read, given, table, each, "new"))]
        if speaks and not (speaks_of(said, name) or speaks_of(said, called)):
            yield f"trigger {name}, BEFORE {event}, {' and '.join(speaks)}"


def unfired(rows: Rows, table: str, one: Sequence[str], other: Sequence[str]) -> list[tuple[str, list[str], list[str]]]:
    """The triggers UPDATE OF columns that a pair changes without firing them: it goes by what an UPDATE sets, not by what a trigger then makes of the row. With
    each, its columns of one side of the pair, and those of the other side whose UPDATE it does not see.
    """
    found = []
    for name, columns in rows(_OF_COLUMNS, [table, _UPDATE, PREFIX]):
        for side, written in ((one, other), (other, one)):
            seen, unseen = [each for each in side if each in columns], [each for each in written if each not in columns]
            if seen and unseen:
                found.append((str(name), seen, unseen))
    return found
