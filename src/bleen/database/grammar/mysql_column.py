"""A column as MySQL 8 and MariaDB 10.6 read it, in CREATE TABLE and behind ADD. What is not in this grammar is ``Puzzled``.

Sources: as in ``mysql``.
"""

from typing import NamedTuple

from bleen.database.grammar.conditions import truth, valid_json, value
from bleen.database.tokens import Cursor, Puzzled, Token, words


class Column(NamedTuple):
    """The definition of a column, as far as it matters to who is using the table."""

    name: Token
    type: str
    not_null: bool = False
    default: tuple[Token, ...] = ()
    default_text: str = ""
    generated: str = ""
    """STORED or VIRTUAL."""
    expression: str = ""
    """Of a generated column, with its parentheses."""
    auto_increment: bool = False
    key: str = ""
    """PRIMARY or UNIQUE."""
    checks: tuple[tuple[Token, ...], ...] = ()
    """What stands in the parentheses of each CHECK that is enforced."""
    references: bool = False
    parts: tuple[tuple[str, str], ...] = ()
    """All that is said of it behind its type, as it is written, by what it is about: NULL, DEFAULT, KEY, AS, CHECK, COMMENT ..."""
    position: str = ""
    """FIRST, or AFTER which column."""

    def written(self) -> dict[str, str]:
        """Its parts; where one comes again the last counts, unless it is a CHECK."""
        return {f"{part} {at}" if part == "CHECK" else part: text for at, (part, text) in enumerate(self.parts)}

    @property
    def timestamp(self) -> bool:
        return self.type.upper().startswith("TIMESTAMP")

    @property
    def endless(self) -> bool:
        """Whether it is a TEXT, a BLOB or JSON, which no index has all of."""
        return any(kind in self.type.upper().partition("(")[0] for kind in ("TEXT", "BLOB", "JSON", "LONG"))

    @property
    def no_json(self) -> bool:
        """Whether it is JSON, and its default plainly is not: MariaDB has a CHECK of its own there, which ALGORITHM=INSTANT does not look at."""
        return self.type.upper() == "JSON" and bool(self.default) and truth(valid_json(value(self.default))) is False

    @property
    def bare_default(self) -> str:
        """The default without the parentheses around it."""
        return self.default_text[1:-1] if self.default_text.startswith("(") else self.default_text


_TYPES = words("""
    TINYINT SMALLINT MEDIUMINT INT INTEGER BIGINT INT1 INT2 INT3 INT4 INT8 DECIMAL DEC NUMERIC FIXED NUMBER FLOAT DOUBLE REAL BIT BOOL BOOLEAN
    DATE TIME DATETIME TIMESTAMP YEAR CHAR CHARACTER VARCHAR VARCHAR2 NCHAR NVARCHAR BINARY VARBINARY TINYBLOB BLOB MEDIUMBLOB LONGBLOB
    TINYTEXT TEXT MEDIUMTEXT LONGTEXT ENUM SET JSON UUID INET4 INET6 SERIAL
    GEOMETRY POINT LINESTRING POLYGON MULTIPOINT MULTILINESTRING MULTIPOLYGON GEOMETRYCOLLECTION
""")


def column(cursor: Cursor) -> Column:
    """A column: name, type and attributes in any order."""
    name = cursor.name()
    begin = cursor.at
    _type(cursor)
    found = Column(name, cursor.written(begin))
    while True:
        begin = cursor.at
        more = _attribute(cursor, found)
        if more is None:
            return found
        part = _ABOUT.get(cursor.tokens[begin].word, cursor.tokens[begin].word)
        found = more._replace(parts=(*found.parts, (part, cursor.written(begin))))


_ABOUT = {"NOT": "NULL", "UNIQUE": "KEY", "PRIMARY": "KEY", "GENERATED": "AS", "CONSTRAINT": "CHECK"}
"""What an attribute is about, where its first word does not say so."""


def _type(cursor: Cursor) -> None:
    if cursor.accept("LONG"):
        cursor.accept_one(words("VARCHAR VARBINARY"))
    elif cursor.accept("NATIONAL"):
        if not cursor.accept_one(words("CHAR CHARACTER VARCHAR")):
            raise Puzzled(cursor.now)
        cursor.accept("VARYING")
    elif cursor.accept("DOUBLE", "PRECISION"):
        pass
    elif not cursor.accept_one(_TYPES):
        raise Puzzled(cursor.now)
    cursor.accept("VARYING")
    if cursor.sees("("):
        cursor.group()
    while cursor.accept_one(words("UNSIGNED SIGNED ZEROFILL BINARY ASCII UNICODE BYTE COMPRESSED")):
        pass
    if cursor.accept("CHARACTER", "SET") or cursor.accept("CHARSET"):
        cursor.kind("word", "string")
        cursor.accept("BINARY")


