"""The schema of a SQLite database in memory, without a row: a change that is refused there, for what there is over a column, is refused in the file."""

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing

from bleen.database.server import Server
from bleen.database.sqlite_values import quoted
from bleen.database.statements import Statement

_SCHEMA = """
    SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*' AND NOT (type = 'trigger' AND name GLOB '~bleen_*')
    AND name NOT IN (SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow')
    ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'view' THEN 2 WHEN 'index' THEN 3 ELSE 4 END, rowid"""
"""Without what comes with another: a sequence, the tables of a virtual one; and without sync, which is away when its columns go."""
_CHANGES = re.compile(r"(CREATE|ALTER|DROP)\b", re.IGNORECASE)
"""What asks for no row: an INSERT may be refused only because there is none."""
_BESIDE = re.compile(r"error in (index|trigger|view) (.+?)(?: after \w+ \w+)?:")
_WITHIN = re.compile(r"cannot drop .*column|error in table .* after drop column")


def refused(server: Server, before: Sequence[Statement], statements: Sequence[Statement]) -> str:
    """Implements ``Catalogue.refuses``. Nothing is known where the copy cannot be made, for want of a function of the application's, say."""
    if any(server.passing(each) for each in (*before, *statements)):  # another file may be there then, or other rules
        return ""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        try:
            for text in (*(text for (text,) in server.rows(_SCHEMA)), *(each.text for each in before if _CHANGES.match(each.text))):
                copy.execute(text)
        except sqlite3.Error:
            return ""
        for statement in statements:
            try:
                copy.execute(statement.text if _CHANGES.match(statement.text) else "")
            except sqlite3.Error as error:
                return f"{statement.brief}: SQLite refuses it on an empty copy of the schema: {error}; {_way(str(error))}"
    return ""


def _way(said: str) -> str:
    if beside := _BESIDE.search(said):
        kind, name = beside.groups()
        return f"say DROP {kind.upper()} {quoted(name)} before it, and make one without that column where it is needed"
    if _WITHIN.search(said):
        before = "drop a generated column over it before"
        return f"{before}; a key, UNIQUE or a CHECK goes with its table only: leave the column there, or let expand make a new table"
    return "mend it, or take it out"
