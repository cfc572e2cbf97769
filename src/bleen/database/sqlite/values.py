"""How SQLite writes names, and how it stores and compares values (SQLite, "Datatypes In SQLite"): what two-way sync and backfill have in common."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from bleen.database.grammar.sqlite import is_constant
from bleen.database.server import Server
from bleen.database.statements import Unreadable
from bleen.database.tokens import Cursor, Puzzled, Token, read
from bleen.errors import Refused

MOMENTS = ("now", "localtime", "utc")
"""What makes a date function say something else each time, or in each process (SQLite, "Date And Time Functions")."""


Affinity = Literal["text", "number", "none"]
"""What becomes of a value that is stored in a column (section 3): a number becomes its text; a text that is one, a number; nothing."""


class Stored(NamedTuple):
    """A column of a table as the catalogue has it."""

    name: str
    type: str
    required: bool
    """NOT NULL."""
    default: str
    """The expression; empty if there is none."""
    key: int
    """Its place in the primary key, from 1; 0 if it is not in it."""
    generated: bool
    affinity: Affinity


class Table(NamedTuple):
    """A table as the catalogue has it."""

    name: str
    columns: Mapping[str, Stored]
    rowid: str
    """A name under which the rowid can be had; empty for a table that has none, or whose columns have taken all three."""

    @property
    def primary(self) -> tuple[str, ...]:
        return tuple(c.name for c in sorted(self.columns.values(), key=lambda c: c.key) if c.key)

    @property
    def locator(self) -> tuple[str, ...]:
        """What tells a row from all the others, quoted: its rowid, or its primary key."""
        return (self.rowid,) if self.rowid else tuple(map(quoted, self.primary))

    def same(self, row: str, column: str, value: str) -> str:
        """Whether a row's column is, to the byte, what it would be if this expression were stored in it. It may be evaluated twice.

        The columns of NEW and OLD have no affinity, but a CAST has one (section 4.2), and changes nothing where it is to the type that the value has.
        """
        left, affinity = f"{row}.{quoted(column)}", self.columns[column].affinity
        if affinity == "none":  # 1 and 1.0 are two values, which compare as one
            return f"({left} COLLATE BINARY IS +{value} AND typeof({left}) IS typeof({value}))"
        type, kinds = ("TEXT", "'text'") if affinity == "text" else ("NUMERIC", "'integer', 'real'")
        return f"(CASE WHEN typeof({left}) IN ({kinds}) THEN CAST({left} AS {type}) COLLATE BINARY IS +{value} ELSE {left} COLLATE BINARY IS +{value} END)"


def look(server: Server, written: str) -> Table | None:
    """The table of this name; None if there is none, or if it is a view."""
    name = named(written)
    found = server.rows("SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name = %s COLLATE NOCASE", [name])
    if not found:
        return None
    name, without_rowid, strict = found[0]
    columns = {
        row[0]: Stored(row[0], row[1], bool(row[2]), row[3] or "", row[4], row[5] != 0, _affinity(row[1], bool(strict)))
        for row in server.rows('SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(%s)', [name])
    }
    taken = {each.lower() for each in columns}
    rowid = "" if without_rowid else next((each for each in ("rowid", "_rowid_", "oid") if each not in taken), "")
    return Table(name, columns, rowid)


def named(written: str) -> str:
    """The table that a name means, as it is written: perhaps with quotes, perhaps in ``main``. Raises Refused for anything else."""
    try:
        cursor = Cursor(read(written, "sqlite").sentences[0].tokens, written)
        parts = [part.identifier for part in cursor.table()]
    except (Unreadable, Puzzled, IndexError):
        parts, cursor = [], Cursor((), "")
    if not parts or not cursor.done or len(parts) > 2 or (len(parts) == 2 and parts[0].lower() != "main"):
        raise Refused(f"{written!r} is not the name of a table of this database; it is like users, or main.users")
    return parts[-1]


def default(expression: str) -> str | None:
    """A column's default as an expression that can stand anywhere; None if it may differ from row to row."""
    if not expression:
        return "NULL"
    try:
        tokens = read(expression, "sqlite").sentences[0].tokens
    except (Unreadable, IndexError):
        return None
    if not is_constant(tokens):
        return None
    only = tokens[0]
    if len(tokens) == 1 and only.kind in ("word", "name") and only.word not in ("NULL", "TRUE", "FALSE"):
        return literal(only.identifier)  # DEFAULT x is the string 'x' (SQLite, "CREATE TABLE", "The DEFAULT clause")
    return f"({expression})"


def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of an expression; none for what is not one: empty, with a semicolon, or with brackets that do not match. Raises Unreadable."""
    sentences = read(text, "sqlite").sentences
    if len(sentences) != 1 or ";" in [token.word for token in sentences[0].tokens]:
        return ()
    depth = 0
    for token in sentences[0].tokens:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if depth < 0:
            return ()
    return () if depth else sentences[0].tokens


def checks(server: Server, table: str) -> Iterator[str]:
    """The CHECKs of a table, with their brackets."""
    for (text,) in server.rows("SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = lower(%s)", [table]):
        cursor = Cursor(read(text, "sqlite").sentences[0].tokens, text)
        while not cursor.done:
            if cursor.accept("CHECK") and cursor.sees("("):
                begin = cursor.at
                cursor.group()
                yield cursor.written(begin)
            else:
                cursor.at += 1


def said(expression: str) -> set[str]:
    """What an expression names, in small letters."""
    return {token.identifier.lower() for token in tokens(expression) if token.kind in ("word", "name")}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _affinity(type: str, strict: bool) -> Affinity:
    kind = type.upper()
    if strict and kind == "ANY":
        return "none"
    if "INT" in kind:  # section 3.1, in this order
        return "number"
    if any(part in kind for part in ("CHAR", "CLOB", "TEXT")):
        return "text"
    return "none" if not kind or "BLOB" in kind else "number"
