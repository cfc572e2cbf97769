"""What a statement of MySQL or MariaDB is about, as far as whoever runs it has to know."""

from collections.abc import Sequence
from typing import NamedTuple

from bleen.database.grammar.mysql import Alter, Spec, alter_table
from bleen.database.grammar.mysql_column import Column
from bleen.database.statements import Place, Statement, Unreadable, closed
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

_ROWS = words("INSERT REPLACE UPDATE DELETE SELECT WITH DO VALUES TABLE ( SHOW DESCRIBE DESC EXPLAIN")
_OBJECTS = {"TABLES": "TABLE", "VIEW": "TABLE", "SEQUENCE": "TABLE"} | {each: each for each in words("TABLE TRIGGER PROCEDURE FUNCTION EVENT")}
"""What is created or dropped, and by which word SHOW CREATE shows it."""
_BETWEEN = words("ONLINE IGNORE")
"""What stands between ALTER and TABLE on MariaDB; of IGNORE, which deletes rows, the linter wants a reason."""
_UNNAMED = frozenset(["algorithm", "lock"])
_BEYOND = frozenset(["add-foreign", "option", "partition", "convert", "force", "order", "keys", "tablespace", "drop-primary", "add-primary", "versioning"])
"""Parts of an ALTER TABLE whose names are not those of what they change."""
_OF_DEFAULTS = frozenset(["add-column", "set-default", "drop-default", "modify", "change", "rename-column", "drop-column"])


class About(NamedTuple):
    """What SHOW CREATE tells of the object that a statement changes."""

    kind: str
    """TABLE (a view and a sequence too), TRIGGER, PROCEDURE, FUNCTION or EVENT."""
    name: tuple[Token, ...]
    parts: tuple[str, ...]
    """Only what is said of these columns, indexes and constraints; empty: all of it."""


class Reference(NamedTuple):
    """A foreign key that a statement makes."""

    table: tuple[str, ...]
    columns: tuple[str, ...]
    """Empty if they are new with their table."""
    to: tuple[str, ...]
    referenced: tuple[str, ...]
    """Empty if it does not say them."""


class Default(NamedTuple):
    """What a part of an ALTER TABLE says of the default of a column."""

    table: tuple[str, ...]
    column: str
    becomes: str
    """Its name from then on."""
    text: str | None
    """The default from then on, empty if there is none; None where it says nothing of that."""
    anew: bool
    """Whether it says all of the column anew, so that a default of which it says nothing is gone."""


def names(table: str) -> tuple[str, ...]:
    """A table as it is written, perhaps with its database and quotes, as names. Raises Unreadable."""
    try:
        cursor = _cursor(table)
        found = cursor.table()
    except Puzzled as error:
        raise Unreadable(f"{table!r} is no name of a table: {error} is not understood", Place(1, 1)) from None
    if not cursor.done or len(found) > 2:
        raise Unreadable(f"{table!r} is no name of a table", Place(1, 1))
    return tuple(token.identifier for token in found)


def expression(text: str) -> tuple[Token, ...]:
    """The tokens of an expression: all that stands in it, be it one or not. Raises Unreadable."""
    before, after = "SELECT (\n", "\n)"
    tokens = (token for sentence in read(before + text + after, "mysql").sentences for token in sentence.tokens)
    inner = (token._replace(offset=token.offset - len(before)) for token in tokens)
    return tuple(token for token in inner if 0 <= token.offset < len(text))


def whole(tokens: Sequence[Token]) -> bool:
    """Whether tokens are one expression: their parentheses match, and no comma parts them."""
    return closed(token.word for token in tokens)


def changes_rows(statement: Statement) -> bool:
    """Whether a statement is part of a transaction; every other one commits it (MySQL manual, "Statements That Cause an Implicit Commit")."""
    return _cursor(statement.text).now.word in _ROWS


def changes_session(statement: Statement) -> bool:
    """Whether it is gone with the session."""
    return _cursor(statement.text).now.word == "SET"


def altered(statement: Statement) -> Alter | None:
    """What an ALTER TABLE does; None for any other statement. Raises ``Puzzled`` for one that cannot be read."""
    cursor = _cursor(statement.text)
    alters = cursor.sees("ALTER") and next((token.word for token in cursor.tokens[1:] if token.word not in _BETWEEN), "") == "TABLE"
    return alter_table(cursor, _BETWEEN) if alters else None


def added(statement: Statement) -> tuple[tuple[str, ...], list[Column]] | None:
    """The table to which a statement adds columns, and these; None if it adds none, as far as it can be read."""
    try:
        alter = altered(statement)
    except Puzzled:
        return None
    columns = [spec.column for spec in alter.specs if spec.column and spec.kind == "add-column"] if alter else []
    return (_identifiers(alter.table), columns) if alter and columns else None


def about(statement: Statement) -> list[About]:
    """What a statement changes; nothing if that is not to be seen in the catalogue by SHOW CREATE."""
    cursor = _cursor(statement.text)
    try:
        if alter := altered(statement):
            specs = [spec for spec in alter.specs if spec.kind not in _UNNAMED]
            known = all(spec.names and spec.kind not in _BEYOND for spec in specs)
            return [About("TABLE", alter.table, tuple(name.identifier for spec in specs for name in spec.names) if known else ())]
        if cursor.now.word in ("CREATE", "DROP"):
            return _defined(cursor)
    except Puzzled:
        return []
    return []


