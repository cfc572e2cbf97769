"""The triggers of others on PostgreSQL, as its catalogue knows them (manual: pg_trigger): which a write fires, and whose functions speak of what goes."""

import re
from collections.abc import Collection, Iterator, Sequence

from bleen.database.migration import speaks_of
from bleen.database.postgres_leftovers import Rows
from bleen.database.postgres_objects import GIVEN, Key, columns_of, keys
from bleen.database.sync.postgres import PREFIX

_UPDATE = 16
"""In ``tgtype``; pg_trigger.h names it."""
_FIRED = """
    SELECT tgname FROM pg_trigger t WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & %s <> 0
    AND NOT starts_with(tgname, %s) AND (cardinality(tgattr::int2[]) = 0 OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr) AND a.attname = ANY(%s)))
    ORDER BY 1"""
_CALLING = f"""
    WITH goes(classid, objid, objsubid) AS (SELECT * FROM {GIVEN})
    SELECT pg_describe_object(t.tableoid, t.oid, 0), t.tgfoid::regprocedure::text, t.tgname, p.proname, p.prosrc, a.attname,
        t.tableoid::bigint, t.oid::bigint, p.tableoid::bigint, p.oid::bigint
    FROM goes JOIN pg_attribute a ON classid = 'pg_class'::regclass AND attrelid = objid AND attnum = objsubid AND objsubid > 0
    JOIN pg_trigger t ON t.tgrelid = attrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'D' AND NOT starts_with(t.tgname, %s) ORDER BY 1"""


def fired(rows: Rows, table: str, columns: Sequence[str]) -> list[str]:
    """Implements ``Catalogue.fires``."""
    return [str(name) for (name,) in rows(_FIRED, [table, _UPDATE, PREFIX, list(columns)])]


def calling(rows: Rows, goes: Sequence[Key], gone: Collection[Key], said: str) -> Iterator[tuple[str, str]]:
    """The triggers whose functions say NEW or OLD of a column that goes, and why that matters; perhaps where they never come to. Not those that are gone, or
    that what was ``said`` before may have made anew.
    """
    for what, function, name, called, source, column, *key in rows(_CALLING, [*columns_of(goes), PREFIX]):
        trigger, runs = keys([(*key[:2], 0), (*key[2:], 0)])
        says = re.search(rf"""\b(?:NEW|OLD)\s*\.\s*(?:"{re.escape(column)}"|{re.escape(column)}(?![\w$]))""", source, re.IGNORECASE)
        if says and not {trigger, runs} & {*gone} and not (speaks_of(said, called) or speaks_of(said, name)):
            yield name, f"{what} runs {function}, which says {says[0]}: writes would fail that come there"
