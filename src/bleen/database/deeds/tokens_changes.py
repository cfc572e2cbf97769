"""What of before a statement of MySQL or SQLite changes: what is neither made nor dropped by it, and what its counterpart puts back."""

from collections.abc import Iterator

from bleen.database.deeds import Names
from bleen.database.deeds.tokens import BEFORE_TABLE
from bleen.database.grammar.mysql import alter_table, alters_table
from bleen.database.statements import Dialect
from bleen.database.tokens import Cursor, Puzzled, Token, read, words

_DEFAULTS = ("set-default", "drop-default", "modify", "change")


def changes(text: str, dialect: Dialect) -> Iterator[Names]:
    """Each as an aspect and the names of what has it, as they are written. Raises Unreadable."""
    for sentence in read(text, dialect).sentences:
        try:
            yield from _changes(Cursor(sentence.tokens, text), dialect)
        except Puzzled:  # nothing is known of it, so that nothing is put back by it either
            continue


def _changes(cursor: Cursor, dialect: Dialect) -> Iterator[Names]:
    verb = cursor.now.word
    if dialect == "mysql" and alters_table(cursor):
        alter = alter_table(cursor)
        yield from (("default", *_names(alter.table), *_names(spec.names[:1])) for spec in alter.specs if spec.kind in _DEFAULTS)
    elif cursor.accept_one(words("INSERT REPLACE UPDATE DELETE")):
        while cursor.accept_one(BEFORE_TABLE):
            pass
        yield "rows", *_names(cursor.table())
    elif verb == "ALTER":
        while not cursor.done and cursor.now.word not in ("VIEW", "SEQUENCE"):
            cursor.at += 1
        what = cursor.kind("word").word.lower()
        cursor.accept("IF", "EXISTS")
        yield what, *_names(cursor.table())
    elif verb in ("GRANT", "REVOKE"):
        yield from _rights(cursor, "TO" if verb == "GRANT" else "FROM")


def _rights(cursor: Cursor, to: str) -> Iterator[Names]:
    """Each right for itself, with what it is to and who has it."""
    cursor.at += 1
    rights, where = _until(cursor, "ON", to), ["nothing"]
    if cursor.accept("ON"):
        where = _until(cursor, to)
    cursor.expect(to)
    for who in _until(cursor, "WITH"):
        yield from ((f"{right} on {each}: {who}",) for right in rights for each in where)


def _until(cursor: Cursor, *ends: str) -> list[str]:
    """What stands between the commas before one of the words."""
    found, depth = [""], 0
    while not cursor.done and (depth or cursor.now.word not in ends):
        depth += {"(": 1, ")": -1}.get(cursor.now.word, 0)
        if cursor.now.word == "," and not depth:
            found.append("")
        elif cursor.now.word != "PRIVILEGES":
            found[-1] += f" {cursor.now.text.strip('`').lower()}"
        cursor.at += 1
    return found


def _names(table: tuple[Token, ...]) -> Names:
    return tuple(each.identifier for each in table)
