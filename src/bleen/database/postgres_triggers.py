"""Which triggers of others a write on PostgreSQL fires, as its catalogue knows them (manual: pg_trigger)."""

from collections.abc import Sequence

from bleen.database.postgres_leftovers import Rows
from bleen.database.sync.postgres import PREFIX

_UPDATE = 16
"""In ``tgtype``; pg_trigger.h names it."""
_FIRED = """
    SELECT tgname FROM pg_trigger t WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & %s <> 0
    AND NOT starts_with(tgname, %s) AND (cardinality(tgattr::int2[]) = 0 OR EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = t.tgrelid AND a.attnum = ANY(t.tgattr) AND a.attname = ANY(%s)))
    ORDER BY 1"""


def fired(rows: Rows, table: str, columns: Sequence[str]) -> list[str]:
    """Implements ``Catalogue.fires``."""
    return [str(name) for (name,) in rows(_FIRED, [table, _UPDATE, PREFIX, list(columns)])]
