"""What on MySQL and MariaDB names that which statements take away. A view and a trigger are a text to the server, which drops it all the same; then whoever
reads the one, or fires the other, fails.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bleen.database.catalogue import Needing
from bleen.database.migration import speaks_of
from bleen.database.mysql import statements as mysql_statements
from bleen.database.statements import Statement

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL

_TRIGGERS = """
    SELECT trigger_schema, trigger_name, event_object_schema, event_object_table, action_statement FROM information_schema.triggers
    WHERE LEFT(trigger_name, 6) <> 'bleen_' AND trigger_schema NOT IN ('mysql', 'sys') AND LOCATE(%s, action_statement) > 0 ORDER BY 1, 2"""
_VIEWS = "SELECT table_schema, table_name, view_definition FROM information_schema.views WHERE LOCATE(%s, view_definition) > 0 ORDER BY 1, 2"
_HIDDEN = "SELECT table_schema, table_name FROM information_schema.views WHERE view_definition = '' AND table_schema <> 'sys' ORDER BY 1, 2"
"""Those whose text is not for who asks."""

Table = tuple[str, str]
"""Its database and its name, as the catalogue has them."""


def needing(server: "MySQL", statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Needing]:
    """Implements ``Catalogue.needing``. What a statement before it speaks of, that may have made such that it does without."""
    gone, said, hidden = set[Table](), "", set[Table]()
    for number, statement in enumerate((*before, *statements)):
        takes = [(server.qualified(name), column) for name, column in mysql_statements.takes(statement)]
        gone |= {table for table, column in takes if not column}
        views = list[Table]()
        for table, column in takes if number >= len(before) else ():
            known = {name.lower() for name in server.columns(".".join(map(server.quoted, table)))}
            if column.lower() in known or (known and not column):
                views = [server.qualified(each) for each in server.rows(_HIDDEN)]
                for kind, schema, name, why in _naming(server, table, column, gone):
                    if not speaks_of(said, name):
                        shown = name if schema == server.database else f"{schema}.{name}"
                        yield Needing(statement, f"{kind} {shown} {why}", name)
        for view in views:
            if view not in gone | hidden and not speaks_of(said, view[1]):
                shown = view[1] if view[0] == server.database else ".".join(view)
                way = f"GRANT SHOW VIEW ON {server.quoted(view[0])}.* TO that role lets it be seen whether it does"
                yield Needing(statement, f"view {shown} may read what that takes away, and its text is not shown to this role: {way}", view[1])
                hidden.add(view)
        said += f"{statement.text};\n"


def of_row(column: str, rows: str = "NEW|OLD") -> re.Pattern[str]:
    """What in the body of a trigger says a column of its row; in double quotes too, as it may have been made under ANSI_QUOTES."""
    quoted = "|".join(re.escape(f"{quote}{column.replace(quote, quote * 2)}{quote}") for quote in '`"')
    return re.compile(rf"\b(?:{rows})\s*\.\s*(?:{quoted}|{re.escape(column)}(?![\w$]))", re.IGNORECASE)


def _naming(server: "MySQL", table: Table, column: str, gone: set[Table]) -> Iterator[tuple[str, str, str, str]]:
    """What names a table, or its column: its kind, its database, its name and why it fails then."""
    own = of_row(column)
    for schema, name, of_schema, of_table, body in server.rows(_TRIGGERS, [column or table[1]]):
        of = server.qualified((of_schema, of_table))
        if of in gone:
            continue
        if column and of == table and (found := own.search(body)):
            yield "trigger", schema, name, f"on table {of_table} says {found[0]}: writes would fail that fire it"
        elif speaks_of(body, table[1]) and speaks_of(body, column or table[1]):
            yield "trigger", schema, name, f"on table {of_table} speaks of {f'{column} of {table[1]}' if column else table[1]}: writes may fail that fire it"
    for schema, name, text in server.rows(_VIEWS, [column or table[1]]):
        if server.qualified((schema, name)) not in gone and _reads(server, text, table, column):
            yield "view", schema, name, f"reads {f'{column} of {table[1]}' if column else table[1]}: who reads it would fail"


def _reads(server: "MySQL", view: str, table: Table, column: str) -> bool:
    """Whether a view, as the catalogue has it, reads a table or a column of it: each name is in quotes, and a column stands behind its table or its alias."""
    whole = ".".join(map(server.quoted, table))
    found = re.findall(rf"(?<![`.]){re.escape(whole)}(?!\.)(?: (`(?:[^`]|``)+`))?", view, re.IGNORECASE if server.lowers else 0)
    if not column:
        return bool(found)
    return any(f"{alias or server.quoted(table[1])}.{server.quoted(column)}".lower() in view.lower() for alias in found)
