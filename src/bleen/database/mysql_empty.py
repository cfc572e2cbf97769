"""What MySQL and MariaDB say of statements about a table, asked on an empty copy of it.

A change of the schema commits by itself there, so what cannot be done has to be known before what goes with it is done.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pymysql

from bleen.database import mysql_statements
from bleen.database.rules.mysql_grammar import alter_table
from bleen.database.statements import Statement, in_a_line
from bleen.database.tokens import Cursor, Puzzled, Token, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymysql.connections import Connection
    from pymysql.cursors import Cursor as Rows

_COPY = "bleen_empty"
_NOT_COPIED = ("add-foreign", "drop-foreign")
"""A copy has no foreign keys."""
_HOW = ("algorithm", "lock")
_OTHER = frozenset(["rename-table", "partition", "tablespace", "versioning"])
"""After these the copy is not what the table would be."""

_SO = frozenset([1845, 1846])
"""That it cannot be done in the way that is asked for. A temporary table knows none of these ways."""
_TOLD = _SO | frozenset([1054, 1072, 3108, 3837, 3959])
"""And that something else names what is to go (MySQL, "Server Error Message Reference"; MariaDB, "MariaDB Error Codes")."""

Connect = Callable[[], "Connection[Rows]"]
"""A session of its own: the end of it takes a temporary table with it."""
Qualified = Callable[[Sequence[str]], tuple[str, str]]
"""The database and the name of a table, from its names as they are written."""


def refused(connect: Connect, qualified: Qualified, before: Sequence[Statement], statements: Sequence[Statement], temporary: bool) -> str:
    """Implements ``Catalogue.refuses``: table by table, as far as it is about what a statement drops, and something else of the table names."""
    altering = [statement for statement in statements if statement.text[:5].upper() == "ALTER"]
    names = [each.name for statement in altering for each in mysql_statements.about(statement)]
    tables = dict.fromkeys(qualified([token.identifier for token in name]) for name in names)
    return next(filter(None, (_refused(connect, qualified, table, before, statements, temporary) for table in tables)), "")


def _refused(
    connect: Connect, qualified: Qualified, table: tuple[str, str], before: Sequence[Statement], statements: Sequence[Statement], temporary: bool
) -> str:
    with _copied(connect, table, temporary) as rows:
        if rows is None:
            return ""
        for number, statement in enumerate([*before, *statements]):
            try:
                if text := _upon(statement, lambda name: qualified([token.identifier for token in name]) == table, temporary):
                    rows.execute(text)
            except Puzzled:
                return ""
            except pymysql.Error as error:
                if number < len(before) or error.args[0] not in _TOLD:
                    return ""
                said = f"{statement.brief}: {in_a_line(str(error.args[-1]))}"
                if naming := _naming(rows, statement):
                    way = "drop what names it before, or in the same ALTER TABLE, and make it anew without that column where it is needed"
                    return f"{said} ({naming}): {way}"
                return said if error.args[0] in _SO and not temporary else ""
    return ""


@contextmanager
def _copied(connect: Connect, table: tuple[str, str], temporary: bool) -> "Iterator[Rows | None]":
    """A cursor of a session in whose database, that of the table, the copy is; None where the server makes none: not every table can be a temporary one."""
    schema, name = (f"`{part.replace('`', '``')}`" for part in table)
    connection = connect()
    try:
        rows = connection.cursor()
        try:
            rows.execute("SET lock_wait_timeout = 1")
            rows.execute(f"USE {schema}")
            if not temporary:
                rows.execute(f"DROP TABLE IF EXISTS {_COPY}")  # of one of us who was killed
            rows.execute(f"CREATE {'TEMPORARY ' if temporary else ''}TABLE {_COPY} LIKE {schema}.{name}")
        except pymysql.Error:
            yield None
            return
        try:
            yield rows
        finally:
            if not temporary:
                with suppress(pymysql.Error):
                    rows.execute(f"DROP TABLE IF EXISTS {_COPY}")
    finally:
        connection.close()


def _upon(statement: Statement, named: Callable[[tuple[Token, ...]], bool], temporary: bool) -> str:
    """A statement as it is for the copy; empty if it is about something else. Raises ``Puzzled`` for what the copy does not show."""
    tokens = read(statement.text, "mysql").sentences[0].tokens
    cursor = Cursor(tokens, statement.text)
    if cursor.sees("ALTER") and cursor.ahead(1).word in ("TABLE", "ONLINE"):
        alter = alter_table(cursor)
        if not named(alter.table):
            return ""
        if any(spec.kind in _OTHER for spec in alter.specs):
            raise Puzzled(tokens[0])
        left = [spec.text for spec in alter.specs if spec.kind not in (*_NOT_COPIED, *(_HOW if temporary else ()))]
        return f"ALTER TABLE {_COPY} {', '.join(left)}" if left else ""
    about = [each for each in mysql_statements.about(statement) if each.kind == "TABLE" and named(each.name)]
    if not about:
        return ""
    name = about[0].name
    if "INDEX" not in (token.word for token in tokens[:5]) or tokens[0].word not in ("CREATE", "DROP"):
        raise Puzzled(tokens[0])  # the table itself comes, goes or is another
    return f"{statement.text[: name[0].offset]}{_COPY}{statement.text[name[-1].end :]}"


def _naming(rows: "Rows", statement: Statement) -> str:
    """What of the copy names a column that a statement drops, as SHOW CREATE TABLE has it; empty if nothing does."""
    cursor = Cursor(read(statement.text, "mysql").sentences[0].tokens, statement.text)
    specs = alter_table(cursor).specs if cursor.sees("ALTER") else ()
    gone = [f"`{spec.names[0].identifier.replace('`', '``')}`".lower() for spec in specs if spec.kind == "drop-column"]
    rows.execute(f"SHOW CREATE TABLE {_COPY}")
    lines = [line.strip().removesuffix(",") for line in str((rows.fetchone() or ("", ""))[1]).splitlines()]
    return "; ".join(line for line in lines if any(name in line.lower() and not line.lower().startswith(name) for name in gone))