def drops(statement: Statement, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The tables that a statement takes away, or takes one of these columns from."""
    cursor = _cursor(statement.text)
    try:
        if alter := altered(statement):
            gone = {spec.names[0].identifier.lower() for spec in alter.specs if spec.kind == "drop-column"}
            return [_identifiers(alter.table)] if gone & {name.lower() for name in columns} else []
        if cursor.accept("DROP") and cursor.accept_one(words("TABLE TABLES")):
            return [_identifiers(each) for each in _listed(cursor)]
    except Puzzled:
        return []
    return []


def takes(statement: Statement) -> list[tuple[tuple[str, ...], str]]:
    """The tables, or views, that a statement takes away, each with an empty word; or the columns, each behind its table."""
    cursor = _cursor(statement.text)
    try:
        if alter := altered(statement):
            return [(_identifiers(alter.table), spec.names[0].identifier) for spec in alter.specs if spec.kind == "drop-column"]
        if cursor.accept("DROP") and cursor.accept_one(words("TABLE TABLES VIEW")):
            return [(_identifiers(each), "") for each in _listed(cursor)]
    except Puzzled:
        return []
    return []


def references(statement: Statement) -> list[Reference]:
    """The foreign keys that a CREATE TABLE or an ALTER TABLE makes, at its end or with a column."""
    try:
        return _references(statement)
    except Puzzled:
        return []


def _references(statement: Statement) -> list[Reference]:
    tables = [each.name for each in about(statement) if each.kind == "TABLE"]
    cursor, found, columns = _cursor(statement.text), list[Reference](), tuple[str, ...]()
    alter = altered(statement)
    specs = [spec for spec in alter.specs if spec.column] if alter else []
    while tables and not cursor.done:
        at, word = cursor.now, cursor.now.word
        cursor.at += 1
        if word == "FOREIGN":
            while not (cursor.done or cursor.sees("(") or cursor.sees(",")):
                cursor.at += 1
            columns = _enclosed(cursor)
        elif word == "REFERENCES":
            to = cursor.table()
            added = [spec.names[0].identifier for spec in specs if spec.at.offset <= at.offset < spec.at.offset + len(spec.text)]
            found.append(Reference(_identifiers(tables[0]), columns or tuple(added), _identifiers(to), _enclosed(cursor)))
            columns = ()
    return found


def _enclosed(cursor: Cursor) -> tuple[str, ...]:
    """The names in the parentheses that come next; none if none come."""
    begin = cursor.at
    if not cursor.sees("("):
        return ()
    cursor.group()
    return tuple(token.identifier for token in cursor.tokens[begin : cursor.at] if token.kind in ("word", "name"))


def defaults(statement: Statement) -> list[Default]:
    """What an ALTER TABLE says of the defaults of columns, in order."""
    try:
        alter = altered(statement)
    except Puzzled:
        return []
    return [found for spec in alter.specs if (found := _default(_identifiers(alter.table), spec))] if alter else []


def reshaped(statement: Statement) -> tuple[tuple[str, ...], list[Spec]]:
    """The table whose columns an ALTER TABLE makes more, or fewer, and what it says of them, in order; empty if it does not."""
    try:
        alter = altered(statement)
    except Puzzled:
        return (), []
    return (_identifiers(alter.table), [spec for spec in alter.specs if spec.kind in ("add-column", "drop-column")]) if alter else ((), [])


def _default(table: tuple[str, ...], spec: Spec) -> Default | None:
    if spec.kind not in _OF_DEFAULTS:
        return None
    old, new = spec.names[0].identifier, spec.names[-1].identifier
    said = spec.column.default_text if spec.column else ""
    anew = spec.kind in ("modify", "change") and not (said or (spec.column and spec.column.generated))
    kept = anew or spec.kind == "rename-column" or (spec.kind == "add-column" and spec.value and not said)  # IF NOT EXISTS
    return Default(table, old, new, None if kept else "" if said.upper() == "NULL" else said, anew)


def _defined(cursor: Cursor) -> list[About]:
    """What a CREATE or a DROP is about: the first word that is a kind of object says which; before it stand OR REPLACE, DEFINER = ... and such."""
    while not cursor.done and cursor.now.word not in _OBJECTS and cursor.now.word != "INDEX":
        cursor.at += 1
    kind = cursor.kind("word").word
    if kind == "INDEX":
        cursor.accept("IF", "NOT", "EXISTS")
        cursor.accept("IF", "EXISTS")
        index = cursor.name()
        while not cursor.done and not cursor.accept("ON"):
            cursor.at += 1
        return [About("TABLE", cursor.table(), (index.identifier,))]
    return [About(_OBJECTS[kind], name, ()) for name in _listed(cursor)]


def _listed(cursor: Cursor) -> list[tuple[Token, ...]]:
    """Names, after IF [NOT] EXISTS, with commas between them."""
    cursor.accept("IF", "NOT", "EXISTS")
    cursor.accept("IF", "EXISTS")
    found = [cursor.table()]
    while cursor.accept(","):
        found.append(cursor.table())
    return found


def _identifiers(name: tuple[Token, ...]) -> tuple[str, ...]:
    return tuple(token.identifier for token in name)


def _cursor(text: str) -> Cursor:
    sentences = read(text, "mysql").sentences
    return Cursor(sentences[0].tokens if sentences else (), text)
