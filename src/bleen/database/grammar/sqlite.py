"""A column as SQLite reads it behind ADD COLUMN, and SQLite itself as the judge of syntax.

Sources: SQLite, "ALTER TABLE", "CREATE TABLE" (column-def), ``parse.y``. What SQLite refuses on a table with rows was tried on 3.40.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from bleen.database.tokens import Cursor, Puzzled, Token, words


class Reference(NamedTuple):
    """What REFERENCES says, in a column or at a FOREIGN KEY."""

    at: Token
    table: Token
    columns: tuple[Token, ...]
    """None where it is the primary key."""
    then: str
    """What becomes of a row when the row goes that it refers to: CASCADE, NULL, or nothing, which keeps that one."""
    required: tuple[Token, ...] = ()
    """Those of its own columns that cannot be NULL."""

    @property
    def yields(self) -> bool:
        return self.then == "CASCADE" or (self.then == "NULL" and not self.required)


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
    """All that a new table refers to; ``tokens`` are what stands behind its name."""
    cursor = Cursor(tuple(tokens), "")
    parts = list(_parts(cursor.group())) if cursor.sees("(") else []
    required = _required(parts, keyed=any(token.word in ("WITHOUT", "STRICT") for token in cursor.rest()))
    for part in parts:
        for at in (at for at, token in enumerate(part) if token.word == "REFERENCES"):
            own = _listed(part[:at], "FOREIGN") or part[:1]
            yield _reference(Cursor(part[at:], ""))._replace(required=tuple(each for each in own if each.identifier.lower() in required))


def _parts(body: Sequence[Token]) -> Iterator[tuple[Token, ...]]:
    """The columns and constraints of a table."""
    part, depth = list[Token](), 0
    for token in body:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and not depth:
            yield tuple(part)
            part = []
        else:
            part.append(token)
    yield tuple(part)


def _required(parts: Sequence[Sequence[Token]], keyed: bool) -> set[str]:
    """The columns of a new table that cannot be NULL. Those of a PRIMARY KEY can be, but for the number of the row, and where a table is ``keyed`` by it."""
    required, numbers, key = set[str](), set[str](), set[str]()
    for part in parts:
        said, name = [token.word for token in part], part[0].identifier.lower() if part else ""
        if not part or part[0].word in _CONSTRAINTS_OF_TABLES:
            key |= {each.identifier.lower() for each in _listed(part, "PRIMARY")}
            continue
        required |= {name} if ("NOT", "NULL") in pairwise(said) else set()
        numbers |= {name} if said[1:2] == ["INTEGER"] else set()
        key |= {name} if "PRIMARY" in said else set()
    return required | (key if keyed else key & numbers if len(key) == 1 else set())


def _listed(part: Sequence[Token], constraint: str) -> tuple[Token, ...]:
    """The columns in the parentheses of a table's constraint, by its first word."""
    begin = max((at for at, token in enumerate(part) if token.word == constraint), default=None)
    cursor = Cursor(tuple(part[begin + 2 :]) if begin is not None else (), "")
    return tuple(token for token in cursor.group() if token.kind != "sign") if cursor.sees("(") else ()


def _reference(cursor: Cursor) -> Reference:
    at = cursor.now
    cursor.expect("REFERENCES")
    table, columns, then = cursor.name(), cursor.group() if cursor.sees("(") else (), ""
    while True:
        if cursor.accept("MATCH"):
            cursor.name()
        elif cursor.accept("ON"):
            when = cursor.accept_one(words("DELETE UPDATE"))
            if not when:
                raise Puzzled(cursor.now)
            goes = "CASCADE" if cursor.accept("CASCADE") else "NULL" if cursor.accept("SET", "NULL") else ""
            if not (goes or cursor.accept("RESTRICT") or cursor.accept("NO", "ACTION")):
                cursor.expect("SET", "DEFAULT")
            then = goes if when == "DELETE" else then
        elif cursor.accept("DEFERRABLE") or cursor.accept("NOT", "DEFERRABLE"):
            if cursor.accept("INITIALLY") and not cursor.accept_one(words("DEFERRED IMMEDIATE")):
                raise Puzzled(cursor.now)
        else:
            return Reference(at, table, tuple(token for token in columns if token.kind != "sign"), then)


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
