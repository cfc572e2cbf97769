"""A column as SQLite reads it behind ADD COLUMN, and SQLite itself as the judge of syntax.

Sources: SQLite, "ALTER TABLE", "CREATE TABLE" (column-def), ``parse.y``. What SQLite refuses on a table with rows was tried on 3.40.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from bleen.database.tokens import Cursor, Puzzled, Token, words


class Reference(NamedTuple):
    """What REFERENCES says, in a column or at a FOREIGN KEY."""

    at: Token
    table: Token
    columns: tuple[Token, ...]
    """None where it is the primary key."""
    yields: bool
    """Whether a row goes, or is left without a value, when the row goes that it refers to."""


class Column(NamedTuple):
    """The definition of a column, as far as it matters to who is using the table."""

    name: Token
    type: str
    not_null: bool = False
    default: tuple[Token, ...] = ()
    default_text: str = ""
    key: str = ""
    """PRIMARY KEY or UNIQUE."""
    checks: tuple[tuple[Token, ...], ...] = ()
    """What stands in the parentheses of each CHECK."""
    references: str = ""
    reference: Reference | None = None
    stored: bool = False
    expression: str = ""
    """Of a generated column, with its parentheses."""
    parts: tuple[tuple[str, str], ...] = ()
    """All that is said of it behind its type, as it is written: by the first word, which is AS for a generated one, and a number at a CHECK."""


_CONSTRAINTS = words("CONSTRAINT PRIMARY NOT NULL UNIQUE CHECK DEFAULT COLLATE REFERENCES GENERATED AS")
_CONSTRAINTS_OF_TABLES = words("CONSTRAINT PRIMARY UNIQUE CHECK FOREIGN")
"""What begins a constraint of a table, which SQLite adds to none that is there."""
_TYPE_WORDS = words("""
    INT INTEGER TINYINT SMALLINT MEDIUMINT BIGINT UNSIGNED SIGNED BIG CHARACTER CHAR VARCHAR VARYING NCHAR NATIVE NVARCHAR NATIONAL TEXT CLOB BLOB LONG RAW
    REAL DOUBLE PRECISION FLOAT NUMERIC DECIMAL BOOLEAN DATE DATETIME TIME TIMESTAMP WITH WITHOUT ZONE VARBINARY BINARY ANY