def _attribute(cursor: Cursor, found: Column) -> Column | None:
    """One attribute more; None if there is none."""
    if cursor.accept("NOT", "NULL"):
        return found._replace(not_null=True)
    if cursor.accept("NULL"):
        return found._replace(not_null=False)
    if cursor.accept("DEFAULT"):
        begin = cursor.at
        return found._replace(default=default(cursor), default_text=cursor.written(begin))
    if cursor.accept("AUTO_INCREMENT"):
        return found._replace(auto_increment=True)
    if cursor.accept("UNIQUE"):
        cursor.accept("KEY")
        return found._replace(key=found.key or "UNIQUE")
    if cursor.accept("PRIMARY"):
        cursor.accept("KEY")
        return found._replace(key="PRIMARY")
    if cursor.accept("KEY"):
        return found._replace(key="PRIMARY")
    if cursor.sees("REFERENCES"):
        references(cursor)
        return found._replace(references=True)
    if cursor.accept("GENERATED", "ALWAYS", "AS") or cursor.accept("AS"):
        begin = cursor.at
        cursor.group()
        expression = cursor.written(begin)
        stored = cursor.accept_one(words("STORED PERSISTENT VIRTUAL"))
        return found._replace(generated="STORED" if stored in ("STORED", "PERSISTENT") else "VIRTUAL", expression=expression)
    if cursor.sees("CONSTRAINT") or cursor.sees("CHECK"):
        if cursor.accept("CONSTRAINT") and not cursor.sees("CHECK"):
            cursor.name()
        cursor.expect("CHECK")
        check = cursor.group()
        if cursor.accept("NOT", "ENFORCED"):
            return found
        cursor.accept("ENFORCED")
        return found._replace(checks=(*found.checks, check))
    return found if _harmless(cursor) else None


def _harmless(cursor: Cursor) -> bool:
    """An attribute that the users of the table do not feel."""
    if cursor.accept("ON", "UPDATE"):
        _now(cursor)
    elif cursor.accept("COMMENT"):
        cursor.kind("string")
    elif cursor.accept("COLLATE"):
        cursor.accept("=")
        cursor.kind("word", "string")
    elif cursor.accept("COLUMN_FORMAT") or cursor.accept("STORAGE"):
        cursor.name()
    elif cursor.accept("ENGINE_ATTRIBUTE") or cursor.accept("SECONDARY_ENGINE_ATTRIBUTE"):
        cursor.accept("=")
        cursor.kind("string")
    elif cursor.accept("SRID") or cursor.accept("REF_SYSTEM_ID"):
        cursor.accept("=")
        cursor.kind("number")
    else:
        return bool(cursor.accept_one(words("VISIBLE INVISIBLE")) or cursor.accept("WITHOUT", "SYSTEM", "VERSIONING"))
    return True


_NOW = words("CURRENT_TIMESTAMP NOW LOCALTIME LOCALTIMESTAMP")


def _now(cursor: Cursor) -> None:
    if not cursor.accept_one(_NOW):
        raise Puzzled(cursor.now)
    if cursor.sees("("):
        cursor.group()


def default(cursor: Cursor) -> tuple[Token, ...]:
    """A literal, the time, an expression in parentheses, or (MariaDB) a call of a function."""
    begin = cursor.at
    if cursor.sees("("):
        cursor.group()
    elif cursor.now.word in _NOW:
        _now(cursor)
    elif cursor.accept_one(words("+ -")):
        cursor.kind("number")
    elif cursor.now.kind in ("string", "number"):
        cursor.at += 1
    else:
        cursor.kind("word")
        if cursor.now.kind == "string":  # _utf8'...', x'...', DATE '...'
            cursor.at += 1
        elif cursor.sees("("):
            cursor.group()
        elif cursor.tokens[begin].word not in ("NULL", "TRUE", "FALSE"):
            raise Puzzled(cursor.tokens[begin])
    return cursor.tokens[begin : cursor.at]


_CONSTANTS = words("+ - * / ( ) , NULL TRUE FALSE CURRENT_TIMESTAMP LOCALTIME LOCALTIMESTAMP CURRENT_DATE INTERVAL")
_CONSTANT_CALLS = words("NOW CURDATE JSON_ARRAY JSON_OBJECT")
_UNITS = words("MICROSECOND SECOND MINUTE HOUR DAY WEEK MONTH QUARTER YEAR")


def is_constant(default: tuple[Token, ...]) -> bool:
    """Whether a DEFAULT is one value for all rows, so that no row has to be written for it."""
    for at, token in enumerate(default):
        after = default[at + 1] if at + 1 < len(default) else None
        called = token.word in _CONSTANT_CALLS and after is not None and after.word == "("
        introduces = after is not None and after.kind == "string" and (token.word in ("X", "B", "N", "DATE", "TIME", "TIMESTAMP") or token.word[:1] == "_")
        unit = token.word in _UNITS and at > 1 and default[at - 2].word == "INTERVAL"
        if not (token.kind in ("string", "number") or token.word in _CONSTANTS or called or introduces or unit):
            return False
    return True


def references(cursor: Cursor) -> tuple[Token, ...]:
    """REFERENCES and what follows it; the table."""
    cursor.expect("REFERENCES")
    table = cursor.table()
    if cursor.sees("("):
        cursor.group()
    if cursor.accept("MATCH") and not cursor.accept_one(words("FULL PARTIAL SIMPLE")):
        raise Puzzled(cursor.now)
    while cursor.accept("ON"):
        if not cursor.accept_one(words("DELETE UPDATE")):
            raise Puzzled(cursor.now)
        if not (
            cursor.accept_one(words("RESTRICT CASCADE")) or cursor.accept("SET", "NULL") or cursor.accept("NO", "ACTION") or cursor.accept("SET", "DEFAULT")
        ):
            raise Puzzled(cursor.now)
    return table
