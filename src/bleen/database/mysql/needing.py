"""What on MySQL and MariaDB names that which statements take away. A view and a trigger are a text to the server, which drops it all the same; then whoever
reads the one, or fires the other, fails.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bleen.database.catalogue import Needing
from bleen.database.migration import speaks_of
from bleen.database.mysql import statements as mysql_statements
from bleen.database.mysql.triggers import Table, Trigger, called, together, triggers, unshown
from bleen.database.statements import Statement

if TYPE_CHECKING:
    from bleen.database.mysql.server import MySQL

_VIEWS = "SELECT table_schema, table_name, view_definition FROM information_schema.views WHERE LOCATE(%s, view_definition) > 0 ORDER BY 1, 2"
_HIDDEN = "SELECT table_schema, table_name FROM information_schema.views WHERE view_definition = '' AND table_schema <> 'sys' ORDER BY 1, 2"
"""Those whose text is not for who asks."""


class _Hidden(NamedTuple):
    """A view or a trigger whose text is not for who asks."""

    schema: str
    name: str
    goes_with: Table
    """The table, or view, that takes it along."""
    kind: str
    may: str
    """What it is, and what it may do; the privilege that shows it."""
    privilege: str


def needing(server: "MySQL", statements: Sequence[Statement], before: Sequence[Statement]) -> Iterator[Needing]:
    """Implements ``Catalogue.needing``. What a statement before it speaks of, that may have made such that it does without."""
    gone, said, told = set[Table](), "", set[_Hidden]()
    there = triggers(server) if any(mysql_statements.takes(statement) for statement in statements) else []
    for number, statement in enumerate((*before, *statements)):
        takes = [(server.qualified(name), column) for name, column in mysql_statements.takes(statement)]
        gone |= {table for table, column in takes if not column}
        hidden = list[_Hidden]()
        for table, column in takes if number >= len(before) else ():
            known = {name.lower() for name in server.columns(".".join(map(server.quoted, table)))}
            if column.lower() in known or (known and not column):
                hidden = [*_unseen(server, there)]
                for kind, schema, name, why in _naming(server, there, table, column, gone):
                    if not speaks_of(said, name):
                        yield Needing(statement, f"{kind} {called(server, schema, name)} {why}", name)
        hidden = [each for each in hidden if each.goes_with not in gone and each not in told and not speaks_of(said, each.name)]
        told.update(hidden)
        yield from _may(server, statement, hidden, {table[0] for table, _ in takes})
        said += f"{statement.text};\n"


def of_row(column: str, rows: str = "NEW|OLD") -> re.Pattern[str]:
    """What in the body of a trigger says a column of its row; in double quotes too, as it may have been made under ANSI_QUOTES."""
    quoted = "|".join(re.escape(f"{quote}{column.replace(quote, quote * 2)}{quote}") for quote in '`"')
    return re.compile(rf"\b(?:{rows})\s*\.\s*(?:{quoted}|{re.escape(column)}(?![\w$]))", re.IGNORECASE)


def _may(server: "MySQL", statement: Statement, hidden: Sequence[_Hidden], own: set[str]) -> Iterator[Needing]:
    """What is hidden may need what a statement takes of databases of its ``own``; what is of another one is seldom about these, and told as one."""
    aside = dict[tuple[str, str, str], list[str]]()
    for each in hidden:
        if each.schema in own:
            yield Needing(statement, f"{each.kind} {each.may} what that takes away, and {unshown(server, each.privilege, each.schema)}", each.name)
        else:
            aside.setdefault((each.schema, each.kind, each.privilege), []).append(each.name)
    for (schema, kind, privilege), names in aside.items():
        does = f"may {'name' if kind == 'trigger' else 'read'} what that takes away"
        yield Needing(statement, f"{together(kind, schema, names)} {does}, and {unshown(server, privilege, schema, len(names) > 1)}", schema)


def _unseen(server: "MySQL", there: Sequence[Trigger]) -> Iterator[_Hidden]:
    for schema, name in server.rows(_HIDDEN):
        yield _Hidden(schema, name, server.qualified((schema, name)), "view", f"{called(server, schema, name)} may read", "SHOW VIEW")
    for each in there:
        if not each.body:
            yield _Hidden(each.schema, each.name, each.of, "trigger", f"{each.where(server)} may name", "TRIGGER")


def _naming(server: "MySQL", there: Sequence[Trigger], table: Table, column: str, gone: set[Table]) -> Iterator[tuple[str, str, str, str]]:
    """What names a table, or its column: its kind, its database, its name and why it fails then."""
    own = of_row(column)
    for schema, name, of, body in there:
        if of in gone:
            continue
        if column and of == table and (found := own.search(body)):
            yield "trigger", schema, name, f"on table {of[1]} says {found[0]}: writes would fail that fire it"
        elif of[0] != table[0] and not speaks_of(body, table[0]):  # without it, the name is of a table of its own database
            continue
        elif speaks_of(body, table[1]) and speaks_of(body, column or table[1]):
            yield "trigger", schema, name, f"on table {of[1]} speaks of {f'{column} of {table[1]}' if column else table[1]}: writes may fail that fire it"
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
