"""Triggers of others on PostgreSQL (manual: pg_trigger): which a write fires, or does not, and whose functions speak of what goes."""

import re
from collections.abc import Collection, Iterator, Sequence

from bleen.database.migration import speaks_of
from bleen.database.postgres.leftovers import Rows
from bleen.database.postgres.objects import GIVEN, Key, columns_of, keys
from bleen.database.postgres.parser import comments
from bleen.database.statements import Unreadable, in_a_line
from bleen.database.sync.postgres import PREFIX

_ROW, _UPDATE = 1, 16
"""In ``tgtype``; pg_trigger.h names them."""
_OTHERS = "NOT t.tgisinternal AND t.tgparentid = 0 AND NOT starts_with(t.tgname, %s)"
"""Without ours, and without those that a partition has of its table."""
_FIRED = f"""
    WITH RECURSIVE heirs(relid) AS (SELECT to_regclass(%s)::oid UNION SELECT i.inhrelid FROM heirs JOIN pg_inherits i ON i.inhparent = heirs.relid)
    SELECT DISTINCT tgname FROM heirs JOIN pg_trigger t ON t.tgrelid = relid WHERE {_OTHERS} AND tgenabled IN ('O', 'A') AND tgtype & %s <> 0
    AND (tgrelid = to_regclass(%s) OR tgtype & {_ROW} <> 0) AND (cardinality(tgattr::int2[]) = 0 OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr) AND a.attname = ANY(%s)))
    ORDER BY 1"""
"""Those of a partition or a child too, where a row of it is written; one FOR EACH STATEMENT only by a write to its own table."""
_CALLING = f"""
    WITH goes(classid, objid, objsubid) AS (SELECT * FROM {GIVEN}), lost(relid, name, part) AS (
        SELECT c.oid, c.relname, a.attname FROM goes JOIN pg_class c ON goes.classid = 'pg_class'::regclass AND c.oid = goes.objid
        LEFT JOIN pg_attribute a ON goes.objsubid > 0 AND a.attrelid = goes.objid AND a.attnum = goes.objsubid WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
        UNION SELECT 0, proname, NULL FROM goes JOIN pg_proc p ON goes.classid = 'pg_proc'::regclass AND p.oid = goes.objid
        UNION SELECT 0, typname, NULL FROM goes JOIN pg_type t ON goes.classid = 'pg_type'::regclass AND t.oid = goes.objid WHERE t.typtype IN ('d', 'e', 'r'))
    SELECT pg_describe_object(t.tableoid, t.oid, 0), t.tgfoid::regprocedure::text, t.tgname, p.proname, p.prosrc, lost.name, coalesce(part, ''),
        lost.relid = t.tgrelid, coalesce(t.tgoldtable, t.tgnewtable) IS NOT NULL, t.tableoid::bigint, t.oid::bigint, p.tableoid::bigint, p.oid::bigint
    FROM lost JOIN pg_proc p ON strpos(lower(p.prosrc), lower(coalesce(part, lost.name))) > 0 JOIN pg_trigger t ON t.tgfoid = p.oid
    WHERE {_OTHERS} AND t.tgenabled <> 'D' ORDER BY 1, lost.name, part"""
"""What a text may name of what goes, and the functions of triggers that it stands in somewhere."""
_OF_COLUMNS = """
    SELECT tgname, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_trigger t JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr)
    WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & %s <> 0 AND NOT starts_with(tgname, %s)
    GROUP BY 1 ORDER BY 1"""


def fired(rows: Rows, table: str, columns: Sequence[str]) -> list[str]:
    """Implements ``Catalogue.fires``."""
    return [str(name) for (name,) in rows(_FIRED, [table, PREFIX, _UPDATE, table, list(columns)])]


def calling(rows: Rows, goes: Sequence[Key], gone: Collection[Key], said: str, anew: Collection[str]) -> Iterator[tuple[str, str]]:
    """The triggers whose functions speak of what goes, and why that matters; perhaps where they never come to, or of another thing of that name. Not those that
    are gone, or that what was ``said`` before may have made anew; nor what is made ``anew`` at once under the name that it has.
    """
    told = set[Key]()
    for what, function, name, called, source, table, column, own, transition, *key in rows(_CALLING, [*columns_of(goes), PREFIX]):
        trigger, runs = keys([(*key[:2], 0), (*key[2:], 0)])
        past = {trigger, runs} & {*gone, *told} or speaks_of(said, called) or speaks_of(said, name) or (not column and table in anew)
        if not past and (speaks := _spoken(_uncommented(source), table, column, own, transition)):
            told.add(trigger)
            yield name, f"{what} runs {function}, which {speaks}: writes would fail that come there"


def _uncommented(source: str) -> str:
    """A function without its comments, which say nothing, and may stand in the midst of a name."""
    try:
        found = comments(source)
    except Unreadable:  # another language, with comments of its own
        return source
    ends = [0, *(each.end for each in found)]
    return " ".join(source[begin:end] for begin, end in zip(ends, [*(each.begin for each in found), len(source)], strict=True))


def _spoken(source: str, table: str, column: str, own: bool, transition: bool) -> str:
    """How a function speaks of a column of a table, or of what has no column; ``own``: it is the table of its trigger, whose rows it has by other names too."""
    if not speaks_of(source, column or table):
        return ""
    if not column:
        return f"speaks of {table}"
    if own and (found := re.search(rf"""\(?\b(?:NEW|OLD)\s*\)?\s*\.\s*(?:"{re.escape(column)}"|{re.escape(column)}(?![\w$]))""", source, re.IGNORECASE)):
        return f"says {in_a_line(found[0])}"
    return f"speaks of {column} of {table}" if speaks_of(source, table) or (own and (transition or speaks_of(source, "EXECUTE"))) else ""


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