""")


def column(cursor: Cursor) -> Column:
    """A column to the end of the statement, or ``Puzzled``.

    SQLite takes any words for a type, ``ADD COLUM x INT`` too, which makes a column ``COLUM``: several words that are no type are not understood.
    """
    if cursor.now.word in _CONSTRAINTS_OF_TABLES:
        raise Puzzled(cursor.now)
    name = cursor.name()
    begin = cursor.at
    while cursor.now.kind in ("word", "name") and cursor.now.word not in _CONSTRAINTS:
        cursor.at += 1
    kinds = cursor.tokens[begin : cursor.at]
    odd = next((token for token in kinds if token.word not in _TYPE_WORDS), None)
    if odd is not None and len(kinds) > 1:
        raise Puzzled(odd)
    if kinds and cursor.sees("("):
        cursor.group()
    found = Column(name, cursor.written(begin))
    while not cursor.done:
        begin = cursor.at
        while cursor.accept("CONSTRAINT"):
            cursor.name()
        if cursor.done:
            break
        kind = "AS" if cursor.sees("GENERATED") else cursor.now.word
        found = _constraint(cursor, found)
        numbered = f"{kind} {len(found.parts)}" if kind == "CHECK" else kind  # of the others the last counts
        found = found._replace(parts=(*found.parts, (numbered, cursor.written(begin))))
    return found


def _constraint(cursor: Cursor, found: Column) -> Column:
    if cursor.accept("PRIMARY", "KEY"):
        cursor.accept_one(words("ASC DESC"))
        _conflict(cursor)
        cursor.accept("AUTOINCREMENT")
        return found._replace(key="PRIMARY KEY")
    if cursor.accept("UNIQUE"):
        _conflict(cursor)
        return found._replace(key=found.key or "UNIQUE")
    if cursor.accept("NOT", "NULL"):
        _conflict(cursor)
        return found._replace(not_null=True)
    if cursor.accept("NULL"):
        _conflict(cursor)
        return found
    if cursor.accept("CHECK"):
        return found._replace(checks=(*found.checks, cursor.group()))
    if cursor.accept("COLLATE"):
        cursor.name()
        return found
    if cursor.accept("DEFAULT"):
        begin = cursor.at
        return found._replace(default=_default(cursor), default_text=cursor.written(begin))
    if cursor.sees("REFERENCES"):
        begin = cursor.at
        reference = _reference(cursor)
        return found._replace(references=cursor.written(begin), reference=reference)
    cursor.accept("GENERATED", "ALWAYS")
    cursor.expect("AS")
    begin = cursor.at
    cursor.group()
    expression = cursor.written(begin)
    return found._replace(expression=expression, stored=cursor.accept_one(words("STORED VIRTUAL")) == "STORED")


def _conflict(cursor: Cursor) -> None:
    if cursor.accept("ON", "CONFLICT") and not cursor.accept_one(words("ROLLBACK ABORT FAIL IGNORE REPLACE")):
        raise Puzzled(cursor.now)


def _default(cursor: Cursor) -> tuple[Token, ...]:
    begin = cursor.at
    if cursor.sees("("):
        cursor.group()
    else:
        cursor.accept_one(words("+ -"))
        word = cursor.kind("word", "name", "string", "number")
        if word.word == "X" and cursor.now.kind == "string":
            cursor.at += 1
    return cursor.tokens[begin : cursor.at]


def is_constant(default: tuple[Token, ...]) -> bool:
    """Whether SQLite takes this DEFAULT for a new column of a table with rows: a literal, in parentheses or not."""
    if default and default[0].word == "(":
        default = default[1:-1]
    changing = words("CURRENT_TIMESTAMP CURRENT_TIME CURRENT_DATE")
    signed = len(default) == 2 and default[0].word in ("+", "-", "X")
    return (len(default) == 1 and default[0].word not in changing) or signed or not default


def references(tokens: Sequence[Token]) -> Iterator[Reference]:
    """All that a new table refers to."""
    cursor = Cursor(tuple(tokens), "")
    while not cursor.done:
        if cursor.sees("REFERENCES"):
            yield _reference(cursor)
        else:
            cursor.at += 1


def _reference(cursor: Cursor) -> Reference:
    at = cursor.now
    cursor.expect("REFERENCES")
    table, columns, yields = cursor.name(), cursor.group() if cursor.sees("(") else (), False
    while True:
        if cursor.accept("MATCH"):
            cursor.name()
        elif cursor.accept("ON"):
            when = cursor.accept_one(words("DELETE UPDATE"))
            if not when:
                raise Puzzled(cursor.now)
            goes = cursor.accept("CASCADE") or cursor.accept("SET", "NULL")
            if not (goes or cursor.accept("RESTRICT") or cursor.accept("NO", "ACTION")):
                cursor.expect("SET", "DEFAULT")
            yields = goes if when == "DELETE" else yields
        elif cursor.accept("DEFERRABLE") or cursor.accept("NOT", "DEFERRABLE"):
            if cursor.accept("INITIALLY") and not cursor.accept_one(words("DEFERRED IMMEDIATE")):
                raise Puzzled(cursor.now)
        else:
            return Reference(at, table, tuple(token for token in columns if token.kind != "sign"), yields)


class Scratch:
    """An empty database in memory, whose parser says whether it takes a statement. What the statement does is not done."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", isolation_level=None)

    def close(self) -> None:
        self.database.close()

    def refuses(self, statement: str, kind: Literal["TABLE", "VIEW"] = "TABLE", there: str = "") -> str:
        """Why SQLite does not take a statement; empty if it does, or would if all the tables and columns were there. ``there`` is a table or view that is."""
        try:
            if there:
                self.database.execute(f"CREATE {kind} {there} AS SELECT 1 AS 'bleen column'")
            self.database.execute(f"EXPLAIN {statement}").close()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            return "" if str(error).startswith("no such ") else str(error)
        finally:
            if there:
                self.database.execute(f"DROP {kind} IF EXISTS {there}")
        return ""
